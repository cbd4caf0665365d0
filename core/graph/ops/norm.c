/* core/graph/ops/norm.c - RMSNorm (Zhang & Sennrich 2019) and LayerNorm (Ba et al. 2016) over the last axis, and their gradients.
 *
 *   xhat = (x - mean) rstd    (RMSNorm: mean = 0)      y = xhat w' + b,  w' = w + plus
 *   t = dy w'                                          dx = rstd (t - mean(t) - xhat mean(t xhat))    (RMSNorm: without mean(t))
 *   dw = sum over rows of dy xhat                      db = sum over rows of dy
 */
#include "core/graph/ops/ops.h"

static int last(const graft_shape *s) { return s->rank > 0 ? s->rank - 1 : 0; } /* rank 0: the null value after an error */

/* x: rank >= 1 with a constant last axis; every vector input from `first` to `end` is [d] or absent. */
static int check(graft_graph *g, const graft_node *n, int first, int end, graft_shape *x)
{
    char a[128], b[128];
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32, -1)) return -1;
    *x = graft_ops_shape(g, n->in[0]);
    if (x->rank < 1 || x->dims[last(x)] < 1) {
        graft_graph_error(g, "%s expects x [rows, d] with a constant d, found %s", n->op->name, graft_ops_text(x, a));
        return -1;
    }
    for (int i = first; i < end; i++) {
        if (!graft_ops_has(n, i)) continue;
        const graft_shape w = graft_ops_shape(g, n->in[i]);
        if (!(1 << w.dtype & GRAFT_OPS_FLOAT) || w.rank != 1 || w.dims[0] != x->dims[last(x)]) {
            graft_graph_error(g, "%s expects a vector [%lld] for input %d, found %s", n->op->name, (long long)x->dims[last(x)], i, graft_ops_text(&w, b));
            return -1;
        }
    }
    return 0;
}

static graft_shape rows(const graft_shape *x)
{
    graft_shape s = *x;
    s.dims[last(x)] = 1;
    return s;
}

/* Input i holds one number a row of x. */
static int per_row(graft_graph *g, const graft_node *n, int i, const char *what, const graft_shape *x)
{
    char a[128], b[128];
    if (graft_ops_expect(g, n, i, what, GRAFT_OPS_F32, -1)) return -1;
    const graft_shape want = rows(x), s = graft_ops_shape(g, n->in[i]);
    if (graft_ops_equal(&s, &want)) return 0;
    graft_graph_error(g, "%s expects %s %s, found %s", n->op->name, what, graft_ops_text(&want, a), graft_ops_text(&s, b));
    return -1;
}

/* Mean over the last axis, kept as size 1. */
static graft_value mean(graft_graph *g, graft_value v)
{
    const graft_shape s = graft_ops_shape(g, v);
    return graft_scale(g->builder, graft_sum(g->builder, v, last(&s)), 1.0 / (double)s.dims[last(&s)]);
}

/* w as f32, plus `plus`; null when absent. */
static graft_value weight(graft_graph *g, const graft_node *n, int i, double plus)
{
    if (!graft_ops_has(n, i)) return graft_null_value();
    graft_value w = n->in[i];
    if (graft_ops_shape(g, w).dtype != GRAFT_F32) w = graft_cast(g->builder, w, GRAFT_F32);
    return plus != 0.0 ? graft_affine(g->builder, w, 1.0, plus) : w;
}

/* sum over rows: [.., d] -> [d] */
static graft_value over_rows(graft_graph *g, graft_value v)
{
    const graft_shape s = graft_ops_shape(g, v), d = graft_ops_vector(GRAFT_F32, s.dims[last(&s)]);
    return graft_ops_reduce_to(g, v, &d);
}

/* ---- RMSNorm: x, w -> y, rstd ---------------------------------------------------------------------------------------------------------- */
static int rms_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    graft_shape x;
    if (check(g, n, 1, 2, &x)) return -1;
    out[0] = x, out[1] = rows(&x);
    return 0;
}

static void rms_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_value w = weight(g, n, 1, graft_node_real(n, "plus"));
    out[1] = graft_rsqrt(b, graft_affine(b, mean(g, graft_ops_square(g, n->in[0])), 1.0, graft_node_real(n, "eps")));
    out[0] = graft_mul(b, n->in[0], out[1]);
    if (w.id) out[0] = graft_mul(b, out[0], w);
}

static void rms_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    const graft_value w = n->n_in > 1 ? n->in[1] : graft_null_value(), in[] = {n->in[0], w, n->out[1], dout[0]};
    if (dout[1].id) {
        graft_graph_error(g, "%s passes no gradient through its second output, rstd", n->op->name);
        return;
    }
    const graft_value dx = graft_ops_emit(g, n, "rms_norm_grad/1", 4, in);
    din[0] = dx;
    if (w.id && wants[1]) din[1] = graft_ops_second(g, dx, 1);
}

/* ---- RMSNorm's gradient: x, w, rstd, dy -> dx, dw ----------------------------------------------------------------------------------------- */
static int rms_grad_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    graft_shape x;
    if (check(g, n, 1, 2, &x) || per_row(g, n, 2, "rstd", &x) || graft_ops_expect(g, n, 3, "dy", GRAFT_OPS_F32, x.rank) ||
        graft_ops_same(g, n, 0, 3))
        return -1;
    out[0] = x, out[1] = graft_ops_vector(GRAFT_F32, x.dims[last(&x)]);
    return 0;
}

static void rms_grad_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_value w = weight(g, n, 1, graft_node_real(n, "plus")), rstd = n->in[2], dy = n->in[3];
    const graft_value xhat = graft_mul(b, n->in[0], rstd), t = w.id ? graft_mul(b, dy, w) : dy;
    out[0] = graft_mul(b, rstd, graft_sub(b, t, graft_mul(b, xhat, mean(g, graft_mul(b, t, xhat)))));
    out[1] = over_rows(g, graft_mul(b, dy, xhat));
}

/* ---- LayerNorm: x, w, b -> y, mean, rstd -------------------------------------------------------------------------------------------------- */
static int layer_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    graft_shape x;
    if (check(g, n, 1, 3, &x)) return -1;
    out[0] = x, out[1] = out[2] = rows(&x);
    return 0;
}

static void layer_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_value w = weight(g, n, 1, 0.0), bias = weight(g, n, 2, 0.0);
    out[1] = mean(g, n->in[0]);
    const graft_value centred = graft_sub(b, n->in[0], out[1]);
    out[2] = graft_rsqrt(b, graft_affine(b, mean(g, graft_ops_square(g, centred)), 1.0, graft_node_real(n, "eps")));
    out[0] = graft_mul(b, centred, out[2]);
    if (w.id) out[0] = graft_mul(b, out[0], w);
    if (bias.id) out[0] = graft_add(b, out[0], bias);
}

static void layer_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    const graft_value w = n->n_in > 1 ? n->in[1] : graft_null_value(), in[] = {n->in[0], w, n->out[1], n->out[2], dout[0]};
    if (dout[1].id || dout[2].id) {
        graft_graph_error(g, "%s passes no gradient through its outputs mean and rstd", n->op->name);
        return;
    }
    const graft_value dx = graft_ops_emit(g, n, "layer_norm_grad/1", 5, in);
    din[0] = dx;
    if (w.id && wants[1]) din[1] = graft_ops_second(g, dx, 1);
    if (graft_ops_has(n, 2) && wants[2]) din[2] = graft_ops_second(g, dx, 2);
}

/* ---- LayerNorm's gradient: x, w, mean, rstd, dy -> dx, dw, db ------------------------------------------------------------------------------- */
static int layer_grad_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    graft_shape x;
    if (check(g, n, 1, 2, &x) || per_row(g, n, 2, "mean", &x) || per_row(g, n, 3, "rstd", &x) ||
        graft_ops_expect(g, n, 4, "dy", GRAFT_OPS_F32, x.rank) || graft_ops_same(g, n, 0, 4))
        return -1;
    out[0] = x, out[1] = out[2] = graft_ops_vector(GRAFT_F32, x.dims[last(&x)]);
    return 0;
}

static void layer_grad_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_value w = weight(g, n, 1, 0.0), rstd = n->in[3], dy = n->in[4];
    const graft_value xhat = graft_mul(b, graft_sub(b, n->in[0], n->in[2]), rstd), t = w.id ? graft_mul(b, dy, w) : dy;
    const graft_value centred = graft_sub(b, t, mean(g, t));
    out[0] = graft_mul(b, rstd, graft_sub(b, centred, graft_mul(b, xhat, mean(g, graft_mul(b, t, xhat)))));
    out[1] = over_rows(g, graft_mul(b, dy, xhat));
    out[2] = over_rows(g, dy);
}

static double flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]) { return 8.0 * graft_ops_elements(g, n->in[0], extent); }

#define RMS_ATTRS                                                       \
    {                                                                   \
        GRAFT_ATTR_NEED("eps", REAL), GRAFT_ATTR_MAY("plus", REAL, 0.0) \
    }
const graft_op_record graft_ops_norm[] = {
    {
        .name = "rms_norm/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 1,
        .max_in = 2,
        .n_out = 2,
        .attrs = RMS_ATTRS,
        .shape = rms_shape,
        .decompose = rms_decompose,
        .backward = rms_backward,
        .flops = flops,
    },
    {
        .name = "rms_norm_grad/1",
        .optional = 1u << 1,
        .flags = GRAFT_OP_CHEAP,
        .min_in = 4,
        .max_in = 4,
        .n_out = 2,
        .attrs = RMS_ATTRS,
        .shape = rms_grad_shape,
        .decompose = rms_grad_decompose,
        .flops = flops,
    },
    {
        .name = "layer_norm/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 1,
        .max_in = 3,
        .n_out = 3,
        .attrs = {GRAFT_ATTR_NEED("eps", REAL)},
        .shape = layer_shape,
        .decompose = layer_decompose,
        .backward = layer_backward,
        .flops = flops,
    },
    {
        .name = "layer_norm_grad/1",
        .optional = 1u << 1,
        .flags = GRAFT_OP_CHEAP,
        .min_in = 5,
        .max_in = 5,
        .n_out = 3,
        .attrs = {GRAFT_ATTR_NEED("eps", REAL)},
        .shape = layer_grad_shape,
        .decompose = layer_grad_decompose,
        .flops = flops,
    },
    {.name = NULL},
};
