/* core/graph/ops/elementwise.c - one operand, element by element: y = f(x), shape kept. Gradients are written with y where y is cheaper than x. */
#include "core/graph/ops/ops.h"

#define BACKWARD(name) static void name(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
#define OPERANDS                                                 \
    graft_builder *b = g->builder;                               \
    const graft_value x = n->in[0], y = n->out[0], dy = dout[0]; \
    (void)wants, (void)x, (void)y;

static int shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32, -1)) return -1;
    out[0] = graft_ops_shape(g, n->in[0]);
    return 0;
}

BACKWARD(neg_backward)
{
    OPERANDS
    din[0] = graft_neg(b, dy);
}

BACKWARD(exp_backward)
{
    OPERANDS
    din[0] = graft_mul(b, dy, y);
}

BACKWARD(log_backward)
{
    OPERANDS
    din[0] = graft_div(b, dy, x);
}

BACKWARD(sqrt_backward) /* dy / (2 y) */
{
    OPERANDS
    din[0] = graft_scale(b, graft_div(b, dy, y), 0.5);
}

BACKWARD(rsqrt_backward) /* -dy y^3 / 2 */
{
    OPERANDS
    din[0] = graft_scale(b, graft_mul(b, dy, graft_mul(b, y, graft_ops_square(g, y))), -0.5);
}

BACKWARD(tanh_backward) /* dy (1 - y^2) */
{
    OPERANDS
    din[0] = graft_mul(b, dy, graft_ops_not(g, graft_ops_square(g, y)));
}

BACKWARD(sigmoid_backward) /* dy y (1 - y) */
{
    OPERANDS
    din[0] = graft_mul(b, dy, graft_mul(b, y, graft_ops_not(g, y)));
}

BACKWARD(sin_backward)
{
    OPERANDS
    din[0] = graft_mul(b, dy, graft_cos(b, x));
}

BACKWARD(cos_backward)
{
    OPERANDS
    din[0] = graft_neg(b, graft_mul(b, dy, graft_sin(b, x)));
}

BACKWARD(abs_backward) /* dy sign(x), sign(0) = 0 */
{
    OPERANDS
    const graft_value zero = graft_ops_number(g, 0.0);
    din[0] = graft_mul(b, dy, graft_sub(b, graft_less(b, zero, x), graft_less(b, x, zero)));
}

BACKWARD(erf_backward) /* dy 2/sqrt(pi) exp(-x^2) */
{
    OPERANDS
    din[0] = graft_mul(b, dy, graft_scale(b, graft_exp(b, graft_neg(b, graft_ops_square(g, x))), 1.1283791670955126));
}

BACKWARD(affine_backward)
{
    OPERANDS
    din[0] = graft_scale(b, dy, graft_node_real(n, "mul"));
}

#define UNARY(name_)                                                                                                             \
    {                                                                                                                            \
        .name = #name_ "/1", .flags = GRAFT_OP_PRIMITIVE | GRAFT_OP_CHEAP, .min_in = 1, .max_in = 1, .n_out = 1, .shape = shape, \
        .backward = name_##_backward, .inplace = { 1 }                                                                           \
    }

const graft_op_record graft_ops_elementwise[] = {
    UNARY(neg),
    UNARY(exp),
    UNARY(log),
    UNARY(sqrt),
    UNARY(rsqrt),
    UNARY(tanh),
    UNARY(sigmoid),
    UNARY(sin),
    UNARY(cos),
    UNARY(abs),
    UNARY(erf),
    {
        .name = "affine/1",
        .flags = GRAFT_OP_PRIMITIVE | GRAFT_OP_CHEAP,
        .min_in = 1,
        .max_in = 1,
        .n_out = 1,
        .shape = shape,
        .backward = affine_backward,
        .attrs = {GRAFT_ATTR_NEED("mul", REAL), GRAFT_ATTR_MAY("add", REAL, 0.0)},
        .inplace = {1},
    },
    {.name = NULL},
};
