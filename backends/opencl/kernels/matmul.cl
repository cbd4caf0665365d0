/* matmul.cl - y = alpha op(a) op(w) + c, tiled. CPU 1: one work item a group, see below. Else: a group of SIDE x SIDE items makes a tile of 4 SIDE x 4 SIDE results, each item 4 x 4 of them, from tiles
 * of a and w in local memory, which are read in vectors of four along whichever axis is contiguous. */
#if !CPU
#define TILE (4 * SIDE)
#define DEPTH 16

float4 get4(global const uchar *p, int dtype, long i, long left)
{
    if (dtype == F32 && left >= 4) return vload4(0, (global const float *)p + i);
    float4 v = (float4)(0.0f);
    if (left > 0) v.s0 = get(p, dtype, i);
    if (left > 1) v.s1 = get(p, dtype, i + 1);
    if (left > 2) v.s2 = get(p, dtype, i + 2);
    if (left > 3) v.s3 = get(p, dtype, i + 3);
    return v;
}

/* Rows r0 .. of a matrix of R rows and K columns into tile[k][r], up to column end; along: its memory runs along k, else along r. Outside it is 0. */
void load(local float *tile, global const uchar *p, int dtype, long base, long R, long K, long end, long r0, long k0, int along, int me)
{
    for (int g = me; g < TILE * DEPTH / 4; g += SIDE * SIDE) {
        if (along) {
            const int r = g / (DEPTH / 4), k = g % (DEPTH / 4) * 4;
            const float4 v = r0 + r < R ? get4(p, dtype, base + (r0 + r) * K + k0 + k, end - k0 - k) : (float4)(0.0f);
            tile[k * (TILE + 4) + r] = v.s0;
            tile[(k + 1) * (TILE + 4) + r] = v.s1;
            tile[(k + 2) * (TILE + 4) + r] = v.s2;
            tile[(k + 3) * (TILE + 4) + r] = v.s3;
        } else {
            const int k = g / (TILE / 4), r = g % (TILE / 4) * 4;
            const float4 v = k0 + k < end ? get4(p, dtype, base + (k0 + k) * R + r0 + r, R - r0 - r) : (float4)(0.0f);
            vstore4(v, 0, tile + k * (TILE + 4) + r);
        }
    }
}

/* inner: size of the second leading axis; lead: strides of the two leading axes of a and w. Part p of the sum over K is batch b's result p * batches + b. */
kernel __attribute__((reqd_work_group_size(SIDE, SIDE, 1))) void gemm(TENSOR(a), TENSOR(w), TENSOR(c), TENSOR(y), int ta, int tb, int a_type, int w_type, long M, long N,
                                                                      long K, float alpha, long inner, long4 lead, int parts)
{
    local float sa[DEPTH * (TILE + 4)], sw[DEPTH * (TILE + 4)];
    const int lx = get_local_id(0), ly = get_local_id(1), me = ly * SIDE + lx;
    const long n0 = (long)get_group_id(0) * TILE, m0 = (long)get_group_id(1) * TILE, slab = get_group_id(2), batches = get_num_groups(2) / parts, batch = slab % batches;
    const long each = (K + parts - 1) / parts, k_from = slab / batches * each, k_end = min(K, k_from + each);
    const long a_base = batch / inner * lead.s0 + batch % inner * lead.s1, w_base = batch / inner * lead.s2 + batch % inner * lead.s3;
    float4 r0 = (float4)(0.0f), r1 = r0, r2 = r0, r3 = r0;
    for (long k0 = k_from; k0 < k_end; k0 += DEPTH) {
        load(sa, RAW(a), a_type, a_base, M, K, k_end, m0, k0, !ta, me);
        load(sw, RAW(w), w_type, w_base, N, K, k_end, n0, k0, tb, me);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < DEPTH; k++) {
            const float4 u = vload4(0, sa + k * (TILE + 4) + 4 * ly), v = vload4(0, sw + k * (TILE + 4) + 4 * lx);
            r0 += u.s0 * v;
            r1 += u.s1 * v;
            r2 += u.s2 * v;
            r3 += u.s3 * v;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const float4 rows[4] = {r0, r1, r2, r3};
    const long col = n0 + 4 * lx;
    for (int i = 0; i < 4; i++) {
        const long row = m0 + 4 * ly + i, at = (slab * M + row) * N + col;
        if (row >= M || col >= N) continue;
        float4 v = alpha * rows[i];
        if (col + 4 <= N) {
            if (THERE(c)) v += vload4(0, F(c) + at);
            vstore4(v, 0, F(y) + at);
        } else {
            F(y)[at] = v.s0 + (THERE(c) ? F(c)[at] : 0.0f);
            if (col + 1 < N) F(y)[at + 1] = v.s1 + (THERE(c) ? F(c)[at + 1] : 0.0f);
            if (col + 2 < N) F(y)[at + 2] = v.s2 + (THERE(c) ? F(c)[at + 2] : 0.0f);
        }
    }
}

#else
/* A processor: one item makes a tile of ROWS x COLS from panels that it packs into local memory, DEPTH of K at a time, in vectors of 16 numbers. */
#define ROWS 64
#define COLS 32
#define DEPTH 256

/* Rows r0 .. of a matrix of R rows and K columns to panel[k][r]; along: its memory runs along k, else along r. Outside it is 0. */
void pack(local float *panel, int width, global const uchar *p, int dtype, long base, long R, long K, long r0, long k0, int depth, int along)
{
    const long row_step = along ? K : 1, k_step = along ? 1 : R;
    const int inside = (int)min((long)width, R - r0);
    global const float *f = (global const float *)p + base + r0 * row_step + k0 * k_step;
    for (int r = 0; r < width; r++) {
        for (int k = 0; k < depth; k++) {
            const long at = r * row_step + k * k_step;
            panel[k * width + r] = r >= inside ? 0.0f : dtype == F32 ? f[at] : get(p, dtype, base + r0 * row_step + k0 * k_step + at);
        }
    }
}

#define ROW(i) \
    u##i = fma((float16)(from[i]), w0, u##i); \
    v##i = fma((float16)(from[i]), w1, v##i);
#define START(i) float16 u##i = vload16(0, out + i * COLS), v##i = vload16(1, out + i * COLS);
#define STOP(i) \
    vstore16(u##i, 0, out + i * COLS); \
    vstore16(v##i, 1, out + i * COLS);
#define EIGHT(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7)

kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm(TENSOR(a), TENSOR(w), TENSOR(c), TENSOR(y), int ta, int tb, int a_type, int w_type, long M, long N, long K,
                                                                float alpha, long inner, long4 lead, int parts)
{
    local float pa[DEPTH * ROWS], pw[DEPTH * COLS], sum[ROWS * COLS];
    const long n0 = (long)get_group_id(0) * COLS, m0 = (long)get_group_id(1) * ROWS, slab = get_group_id(2), batches = get_num_groups(2) / parts, batch = slab % batches;
    const long each = (K + parts - 1) / parts, k_from = slab / batches * each, k_end = min(K, k_from + each);
    const long a_base = batch / inner * lead.s0 + batch % inner * lead.s1, w_base = batch / inner * lead.s2 + batch % inner * lead.s3;
    const int rows = (int)min((long)ROWS, M - m0), cols = (int)min((long)COLS, N - n0);
    for (int i = 0; i < ROWS * COLS; i++) sum[i] = 0.0f;
    for (long k0 = k_from; k0 < k_end; k0 += DEPTH) {
        const int depth = (int)min((long)DEPTH, k_end - k0);
        pack(pa, ROWS, RAW(a), a_type, a_base, M, K, m0, k0, depth, !ta);
        pack(pw, COLS, RAW(w), w_type, w_base, N, K, n0, k0, depth, tb);
        for (int r = 0; r < rows; r += 8) {
            local float *out = sum + r * COLS;
            EIGHT(START)
            for (int k = 0; k < depth; k++) {
                const float16 w0 = vload16(0, pw + k * COLS), w1 = vload16(1, pw + k * COLS);
                local const float *from = pa + k * ROWS + r;
                EIGHT(ROW)
            }
            EIGHT(STOP)
        }
    }
    for (int r = 0; r < rows; r++) {
        const long at = (slab * M + m0 + r) * N + n0;
        for (int j = 0; j < cols; j++) F(y)[at + j] = alpha * sum[r * COLS + j] + (THERE(c) ? F(c)[at + j] : 0.0f);
    }
}
#endif

/* y = alpha (sum of the parts [parts, n], in their order) + c. */
kernel GROUP void gemm_sum(TENSOR(pieces), TENSOR(c), TENSOR(y), long n, int parts, float alpha)
{
    const long i = get_global_id(0);
    if (i >= n) return;
    float sum = 0.0f;
    for (int p = 0; p < parts; p++) sum += F(pieces)[p * n + i];
    F(y)[i] = alpha * sum + (THERE(c) ? F(c)[i] : 0.0f);
}
