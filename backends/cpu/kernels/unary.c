/* unary.c - one operand, element by element, f32. sin, cos and erf go through libm lane by lane: nothing hot needs them (rope has its table). */
#include "map.h"

#include <math.h>

INLINE vf each(vf x, float (*f)(float))
{
    for (int i = 0; i < VW; i++) x[i] = f(x[i]);
    return x;
}

MAP1(span_neg, (vf)((vi)x ^ (vi)v_set(-0.0f)))
MAP1(span_exp, v_exp(x))
MAP1(span_log, v_log(x))
MAP1(span_sqrt, v_sqrt(x))
MAP1(span_rsqrt, v_set(1.0f) / v_sqrt(x))
MAP1(span_tanh, v_tanh(x))
MAP1(span_sigmoid, v_sigmoid(x))
MAP1(span_sin, each(x, sinf))
MAP1(span_cos, each(x, cosf))
MAP1(span_abs, v_abs(x))
MAP1(span_erf, each(x, erff))
MAP1(span_affine, x *p + q)

#define UNARY(name) \
    static graft_status run_##name(cpu_call *c) { return map_call(c, span_##name, c->attr[0].r, c->attr[1].r); }
UNARY(neg)
UNARY(exp)
UNARY(log)
UNARY(sqrt)
UNARY(rsqrt)
UNARY(tanh)
UNARY(sigmoid)
UNARY(sin)
UNARY(cos)
UNARY(abs)
UNARY(erf)
UNARY(affine)

#define ROW(name)                                        \
    {                                                    \
#name "/1", F32, {{NULL, 0 } }, run_##name, NULL \
    }
const cpu_op K(ops_unary)[] = {
    ROW(neg),
    ROW(exp),
    ROW(log),
    ROW(sqrt),
    ROW(rsqrt),
    ROW(tanh),
    ROW(sigmoid),
    ROW(sin),
    ROW(cos),
    ROW(abs),
    ROW(erf),
    {"affine/1", F32, {{"mul", 1}, {"add", 0}}, run_affine, NULL},
    END_OF_OPS,
};
