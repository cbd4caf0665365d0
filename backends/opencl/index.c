/* backends/opencl/index.c - rows by number. */
#include "opencl.h"

static graft_status do_gather(const ocl_call *c)
{
    const ocl_view *table = &c->in[0], *ids = &c->in[1], *y = &c->out[0];
    const int64_t lanes = c->d->lanes[OCL_INDEX], global[3] = {ids->n * lanes, 1, 1}, local[3] = {lanes, 1, 1};
    return ocl_launch(c, OCL_K_gather, global, local, "tttllliic", table, ids, y, ids->n, table->dims[0], table->dims[1], (int)table->dtype, (int)y->dtype);
}

static graft_status do_scatter(const ocl_call *c)
{
    const ocl_view *base = &c->in[0], *src = &c->in[1], *ids = &c->in[2], *y = &c->out[0];
    const int64_t lanes = c->d->lanes[OCL_INDEX], global[3] = {ids->n * lanes, 1, 1}, local[3] = {lanes, 1, 1};
    const graft_status status = ocl_copy(c, base, y, base->n * (int64_t)sizeof(float));
    return status ? status : ocl_launch(c, OCL_K_scatter, global, local, "tttlllc", src, ids, y, ids->n, base->dims[0], base->dims[1]);
}

static int gather_fits(const ocl_call *c)
{
    const ocl_view *t = &c->in[0], *ids = &c->in[1], *y = &c->out[0];
    return t->rank == 2 && ids->rank == 1 && y->rank == 2 && y->dims[0] == ids->dims[0] && y->dims[1] == t->dims[1];
}

static int scatter_fits(const ocl_call *c)
{
    const ocl_view *base = &c->in[0], *src = &c->in[1], *ids = &c->in[2];
    return base->rank == 2 && src->rank == 2 && ids->rank == 1 && src->dims[0] == ids->dims[0] && src->dims[1] == base->dims[1] && ocl_same(base, &c->out[0]);
}

#define INDEX .families = OCL_BIT(OCL_INDEX)
const ocl_op ocl_indices[] = {
    {.name = "gather/1", .in = "wi", .n_out = 1, INDEX, .run = do_gather, .fits = gather_fits},
    {.name = "scatter_add/1", .in = "ffi", .n_out = 1, INDEX, .run = do_scatter, .fits = scatter_fits},
    {.name = NULL},
};
