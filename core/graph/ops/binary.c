/* core/graph/ops/binary.c - two and three operands with numpy broadcasting. The gradient of a broadcast operand is summed over the axes it was repeated on. */
#include "core/graph/ops/ops.h"

#define BACKWARD(name) static void name(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)

static int shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32, -1) || graft_ops_expect(g, n, 1, "y", GRAFT_OPS_F32, -1)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]), y = graft_ops_shape(g, n->in[1]);
    return graft_ops_broadcast(g, n, &x, &y, out);
}

static int compare_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char a[128], b[128];
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32 | GRAFT_OPS_I32, -1) || graft_ops_expect(g, n, 1, "y", GRAFT_OPS_F32 | GRAFT_OPS_I32, -1)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]), y = graft_ops_shape(g, n->in[1]);
    if (x.dtype != y.dtype) {
        graft_graph_error(g, "%s expects both sides f32 or both i32, found %s and %s", n->op->name, graft_ops_text(&x, a), graft_ops_text(&y, b));
        return -1;
    }
    return graft_ops_broadcast(g, n, &x, &y, out);
}

static int select_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    static const char *const what[] = {"c", "x", "y"};
    graft_shape both;
    for (int i = 0; i < 3; i++) {
        if (graft_ops_expect(g, n, i, what[i], GRAFT_OPS_F32, -1)) return -1;
    }
    const graft_shape c = graft_ops_shape(g, n->in[0]), x = graft_ops_shape(g, n->in[1]), y = graft_ops_shape(g, n->in[2]);
    return graft_ops_broadcast(g, n, &x, &y, &both) || graft_ops_broadcast(g, n, &c, &both, out) ? -1 : 0;
}

/* din[i] = dy summed down to the shape of input i. */
static void pass(graft_graph *g, const graft_node *n, int i, graft_value dy, graft_value *din)
{
    const graft_shape s = graft_ops_shape(g, n->in[i]);
    din[i] = graft_ops_reduce_to(g, dy, &s);
}

BACKWARD(add_backward)
{
    if (wants[0]) pass(g, n, 0, dout[0], din);
    if (wants[1]) pass(g, n, 1, dout[0], din);
}

BACKWARD(sub_backward)
{
    if (wants[0]) pass(g, n, 0, dout[0], din);
    if (!wants[1]) return;
    pass(g, n, 1, dout[0], din);
    din[1] = graft_neg(g->builder, din[1]);
}

BACKWARD(mul_backward)
{
    if (wants[0]) pass(g, n, 0, graft_mul(g->builder, dout[0], n->in[1]), din);
    if (wants[1]) pass(g, n, 1, graft_mul(g->builder, dout[0], n->in[0]), din);
}

BACKWARD(div_backward) /* dx = dy / y; dy' = -dy z / y */
{
    const graft_value dx = graft_div(g->builder, dout[0], n->in[1]);
    if (wants[0]) pass(g, n, 0, dx, din);
    if (wants[1]) pass(g, n, 1, graft_neg(g->builder, graft_mul(g->builder, dx, n->out[0])), din);
}

BACKWARD(maximum_backward) /* to y where x < y, else to x */
{
    graft_builder *b = g->builder;
    const graft_value second = graft_less(b, n->in[0], n->in[1]);
    if (wants[0]) pass(g, n, 0, graft_mul(b, dout[0], graft_ops_not(g, second)), din);
    if (wants[1]) pass(g, n, 1, graft_mul(b, dout[0], second), din);
}

BACKWARD(compare_backward) { (void)g, (void)n, (void)dout, (void)wants, (void)din; } /* piecewise constant: zero */

BACKWARD(select_backward)
{
    graft_builder *b = g->builder;
    const graft_value zero = graft_ops_number(g, 0.0);
    if (wants[1]) pass(g, n, 1, graft_select(b, n->in[0], dout[0], zero), din);
    if (wants[2]) pass(g, n, 2, graft_select(b, n->in[0], zero, dout[0]), din);
}

#define BINARY(name_, shape_, backward_, ...)                                                                                                                  \
    {                                                                                                                                                          \
        .name = name_, .flags = GRAFT_OP_PRIMITIVE | GRAFT_OP_CHEAP, .min_in = 2, .max_in = 2, .n_out = 1, .shape = shape_, .backward = backward_, __VA_ARGS__ \
    }

const graft_op_record graft_ops_binary[] = {
    BINARY("add/1", shape, add_backward, .inplace = {1}),
    BINARY("sub/1", shape, sub_backward, .inplace = {1}),
    BINARY("mul/1", shape, mul_backward, .inplace = {1}),
    BINARY("div/1", shape, div_backward, .inplace = {1}),
    BINARY("maximum/1", shape, maximum_backward, .inplace = {1}),
    BINARY("less/1", compare_shape, compare_backward, .inplace = {0}),
    BINARY("equal/1", compare_shape, compare_backward, .inplace = {0}),
    {
        .name = "select/1",
        .flags = GRAFT_OP_PRIMITIVE | GRAFT_OP_CHEAP,
        .min_in = 3,
        .max_in = 3,
        .n_out = 1,
        .shape = select_shape,
        .backward = select_backward,
        .inplace = {2},
    },
    {.name = NULL},
};
