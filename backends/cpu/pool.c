/* pool.c - one persistent thread pool. The caller is thread 0; workers spin a little for the next job, then sleep on a condition.
 *
 * A job is open while units are left. A worker announces itself (active + 1) before it looks whether the job is open, the caller closes the
 * job before it looks whether anyone is active: so a sleeping or descheduled worker that never entered is not waited for. */
#include "cpu.h"

#include <pthread.h>
#include <sched.h>

enum { SPINS = 8000 }; /* about 100 us: longer than the gap between two instructions of a plan, or between two tokens of an answer */

struct cpu_pool {
    const graft_host *host;
    int threads, started, pin;
    cpu_set_t home; /* where the caller may run outside of runs */
    pthread_t *handles;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_int sleeping; /* changes under lock */
    cpu_task task;
    void *ctx;
    int64_t units;
    _Alignas(64) atomic_uint generation; /* changes with every job */
    _Alignas(64) atomic_int open;
    atomic_int stop;
    _Alignas(64) atomic_int active;
    _Alignas(64) _Atomic int64_t next;
};

typedef struct worker {
    cpu_pool *pool;
    int index, cpu;
} worker;

static inline void pause_a_moment(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

static void work(cpu_pool *p, int thread)
{
    for (;;) {
        const int64_t unit = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (unit >= p->units) return;
        p->task(p->ctx, unit, thread);
    }
}

static unsigned wait_for_job(cpu_pool *p, unsigned seen)
{
    unsigned now = seen;
    for (int i = 0; i < SPINS; i++) {
        now = atomic_load_explicit(&p->generation, memory_order_acquire);
        if (now != seen || atomic_load_explicit(&p->stop, memory_order_relaxed)) return now;
        pause_a_moment();
    }
    pthread_mutex_lock(&p->lock);
    p->sleeping++;
    while ((now = atomic_load(&p->generation)) == seen && !atomic_load(&p->stop)) pthread_cond_wait(&p->wake, &p->lock);
    p->sleeping--;
    pthread_mutex_unlock(&p->lock);
    return now;
}

static void *worker_main(void *arg)
{
    worker w = *(worker *)arg;
    cpu_pool *p = w.pool;
    p->host->release(p->host->ctx, arg);
    if (w.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)w.cpu, &set);
        pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    cpu_flush_denormals();
    unsigned seen = 0;
    while (!atomic_load(&p->stop)) {
        seen = wait_for_job(p, seen);
        atomic_fetch_add(&p->active, 1);
        if (atomic_load(&p->open)) work(p, w.index);
        atomic_fetch_sub(&p->active, 1);
    }
    return NULL;
}

/* The n-th processor of this process, -1 when there is no such. */
static int nth_cpu(int n)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set)) return -1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET((size_t)i, &set) && n-- == 0) return i;
    return -1;
}

cpu_pool *cpu_pool_new(const graft_host *host, int threads, int pin)
{
    cpu_pool *p = host->alloc(host->ctx, sizeof *p, 64);
    if (!p) return NULL;
    memset(p, 0, sizeof *p);
    p->host = host;
    p->threads = threads;
    p->pin = pin && threads > 1;
    p->handles = host->alloc(host->ctx, (size_t)threads * sizeof *p->handles, 16);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    if (!p->handles) goto failed;
    for (int i = 1; i < threads; i++) {
        worker *w = host->alloc(host->ctx, sizeof *w, 16);
        if (!w) goto failed;
        *w = (worker){p, i, pin ? nth_cpu(i) : -1};
        if (pthread_create(&p->handles[p->started], NULL, worker_main, w)) {
            host->release(host->ctx, w);
            goto failed;
        }
        p->started++;
    }
    return p;
failed:
    cpu_pool_free(p);
    return NULL;
}

void cpu_pool_free(cpu_pool *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, 1);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->started; i++) pthread_join(p->handles[i], NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    p->host->release(p->host->ctx, p->handles);
    p->host->release(p->host->ctx, p);
}

/* The caller is thread 0: for the time of a run it stays on the first processor, so that it and no worker share one. */
void cpu_pool_enter(cpu_pool *p)
{
    cpu_set_t set;
    const int first = p->pin && !sched_getaffinity(0, sizeof p->home, &p->home) ? nth_cpu(0) : -1;
    if (first < 0) return;
    CPU_ZERO(&set);
    CPU_SET((size_t)first, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

void cpu_pool_leave(const cpu_pool *p)
{
    if (p->pin) pthread_setaffinity_np(pthread_self(), sizeof p->home, &p->home);
}

int cpu_pool_threads(const cpu_pool *p) { return p->threads; }

void cpu_pool_run(cpu_pool *p, int64_t n, cpu_task task, void *ctx)
{
    if (p->threads == 1 || n <= 1) {
        for (int64_t unit = 0; unit < n; unit++) task(ctx, unit, 0);
        return;
    }
    p->task = task;
    p->ctx = ctx;
    p->units = n;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store(&p->open, 1);
    atomic_fetch_add(&p->generation, 1);
    if (atomic_load(&p->sleeping)) { /* a worker counts itself before it looks at the generation, so one of the two sees the other */
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    work(p, 0);
    atomic_store(&p->open, 0);
    for (int spins = 0; atomic_load(&p->active); spins++) {
        if (spins < SPINS) pause_a_moment();
        else sched_yield();
    }
}
