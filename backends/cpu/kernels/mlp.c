/* mlp.c - swiglu, silu, gelu and their gradients, one pass each; formulas in graft/ops.h. */
#include "map.h"

#include <math.h>

static void span_swiglu_grad(const map *m, int64_t first, int64_t last)
{
    for (int64_t i = first; i < last; i += VW) {
        const int64_t left = last - i;
        const vf x = map_load(m->in[0], i, left), up = map_load(m->in[1], i, left), dy = map_load(m->in[2], i, left), s = v_sigmoid(x);
        if (m->out[0]) map_store(m->out[0], i, dy * up * (s * v_fma(x, 1.0f - s, v_set(1.0f))), left);
        if (m->out[1]) map_store(m->out[1], i, dy * (x * s), left);
    }
}

/* The gate of gelu: kind 0 by erf, 1 by tanh. */
INLINE vf erf_gate(vf x)
{
    for (int i = 0; i < VW; i++) x[i] = 0.5f + 0.5f * erff(x[i] * 0.70710678f);
    return x;
}
INLINE vf tanh_gate(vf x) { return 0.5f + 0.5f * v_tanh(x * v_fma(x * x, v_set(0.79788456f * 0.044715f), v_set(0.79788456f))); }
INLINE vf erf_slope(vf x) { return v_exp(x * x * -0.5f) * 0.39894228f; }
INLINE vf tanh_slope(vf x)
{
    const vf g = tanh_gate(x);
    return 2.0f * g * (1.0f - g) * v_fma(x * x, v_set(3.0f * 0.79788456f * 0.044715f), v_set(0.79788456f));
}

MAP2(span_swiglu, x *v_sigmoid(x) * y)
MAP1(span_silu, x *v_sigmoid(x))
MAP2(span_silu_grad, y *(v_sigmoid(x) * v_fma(x, 1.0f - v_sigmoid(x), v_set(1.0f))))
MAP1(span_gelu_erf, x *erf_gate(x))
MAP1(span_gelu_tanh, x *tanh_gate(x))
MAP2(span_gelu_erf_grad, y *v_fma(x, erf_slope(x), erf_gate(x)))
MAP2(span_gelu_tanh_grad, y *v_fma(x, tanh_slope(x), tanh_gate(x)))

static graft_status swiglu(cpu_call *c) { return map_call(c, span_swiglu, 0, 0); }
static graft_status swiglu_grad(cpu_call *c) { return map_call(c, span_swiglu_grad, 0, 0); }
static graft_status silu(cpu_call *c) { return map_call(c, span_silu, 0, 0); }
static graft_status silu_grad(cpu_call *c) { return map_call(c, span_silu_grad, 0, 0); }
static graft_status gelu(cpu_call *c) { return map_call(c, c->attr[0].i ? span_gelu_tanh : span_gelu_erf, 0, 0); }
static graft_status gelu_grad(cpu_call *c) { return map_call(c, c->attr[0].i ? span_gelu_tanh_grad : span_gelu_erf_grad, 0, 0); }

const cpu_op K(ops_mlp)[] = {
    {"swiglu/1", F32, {{NULL, 0}}, swiglu, NULL},
    {"swiglu_grad/1", F32, {{NULL, 0}}, swiglu_grad, NULL},
    {"silu/1", F32, {{NULL, 0}}, silu, NULL},
    {"silu_grad/1", F32, {{NULL, 0}}, silu_grad, NULL},
    {"gelu/1", F32, {{"kind", 0}}, gelu, NULL},
    {"gelu_grad/1", F32, {{"kind", 0}}, gelu_grad, NULL},
    END_OF_OPS,
};
