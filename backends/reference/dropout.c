/* backends/reference/dropout.c - element i is kept when uniform(seed, stream, step, i) >= p, and then scaled by 1 / (1 - p); in training alone. */
#include "element.h"

#include "graft/random.h"

static graft_status do_dropout(const ref_call *c)
{
    const double p = ref_real(c, "p");
    const uint64_t stream = (uint64_t)ref_int(c, "stream");
    const float *x = ref_f32(&c->in[0]);
    float *y = ref_out(&c->out[0]);
    for (int64_t i = 0; i < c->in[0].n; i++) {
        const int keep = !c->training || graft_random_uniform(c->seed, stream, c->step, (uint64_t)i) >= (float)p;
        y[i] = !keep ? 0.0f : c->training ? (float)((double)x[i] / (1.0 - p))
                                          : x[i];
    }
    return GRAFT_OK;
}

static int fits(const ref_call *c) { return ref_real(c, "p") >= 0.0 && ref_real(c, "p") < 1.0 && ref_same(&c->in[0], &c->out[0]); }

const ref_op ref_dropout[] = {
    {.name = "dropout/1", .in = "f", .n_out = 1, .attrs = {"p", "stream"}, .run = do_dropout, .fits = fits},
    {.name = NULL},
};
