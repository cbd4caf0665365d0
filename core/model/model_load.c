/* core/model/model_load.c - fills the store: base weights from the model's files, new parameters of methods by their rule. */
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/hold.h"
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

/* The name under which the files hold the leaf. A head that an adapter took apart from the embedding (model.c) is there as the embedding. */
static const char *held_as(const graft_model *m, const graft_graph *g, const graft_value_info *leaf)
{
    if (leaf->role != GRAFT_ROLE_HEAD || leaf->shape.rank != 2 || graft_layout_find(m->weights, m->table, leaf->name)) return leaf->name;
    for (int32_t i = 1; i < g->n_values; i++) {
        const graft_value_info *v = &g->values[i];
        if (is_leaf(v) && v->role == GRAFT_ROLE_EMBED && v->start == GRAFT_START_CHECKPOINT && v->shape.rank == 2 && v->shape.dims[0] == leaf->shape.dims[0] && v->shape.dims[1] == leaf->shape.dims[1]) return v->name;
    }
    return leaf->name;
}

/* changed: only the weights that a method may have changed, which are f32. */
static graft_status fill(const graft_model *m, const graft_graph *g, graft_store *s, uint64_t seed, int changed, graft_hold_room *room, uint8_t *used, graft_error *err)
{
    graft_status status = GRAFT_OK;
    for (int32_t i = 1; i < g->n_values && !status; i++) {
        const graft_value_info *leaf = &g->values[i];
        int at = is_leaf(leaf) ? graft_store_find(s, leaf->name) : -1;
        if (is_leaf(leaf) && leaf->start == GRAFT_START_CHECKPOINT) {
            if (changed && at >= 0 && graft_store_shape(s, at).dtype != GRAFT_F32) at = -1;
            graft_value_info held = *leaf;
            held.name = held_as(m, g, leaf);
            status = graft_hold_load(m, g, &held, s, at, room, used, err);
        } else if (at >= 0) {
            const int64_t n = elements(&leaf->shape);
            if (graft_hold_room_numbers(room, n)) return graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory for a weight of %" PRId64 " numbers", n);
            start_param(leaf, seed, room->numbers);
            status = graft_store_write(s, at, room->numbers, n * (int64_t)sizeof *room->numbers, err);
        }
    }
    return status;
}

static graft_status load_all(const graft_model *m, const graft_graph *g, graft_store *s, uint64_t seed, int changed, graft_error *err)
{
    graft_hold_room room = {0};
    uint8_t *used = graft_calloc((size_t)graft_weights_count(m->weights) + 1, 1);
    graft_status status = used ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory to load the weights");
    if (!status) status = fill(m, g, s, seed, changed, &room, used, err);
    if (!status) report_unused(m, used);
    graft_hold_room_free(&room);
    graft_weights_forget(m->weights);
    graft_free(used);
    return status;
}

graft_status graft_model_load(const graft_model *m, const graft_graph *g, graft_store *s, uint64_t seed, graft_error *err)
{
    graft_status status = load_all(m, g, s, seed, 0, err);
    if (!status && m->n_merged) status = graft_model_merge_first(m, s, seed, err);
    return status ? status : graft_model_start(m, g, s, seed, err);
}

graft_status graft_model_reload(const graft_model *m, const char *dir, const graft_graph *g, graft_store *s, graft_error *err)
{
    graft_model saved = *m;
    saved.path = dir;
    graft_status status = graft_weights_open(dir, &saved.weights, err);
    if (status) return status;
    status = load_all(&saved, g, s, 0, 1, err);
    graft_weights_close(saved.weights);
    return status;
}
