/* bf16.c - matrix products of numbers rounded to bf16, summed in f32 (pairs.h). A panel holds pairs of k: B [k / 2][NR][2], A [k / 2][MR][2].
 * Operands in f32 and bf16 are rounded and packed directly, others by way of f32. */
#include "pairs.h"

#if defined(__AVX512BF16__)

enum { AHEAD = 128 }; /* elements that packing along lines asks for in advance */

#define PACK_TYPED(name, type, width)                                                                                                      \
    static __attribute__((noinline)) void name(const void *x, int64_t o, int64_t ld, int by_rows, int64_t lines, int64_t k, uint32_t *out) \
    {                                                                                                                                      \
        if (by_rows) pair_rows(x, o, ld, type, most(0, lines), k, out, width);                                                             \
        else pair_lines(x, o, ld, type, lines, k, out, width, AHEAD);                                                                      \
    }
PACK_TYPED(b_of_f32, GRAFT_F32, NR)
PACK_TYPED(b_of_bf16, GRAFT_BF16, NR)
PACK_TYPED(a_of_f32, GRAFT_F32, MR)
PACK_TYPED(a_of_bf16, GRAFT_BF16, MR)

/* Does each product that reaches k0 .. k0 + kc begin with a pair there? Else pairs would straddle two of them. */
static int paired(const gemm *g, int64_t k0, int64_t kc)
{
    int64_t begin = 0;
    for (int i = 0; i < g->terms; begin += g->t[i++].k)
        if (begin > k0 && begin < k0 + kc && (begin - k0) % 2) return 0;
    return 1;
}

static int plain(graft_dtype t) { return t == GRAFT_F32 || t == GRAFT_BF16; }

/* An f32 panel [k][width] to pairs. */
INLINE void pair_up(const float *from, int64_t k, uint32_t *out, int width)
{
    for (int64_t p = 0; p < k; p += 2, out += width)
        for (int first = 0; first < width; first += PAIRS) keep_pairs(out + first, row_pair(from, p * width + first, width, width - first, p + 1 < k, GRAFT_F32), width - first);
}

static int64_t b_bytes(int64_t k) { return (k + 1) / 2 * NR * 4; }
static int64_t a_bytes(int64_t k) { return (k + 1) / 2 * MR * 4; }

static void pack_b(const gemm *g, float alpha, int64_t j, int64_t k0, int64_t kc, int64_t n_end, void *out, float *spare)
{
    if (!paired(g, k0, kc)) {
        K(pack_b_panel)
        (g, alpha, j, k0, kc, n_end, spare);
        pair_up(spare, kc, out, NR);
        return;
    }
    int64_t begin = 0;
    for (int i = 0; i < g->terms; begin += g->t[i++].k) {
        const term *t = &g->t[i];
        const int64_t from = most(k0, begin), k = least(k0 + kc, begin + t->k) - from, row = from - begin;
        if (k <= 0) continue;
        uint32_t *to = (uint32_t *)out + (from - k0) / 2 * NR;
        if (plain(t->tb) && t->alpha == alpha) {
            (t->tb == GRAFT_F32 ? b_of_f32 : b_of_bf16)(t->b, t->trans_b ? j * t->ldb + row : row * t->ldb + j, t->ldb, !t->trans_b, least(NR, n_end - j), k, to);
            continue;
        }
        const gemm one = {.m = g->m, .n = g->n, .terms = 1, .t = {*t}};
        K(pack_b_panel)
        (&one, alpha, j, row, k, n_end, spare);
        pair_up(spare, k, to, NR);
    }
}

static void pack_a(const gemm *g, int64_t i0, int64_t i1, int64_t k0, int64_t kc, void *out, float *spare)
{
    if (!paired(g, k0, kc)) {
        K(pack_a_panel)
        (g, i0, i1, k0, kc, spare);
        pair_up(spare, kc, out, MR);
        return;
    }
    int64_t begin = 0;
    for (int i = 0; i < g->terms; begin += g->t[i++].k) {
        const term *t = &g->t[i];
        const int64_t from = most(k0, begin), k = least(k0 + kc, begin + t->k) - from, row = from - begin;
        if (k <= 0) continue;
        uint32_t *to = (uint32_t *)out + (from - k0) / 2 * MR;
        if (plain(t->ta)) {
            (t->ta == GRAFT_F32 ? a_of_f32 : a_of_bf16)(t->a, t->trans_a ? row * t->lda + i0 : i0 * t->lda + row, t->lda, t->trans_a, least(MR, i1 - i0), k, to);
            continue;
        }
        const gemm one = {.m = g->m, .n = g->n, .terms = 1, .t = {*t}};
        K(pack_a_panel)
        (&one, i0, i1, row, k, spare);
        pair_up(spare, k, to, MR);
    }
}

static __attribute__((noinline)) void column(const gemm *g, float alpha, int64_t i0, int64_t i1, int64_t j, int64_t n, int64_t kc, const void *a_, const void *b_, int first)
{
    const float *base = first ? g->base : g->c;
    const uint32_t *a = a_, *b = b_;
    const int64_t ldbase = first ? g->ldbase : g->ldc, pairs = (kc + 1) / 2;
    for (int64_t i = i0; i < i1; i += MR, a += pairs * MR) {
        const float *to_add = base ? base + i * ldbase + j : NULL;
        pair_tile(least(MR, i1 - i), n, pairs, a, 1, MR, b, NR, (pieces){1, 0, 0}, alpha, g->c + i * g->ldc + j, g->ldc, to_add, ldbase);
    }
}

static const arithmetic bf16 = {.nr = NR, .k_most = 2 * KC_MOST, .b_bytes = b_bytes, .a_bytes = a_bytes, .pack_b = pack_b, .pack_a = pack_a, .column = column};
const arithmetic *const K(arithmetic_bf16) = &bf16;

#else

const arithmetic *const K(arithmetic_bf16) = NULL;

#endif
