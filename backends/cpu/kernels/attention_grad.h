/* attention_grad.h - what the two ways of attention's gradient share: the problem, places in a thread's scratch, blocks of keys and tokens. */
#ifndef CPU_KERNELS_ATTENTION_GRAD_H
#define CPU_KERNELS_ATTENTION_GRAD_H

#include "attention.h"

typedef struct backward {
    attention a;
    const float *o, *lse, *dy;
    float *dq, *dk, *dv, *dk_extra, *dv_extra;
    float *delta;                /* [T, n]: D */
    float *q_packed, *dy_packed; /* [token block, n][PAD / MR][h][MR]; pairs: uint32_t [PAD / MR][h / 2][MR] */
    uint32_t *q_rows, *dy_rows;  /* pairs: [token block, n][PAD / 2][hp], tokens 2i and 2i + 1 */
    const struct backward_ways *how;
    int32_t (*rows)[2]; /* token blocks: sequence, block within it; those of sequence s begin at row_first[s] */
    int32_t *row_first;
    int64_t n_rows;
    atomic_int *done; /* of unit u: token blocks below this number are finished */
} backward;

enum { PAD = (BQ + MR - 1) / MR * MR,
       PADDED = PAD * HEADS_MOST };

typedef struct space {
    float *q_rows, *dy_rows; /* [rows][hp], where h is no multiple of NR */
    float *p, *ds;           /* [rows][BK]                               */
    float *kt, *vt;          /* [BK / NR][h][NR]                         */
    float *k;                /* [BK][hp]                                 */
    float *dk, *dv;          /* [BK][hp]                                 */
} space;
/* Of pairs: p and ds [head][PAD / 2][BK], tokens 2i and 2i + 1, in the places of scores that were read; ds by rows, [head][PAD][BK / 2], in q_rows;
 * kt, vt [BK / NR][h / 2][NR]; k [BK / 2][hp]. */

typedef struct keys {
    const float *k, *v;
    int64_t n, key, head;
    int extra;
} keys;

/* A token block: tokens t0 .. t0 + nq at `place` of the sequence; heads head .. head + heads; packed: its index for the first head.
 * Rows are laid out head by head, each padded to PAD. */
typedef struct tokens {
    int64_t t0, nq, place, head, heads, packed;
} tokens;

INLINE int64_t seen_by(const keys *y, const tokens *q, int64_t t) /* keys that token t of the block sees at most */
{
    return y->extra ? y->n : most(0, least(y->n, q->place + t + 1 - y->key));
}

/* The two ways to multiply. */
typedef struct backward_ways {
    void (*prepare)(const backward *b, int64_t unit, int64_t at, int64_t nq); /* packs queries and dO of a token block and head, from float `at` on */
    void (*load_keys)(const attention *a, const space *s, const keys *y);
    void (*meet)(const backward *b, const space *s, const keys *y, const tokens *q);
    void (*add_dq)(const backward *b, const space *s, const keys *y, const tokens *q, int first);
} backward_ways;
extern const backward_ways *const K(attention_grad_bf16); /* NULL: this instruction set has none */

#endif
