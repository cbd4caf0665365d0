/* core/model/numbers.c - 16-bit floating point to f32 and back, round to nearest even.
 *
 *   bf16  s eeeeeeee mmmmmmm        the upper half of an f32
 *   f16   s eeeee mmmmmmmmmm        bias 15, subnormals kept; too large becomes infinity, NaN stays NaN (quiet) */
#include "core/model/weights.h"

#include <string.h>

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float graft_bf16_to_f32(uint16_t v) { return from_bits((uint32_t)v << 16); }

uint16_t graft_f32_to_bf16(float v)
{
    const uint32_t bits = to_bits(v);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

float graft_f16_to_f32(uint16_t v)
{
    const uint32_t sign = (uint32_t)(v & 0x8000u) << 16, exponent = v >> 10 & 31u, mantissa = v & 1023u;
    if (exponent == 31) return from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent) return from_bits(sign | (exponent + 112u) << 23 | mantissa << 13);
    const float tiny = (float)mantissa * 0x1p-24f; /* exact */
    return from_bits(sign | to_bits(tiny));
}

uint16_t graft_f32_to_f16(float v)
{
    const uint32_t bits = to_bits(v), magnitude = bits & 0x7fffffffu;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 1023u));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and more round to infinity */
    if (magnitude >= 0x38800000u) {                                  /* normal: 2^-14 and more */
        const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
        return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
    }
    if (magnitude < 0x33000000u) return sign; /* below 2^-25 */
    /* subnormal: the mantissa with its hidden bit, shifted so that one unit is 2^-24 */
    const uint32_t shift = 126u - (magnitude >> 23), full = (magnitude & 0x7fffffu) | 0x800000u;
    const uint32_t half = 1u << (shift - 1), low = full & ((1u << shift) - 1u);
    uint32_t kept = full >> shift;
    if (low > half || (low == half && (kept & 1u))) kept++;
    return (uint16_t)(sign | kept);
}
