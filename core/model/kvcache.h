/* core/model/kvcache.h - turns every attention of a graph into its cached form, for generation. */
#ifndef CORE_MODEL_KVCACHE_H
#define CORE_MODEL_KVCACHE_H

#include "core/graph/graph.h"

/* Each op flagged GRAFT_OP_KV, "NAME/R", becomes "NAME_cached/R" with two STATE leaves [cached, width of k]: "cache:PATH.k" and "cache:PATH.v". */
graft_status graft_graph_cache_attention(graft_graph *g, graft_error *err);

#endif
