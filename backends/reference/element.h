/* backends/reference/element.h - one element of a tensor in any storage type, as a double.
 *
 *   bf16  the upper half of an f32          f16  IEEE binary16
 *   q4_0  [f16 d][16 bytes]: element i < 16 is the low half of byte i, i + 16 the high half; (q - 8) d
 *   q4_1  [f16 d][f16 m][16 bytes]: q d + m          q8_0  [f16 d][32 signed bytes]: q d          (32 elements a block, as in GGUF)
 *   nf4, nf4_double, int8: graft/packed.h
 */
#ifndef BACKENDS_REFERENCE_ELEMENT_H
#define BACKENDS_REFERENCE_ELEMENT_H

#include "reference.h"

#include "graft/packed.h"

#include <math.h>
#include <string.h>

static inline float ref_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline float ref_from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 1023u;
    if (exponent == 31) return ref_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
    return ref_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

static inline uint16_t ref_half_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static inline double ref_get(const ref_view *x, int64_t i)
{
    const uint8_t *block;
    const int64_t at = i % 32;
    switch (x->dtype) {
    case GRAFT_F32: return (double)((const float *)x->data)[i];
    case GRAFT_I32: return (double)((const int32_t *)x->data)[i];
    case GRAFT_BF16: return (double)ref_bits((uint32_t)((const uint16_t *)x->data)[i] << 16);
    case GRAFT_F16: return (double)ref_from_f16(((const uint16_t *)x->data)[i]);
    case GRAFT_Q4_0:
        block = (const uint8_t *)x->data + i / 32 * 18;
        return (double)ref_from_f16(ref_half_at(block)) * ((block[2 + at % 16] >> (at < 16 ? 0 : 4) & 15) - 8);
    case GRAFT_Q4_1:
        block = (const uint8_t *)x->data + i / 32 * 20;
        return (double)ref_from_f16(ref_half_at(block)) * (block[4 + at % 16] >> (at < 16 ? 0 : 4) & 15) + (double)ref_from_f16(ref_half_at(block + 2));
    case GRAFT_Q8_0:
        block = (const uint8_t *)x->data + i / 32 * 34;
        return (double)ref_from_f16(ref_half_at(block)) * (int8_t)block[2 + at];
    case GRAFT_NF4:
    case GRAFT_NF4_DOUBLE:
    case GRAFT_INT8: return (double)graft_packed_at(x->data, i, x->dtype);
    default: return 0.0; /* not claimed */
    }
}

static inline uint16_t ref_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if (f != f) return (uint16_t)(u >> 16 | 64u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static inline uint16_t ref_to_f16(float f) /* to nearest, ties to even */
{
    const uint16_t sign = signbit(f) ? 0x8000u : 0u;
    const double a = fabs((double)f);
    if (f != f) return (uint16_t)(sign | 0x7e00u);
    if (a >= 65520.0) return (uint16_t)(sign | 0x7c00u);
    if (a < 0x1p-14) return (uint16_t)(sign | (uint16_t)nearbyint(a * 0x1p24)); /* a carry into 1024 is the smallest normal number */
    int exponent;
    const double fraction = frexp(a, &exponent); /* a = fraction 2^exponent, fraction in [1/2, 1) */
    return (uint16_t)(sign + (uint16_t)((exponent + 13) << 10) + (uint16_t)nearbyint(fraction * 2048.0));
}

static inline void ref_put(const ref_view *x, int64_t i, double v)
{
    switch (x->dtype) {
    case GRAFT_I32: ((int32_t *)x->data)[i] = v != v ? 0 : v >= 2147483647.0 ? INT32_MAX
                                                       : v <= -2147483648.0  ? INT32_MIN
                                                                             : (int32_t)v;
        break;
    case GRAFT_BF16: ((uint16_t *)x->data)[i] = ref_to_bf16((float)v); break;
    case GRAFT_F16: ((uint16_t *)x->data)[i] = ref_to_f16((float)v); break;
    default: ((float *)x->data)[i] = (float)v; break;
    }
}

#endif
