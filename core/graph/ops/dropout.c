/* core/graph/ops/dropout.c - zeroes with probability p, scales the rest by 1 / (1 - p), in training alone (Srivastava et al. 2014).
 * Linear in x with a mask that the counter-based generator makes again, so the gradient is the same op on dy and no mask is kept. */
#include "core/graph/ops/ops.h"

static int shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    const double p = graft_node_real(n, "p");
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32, -1)) return -1;
    out[0] = graft_ops_shape(g, n->in[0]);
    if (p >= 0.0 && p < 1.0) return 0;
    graft_graph_error(g, "%s expects p between 0 and 1 (not 1), found %g", n->op->name, p);
    return -1;
}

static void decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_shape s = graft_ops_shape(g, n->in[0]);
    const double p = graft_node_real(n, "p");
    const graft_value drawn = graft_random(b, s.rank, s.dims, graft_node_int(n, "stream"));
    const graft_value keep = graft_ops_not(g, graft_less(b, drawn, graft_ops_number(g, (double)(float)p)));
    const graft_value dropped = graft_mul(b, n->in[0], graft_scale(b, keep, 1.0 / (1.0 - p)));
    out[0] = graft_select(b, graft_reshape(b, graft_training(b), 0, NULL), dropped, n->in[0]);
}

static void backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    if (wants[0]) din[0] = graft_ops_emit(g, n, "dropout/1", 1, dout);
}

const graft_op_record graft_ops_dropout[] = {
    {
        .name = "dropout/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 1,
        .max_in = 1,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_NEED("p", REAL), GRAFT_ATTR_MAY("stream", INT, 0)},
        .shape = shape,
        .decompose = decompose,
        .backward = backward,
        .inplace = {1},
    },
    {.name = NULL},
};
