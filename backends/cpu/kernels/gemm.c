/* gemm.c - matrix product by packed panels (Goto & van de Geijn 2008), with a second way for a side of at most 8 (decoding, LoRA).
 *
 *   for a block of n:  all threads pack op(B) of this block, all of k:   panels [k block][n / NR][KC][NR], in the shared workspace (L3)
 *     each unit takes rows of C (and, when there are few rows, a part of the columns):
 *       for k blocks:  pack op(A) rows into [MC / MR][KC][MR] in the thread's scratch (L2), then tiles
 *
 * Stored types other than f32 are widened while packing. */
#include "gemm.h"
#include "ops.h"

enum {
    AHEAD = 128, /* elements that packing along lines asks for in advance: too many lines for the hardware to follow */
    SKINNY = 16,
    MC = 96 / MR * MR,
    PACK_BYTES = 8 << 20, /* of op(B) at once: stays in L3 */
    K_MOST = 8192,        /* rows of op(B) at once */
    ALONE_N = 256         /* columns at once when one thread works alone */
};

typedef struct job { /* one block of n and k of a gemm */
    const cpu_call *call;
    gemm g;
    float alpha;                /* applied when a tile is written; a term's own is relative to it and applied while packing */
    int64_t n0, nc, k0, kp, kc; /* columns n0 .. + nc, joined k0 .. + kp in blocks of kc */
    int64_t mc, m_blocks, n_groups;
    int direct; /* op(A) is read where it lies */
    float *packed;
} job;

/* k in equal blocks of at most KC_MOST, a multiple of 32: of a stored block. */
static int64_t k_block(int64_t k)
{
    const int64_t blocks = (k + KC_MOST - 1) / KC_MOST;
    return round_up((k + blocks - 1) / blocks, 32);
}

/* `lines` (<= width) lines of k elements, line l at element o + l * ld of x, to out[k][width]; missing lines are zeros. */
INLINE void pack_lines_typed(const void *x, int64_t o, int64_t ld, graft_dtype t, int64_t lines, int64_t k, float *out, int width)
{
    for (int first = 0; first < width; first += VW) {
        const int64_t here = least(VW, lines - first), keep = least(VW, width - first);
        for (int64_t p = 0; p < k; p += VW) {
            const int64_t n = least(VW, k - p);
            vf r[VW];
            for (int64_t i = 0; i < here && i < VW; i++) __builtin_prefetch((const char *)x + stored_bytes(t, o + (first + i) * ld + p + AHEAD));
            if (here >= VW && n == VW) {
                UNROLL for (int i = 0; i < VW; i++) r[i] = vector_of(x, o + (first + i) * ld + p, t);
            } else {
                for (int i = 0; i < VW; i++) {
                    if (i >= here) r[i] = (vf){0};
                    else r[i] = n == VW ? vector_of(x, o + (first + i) * ld + p, t) : vector_of_n(x, o + (first + i) * ld + p, n, t);
                }
            }
            v_transpose(r);
            float *to = out + p * width + first;
            if (keep == VW && n == VW) {
                UNROLL for (int i = 0; i < VW; i++) v_store(to + i * width, r[i]);
            } else {
                for (int64_t i = 0; i < n; i++) {
                    if (keep == VW) v_store(to + i * width, r[i]);
                    else v_store_n(to + i * width, r[i], keep);
                }
            }
        }
    }
}

/* k rows of `lines` neighbouring elements, row p at element o + p * ld of x, to out[k][width]; missing columns are zeros. */
INLINE void pack_rows_typed(const void *x, int64_t o, int64_t ld, graft_dtype t, int64_t lines, int64_t k, float *out, int width)
{
    for (int64_t p = 0; p < k; p++)
        for (int first = 0; first < width; first += VW) {
            const int64_t here = most(0, least(VW, lines - first)), keep = least(VW, width - first);
            const vf v = here == VW ? vector_of(x, o + p * ld + first, t) : vector_of_n(x, o + p * ld + first, here, t);
            if (keep == VW) v_store(out + p * width + first, v);
            else v_store_n(out + p * width + first, v, keep);
        }
}

#define PACK_TYPED(name, type)                                                                                                                     \
    static __attribute__((noinline)) void name(const void *x, int64_t o, int64_t ld, int by_rows, int64_t lines, int64_t k, float *out, int width) \
    {                                                                                                                                              \
        if (by_rows) width == NR ? pack_rows_typed(x, o, ld, type, lines, k, out, NR) : pack_rows_typed(x, o, ld, type, lines, k, out, MR);        \
        else width == NR ? pack_lines_typed(x, o, ld, type, lines, k, out, NR) : pack_lines_typed(x, o, ld, type, lines, k, out, MR);              \
    }
PACK_TYPED(pack_f32, GRAFT_F32)
PACK_TYPED(pack_bf16, GRAFT_BF16)
PACK_TYPED(pack_f16, GRAFT_F16)
PACK_TYPED(pack_q4_0, GRAFT_Q4_0)
PACK_TYPED(pack_q4_1, GRAFT_Q4_1)
PACK_TYPED(pack_q8_0, GRAFT_Q8_0)
PACK_TYPED(pack_nf4, GRAFT_NF4)
PACK_TYPED(pack_nf4_double, GRAFT_NF4_DOUBLE)
PACK_TYPED(pack_int8, GRAFT_INT8)

static void pack_panel(const void *x, int64_t o, int64_t ld, graft_dtype t, int by_rows, int64_t lines, int64_t k, float *out, int width)
{
    static void (*const pack[])(const void *, int64_t, int64_t, int, int64_t, int64_t, float *, int) = {
        [GRAFT_F32] = pack_f32, [GRAFT_BF16] = pack_bf16, [GRAFT_F16] = pack_f16, [GRAFT_Q4_0] = pack_q4_0, [GRAFT_Q4_1] = pack_q4_1, [GRAFT_Q8_0] = pack_q8_0, [GRAFT_NF4] = pack_nf4, [GRAFT_NF4_DOUBLE] = pack_nf4_double, [GRAFT_INT8] = pack_int8};
    pack[t](x, o, ld, by_rows, lines, k, out, width);
}

static void scale_panel(float *x, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++) x[i] *= by;
}

/* Columns j .. j + NR of joined rows k0 .. k0 + kc, those of each term from where it begins. */
static __attribute__((noinline)) void pack_b_panel(const gemm *g, float alpha, int64_t j, int64_t k0, int64_t kc, int64_t n_end, float *out)
{
    const int64_t lines = least(NR, n_end - j);
    int64_t begin = 0;
    for (int i = 0; i < g->terms; begin += g->t[i++].k) {
        const term *t = &g->t[i];
        const int64_t from = most(k0, begin), k = least(k0 + kc, begin + t->k) - from, row = from - begin;
        if (k <= 0) continue;
        float *to = out + (from - k0) * NR;
        if (t->trans_b) pack_panel(t->b, j * t->ldb + row, t->ldb, t->tb, 0, lines, k, to, NR);
        else pack_panel(t->b, row * t->ldb + j, t->ldb, t->tb, 1, lines, k, to, NR);
        if (t->alpha != alpha) scale_panel(to, k * NR, t->alpha / alpha);
    }
}

static __attribute__((noinline)) void pack_a_block(const gemm *g, int64_t i0, int64_t i1, int64_t k0, int64_t kc, float *out)
{
    for (int64_t i = i0; i < i1; i += MR, out += kc * MR) {
        const int64_t lines = least(MR, i1 - i);
        int64_t begin = 0;
        for (int n = 0; n < g->terms; begin += g->t[n++].k) {
            const term *t = &g->t[n];
            const int64_t from = most(k0, begin), k = least(k0 + kc, begin + t->k) - from, row = from - begin;
            if (k <= 0) continue;
            float *to = out + (from - k0) * MR;
            if (t->trans_a) pack_panel(t->a, row * t->lda + i, t->lda, t->ta, 1, lines, k, to, MR);
            else pack_panel(t->a, i * t->lda + row, t->lda, t->ta, 0, lines, k, to, MR);
        }
    }
}

/* The factor left to the tiles: that of the longest product, so that the long panels are packed as they are. */
static float common_alpha(const gemm *g)
{
    const term *longest = &g->t[0];
    for (int i = 1; i < g->terms; i++)
        if (g->t[i].k > longest->k) longest = &g->t[i];
    return longest->alpha != 0.0f ? longest->alpha : 1.0f;
}

static int64_t joined(const gemm *g)
{
    int64_t k = 0;
    for (int i = 0; i < g->terms; i++) k += g->t[i].k;
    return k;
}

/* Rows i0 .. i1, one panel of b: a column of tiles. tile_column has the rows packed, direct_column reads them where they lie. */
static __attribute__((noinline)) void tile_column(const gemm *g, float alpha, int64_t i0, int64_t i1, int64_t j, int64_t n, int64_t kc, const float *a, const float *b, int first)
{
    const float *base = first ? g->base : g->c;
    const int64_t ldbase = first ? g->ldbase : g->ldc;
    for (int64_t i = i0; i < i1; i += MR, a += kc * MR)
        tile(least(MR, i1 - i), n, kc, a, 1, MR, b, NR, alpha, g->c + i * g->ldc + j, g->ldc, base ? base + i * ldbase + j : NULL, ldbase);
}

/* edge: the rows of an incomplete last tile, packed. */
static __attribute__((noinline)) void direct_column(const gemm *g, float alpha, int64_t i0, int64_t i1, int64_t j, int64_t n, int64_t k, int64_t kc, const float *edge, const float *b, int first)
{
    const float *base = first ? g->base : g->c, *a = (const float *)g->t[0].a + k;
    const int64_t ldbase = first ? g->ldbase : g->ldc, lda = g->t[0].lda;
    for (int64_t i = i0; i < i1; i += MR) {
        const int64_t valid = least(MR, i1 - i);
        float *c = g->c + i * g->ldc + j;
        const float *to_add = base ? base + i * ldbase + j : NULL;
        if (valid == MR) tile_rows(MR, MR, n, kc, a + i * lda, lda, 1, b, NR, (pieces){1, 0, 0}, alpha, c, g->ldc, to_add, ldbase);
        else tile(valid, n, kc, edge, 1, MR, b, NR, alpha, c, g->ldc, to_add, ldbase);
    }
}

static void pack_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const job *w = ctx;
    const int64_t panels = (w->nc + NR - 1) / NR, padded = panels * NR, panel = unit % panels;
    const int64_t k = unit / panels * w->kc, kc = least(w->kc, w->kp - k);
    pack_b_panel(&w->g, w->alpha, w->n0 + panel * NR, w->k0 + k, kc, w->n0 + w->nc, w->packed + k * padded + panel * NR * kc);
}

static void rows_unit(void *ctx, int64_t unit, int thread)
{
    const job *w = ctx;
    const gemm *g = &w->g;
    float *a = (float *)(void *)(w->call->scratch + thread * w->call->scratch_bytes);
    const int64_t panels = (w->nc + NR - 1) / NR, padded = panels * NR;
    const int64_t group = unit % w->n_groups, p0 = panels * group / w->n_groups, p1 = panels * (group + 1) / w->n_groups;
    const int64_t i0 = unit / w->n_groups * w->mc, i1 = least(g->m, i0 + w->mc), edge = i0 + (i1 - i0) / MR * MR;
    for (int64_t k = 0; k < w->kp; k += w->kc) {
        const int64_t kc = least(w->kc, w->kp - k);
        if (!w->direct) pack_a_block(g, i0, i1, w->k0 + k, kc, a);
        else if (edge < i1) pack_a_block(g, edge, i1, w->k0 + k, kc, a);
        for (int64_t p = p0; p < p1; p++) {
            const int64_t j = w->n0 + p * NR, n = least(NR, w->nc - p * NR);
            const float *b = w->packed + k * padded + p * NR * kc;
            if (w->direct) direct_column(g, w->alpha, i0, i1, j, n, w->k0 + k, kc, a, b, w->k0 + k == 0);
            else tile_column(g, w->alpha, i0, i1, j, n, kc, a, b, w->k0 + k == 0);
        }
    }
}

static void packed_run(const cpu_call *c, const gemm *g)
{
    job w = {.call = c, .g = *g, .packed = (float *)(void *)c->work, .alpha = common_alpha(g)};
    const int threads = cpu_pool_threads(c->pool);
    const int64_t all_k = joined(g);
    w.m_blocks = (g->m + MC - 1) / MC;
    if (w.m_blocks >= threads) w.m_blocks = round_up(w.m_blocks, threads); /* the same number of blocks for each thread */
    w.mc = round_up((g->m + w.m_blocks - 1) / w.m_blocks, MR);
    w.m_blocks = (g->m + w.mc - 1) / w.mc;
    w.kc = k_block(all_k);
    w.direct = g->terms == 1 && !g->t[0].trans_a && g->t[0].ta == GRAFT_F32 && g->t[0].lda % 256 && g->n <= 256;
    /* as much of k at once as lets a block of n be all of it, but not a few rows */
    const int64_t kp_most = most(1, least(K_MOST, most(2048, PACK_BYTES / 4 / round_up(g->n, NR))) / w.kc) * w.kc;
    for (w.k0 = 0; w.k0 < all_k; w.k0 += kp_most) {
        w.kp = least(kp_most, all_k - w.k0);
        const int64_t nc_most = most(NR, PACK_BYTES / 4 / w.kp / NR * NR), n_blocks = (g->n + nc_most - 1) / nc_most;
        const int64_t nc = round_up((g->n + n_blocks - 1) / n_blocks, NR);
        for (w.n0 = 0; w.n0 < g->n; w.n0 += nc) {
            w.nc = least(nc, g->n - w.n0);
            const int64_t panels = (w.nc + NR - 1) / NR, k_blocks = (w.kp + w.kc - 1) / w.kc;
            w.n_groups = most(1, least(panels, 2 * threads / w.m_blocks));
            cpu_pool_run(c->pool, panels * k_blocks, pack_unit, &w);
            cpu_pool_run(c->pool, w.m_blocks * w.n_groups, rows_unit, &w);
        }
    }
}

/* ---- a side of at most SKINNY ------------------------------------------------------------------------------------------------------------
 * The short operand is packed whole; the long one is read once, where it lies. "Along": the long operand's lines run along k. */
typedef struct skinny {
    const void *x; /* the long operand */
    int64_t ldx, lines, k, per_unit;
    graft_dtype tx;
    const float *y; /* along: [count][ldy], else [k][SKINNY] */
    int64_t ldy, count;
    const gemm *g;
    int64_t step_line, step_count; /* in C */
    int64_t base_line, base_count; /* in base */
    const float *base;
    float alpha;
    int64_t splits, split; /* across: pieces of k, each of `split` */
    float *sums;           /* across: [blocks][splits][SKINNY][WIDE] */
} skinny;

INLINE void put(const skinny *s, int64_t line, int64_t i, float sum)
{
    const float product = s->alpha * sum;
    s->g->c[line * s->step_line + i * s->step_count] = s->base ? s->base[line * s->base_line + i * s->base_count] + product : product;
}

enum { DOTS = 4 }; /* long lines x short lines at once */

INLINE void dots(const skinny *s, int rows, int count, int64_t line, int64_t i, graft_dtype t)
{
    vf acc[DOTS * DOTS] = {{0}};
    const float *y = s->y + i * s->ldy;
    const int64_t whole = s->k / VW * VW, left = s->k - whole;
    for (int64_t p = 0; p < whole; p += VW) {
        vf v[DOTS];
        UNROLL for (int j = 0; j < DOTS; j++) v[j] = j < count ? v_load(y + j * s->ldy + p) : (vf){0};
        UNROLL for (int r = 0; r < DOTS; r++)
        {
            if (r >= rows) continue;
            const vf x = vector_of(s->x, (line + r) * s->ldx + p, t);
            UNROLL for (int j = 0; j < DOTS; j++) if (j < count) acc[r * DOTS + j] = v_fma(x, v[j], acc[r * DOTS + j]);
        }
    }
    if (left)
        for (int r = 0; r < rows; r++) {
            const vf x = vector_of_n(s->x, (line + r) * s->ldx + whole, left, t);
            for (int j = 0; j < count; j++) acc[r * DOTS + j] = v_fma(x, v_load_n(y + j * s->ldy + whole, left), acc[r * DOTS + j]);
        }
    float sums[DOTS * DOTS];
    for (int j = 0; j < DOTS * DOTS; j += VW) v_store(sums + j, v_sums(acc + j));
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < count; j++) put(s, line + r, i + j, sums[r * DOTS + j]);
}

/* One short line alone is all about reading the long ones: two vectors of four lines at a time keep enough loads under way. */
INLINE void dots_one(const skinny *s, int64_t line, graft_dtype t)
{
    vf acc[DOTS][2] = {{{0}}};
    const int64_t pairs = s->k / (2 * VW) * (2 * VW);
    for (int64_t p = 0; p < pairs; p += 2 * VW) {
        const vf y0 = v_load(s->y + p), y1 = v_load(s->y + p + VW);
        UNROLL for (int r = 0; r < DOTS; r++)
        {
            acc[r][0] = v_fma(vector_of(s->x, (line + r) * s->ldx + p, t), y0, acc[r][0]);
            acc[r][1] = v_fma(vector_of(s->x, (line + r) * s->ldx + p + VW, t), y1, acc[r][1]);
        }
    }
    for (int r = 0; r < DOTS; r++) {
        vf sum = acc[r][0] + acc[r][1];
        for (int64_t p = pairs; p < s->k; p += VW) {
            const int64_t left = s->k - p;
            sum = v_fma(left >= VW ? vector_of(s->x, (line + r) * s->ldx + p, t) : vector_of_n(s->x, (line + r) * s->ldx + p, left, t),
                        left >= VW ? v_load(s->y + p) : v_load_n(s->y + p, left), sum);
        }
        put(s, line + r, 0, v_sum(sum));
    }
}

INLINE void dots_rows(const skinny *s, int rows, int64_t line, graft_dtype t)
{
    int64_t i = 0;
    for (; i + 4 <= s->count; i += 4) dots(s, rows, 4, line, i, t);
    if (s->count - i == 3) dots(s, rows, 3, line, i, t);
    else if (s->count - i == 2) dots(s, rows, 2, line, i, t);
    else if (s->count - i == 1) dots(s, rows, 1, line, i, t);
}

INLINE void along_typed(const skinny *s, int64_t first, int64_t last, graft_dtype t)
{
    int64_t line = first;
    for (; line + DOTS <= last; line += DOTS) {
        if (s->count == 1) dots_one(s, line, t);
        else dots_rows(s, DOTS, line, t);
    }
    for (; line < last; line++) dots_rows(s, 1, line, t);
}

static void along_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const skinny *s = ctx;
    const int64_t first = unit * s->per_unit, last = least(s->lines, first + s->per_unit);
    if (s->tx == GRAFT_F32) along_typed(s, first, last, GRAFT_F32);
    else if (s->tx == GRAFT_BF16) along_typed(s, first, last, GRAFT_BF16);
    else if (s->tx == GRAFT_F16) along_typed(s, first, last, GRAFT_F16);
    else if (s->tx == GRAFT_Q4_0) along_typed(s, first, last, GRAFT_Q4_0);
    else if (s->tx == GRAFT_Q4_1) along_typed(s, first, last, GRAFT_Q4_1);
    else if (s->tx == GRAFT_Q8_0) along_typed(s, first, last, GRAFT_Q8_0);
    else if (s->tx == GRAFT_NF4) along_typed(s, first, last, GRAFT_NF4);
    else if (s->tx == GRAFT_NF4_DOUBLE) along_typed(s, first, last, GRAFT_NF4_DOUBLE);
    else along_typed(s, first, last, GRAFT_INT8);
}

/* Across: columns of the long operand, whose rows are read as they lie, DEEP at a time. A unit takes WIDE columns and, when there are few columns,
 * one of `splits` pieces of k; the pieces are added in order. */
enum { ACROSS = 2 * VW,
       WIDE = 1536,
       DEEP = 16,
       SIDE = 8,
       SPLITS_MOST = 8,
       SPLIT_LEAST = 256 };

/* sums: [SIDE][WIDE], n columns of them. */
INLINE void across_block(const skinny *s, int64_t first, int64_t n, int64_t p0, int64_t p1, int64_t side, float *sums, graft_dtype t)
{
    vf acc[SIDE][2];
    UNROLL for (int i = 0; i < SIDE; i++) for (int j = 0; j < 2; j++) acc[i][j] = v_load(sums + i * WIDE + j * VW);
    for (int64_t p = p0; p < p1; p++) {
        vf v[2];
        UNROLL for (int j = 0; j < 2; j++)
        {
            const int64_t left = n - j * VW;
            v[j] = left >= VW ? vector_of(s->x, p * s->ldx + first + j * VW, t) : left > 0 ? vector_of_n(s->x, p * s->ldx + first + j * VW, left, t)
                                                                                           : (vf){0};
        }
        UNROLL for (int i = 0; i < SIDE; i++)
        {
            const vf y = v_set(s->y[p * SKINNY + side + i]);
            UNROLL for (int j = 0; j < 2; j++) acc[i][j] = v_fma(y, v[j], acc[i][j]);
        }
    }
    UNROLL for (int i = 0; i < SIDE; i++) for (int j = 0; j < 2; j++) v_store(sums + i * WIDE + j * VW, acc[i][j]);
}

INLINE void across_typed(const skinny *s, int64_t first, int64_t last, int64_t p0, int64_t p1, float *sums, graft_dtype t)
{
    memset(sums, 0, sizeof(float) * SKINNY * WIDE);
    for (int64_t p = p0; p < p1; p += DEEP)
        for (int64_t side = 0; side < s->count; side += SIDE)
            for (int64_t j = first; j < last; j += ACROSS) {
                float *at = sums + side * WIDE + (j - first);
                if (last - j >= ACROSS) across_block(s, j, ACROSS, p, least(p1, p + DEEP), side, at, t);
                else across_block(s, j, last - j, p, least(p1, p + DEEP), side, at, t);
            }
}

static void across_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const skinny *s = ctx;
    const int64_t first = unit / s->splits * WIDE, last = least(s->lines, first + WIDE), split = unit % s->splits;
    const int64_t p0 = split * s->split, p1 = least(s->k, p0 + s->split);
    float *sums = s->sums + unit * SKINNY * WIDE;
    if (s->tx == GRAFT_F32) across_typed(s, first, last, p0, p1, sums, GRAFT_F32);
    else if (s->tx == GRAFT_BF16) across_typed(s, first, last, p0, p1, sums, GRAFT_BF16);
    else if (s->tx == GRAFT_F16) across_typed(s, first, last, p0, p1, sums, GRAFT_F16);
    else across_typed(s, first, last, p0, p1, sums, s->tx);
}

/* Adds the pieces of one block of columns, which begin at `sums`. */
static void across_finish(const skinny *s, int64_t block, const float *sums)
{
    const int64_t first = block * WIDE, n = least(WIDE, s->lines - first);
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = sums[i * WIDE + j];
            for (int64_t p = 1; p < s->splits; p++) sum += sums[(p * SKINNY + i) * WIDE + j];
            put(s, first + j, i, sum);
        }
}

static void finish_unit(void *ctx, int64_t block, int thread)
{
    (void)thread;
    const skinny *s = ctx;
    across_finish(s, block, s->sums + block * s->splits * SKINNY * WIDE);
}

static int64_t across_blocks(int64_t lines) { return (lines + WIDE - 1) / WIDE; }

static void across_run(cpu_pool *pool, skinny *s)
{
    const int64_t blocks = across_blocks(s->lines);
    s->splits = pool && blocks < SPLITS_MOST ? most(1, least(SPLITS_MOST, s->k / SPLIT_LEAST)) : 1;
    s->split = (s->k + s->splits - 1) / s->splits;
    if (pool) {
        cpu_pool_run(pool, blocks * s->splits, across_unit, s);
        cpu_pool_run(pool, blocks, finish_unit, s);
        return;
    }
    float *sums = s->sums;
    for (int64_t b = 0; b < blocks; b++) {
        s->sums = sums - b * SKINNY * WIDE; /* every block in the same place */
        across_unit(s, b, 0);
        across_finish(s, b, sums);
    }
}

typedef struct small {
    const void *x;
    int64_t ld;
    graft_dtype t;
    int along;
} small; /* the short operand */

/* Fills s and o from a term: which side is short. Returns whether the long operand's lines run along k. */
static int skinny_sides(skinny *s, small *o, const gemm *g, const term *t)
{
    const int short_m = g->m <= g->n;
    *o = short_m ? (small){t->a, t->lda, t->ta, !t->trans_a} : (small){t->b, t->ldb, t->tb, t->trans_b};
    s->x = short_m ? t->b : t->a;
    s->ldx = short_m ? t->ldb : t->lda;
    s->tx = short_m ? t->tb : t->ta;
    s->lines = short_m ? g->n : g->m;
    s->count = short_m ? g->m : g->n;
    s->step_line = short_m ? 1 : g->ldc;
    s->step_count = short_m ? g->ldc : 1;
    s->base_line = short_m ? 1 : g->ldbase;
    s->base_count = short_m ? g->ldbase : 1;
    s->k = t->k;
    s->g = g;
    s->alpha = t->alpha;
    return short_m ? t->trans_b : !t->trans_a;
}

static void skinny_pack(const skinny *s, int along, const small *o, float *y)
{
    if (!along) {
        memset(y, 0, (size_t)(s->k * SKINNY) * sizeof *y);
        for (int64_t p = 0; p < s->k; p++)
            for (int64_t i = 0; i < s->count; i++) y[p * SKINNY + i] = scalar_of(o->x, o->along ? i * o->ld + p : p * o->ld + i, o->t);
        return;
    }
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t p = 0; p < s->k; p++) y[i * s->ldy + p] = scalar_of(o->x, o->along ? i * o->ld + p : p * o->ld + i, o->t);
}

/* pool NULL: this thread alone. y: room as gemm_room says. The terms one after another. */
static void skinny_run(cpu_pool *pool, const gemm *g, float *y)
{
    int begun = 0;
    for (int i = 0; i < g->terms; i++) {
        if (!g->t[i].k) continue;
        skinny s = {.y = y, .base = begun ? g->c : g->base};
        small o;
        const int along = skinny_sides(&s, &o, g, &g->t[i]);
        if (begun) s.base_line = s.step_line, s.base_count = s.step_count;
        begun = 1;
        if (along && o.along && o.t == GRAFT_F32) {
            s.y = o.x;
            s.ldy = o.ld;
        } else {
            s.ldy = along ? s.k : SKINNY;
            skinny_pack(&s, along, &o, y);
        }
        if (!along) {
            s.sums = y + round_up(SKINNY * s.k, 16);
            across_run(pool, &s);
            continue;
        }
        s.per_unit = most(DOTS, round_up((32 << 10) / (s.k + 1), DOTS));
        const int64_t units = (s.lines + s.per_unit - 1) / s.per_unit;
        if (pool) {
            cpu_pool_run(pool, units, along_unit, &s);
        } else {
            for (int64_t u = 0; u < units; u++) along_unit(&s, u, 0);
        }
    }
}

/* ---- the two doors ---------------------------------------------------------------------------------------------------------------------- */
static int trivial(const gemm *g)
{
    if (g->m && g->n && joined(g)) return 0;
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) g->c[i * g->ldc + j] = g->base ? g->base[i * g->ldbase + j] : 0.0f;
    return 1;
}

static int is_skinny(const gemm *g) { return least(g->m, g->n) <= SKINNY; }

void K(gemm_run)(const cpu_call *c, const gemm *g)
{
    if (trivial(g)) return;
    if (is_skinny(g)) skinny_run(c->pool, g, (float *)(void *)c->work);
    else packed_run(c, g);
}

void K(gemm_alone)(const gemm *g, char *scratch)
{
    if (trivial(g)) return;
    float *a = (float *)(void *)scratch, *b = a + MC * KC_MOST;
    if (is_skinny(g)) {
        skinny_run(NULL, g, b);
        return;
    }
    const int64_t all_k = joined(g), kcs = k_block(all_k);
    const float alpha = common_alpha(g);
    for (int64_t j0 = 0; j0 < g->n; j0 += ALONE_N)
        for (int64_t k = 0; k < all_k; k += kcs) {
            const int64_t kc = least(kcs, all_k - k), j1 = least(g->n, j0 + ALONE_N);
            for (int64_t j = j0; j < j1; j += NR) pack_b_panel(g, alpha, j, k, kc, j1, b + (j - j0) * kc);
            for (int64_t i = 0; i < g->m; i += MC) {
                pack_a_block(g, i, least(g->m, i + MC), k, kc, a);
                for (int64_t j = j0; j < j1; j += NR) tile_column(g, alpha, i, least(g->m, i + MC), j, least(NR, j1 - j), kc, a, b + (j - j0) * kc, k == 0);
            }
        }
}

void K(gemm_room)(int64_t m, int64_t n, int64_t k, cpu_room *r)
{
    const int64_t packed = most(PACK_BYTES, (K_MOST + 32) * NR * 4), blocks = across_blocks(most(m, n)), tile_sums = SKINNY * WIDE * 4;
    const int64_t little = (SKINNY * k + 16) * 4;
    r->work = most(r->work, most(packed, little + blocks * (blocks < SPLITS_MOST ? SPLITS_MOST : 1) * tile_sums));
    r->scratch = most(r->scratch, MC * KC_MOST * 4 + most(ALONE_N * KC_MOST * 4, little + tile_sums));
}
