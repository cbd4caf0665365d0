/* core/graph/ops/attention.h - what attention and its cached form share: sizes, layout of heads, and who sees whom as tensors of 0 and 1. */
#ifndef CORE_GRAPH_OPS_ATTENTION_H
#define CORE_GRAPH_OPS_ATTENTION_H

#include "core/graph/ops/ops.h"

/* n query heads = kv * group, h elements each. T and S as in the shapes (constant or symbol). */
typedef struct graft_ops_heads {
    int64_t T, S, n, kv, group, h, window;
    double scale, softcap;
} graft_ops_heads;

/* Inputs q, k, v, seq and the optional pair k_extra, v_extra at 4 and 5: checked and measured. 0, or -1 after graft_graph_error. */
int graft_ops_heads_of(graft_graph *g, const graft_node *n, graft_ops_heads *a);
graft_ops_heads graft_ops_heads_read(const graft_graph *g, const graft_node *n); /* of a node that was checked */

/* x [R, kv * group * h] -> [kv, group, R, h] and back. Keys and values have group 1. */
graft_value graft_ops_heads_split(graft_graph *g, const graft_ops_heads *a, graft_value x, int64_t R, int64_t group);
graft_value graft_ops_heads_join(graft_graph *g, const graft_ops_heads *a, graft_value x, int64_t R, int64_t group);

/* 1.0 where token t belongs to sequence s: [S, T]. */
graft_value graft_ops_member(graft_graph *g, const graft_ops_heads *a, graft_value seq);
graft_value graft_ops_inside(graft_graph *g, const graft_ops_heads *a, graft_value member); /* [T, 1]: belongs to any */
graft_value graft_ops_seq(graft_graph *g, graft_value seq, int64_t i);                      /* column i as f32 [S, 1] */

/* softcap(scale q k^T): [kv, group, T, R] */
graft_value graft_ops_scores(graft_graph *g, const graft_ops_heads *a, graft_value q, graft_value k);

/* Keys that a query sees, in the split layout, with their mask [T, R] or [T, 1]. */
typedef struct graft_ops_keys {
    graft_value k, v, mask;
    int64_t R;
} graft_ops_keys;
/* Softmax over all parts together: o [kv, group, T, h], lse [kv, group, T, 1]; rows without any key get 0 in both. */
void graft_ops_attend(graft_graph *g, const graft_ops_heads *a, graft_value q, int parts, const graft_ops_keys *part, graft_value *o, graft_value *lse);

double graft_ops_attention_flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS], double keys);

#define GRAFT_ATTR_HEADS                                                                                                                   \
    {                                                                                                                                      \
        GRAFT_ATTR_NEED("heads", INT), GRAFT_ATTR_NEED("kv_heads", INT), GRAFT_ATTR_MAY("window", INT, 0), GRAFT_ATTR_NEED("scale", REAL), \
            GRAFT_ATTR_MAY("softcap", REAL, 0.0)                                                                                           \
    }

#endif
