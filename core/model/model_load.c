/* core/model/model_load.c - fills the store: base weights from the model's files, new parameters of methods by their rule. */
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/layout.h"
#include "core/model/method_start.h"
#include "core/model/model.h"
#include "graft/random.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define PI 3.14159265358979323846

static int64_t elements(const graft_shape *s)
{
    int64_t n = 1; /* a leaf's dims are constants and were checked */
    for (int32_t i = 0; i < s->rank; i++) n *= s->dims[i];
    return n;
}

static const char *dims_text(char out[128], int32_t rank, const int64_t *dims)
{
    int at = snprintf(out, 128, "[");
    for (int32_t i = 0; i < rank && at < 100; i++) at += snprintf(out + at, 128 - (size_t)at, "%s%" PRId64, i ? ", " : "", dims[i]);
    snprintf(out + at, 128 - (size_t)at, "]");
    return out;
}

/* What a layer of this checkpoint misses, said with the nearest reason. */
static graft_status missing(const graft_model *m, const char *name, graft_error *err)
{
    return graft_fail(err, GRAFT_BAD_INPUT, m->path, "the weight \"%s\" is missing (the file holds %" PRId64 " others); config.json and weights do not belong together, or the model is incomplete",
                      name, graft_weights_count(m->weights));
}

static graft_status read_part(const graft_value_info *leaf, const graft_stored_part *part, const graft_weight_info *t, float *to, float *scratch, graft_error *err)
{
    int same = t->rank == part->rank;
    for (int32_t i = 0; same && i < t->rank; i++) same = t->dims[i] == part->dims[i];
    char found[128], expected[128];
    if (!same)
        return graft_fail(err, GRAFT_BAD_INPUT, t->file, "the weight \"%s\" has the shape %s, config.json asks for %s; they do not belong together", t->stored ? t->stored : leaf->name,
                          dims_text(found, t->rank, t->dims), dims_text(expected, part->rank, part->dims));
    const graft_status status = graft_weights_read_f32(t, part->transposed ? scratch : to + part->first, err);
    if (!status && part->transposed) graft_layout_transpose(to + part->first, scratch, part->dims[0], part->dims[1]);
    return status;
}

/* As the graph names and shapes it: so do GGUF files, and folders that hold a stack of experts whole. */
static const graft_weight_info *whole(const graft_model *m, const graft_value_info *leaf)
{
    if (!graft_weights_is_gguf(m->weights) && graft_layout_parts(m->table, leaf->name, &leaf->shape) == 1) return NULL;
    return graft_layout_find(m->weights, m->table, leaf->name);
}

/* scratch: as large as a part that is stored turned. */
static graft_status read_weight(const graft_model *m, const graft_value_info *leaf, float *to, float *scratch, uint8_t *used, graft_error *err)
{
    const graft_weight_info *t = whole(m, leaf), *all = graft_weights_at(m->weights, 0);
    graft_stored_part part;
    if (t) {
        (void)graft_layout_part(m->arena, NULL, leaf->name, &leaf->shape, 0, &part);
        used[t - all] = 1;
        return to ? read_part(leaf, &part, t, to, scratch, err) : GRAFT_OK;
    }
    const int64_t n = graft_layout_parts(m->table, leaf->name, &leaf->shape);
    graft_status status = GRAFT_OK;
    for (int64_t i = 0; i < n && !status; i++) {
        if (graft_layout_part(m->arena, m->table, leaf->name, &leaf->shape, i, &part)) return graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory for the names of weights");
        t = graft_layout_find(m->weights, m->table, part.name);
        if (t) used[t - all] = 1;
        if (!to) continue;
        status = t ? read_part(leaf, &part, t, to, scratch, err) : missing(m, part.name, err);
    }
    return status;
}

/* Counter-based: the same numbers for the same seed and name, whatever else the graph holds. */
static void start_param(const graft_value_info *leaf, uint64_t seed, float *to)
{
    const uint64_t stream = graft_op_id(leaf->name);
    const int64_t n = elements(&leaf->shape), fan_in = leaf->shape.rank ? leaf->shape.dims[leaf->shape.rank - 1] : 1;
    const double bound = sqrt(6.0 / ((1.0 + leaf->start_arg * leaf->start_arg) * (double)fan_in));
    for (int64_t i = 0; i < n; i++) {
        const double u = (double)graft_random_uniform(seed, stream, 0, (uint64_t)i);
        switch (leaf->start) {
        case GRAFT_START_ONE: to[i] = 1.0f; break;
        case GRAFT_START_KAIMING_UNIFORM: to[i] = (float)((2.0 * u - 1.0) * bound); break;
        case GRAFT_START_NORMAL: { /* Box and Muller 1958; 1 - u is never 0 */
            const double angle = (double)graft_random_uniform(seed, stream, 1, (uint64_t)i);
            to[i] = (float)(leaf->start_arg * sqrt(-2.0 * log(1.0 - u)) * cos(2.0 * PI * angle));
            break;
        }
        default: to[i] = 0.0f;
        }
    }
}

static int ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

/* Tables that older files store although they follow from the configuration. */
static int is_buffer(const char *name) { return ends_with(name, "inv_freq") || ends_with(name, "rope_freqs.weight") || ends_with(name, ".masked_bias") || ends_with(name, ".position_ids"); }

static void report_unused(const graft_model *m, const uint8_t *used)
{
    int64_t unused = 0;
    const char *first = NULL;
    for (int64_t i = 0; i < graft_weights_count(m->weights); i++) {
        const char *name = graft_weights_at(m->weights, i)->name;
        if (used[i] || is_buffer(name) || graft_layout_ignores(m->table, name)) continue;
        if (!unused++) first = name;
    }
    if (unused) graft_log(GRAFT_LOG_WARNING, "%s: %" PRId64 " of %" PRId64 " tensors are not part of the model and were not read, the first is \"%s\"", m->path, unused, graft_weights_count(m->weights), first);
}

static int is_leaf(const graft_value_info *v) { return v->place == GRAFT_PLACE_WEIGHT && v->node < 0; }

/* Numbers of the largest weight that the files hold turned; at least 1. */
static int64_t turned_room(const graft_model *m, const graft_graph *g)
{
    int64_t room = 1;
    for (int32_t i = 1; i < g->n_values; i++) {
        graft_stored_part part;
        if (!is_leaf(&g->values[i]) || graft_layout_part(m->arena, m->table, g->values[i].name, &g->values[i].shape, 0, &part)) continue;
        if (part.transposed && part.elements > room) room = part.elements;
    }
    return room;
}

static graft_status fill(const graft_model *m, const graft_graph *g, graft_store *s, uint64_t seed, float *buffer, float *scratch, uint8_t *used, graft_error *err)
{
    graft_status status = GRAFT_OK;
    for (int32_t i = 1; i < g->n_values && !status; i++) {
        const graft_value_info *leaf = &g->values[i];
        const int at = is_leaf(leaf) ? graft_store_find(s, leaf->name) : -1;
        if (is_leaf(leaf) && leaf->start == GRAFT_START_CHECKPOINT) status = read_weight(m, leaf, at < 0 ? NULL : buffer, scratch, used, err);
        else if (at >= 0) start_param(leaf, seed, buffer);
        if (!status && at >= 0) status = graft_store_write(s, at, buffer, elements(&leaf->shape) * (int64_t)sizeof *buffer, err);
    }
    return status;
}

static graft_status load_all(const graft_model *m, const graft_graph *g, graft_store *s, uint64_t seed, graft_error *err)
{
    int64_t room = 1;
    for (int32_t i = 1; i < g->n_values; i++)
        if (is_leaf(&g->values[i]) && elements(&g->values[i].shape) > room) room = elements(&g->values[i].shape);
    float *buffer = graft_calloc((size_t)room, sizeof *buffer), *scratch = graft_calloc((size_t)turned_room(m, g), sizeof *scratch);
    uint8_t *used = graft_calloc((size_t)graft_weights_count(m->weights) + 1, 1);
    graft_status status = buffer && scratch && used ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory for a weight of %" PRId64 " numbers", room);
    if (!status) status = fill(m, g, s, seed, buffer, scratch, used, err);
    if (!status) report_unused(m, used);
    graft_free(buffer);
    graft_free(scratch);
    graft_free(used);
    return status;
}

graft_status graft_model_load(const graft_model *m, const graft_graph *g, graft_store *s, uint64_t seed, graft_error *err)
{
    graft_status status = load_all(m, g, s, seed, err);
    if (!status && m->n_merged) status = graft_model_merge_first(m, s, seed, err);
    return status ? status : graft_model_start(m, g, s, seed, err);
}

graft_status graft_model_reload(const graft_model *m, const char *dir, const graft_graph *g, graft_store *s, graft_error *err)
{
    graft_model saved = *m;
    saved.path = dir;
    graft_status status = graft_weights_open(dir, &saved.weights, err);
    if (status) return status;
    status = load_all(&saved, g, s, 0, err);
    graft_weights_close(saved.weights);
    return status;
}
