/* common.cl - in front of every family of kernels.
 *   F64     1: sums that must be exact are double          LANES  work items of a group          SIDE  side of matmul's square group
 *   CPU     1: matmul for a processor
 * A tensor is two arguments, its buffer and its offset in bytes; offset -1: the tensor is absent. */
#if F64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
typedef double wide;
#else
typedef float wide;
#endif

#define TENSOR(x) global uchar *x##_, const long x##_at
#define F(x) ((global float *)(x##_ + x##_at))
#define I(x) ((global int *)(x##_ + x##_at))
#define RAW(x) (x##_ + x##_at)
#define THERE(x) (x##_at >= 0)
#define GROUP __attribute__((reqd_work_group_size(LANES, 1, 1)))
#define COMPLAINT global int *complaint, const int step

enum { F32 = 1, BF16 = 2, F16 = 3, I32 = 4, NF4 = 6, Q4_0 = 7, Q4_1 = 8, Q8_0 = 9, NF4_DOUBLE = 10, INT8 = 11 };
enum { BAD_ROW = 1, BAD_LABEL, BAD_BORDER, BAD_CACHE, BAD_ORDER, BAD_EXPERT };

/* The first complaint stays. */
void complain(global int *complaint, int step, int code, int a, int b, int c, int d, int e)
{
    if (atomic_cmpxchg((volatile global int *)complaint, 0, code) != 0) return;
    complaint[1] = step, complaint[2] = a, complaint[3] = b, complaint[4] = c, complaint[5] = d, complaint[6] = e;
}

float half_at(global const uchar *p) { return vload_half(0, (global const half *)p); }

/* graft/packed.h in OpenCL: the sixteen values of NF4, the map of its scales in 8 bits (here the positive half), and element i. */
constant float nf4_value[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f,
};
constant float scale_map[127] = {
    5.5000004e-7f, 3.2500002e-6f, 7.75e-6f, 2.1249998e-5f, 4.375e-5f, 6.625e-5f, 8.875e-5f, 0.00015625001f, 0.00026875004f, 0.00038125002f,
    0.00049375003f, 0.0006062501f, 0.00071875006f, 0.00083125f, 0.0009437501f, 0.0012812499f, 0.00184375f, 0.00240625f, 0.00296875f, 0.0035312497f,
    0.00409375f, 0.0046562497f, 0.0052187503f, 0.00578125f, 0.00634375f, 0.00690625f, 0.00746875f, 0.00803125f, 0.00859375f, 0.009156249f,
    0.00971875f, 0.01140625f, 0.01421875f, 0.01703125f, 0.019843752f, 0.02265625f, 0.02546875f, 0.028281251f, 0.03109375f, 0.03390625f, 0.036718752f,
    0.03953125f, 0.042343747f, 0.04515625f, 0.04796875f, 0.05078125f, 0.05359375f, 0.05640625f, 0.059218753f, 0.06203125f, 0.06484375f, 0.067656256f,
    0.070468746f, 0.07328125f, 0.07609375f, 0.07890625f, 0.08171876f, 0.08453125f, 0.08734375f, 0.09015625f, 0.092968754f, 0.09578126f, 0.09859375f,
    0.107031256f, 0.12109375f, 0.13515624f, 0.14921875f, 0.16328125f, 0.17734376f, 0.19140625f, 0.20546874f, 0.21953125f, 0.23359375f, 0.24765624f,
    0.26171875f, 0.27578127f, 0.28984374f, 0.30390626f, 0.31796873f, 0.33203125f, 0.34609374f, 0.36015624f, 0.37421876f, 0.38828123f, 0.40234375f,
    0.41640624f, 0.43046874f, 0.44453126f, 0.45859373f, 0.47265625f, 0.4867187f, 0.50078124f, 0.5148437f, 0.5289062f, 0.54296875f, 0.5570313f,
    0.5710938f, 0.58515626f, 0.5992187f, 0.61328125f, 0.6273438f, 0.6414063f, 0.65546876f, 0.6695312f, 0.68359375f, 0.6976563f, 0.7117188f,
    0.72578126f, 0.7398437f, 0.75390625f, 0.7679688f, 0.78203124f, 0.79609376f, 0.8101562f, 0.82421875f, 0.8382813f, 0.85234374f, 0.86640626f,
    0.8804687f, 0.89453125f, 0.9085938f, 0.92265624f, 0.93671876f, 0.9507812f, 0.96484375f, 0.9789063f, 0.99296874f,
};

float packed_at(global const uchar *p, int dtype, long i)
{
#pragma OPENCL FP_CONTRACT OFF
    const int at = (int)(i & 63);
    if (dtype == INT8) {
        p += (i >> 6) * 68;
        return (float)(char)p[4 + at] * *(global const float *)p * 7.874015718698502e-3f;
    }
    float scale;
    if (dtype == NF4) {
        p += (i >> 6) * 36;
        scale = *(global const float *)p;
        p += 4;
    } else {
        const int block = (int)(i >> 6 & 255);
        p += (i >> 14) * (264 + 256 * 32);
        const int code = p[8 + block];
        const float of = code < 127 ? -scale_map[126 - code] : code == 127 ? 0.0f : code == 255 ? 1.0f : scale_map[code - 128];
        const float product = of * ((global const float *)p)[0];
        scale = product + ((global const float *)p)[1];
        p += 264 + block * 32;
    }
    return nf4_value[at & 1 ? p[at >> 1] & 15 : p[at >> 1] >> 4] * scale;
}

/* Element i of any storage type. Blocks of 32: q4_0 [f16 d][16 bytes], low halves first: (q - 8) d; q4_1 [f16 d][f16 m][16 bytes]: q d + m;
 * q8_0 [f16 d][32 signed bytes]: q d. */
float get(global const uchar *p, int dtype, long i)
{
    global const uchar *block;
    const int at = (int)(i & 31);
    switch (dtype) {
    case F32: return ((global const float *)p)[i];
    case BF16: return as_float((uint)((global const ushort *)p)[i] << 16);
    case F16: return vload_half(i, (global const half *)p);
    case I32: return (float)((global const int *)p)[i];
    case Q4_0:
        block = p + (i >> 5) * 18;
        return half_at(block) * (float)((block[2 + (at & 15)] >> (at < 16 ? 0 : 4) & 15) - 8);
    case Q4_1:
        block = p + (i >> 5) * 20;
        return half_at(block) * (float)(block[4 + (at & 15)] >> (at < 16 ? 0 : 4) & 15) + half_at(block + 2);
    case Q8_0:
        block = p + (i >> 5) * 34;
        return half_at(block) * (float)(char)block[2 + at];
    default: return packed_at(p, dtype, i);
    }
}

/* Sum and maximum over a group of a power of two of work items, in one order; the result goes to all. */
wide sum_group(wide v, local wide *room)
{
    const int me = get_local_id(0);
    room[me] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int s = LANES / 2; s > 0; s >>= 1) {
        if (me < s) room[me] += room[me + s];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    v = room[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return v;
}

float max_group(float v, local float *room)
{
    const int me = get_local_id(0);
    room[me] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int s = LANES / 2; s > 0; s >>= 1) {
        if (me < s) room[me] = fmax(room[me], room[me + s]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    v = room[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return v;
}
