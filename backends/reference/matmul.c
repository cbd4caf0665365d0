/* backends/reference/matmul.c - y = alpha op(a) op(w) + c over the last two axes; leading axes equal or 1. */
#include "element.h"

/* The matrix of x that batch number b of the result uses: an element offset. */
static int64_t matrix(const ref_view *x, const ref_view *out, int64_t b)
{
    int64_t at = 0, stride = x->dims[x->rank - 2] * x->dims[x->rank - 1];
    for (int i = out->rank - 3; i >= 0; i--) {
        if (x->dims[i] != 1) at += b % out->dims[i] * stride;
        b /= out->dims[i];
        stride *= x->dims[i];
    }
    return at;
}

static graft_status do_matmul(const ref_call *call)
{
    const ref_view *a = &call->in[0], *w = &call->in[1], *c = &call->in[2], *y = &call->out[0];
    const int ta = ref_int(call, "trans_a") != 0, tb = ref_int(call, "trans_b") != 0;
    const double alpha = ref_real(call, "alpha");
    const int64_t m = y->dims[y->rank - 2], n = y->dims[y->rank - 1], k = a->dims[ta ? a->rank - 2 : a->rank - 1];
    for (int64_t i = 0; i < y->n; i++) { /* c may be y: each element is read just before it is written */
        const int64_t batch = i / (m * n), row = i / n % m, col = i % n;
        const int64_t a0 = matrix(a, y, batch) + (ta ? row : row * k), w0 = matrix(w, y, batch) + (tb ? col * k : col);
        const int64_t a_step = ta ? m : 1, w_step = tb ? 1 : n;
        double sum = 0.0;
        if (a->dtype == GRAFT_F32 && w->dtype == GRAFT_F32) {
            const float *ra = ref_f32(a) + a0, *rw = ref_f32(w) + w0;
            for (int64_t p = 0; p < k; p++) sum += (double)ra[p * a_step] * (double)rw[p * w_step];
        } else {
            for (int64_t p = 0; p < k; p++) sum += ref_get(a, a0 + p * a_step) * ref_get(w, w0 + p * w_step);
        }
        ref_out(y)[i] = (float)(alpha * sum + (c->there ? (double)ref_f32(c)[i] : 0.0));
    }
    return GRAFT_OK;
}

static int fits(const ref_call *call)
{
    const ref_view *a = &call->in[0], *w = &call->in[1], *y = &call->out[0];
    const int ta = ref_int(call, "trans_a") != 0, tb = ref_int(call, "trans_b") != 0, r = a->rank;
    if (!y->there) return 1;
    if (r < 2 || w->rank != r || y->rank != r || !ref_same(&call->in[2], y)) return 0;
    for (int i = 0; i < r - 2; i++) {
        if ((a->dims[i] != 1 && a->dims[i] != y->dims[i]) || (w->dims[i] != 1 && w->dims[i] != y->dims[i])) return 0;
    }
    return a->dims[ta ? r - 2 : r - 1] == w->dims[tb ? r - 1 : r - 2] && y->dims[r - 2] == a->dims[ta ? r - 1 : r - 2] && y->dims[r - 1] == w->dims[tb ? r - 2 : r - 1];
}

const ref_op ref_matmul[] = {
    {.name = "matmul/1", .in = "wwF", .n_out = 1, .attrs = {"trans_a", "trans_b", "alpha"}, .run = do_matmul, .fits = fits},
    {.name = NULL},
};
