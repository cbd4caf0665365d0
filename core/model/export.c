/* core/model/export.c - see export.h. One weight at a time is read from the device. */
#include "core/model/export.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/model/hold.h"
#include "core/model/layout.h"

#include <inttypes.h>
#include <string.h>

/* What all tensors of one export share: they are written one after the other, so two buffers do, each as large as the largest weight. What in_pieces names needs neither. */
typedef struct shared {
    const graft_graph *graph;
    const graft_store *store;
    const graft_model_table *layouts;
    graft_arena *arena;
    graft_dtype dtype;
    int held; /* index of the weight in `weight`, -1: none */
    float *weight, *turned;
    int64_t largest, turned_bytes;
} shared;

typedef struct source {
    shared *all;
    int index;
    graft_stored_part part;
    const uint8_t *kept; /* of a matrix, the entries of the axis that the file has; NULL: all */
    int axis;
    int64_t rows, columns; /* of the whole matrix, with kept */
} source;

/* The marked rows or columns of a matrix, side by side. */
static void compact(const source *f, const float *from, float *to)
{
    for (int64_t i = 0; i < f->rows; i++)
        for (int64_t k = 0; k < f->columns; k++)
            if (f->kept[f->axis ? k : i]) *to++ = from[i * f->columns + k];
}

/* The part as the file holds it. */
static graft_status fetch(const source *f, const float **from, graft_error *err)
{
    shared *all = f->all;
    if (all->held != f->index) {
        all->held = -1;
        const graft_status status = graft_store_read_f32(all->store, f->index, all->weight, err);
        if (status) return status;
        all->held = f->index;
    }
    *from = all->weight + f->part.first;
    return GRAFT_OK;
}

/* Do the pieces of the file follow from those of the store, without a buffer for the whole weight? */
static int in_pieces(const shared *all, graft_dtype stored, const source *f)
{
    return all->dtype == GRAFT_F32 && !f->part.transposed && !f->kept && (stored == GRAFT_F32 || stored == GRAFT_BF16 || stored == GRAFT_F16);
}

/* n numbers from `first` of the part on, of two bytes each: they are read into the second half of `to` and widened towards its end. */
static graft_status widen_piece(const source *f, graft_dtype stored, int64_t first, void *to, int64_t n, graft_error *err)
{
    char *out = to;
    const char *half = out + 2 * n;
    const graft_status status = graft_store_read_part(f->all->store, f->index, 2 * (f->part.first + first), out + 2 * n, 2 * n, err);
    for (int64_t i = 0; i < n && !status; i++) {
        uint16_t x;
        memcpy(&x, half + 2 * i, 2);
        const float v = stored == GRAFT_BF16 ? graft_bf16_to_f32(x) : graft_f16_to_f32(x);
        memcpy(out + 4 * i, &v, 4);
    }
    return status;
}

static graft_status read_piece(void *ctx, int64_t offset, void *to, int64_t bytes, graft_error *err)
{
    const source *f = ctx;
    const shared *all = f->all;
    const float *from;
    const graft_dtype stored = graft_store_shape(all->store, f->index).dtype;
    if (in_pieces(all, stored, f)) return stored == GRAFT_F32 ? graft_store_read_part(all->store, f->index, 4 * f->part.first + offset, to, bytes, err) : widen_piece(f, stored, offset / 4, to, bytes / 4, err);
    const graft_status status = fetch(f, &from, err);
    if (status) return status;
    if (f->part.transposed) {
        if (!offset) graft_layout_transpose(all->turned, from, f->part.dims[1], f->part.dims[0]);
        from = all->turned;
    }
    if (f->kept) {
        if (!offset) compact(f, from, all->turned);
        from = all->turned;
    }
    const int64_t size = all->dtype == GRAFT_F32 ? 4 : 2;
    uint16_t *half = to;
    from += offset / size;
    if (size == 4) memcpy(to, from, (size_t)bytes);
    for (int64_t i = 0; size == 2 && i < bytes / size; i++) half[i] = all->dtype == GRAFT_BF16 ? graft_f32_to_bf16(from[i]) : graft_f32_to_f16(from[i]);
    return GRAFT_OK;
}

static int exported(const graft_value_info *v, int owner)
{
    return v->place == GRAFT_PLACE_WEIGHT && v->node < 0 && v->name && (owner < 0 ? v->from_method < 0 && v->start == GRAFT_START_CHECKPOINT : graft_adapter_owns(v, owner));
}

/* What a method keeps of a matrix in its file. */
static void choose_rows(const graft_active_method *names, const graft_value_info *v, source *f)
{
    const graft_method_table *t = names ? names->table : NULL;
    if (!t || v->shape.rank != 2 || !GRAFT_HAS(graft_method_table, t, file_rows) || !t->file_rows) return;
    if (!t->file_rows(names->run, graft_graph_plain_name(v->name), &f->axis, &f->kept) || !f->kept || f->axis < 0 || f->axis > 1) {
        f->kept = NULL;
        return;
    }
    f->rows = v->shape.dims[0], f->columns = v->shape.dims[1];
    int64_t n = 0;
    for (int64_t i = 0; i < v->shape.dims[f->axis]; i++) n += f->kept[i] != 0;
    f->part.dims[f->axis] = n;
    f->part.elements = f->part.dims[0] * f->part.dims[1];
}

int graft_export_is_partial(const graft_graph *g, int owner, const graft_active_method *names)
{
    int any = 0;
    for (int32_t i = 1; i < g->n_values; i++) {
        source f = {0};
        if (exported(&g->values[i], owner)) choose_rows(names, &g->values[i], &f);
        any |= f.kept != NULL;
    }
    return any;
}

/* Tensors of all weights; out NULL: only counts them. */
static graft_status collect(shared *all, int owner, const graft_active_method *names, graft_tensor_out *out, source *from, int64_t *n, graft_error *err)
{
    *n = 0;
    for (int32_t i = 1; i < all->graph->n_values; i++) {
        const graft_value_info *v = &all->graph->values[i];
        if (!exported(v, owner)) continue;
        const int split = v->shape.rank == 3 && graft_adapter_part(all->arena, names, v->name, 0) != NULL; /* one tensor for each entry of the first axis */
        const int at = graft_store_find(all->store, v->name);
        if (at < 0) return graft_fail(err, GRAFT_INTERNAL, v->name, "the weight to save is not in the store");
        const graft_shape shape = graft_store_shape(all->store, at);
        const int64_t bytes = graft_shape_elements(&shape, (const int64_t[GRAFT_SYMBOLS]){0}) * 4, parts = split ? v->shape.dims[0] : graft_layout_parts(all->layouts, v->name, &v->shape);
        for (int64_t k = 0; k < parts; k++, (*n)++) {
            graft_stored_part part;
            if (split) part = (graft_stored_part){.name = v->name, .rank = 2, .dims = {v->shape.dims[1], v->shape.dims[2]}, .first = k * v->shape.dims[1] * v->shape.dims[2], .elements = v->shape.dims[1] * v->shape.dims[2]};
            else if (graft_layout_part(all->arena, all->layouts, v->name, &v->shape, k, &part)) return graft_fail(err, GRAFT_NO_MEMORY, v->name, "no memory to save the weights");
            source rows = {.part = part};
            choose_rows(names, v, &rows);
            if (rows.kept && bytes > all->turned_bytes) all->turned_bytes = bytes;
            if (!in_pieces(all, shape.dtype, &rows) && bytes > all->largest) all->largest = bytes;
            if (part.transposed && 4 * part.elements > all->turned_bytes) all->turned_bytes = 4 * part.elements;
            if (!out) continue;
            source *f = &from[*n];
            *f = rows;
            f->all = all, f->index = at;
            const char *name = split ? graft_adapter_part(all->arena, names, v->name, k) : graft_adapter_name(all->arena, names, part.name);
            if (!name) return graft_fail(err, GRAFT_NO_MEMORY, v->name, "no memory to save the weights");
            out[*n] = (graft_tensor_out){.name = name, .dtype = all->dtype, .rank = f->part.rank, .read = read_piece, .ctx = f};
            memcpy(out[*n].dims, f->part.dims, sizeof f->part.dims);
        }
    }
    return GRAFT_OK;
}

static graft_status write_all(shared *all, int owner, const graft_active_method *names, const char *path, int64_t shard_bytes, graft_error *err)
{
    int64_t n = 0;
    graft_status status = collect(all, owner, names, NULL, NULL, &n, err);
    if (status) return status;
    graft_tensor_out *out = graft_arena_alloc(all->arena, (size_t)(n + 1) * sizeof *out);
    source *from = graft_arena_alloc(all->arena, (size_t)(n + 1) * sizeof *from);
    all->weight = graft_calloc((size_t)all->largest + 4, 1);
    all->turned = graft_calloc((size_t)all->turned_bytes + 4, 1);
    if (!out || !from || !all->weight || !all->turned) return graft_fail(err, GRAFT_NO_MEMORY, path, "no memory for a weight of %" PRId64 " bytes", all->largest);
    status = collect(all, owner, names, out, from, &n, err);
    if (status) return status;
    return shard_bytes < 0 ? graft_safetensors_write(path, out, n, err) : graft_safetensors_write_model(path, out, n, shard_bytes, err);
}

graft_status graft_export_weights(const graft_graph *g, const graft_store *s, int owner, const graft_active_method *names, const graft_model_table *layouts, graft_dtype dtype, const char *path, int64_t shard_bytes, graft_error *err)
{
    if (dtype != GRAFT_F32 && dtype != GRAFT_BF16 && dtype != GRAFT_F16) return graft_fail(err, GRAFT_UNSUPPORTED, path, "weights are saved as float32, bfloat16 or float16");
    shared all = {.graph = g, .store = s, .layouts = layouts, .arena = graft_arena_new(), .dtype = dtype, .held = -1};
    const graft_status status = all.arena ? write_all(&all, owner, names, path, shard_bytes, err) : graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to save the weights");
    graft_free(all.weight);
    graft_free(all.turned);
    graft_arena_free(all.arena);
    return status;
}

graft_status graft_export_json(const char *dir, const char *name, const graft_json *object, graft_error *err)
{
    char *path = graft_path_join(dir, name);
    graft_str text;
    graft_str_init(&text, 0);
    graft_json_write(&text, object, 2, 1);
    graft_str_text(&text, "\n");
    const graft_status status = path && !text.failed ? graft_file_replace(path, text.data, text.bytes, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory to write %s", name);
    graft_str_free(&text);
    graft_free(path);
    return status;
}
