/* attention_grad_bf16.c - the products of attention_grad.c by pairs of bf16 (pairs.h). P and dS are rounded in the registers that computed them. */
#include "attention_grad.h"
#include "pairs.h"

#if defined(__AVX512BF16__)

static void prepare(const backward *b, int64_t unit, int64_t at, int64_t nq)
{
    const attention *a = &b->a;
    const int64_t half = pairs_of(a->h), panels = unit * PAD * half, rows = unit * PAD / 2 * a->hp;
    for (int64_t i = 0; i < nq; i += MR) {
        pair_lines(a->q, at + i * a->q_width, a->q_width, GRAFT_F32, nq - i, a->h, (uint32_t *)(void *)b->q_packed + panels + i * half, MR, 0);
        pair_lines(b->dy, at + i * a->q_width, a->q_width, GRAFT_F32, nq - i, a->h, (uint32_t *)(void *)b->dy_packed + panels + i * half, MR, 0);
    }
    pair_rows(a->q, at, a->q_width, GRAFT_F32, a->h, nq, b->q_rows + rows, a->hp);
    pair_rows(b->dy, at, a->q_width, GRAFT_F32, a->h, nq, b->dy_rows + rows, a->hp);
}

static void load_keys(const attention *a, const space *s, const keys *y)
{
    const int64_t half = pairs_of(a->h);
    for (int64_t j = 0; j < y->n; j += NR) {
        pair_lines(y->k, j * a->kv_width, a->kv_width, GRAFT_F32, y->n - j, a->h, (uint32_t *)(void *)s->kt + j * half, NR, 0);
        pair_lines(y->v, j * a->kv_width, a->kv_width, GRAFT_F32, y->n - j, a->h, (uint32_t *)(void *)s->vt + j * half, NR, 0);
    }
    pair_rows(y->k, 0, a->kv_width, GRAFT_F32, a->h, y->n, (uint32_t *)(void *)s->k, a->hp);
}

typedef struct softened { /* one token: what its scores become P and dS by */
    float lse, delta;
    int64_t low, high; /* keys that it sees */
} softened;

INLINE void gradient_at(const attention *a, const softened *t, int whole, const float *score, const float *dp, int64_t j, vf *p, vf *ds)
{
    vf s = v_load(score + j), slope = v_set(1.0f);
    if (a->softcap > 0.0f) {
        const vf th = v_tanh(s / a->softcap);
        s = th * a->softcap;
        slope = 1.0f - th * th;
    }
    *p = v_exp_small(s - t->lse);
    *ds = *p * (v_load(dp + j) - t->delta);
    if (a->softcap > 0.0f) *ds = *ds * slope;
    if (whole) return;
    const vi seen = inside(j, t->low, t->high);
    *p = v_select(seen, *p, v_set(0.0f));
    *ds = v_select(seen, *ds, v_set(0.0f));
}

/* 32 places of two rows become 32 pairs. */
INLINE void zip_rows(uint32_t *to, __m512i a, __m512i b)
{
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_or_si512(low, _mm512_set1_epi16(16));
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(a, low, b));
    _mm512_storeu_si512(to + PAIRS, _mm512_permutex2var_epi16(a, high, b));
}

/* Scores and dP of rows t and t + 1 (at 0 and BK) become pairs of P and dS, and two rows of dS. */
static void soften(const attention *a, const softened *two, int64_t n, const float *p, const float *dp, uint32_t *p_pairs, uint32_t *ds_pairs, uint32_t *ds_rows)
{
    const int64_t low = most(two[0].low, two[1].low), high = least(two[0].high, two[1].high), last = most(two[0].high, two[1].high);
    for (int64_t j = 0; j < n; j += 2 * VW) {
        vf x[4], d[4];
        if (j >= last) {
            for (int i = 0; i < 4; i++) x[i] = d[i] = (vf){0};
        } else {
            const int whole = j >= low && j + 2 * VW <= high;
            for (int i = 0; i < 4; i++) gradient_at(a, &two[i / 2], whole, p + i / 2 * BK, dp + i / 2 * BK, j + i % 2 * VW, &x[i], &d[i]);
        }
        const __m512i first = rounded(d[0], d[1]), second = rounded(d[2], d[3]);
        zip_rows(p_pairs + j, rounded(x[0], x[1]), rounded(x[2], x[3]));
        zip_rows(ds_pairs + j, first, second);
        _mm512_storeu_si512(ds_rows + j / 2, first);
        _mm512_storeu_si512(ds_rows + BK / 2 + j / 2, second);
    }
}

/* to[keys][hp] += scale left^T rows, keys i .. i + valid, as in attention_grad.c. */
static void add_keys(const attention *a, const keys *y, const tokens *q, int64_t i, const float *left, const uint32_t *right, float scale, float *to)
{
    const int64_t valid = least(MR, y->n - i), skip = y->extra ? 0 : most(0, least(q->nq, y->key + i - q->place)) / 2;
    const pieces heads = {q->heads, PAD * BK, PAD / 2 * a->hp};
    for (int64_t j = 0; j < a->hp; j += NR) {
        const int64_t at = i * a->hp + j;
        pair_tile(valid, NR, pairs_of(q->nq) - skip, (const uint32_t *)(const void *)left + skip * BK + i, 1, BK, right + skip * a->hp + j, a->hp, heads, scale, to + at, a->hp, to + at, a->hp);
    }
}

static void meet(const backward *b, const space *s, const keys *y, const tokens *q)
{
    const attention *a = &b->a;
    const int64_t half = pairs_of(a->h);
    const pieces one = {1, 0, 0};
    for (int64_t g = 0; g < q->heads; g++) {
        const uint32_t *qp = (const uint32_t *)(const void *)b->q_packed + (q->packed + g) * PAD * half, *dp = (const uint32_t *)(const void *)b->dy_packed + (q->packed + g) * PAD * half;
        const uint32_t *kt = (const uint32_t *)(const void *)s->kt, *vt = (const uint32_t *)(const void *)s->vt;
        float *p = s->p + g * PAD * BK, *ds = s->ds + g * PAD * BK;
        uint32_t *ds_rows = (uint32_t *)(void *)s->q_rows + g * PAD * BK / 2;
        for (int64_t i = 0; i < q->nq; i += MR) {
            const int64_t last = least(q->nq, i + MR) - 1, seen = seen_by(y, q, last);
            for (int64_t j = 0; j < seen; j += NR) {
                pair_tile(MR, NR, half, qp + i * half, 1, MR, kt + j * half, NR, one, a->scale, p + i * BK + j, BK, NULL, 0);
                pair_tile(MR, NR, half, dp + i * half, 1, MR, vt + j * half, NR, one, 1.0f, ds + i * BK + j, BK, NULL, 0);
            }
            for (int64_t t = i; t <= last; t += 2) {
                softened two[2] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
                for (int64_t k = 0; k < 2 && t + k <= last; k++) {
                    const int64_t at = (q->t0 + t + k) * a->n + q->head + g;
                    two[k] = (softened){.lse = b->lse[at], .delta = b->delta[at]};
                    visible(a, y->extra, q->place + t + k, y->key, y->n, &two[k].low, &two[k].high);
                }
                soften(a, two, round_up(y->n, 2 * VW), p + t * BK, ds + t * BK, (uint32_t *)(void *)p + t / 2 * BK, (uint32_t *)(void *)ds + t / 2 * BK, ds_rows + t * BK / 2);
            }
        }
    }
    const int64_t rows = q->packed * PAD / 2 * a->hp;
    for (int64_t i = 0; i < y->n; i += MR) {
        add_keys(a, y, q, i, s->p, b->dy_rows + rows, 1.0f, s->dv);
        add_keys(a, y, q, i, s->ds, b->q_rows + rows, a->scale, s->dk);
    }
}

static void add_dq(const backward *b, const space *s, const keys *y, const tokens *q, int first)
{
    const attention *a = &b->a;
    const uint32_t *k = (const uint32_t *)(const void *)s->k, *ds = (const uint32_t *)(const void *)s->q_rows;
    for (int64_t g = 0; g < q->heads; g++)
        for (int64_t i = 0; i < q->nq; i += MR) {
            const int64_t valid = least(MR, q->nq - i), seen = seen_by(y, q, i + valid - 1);
            for (int64_t j = 0; j < a->h; j += NR) {
                float *to = b->dq + (q->t0 + i) * a->q_width + (q->head + g) * a->h + j;
                pair_tile(valid, least(NR, a->h - j), pairs_of(seen), ds + (g * PAD + i) * BK / 2, BK / 2, 1, k + j, a->hp, (pieces){1, 0, 0}, a->scale, to, a->q_width, first ? NULL : to, a->q_width);
            }
        }
}

static const backward_ways in_bf16 = {prepare, load_keys, meet, add_dq};
const backward_ways *const K(attention_grad_bf16) = &in_bf16;

#else

const backward_ways *const K(attention_grad_bf16) = NULL;

#endif
