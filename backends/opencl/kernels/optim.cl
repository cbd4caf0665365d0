/* optim.cl - sum of squares in a fixed order, one AdamW step in torch's order, and the multiply-adds of the rate probe. */

/* Without double, a sum is two floats: the sum and what rounding took from it (Dekker 1971). */
#if F64
typedef double exact;
exact exact_add(exact a, float v) { return a + (double)v * (double)v; }
exact exact_join(exact a, exact b) { return a + b; }
float exact_value(exact a, float more) { return (float)(a + (double)more); }
#define EXACT_ZERO 0.0
#else
typedef float2 exact;
exact exact_join(exact a, exact b)
{
    const float s = a.s0 + b.s0, part = s - a.s0, rest = (a.s0 - (s - part)) + (b.s0 - part) + a.s1 + b.s1;
    return (float2)(s + rest, rest - ((s + rest) - s));
}
exact exact_add(exact a, float v)
{
    const float square = v * v;
    return exact_join(a, (float2)(square, fma(v, v, -square)));
}
float exact_value(exact a, float more)
{
    const exact sum = exact_join(a, (float2)(more, 0.0f));
    return sum.s0 + sum.s1;
}
#define EXACT_ZERO (float2)(0.0f)
#endif

/* Group g sums every groups-th stretch; partial [groups]. */
kernel GROUP void squares(TENSOR(x), TENSOR(partial), long n)
{
    local exact room[LANES];
    const int me = get_local_id(0);
    exact sum = EXACT_ZERO;
    for (long i = get_global_id(0); i < n; i += get_global_size(0)) sum = exact_add(sum, F(x)[i]);
    room[me] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int s = LANES / 2; s > 0; s >>= 1) {
        if (me < s) room[me] = exact_join(room[me], room[me + s]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (me == 0) ((global exact *)RAW(partial))[get_group_id(0)] = room[0];
}

kernel GROUP void squares_end(TENSOR(partial), TENSOR(more), TENSOR(y), int groups)
{
    exact sum = EXACT_ZERO;
    if (get_global_id(0) != 0) return;
    for (int i = 0; i < groups; i++) sum = exact_join(sum, ((global const exact *)RAW(partial))[i]);
    F(y)[0] = exact_value(sum, THERE(more) ? F(more)[0] : 0.0f);
}

/* hyper: lr, beta1, beta2, eps, weight decay, 1 - beta1^t, 1 - beta2^t, factor of the gradient */
kernel GROUP void adamw(TENSOR(p), TENSOR(g), TENSOR(m), TENSOR(v), TENSOR(hyper), TENSOR(p_out), TENSOR(m_out), TENSOR(v_out), long n, int decay)
{
    const long i = get_global_id(0);
    if (i >= n) return;
    global const float *h = F(hyper);
    const float keep = decay ? 1.0f - h[0] * h[4] : 1.0f, grad = F(g)[i] * h[7];
    const float first = h[1] * F(m)[i] + (1.0f - h[1]) * grad, second = h[2] * F(v)[i] + (1.0f - h[2]) * grad * grad;
    const float param = F(p)[i] * keep - h[0] * (first / h[5]) / (sqrt(second / h[6]) + h[3]);
    if (THERE(p_out)) F(p_out)[i] = param;
    if (THERE(m_out)) F(m_out)[i] = first;
    if (THERE(v_out)) F(v_out)[i] = second;
}

/* rounds x 32 fused multiply-adds of a vector an item, none of which can be left out: eight sums at a time, as a unit has several on their way. */
#if CPU
typedef float16 wide_vector;
#define TOTAL(v) dot(v.s0123 + v.s4567 + v.s89ab + v.scdef, (float4)(1.0f))
#define MULTIPLY_ADD fma
#else
typedef float4 wide_vector;
#define TOTAL(v) dot(v, (float4)(1.0f))
#define MULTIPLY_ADD mad
#endif
#define EACH(x) x(a, 0.1f) x(b, 0.2f) x(c, 0.3f) x(d, 0.4f) x(e, 0.5f) x(f, 0.6f) x(g, 0.7f) x(h, 0.8f)
#define BEGIN(v, from) wide_vector v = (wide_vector)(seed + from);
#define STEP(v, from) v = MULTIPLY_ADD(v, by, add);
kernel GROUP void peak(TENSOR(y), int rounds)
{
    const float seed = (float)get_local_id(0) * 1e-6f;
    const wide_vector by = (wide_vector)(0.999f), add = (wide_vector)(1e-3f);
    EACH(BEGIN)
    for (int i = 0; i < 4 * rounds; i++) {
        EACH(STEP)
    }
    const wide_vector all = a + b + c + d + e + f + g + h;
    F(y)[get_global_id(0)] = TOTAL(all);
}
