/* NF4, double-quantised NF4 and int8 against bitsandbytes: the hashes are those of the bytes that bitsandbytes 0.50.2 makes of the same numbers, and of what
 * it makes of those bytes again, with the scales of NF4_DOUBLE rounded as its plain kernel and that for GPUs do: to nearest (its library for processors takes
 * a neighbour for three of these 280). */
#include "core/model/quantise.h"
#include "core/model/weights.h"
#include "graft/packed.h"
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

enum { ROWS = 70,
       COLUMNS = 256,
       N = ROWS * COLUMNS };

static float x[N], back[N], scales[N / 64];
static uint8_t packed[4 * N];

/* Exact in f16, so that there is one way to write them; one block is zeros. */
static void make(void)
{
    for (uint64_t i = 0; i < N; i++) {
        const double u = (double)(uint32_t)(i * 2654435761u + 12345u) / 4294967296.0 - 0.5;
        x[i] = graft_f16_to_f32(graft_f32_to_f16((float)(u * u * u * 0.4 + 0.01 * u)));
    }
    memset(x + 3 * COLUMNS + 64, 0, 64 * sizeof *x);
}

static uint64_t hash(const void *data, size_t bytes)
{
    const uint8_t *b = data;
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < bytes; i++) h = (h ^ b[i]) * 1099511628211u;
    return h;
}

START_TEST(nf4_is_that_of_bitsandbytes)
{
    static const struct {
        graft_dtype t;
        uint64_t numbers;
    } cases[] = {{GRAFT_NF4, 0x5d4aee8dc2057b87u}, {GRAFT_NF4_DOUBLE, 0x318c1a177dcdf10au}};
    make();
    for (int k = 0; k < 2; k++) {
        uint8_t codes[N / 2];
        graft_quantise(cases[k].t, x, ROWS, COLUMNS, packed, scales);
        for (int64_t i = 0; i < N; i += 64) {
            float scale;
            memcpy(codes + i / 2, graft_packed_block(packed, i, cases[k].t, &scale), 32);
        }
        ck_assert_uint_eq(hash(codes, sizeof codes), 0xe7b5861e14cfbd5eu);
        graft_widen(cases[k].t, packed, N, back);
        ck_assert_uint_eq(hash(back, sizeof back), cases[k].numbers);
    }
    float of[2]; /* of the second group */
    memcpy(of, packed + GRAFT_NF4_GROUP_BYTES, sizeof of);
    ck_assert_float_eq(of[0], 0.0015276223421096802f);
    ck_assert_float_eq(of[1], 0.05349905788898468f);
    ck_assert_int_eq(packed[8], 165);
    ck_assert_int_eq(packed[11], 161);
}
END_TEST

START_TEST(int8_is_that_of_bitsandbytes)
{
    int8_t codes[N];
    make();
    graft_quantise(GRAFT_INT8, x, ROWS, COLUMNS, packed, scales);
    for (int64_t i = 0; i < N; i += 64) {
        float scale;
        memcpy(codes + i, graft_packed_block(packed, i, GRAFT_INT8, &scale), 64);
    }
    ck_assert_uint_eq(hash(codes, sizeof codes), 0x42dc942e14e2481u);
    graft_widen(GRAFT_INT8, packed, N, back);
    ck_assert_uint_eq(hash(back, sizeof back), 0xdccff343cbb4b485u);
}
END_TEST

/* Four numbers with the largest 1, worked by hand: codes 12, 4, 8, 15. */
START_TEST(the_first_element_is_the_high_half)
{
    float v[64] = {0.5f, -0.25f, 0.1f, 1.0f};
    graft_quantise(GRAFT_NF4, v, 1, 64, packed, scales);
    ck_assert_int_eq(packed[4], 0xc4);
    ck_assert_int_eq(packed[5], 0x8f);
    ck_assert_int_eq(packed[6], 0x77);
    graft_widen(GRAFT_NF4, packed, 64, back);
    ck_assert_float_eq(back[0], 0.44070982933044434f);
    ck_assert_float_eq(back[1], -0.28444138169288635f);
    ck_assert_float_eq(back[3], 1.0f);
    ck_assert_float_eq(back[63], 0.0f);
}
END_TEST

/* What is no number, and blocks of zeros alone, become numbers. */
START_TEST(damaged_numbers_do_no_harm)
{
    static const graft_dtype types[] = {GRAFT_NF4, GRAFT_NF4_DOUBLE, GRAFT_INT8};
    for (int k = 0; k < 3; k++) {
        float v[128] = {0};
        graft_quantise(types[k], v, 1, 128, packed, scales);
        graft_widen(types[k], packed, 128, back);
        for (int i = 0; i < 128; i++) ck_assert_float_eq(back[i], 0.0f);
        v[3] = NAN, v[70] = 2.0f;
        graft_quantise(types[k], v, 1, 128, packed, scales);
        graft_widen(types[k], packed, 128, back);
        ck_assert_float_eq(back[3], 0.0f);
        ck_assert_float_eq_tol(back[70], 2.0f, 1e-2f);
        v[5] = INFINITY;
        graft_quantise(types[k], v, 1, 128, packed, scales);
    }
}
END_TEST

START_TEST(every_held_type_is_widened)
{
    static const graft_dtype types[] = {GRAFT_BF16, GRAFT_F16, GRAFT_F32};
    for (int k = 0; k < 3; k++) {
        const uint16_t half[2] = {types[k] == GRAFT_BF16 ? 0x3fc0 : 0x3e00, types[k] == GRAFT_BF16 ? 0xc000 : 0xc000};
        const float whole[2] = {1.5f, -2.0f};
        graft_widen(types[k], types[k] == GRAFT_F32 ? (const void *)whole : half, 2, back);
        ck_assert_float_eq(back[0], 1.5f);
        ck_assert_float_eq(back[1], -2.0f);
    }
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, nf4_is_that_of_bitsandbytes);
    tcase_add_test(tc, int8_is_that_of_bitsandbytes);
    tcase_add_test(tc, the_first_element_is_the_high_half);
    tcase_add_test(tc, damaged_numbers_do_no_harm);
    tcase_add_test(tc, every_held_type_is_widened);
}

int main(void) { return graft_test_main("quantise", cases); }
