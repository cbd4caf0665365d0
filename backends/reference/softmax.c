/* backends/reference/softmax.c - y = exp(x - max) / sum over the last axis; dx = y (dy - sum(y dy)). */
#include "element.h"

static graft_status do_softmax(const ref_call *c)
{
    const int64_t rows = ref_rows(&c->in[0]), d = ref_last(&c->in[0]);
    for (int64_t i = 0; i < rows; i++) {
        const float *x = ref_f32(&c->in[0]) + i * d;
        double top = -INFINITY, sum = 0.0;
        for (int64_t j = 0; j < d; j++) top = fmax(top, (double)x[j]);
        for (int64_t j = 0; j < d; j++) sum += exp((double)x[j] - top);
        for (int64_t j = 0; j < d; j++) ref_out(&c->out[0])[i * d + j] = (float)(exp((double)x[j] - top) / sum);
    }
    return GRAFT_OK;
}

static graft_status do_grad(const ref_call *c)
{
    const int64_t rows = ref_rows(&c->in[0]), d = ref_last(&c->in[0]);
    for (int64_t i = 0; i < rows; i++) {
        const float *y = ref_f32(&c->in[0]) + i * d, *dy = ref_f32(&c->in[1]) + i * d;
        double dot = 0.0;
        for (int64_t j = 0; j < d; j++) dot += (double)y[j] * (double)dy[j];
        for (int64_t j = 0; j < d; j++) ref_out(&c->out[0])[i * d + j] = (float)((double)y[j] * ((double)dy[j] - dot));
    }
    return GRAFT_OK;
}

static int fits(const ref_call *c) { return c->in[0].rank > 0 && ref_same(&c->in[0], &c->in[1]) && ref_same(&c->in[0], &c->out[0]); }

const ref_op ref_softmax[] = {
    {.name = "softmax/1", .in = "f", .n_out = 1, .run = do_softmax, .fits = fits},
    {.name = "softmax_grad/1", .in = "ff", .n_out = 1, .run = do_grad, .fits = fits},
    {.name = NULL},
};
