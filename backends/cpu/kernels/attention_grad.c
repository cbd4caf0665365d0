/* attention_grad.c - the gradient of attention, from q, k, v, o, lse and do, without the scores (Dao 2023, algorithm 2).
 *
 *   P = exp(s - lse)   dV = P^T dO   dP = dO V^T   dS = P (dP - D), D = rowsum(dO O)   dQ = scale dS K   dK = scale dS^T Q
 *
 * A unit is a block of BK keys of one sequence and key head; it meets the blocks of BQ tokens in ascending order and keeps dK and dV to itself.
 * dQ is shared: the unit of keys j adds to token block i only after the unit of keys j - 1 has, so that the order of the sums is fixed.
 * Units are handed out in order, so whom one waits for is done or running: no deadlock. The extra keys come first, one unit a key head. */
#include "attention.h"

#include <sched.h>

typedef struct backward {
    attention a;
    const float *o, *lse, *dy;
    float *dq, *dk, *dv, *dk_extra, *dv_extra;
    float *delta;     /* [T, n]: D */
    atomic_int *done; /* of unit u: token blocks below this number are finished */
} backward;

enum { PAD = (BQ + MR - 1) / MR * MR,
       PADDED = PAD * HEADS_MOST };

typedef struct space {
    float *q, *dy;           /* [rows / MR][h][MR]: packed, for s and dP */
    float *q_rows, *dy_rows; /* [rows][hp]                     */
    float *p, *ds;           /* [rows][BK]                        */
    float *kt, *vt;          /* [BK / NR][h][NR]                  */
    float *k;                /* [BK][hp]                          */
    float *dk, *dv;          /* [BK][hp]                          */
} space;

static int64_t scratch_floats(int64_t h, int64_t hp) { return PADDED * (2 * h + 2 * hp + 2 * BK) + BK * (2 * h + 3 * hp) + 64; }

static space space_of(const attention *a, char *scratch)
{
    space s;
    s.q = (float *)(void *)scratch;
    s.dy = s.q + PADDED * a->h;
    s.q_rows = s.dy + PADDED * a->h;
    s.dy_rows = s.q_rows + PADDED * a->hp;
    s.p = s.dy_rows + PADDED * a->hp;
    s.ds = s.p + PADDED * BK;
    s.kt = s.ds + PADDED * BK;
    s.vt = s.kt + BK * a->h;
    s.k = s.vt + BK * a->h;
    s.dk = s.k + BK * a->hp;
    s.dv = s.dk + BK * a->hp;
    return s;
}

/* ---- D, and zeros to add to --------------------------------------------------------------------------------------------------------------- */
enum { TOKENS = 32 };

static void prepare(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const backward *b = ctx;
    const attention *a = &b->a;
    for (int64_t t = unit * TOKENS; t < a->T && t < (unit + 1) * TOKENS; t++) {
        for (int64_t n = 0; n < a->n; n++) {
            const float *o = b->o + t * a->q_width + n * a->h, *dy = b->dy + t * a->q_width + n * a->h;
            vf sum = {0};
            for (int64_t j = 0; j < a->h; j += VW) sum = v_fma(map_load(o, j, a->h - j), map_load(dy, j, a->h - j), sum);
            b->delta[t * a->n + n] = v_sum(sum);
        }
        if (b->dq) memset(b->dq + t * a->q_width, 0, (size_t)a->q_width * sizeof(float));
        if (b->dk) memset(b->dk + t * a->kv_width, 0, (size_t)a->kv_width * sizeof(float));
        if (b->dv) memset(b->dv + t * a->kv_width, 0, (size_t)a->kv_width * sizeof(float));
    }
}

/* ---- one block of keys ---------------------------------------------------------------------------------------------------------------------- */
typedef struct keys {
    const float *k, *v;
    int64_t n, key, head;
    int extra;
} keys;

static void load_keys(const attention *a, const space *s, const keys *y)
{
    for (int64_t j = 0; j < y->n; j += NR) {
        pack_across(y->k + j * a->kv_width, a->kv_width, y->n - j, a->h, s->kt + j * a->h, NR);
        pack_across(y->v + j * a->kv_width, a->kv_width, y->n - j, a->h, s->vt + j * a->h, NR);
    }
    copy_rows(y->k, a->kv_width, y->n, BK, a->h, a->hp, s->k);
    memset(s->dk, 0, (size_t)(BK * a->hp) * sizeof(float));
    memset(s->dv, 0, (size_t)(BK * a->hp) * sizeof(float));
}

/* Scores and dP of one row become P and dS. */
static void soften(const backward *b, const keys *y, int64_t t, int64_t n, int64_t place, float *p, float *ds)
{
    const attention *a = &b->a;
    const float lse = b->lse[t * a->n + n], delta = b->delta[t * a->n + n];
    int64_t low, high;
    visible(a, y->extra, place, y->key, y->n, &low, &high);
    for (int64_t j = 0; j < BK; j += VW) {
        vf s = v_load(p + j), slope = v_set(1.0f);
        if (a->softcap > 0.0f) {
            const vf th = v_tanh(s / a->softcap);
            s = th * a->softcap;
            slope = 1.0f - th * th;
        }
        const vi seen = inside(j, low, high);
        const vf x = v_select(seen, v_exp_small(s - lse), v_set(0.0f));
        v_store(p + j, x);
        v_store(ds + j, v_select(seen, x * (v_load(ds + j) - delta) * slope, v_set(0.0f)));
    }
}

/* Token block: rows t0 .. of the sequence, heads g0 .. of the group. Rows are laid out head by head, each padded to PAD. */
static void load_rows(const backward *b, const space *s, int64_t t0, int64_t nq, int64_t head, int64_t heads)
{
    const attention *a = &b->a;
    for (int64_t g = 0; g < heads; g++) {
        const int64_t at = t0 * a->q_width + (head + g) * a->h;
        for (int64_t i = 0; i < PAD; i += MR) {
            pack_across(b->a.q + at + i * a->q_width, a->q_width, most(0, nq - i), a->h, s->q + (g * PAD + i) * a->h, MR);
            pack_across(b->dy + at + i * a->q_width, a->q_width, most(0, nq - i), a->h, s->dy + (g * PAD + i) * a->h, MR);
        }
        copy_rows(b->a.q + at, a->q_width, nq, PAD, a->h, a->hp, s->q_rows + g * PAD * a->hp);
        copy_rows(b->dy + at, a->q_width, nq, PAD, a->h, a->hp, s->dy_rows + g * PAD * a->hp);
    }
}

static void meet(const backward *b, const space *s, const keys *y, int64_t t0, int64_t nq, int64_t place, int64_t head, int64_t heads)
{
    const attention *a = &b->a;
    const int64_t rows = heads * PAD;
    load_rows(b, s, t0, nq, head, heads);
    for (int64_t j = 0; j < y->n; j += NR)
        for (int64_t i = 0; i < rows; i += MR) {
            tile(MR, NR, a->h, s->q + i * a->h, 1, MR, s->kt + j * a->h, NR, a->scale, s->p + i * BK + j, BK, NULL, 0);
            tile(MR, NR, a->h, s->dy + i * a->h, 1, MR, s->vt + j * a->h, NR, 1.0f, s->ds + i * BK + j, BK, NULL, 0);
        }
    for (int64_t g = 0; g < heads; g++)
        for (int64_t t = 0; t < PAD; t++) {
            float *p = s->p + (g * PAD + t) * BK, *ds = s->ds + (g * PAD + t) * BK;
            if (t < nq) {
                soften(b, y, t0 + t, head + g, place + t, p, ds);
            } else {
                memset(p, 0, BK * sizeof *p);
                memset(ds, 0, BK * sizeof *ds);
            }
        }
    for (int64_t j = 0; j < a->hp; j += NR)
        for (int64_t i = 0; i < y->n; i += MR) {
            const int64_t valid = least(MR, y->n - i), at = i * a->hp + j;
            tile(valid, NR, rows, s->p + i, 1, BK, s->dy_rows + j, a->hp, 1.0f, s->dv + at, a->hp, s->dv + at, a->hp);
            tile(valid, NR, rows, s->ds + i, 1, BK, s->q_rows + j, a->hp, a->scale, s->dk + at, a->hp, s->dk + at, a->hp);
        }
}

static void add_dq(const backward *b, const space *s, const keys *y, int64_t t0, int64_t nq, int64_t head, int64_t heads)
{
    const attention *a = &b->a;
    for (int64_t g = 0; g < heads; g++)
        for (int64_t j = 0; j < a->h; j += NR)
            for (int64_t i = 0; i < nq; i += MR) {
                float *to = b->dq + (t0 + i) * a->q_width + (head + g) * a->h + j;
                tile(least(MR, nq - i), least(NR, a->h - j), y->n, s->ds + (g * PAD + i) * BK, BK, 1, s->k + j, a->hp, a->scale, to, a->q_width, to, a->q_width);
            }
}

static void wait_for(const atomic_int *done, int32_t block)
{
    for (int spins = 0; atomic_load_explicit(done, memory_order_acquire) <= block; spins++) {
        if (spins > 1000) sched_yield();
    }
}

/* The keys y meet token blocks first .. last - 1 of sequence p. before, after: tickets, NULL for the extra keys. */
static void all_rows(const backward *b, const space *s, const keys *y, const span *p, int64_t first, int64_t last, const atomic_int *before, atomic_int *after)
{
    const attention *a = &b->a;
    for (int64_t i = first; i < last; i++) {
        const int64_t at = i * BQ, nq = least(BQ, p->rows - at);
        for (int64_t g = 0; g < a->group; g += HEADS_MOST) {
            const int64_t heads = least(HEADS_MOST, a->group - g), head = y->head * a->group + g;
            meet(b, s, y, p->first + at, nq, at, head, heads);
            if (!b->dq) continue;
            if (before && g == 0) wait_for(before, (int32_t)i);
            add_dq(b, s, y, p->first + at, nq, head, heads);
        }
        if (after) atomic_store_explicit(after, (int32_t)i + 1, memory_order_release);
    }
    if (after) atomic_store_explicit(after, INT32_MAX, memory_order_release);
}

static void store_keys(const attention *a, const keys *y, const float *from, float *to, int64_t row)
{
    if (!to) return;
    for (int64_t i = 0; i < y->n; i++) memcpy(to + (row + i) * a->kv_width + y->head * a->h, from + i * a->hp, (size_t)a->h * sizeof(float));
}

static void extra_unit(void *ctx, int64_t head, int thread)
{
    const backward *b = ctx;
    const attention *a = &b->a;
    const space s = space_of(a, a->call->scratch + thread * a->call->scratch_bytes);
    for (int64_t j = 0; j < a->m; j += BK) {
        const int64_t at = j * a->kv_width + head * a->h;
        const keys y = {a->k_extra + at, a->v_extra + at, least(BK, a->m - j), 0, head, 1};
        load_keys(a, &s, &y);
        for (int64_t q = 0; q < a->S; q++) {
            const span p = span_of(a, q);
            all_rows(b, &s, &y, &p, 0, (p.rows + BQ - 1) / BQ, NULL, NULL);
        }
        store_keys(a, &y, s.dk, b->dk_extra, j);
        store_keys(a, &y, s.dv, b->dv_extra, j);
    }
}

static void own_unit(void *ctx, int64_t index, int thread)
{
    const backward *b = ctx;
    const attention *a = &b->a;
    const int64_t entry = index / a->kv, head = index % a->kv;
    const int32_t *block = a->blocks[entry];
    const span p = span_of(a, block[0]);
    const int64_t key = (int64_t)block[1] * BK, at = (p.first + key) * a->kv_width + head * a->h;
    const space s = space_of(a, a->call->scratch + thread * a->call->scratch_bytes);
    const keys y = {a->k + at, a->v + at, least(BK, p.rows - key), key, head, 0};
    const int64_t end = a->window ? least(p.rows, key + y.n - 1 + a->window) : p.rows;
    load_keys(a, &s, &y);
    all_rows(b, &s, &y, &p, key / BQ, (end + BQ - 1) / BQ, block[1] ? &b->done[index - a->kv] : NULL, &b->done[index]);
    store_keys(a, &y, s.dk, b->dk, p.first + key);
    store_keys(a, &y, s.dv, b->dv, p.first + key);
}

static graft_status run(cpu_call *c)
{
    backward b = {.a = attention_of(c), .o = c->in[6].data, .lse = c->in[7].data, .dy = c->in[8].data};
    const attention *a = &b.a;
    float *outs[5];
    for (int i = 0; i < 5; i++) outs[i] = c->out[i].on ? c->out[i].data : NULL;
    b.dq = outs[0], b.dk = outs[1], b.dv = outs[2], b.dk_extra = outs[3], b.dv_extra = outs[4];
    b.delta = (float *)(void *)c->work;
    char *rest = c->work + round_up(a->T * a->n * (int64_t)sizeof(float), 64);
    graft_status status = attention_blocks(&b.a, BK, 0, rest);
    if (status != GRAFT_OK) return status;
    for (int64_t i = 0, j = a->n_blocks - 1; i < j; i++, j--) { /* first block first: the order of the tickets */
        int32_t swap[2];
        memcpy(swap, a->blocks[i], sizeof swap);
        memcpy(a->blocks[i], a->blocks[j], sizeof swap);
        memcpy(a->blocks[j], swap, sizeof swap);
    }
    b.done = (atomic_int *)(void *)(rest + round_up(a->n_blocks * (int64_t)sizeof(int32_t[2]), 64));
    for (int64_t i = 0; i < a->n_blocks * a->kv; i++) atomic_init(&b.done[i], 0);
    cpu_pool_run(c->pool, (a->T + TOKENS - 1) / TOKENS, prepare, &b);
    if (a->m) cpu_pool_run(c->pool, a->kv, extra_unit, &b);
    cpu_pool_run(c->pool, a->n_blocks * a->kv, own_unit, &b);
    return GRAFT_OK;
}

static void room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    const attention a = attention_of(c);
    const int64_t blocks = blocks_most(a.T, a.S, BK);
    r->work = round_up(a.T * a.n * (int64_t)sizeof(float), 64) + round_up(blocks * (int64_t)sizeof(int32_t[2]), 64) + blocks * a.kv * (int64_t)sizeof(atomic_int);
    r->scratch = scratch_floats(a.h, a.hp) * (int64_t)sizeof(float);
}

const cpu_op K(ops_attention_grad)[] = {
    {"attention_grad/1", F32, {{"heads", 1}, {"kv_heads", 1}, {"window", 0}, {"scale", 1}, {"softcap", 0}}, run, room},
    END_OF_OPS,
};
