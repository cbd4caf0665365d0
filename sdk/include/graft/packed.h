/* graft/packed.h - weights of 4 and 8 bits that are made while a model is loaded, as bitsandbytes makes them: where their bytes lie and what they mean.
 *
 *   GRAFT_NF4         blocks of 64 elements, 36 bytes      [f32 s][32 bytes q]          value[q] s              (Dettmers et al. 2023, QLoRA)
 *   GRAFT_NF4_DOUBLE  groups of 256 such blocks, 8456 bytes, whose scales are stored in 8 bits ("double quantisation"):
 *                     [f32 t][f32 o][256 bytes c][256 x 32 bytes q]                     value[q] (map[c] t + o)
 *                     the last group of a tensor ends after its last block: 264 + 32 bytes for each block
 *   GRAFT_INT8        blocks of 64 elements, 68 bytes      [f32 s][64 signed bytes q]   (q s) / 127             s: the largest of the whole row
 *
 * A byte of NF4 holds element 2i in its high half and 2i + 1 in its low half. Tensors hold whole blocks. Blocks of NF4 follow the
 * tensor, not its rows: rows are multiples of 32 elements. Rows of INT8 are whole blocks.
 * Everything is computed in f32, each product and sum rounded on its own. */
#ifndef GRAFT_PACKED_H
#define GRAFT_PACKED_H

#include "graph.h"

#include <string.h>

enum { GRAFT_PACKED_BLOCK = 64, GRAFT_PACKED_ROWS = 32, GRAFT_NF4_BYTES = 36, GRAFT_INT8_BYTES = 68, GRAFT_NF4_GROUP = 256 * 64, GRAFT_NF4_GROUP_HEAD = 264, GRAFT_NF4_GROUP_BYTES = 264 + 256 * 32 };

#define GRAFT_INT8_UNIT 7.874015718698502e-3f /* 1 / 127 */

static const float graft_nf4_value[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f,
};

/* The map of bitsandbytes, rounded as it rounds: code 0 .. 126 the negatives from the largest on, 127 zero, 128 .. 254 the positives below, 255 one. */
static const float graft_packed_map[127] = {
    5.5000004e-7f, 3.2500002e-6f, 7.75e-6f, 2.1249998e-5f, 4.375e-5f, 6.625e-5f, 8.875e-5f, 0.00015625001f, 0.00026875004f, 0.00038125002f,
    0.00049375003f, 0.0006062501f, 0.00071875006f, 0.00083125f, 0.0009437501f, 0.0012812499f, 0.00184375f, 0.00240625f, 0.00296875f, 0.0035312497f,
    0.00409375f, 0.0046562497f, 0.0052187503f, 0.00578125f, 0.00634375f, 0.00690625f, 0.00746875f, 0.00803125f, 0.00859375f, 0.009156249f,
    0.00971875f, 0.01140625f, 0.01421875f, 0.01703125f, 0.019843752f, 0.02265625f, 0.02546875f, 0.028281251f, 0.03109375f, 0.03390625f, 0.036718752f,
    0.03953125f, 0.042343747f, 0.04515625f, 0.04796875f, 0.05078125f, 0.05359375f, 0.05640625f, 0.059218753f, 0.06203125f, 0.06484375f, 0.067656256f,
    0.070468746f, 0.07328125f, 0.07609375f, 0.07890625f, 0.08171876f, 0.08453125f, 0.08734375f, 0.09015625f, 0.092968754f, 0.09578126f, 0.09859375f,
    0.107031256f, 0.12109375f, 0.13515624f, 0.14921875f, 0.16328125f, 0.17734376f, 0.19140625f, 0.20546874f, 0.21953125f, 0.23359375f, 0.24765624f,
    0.26171875f, 0.27578127f, 0.28984374f, 0.30390626f, 0.31796873f, 0.33203125f, 0.34609374f, 0.36015624f, 0.37421876f, 0.38828123f, 0.40234375f,
    0.41640624f, 0.43046874f, 0.44453126f, 0.45859373f, 0.47265625f, 0.4867187f, 0.50078124f, 0.5148437f, 0.5289062f, 0.54296875f, 0.5570313f,
    0.5710938f, 0.58515626f, 0.5992187f, 0.61328125f, 0.6273438f, 0.6414063f, 0.65546876f, 0.6695312f, 0.68359375f, 0.6976563f, 0.7117188f,
    0.72578126f, 0.7398437f, 0.75390625f, 0.7679688f, 0.78203124f, 0.79609376f, 0.8101562f, 0.82421875f, 0.8382813f, 0.85234374f, 0.86640626f,
    0.8804687f, 0.89453125f, 0.9085938f, 0.92265624f, 0.93671876f, 0.9507812f, 0.96484375f, 0.9789063f, 0.99296874f,
};
static inline float graft_packed_map_at(int code)
{
    return code < 127 ? -graft_packed_map[126 - code] : code == 127 ? 0.0f : code == 255 ? 1.0f : graft_packed_map[code - 128];
}

static inline int graft_is_packed(graft_dtype t) { return t == GRAFT_NF4 || t == GRAFT_NF4_DOUBLE || t == GRAFT_INT8; }

/* Bytes of n elements; n is a number of whole blocks. Where element n begins, if n is a number of whole groups. */
static inline int64_t graft_packed_bytes(graft_dtype t, int64_t n)
{
    if (t == GRAFT_NF4) return n / GRAFT_PACKED_BLOCK * GRAFT_NF4_BYTES;
    if (t == GRAFT_INT8) return n / GRAFT_PACKED_BLOCK * GRAFT_INT8_BYTES;
    return n / GRAFT_NF4_GROUP * GRAFT_NF4_GROUP_BYTES + (n % GRAFT_NF4_GROUP ? GRAFT_NF4_GROUP_HEAD + n % GRAFT_NF4_GROUP / 2 : 0);
}

/* The block that element i of the tensor at x lies in: its scale, and where its numbers begin. */
static inline const uint8_t *graft_packed_block(const void *x, int64_t i, graft_dtype t, float *scale)
{
    const uint8_t *at = (const uint8_t *)x;
    float of[2];
    if (t != GRAFT_NF4_DOUBLE) {
        at += i / GRAFT_PACKED_BLOCK * (t == GRAFT_NF4 ? GRAFT_NF4_BYTES : GRAFT_INT8_BYTES);
        memcpy(scale, at, sizeof *scale);
        return at + 4;
    }
    at += i / GRAFT_NF4_GROUP * GRAFT_NF4_GROUP_BYTES;
    memcpy(of, at, sizeof of);
    const float product = graft_packed_map_at(at[8 + i % GRAFT_NF4_GROUP / GRAFT_PACKED_BLOCK]) * of[0];
    *scale = product + of[1];
    return at + GRAFT_NF4_GROUP_HEAD + i % GRAFT_NF4_GROUP / GRAFT_PACKED_BLOCK * 32;
}

static inline float graft_packed_at(const void *x, int64_t i, graft_dtype t)
{
    float scale;
    const uint8_t *q = graft_packed_block(x, i, t, &scale);
    const int64_t j = i % GRAFT_PACKED_BLOCK;
    if (t != GRAFT_INT8) return graft_nf4_value[j % 2 ? q[j / 2] & 15 : q[j / 2] >> 4] * scale;
    const float product = (float)(int8_t)q[j] * scale;
    return product * GRAFT_INT8_UNIT;
}

#endif
