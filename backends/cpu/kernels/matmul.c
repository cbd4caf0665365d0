/* matmul.c - matmul/1: ranks 2 to 4, leading axes equal or 1. Many small products are spread over the threads whole, large ones one by one. */
#include "gemm.h"
#include "ops.h"

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
    g.a = (const char *)g.a + oa * last_a * (g.ta == GRAFT_F32 ? 4 : 2);
    g.b = (const char *)g.b + ob * last_b * (g.tb == GRAFT_F32 ? 4 : 2);
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

static graft_status matmul(cpu_call *c)
{
    const cpu_arg *a = &c->in[0], *b = &c->in[1], *out = &c->out[0];
    const int64_t rows_a = a->dims[a->rank - 2], cols_a = a->dims[a->rank - 1], cols_b = b->dims[b->rank - 1];
    batch w = {.call = c, .outer = lead(out, 0), .inner = lead(out, 1)};
    w.g = (gemm){.a = a->data, .b = b->data, .lda = cols_a, .ldb = cols_b, .ta = a->dtype, .tb = b->dtype, .trans_a = (int)c->attr[0].i, .trans_b = (int)c->attr[1].i, .c = out->data, .alpha = (float)c->attr[2].r};
    w.g.m = out->dims[out->rank - 2];
    w.g.n = w.g.ldc = w.g.ldbase = out->dims[out->rank - 1];
    w.g.k = w.g.trans_a ? rows_a : cols_a;
    w.g.base = c->in[2].on ? c->in[2].data : NULL;
    const int64_t products = w.outer * w.inner;
    if (products > 1 && (double)w.g.m * (double)w.g.n * (double)w.g.k < 4e7) {
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
    const cpu_arg *a = &c->in[0], *out = &c->out[0];
    K(gemm_room)
    (out->dims[out->rank - 2], out->dims[out->rank - 1], a->dims[a->rank - (c->attr[0].i ? 2 : 1)], r);
}

const cpu_op K(ops_matmul)[] = {
    {"matmul/1", FLOATS, {{"trans_a", 0}, {"trans_b", 0}, {"alpha", 1}}, matmul, matmul_room},
    END_OF_OPS,
};
