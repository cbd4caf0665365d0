/* core/graph/place.h - packing blocks of memory that live for a while into one arena. */
#ifndef CORE_GRAPH_PLACE_H
#define CORE_GRAPH_PLACE_H

#include "graft/base.h"

/* A block of `bytes` needed from instruction first to last, both included; offset is filled in. */
typedef struct graft_block {
    int64_t bytes;
    int32_t first, last;
    int64_t offset;
} graft_block;

/* Gives every block an offset so that no two that live together overlap; *total: size of the arena, *live: largest sum alive at once.
 * First fit by decreasing size, ties by index: the same input gives the same places. Offsets are multiples of `align` (a power of two).
 * 0; -1 when out of memory or when the sum does not fit int64. */
int graft_place_blocks(graft_block *blocks, int32_t n, int64_t align, int64_t *total, int64_t *live);

#endif
