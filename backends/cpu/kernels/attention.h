/* attention.h - what attention forward and backward share: the problem, its blocks, tiles of keys.
 *
 * A block of BQ tokens times the heads that share one key head makes rows; they meet keys BK at a time. Keys of one sequence are first the
 * extra ones (seen by all), then its own: rows key_first .. of k and v (of the cache, for attention_cached). The token at place p of its
 * sequence sees own keys [p - window + 1, p].
 *
 * Where matrix products multiply bf16 (cpu_call.compute), so do these: q, k, v, dO, the probabilities and dS are rounded once, as pairs (pairs.h);
 * scores, softmax, its maximum and sum, o, lse, D and all sums stay f32. */
#ifndef CPU_KERNELS_ATTENTION_H
#define CPU_KERNELS_ATTENTION_H

#include "gemm.h"
#include "map.h"

enum { BQ = 60,
       BK = 128,
       HEADS_MOST = 4,
       ROWS_MOST = BQ * HEADS_MOST };

typedef struct attention {
    const cpu_call *call;
    const float *q, *k, *v, *k_extra, *v_extra;
    const int32_t *seq;
    float *o, *lse;                               /* lse may be NULL */
    int64_t T, S, n, kv, group, h, hp, m, window; /* hp: h up to a multiple of NR; window 0: none */
    int64_t q_width, kv_width;                    /* floats a token of q and of k */
    float scale, softcap;
    int cached;
    int32_t (*blocks)[2]; /* sequence, block within it */
    int64_t n_blocks;
} attention;

typedef struct span {
    int64_t first, rows, key_first, before;
} span; /* of one sequence; before: own keys in front of its first row */

INLINE span span_of(const attention *a, int64_t s)
{
    const int32_t *x = a->seq + 4 * s;
    return a->cached ? (span){x[0], x[1], x[2], x[3]} : (span){x[0], x[1], x[0], 0};
}

/* attrs: heads, kv_heads, window, scale, softcap; inputs q, k, v, seq, k_extra, v_extra. */
static inline attention attention_of(const cpu_call *c)
{
    attention a = {.call = c, .q = c->in[0].data, .k = c->in[1].data, .v = c->in[2].data, .seq = c->in[3].data, .T = c->in[0].dims[0], .S = c->in[3].dims[0], .n = c->attr[0].i, .kv = c->attr[1].i, .window = c->attr[2].i, .scale = (float)c->attr[3].r, .softcap = (float)c->attr[4].r};
    a.group = a.n / a.kv;
    a.q_width = c->in[0].dims[1];
    a.kv_width = c->in[1].dims[1];
    a.h = a.q_width / a.n;
    a.hp = round_up(a.h, NR);
    if (c->in[4].on) {
        a.k_extra = c->in[4].data;
        a.v_extra = c->in[5].data;
        a.m = c->in[4].dims[0];
    }
    return a;
}

/* Sequences must lie inside the batch (and the cache). Lists their blocks of `size` tokens. */
static inline graft_status attention_blocks(attention *a, int64_t size, int64_t cache_rows, void *room)
{
    a->blocks = room;
    a->n_blocks = 0;
    for (int64_t s = 0; s < a->S; s++) {
        const span p = span_of(a, s);
        if (p.first < 0 || p.rows < 0 || p.first + p.rows > a->T || p.before < 0 || p.key_first < 0 || (a->cached && p.key_first + p.before + p.rows > cache_rows))
            return a->call->host->fail(a->call->err, GRAFT_INTERNAL, "attention", "expected sequence %lld inside %lld tokens and %lld cached rows, found rows %lld + %lld, cache %lld + %lld",
                                       (long long)s, (long long)a->T, (long long)cache_rows, (long long)p.first, (long long)p.rows, (long long)p.key_first, (long long)p.before);
        for (int64_t b = (p.rows + size - 1) / size - 1; b >= 0; b--) { /* long rows of keys first: the threads end together */
            a->blocks[a->n_blocks][0] = (int32_t)s;
            a->blocks[a->n_blocks++][1] = (int32_t)b;
        }
    }
    return GRAFT_OK;
}

/* attention_step.c: at most one new token a sequence, over a cache of that many rows. The bytes that it needs at capacity. */
int K(attention_step_fits)(const attention *a);
void K(attention_step)(const attention *a, int64_t cached, char *work);
int64_t K(attention_step_work)(const attention *a, int64_t cached);
int64_t K(attention_step_scratch)(const attention *a);

INLINE int64_t pairs_of(int64_t k) { return (k + 1) / 2; }

INLINE int64_t blocks_most(int64_t T, int64_t S, int64_t size) { return T / size + S + 1; }

/* `lines` rows of h floats, ld apart, to out[h][width] (a panel; missing rows zero): the transposed keys, or MR rows of queries. */
INLINE void pack_across(const float *x, int64_t ld, int64_t lines, int64_t h, float *out, int width)
{
    for (int first = 0; first < width; first += VW) {
        const int64_t here = most(0, least(VW, lines - first)), keep = least(VW, width - first);
        for (int64_t p = 0; p < h; p += VW) {
            const int64_t n = least(VW, h - p);
            vf r[VW];
            for (int i = 0; i < VW; i++) r[i] = i >= here ? (vf){0} : n == VW ? v_load(x + (first + i) * ld + p)
                                                                              : v_load_n(x + (first + i) * ld + p, n);
            v_transpose(r);
            for (int64_t i = 0; i < n; i++) {
                if (keep == VW) v_store(out + (p + i) * width + first, r[i]);
                else v_store_n(out + (p + i) * width + first, r[i], keep);
            }
        }
    }
}

/* `lines` rows of h floats to out[lines][hp], zeros behind h and in rows up to `total`. */
INLINE void copy_rows(const float *x, int64_t ld, int64_t lines, int64_t total, int64_t h, int64_t hp, float *out)
{
    for (int64_t i = 0; i < total; i++)
        for (int64_t p = 0; p < hp; p += VW) {
            const int64_t left = h - p;
            const vf v = i >= lines || left <= 0 ? (vf){0} : map_load(x + i * ld, p, left);
            v_store(out + i * hp + p, v);
        }
}

/* Which of n keys from own key `key` on does place p see: [*low, *high). extra: all. */
INLINE void visible(const attention *a, int extra, int64_t p, int64_t key, int64_t n, int64_t *low, int64_t *high)
{
    *low = extra || !a->window ? 0 : most(0, p - a->window + 1 - key);
    *high = extra ? n : least(n, p + 1 - key);
}

INLINE vi lanes(void)
{
    vi x = {0};
    for (int i = 0; i < VW; i++) x[i] = i;
    return x;
}
INLINE vi inside(int64_t j, int64_t low, int64_t high)
{
    const vi lane = lanes();
    return (lane >= (int32_t)(low - j)) & (lane < (int32_t)(high - j));
}

#endif
