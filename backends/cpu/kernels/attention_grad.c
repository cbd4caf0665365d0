/* attention_grad.c - the gradient of attention, from q, k, v, o, lse and do, without the scores (Dao 2023, algorithm 2).
 *
 *   P = exp(s - lse)   dV = P^T dO   dP = dO V^T   dS = P (dP - D), D = rowsum(dO O)   dQ = scale dS K   dK = scale dS^T Q
 *
 * A unit is a block of BK keys of one sequence and key head; it meets the blocks of BQ tokens in ascending order and keeps dK and dV to itself.
 * dQ is shared: the unit of keys j adds to token block i only after the unit of keys j - 1 has, so that the order of the sums is fixed.
 * Units are handed out in order, so whom one waits for is done or running: no deadlock. The extra keys come first, one unit a key head. */
#include "attention_grad.h"

#include <sched.h>

static int64_t rows_floats(int64_t hp) { return PADDED * most(hp, BK / 2); }
static int64_t scratch_floats(int64_t h, int64_t hp) { return rows_floats(hp) + PADDED * (hp + 2 * BK) + BK * (2 * h + 3 * hp) + 64; }

static space space_of(const attention *a, char *scratch)
{
    space s;
    s.q_rows = (float *)(void *)scratch;
    s.dy_rows = s.q_rows + rows_floats(a->hp);
    s.p = s.dy_rows + PADDED * a->hp;
    s.ds = s.p + PADDED * BK;
    s.kt = s.ds + PADDED * BK;
    s.vt = s.kt + BK * a->h;
    s.k = s.vt + BK * a->h;
    s.dk = s.k + BK * a->hp;
    s.dv = s.dk + BK * a->hp;
    return s;
}

/* ---- D, and queries and dO packed for the left side of a product: once, for all blocks of keys ------------------------------------------------- */
static void pack_tokens(const backward *b, int64_t unit, int64_t at, int64_t nq)
{
    const attention *a = &b->a;
    for (int64_t i = 0; i < nq; i += MR) {
        pack_across(a->q + at + i * a->q_width, a->q_width, nq - i, a->h, b->q_packed + (unit * PAD + i) * a->h, MR);
        pack_across(b->dy + at + i * a->q_width, a->q_width, nq - i, a->h, b->dy_packed + (unit * PAD + i) * a->h, MR);
    }
}

static void prepare(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const backward *b = ctx;
    const attention *a = &b->a;
    const int64_t block = unit / a->n, n = unit % a->n;
    const span s = span_of(a, b->rows[block][0]);
    const int64_t t0 = s.first + b->rows[block][1] * BQ, nq = least(BQ, s.rows - b->rows[block][1] * BQ), at = t0 * a->q_width + n * a->h;
    for (int64_t t = 0; t < nq; t++) {
        const float *o = b->o + at + t * a->q_width, *dy = b->dy + at + t * a->q_width;
        vf sum = {0};
        for (int64_t j = 0; j < a->h; j += VW) sum = v_fma(map_load(o, j, a->h - j), map_load(dy, j, a->h - j), sum);
        b->delta[(t0 + t) * a->n + n] = v_sum(sum);
    }
    b->how->prepare(b, unit, at, nq);
}

/* ---- one block of keys ---------------------------------------------------------------------------------------------------------------------- */
static void load_keys(const attention *a, const space *s, const keys *y)
{
    for (int64_t j = 0; j < y->n; j += NR) {
        pack_across(y->k + j * a->kv_width, a->kv_width, y->n - j, a->h, s->kt + j * a->h, NR);
        pack_across(y->v + j * a->kv_width, a->kv_width, y->n - j, a->h, s->vt + j * a->h, NR);
    }
    if (a->h < a->hp) copy_rows(y->k, a->kv_width, y->n, y->n, a->h, a->hp, s->k);
}

/* Scores and dP of one row become P and dS; unseen keys get zeros. */
static void soften(const backward *b, const keys *y, int64_t t, int64_t n, int64_t place, float *p, float *ds)
{
    const attention *a = &b->a;
    const float lse = b->lse[t * a->n + n], delta = b->delta[t * a->n + n];
    int64_t low, high;
    visible(a, y->extra, place, y->key, y->n, &low, &high);
    const int64_t end = round_up(y->n, VW);
    int64_t j = 0;
    if (a->softcap == 0.0f && low == 0)
        for (; j + VW <= high; j += VW) {
            const vf x = v_exp_small(v_load(p + j) - lse);
            v_store(p + j, x);
            v_store(ds + j, x * (v_load(ds + j) - delta));
        }
    for (; j < end && j < high; j += VW) {
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
    for (; j < end; j += VW) {
        v_store(p + j, (vf){0});
        v_store(ds + j, (vf){0});
    }
}

/* to[keys][hp] += scale left^T rows, keys i .. i + valid; left [rows][BK]. On the diagonal tokens before key i see none of these keys. */
static void add_keys(const attention *a, const keys *y, const tokens *q, int64_t i, const float *left, const float *right, int64_t ld, int64_t right_head, float scale, float *to)
{
    const int64_t valid = least(MR, y->n - i), skip = y->extra ? 0 : most(0, least(q->nq, y->key + i - q->place));
    const pieces heads = {q->heads, PAD * BK, right_head};
    for (int64_t j = 0; j < a->hp; j += NR) {
        const int64_t at = i * a->hp + j;
        tile_pieces(valid, NR, q->nq - skip, left + skip * BK + i, 1, BK, right + skip * ld + j, ld, heads, scale, to + at, a->hp, to + at, a->hp);
    }
}

static void meet(const backward *b, const space *s, const keys *y, const tokens *q)
{
    const attention *a = &b->a;
    for (int64_t g = 0; g < q->heads; g++) {
        const float *qp = b->q_packed + (q->packed + g) * PAD * a->h, *dp = b->dy_packed + (q->packed + g) * PAD * a->h;
        float *p = s->p + g * PAD * BK, *ds = s->ds + g * PAD * BK;
        for (int64_t i = 0; i < q->nq; i += MR) {
            const int64_t last = least(q->nq, i + MR) - 1, seen = seen_by(y, q, last);
            for (int64_t j = 0; j < seen; j += NR) {
                tile(MR, NR, a->h, qp + i * a->h, 1, MR, s->kt + j * a->h, NR, a->scale, p + i * BK + j, BK, NULL, 0);
                tile(MR, NR, a->h, dp + i * a->h, 1, MR, s->vt + j * a->h, NR, 1.0f, ds + i * BK + j, BK, NULL, 0);
            }
            for (int64_t t = i; t <= last; t++) soften(b, y, q->t0 + t, q->head + g, q->place + t, p + t * BK, ds + t * BK);
        }
    }
    const int direct = a->h == a->hp;
    const int64_t at = q->t0 * a->q_width + q->head * a->h;
    for (int64_t g = 0; g < q->heads && !direct; g++) {
        copy_rows(a->q + at + g * a->h, a->q_width, q->nq, q->nq, a->h, a->hp, s->q_rows + g * PAD * a->hp);
        copy_rows(b->dy + at + g * a->h, a->q_width, q->nq, q->nq, a->h, a->hp, s->dy_rows + g * PAD * a->hp);
    }
    const float *q_rows = direct ? a->q + at : s->q_rows, *dy_rows = direct ? b->dy + at : s->dy_rows;
    const int64_t ld = direct ? a->q_width : a->hp, next_head = direct ? a->h : PAD * a->hp;
    for (int64_t i = 0; i < y->n; i += MR) {
        add_keys(a, y, q, i, s->p, dy_rows, ld, next_head, 1.0f, s->dv);
        add_keys(a, y, q, i, s->ds, q_rows, ld, next_head, a->scale, s->dk);
    }
}

static void add_dq(const backward *b, const space *s, const keys *y, const tokens *q, int first)
{
    const attention *a = &b->a;
    const float *k = a->h < a->hp ? s->k : y->k;
    const int64_t ld = a->h < a->hp ? a->hp : a->kv_width;
    for (int64_t g = 0; g < q->heads; g++)
        for (int64_t i = 0; i < q->nq; i += MR) {
            const int64_t valid = least(MR, q->nq - i), seen = seen_by(y, q, i + valid - 1);
            for (int64_t j = 0; j < a->h; j += NR) {
                float *to = b->dq + (q->t0 + i) * a->q_width + (q->head + g) * a->h + j;
                tile(valid, least(NR, a->h - j), seen, s->ds + (g * PAD + i) * BK, BK, 1, k + j, ld, a->scale, to, a->q_width, first ? NULL : to, a->q_width);
            }
        }
}

static const backward_ways in_f32 = {pack_tokens, load_keys, meet, add_dq};

static const backward_ways *way(const cpu_call *c) { return c->compute == CPU_BF16 ? K(attention_grad_bf16) : &in_f32; }

static void begin_keys(const backward *b, const space *s, const keys *y)
{
    memset(s->dk, 0, (size_t)(BK * b->a.hp) * sizeof(float));
    memset(s->dv, 0, (size_t)(BK * b->a.hp) * sizeof(float));
    b->how->load_keys(&b->a, s, y);
}

static void wait_for(const atomic_int *done, int32_t block)
{
    for (int spins = 0; atomic_load_explicit(done, memory_order_acquire) <= block; spins++) {
        if (spins > 1000) sched_yield();
    }
}

/* The keys y meet token blocks first .. last - 1 of sequence p. fresh: they are the first to write dq there (else: token blocks on the window's
 * edge, whose first keys these are). before, after: tickets, NULL for the extra keys. */
static void all_rows(const backward *b, const space *s, const keys *y, int64_t sequence, int64_t first, int64_t last, int fresh, const atomic_int *before, atomic_int *after)
{
    const attention *a = &b->a;
    const span p = span_of(a, sequence);
    for (int64_t i = first; i < last; i++) {
        const int64_t at = i * BQ;
        const int first_keys = fresh || (!a->m && !y->extra && y->key == (a->window ? most(0, at - a->window + 1) / BK * BK : 0));
        for (int64_t g = 0; g < a->group; g += HEADS_MOST) {
            tokens q = {.t0 = p.first + at, .nq = least(BQ, p.rows - at), .place = at, .head = y->head * a->group + g, .heads = least(HEADS_MOST, a->group - g)};
            q.packed = (b->row_first[sequence] + i) * a->n + q.head;
            b->how->meet(b, s, y, &q);
            if (!b->dq) continue;
            if (before && g == 0) wait_for(before, (int32_t)i);
            b->how->add_dq(b, s, y, &q, first_keys);
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
        begin_keys(b, &s, &y);
        for (int64_t q = 0; q < a->S; q++) all_rows(b, &s, &y, q, 0, (span_of(a, q).rows + BQ - 1) / BQ, j == 0, NULL, NULL);
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
    begin_keys(b, &s, &y);
    all_rows(b, &s, &y, block[0], key / BQ, (end + BQ - 1) / BQ, 0, block[1] ? &b->done[index - a->kv] : NULL, &b->done[index]);
    store_keys(a, &y, s.dk, b->dk, p.first + key);
    store_keys(a, &y, s.dv, b->dv, p.first + key);
}

/* Workspace: D, packed rows, lists, tickets. Returns the bytes. */
static int64_t lay_out(backward *b, char *work)
{
    const attention *a = &b->a;
    const int64_t token_blocks = blocks_most(a->T, a->S, BQ), key_blocks = blocks_most(a->T, a->S, BK), blocks = token_blocks * a->n * PAD * 4;
    const int pairs = b->how != &in_f32;
    const int64_t packed = round_up(blocks * (pairs ? pairs_of(a->h) : a->h), 64), rows = pairs ? round_up(blocks / 2 * a->hp, 64) : 0;
    int64_t at = 0;
    b->delta = (float *)(void *)(work + at), at += round_up(a->T * a->n * 4, 64);
    b->q_packed = (float *)(void *)(work + at), at += packed;
    b->dy_packed = (float *)(void *)(work + at), at += packed;
    b->q_rows = (uint32_t *)(void *)(work + at), at += rows;
    b->dy_rows = (uint32_t *)(void *)(work + at), at += rows;
    b->rows = (int32_t(*)[2])(void *)(work + at), at += token_blocks * 8;
    b->a.blocks = (int32_t(*)[2])(void *)(work + at), at += key_blocks * 8;
    b->row_first = (int32_t *)(void *)(work + at), at += round_up(a->S * 4, 64);
    b->done = (atomic_int *)(void *)(work + at);
    return at + key_blocks * a->kv * (int64_t)sizeof(atomic_int);
}

/* Token blocks and blocks of keys, both ascending within a sequence. */
static graft_status list_blocks(backward *b)
{
    attention *a = &b->a;
    int32_t(*keys_list)[2] = a->blocks;
    graft_status status = attention_blocks(a, BQ, 0, b->rows);
    if (status != GRAFT_OK) return status;
    int64_t covered = 0, n = 0, k = 0;
    for (int64_t s = 0; s < a->S; s++) {
        const span p = span_of(a, s);
        covered += p.rows;
        b->row_first[s] = (int32_t)n;
        for (int64_t i = 0; i * BQ < p.rows; i++, n++) b->rows[n][0] = (int32_t)s, b->rows[n][1] = (int32_t)i;
        for (int64_t i = 0; i * BK < p.rows; i++, k++) keys_list[k][0] = (int32_t)s, keys_list[k][1] = (int32_t)i;
    }
    b->n_rows = n;
    a->blocks = keys_list;
    a->n_blocks = k;
    if (covered == a->T) return GRAFT_OK;
    if (b->dq) memset(b->dq, 0, (size_t)(a->T * a->q_width) * sizeof(float));
    if (b->dk) memset(b->dk, 0, (size_t)(a->T * a->kv_width) * sizeof(float));
    if (b->dv) memset(b->dv, 0, (size_t)(a->T * a->kv_width) * sizeof(float));
    return GRAFT_OK;
}

static graft_status run(cpu_call *c)
{
    backward b = {.a = attention_of(c), .o = c->in[6].data, .lse = c->in[7].data, .dy = c->in[8].data};
    const attention *a = &b.a;
    b.how = way(c);
    float *outs[5];
    for (int i = 0; i < 5; i++) outs[i] = c->out[i].on ? c->out[i].data : NULL;
    b.dq = outs[0], b.dk = outs[1], b.dv = outs[2], b.dk_extra = outs[3], b.dv_extra = outs[4];
    lay_out(&b, c->work);
    const graft_status status = list_blocks(&b);
    if (status != GRAFT_OK) return status;
    for (int64_t i = 0; i < a->n_blocks * a->kv; i++) atomic_init(&b.done[i], 0);
    cpu_pool_run(c->pool, b.n_rows * a->n, prepare, &b);
    if (a->m) cpu_pool_run(c->pool, a->kv, extra_unit, &b);
    cpu_pool_run(c->pool, a->n_blocks * a->kv, own_unit, &b);
    return GRAFT_OK;
}

static void room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    backward b = {.a = attention_of(c)};
    b.how = way(c);
    r->work = lay_out(&b, NULL);
    r->scratch = scratch_floats(b.a.h, b.a.hp) * (int64_t)sizeof(float);
}

const cpu_op K(ops_attention_grad)[] = {
    {"attention_grad/1", F32, {{"heads", 1}, {"kv_heads", 1}, {"window", 0}, {"scale", 1}, {"softcap", 0}}, run, room},
    END_OF_OPS,
};
