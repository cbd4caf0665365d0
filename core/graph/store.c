/* core/graph/store.c - tensors that live between runs: weights, gradients, moments, key/value caches.
 *
 * Two buffers on the device, one for WEIGHT and one for STATE leaves, each tensor at a 64-byte aligned offset:
 *
 *     WEIGHT | model.embed_tokens.weight | model.layers.0... | ...      STATE | grad:... | adam_m:... | ...
 *
 * Programs find a tensor by its leaf's name, so a training, an evaluation and an update program share it. */
#include "core/graph/store.h"

#include "core/base/error.h"

#include <string.h>

enum { ALIGN = 64 };

typedef struct entry {
    char *name;
    graft_shape shape;
    graft_place place;
    int64_t offset, bytes;
    int written_by_graph; /* trained or assigned by some graph */
} entry;

struct graft_store {
    const graft_device *device;
    entry *entries;
    size_t n, room;
    int32_t *slots; /* open hash: 1 + entry index, 0 empty */
    size_t n_slots;
    int64_t bytes[GRAFT_PLACES];
    void *weights, *state, *arena;
    int64_t arena_bytes;
    int committed, ran;
};

graft_status graft_store_new(const graft_device *d, graft_store **out, graft_error *err)
{
    *out = NULL;
    graft_store *s = graft_calloc(1, sizeof *s);
    if (!s) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for the tensor store");
    s->device = d;
    *out = s;
    return GRAFT_OK;
}

static void drop(graft_store *s, void **buffer)
{
    if (*buffer) s->device->table->release(s->device->dev, *buffer);
    *buffer = NULL;
}

void graft_store_free(graft_store *s)
{
    if (!s) return;
    drop(s, &s->weights);
    drop(s, &s->state);
    drop(s, &s->arena);
    for (size_t i = 0; i < s->n; i++) graft_free(s->entries[i].name);
    graft_free(s->entries);
    graft_free(s->slots);
    graft_free(s);
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

static size_t slot_of(const graft_store *s, const char *name)
{
    size_t at = (size_t)graft_op_id(name) & (s->n_slots - 1);
    while (s->slots[at] && strcmp(s->entries[s->slots[at] - 1].name, name)) at = (at + 1) & (s->n_slots - 1);
    return at;
}

static int rehash(graft_store *s, size_t n_slots)
{
    int32_t *slots = graft_calloc(n_slots, sizeof *slots);
    if (!slots) return -1;
    graft_free(s->slots);
    s->slots = slots;
    s->n_slots = n_slots;
    for (size_t i = 0; i < s->n; i++) s->slots[slot_of(s, s->entries[i].name)] = (int32_t)i + 1;
    return 0;
}

int graft_store_find(const graft_store *s, const char *name)
{
    return s->n_slots ? s->slots[slot_of(s, name)] - 1 : -1;
}

int64_t graft_shape_bytes(const graft_shape *s, const int64_t extent[GRAFT_SYMBOLS])
{
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++) {
        const int64_t d = s->dims[i] < 0 ? extent[-s->dims[i] - 1] : s->dims[i];
        if (d < 0 || graft_mul_overflows(n, d, &n)) return -1;
    }
    return n > INT64_MAX / 8 ? -1 : graft_dtype_bytes(s->dtype, n);
}

static int same_shape(const graft_shape *a, const graft_shape *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank) return 0;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i]) return 0;
    return 1;
}

/* ---- building ------------------------------------------------------------------------------------------------------- */

static graft_status add_leaf(graft_store *s, const graft_value_info *v, const int64_t capacity[GRAFT_SYMBOLS], graft_error *err)
{
    const int written = v->trainable || v->assigned;
    const int64_t bytes = graft_shape_bytes(&v->shape, capacity);
    if (bytes < 0) return graft_fail(err, GRAFT_BAD_INPUT, v->name, "the tensor is larger than this machine can address; use a smaller model or batch");
    const int known = graft_store_find(s, v->name);
    if (known >= 0) {
        entry *e = &s->entries[known];
        if (!same_shape(&e->shape, &v->shape) || e->bytes != bytes || e->place != v->place)
            return graft_fail(err, GRAFT_INTERNAL, v->name, "two graphs of one store give this tensor different shapes (%lld and %lld bytes)", (long long)e->bytes, (long long)bytes);
        e->written_by_graph |= written;
        return GRAFT_OK;
    }
    if (s->committed) return graft_fail(err, GRAFT_INTERNAL, v->name, "a graph with a new tensor was added after the store was committed");
    if (graft_grow((void **)&s->entries, &s->room, s->n + 1, sizeof *s->entries) || (2 * (s->n + 1) > s->n_slots && rehash(s, s->n_slots ? 2 * s->n_slots : 256)))
        return graft_fail(err, GRAFT_NO_MEMORY, v->name, "no memory for the tensor store");
    const size_t length = strlen(v->name) + 1;
    char *name = graft_calloc(length, 1);
    if (!name) return graft_fail(err, GRAFT_NO_MEMORY, v->name, "no memory for the tensor store");
    memcpy(name, v->name, length);
    const int64_t offset = s->bytes[v->place];
    int64_t end;
    if (graft_add_overflows(offset, bytes, &end) || graft_add_overflows(end, ALIGN, &end)) {
        graft_free(name);
        return graft_fail(err, GRAFT_BAD_INPUT, v->name, "the model is larger than this machine can address");
    }
    s->bytes[v->place] = (end - 1) / ALIGN * ALIGN;
    const size_t slot = slot_of(s, name);
    s->entries[s->n] = (entry){name, v->shape, v->place, offset, bytes, written};
    s->slots[slot] = (int32_t)++s->n;
    return GRAFT_OK;
}

graft_status graft_store_add_graph(graft_store *s, const graft_graph *g, const int64_t capacity[GRAFT_SYMBOLS], graft_error *err)
{
    for (int32_t i = 1; i < g->n_values; i++) {
        const graft_value_info *v = &g->values[i];
        if (v->node >= 0 || (v->place != GRAFT_PLACE_WEIGHT && v->place != GRAFT_PLACE_STATE)) continue;
        const graft_status status = add_leaf(s, v, capacity, err);
        if (status) return status;
    }
    return GRAFT_OK;
}

static graft_status take(graft_store *s, int64_t bytes, void **buffer, const char *what, graft_error *err)
{
    if (!bytes || *buffer) return GRAFT_OK;
    graft_error cause = GRAFT_ERROR_INIT;
    const graft_status status = s->device->table->alloc(s->device->dev, bytes, buffer, &cause);
    if (status)
        return graft_fail(err, status, NULL, "%s need %.2f GiB on %s, which could not be had: %s; 'graft plan' shows what would fit", what,
                          (double)bytes / 0x1p30, s->device->name, cause.message);
    return GRAFT_OK;
}

graft_status graft_store_commit(graft_store *s, graft_error *err)
{
    graft_status status = take(s, s->bytes[GRAFT_PLACE_WEIGHT], &s->weights, "the weights", err);
    if (!status) status = take(s, s->bytes[GRAFT_PLACE_STATE], &s->state, "gradients, optimiser and caches", err);
    s->committed = !status;
    return status;
}

graft_status graft_store_reset_state(graft_store *s, graft_error *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->entries[i].place == GRAFT_PLACE_STATE) graft_free(s->entries[i].name);
        else s->entries[kept++] = s->entries[i];
    }
    s->n = kept;
    s->bytes[GRAFT_PLACE_STATE] = 0;
    drop(s, &s->state);
    s->committed = 0;
    return rehash(s, s->n_slots ? s->n_slots : 256) ? graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for the tensor store") : GRAFT_OK;
}

graft_status graft_store_reserve_arena(graft_store *s, int64_t bytes, graft_error *err)
{
    if (bytes <= s->arena_bytes) return GRAFT_OK;
    drop(s, &s->arena);
    s->arena_bytes = 0;
    const graft_status status = take(s, bytes, &s->arena, "the activations", err);
    if (!status) s->arena_bytes = bytes;
    return status;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

const graft_device *graft_store_device(const graft_store *s) { return s->device; }
graft_place graft_store_place(const graft_store *s, int i) { return s->entries[i].place; }
int64_t graft_store_offset(const graft_store *s, int i) { return s->entries[i].offset; }
int graft_store_frozen(const graft_store *s, int i) { return s->entries[i].place == GRAFT_PLACE_WEIGHT && !s->entries[i].written_by_graph; }
int graft_store_committed(const graft_store *s) { return s->committed; }
void graft_store_ran(graft_store *s) { s->ran = 1; }
int64_t graft_store_bytes(const graft_store *s, graft_place place) { return s->bytes[place]; }
int graft_store_count(const graft_store *s) { return (int)s->n; }
const char *graft_store_name(const graft_store *s, int i) { return s->entries[i].name; }
graft_shape graft_store_shape(const graft_store *s, int i) { return s->entries[i].shape; }
int64_t graft_store_tensor_bytes(const graft_store *s, int i) { return s->entries[i].bytes; }

void *graft_store_buffer(const graft_store *s, graft_place place)
{
    return place == GRAFT_PLACE_WEIGHT ? s->weights : place == GRAFT_PLACE_STATE ? s->state
                                                                                 : s->arena;
}

static graft_status check_size(const graft_store *s, int i, int64_t bytes, graft_error *err)
{
    if (i < 0 || (size_t)i >= s->n || !s->committed) return graft_fail(err, GRAFT_INTERNAL, NULL, "tensor %d of a store that %s", i, s->committed ? "does not have it" : "is not committed");
    const entry *e = &s->entries[i];
    if (bytes != e->bytes) return graft_fail(err, GRAFT_INTERNAL, e->name, "the tensor has %lld bytes, not %lld", (long long)e->bytes, (long long)bytes);
    return GRAFT_OK;
}

graft_status graft_store_write(graft_store *s, int i, const void *from, int64_t bytes, graft_error *err)
{
    const graft_status status = check_size(s, i, bytes, err);
    return status ? status : graft_store_write_at(s, i, 0, from, bytes, err);
}

graft_status graft_store_write_at(graft_store *s, int i, int64_t offset, const void *from, int64_t bytes, graft_error *err)
{
    if (i < 0 || (size_t)i >= s->n || !s->committed) return check_size(s, i, bytes, err);
    const entry *e = &s->entries[i];
    if (offset < 0 || bytes < 0 || offset > e->bytes || bytes > e->bytes - offset) return graft_fail(err, GRAFT_INTERNAL, e->name, "%lld bytes at %lld are no part of a tensor of %lld", (long long)bytes, (long long)offset, (long long)e->bytes);
    if (s->ran && graft_store_frozen(s, i)) return graft_fail(err, GRAFT_INTERNAL, e->name, "a frozen weight was written after a program ran on it");
    return bytes ? s->device->table->upload(s->device->dev, graft_store_buffer(s, e->place), e->offset + offset, from, bytes, err) : GRAFT_OK;
}

graft_status graft_store_read(const graft_store *s, int i, void *to, int64_t bytes, graft_error *err)
{
    const graft_status status = check_size(s, i, bytes, err);
    if (status || !bytes) return status;
    const entry *e = &s->entries[i];
    return s->device->table->download(s->device->dev, graft_store_buffer(s, e->place), e->offset, to, bytes, err);
}

graft_status graft_store_read_part(const graft_store *s, int i, int64_t offset, void *to, int64_t bytes, graft_error *err)
{
    const graft_status status = check_size(s, i, i >= 0 && (size_t)i < s->n ? s->entries[i].bytes : 0, err);
    if (status) return status;
    const entry *e = &s->entries[i];
    if (offset < 0 || bytes < 0 || bytes > e->bytes || offset > e->bytes - bytes) return graft_fail(err, GRAFT_INTERNAL, e->name, "the tensor has %lld bytes, %lld from %lld on were asked for", (long long)e->bytes, (long long)bytes, (long long)offset);
    return bytes ? s->device->table->download(s->device->dev, graft_store_buffer(s, e->place), e->offset + offset, to, bytes, err) : GRAFT_OK;
}

graft_status graft_store_clear(graft_store *s, int i, graft_error *err)
{
    static const char zeros[1 << 16];
    if (i < 0 || (size_t)i >= s->n || !s->committed) return check_size(s, i, 0, err);
    const entry *e = &s->entries[i];
    graft_status status = GRAFT_OK;
    for (int64_t at = 0; !status && at < e->bytes; at += (int64_t)sizeof zeros) {
        const int64_t piece = e->bytes - at < (int64_t)sizeof zeros ? e->bytes - at : (int64_t)sizeof zeros;
        status = s->device->table->upload(s->device->dev, graft_store_buffer(s, e->place), e->offset + at, zeros, piece, err);
    }
    return status;
}
