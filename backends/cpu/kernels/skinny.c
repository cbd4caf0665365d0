/* skinny.c - matrix products with a side of at most SKINNY: decoding, LoRA. They are bound by reading the long operand, so the short one is packed whole and
 * the long one is read once, where it lies and as it is stored. "Along": the long operand's lines run along k. */
#include "skinny.h"

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

enum { DOTS = 4,                /* long lines x short lines at once */
       AHEAD = 8192,            /* bytes of the long operand asked for in advance: what memory brings in the time that it takes to answer */
       UNIT_BYTES = 64 << 10 }; /* of the long operand, about */

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
            if (t != GRAFT_F32) __builtin_prefetch((const char *)s->x + stored_bytes(t, (line + r) * s->ldx + p) + AHEAD); /* f32 gains nothing */
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

/* ---- stored blocks against one short line: numbers stay as they are stored until a block is summed, then its scale comes in once ---- */
INLINE int64_t block_length(graft_dtype t) { return graft_is_packed(t) ? GRAFT_PACKED_BLOCK : 32; }

/* The block that begins at element i: scale and, of Q4_1, minimum. */
INLINE const uint8_t *block_begin(const void *x, int64_t i, graft_dtype t, float *scale, float *low)
{
    *low = 0.0f;
    if (graft_is_packed(t)) {
        const uint8_t *q = graft_packed_block(x, i, t, scale);
        if (t == GRAFT_INT8) *scale *= GRAFT_INT8_UNIT;
        return q;
    }
    const uint8_t *b = (const uint8_t *)x + stored_bytes(t, i);
    *scale = half_at(b);
    if (t == GRAFT_Q4_1) *low = half_at(b + 2);
    return b + (t == GRAFT_Q4_1 ? 4 : 2);
}

/* Numbers j .. j + VW of a block, unscaled. */
INLINE vf block_numbers(const uint8_t *q, int64_t j, graft_dtype t)
{
    const int nf4 = t == GRAFT_NF4 || t == GRAFT_NF4_DOUBLE;
#if defined(__AVX512F__)
    if (t == GRAFT_Q8_0 || t == GRAFT_INT8) return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(q + j))));
    const __m128i fifteen = _mm_set1_epi8(15);
    if (nf4) {
        const __m128i b = _mm_loadl_epi64((const __m128i *)(const void *)(q + j / 2)), codes = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(b, 4), fifteen), _mm_and_si128(b, fifteen));
        return _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(codes), _mm512_loadu_ps(graft_nf4_value));
    }
    const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)q), codes = _mm_and_si128(j ? _mm_srli_epi16(b, 4) : b, fifteen);
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(t == GRAFT_Q4_0 ? _mm_sub_epi8(codes, _mm_set1_epi8(8)) : codes));
#elif defined(__AVX2__)
    const __m128i fifteen = _mm_set1_epi8(15);
    if (nf4) {
        int32_t word;
        memcpy(&word, q + j / 2, sizeof word);
        const __m128i b = _mm_cvtsi32_si128(word);
        const __m256i codes = _mm256_cvtepu8_epi32(_mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(b, 4), fifteen), _mm_and_si128(b, fifteen)));
        const __m256 below = _mm256_permutevar8x32_ps(_mm256_loadu_ps(graft_nf4_value), codes), above = _mm256_permutevar8x32_ps(_mm256_loadu_ps(graft_nf4_value + 8), codes);
        return _mm256_blendv_ps(below, above, _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28))); /* bit 3 of the code becomes the sign */
    }
    if (t == GRAFT_Q8_0 || t == GRAFT_INT8) return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(q + j))));
    const __m128i b = _mm_loadl_epi64((const __m128i *)(const void *)(q + j % 16)), codes = _mm_and_si128(j >= 16 ? _mm_srli_epi16(b, 4) : b, fifteen);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(t == GRAFT_Q4_0 ? _mm_sub_epi8(codes, _mm_set1_epi8(8)) : codes));
#else
    vf v = {0};
    for (int64_t l = j; l < j + VW; l++) {
        if (nf4) v[l - j] = graft_nf4_value[l % 2 ? q[l / 2] & 15 : q[l / 2] >> 4];
        else if (t == GRAFT_Q8_0 || t == GRAFT_INT8) v[l - j] = (float)(int8_t)q[l];
        else v[l - j] = (float)((l < 16 ? q[l % 16] & 15 : q[l % 16] >> 4) - (t == GRAFT_Q4_0 ? 8 : 0));
    }
    return v;
#endif
}

#if defined(__AVX512F__)
/* Q4_0 and Q4_1: the 16 numbers that a block can hold are made once, and a permutation, which looks at the low 4 bits of each lane, picks them: no masks, no
 * conversions. One conversion of halves gives Q4_1's scale to the even lanes and its minimum to the odd ones. */
INLINE void dots_nibbles(const skinny *s, int64_t line, graft_dtype t)
{
    const int64_t bytes = t == GRAFT_Q4_1 ? 20 : 18, row = stored_bytes(t, s->ldx);
    const vf codes = t == GRAFT_Q4_1 ? (vf){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} : (vf){-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
    const uint8_t *x = (const uint8_t *)s->x + line * row;
    vf low[DOTS] = {{0}}, high[DOTS] = {{0}};
    for (int64_t p = 0; p < s->k; p += 32, x += bytes) {
        const vf y0 = v_load(s->y + p), y1 = v_load(s->y + p + 16);
        UNROLL for (int r = 0; r < DOTS; r++)
        {
            const uint8_t *b = x + r * row;
            __builtin_prefetch(b + AHEAD);
            const __m512i q = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(b + bytes - 16)));
            int32_t pair;
            memcpy(&pair, b, sizeof pair);
            const __m512 halves = t == GRAFT_Q4_1 ? _mm512_cvtph_ps(_mm256_set1_epi32(pair)) : _mm512_cvtph_ps(_mm256_set1_epi16((int16_t)pair));
            const __m512 numbers = t == GRAFT_Q4_1 ? _mm512_fmadd_ps(codes, _mm512_moveldup_ps(halves), _mm512_movehdup_ps(halves)) : _mm512_mul_ps(codes, halves);
            low[r] = v_fma(_mm512_permutexvar_ps(q, numbers), y0, low[r]);
            high[r] = v_fma(_mm512_permutexvar_ps(_mm512_srli_epi32(q, 4), numbers), y1, high[r]);
        }
    }
    for (int r = 0; r < DOTS; r++) put(s, line + r, 0, v_sum(low[r] + high[r]));
}
#endif

INLINE void dots_blocks(const skinny *s, int64_t line, graft_dtype t)
{
#if defined(__AVX512F__)
    if (t == GRAFT_Q4_0 || t == GRAFT_Q4_1) {
        dots_nibbles(s, line, t);
        return;
    }
#endif
    enum { VECTORS = GRAFT_PACKED_BLOCK / VW };
    const int64_t length = block_length(t);
    vf acc[DOTS] = {{0}};
    for (int64_t p = 0; p < s->k; p += length) {
        vf y[VECTORS], all = {0};
        UNROLL for (int j = 0; j < VECTORS; j++)
        {
            if (j * VW >= length) continue;
            y[j] = v_load(s->y + p + j * VW);
            all = all + y[j];
        }
        UNROLL for (int r = 0; r < DOTS; r++)
        {
            float scale, low;
            const uint8_t *q = block_begin(s->x, (line + r) * s->ldx + p, t, &scale, &low);
            __builtin_prefetch(q + AHEAD);
            vf part = {0};
            UNROLL for (int j = 0; j < VECTORS; j++) if (j * VW < length) part = j ? v_fma(block_numbers(q, j * VW, t), y[j], part) : block_numbers(q, 0, t) * y[0];
            acc[r] = v_fma(part, v_set(scale), acc[r]);
            if (t == GRAFT_Q4_1) acc[r] = v_fma(all, v_set(low), acc[r]);
        }
    }
    for (int r = 0; r < DOTS; r++) put(s, line + r, 0, v_sum(acc[r]));
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
        if (s->count == 1 && is_blocks(t) && s->k % block_length(t) == 0) dots_blocks(s, line, t);
        else if (s->count == 1) dots_one(s, line, t);
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

/* The same number of units for each thread; a line's sum does not depend on where units end, since they hold whole groups of DOTS. */
static int64_t along_units(const cpu_pool *pool, skinny *s)
{
    const int64_t bytes = s->lines * stored_bytes(s->tx, round_up(s->k, 64)), units = most(1, bytes / UNIT_BYTES), threads = pool ? cpu_pool_threads(pool) : 1;
    s->per_unit = round_up((s->lines + round_up(units, threads) - 1) / round_up(units, threads), DOTS);
    return (s->lines + s->per_unit - 1) / s->per_unit;
}

typedef struct many {
    skinny s[GROUP_MOST];
    int64_t begin[GROUP_MOST + 1]; /* units before those of each product */
} many;

static void many_unit(void *ctx, int64_t unit, int thread)
{
    many *w = ctx;
    int i = 0;
    while (unit >= w->begin[i + 1]) i++;
    along_unit(&w->s[i], unit - w->begin[i], thread);
}

int K(skinny_group)(cpu_pool *pool, const gemm *g, int n)
{
    many w;
    w.begin[0] = 0;
    if (n > GROUP_MOST) return 0;
    for (int i = 0; i < n; i++) {
        const term *t = &g[i].t[0];
        if (g[i].terms != 1 || g[i].m > SKINNY || g[i].m > g[i].n || !t->k || t->trans_a || !t->trans_b || t->ta != GRAFT_F32) return 0;
        small o;
        w.s[i] = (skinny){.y = t->a, .ldy = t->lda, .base = g[i].base};
        skinny_sides(&w.s[i], &o, &g[i], t);
        w.begin[i + 1] = w.begin[i] + along_units(pool, &w.s[i]);
    }
    cpu_pool_run(pool, w.begin[n], many_unit, &w);
    return 1;
}

/* The terms one after another. */
void K(skinny_run)(cpu_pool *pool, const gemm *g, float *y)
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
        const int64_t units = along_units(pool, &s);
        if (pool) {
            cpu_pool_run(pool, units, along_unit, &s);
        } else {
            for (int64_t u = 0; u < units; u++) along_unit(&s, u, 0);
        }
    }
}

int64_t K(skinny_bytes)(int64_t lines, int64_t k, int alone)
{
    const int64_t blocks = alone ? 1 : across_blocks(lines), splits = !alone && blocks < SPLITS_MOST ? SPLITS_MOST : 1;
    return (SKINNY * k + 16) * 4 + blocks * splits * SKINNY * WIDE * 4;
}
