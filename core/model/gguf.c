/* core/model/gguf.c - reads the front of a GGUF file (versions 2 and 3, little endian); nothing in it is believed.
 *
 *   "GGUF" | u32 version | u64 tensors | u64 keys
 *   keys x    [ text key | u32 type | value ]                     text: u64 length, bytes; an array: u32 type, u64 length, values
 *   tensors x [ text name | u32 rank | u64 dims[rank] (fastest first: torch's shape backwards) | u32 type | u64 offset ]
 *   padding to general.alignment (32 when not given) | data: each tensor at its offset, a multiple of the alignment
 *
 * Metadata become JSON nodes. Limits: 4 Mi metadata values, 4 dimensions, no arrays of arrays. */
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/model/containers.h"
#include "core/model/dequant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VALUES = 4 << 20,
       MAX_KEY = 65535,
       MAX_RANK = 4 };
enum { T_U8,
       T_I8,
       T_U16,
       T_I16,
       T_U32,
       T_I32,
       T_F32,
       T_BOOL,
       T_TEXT,
       T_ARRAY,
       T_U64,
       T_I64,
       T_F64,
       T_COUNT };
static const uint8_t type_bytes[T_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8}; /* the least that a value takes */

typedef struct cursor {
    const char *file;
    const uint8_t *data;
    int64_t at, bytes, values;
    graft_arena *arena;
    graft_error *err;
    graft_status status; /* sticky */
} cursor;

static int fail(cursor *c, const char *sentence)
{
    if (!c->status) c->status = graft_fail(c->err, GRAFT_BAD_INPUT, c->file, "%s", sentence);
    return -1;
}

static int ends(cursor *c, const char *inside)
{
    if (!c->status)
        c->status = graft_fail(c->err, GRAFT_BAD_INPUT, c->file, "the file of %" PRId64 " bytes ends inside %s; it is cut short or damaged: copy or download it again", c->bytes, inside);
    return -1;
}

/* Little-endian unsigned of n bytes; 0 after a failure. */
static uint64_t number(cursor *c, int n, const char *inside)
{
    if (c->status) return 0;
    if (c->bytes - c->at < n) return (void)ends(c, inside), 0;
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; i--) v = v << 8 | c->data[c->at + i];
    c->at += n;
    return v;
}

/* A length-prefixed text, copied; *bytes may be NULL. NULL after a failure. */
static const char *text(cursor *c, size_t *bytes, const char *inside)
{
    const uint64_t n = number(c, 8, inside);
    if (c->status) return NULL;
    if (n > (uint64_t)(c->bytes - c->at)) return (void)ends(c, inside), NULL;
    const char *copy = graft_arena_copy(c->arena, (const char *)c->data + c->at, (size_t)n);
    if (!copy) return (void)(c->status = graft_fail(c->err, GRAFT_NO_MEMORY, c->file, "no memory for a text of %" PRIu64 " bytes", n)), NULL;
    c->at += (int64_t)n;
    if (bytes) *bytes = (size_t)n;
    return copy;
}

/* An f32 as the shortest decimal that gives the same f32: 1e-05, not 9.999999747378752e-06. */
static double shortest(float f)
{
    char out[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(out, sizeof out, "%.*g", digits, (double)f);
        if (strtof(out, NULL) == f) return strtod(out, NULL);
    }
    return (double)f; /* nan */
}

static graft_json *scalar(cursor *c, uint32_t type, int single)
{
    if (++c->values > MAX_VALUES) return (void)fail(c, "the metadata hold more than 4194304 values; this is no usual GGUF file"), NULL;
    if (type == T_TEXT) {
        size_t n;
        const char *s = text(c, &n, "a metadata text");
        return s ? graft_json_text(c->arena, s, n) : NULL;
    }
    const uint64_t v = number(c, type_bytes[type], "a metadata value");
    if (c->status) return NULL;
    const uint32_t low = (uint32_t)v;
    float f;
    double d;
    memcpy(&f, &low, sizeof f);
    memcpy(&d, &v, sizeof d);
    switch (type) {
    case T_I8: return graft_json_int(c->arena, (int8_t)v);
    case T_I16: return graft_json_int(c->arena, (int16_t)v);
    case T_I32: return graft_json_int(c->arena, (int32_t)v);
    case T_I64: return graft_json_int(c->arena, (int64_t)v);
    case T_F32: return graft_json_real(c->arena, single ? shortest(f) : (double)f);
    case T_F64: return graft_json_real(c->arena, d);
    case T_BOOL: return graft_json_flag(c->arena, v != 0);
    default: return v <= INT64_MAX ? graft_json_int(c->arena, (int64_t)v) : graft_json_real(c->arena, (double)v);
    }
}

static graft_json *value(cursor *c)
{
    const uint32_t type = (uint32_t)number(c, 4, "a metadata type");
    if (c->status) return NULL;
    if (type >= T_COUNT) return (void)fail(c, "a metadata value has an unknown type; the file is damaged or newer than this version"), NULL;
    if (type != T_ARRAY) return scalar(c, type, 1);
    const uint32_t of = (uint32_t)number(c, 4, "a metadata array");
    const uint64_t n = number(c, 8, "a metadata array");
    if (c->status) return NULL;
    if (of == T_ARRAY) return (void)fail(c, "arrays of arrays are not supported in metadata"), NULL;
    if (of >= T_COUNT) return (void)fail(c, "a metadata array has an unknown type; the file is damaged or newer than this version"), NULL;
    if (n > (uint64_t)(c->bytes - c->at) / type_bytes[of]) return (void)ends(c, "a metadata array"), NULL;
    graft_json *array = graft_json_new(c->arena, GRAFT_JSON_ARRAY);
    for (uint64_t i = 0; array && i < n; i++) {
        graft_json *v = scalar(c, of, 0);
        if (!v) return NULL;
        graft_json_push(c->arena, array, v);
    }
    return array;
}

static int by_key(const void *x, const void *y)
{
    const graft_json *a = *(const graft_json *const *)x, *b = *(const graft_json *const *)y;
    return strcmp(a->key, b->key);
}

static graft_json *read_metadata(cursor *c, uint64_t n)
{
    /* a key takes 8 + 1 bytes, its type 4, a value at least 1: what cannot be there is not allocated */
    if (n > (uint64_t)(c->bytes - c->at) / 14 + 1) return (void)ends(c, "the metadata it claims to have"), NULL;
    graft_json *object = graft_json_new(c->arena, GRAFT_JSON_OBJECT), *last = NULL;
    graft_json **index = graft_calloc((size_t)n + 1, sizeof(graft_json *));
    if (!object || !index) c->status = graft_fail(c->err, GRAFT_NO_MEMORY, c->file, "no memory for %" PRIu64 " metadata keys", n);
    for (uint64_t i = 0; i < n && !c->status; i++) {
        size_t bytes = 0;
        const char *key = text(c, &bytes, "a metadata key");
        if (!key) break;
        if (!bytes || bytes > MAX_KEY || strlen(key) != bytes) fail(c, "a metadata key is empty, longer than 65535 bytes or holds a NUL byte; the file is damaged");
        graft_json *v = c->status ? NULL : value(c);
        if (!v) {
            if (!c->status) c->status = graft_fail(c->err, GRAFT_NO_MEMORY, c->file, "no memory for the metadata");
            break;
        }
        v->key = key;
        v->key_bytes = bytes;
        if (last) last->next = v;
        else object->child = v;
        last = index[object->count++] = v;
    }
    if (!c->status) {
        qsort(index, (size_t)n, sizeof(graft_json *), by_key);
        for (uint64_t i = 1; i < n && !c->status; i++)
            if (!by_key(&index[i - 1], &index[i]))
                c->status = graft_fail(c->err, GRAFT_BAD_INPUT, c->file, "the metadata key \"%.200s\" occurs twice; the file is damaged", index[i]->key);
    }
    graft_free(index);
    return c->status ? NULL : object;
}

static graft_status tensor_error(cursor *c, const char *name, const char *reason)
{
    if (!c->status) c->status = graft_fail(c->err, GRAFT_BAD_INPUT, c->file, "tensor \"%.100s\": %s; the file is damaged", name, reason);
    return c->status;
}

/* One tensor's description; its offset stays in *offset until the data's place is known. */
static void read_tensor(cursor *c, graft_weight_info *t, uint64_t *offset)
{
    size_t bytes = 0;
    t->name = t->stored = text(c, &bytes, "a tensor's name");
    if (!t->name) return;
    if (!bytes || strlen(t->name) != bytes) (void)tensor_error(c, t->name, "its name is empty or holds a NUL byte");
    const uint64_t rank = number(c, 4, "a tensor's description");
    if (c->status) return;
    if (rank < 1 || rank > MAX_RANK) return (void)tensor_error(c, t->name, "it must have 1 to 4 dimensions");
    t->rank = (int32_t)rank;
    for (int32_t i = t->rank - 1; i >= 0; i--) {
        const uint64_t d = number(c, 8, "a tensor's description");
        if (d > INT64_MAX) return (void)tensor_error(c, t->name, "a dimension overflows 63 bits");
        t->dims[i] = (int64_t)d;
    }
    const uint64_t type = number(c, 4, "a tensor's description");
    *offset = number(c, 8, "a tensor's description");
    if (c->status) return;
    t->storage = graft_storage_by_gguf((uint32_t)type);
    if (!t->storage) {
        c->status = graft_fail(c->err, GRAFT_BAD_INPUT, c->file, "tensor \"%.100s\" has the unknown type %" PRIu64 "; the file is damaged or newer than this version", t->name, type);
        return;
    }
    t->file = c->file;
    t->dtype = t->storage->dtype;
    t->dtype_name = t->storage->name;
    t->bytes = graft_storage_bytes(t->storage, t->rank, t->dims);
    if (t->bytes < 0) (void)tensor_error(c, t->name, "its number of elements overflows or a row is no whole number of blocks of its type");
}

static int64_t alignment_of(cursor *c, const graft_json *metadata)
{
    const graft_json *v = graft_json_get(metadata, "general.alignment");
    if (!v) return 32;
    if (v->type == GRAFT_JSON_NUMBER && v->integral && v->integer > 0 && v->integer <= 1 << 30 && !(v->integer & (v->integer - 1))) return v->integer;
    return fail(c, "general.alignment must be a power of two; the file is damaged");
}

static void read_header(cursor *c, uint64_t *tensors, uint64_t *keys)
{
    if (c->bytes < 24) return (void)ends(c, "the GGUF header of 24 bytes");
    if (memcmp(c->data, "GGUF", 4)) return (void)fail(c, "the file does not begin with GGUF; this is not a GGUF file");
    c->at = 4;
    const uint32_t version = (uint32_t)number(c, 4, "the header");
    if (version && !(version & 0xffffu)) return (void)fail(c, "this is a big-endian GGUF file; convert it to little endian (gguf-convert-endian) first");
    if (version == 1) return (void)fail(c, "GGUF version 1 has 32-bit lengths and is not supported; convert the model again");
    if (version != 2 && version != 3) {
        c->status = graft_fail(c->err, GRAFT_BAD_INPUT, c->file, "GGUF version %" PRIu32 " is unknown, 2 and 3 are supported", version);
        return;
    }
    *tensors = number(c, 8, "the header");
    *keys = number(c, 8, "the header");
}

/* Where the data begin is known after the last description: offsets become pointers. */
static void place(cursor *c, graft_weight_info *t, const uint64_t *offset, size_t n, int64_t alignment)
{
    const int64_t start = (c->at + alignment - 1) / alignment * alignment, room = c->bytes > start ? c->bytes - start : 0;
    for (size_t i = 0; i < n && !c->status; i++) {
        if (offset[i] % (uint64_t)alignment) (void)tensor_error(c, t[i].name, "its offset is no multiple of the alignment");
        else if (offset[i] > (uint64_t)room || t[i].bytes > room - (int64_t)offset[i])
            (void)ends(c, "the tensors' data");
        else
            t[i].data = c->data + (start < c->bytes ? start : c->bytes) + offset[i];
    }
}

graft_status graft_gguf_parse(graft_arena *a, const char *file, const uint8_t *data, int64_t bytes, graft_weight_list *out, const graft_json **metadata, graft_error *err)
{
    cursor c = {.file = file, .data = data, .bytes = bytes, .arena = a, .err = err};
    uint64_t tensors = 0, keys = 0, *offset = NULL;
    read_header(&c, &tensors, &keys);
    graft_json *object = c.status ? NULL : read_metadata(&c, keys);
    if (c.status) return c.status;
    const int64_t alignment = alignment_of(&c, object);
    /* a description takes 8 + 1 bytes of name, 4, 8, 4, 8 */
    if (!c.status && tensors > (uint64_t)(bytes - c.at) / 33) (void)ends(&c, "the tensors it claims to have");
    if (c.status) return c.status;
    const size_t first = out->n;
    offset = graft_calloc((size_t)tensors + 1, sizeof *offset);
    if (!offset) c.status = graft_fail(err, GRAFT_NO_MEMORY, file, "no memory for %" PRIu64 " tensors", tensors);
    for (uint64_t i = 0; i < tensors && !c.status; i++) {
        graft_weight_info *t = graft_weight_list_add(out);
        if (!t) c.status = graft_fail(err, GRAFT_NO_MEMORY, file, "no memory for %" PRIu64 " tensors", tensors);
        else read_tensor(&c, t, &offset[i]);
    }
    if (!c.status) place(&c, out->at + first, offset, (size_t)tensors, alignment);
    graft_free(offset);
    if (metadata) *metadata = object;
    return c.status;
}
