/* graft/dynamic8.h - eight-bit numbers with a moving point (Dettmers et al. 2021, the "dynamic map" of bitsandbytes): seven decades below 1, each cut into
 * twice as many steps as the one below it. Every backend computes in f32 by these formulas, so that all make the same codes.
 *
 *   decade e = 0 .. 6, N = 2^e steps (signed) or 2^(e+1): value 10^(e-6) (0.1 + 0.9 (j + 0.5) / N), j < N
 *   signed    0: zero   2^e + j: the value       128: one   128 + 2^e + j: minus the value
 *   unsigned  0: zero   2^(e+1) + j: the value   1: one
 *
 * A block is 256 elements over their largest absolute value; its codes lie in 86 words, three a word, first lowest; unused ones are 0. */
#ifndef GRAFT_DYNAMIC8_H
#define GRAFT_DYNAMIC8_H

#include <stdint.h>

enum { GRAFT_DYNAMIC8_BLOCK = 256, GRAFT_DYNAMIC8_WORDS = 86, GRAFT_DYNAMIC8_DECADES = 7 };

/* What the codes 0 .. 255 mean, and where a magnitude's decade begins: begin[e] is half-way to what lies below, begin[7] half-way to one.
 * In decade e the code of y is y * scale[e] + offset[e] cut to a whole number and held in [low[e], high[e]]. */
typedef struct graft_dynamic8 {
    float value[256];
    float begin[GRAFT_DYNAMIC8_DECADES + 1], scale[GRAFT_DYNAMIC8_DECADES], offset[GRAFT_DYNAMIC8_DECADES], low[GRAFT_DYNAMIC8_DECADES], high[GRAFT_DYNAMIC8_DECADES];
    int32_t is_signed;
} graft_dynamic8;

static inline void graft_dynamic8_make(graft_dynamic8 *t, int is_signed)
{
    double below = 0.0, size = 1e-6;
    int32_t steps = is_signed ? 1 : 2;
    t->is_signed = is_signed != 0;
    t->value[0] = 0.0f;
    for (int e = 0; e < GRAFT_DYNAMIC8_DECADES; e++, steps *= 2) {
        t->begin[e] = (float)((below + size * (0.1 + 0.45 / steps)) / 2.0);
        t->scale[e] = (float)(steps / 0.9 / size);
        t->offset[e] = (float)(steps - steps / 9.0);
        t->low[e] = (float)steps;
        t->high[e] = (float)(2 * steps - 1);
        for (int32_t j = 0; j < steps; j++) {
            const double v = size * (0.1 + 0.9 * (j + 0.5) / steps);
            t->value[steps + j] = (float)v;
            if (is_signed) t->value[128 + steps + j] = (float)-v;
            below = v;
        }
        size = e == 0 ? 1e-5 : e == 1 ? 1e-4 : e == 2 ? 1e-3 : e == 3 ? 1e-2 : e == 4 ? 1e-1 : 1.0;
    }
    t->value[is_signed ? 128 : 1] = 1.0f;
    t->begin[GRAFT_DYNAMIC8_DECADES] = (float)((below + 1.0) / 2.0);
}

/* The code of x over the block's largest absolute value, in [-1, 1]. */
static inline int32_t graft_dynamic8_code(const graft_dynamic8 *t, float x)
{
    const float y = x < 0.0f ? -x : x;
    const int negative = t->is_signed && x < 0.0f;
    int e = 0;
    if (!(y > t->begin[0])) return 0;
    if (!negative && y > t->begin[GRAFT_DYNAMIC8_DECADES]) return t->is_signed ? 128 : 1;
    for (int i = 1; i < GRAFT_DYNAMIC8_DECADES; i++) e += y > t->begin[i];
    const float product = y * t->scale[e], place = product + t->offset[e];
    const float held = place > t->high[e] ? t->high[e] : place < t->low[e] ? t->low[e] : place;
    return (int32_t)held + (negative ? 128 : 0);
}

#endif
