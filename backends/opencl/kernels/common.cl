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

enum { F32 = 1, BF16 = 2, F16 = 3, I32 = 4, Q4_0 = 7, Q4_1 = 8, Q8_0 = 9 };
enum { BAD_ROW = 1, BAD_LABEL, BAD_BORDER, BAD_CACHE, BAD_ORDER, BAD_EXPERT };

/* The first complaint stays. */
void complain(global int *complaint, int step, int code, int a, int b, int c, int d, int e)
{
    if (atomic_cmpxchg((volatile global int *)complaint, 0, code) != 0) return;
    complaint[1] = step, complaint[2] = a, complaint[3] = b, complaint[4] = c, complaint[5] = d, complaint[6] = e;
}

float half_at(global const uchar *p) { return vload_half(0, (global const half *)p); }

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
    default:
        block = p + (i >> 5) * 34;
        return half_at(block) * (float)(char)block[2 + at];
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
