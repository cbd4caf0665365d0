/* backends/opencl/matmul.c - y = alpha op(a) op(w) + c over the last two axes; leading axes equal or 1. */
#include "opencl.h"

/* Strides in elements of x's leading axes, as seen from the result's (at most two). */
static void leading(const ocl_view *x, int64_t lead[2])
{
    const int64_t matrix = x->dims[x->rank - 2] * x->dims[x->rank - 1];
    lead[0] = lead[1] = 0;
    if (x->rank > 2 && x->dims[x->rank - 3] != 1) lead[1] = matrix;
    if (x->rank > 3 && x->dims[0] != 1) lead[0] = matrix * x->dims[1];
}

graft_status ocl_gemm(const ocl_call *call, const ocl_view *a, const ocl_view *w, const ocl_view *c, const ocl_view *y, int ta, int tb, double alpha)
{
    const int64_t m = y->dims[y->rank - 2], n = y->dims[y->rank - 1], k = a->dims[ta ? a->rank - 2 : a->rank - 1];
    const int64_t side = call->d->side, rows = call->d->tile_rows, cols = call->d->tile_cols, inner = y->rank > 2 ? y->dims[y->rank - 3] : 1, batches = m && n ? y->n / (m * n) : 0;
    int64_t lead[4];
    leading(a, lead);
    leading(w, lead + 2);
    const int64_t global[3] = {(n + cols - 1) / cols * side, (m + rows - 1) / rows * side, batches}, local[3] = {side, side, 1};
    return ocl_launch(call, OCL_K_gemm, global, local, "ttttiiiilllflv", a, w, c, y, ta, tb, (int)a->dtype, (int)w->dtype, m, n, k, alpha, inner, lead);
}

static graft_status do_matmul(const ocl_call *c)
{
    return ocl_gemm(c, &c->in[0], &c->in[1], &c->in[2], &c->out[0], ocl_int(c, "trans_a") != 0, ocl_int(c, "trans_b") != 0, ocl_real(c, "alpha"));
}

static int fits(const ocl_call *call)
{
    const ocl_view *a = &call->in[0], *w = &call->in[1], *y = &call->out[0];
    const int ta = ocl_int(call, "trans_a") != 0, tb = ocl_int(call, "trans_b") != 0, r = a->rank;
    if (r < 2 || w->rank != r || y->rank != r || !ocl_same(&call->in[2], y)) return 0;
    for (int i = 0; i < r - 2; i++) {
        if ((a->dims[i] != 1 && a->dims[i] != y->dims[i]) || (w->dims[i] != 1 && w->dims[i] != y->dims[i])) return 0;
    }
    return a->dims[ta ? r - 2 : r - 1] == w->dims[tb ? r - 1 : r - 2] && y->dims[r - 2] == a->dims[ta ? r - 1 : r - 2] && y->dims[r - 1] == w->dims[tb ? r - 2 : r - 1];
}

const ocl_op ocl_matmuls[] = {
    {.name = "matmul/1", .in = "wwF", .n_out = 1, .families = OCL_BIT(OCL_MATMUL), .attrs = {"trans_a", "trans_b", "alpha"}, .run = do_matmul, .fits = fits},
    {.name = NULL},
};
