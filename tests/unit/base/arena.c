/* Memory by lifetime: alignment, zeroes, growth, and sizes that overflow. */
#include "core/base/arena.h"
#include "tests/support/support.h"

#include <stdint.h>
#include <string.h>

START_TEST(blocks_are_aligned_zeroed_and_apart)
{
    graft_arena *a = graft_arena_new();
    char *last = NULL;
    for (size_t i = 0; i < 3000; i++) {
        const size_t n = i * 7 % 5000;
        char *p = graft_arena_alloc(a, n);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 16, 0);
        ck_assert_ptr_ne(p, last);
        size_t zeroes = 0;
        while (zeroes < n && !p[zeroes]) zeroes++;
        ck_assert_uint_eq(zeroes, n);
        memset(p, 0xAA, n);
        last = p;
    }
    ck_assert_uint_ge(graft_arena_bytes(a), 3000 * 2400);
    ck_assert_uint_le(graft_arena_bytes(a), 3000 * 2600 + (2 << 20));
    graft_arena_free(a);
    graft_arena_free(NULL);
}
END_TEST

START_TEST(texts)
{
    graft_arena *a = graft_arena_new();
    char *p = graft_arena_copy(a, "a\0b", 3);
    ck_assert_int_eq(memcmp(p, "a\0b", 4), 0);
    ck_assert_str_eq(graft_arena_printf(a, "%s-%d", "x", 5), "x-5");
    ck_assert_str_eq(graft_arena_copy(a, NULL, 0), "");
    graft_arena_free(a);
}
END_TEST

START_TEST(overflow_gives_null)
{
    graft_arena *a = graft_arena_new();
    ck_assert_ptr_null(graft_arena_alloc(a, SIZE_MAX));
    ck_assert_ptr_null(graft_arena_alloc(a, SIZE_MAX - 20));
    ck_assert_ptr_null(graft_arena_copy(a, "x", SIZE_MAX));
    ck_assert_ptr_null(graft_arena_alloc(NULL, 1));
    volatile size_t half = SIZE_MAX / 2;
    ck_assert_ptr_null(graft_realloc(NULL, half, 3));
    ck_assert_ptr_nonnull(graft_arena_alloc(a, 1));
    graft_arena_free(a);
    int64_t out;
    ck_assert(graft_mul_overflows(INT64_MAX, 2, &out));
    ck_assert(!graft_mul_overflows(1 << 30, 4, &out));
    ck_assert_int_eq(out, 4ll << 30);
    ck_assert(graft_add_overflows(INT64_MAX, 1, &out));
}
END_TEST

START_TEST(growing)
{
    void *items = NULL;
    size_t room = 0;
    for (size_t i = 0; i < 1000; i++) {
        ck_assert_int_eq(graft_grow(&items, &room, i + 1, sizeof(size_t)), 0);
        ((size_t *)items)[i] = i;
    }
    for (size_t i = 0; i < 1000; i++) ck_assert_uint_eq(((size_t *)items)[i], i);
    ck_assert_uint_eq(room, 1024);
    ck_assert_int_eq(graft_grow(&items, &room, SIZE_MAX, 1), -1);
    ck_assert_int_eq(graft_grow(&items, &room, SIZE_MAX / 2, 16), -1);
    ck_assert_uint_eq(room, 1024);
    graft_free(items);
    void *nothing = graft_calloc(0, 8);
    ck_assert_ptr_nonnull(nothing);
    graft_free(nothing);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, blocks_are_aligned_zeroed_and_apart);
    tcase_add_test(tc, texts);
    tcase_add_test(tc, overflow_gives_null);
    tcase_add_test(tc, growing);
}

int main(void) { return graft_test_main("arena", cases); }
