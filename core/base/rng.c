/* core/base/rng.c - see rng.h. Sources: Matsumoto & Nishimura 1998 (MT19937); O'Neill 2014 (PCG64 XSL-RR) and the seeding and bounded draws that
 * numpy's documentation names: SeedSequence after O'Neill's seed_seq_fe, bounds by masked rejection. */
#include "core/base/rng.h"

enum { N = 624,
       M = 397 };

void graft_mt19937_seed(graft_mt19937 *g, uint64_t seed)
{
    g->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < N; i++) g->state[i] = 1812433253u * (g->state[i - 1] ^ g->state[i - 1] >> 30) + i;
    g->at = N;
}

static uint32_t twist(uint32_t far, uint32_t a, uint32_t b)
{
    const uint32_t y = (a & 0x80000000u) | (b & 0x7FFFFFFFu);
    return far ^ y >> 1 ^ (y & 1 ? 0x9908B0DFu : 0);
}

uint32_t graft_mt19937_next(graft_mt19937 *g)
{
    if (g->at >= N) {
        for (int i = 0; i < N; i++) g->state[i] = twist(g->state[(i + M) % N], g->state[i], g->state[(i + 1) % N]);
        g->at = 0;
    }
    uint32_t y = g->state[g->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9D2C5680u;
    y ^= y << 15 & 0xEFC60000u;
    return y ^ y >> 18;
}

static void swap(int64_t *out, int64_t i, int64_t j)
{
    const int64_t kept = out[i];
    out[i] = out[j];
    out[j] = kept;
}

void graft_torch_randperm(uint64_t seed, int64_t n, int64_t *out)
{
    graft_mt19937 g;
    graft_mt19937_seed(&g, seed);
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = 0; i < n - 1; i++) swap(out, i, i + (int64_t)(graft_mt19937_next(&g) % (uint64_t)(n - i)));
}

void graft_torch_randperm32(uint64_t seed, int64_t n, int32_t *out)
{
    graft_mt19937 g;
    graft_mt19937_seed(&g, seed);
    for (int64_t i = 0; i < n; i++) out[i] = (int32_t)i;
    for (int64_t i = 0; i < n - 1; i++) {
        const int64_t j = i + (int64_t)(graft_mt19937_next(&g) % (uint64_t)(n - i));
        const int32_t kept = out[i];
        out[i] = out[j], out[j] = kept;
    }
}

/* ---- numpy.random's global generator ------------------------------------------------------------------------------------------------------------ */

uint32_t graft_numpy_below(graft_mt19937 *g, uint32_t most)
{
    uint32_t mask = most, v;
    for (int k = 1; k < 32; k *= 2) mask |= mask >> k;
    if (!most) return 0;
    while ((v = graft_mt19937_next(g) & mask) > most) continue;
    return v;
}

void graft_numpy_shuffled(graft_mt19937 *g, int64_t n, int64_t *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) swap(out, i, graft_numpy_below(g, (uint32_t)i));
}

/* ---- numpy.random.default_rng --------------------------------------------------------------------------------------------------------------- */

typedef unsigned __int128 u128;

typedef struct pcg64 {
    u128 state, increment;
    uint32_t spare; /* the upper half of a 64-bit draw waits for the next 32-bit one */
    int has_spare;
} pcg64;

static uint32_t hash_mix(uint32_t value, uint32_t *constant)
{
    value ^= *constant;
    *constant *= 0x931E8875u;
    value *= *constant;
    return value ^ value >> 16;
}

static uint32_t mix(uint32_t x, uint32_t y)
{
    const uint32_t r = x * 0xCA01F9DDu - y * 0x4973F715u;
    return r ^ r >> 16;
}

/* SeedSequence(seed).generate_state(4, uint64) */
static void seed_words(uint64_t seed, uint64_t words[4])
{
    const uint32_t entropy[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0};
    uint32_t pool[4], constant = 0x43B0D7E5u;
    for (int i = 0; i < 4; i++) pool[i] = hash_mix(entropy[i], &constant);
    for (int from = 0; from < 4; from++)
        for (int to = 0; to < 4; to++)
            if (from != to) pool[to] = mix(pool[to], hash_mix(pool[from], &constant));
    constant = 0x8B51F9DDu;
    for (int i = 0; i < 4; i++) words[i] = 0;
    for (int i = 0; i < 8; i++) {
        uint32_t v = pool[i & 3] ^ constant;
        constant *= 0x58F38DEDu;
        v *= constant;
        v ^= v >> 16;
        words[i / 2] |= (uint64_t)v << (i & 1 ? 32 : 0);
    }
}

static void pcg_step(pcg64 *g) { g->state = g->state * ((u128)0x2360ED051FC65DA4ull << 64 | 0x4385DF649FCCF645ull) + g->increment; }

static void pcg_seed(pcg64 *g, uint64_t seed)
{
    uint64_t w[4];
    seed_words(seed, w);
    g->increment = ((u128)w[2] << 64 | w[3]) << 1 | 1;
    g->state = 0;
    g->has_spare = 0;
    pcg_step(g);
    g->state += (u128)w[0] << 64 | w[1];
    pcg_step(g);
}

static uint64_t pcg_next(pcg64 *g)
{
    pcg_step(g);
    const uint64_t x = (uint64_t)(g->state >> 64) ^ (uint64_t)g->state;
    const unsigned turn = (unsigned)(g->state >> 122);
    return x >> turn | x << (-turn & 63);
}

static uint32_t pcg_next32(pcg64 *g)
{
    if (g->has_spare) {
        g->has_spare = 0;
        return g->spare;
    }
    const uint64_t x = pcg_next(g);
    g->has_spare = 1;
    g->spare = (uint32_t)(x >> 32);
    return (uint32_t)x;
}

/* Uniform in [0, most] by masked rejection: 32-bit draws where they suffice. */
static uint64_t bounded(pcg64 *g, uint64_t most)
{
    uint64_t mask = most, v;
    for (int shift = 1; shift < 64; shift *= 2) mask |= mask >> shift;
    do v = (most <= UINT32_MAX ? pcg_next32(g) : pcg_next(g)) & mask;
    while (v > most);
    return v;
}

void graft_numpy_permutation(uint64_t seed, int64_t n, int64_t *out)
{
    pcg64 g;
    pcg_seed(&g, seed);
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) swap(out, i, (int64_t)bounded(&g, (uint64_t)i));
}

/* ---- draws one by one ------------------------------------------------------------------------------------------------------------------------- */

static void keep(graft_pcg64 *g, const pcg64 *p)
{
    *g = (graft_pcg64){{(uint64_t)p->state, (uint64_t)(p->state >> 64)}, {(uint64_t)p->increment, (uint64_t)(p->increment >> 64)}, p->spare, p->has_spare};
}

static pcg64 take(const graft_pcg64 *g)
{
    return (pcg64){.state = (u128)g->state[1] << 64 | g->state[0], .increment = (u128)g->increment[1] << 64 | g->increment[0], .spare = g->spare, .has_spare = g->has_spare};
}

void graft_pcg64_seed(graft_pcg64 *g, uint64_t seed)
{
    pcg64 p = {0};
    pcg_seed(&p, seed);
    keep(g, &p);
}

uint64_t graft_pcg64_next(graft_pcg64 *g)
{
    pcg64 p = take(g);
    const uint64_t x = pcg_next(&p);
    keep(g, &p);
    return x;
}

double graft_pcg64_double(graft_pcg64 *g) { return (double)(graft_pcg64_next(g) >> 11) * 0x1p-53; }

uint32_t graft_pcg64_integer(graft_pcg64 *g, uint32_t most)
{
    const uint32_t range = most + 1;
    if (!most) return 0;
    pcg64 p = take(g);
    uint64_t m = (uint64_t)pcg_next32(&p) * range;
    if ((uint32_t)m < range)
        for (const uint32_t least = (UINT32_MAX - most) % range; (uint32_t)m < least;) m = (uint64_t)pcg_next32(&p) * range;
    keep(g, &p);
    return (uint32_t)(m >> 32);
}

void graft_pcg64_shuffle(graft_pcg64 *g, void **items, int64_t n)
{
    pcg64 p = take(g);
    for (int64_t i = n - 1; i > 0; i--) {
        const uint64_t j = bounded(&p, (uint64_t)i);
        void *const kept = items[i];
        items[i] = items[j], items[j] = kept;
    }
    keep(g, &p);
}
