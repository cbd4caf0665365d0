/* core/graph/place.c - first fit by decreasing size over lifetimes. */
#include "core/graph/place.h"

#include "core/base/arena.h"

#include <stdlib.h>
#include <string.h>

typedef struct key {
    int64_t bytes;
    int32_t index;
} key;

static int larger_first(const void *a, const void *b)
{
    const key *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Largest sum of bytes alive at one instruction, from differences at the ends of lifetimes. */
static int peak(const graft_block *blocks, int32_t n, int64_t align, int64_t *live)
{
    int32_t end = 0;
    for (int32_t i = 0; i < n; i++)
        if (blocks[i].last > end) end = blocks[i].last;
    int64_t *change = graft_calloc((size_t)end + 2, sizeof *change), now = 0;
    if (!change) return -1;
    *live = 0;
    for (int32_t i = 0; i < n; i++) {
        const int64_t bytes = (blocks[i].bytes + align - 1) / align * align;
        change[blocks[i].first] += bytes;
        change[blocks[i].last + 1] -= bytes;
    }
    for (int32_t t = 0; t <= end; t++) {
        now += change[t];
        if (now > *live) *live = now;
    }
    graft_free(change);
    return 0;
}

int graft_place_blocks(graft_block *blocks, int32_t n, int64_t align, int64_t *total, int64_t *live)
{
    int64_t sum = 0;
    *total = *live = 0;
    for (int32_t i = 0; i < n; i++)
        if (blocks[i].bytes < 0 || graft_add_overflows(sum, blocks[i].bytes, &sum) || graft_add_overflows(sum, align, &sum)) return -1;
    key *order = graft_calloc((size_t)n + 1, sizeof *order);
    int32_t *placed = graft_calloc((size_t)n + 1, sizeof *placed); /* by offset */
    int bad = !order || !placed || peak(blocks, n, align, live);
    for (int32_t i = 0; !bad && i < n; i++) order[i] = (key){blocks[i].bytes, i};
    if (!bad) qsort(order, (size_t)n, sizeof *order, larger_first);
    for (int32_t i = 0; !bad && i < n; i++) {
        graft_block *b = &blocks[order[i].index];
        int64_t at = 0;
        for (int32_t j = 0; j < i; j++) {
            const graft_block *p = &blocks[placed[j]];
            if (p->last < b->first || b->last < p->first) continue;
            if (p->offset >= at + b->bytes) break; /* the gap before p is large enough */
            const int64_t end = (p->offset + p->bytes + align - 1) / align * align;
            if (end > at) at = end;
        }
        b->offset = at;
        int32_t where = i;
        while (where > 0 && blocks[placed[where - 1]].offset > at) where--;
        memmove(placed + where + 1, placed + where, (size_t)(i - where) * sizeof *placed);
        placed[where] = order[i].index;
        const int64_t end = (at + b->bytes + align - 1) / align * align;
        if (end > *total) *total = end;
    }
    graft_free(order);
    graft_free(placed);
    return bad ? -1 : 0;
}
