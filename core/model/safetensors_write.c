/* core/model/safetensors_write.c - writes safetensors files byte for byte as the safetensors library lays them out, and models in shards.
 *
 * Header: compact JSON, __metadata__ first, tensors by alignment of their dtype descending and then by name, spaces up to a multiple of 8.
 * A file is written beside its name and renamed, so that the name holds the old or the new content, whole. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/model/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 20 };
static const int64_t default_shard = 5000000000;

/* Order: the library's list of dtypes backwards. */
static int rank_of(graft_dtype t) { return t == GRAFT_F32 ? 0 : t == GRAFT_I32 ? 1
                                                            : t == GRAFT_BF16  ? 2
                                                                               : 3; }
static const char *name_of(graft_dtype t) { return t == GRAFT_F32 ? "F32" : t == GRAFT_I32 ? "I32"
                                                                        : t == GRAFT_BF16  ? "BF16"
                                                                                           : "F16"; }

static int in_file_order(const void *x, const void *y)
{
    const graft_tensor_out *a = *(const graft_tensor_out *const *)x, *b = *(const graft_tensor_out *const *)y;
    const int order = rank_of(a->dtype) - rank_of(b->dtype);
    return order ? order : strcmp(a->name, b->name);
}

/* -1 on overflow. */
static int64_t bytes_of(const graft_tensor_out *t)
{
    int64_t n = t->dtype == GRAFT_F32 || t->dtype == GRAFT_I32 ? 4 : 2;
    for (int32_t i = 0; i < t->rank; i++)
        if (t->dims[i] < 0 || graft_mul_overflows(n, t->dims[i], &n)) return -1;
    return n;
}

static graft_status make_header(graft_str *out, const char *path, const graft_tensor_out *const *order, int64_t n, graft_error *err)
{
    int64_t at = 0;
    graft_str_text(out, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int64_t i = 0; i < n; i++) {
        const graft_tensor_out *t = order[i];
        const int64_t bytes = bytes_of(t), begin = at;
        if (bytes < 0 || graft_add_overflows(at, bytes, &at)) return graft_fail(err, GRAFT_INTERNAL, path, "tensor \"%.200s\" is too large to write", t->name);
        graft_str_text(out, ",");
        graft_str_json(out, t->name, strlen(t->name));
        graft_str_printf(out, ":{\"dtype\":\"%s\",\"shape\":[", name_of(t->dtype));
        for (int32_t d = 0; d < t->rank; d++) graft_str_printf(out, "%s%" PRId64, d ? "," : "", t->dims[d]);
        graft_str_printf(out, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", begin, at);
    }
    graft_str_text(out, "}");
    while (out->bytes % 8 && !out->failed) graft_str_text(out, " ");
    return out->failed ? graft_fail(err, GRAFT_NO_MEMORY, path, "no memory for the header") : GRAFT_OK;
}

static graft_status write_tensors(graft_file *f, const graft_tensor_out *const *order, int64_t n, uint8_t *piece, graft_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        const graft_tensor_out *t = order[i];
        const int64_t bytes = bytes_of(t);
        for (int64_t at = 0; at < bytes; at += PIECE) {
            const int64_t now = bytes - at < PIECE ? bytes - at : PIECE;
            graft_status status = t->read(t->ctx, at, piece, now, err);
            if (!status) status = graft_file_write(f, piece, (size_t)now, err);
            if (status) return status;
        }
    }
    return GRAFT_OK;
}

static graft_status write_file(const char *path, const graft_tensor_out *const *order, int64_t n, uint8_t *piece, graft_error *err)
{
    graft_str header;
    graft_str_init(&header, 100000000);
    graft_file *f = NULL;
    graft_status status = make_header(&header, path, order, n, err);
    if (!status) status = graft_file_create(&f, path, err);
    if (!status) {
        uint8_t length[8];
        for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header.bytes >> 8 * i);
        status = graft_file_write(f, length, sizeof length, err);
        if (!status) status = graft_file_write(f, header.data, header.bytes, err);
        if (!status) status = write_tensors(f, order, n, piece, err);
        if (!status) status = graft_file_finish(f, err);
        else graft_file_abandon(f);
    }
    graft_str_free(&header);
    return status;
}

graft_status graft_safetensors_write(const char *path, const graft_tensor_out *t, int64_t n, graft_error *err)
{
    const graft_tensor_out **order = graft_calloc((size_t)n + 1, sizeof *order);
    uint8_t *piece = graft_calloc(1, PIECE);
    char *beside = graft_calloc(strlen(path) + 5, 1);
    graft_status status;
    if (!order || !piece || !beside) {
        status = graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to write the file");
    } else {
        for (int64_t i = 0; i < n; i++) order[i] = &t[i];
        qsort(order, (size_t)n, sizeof *order, in_file_order);
        memcpy(beside, path, strlen(path));
        memcpy(beside + strlen(path), ".tmp", 5);
        status = write_file(beside, order, n, piece, err);
        if (!status) status = graft_path_rename(beside, path, err);
        graft_error ignored = GRAFT_ERROR_INIT;
        if (status) graft_path_remove(beside, &ignored);
    }
    graft_free(order);
    graft_free(piece);
    graft_free(beside);
    return status;
}

/* ---- a folder of shards ------------------------------------------------------------------------------------------------------------------- */

typedef struct shards {
    int32_t *of;
    int32_t count;
    int64_t total, elements;
} shards; /* shard number of each tensor, from 1 */

/* Greedy in the given order; a tensor above the limit has a shard of its own. */
static graft_status divide(const char *dir, const graft_tensor_out *t, int64_t n, int64_t limit, shards *s, graft_error *err)
{
    int64_t filled = 0;
    s->count = 1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t bytes = bytes_of(&t[i]);
        if (bytes < 0 || graft_add_overflows(s->total, bytes, &s->total)) return graft_fail(err, GRAFT_INTERNAL, dir, "tensor \"%.200s\" is too large to write", t[i].name);
        if (filled && filled + bytes > limit) s->count++, filled = 0;
        filled += bytes;
        s->of[i] = s->count;
        s->elements += bytes / (t[i].dtype == GRAFT_F32 || t[i].dtype == GRAFT_I32 ? 4 : 2);
    }
    return GRAFT_OK;
}

static void shard_name(char out[64], int32_t i, int32_t count)
{
    if (count == 1) snprintf(out, 64, "model.safetensors");
    else snprintf(out, 64, "model-%05" PRId32 "-of-%05" PRId32 ".safetensors", i, count);
}

static graft_status write_index(const char *dir, const graft_tensor_out *t, int64_t n, const shards *s, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    char *path = graft_path_join(dir, "model.safetensors.index.json");
    graft_str text;
    graft_str_init(&text, 0);
    graft_status status = GRAFT_OK;
    if (a && path) {
        graft_json *root = graft_json_new(a, GRAFT_JSON_OBJECT), *metadata = graft_json_new(a, GRAFT_JSON_OBJECT), *map = graft_json_new(a, GRAFT_JSON_OBJECT);
        graft_json_put(a, metadata, "total_parameters", graft_json_int(a, s->elements));
        graft_json_put(a, metadata, "total_size", graft_json_int(a, s->total));
        for (int64_t i = 0; i < n; i++) {
            char name[64];
            shard_name(name, s->of[i], s->count);
            graft_json_put(a, map, t[i].name, graft_json_text(a, name, strlen(name)));
        }
        graft_json_put(a, root, "metadata", metadata);
        graft_json_put(a, root, "weight_map", map);
        graft_json_write(&text, root, 2, 1);
        graft_str_text(&text, "\n");
    }
    if (!a || !path || text.failed) status = graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory for the index of shards");
    else status = graft_file_replace(path, text.data, text.bytes, err);
    graft_str_free(&text);
    graft_free(path);
    graft_arena_free(a);
    return status;
}

/* Shards of an earlier save that are not of this one, or the index and single file that this one does not use. */
static graft_status remove_older(const char *dir, int32_t count, graft_error *err)
{
    char **names, keep[64];
    size_t n;
    graft_status status = graft_dir_list(dir, &names, &n, err);
    if (status) return status;
    for (size_t i = 0; i < n && !status; i++) {
        int old = count == 1 ? !strcmp(names[i], "model.safetensors.index.json") : !strcmp(names[i], "model.safetensors");
        int32_t number, of, end = 0;
        if (sscanf(names[i], "model-%5" SCNd32 "-of-%5" SCNd32 ".safetensors%n", &number, &of, &end) == 2 && end && !names[i][end]) {
            shard_name(keep, number, of);
            old = !strcmp(names[i], keep) && (count == 1 || of != count);
        }
        if (!old) continue;
        char *path = graft_path_join(dir, names[i]);
        status = path ? graft_path_remove(path, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory for a path");
        graft_free(path);
    }
    graft_dir_list_free(names, n);
    return status;
}

/* The tensors of shard i, gathered. */
static graft_status write_shard(const char *dir, const graft_tensor_out *t, int64_t n, const shards *s, int32_t i, graft_error *err)
{
    char name[64];
    shard_name(name, i, s->count);
    graft_tensor_out *some = graft_calloc((size_t)n + 1, sizeof *some);
    char *path = graft_path_join(dir, name);
    int64_t m = 0;
    for (int64_t j = 0; some && j < n; j++)
        if (s->of[j] == i) some[m++] = t[j];
    const graft_status status = some && path ? graft_safetensors_write(path, some, m, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory to write a shard");
    graft_free(some);
    graft_free(path);
    return status;
}

graft_status graft_safetensors_write_model(const char *dir, const graft_tensor_out *t, int64_t n, int64_t shard_bytes, graft_error *err)
{
    shards s = {.of = graft_calloc((size_t)n + 1, sizeof *s.of)};
    if (!s.of) return graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory for %" PRId64 " tensors", n);
    graft_status status = divide(dir, t, n, shard_bytes > 0 ? shard_bytes : default_shard, &s, err);
    for (int32_t i = 1; i <= s.count && !status; i++) status = write_shard(dir, t, n, &s, i, err);
    if (!status && s.count > 1) status = write_index(dir, t, n, &s, err);
    if (!status) status = remove_older(dir, s.count, err);
    graft_free(s.of);
    return status;
}
