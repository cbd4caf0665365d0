/* tests/unit/data/cache_keep.c - which token caches go when another is made. */
#include "core/data/cache_keep.h"

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static graft_error err = GRAFT_ERROR_INIT;
#define DAY (INT64_C(86400) * 1000000000)

/* A set of so many bytes; its key is one digit. Returns when it was used. */
static int64_t make(const char *folder, char digit, size_t bytes)
{
    char key[65], path[4400];
    char *data = graft_calloc(bytes + 1, 1);
    int64_t size = 0, used = 0;
    memset(key, digit, 64), key[64] = 0;
    snprintf(path, sizeof path, "%s/%s", folder, key);
    ck_assert_ok(graft_dir_make(path, &err));
    snprintf(path, sizeof path, "%s/%s/000000.tokens", folder, key);
    ck_assert_ok(graft_file_replace(path, data, bytes, &err));
    graft_cache_note(folder, key, "data/a set.json");
    graft_free(data);
    snprintf(path, sizeof path, "%s/%s/used", folder, key);
    ck_assert_ok(graft_path_stamp(path, &size, &used, &err));
    return used;
}

static size_t count(const char *folder, char first[65], char about[512])
{
    graft_cache_set *sets = NULL;
    size_t n = 0;
    ck_assert_ok(graft_cache_sets(folder, &sets, &n, &err));
    if (n && first) snprintf(first, 65, "%s", sets[0].key), snprintf(about, 512, "%s", sets[0].about);
    graft_free(sets);
    return n;
}

START_TEST(old_ones_go)
{
    char folder[4000], first[65], about[512];
    const struct timespec moment = {0, 20000000};
    snprintf(folder, sizeof folder, "%s", graft_test_dir("cache-keep"));
    ck_assert_uint_eq(count("/nowhere/at/all", NULL, NULL), 0);
    make(folder, 'a', 1000);
    nanosleep(&moment, NULL);
    make(folder, 'b', 2000);
    nanosleep(&moment, NULL);
    const int64_t last = make(folder, 'c', 3000);
    ck_assert_uint_eq(count(folder, first, about), 3);
    ck_assert_int_eq(first[0], 'a');
    ck_assert_str_eq(about, "data/a set.json");
    graft_cache_prune(folder, 1 << 30, last + DAY); /* room for all */
    ck_assert_uint_eq(count(folder, NULL, NULL), 3);
    graft_cache_prune(folder, 100, last + DAY / 2); /* too many, but used today */
    ck_assert_uint_eq(count(folder, NULL, NULL), 3);
    graft_cache_prune(folder, 5500, last + 2 * DAY); /* the oldest is enough */
    ck_assert_uint_eq(count(folder, first, about), 2);
    ck_assert_int_eq(first[0], 'b');
    graft_cache_prune(folder, 1 << 30, last + 31 * DAY); /* nobody used them */
    ck_assert_uint_eq(count(folder, NULL, NULL), 0);
}
END_TEST

START_TEST(only_keys_are_sets)
{
    char folder[4000], path[4400];
    snprintf(folder, sizeof folder, "%s", graft_test_dir("cache-keys"));
    snprintf(path, sizeof path, "%s/mine", folder);
    ck_assert_ok(graft_dir_make(path, &err));
    const int64_t used = make(folder, 'd', 10);
    graft_cache_prune(folder, 0, used + 40 * DAY);
    ck_assert_uint_eq(count(folder, NULL, NULL), 0);
    ck_assert(graft_path_is_dir(path));
    ck_assert_int_eq(graft_cache_remove(folder, "../mine", &err), GRAFT_BAD_INPUT);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, old_ones_go);
    tcase_add_test(tc, only_keys_are_sets);
}

int main(void) { return graft_test_main("cache_keep", cases); }
