/* bench/peak.h - the fused multiply-add peak of this machine, measured: the denominator of every figure. f32, registers only. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include <pthread.h>
#include <time.h>

enum { PEAK_TIMES = 300000,
       PEAK_CHAINS = 20 };

typedef struct peak_job {
    double flops, seconds;
    pthread_barrier_t *start;
} peak_job;

static inline double peak_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if defined(__x86_64__)
#include <immintrin.h>
#define PEAK_LOOP(name, feature, vector, width, set, fma, constraint)                          \
    __attribute__((target(feature))) static inline float name(void)                            \
    {                                                                                          \
        vector acc[PEAK_CHAINS];                                                               \
        const vector a = set(0.999f), b = set(0.001f);                                         \
        _Pragma("GCC unroll 20") for (int i = 0; i < PEAK_CHAINS; i++) acc[i] = set((float)i); \
        for (int t = 0; t < PEAK_TIMES; t++) {                                                 \
            _Pragma("GCC unroll 20") for (int i = 0; i < PEAK_CHAINS; i++)                     \
            {                                                                                  \
                acc[i] = fma(acc[i], a, b);                                                    \
                __asm__ volatile(""                                                            \
                                 : constraint(acc[i]));                                        \
            }                                                                                  \
        }                                                                                      \
        float sum = 0.0f;                                                                      \
        _Pragma("GCC unroll 20") for (int i = 0; i < PEAK_CHAINS; i++) sum += acc[i][0];       \
        return sum;                                                                            \
    }
PEAK_LOOP(peak_512, "avx512f", __m512, 16, _mm512_set1_ps, _mm512_fmadd_ps, "+v")
PEAK_LOOP(peak_256, "avx2,fma", __m256, 8, _mm256_set1_ps, _mm256_fmadd_ps, "+x")
#endif

static void *peak_thread(void *arg)
{
    peak_job *j = arg;
    volatile float sink = 0.0f;
    pthread_barrier_wait(j->start);
    const double begin = peak_now();
    double width = 0.0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) sink = peak_512(), width = 16.0;
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sink = peak_256(), width = 8.0;
#endif
    (void)sink;
    j->seconds = peak_now() - begin;
    j->flops = 2.0 * width * PEAK_CHAINS * PEAK_TIMES;
    return NULL;
}

/* GF/s of `threads` threads together, the best of 20 tries; 0 where there is no fused multiply-add. */
static inline double peak_gflops(int threads)
{
    double best = 0.0;
    for (int try = 0; try < 20; try++) {
        pthread_t handle[64];
        peak_job job[64];
        pthread_barrier_t start;
        const int n = threads < 1 ? 1 : threads > 64 ? 64
                                                     : threads;
        pthread_barrier_init(&start, NULL, (unsigned)n);
        int begun = 0;
        for (int i = 0; i < n; i++) {
            job[i].start = &start;
            begun += !pthread_create(&handle[i], NULL, peak_thread, &job[i]);
        }
        double slowest = 0.0, flops = 0.0;
        for (int i = 0; i < begun; i++) {
            pthread_join(handle[i], NULL);
            slowest = job[i].seconds > slowest ? job[i].seconds : slowest;
            flops += job[i].flops;
        }
        pthread_barrier_destroy(&start);
        if (slowest > 0.0 && flops / slowest * 1e-9 > best) best = flops / slowest * 1e-9;
    }
    return best;
}

#endif
