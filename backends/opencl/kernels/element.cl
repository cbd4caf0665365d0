/* element.cl - one work item an element: functions, broadcasting, movement, casts, random numbers, rotary positions. */

/* op: the order of the backend's table of functions (element.c). */
kernel GROUP void unary(TENSOR(x), TENSOR(y), long n, int op, float mul, float add)
{
    const long i = get_global_id(0);
    if (i >= n) return;
    const float v = F(x)[i];
    float r;
    switch (op) {
    case 0: r = -v; break;
    case 1: r = exp(v); break;
    case 2: r = log(v); break;
    case 3: r = sqrt(v); break;
    case 4: r = 1.0f / sqrt(v); break;
    case 5: r = tanh(v); break;
    case 6: r = 1.0f / (1.0f + exp(-v)); break;
    case 7: r = sin(v); break;
    case 8: r = cos(v); break;
    case 9: r = fabs(v); break;
    case 10: r = erf(v); break;
    default: r = mul * v + add; break;
    }
    F(y)[i] = r;
}

/* dims: of the result, right-aligned; sx, sy, sz: strides of the operands in elements, 0 where an axis is repeated. flat: no axis is. */
kernel GROUP void binary(TENSOR(x), TENSOR(y), TENSOR(z), TENSOR(out), long n, int op, int whole, int flat, long4 dims, long4 sx, long4 sy, long4 sz)
{
    const long i = get_global_id(0);
    if (i >= n) return;
    long ix = i, iy = i, iz = i;
    if (!flat) {
        long rest = i;
        const long c3 = rest % dims.s3;
        rest /= dims.s3;
        const long c2 = rest % dims.s2;
        rest /= dims.s2;
        const long c1 = rest % dims.s1, c0 = rest / dims.s1;
        ix = c0 * sx.s0 + c1 * sx.s1 + c2 * sx.s2 + c3 * sx.s3;
        iy = c0 * sy.s0 + c1 * sy.s1 + c2 * sy.s2 + c3 * sy.s3;
        iz = c0 * sz.s0 + c1 * sz.s1 + c2 * sz.s2 + c3 * sz.s3;
    }
    if (whole) {
        F(out)[i] = (op == 5 ? I(x)[ix] < I(y)[iy] : I(x)[ix] == I(y)[iy]) ? 1.0f : 0.0f;
        return;
    }
    const float a = F(x)[ix], b = F(y)[iy];
    float r;
    switch (op) {
    case 0: r = a + b; break;
    case 1: r = a - b; break;
    case 2: r = a * b; break;
    case 3: r = a / b; break;
    case 4: r = a < b ? b : a; break;
    case 5: r = a < b ? 1.0f : 0.0f; break;
    case 6: r = a == b ? 1.0f : 0.0f; break;
    default: r = a != 0.0f ? b : F(z)[iz]; break;
    }
    F(out)[i] = r;
}

float sigmoid_of(float x) { return 1.0f / (1.0f + exp(-x)); }
float silu_slope(float x)
{
    const float s = sigmoid_of(x);
    return s * (1.0f + x * (1.0f - s));
}
#define ROOT_2_PI 0.79788456080286536f /* sqrt(2 / pi) */
#define CUBIC 0.044715f
float gelu_of(float x, int by_tanh)
{
    if (by_tanh) return 0.5f * x * (1.0f + tanh(ROOT_2_PI * (x + CUBIC * x * x * x)));
    return 0.5f * x * erfc(-x * 0.70710678118654752f);
}
float gelu_slope(float x, int by_tanh)
{
    if (by_tanh) {
        const float t = tanh(ROOT_2_PI * (x + CUBIC * x * x * x));
        return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * ROOT_2_PI * (1.0f + 3.0f * CUBIC * x * x);
    }
    return 0.5f * erfc(-x * 0.70710678118654752f) + x * exp(-0.5f * x * x) * 0.39894228040143268f;
}

/* swiglu, its gradient, silu, its gradient, gelu, its gradient. All is read before anything is written: results may lie over operands. */
kernel GROUP void mlp(TENSOR(a), TENSOR(b), TENSOR(dy), TENSOR(out), TENSOR(out2), long n, int op, int kind)
{
    const long i = get_global_id(0);
    if (i >= n) return;
    const float x = F(a)[i], u = THERE(b) ? F(b)[i] : 0.0f, g = THERE(dy) ? F(dy)[i] : 0.0f;
    float r = 0.0f;
    switch (op) {
    case 0: r = x * sigmoid_of(x) * u; break;
    case 1: r = g * u * silu_slope(x); break;
    case 2: r = x * sigmoid_of(x); break;
    case 3: r = u * silu_slope(x); break;
    case 4: r = gelu_of(x, kind); break;
    default: r = u * gelu_slope(x, kind); break;
    }
    if (THERE(out)) F(out)[i] = r;
    if (THERE(out2)) F(out2)[i] = g * x * sigmoid_of(x);
}

/* Element c of y comes from x at begin + sum c[k] from[k]; outside [low, high) of axis `axis` it is zero, or left alone. Elements of 2 or 4 bytes. */
kernel GROUP void move(TENSOR(x), TENSOR(y), long n, int bytes, int axis, int clear, long begin, long low, long high, long4 dims, long4 from)
{
    const long i = get_global_id(0);
    if (i >= n) return;
    long rest = i;
    long c[4];
    c[3] = rest % dims.s3;
    rest /= dims.s3;
    c[2] = rest % dims.s2;
    rest /= dims.s2;
    c[1] = rest % dims.s1, c[0] = rest / dims.s1;
    const long at = begin + c[0] * from.s0 + c[1] * from.s1 + c[2] * from.s2 + c[3] * from.s3;
    const int inside = c[axis] >= low && c[axis] < high;
    if (!inside && !clear) return;
    if (bytes == 4) ((global uint *)RAW(y))[i] = inside ? ((global const uint *)RAW(x))[at] : 0u;
    else ((global ushort *)RAW(y))[i] = inside ? ((global const ushort *)RAW(x))[at] : (ushort)0;
}

void put(global uchar *p, int dtype, long i, float v)
{
    if (dtype == I32) {
        ((global int *)p)[i] = v != v ? 0 : convert_int_sat_rtz(v);
    } else if (dtype == BF16) {
        const uint u = as_uint(v);
        ((global ushort *)p)[i] = (ushort)(v != v ? u >> 16 | 64u : (u + 0x7fffu + (u >> 16 & 1u)) >> 16);
    } else if (dtype == F16) {
        vstore_half_rte(v, i, (global half *)p);
    } else {
        ((global float *)p)[i] = v;
    }
}

/* kind 0: the elements of x in another type; 1: value everywhere; 2: 0, 1, 2 ... */
kernel GROUP void cast(TENSOR(x), TENSOR(y), long n, int kind, int from, int to, float value)
{
    const long i = get_global_id(0);
    if (i >= n) return;
    if (to == I32 && (kind == 2 || (kind == 0 && from == I32))) {
        I(y)[i] = kind == 2 ? (int)i : I(x)[i];
        return;
    }
    put(RAW(y), to, i, kind == 0 ? get(RAW(x), from, i) : kind == 1 ? value : (float)i);
}

/* Philox4x32-10 on (seed, stream * golden + step, index), as graft/random.h says; 24 bits in [0, 1). */
float uniform_at(ulong seed, ulong mixed, ulong index)
{
    const ulong block = index >> 2;
    uint c0 = (uint)block, c1 = (uint)(block >> 32), c2 = (uint)mixed, c3 = (uint)(mixed >> 32), k0 = (uint)seed, k1 = (uint)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint h0 = mul_hi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0, h1 = mul_hi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
        c0 = h1 ^ c1 ^ k0, c2 = h0 ^ c3 ^ k1, c1 = l1, c3 = l0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    const uint word = (index & 3) == 0 ? c0 : (index & 3) == 1 ? c1 : (index & 3) == 2 ? c2 : c3;
    return (float)(word >> 8) * 0x1p-24f;
}

/* Without x: the numbers themselves. With x: kept and scaled where the number is >= p, else 0; outside training x as it is. */
kernel GROUP void random_fill(TENSOR(x), TENSOR(y), long n, ulong seed, ulong mixed, float p, float scale, int training)
{
    const long i = get_global_id(0);
    if (i >= n) return;
    if (!THERE(x)) F(y)[i] = uniform_at(seed, mixed, (ulong)i);
    else if (!training) F(y)[i] = F(x)[i];
    else F(y)[i] = uniform_at(seed, mixed, (ulong)i) >= p ? F(x)[i] * scale : 0.0f;
}

/* One item: pair number i of head `slot` (token * heads + head); the last items of a head copy what does not turn. */
kernel GROUP void rope(TENSOR(x), TENSOR(pos), TENSOR(freq), TENSOR(y), long n, int heads, int head, int half_turn, int mixed, float scale, float way)
{
    const long id = get_global_id(0);
    if (id >= n) return;
    const int items = head - half_turn, i = (int)(id % items);
    const long slot = id / items, base = slot * head;
    if (i >= half_turn) {
        F(y)[base + half_turn + i] = F(x)[base + half_turn + i];
        return;
    }
    const float angle = (float)I(pos)[slot / heads] * F(freq)[i];
    const long iu = base + (mixed ? 2 * i : i), iv = base + (mixed ? 2 * i + 1 : i + half_turn);
    const float u = F(x)[iu], v = F(x)[iv], co = scale * cos(angle), si = scale * way * sin(angle);
    F(y)[iu] = u * co - v * si;
    F(y)[iv] = v * co + u * si;
}
