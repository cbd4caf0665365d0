/* gemm.c - matrix product by packed panels (Goto & van de Geijn 2008); skinny.c has a second way for a short side.
 *
 *   for a block of n:  all threads pack op(B) of this block, all of k:   panels [k block][n / width][KC][width], in the shared workspace (L3)
 *     each unit takes rows of C (and, when there are few rows, a part of the columns):
 *       for k blocks:  pack op(A) rows into [MC / MR][KC][MR] in the thread's scratch (L2), then tiles
 *
 * What a panel holds and how a tile multiplies is the arithmetic's: f32 here, bf16.c, fp16.c. Stored types are converted while packing. */
#include "ops.h"
#include "skinny.h"

enum {
    AHEAD = 128, /* elements that packing along lines asks for in advance: too many lines for the hardware to follow */
    MC = 96 / MR * MR,
    PACK_BYTES = 8 << 20, /* of op(B) at once: stays in L3 */
    K_MOST = 8192,        /* rows of op(B) at once */
    ALONE_N = 256,        /* columns at once when one thread works alone */
    PANEL_BYTES = NR * 4, /* of one k of op(B), in every arithmetic: twice the columns where elements are half as long */
    A_BYTES = MC * KC_MOST * 4 + MC / MR * 64
};

typedef struct job { /* one block of n and k of a gemm */
    const cpu_call *call;
    gemm g;
    const arithmetic *how;
    float alpha;                /* applied when a tile is written; a term's own is relative to it and applied while packing */
    int64_t n0, nc, k0, kp, kc; /* columns n0 .. + nc, joined k0 .. + kp in blocks of kc */
    int64_t mc, m_blocks, n_groups;
    int direct; /* op(A) is read where it lies */
    char *packed;
} job;

/* k in equal blocks of at most `longest`, a multiple of 32: of a stored block. */
static int64_t k_block(int64_t k, int64_t longest)
{
    const int64_t blocks = (k + longest - 1) / longest;
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

/* n elements from i as f32; whole vectors begin at multiples of VW. */
INLINE void widen_typed(const void *x, int64_t i, int64_t n, graft_dtype t, float *to)
{
    int64_t j = 0;
    for (; j + VW <= n; j += VW) v_store(to + j, vector_of(x, i + j, t));
    for (; j < n; j++) to[j] = scalar_of(x, i + j, t);
}
static __attribute__((noinline)) void widen(const void *x, int64_t i, int64_t n, graft_dtype t, float *to)
{
    if (t == GRAFT_F16) widen_typed(x, i, n, GRAFT_F16, to);
    else if (t == GRAFT_Q4_0) widen_typed(x, i, n, GRAFT_Q4_0, to);
    else if (t == GRAFT_Q4_1) widen_typed(x, i, n, GRAFT_Q4_1, to);
    else if (t == GRAFT_Q8_0) widen_typed(x, i, n, GRAFT_Q8_0, to);
    else if (t == GRAFT_NF4) widen_typed(x, i, n, GRAFT_NF4, to);
    else if (t == GRAFT_NF4_DOUBLE) widen_typed(x, i, n, GRAFT_NF4_DOUBLE, to);
    else widen_typed(x, i, n, GRAFT_INT8, to);
}

/* Other types are widened piece by piece on their way. */
static __attribute__((noinline)) void pack_widened(const void *x, int64_t o, int64_t ld, graft_dtype t, int by_rows, int64_t lines, int64_t k, float *out, int width)
{
    enum { PIECE = 64 };
    float wide[NR * PIECE];
    for (int64_t p = 0; p < k && by_rows; p++, out += width) {
        if (lines > 0) widen(x, o + p * ld, lines, t, out);
        for (int64_t i = most(0, lines); i < width; i++) out[i] = 0.0f;
    }
    for (int64_t p = 0; p < k && !by_rows; p += PIECE) {
        const int64_t n = least(PIECE, k - p);
        for (int64_t i = 0; i < lines; i++) widen(x, o + i * ld + p, n, t, wide + i * PIECE);
        pack_f32(wide, 0, PIECE, 0, lines, n, out + p * width, width);
    }
}

static void pack_panel(const void *x, int64_t o, int64_t ld, graft_dtype t, int by_rows, int64_t lines, int64_t k, float *out, int width)
{
    if (t == GRAFT_F32) pack_f32(x, o, ld, by_rows, lines, k, out, width);
    else if (t == GRAFT_BF16) pack_bf16(x, o, ld, by_rows, lines, k, out, width);
    else pack_widened(x, o, ld, t, by_rows, lines, k, out, width);
}

static void scale_panel(float *x, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++) x[i] *= by;
}

/* Columns j .. j + NR of joined rows k0 .. k0 + kc, those of each term from where it begins. */
__attribute__((noinline)) void K(pack_b_panel)(const gemm *g, float alpha, int64_t j, int64_t k0, int64_t kc, int64_t n_end, float *out)
{
    const int64_t lines = most(0, least(NR, n_end - j));
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

/* Rows i .. i + MR. */
__attribute__((noinline)) void K(pack_a_panel)(const gemm *g, int64_t i, int64_t i1, int64_t k0, int64_t kc, float *out)
{
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

/* ---- f32 ------------------------------------------------------------------------------------------------------------------------------------- */
static int64_t b_bytes_f32(int64_t k) { return k * NR * 4; }
static int64_t a_bytes_f32(int64_t k) { return k * MR * 4; }
static void pack_b_f32(const gemm *g, float alpha, int64_t j, int64_t k0, int64_t kc, int64_t n_end, void *out, float *spare)
{
    (void)spare;
    K(pack_b_panel)
    (g, alpha, j, k0, kc, n_end, out);
}
static void pack_a_f32(const gemm *g, int64_t i, int64_t i1, int64_t k0, int64_t kc, void *out, float *spare)
{
    (void)spare;
    K(pack_a_panel)
    (g, i, i1, k0, kc, out);
}

/* Rows i0 .. i1, one panel of b: a column of tiles. */
static __attribute__((noinline)) void column_f32(const gemm *g, float alpha, int64_t i0, int64_t i1, int64_t j, int64_t n, int64_t kc, const void *a_, const void *b_, int first)
{
    const float *base = first ? g->base : g->c, *a = a_, *b = b_;
    const int64_t ldbase = first ? g->ldbase : g->ldc;
    for (int64_t i = i0; i < i1; i += MR, a += kc * MR)
        tile(least(MR, i1 - i), n, kc, a, 1, MR, b, NR, alpha, g->c + i * g->ldc + j, g->ldc, base ? base + i * ldbase + j : NULL, ldbase);
}

static const arithmetic f32 = {.nr = NR, .k_most = KC_MOST, .b_bytes = b_bytes_f32, .a_bytes = a_bytes_f32, .pack_b = pack_b_f32, .pack_a = pack_a_f32, .column = column_f32};
const arithmetic *const K(arithmetic_f32) = &f32;

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

/* As column_f32, reading rows of A where they lie. edge: the rows of an incomplete last tile, packed. */
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

static int64_t panels_of(const job *w) { return (w->nc + w->how->nr - 1) / w->how->nr; }
static float *spare_of(const job *w, int thread) { return (float *)(void *)(w->call->scratch + thread * w->call->scratch_bytes + A_BYTES); }

/* Where the panels of the k block that begins at k lie: each block before it holds all its panels. */
static char *panels_at(const job *w, int64_t k) { return w->packed + k / w->kc * panels_of(w) * w->how->b_bytes(w->kc); }

static void pack_unit(void *ctx, int64_t unit, int thread)
{
    const job *w = ctx;
    const int64_t panels = panels_of(w), panel = unit % panels, k = unit / panels * w->kc, kc = least(w->kc, w->kp - k);
    w->how->pack_b(&w->g, w->alpha, w->n0 + panel * w->how->nr, w->k0 + k, kc, w->n0 + w->nc, panels_at(w, k) + panel * w->how->b_bytes(kc), spare_of(w, thread));
}

static void pack_a_rows(const job *w, int64_t i0, int64_t i1, int64_t k0, int64_t kc, char *out, float *spare)
{
    for (int64_t i = i0; i < i1; i += MR, out += w->how->a_bytes(kc)) w->how->pack_a(&w->g, i, i1, k0, kc, out, spare);
}

static void rows_unit(void *ctx, int64_t unit, int thread)
{
    const job *w = ctx;
    const gemm *g = &w->g;
    const arithmetic *how = w->how;
    char *a = w->call->scratch + thread * w->call->scratch_bytes;
    const int64_t panels = panels_of(w), group = unit % w->n_groups, p0 = panels * group / w->n_groups, p1 = panels * (group + 1) / w->n_groups;
    const int64_t i0 = unit / w->n_groups * w->mc, i1 = least(g->m, i0 + w->mc), edge = i0 + (i1 - i0) / MR * MR;
    for (int64_t k = 0; k < w->kp; k += w->kc) {
        const int64_t kc = least(w->kc, w->kp - k);
        pack_a_rows(w, w->direct ? edge : i0, i1, w->k0 + k, kc, a, spare_of(w, thread));
        for (int64_t p = p0; p < p1; p++) {
            const int64_t j = w->n0 + p * how->nr, n = least(how->nr, w->nc - p * how->nr);
            const char *b = panels_at(w, k) + p * how->b_bytes(kc);
            if (w->direct) direct_column(g, w->alpha, i0, i1, j, n, w->k0 + k, kc, (const float *)(const void *)a, (const float *)(const void *)b, w->k0 + k == 0);
            else how->column(g, w->alpha, i0, i1, j, n, kc, a, b, w->k0 + k == 0);
        }
    }
}

static void packed_run(const cpu_call *c, const gemm *g, const arithmetic *how)
{
    job w = {.call = c, .g = *g, .how = how, .packed = c->work, .alpha = common_alpha(g)};
    const int threads = cpu_pool_threads(c->pool);
    const int64_t all_k = joined(g), element = how->b_bytes(32) / (32 * how->nr);
    w.m_blocks = (g->m + MC - 1) / MC;
    if (w.m_blocks >= threads) w.m_blocks = round_up(w.m_blocks, threads); /* the same number of blocks for each thread */
    w.mc = round_up((g->m + w.m_blocks - 1) / w.m_blocks, MR);
    w.m_blocks = (g->m + w.mc - 1) / w.mc;
    w.kc = k_block(all_k, how->k_most);
    w.direct = how == &f32 && g->terms == 1 && !g->t[0].trans_a && g->t[0].ta == GRAFT_F32 && g->t[0].lda % 256 && g->n <= 256;
    /* as much of k at once as lets a block of n be all of it, but not a few rows */
    const int64_t kp_most = most(1, least(K_MOST, most(2048, PACK_BYTES / element / round_up(g->n, how->nr))) / w.kc) * w.kc;
    for (w.k0 = 0; w.k0 < all_k; w.k0 += kp_most) {
        w.kp = least(kp_most, all_k - w.k0);
        const int64_t nc_most = most(how->nr, PACK_BYTES / element / w.kp / how->nr * how->nr), n_blocks = (g->n + nc_most - 1) / nc_most;
        const int64_t nc = round_up((g->n + n_blocks - 1) / n_blocks, how->nr);
        for (w.n0 = 0; w.n0 < g->n; w.n0 += nc) {
            w.nc = least(nc, g->n - w.n0);
            const int64_t panels = panels_of(&w), k_blocks = (w.kp + w.kc - 1) / w.kc;
            w.n_groups = most(1, least(panels, 2 * threads / w.m_blocks));
            cpu_pool_run(c->pool, panels * k_blocks, pack_unit, &w);
            cpu_pool_run(c->pool, w.m_blocks * w.n_groups, rows_unit, &w);
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

static const arithmetic *way(cpu_compute how)
{
    return how == CPU_BF16 ? K(arithmetic_bf16) : how == CPU_FP16 ? K(arithmetic_fp16)
                                                                  : &f32;
}

void K(gemm_run)(const cpu_call *c, const gemm *g)
{
    if (trivial(g)) return;
    if (is_skinny(g)) K(skinny_run)
    (c->pool, g, (float *)(void *)c->work);
    else packed_run(c, g, way(c->compute));
}

void K(gemm_alone)(const gemm *g, char *scratch)
{
    if (trivial(g)) return;
    float *a = (float *)(void *)scratch, *b = a + MC * KC_MOST;
    if (is_skinny(g)) {
        K(skinny_run)
        (NULL, g, b);
        return;
    }
    const int64_t all_k = joined(g), kcs = k_block(all_k, KC_MOST);
    const float alpha = common_alpha(g);
    for (int64_t j0 = 0; j0 < g->n; j0 += ALONE_N)
        for (int64_t k = 0; k < all_k; k += kcs) {
            const int64_t kc = least(kcs, all_k - k), j1 = least(g->n, j0 + ALONE_N);
            for (int64_t j = j0; j < j1; j += NR) K(pack_b_panel)
            (g, alpha, j, k, kc, j1, b + (j - j0) * kc);
            for (int64_t i = 0; i < g->m; i += MC) {
                const int64_t i1 = least(g->m, i + MC);
                for (int64_t at = i; at < i1; at += MR) K(pack_a_panel)
                (g, at, i1, k, kc, a + (at - i) * kc);
                for (int64_t j = j0; j < j1; j += NR) column_f32(g, alpha, i, i1, j, least(NR, j1 - j), kc, a, b + (j - j0) * kc, k == 0);
            }
        }
}

double K(gemm_spin)(cpu_compute how, int64_t times, char *room)
{
    const arithmetic *w = way(how);
    if (!w || !times) return w ? 0.0 : -1.0;
    memset(room, 0, GEMM_SPIN_BYTES);
    char *a = room + 64, *b = a + SPIN_ROWS / MR * w->a_bytes(SPIN_K);
    const gemm g = {.m = SPIN_ROWS, .n = w->nr, .terms = 1, .c = (float *)(void *)(room + round_up(b - room + w->b_bytes(SPIN_K), 64)), .ldc = w->nr};
    for (int64_t i = 0; i < times; i++) w->column(&g, 1.0f, 0, g.m, 0, g.n, SPIN_K, a, b, 1);
    return 2.0 * (double)times * (double)(g.m * g.n) * SPIN_K;
}

void K(gemm_room)(int64_t m, int64_t n, int64_t k, cpu_room *r)
{
    const int64_t packed = most(PACK_BYTES, (K_MOST + 32) * PANEL_BYTES) + PACK_BYTES / 8; /* an arithmetic may put a little beside its panels */
    r->work = most(r->work, most(packed, K(skinny_bytes)(most(m, n), k, 0)));
    r->scratch = most(r->scratch, A_BYTES + most(ALONE_N * KC_MOST * 4, K(skinny_bytes)(most(m, n), k, 1)));
}
