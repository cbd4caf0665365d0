/* Sentences reach the one sink, from the least level on; without a sink there is silence. */
#include "core/base/log.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

static int calls;
static char last[4096];
static graft_log_level last_level;

static void sink(void *ctx, graft_log_level level, const char *sentence)
{
    ck_assert_ptr_eq(ctx, &calls);
    calls++;
    last_level = level;
    snprintf(last, sizeof last, "%s", sentence);
}

START_TEST(levels)
{
    graft_log(GRAFT_LOG_ERROR, "nobody listens");
    graft_log_to(sink, &calls, GRAFT_LOG_WARNING);
    graft_log(GRAFT_LOG_INFO, "too low");
    ck_assert_int_eq(calls, 0);
    graft_log(GRAFT_LOG_WARNING, "%d samples of %s", 3, "x");
    ck_assert_int_eq(calls, 1);
    ck_assert_int_eq(last_level, GRAFT_LOG_WARNING);
    ck_assert_str_eq(last, "3 samples of x");
    char large[5000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    graft_log(GRAFT_LOG_ERROR, "%s", large);
    ck_assert_uint_eq(strlen(last), 2047);
    graft_log_to(NULL, NULL, GRAFT_LOG_DEBUG);
    graft_log(GRAFT_LOG_ERROR, "silence again");
    ck_assert_int_eq(calls, 2);
}
END_TEST

static void cases(TCase *tc) { tcase_add_test(tc, levels); }

int main(void) { return graft_test_main("log", cases); }
