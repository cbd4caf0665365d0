/* backends/reference/moe.c - routed experts: the largest k of a row; each row times the matrix of its expert. */
#include "element.h"

#include <math.h>

static graft_status do_topk(const ref_call *c)
{
    const ref_view *x = &c->in[0];
    const int64_t E = ref_last(x), k = ref_int(c, "k"), rows = ref_rows(x);
    for (int64_t t = 0; t < rows; t++) {
        const float *row = ref_f32(x) + t * E;
        float last = INFINITY;
        int64_t before = -1; /* the last one taken: what comes next is smaller, or equal and further right */
        for (int64_t j = 0; j < k; j++) {
            int64_t best = -1;
            for (int64_t e = 0; e < E; e++) {
                const int open = before < 0 || row[e] < last || (row[e] == last && e > before);
                if (open && (best < 0 || row[e] > row[best])) best = e;
            }
            if (best < 0) return ref_fail(c, "row %lld has numbers that cannot be ordered", (long long)t);
            last = row[best], before = best;
            if (c->out[0].there) ref_out(&c->out[0])[t * k + j] = last;
            if (c->out[1].there) ((int32_t *)c->out[1].data)[t * k + j] = (int32_t)best;
        }
    }
    return GRAFT_OK;
}

static int topk_fits(const ref_call *c)
{
    const ref_view *x = &c->in[0];
    const int64_t k = ref_int(c, "k");
    if (x->rank < 1 || k < 1 || k > ref_last(x)) return 0;
    ref_view want = *x;
    want.dims[x->rank - 1] = k;
    return ref_same(&c->out[0], &want) && ref_same(&c->out[1], &want);
}

static graft_status check_ids(const ref_call *c, const ref_view *ids, int64_t experts)
{
    for (int64_t i = 0; i < ids->n; i++)
        if (((const int32_t *)ids->data)[i] >= experts) return ref_fail(c, "expert %d of %lld was asked for", (int)((const int32_t *)ids->data)[i], (long long)experts);
    return GRAFT_OK;
}

/* Row of x [T, k or 1, d] that assignment i of [T, k] uses. */
static int64_t row_of(const ref_view *x, int64_t i, int64_t k) { return x->dims[1] == k ? i : i / k; }

static graft_status do_matmul(const ref_call *c)
{
    const ref_view *x = &c->in[0], *w = &c->in[1], *ids = &c->in[2], *y = &c->out[0];
    const int transposed = ref_int(c, "transposed") != 0;
    const int64_t k = ids->dims[1], p = x->dims[2], q = y->dims[2], out_step = transposed ? 1 : p, in_step = transposed ? q : 1;
    const graft_status status = check_ids(c, ids, w->dims[0]);
    for (int64_t i = 0; !status && i < ids->n; i++) {
        const int64_t e = ((const int32_t *)ids->data)[i], row = row_of(x, i, k);
        for (int64_t o = 0; o < q; o++) {
            double sum = 0.0;
            for (int64_t a = 0; a < p && e >= 0; a++) sum += (double)ref_f32(x)[row * p + a] * ref_get(w, e * p * q + o * out_step + a * in_step);
            ref_out(y)[i * q + o] = (float)sum;
        }
    }
    return status;
}

static graft_status do_outer(const ref_call *c)
{
    const ref_view *dy = &c->in[0], *x = &c->in[1], *ids = &c->in[2], *base = &c->in[3], *y = &c->out[0];
    const int64_t k = ids->dims[1], p = x->dims[2], q = dy->dims[2];
    const graft_status status = check_ids(c, ids, y->dims[0]);
    for (int64_t at = 0; !status && at < y->n; at++) {
        const int64_t e = at / (p * q), o = at / p % q, a = at % p;
        double sum = 0.0;
        for (int64_t i = 0; i < ids->n; i++)
            if (((const int32_t *)ids->data)[i] == e) sum += (double)ref_f32(dy)[row_of(dy, i, k) * q + o] * (double)ref_f32(x)[row_of(x, i, k) * p + a];
        ref_out(y)[at] = (float)(sum + (base->there ? (double)ref_f32(base)[at] : 0.0));
    }
    return status;
}

static int rows_fit(const ref_view *x, const ref_view *ids) { return x->rank == 3 && ids->rank == 2 && x->dims[0] == ids->dims[0] && (x->dims[1] == ids->dims[1] || x->dims[1] == 1); }

static int matmul_fits(const ref_call *c)
{
    const ref_view *x = &c->in[0], *w = &c->in[1], *ids = &c->in[2], *y = &c->out[0];
    const int transposed = ref_int(c, "transposed") != 0;
    if (!y->there) return 1;
    return rows_fit(x, ids) && rows_fit(y, ids) && y->dims[1] == ids->dims[1] && w->rank == 3 && x->dims[2] == w->dims[transposed ? 1 : 2] && y->dims[2] == w->dims[transposed ? 2 : 1];
}

static int outer_fits(const ref_call *c)
{
    const ref_view *dy = &c->in[0], *x = &c->in[1], *ids = &c->in[2], *y = &c->out[0];
    if (!y->there) return 1;
    return rows_fit(dy, ids) && rows_fit(x, ids) && y->rank == 3 && y->dims[0] == ref_int(c, "experts") && y->dims[1] == dy->dims[2] && y->dims[2] == x->dims[2] && ref_same(&c->in[3], y);
}

const ref_op ref_moe[] = {
    {.name = "topk/1", .in = "f", .n_out = 2, .attrs = {"k"}, .run = do_topk, .fits = topk_fits},
    {.name = "expert_matmul/1", .in = "fwi", .n_out = 1, .attrs = {"transposed"}, .run = do_matmul, .fits = matmul_fits},
    {.name = "expert_outer/1", .in = "ffiF", .n_out = 1, .attrs = {"experts"}, .run = do_outer, .fits = outer_fits},
    {.name = NULL},
};
