/* vec.h - one name for the vector registers of the instruction sets. VW floats a vector: 16 (AVX-512), 8 (AVX2), 4 (NEON, and any compiler
 * with vector extensions). + - * / work on vf and vi as they are; -ffp-contract=off keeps v_fma the only fused multiply-add.
 * Also K(name): the name with the instruction set appended, for what a kernel file shares with others. */
#ifndef CPU_KERNELS_VEC_H
#define CPU_KERNELS_VEC_H

#include "cpu.h"

#define K_CAT2(a, b) a##_##b
#define K_CAT(a, b)  K_CAT2(a, b)
#define K(name)      K_CAT(name, CPU_ISA)

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#if defined(__AVX512F__)
#include <immintrin.h>
enum { VW = 16 };
#elif defined(__AVX2__)
#include <immintrin.h>
enum { VW = 8 };
#else
enum { VW = 4 };
#if defined(__aarch64__)
#include <arm_neon.h>
#endif
#endif
typedef float vf __attribute__((vector_size(VW * 4)));
typedef int32_t vi __attribute__((vector_size(VW * 4)));
typedef float vf_any __attribute__((vector_size(VW * 4), aligned(4), may_alias)); /* anywhere in memory */
typedef int32_t vi_any __attribute__((vector_size(VW * 4), aligned(4), may_alias));

INLINE vf v_load(const float *p) { return (vf) * (const vf_any *)p; }
INLINE void v_store(float *p, vf v) { *(vf_any *)p = (vf_any)v; }
INLINE vi v_load_int(const int32_t *p) { return (vi) * (const vi_any *)p; }
INLINE vf v_set(float x) { return x - (vf){0}; }
INLINE vi v_set_int(int32_t x) { return x + (vi){0}; }

/* The first n elements (0 <= n < VW), zeros behind. */
INLINE vf v_load_n(const float *p, int64_t n)
{
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
#else
    vf v = {0};
    for (int64_t i = 0; i < n; i++) v[i] = p[i];
    return v;
#endif
}
INLINE void v_store_n(float *p, vf v, int64_t n)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), v);
#else
    for (int64_t i = 0; i < n; i++) p[i] = v[i];
#endif
}

INLINE vf v_fma(vf a, vf b, vf c)
{
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}
INLINE vf v_select(vi mask, vf x, vf y) { return (vf)((mask & (vi)x) | (~mask & (vi)y)); } /* mask: all ones or all zeros a lane */
INLINE vf v_max(vf a, vf b)
{
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_max_ps(a, b);
#else
    return v_select(a > b, a, b);
#endif
}
INLINE vf v_min(vf a, vf b)
{
#if defined(__AVX512F__)
    return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_min_ps(a, b);
#else
    return v_select(a < b, a, b);
#endif
}
INLINE vf v_sqrt(vf a)
{
#if defined(__AVX512F__)
    return _mm512_sqrt_ps(a);
#elif defined(__AVX2__)
    return _mm256_sqrt_ps(a);
#elif defined(__aarch64__)
    return (vf)vsqrtq_f32((float32x4_t)a);
#else
    for (int i = 0; i < VW; i++) a[i] = __builtin_sqrtf(a[i]);
    return a;
#endif
}
INLINE vf v_abs(vf a) { return (vf)((vi)a & 0x7fffffff); }
INLINE vf v_from_int(vi a) { return __builtin_convertvector(a, vf); }
INLINE vi v_to_int(vf a) { return __builtin_convertvector(a, vi); }
/* Nearest integer of |a| < 2^22, as a float: adding 1.5 * 2^23 pushes the fraction out. */
INLINE vf v_round(vf a) { return (a + 12582912.0f) - 12582912.0f; }

/* Sum and maximum of the lanes, always in the same order: halves are folded onto each other. */
#if defined(__AVX2__)
INLINE float v_sum4(__m128 v)
{
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}
INLINE float v_top4(__m128 v)
{
    v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)));
}
INLINE float v_sum8(__m256 v) { return v_sum4(_mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1))); }
INLINE float v_top8(__m256 v) { return v_top4(_mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1))); }
#endif
INLINE float v_sum(vf v)
{
#if defined(__AVX512F__)
    return v_sum8(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
#elif defined(__AVX2__)
    return v_sum8(v);
#else
    return (v[0] + v[2]) + (v[1] + v[3]);
#endif
}
INLINE float v_top(vf v)
{
#if defined(__AVX512F__)
    return v_top8(_mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
#elif defined(__AVX2__)
    return v_top8(v);
#else
    const float a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
    return a > b ? a : b;
#endif
}

/* Lane i: the sum of vector i. */
INLINE vf v_sums(const vf *r)
{
#if defined(__AVX512F__)
    __m512 a[8], b[4], c[2];
    UNROLL for (int i = 0; i < 8; i++) a[i] = _mm512_add_ps(_mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]), _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]));
    UNROLL for (int i = 0; i < 4; i++)
    {
        const __m512d x = _mm512_castps_pd(a[2 * i]), y = _mm512_castps_pd(a[2 * i + 1]);
        b[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    }
    UNROLL for (int i = 0; i < 2; i++) c[i] = _mm512_add_ps(_mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0x88), _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(c[0], c[1], 0x88), _mm512_shuffle_f32x4(c[0], c[1], 0xdd));
#else
    float x[VW];
    for (int i = 0; i < VW; i++) x[i] = v_sum(r[i]);
    return v_load(x);
#endif
}

/* ---- stored types read as f32: f32, bf16, f16, and GGUF's blocks. Elements are counted from p, which begins with a whole block ---- */
INLINE float half_to_float(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 1023;
    union {
        uint32_t u;
        float f;
    } x;
    if (exponent == 0) {
        x.f = (float)fraction * 0x1p-24f;
        x.u |= sign;
    } else {
        x.u = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    }
    return x.f;
}
/* GGUF blocks of 32 elements: a f16 scale d, with Q4_1 a f16 minimum m, then the numbers q. Element j < 16 of a Q4 block is the low half of
 * byte j, element 16 + j the high half. Q4_0: (q - 8) d; Q4_1: q d + m; Q8_0: q d with q signed bytes. */
INLINE int64_t stored_bytes(graft_dtype t, int64_t n) /* n: whole blocks */
{
    return t == GRAFT_F32 ? 4 * n : t == GRAFT_Q4_0  ? n / 32 * 18
                                : t == GRAFT_Q4_1    ? n / 32 * 20
                                : t == GRAFT_Q8_0    ? n / 32 * 34
                                : graft_is_packed(t) ? graft_packed_bytes(t, n)
                                                     : 2 * n;
}
INLINE int is_blocks(graft_dtype t) { return t == GRAFT_Q4_0 || t == GRAFT_Q4_1 || t == GRAFT_Q8_0 || graft_is_packed(t); }
INLINE float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
#if defined(__AVX2__)
    return _cvtsh_ss(h);
#else
    return half_to_float(h);
#endif
}
INLINE float block_scalar(const void *p, int64_t i, graft_dtype t)
{
    if (graft_is_packed(t)) return graft_packed_at(p, i, t);
    const uint8_t *b = (const uint8_t *)p + stored_bytes(t, i / 32 * 32);
    const int64_t j = i % 32;
    if (t == GRAFT_Q8_0) return (float)(int8_t)b[2 + j] * half_at(b);
    const uint8_t byte = b[(t == GRAFT_Q4_1 ? 4 : 2) + j % 16];
    const float q = (float)(j < 16 ? byte & 15 : byte >> 4);
    return t == GRAFT_Q4_1 ? q * half_at(b) + half_at(b + 2) : (q - 8.0f) * half_at(b);
}
#if defined(__AVX2__)
/* Elements i .. i + VW of graft/packed.h's blocks, i a multiple of VW. */
INLINE vf packed_vector(const void *p, int64_t i, graft_dtype t)
{
    float scale;
    const int64_t j = i % GRAFT_PACKED_BLOCK;
    const uint8_t *q = graft_packed_block(p, i, t, &scale) + (t == GRAFT_INT8 ? j : j / 2);
#if defined(__AVX512F__)
    if (t == GRAFT_INT8) return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)q))) * scale * GRAFT_INT8_UNIT;
    const __m128i b = _mm_loadl_epi64((const __m128i *)(const void *)q), low = _mm_set1_epi8(15);
    const __m128i codes = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(b, 4), low), _mm_and_si128(b, low));
    return _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(codes), _mm512_loadu_ps(graft_nf4_value)) * scale;
#else
    if (t == GRAFT_INT8) return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)q))) * scale * GRAFT_INT8_UNIT;
    int32_t word;
    memcpy(&word, q, sizeof word);
    const __m128i b = _mm_cvtsi32_si128(word), low = _mm_set1_epi8(15);
    const __m256i codes = _mm256_cvtepu8_epi32(_mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(b, 4), low), _mm_and_si128(b, low)));
    const __m256 below = _mm256_permutevar8x32_ps(_mm256_loadu_ps(graft_nf4_value), codes), above = _mm256_permutevar8x32_ps(_mm256_loadu_ps(graft_nf4_value + 8), codes);
    return _mm256_blendv_ps(below, above, _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28))) * scale; /* bit 3 of the code becomes the sign */
#endif
}
#endif
/* Elements i .. i + VW, i a multiple of VW. */
INLINE vf block_vector(const void *p, int64_t i, graft_dtype t)
{
#if defined(__AVX2__)
    if (graft_is_packed(t)) return packed_vector(p, i, t);
    const uint8_t *b = (const uint8_t *)p + stored_bytes(t, i / 32 * 32);
    const int64_t j = i % 32;
    const uint8_t *q = b + (t == GRAFT_Q4_1 ? 4 : 2) + (t == GRAFT_Q8_0 ? j : j % 16);
#if defined(__AVX512F__)
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)q);
#else
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)q);
#endif
    if (t != GRAFT_Q8_0) bytes = _mm_and_si128(j < 16 ? bytes : _mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
#if defined(__AVX512F__)
    const vf x = _mm512_cvtepi32_ps(t == GRAFT_Q8_0 ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes));
#else
    const vf x = _mm256_cvtepi32_ps(t == GRAFT_Q8_0 ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes));
#endif
    return t == GRAFT_Q4_1 ? x * half_at(b) + half_at(b + 2) : t == GRAFT_Q4_0 ? (x - 8.0f) * half_at(b)
                                                                               : x * half_at(b);
#else
    vf v = {0};
    for (int64_t j = 0; j < VW; j++) v[j] = block_scalar(p, i + j, t);
    return v;
#endif
}
INLINE float scalar_of(const void *p, int64_t i, graft_dtype t)
{
    if (t == GRAFT_F32) return ((const float *)p)[i];
    if (is_blocks(t)) return block_scalar(p, i, t);
    if (t == GRAFT_F16) return half_to_float(((const uint16_t *)p)[i]);
    union {
        uint32_t u;
        float f;
    } x = {(uint32_t)((const uint16_t *)p)[i] << 16};
    return x.f;
}
INLINE vf vector_of(const void *p, int64_t i, graft_dtype t)
{
    if (t == GRAFT_F32) return v_load((const float *)p + i);
    if (is_blocks(t)) return block_vector(p, i, t);
#if defined(__AVX512F__)
    const __m256i h = _mm256_loadu_si256((const __m256i *)((const uint16_t *)p + i));
    return t == GRAFT_F16 ? _mm512_cvtph_ps(h) : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
#elif defined(__AVX2__)
    const __m128i h = _mm_loadu_si128((const __m128i *)((const uint16_t *)p + i));
    return t == GRAFT_F16 ? _mm256_cvtph_ps(h) : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
#else
    vf v = {0};
    for (int64_t j = 0; j < VW; j++) v[j] = scalar_of(p, i + j, t);
    return v;
#endif
}
INLINE vf vector_of_n(const void *p, int64_t i, int64_t n, graft_dtype t)
{
    if (t == GRAFT_F32) return v_load_n((const float *)p + i, n);
    float x[VW] = {0};
    for (int64_t j = 0; j < n; j++) x[j] = scalar_of(p, i + j, t);
    return v_load(x);
}

/* Rows become columns: r[i][j] <-> r[j][i], VW x VW. */
INLINE void v_transpose(vf r[VW])
{
#if defined(__AVX512F__)
    __m512 t[16];
    UNROLL for (int i = 0; i < 16; i += 4)
    {
        const __m512 a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
        const __m512 c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
        t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
        t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
        t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
    }
    UNROLL for (int i = 0; i < 4; i++)
    {
        const __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        const __m512 c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
        r[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        r[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
#elif defined(__AVX2__)
    __m256 t[8];
    UNROLL for (int i = 0; i < 8; i += 4)
    {
        const __m256 a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
        const __m256 c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    UNROLL for (int i = 0; i < 4; i++)
    {
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
#else
    float x[VW][VW];
    for (int i = 0; i < VW; i++)
        for (int j = 0; j < VW; j++) x[j][i] = r[i][j];
    for (int i = 0; i < VW; i++) r[i] = v_load(x[i]);
#endif
}

/* ---- functions, about 1 to 2 units in the last place ---- */

/* 2^n for integers -126 <= n <= 127. */
INLINE vf v_power_of_two(vi n) { return (vf)((n + 127) << 23); }

/* e^x: x = n ln 2 + r, polynomial of Cephes' expf in r. Below -87.33 it is 0 and above 88.72 infinity; nan stays nan. */
INLINE vf v_exp(vf x)
{
    const vf n = v_round(v_max(v_min(x, v_set(89.0f)), v_set(-104.0f)) * 1.44269504088896341f);
    const vf low = v_max(v_min(x, v_set(89.0f)), v_set(-104.0f));
    vf r = v_fma(n, v_set(-0.693359375f), low);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    vf p = v_fma(v_set(1.9875691500e-4f), r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(p, r * r, r) + 1.0f;
    const vi whole = v_to_int(n), half = whole >> 1;
    const vf y = p * v_power_of_two(half) * v_power_of_two(whole - half);
    return v_select(x == x, v_select(x > 88.72283f, v_set(__builtin_inff()), v_select(x < -87.33654f, v_set(0.0f), y)), x);
}

/* e^x for x <= 0 or a little above, without the special cases: what softmax needs. Below -87 it is 0. */
INLINE vf v_exp_small(vf x)
{
    const vf n = v_round(x * 1.44269504088896341f);
    vf r = v_fma(n, v_set(-0.693359375f), x);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    vf p = v_fma(v_set(1.9875691500e-4f), r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(p, r * r, r) + 1.0f;
#if defined(__AVX512F__)
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, v_set(-87.0f), _CMP_GE_OQ), _mm512_scalef_ps(p, n));
#else
    return (vf)((x >= -87.0f) & (vi)(p * v_power_of_two(v_to_int(v_max(n, v_set(-126.0f))))));
#endif
}

/* ln x, Cephes' logf. 0 gives -inf, negatives nan. Denormals count as 0. */
INLINE vf v_log(vf x)
{
    vi bits = (vi)x;
    vf e = v_from_int((bits >> 23) - 126);
    vf m = (vf)((bits & 0x007fffff) | 0x3f000000); /* [0.5, 1) */
    const vi small = m < 0.707106781186547524f;
    e = e - v_select(small, v_set(1.0f), v_set(0.0f));
    m = m + v_select(small, m, v_set(0.0f)) - 1.0f;
    const vf z = m * m;
    vf p = v_fma(v_set(7.0376836292e-2f), m, v_set(-1.1514610310e-1f));
    p = v_fma(p, m, v_set(1.1676998740e-1f));
    p = v_fma(p, m, v_set(-1.2420140846e-1f));
    p = v_fma(p, m, v_set(1.4249322787e-1f));
    p = v_fma(p, m, v_set(-1.6668057665e-1f));
    p = v_fma(p, m, v_set(2.0000714765e-1f));
    p = v_fma(p, m, v_set(-2.4999993993e-1f));
    p = v_fma(p, m, v_set(3.3333331174e-1f));
    vf y = p * m * z;
    y = v_fma(e, v_set(-2.12194440e-4f), y);
    y = v_fma(z, v_set(-0.5f), y);
    y = v_fma(e, v_set(0.693359375f), m + y);
    y = v_select(x < 1.17549435e-38f, v_set(-__builtin_inff()), y);
    y = v_select(x < 0.0f, v_set(__builtin_nanf("")), y);
    return v_select((x == x) & (x < __builtin_inff()), y, v_select(x == x, v_set(__builtin_inff()), x));
}

INLINE vf v_sigmoid(vf x) { return v_set(1.0f) / (1.0f + v_exp((vf){0} - x)); }

/* Cephes' tanhf: a polynomial near 0, else 1 - 2 / (e^2x + 1). */
INLINE vf v_tanh(vf x)
{
    const vf a = v_abs(x), z = x * x;
    vf p = v_fma(v_set(-5.70498872745e-3f), z, v_set(2.06390887954e-2f));
    p = v_fma(p, z, v_set(-5.37397155531e-2f));
    p = v_fma(p, z, v_set(1.33314422036e-1f));
    p = v_fma(p, z, v_set(-3.33332819422e-1f));
    p = v_fma(p * z, x, x);
    const vf big = 1.0f - v_set(2.0f) / (v_exp(a + a) + 1.0f);
    const vf y = (vf)((vi)big | ((vi)x & (vi)v_set(-0.0f)));
    return v_select(x == x, v_select(a < 0.625f, p, y), x);
}

#endif
