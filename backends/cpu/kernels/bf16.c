/* bf16.c - matrix products of numbers rounded to bf16, summed in f32 (AVX512_BF16's dot product of pairs). A panel holds pairs of k:
 *
 *   B [k / 2][NR][2]     A [k / 2][MR][2]     acc[i][j] += a[i][2p] b[2p][j] + a[i][2p + 1] b[2p + 1][j]
 *
 * Rounding is to nearest even, while packing. An odd k ends with a zero. Operands in f32 and bf16 are packed directly, others by way of f32. */
#include "gemm.h"

#if defined(__AVX512BF16__)

enum { PAIRS = 16,    /* in a vector */
       AHEAD = 128 }; /* elements that packing along lines asks for in advance */

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

/* `lines` (<= width) lines of k elements, line l at element o + l * ld; missing lines are zeros. */
INLINE void pack_lines(const void *x, int64_t o, int64_t ld, graft_dtype t, int64_t lines, int64_t k, uint32_t *out, int width)
{
    const int64_t bytes = t == GRAFT_BF16 ? 2 : 4;
    for (int first = 0; first < width; first += PAIRS) {
        const int64_t here = least(PAIRS, lines - first), keep = least(PAIRS, width - first);
        for (int64_t p = 0; p < k; p += 32) {
            const int64_t n = least(32, k - p), pairs = (n + 1) / 2;
            vf r[VW];
            for (int64_t i = 0; i < here; i++) __builtin_prefetch((const char *)x + bytes * (o + (first + i) * ld + p + AHEAD));
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
INLINE void pack_rows(const void *x, int64_t o, int64_t ld, graft_dtype t, int64_t lines, int64_t k, uint32_t *out, int width)
{
    for (int64_t p = 0; p < k; p += 2, out += width)
        for (int first = 0; first < width; first += PAIRS) keep_pairs(out + first, row_pair(x, o + p * ld + first, ld, most(0, lines - first), p + 1 < k, t), width - first);
}

#define PACK_TYPED(name, type, width)                                                                                                      \
    static __attribute__((noinline)) void name(const void *x, int64_t o, int64_t ld, int by_rows, int64_t lines, int64_t k, uint32_t *out) \
    {                                                                                                                                      \
        if (by_rows) pack_rows(x, o, ld, type, lines, k, out, width);                                                                      \
        else pack_lines(x, o, ld, type, lines, k, out, width);                                                                             \
    }
PACK_TYPED(b_of_f32, GRAFT_F32, NR)
PACK_TYPED(b_of_bf16, GRAFT_BF16, NR)
PACK_TYPED(a_of_f32, GRAFT_F32, MR)
PACK_TYPED(a_of_bf16, GRAFT_BF16, MR)

/* Does each product that reaches k0 .. k0 + kc begin with a pair there? Else pairs would straddle two of them. */
static int paired(const gemm *g, int64_t k0, int64_t kc)
{
    int64_t begin = 0;
    for (int i = 0; i < g->terms; begin += g->t[i++].k)
        if (begin > k0 && begin < k0 + kc && (begin - k0) % 2) return 0;
    return 1;
}

static int plain(graft_dtype t) { return t == GRAFT_F32 || t == GRAFT_BF16; }

/* An f32 panel [k][width] to pairs. */
INLINE void pair_up(const float *from, int64_t k, uint32_t *out, int width)
{
    for (int64_t p = 0; p < k; p += 2, out += width)
        for (int first = 0; first < width; first += PAIRS) keep_pairs(out + first, row_pair(from, p * width + first, width, width - first, p + 1 < k, GRAFT_F32), width - first);
}

static int64_t b_bytes(int64_t k) { return (k + 1) / 2 * NR * 4; }
static int64_t a_bytes(int64_t k) { return (k + 1) / 2 * MR * 4; }

static void pack_b(const gemm *g, float alpha, int64_t j, int64_t k0, int64_t kc, int64_t n_end, void *out, float *spare)
{
    if (!paired(g, k0, kc)) {
        K(pack_b_panel)
        (g, alpha, j, k0, kc, n_end, spare);
        pair_up(spare, kc, out, NR);
        return;
    }
    int64_t begin = 0;
    for (int i = 0; i < g->terms; begin += g->t[i++].k) {
        const term *t = &g->t[i];
        const int64_t from = most(k0, begin), k = least(k0 + kc, begin + t->k) - from, row = from - begin;
        if (k <= 0) continue;
        uint32_t *to = (uint32_t *)out + (from - k0) / 2 * NR;
        if (plain(t->tb) && t->alpha == alpha) {
            (t->tb == GRAFT_F32 ? b_of_f32 : b_of_bf16)(t->b, t->trans_b ? j * t->ldb + row : row * t->ldb + j, t->ldb, !t->trans_b, least(NR, n_end - j), k, to);
            continue;
        }
        const gemm one = {.m = g->m, .n = g->n, .terms = 1, .t = {*t}};
        K(pack_b_panel)
        (&one, alpha, j, row, k, n_end, spare);
        pair_up(spare, k, to, NR);
    }
}

static void pack_a(const gemm *g, int64_t i0, int64_t i1, int64_t k0, int64_t kc, void *out, float *spare)
{
    if (!paired(g, k0, kc)) {
        K(pack_a_panel)
        (g, i0, i1, k0, kc, spare);
        pair_up(spare, kc, out, MR);
        return;
    }
    int64_t begin = 0;
    for (int i = 0; i < g->terms; begin += g->t[i++].k) {
        const term *t = &g->t[i];
        const int64_t from = most(k0, begin), k = least(k0 + kc, begin + t->k) - from, row = from - begin;
        if (k <= 0) continue;
        uint32_t *to = (uint32_t *)out + (from - k0) / 2 * MR;
        if (plain(t->ta)) {
            (t->ta == GRAFT_F32 ? a_of_f32 : a_of_bf16)(t->a, t->trans_a ? row * t->lda + i0 : i0 * t->lda + row, t->lda, t->trans_a, least(MR, i1 - i0), k, to);
            continue;
        }
        const gemm one = {.m = g->m, .n = g->n, .terms = 1, .t = {*t}};
        K(pack_a_panel)
        (&one, i0, i1, row, k, spare);
        pair_up(spare, k, to, MR);
    }
}

INLINE void multiply(int rows, int valid, int64_t n, int64_t pairs, const uint32_t *a, const uint32_t *b, float alpha, float *c, int64_t ldc, const float *base, int64_t ldbase)
{
    vf acc[MR][NV] = {{{0}}};
    for (int64_t p = 0; p < pairs; p++, a += MR, b += NR) {
        __m512bh row[NV];
        UNROLL for (int j = 0; j < NV; j++) row[j] = (__m512bh)_mm512_loadu_si512(b + j * PAIRS);
        UNROLL for (int i = 0; i < MR; i++)
        {
            if (i >= rows) continue;
            const __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[i]);
            UNROLL for (int j = 0; j < NV; j++) acc[i][j] = (vf)_mm512_dpbf16_ps((__m512)acc[i][j], x, row[j]);
        }
    }
    tile_finish(rows, valid, n, acc, alpha, c, ldc, base, ldbase);
}

static __attribute__((noinline)) void column(const gemm *g, float alpha, int64_t i0, int64_t i1, int64_t j, int64_t n, int64_t kc, const void *a_, const void *b, int first)
{
    const float *base = first ? g->base : g->c;
    const uint32_t *a = a_;
    const int64_t ldbase = first ? g->ldbase : g->ldc, pairs = (kc + 1) / 2;
    for (int64_t i = i0; i < i1; i += MR, a += pairs * MR) {
        const int valid = (int)least(MR, i1 - i);
        float *c = g->c + i * g->ldc + j;
        const float *to_add = base ? base + i * ldbase + j : NULL;
        if (valid > 2 * MR_STEP) multiply(MR, valid, n, pairs, a, b, alpha, c, g->ldc, to_add, ldbase);
        else if (valid > MR_STEP) multiply(2 * MR_STEP, valid, n, pairs, a, b, alpha, c, g->ldc, to_add, ldbase);
        else multiply(MR_STEP, valid, n, pairs, a, b, alpha, c, g->ldc, to_add, ldbase);
    }
}

static const arithmetic bf16 = {.nr = NR, .k_most = 2 * KC_MOST, .b_bytes = b_bytes, .a_bytes = a_bytes, .pack_b = pack_b, .pack_a = pack_a, .column = column};
const arithmetic *const K(arithmetic_bf16) = &bf16;

#else

const arithmetic *const K(arithmetic_bf16) = NULL;

#endif
