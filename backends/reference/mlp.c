/* backends/reference/mlp.c - swiglu, silu, gelu and their gradients. Phi: the normal distribution function. */
#include "element.h"

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static double silu(double x) { return x * sigmoid(x); }
static double silu_slope(double x) { return sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))); }

static const double root_2_pi = 0.79788456080286536, cubic = 0.044715; /* sqrt(2 / pi) */

static double gelu(double x, int by_tanh)
{
    if (by_tanh) return 0.5 * x * (1.0 + tanh(root_2_pi * (x + cubic * x * x * x)));
    return 0.5 * x * erfc(-x * 0.70710678118654752);
}

static double gelu_slope(double x, int by_tanh)
{
    if (by_tanh) {
        const double t = tanh(root_2_pi * (x + cubic * x * x * x));
        return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * root_2_pi * (1.0 + 3.0 * cubic * x * x);
    }
    return 0.5 * erfc(-x * 0.70710678118654752) + x * exp(-0.5 * x * x) * 0.39894228040143268; /* Phi(x) + x Phi'(x) */
}

static graft_status do_swiglu(const ref_call *c)
{
    const float *gate = ref_f32(&c->in[0]), *up = ref_f32(&c->in[1]);
    for (int64_t i = 0; i < c->in[0].n; i++) ref_out(&c->out[0])[i] = (float)(silu((double)gate[i]) * (double)up[i]);
    return GRAFT_OK;
}

static graft_status do_swiglu_grad(const ref_call *c)
{
    for (int64_t i = 0; i < c->in[0].n; i++) { /* all is read before anything is written: the results may lie over gate and up */
        const double gate = (double)ref_f32(&c->in[0])[i], up = (double)ref_f32(&c->in[1])[i], dy = (double)ref_f32(&c->in[2])[i];
        if (c->out[0].there) ref_out(&c->out[0])[i] = (float)(dy * up * silu_slope(gate));
        if (c->out[1].there) ref_out(&c->out[1])[i] = (float)(dy * silu(gate));
    }
    return GRAFT_OK;
}

static graft_status do_silu(const ref_call *c)
{
    for (int64_t i = 0; i < c->in[0].n; i++) ref_out(&c->out[0])[i] = (float)silu((double)ref_f32(&c->in[0])[i]);
    return GRAFT_OK;
}

static graft_status do_silu_grad(const ref_call *c)
{
    for (int64_t i = 0; i < c->in[0].n; i++) ref_out(&c->out[0])[i] = (float)((double)ref_f32(&c->in[1])[i] * silu_slope((double)ref_f32(&c->in[0])[i]));
    return GRAFT_OK;
}

static graft_status do_gelu(const ref_call *c)
{
    const int kind = (int)ref_int(c, "kind");
    for (int64_t i = 0; i < c->in[0].n; i++) ref_out(&c->out[0])[i] = (float)gelu((double)ref_f32(&c->in[0])[i], kind);
    return GRAFT_OK;
}

static graft_status do_gelu_grad(const ref_call *c)
{
    const int kind = (int)ref_int(c, "kind");
    for (int64_t i = 0; i < c->in[0].n; i++) ref_out(&c->out[0])[i] = (float)((double)ref_f32(&c->in[1])[i] * gelu_slope((double)ref_f32(&c->in[0])[i], kind));
    return GRAFT_OK;
}

static int fits(const ref_call *c)
{
    return ref_same(&c->in[0], &c->in[1]) && ref_same(&c->in[0], &c->in[2]) && ref_same(&c->in[0], &c->out[0]) && ref_same(&c->in[0], &c->out[1]);
}

static int gelu_fits(const ref_call *c) { return fits(c) && (ref_int(c, "kind") == 0 || ref_int(c, "kind") == 1); }

const ref_op ref_mlp[] = {
    {.name = "swiglu/1", .in = "ff", .n_out = 1, .run = do_swiglu, .fits = fits},
    {.name = "swiglu_grad/1", .in = "fff", .n_out = 2, .run = do_swiglu_grad, .fits = fits},
    {.name = "silu/1", .in = "f", .n_out = 1, .run = do_silu, .fits = fits},
    {.name = "silu_grad/1", .in = "ff", .n_out = 1, .run = do_silu_grad, .fits = fits},
    {.name = "gelu/1", .in = "f", .n_out = 1, .attrs = {"kind"}, .run = do_gelu, .fits = gelu_fits},
    {.name = "gelu_grad/1", .in = "ff", .n_out = 1, .attrs = {"kind"}, .run = do_gelu_grad, .fits = gelu_fits},
    {.name = NULL},
};
