/* pairs.h - numbers rounded to bf16 and laid in pairs of k, and the register tile that multiplies them (AVX512_BF16), for matmul and attention.
 *
 *   right [k / 2][ldb][2]     left a(i, pair) = a[i * ai + pair * ak], two halves     acc[i][j] += a[i][2p] b[2p][j] + a[i][2p + 1] b[2p + 1][j]
 *
 * Rounding is to nearest even, sums are f32, over pairs in ascending order. An odd k ends with a zero. */
#ifndef CPU_KERNELS_PAIRS_H
#define CPU_KERNELS_PAIRS_H

#include "gemm.h"

#if defined(__AVX512BF16__)

enum { PAIRS = 16 }; /* in a vector */

INLINE __m512i rounded(vf low, vf high) { return (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low); }

/* 32 elements from i, or the first n of them and zeros. */
INLINE __m512i elements(const void *x, int64_t i, int64_t n, graft_dtype t)
{
    if (t == GRAFT_BF16) return n >= 32 ? _mm512_loadu_si512((const uint16_t *)x + i) : _mm512_maskz_loadu_epi16((__mmask32)((1u << n) - 1u), (const uint16_t *)x + i);
    const float *f = (const float *)x + i;
    if (n >= 32) return rounded(v_load(f), v_load(f + VW));
    return n > VW ? rounded(v_load(f), v_load_n(f + VW, n - VW)) : n == VW ? rounded(v_load(f), (vf){0})
                                                                           : rounded(v_load_n(f, n), (vf){0});
}

/* 16 elements of each of two rows, side by side: a0 b0 a1 b1 ... */
INLINE __m512i zipped(__m512i both)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, both);
}

INLINE __m512i row_pair(const void *x, int64_t i, int64_t ld, int64_t n, int two, graft_dtype t)
{
    if (n <= 0) return _mm512_setzero_si512();
    if (t == GRAFT_BF16) {
        const __mmask16 some = (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1u);
        const __m256i a = _mm256_maskz_loadu_epi16(some, (const uint16_t *)x + i), b = two ? _mm256_maskz_loadu_epi16(some, (const uint16_t *)x + i + ld) : _mm256_setzero_si256();
        return zipped(_mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1));
    }
    const float *f = (const float *)x + i;
    const vf a = n >= VW ? v_load(f) : v_load_n(f, n), b = !two ? (vf){0} : n >= VW ? v_load(f + ld)
                                                                                    : v_load_n(f + ld, n);
    return zipped(rounded(a, b));
}

INLINE void keep_pairs(uint32_t *to, __m512i v, int64_t n)
{
    if (n >= PAIRS) _mm512_storeu_si512(to, v);
    else _mm512_mask_storeu_epi32(to, (__mmask16)((1u << n) - 1u), v);
}

/* `lines` (<= width) lines of k elements, line l at element o + l * ld; missing lines are zeros. ahead: elements asked for in advance, 0: none. */
INLINE void pair_lines(const void *x, int64_t o, int64_t ld, graft_dtype t, int64_t lines, int64_t k, uint32_t *out, int width, int ahead)
{
    const int64_t bytes = t == GRAFT_BF16 ? 2 : 4;
    for (int first = 0; first < width; first += PAIRS) {
        const int64_t here = least(PAIRS, lines - first), keep = least(PAIRS, width - first);
        for (int64_t p = 0; p < k; p += 32) {
            const int64_t n = least(32, k - p), pairs = (n + 1) / 2;
            vf r[VW];
            for (int64_t i = 0; ahead && i < here; i++) __builtin_prefetch((const char *)x + bytes * (o + (first + i) * ld + p + ahead));
            if (here == PAIRS && n == 32) {
                UNROLL for (int i = 0; i < PAIRS; i++) r[i] = (vf)elements(x, o + (first + i) * ld + p, 32, t);
            } else {
                for (int i = 0; i < PAIRS; i++) r[i] = i < here ? (vf)elements(x, o + (first + i) * ld + p, n, t) : (vf){0};
            }
            v_transpose(r);
            uint32_t *to = out + p / 2 * width + first;
            if (keep == PAIRS && pairs == PAIRS) {
                UNROLL for (int i = 0; i < PAIRS; i++) _mm512_storeu_si512(to + i * width, (__m512i)r[i]);
            } else {
                for (int64_t i = 0; i < pairs; i++) keep_pairs(to + i * width, (__m512i)r[i], keep);
            }
        }
    }
}

/* k rows of `lines` neighbours, row p at element o + p * ld; missing columns are zeros. */
INLINE void pair_rows(const void *x, int64_t o, int64_t ld, graft_dtype t, int64_t lines, int64_t k, uint32_t *out, int64_t width)
{
    for (int64_t p = 0; p < k; p += 2, out += width)
        for (int64_t first = 0; first < width; first += PAIRS) keep_pairs(out + first, row_pair(x, o + p * ld + first, ld, lines - first, p + 1 < k, t), width - first);
}

INLINE void pair_sum(int rows, int64_t pairs, const uint32_t *a, int64_t ai, int64_t ak, const uint32_t *b, int64_t ldb, vf acc[MR][NV])
{
    for (int64_t p = 0; p < pairs; p++, a += ak, b += ldb) {
        __m512bh row[NV];
        UNROLL for (int j = 0; j < NV; j++) row[j] = (__m512bh)_mm512_loadu_si512(b + j * PAIRS);
        UNROLL for (int i = 0; i < MR; i++)
        {
            if (i >= rows) continue;
            const __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[i * ai]);
            UNROLL for (int j = 0; j < NV; j++) acc[i][j] = (vf)_mm512_dpbf16_ps((__m512)acc[i][j], x, row[j]);
        }
    }
}

INLINE void pair_tile_rows(int rows, int valid, int64_t n, int64_t pairs, const uint32_t *a, int64_t ai, int64_t ak, const uint32_t *b, int64_t ldb, pieces more, float alpha, float *c, int64_t ldc, const float *base, int64_t ldbase)
{
    vf acc[MR][NV] = {{{0}}};
    tile_ask(valid, c, ldc, base, ldbase);
    for (int64_t p = 0; p < more.parts; p++) pair_sum(rows, pairs, a + p * more.a_next, ai, ak, b + p * more.b_next, ldb, acc);
    tile_finish(rows, valid, n, acc, alpha, c, ldc, base, ldbase);
}

/* As tile_pieces of gemm.h. */
INLINE void pair_tile(int64_t valid, int64_t n, int64_t pairs, const uint32_t *a, int64_t ai, int64_t ak, const uint32_t *b, int64_t ldb, pieces more, float alpha, float *c, int64_t ldc, const float *base, int64_t ldbase)
{
    if (valid > 2 * MR_STEP) pair_tile_rows(MR, (int)valid, n, pairs, a, ai, ak, b, ldb, more, alpha, c, ldc, base, ldbase);
    else if (valid > MR_STEP) pair_tile_rows(2 * MR_STEP, (int)valid, n, pairs, a, ai, ak, b, ldb, more, alpha, c, ldc, base, ldbase);
    else pair_tile_rows(MR_STEP, (int)valid, n, pairs, a, ai, ak, b, ldb, more, alpha, c, ldc, base, ldbase);
}

#endif
#endif
