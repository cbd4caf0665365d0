/* core/model/hold.c - see hold.h.
 *
 *   files  --as stored-->  the store            bytes, rotary rows put back in order
 *   files  --f32--> bf16, f16, NF4, int8  -->   one weight at a time
 */
#include "core/model/hold.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/dequant.h"
#include "core/model/layout.h"
#include "core/model/quantise.h"
#include "graft/packed.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PIECE = 1 << 21 }; /* elements that are read at a time */

/* ---- which type ------------------------------------------------------------------------------------------------------------------------------- */

/* As the graph names and shapes it: so do GGUF files, and folders that hold a stack of experts whole. */
static const graft_weight_info *whole(const graft_model *m, const graft_value_info *leaf)
{
    if (!graft_weights_is_gguf(m->weights) && graft_layout_parts(m->table, leaf->name, &leaf->shape) == 1) return NULL;
    return graft_layout_find(m->weights, m->table, leaf->name);
}

/* Number of the file's tensors that make up the weight; part k of them in *part. */
static int64_t parts_of(const graft_model *m, const graft_value_info *leaf) { return whole(m, leaf) ? 1 : graft_layout_parts(m->table, leaf->name, &leaf->shape); }

static graft_status part_of(const graft_model *m, const graft_value_info *leaf, int64_t k, graft_stored_part *part, const graft_weight_info **t, graft_error *err)
{
    *t = whole(m, leaf);
    if (graft_layout_part(m->arena, *t ? NULL : m->table, leaf->name, &leaf->shape, k, part)) return graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory for the names of weights");
    if (!*t) *t = graft_layout_find(m->weights, m->table, part->name);
    return GRAFT_OK;
}

/* The type of all the tensors that make up the weight; f32 when they differ, are turned blocks, or are of a type that no weight is held in. */
static graft_dtype stored_type(const graft_model *m, const graft_value_info *leaf)
{
    const int64_t n = parts_of(m, leaf);
    graft_dtype all = GRAFT_F32;
    for (int64_t k = 0; k < n; k++) {
        graft_stored_part part;
        const graft_weight_info *t;
        graft_error ignored = GRAFT_ERROR_INIT;
        if (part_of(m, leaf, k, &part, &t, &ignored) || !t || !t->dtype) return GRAFT_F32;
        const graft_dtype type = (graft_dtype)t->dtype;
        const int half = type == GRAFT_BF16 || type == GRAFT_F16, blocks = type == GRAFT_Q4_0 || type == GRAFT_Q4_1 || type == GRAFT_Q8_0;
        if (!half && !(blocks && !part.transposed)) return GRAFT_F32;
        if (k && type != all) return GRAFT_F32;
        all = type;
    }
    return all;
}

/* Is it the weight of a linear layer, or of a stack of them, other than the head? */
static int is_linear(const graft_graph *g, const graft_value_info *leaf)
{
    int32_t n;
    const graft_site *sites = graft_graph_sites(g, &n);
    for (int32_t i = 0; i < n; i++)
        if (sites[i].weight.id && !strcmp(graft_graph_info(g, sites[i].weight)->name, leaf->name)) return sites[i].role != GRAFT_ROLE_HEAD && sites[i].role != GRAFT_ROLE_ROUTER && sites[i].role != GRAFT_ROLE_EMBED;
    return 0;
}

static int starts_by_changing(const graft_active_method *m) { return GRAFT_HAS(graft_method_table, m->table, changes) && m->table->changes && m->table->changes(m->run); }
static int may_train_later(const graft_active_method *m)
{
    return GRAFT_HAS(graft_method_table, m->table, on_step) && m->table->on_step && GRAFT_HAS(graft_method_table, m->table, trains) && m->table->trains;
}

/* Will no method of the graph write a base weight that it does not train now? */
static int stays(const graft_graph *g)
{
    int n;
    const graft_active_method *methods = graft_graph_active(g, &n);
    for (int i = 0; i < n; i++)
        if (starts_by_changing(&methods[i]) || may_train_later(&methods[i])) return 0;
    return 1;
}

/* Can a matrix of this shape be quantised? */
static int is_whole(const graft_shape *s, graft_dtype t)
{
    const int64_t columns = s->dims[s->rank - 1];
    return (t == GRAFT_INT8 ? columns : columns * s->dims[s->rank - 2]) % GRAFT_PACKED_BLOCK == 0;
}

graft_dtype graft_hold_numbers(const graft_model *m, const graft_graph *g, const graft_value_info *leaf)
{
    const graft_dtype t = m->base_dtype;
    if (leaf->trainable || leaf->assigned || leaf->shape.rank < 2 || t == GRAFT_F32 || m->n_merged || !stays(g)) return GRAFT_F32;
    if (graft_is_packed(t)) return is_linear(g, leaf) && is_whole(&leaf->shape, t) ? t : stored_type(m, leaf);
    return t ? t : stored_type(m, leaf);
}

static graft_dtype choose(const void *ctx, const graft_graph *g, const graft_value_info *leaf) { return graft_hold_numbers(ctx, g, leaf); }

/* 4 and 8 bits are for methods that leave the base as it is. */
static graft_status check_methods(const graft_model *m, const graft_graph *g, graft_error *err)
{
    int n;
    const graft_active_method *methods = graft_graph_active(g, &n);
    if (!graft_is_packed(m->base_dtype)) return GRAFT_OK;
    if (m->n_merged) return graft_fail(err, GRAFT_UNSUPPORTED, m->path, "the base cannot be held as %s: adapters are merged into it first; merge them with `graft export`, or leave out quantization_bit", graft_dtype_name(m->base_dtype));
    for (int i = 0; i < n; i++) {
        const graft_method_table *t = methods[i].table;
        const char *why = !(GRAFT_HAS(graft_method_table, t, files) && t->files) || may_train_later(&methods[i]) ? "trains the base's own weights" : starts_by_changing(&methods[i]) ? "begins by changing the base's weights"
                                                                                                                                                                                     : NULL;
        if (why) return graft_fail(err, GRAFT_UNSUPPORTED, m->path, "the base cannot be held as %s: the method %s %s; leave out quantization_bit, or use an adapter that starts at zero", graft_dtype_name(m->base_dtype), methods[i].name, why);
    }
    return GRAFT_OK;
}

graft_status graft_model_hold(const graft_model *m, graft_graph *const *graphs, int n, const graft_store *s, const graft_device *d, graft_error *err)
{
    const graft_status status = n ? check_methods(m, graphs[0], err) : GRAFT_OK;
    return status ? status : graft_graph_hold(graphs, n, s, d, choose, m, err);
}

/* The file's name for a type of blocks that no weight is held in; NULL: it is none. */
static const char *unheld_type(const graft_model *m, const graft_value_info *leaf)
{
    graft_stored_part part;
    const graft_weight_info *t;
    graft_error ignored = GRAFT_ERROR_INIT;
    if (part_of(m, leaf, 0, &part, &t, &ignored) || !t || t->dtype || t->storage->block == 1) return NULL;
    return t->dtype_name;
}

void graft_model_hold_say(const graft_model *m, const graft_graph *g, const graft_device *d)
{
    enum { TYPES = GRAFT_INT8 + 1 };
    int held[TYPES] = {0}, wider = 0, unheld = 0;
    const char *name = "";
    graft_dtype lacking = GRAFT_F32;
    char text[256] = "";
    for (int32_t i = 1; i < g->n_values; i++) {
        const graft_value_info *v = &g->values[i];
        if (v->node >= 0 || v->place != GRAFT_PLACE_WEIGHT || v->start != GRAFT_START_CHECKPOINT || (int)v->shape.dtype >= TYPES) continue;
        const graft_dtype numbers = graft_hold_numbers(m, g, v);
        held[v->shape.dtype]++;
        const char *type = v->shape.dtype == GRAFT_F32 && v->shape.rank >= 2 && !v->trainable ? unheld_type(m, v) : NULL;
        if (type) unheld++, name = type;
        if (v->shape.dtype == GRAFT_F32 && numbers != GRAFT_F32) wider++, lacking = numbers;
    }
    for (int t = 0; t < TYPES; t++) {
        const size_t at = strlen(text);
        if (held[t] && t != (int)GRAFT_F32) snprintf(text + at, sizeof text - at, "%s%d as %s", at ? ", " : "", held[t], graft_dtype_name((graft_dtype)t));
    }
    if (*text) graft_log(GRAFT_LOG_INFO, "weights are held %s, %d as f32", text, held[GRAFT_F32]);
    if (unheld && !m->base_dtype) graft_log(GRAFT_LOG_INFO, "%d weights are stored as %s, which no weight is held in: they are f32; base_dtype=bf16, int8 or nf4 takes less", unheld, name);
    if (wider) graft_log(GRAFT_LOG_INFO, "backend %s cannot read every weight as %s: %d are held in f32, with the same numbers", d->name, graft_dtype_name(lacking), wider);
}

graft_status graft_store_read_f32(const graft_store *s, int at, float *to, graft_error *err)
{
    const graft_shape shape = graft_store_shape(s, at);
    const int64_t bytes = graft_store_tensor_bytes(s, at), n = graft_shape_elements(&shape, (const int64_t[GRAFT_SYMBOLS]){0});
    if (shape.dtype == GRAFT_F32) return graft_store_read(s, at, to, bytes, err);
    uint8_t *raw = graft_calloc((size_t)bytes + 1, 1);
    const graft_status status = raw ? graft_store_read(s, at, raw, bytes, err) : graft_fail(err, GRAFT_NO_MEMORY, graft_store_name(s, at), "no memory to read the weight");
    if (!status) graft_widen(shape.dtype, raw, n, to);
    graft_free(raw);
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------------------------------- */

static const char *dims_text(char out[128], int32_t rank, const int64_t *dims)
{
    int at = snprintf(out, 128, "[");
    for (int32_t i = 0; i < rank && at < 100; i++) at += snprintf(out + at, 128 - (size_t)at, "%s%" PRId64, i ? ", " : "", dims[i]);
    snprintf(out + at, 128 - (size_t)at, "]");
    return out;
}

static graft_status check_part(const graft_value_info *leaf, const graft_stored_part *part, const graft_weight_info *t, graft_error *err)
{
    int same = t->rank == part->rank;
    for (int32_t i = 0; same && i < t->rank; i++) same = t->dims[i] == part->dims[i];
    char found[128], expected[128];
    if (same) return GRAFT_OK;
    return graft_fail(err, GRAFT_BAD_INPUT, t->file, "the weight \"%s\" has the shape %s, config.json asks for %s; they do not belong together", t->stored ? t->stored : leaf->name,
                      dims_text(found, t->rank, t->dims), dims_text(expected, part->rank, part->dims));
}

/* Grown, not kept: 0, or -1 without memory. */
static int need(void **p, int64_t *have, int64_t n, size_t size)
{
    if (n <= *have) return 0;
    graft_free(*p);
    *p = n > 0 && (uint64_t)n < SIZE_MAX / size ? graft_calloc((size_t)n, size) : NULL;
    *have = *p ? n : 0;
    return *p ? 0 : -1;
}
#define NEED(room_, field_, count_) need((void **)&(room_)->field_, &(room_)->n_##field_, count_, sizeof *(room_)->field_)

void graft_hold_room_free(graft_hold_room *room)
{
    graft_free(room->numbers);
    graft_free(room->scratch);
    graft_free(room->scales);
    graft_free(room->bytes);
    *room = (graft_hold_room){0};
}

int graft_hold_room_numbers(graft_hold_room *room, int64_t n) { return NEED(room, numbers, n); }

static graft_status no_room(const graft_model *m, int64_t n, graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory for a weight of %" PRId64 " numbers", n); }

static graft_status read_numbers(const graft_model *m, const graft_stored_part *part, const graft_weight_info *t, graft_hold_room *room, graft_error *err)
{
    if (NEED(room, numbers, part->elements) || (part->transposed && NEED(room, scratch, part->elements))) return no_room(m, part->elements, err);
    const graft_status status = graft_weights_read_f32(t, part->transposed ? room->scratch : room->numbers, err);
    if (!status && part->transposed) graft_layout_transpose(room->numbers, room->scratch, part->dims[0], part->dims[1]);
    return status;
}

/* room->numbers, n of them in rows, to room->bytes in the type. */
static graft_status encode(const graft_model *m, graft_dtype t, int64_t n, int64_t columns, graft_hold_room *room, graft_error *err)
{
    if (NEED(room, bytes, graft_dtype_bytes(t, n)) || (graft_is_packed(t) && NEED(room, scales, n / GRAFT_PACKED_BLOCK + 1))) return no_room(m, n, err);
    uint16_t *half = (uint16_t *)(void *)room->bytes;
    if (graft_is_packed(t)) graft_quantise(t, room->numbers, n / columns, columns, room->bytes, room->scales);
    else
        for (int64_t i = 0; i < n; i++) half[i] = t == GRAFT_BF16 ? graft_f32_to_bf16(room->numbers[i]) : graft_f32_to_f16(room->numbers[i]);
    return GRAFT_OK;
}

/* Rows of the file that lie as the store wants them, or become so one by one: a piece at a time, so that nothing is twice in memory. */
static graft_status load_rows(const graft_model *m, const graft_stored_part *part, const graft_weight_info *t, graft_store *s, int at, graft_hold_room *room, graft_error *err)
{
    const graft_dtype held = graft_store_shape(s, at).dtype;
    const int64_t columns = graft_weights_columns(t), rows = part->elements / columns, most = columns < PIECE ? PIECE / columns : 1;
    const int same = (int)held == t->dtype && held != GRAFT_F32;
    graft_status status = GRAFT_OK;
    for (int64_t row = 0; row < rows && !status; row += most) {
        const int64_t n = (rows - row < most ? rows - row : most), elements = n * columns;
        const int64_t offset = graft_dtype_bytes(held, part->first + row * columns), bytes = graft_dtype_bytes(held, elements);
        if (same ? NEED(room, bytes, bytes) : NEED(room, numbers, elements)) return no_room(m, elements, err);
        if (same) graft_weights_read_stored(t, row, n, room->bytes);
        else status = graft_weights_read_rows(t, row, n, room->numbers, err);
        if (!status && !same && held != GRAFT_F32) status = encode(m, held, elements, columns, room, err);
        if (!status) status = graft_store_write_at(s, at, offset, held == GRAFT_F32 ? (const void *)room->numbers : room->bytes, bytes, err);
    }
    return status;
}

/* One matrix or vector of the file into its place in the store. */
static graft_status load_part(const graft_model *m, const graft_graph *g, const graft_value_info *leaf, const graft_stored_part *part, const graft_weight_info *t, graft_store *s, int at, graft_hold_room *room, graft_error *err)
{
    const graft_dtype held = graft_store_shape(s, at).dtype;
    const graft_dtype numbers = held == GRAFT_F32 ? graft_hold_numbers(m, g, leaf) : held;
    const int64_t offset = graft_dtype_bytes(held, part->first), bytes = graft_dtype_bytes(held, part->elements), columns = leaf->shape.rank ? leaf->shape.dims[leaf->shape.rank - 1] : 1;
    const int narrowed = held == GRAFT_F32 && numbers != held && (int)numbers != t->dtype; /* the numbers of a type that this device cannot read */
    graft_status status = check_part(leaf, part, t, err);
    if (status || !part->elements) return status;
    if (!part->transposed && !graft_is_packed(held) && !narrowed) return load_rows(m, part, t, s, at, room, err);
    status = read_numbers(m, part, t, room, err);
    if (!status && (held != GRAFT_F32 || narrowed)) status = encode(m, numbers, part->elements, columns, room, err);
    if (!status && narrowed) graft_widen(numbers, room->bytes, part->elements, room->numbers);
    return status ? status : graft_store_write_at(s, at, offset, held == GRAFT_F32 ? (const void *)room->numbers : room->bytes, bytes, err);
}

static graft_status missing(const graft_model *m, const char *name, graft_error *err)
{
    return graft_fail(err, GRAFT_BAD_INPUT, m->path, "the weight \"%s\" is missing (the file holds %" PRId64 " others); config.json and weights do not belong together, or the model is incomplete",
                      name, graft_weights_count(m->weights));
}

graft_status graft_hold_load(const graft_model *m, const graft_graph *g, const graft_value_info *leaf, graft_store *s, int at, graft_hold_room *room, uint8_t *used, graft_error *err)
{
    const int64_t n = parts_of(m, leaf);
    graft_status status = GRAFT_OK;
    for (int64_t k = 0; k < n && !status; k++) {
        graft_stored_part part;
        const graft_weight_info *t;
        status = part_of(m, leaf, k, &part, &t, err);
        if (!status && t) used[t - graft_weights_at(m->weights, 0)] = 1;
        if (!status && at >= 0) status = t ? load_part(m, g, leaf, &part, t, s, at, room, err) : missing(m, part.name, err);
    }
    return status;
}
