/* core/base/threads.c - see threads.h. Workers are started at the first need and stay, asleep, until the program ends. A child of fork() has none of
 * its parent's workers and starts its own. A call from inside a task, or while another thread uses the pool, runs its tasks by itself. */
#include "core/base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/file.h"

enum { MOST_WORKERS = 255 };

static pthread_mutex_t in_use = PTHREAD_MUTEX_INITIALIZER; /* held by the caller that has the workers */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pid_t owner; /* the process whose workers these are */
    int workers;
    int seats, busy; /* of this round: workers still wanted, workers not finished */
    int64_t n, next; /* next: the first task not taken yet; atomic */
    void (*task)(void *ctx, int64_t i);
    void *ctx;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

/* The processors' time that a container may use, from its control group: "max 100000" or "200000 100000". 0: no limit known. */
static int group_limit(void)
{
    char *text;
    size_t bytes;
    graft_error err = GRAFT_ERROR_INIT;
    if (graft_file_read("/sys/fs/cgroup/cpu.max", 256, &text, &bytes, &err)) return 0;
    char *rest;
    const long quota = strtol(text, &rest, 10), period = strtol(rest, NULL, 10);
    graft_free(text);
    return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

int graft_cpu_count(void)
{
    static int known; /* every thread finds the same */
    const char *wanted = getenv("GRAFT_THREADS");
    const int n = wanted ? atoi(wanted) : 0;
    if (n > 0) return n < MOST_WORKERS + 1 ? n : MOST_WORKERS + 1;
    int count = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (count) return count;
    cpu_set_t set;
    count = sched_getaffinity(0, sizeof set, &set) ? (int)sysconf(_SC_NPROCESSORS_ONLN) : CPU_COUNT(&set);
    const int limit = group_limit();
    if (limit && limit < count) count = limit;
    if (count > MOST_WORKERS + 1) count = MOST_WORKERS + 1;
    if (count < 1) count = 1;
    __atomic_store_n(&known, count, __ATOMIC_RELAXED);
    return count;
}

static void take_tasks(void)
{
    for (;;) {
        const int64_t i = __atomic_fetch_add(&pool.next, 1, __ATOMIC_RELAXED);
        if (i >= pool.n) return;
        pool.task(pool.ctx, i);
    }
}

static void *worker(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (!pool.seats) pthread_cond_wait(&pool.work, &pool.lock);
        pool.seats--;
        pthread_mutex_unlock(&pool.lock);
        take_tasks();
        pthread_mutex_lock(&pool.lock);
        if (--pool.busy == 0) pthread_cond_signal(&pool.done);
    }
    return NULL;
}

/* At least `wanted` workers, or as many as the system gives. */
static int start_workers(int wanted)
{
    if (pool.owner != getpid()) { /* the first use, or a forked child, where locks and workers are the parent's */
        pool.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        pool.work = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
        pool.done = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
        pool.owner = getpid();
        pool.workers = pool.seats = pool.busy = 0;
    }
    while (pool.workers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker, NULL)) break;
        pthread_detach(thread);
        pool.workers++;
    }
    return pool.workers < wanted ? pool.workers : wanted;
}

void graft_parallel(int64_t n, void (*task)(void *ctx, int64_t i), void *ctx)
{
    const int threads = graft_cpu_count();
    if (n <= 1 || threads <= 1 || pthread_mutex_trylock(&in_use)) {
        for (int64_t i = 0; i < n; i++) task(ctx, i);
        return;
    }
    const int helpers = start_workers(n < threads ? (int)n - 1 : threads - 1);
    pthread_mutex_lock(&pool.lock);
    pool.task = task;
    pool.ctx = ctx;
    pool.n = n;
    pool.next = 0;
    pool.seats = pool.busy = helpers;
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    take_tasks();
    pthread_mutex_lock(&pool.lock);
    while (pool.busy) pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    pthread_mutex_unlock(&in_use);
}
