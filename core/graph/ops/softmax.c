/* core/graph/ops/softmax.c - y = exp(x - max) / sum over the last axis; dx = y (dy - sum(y dy)). */
#include "core/graph/ops/ops.h"

static int shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char text[128];
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32, -1)) return -1;
    out[0] = graft_ops_shape(g, n->in[0]);
    if (n->op->max_in == 2 && (graft_ops_expect(g, n, 1, "dy", GRAFT_OPS_F32, -1) || graft_ops_same(g, n, 0, 1))) return -1;
    if (out[0].rank >= 1) return 0;
    graft_graph_error(g, "%s expects at least one axis, found %s", n->op->name, graft_ops_text(&out[0], text));
    return -1;
}

static void decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const int axis = graft_ops_shape(g, n->in[0]).rank - 1;
    const graft_value e = graft_exp(b, graft_sub(b, n->in[0], graft_amax(b, n->in[0], axis)));
    out[0] = graft_div(b, e, graft_sum(b, e, axis));
}

static void backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    (void)wants;
    din[0] = graft_op2(g->builder, "softmax_grad/1", n->out[0], dout[0]);
}

static void grad_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_value y = n->in[0], dy = n->in[1];
    const int axis = graft_ops_shape(g, y).rank - 1;
    out[0] = graft_mul(b, y, graft_sub(b, dy, graft_sum(b, graft_mul(b, y, dy), axis)));
}

static double flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]) { return 5.0 * graft_ops_elements(g, n->in[0], extent); }

const graft_op_record graft_ops_softmax[] = {
    {
        .name = "softmax/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 1,
        .max_in = 1,
        .n_out = 1,
        .shape = shape,
        .decompose = decompose,
        .backward = backward,
        .flops = flops,
    },
    {
        .name = "softmax_grad/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 2,
        .max_in = 2,
        .n_out = 1,
        .shape = shape,
        .decompose = grad_decompose,
        .flops = flops,
    },
    {.name = NULL},
};
