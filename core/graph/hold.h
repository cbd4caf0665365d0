/* core/graph/hold.h - frozen weights in an element type smaller than f32: which may be, and what reads them. */
#ifndef CORE_GRAPH_HOLD_H
#define CORE_GRAPH_HOLD_H

#include "core/graph/run.h"

/* The type that this weight of g should be held in; GRAFT_F32: as it is. */
typedef graft_dtype (*graft_hold_choice)(const void *ctx, const graft_graph *g, const graft_value_info *leaf);

/* After graft_graph_prepare, before the graphs are added to a store that they share: a frozen weight of the base that is held in another type has that
 * type in all of the graphs. Ops that the device cannot run on it read it through a cast when the type is one of blocks; otherwise, or when the device
 * has no such cast, the weight stays f32. s: a store that has weights of an earlier graph, which keep their types; NULL: none. */
graft_status graft_graph_hold(graft_graph *const *graphs, int n, const graft_store *s, const graft_device *d, graft_hold_choice choose, const void *ctx, graft_error *err);

/* May a weight of this shape be held in this type: do its rows begin where the type lets them (graft/packed.h), and the matrices of a stack too? */
int graft_hold_fits(const graft_shape *s, graft_dtype t);

#endif
