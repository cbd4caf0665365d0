/* core/base/sha256.c - see sha256.h. Uses the processor's SHA instructions where it has them (about 2 GB/s), else the plain rounds of FIPS 180-4. */
#include "core/base/sha256.h"

#include "core/base/arena.h"
#include "core/base/file.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t K[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74,
    0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d,
    0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e,
    0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
    0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void blocks_plain(uint32_t h[8], const uint8_t *p, size_t n)
{
    for (; n; n--, p += 64) {
        uint32_t w[64], v[8];
        for (int i = 0; i < 16; i++) w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
        for (int i = 16; i < 64; i++) {
            const uint32_t a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
        }
        memcpy(v, h, sizeof v);
        for (int i = 0; i < 64; i++) {
            const uint32_t a = v[0], e = v[4];
            const uint32_t t1 = v[7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + K[i] + w[i];
            const uint32_t t2 = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
            memmove(v + 1, v, 7 * sizeof *v);
            v[4] += t1;
            v[0] = t1 + t2;
        }
        for (int i = 0; i < 8; i++) h[i] += v[i];
    }
}

#if defined(__x86_64__)
/* Intel's SHA extensions keep the state as two registers, ABEF and CDGH, and do two rounds an instruction. */
__attribute__((target("sha,sse4.1,ssse3"))) static void blocks_sha(uint32_t h[8], const uint8_t *p, size_t n)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
    __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)h), hgfe = _mm_loadu_si128((const __m128i *)(const void *)(h + 4));
    const __m128i cdab = _mm_shuffle_epi32(dcba, 0xB1), efgh = _mm_shuffle_epi32(hgfe, 0x1B);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xF0);
    for (; n; n--, p += 64) {
        const __m128i abef0 = abef, cdgh0 = cdgh;
        __m128i w[4];
        for (int i = 0; i < 4; i++) w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), swap);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m128i m = w[i & 3];
            if (i >= 4) { /* W[t] from W[t-16], W[t-15], W[t-7], W[t-2] */
                m = _mm_sha256msg1_epu32(m, w[(i + 1) & 3]);
                m = _mm_add_epi32(m, _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
                m = _mm_sha256msg2_epu32(m, w[(i + 3) & 3]);
                w[i & 3] = m;
            }
            const __m128i k = _mm_add_epi32(m, _mm_load_si128((const __m128i *)(const void *)(K + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0E));
        }
        abef = _mm_add_epi32(abef, abef0);
        cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)(void *)h, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(void *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static int has_sha(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3)) return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}
#else
static int has_sha(void)
{
    return 0;
}
#define blocks_sha blocks_plain
#endif

static void blocks(uint32_t h[8], const uint8_t *p, size_t n)
{
    static int choice; /* 0 not looked yet, 1 plain, 2 instructions; every thread finds the same */
    int chosen = __atomic_load_n(&choice, __ATOMIC_RELAXED);
    if (!chosen) {
        chosen = has_sha() ? 2 : 1;
        __atomic_store_n(&choice, chosen, __ATOMIC_RELAXED);
    }
    if (chosen == 2) {
        blocks_sha(h, p, n);
    } else {
        blocks_plain(h, p, n);
    }
}

void graft_sha256_init(graft_sha256 *s)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->h, start, sizeof start);
    s->bytes = 0;
}

void graft_sha256_add(graft_sha256 *s, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    const size_t kept = s->bytes & 63;
    s->bytes += bytes;
    if (kept) {
        const size_t take = bytes < 64 - kept ? bytes : 64 - kept;
        memcpy(s->block + kept, p, take);
        p += take;
        bytes -= take;
        if (kept + take < 64) return;
        blocks(s->h, s->block, 1);
    }
    blocks(s->h, p, bytes / 64);
    if (bytes % 64) memcpy(s->block, p + bytes / 64 * 64, bytes % 64);
}

void graft_sha256_hex(graft_sha256 *s, char out[65])
{
    static const uint8_t padding[64] = {0x80};
    const uint64_t bits = s->bytes * 8;
    const size_t kept = s->bytes & 63;
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
    graft_sha256_add(s, padding, kept < 56 ? 56 - kept : 120 - kept);
    graft_sha256_add(s, length, 8);
    for (int i = 0; i < 64; i++) out[i] = "0123456789abcdef"[s->h[i / 8] >> (28 - 4 * (i % 8)) & 15];
    out[64] = '\0';
}

graft_status graft_sha256_file(const char *path, char out[65], graft_error *err)
{
    graft_map m;
    graft_sha256 s;
    const graft_status status = graft_map_open(&m, path, err);
    if (status) return status;
    graft_sha256_init(&s);
    graft_sha256_add(&s, m.data, (size_t)m.bytes);
    graft_sha256_hex(&s, out);
    graft_map_close(&m);
    return GRAFT_OK;
}
