/* Every task once, from several callers, from inside tasks, after a fork. */
#include "core/base/threads.h"
#include "tests/support/support.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TASKS = 10000 };

typedef struct counts {
    int of[TASKS];
} counts;

static void count(void *ctx, int64_t i) { __atomic_fetch_add(&((counts *)ctx)->of[i], 1, __ATOMIC_RELAXED); }

static void check_once(int64_t n)
{
    counts *c = calloc(1, sizeof *c);
    graft_parallel(n, count, c);
    int wrong = 0;
    for (int64_t i = 0; i < TASKS; i++) wrong += c->of[i] != (i < n);
    ck_assert_int_eq(wrong, 0);
    free(c);
}

START_TEST(each_task_once)
{
    static const char *const threads[] = {"1", "2", "7"};
    setenv("GRAFT_THREADS", threads[_i], 1);
    ck_assert_int_eq(graft_cpu_count(), atoi(threads[_i]));
    check_once(0);
    check_once(1);
    check_once(2);
    for (int i = 0; i < 50; i++) check_once(i * 3);
    check_once(TASKS);
}
END_TEST

static void nested(void *ctx, int64_t i)
{
    (void)i;
    graft_parallel(100, count, ctx);
}

START_TEST(from_inside_a_task)
{
    setenv("GRAFT_THREADS", "4", 1);
    counts *c = calloc(1, sizeof *c);
    graft_parallel(20, nested, c);
    for (int i = 0; i < 100; i++) ck_assert_int_eq(c->of[i], 20);
    free(c);
}
END_TEST

static void *caller(void *ctx)
{
    for (int i = 0; i < 100; i++) graft_parallel(50, count, ctx);
    return NULL;
}

START_TEST(several_callers)
{
    setenv("GRAFT_THREADS", "3", 1);
    counts *c = calloc(1, sizeof *c);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, caller, c), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 50; i++) ck_assert_int_eq(c->of[i], 400);
    free(c);
}
END_TEST

START_TEST(after_fork)
{
    setenv("GRAFT_THREADS", "3", 1);
    check_once(100);
    const pid_t child = fork();
    if (!child) {
        counts *c = calloc(1, sizeof *c);
        int wrong = 0;
        graft_parallel(100, count, c);
        for (int i = 0; i < 100; i++) wrong += c->of[i] != 1;
        free(c);
        _exit(wrong != 0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    check_once(100);
}
END_TEST

START_TEST(processors)
{
    unsetenv("GRAFT_THREADS");
    ck_assert_int_ge(graft_cpu_count(), 1);
    ck_assert_int_le(graft_cpu_count(), 256);
    setenv("GRAFT_THREADS", "100000", 1);
    ck_assert_int_eq(graft_cpu_count(), 256);
    setenv("GRAFT_THREADS", "nonsense", 1);
    ck_assert_int_ge(graft_cpu_count(), 1);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_loop_test(tc, each_task_once, 0, 3);
    tcase_add_test(tc, from_inside_a_task);
    tcase_add_test(tc, several_callers);
    tcase_add_test(tc, after_fork);
    tcase_add_test(tc, processors);
}

int main(void) { return graft_test_main("threads", cases); }
