/* random.c - random/1 and dropout/1: element i's bits are those of graft_random_u32(seed, stream, step, i).
 *
 * VW Philox blocks at a time, one a lane; block b has the words of elements 4 b .. 4 b + 3. Lane p holds block p / 4 + (p % 4) (VW / 4):
 * so the transposition of each 4 x 4 corner leaves every vector with neighbouring elements. */
#include "map.h"

enum { PER = 4 * VW };
typedef uint32_t vu __attribute__((vector_size(VW * 4)));

/* a m = hi 2^32 + lo in every lane. */
INLINE void multiply(vu a, uint32_t m, vu *hi, vu *lo)
{
#if defined(__AVX512F__)
    const __m512i x = (__m512i)a, y = _mm512_set1_epi32((int)m), even = _mm512_mul_epu32(x, y), odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), y);
    *hi = (vu)_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
    *lo = (vu)_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
#elif defined(__AVX2__)
    const __m256i x = (__m256i)a, y = _mm256_set1_epi32((int)m), even = _mm256_mul_epu32(x, y), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), y);
    *hi = (vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    *lo = (vu)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
#else
    for (int i = 0; i < VW; i++) {
        const uint64_t p = (uint64_t)a[i] * m;
        (*hi)[i] = (uint32_t)(p >> 32);
        (*lo)[i] = (uint32_t)p;
    }
#endif
}

/* Vector r of out: elements 4 first + r VW ... */
INLINE void interleave(const vu c[4], vu out[4])
{
#if defined(__AVX512F__)
    const __m512i a = _mm512_unpacklo_epi32((__m512i)c[0], (__m512i)c[1]), b = _mm512_unpackhi_epi32((__m512i)c[0], (__m512i)c[1]);
    const __m512i d = _mm512_unpacklo_epi32((__m512i)c[2], (__m512i)c[3]), e = _mm512_unpackhi_epi32((__m512i)c[2], (__m512i)c[3]);
    out[0] = (vu)_mm512_unpacklo_epi64(a, d), out[1] = (vu)_mm512_unpackhi_epi64(a, d);
    out[2] = (vu)_mm512_unpacklo_epi64(b, e), out[3] = (vu)_mm512_unpackhi_epi64(b, e);
#elif defined(__AVX2__)
    const __m256i a = _mm256_unpacklo_epi32((__m256i)c[0], (__m256i)c[1]), b = _mm256_unpackhi_epi32((__m256i)c[0], (__m256i)c[1]);
    const __m256i d = _mm256_unpacklo_epi32((__m256i)c[2], (__m256i)c[3]), e = _mm256_unpackhi_epi32((__m256i)c[2], (__m256i)c[3]);
    out[0] = (vu)_mm256_unpacklo_epi64(a, d), out[1] = (vu)_mm256_unpackhi_epi64(a, d);
    out[2] = (vu)_mm256_unpacklo_epi64(b, e), out[3] = (vu)_mm256_unpackhi_epi64(b, e);
#else
    for (int r = 0; r < 4; r++) out[r] = (vu){c[0][r], c[1][r], c[2][r], c[3][r]};
#endif
}

/* Uniform numbers of elements 4 first .. 4 first + PER. */
INLINE void uniforms(uint64_t first, uint64_t mixed, uint64_t seed, vf out[4])
{
    vu c[4], bits[4];
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    vu order = {0};
    for (uint32_t p = 0; p < VW; p++) order[p] = p / 4 + p % 4 * (VW / 4);
    c[0] = order + (uint32_t)first; /* first is a multiple of VW: no carry within a vector */
    c[1] = (uint32_t)(first >> 32) + (vu){0};
    c[2] = (uint32_t)mixed + (vu){0};
    c[3] = (uint32_t)(mixed >> 32) + (vu){0};
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        vu hi0, lo0, hi1, lo1;
        multiply(c[0], 0xD2511F53u, &hi0, &lo0);
        multiply(c[2], 0xCD9E8D57u, &hi1, &lo1);
        c[0] = hi1 ^ c[1] ^ k0;
        c[2] = hi0 ^ c[3] ^ k1;
        c[1] = lo1;
        c[3] = lo0;
    }
    interleave(c, bits);
    for (int r = 0; r < 4; r++) out[r] = v_from_int((vi)(bits[r] >> 8)) * 0x1p-24f;
}

typedef struct draw {
    const float *x; /* dropout's input; NULL: the numbers themselves */
    float *y;
    int64_t n;
    uint64_t seed, mixed;
    float p, scale;
} draw;

static void draw_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const draw *d = ctx;
    const int64_t first = unit * CHUNK, last = first + CHUNK < d->n ? first + CHUNK : d->n;
    for (int64_t i = first; i < last; i += PER) {
        vf u[4];
        uniforms((uint64_t)i / 4, d->mixed, d->seed, u);
        for (int r = 0; r < 4 && i + r * VW < last; r++) {
            const int64_t at = i + r * VW, left = last - at;
            const vf y = d->x ? (vf)((u[r] >= d->p) & (vi)(map_load(d->x, at, left) * d->scale)) : u[r];
            map_store(d->y, at, y, left);
        }
    }
}

static graft_status run(cpu_call *c, const float *x, int64_t stream, double p)
{
    draw d = {.x = x, .y = c->out[0].data, .n = c->out[0].n, .seed = c->seed, .p = (float)p, .scale = (float)(1.0 / (1.0 - p))};
    d.mixed = (uint64_t)stream * 0x9E3779B97F4A7C15ull + c->step;
    cpu_pool_run(c->pool, chunks(d.n), draw_unit, &d);
    return GRAFT_OK;
}

static graft_status uniform(cpu_call *c) { return run(c, NULL, c->attr[5].i, 0.0); }

static graft_status dropout(cpu_call *c)
{
    if (c->training) return run(c, c->in[0].data, c->attr[1].i, c->attr[0].r);
    if (c->in[0].data != c->out[0].data) memcpy(c->out[0].data, c->in[0].data, (size_t)c->out[0].n * sizeof(float));
    return GRAFT_OK;
}

const cpu_op K(ops_random)[] = {
    {"random/1", F32, {{"rank", 0}, {"d0", 0}, {"d1", 0}, {"d2", 0}, {"d3", 0}, {"stream", 0}}, uniform, NULL},
    {"dropout/1", F32, {{"p", 0}, {"stream", 0}}, dropout, NULL},
    END_OF_OPS,
};
