/* skinny.h - products with a short side; see skinny.c. */
#ifndef CPU_KERNELS_SKINNY_H
#define CPU_KERNELS_SKINNY_H

#include "gemm.h"

enum { SKINNY = 16,
       GROUP_MOST = 5 };

void K(skinny_run)(cpu_pool *pool, const gemm *g, float *y);  /* pool NULL: this thread alone; y: skinny_bytes of room */
int K(skinny_group)(cpu_pool *pool, const gemm *g, int n);     /* products of a few common rows with weights as stored, all at once; 0: these are none */
int64_t K(skinny_bytes)(int64_t lines, int64_t k, int alone); /* lines: of the long operand; k: of all terms */

#endif
