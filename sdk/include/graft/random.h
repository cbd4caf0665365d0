/* graft/random.h - counter-based random numbers: the same (seed, stream, step, index) gives the same bits on every backend and
 * any number of threads. Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". */
#ifndef GRAFT_RANDOM_H
#define GRAFT_RANDOM_H

#include <stdint.h>

static inline void graft_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* 32 random bits for element `index` of stream `stream` in step `step`. */
static inline uint32_t graft_random_u32(uint64_t seed, uint64_t stream, uint64_t step, uint64_t index)
{
    const uint64_t block = index >> 2;
    const uint64_t mixed = stream * 0x9E3779B97F4A7C15ull + step;
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)mixed, (uint32_t)(mixed >> 32)};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t out[4];
    graft_philox(counter, key, out);
    return out[index & 3];
}

/* Uniform in [0, 1), 24 bits. */
static inline float graft_random_uniform(uint64_t seed, uint64_t stream, uint64_t step, uint64_t index)
{
    return (float)(graft_random_u32(seed, stream, step, index) >> 8) * 0x1p-24f;
}

#endif
