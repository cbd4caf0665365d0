/* core/model/export.c - see export.h. One tensor at a time is read from the device; the buffer is as large as the largest. */
#include "core/model/export.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

#include <inttypes.h>
#include <string.h>

typedef struct source {
    const graft_store *store;
    int index;
    graft_dtype dtype;
    float *buffer; /* shared by all sources: tensors are written one after the other */
} source;

static graft_status read_piece(void *ctx, int64_t offset, void *to, int64_t bytes, graft_error *err)
{
    const source *f = ctx;
    if (!offset) {
        const graft_status status = graft_store_read(f->store, f->index, f->buffer, graft_store_tensor_bytes(f->store, f->index), err);
        if (status) return status;
    }
    const int64_t size = f->dtype == GRAFT_F32 ? 4 : 2;
    const float *from = f->buffer + offset / size;
    uint16_t *half = to;
    if (size == 4) memcpy(to, from, (size_t)bytes);
    for (int64_t i = 0; size == 2 && i < bytes / size; i++) half[i] = f->dtype == GRAFT_BF16 ? graft_f32_to_bf16(from[i]) : graft_f32_to_f16(from[i]);
    return GRAFT_OK;
}

static int exported(const graft_value_info *v, int owner)
{
    return v->place == GRAFT_PLACE_WEIGHT && v->node < 0 && v->name && v->from_method == owner && (owner >= 0 || v->start == GRAFT_START_CHECKPOINT);
}

static graft_status collect(const graft_graph *g, const graft_store *s, int owner, const char *prefix, graft_arena *a, graft_tensor_out *out, source *from, int64_t *n, int64_t *largest, graft_error *err)
{
    for (int32_t i = 1; i < g->n_values; i++) {
        const graft_value_info *v = &g->values[i];
        if (!exported(v, owner)) continue;
        const int at = graft_store_find(s, v->name);
        if (at < 0) return graft_fail(err, GRAFT_INTERNAL, v->name, "the weight to save is not in the store");
        const int64_t bytes = graft_store_tensor_bytes(s, at);
        if (bytes > *largest) *largest = bytes;
        from[*n].store = s, from[*n].index = at;
        out[*n] = (graft_tensor_out){.name = graft_arena_printf(a, "%s%s", prefix, v->name), .dtype = from[*n].dtype, .rank = v->shape.rank, .read = read_piece, .ctx = &from[*n]};
        memcpy(out[*n].dims, v->shape.dims, sizeof v->shape.dims);
        if (!out[(*n)++].name) return graft_fail(err, GRAFT_NO_MEMORY, v->name, "no memory to save the weights");
    }
    return GRAFT_OK;
}

graft_status graft_export_weights(const graft_graph *g, const graft_store *s, int owner, const char *prefix, graft_dtype dtype, const char *path, int64_t shard_bytes, graft_error *err)
{
    if (dtype != GRAFT_F32 && dtype != GRAFT_BF16 && dtype != GRAFT_F16) return graft_fail(err, GRAFT_UNSUPPORTED, path, "weights are saved as float32, bfloat16 or float16");
    graft_arena *a = graft_arena_new();
    graft_tensor_out *out = a ? graft_arena_alloc(a, (size_t)g->n_values * sizeof *out) : NULL;
    source *from = out ? graft_arena_alloc(a, (size_t)g->n_values * sizeof *from) : NULL;
    float *buffer = NULL;
    int64_t n = 0, largest = 4;
    graft_status status = from ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to save the weights");
    for (int32_t i = 0; !status && i < g->n_values; i++) from[i].dtype = dtype;
    if (!status) status = collect(g, s, owner, prefix, a, out, from, &n, &largest, err);
    if (!status && !(buffer = graft_calloc((size_t)largest, 1))) status = graft_fail(err, GRAFT_NO_MEMORY, path, "no memory for a weight of %" PRId64 " bytes", largest);
    for (int64_t i = 0; i < n; i++) from[i].buffer = buffer;
    if (!status) status = shard_bytes < 0 ? graft_safetensors_write(path, out, n, err) : graft_safetensors_write_model(path, out, n, shard_bytes, err);
    graft_free(buffer);
    graft_arena_free(a);
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
