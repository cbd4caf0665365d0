/* backends/opencl/moe.c - routed experts. Scratch of the gradient: order [T k] and start [experts + 1], i32. */
#include "opencl.h"

static graft_status do_topk(const ocl_call *c)
{
    const int64_t rows = ocl_rows(&c->in[0]);
    return ocl_launch_1d(c, OCL_K_topk, rows, "tttliic", &c->in[0], &c->out[0], &c->out[1], rows, (int)ocl_last(&c->in[0]), (int)ocl_int(c, "k"));
}

static graft_status do_matmul(const ocl_call *c)
{
    const ocl_view *x = &c->in[0], *w = &c->in[1], *ids = &c->in[2], *y = &c->out[0];
    const int64_t global[3] = {y->dims[2], ids->n, 1}, local[3] = {c->d->lanes[OCL_MOE], 1, 1};
    return ocl_launch(c, OCL_K_expert_rows, global, local, "ttttiiilliic", x, w, ids, y, (int)ids->dims[1], (int)(x->dims[1] == ids->dims[1]), (int)w->dims[0], x->dims[2], y->dims[2],
                      (int)(ocl_int(c, "transposed") != 0), (int)w->dtype);
}

static graft_status do_outer(const ocl_call *c)
{
    const ocl_view *dy = &c->in[0], *x = &c->in[1], *ids = &c->in[2], *dw = &c->out[0];
    const int64_t experts = dw->dims[0], p = x->dims[2], q = dy->dims[2], k = ids->dims[1], global[3] = {p, q, experts}, local[3] = {c->d->lanes[OCL_MOE], 1, 1};
    int64_t at = 0;
    const ocl_view order = ocl_room(c, &at, ids->n * 4, ids->n), start = ocl_room(c, &at, (experts + 1) * 4, experts + 1);
    const graft_status status = ocl_launch_1d(c, OCL_K_expert_order, experts + 1, "tttlic", ids, &order, &start, ids->n, (int)experts);
    return status ? status : ocl_launch(c, OCL_K_expert_outer, global, local, "ttttttiiill", dy, x, &order, &start, &c->in[3], dw, (int)k, (int)(dy->dims[1] == k), (int)(x->dims[1] == k), p, q);
}

static int64_t outer_scratch(const ocl_call *c) { return (c->in[2].n + c->out[0].dims[0] + 1) * 4 + 128; }

static int topk_fits(const ocl_call *c)
{
    const ocl_view *x = &c->in[0];
    const int64_t k = ocl_int(c, "k");
    if (x->rank < 1 || k < 1 || k > ocl_last(x) || ocl_last(x) > INT32_MAX) return 0;
    ocl_view want = *x;
    want.dims[x->rank - 1] = k;
    return ocl_same(&c->out[0], &want) && ocl_same(&c->out[1], &want);
}

static int rows_fit(const ocl_view *x, const ocl_view *ids) { return x->rank == 3 && ids->rank == 2 && x->dims[0] == ids->dims[0] && (x->dims[1] == ids->dims[1] || x->dims[1] == 1); }

static int matmul_fits(const ocl_call *c)
{
    const ocl_view *x = &c->in[0], *w = &c->in[1], *ids = &c->in[2], *y = &c->out[0];
    const int transposed = ocl_int(c, "transposed") != 0;
    return rows_fit(x, ids) && rows_fit(y, ids) && y->dims[1] == ids->dims[1] && w->rank == 3 && w->dims[0] <= INT32_MAX && x->dims[2] == w->dims[transposed ? 1 : 2] &&
           y->dims[2] == w->dims[transposed ? 2 : 1];
}

static int outer_fits(const ocl_call *c)
{
    const ocl_view *dy = &c->in[0], *x = &c->in[1], *ids = &c->in[2], *y = &c->out[0];
    return rows_fit(dy, ids) && rows_fit(x, ids) && ids->n <= INT32_MAX && y->rank == 3 && y->dims[0] == ocl_int(c, "experts") && y->dims[0] < INT32_MAX && y->dims[1] == dy->dims[2] &&
           y->dims[2] == x->dims[2] && ocl_same(&c->in[3], y);
}

#define MOE .families = OCL_BIT(OCL_MOE)
const ocl_op ocl_experts[] = {
    {.name = "topk/1", .in = "f", .n_out = 2, MOE, .attrs = {"k"}, .run = do_topk, .fits = topk_fits},
    {.name = "expert_matmul/1", .in = "fwi", .n_out = 1, MOE, .attrs = {"transposed"}, .run = do_matmul, .fits = matmul_fits},
    {.name = "expert_outer/1", .in = "ffiF", .n_out = 1, MOE, .attrs = {"experts"}, .run = do_outer, .fits = outer_fits, .scratch = outer_scratch},
    {.name = NULL},
};
