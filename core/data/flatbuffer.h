/* core/data/flatbuffer.h - reads tables of FlatBuffers, in which Arrow writes its headers; every place is checked against the ends.
 *
 *   table   at `at`: distance back to its vtable (4 bytes), then fields      vtable: its size, the table's size, place of each field (2 bytes each; 0: absent)
 *   a text, list or table is stored as the distance to it */
#ifndef CORE_DATA_FLATBUFFER_H
#define CORE_DATA_FLATBUFFER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct graft_flat {
    const uint8_t *data;
    size_t bytes;
    size_t at; /* of the table; 0: none */
} graft_flat;

static inline uint32_t graft_flat_u32(const graft_flat *f, size_t at)
{
    uint32_t v = 0;
    if (at <= f->bytes && f->bytes - at >= 4) memcpy(&v, f->data + at, 4);
    return v;
}

/* Where a field of `size` bytes lies; 0: it is absent, or lies outside. */
static inline size_t graft_flat_field(const graft_flat *f, int field, size_t size)
{
    int32_t back;
    uint16_t table[1], places;
    if (!f->at || f->at > f->bytes || f->bytes - f->at < 4) return 0;
    memcpy(&back, f->data + f->at, 4);
    const int64_t vtable = (int64_t)f->at - back, slot = vtable + 4 + 2 * (int64_t)field;
    if (vtable < 0 || vtable > (int64_t)f->bytes - 4) return 0;
    memcpy(&places, f->data + vtable, 2);
    if (4 + 2 * (field + 1) > places || slot > (int64_t)f->bytes - 2) return 0;
    memcpy(table, f->data + slot, 2);
    const size_t at = f->at + table[0];
    return table[0] && at <= f->bytes && f->bytes - at >= size ? at : 0;
}

static inline int64_t graft_flat_number(const graft_flat *f, int field, size_t size, int64_t usual)
{
    const size_t at = graft_flat_field(f, field, size);
    int64_t v = 0;
    if (!at) return usual;
    memcpy(&v, f->data + at, size);
    const int shift = 64 - 8 * (int)size;
    return (int64_t)((uint64_t)v << shift) >> shift;
}

/* What a field points to; 0: absent. */
static inline size_t graft_flat_target(const graft_flat *f, int field)
{
    const size_t at = graft_flat_field(f, field, 4);
    const size_t to = at ? at + graft_flat_u32(f, at) : 0;
    return to < f->bytes ? to : 0;
}

static inline graft_flat graft_flat_table(const graft_flat *f, int field) { return (graft_flat){f->data, f->bytes, graft_flat_target(f, field)}; }

/* The elements of a list, each `size` bytes; *n 0: none. */
static inline const uint8_t *graft_flat_list(const graft_flat *f, int field, size_t size, size_t *n)
{
    const size_t at = graft_flat_target(f, field);
    *n = at && f->bytes - at >= 4 ? graft_flat_u32(f, at) : 0;
    if (*n && *n > (f->bytes - at - 4) / size) *n = 0;
    return *n ? f->data + at + 4 : NULL;
}

/* A table in a list of them. */
static inline graft_flat graft_flat_item(const graft_flat *f, const uint8_t *list, size_t i)
{
    const size_t at = (size_t)(list - f->data) + 4 * i, to = at + graft_flat_u32(f, at);
    return (graft_flat){f->data, f->bytes, to < f->bytes ? to : 0};
}

#endif
