/* core/graph/ops/reduce.c - sum and maximum over one axis, which stays as size 1. */
#include "core/graph/ops/ops.h"

static int shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    int axis;
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32, -1)) return -1;
    out[0] = graft_ops_shape(g, n->in[0]);
    if (graft_ops_axis(g, n, &out[0], &axis)) return -1;
    out[0].dims[axis] = 1;
    return 0;
}

static double flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]) { return graft_ops_elements(g, n->in[0], extent); }

static void sum_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    (void)wants;
    const graft_shape s = graft_ops_shape(g, n->in[0]);
    din[0] = graft_broadcast(g->builder, dout[0], s.rank, s.dims);
}

/* The first maximum is where x equals it and the index is the smallest such; the smallest of m is -max(-m). */
static void amax_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    (void)wants;
    graft_builder *b = g->builder;
    const int axis = (int)graft_node_int(n, "axis");
    const graft_shape s = graft_ops_shape(g, n->in[0]);
    graft_shape line = {GRAFT_F32, s.rank, {1, 1, 1, 1}};
    line.dims[axis] = s.dims[axis];
    const graft_value hit = graft_equal(b, n->in[0], n->out[0]);
    const graft_value index = graft_reshape(b, graft_cast(b, graft_iota(b, s.dims[axis]), GRAFT_F32), line.rank, line.dims);
    const graft_value minus = graft_select(b, hit, graft_neg(b, index), graft_ops_number(g, -1e30));
    const graft_value first = graft_equal(b, minus, graft_amax(b, minus, axis));
    din[0] = graft_mul(b, first, dout[0]);
}

const graft_op_record graft_ops_reduce[] = {
    {
        .name = "sum/1",
        .flags = GRAFT_OP_PRIMITIVE,
        .min_in = 1,
        .max_in = 1,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_NEED("axis", INT)},
        .shape = shape,
        .backward = sum_backward,
        .flops = flops,
    },
    {
        .name = "amax/1",
        .flags = GRAFT_OP_PRIMITIVE,
        .min_in = 1,
        .max_in = 1,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_NEED("axis", INT)},
        .shape = shape,
        .backward = amax_backward,
        .flops = flops,
    },
    {.name = NULL},
};
