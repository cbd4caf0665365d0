/* backends/reference/optim.c - sum of squares, and one AdamW step in torch's order. */
#include "element.h"

static graft_status do_sum_squares(const ref_call *c)
{
    double sum = 0.0;
    for (int64_t i = 0; i < c->in[0].n; i++) sum += (double)ref_f32(&c->in[0])[i] * (double)ref_f32(&c->in[0])[i];
    ref_out(&c->out[0])[0] = (float)(sum + (c->in[1].there ? (double)ref_f32(&c->in[1])[0] : 0.0));
    return GRAFT_OK;
}

enum { LR,
       BETA1,
       BETA2,
       EPS,
       DECAY,
       CORRECTION1,
       CORRECTION2,
       FACTOR,
       HYPERS };

static graft_status do_adamw(const ref_call *c)
{
    const float *h = ref_f32(&c->in[4]);
    const double lr = (double)h[LR], b1 = (double)h[BETA1], b2 = (double)h[BETA2], keep = ref_int(c, "decay") ? 1.0 - lr * (double)h[DECAY] : 1.0;
    for (int64_t i = 0; i < c->in[0].n; i++) {
        const double p = (double)ref_f32(&c->in[0])[i] * keep, g = (double)ref_f32(&c->in[1])[i] * (double)h[FACTOR];
        const double m = b1 * (double)ref_f32(&c->in[2])[i] + (1.0 - b1) * g, v = b2 * (double)ref_f32(&c->in[3])[i] + (1.0 - b2) * g * g;
        if (c->out[0].there) ref_out(&c->out[0])[i] = (float)(p - lr * (m / (double)h[CORRECTION1]) / (sqrt(v / (double)h[CORRECTION2]) + (double)h[EPS]));
        if (c->out[1].there) ref_out(&c->out[1])[i] = (float)m;
        if (c->out[2].there) ref_out(&c->out[2])[i] = (float)v;
    }
    return GRAFT_OK;
}

static int squares_fits(const ref_call *c) { return (!c->in[1].there || c->in[1].n == 1) && (!c->out[0].there || c->out[0].n == 1); }

static int adamw_fits(const ref_call *c)
{
    for (int i = 1; i < 4; i++) {
        if (!ref_same(&c->in[0], &c->in[i]) || !ref_same(&c->in[0], &c->out[i - 1])) return 0;
    }
    return c->in[4].n == HYPERS;
}

const ref_op ref_optim[] = {
    {.name = "sum_squares/1", .in = "fF", .n_out = 1, .run = do_sum_squares, .fits = squares_fits},
    {.name = "adamw/1", .in = "fffff", .n_out = 3, .attrs = {"decay"}, .run = do_adamw, .fits = adamw_fits},
    {.name = NULL},
};
