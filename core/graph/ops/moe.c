/* core/graph/ops/moe.c - routed experts: the largest k of a row, and products of each row with the matrix of its expert.
 *
 *   y[t, j] = x[t, j] w[e]^T, e = ids[t, j]        dx[t, j] = dy[t, j] w[e]          dw[e] = sum dy[t, j]^T x[t, j] over ids[t, j] = e
 *
 * The decompositions are dense: every token through every expert, and a mask. For each j:  [1, T, p] [E, q, p]^T -> [E, T, q], masked, summed over E.
 */
#include "core/graph/ops/ops.h"

#include <math.h>

enum { MOST_CHOSEN = 1024 }; /* experts of a token: a decomposition has some nodes for each */

/* ---- topk ------------------------------------------------------------------------------------------------------------------------------ */
static int topk_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char text[128];
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32, -1)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]);
    const int64_t k = graft_node_int(n, "k");
    const int last = x.rank - 1;
    if (last < 0 || x.dims[last] < 0 || k < 1 || k > x.dims[last] || k > MOST_CHOSEN) {
        graft_graph_error(g, "%s expects k between 1 and the row's length, at most %d, found %lld for %s", n->op->name, (int)MOST_CHOSEN, (long long)k, graft_ops_text(&x, text));
        return -1;
    }
    out[0] = out[1] = x;
    out[0].dims[last] = out[1].dims[last] = k;
    out[1].dtype = GRAFT_I32;
    return 0;
}

/* k times: the maximum, the first place where it is (the smallest of m is -max(-m)), and that place out of the race. */
static void topk_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_shape s = graft_ops_shape(g, n->in[0]);
    const int last = s.rank - 1;
    const graft_value index = graft_cast(b, graft_iota(b, s.dims[last]), GRAFT_F32), taken = graft_ops_number(g, -1e30);
    graft_value rest = n->in[0], values = graft_null_value(), indices = graft_null_value();
    for (int64_t j = 0; j < graft_node_int(n, "k"); j++) {
        const graft_value top = graft_amax(b, rest, last);
        const graft_value at = graft_neg(b, graft_amax(b, graft_select(b, graft_equal(b, rest, top), graft_neg(b, index), taken), last));
        rest = graft_select(b, graft_equal(b, index, at), graft_fill(b, 0, NULL, -HUGE_VAL), rest);
        values = j ? graft_concat(b, values, top, last) : top;
        indices = j ? graft_concat(b, indices, at, last) : at;
    }
    out[0] = values;
    out[1] = graft_cast(b, indices, GRAFT_I32);
}

/* dx[.., e] = sum over j of dvalues[.., j] where indices[.., j] = e. */
static void topk_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    graft_builder *b = g->builder;
    const graft_shape s = graft_ops_shape(g, n->in[0]);
    const int last = s.rank - 1;
    if (!wants[0] || !dout[0].id) return;
    const graft_value index = graft_iota(b, s.dims[last]);
    for (int64_t j = 0; j < graft_node_int(n, "k"); j++) {
        const graft_value hit = graft_equal(b, index, graft_slice(b, n->out[1], last, j, 1)), d = graft_mul(b, hit, graft_slice(b, dout[0], last, j, 1));
        din[0] = j ? graft_add(b, din[0], d) : d;
    }
}

/* ---- products ---------------------------------------------------------------------------------------------------------------------------- */
/* x [T, k or 1, p] beside ids [T, k]. */
static int rows_fit(graft_graph *g, const graft_node *n, int x, int ids, const char *what)
{
    char a[128], b[128];
    if (graft_ops_expect(g, n, x, what, GRAFT_OPS_F32, 3) || graft_ops_expect(g, n, ids, "ids", GRAFT_OPS_I32, 2)) return -1;
    const graft_shape r = graft_ops_shape(g, n->in[x]), i = graft_ops_shape(g, n->in[ids]);
    if (graft_ops_fixed(g, n, &i, 1) || graft_ops_fixed(g, n, &r, 2)) return -1;
    if (r.dims[0] == i.dims[0] && (r.dims[1] == i.dims[1] || r.dims[1] == 1) && i.dims[1] <= MOST_CHOSEN) return 0;
    graft_graph_error(g, "%s expects %s [T, k or 1, d] for ids [T, k], found %s and %s", n->op->name, what, graft_ops_text(&r, a), graft_ops_text(&i, b));
    return -1;
}

static int matmul_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char a[128], b[128];
    if (rows_fit(g, n, 0, 2, "x") || graft_ops_expect(g, n, 1, "w", GRAFT_OPS_STORED, 3)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]), w = graft_ops_shape(g, n->in[1]), ids = graft_ops_shape(g, n->in[2]);
    const int transposed = graft_node_int(n, "transposed") != 0;
    if (x.dims[2] != w.dims[transposed ? 1 : 2] || w.dims[0] < 1) {
        graft_graph_error(g, "%s expects inner sizes that are equal, found %s and %s%s", n->op->name, graft_ops_text(&x, a), graft_ops_text(&w, b), transposed ? "" : "^T");
        return -1;
    }
    out[0] = (graft_shape){GRAFT_F32, 3, {ids.dims[0], ids.dims[1], w.dims[transposed ? 2 : 1], 0}};
    return 0;
}

/* Row j of each token as [1, T, d]. */
static graft_value nth(graft_graph *g, graft_value x, int64_t j)
{
    const graft_shape s = graft_ops_shape(g, x);
    const int64_t flat[] = {1, s.dims[0], s.dims[2]};
    return graft_reshape(g->builder, s.dims[1] == 1 ? x : graft_slice(g->builder, x, 1, j, 1), 3, flat);
}

/* [experts, T, 1]: is e the expert of assignment j of token t? */
static graft_value chosen(graft_graph *g, graft_value ids, int64_t j, int64_t experts)
{
    graft_builder *b = g->builder;
    const graft_shape s = graft_ops_shape(g, ids);
    const int64_t flat[] = {1, s.dims[0], 1}, each[] = {experts, 1, 1};
    return graft_equal(b, graft_reshape(b, graft_iota(b, experts), 3, each), graft_reshape(b, graft_slice(b, ids, 1, j, 1), 3, flat));
}

static void matmul_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_shape w = graft_ops_shape(g, n->in[1]), y = graft_ops_shape(g, n->out[0]), x = graft_ops_shape(g, n->in[0]);
    const int64_t back[] = {y.dims[0], 1, y.dims[2]};
    graft_value dense = graft_null_value();
    for (int64_t j = 0; j < y.dims[1]; j++) {
        if (!j || x.dims[1] != 1) dense = graft_gemm(b, nth(g, n->in[0], j), n->in[1], graft_null_value(), 0, !graft_node_int(n, "transposed"), 1.0);
        const graft_value mine = graft_select(b, chosen(g, n->in[2], j, w.dims[0]), dense, graft_ops_number(g, 0.0));
        const graft_value row = graft_reshape(b, graft_sum(b, mine, 0), 3, back);
        out[0] = j ? graft_concat(b, out[0], row, 1) : row;
    }
}

static void matmul_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    graft_builder *b = g->builder;
    const graft_shape x = graft_ops_shape(g, n->in[0]), w = graft_ops_shape(g, n->in[1]), y = graft_ops_shape(g, n->out[0]);
    const int transposed = graft_node_int(n, "transposed") != 0;
    if (wants[0]) {
        din[0] = graft_expert_matmul(b, dout[0], n->in[1], n->in[2], !transposed);
        if (x.dims[1] != y.dims[1]) din[0] = graft_sum(b, din[0], 1);
    }
    if (wants[1]) din[1] = graft_expert_outer(b, transposed ? n->in[0] : dout[0], transposed ? dout[0] : n->in[0], n->in[2], graft_null_value(), w.dims[0]);
}

static int outer_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char a[128], b[128];
    if (rows_fit(g, n, 0, 2, "dy") || rows_fit(g, n, 1, 2, "x")) return -1;
    const int64_t experts = graft_node_int(n, "experts");
    if (experts < 1 || experts > INT32_MAX) {
        graft_graph_error(g, "%s expects 1 expert or more, found %lld", n->op->name, (long long)experts);
        return -1;
    }
    out[0] = (graft_shape){GRAFT_F32, 3, {experts, graft_ops_shape(g, n->in[0]).dims[2], graft_ops_shape(g, n->in[1]).dims[2], 0}};
    if (!graft_ops_has(n, 3)) return 0;
    if (graft_ops_expect(g, n, 3, "base", GRAFT_OPS_F32, 3)) return -1;
    const graft_shape base = graft_ops_shape(g, n->in[3]);
    if (graft_ops_equal(&base, &out[0])) return 0;
    graft_graph_error(g, "%s expects base in the result's shape %s, found %s", n->op->name, graft_ops_text(&out[0], a), graft_ops_text(&base, b));
    return -1;
}

static void outer_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const int64_t k = graft_ops_shape(g, n->in[2]).dims[1], experts = graft_node_int(n, "experts");
    graft_value sum = graft_ops_has(n, 3) ? n->in[3] : graft_null_value();
    for (int64_t j = 0; j < k; j++) {
        const graft_value dy = graft_select(b, chosen(g, n->in[2], j, experts), nth(g, n->in[0], j), graft_ops_number(g, 0.0));
        sum = graft_gemm(b, dy, nth(g, n->in[1], j), sum, 1, 0, 1.0);
    }
    out[0] = sum;
}

/* y[e] = base + sum dy^T x: its gradients are products with dw[e]. */
static void outer_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    graft_builder *b = g->builder;
    const int64_t k = graft_ops_shape(g, n->in[2]).dims[1];
    for (int i = 0; i < 2; i++) {
        if (!wants[i]) continue;
        din[i] = graft_expert_matmul(b, n->in[1 - i], dout[0], n->in[2], i);
        if (graft_ops_shape(g, n->in[i]).dims[1] != k) din[i] = graft_sum(b, din[i], 1);
    }
    if (n->n_in > 3 && wants[3]) din[3] = dout[0];
}

static double assignments(const graft_graph *g, graft_value ids, const int64_t extent[GRAFT_SYMBOLS]) { return graft_ops_elements(g, ids, extent); }

static double matmul_flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS])
{
    const graft_shape w = graft_ops_shape(g, n->in[1]);
    return 2.0 * assignments(g, n->in[2], extent) * (double)w.dims[1] * (double)w.dims[2];
}

static double outer_flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS])
{
    const graft_shape w = graft_ops_shape(g, n->out[0]);
    return 2.0 * assignments(g, n->in[2], extent) * (double)w.dims[1] * (double)w.dims[2];
}

const graft_op_record graft_ops_moe[] = {
    {
        .name = "topk/1",
        .min_in = 1,
        .max_in = 1,
        .n_out = 2,
        .attrs = {GRAFT_ATTR_NEED("k", INT)},
        .shape = topk_shape,
        .decompose = topk_decompose,
        .backward = topk_backward,
    },
    {
        .name = "expert_matmul/1",
        .min_in = 3,
        .max_in = 3,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_MAY("transposed", INT, 0)},
        .shape = matmul_shape,
        .decompose = matmul_decompose,
        .backward = matmul_backward,
        .flops = matmul_flops,
    },
    {
        .name = "expert_outer/1",
        .min_in = 3,
        .max_in = 4,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_NEED("experts", INT)},
        .shape = outer_shape,
        .decompose = outer_decompose,
        .backward = outer_backward,
        .inplace = {4},
        .accumulate = {4},
        .flops = outer_flops,
    },
    {.name = NULL},
};
