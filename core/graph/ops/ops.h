/* core/graph/ops/ops.h - what the families of op records share: one table a family, checks of shapes, and small builders for gradients.
 *
 * The maths, argument order and shapes of every op are in graft/ops.h; a family's file adds shape(), decompose() and backward() to it.
 * Rules that all records keep:
 * - A record emits only through the builder; it never touches the graph's arrays, which may move while it emits.
 * - An element-by-element op reads all operands of an element before it writes one, so `inplace` holds when the shapes are equal.
 * - Gradients are f32. Weights in other storage types may feed matmul, gather, the loss's head and the norms' weights, and are then never wanted.
 */
#ifndef CORE_GRAPH_OPS_OPS_H
#define CORE_GRAPH_OPS_OPS_H

#include "core/graph/graph.h"

/* Each ends with a record whose name is NULL. */
extern const graft_op_record graft_ops_elementwise[], graft_ops_binary[], graft_ops_reduce[], graft_ops_matmul[], graft_ops_index[], graft_ops_movement[],
    graft_ops_create[];
extern const graft_op_record graft_ops_norm[], graft_ops_softmax[], graft_ops_rope[], graft_ops_attention[], graft_ops_attention_cached[], graft_ops_mlp[],
    graft_ops_dropout[], graft_ops_moe[], graft_ops_loss[], graft_ops_optim[];

/* Sets of element types. */
enum {
    GRAFT_OPS_F32 = 1 << GRAFT_F32,
    GRAFT_OPS_I32 = 1 << GRAFT_I32,
    GRAFT_OPS_FLOAT = 1 << GRAFT_F32 | 1 << GRAFT_BF16 | 1 << GRAFT_F16,
    GRAFT_OPS_STORED = GRAFT_OPS_FLOAT | 1 << GRAFT_Q4_0 | 1 << GRAFT_Q4_1 | 1 << GRAFT_Q8_0 | 1 << GRAFT_NF4 | 1 << GRAFT_NF4_DOUBLE | 1 << GRAFT_INT8, /* what a weight may be kept in */
    GRAFT_OPS_ANY = GRAFT_OPS_FLOAT | GRAFT_OPS_I32
};

/* ---- for shape(): each returns 0, or -1 after graft_graph_error. rank -1: any. */
int graft_ops_expect(graft_graph *g, const graft_node *n, int i, const char *what, int dtypes, int rank);
int graft_ops_same(graft_graph *g, const graft_node *n, int i, int j);                    /* inputs i and j have the same dims */
int graft_ops_axis(graft_graph *g, const graft_node *n, const graft_shape *s, int *axis); /* attr axis, checked */
int graft_ops_fixed(graft_graph *g, const graft_node *n, const graft_shape *s, int axis); /* the axis has a constant size */
int graft_ops_dims(graft_graph *g, const graft_node *n, graft_shape *out);                /* attrs rank, d0 .. d3 */
int graft_ops_broadcast(graft_graph *g, const graft_node *n, const graft_shape *x, const graft_shape *y, graft_shape *out);
int graft_ops_has(const graft_node *n, int i);                    /* is input i there? */
graft_shape graft_ops_shape(const graft_graph *g, graft_value v); /* by value: the graph's arrays may move */
graft_shape graft_ops_vector(graft_dtype t, int64_t d);
int graft_ops_equal(const graft_shape *x, const graft_shape *y); /* dims only */
const char *graft_ops_text(const graft_shape *s, char out[128]); /* "f32 [tokens, 576]" */

/* ---- for decompose() and backward() */
graft_value graft_ops_number(graft_graph *g, double v); /* of rank 0: broadcasts without adding an axis */
graft_value graft_ops_filled(graft_graph *g, const graft_shape *s, double v);
graft_value graft_ops_reshape(graft_graph *g, graft_value x, const graft_shape *s);
graft_value graft_ops_shape2(graft_graph *g, graft_value x, int64_t d0, int64_t d1);   /* reshape to [d0, d1] */
graft_value graft_ops_reduce_to(graft_graph *g, graft_value dy, const graft_shape *s); /* the gradient of broadcasting: sums dy down to s */
graft_value graft_ops_column(graft_graph *g, graft_value x, int64_t i);                /* x [m, n] -> [m, 1] */
graft_value graft_ops_iota(graft_graph *g, int64_t dim, int64_t d0, int64_t d1);       /* 0, 1, .. as f32, reshaped to [d0, d1] */
graft_value graft_ops_square(graft_graph *g, graft_value x);
graft_value graft_ops_not(graft_graph *g, graft_value x); /* 1 - x */
/* The op `name` on `in` with the attributes of n. */
graft_value graft_ops_emit(graft_graph *g, const graft_node *n, const char *name, int n_in, const graft_value *in);
graft_value graft_ops_second(graft_graph *g, graft_value v, int index); /* another output */

/* Element-by-element sizes for flops(). */
double graft_ops_elements(const graft_graph *g, graft_value v, const int64_t extent[GRAFT_SYMBOLS]);

#define GRAFT_ATTR_NEED(k, t)     \
    {                             \
        k, GRAFT_ATTR_##t, 1, 0.0 \
    }
#define GRAFT_ATTR_MAY(k, t, v)   \
    {                             \
        k, GRAFT_ATTR_##t, 0, (v) \
    }
#define GRAFT_ATTR_DIMS \
    GRAFT_ATTR_NEED("rank", INT), GRAFT_ATTR_MAY("d0", INT, 0), GRAFT_ATTR_MAY("d1", INT, 0), GRAFT_ATTR_MAY("d2", INT, 0), GRAFT_ATTR_MAY("d3", INT, 0)

#endif
