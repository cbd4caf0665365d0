/* Orders against torch's and numpy's own (tests/fixtures/base/rng.json: draws and permutations of 100 for three seeds). */
#include "core/base/rng.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>

static const graft_json *load(graft_arena *a)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *all;
    ck_assert_ok(graft_json_parse_file(a, graft_test_fixture("base/rng.json"), 1 << 20, 0, &all, &err));
    return graft_json_get(all, "seeds");
}

static void compare(const graft_json *list, const int64_t *got, int64_t n, const char *what)
{
    ck_assert_ptr_nonnull(list);
    ck_assert_int_eq(list->count, n);
    int64_t i = 0;
    for (const graft_json *m = list->child; m; m = m->next, i++) ck_assert_msg(m->integer == got[i], "%s: item %d: expected %lld, found %lld", what, (int)i, (long long)m->integer, (long long)got[i]);
}

START_TEST(draws_and_orders)
{
    graft_arena *a = graft_arena_new();
    int seeds = 0;
    for (const graft_json *s = load(a)->child; s; s = s->next, seeds++) {
        const uint64_t seed = strtoull(s->key, NULL, 10);
        int64_t out[100];
        graft_mt19937 g;
        graft_mt19937_seed(&g, seed);
        for (int i = 0; i < 8; i++) out[i] = graft_mt19937_next(&g);
        compare(graft_json_get(s, "mt19937_first_uint32"), out, 8, "mt19937");
        graft_torch_randperm(seed, 100, out);
        compare(graft_json_get(s, "shuffle_epoch0"), out, 100, "epoch 0");
        graft_torch_randperm(seed + 1, 100, out);
        compare(graft_json_get(s, "shuffle_epoch1"), out, 100, "epoch 1");
        graft_numpy_permutation(seed, 100, out);
        compare(graft_json_get(s, "val_split_permutation"), out, 100, "numpy");
    }
    ck_assert_int_eq(seeds, 3);
    graft_arena_free(a);
}
END_TEST

/* More than one refill of the generator, and every number once. */
START_TEST(large_orders_are_permutations)
{
    enum { LARGE = 5000 };
    static int64_t out[LARGE];
    for (int which = 0; which < 2; which++) {
        static char met[LARGE];
        for (int i = 0; i < LARGE; i++) met[i] = 0;
        if (which) {
            graft_numpy_permutation(7, LARGE, out);
        } else {
            graft_torch_randperm(7, LARGE, out);
        }
        for (int i = 0; i < LARGE; i++) {
            ck_assert(out[i] >= 0 && out[i] < LARGE);
            ck_assert_int_eq(met[out[i]]++, 0);
        }
    }
    graft_torch_randperm(1, 0, out);
    graft_torch_randperm(1, 1, out);
    ck_assert_int_eq(out[0], 0);
    graft_numpy_permutation(1, 1, out);
    ck_assert_int_eq(out[0], 0);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, draws_and_orders);
    tcase_add_test(tc, large_orders_are_permutations);
}

int main(void) { return graft_test_main("rng", cases); }
