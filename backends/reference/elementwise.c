/* backends/reference/elementwise.c - y = f(x), element by element. */
#include "element.h"

#define UNARY(name, f)                             \
    static graft_status name(const ref_call *c)    \
    {                                              \
        const float *in = ref_f32(&c->in[0]);      \
        float *out = ref_out(&c->out[0]);          \
        for (int64_t i = 0; i < c->in[0].n; i++) { \
            const double x = (double)in[i];        \
            out[i] = (float)(f);                   \
        }                                          \
        return GRAFT_OK;                           \
    }

UNARY(do_neg, -x)
UNARY(do_exp, exp(x))
UNARY(do_log, log(x))
UNARY(do_sqrt, sqrt(x))
UNARY(do_rsqrt, 1.0 / sqrt(x))
UNARY(do_tanh, tanh(x))
UNARY(do_sigmoid, 1.0 / (1.0 + exp(-x)))
UNARY(do_sin, sin(x))
UNARY(do_cos, cos(x))
UNARY(do_abs, fabs(x))
UNARY(do_erf, erf(x))

static graft_status do_affine(const ref_call *c)
{
    const double mul = ref_real(c, "mul"), add = ref_real(c, "add");
    const float *x = ref_f32(&c->in[0]);
    float *y = ref_out(&c->out[0]);
    for (int64_t i = 0; i < c->in[0].n; i++) y[i] = (float)(mul * (double)x[i] + add);
    return GRAFT_OK;
}

static int fits(const ref_call *c) { return ref_same(&c->in[0], &c->out[0]); }

const ref_op ref_elementwise[] = {
    {.name = "neg/1", .in = "f", .n_out = 1, .run = do_neg, .fits = fits},
    {.name = "exp/1", .in = "f", .n_out = 1, .run = do_exp, .fits = fits},
    {.name = "log/1", .in = "f", .n_out = 1, .run = do_log, .fits = fits},
    {.name = "sqrt/1", .in = "f", .n_out = 1, .run = do_sqrt, .fits = fits},
    {.name = "rsqrt/1", .in = "f", .n_out = 1, .run = do_rsqrt, .fits = fits},
    {.name = "tanh/1", .in = "f", .n_out = 1, .run = do_tanh, .fits = fits},
    {.name = "sigmoid/1", .in = "f", .n_out = 1, .run = do_sigmoid, .fits = fits},
    {.name = "sin/1", .in = "f", .n_out = 1, .run = do_sin, .fits = fits},
    {.name = "cos/1", .in = "f", .n_out = 1, .run = do_cos, .fits = fits},
    {.name = "abs/1", .in = "f", .n_out = 1, .run = do_abs, .fits = fits},
    {.name = "erf/1", .in = "f", .n_out = 1, .run = do_erf, .fits = fits},
    {.name = "affine/1", .in = "f", .n_out = 1, .attrs = {"mul", "add"}, .run = do_affine, .fits = fits},
    {.name = NULL},
};
