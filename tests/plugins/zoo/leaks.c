/* Right, but keeps a block of the host after fini, a thread and a line on standard error: warnings. */
#include "tests/plugins/zoo/zoo.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *idle(void *unused)
{
    for (;;) pause();
    return unused;
}

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    pthread_t thread;
    if (!host->alloc(host->ctx, 100, 64)) return GRAFT_NO_MEMORY;
    if (pthread_create(&thread, NULL, idle, NULL)) return GRAFT_INTERNAL;
    fprintf(stderr, "driver: be careful\n");
    return zoo_init(host, self, err);
}
GRAFT_PLUGIN("format", "leaks", "1.0.0", init, zoo_fini, zoo_table)
