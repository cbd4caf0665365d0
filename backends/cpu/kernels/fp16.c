/* fp16.c - matrix products by fp16 fused multiply-add (AVX512_FP16), spilled into f32 every SPILL steps of k:
 *
 *   B  columns' inverse scales [nr], then [k][nr] halves, nr = 2 NR
 *   A  rows' inverse scales [16], then [k][MR] halves, each twice: a 32-bit broadcast needs only a load
 *   every SPILL of k:  sum[i][j] += (float) acc[i][j]       at the end:  c = alpha sum / (scale a[i] scale b[j]) + base
 *
 * Each row of A and column of B is scaled by the power of two that brings its largest number into [8, 16): SPILL products stay below 65504, and what is
 * 2^17 times smaller than the largest still has all its bits. Infinities and nans pass.
 * Without the hardware the file is empty, but for FP16_MODEL: the same code with lanes of float that are rounded to halves after each operation, for tests
 * and, in vectors, for training runs that show what fp16 does (plugin.cmake: GRAFT_FP16_MODEL). */
#include "gemm.h"

#if defined(__AVX512FP16__) || defined(FP16_MODEL)

enum { LANES = 2 * VW,
       NH = 2 * NR,
       SPILL = 64,
       TOP = 3,     /* largest numbers lie in 2^TOP .. 2^(TOP + 1) */
       A_HEAD = 64, /* bytes */
       B_HEAD = NH * 4 };
_Static_assert((int)MR <= 16, "a row's scale each");

#if defined(__AVX512FP16__)
typedef __m512h vh;
INLINE vh h_zero(void) { return _mm512_setzero_ph(); }
INLINE vh h_load(const uint16_t *p) { return _mm512_loadu_ph(p); }
INLINE vh h_pair(uint32_t twice) { return (vh)_mm512_set1_epi32((int)twice); }
INLINE vh h_fma(vh a, vh b, vh c) { return _mm512_fmadd_ph(a, b, c); }
INLINE vf h_part(vh a, int part) { return (vf)_mm512_cvtph_ps(part ? _mm512_extracti64x4_epi64((__m512i)a, 1) : _mm512_castsi512_si256((__m512i)a)); }
INLINE void h_keep(uint16_t *to, vf v) { _mm256_storeu_si256((__m256i *)(void *)to, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT)); }
#elif defined(__AVX512F__)
typedef struct vh {
    __m512 x[2];
} vh;
INLINE __m512 h_rounded(__m512 x) { return _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT)); }
INLINE vh h_zero(void) { return (vh){{_mm512_setzero_ps(), _mm512_setzero_ps()}}; }
INLINE vh h_load(const uint16_t *p)
{
    return (vh){{_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)), _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p + VW)))}};
}
INLINE vh h_pair(uint32_t twice)
{
    const __m512 x = _mm512_cvtph_ps(_mm256_set1_epi32((int)twice));
    return (vh){{x, x}};
}
INLINE vh h_fma(vh a, vh b, vh c) { return (vh){{h_rounded(_mm512_fmadd_ps(a.x[0], b.x[0], c.x[0])), h_rounded(_mm512_fmadd_ps(a.x[1], b.x[1], c.x[1]))}}; }
INLINE vf h_part(vh a, int part) { return (vf)a.x[part]; }
INLINE void h_keep(uint16_t *to, vf v) { _mm256_storeu_si256((__m256i *)(void *)to, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT)); }
#else
INLINE uint16_t half_of(float f)
{
    union {
        float f;
        uint32_t u;
    } x = {f};
    const uint32_t sign = x.u >> 16 & 0x8000, size = x.u & 0x7fffffff;
    if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    if (size < 0x38800000) { /* below 2^-14: a multiple of 2^-24, rounded by an addition */
        x.u = size;
        x.f += 0.5f;
        return (uint16_t)(sign | (x.u - 0x3f000000));
    }
    return (uint16_t)(sign | (((size + 0xfff + (size >> 13 & 1)) >> 13) - 0x1c000));
}

typedef struct vh {
    float x[LANES];
} vh;
INLINE vh h_zero(void) { return (vh){{0}}; }
INLINE vh h_load(const uint16_t *p)
{
    vh v;
    for (int i = 0; i < LANES; i++) v.x[i] = half_to_float(p[i]);
    return v;
}
INLINE vh h_pair(uint32_t twice)
{
    vh v;
    for (int i = 0; i < LANES; i++) v.x[i] = half_to_float((uint16_t)(i % 2 ? twice >> 16 : twice));
    return v;
}
INLINE vh h_fma(vh a, vh b, vh c)
{
    for (int i = 0; i < LANES; i++) c.x[i] = half_to_float(half_of((float)((double)a.x[i] * (double)b.x[i] + (double)c.x[i])));
    return c;
}
INLINE vf h_part(vh a, int part) { return v_load(a.x + part * VW); }
INLINE void h_keep(uint16_t *to, vf v)
{
    for (int i = 0; i < VW; i++) to[i] = half_of(v[i]);
}
#endif

/* The power of two that brings `most` to 2^TOP .. 2^(TOP + 1); 1 for 0, infinity and nan. */
INLINE float scale_of(float largest)
{
    union {
        float f;
        uint32_t u;
    } x = {largest};
    const int exponent = (int)(x.u >> 23 & 255) - 127;
    if (exponent == -127 || exponent == 128) return 1.0f;
    const int by = TOP - exponent;
    x.u = (uint32_t)(127 + (by < -120 ? -120 : by > 120 ? 120
                                                        : by))
          << 23;
    return x.f;
}

/* Scales of `width` columns of an f32 panel [k][width]; `inverse` gets 1 / scale. width: a multiple of VW, or MR. */
INLINE void column_scales(const float *from, int64_t k, int width, float *scale, float *inverse)
{
    for (int first = 0; first < width; first += VW) {
        const int64_t n = least(VW, width - first);
        vf top = {0};
        for (int64_t p = 0; p < k; p++) top = v_max(v_abs(n == VW ? v_load(from + p * width + first) : v_load_n(from + p * width + first, n)), top);
        for (int i = 0; i < (int)n; i++) {
            scale[first + i] = scale_of(top[i]);
            inverse[first + i] = 1.0f / scale[first + i];
        }
    }
}

static int64_t b_bytes(int64_t k) { return B_HEAD + k * NH * 2; }
static int64_t a_bytes(int64_t k) { return A_HEAD + k * MR * 4; }

static void pack_b(const gemm *g, float alpha, int64_t j, int64_t k0, int64_t kc, int64_t n_end, void *out, float *spare)
{
    float *inverse = out, scale[NR];
    uint16_t *to = (uint16_t *)(void *)((char *)out + B_HEAD);
    for (int half = 0; half < 2; half++) {
        K(pack_b_panel)
        (g, alpha, j + half * NR, k0, kc, n_end, spare);
        column_scales(spare, kc, NR, scale, inverse + half * NR);
        for (int64_t p = 0; p < kc; p++)
            for (int i = 0; i < NR; i += VW) h_keep(to + p * NH + half * NR + i, v_load(spare + p * NR + i) * v_load(scale + i));
    }
}

static void pack_a(const gemm *g, int64_t i0, int64_t i1, int64_t k0, int64_t kc, void *out, float *spare)
{
    float *inverse = out, scale[MR + VW] = {0};
    uint32_t *to = (uint32_t *)(void *)((char *)out + A_HEAD);
    K(pack_a_panel)
    (g, i0, i1, k0, kc, spare);
    column_scales(spare, kc, MR, scale, inverse);
    for (int64_t p = 0; p < kc; p++)
        for (int i = 0; i < MR; i += VW) { /* reads VW numbers whatever MR: the spare room is longer than the panel */
            uint16_t half[VW];
            h_keep(half, v_load(spare + p * MR + i) * v_load(scale + i));
            for (int l = 0; l < VW && i + l < MR; l++) to[p * MR + i + l] = half[l] * 0x10001u;
        }
}

/* sum [MR][NH] = A B, in f32, of scaled numbers. */
INLINE void multiply(int rows, int64_t k, const uint32_t *a, const uint16_t *b, float *sum)
{
    for (int64_t p = 0; p < k; a += SPILL * MR, b += SPILL * NH, p += SPILL) {
        vh acc[MR][NV];
        const int64_t steps = least(SPILL, k - p);
        UNROLL for (int i = 0; i < MR; i++) for (int j = 0; j < NV; j++) acc[i][j] = h_zero();
        for (int64_t q = 0; q < steps; q++) {
            vh row[NV];
            UNROLL for (int j = 0; j < NV; j++) row[j] = h_load(b + q * NH + j * LANES);
            UNROLL for (int i = 0; i < MR; i++)
            {
                if (i >= rows) continue;
                const vh x = h_pair(a[q * MR + i]);
                UNROLL for (int j = 0; j < NV; j++) acc[i][j] = h_fma(x, row[j], acc[i][j]);
            }
        }
        UNROLL for (int i = 0; i < MR; i++)
        {
            if (i >= rows) continue;
            UNROLL for (int j = 0; j < 2 * NV; j++)
            {
                float *to = sum + i * NH + j * VW;
                const vf part = h_part(acc[i][j / 2], j % 2);
                v_store(to, p ? v_load(to) + part : part);
            }
        }
    }
}

static void finish(int64_t rows, int64_t n, const float *sum, const float *inverse_a, const float *inverse_b, float alpha, float *c, int64_t ldc, const float *base, int64_t ldbase)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j += VW) {
            const int64_t left = n - j;
            const vf product = v_load(sum + i * NH + j) * v_load(inverse_b + j) * (alpha * inverse_a[i]);
            float *to = c + i * ldc + j;
            if (left >= VW) v_store(to, base ? product + v_load(base + i * ldbase + j) : product);
            else v_store_n(to, base ? product + v_load_n(base + i * ldbase + j, left) : product, left);
        }
}

static __attribute__((noinline)) void column(const gemm *g, float alpha, int64_t i0, int64_t i1, int64_t j, int64_t n, int64_t kc, const void *a_, const void *b_, int first)
{
    const float *base = first ? g->base : g->c, *inverse_b = b_;
    const uint16_t *b = (const uint16_t *)(const void *)((const char *)b_ + B_HEAD);
    const char *a = a_;
    const int64_t ldbase = first ? g->ldbase : g->ldc;
    float sum[MR * NH];
    for (int64_t i = i0; i < i1; i += MR, a += a_bytes(kc)) {
        const int64_t valid = least(MR, i1 - i);
        const uint32_t *rows = (const uint32_t *)(const void *)(a + A_HEAD);
        if (valid > 2 * MR_STEP) multiply(MR, kc, rows, b, sum);
        else if (valid > MR_STEP) multiply(2 * MR_STEP, kc, rows, b, sum);
        else multiply(MR_STEP, kc, rows, b, sum);
        finish(valid, n, sum, (const float *)(const void *)a, inverse_b, alpha, g->c + i * g->ldc + j, g->ldc, base ? base + i * ldbase + j : NULL, ldbase);
    }
}

static const arithmetic fp16 = {.nr = NH, .k_most = KC_MOST, .b_bytes = b_bytes, .a_bytes = a_bytes, .pack_b = pack_b, .pack_a = pack_a, .column = column};
const arithmetic *const K(arithmetic_fp16) = &fp16;

#else

const arithmetic *const K(arithmetic_fp16) = NULL;

#endif
