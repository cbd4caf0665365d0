/* core/graph/ops/matmul.c - y = alpha op(a) op(w) + c over the last two axes; leading axes broadcast. Four cases of transposition, one rule each:
 *
 *   Y = A W      dA = dY W^T     dW = A^T dY            Y = A^T W    dA = W dY^T     dW = A dY
 *   Y = A W^T    dA = dY W       dW = dY^T A            Y = A^T W^T  dA = W^T dY^T   dW = dY^T A^T
 */
#include "core/graph/ops/ops.h"

static int shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char a[128], b[128];
    if (graft_ops_expect(g, n, 0, "a", GRAFT_OPS_STORED, -1) || graft_ops_expect(g, n, 1, "w", GRAFT_OPS_STORED, -1)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]), w = graft_ops_shape(g, n->in[1]);
    const int ta = graft_node_int(n, "trans_a") != 0, tb = graft_node_int(n, "trans_b") != 0, r = x.rank;
    int good = r >= 2 && w.rank == r;
    for (int i = 0; good && i < r - 2; i++) good = x.dims[i] == w.dims[i] || x.dims[i] == 1 || w.dims[i] == 1;
    if (!good) {
        graft_graph_error(g, "%s expects equal ranks of 2 to 4 and leading axes equal or 1, found %s and %s", n->op->name, graft_ops_text(&x, a),
                          graft_ops_text(&w, b));
        return -1;
    }
    if (x.dims[ta ? r - 2 : r - 1] != w.dims[tb ? r - 1 : r - 2]) {
        graft_graph_error(g, "%s expects inner sizes that are equal, found %s%s and %s%s", n->op->name, graft_ops_text(&x, a), ta ? "^T" : "",
                          graft_ops_text(&w, b), tb ? "^T" : "");
        return -1;
    }
    out[0] = (graft_shape){GRAFT_F32, r, {0, 0, 0, 0}};
    for (int i = 0; i < r - 2; i++) out[0].dims[i] = x.dims[i] == 1 ? w.dims[i] : x.dims[i];
    out[0].dims[r - 2] = x.dims[ta ? r - 1 : r - 2];
    out[0].dims[r - 1] = w.dims[tb ? r - 2 : r - 1];
    if (!graft_ops_has(n, 2)) return 0;
    if (graft_ops_expect(g, n, 2, "c", GRAFT_OPS_F32, r)) return -1;
    const graft_shape c = graft_ops_shape(g, n->in[2]);
    if (graft_ops_equal(&c, &out[0])) return 0;
    graft_graph_error(g, "%s expects c in the result's shape %s, found %s", n->op->name, graft_ops_text(&out[0], a), graft_ops_text(&c, b));
    return -1;
}

static void backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    const int ta = graft_node_int(n, "trans_a") != 0, tb = graft_node_int(n, "trans_b") != 0;
    const double alpha = graft_node_real(n, "alpha");
    const graft_value a = n->in[0], w = n->in[1], dy = dout[0], none = graft_null_value();
    const graft_shape sa = graft_ops_shape(g, a), sw = graft_ops_shape(g, w);
    if (wants[0]) din[0] = ta ? graft_gemm(g->builder, w, dy, none, tb, 1, alpha) : graft_gemm(g->builder, dy, w, none, 0, !tb, alpha);
    if (wants[0]) din[0] = graft_ops_reduce_to(g, din[0], &sa);
    if (wants[1]) din[1] = tb ? graft_gemm(g->builder, dy, a, none, 1, ta, alpha) : graft_gemm(g->builder, a, dy, none, !ta, 0, alpha);
    if (wants[1]) din[1] = graft_ops_reduce_to(g, din[1], &sw);
    if (n->n_in > 2 && wants[2]) din[2] = dy;
}

static double flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS])
{
    const graft_shape a = graft_ops_shape(g, n->in[0]);
    int64_t k = a.dims[graft_node_int(n, "trans_a") ? a.rank - 2 : a.rank - 1];
    if (k < 0) k = extent[-1 - k];
    return 2.0 * (double)k * graft_ops_elements(g, n->out[0], extent);
}

const graft_op_record graft_ops_matmul[] = {
    {
        .name = "matmul/1",
        .flags = GRAFT_OP_PRIMITIVE,
        .min_in = 2,
        .max_in = 3,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_MAY("trans_a", INT, 0), GRAFT_ATTR_MAY("trans_b", INT, 0), GRAFT_ATTR_MAY("alpha", REAL, 1.0)},
        .shape = shape,
        .backward = backward,
        .inplace = {3},
        .accumulate = {3},
        .flops = flops,
    },
    {.name = NULL},
};
