/* matmul.c - matmul/1: ranks 2 to 4, leading axes equal or 1. Many small products are spread over the threads whole, large ones one by one. */
#include "gemm.h"
#include "ops.h"
#include "skinny.h"

typedef struct batch {
    const cpu_call *call;
    int64_t outer, inner; /* the two leading axes of the result */
    gemm g;               /* shapes and strides; the pointers of product 0 */
} batch;

static gemm product(const batch *b, int64_t index)
{
    const cpu_call *c = b->call;
    const int64_t at[2] = {index / b->inner, index % b->inner};
    gemm g = b->g;
    int64_t oa = 0, ob = 0, oc = 0, obase = 0;
    for (int axis = 0; axis < 2; axis++) {
        oa = oa * lead(&c->in[0], axis) + (lead(&c->in[0], axis) == 1 ? 0 : at[axis]);
        ob = ob * lead(&c->in[1], axis) + (lead(&c->in[1], axis) == 1 ? 0 : at[axis]);
        oc = oc * lead(&c->out[0], axis) + at[axis];
        obase = oc;
    }
    const int64_t last_a = c->in[0].dims[c->in[0].rank - 1] * c->in[0].dims[c->in[0].rank - 2];
    const int64_t last_b = c->in[1].dims[c->in[1].rank - 1] * c->in[1].dims[c->in[1].rank - 2];
    term *t = &g.t[0];
    t->a = (const char *)t->a + stored_bytes(t->ta, oa * last_a);
    t->b = (const char *)t->b + stored_bytes(t->tb, ob * last_b);
    g.c += oc * g.m * g.n;
    if (g.base) g.base += obase * g.m * g.n;
    return g;
}

static void small_unit(void *ctx, int64_t unit, int thread)
{
    const batch *b = ctx;
    const gemm g = product(b, unit);
    K(gemm_alone)
    (&g, b->call->scratch + thread * b->call->scratch_bytes);
}

/* The product of two inputs with their attributes trans_a, trans_b, alpha. */
static term term_of(const cpu_arg *a, const cpu_arg *b, const cpu_attr *attr)
{
    term t = {.a = a->data, .b = b->data, .lda = a->dims[a->rank - 1], .ldb = b->dims[b->rank - 1], .ta = a->dtype, .tb = b->dtype, .trans_a = attr[0].i != 0, .trans_b = attr[1].i != 0, .alpha = (float)attr[2].r};
    t.k = a->dims[a->rank - (t.trans_a ? 2 : 1)];
    return t;
}

static graft_status matmul(cpu_call *c)
{
    const cpu_arg *out = &c->out[0];
    batch w = {.call = c, .outer = lead(out, 0), .inner = lead(out, 1)};
    w.g = (gemm){.m = out->dims[out->rank - 2], .n = out->dims[out->rank - 1], .terms = 1, .c = out->data};
    w.g.t[0] = term_of(&c->in[0], &c->in[1], c->attr);
    w.g.ldc = w.g.ldbase = w.g.n;
    w.g.base = c->in[2].on ? c->in[2].data : NULL;
    const int64_t products = w.outer * w.inner;
    if (products > 1 && (double)w.g.m * (double)w.g.n * (double)w.g.t[0].k < 4e7) {
        cpu_pool_run(c->pool, products, small_unit, &w);
        return GRAFT_OK;
    }
    for (int64_t i = 0; i < products; i++) {
        const gemm g = product(&w, i);
        K(gemm_run)
        (c, &g);
    }
    return GRAFT_OK;
}

static void matmul_room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    const term t = term_of(&c->in[0], &c->in[1], c->attr);
    const cpu_arg *out = &c->out[0];
    K(gemm_room)
    (out->dims[out->rank - 2], out->dims[out->rank - 1], t.k, r);
}

/* What fuse.c makes of y = a1 b1 + c, z = a2 b2 + y ...: inputs c, a1, b1, a2, b2 ...; three attributes a product. */
static graft_status chain(cpu_call *c)
{
    const cpu_arg *out = &c->out[0];
    gemm g = {.m = out->dims[0], .n = out->dims[1], .c = out->data, .ldc = out->dims[1], .ldbase = out->dims[1]};
    g.base = c->in[0].on ? c->in[0].data : NULL;
    for (int late = 0; late < 2; late++) /* whole stored blocks first, so that each of them begins at a multiple of its size */
        for (int i = 0; i < TERMS && c->in[1 + 2 * i].on; i++) {
            const term t = term_of(&c->in[1 + 2 * i], &c->in[2 + 2 * i], c->attr + 3 * i);
            if ((t.k % 32 != 0) == late) g.t[g.terms++] = t;
        }
    K(gemm_run)
    (c, &g);
    return GRAFT_OK;
}

static void chain_room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    int64_t k = 0;
    for (int i = 0; i < TERMS && c->in[1 + 2 * i].on; i++) k += term_of(&c->in[1 + 2 * i], &c->in[2 + 2 * i], c->attr + 3 * i).k;
    K(gemm_room)
    (c->out[0].dims[0], c->out[0].dims[1], k, r);
}

/* What group.c makes of products of one input: inputs a, b1, b2 ..., outputs one each; three attributes a product. */
static graft_status group(cpu_call *c)
{
    gemm g[CPU_MAX_OUT];
    int n = 0;
    for (; n < CPU_MAX_OUT && c->out[n].on; n++) {
        const cpu_arg *out = &c->out[n];
        g[n] = (gemm){.m = out->dims[0], .n = out->dims[1], .terms = 1, .c = out->data, .ldc = out->dims[1]};
        g[n].t[0] = term_of(&c->in[0], &c->in[1 + n], c->attr + 3 * n);
    }
    if (K(skinny_group)(c->pool, g, n)) return GRAFT_OK;
    for (int i = 0; i < n; i++) K(gemm_run)
    (c, &g[i]);
    return GRAFT_OK;
}

static void group_room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    for (int i = 0; i < CPU_MAX_OUT && c->out[i].on; i++) K(gemm_room)
    (c->out[i].dims[0], c->out[i].dims[1], term_of(&c->in[0], &c->in[1 + i], c->attr + 3 * i).k, r);
}

const cpu_op K(ops_matmul)[] = {
    {"matmul/1", STORED, {{"trans_a", 0}, {"trans_b", 0}, {"alpha", 1}}, matmul, matmul_room},
    {CPU_MATMUL_CHAIN, STORED, {{NULL, 0}}, chain, chain_room},
    {CPU_MATMUL_GROUP, STORED, {{NULL, 0}}, group, group_room},
    END_OF_OPS,
};
