/* core/graph/ops/optim.c - what an update step needs: the sum of squares for the gradient's norm, and AdamW (Loshchilov & Hutter 2019, torch's order). */
#include "core/graph/ops/ops.h"

/* ---- sum_squares: x, acc -> [1] ---------------------------------------------------------------------------------------------------------- */
static int squares_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char text[128];
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32, -1)) return -1;
    out[0] = graft_ops_vector(GRAFT_F32, 1);
    if (!graft_ops_has(n, 1)) return 0;
    if (graft_ops_expect(g, n, 1, "acc", GRAFT_OPS_F32, 1)) return -1;
    const graft_shape acc = graft_ops_shape(g, n->in[1]);
    if (acc.dims[0] == 1) return 0;
    graft_graph_error(g, "%s expects acc [1], found %s", n->op->name, graft_ops_text(&acc, text));
    return -1;
}

static void squares_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    const graft_shape one = graft_ops_vector(GRAFT_F32, 1);
    out[0] = graft_ops_reduce_to(g, graft_ops_square(g, n->in[0]), &one);
    if (graft_ops_has(n, 1)) out[0] = graft_add(g->builder, out[0], n->in[1]);
}

static void squares_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    const graft_shape x = graft_ops_shape(g, n->in[0]);
    if (wants[0]) din[0] = graft_ops_reshape(g, graft_mul(g->builder, graft_scale(g->builder, n->in[0], 2.0), dout[0]), &x);
    if (n->n_in > 1 && wants[1]) din[1] = dout[0];
}

/* ---- adamw: p, g, m, v, hyper -> p, m, v ----------------------------------------------------------------------------------------------------- */
enum { LR,
       BETA1,
       BETA2,
       EPS,
       DECAY,
       CORRECTION1,
       CORRECTION2,
       FACTOR,
       HYPERS };

static int adamw_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    static const char *const what[] = {"p", "g", "m", "v"};
    char text[128];
    for (int i = 0; i < 4; i++) {
        if (graft_ops_expect(g, n, i, what[i], GRAFT_OPS_F32, -1) || graft_ops_same(g, n, 0, i)) return -1;
    }
    if (graft_ops_expect(g, n, 4, "hyper", GRAFT_OPS_F32, 1)) return -1;
    const graft_shape hyper = graft_ops_shape(g, n->in[4]);
    out[0] = out[1] = out[2] = graft_ops_shape(g, n->in[0]);
    if (hyper.dims[0] == HYPERS) return 0;
    graft_graph_error(g, "%s expects hyper [%d], found %s", n->op->name, HYPERS, graft_ops_text(&hyper, text));
    return -1;
}

static void adamw_decompose(graft_graph *gr, const graft_node *n, graft_value *out)
{
    graft_builder *b = gr->builder;
    graft_value h[HYPERS], p = n->in[0];
    for (int i = 0; i < HYPERS; i++) h[i] = graft_reshape(b, graft_slice(b, n->in[4], 0, i, 1), 0, NULL);
    const graft_value g = graft_mul(b, n->in[1], h[FACTOR]);
    if (graft_node_int(n, "decay")) p = graft_mul(b, p, graft_ops_not(gr, graft_mul(b, h[LR], h[DECAY])));
    out[1] = graft_add(b, graft_mul(b, n->in[2], h[BETA1]), graft_mul(b, g, graft_ops_not(gr, h[BETA1])));
    out[2] = graft_add(b, graft_mul(b, n->in[3], h[BETA2]), graft_mul(b, graft_ops_square(gr, g), graft_ops_not(gr, h[BETA2])));
    const graft_value below = graft_add(b, graft_sqrt(b, graft_div(b, out[2], h[CORRECTION2])), h[EPS]);
    out[0] = graft_sub(b, p, graft_div(b, graft_mul(b, graft_div(b, out[1], h[CORRECTION1]), h[LR]), below));
}

static double squares_flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]) { return 2.0 * graft_ops_elements(g, n->in[0], extent); }
static double adamw_flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]) { return 14.0 * graft_ops_elements(g, n->in[0], extent); }

const graft_op_record graft_ops_optim[] = {
    {
        .name = "sum_squares/1",
        .min_in = 1,
        .max_in = 2,
        .n_out = 1,
        .shape = squares_shape,
        .decompose = squares_decompose,
        .backward = squares_backward,
        .inplace = {2},
        .accumulate = {2},
        .flops = squares_flops,
    },
    {
        .name = "adamw/1",
        .min_in = 5,
        .max_in = 5,
        .n_out = 3,
        .attrs = {GRAFT_ATTR_MAY("decay", INT, 1)},
        .shape = adamw_shape,
        .decompose = adamw_decompose,
        .inplace = {1, 3, 4},
        .flops = adamw_flops,
    },
    {.name = NULL},
};
