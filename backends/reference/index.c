/* backends/reference/index.c - rows by number. */
#include "element.h"

static graft_status do_gather(const ref_call *c)
{
    const ref_view *table = &c->in[0];
    const int32_t *ids = c->in[1].data;
    const int64_t d = table->dims[1];
    for (int64_t i = 0; i < c->in[1].n; i++) {
        if (ids[i] >= table->dims[0]) return ref_fail(c, "row %d of a table with %lld rows was asked for", (int)ids[i], (long long)table->dims[0]);
        for (int64_t j = 0; j < d; j++) ref_put(&c->out[0], i * d + j, ids[i] < 0 ? 0.0 : ref_get(table, ids[i] * d + j));
    }
    return GRAFT_OK;
}

static graft_status do_scatter_add(const ref_call *c)
{
    const ref_view *base = &c->in[0];
    const float *src = ref_f32(&c->in[1]);
    const int32_t *ids = c->in[2].data;
    float *out = ref_out(&c->out[0]);
    const int64_t d = base->dims[1];
    if (out != base->data && base->n) memcpy(out, base->data, (size_t)base->n * sizeof *out);
    for (int64_t i = 0; i < c->in[2].n; i++) {
        if (ids[i] >= base->dims[0]) return ref_fail(c, "row %d of a table with %lld rows was asked for", (int)ids[i], (long long)base->dims[0]);
        for (int64_t j = 0; j < d && ids[i] >= 0; j++) out[ids[i] * d + j] += src[i * d + j];
    }
    return GRAFT_OK;
}

static int gather_fits(const ref_call *c)
{
    const ref_view *t = &c->in[0], *ids = &c->in[1], *y = &c->out[0];
    return t->rank == 2 && ids->rank == 1 && (!y->there || (y->rank == 2 && y->dims[0] == ids->dims[0] && y->dims[1] == t->dims[1]));
}

static int scatter_fits(const ref_call *c)
{
    const ref_view *base = &c->in[0], *src = &c->in[1], *ids = &c->in[2];
    return base->rank == 2 && src->rank == 2 && ids->rank == 1 && src->dims[0] == ids->dims[0] && src->dims[1] == base->dims[1] && ref_same(base, &c->out[0]);
}

const ref_op ref_index[] = {
    {.name = "gather/1", .in = "wi", .n_out = 1, .run = do_gather, .fits = gather_fits},
    {.name = "scatter_add/1", .in = "ffi", .n_out = 1, .run = do_scatter_add, .fits = scatter_fits},
    {.name = NULL},
};
