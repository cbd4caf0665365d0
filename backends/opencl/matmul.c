/* backends/opencl/matmul.c - y = alpha op(a) op(w) + c over the last two axes; leading axes equal or 1. */
#include "opencl.h"

enum { LEAST_K = 128, /* numbers of a sum in one piece */
       MOST_PARTS = 32 };

/* Strides in elements of x's leading axes, as seen from the result's (at most two). */
static void leading(const ocl_view *x, int64_t lead[2])
{
    const int64_t matrix = x->dims[x->rank - 2] * x->dims[x->rank - 1];
    lead[0] = lead[1] = 0;
    if (x->rank > 2 && x->dims[x->rank - 3] != 1) lead[1] = matrix;
    if (x->rank > 3 && x->dims[0] != 1) lead[0] = matrix * x->dims[1];
}

/* parts > 1: K in so many pieces, each piece's product whole in y [parts, ...]. */
static graft_status gemm(const ocl_call *call, const ocl_view *a, const ocl_view *w, const ocl_view *c, const ocl_view *y, const ocl_view *shape, int ta, int tb, double alpha, int parts)
{
    const int64_t m = shape->dims[shape->rank - 2], n = shape->dims[shape->rank - 1], k = a->dims[ta ? a->rank - 2 : a->rank - 1];
    const int64_t side = call->d->side, rows = call->d->tile_rows, cols = call->d->tile_cols, inner = shape->rank > 2 ? shape->dims[shape->rank - 3] : 1, batches = m && n ? shape->n / (m * n) : 0;
    int64_t lead[4];
    leading(a, lead);
    leading(w, lead + 2);
    const int64_t global[3] = {(n + cols - 1) / cols * side, (m + rows - 1) / rows * side, batches * parts}, local[3] = {side, side, 1};
    return ocl_launch(call, OCL_K_gemm, global, local, "ttttiiiilllflvi", a, w, c, y, ta, tb, (int)a->dtype, (int)w->dtype, m, n, k, alpha, inner, lead, parts);
}

graft_status ocl_gemm(const ocl_call *call, const ocl_view *a, const ocl_view *w, const ocl_view *c, const ocl_view *y, int ta, int tb, double alpha) { return gemm(call, a, w, c, y, y, ta, tb, alpha, 1); }

/* A product with few results and a long sum (the gradient of a low-rank pair: 16 x 2048 from 4096 tokens) has fewer tiles than the device has compute units: then
 * K is cut, and the pieces are added in their order. How often depends on the sizes and the device alone, so the bits repeat. */
static int parts_of(const ocl_call *c)
{
    const ocl_view *a = &c->in[0], *y = &c->out[0];
    const int64_t m = y->dims[y->rank - 2], n = y->dims[y->rank - 1], k = a->dims[ocl_int(c, "trans_a") != 0 ? a->rank - 2 : a->rank - 1];
    if (y->n == 0 || k < 2 * LEAST_K) return 1;
    const int64_t tiles = (m + c->d->tile_rows - 1) / c->d->tile_rows * ((n + c->d->tile_cols - 1) / c->d->tile_cols) * (y->n / (m * n));
    if (tiles >= c->d->units) return 1;
    const int64_t wish = (2 * c->d->units + tiles - 1) / tiles, may = k / LEAST_K < MOST_PARTS ? k / LEAST_K : MOST_PARTS;
    return (int)(wish < may ? wish : may);
}

static graft_status do_matmul(const ocl_call *c)
{
    const ocl_view *a = &c->in[0], *w = &c->in[1], *add = &c->in[2], *y = &c->out[0];
    const int ta = ocl_int(c, "trans_a") != 0, tb = ocl_int(c, "trans_b") != 0, parts = parts_of(c);
    const double alpha = ocl_real(c, "alpha");
    int64_t at = 0;
    if (parts < 2) return ocl_gemm(c, a, w, add, y, ta, tb, alpha);
    const ocl_view pieces = ocl_room(c, &at, parts * y->n * (int64_t)sizeof(float), parts * y->n), none = {0};
    const graft_status status = gemm(c, a, w, &none, &pieces, y, ta, tb, 1.0, parts);
    return status ? status : ocl_launch_1d(c, OCL_K_gemm_sum, y->n, "tttlif", &pieces, add, y, y->n, parts, alpha);
}

/* For any sizes up to the call's: less than one tile a unit, in pieces of which there are fewer than 2 units + tiles. */
static int64_t scratch(const ocl_call *c)
{
    const ocl_view *a = &c->in[0], *y = &c->out[0];
    const int64_t k = a->dims[ocl_int(c, "trans_a") != 0 ? a->rank - 2 : a->rank - 1], tiles = 3 * c->d->units * c->d->tile_rows * c->d->tile_cols, all = y->n < INT64_MAX / 1024 ? MOST_PARTS * y->n : tiles;
    return k < 2 * LEAST_K ? 0 : (tiles < all ? tiles : all) * (int64_t)sizeof(float) + 64;
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
    {.name = "matmul/1", .in = "wwF", .n_out = 1, .families = OCL_BIT(OCL_MATMUL), .attrs = {"trans_a", "trans_b", "alpha"}, .run = do_matmul, .fits = fits, .scratch = scratch},
    {.name = NULL},
};
