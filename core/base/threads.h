/* core/base/threads.h - a small pool for the host's own work (tokenising, hashing, dequantising). Backends have their own. */
#ifndef CORE_BASE_THREADS_H
#define CORE_BASE_THREADS_H

#include "graft/base.h"

int  graft_cpu_count(void); /* processors this process may use; environment GRAFT_THREADS overrides */
/* Calls task(ctx, i) for i in [0, n), spread over up to graft_cpu_count threads; returns when all are done. The order is not fixed. [control] */
void graft_parallel(int64_t n, void (*task)(void *ctx, int64_t i), void *ctx);

#endif
