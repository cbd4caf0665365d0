/* backends/reference/create.c - values from nothing, and between element types. The result's tensor says the sizes. */
#include "element.h"

#include "graft/random.h"

static graft_status do_cast(const ref_call *c)
{
    for (int64_t i = 0; i < c->out[0].n; i++) ref_put(&c->out[0], i, ref_get(&c->in[0], i));
    return GRAFT_OK;
}

static graft_status do_fill(const ref_call *c)
{
    for (int64_t i = 0; i < c->out[0].n; i++) ref_put(&c->out[0], i, ref_real(c, "value"));
    return GRAFT_OK;
}

static graft_status do_iota(const ref_call *c)
{
    for (int64_t i = 0; i < c->out[0].n; i++) ref_put(&c->out[0], i, (double)i);
    return GRAFT_OK;
}

static graft_status do_random(const ref_call *c)
{
    const uint64_t stream = (uint64_t)ref_int(c, "stream");
    for (int64_t i = 0; i < c->out[0].n; i++) ref_out(&c->out[0])[i] = graft_random_uniform(c->seed, stream, c->step, (uint64_t)i);
    return GRAFT_OK;
}

static graft_status do_training(const ref_call *c)
{
    ref_out(&c->out[0])[0] = c->training ? 1.0f : 0.0f;
    return GRAFT_OK;
}

static int cast_fits(const ref_call *c) { return ref_same(&c->in[0], &c->out[0]); }
static int one(const ref_call *c) { return !c->out[0].there || c->out[0].n == 1; }

const ref_op ref_create[] = {
    {.name = "cast/1", .in = "x", .n_out = 1, .run = do_cast, .fits = cast_fits},
    {.name = "fill/1", .in = "", .n_out = 1, .attrs = {"value"}, .run = do_fill},
    {.name = "iota/1", .in = "", .n_out = 1, .run = do_iota},
    {.name = "random/1", .in = "", .n_out = 1, .attrs = {"stream"}, .run = do_random},
    {.name = "training/1", .in = "", .n_out = 1, .run = do_training, .fits = one},
    {.name = NULL},
};
