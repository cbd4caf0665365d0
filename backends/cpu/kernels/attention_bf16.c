/* attention_bf16.c - the products of attention.c by pairs of bf16 (pairs.h). */
#include "attention_forward.h"
#include "pairs.h"

#if defined(__AVX512BF16__)

INLINE void keep(float *s, int64_t j, vf p, vf q) { _mm512_storeu_si512((uint16_t *)(void *)s + j, rounded(p, q)); }

static void pack_queries(const attention *a, const forward *f, int64_t rows)
{
    uint32_t *q = (uint32_t *)(void *)f->q;
    for (int64_t i = 0; i < rows; i += MR) pair_lines(f->o, i * a->h, a->h, GRAFT_F32, rows - i, a->h, q + i * pairs_of(a->h), MR, 0);
}

static void meet(const attention *a, const forward *f, int64_t rows, int64_t nq, int64_t place, const keys *b)
{
    const int64_t half = pairs_of(a->h);
    const pieces one = {1, 0, 0};
    const uint32_t *q = (const uint32_t *)(const void *)f->q, *s = (const uint32_t *)(const void *)f->s;
    uint32_t *kt = (uint32_t *)(void *)f->kt, *v = (uint32_t *)(void *)f->v;
    for (int64_t j = 0; j < b->n; j += NR) pair_lines(b->k, j * b->ld, b->ld, GRAFT_F32, b->n - j, a->h, kt + j * half, NR, 0);
    pair_rows(b->v, 0, b->ld, GRAFT_F32, a->h, b->n, v, a->hp);
    for (int64_t i = 0; i < rows; i += MR) {
        const int64_t seen = seen_by(b, i, rows, nq, place), valid = least(MR, rows - i);
        for (int64_t j = 0; j < seen; j += NR) pair_tile(valid, NR, half, q + i * half, 1, MR, kt + j * half, NR, one, a->scale, f->s + i * BK + j, BK, NULL, 0);
        for (int64_t r = i; r < i + valid; r++) {
            int64_t low, high;
            visible(a, b->extra, place + r % nq, b->key, b->n, &low, &high);
            soften(a, f, r, low, high, round_up(seen, NR), keep);
        }
        if (!seen) continue;
        for (int64_t j = 0; j < a->hp; j += NR)
            pair_tile(valid, NR, pairs_of(seen), s + i * BK, BK, 1, v + j, a->hp, one, 1.0f, f->o + i * a->hp + j, a->hp, f->o + i * a->hp + j, a->hp);
    }
}

static const attention_ways in_bf16 = {pack_queries, meet};
const attention_ways *const K(attention_bf16) = &in_bf16;

#else

const attention_ways *const K(attention_bf16) = NULL;

#endif
