/* peak.c - how fast fused multiply-add runs here when nothing but registers is touched: the denominator of every figure. */
#include "gemm.h"
#include "ops.h"

#include <time.h>

enum { TIMES = 400000,
       CHAINS = MR * NV };

static void fma_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    vf acc[CHAINS];
    float *out = ctx;
    const vf a = v_set(0.999f), b = v_set(0.001f);
    UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = v_set((float)i);
    for (int t = 0; t < TIMES; t++) {
        UNROLL for (int i = 0; i < CHAINS; i++)
        {
            acc[i] = v_fma(acc[i], a, b);
#if defined(__x86_64__)
            __asm__ volatile(""
                             : "+v"(acc[i])); /* keeps each in a register, and in the loop */
#endif
        }
    }
    vf sum = acc[0];
    for (int i = 1; i < CHAINS; i++) sum = sum + acc[i];
    out[unit] = v_sum(sum);
}

double K(measure_peak)(cpu_pool *pool, int threads)
{
    float out[CPU_MAX_THREADS];
    double best = 0.0;
    for (int repeat = 0; repeat < 10; repeat++) {
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        cpu_pool_run(pool, threads, fma_unit, out);
        clock_gettime(CLOCK_MONOTONIC, &end);
        const double seconds = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
        const double rate = 2e-9 * (double)TIMES * CHAINS * VW * threads / seconds;
        if (rate > best) best = rate;
    }
    return best;
}
