/* core/graph/store.h - what plan.c and run.c need of a store beyond run.h. */
#ifndef CORE_GRAPH_STORE_H
#define CORE_GRAPH_STORE_H

#include "core/graph/run.h"

const graft_device *graft_store_device(const graft_store *s);
graft_place graft_store_place(const graft_store *s, int i);
int64_t graft_store_offset(const graft_store *s, int i); /* bytes into its place's buffer */
int graft_store_frozen(const graft_store *s, int i);     /* no graph of the store trains or assigns it */
int graft_store_committed(const graft_store *s);
void *graft_store_buffer(const graft_store *s, graft_place place); /* WEIGHT, STATE or the shared ARENA; NULL when empty */
/* The shared arena holds at least `bytes` afterwards; its content is not kept. */
graft_status graft_store_reserve_arena(graft_store *s, int64_t bytes, graft_error *err);
void graft_store_ran(graft_store *s); /* frozen weights are fixed from now on */

/* Elements of a shape at some extents times its dtype's size. -1: overflow or no whole number of blocks. */
int64_t graft_shape_bytes(const graft_shape *s, const int64_t extent[GRAFT_SYMBOLS]);

#endif
