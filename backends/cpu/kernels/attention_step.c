/* attention_step.c - attention of one new token a sequence over a cache: decoding. It is bound by reading the cache, so nothing is packed: keys and values are read
 * once, where they lie. The keys of a sequence are cut into pieces of PIECE; a unit is one piece and as many key heads as make a few hundred neighbouring floats.
 *
 *   work: [sequence x part] counters | [units] unit | [units] { [query heads of a part] top, sum | [query heads][h] sums of values }
 *
 * The unit that ends last of a sequence and part adds the pieces, always in the order of the keys. */
#include "attention.h"

enum { PIECE = 64,
       PART_WIDTH = 256, /* floats of a key that a unit reads, at least one head */
       SIDE = 4,         /* keys x query heads at once */
       AHEAD = 16 };     /* keys asked for in advance: about the time that memory takes to answer */

typedef struct unit {
    int32_t sequence, part, piece, pieces, first; /* first: the unit that holds piece 0 */
} unit;

typedef struct step_job {
    const attention *a;
    atomic_int *left;
    unit *units;
    float *sums;
    int64_t heads, parts, n_units, room; /* heads: key heads of a part; room: floats of a unit's sums */
} step_job;

static int64_t heads_a_part(const attention *a) { return most(1, least(a->kv, PART_WIDTH / most(1, a->h))); }
static int64_t parts_of(const attention *a) { return (a->kv + heads_a_part(a) - 1) / heads_a_part(a); }
static int64_t floats_a_unit(const attention *a) { return round_up(heads_a_part(a) * a->group * (2 + round_up(a->h, VW)), VW); }
static int64_t units_most(const attention *a, int64_t cached) { return parts_of(a) * (cached / PIECE + a->S * (a->m / PIECE + 3)); }
static int64_t counters_bytes(const attention *a) { return round_up(a->S * parts_of(a) * (int64_t)sizeof(atomic_int), 64); }

int64_t K(attention_step_work)(const attention *a, int64_t cached)
{
    const int64_t n = units_most(a, cached);
    return counters_bytes(a) + round_up(n * (int64_t)sizeof(unit), 64) + n * floats_a_unit(a) * (int64_t)sizeof(float);
}

int64_t K(attention_step_scratch)(const attention *a) { return heads_a_part(a) * a->group * PIECE * (int64_t)sizeof(float); }

/* scores[i][PIECE] of query heads i .. i + count for `keys` keys; h floats a head. */
INLINE void score(int keys, int count, int64_t h, const float *q, const float *k, int64_t ldk, float *scores)
{
    vf acc[SIDE * SIDE] = {{0}};
    for (int64_t p = 0; p < h; p += VW) {
        vf x[SIDE];
        UNROLL for (int i = 0; i < SIDE; i++) x[i] = i < count ? map_load(q + i * h, p, h - p) : (vf){0};
        UNROLL for (int r = 0; r < SIDE; r++)
        {
            if (r >= keys) continue;
            const vf y = map_load(k + r * ldk, p, h - p);
            UNROLL for (int i = 0; i < SIDE; i++) if (i < count) acc[r * SIDE + i] = v_fma(x[i], y, acc[r * SIDE + i]);
        }
    }
    float sums[SIDE * SIDE];
    for (int j = 0; j < SIDE * SIDE; j += VW) v_store(sums + j, v_sums(acc + j));
    for (int i = 0; i < count; i++)
        for (int r = 0; r < keys; r++) scores[i * PIECE + r] = sums[r * SIDE + i];
}

INLINE void score_heads(int keys, int64_t group, int64_t h, const float *q, const float *k, int64_t ldk, float *scores)
{
    int64_t i = 0;
    for (; i + SIDE <= group; i += SIDE) score(keys, SIDE, h, q + i * h, k, ldk, scores + i * PIECE);
    if (group - i == 3) score(keys, 3, h, q + i * h, k, ldk, scores + i * PIECE);
    else if (group - i == 2) score(keys, 2, h, q + i * h, k, ldk, scores + i * PIECE);
    else if (group - i == 1) score(keys, 1, h, q + i * h, k, ldk, scores + i * PIECE);
}

/* One head's scores of n keys become probabilities against their own maximum. */
static void soften_piece(const attention *a, float *s, int64_t n, float *top, float *sum)
{
    vf tops = v_set(-__builtin_inff()), total = {0};
    for (int64_t j = 0; j < n; j += VW) {
        vf x = v_load(s + j) * a->scale;
        if (a->softcap > 0.0f) x = v_tanh(x / a->softcap) * a->softcap;
        if (n - j < VW) x = v_select(inside(j, 0, n), x, v_set(-__builtin_inff()));
        v_store(s + j, x);
        tops = v_max(tops, x);
    }
    *top = v_top(tops);
    for (int64_t j = 0; j < n; j += VW) {
        const vf p = v_exp_small(v_load(s + j) - *top);
        v_store(s + j, p);
        total = total + p;
    }
    *sum = v_sum(total);
}

/* out[i][p .. p + vectors VW] = sum over keys of probabilities[i][key] v[key][p ..]; left: elements of v from p on. */
INLINE void weigh(int vectors, int count, int64_t n, const float *probabilities, const float *v, int64_t ldv, int64_t left, float *out, int64_t ldo)
{
    enum { V = 4 };
    vf acc[SIDE][V] = {{{0}}};
    for (int64_t r = 0; r < n; r++) {
        vf x[V];
        UNROLL for (int j = 0; j < V; j++) x[j] = j >= vectors ? (vf){0} : vectors > 1 ? v_load(v + r * ldv + j * VW)
                                                                                       : map_load(v + r * ldv, 0, left);
        UNROLL for (int i = 0; i < SIDE; i++)
        {
            if (i >= count) continue;
            const vf p = v_set(probabilities[i * PIECE + r]);
            UNROLL for (int j = 0; j < V; j++) if (j < vectors) acc[i][j] = v_fma(p, x[j], acc[i][j]);
        }
    }
    UNROLL for (int i = 0; i < SIDE; i++)
    {
        if (i >= count) continue;
        UNROLL for (int j = 0; j < V; j++) if (j < vectors) v_store(out + i * ldo + j * VW, acc[i][j]);
    }
}

INLINE void weigh_heads(int count, int64_t n, int64_t h, const float *probabilities, const float *v, int64_t ldv, float *out, int64_t ldo)
{
    enum { WIDE = VW == 16 ? 4 : 2 };
    int64_t p = 0;
    for (; p + WIDE * VW <= h; p += WIDE * VW) weigh(WIDE, count, n, probabilities, v + p, ldv, h - p, out + p, ldo);
    for (; p < h; p += VW) weigh(1, count, n, probabilities, v + p, ldv, h - p, out + p, ldo);
}

/* The piece of keys that unit u is about: the extra keys come first, a piece holds either kind. */
typedef struct lines {
    const float *k, *v;
    int64_t n;
} lines;

static int64_t extra_pieces(const attention *a) { return (a->m + PIECE - 1) / PIECE; }
static int64_t first_seen(const attention *a, const span *s) { return a->window ? most(0, s->before - a->window + 1) : 0; }

static lines lines_of(const attention *a, const unit *u, int64_t head)
{
    const span s = span_of(a, u->sequence);
    const int64_t extra = extra_pieces(a), column = head * a->h;
    if (u->piece < extra) {
        const int64_t at = u->piece * PIECE;
        return (lines){a->k_extra + at * a->kv_width + column, a->v_extra + at * a->kv_width + column, least(PIECE, a->m - at)};
    }
    const int64_t key = first_seen(a, &s) + (u->piece - extra) * PIECE, at = (s.key_first + key) * a->kv_width + column;
    return (lines){a->k + at, a->v + at, least(PIECE, s.before + 1 - key)};
}

static float *tops_of(const step_job *w, int64_t index) { return w->sums + index * w->room; }
static float *values_of(const step_job *w, int64_t index) { return tops_of(w, index) + 2 * w->heads * w->a->group; }

/* o of query head `local` of the part: its pieces' sums, each shrunk to the highest maximum. */
static void join_pieces(const step_job *w, const unit *u, int64_t local, float *o)
{
    const attention *a = w->a;
    const int64_t hp = round_up(a->h, VW);
    float top = -__builtin_inff(), sum = 0.0f;
    for (int64_t i = 0; i < u->pieces; i++) {
        const float t = tops_of(w, u->first + i)[2 * local];
        top = t > top ? t : top;
    }
    for (int64_t i = 0; i < u->pieces; i++) {
        float *one = tops_of(w, u->first + i) + 2 * local;
        one[0] = v_exp_small(v_set(one[0] - top))[0];
        sum += one[0] * one[1];
    }
    for (int64_t p = 0; p < a->h; p += VW) {
        vf all = {0};
        for (int64_t i = 0; i < u->pieces; i++) all = v_fma(v_set(tops_of(w, u->first + i)[2 * local]), v_load(values_of(w, u->first + i) + local * hp + p), all);
        map_store(o, p, all / sum, a->h - p);
    }
}

static void step_unit(void *ctx, int64_t index, int thread)
{
    const step_job *w = ctx;
    const attention *a = w->a;
    const unit *u = &w->units[index];
    const int64_t head0 = u->part * w->heads, heads = least(w->heads, a->kv - head0), hp = round_up(a->h, VW), ld = a->kv_width;
    const int64_t token = span_of(a, u->sequence).first;
    const float *q = a->q + token * a->q_width + head0 * a->group * a->h;
    float *scores = (float *)(void *)(a->call->scratch + thread * a->call->scratch_bytes), *tops = tops_of(w, index), *values = values_of(w, index);
    const lines x = lines_of(a, u, head0);
    for (int64_t r = 0; r < x.n; r += SIDE) { /* all heads of a few keys, so that lines are read as they lie */
        const int64_t keys = least(SIDE, x.n - r);
        for (int64_t i = 0; i < keys; i++)
            for (int64_t p = 0; p < heads * a->h; p += 16) {
                __builtin_prefetch(x.k + (r + i + AHEAD) * ld + p);
                __builtin_prefetch(x.v + (r + i) * ld + p);
            }
        for (int64_t n = 0; n < heads; n++) {
            const float *queries = q + n * a->group * a->h, *k = x.k + r * ld + n * a->h;
            float *to = scores + n * a->group * PIECE + r;
            if (keys == SIDE) score_heads(SIDE, a->group, a->h, queries, k, ld, to);
            else
                for (int64_t i = 0; i < keys; i++) score_heads(1, a->group, a->h, queries, k + i * ld, ld, to + i);
        }
    }
    for (int64_t i = 0; i < heads * a->group; i++) soften_piece(a, scores + i * PIECE, x.n, &tops[2 * i], &tops[2 * i + 1]);
    for (int64_t n = 0; n < heads; n++)
        for (int64_t i = 0; i < a->group; i += SIDE) {
            const int64_t local = n * a->group + i, count = least(SIDE, a->group - i);
            const float *p = scores + local * PIECE, *v = x.v + n * a->h;
            float *to = values + local * hp;
            if (count == SIDE) weigh_heads(SIDE, x.n, a->h, p, v, ld, to, hp);
            else if (count == 3) weigh_heads(3, x.n, a->h, p, v, ld, to, hp);
            else if (count == 2) weigh_heads(2, x.n, a->h, p, v, ld, to, hp);
            else weigh_heads(1, x.n, a->h, p, v, ld, to, hp);
        }
    if (atomic_fetch_sub(&w->left[u->sequence * w->parts + u->part], 1) > 1) return;
    float *o = a->o + token * a->q_width + head0 * a->group * a->h;
    for (int64_t i = 0; i < heads * a->group; i++) join_pieces(w, u, i, o + i * a->h);
}

int K(attention_step_fits)(const attention *a)
{
    for (int64_t s = 0; s < a->S; s++)
        if (span_of(a, s).rows > 1) return 0;
    return 1;
}

void K(attention_step)(const attention *a, int64_t cached, char *work)
{
    step_job w = {.a = a, .heads = heads_a_part(a), .parts = parts_of(a), .room = floats_a_unit(a)};
    w.left = (atomic_int *)(void *)work;
    w.units = (unit *)(void *)(work + counters_bytes(a));
    w.sums = (float *)(void *)((char *)w.units + round_up(units_most(a, cached) * (int64_t)sizeof(unit), 64));
    for (int64_t s = 0; s < a->S; s++) {
        const span p = span_of(a, s);
        const int64_t count = p.rows ? extra_pieces(a) + (p.before + 1 - first_seen(a, &p) + PIECE - 1) / PIECE : 0;
        for (int64_t part = 0; part < w.parts; part++) {
            atomic_init(&w.left[s * w.parts + part], (int)count);
            const int32_t first = (int32_t)w.n_units;
            for (int64_t i = 0; i < count; i++) w.units[w.n_units++] = (unit){(int32_t)s, (int32_t)part, (int32_t)i, (int32_t)count, first};
        }
    }
    cpu_pool_run(a->call->pool, w.n_units, step_unit, &w);
}
