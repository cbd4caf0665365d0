/* core/model/quantise.c - see quantise.h. The maths of bitsandbytes, so that a model quantised here is the model that it makes:
 *
 *   NF4         s = largest |x| of 64; the value nearest to x / s, of two equally near ones the lower
 *   NF4_DOUBLE  o = mean of all s; t = largest |s - o| of 256 blocks; the code of the map nearest to (s - o) / t
 *   INT8        s = largest |x| of the row; x (127 / s), to nearest, ties to even
 *
 * A block of zeros keeps zeros: its numbers are the code of zero. What is not a number becomes zero. */
#include "core/model/quantise.h"

#include "core/base/threads.h"
#include "core/model/dequant.h"
#include "core/model/weights.h"
#include "graft/packed.h"

#include <math.h>
#include <string.h>

enum { PIECE = 1 << 16, /* elements that a thread takes at a time: whole groups */
       BLOCKS = 256 };  /* of a group */

typedef struct quantising {
    graft_dtype t;
    const float *x;
    int64_t n, columns;
    uint8_t *to;
    float *scales, offset;
    float map_middle[255]; /* between neighbouring codes of the map */
} quantising;

static float largest(const float *x, int64_t n)
{
    float most = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        const float a = fabsf(x[i]);
        if (a > most) most = a;
    }
    return most;
}

/* The first code whose middle to the next is not below y: nearest, ties to the lower. */
static int nearest(const float *middle, int n, float y)
{
    int low = 0, high = n;
    while (low < high) {
        const int at = (low + high) / 2;
        if (middle[at] < y) low = at + 1;
        else high = at;
    }
    return low;
}

static const float nf4_middle[15] = {-0.8480964f, -0.61063293f, -0.45999527f, -0.33967943f, -0.23460741f, -0.13791173f, -0.04552502f, 0.03979015f,
                                     0.12025525f, 0.20352125f, 0.29201377f, 0.38931254f, 0.50166342f, 0.64278692f, 0.86147842f};

/* 64 numbers to 32 bytes; returns their scale. A code is the number of middles below: counted in loops that become vectors. */
static float nf4_block(const float *x, uint8_t *q)
{
    const float scale = largest(x, GRAFT_PACKED_BLOCK);
    float y[GRAFT_PACKED_BLOCK];
    int32_t code[GRAFT_PACKED_BLOCK] = {0};
    for (int i = 0; i < GRAFT_PACKED_BLOCK; i++) y[i] = x[i] / scale;
    for (int k = 0; k < 15; k++)
        for (int i = 0; i < GRAFT_PACKED_BLOCK; i++) code[i] += nf4_middle[k] < y[i];
    for (int i = 0; i < GRAFT_PACKED_BLOCK; i++) code[i] = y[i] == y[i] ? code[i] : 7; /* no number, or a block of zeros */
    for (int i = 0; i < GRAFT_PACKED_BLOCK; i += 2) q[i / 2] = (uint8_t)(code[i] << 4 | code[i + 1]);
    return scale;
}

static void nf4_piece(void *ctx, int64_t piece)
{
    const quantising *w = ctx;
    const int64_t first = piece * PIECE, last = first + PIECE < w->n ? first + PIECE : w->n;
    for (int64_t i = first; i < last; i += GRAFT_PACKED_BLOCK) {
        float held; /* what lies there now */
        uint8_t *at = w->to + i / GRAFT_PACKED_BLOCK * GRAFT_NF4_BYTES;
        const float scale = w->t == GRAFT_NF4 ? nf4_block(w->x + i, at + 4) : nf4_block(w->x + i, (uint8_t *)(uintptr_t)graft_packed_block(w->to, i, w->t, &held));
        if (w->t == GRAFT_NF4) memcpy(at, &scale, sizeof scale);
        w->scales[i / GRAFT_PACKED_BLOCK] = scale;
    }
}

/* The scales of one group in eight bits. */
static void scales_piece(void *ctx, int64_t group)
{
    const quantising *w = ctx;
    const int64_t first = group * BLOCKS, all = w->n / GRAFT_PACKED_BLOCK, n = all - first < BLOCKS ? all - first : BLOCKS;
    uint8_t *at = w->to + group * GRAFT_NF4_GROUP_BYTES;
    float off[BLOCKS] = {0};
    for (int64_t i = 0; i < n; i++) off[i] = w->scales[first + i] - w->offset;
    const float of[2] = {largest(off, n), w->offset};
    memcpy(at, of, sizeof of);
    for (int64_t i = 0; i < n; i++) at[8 + i] = (uint8_t)(of[0] > 0.0f ? nearest(w->map_middle, 255, off[i] / of[0]) : 127);
}

static void int8_rows(void *ctx, int64_t row)
{
    const quantising *w = ctx;
    const float *x = w->x + row * w->columns;
    const float scale = largest(x, w->columns), by = scale > 0.0f ? 127.0f / scale : 0.0f;
    uint8_t *at = w->to + row * w->columns / GRAFT_PACKED_BLOCK * GRAFT_INT8_BYTES;
    for (int64_t i = 0; i < w->columns; i += GRAFT_PACKED_BLOCK, at += GRAFT_INT8_BYTES) {
        memcpy(at, &scale, sizeof scale);
        for (int64_t k = 0; k < GRAFT_PACKED_BLOCK; k++) {
            const float v = nearbyintf(x[i + k] * by);
            at[4 + k] = (uint8_t)(int8_t)(v >= -127.0f && v <= 127.0f ? v : 0.0f); /* neither: not a number */
        }
    }
}

void graft_quantise(graft_dtype t, const float *x, int64_t rows, int64_t columns, uint8_t *to, float *scales)
{
    quantising w = {.t = t, .x = x, .n = rows * columns, .columns = columns, .to = to, .scales = scales};
    if (!w.n) return;
    if (t == GRAFT_INT8) {
        graft_parallel(rows, int8_rows, &w);
        return;
    }
    if (t == GRAFT_NF4_DOUBLE) memset(to, 0, (size_t)graft_packed_bytes(t, w.n)); /* a part of a group has codes that nobody reads */
    graft_parallel((w.n + PIECE - 1) / PIECE, nf4_piece, &w);
    if (t == GRAFT_NF4) return;
    double sum = 0.0;
    for (int64_t i = 0; i < w.n / GRAFT_PACKED_BLOCK; i++) sum += (double)scales[i];
    w.offset = (float)(sum / (double)(w.n / GRAFT_PACKED_BLOCK));
    for (int i = 0; i < 255; i++) w.map_middle[i] = (float)(((double)graft_packed_map_at(i) + (double)graft_packed_map_at(i + 1)) / 2.0);
    graft_parallel((w.n + GRAFT_NF4_GROUP - 1) / GRAFT_NF4_GROUP, scales_piece, &w);
}

void graft_widen(graft_dtype t, const void *from, int64_t n, float *to)
{
    const graft_storage *s = graft_storage_by_dtype((int)t);
    if (graft_is_packed(t)) {
        for (int64_t i = 0; i < n; i++) to[i] = graft_packed_at(from, i, t);
    } else if (s) {
        s->to_f32(from, to, n / s->block);
    }
}
