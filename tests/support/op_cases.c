/* tests/support/op_cases.c - how to draw a case of each op. Small cases are for finite differences and decompositions; large ones cross the borders of
 * tiles and vectors of a backend. */
#include "tests/support/op_harness.h"

#include <math.h>
#include <string.h>

#define T                  GRAFT_DIM_TOKENS
#define L                  GRAFT_DIM_LABELLED
#define F(fill, rank, ...) op_case_in(c, fill, rank, __VA_ARGS__)

/* No size has a factor 7, so that OP_SPREAD's steps of 7 are a permutation. */
static int64_t size(op_rng *r, int large)
{
    static const int64_t few[] = {1, 2, 3, 4, 5, 6}, many[] = {1, 3, 8, 16, 17, 31, 32, 33, 48, 65};
    return large ? many[op_draw(r, 10)] : few[op_draw(r, 6)];
}

static void sizes(op_rng *r, int large, int rank, int64_t d[4])
{
    int64_t all = 1;
    for (int i = 0; i < 4; i++) {
        d[i] = i < rank ? size(r, large) : 0;
        if (i < rank && (all *= d[i]) > (large ? 40000 : 60)) d[i] = 1, all = large ? 40000 : 60;
    }
    if (rank && op_draw(r, 2)) d[0] = T;
}

static op_input *drawn(op_case *c, op_fill fill, int rank, const int64_t d[4]) { return op_case_in(c, fill, rank, d[0], d[1], d[2], d[3]); }

/* ---- tier 0 ------------------------------------------------------------------------------------------------------------------------------------ */
static void make_unary(op_case *c, op_rng *r, int large)
{
    int64_t d[4];
    const int rank = (int)op_draw(r, 5);
    sizes(r, large, rank, d);
    drawn(c, OP_NORMAL, rank, d);
}

static void make_affine(op_case *c, op_rng *r, int large)
{
    make_unary(c, r, large);
    op_case_real(c, "mul", op_uniform(r, -2.0, 2.0));
    op_case_real(c, "add", op_uniform(r, -2.0, 2.0));
}

/* x and y of one drawn shape, axes of each made 1 or dropped from the left. */
static void broadcasting(op_rng *r, int large, int64_t out[4], int64_t x[4], int *rank)
{
    int drop = 0;
    const int full = *rank;
    (void)large;
    while (drop < full && op_draw(r, 4) == 0) drop++;
    *rank = full - drop;
    for (int i = 0; i < 4; i++) x[i] = i < *rank ? out[i + drop] : 0;
    for (int i = 0; i < *rank; i++) {
        if (op_draw(r, 3) == 0) x[i] = 1;
    }
}

static void make_binary(op_case *c, op_rng *r, int large)
{
    int64_t out[4], x[4];
    const int full = 1 + (int)op_draw(r, 4);
    int rank = full;
    sizes(r, large, full, out);
    if (op_draw(r, 2)) {
        drawn(c, OP_NORMAL, full, out);
        broadcasting(r, large, out, x, &rank);
        drawn(c, OP_NORMAL, rank, x);
    } else {
        broadcasting(r, large, out, x, &rank);
        drawn(c, OP_NORMAL, rank, x);
        rank = full;
        broadcasting(r, large, out, x, &rank);
        drawn(c, OP_NORMAL, rank, x);
    }
}

static void make_compare(op_case *c, op_rng *r, int large)
{
    make_binary(c, r, large);
    if (op_draw(r, 2)) return;
    for (int i = 0; i < 2; i++) c->in[i].shape.dtype = GRAFT_I32, c->in[i].fill = OP_SMALL;
}

static void make_select(op_case *c, op_rng *r, int large)
{
    int64_t out[4], x[4];
    const int full = 1 + (int)op_draw(r, 4);
    sizes(r, large, full, out);
    for (int i = 0; i < 3; i++) {
        int rank = full;
        broadcasting(r, large, out, x, &rank);
        drawn(c, i ? OP_NORMAL : OP_BITS, rank, x);
    }
}

static void make_reduce(op_case *c, op_rng *r, int large)
{
    int64_t d[4];
    const int rank = 1 + (int)op_draw(r, 4);
    sizes(r, large, rank, d);
    drawn(c, OP_NORMAL, rank, d);
    op_case_int(c, "axis", op_draw(r, (uint32_t)rank));
}

static void make_matmul(op_case *c, op_rng *r, int large)
{
    const int ta = (int)op_draw(r, 2), tb = (int)op_draw(r, 2), lead = (int)op_draw(r, 3);
    int64_t m = size(r, large), n = size(r, large), k = size(r, large), batch[2] = {1 + op_draw(r, 3), 1 + op_draw(r, 3)};
    if (large && lead == 0) m *= 1 + op_draw(r, 4), n *= 1 + op_draw(r, 4), k *= 1 + op_draw(r, 6);
    const uint32_t symbol = op_draw(r, 4);
    if (symbol == 0) m = T;
    if (symbol == 1) k = T;
    int64_t a[4] = {0}, w[4] = {0}, y[4] = {0};
    for (int i = 0; i < lead; i++) {
        const uint32_t one = op_draw(r, 4);
        a[i] = one == 0 ? 1 : batch[i], w[i] = one == 1 ? 1 : batch[i], y[i] = batch[i];
    }
    a[lead] = ta ? k : m, a[lead + 1] = ta ? m : k;
    w[lead] = tb ? n : k, w[lead + 1] = tb ? k : n;
    y[lead] = m, y[lead + 1] = n;
    drawn(c, OP_NORMAL, lead + 2, a);
    drawn(c, OP_NORMAL, lead + 2, w);
    if (op_draw(r, 2)) drawn(c, OP_NORMAL, lead + 2, y);
    op_case_int(c, "trans_a", ta);
    op_case_int(c, "trans_b", tb);
    op_case_real(c, "alpha", op_draw(r, 2) ? 1.0 : op_uniform(r, -1.5, 1.5));
}

static graft_dtype stored_type(op_rng *r)
{
    static const graft_dtype types[] = {GRAFT_BF16, GRAFT_F16, GRAFT_Q4_0, GRAFT_Q4_1, GRAFT_Q8_0, GRAFT_NF4, GRAFT_NF4_DOUBLE, GRAFT_INT8};
    return types[op_draw(r, 8)];
}

/* x [T, k] times a stored weight, forwards (x W^T) and as the input's gradient (dy W). */
static void make_matmul_stored(op_case *c, op_rng *r, int large)
{
    const graft_dtype t = stored_type(r);
    const int64_t k = (graft_is_packed(t) ? 64 : 32) * (1 + (int64_t)op_draw(r, large ? 9 : 2)), n = large ? 3 + op_draw(r, 70) : 3;
    const int tb = (int)op_draw(r, 2);
    F(OP_NORMAL, 2, T, tb ? k : n, 0, 0);
    F(OP_NORMAL, 2, n, k, 0, 0)->shape.dtype = t;
    op_case_int(c, "trans_b", tb);
}

static void make_gather(op_case *c, op_rng *r, int large)
{
    const int64_t n = size(r, large) + 1, d = size(r, large);
    F(OP_NORMAL, 2, n, d, 0, 0);
    F(OP_INDEX, 1, op_draw(r, 2) ? T : size(r, large), 0, 0, 0)->limit = n;
}

static void make_gather_stored(op_case *c, op_rng *r, int large)
{
    const int64_t n = size(r, large) + 1;
    F(OP_NORMAL, 2, n, 64, 0, 0)->shape.dtype = stored_type(r);
    F(OP_INDEX, 1, T, 0, 0, 0)->limit = n;
}

static void make_scatter(op_case *c, op_rng *r, int large)
{
    const int64_t n = size(r, large) + 1, d = size(r, large), m = op_draw(r, 2) ? T : size(r, large);
    F(OP_NORMAL, 2, n, d, 0, 0);
    F(OP_NORMAL, 2, m, d, 0, 0);
    F(OP_INDEX, 1, m, 0, 0, 0)->limit = n;
}

static void dims_attrs(op_case *c, int rank, const int64_t d[4])
{
    static const char *const keys[] = {"d0", "d1", "d2", "d3"};
    op_case_int(c, "rank", rank);
    for (int i = 0; i < rank; i++) op_case_int(c, keys[i], d[i]);
}

static void maybe_whole(op_case *c, op_rng *r)
{
    if (op_draw(r, 3)) return;
    for (int i = 0; i < c->n_in; i++) c->in[i].shape.dtype = GRAFT_I32, c->in[i].fill = OP_SMALL;
}

static void make_reshape(op_case *c, op_rng *r, int large)
{
    int64_t d[4], to[4];
    sizes(r, large, 3, d);
    drawn(c, OP_NORMAL, 3, d);
    to[0] = d[0], to[1] = 1, to[2] = d[2], to[3] = d[1];
    if (op_draw(r, 2)) to[1] = d[1] * d[2], to[2] = to[3] = 0;
    dims_attrs(c, to[2] ? 4 : 2, to); /* i32 is reshaped by the decompositions of rope and the loss; a graph does not give out an i32 leaf */
}

static void make_broadcast(op_case *c, op_rng *r, int large)
{
    int64_t out[4], x[4];
    const int full = 1 + (int)op_draw(r, 4);
    int rank = full;
    sizes(r, large, full, out);
    broadcasting(r, large, out, x, &rank);
    drawn(c, OP_NORMAL, rank, x);
    dims_attrs(c, full, out);
    maybe_whole(c, r);
}

static void make_permute(op_case *c, op_rng *r, int large)
{
    int64_t d[4], p[4] = {0, 1, 2, 3};
    const int rank = 1 + (int)op_draw(r, 4);
    sizes(r, large, rank, d);
    drawn(c, OP_NORMAL, rank, d);
    for (int i = rank - 1; i > 0; i--) {
        const uint32_t k = op_draw(r, (uint32_t)i + 1);
        const int64_t t = p[i];
        p[i] = p[k], p[k] = t;
    }
    dims_attrs(c, rank, p);
    maybe_whole(c, r);
}

/* A shape whose axis `axis` is constant. */
static int constant_axis(op_case *c, op_rng *r, int large, int64_t d[4], int *axis)
{
    const int rank = 1 + (int)op_draw(r, 4);
    sizes(r, large, rank, d);
    *axis = (int)op_draw(r, (uint32_t)rank);
    if (d[*axis] < 0) d[*axis] = 1 + size(r, large);
    drawn(c, OP_NORMAL, rank, d);
    return rank;
}

static void make_slice(op_case *c, op_rng *r, int large)
{
    int64_t d[4];
    int axis;
    constant_axis(c, r, large, d, &axis);
    const int64_t begin = op_draw(r, (uint32_t)d[axis]), length = 1 + op_draw(r, (uint32_t)(d[axis] - begin));
    op_case_int(c, "axis", axis);
    op_case_int(c, "begin", begin);
    op_case_int(c, "length", length);
    maybe_whole(c, r);
}

static void make_pad(op_case *c, op_rng *r, int large)
{
    int64_t d[4];
    int axis;
    constant_axis(c, r, large, d, &axis);
    op_case_int(c, "axis", axis);
    op_case_int(c, "before", op_draw(r, 4));
    op_case_int(c, "after", op_draw(r, 4));
    maybe_whole(c, r);
}

static void make_concat(op_case *c, op_rng *r, int large)
{
    int64_t d[4];
    int axis;
    const int rank = constant_axis(c, r, large, d, &axis);
    d[axis] = size(r, large);
    drawn(c, OP_NORMAL, rank, d);
    op_case_int(c, "axis", axis);
    maybe_whole(c, r);
}

static void make_cast(op_case *c, op_rng *r, int large)
{
    static const graft_dtype to[] = {GRAFT_F32, GRAFT_I32, GRAFT_BF16, GRAFT_F16};
    make_unary(c, r, large);
    c->in[0].fill = OP_SPREAD;
    const graft_dtype t = to[op_draw(r, 4)];
    if (op_draw(r, 2) && t == GRAFT_F32) c->in[0].shape.dtype = GRAFT_I32, c->in[0].fill = OP_SMALL;
    op_case_int(c, "dtype", t);
}

static void make_cast_stored(op_case *c, op_rng *r, int large)
{
    F(OP_NORMAL, 2, T, 2 * size(r, large), 0, 0)->shape.dtype = op_draw(r, 2) ? GRAFT_BF16 : GRAFT_F16;
    op_case_int(c, "dtype", GRAFT_F32);
}

static void make_fill(op_case *c, op_rng *r, int large)
{
    int64_t d[4];
    const int rank = (int)op_draw(r, 5);
    sizes(r, large, rank, d);
    dims_attrs(c, rank, d);
    if (!strcmp(c->op, "fill/1")) op_case_real(c, "value", op_uniform(r, -3.0, 3.0));
    else op_case_int(c, "stream", 5 + op_draw(r, 1000));
}

static void make_iota(op_case *c, op_rng *r, int large) { op_case_int(c, "d0", op_draw(r, 2) ? T : size(r, large)); }
static void make_training(op_case *c, op_rng *r, int large)
{
    (void)large;
    c->training = (int)op_draw(r, 2);
}

/* ---- tier 1 ------------------------------------------------------------------------------------------------------------------------------------- */
/* rows... x d with the last axis constant */
static int rows(op_case *c, op_rng *r, int large, int64_t d[4])
{
    const int rank = 1 + (int)op_draw(r, 3);
    sizes(r, large, rank, d);
    if (d[rank - 1] < 0) d[rank - 1] = size(r, large);
    if (d[rank - 1] < 3) d[rank - 1] = 4; /* one number normed is its sign, two are the sign of their difference: jumps */
    drawn(c, OP_NORMAL, rank, d);
    return rank;
}

static void rms_attrs(op_case *c, op_rng *r)
{
    op_case_real(c, "eps", op_draw(r, 2) ? 1e-5 : 0.1);
    op_case_real(c, "plus", op_draw(r, 2));
}

static void make_rms(op_case *c, op_rng *r, int large)
{
    int64_t d[4];
    const int rank = rows(c, r, large, d);
    if (op_draw(r, 4)) F(OP_NORMAL, 1, d[rank - 1], 0, 0, 0);
    rms_attrs(c, r);
}

static void make_rms_grad(op_case *c, op_rng *r, int large)
{
    int64_t d[4];
    const int rank = rows(c, r, large, d);
    const int64_t width = d[rank - 1];
    if (op_draw(r, 4)) F(OP_NORMAL, 1, width, 0, 0, 0);
    else op_case_absent(c);
    d[rank - 1] = 1;
    drawn(c, OP_POSITIVE, rank, d);
    d[rank - 1] = width;
    drawn(c, OP_NORMAL, rank, d);
    rms_attrs(c, r);
    c->seeded = 0;
}

static void make_layer(op_case *c, op_rng *r, int large)
{
    int64_t d[4];
    const int rank = rows(c, r, large, d), which = (int)op_draw(r, 4);
    if (which & 1) F(OP_NORMAL, 1, d[rank - 1], 0, 0, 0);
    else op_case_absent(c);
    if (which & 2) F(OP_NORMAL, 1, d[rank - 1], 0, 0, 0);
    op_case_real(c, "eps", large ? 1e-5 : 0.05); /* three numbers that happen to be alike would make a jump of a small eps */
}

static void make_layer_grad(op_case *c, op_rng *r, int large)
{
    int64_t d[4];
    const int rank = rows(c, r, large, d);
    const int64_t width = d[rank - 1];
    if (op_draw(r, 4)) F(OP_NORMAL, 1, width, 0, 0, 0);
    else op_case_absent(c);
    d[rank - 1] = 1;
    drawn(c, OP_NORMAL, rank, d);
    drawn(c, OP_POSITIVE, rank, d);
    d[rank - 1] = width;
    drawn(c, OP_NORMAL, rank, d);
    op_case_real(c, "eps", 1e-5);
    c->seeded = 0;
}

static void make_same(op_case *c, op_rng *r, int large) /* as many inputs of one shape as the op needs */
{
    const graft_op_record *op = graft_op_find(c->op);
    int64_t d[4];
    const int rank = 1 + (int)op_draw(r, 4);
    sizes(r, large, rank, d);
    for (int i = 0; i < op->min_in; i++) drawn(c, OP_NORMAL, rank, d);
    if (op->attrs[0].key) op_case_int(c, "kind", op_draw(r, 2));
    if (!op->backward) c->seeded = 0;
}

static void make_rope(op_case *c, op_rng *r, int large)
{
    const int64_t half = large ? 4 + op_draw(r, 29) : 1 + op_draw(r, 3), head = 2 * half + (op_draw(r, 3) ? 0 : 2), heads = 1 + op_draw(r, 3);
    F(OP_NORMAL, 2, T, heads * head, 0, 0);
    F(OP_POSITIONS, 1, T, 0, 0, 0);
    F(OP_FREQ, 1, half, 0, 0, 0);
    op_case_int(c, "head", head);
    op_case_real(c, "scale", op_draw(r, 2) ? 1.0 : 1.3);
    op_case_int(c, "interleaved", op_draw(r, 2));
    op_case_int(c, "inverse", op_draw(r, 2));
}

typedef struct heads {
    int64_t n, kv, h, m;
} heads;

static heads attention_inputs(op_case *c, op_rng *r, int large, op_fill seq)
{
    heads a = {.kv = 1 + op_draw(r, 2), .h = large ? 8 * (1 + (int64_t)op_draw(r, 9)) + (op_draw(r, 4) ? 0 : 3) : 1 + op_draw(r, 3), .m = op_draw(r, 2) ? 0 : 1 + op_draw(r, large ? 9 : 2)};
    a.n = a.kv * (1 + op_draw(r, 3));
    F(OP_NORMAL, 2, T, a.n * a.h, 0, 0);
    F(OP_NORMAL, 2, T, a.kv * a.h, 0, 0);
    F(OP_NORMAL, 2, T, a.kv * a.h, 0, 0);
    F(seq, 2, GRAFT_DIM_SEQUENCES, 4, 0, 0);
    op_case_int(c, "heads", a.n);
    op_case_int(c, "kv_heads", a.kv);
    op_case_int(c, "window", op_draw(r, 2) ? 0 : 1 + op_draw(r, large ? 20 : 3));
    op_case_real(c, "scale", 1.0 / sqrt((double)a.h));
    op_case_real(c, "softcap", op_draw(r, 2) ? 0.0 : 3.0);
    return a;
}

static void extra_keys(op_case *c, const heads *a)
{
    for (int i = 0; i < 2; i++) {
        if (a->m) F(OP_NORMAL, 2, a->m, a->kv * a->h, 0, 0);
        else op_case_absent(c);
    }
}

static void make_attention(op_case *c, op_rng *r, int large)
{
    const heads a = attention_inputs(c, r, large, OP_SEQ);
    if (a.m) extra_keys(c, &a);
}

static void make_attention_grad(op_case *c, op_rng *r, int large)
{
    const heads a = attention_inputs(c, r, large, OP_SEQ);
    extra_keys(c, &a);
    F(OP_NORMAL, 2, T, a.n * a.h, 0, 0);
    F(OP_POSITIVE, 2, T, a.n, 0, 0);
    F(OP_NORMAL, 2, T, a.n * a.h, 0, 0);
    c->seeded = 0, c->outputs = a.m ? 31 : 7;
}

static void make_attention_cached(op_case *c, op_rng *r, int large)
{
    const heads a = attention_inputs(c, r, large, OP_CACHE_SEQ);
    extra_keys(c, &a);
    F(OP_NORMAL, 2, GRAFT_DIM_CACHED, a.kv * a.h, 0, 0);
    F(OP_NORMAL, 2, GRAFT_DIM_CACHED, a.kv * a.h, 0, 0);
    c->seeded = 0;
}

static void make_dropout(op_case *c, op_rng *r, int large)
{
    make_unary(c, r, large);
    op_case_real(c, "p", op_draw(r, 4) ? op_uniform(r, 0.05, 0.9) : 0.0);
    op_case_int(c, "stream", 1 + op_draw(r, 100));
    c->training = op_draw(r, 4) != 0;
}

/* Numbers without equals, or, forward only, many equals. */
static void make_topk(op_case *c, op_rng *r, int large)
{
    const int64_t n = large ? 1 + op_draw(r, 64) : 2 + op_draw(r, 4), ties = op_draw(r, 3) == 0;
    switch (op_draw(r, 3)) {
    case 0: F(ties ? OP_BITS : OP_SPREAD, 1, n, 0, 0, 0); break;
    case 1: F(ties ? OP_BITS : OP_SPREAD, 2, T, n, 0, 0); break;
    default: F(ties ? OP_BITS : OP_SPREAD, 3, T, 1 + op_draw(r, 3), n, 0); break;
    }
    op_case_int(c, "k", 1 + op_draw(r, (uint32_t)(n < 9 ? n : 9)));
    c->seeded = ties ? 0 : 1;
}

typedef struct routing {
    int64_t k, experts, p, q;
} routing;

static routing routed(op_rng *r, int large)
{
    return (routing){.k = 1 + op_draw(r, 3), .experts = 1 + op_draw(r, large ? 9 : 3), .p = size(r, large), .q = size(r, large)};
}

static void make_expert_matmul(op_case *c, op_rng *r, int large)
{
    const routing m = routed(r, large);
    const int transposed = (int)op_draw(r, 2);
    F(OP_NORMAL, 3, T, op_draw(r, 2) ? m.k : 1, m.p, 0);
    F(OP_NORMAL, 3, m.experts, transposed ? m.p : m.q, transposed ? m.q : m.p, 0);
    F(OP_INDEX, 2, T, m.k, 0, 0)->limit = m.experts;
    op_case_int(c, "transposed", transposed);
}

static void make_expert_matmul_stored(op_case *c, op_rng *r, int large)
{
    routing m = routed(r, large);
    const int transposed = (int)op_draw(r, 2);
    const graft_dtype drawn_type = stored_type(r), t = drawn_type == GRAFT_NF4_DOUBLE ? GRAFT_NF4 : drawn_type; /* small matrices are no whole groups */
    m.p = m.q = graft_is_packed(t) ? 64 : 32 * (1 + (int64_t)op_draw(r, 2));
    F(OP_NORMAL, 3, T, op_draw(r, 2) ? m.k : 1, m.p, 0);
    F(OP_NORMAL, 3, m.experts, m.q, m.p, 0)->shape.dtype = t;
    F(OP_INDEX, 2, T, m.k, 0, 0)->limit = m.experts;
    op_case_int(c, "transposed", transposed);
}

static void make_expert_outer(op_case *c, op_rng *r, int large)
{
    const routing m = routed(r, large);
    F(OP_NORMAL, 3, T, op_draw(r, 2) ? m.k : 1, m.q, 0);
    F(OP_NORMAL, 3, T, op_draw(r, 2) ? m.k : 1, m.p, 0);
    F(OP_INDEX, 2, T, m.k, 0, 0)->limit = m.experts;
    if (op_draw(r, 2)) F(OP_NORMAL, 3, m.experts, m.q, m.p, 0);
    op_case_int(c, "experts", m.experts);
}

static void loss_attrs(op_case *c, op_rng *r)
{
    op_case_real(c, "softcap", op_draw(r, 2) ? 0.0 : 3.0);
    op_case_real(c, "scale", op_draw(r, 2) ? 1.0 : 0.7);
}

static void make_loss(op_case *c, op_rng *r, int large)
{
    const int64_t V = large ? 100 + op_draw(r, 900) : 3 + op_draw(r, 4), d = large ? size(r, 1) : 2 + op_draw(r, 3);
    F(OP_NORMAL, 2, L, d, 0, 0);
    F(OP_NORMAL, 2, V, d, 0, 0);
    F(OP_INDEX, 1, L, 0, 0, 0)->limit = V;
    F(OP_NORMAL, 1, L, 0, 0, 0);
    loss_attrs(c, r);
    c->seeded = 3;
    if (op_draw(r, 2)) c->seeded = 1, c->unit_seed = 1, c->in[3].fill = OP_BITS; /* as in training: forward and backward in one op */
}

static void make_loss_stored(op_case *c, op_rng *r, int large)
{
    const int64_t V = large ? 100 + op_draw(r, 900) : 5;
    F(OP_NORMAL, 2, L, 64, 0, 0);
    F(OP_NORMAL, 2, V, 64, 0, 0)->shape.dtype = stored_type(r);
    F(OP_INDEX, 1, L, 0, 0, 0)->limit = V;
    F(OP_NORMAL, 1, L, 0, 0, 0);
    op_case_real(c, "scale", 0.2);
    c->seeded = 3;
}

static void make_loss_train(op_case *c, op_rng *r, int large)
{
    make_loss(c, r, large);
    if (op_draw(r, 2)) F(OP_NORMAL, 2, c->in[1].shape.dims[0], c->in[1].shape.dims[1], 0, 0);
    c->seeded = 0, c->unit_seed = 0;
}

static void make_sum_squares(op_case *c, op_rng *r, int large)
{
    make_unary(c, r, large);
    if (op_draw(r, 2)) F(OP_NORMAL, 1, 1, 0, 0, 0);
}

static void make_adamw(op_case *c, op_rng *r, int large)
{
    int64_t d[4];
    const int rank = 1 + (int)op_draw(r, 2);
    sizes(r, large, rank, d);
    for (int i = 0; i < 4; i++) drawn(c, i == 3 ? OP_POSITIVE : OP_NORMAL, rank, d);
    F(OP_HYPER, 1, 8, 0, 0, 0);
    op_case_int(c, "decay", op_draw(r, 2));
    c->seeded = 0;
}

static void make_pack(op_case *c, op_rng *r, int large)
{
    const int64_t d0 = 1 + op_draw(r, large ? 40 : 3), d1 = 1 + op_draw(r, 500);
    if (op_draw(r, 2)) F(OP_NORMAL, 2, d0, d1, 0, 0);
    else F(OP_NORMAL, 1, d1, 0, 0, 0);
    op_case_int(c, "signed", op_draw(r, 2));
    c->seeded = 0, c->outputs = 3;
}

static void make_unpack(op_case *c, op_rng *r, int large)
{
    const int64_t d0 = 1 + op_draw(r, large ? 40 : 3), d1 = 1 + op_draw(r, 500), blocks = (d0 * d1 + 255) / 256;
    F(OP_SMALL, 2, blocks, 86, 0, 0);
    F(OP_POSITIVE, 2, blocks, 1, 0, 0);
    op_case_int(c, "rank", 2), op_case_int(c, "d0", d0), op_case_int(c, "d1", d1);
    op_case_int(c, "signed", op_draw(r, 2));
    c->seeded = 0;
}

/* ---- the table ----------------------------------------------------------------------------------------------------------------------------------- */
const op_maker op_makers[] = {
    {"neg/1", make_unary, OP_NORMAL, 0},
    {"exp/1", make_unary, OP_NORMAL, 0},
    {"log/1", make_unary, OP_POSITIVE, 0},
    {"sqrt/1", make_unary, OP_POSITIVE, 0},
    {"rsqrt/1", make_unary, OP_POSITIVE, 0},
    {"tanh/1", make_unary, OP_NORMAL, 0},
    {"sigmoid/1", make_unary, OP_NORMAL, 0},
    {"sin/1", make_unary, OP_NORMAL, 0},
    {"cos/1", make_unary, OP_NORMAL, 0},
    {"abs/1", make_unary, OP_SPREAD, 0},
    {"erf/1", make_unary, OP_NORMAL, 0},
    {"affine/1", make_affine, OP_NORMAL, 0},
    {"add/1", make_binary, OP_NORMAL, 0},
    {"sub/1", make_binary, OP_NORMAL, 0},
    {"mul/1", make_binary, OP_NORMAL, 0},
    {"div/1", make_binary, OP_POSITIVE, 0},
    {"maximum/1", make_binary, OP_SPREAD, 0},
    {"less/1", make_compare, OP_SPREAD, 0},
    {"equal/1", make_compare, OP_SPREAD, 0},
    {"select/1", make_select, OP_NORMAL, 0},
    {"sum/1", make_reduce, OP_NORMAL, 0},
    {"amax/1", make_reduce, OP_SPREAD, 0},
    {"matmul/1", make_matmul, OP_NORMAL, 0},
    {"matmul/1", make_matmul_stored, OP_NORMAL, 1},
    {"gather/1", make_gather, OP_NORMAL, 0},
    {"gather/1", make_gather_stored, OP_NORMAL, 1},
    {"scatter_add/1", make_scatter, OP_NORMAL, 0},
    {"reshape/1", make_reshape, OP_NORMAL, 0},
    {"broadcast/1", make_broadcast, OP_NORMAL, 0},
    {"permute/1", make_permute, OP_NORMAL, 0},
    {"slice/1", make_slice, OP_NORMAL, 0},
    {"pad/1", make_pad, OP_NORMAL, 0},
    {"concat/1", make_concat, OP_NORMAL, 0},
    {"cast/1", make_cast, OP_SPREAD, 0},
    {"cast/1", make_cast_stored, OP_NORMAL, 1},
    {"fill/1", make_fill, OP_NORMAL, 0},
    {"iota/1", make_iota, OP_NORMAL, 0},
    {"random/1", make_fill, OP_NORMAL, 0},
    {"training/1", make_training, OP_NORMAL, 0},
    {"rms_norm/1", make_rms, OP_NORMAL, 0},
    {"rms_norm_grad/1", make_rms_grad, OP_NORMAL, 0},
    {"layer_norm/1", make_layer, OP_NORMAL, 0},
    {"layer_norm_grad/1", make_layer_grad, OP_NORMAL, 0},
    {"softmax/1", make_same, OP_NORMAL, 0},
    {"softmax_grad/1", make_same, OP_NORMAL, 0},
    {"rope/1", make_rope, OP_NORMAL, 0},
    {"attention/1", make_attention, OP_NORMAL, 0},
    {"attention_grad/1", make_attention_grad, OP_NORMAL, 0},
    {"attention_cached/1", make_attention_cached, OP_NORMAL, 0},
    {"swiglu/1", make_same, OP_NORMAL, 0},
    {"swiglu_grad/1", make_same, OP_NORMAL, 0},
    {"silu/1", make_same, OP_NORMAL, 0},
    {"silu_grad/1", make_same, OP_NORMAL, 0},
    {"gelu/1", make_same, OP_NORMAL, 0},
    {"gelu_grad/1", make_same, OP_NORMAL, 0},
    {"dropout/1", make_dropout, OP_NORMAL, 0},
    {"topk/1", make_topk, OP_NORMAL, 0},
    {"expert_matmul/1", make_expert_matmul, OP_NORMAL, 0},
    {"expert_matmul/1", make_expert_matmul_stored, OP_NORMAL, 1},
    {"expert_outer/1", make_expert_outer, OP_NORMAL, 0},
    {"linear_cross_entropy/1", make_loss, OP_NORMAL, 0},
    {"linear_cross_entropy/1", make_loss_stored, OP_NORMAL, 1},
    {"linear_cross_entropy_train/1", make_loss_train, OP_NORMAL, 0},
    {"sum_squares/1", make_sum_squares, OP_NORMAL, 0},
    {"adamw/1", make_adamw, OP_NORMAL, 0},
    {"dynamic8_pack/1", make_pack, OP_NORMAL, 0},
    {"dynamic8_unpack/1", make_unpack, OP_NORMAL, 0},
    {NULL, NULL, OP_NORMAL, 0},
};

void op_make(const op_maker *m, uint64_t seed, int large, op_case *c)
{
    op_rng r = {seed * 1000003 + 7 * graft_op_id(m->op) % 100000};
    op_case_begin(c, m->op, seed);
    c->extent[0] = large ? 20 + op_draw(&r, 60) : 2 + op_draw(&r, 4);
    if (c->extent[0] % 7 == 0) c->extent[0]++;
    c->extent[1] = 1 + op_draw(&r, 3);
    c->extent[2] = large ? 5 + op_draw(&r, 50) : 1 + op_draw(&r, 4);
    m->make(c, &r, large);
    c->extent[3] = c->extent[0] + c->extent[1] * (large ? 30 : 3);
    for (int i = 0; i < GRAFT_SYMBOLS; i++) c->capacity[i] = c->extent[i] + op_draw(&r, 3) * 4;
    if (m->fill != OP_NORMAL) {
        for (int i = 0; i < c->n_in; i++) {
            if (c->in[i].fill == OP_NORMAL) c->in[i].fill = m->fill;
        }
    }
}
