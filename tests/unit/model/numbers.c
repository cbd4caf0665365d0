/* 16-bit floating point: every f16 and bf16 both ways, and rounding to nearest even at the borders. */
#include "core/model/weights.h"
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

START_TEST(every_half_comes_back)
{
    for (uint32_t v = 0; v < 65536; v++) {
        const float f = graft_f16_to_f32((uint16_t)v), b = graft_bf16_to_f32((uint16_t)v);
        if (isnan(f)) ck_assert(isnan(graft_f16_to_f32(graft_f32_to_f16(f))));
        else ck_assert_uint_eq(graft_f32_to_f16(f), v);
        if (isnan(b)) ck_assert(isnan(graft_bf16_to_f32(graft_f32_to_bf16(b))));
        else ck_assert_uint_eq(graft_f32_to_bf16(b), v);
    }
}
END_TEST

/* Between two neighbours of one sign: below the middle down, above it up, at it to the even one. */
START_TEST(halves_round_to_nearest_even)
{
    for (uint16_t v = 0; v < 0x7bff; v++) {
        const float low = graft_f16_to_f32(v), high = graft_f16_to_f32((uint16_t)(v + 1)), middle = (low + high) / 2;
        ck_assert_uint_eq(graft_f32_to_f16(middle), v & 1 ? v + 1 : v);
        ck_assert_uint_eq(graft_f32_to_f16(nextafterf(middle, low)), v);
        ck_assert_uint_eq(graft_f32_to_f16(nextafterf(middle, high)), v + 1);
        ck_assert_uint_eq(graft_f32_to_f16(-middle), 0x8000 | (v & 1 ? v + 1 : v));
    }
}
END_TEST

START_TEST(brain_floats_round_to_nearest_even)
{
    static const struct {
        uint32_t bits;
        uint16_t expect;
    } cases[] = {
        {0x3f808000u, 0x3f80},
        {0x3f818000u, 0x3f82},
        {0x3f808001u, 0x3f81},
        {0x3f807fffu, 0x3f80},
        {0x7f7fffffu, 0x7f80},
        {0x7f800000u, 0x7f80},
        {0xff800000u, 0xff80},
        {0x00000001u, 0x0000},
        {0x80000000u, 0x8000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float f;
        memcpy(&f, &cases[i].bits, 4);
        ck_assert_uint_eq(graft_f32_to_bf16(f), cases[i].expect);
    }
}
END_TEST

START_TEST(the_ends_of_halves)
{
    ck_assert_uint_eq(graft_f32_to_f16(65504.0f), 0x7bff);
    ck_assert_uint_eq(graft_f32_to_f16(65519.99f), 0x7bff);
    ck_assert_uint_eq(graft_f32_to_f16(65520.0f), 0x7c00);
    ck_assert_uint_eq(graft_f32_to_f16(INFINITY), 0x7c00);
    ck_assert_uint_eq(graft_f32_to_f16(-INFINITY), 0xfc00);
    ck_assert_uint_eq(graft_f32_to_f16(0x1p-25f), 0x0000);
    ck_assert_uint_eq(graft_f32_to_f16(nextafterf(0x1p-25f, 1.0f)), 0x0001);
    ck_assert_float_eq(graft_f16_to_f32(0x0001), 0x1p-24f);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, every_half_comes_back);
    tcase_add_test(tc, halves_round_to_nearest_even);
    tcase_add_test(tc, brain_floats_round_to_nearest_even);
    tcase_add_test(tc, the_ends_of_halves);
}

int main(void) { return graft_test_main("numbers", cases); }
