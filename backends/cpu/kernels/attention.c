/* attention.c - attention forward with running maximum and sum (Milakov & Gimelshein 2018, Dao et al. 2022): scores never exist in full.
 * A unit is a block of tokens and up to HEADS_MOST query heads of one key head; nothing is shared between units but reads. */
#include "attention_forward.h"

static int64_t scratch_floats(int64_t h, int64_t hp) { return ROWS_MOST * (h + BK + hp + 2) + BK * (h + hp) + 64; }

static forward forward_of(const attention *a, char *scratch)
{
    forward f;
    f.q = (float *)(void *)scratch;
    f.s = f.q + ROWS_MOST * a->h;
    f.o = f.s + ROWS_MOST * BK;
    f.top = f.o + ROWS_MOST * a->hp;
    f.sum = f.top + ROWS_MOST;
    f.kt = f.sum + ROWS_MOST;
    f.v = f.kt + BK * a->h;
    return f;
}

INLINE void keep(float *s, int64_t j, vf p, vf q)
{
    v_store(s + j, p);
    v_store(s + j + VW, q);
}

static void meet(const attention *a, const forward *f, int64_t rows, int64_t nq, int64_t place, const keys *b)
{
    for (int64_t j = 0; j < b->n; j += NR) pack_across(b->k + j * b->ld, b->ld, b->n - j, a->h, f->kt + j * a->h, NR);
    const int direct = a->h == a->hp;
    if (!direct) copy_rows(b->v, b->ld, b->n, b->n, a->h, a->hp, f->v);
    const float *v = direct ? b->v : f->v;
    const int64_t ldv = direct ? b->ld : a->hp;
    for (int64_t i = 0; i < rows; i += MR) {
        const int64_t seen = seen_by(b, i, rows, nq, place), valid = least(MR, rows - i);
        for (int64_t j = 0; j < seen; j += NR) tile(valid, NR, a->h, f->q + i * a->h, 1, MR, f->kt + j * a->h, NR, a->scale, f->s + i * BK + j, BK, NULL, 0);
        for (int64_t r = i; r < i + valid; r++) {
            int64_t low, high;
            visible(a, b->extra, place + r % nq, b->key, b->n, &low, &high);
            soften(a, f, r, low, high, round_up(seen, NR), keep);
        }
        if (!seen) continue;
        for (int64_t j = 0; j < a->hp; j += NR)
            tile(valid, NR, seen, f->s + i * BK, BK, 1, v + j, ldv, 1.0f, f->o + i * a->hp + j, a->hp, f->o + i * a->hp + j, a->hp);
    }
}

static void pack_queries(const attention *a, const forward *f, int64_t rows)
{
    for (int64_t i = 0; i < rows; i += MR) pack_across(f->o + i * a->h, a->h, rows - i, a->h, f->q + i * a->h, MR);
}

static const attention_ways in_f32 = {pack_queries, meet};

static void unit(void *ctx, int64_t index, int thread)
{
    const attention *a = ctx;
    const int64_t parts = (a->group + HEADS_MOST - 1) / HEADS_MOST, part = index % parts, head = index / parts % a->kv;
    const int32_t *block = a->blocks[index / parts / a->kv];
    const span s = span_of(a, block[0]);
    const int64_t t0 = s.first + block[1] * BQ, nq = least(BQ, s.rows - block[1] * BQ), place = s.before + block[1] * BQ;
    const int64_t g0 = part * HEADS_MOST, heads = least(HEADS_MOST, a->group - g0), rows = heads * nq, first_head = head * a->group + g0;
    const forward f = forward_of(a, a->call->scratch + thread * a->call->scratch_bytes);
    /* rows: head by head; the rows of o hold the queries until they are packed */
    for (int64_t g = 0; g < heads; g++)
        for (int64_t t = 0; t < nq; t++) memcpy(f.o + (g * nq + t) * a->h, a->q + (t0 + t) * a->q_width + (first_head + g) * a->h, (size_t)a->h * sizeof(float));
    const attention_ways *how = a->call->compute == CPU_BF16 && rows >= MR ? K(attention_bf16) : &in_f32; /* for a few rows rounding the keys costs more than it saves */
    how->pack_queries(a, &f, rows);
    memset(f.o, 0, (size_t)(ROWS_MOST * a->hp) * sizeof(float));
    for (int64_t r = 0; r < rows; r++) f.top[r] = -__builtin_inff(), f.sum[r] = 0.0f;
    for (int64_t j = 0; j < a->m; j += BK) {
        const keys b = {a->k_extra + j * a->kv_width + head * a->h, a->v_extra + j * a->kv_width + head * a->h, a->kv_width, least(BK, a->m - j), 0, 1};
        how->meet(a, &f, rows, nq, place, &b);
    }
    const int64_t last = place + nq; /* own keys in all */
    for (int64_t j = a->window ? most(0, place - a->window + 1) / BK * BK : 0; j < last; j += BK) {
        const int64_t at = (s.key_first + j) * a->kv_width + head * a->h;
        const keys b = {a->k + at, a->v + at, a->kv_width, least(BK, last - j), j, 0};
        how->meet(a, &f, rows, nq, place, &b);
    }
    for (int64_t r = 0; r < rows; r++) {
        const int64_t t = t0 + r % nq, n = first_head + r / nq;
        float *o = a->o + t * a->q_width + n * a->h;
        for (int64_t j = 0; j < a->h; j += VW) map_store(o, j, map_load(f.o + r * a->hp, j, a->h - j) / f.sum[r], a->h - j);
        if (a->lse) a->lse[t * a->n + n] = f.top[r] + v_log(v_set(f.sum[r]))[0];
    }
}

static graft_status attend(attention *a, int64_t cache_rows)
{
    const graft_status status = attention_blocks(a, BQ, cache_rows, a->call->work);
    if (status != GRAFT_OK) return status;
    int64_t inside_sequences = 0;
    for (int64_t s = 0; s < a->S; s++) inside_sequences += span_of(a, s).rows;
    if (inside_sequences < a->T) {
        memset(a->o, 0, (size_t)(a->T * a->q_width) * sizeof(float));
        if (a->lse) memset(a->lse, 0, (size_t)(a->T * a->n) * sizeof(float));
    }
    if (a->cached && K(attention_step_fits)(a)) {
        K(attention_step)
        (a, cache_rows, a->call->work);
        return GRAFT_OK;
    }
    cpu_pool_run(a->call->pool, a->n_blocks * a->kv * ((a->group + HEADS_MOST - 1) / HEADS_MOST), unit, a);
    return GRAFT_OK;
}

static graft_status plain(cpu_call *c)
{
    attention a = attention_of(c);
    float *o = c->out[0].on ? c->out[0].data : NULL;
    if (!o) return c->host->fail(c->err, GRAFT_INTERNAL, "attention/1", "expected a reader of the first output, found none");
    a.o = o;
    a.lse = c->out[1].on ? c->out[1].data : NULL;
    return attend(&a, 0);
}

/* New rows of k and v go to the caches first; then the caches are what is attended to. */
static graft_status cached(cpu_call *c)
{
    attention a = attention_of(c);
    const int64_t rows = c->in[6].dims[0];
    a.cached = 1;
    graft_status status = attention_blocks(&a, BQ, rows, c->work);
    if (status != GRAFT_OK) return status;
    float *caches[2];
    for (int i = 0; i < 2; i++) {
        const float *from = i ? a.v : a.k;
        caches[i] = c->out[1 + i].on ? c->out[1 + i].data : c->in[6 + i].data;
        if (caches[i] != c->in[6 + i].data) memcpy(caches[i], c->in[6 + i].data, (size_t)c->in[6 + i].n * sizeof(float));
        for (int64_t s = 0; s < a.S; s++) {
            const span p = span_of(&a, s);
            memcpy(caches[i] + (p.key_first + p.before) * a.kv_width, from + p.first * a.kv_width, (size_t)(p.rows * a.kv_width) * sizeof(float));
        }
    }
    if (!c->out[0].on) return GRAFT_OK;
    a.k = caches[0];
    a.v = caches[1];
    a.o = c->out[0].data;
    return attend(&a, rows);
}

static void room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    const attention a = attention_of(c);
    r->work = blocks_most(a.T, a.S, BQ) * (int64_t)sizeof(int32_t[2]);
    r->scratch = scratch_floats(a.h, a.hp) * (int64_t)sizeof(float);
}

static void cached_room(const cpu_call *c, int threads, cpu_room *r)
{
    const attention a = attention_of(c);
    room(c, threads, r);
    r->work = most(r->work, K(attention_step_work)(&a, c->in[6].dims[0]));
    r->scratch = most(r->scratch, K(attention_step_scratch)(&a));
}

#define HEADS \
    {"heads", 1}, {"kv_heads", 1}, {"window", 0}, {"scale", 1}, { "softcap", 0 }
const cpu_op K(ops_attention)[] = {
    {"attention/1", F32, {HEADS}, plain, room},
    {"attention_cached/1", F32, {HEADS}, cached, cached_room},
    END_OF_OPS,
};
