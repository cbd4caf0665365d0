/* gemm.h - C = sum of alpha op(A) op(B) + base, and the register tile that matmul, attention and the loss are made of.
 *
 * Tile: MR rows x NR columns of C stay in registers while k runs. a(i, k) = a[i * ai + k * ak], b(k, j) = b[k * ldb + j]: where the strides are
 * constants (packed panels) they cost nothing. Each element is summed over k in ascending order by one accumulator, so its bits depend neither
 * on its place in a tile nor on how M and N were cut. */
#ifndef CPU_KERNELS_GEMM_H
#define CPU_KERNELS_GEMM_H

#include "vec.h"

#if defined(__AVX512F__)
enum { MR = 12,
       NV = 2,
       KC_MOST = 384 };
#elif defined(__AVX2__)
enum { MR = 6,
       NV = 2,
       KC_MOST = 256 };
#elif defined(__aarch64__)
enum { MR = 8,
       NV = 2,
       KC_MOST = 256 };
#else
enum { MR = 4,
       NV = 2,
       KC_MOST = 256 };
#endif
enum { NR = NV * VW,
       MR_STEP = MR >= 6 ? MR / 3 : MR / 2 };

/* One product. Several of them that go to one C are multiplied as one with their k joined: [x | h] [W | B]^T = x W^T + h B^T. */
typedef struct term {
    const void *a, *b;   /* row-major [m, k] or transposed [k, m]; [k, n] or [n, k] */
    int64_t lda, ldb, k; /* elements between rows as stored */
    graft_dtype ta, tb;
    int trans_a, trans_b;
    float alpha;
} term;

enum { TERMS = 5 };
typedef struct gemm {
    int64_t m, n;
    int terms;
    term t[TERMS];
    float *c; /* [m, n] */
    int64_t ldc;
    const float *base; /* NULL: nothing is added; may be c */
    int64_t ldbase;
} gemm;

/* How panels are packed and multiplied. k counts the joined products from 0 on; a panel begins at a multiple of 32. */
typedef struct arithmetic {
    int64_t nr, k_most;                                                                                                    /* columns of a panel; longest k of a panel: an A panel of it takes no more room than in f32 */
    int64_t (*b_bytes)(int64_t k);                                                                                         /* of a panel k long; at 32 the bytes of one element */
    int64_t (*a_bytes)(int64_t k);                                                                                         /* of MR rows */
    void (*pack_b)(const gemm *g, float alpha, int64_t j, int64_t k0, int64_t kc, int64_t n_end, void *out, float *spare); /* spare: KC_MOST * NR floats */
    void (*pack_a)(const gemm *g, int64_t i, int64_t i1, int64_t k0, int64_t kc, void *out, float *spare);
    void (*column)(const gemm *g, float alpha, int64_t i0, int64_t i1, int64_t j, int64_t n, int64_t kc, const void *a, const void *b, int first); /* rows i0 .. i1 of C, nr columns from j */
} arithmetic;
extern const arithmetic *const K(arithmetic_f32), *const K(arithmetic_bf16), *const K(arithmetic_fp16);         /* NULL: this instruction set has none */
void K(pack_b_panel)(const gemm *g, float alpha, int64_t j, int64_t k0, int64_t kc, int64_t n_end, float *out); /* in f32, [kc][NR] */
void K(pack_a_panel)(const gemm *g, int64_t i, int64_t i1, int64_t k0, int64_t kc, float *out);                 /* in f32, [kc][MR] */

void K(gemm_run)(const cpu_call *c, const gemm *g);              /* all threads */
void K(gemm_alone)(const gemm *g, char *scratch);                /* this thread; scratch as gemm_room says */
void K(gemm_room)(int64_t m, int64_t n, int64_t k, cpu_room *r); /* raises r to what gemm_run and gemm_alone need; k: of all terms */

enum { SPIN_K = 256,
       SPIN_ROWS = 4 * MR,
       GEMM_SPIN_BYTES = (2 * NR * SPIN_K + SPIN_ROWS * SPIN_K + SPIN_ROWS * 2 * NR) * 4 + 4096 };
double K(gemm_spin)(cpu_compute how, int64_t times, char *room); /* as cpu_kernels.spin */

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t round_up(int64_t a, int64_t to) { return (a + to - 1) / to * to; }

/* acc[i][j] += sum over k; rows is a constant <= MR. */
INLINE void tile_sum(int rows, int64_t k, const float *a, int64_t ai, int64_t ak, const float *b, int64_t ldb, vf acc[MR][NV])
{
    for (int64_t p = 0; p < k; p++) {
        vf row[NV];
        UNROLL for (int j = 0; j < NV; j++) row[j] = v_load(b + j * VW);
        UNROLL for (int i = 0; i < MR; i++)
        {
            if (i >= rows) continue;
            const vf x = v_set(a[i * ai]);
            UNROLL for (int j = 0; j < NV; j++) acc[i][j] = v_fma(x, row[j], acc[i][j]);
        }
        a += ak;
        b += ldb;
    }
}

/* c = alpha acc + base for `rows` x n, n <= NR. */
INLINE void tile_write(int rows, int64_t n, vf acc[MR][NV], float alpha, float *c, int64_t ldc, const float *base, int64_t ldbase)
{
    const vf by = v_set(alpha);
    UNROLL for (int i = 0; i < MR; i++)
    {
        if (i >= rows) continue;
        UNROLL for (int j = 0; j < NV; j++)
        {
            const int64_t left = n - j * VW;
            if (left >= VW) {
                v_store(c + i * ldc + j * VW, base ? v_fma(by, acc[i][j], v_load(base + i * ldbase + j * VW)) : by * acc[i][j]);
            } else if (left > 0) {
                v_store_n(c + i * ldc + j * VW, base ? v_fma(by, acc[i][j], v_load_n(base + i * ldbase + j * VW, left)) : by * acc[i][j], left);
            }
        }
    }
}

/* The first `valid` of `rows` rows of a tile. */
INLINE void tile_finish(int rows, int valid, int64_t n, vf acc[MR][NV], float alpha, float *c, int64_t ldc, const float *base, int64_t ldbase)
{
    if (valid == rows) {
        if (n == NR) tile_write(rows, NR, acc, alpha, c, ldc, base, ldbase);
        else tile_write(rows, n, acc, alpha, c, ldc, base, ldbase);
        return;
    }
    float out[MR * NR];
    tile_write(rows, NR, acc, 1.0f, out, NR, NULL, 0);
    for (int i = 0; i < valid; i++)
        for (int64_t j = 0; j < n; j++) {
            float *to = c + i * ldc + j;
            *to = base ? v_fma(v_set(alpha), v_set(out[i * NR + j]), v_set(base[i * ldbase + j]))[0] : alpha * out[i * NR + j];
        }
}

/* Asks for the lines of C that a tile will read or write when its sum is done. */
INLINE void tile_ask(int valid, float *c, int64_t ldc, const float *base, int64_t ldbase)
{
#if !defined(__AVX2__) /* a plain processor's tile is read in a moment */
    (void)valid, (void)c, (void)ldc, (void)base, (void)ldbase;
    return;
#endif
    for (int i = 0; i < valid; i++) {
        UNROLL for (int j = 0; j < NR; j += 16)
        {
            if (base) __builtin_prefetch(base + i * ldbase + j);
            if (base != c) __builtin_prefetch(c + i * ldc + j, 1);
        }
    }
}

/* The sum over k in `parts` pieces: piece p at a + p * a_next, b + p * b_next. */
typedef struct pieces {
    int64_t parts, a_next, b_next;
} pieces;

INLINE void tile_rows(int rows, int valid, int64_t n, int64_t k, const float *a, int64_t ai, int64_t ak, const float *b, int64_t ldb, pieces more, float alpha, float *c, int64_t ldc, const float *base, int64_t ldbase)
{
    vf acc[MR][NV] = {{{0}}};
    tile_ask(valid, c, ldc, base, ldbase);
    tile_sum(rows, k, a, ai, ak, b, ldb, acc);
    for (int64_t p = 1; p < more.parts; p++) tile_sum(rows, k, a + p * more.a_next, ai, ak, b + p * more.b_next, ldb, acc);
    tile_finish(rows, valid, n, acc, alpha, c, ldc, base, ldbase);
}

/* One tile of `valid` <= MR rows; a must hold a multiple of MR_STEP rows (what pads them may be anything: it is not written). */
INLINE void tile_pieces(int64_t valid, int64_t n, int64_t k, const float *a, int64_t ai, int64_t ak, const float *b, int64_t ldb, pieces more, float alpha, float *c, int64_t ldc, const float *base, int64_t ldbase)
{
    if (valid > 2 * MR_STEP) tile_rows(MR, (int)valid, n, k, a, ai, ak, b, ldb, more, alpha, c, ldc, base, ldbase);
    else if (valid > MR_STEP) tile_rows(2 * MR_STEP, (int)valid, n, k, a, ai, ak, b, ldb, more, alpha, c, ldc, base, ldbase);
    else tile_rows(MR_STEP, (int)valid, n, k, a, ai, ak, b, ldb, more, alpha, c, ldc, base, ldbase);
}

INLINE void tile(int64_t valid, int64_t n, int64_t k, const float *a, int64_t ai, int64_t ak, const float *b, int64_t ldb, float alpha, float *c, int64_t ldc, const float *base, int64_t ldbase)
{
    tile_pieces(valid, n, k, a, ai, ak, b, ldb, (pieces){1, 0, 0}, alpha, c, ldc, base, ldbase);
}

#endif
