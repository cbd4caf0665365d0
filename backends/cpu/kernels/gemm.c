/* gemm.c - matrix product by packed panels (Goto & van de Geijn 2008), with a second way for a side of at most 8 (decoding, LoRA).
 *
 *   for a block of n:  all threads pack op(B) of this block, all of k:   panels [k block][n / NR][KC][NR], in the shared workspace (L3)
 *     each unit takes rows of C (and, when there are few rows, a part of the columns):
 *       for k blocks:  pack op(A) rows into [MC / MR][KC][MR] in the thread's scratch (L2), then tiles
 *
 * Stored types other than f32 are widened while packing. */
#include "gemm.h"

enum {
    SKINNY = 8,
    MC = 96 / MR * MR,
    PACK_BYTES = 8 << 20, /* of op(B) at once: stays in L3 */
    K_MOST = 8192,        /* rows of op(B) at once */
    ALONE_N = 256         /* columns at once when one thread works alone */
};

typedef struct job { /* one block of n and k of a gemm */
    const cpu_call *call;
    gemm g;
    int64_t n0, nc, k0, kp, kc; /* columns n0 .. + nc, k0 .. + kp in blocks of kc */
    int64_t mc, m_blocks, n_groups;
    int direct; /* op(A) is read where it lies */
    float *packed;
} job;

/* k in equal blocks of at most KC_MOST, a multiple of 8. */
static int64_t k_block(int64_t k)
{
    const int64_t blocks = (k + KC_MOST - 1) / KC_MOST;
    return round_up((k + blocks - 1) / blocks, 8);
}

/* `lines` (<= width) lines of k elements, line l at x + l * ld, to out[k][width]; missing lines are zeros. */
INLINE void pack_lines_typed(const void *x, int64_t ld, graft_dtype t, int64_t lines, int64_t k, float *out, int width)
{
    for (int first = 0; first < width; first += VW) {
        const int64_t here = least(VW, lines - first), keep = least(VW, width - first);
        for (int64_t p = 0; p < k; p += VW) {
            const int64_t n = least(VW, k - p);
            vf r[VW];
            if (here >= VW && n == VW) {
                UNROLL for (int i = 0; i < VW; i++) r[i] = vector_of(x, (first + i) * ld + p, t);
            } else {
                for (int i = 0; i < VW; i++) {
                    if (i >= here) r[i] = (vf){0};
                    else r[i] = n == VW ? vector_of(x, (first + i) * ld + p, t) : vector_of_n(x, (first + i) * ld + p, n, t);
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

/* k rows of `lines` neighbouring elements, row p at x + p * ld, to out[k][width]; missing columns are zeros. */
INLINE void pack_rows_typed(const void *x, int64_t ld, graft_dtype t, int64_t lines, int64_t k, float *out, int width)
{
    for (int64_t p = 0; p < k; p++)
        for (int first = 0; first < width; first += VW) {
            const int64_t here = most(0, least(VW, lines - first)), keep = least(VW, width - first);
            const vf v = here == VW ? vector_of(x, p * ld + first, t) : vector_of_n(x, p * ld + first, here, t);
            if (keep == VW) v_store(out + p * width + first, v);
            else v_store_n(out + p * width + first, v, keep);
        }
}

INLINE void pack_panel(const void *x, int64_t ld, graft_dtype t, int by_rows, int64_t lines, int64_t k, float *out, int width)
{
    if (t == GRAFT_F32) by_rows ? pack_rows_typed(x, ld, GRAFT_F32, lines, k, out, width) : pack_lines_typed(x, ld, GRAFT_F32, lines, k, out, width);
    else if (t == GRAFT_BF16) by_rows ? pack_rows_typed(x, ld, GRAFT_BF16, lines, k, out, width) : pack_lines_typed(x, ld, GRAFT_BF16, lines, k, out, width);
    else by_rows ? pack_rows_typed(x, ld, GRAFT_F16, lines, k, out, width) : pack_lines_typed(x, ld, GRAFT_F16, lines, k, out, width);
}

static const void *at(const void *x, graft_dtype t, int64_t i) { return (const char *)x + i * (t == GRAFT_F32 ? 4 : 2); }

static __attribute__((noinline)) void pack_b_panel(const gemm *g, int64_t j, int64_t k0, int64_t kc, int64_t n_end, float *out)
{
    const int64_t lines = least(NR, n_end - j);
    if (g->trans_b) pack_panel(at(g->b, g->tb, j * g->ldb + k0), g->ldb, g->tb, 0, lines, kc, out, NR);
    else pack_panel(at(g->b, g->tb, k0 * g->ldb + j), g->ldb, g->tb, 1, lines, kc, out, NR);
}

static __attribute__((noinline)) void pack_a_block(const gemm *g, int64_t i0, int64_t i1, int64_t k0, int64_t kc, float *out)
{
    for (int64_t i = i0; i < i1; i += MR, out += kc * MR) {
        const int64_t lines = least(MR, i1 - i);
        if (g->trans_a) pack_panel(at(g->a, g->ta, k0 * g->lda + i), g->lda, g->ta, 1, lines, kc, out, MR);
        else pack_panel(at(g->a, g->ta, i * g->lda + k0), g->lda, g->ta, 0, lines, kc, out, MR);
    }
}

/* Rows i0 .. i1, one panel of b: a column of tiles. tile_column has the rows packed, direct_column reads them where they lie. */
static __attribute__((noinline)) void tile_column(const gemm *g, int64_t i0, int64_t i1, int64_t j, int64_t n, int64_t kc, const float *a, const float *b, int first)
{
    const float *base = first ? g->base : g->c;
    const int64_t ldbase = first ? g->ldbase : g->ldc;
    for (int64_t i = i0; i < i1; i += MR, a += kc * MR)
        tile(least(MR, i1 - i), n, kc, a, 1, MR, b, NR, g->alpha, g->c + i * g->ldc + j, g->ldc, base ? base + i * ldbase + j : NULL, ldbase);
}

static __attribute__((noinline)) void direct_column(const gemm *g, int64_t i0, int64_t i1, int64_t j, int64_t n, int64_t k, int64_t kc, const float *edge, const float *b, int first)
{
    const float *base = first ? g->base : g->c, *a = (const float *)g->a + k;
    const int64_t ldbase = first ? g->ldbase : g->ldc;
    for (int64_t i = i0; i < i1; i += MR) {
        const int64_t valid = least(MR, i1 - i);
        const float *to_add = base ? base + i * ldbase + j : NULL;
        if (valid == MR) tile_rows(MR, MR, n, kc, a + i * g->lda, g->lda, 1, b, NR, (pieces){1, 0, 0}, g->alpha, g->c + i * g->ldc + j, g->ldc, to_add, ldbase);
        else tile(valid, n, kc, edge, 1, MR, b, NR, g->alpha, g->c + i * g->ldc + j, g->ldc, to_add, ldbase);
    }
}

static void pack_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const job *w = ctx;
    const int64_t panels = (w->nc + NR - 1) / NR, padded = panels * NR, panel = unit % panels;
    const int64_t k = unit / panels * w->kc, kc = least(w->kc, w->kp - k);
    pack_b_panel(&w->g, w->n0 + panel * NR, w->k0 + k, kc, w->n0 + w->nc, w->packed + k * padded + panel * NR * kc);
}

static void rows_unit(void *ctx, int64_t unit, int thread)
{
    const job *w = ctx;
    const gemm *g = &w->g;
    float *a = (float *)(void *)(w->call->scratch + thread * w->call->scratch_bytes);
    const int64_t panels = (w->nc + NR - 1) / NR, padded = panels * NR;
    const int64_t group = unit % w->n_groups, p0 = panels * group / w->n_groups, p1 = panels * (group + 1) / w->n_groups;
    const int64_t i0 = unit / w->n_groups * w->mc, i1 = least(g->m, i0 + w->mc);
    for (int64_t k = 0; k < w->kp; k += w->kc) {
        const int64_t kc = least(w->kc, w->kp - k);
        if (w->direct) {
            const int64_t edge = i0 + (i1 - i0) / MR * MR;
            if (edge < i1) pack_a_block(g, edge, i1, w->k0 + k, kc, a);
            for (int64_t p = p0; p < p1; p++)
                direct_column(g, i0, i1, w->n0 + p * NR, least(NR, w->nc - p * NR), w->k0 + k, kc, a, w->packed + k * padded + p * NR * kc, w->k0 + k == 0);
            continue;
        }
        pack_a_block(g, i0, i1, w->k0 + k, kc, a);
        for (int64_t p = p0; p < p1; p++)
            tile_column(g, i0, i1, w->n0 + p * NR, least(NR, w->nc - p * NR), kc, a, w->packed + k * padded + p * NR * kc, w->k0 + k == 0);
    }
}

static void packed_run(const cpu_call *c, const gemm *g)
{
    job w = {.call = c, .g = *g, .packed = (float *)(void *)c->work};
    const int threads = cpu_pool_threads(c->pool);
    w.m_blocks = (g->m + MC - 1) / MC;
    if (w.m_blocks >= threads) w.m_blocks = round_up(w.m_blocks, threads); /* the same number of blocks for each thread */
    w.mc = round_up((g->m + w.m_blocks - 1) / w.m_blocks, MR);
    w.m_blocks = (g->m + w.mc - 1) / w.mc;
    w.kc = k_block(g->k);
    w.direct = !g->trans_a && g->ta == GRAFT_F32 && g->lda % 256 && g->n <= 256;
    const int64_t kp_most = K_MOST / w.kc * w.kc;
    for (w.k0 = 0; w.k0 < g->k; w.k0 += kp_most) {
        w.kp = least(kp_most, g->k - w.k0);
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
    const cpu_call *call;
    const void *x; /* the long operand */
    int64_t ldx, lines, k, per_unit;
    graft_dtype tx;
    const float *y; /* along: [SKINNY][k padded], else [k][SKINNY] */
    int64_t ldy, count;
    const gemm *g;
    int64_t step_line, step_count; /* in C (and base) */
    int64_t base_line, base_count;
} skinny;

INLINE void put(const skinny *s, int64_t line, int64_t i, float sum)
{
    const gemm *g = s->g;
    const float product = g->alpha * sum;
    g->c[line * s->step_line + i * s->step_count] = g->base ? g->base[line * s->base_line + i * s->base_count] + product : product;
}

/* ROWS long lines x COUNT short ones, dot products along k. */
INLINE void dots(const skinny *s, int rows, int count, int64_t line, int64_t i, graft_dtype t)
{
    vf acc[4][4] = {{{0}}};
    const float *y = s->y + i * s->ldy;
    const int64_t whole = s->k / VW * VW, left = s->k - whole;
    for (int64_t p = 0; p < whole; p += VW) {
        vf short_side[4];
        UNROLL for (int j = 0; j < 4; j++) short_side[j] = j < count ? v_load(y + j * s->ldy + p) : (vf){0};
        UNROLL for (int r = 0; r < 4; r++)
        {
            if (r >= rows) continue;
            const vf v = vector_of(s->x, (line + r) * s->ldx + p, t);
            UNROLL for (int j = 0; j < 4; j++) if (j < count) acc[r][j] = v_fma(v, short_side[j], acc[r][j]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < count; j++) {
            if (left) acc[r][j] = v_fma(vector_of_n(s->x, (line + r) * s->ldx + whole, left, t), v_load_n(y + j * s->ldy + whole, left), acc[r][j]);
            put(s, line + r, i + j, v_sum(acc[r][j]));
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
    for (; line + 4 <= last; line += 4) dots_rows(s, 4, line, t);
    for (; line < last; line++) dots_rows(s, 1, line, t);
}

static void along_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const skinny *s = ctx;
    const int64_t first = unit * s->per_unit, last = least(s->lines, first + s->per_unit);
    if (s->tx == GRAFT_F32) along_typed(s, first, last, GRAFT_F32);
    else if (s->tx == GRAFT_BF16) along_typed(s, first, last, GRAFT_BF16);
    else along_typed(s, first, last, GRAFT_F16);
}

enum { ACROSS = 2 * VW }; /* columns at once */

INLINE void across_typed(const skinny *s, int64_t first, int64_t n, graft_dtype t)
{
    vf acc[SKINNY][2] = {{{0}}};
    for (int64_t p = 0; p < s->k; p++) {
        vf v[2];
        UNROLL for (int j = 0; j < 2; j++)
        {
            const int64_t left = n - j * VW;
            v[j] = left >= VW ? vector_of(s->x, p * s->ldx + first + j * VW, t) : left > 0 ? vector_of_n(s->x, p * s->ldx + first + j * VW, left, t)
                                                                                           : (vf){0};
        }
        UNROLL for (int i = 0; i < SKINNY; i++)
        {
            const vf y = v_set(s->y[p * SKINNY + i]);
            UNROLL for (int j = 0; j < 2; j++) acc[i][j] = v_fma(y, v[j], acc[i][j]);
        }
    }
    float out[SKINNY][ACROSS];
    for (int i = 0; i < SKINNY; i++)
        for (int j = 0; j < 2; j++) v_store(out[i] + j * VW, acc[i][j]);
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t j = 0; j < n; j++) put(s, first + j, i, out[i][j]);
}

static void across_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const skinny *s = ctx;
    const int64_t first = unit * ACROSS, n = least(ACROSS, s->lines - first);
    if (s->tx == GRAFT_F32) n == ACROSS ? across_typed(s, first, ACROSS, GRAFT_F32) : across_typed(s, first, n, GRAFT_F32);
    else if (s->tx == GRAFT_BF16) n == ACROSS ? across_typed(s, first, ACROSS, GRAFT_BF16) : across_typed(s, first, n, GRAFT_BF16);
    else n == ACROSS ? across_typed(s, first, ACROSS, GRAFT_F16) : across_typed(s, first, n, GRAFT_F16);
}

/* Fills s from g: which side is short. Returns whether the long operand's lines run along k. */
static int skinny_sides(skinny *s, const gemm *g, const void **small, int64_t *ld, graft_dtype *t, int *small_along)
{
    const int short_m = g->m <= g->n;
    *small = short_m ? g->a : g->b;
    *ld = short_m ? g->lda : g->ldb;
    *t = short_m ? g->ta : g->tb;
    *small_along = short_m ? !g->trans_a : g->trans_b;
    s->x = short_m ? g->b : g->a;
    s->ldx = short_m ? g->ldb : g->lda;
    s->tx = short_m ? g->tb : g->ta;
    s->lines = short_m ? g->n : g->m;
    s->count = short_m ? g->m : g->n;
    s->step_line = short_m ? 1 : g->ldc;
    s->step_count = short_m ? g->ldc : 1;
    s->base_line = short_m ? 1 : g->ldbase;
    s->base_count = short_m ? g->ldbase : 1;
    s->k = g->k;
    s->g = g;
    return short_m ? g->trans_b : !g->trans_a;
}

static void skinny_pack(const skinny *s, int along, const void *small, int64_t ld, graft_dtype t, int small_along, float *y)
{
    if (!along) {
        if (small_along) {
            for (int64_t i = 0; i < SKINNY; i++)
                for (int64_t p = 0; p < s->k; p++) y[p * SKINNY + i] = i < s->count ? scalar_of(small, i * ld + p, t) : 0.0f;
        } else {
            for (int64_t p = 0; p < s->k; p++)
                for (int64_t i = 0; i < SKINNY; i++) y[p * SKINNY + i] = i < s->count ? scalar_of(small, p * ld + i, t) : 0.0f;
        }
        return;
    }
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t p = 0; p < s->k; p++) y[i * s->ldy + p] = small_along ? scalar_of(small, i * ld + p, t) : scalar_of(small, p * ld + i, t);
}

/* pool NULL: this thread alone. y: room for SKINNY * (k + VW) floats. */
static void skinny_run(cpu_pool *pool, const gemm *g, float *y)
{
    skinny s = {.y = y};
    const void *small;
    int64_t ld;
    graft_dtype t;
    int small_along;
    const int along = skinny_sides(&s, g, &small, &ld, &t, &small_along);
    s.ldy = ld;
    if (along && small_along && t == GRAFT_F32) {
        s.y = small;
    } else {
        s.ldy = along ? s.k : SKINNY;
        skinny_pack(&s, along, small, ld, t, small_along, y);
    }
    s.per_unit = along ? most(4, round_up((32 << 10) / (s.k + 1), 4)) : ACROSS;
    const int64_t units = (s.lines + s.per_unit - 1) / s.per_unit;
    if (pool) {
        cpu_pool_run(pool, units, along ? along_unit : across_unit, &s);
    } else {
        for (int64_t u = 0; u < units; u++) along ? along_unit(&s, u, 0) : across_unit(&s, u, 0);
    }
}

/* ---- the two doors ---------------------------------------------------------------------------------------------------------------------- */
static int trivial(const gemm *g)
{
    if (g->m && g->n && g->k) return 0;
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
    float *a = (float *)(void *)scratch, *b = a + MC * round_up(KC_MOST, 8);
    if (is_skinny(g)) {
        skinny_run(NULL, g, b);
        return;
    }
    const int64_t kcs = k_block(g->k);
    for (int64_t j0 = 0; j0 < g->n; j0 += ALONE_N)
        for (int64_t k = 0; k < g->k; k += kcs) {
            const int64_t kc = least(kcs, g->k - k), j1 = least(g->n, j0 + ALONE_N);
            for (int64_t j = j0; j < j1; j += NR) pack_b_panel(g, j, k, kc, j1, b + (j - j0) * kc);
            for (int64_t i = 0; i < g->m; i += MC) {
                pack_a_block(g, i, least(g->m, i + MC), k, kc, a);
                for (int64_t j = j0; j < j1; j += NR) tile_column(g, i, least(g->m, i + MC), j, least(NR, j1 - j), kc, a, b + (j - j0) * kc, k == 0);
            }
        }
}

void K(gemm_room)(int64_t m, int64_t n, int64_t k, cpu_room *r)
{
    (void)m, (void)n;
    const int64_t rows = least(k, K_MOST);
    const int64_t packed = most(PACK_BYTES, round_up(rows + 8, 8) * NR * 4), small = SKINNY * (k + VW) * 4;
    r->work = most(r->work, most(packed, small));
    r->scratch = most(r->scratch, (MC * round_up(KC_MOST, 8) + most(ALONE_N * round_up(KC_MOST, 8), SKINNY * (k + VW))) * 4);
}
