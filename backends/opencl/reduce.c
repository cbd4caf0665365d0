/* backends/opencl/reduce.c - sum and maximum over one axis, softmax over the last. */
#include "opencl.h"

static graft_status reduce(const ocl_call *c, const ocl_view *x, const ocl_view *y, int64_t outer, int64_t n, int64_t inner, int largest)
{
    const int64_t lanes = c->d->lanes[OCL_REDUCE], global[3] = {outer * lanes, 1, 1}, local[3] = {lanes, 1, 1};
    if (inner == 1 && n >= lanes) return ocl_launch(c, OCL_K_reduce_group, global, local, "ttli", x, y, n, largest);
    return ocl_launch_1d(c, OCL_K_reduce_serial, outer * inner, "ttllli", x, y, outer * inner, n, inner, largest);
}

graft_status ocl_sum_rows(const ocl_call *c, const ocl_view *x, const ocl_view *y, int64_t outer, int64_t n, int64_t inner) { return reduce(c, x, y, outer, n, inner, 0); }

static graft_status do_reduce(const ocl_call *c)
{
    const ocl_view *x = &c->in[0];
    const int axis = (int)ocl_int(c, "axis");
    int64_t inner = 1;
    for (int i = axis + 1; i < x->rank; i++) inner *= x->dims[i];
    return reduce(c, x, &c->out[0], inner ? c->out[0].n / inner : 0, x->dims[axis], inner, !strcmp(c->op, "amax/1"));
}

static graft_status do_softmax(const ocl_call *c)
{
    const int64_t lanes = c->d->lanes[OCL_REDUCE], global[3] = {ocl_rows(&c->in[0]) * lanes, 1, 1}, local[3] = {lanes, 1, 1}, d = ocl_last(&c->in[0]);
    if (d == 0) return GRAFT_OK;
    if (c->in[1].there) return ocl_launch(c, OCL_K_softmax_grad, global, local, "tttl", &c->in[0], &c->in[1], &c->out[0], d);
    return ocl_launch(c, OCL_K_softmax, global, local, "ttl", &c->in[0], &c->out[0], d);
}

static int reduce_fits(const ocl_call *c)
{
    const int64_t axis = ocl_int(c, "axis");
    ocl_view x = c->in[0];
    if (axis < 0 || axis >= x.rank) return 0;
    x.dims[axis] = 1;
    return ocl_same(&x, &c->out[0]);
}

static int softmax_fits(const ocl_call *c) { return c->in[0].rank > 0 && ocl_same(&c->in[0], &c->in[1]) && ocl_same(&c->in[0], &c->out[0]); }

#define REDUCE .families = OCL_BIT(OCL_REDUCE)
const ocl_op ocl_reductions[] = {
    {.name = "sum/1", .in = "f", .n_out = 1, REDUCE, .attrs = {"axis"}, .run = do_reduce, .fits = reduce_fits},
    {.name = "amax/1", .in = "f", .n_out = 1, REDUCE, .attrs = {"axis"}, .run = do_reduce, .fits = reduce_fits},
    {.name = "softmax/1", .in = "f", .n_out = 1, REDUCE, .run = do_softmax, .fits = softmax_fits},
    {.name = "softmax_grad/1", .in = "ff", .n_out = 1, REDUCE, .run = do_softmax, .fits = softmax_fits},
    {.name = NULL},
};
