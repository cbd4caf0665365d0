/* graft/ops.h - the ops as functions, and the place where the maths of each op is written. Each is one call of graft_graph_api.op;
 * adding one here breaks nobody. b is the builder. Shapes: T tokens, d width, n heads, h head size, S sequences.
 * "Rows" of x are all its axes but the last. Optional inputs may be the null value (id 0). All arithmetic f32 unless said. */
#ifndef GRAFT_OPS_H
#define GRAFT_OPS_H

#include "graph.h"

#include <math.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GRAFT_INTA(k, v) {k, GRAFT_ATTR_INT, (v), 0.0}
#define GRAFT_REALA(k, v) {k, GRAFT_ATTR_REAL, 0, (v)}

static inline graft_value graft_null_value(void)
{
    graft_value v;
    v.id = 0;
    return v;
}
static inline graft_value graft_op1(graft_builder *b, const char *op, graft_value x) { return b->api->op(b, op, 1, &x, 0, NULL); }
static inline graft_value graft_op2(graft_builder *b, const char *op, graft_value x, graft_value y)
{
    const graft_value in[] = {x, y};
    return b->api->op(b, op, 2, in, 0, NULL);
}

/* ==== Tier 0: primitives. A backend that has these can train every model. =====================================================
 * An op that works element by element reads all operands of an element before it writes it. A program names as output -1 what nobody reads.
 * reshape, broadcast, permute, slice, pad, concat, cast and the comparisons also take i32. Weights in storage types (bf16, f16, q4_0 ..) may
 * be operands a and w of matmul, the table of gather, the head of the loss and the norms' vectors; results are f32.
 *
 * Element by element: neg exp log sqrt rsqrt tanh sigmoid sin cos abs erf, each "NAME/1". */
static inline graft_value graft_neg(graft_builder *b, graft_value x) { return graft_op1(b, "neg/1", x); }
static inline graft_value graft_exp(graft_builder *b, graft_value x) { return graft_op1(b, "exp/1", x); }
static inline graft_value graft_ln(graft_builder *b, graft_value x) { return graft_op1(b, "log/1", x); }
static inline graft_value graft_sqrt(graft_builder *b, graft_value x) { return graft_op1(b, "sqrt/1", x); }
static inline graft_value graft_rsqrt(graft_builder *b, graft_value x) { return graft_op1(b, "rsqrt/1", x); }
static inline graft_value graft_tanh(graft_builder *b, graft_value x) { return graft_op1(b, "tanh/1", x); }
static inline graft_value graft_sigmoid(graft_builder *b, graft_value x) { return graft_op1(b, "sigmoid/1", x); }
static inline graft_value graft_sin(graft_builder *b, graft_value x) { return graft_op1(b, "sin/1", x); }
static inline graft_value graft_cos(graft_builder *b, graft_value x) { return graft_op1(b, "cos/1", x); }
static inline graft_value graft_abs(graft_builder *b, graft_value x) { return graft_op1(b, "abs/1", x); }
static inline graft_value graft_erf(graft_builder *b, graft_value x) { return graft_op1(b, "erf/1", x); }

/* mul * x + add, constants. */
static inline graft_value graft_affine(graft_builder *b, graft_value x, double mul, double add)
{
    const graft_attr at[] = {GRAFT_REALA("mul", mul), GRAFT_REALA("add", add)};
    return b->api->op(b, "affine/1", 1, &x, 2, at);
}
static inline graft_value graft_scale(graft_builder *b, graft_value x, double by) { return graft_affine(b, x, by, 0.0); }

/* Two operands, numpy broadcasting: axes aligned at the right, equal or 1. */
static inline graft_value graft_add(graft_builder *b, graft_value x, graft_value y) { return graft_op2(b, "add/1", x, y); }
static inline graft_value graft_sub(graft_builder *b, graft_value x, graft_value y) { return graft_op2(b, "sub/1", x, y); }
static inline graft_value graft_mul(graft_builder *b, graft_value x, graft_value y) { return graft_op2(b, "mul/1", x, y); }
static inline graft_value graft_div(graft_builder *b, graft_value x, graft_value y) { return graft_op2(b, "div/1", x, y); }
static inline graft_value graft_maximum(graft_builder *b, graft_value x, graft_value y) { return graft_op2(b, "maximum/1", x, y); } /* gradient to x where x >= y */
static inline graft_value graft_less(graft_builder *b, graft_value x, graft_value y) { return graft_op2(b, "less/1", x, y); }    /* 1.0 or 0.0 (f32); x, y both f32 or both i32; broadcasts */
static inline graft_value graft_equal(graft_builder *b, graft_value x, graft_value y) { return graft_op2(b, "equal/1", x, y); }
/* c != 0 ? x : y; broadcasts. The side not chosen may hold inf or nan and does no harm, in the gradient neither. */
static inline graft_value graft_select(graft_builder *b, graft_value c, graft_value x, graft_value y)
{
    const graft_value in[] = {c, x, y};
    return b->api->op(b, "select/1", 3, in, 0, NULL);
}

/* maximum(0, x): no gradient at 0. */
static inline graft_value graft_relu(graft_builder *b, graft_value x)
{
    const graft_attr at[] = {GRAFT_INTA("rank", 0), GRAFT_REALA("value", 0.0)};
    return graft_maximum(b, b->api->op(b, "fill/1", 0, NULL, 2, at), x);
}

/* Sum or maximum over one axis, which stays as size 1. amax of an empty axis is -inf; its gradient goes to the first maximum. */
static inline graft_value graft_sum(graft_builder *b, graft_value x, int axis)
{
    const graft_attr at[] = {GRAFT_INTA("axis", axis)};
    return b->api->op(b, "sum/1", 1, &x, 1, at);
}
static inline graft_value graft_amax(graft_builder *b, graft_value x, int axis)
{
    const graft_attr at[] = {GRAFT_INTA("axis", axis)};
    return b->api->op(b, "amax/1", 1, &x, 1, at);
}

/* alpha * op(a) op(w) + c over the last two axes, op = transpose where the flag is set; ranks 2 to 4, equal; leading axes equal or 1.
 * c (optional) has the result's shape and may be overwritten by it. */
static inline graft_value graft_gemm(graft_builder *b, graft_value a, graft_value w, graft_value c, int trans_a, int trans_b, double alpha)
{
    const graft_value in[] = {a, w, c};
    const graft_attr at[] = {GRAFT_INTA("trans_a", trans_a), GRAFT_INTA("trans_b", trans_b), GRAFT_REALA("alpha", alpha)};
    return b->api->op(b, "matmul/1", c.id ? 3 : 2, in, 3, at);
}
/* x [m,k] w [n,k] -> x w^T [m,n] */
static inline graft_value graft_matmul_nt(graft_builder *b, graft_value x, graft_value w) { return graft_gemm(b, x, w, graft_null_value(), 0, 1, 1.0); }
/* x [m,k] w [k,n] -> x w [m,n] */
static inline graft_value graft_matmul(graft_builder *b, graft_value x, graft_value w) { return graft_gemm(b, x, w, graft_null_value(), 0, 0, 1.0); }

/* Rows ids [m] i32 of table [n, d]: [m, d]. A negative id gives a row of zeros (and no gradient); an id >= n is a failure of the run.
 * attr padding (-1: none): a row that takes no gradient here. */
static inline graft_value graft_gather(graft_builder *b, graft_value table, graft_value ids) { return graft_op2(b, "gather/1", table, ids); }
/* base [n, d] with rows src [m, d] added at ids [m], in the order of m; base may be overwritten. Negative ids are skipped. */
static inline graft_value graft_scatter_add(graft_builder *b, graft_value base, graft_value src, graft_value ids)
{
    const graft_value in[] = {base, src, ids};
    return b->api->op(b, "scatter_add/1", 3, in, 0, NULL);
}
/* Row ids[t] of table [vocab, d] for each token: [T, d]. The row `padding` (-1: none) takes no gradient from here, as torch's padding_idx. */
static inline graft_value graft_embed(graft_builder *b, graft_value table, graft_value ids, int64_t padding)
{
    const graft_value in[] = {table, ids};
    const graft_attr at[] = {GRAFT_INTA("padding", padding)};
    return b->api->op(b, "gather/1", 2, in, 1, at);
}

#define GRAFT_DIM_ATTRS_(rank, d)                                                                                                   \
    GRAFT_INTA("rank", (rank)), GRAFT_INTA("d0", (rank) > 0 ? (d)[0] : 0), GRAFT_INTA("d1", (rank) > 1 ? (d)[1] : 0),               \
        GRAFT_INTA("d2", (rank) > 2 ? (d)[2] : 0), GRAFT_INTA("d3", (rank) > 3 ? (d)[3] : 0)

/* Same elements, other shape; dims may be symbols; the number of elements must be the same for all sizes of the symbols. Costs nothing. */
static inline graft_value graft_reshape(graft_builder *b, graft_value x, int rank, const int64_t *dims)
{
    const graft_attr at[] = {GRAFT_DIM_ATTRS_(rank, dims)};
    return b->api->op(b, "reshape/1", 1, &x, 5, at);
}
/* Axes of size 1 repeated to dims (numpy's broadcast_to). */
static inline graft_value graft_broadcast(graft_builder *b, graft_value x, int rank, const int64_t *dims)
{
    const graft_attr at[] = {GRAFT_DIM_ATTRS_(rank, dims)};
    return b->api->op(b, "broadcast/1", 1, &x, 5, at);
}
/* Axis i of the result is axis p[i] of x. */
static inline graft_value graft_permute(graft_builder *b, graft_value x, int rank, const int64_t *p)
{
    const graft_attr at[] = {GRAFT_DIM_ATTRS_(rank, p)};
    return b->api->op(b, "permute/1", 1, &x, 5, at);
}
/* Elements [begin, begin + length) of an axis of constant size. */
static inline graft_value graft_slice(graft_builder *b, graft_value x, int axis, int64_t begin, int64_t length)
{
    const graft_attr at[] = {GRAFT_INTA("axis", axis), GRAFT_INTA("begin", begin), GRAFT_INTA("length", length)};
    return b->api->op(b, "slice/1", 1, &x, 3, at);
}
/* Zeros before and after an axis of constant size. */
static inline graft_value graft_pad(graft_builder *b, graft_value x, int axis, int64_t before, int64_t after)
{
    const graft_attr at[] = {GRAFT_INTA("axis", axis), GRAFT_INTA("before", before), GRAFT_INTA("after", after)};
    return b->api->op(b, "pad/1", 1, &x, 3, at);
}
/* x and y joined along an axis of constant size. */
static inline graft_value graft_concat(graft_builder *b, graft_value x, graft_value y, int axis)
{
    const graft_value in[] = {x, y};
    const graft_attr at[] = {GRAFT_INTA("axis", axis)};
    return b->api->op(b, "concat/1", 2, in, 1, at);
}
/* Among f32, bf16, f16 and i32 (towards zero); attr dtype: a graft_dtype. */
static inline graft_value graft_cast(graft_builder *b, graft_value x, graft_dtype to)
{
    const graft_attr at[] = {GRAFT_INTA("dtype", to)};
    return b->api->op(b, "cast/1", 1, &x, 1, at);
}
/* A tensor of one value, f32. */
static inline graft_value graft_fill(graft_builder *b, int rank, const int64_t *dims, double value)
{
    const graft_attr at[] = {GRAFT_DIM_ATTRS_(rank, dims), GRAFT_REALA("value", value)};
    return b->api->op(b, "fill/1", 0, NULL, 6, at);
}
/* 0, 1, 2 ... dim - 1 as i32 [dim]; dim may be a symbol. */
static inline graft_value graft_iota(graft_builder *b, int64_t dim)
{
    const graft_attr at[] = {GRAFT_INTA("d0", dim)};
    return b->api->op(b, "iota/1", 0, NULL, 1, at);
}
/* Uniform in [0, 1): graft_random_uniform(program seed, stream, run step, element), random.h. */
static inline graft_value graft_random(graft_builder *b, int rank, const int64_t *dims, int64_t stream)
{
    const graft_attr at[] = {GRAFT_DIM_ATTRS_(rank, dims), GRAFT_INTA("stream", stream)};
    return b->api->op(b, "random/1", 0, NULL, 6, at);
}

/* [1]: 1.0 in a training run, 0.0 in evaluation. */
static inline graft_value graft_training(graft_builder *b) { return b->api->op(b, "training/1", 0, NULL, 0, NULL); }

/* ==== Tier 1: fused ops. Each decomposes into tier 0 and has its own backward. ==================================================
 * The later outputs of a fused op (rstd, mean, lse) are for its own gradient and pass none themselves; nll does.
 *
 * x / sqrt(mean(x^2) + eps) * (w + plus) over the last axis, w [d] (optional: 1); second output rstd [rows..., 1]. Zhang & Sennrich 2019. plus: 1
 * where the checkpoint stores w - 1 (gemma), else 0. rms_norm_grad/1 (x, w, rstd, dy) -> dx, dw. */
static inline graft_value graft_rms_norm(graft_builder *b, graft_value x, graft_value w, double eps, double plus)
{
    const graft_value in[] = {x, w};
    const graft_attr at[] = {GRAFT_REALA("eps", eps), GRAFT_REALA("plus", plus)};
    return b->api->op(b, "rms_norm/1", 2, in, 2, at);
}

/* (x - mean) / sqrt(variance + eps) * w + c over the last axis; variance: mean((x - mean)^2); w, c [d], each optional; more outputs mean and rstd
 * [rows..., 1]. Ba, Kiros & Hinton 2016. layer_norm_grad/1 (x, w, mean, rstd, dy) -> dx, dw, dc. */
static inline graft_value graft_layer_norm(graft_builder *b, graft_value x, graft_value w, graft_value c, double eps)
{
    const graft_value in[] = {x, w, c};
    const graft_attr at[] = {GRAFT_REALA("eps", eps)};
    return b->api->op(b, "layer_norm/1", 3, in, 1, at);
}

/* exp(x - max) / sum over the last axis. softmax_grad/1 (y, dy) -> dx. */
static inline graft_value graft_softmax(graft_builder *b, graft_value x) { return graft_op1(b, "softmax/1", x); }

/* Rotary positions on x [T, n*h]; pos [T] i32; inv_freq [r/2]: the first r elements of each head turn, the rest stay. Su et al. 2021.
 * Pairs are (i, i + r/2), or (2i, 2i + 1) when interleaved. Angle pos * inv_freq, rounded to f32 as the checkpoints'
 * training did; cos and sin times scale. inverse: turn back (the gradient). */
static inline graft_value graft_rope(graft_builder *b, graft_value x, graft_value pos, graft_value inv_freq, int64_t head, double scale, int interleaved)
{
    const graft_value in[] = {x, pos, inv_freq};
    const graft_attr at[] = {GRAFT_INTA("head", head), GRAFT_REALA("scale", scale), GRAFT_INTA("interleaved", interleaved), GRAFT_INTA("inverse", 0)};
    return b->api->op(b, "rope/1", 3, in, 4, at);
}

/* Causal attention inside each sequence. q [T, n*h], k and v [T, kv*h], seq [S, 4] i32 (model.h); result [T, n*h].
 * Query head i reads key head i / (n / kv). Token at place p of its sequence sees places max(0, p - window + 1) .. p (window 0: all before it).
 * Scores are scale * q.k, then softcap * tanh(s / softcap) unless softcap is 0. k_extra, v_extra [m, kv*h] (optional, together): m more keys that every
 * query sees. Second output lse [T, n] = log sum exp of the scores. A token outside all sequences gets zeros (o and lse).
 * The borders in seq are data of the run: a row that reaches outside the batch or the cache is a failure of the run; sequences do not overlap.
 * attention_grad/1 (q, k, v, seq, k_extra, v_extra, o, lse, do) -> dq, dk, dv, dk_extra, dv_extra.
 * attention_cached/1 (q, k, v, seq, k_extra, v_extra, k_cache, v_cache) -> o, k_cache, v_cache: the rows of k and v of sequence s go to cache rows
 * first + cached ..., and its queries see cache rows first .. of their own sequence; caches [cached, kv*h] are changed in place. */
static inline graft_value graft_attention(graft_builder *b, graft_value q, graft_value k, graft_value v, graft_value seq,
                                          int64_t heads, int64_t kv_heads, int64_t window, double scale, double softcap)
{
    const graft_value in[] = {q, k, v, seq};
    const graft_attr at[] = {GRAFT_INTA("heads", heads), GRAFT_INTA("kv_heads", kv_heads), GRAFT_INTA("window", window),
                             GRAFT_REALA("scale", scale), GRAFT_REALA("softcap", softcap)};
    return b->api->op(b, "attention/1", 4, in, 5, at);
}

/* silu(gate) * up, same shapes. Shazeer 2020. swiglu_grad/1 (gate, up, dy) -> dgate, dup. */
static inline graft_value graft_swiglu(graft_builder *b, graft_value gate, graft_value up) { return graft_op2(b, "swiglu/1", gate, up); }

/* x sigmoid(x). silu_grad/1 (x, dy) -> dx. */
static inline graft_value graft_silu(graft_builder *b, graft_value x) { return graft_op1(b, "silu/1", x); }
/* x Phi(x); kind 0: by erf; kind 1: x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 ("gelu_new", "gelu_pytorch_tanh"). Hendrycks & Gimpel 2016.
 * gelu_grad/1 (x, dy) -> dx. */
static inline graft_value graft_gelu(graft_builder *b, graft_value x, int kind)
{
    const graft_attr at[] = {GRAFT_INTA("kind", kind)};
    return b->api->op(b, "gelu/1", 1, &x, 1, at);
}

/* An activation by its name in config.json; an unknown one makes the builder fail. */
static inline graft_value graft_activate(graft_builder *b, graft_value x, const char *name)
{
    const char *const tanh_gelu[] = {"gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_python_tanh"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, tanh_gelu[i])) return graft_gelu(b, x, 1);
    if (!strcmp(name, "gelu") || !strcmp(name, "gelu_python")) return graft_gelu(b, x, 0);
    if (!strcmp(name, "silu") || !strcmp(name, "swish")) return graft_silu(b, x);
    if (!strcmp(name, "relu")) return graft_relu(b, x);
    if (!strcmp(name, "relu2")) return graft_mul(b, graft_relu(b, x), graft_relu(b, x));
    if (!strcmp(name, "quick_gelu")) return graft_mul(b, x, graft_sigmoid(b, graft_scale(b, x, 1.702)));
    if (!strcmp(name, "tanh")) return graft_tanh(b, x);
    if (!strcmp(name, "sigmoid")) return graft_sigmoid(b, x);
    b->api->error(b, "the activation \"%s\" is none of gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, quick_gelu, silu, relu, relu2, tanh, sigmoid", name);
    return graft_null_value();
}
/* act(gate) * up, same shapes. */
static inline graft_value graft_gated(graft_builder *b, graft_value gate, graft_value up, const char *activation)
{
    if (!strcmp(activation, "silu") || !strcmp(activation, "swish")) return graft_swiglu(b, gate, up);
    return graft_mul(b, graft_activate(b, gate, activation), up);
}

/* Slopes of ALiBi [heads, 1]: a score gets slope * (key place - query place). Press et al. 2022. Heads beyond the last power of two take every other
 * slope of the next one. Attention needs no op for it: one more element in each head, 1 / scale in q and slope * place in k, adds it to the product. */
static inline graft_value graft_alibi_slopes(graft_builder *b, const char *name, int64_t heads)
{
    enum { GRAFT_MOST_ALIBI = 1024 };
    float slope[GRAFT_MOST_ALIBI];
    int64_t whole = 1;
    const int64_t dims[] = {heads, 1};
    if (heads < 1 || heads > GRAFT_MOST_ALIBI) {
        b->api->error(b, "ALiBi needs 1 to %d heads, found %lld", (int)GRAFT_MOST_ALIBI, (long long)heads);
        return graft_null_value();
    }
    while (2 * whole <= heads) whole *= 2;
    for (int64_t i = 0; i < heads; i++) {
        const double base = (double)(float)exp2(-8.0 / (double)(i < whole ? whole : 2 * whole)), power = i < whole ? (double)(i + 1) : (double)(2 * (i - whole) + 1);
        slope[i] = (float)pow(base, power);
    }
    return b->api->constant(b, name, 2, dims, slope);
}

/* Zeroes with probability p and scales by 1/(1-p) in training; nothing in evaluation. Element i is kept when
 * graft_random_uniform(seed, stream, step, i) >= p. The gradient is the same op on dy. The host gives each call its stream (hash of its path). */
static inline graft_value graft_dropout(graft_builder *b, graft_value x, double p)
{
    const graft_attr at[] = {GRAFT_REALA("p", p), GRAFT_INTA("stream", 0)};
    return p > 0.0 ? b->api->op(b, "dropout/1", 1, &x, 2, at) : x;
}

/* The head and the loss without the logits. hidden [L, d], head [V, d], labels [L] i32, weight [L]:
 * z = scale * hidden head^T, softcap * tanh(z / softcap) unless 0; nll = logsumexp(z) - z[label]; loss [1] = sum weight * nll; second output nll [L].
 * A negative label has nll 0 and no gradient; a label >= V is a failure of the run.
 * linear_cross_entropy_train/1 (hidden, head, labels, weight, dhead_base) -> loss, nll, dhidden, dhead: the same and d loss / d inputs in one pass;
 * dhead_base (optional) is added to dhead and may be overwritten. */
static inline graft_value graft_linear_cross_entropy(graft_builder *b, graft_value hidden, graft_value head, graft_value labels, graft_value weight, double softcap, double scale)
{
    const graft_value in[] = {hidden, head, labels, weight};
    const graft_attr at[] = {GRAFT_REALA("softcap", softcap), GRAFT_REALA("scale", scale)};
    return b->api->op(b, "linear_cross_entropy/1", 4, in, 2, at);
}

/* ---- Routed experts: each token goes through k of E experts; a token and one of its experts are an assignment. ------------------------------------
 * The k largest of the last axis of x [rows..., n], in falling order, of equals the one of lower index first: values [rows..., k]; second output their
 * indices [rows..., k] i32 (no gradient). 1 <= k <= n; a nan among them is a failure of the run. */
static inline graft_value graft_topk(graft_builder *b, graft_value x, int64_t k)
{
    const graft_attr at[] = {GRAFT_INTA("k", k)};
    return b->api->op(b, "topk/1", 1, &x, 1, at);
}

/* x [T, k or 1, p] through the matrix of its expert: y [T, k, q] with y[t, j] = x[t, j] w[e]^T, e = ids[t, j], w [E, q, p]; x[t, 0] for every j where x
 * has one row a token. transposed: y[t, j] = x[t, j] w[e], w [E, p, q]. A negative id gives zeros (and no gradient); an id >= E is a failure of the
 * run. Only what was routed is computed: the sum over p of one assignment at a time, in any grouping of rows. Shazeer et al. 2017. */
static inline graft_value graft_expert_matmul(graft_builder *b, graft_value x, graft_value w, graft_value ids, int transposed)
{
    const graft_value in[] = {x, w, ids};
    const graft_attr at[] = {GRAFT_INTA("transposed", transposed)};
    return b->api->op(b, "expert_matmul/1", 3, in, 1, at);
}
/* The gradient of w: dw [E, q, p] with dw[e] = base[e] + sum of dy[t, j]^T x[t, j] over the assignments with ids[t, j] = e, in their order; dy
 * [T, k or 1, q], x [T, k or 1, p], ids [T, k]; base [E, q, p] (optional) may be overwritten. */
static inline graft_value graft_expert_outer(graft_builder *b, graft_value dy, graft_value x, graft_value ids, graft_value base, int64_t experts)
{
    const graft_value in[] = {dy, x, ids, base};
    const graft_attr at[] = {GRAFT_INTA("experts", experts)};
    return b->api->op(b, "expert_outer/1", base.id ? 4 : 3, in, 1, at);
}

/* Sum of squares of all elements, added to acc [1] (optional) -> [1]. Summed in f64 in a fixed order. */
static inline graft_value graft_sum_squares(graft_builder *b, graft_value x, graft_value acc) { return graft_op2(b, "sum_squares/1", x, acc); }

/* One AdamW step (Loshchilov & Hutter 2019, torch's order) on param p with gradient g and moments m, v; results p, m, v in place.
 * hyper [8]: lr, beta1, beta2, eps, weight_decay, 1 - beta1^t, 1 - beta2^t, gradient factor (clipping). attr decay 0: no weight decay here.
 * g *= factor; p *= 1 - lr wd; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr (m / c1) / (sqrt(v / c2) + eps). */
static inline graft_value graft_adamw(graft_builder *b, graft_value p, graft_value g, graft_value m, graft_value v, graft_value hyper, int decay)
{
    const graft_value in[] = {p, g, m, v, hyper};
    const graft_attr at[] = {GRAFT_INTA("decay", decay)};
    return b->api->op(b, "adamw/1", 5, in, 1, at);
}

/* A tensor of constant shape in eight bits (dynamic8.h): codes i32 [blocks, 86]; second output: the blocks' largest absolute values [blocks, 1].
 * What is not a number becomes 0. attr signed 0: no value is below zero. */
static inline graft_value graft_dynamic8_pack(graft_builder *b, graft_value x, int is_signed)
{
    const graft_attr at[] = {GRAFT_INTA("signed", is_signed)};
    return b->api->op(b, "dynamic8_pack/1", 1, &x, 1, at);
}
/* And back, to f32 of these dims. A code outside 0 .. 255 cannot be: words are below 2^24. */
static inline graft_value graft_dynamic8_unpack(graft_builder *b, graft_value codes, graft_value scales, int is_signed, int rank, const int64_t *dims)
{
    const graft_value in[] = {codes, scales};
    const graft_attr at[] = {GRAFT_DIM_ATTRS_(rank, dims), GRAFT_INTA("signed", is_signed)};
    return b->api->op(b, "dynamic8_unpack/1", 2, in, 6, at);
}

#ifdef __cplusplus
}
#endif
#endif
