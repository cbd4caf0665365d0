/* core/data/thrift.c - see thrift.h. */
#include "core/data/thrift.h"

enum { DEEPEST = 24 };

static void fail(graft_thrift *t) { t->bad = 1, t->at = t->end; }

static uint8_t byte(graft_thrift *t)
{
    if (t->at < t->end) return *t->at++;
    t->bad = 1;
    return 0;
}

uint64_t graft_thrift_varint(graft_thrift *t)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        const uint8_t b = byte(t);
        v |= (uint64_t)(b & 0x7F) << shift;
        if (!(b & 0x80)) return t->bad ? 0 : v;
    }
    fail(t);
    return 0;
}

static int64_t zigzag(graft_thrift *t)
{
    const uint64_t v = graft_thrift_varint(t);
    return (int64_t)(v >> 1 ^ (~(v & 1) + 1));
}

int graft_thrift_field(graft_thrift *t, int *id, int *type)
{
    const uint8_t head = byte(t);
    *type = head & 15;
    if (t->bad || !*type) return 0;
    const int64_t next = head >> 4 ? *id + (head >> 4) : zigzag(t);
    if (next < 0 || next > INT16_MAX || *type > GRAFT_THRIFT_STRUCT) fail(t);
    *id = t->bad ? 0 : (int)next;
    return !t->bad;
}

int64_t graft_thrift_number(graft_thrift *t, int type)
{
    switch (type) {
    case GRAFT_THRIFT_TRUE: return 1;
    case GRAFT_THRIFT_FALSE: return 0;
    case GRAFT_THRIFT_I8: return (int8_t)byte(t);
    case GRAFT_THRIFT_I16:
    case GRAFT_THRIFT_I32:
    case GRAFT_THRIFT_I64: return zigzag(t);
    default: fail(t); return 0;
    }
}

void graft_thrift_text(graft_thrift *t, int type, const char **text, size_t *bytes)
{
    const uint64_t n = type == GRAFT_THRIFT_TEXT ? graft_thrift_varint(t) : UINT64_MAX;
    *text = "", *bytes = 0;
    if (n > (uint64_t)(t->end - t->at)) {
        fail(t);
        return;
    }
    *text = (const char *)t->at, *bytes = (size_t)n;
    t->at += n;
}

static size_t list(graft_thrift *t, int *of)
{
    const uint8_t head = byte(t);
    const uint64_t n = head >> 4 == 15 ? graft_thrift_varint(t) : head >> 4;
    *of = head & 15;
    if (n > (uint64_t)(t->end - t->at)) fail(t);
    return t->bad ? 0 : (size_t)n;
}

size_t graft_thrift_list(graft_thrift *t, int type, int of)
{
    int is = 0;
    const size_t n = type == GRAFT_THRIFT_LIST ? list(t, &is) : 0;
    if (type != GRAFT_THRIFT_LIST || (n && is != of)) fail(t);
    return t->bad ? 0 : n;
}

int graft_thrift_struct(graft_thrift *t, int type)
{
    if (type != GRAFT_THRIFT_STRUCT) fail(t);
    return !t->bad;
}

static void skip(graft_thrift *t, int type, int depth)
{
    const char *text;
    size_t n;
    int of, id = 0;
    if (depth > DEEPEST) fail(t);
    if (t->bad) return;
    switch (type) {
    case GRAFT_THRIFT_TEXT: graft_thrift_text(t, type, &text, &n); return;
    case GRAFT_THRIFT_DOUBLE:
        if (t->end - t->at < 8) fail(t);
        else t->at += 8;
        return;
    case GRAFT_THRIFT_LIST:
    case GRAFT_THRIFT_SET:
        n = list(t, &of); /* a truth in a list is a byte */
        for (size_t i = 0; i < n && !t->bad; i++) skip(t, of == GRAFT_THRIFT_TRUE || of == GRAFT_THRIFT_FALSE ? GRAFT_THRIFT_I8 : of, depth + 1);
        return;
    case GRAFT_THRIFT_STRUCT:
        while (graft_thrift_field(t, &id, &of)) skip(t, of, depth + 1);
        return;
    case GRAFT_THRIFT_MAP: fail(t); return; /* none of Parquet's headers has one */
    default: graft_thrift_number(t, type); return;
    }
}

void graft_thrift_skip(graft_thrift *t, int type) { skip(t, type, 0); }
