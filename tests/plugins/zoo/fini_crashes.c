/* fini follows a wild pointer. */
#include "tests/plugins/zoo/zoo.h"

static void fini(void *self)
{
    volatile uintptr_t wild = 16;
    *(volatile int *)wild = 1;
    zoo_fini(self);
}
GRAFT_PLUGIN("format", "fini_crashes", "1.0.0", zoo_init, fini, zoo_table)
