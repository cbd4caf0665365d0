/* tests/unit/graph/place.c - blocks that live together never overlap; the arena is close to the floor. */
#include "tests/support/support.h"

#include "core/base/arena.h"
#include "core/graph/place.h"

static uint64_t seed = 1;
static int64_t draw(int64_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (int64_t)((seed >> 33) % (uint64_t)n);
}

START_TEST(random_blocks_do_not_overlap)
{
    for (int round = 0; round < 200; round++) {
        graft_block b[120];
        const int32_t n = (int32_t)draw(120);
        int64_t total, live;
        for (int32_t i = 0; i < n; i++) {
            const int32_t first = (int32_t)draw(60);
            b[i] = (graft_block){draw(8) ? draw(5000) : 0, first, first + (int32_t)draw(12), -1};
        }
        ck_assert_int_eq(graft_place_blocks(b, n, 64, &total, &live), 0);
        ck_assert_int_ge(total, live);
        for (int32_t i = 0; i < n; i++) {
            ck_assert(b[i].offset >= 0 && b[i].offset % 64 == 0 && b[i].offset + b[i].bytes <= total);
            for (int32_t j = 0; j < i; j++) {
                const int together = b[i].first <= b[j].last && b[j].first <= b[i].last;
                ck_assert(!together || b[i].offset + b[i].bytes <= b[j].offset || b[j].offset + b[j].bytes <= b[i].offset);
            }
        }
    }
}
END_TEST

START_TEST(a_chain_needs_two_buffers)
{
    graft_block b[40];
    int64_t total, live;
    for (int32_t i = 0; i < 40; i++) b[i] = (graft_block){1024, i, i + 1, 0};
    ck_assert_int_eq(graft_place_blocks(b, 40, 64, &total, &live), 0);
    ck_assert_int_eq(total, 2048);
    ck_assert_int_eq(live, 2048);
}
END_TEST

START_TEST(absurd_sizes_are_refused)
{
    graft_block b[2] = {{INT64_MAX - 8, 0, 1, 0}, {INT64_MAX - 8, 0, 1, 0}};
    int64_t total, live;
    ck_assert_int_eq(graft_place_blocks(b, 2, 64, &total, &live), -1);
    b[0].bytes = -1;
    ck_assert_int_eq(graft_place_blocks(b, 1, 64, &total, &live), -1);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, random_blocks_do_not_overlap);
    tcase_add_test(tc, a_chain_needs_two_buffers);
    tcase_add_test(tc, absurd_sizes_are_refused);
}

int main(void) { return graft_test_main("place", cases); }
