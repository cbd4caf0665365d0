/* core/base/rng.h - the generators that decide orders, bit for bit as torch's. (Philox for masks and new weights is the SDK's random.h.) */
#ifndef CORE_BASE_RNG_H
#define CORE_BASE_RNG_H

#include "graft/base.h"

/* MT19937, init_genrand(seed mod 2^32): torch.Generator().manual_seed. */
typedef struct graft_mt19937 { uint32_t state[624]; int at; } graft_mt19937;
void     graft_mt19937_seed(graft_mt19937 *g, uint64_t seed);
uint32_t graft_mt19937_next(graft_mt19937 *g);

/* torch.randperm(n, generator=manual_seed(seed)) into out[n]: z = draw % (n - i), swap i with i + z. n < 2^31. */
void graft_torch_randperm(uint64_t seed, int64_t n, int64_t *out);
void graft_torch_randperm32(uint64_t seed, int64_t n, int32_t *out); /* the same in half the memory */

/* numpy.random's global generator, seeded by numpy.random.seed(seed): permutation(n) and one of choice(most + 1) with replacement, in [0, most]. */
void     graft_numpy_shuffled(graft_mt19937 *g, int64_t n, int64_t *out);
uint32_t graft_numpy_below(graft_mt19937 *g, uint32_t most);

/* numpy.random.default_rng(seed): SeedSequence, PCG64; double: its random(), in [0, 1). */
typedef struct graft_pcg64 { uint64_t state[2], increment[2]; uint32_t spare; int has_spare; } graft_pcg64; /* low half first; spare: half a draw for the next 32 bits */
void     graft_pcg64_seed(graft_pcg64 *g, uint64_t seed);
double   graft_pcg64_double(graft_pcg64 *g);
uint64_t graft_pcg64_next(graft_pcg64 *g);                    /* 64 bits */
uint32_t graft_pcg64_integer(graft_pcg64 *g, uint32_t most);  /* integers(0, most + 1): Lemire's bounds, nothing drawn when most is 0; most below 2^32 - 1 */
void     graft_pcg64_shuffle(graft_pcg64 *g, void **items, int64_t n); /* shuffle() of a list */

/* numpy.random.default_rng(seed).permutation(n): SeedSequence, PCG64, bounded draws as numpy. For val_size. */
void graft_numpy_permutation(uint64_t seed, int64_t n, int64_t *out);

#endif
