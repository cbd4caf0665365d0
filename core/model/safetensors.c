/* core/model/safetensors.c - reads the header of a .safetensors file. Nothing is believed: every length, dtype, shape and offset is checked.
 *
 *   0      8            8 + N                              end of file
 *   | N    | JSON header | data: every byte belongs to exactly one tensor |
 *
 * N: u64 little endian, at most 100,000,000. Header: {"__metadata__": {text: text}, NAME: {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}};
 * offsets count from the data's first byte. */
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/model/containers.h"
#include "core/model/dequant.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100000000,
       MAX_RANK = 8 };

graft_weight_info *graft_weight_list_add(graft_weight_list *l)
{
    if (graft_grow((void **)&l->at, &l->room, l->n + 1, sizeof *l->at)) return NULL;
    memset(&l->at[l->n], 0, sizeof *l->at);
    return &l->at[l->n++];
}

int64_t graft_storage_bytes(const graft_storage *s, int32_t rank, const int64_t *dims)
{
    int64_t n = 1, bytes;
    for (int32_t i = 0; i < rank; i++)
        if (graft_mul_overflows(n, dims[i], &n)) return -1;
    if (n % s->block || (rank && dims[rank - 1] % s->block && s->block >= 32)) return -1;
    if (graft_mul_overflows(n / s->block, s->bytes, &bytes) || n > INT64_MAX / 8) return -1;
    return bytes;
}

static graft_status bad(graft_error *err, const char *file, const char *name, const char *reason)
{
    return graft_fail(err, GRAFT_BAD_INPUT, file, "tensor \"%.200s\": %s; the file is damaged or was not written by safetensors", name, reason);
}

/* A list of non-negative integers; how many, or -1. */
static int32_t integers(const graft_json *list, int64_t *to, int64_t room)
{
    if (!list || list->type != GRAFT_JSON_ARRAY || list->count > room) return -1;
    int32_t n = 0;
    for (const graft_json *v = list->child; v; v = v->next) {
        if (v->type != GRAFT_JSON_NUMBER || !v->integral || v->integer < 0) return -1;
        to[n++] = v->integer;
    }
    return n;
}

/* One entry of the header. begin and end go to the info as data and bytes. */
static graft_status read_entry(const char *file, const graft_json *entry, const uint8_t *data, int64_t room, graft_weight_info *t, graft_error *err)
{
    if (strlen(entry->key) != entry->key_bytes) return bad(err, file, entry->key, "its name holds a NUL byte");
    if (entry->type != GRAFT_JSON_OBJECT) return bad(err, file, entry->key, "its description is not an object");
    const graft_json *dtype = graft_json_get(entry, "dtype"), *shape = graft_json_get(entry, "shape"), *offsets = graft_json_get(entry, "data_offsets");
    if (!dtype || dtype->type != GRAFT_JSON_TEXT) return bad(err, file, entry->key, dtype ? "dtype is not text" : "dtype is missing");
    if (!shape) return bad(err, file, entry->key, "shape is missing");
    if (!offsets) return bad(err, file, entry->key, "data_offsets is missing");
    t->storage = graft_storage_by_name(dtype->text);
    if (!t->storage)
        return graft_fail(err, GRAFT_BAD_INPUT, file, "tensor \"%.200s\": unknown dtype \"%.40s\"; known are F32, F16, BF16, F64 and the integers", entry->key, dtype->text);
    if (shape->type == GRAFT_JSON_ARRAY && shape->count > MAX_RANK) return bad(err, file, entry->key, "more than 8 dimensions");
    t->rank = integers(shape, t->dims, MAX_RANK);
    if (t->rank < 0) return bad(err, file, entry->key, "shape is not a list of integers from 0 up");
    int64_t at[2];
    if (integers(offsets, at, 2) != 2) return bad(err, file, entry->key, "data_offsets is not a pair of integers from 0 up");
    if (at[1] < at[0]) return bad(err, file, entry->key, "data_offsets end before they begin");
    const int64_t bytes = graft_storage_bytes(t->storage, t->rank, t->dims);
    if (bytes < 0) return bad(err, file, entry->key, "its number of elements or bytes overflows 64 bits or is no whole number of bytes");
    if (bytes != at[1] - at[0])
        return graft_fail(err, GRAFT_BAD_INPUT, file, "tensor \"%.200s\": its shape in %s takes %" PRId64 " bytes but data_offsets give it %" PRId64 "; the file is damaged",
                          entry->key, t->storage->name, bytes, at[1] - at[0]);
    if (at[1] > room)
        return graft_fail(err, GRAFT_BAD_INPUT, file, "tensor \"%.200s\" ends at byte %" PRId64 " of the data but the file holds %" PRId64 "; it is cut short: copy or download it again",
                          entry->key, at[1], room);
    t->name = t->stored = entry->key;
    t->file = file;
    t->dtype = t->storage->dtype;
    t->dtype_name = t->storage->name;
    t->bytes = bytes;
    t->data = data + at[0];
    return GRAFT_OK;
}

static int by_place(const void *x, const void *y)
{
    const graft_weight_info *a = *(graft_weight_info *const *)x, *b = *(graft_weight_info *const *)y;
    if (a->data != b->data) return a->data < b->data ? -1 : 1;
    return a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

/* The tensors laid end to end must fill the data exactly. */
static graft_status check_cover(const char *file, graft_weight_info *t, size_t n, const uint8_t *data, int64_t room, graft_error *err)
{
    const graft_weight_info **order = graft_calloc(n ? n : 1, sizeof *order);
    if (!order) return graft_fail(err, GRAFT_NO_MEMORY, file, "no memory for an index of %zu tensors", n);
    for (size_t i = 0; i < n; i++) order[i] = &t[i];
    qsort(order, n, sizeof *order, by_place);
    graft_status status = GRAFT_OK;
    int64_t at = 0;
    for (size_t i = 0; i < n && !status; i++) {
        const int64_t begin = order[i]->data - data;
        if (begin != at) status = bad(err, file, order[i]->name, begin < at ? "it overlaps another tensor" : "the bytes before it belong to no tensor");
        at = begin + order[i]->bytes;
    }
    if (!status && at != room)
        status = graft_fail(err, GRAFT_BAD_INPUT, file, "%" PRId64 " bytes after the last tensor belong to none; the file is damaged", room - at);
    graft_free(order);
    return status;
}

static graft_status check_metadata(const char *file, const graft_json *metadata, graft_error *err)
{
    if (metadata->type != GRAFT_JSON_OBJECT) return graft_fail(err, GRAFT_BAD_INPUT, file, "__metadata__ must be an object of texts; the file is damaged");
    for (const graft_json *m = metadata->child; m; m = m->next)
        if (m->type != GRAFT_JSON_TEXT) return graft_fail(err, GRAFT_BAD_INPUT, file, "__metadata__: the value of \"%.100s\" must be text; the file is damaged", m->key);
    return GRAFT_OK;
}

graft_status graft_safetensors_parse(graft_arena *a, const char *file, const uint8_t *data, int64_t bytes, graft_weight_list *out, const graft_json **metadata, graft_error *err)
{
    if (bytes < 8) return graft_fail(err, GRAFT_BAD_INPUT, file, "a safetensors file begins with the 8 bytes of its header's length, this one has %" PRId64 " bytes; download it again", bytes);
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--) header = header << 8 | data[i];
    if (header > MAX_HEADER)
        return graft_fail(err, GRAFT_BAD_INPUT, file, "the header claims %" PRIu64 " bytes, more than the allowed 100000000; this is not a safetensors file", header);
    if ((int64_t)header > bytes - 8)
        return graft_fail(err, GRAFT_BAD_INPUT, file, "the header of %" PRIu64 " bytes ends beyond the file of %" PRId64 "; it is cut short: copy or download it again", header, bytes);
    if (!header || data[8] != '{') return graft_fail(err, GRAFT_BAD_INPUT, file, "the header must be a JSON object that begins with {; this is not a safetensors file");
    const graft_json *root;
    graft_status status = graft_json_parse(a, file, (const char *)data + 8, (size_t)header, GRAFT_JSON_STRICT_KEYS, &root, err);
    if (status) return status;
    if (root->type != GRAFT_JSON_OBJECT) return graft_fail(err, GRAFT_BAD_INPUT, file, "the header must be a JSON object; this is not a safetensors file");
    const uint8_t *body = data + 8 + header;
    const int64_t room = bytes - 8 - (int64_t)header;
    const size_t first = out->n;
    for (const graft_json *entry = root->child; entry; entry = entry->next) {
        if (entry->key_bytes == 12 && !memcmp(entry->key, "__metadata__", 12)) {
            if ((status = check_metadata(file, entry, err))) return status;
            if (metadata) *metadata = entry;
            continue;
        }
        graft_weight_info *t = graft_weight_list_add(out);
        if (!t) return graft_fail(err, GRAFT_NO_MEMORY, file, "no memory for the header's %" PRId64 " entries", root->count);
        if ((status = read_entry(file, entry, body, room, t, err))) return status;
    }
    return check_cover(file, out->at + first, out->n - first, body, room, err);
}
