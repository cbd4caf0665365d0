/* init follows a wild pointer. */
#include "tests/plugins/zoo/zoo.h"

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    volatile uintptr_t wild = 16;
    *(volatile int *)wild = 1;
    return zoo_init(host, self, err);
}
GRAFT_PLUGIN("format", "init_crashes", "1.0.0", init, zoo_fini, zoo_table)
