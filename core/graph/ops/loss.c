/* core/graph/ops/loss.c - the head and the cross-entropy loss in one op, so that a backend need never hold the logits [L, V].
 *
 *   z = softcap(scale hidden head^T)     nll = logsumexp(z) - z[label], 0 where label < 0     loss = sum weight nll
 *   dz = weight (softmax(z) - onehot(label)), through softcap: dz (1 - (z / softcap)^2)     dhidden = scale dz head     dhead = scale dz^T hidden + base
 */
#include "core/graph/ops/ops.h"

static int shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char x[128], y[128];
    if (graft_ops_expect(g, n, 0, "hidden", GRAFT_OPS_F32, 2) || graft_ops_expect(g, n, 1, "head", GRAFT_OPS_STORED, 2) ||
        graft_ops_expect(g, n, 2, "labels", GRAFT_OPS_I32, 1) || graft_ops_expect(g, n, 3, "weight", GRAFT_OPS_F32, 1) || graft_ops_same(g, n, 2, 3))
        return -1;
    const graft_shape hidden = graft_ops_shape(g, n->in[0]), head = graft_ops_shape(g, n->in[1]), labels = graft_ops_shape(g, n->in[2]);
    if (hidden.dims[1] != head.dims[1] || hidden.dims[0] != labels.dims[0]) {
        graft_graph_error(g, "%s expects hidden [L, d], head [V, d] and labels [L], found hidden %s and head %s", n->op->name, graft_ops_text(&hidden, x),
                          graft_ops_text(&head, y));
        return -1;
    }
    out[0] = graft_ops_vector(GRAFT_F32, 1);
    out[1] = graft_ops_vector(GRAFT_F32, labels.dims[0]);
    return 0;
}

static int train_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char x[128], y[128];
    if (shape(g, n, out)) return -1;
    out[2] = graft_ops_shape(g, n->in[0]);
    out[3] = graft_ops_shape(g, n->in[1]);
    out[3].dtype = GRAFT_F32;
    if (!graft_ops_has(n, 4)) return 0;
    if (graft_ops_expect(g, n, 4, "dhead_base", GRAFT_OPS_F32, 2)) return -1;
    const graft_shape base = graft_ops_shape(g, n->in[4]);
    if (graft_ops_equal(&base, &out[3])) return 0;
    graft_graph_error(g, "%s expects dhead_base in the head's shape %s, found %s", n->op->name, graft_ops_text(&out[3], x), graft_ops_text(&base, y));
    return -1;
}

typedef struct logits {
    graft_value z, onehot, counted, p, nll;
    int64_t L, V;
} logits; /* z, onehot, p [L, V]; counted, nll [L, 1] */

static logits forward(graft_graph *g, const graft_node *n)
{
    graft_builder *b = g->builder;
    const double softcap = graft_node_real(n, "softcap");
    logits f = {.L = graft_ops_shape(g, n->in[0]).dims[0], .V = graft_ops_shape(g, n->in[1]).dims[0]};
    const int64_t row[] = {1, f.V}, column[] = {f.L, 1}, one[] = {1};
    f.z = graft_gemm(b, n->in[0], n->in[1], graft_null_value(), 0, 1, graft_node_real(n, "scale"));
    if (softcap > 0.0) f.z = graft_scale(b, graft_tanh(b, graft_scale(b, f.z, 1.0 / softcap)), softcap);
    const graft_value label = graft_reshape(b, n->in[2], 2, column), zero = graft_cast(b, graft_fill(b, 1, one, 0.0), GRAFT_I32);
    f.onehot = graft_equal(b, graft_reshape(b, graft_iota(b, f.V), 2, row), label);
    f.counted = graft_ops_not(g, graft_less(b, label, zero));
    const graft_value top = graft_amax(b, f.z, 1), e = graft_exp(b, graft_sub(b, f.z, top)), total = graft_sum(b, e, 1);
    f.p = graft_div(b, e, total);
    const graft_value lse = graft_add(b, top, graft_ln(b, total));
    f.nll = graft_mul(b, f.counted, graft_sub(b, lse, graft_sum(b, graft_mul(b, f.onehot, f.z), 1)));
    return f;
}

static void losses(graft_graph *g, const graft_node *n, const logits *f, graft_value *out)
{
    graft_builder *b = g->builder;
    out[1] = graft_reshape(b, f->nll, 1, &f->L);
    out[0] = graft_sum(b, graft_mul(b, n->in[3], out[1]), 0);
}

static void decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    const logits f = forward(g, n);
    losses(g, n, &f, out);
}

static void train_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const double softcap = graft_node_real(n, "softcap"), scale = graft_node_real(n, "scale");
    const graft_value none = graft_null_value(), base = n->n_in > 4 ? n->in[4] : none;
    const logits f = forward(g, n);
    losses(g, n, &f, out);
    const graft_value weight = graft_mul(b, f.counted, graft_ops_shape2(g, n->in[3], f.L, 1));
    graft_value dz = graft_mul(b, graft_sub(b, f.p, f.onehot), weight);
    if (softcap > 0.0) dz = graft_mul(b, dz, graft_ops_not(g, graft_ops_square(g, graft_scale(b, f.z, 1.0 / softcap))));
    out[2] = graft_gemm(b, dz, n->in[1], none, 0, 0, scale);
    out[3] = graft_gemm(b, dz, n->in[0], base, 1, 0, scale);
}

/* Does any node read v already? Then the training op, which comes later, cannot stand in for it. */
static int is_read(const graft_graph *g, graft_value v)
{
    for (int32_t i = 0; i < g->n_nodes; i++) {
        for (int32_t j = 0; j < g->nodes[i].n_in; j++) {
            if (g->nodes[i].in[j].id == v.id) return 1;
        }
    }
    return 0;
}

static int is_one(graft_graph *g, graft_value v)
{
    const graft_node *n = graft_graph_node(g, v);
    return n && n->op == graft_op_find("fill/1") && graft_node_real(n, "value") == 1.0;
}

/* With d loss = 1 and nobody else at nll, loss and nll too come from the training op: the forward op then has no reader and is pruned,
 * so the head is multiplied once. Otherwise each row's weight becomes dloss weight + dnll. */
static void backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    graft_builder *b = g->builder;
    const graft_value loss = n->out[0], nll = n->out[1], dloss = dout[0], dnll = dout[1];
    if (wants[3] && dloss.id) din[3] = graft_mul(b, nll, dloss);
    if (!wants[0] && !wants[1]) return;
    const int plain = dloss.id && is_one(g, dloss) && !dnll.id, alone = plain && !is_read(g, loss) && !is_read(g, nll);
    graft_value weight = dloss.id ? (plain ? n->in[3] : graft_mul(b, n->in[3], dloss)) : dnll;
    if (dloss.id && dnll.id) weight = graft_add(b, weight, dnll);
    const graft_value in[] = {n->in[0], n->in[1], n->in[2], weight};
    const graft_value first = graft_ops_emit(g, n, "linear_cross_entropy_train/1", 4, in);
    if (wants[0]) din[0] = graft_ops_second(g, first, 2);
    if (wants[1]) din[1] = graft_ops_second(g, first, 3);
    if (!alone) return;
    graft_graph_replace(g, loss, first);
    graft_graph_replace(g, nll, graft_ops_second(g, first, 1));
}

static double flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS])
{
    const graft_shape head = graft_ops_shape(g, n->in[1]);
    const double V = head.dims[0] < 0 ? (double)extent[-1 - head.dims[0]] : (double)head.dims[0];
    return 2.0 * V * graft_ops_elements(g, n->in[0], extent);
}

static double train_flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]) { return 3.0 * flops(g, n, extent); }

#define LOSS_ATTRS                                                               \
    {                                                                            \
        GRAFT_ATTR_MAY("softcap", REAL, 0.0), GRAFT_ATTR_MAY("scale", REAL, 1.0) \
    }
const graft_op_record graft_ops_loss[] = {
    {
        .name = "linear_cross_entropy/1",
        .min_in = 4,
        .max_in = 4,
        .n_out = 2,
        .attrs = LOSS_ATTRS,
        .shape = shape,
        .decompose = decompose,
        .backward = backward,
        .flops = flops,
    },
    {
        .name = "linear_cross_entropy_train/1",
        .min_in = 4,
        .max_in = 5,
        .n_out = 4,
        .attrs = LOSS_ATTRS,
        .shape = train_shape,
        .decompose = train_decompose,
        .inplace = {0, 0, 0, 5},
        .accumulate = {0, 0, 0, 5},
        .flops = train_flops,
    },
    {.name = NULL},
};
