/* core/model/dequant.c - see dequant.h. Blocks as in ggml (ggml-common.h); d, m, dmin are f16 scales, sc and mn small integers.
 *
 *   Q4_0  d, qs[16]                y[j] = (lo(qs[j]) - 8) d      y[j+16] = (hi(qs[j]) - 8) d
 *   Q4_1  d, m, qs[16]             y[j] = lo d + m               y[j+16] = hi d + m
 *   Q5_0  d, qh[4], qs[16]         as Q4_0 with a fifth bit from qh, - 16
 *   Q5_1  d, m, qh[4], qs[16]      as Q4_1 with a fifth bit from qh
 *   Q8_0  d, q[32] (signed)        y = q d
 *   Q2_K  sc|mn[16], qs[64], d, dmin                16 groups of 16: d sc q - dmin mn
 *   Q3_K  hmask[32], qs[64], scales[12], d          16 groups of 16: d (sc - 32) (q - 4 unless the mask's bit is set)
 *   Q4_K  d, dmin, scales[12], qs[128]              8 groups of 32: d sc q - dmin mn, sc and mn of 6 bits
 *   Q5_K  d, dmin, scales[12], qh[32], qs[128]      as Q4_K with a fifth bit
 *   Q6_K  ql[128], qh[64], sc[16] (signed), d       16 groups of 16: d sc (q - 32)
 */
#include "core/model/dequant.h"

#include "core/model/weights.h"

#include <string.h>

static uint16_t u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t u32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }
static uint64_t u64(const uint8_t *p) { return (uint64_t)u32(p) | (uint64_t)u32(p + 4) << 32; }
static float half(const uint8_t *p) { return graft_f16_to_f32(u16(p)); }

static void read_f32(const uint8_t *from, float *to, int64_t n) { memcpy(to, from, (size_t)n * sizeof *to); }

static void read_f64(const uint8_t *from, float *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const uint64_t bits = u64(from + 8 * i);
        double v;
        memcpy(&v, &bits, sizeof v);
        to[i] = (float)v;
    }
}

static void read_f16(const uint8_t *from, float *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] = half(from + 2 * i);
}

static void read_bf16(const uint8_t *from, float *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] = graft_bf16_to_f32(u16(from + 2 * i));
}

#define INTEGERS(name_, type_, wide_)                                  \
    static void name_(const uint8_t *from, float *to, int64_t n)       \
    {                                                                  \
        for (int64_t i = 0; i < n; i++) to[i] = (float)(type_)(wide_); \
    }
INTEGERS(read_u8, uint8_t, from[i])
INTEGERS(read_i8, int8_t, from[i])
INTEGERS(read_u16, uint16_t, u16(from + 2 * i))
INTEGERS(read_i16, int16_t, u16(from + 2 * i))
INTEGERS(read_u32, uint32_t, u32(from + 4 * i))
INTEGERS(read_i32, int32_t, u32(from + 4 * i))
INTEGERS(read_u64, uint64_t, u64(from + 8 * i))
INTEGERS(read_i64, int64_t, u64(from + 8 * i))
#undef INTEGERS

static void read_q4_0(const uint8_t *p, float *y, int64_t n)
{
    for (; n > 0; n--, p += 18, y += 32) {
        const float d = half(p);
        for (int j = 0; j < 16; j++) {
            y[j] = (float)((p[2 + j] & 15) - 8) * d;
            y[j + 16] = (float)((p[2 + j] >> 4) - 8) * d;
        }
    }
}

static void read_q4_1(const uint8_t *p, float *y, int64_t n)
{
    for (; n > 0; n--, p += 20, y += 32) {
        const float d = half(p), m = half(p + 2);
        for (int j = 0; j < 16; j++) {
            y[j] = (float)(p[4 + j] & 15) * d + m;
            y[j + 16] = (float)(p[4 + j] >> 4) * d + m;
        }
    }
}

/* The 5-bit value j of 32: low bits in qs (j and j + 16 share a byte), high bit j of qh. */
static int five(const uint8_t *qs, uint32_t qh, int j)
{
    return (j < 16 ? qs[j] & 15 : qs[j - 16] >> 4) | (int)(qh >> j & 1u) << 4;
}

static void read_q5_0(const uint8_t *p, float *y, int64_t n)
{
    for (; n > 0; n--, p += 22, y += 32) {
        const float d = half(p);
        for (int j = 0; j < 32; j++) y[j] = (float)(five(p + 6, u32(p + 2), j) - 16) * d;
    }
}

static void read_q5_1(const uint8_t *p, float *y, int64_t n)
{
    for (; n > 0; n--, p += 24, y += 32) {
        const float d = half(p), m = half(p + 2);
        for (int j = 0; j < 32; j++) y[j] = (float)five(p + 8, u32(p + 4), j) * d + m;
    }
}

static void read_q8_0(const uint8_t *p, float *y, int64_t n)
{
    for (; n > 0; n--, p += 34, y += 32) {
        const float d = half(p);
        for (int j = 0; j < 32; j++) y[j] = (float)(int8_t)p[2 + j] * d;
    }
}

static void read_q2_k(const uint8_t *p, float *y, int64_t n)
{
    for (; n > 0; n--, p += 84, y += 256) {
        const float d = half(p + 80), dmin = half(p + 82);
        for (int i = 0; i < 256; i++) {
            const uint8_t group = p[i / 16];
            const int q = p[16 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            y[i] = d * (float)(group & 15) * (float)q - dmin * (float)(group >> 4);
        }
    }
}

static void read_q3_k(const uint8_t *p, float *y, int64_t n)
{
    for (; n > 0; n--, p += 110, y += 256) {
        const uint8_t *scales = p + 96;
        const float d = half(p + 108);
        for (int i = 0; i < 256; i++) {
            const int g = i / 16; /* 6-bit scale g: low four bits in bytes 0..7, high two in bytes 8..11 */
            const int scale = ((g < 8 ? scales[g] & 15 : scales[g - 8] >> 4) | (scales[8 + g % 4] >> (g / 4 * 2) & 3) << 4) - 32;
            const int low = p[32 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            const int high = p[i % 32] >> (i / 32) & 1;
            y[i] = d * (float)scale * (float)(low - (high ? 0 : 4));
        }
    }
}

/* 6-bit scale and minimum of group g of 8, packed in 12 bytes. */
static void scale_min(const uint8_t *s, int g, int *scale, int *min)
{
    if (g < 4) {
        *scale = s[g] & 63, *min = s[g + 4] & 63;
    } else {
        *scale = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
        *min = s[g + 4] >> 4 | (s[g] >> 6) << 4;
    }
}

/* Q4_K and Q5_K: qh NULL for four bits. */
static void super_block(const uint8_t *p, const uint8_t *qh, const uint8_t *qs, float *y)
{
    const float d = half(p), dmin = half(p + 2);
    for (int g = 0; g < 8; g++) {
        int scale, min;
        scale_min(p + 4, g, &scale, &min);
        const float by = d * (float)scale, less = dmin * (float)min;
        for (int l = 0; l < 32; l++) {
            const uint8_t byte = qs[g / 2 * 32 + l];
            int q = g % 2 ? byte >> 4 : byte & 15;
            if (qh) q |= (qh[l] >> g & 1) << 4;
            y[32 * g + l] = by * (float)q - less;
        }
    }
}

static void read_q4_k(const uint8_t *p, float *y, int64_t n)
{
    for (; n > 0; n--, p += 144, y += 256) super_block(p, NULL, p + 16, y);
}

static void read_q5_k(const uint8_t *p, float *y, int64_t n)
{
    for (; n > 0; n--, p += 176, y += 256) super_block(p, p + 16, p + 48, y);
}

static void read_q6_k(const uint8_t *p, float *y, int64_t n)
{
    for (; n > 0; n--, p += 210, y += 256) {
        const float d = half(p + 208);
        for (int i = 0; i < 256; i++) {
            const int part = i / 128, row = i % 128 / 32, l = i % 32; /* row: which of the four values that share byte l of qh */
            const uint8_t low = p[64 * part + (row & 1) * 32 + l], high = p[128 + 32 * part + l];
            const int q = ((row & 2 ? low >> 4 : low & 15) | (high >> (2 * row) & 3) << 4) - 32;
            y[i] = d * (float)(int8_t)p[192 + i / 16] * (float)q;
        }
    }
}

static const graft_storage types[] = {
    {"F32", 0, 1, GRAFT_F32, 1, 4, read_f32},
    {"F16", 1, 1, GRAFT_F16, 1, 2, read_f16},
    {"BF16", 30, 1, GRAFT_BF16, 1, 2, read_bf16},
    {"F64", 28, 1, 0, 1, 8, read_f64},
    {"I8", 24, 1, GRAFT_I8, 1, 1, read_i8},
    {"I16", 25, 1, 0, 1, 2, read_i16},
    {"I32", 26, 1, GRAFT_I32, 1, 4, read_i32},
    {"I64", 27, 1, 0, 1, 8, read_i64},
    {"BOOL", -1, 1, 0, 1, 1, read_u8},
    {"U8", -1, 1, 0, 1, 1, read_u8},
    {"U16", -1, 1, 0, 1, 2, read_u16},
    {"U32", -1, 1, 0, 1, 4, read_u32},
    {"U64", -1, 1, 0, 1, 8, read_u64},
    {"C64", -1, 1, 0, 1, 8, NULL},
    {"F4", -1, 1, 0, 2, 1, NULL},
    {"F6_E2M3", -1, 1, 0, 4, 3, NULL},
    {"F6_E3M2", -1, 1, 0, 4, 3, NULL},
    {"F8_E5M2", -1, 1, 0, 1, 1, NULL},
    {"F8_E4M3", -1, 1, 0, 1, 1, NULL},
    {"F8_E8M0", -1, 1, 0, 1, 1, NULL},
    {"F8_E4M3FNUZ", -1, 1, 0, 1, 1, NULL},
    {"F8_E5M2FNUZ", -1, 1, 0, 1, 1, NULL},
    {"Q4_0", 2, 0, GRAFT_Q4_0, 32, 18, read_q4_0},
    {"Q4_1", 3, 0, GRAFT_Q4_1, 32, 20, read_q4_1},
    {"Q5_0", 6, 0, 0, 32, 22, read_q5_0},
    {"Q5_1", 7, 0, 0, 32, 24, read_q5_1},
    {"Q8_0", 8, 0, GRAFT_Q8_0, 32, 34, read_q8_0},
    {"Q8_1", 9, 0, 0, 32, 36, NULL},
    {"Q2_K", 10, 0, 0, 256, 84, read_q2_k},
    {"Q3_K", 11, 0, 0, 256, 110, read_q3_k},
    {"Q4_K", 12, 0, 0, 256, 144, read_q4_k},
    {"Q5_K", 13, 0, 0, 256, 176, read_q5_k},
    {"Q6_K", 14, 0, 0, 256, 210, read_q6_k},
    {"Q8_K", 15, 0, 0, 256, 292, NULL},
    {"IQ2_XXS", 16, 0, 0, 256, 66, NULL},
    {"IQ2_XS", 17, 0, 0, 256, 74, NULL},
    {"IQ3_XXS", 18, 0, 0, 256, 98, NULL},
    {"IQ1_S", 19, 0, 0, 256, 50, NULL},
    {"IQ4_NL", 20, 0, 0, 32, 18, NULL},
    {"IQ3_S", 21, 0, 0, 256, 110, NULL},
    {"IQ2_S", 22, 0, 0, 256, 82, NULL},
    {"IQ4_XS", 23, 0, 0, 256, 136, NULL},
    {"IQ1_M", 29, 0, 0, 256, 56, NULL},
    {"TQ1_0", 34, 0, 0, 256, 54, NULL},
    {"TQ2_0", 35, 0, 0, 256, 66, NULL},
    {"MXFP4", 39, 0, 0, 32, 17, NULL},
};

const graft_storage *graft_storage_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].hf && !strcmp(types[i].name, name)) return &types[i];
    return NULL;
}

const graft_storage *graft_storage_by_gguf(uint32_t type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].gguf >= 0 && (uint32_t)types[i].gguf == type) return &types[i];
    return NULL;
}

const graft_storage *graft_storage_by_dtype(int dtype)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (dtype && types[i].dtype == dtype) return &types[i];
    return NULL;
}
