/* core/graph/ops/attention.c - causal attention inside each sequence (Vaswani et al. 2017; grouped heads: Ainslie et al. 2023) and its gradient.
 *
 *   s = softcap(scale q k^T)     P = exp(s - lse) where the mask allows, else 0      o = P v
 *   dv = P^T do     dP = do v^T     ds = P (dP - sum(o do))     through softcap: ds (1 - (s / softcap)^2)     dq = scale ds k     dk = scale ds^T q
 *
 * The decomposition is dense, [n, T, T]. Sequences come in as borders: member [S, T] says which sequence a token is of, and member^T member
 * which tokens share one. Row numbers are compared as f32, exact below 2^24. */
#include "core/graph/ops/attention.h"

#define LOW (-1e30) /* a score that no exp sees; finite, so that LOW - LOW is 0 and not nan */

/* ---- shared with the cached form -------------------------------------------------------------------------------------------------------- */
graft_ops_heads graft_ops_heads_read(const graft_graph *g, const graft_node *n)
{
    const graft_shape q = graft_ops_shape(g, n->in[0]), seq = graft_ops_shape(g, n->in[3]);
    graft_ops_heads a = {.T = q.dims[0],
                         .S = seq.dims[0],
                         .n = graft_node_int(n, "heads"),
                         .kv = graft_node_int(n, "kv_heads"),
                         .window = graft_node_int(n, "window"),
                         .scale = graft_node_real(n, "scale"),
                         .softcap = graft_node_real(n, "softcap")};
    a.group = a.kv > 0 ? a.n / a.kv : 0;
    a.h = a.n > 0 ? q.dims[1] / a.n : 0;
    return a;
}

int graft_ops_heads_of(graft_graph *g, const graft_node *n, graft_ops_heads *a)
{
    static const char *const what[] = {"q", "k", "v"};
    char x[128], y[128];
    for (int i = 0; i < 3; i++) {
        if (graft_ops_expect(g, n, i, what[i], GRAFT_OPS_F32, 2)) return -1;
    }
    if (graft_ops_expect(g, n, 3, "seq", GRAFT_OPS_I32, 2)) return -1;
    const graft_shape q = graft_ops_shape(g, n->in[0]), k = graft_ops_shape(g, n->in[1]), seq = graft_ops_shape(g, n->in[3]);
    *a = graft_ops_heads_read(g, n);
    if (a->n < 1 || a->kv < 1 || a->n % a->kv || a->h < 1 || a->n * a->h != q.dims[1] || a->window < 0 || a->softcap < 0.0) {
        graft_graph_error(g, "%s expects q [T, heads * h], heads a multiple of kv_heads, window and softcap 0 or more; found q %s, heads %lld, kv_heads %lld, window %lld, softcap %g",
                          n->op->name, graft_ops_text(&q, x), (long long)a->n, (long long)a->kv, (long long)a->window, a->softcap);
        return -1;
    }
    if (graft_ops_same(g, n, 1, 2)) return -1;
    if (k.dims[0] != a->T || k.dims[1] != a->kv * a->h || seq.dims[1] != 4) {
        graft_graph_error(g, "%s expects k and v [T, kv_heads * h] with h = %lld, and seq [S, 4]; found k %s and seq %s", n->op->name, (long long)a->h,
                          graft_ops_text(&k, x), graft_ops_text(&seq, y));
        return -1;
    }
    if (graft_ops_has(n, 4) != graft_ops_has(n, 5)) {
        graft_graph_error(g, "%s expects k_extra and v_extra together, found one of them", n->op->name);
        return -1;
    }
    if (!graft_ops_has(n, 4)) return 0;
    if (graft_ops_expect(g, n, 4, "k_extra", GRAFT_OPS_F32, 2) || graft_ops_expect(g, n, 5, "v_extra", GRAFT_OPS_F32, 2) || graft_ops_same(g, n, 4, 5)) return -1;
    const graft_shape e = graft_ops_shape(g, n->in[4]);
    if (e.dims[0] >= 0 && e.dims[1] == a->kv * a->h) return 0;
    graft_graph_error(g, "%s expects k_extra [m, %lld] with a constant m, found %s", n->op->name, (long long)(a->kv * a->h), graft_ops_text(&e, x));
    return -1;
}

graft_value graft_ops_heads_split(graft_graph *g, const graft_ops_heads *a, graft_value x, int64_t R, int64_t group)
{
    const int64_t split[] = {R, a->kv, group, a->h}, order[] = {1, 2, 0, 3};
    return graft_permute(g->builder, graft_reshape(g->builder, x, 4, split), 4, order);
}

graft_value graft_ops_heads_join(graft_graph *g, const graft_ops_heads *a, graft_value x, int64_t R, int64_t group)
{
    const int64_t order[] = {2, 0, 1, 3};
    return graft_ops_shape2(g, graft_permute(g->builder, x, 4, order), R, a->kv * group * a->h);
}

graft_value graft_ops_seq(graft_graph *g, graft_value seq, int64_t i) { return graft_cast(g->builder, graft_ops_column(g, seq, i), GRAFT_F32); }

graft_value graft_ops_member(graft_graph *g, const graft_ops_heads *a, graft_value seq)
{
    graft_builder *b = g->builder;
    const graft_value t = graft_ops_iota(g, a->T, 1, a->T), first = graft_ops_seq(g, seq, 0), end = graft_add(b, first, graft_ops_seq(g, seq, 1));
    return graft_mul(b, graft_ops_not(g, graft_less(b, t, first)), graft_less(b, t, end));
}

graft_value graft_ops_inside(graft_graph *g, const graft_ops_heads *a, graft_value member)
{
    return graft_ops_shape2(g, graft_sum(g->builder, member, 0), a->T, 1);
}

graft_value graft_ops_scores(graft_graph *g, const graft_ops_heads *a, graft_value q, graft_value k)
{
    graft_builder *b = g->builder;
    const graft_value s = graft_gemm(b, q, k, graft_null_value(), 0, 1, a->scale);
    return a->softcap > 0.0 ? graft_scale(b, graft_tanh(b, graft_scale(b, s, 1.0 / a->softcap)), a->softcap) : s;
}

void graft_ops_attend(graft_graph *g, const graft_ops_heads *a, graft_value q, int parts, const graft_ops_keys *part, graft_value *o, graft_value *lse)
{
    graft_builder *b = g->builder;
    const graft_value low = graft_ops_number(g, LOW), one = graft_ops_number(g, 1.0), zero = graft_ops_number(g, 0.0);
    graft_value s[2] = {{0}, {0}}, top = {0}, total = {0}, sum = {0};
    for (int i = 0; i < parts; i++) {
        s[i] = graft_select(b, part[i].mask, graft_ops_scores(g, a, q, part[i].k), low);
        const graft_value m = graft_amax(b, s[i], 3);
        top = i ? graft_maximum(b, top, m) : m;
    }
    top = graft_maximum(b, top, low); /* amax of no keys is -inf */
    for (int i = 0; i < parts; i++) {
        const graft_value p = graft_mul(b, graft_exp(b, graft_sub(b, s[i], top)), part[i].mask), l = graft_sum(b, p, 3);
        total = i ? graft_add(b, total, l) : l;
        sum = graft_gemm(b, p, part[i].v, i ? sum : graft_null_value(), 0, 0, 1.0);
    }
    const graft_value safe = graft_select(b, total, total, one);
    *o = graft_div(b, sum, safe);
    *lse = graft_select(b, total, graft_add(b, top, graft_ln(b, safe)), zero);
}

/* Two products of T x keys x (n h) each. */
double graft_ops_attention_flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS], double keys)
{
    return 4.0 * keys * graft_ops_elements(g, n->in[0], extent);
}

/* ---- attention ---------------------------------------------------------------------------------------------------------------------------- */
static int shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    graft_ops_heads a;
    if (graft_ops_heads_of(g, n, &a)) return -1;
    out[0] = graft_ops_shape(g, n->in[0]);
    out[1] = (graft_shape){GRAFT_F32, 2, {a.T, a.n, 0, 0}};
    return 0;
}

/* The keys of the batch itself, and the extra ones where there are any. Returns the number of parts. */
static int keys_of(graft_graph *g, const graft_node *n, const graft_ops_heads *a, graft_ops_keys part[2])
{
    graft_builder *b = g->builder;
    const graft_value member = graft_ops_member(g, a, n->in[3]);
    const graft_value t = graft_ops_iota(g, a->T, a->T, 1), u = graft_ops_iota(g, a->T, 1, a->T);
    graft_value mask = graft_mul(b, graft_gemm(b, member, member, graft_null_value(), 1, 0, 1.0), graft_ops_not(g, graft_less(b, t, u)));
    if (a->window) mask = graft_mul(b, mask, graft_less(b, graft_sub(b, t, u), graft_ops_number(g, (double)a->window)));
    part[0] = (graft_ops_keys){graft_ops_heads_split(g, a, n->in[1], a->T, 1), graft_ops_heads_split(g, a, n->in[2], a->T, 1), mask, a->T};
    if (!graft_ops_has(n, 4)) return 1;
    const int64_t m = graft_ops_shape(g, n->in[4]).dims[0];
    part[1] = (graft_ops_keys){graft_ops_heads_split(g, a, n->in[4], m, 1), graft_ops_heads_split(g, a, n->in[5], m, 1), graft_ops_inside(g, a, member), m};
    return 2;
}

static void decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    const graft_ops_heads a = graft_ops_heads_read(g, n);
    const int64_t order[] = {2, 0, 1, 3};
    graft_ops_keys part[2];
    graft_value o, lse;
    const int parts = keys_of(g, n, &a, part);
    graft_ops_attend(g, &a, graft_ops_heads_split(g, &a, n->in[0], a.T, a.group), parts, part, &o, &lse);
    out[0] = graft_ops_heads_join(g, &a, o, a.T, a.group);
    out[1] = graft_ops_shape2(g, graft_permute(g->builder, lse, 4, order), a.T, a.n);
}

static void backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    static const int to[] = {0, 1, 2, 4, 5}; /* input of each gradient */
    const graft_value none = graft_null_value();
    const graft_value in[] = {n->in[0], n->in[1], n->in[2], n->in[3], n->n_in > 4 ? n->in[4] : none, n->n_in > 5 ? n->in[5] : none,
                              n->out[0], n->out[1], dout[0]};
    if (dout[1].id) {
        graft_graph_error(g, "%s passes no gradient through its second output, lse", n->op->name);
        return;
    }
    const graft_value dq = graft_ops_emit(g, n, "attention_grad/1", 9, in);
    for (int i = 0; i < 5; i++) {
        if (graft_ops_has(n, to[i]) && wants[to[i]]) din[to[i]] = graft_ops_second(g, dq, i);
    }
}

static double flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS])
{
    const int64_t T = graft_ops_shape(g, n->in[1]).dims[0], S = graft_ops_shape(g, n->in[3]).dims[0], window = graft_node_int(n, "window");
    const double rows = (double)(T < 0 ? extent[-1 - T] : T), sequences = (double)(S < 0 ? extent[-1 - S] : S);
    double keys = 0.5 * rows / (sequences > 1 ? sequences : 1); /* sequences of one length */
    if (window && (double)window < keys) keys = (double)window;
    return graft_ops_attention_flops(g, n, extent, keys);
}

/* ---- attention_grad: q, k, v, seq, k_extra, v_extra, o, lse, do -> dq, dk, dv, dk_extra, dv_extra --------------------------------------------- */
static int grad_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    graft_ops_heads a;
    if (graft_ops_heads_of(g, n, &a) || graft_ops_expect(g, n, 6, "o", GRAFT_OPS_F32, 2) || graft_ops_expect(g, n, 7, "lse", GRAFT_OPS_F32, 2) ||
        graft_ops_expect(g, n, 8, "do", GRAFT_OPS_F32, 2) || graft_ops_same(g, n, 0, 6) || graft_ops_same(g, n, 0, 8))
        return -1;
    const graft_shape lse = graft_ops_shape(g, n->in[7]);
    if (lse.dims[0] != a.T || lse.dims[1] != a.n) {
        char text[128];
        graft_graph_error(g, "%s expects lse [T, %lld], found %s", n->op->name, (long long)a.n, graft_ops_text(&lse, text));
        return -1;
    }
    out[0] = graft_ops_shape(g, n->in[0]);
    out[1] = out[2] = graft_ops_shape(g, n->in[1]);
    out[3] = out[4] = graft_ops_has(n, 4) ? graft_ops_shape(g, n->in[4]) : (graft_shape){GRAFT_F32, 2, {0, a.kv * a.h, 0, 0}};
    return 0;
}

static void grad_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_ops_heads a = graft_ops_heads_read(g, n);
    const graft_value none = graft_null_value(), low = graft_ops_number(g, LOW);
    const int64_t line[] = {a.T, a.kv, a.group, 1}, order[] = {1, 2, 0, 3};
    graft_ops_keys part[2];
    const int parts = keys_of(g, n, &a, part);
    const graft_value q = graft_ops_heads_split(g, &a, n->in[0], a.T, a.group), o = graft_ops_heads_split(g, &a, n->in[6], a.T, a.group);
    const graft_value dy = graft_ops_heads_split(g, &a, n->in[8], a.T, a.group), delta = graft_sum(b, graft_mul(b, o, dy), 3);
    const graft_value lse = graft_permute(b, graft_reshape(b, n->in[7], 4, line), 4, order);
    graft_value dq = none;
    for (int i = 0; i < parts; i++) {
        const graft_ops_keys *e = &part[i];
        const graft_value s = graft_ops_scores(g, &a, q, e->k);
        const graft_value p = graft_exp(b, graft_select(b, e->mask, graft_sub(b, s, lse), low));
        graft_value ds = graft_mul(b, p, graft_sub(b, graft_gemm(b, dy, e->v, none, 0, 1, 1.0), delta));
        if (a.softcap > 0.0) ds = graft_mul(b, ds, graft_ops_not(g, graft_ops_square(g, graft_scale(b, s, 1.0 / a.softcap))));
        dq = graft_gemm(b, ds, e->k, dq, 0, 0, a.scale);
        const graft_value dk = graft_sum(b, graft_gemm(b, ds, q, none, 1, 0, a.scale), 1), dv = graft_sum(b, graft_gemm(b, p, dy, none, 1, 0, 1.0), 1);
        out[i ? 3 : 1] = graft_ops_heads_join(g, &a, dk, e->R, 1);
        out[i ? 4 : 2] = graft_ops_heads_join(g, &a, dv, e->R, 1);
    }
    out[0] = graft_ops_heads_join(g, &a, dq, a.T, a.group);
}

static double grad_flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]) { return 2.5 * flops(g, n, extent); }

const graft_op_record graft_ops_attention[] = {
    {
        .name = "attention/1",
        .flags = GRAFT_OP_KV,
        .min_in = 4,
        .max_in = 6,
        .n_out = 2,
        .attrs = GRAFT_ATTR_HEADS,
        .shape = shape,
        .decompose = decompose,
        .backward = backward,
        .flops = flops,
    },
    {
        .name = "attention_grad/1",
        .optional = 1u << 4 | 1u << 5,
        .min_in = 9,
        .max_in = 9,
        .n_out = 5,
        .attrs = GRAFT_ATTR_HEADS,
        .shape = grad_shape,
        .decompose = grad_decompose,
        .flops = grad_flops,
    },
    {.name = NULL},
};
