/* core/graph/ops/mlp.c - activations of the feed-forward part. sg = sigmoid, Phi = the normal distribution function.
 *
 *   swiglu   y = silu(gate) up       dup = dy silu(gate)     dgate = dy up silu'(gate)
 *   silu     y = x sg(x)             silu'(x) = sg(x) (1 + x (1 - sg(x)))
 *   gelu     kind 0: y = x Phi(x) = x (1 + erf(x / sqrt 2)) / 2          y' = Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi)
 *            kind 1: y = x (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3)     y' = (1 + tanh u) / 2 + x (1 - tanh^2 u) u' / 2
 */
#include "core/graph/ops/ops.h"

#define ROOT_HALF    0.70710678118654752 /* 1 / sqrt 2    */
#define ROOT_2_PI    0.79788456080286536 /* sqrt(2 / pi)  */
#define INV_ROOT_2PI 0.39894228040143268 /* 1 / sqrt(2 pi) */
#define CUBIC        0.044715

/* All inputs have the shape of the first, and so have all outputs. */
static int shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    for (int i = 0; i < n->op->max_in; i++) {
        if (graft_ops_expect(g, n, i, i ? "each input" : "the first input", GRAFT_OPS_F32, -1) || graft_ops_same(g, n, 0, i)) return -1;
    }
    for (int i = 0; i < n->op->n_out; i++) out[i] = graft_ops_shape(g, n->in[0]);
    return 0;
}

static graft_value silu_slope(graft_graph *g, graft_value x, graft_value sg)
{
    graft_builder *b = g->builder;
    return graft_mul(b, sg, graft_affine(b, graft_mul(b, x, graft_ops_not(g, sg)), 1.0, 1.0));
}

static void swiglu_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    out[0] = graft_mul(b, graft_mul(b, n->in[0], graft_sigmoid(b, n->in[0])), n->in[1]);
}

static void swiglu_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    const graft_value in[] = {n->in[0], n->in[1], dout[0]}, dgate = graft_ops_emit(g, n, "swiglu_grad/1", 3, in);
    if (wants[0]) din[0] = dgate;
    if (wants[1]) din[1] = graft_ops_second(g, dgate, 1);
}

static void swiglu_grad_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_value gate = n->in[0], up = n->in[1], dy = n->in[2], sg = graft_sigmoid(b, gate);
    out[0] = graft_mul(b, graft_mul(b, dy, up), silu_slope(g, gate, sg));
    out[1] = graft_mul(b, dy, graft_mul(b, gate, sg));
}

static void silu_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    out[0] = graft_mul(g->builder, n->in[0], graft_sigmoid(g->builder, n->in[0]));
}

static void silu_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    (void)wants;
    din[0] = graft_op2(g->builder, "silu_grad/1", n->in[0], dout[0]);
}

static void silu_grad_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    out[0] = graft_mul(g->builder, n->in[1], silu_slope(g, n->in[0], graft_sigmoid(g->builder, n->in[0])));
}

/* kind 0: Phi(x); kind 1: (1 + tanh u) / 2 */
static graft_value gate_of(graft_graph *g, graft_value x, int64_t kind)
{
    graft_builder *b = g->builder;
    if (kind == 0) return graft_affine(b, graft_erf(b, graft_scale(b, x, ROOT_HALF)), 0.5, 0.5);
    const graft_value u = graft_mul(b, x, graft_affine(b, graft_ops_square(g, x), ROOT_2_PI * CUBIC, ROOT_2_PI));
    return graft_affine(b, graft_tanh(b, u), 0.5, 0.5);
}

static int gelu_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    const int64_t kind = graft_node_int(n, "kind");
    if (kind == 0 || kind == 1) return shape(g, n, out);
    graft_graph_error(g, "%s expects kind 0 (erf) or 1 (tanh), found %lld", n->op->name, (long long)kind);
    return -1;
}

static void gelu_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    out[0] = graft_mul(g->builder, n->in[0], gate_of(g, n->in[0], graft_node_int(n, "kind")));
}

static void gelu_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    const graft_value in[] = {n->in[0], dout[0]};
    if (wants[0]) din[0] = graft_ops_emit(g, n, "gelu_grad/1", 2, in);
}

static void gelu_grad_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_value x = n->in[0], x2 = graft_ops_square(g, x);
    const int64_t kind = graft_node_int(n, "kind");
    const graft_value gate = gate_of(g, x, kind);
    graft_value slope; /* of the gate */
    if (kind == 0) {
        slope = graft_scale(b, graft_exp(b, graft_scale(b, x2, -0.5)), INV_ROOT_2PI);
    } else { /* (1 - tanh^2 u) / 2 = 2 gate (1 - gate) */
        const graft_value du = graft_affine(b, x2, 3.0 * ROOT_2_PI * CUBIC, ROOT_2_PI);
        slope = graft_mul(b, graft_scale(b, graft_mul(b, gate, graft_ops_not(g, gate)), 2.0), du);
    }
    out[0] = graft_mul(b, n->in[1], graft_add(b, gate, graft_mul(b, x, slope)));
}

static double flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]) { return 8.0 * graft_ops_elements(g, n->in[0], extent); }

#define KIND                           \
    {                                  \
        GRAFT_ATTR_MAY("kind", INT, 0) \
    }
const graft_op_record graft_ops_mlp[] = {
    {
        .name = "swiglu/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 2,
        .max_in = 2,
        .n_out = 1,
        .shape = shape,
        .decompose = swiglu_decompose,
        .backward = swiglu_backward,
        .inplace = {1},
        .flops = flops,
    },
    {
        .name = "swiglu_grad/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 3,
        .max_in = 3,
        .n_out = 2,
        .shape = shape,
        .decompose = swiglu_grad_decompose,
        .inplace = {1, 2},
        .flops = flops,
    },
    {
        .name = "silu/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 1,
        .max_in = 1,
        .n_out = 1,
        .shape = shape,
        .decompose = silu_decompose,
        .backward = silu_backward,
        .inplace = {1},
        .flops = flops,
    },
    {
        .name = "silu_grad/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 2,
        .max_in = 2,
        .n_out = 1,
        .shape = shape,
        .decompose = silu_grad_decompose,
        .inplace = {1},
        .flops = flops,
    },
    {
        .name = "gelu/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 1,
        .max_in = 1,
        .n_out = 1,
        .attrs = KIND,
        .shape = gelu_shape,
        .decompose = gelu_decompose,
        .backward = gelu_backward,
        .inplace = {1},
        .flops = flops,
    },
    {
        .name = "gelu_grad/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 2,
        .max_in = 2,
        .n_out = 1,
        .attrs = KIND,
        .shape = gelu_shape,
        .decompose = gelu_grad_decompose,
        .inplace = {1},
        .flops = flops,
    },
    {.name = NULL},
};
