/* attention_forward.h - what the two ways of attention forward share: a unit's place in a thread's scratch, keys, softmax. */
#ifndef CPU_KERNELS_ATTENTION_FORWARD_H
#define CPU_KERNELS_ATTENTION_FORWARD_H

#include "attention.h"

typedef struct forward { /* in a thread's scratch; uint32_t where there are pairs, in the same places */
    float *q;            /* [rows / MR][h][MR]          pairs: [rows / MR][h / 2][MR] */
    float *s;            /* [rows][BK]: scores, then probabilities; pairs: these in the first half of a row */
    float *o;            /* [rows][hp]: unnormalised    */
    float *top, *sum;    /* [rows]                      */
    float *kt;           /* [BK / NR][h][NR]            pairs: [BK / NR][h / 2][NR] */
    float *v;            /* [BK][hp]                    pairs: [BK / 2][hp] */
} forward;

/* One row of scores becomes probabilities against the running maximum; o and sum shrink when the maximum grew. Past `end`, a multiple of NR, nobody reads.
 * keep: two vectors of them to place j, where the scores were read. */
INLINE void soften(const attention *a, const forward *f, int64_t r, int64_t low, int64_t high, int64_t end, void (*keep)(float *s, int64_t j, vf p, vf q))
{
    float *s = f->s + r * BK;
    if (low >= high) {
        memset(s, 0, (size_t)end * sizeof *s);
        return;
    }
    const int whole = low == 0 && high >= end;
    vf tops = v_set(-__builtin_inff());
    for (int64_t j = 0; j < end; j += VW) {
        vf x = v_load(s + j);
        if (a->softcap > 0.0f) x = v_tanh(x / a->softcap) * a->softcap;
        if (!whole) x = v_select(inside(j, low, high), x, v_set(-__builtin_inff()));
        if (!whole || a->softcap > 0.0f) v_store(s + j, x);
        tops = v_max(tops, x);
    }
    const float before = f->top[r], top = v_top(tops), now = top > before ? top : before;
    vf sum = {0};
    for (int64_t j = 0; j < end; j += 2 * VW) {
        const vf p = v_exp_small(v_load(s + j) - now), q = v_exp_small(v_load(s + j + VW) - now);
        sum = sum + p;
        sum = sum + q;
        keep(s, j, p, q);
    }
    if (now > before) {
        const float shrink = v_exp_small(v_set(before - now))[0];
        f->sum[r] *= shrink;
        for (int64_t j = 0; j < a->hp; j += VW) v_store(f->o + r * a->hp + j, v_load(f->o + r * a->hp + j) * shrink);
        f->top[r] = now;
    }
    f->sum[r] += v_sum(sum);
}

typedef struct keys {
    const float *k, *v;
    int64_t ld, n, key;
    int extra;
} keys; /* a block of them; key: place of the first among the own */

/* How many of the block's keys the rows i .. i + MR see at most: those behind are neither multiplied nor read. */
INLINE int64_t seen_by(const keys *b, int64_t i, int64_t rows, int64_t nq, int64_t place)
{
    if (b->extra) return b->n;
    int64_t last = 0;
    for (int64_t r = i; r < rows && r < i + MR; r++) last = most(last, r % nq);
    return most(0, least(b->n, place + last + 1 - b->key));
}

/* The two ways to multiply. pack_queries: the rows of f->o, h floats each, become f->q. */
typedef struct attention_ways {
    void (*pack_queries)(const attention *a, const forward *f, int64_t rows);
    void (*meet)(const attention *a, const forward *f, int64_t rows, int64_t nq, int64_t place, const keys *b);
} attention_ways;
extern const attention_ways *const K(attention_bf16); /* NULL: this instruction set has none */

#endif
