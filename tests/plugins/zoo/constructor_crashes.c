/* A constructor that crashes while the library is opened. */
#include "tests/plugins/zoo/zoo.h"

__attribute__((constructor)) static void crash(void)
{
    volatile uintptr_t wild = 16;
    *(volatile int *)wild = 1;
}
GRAFT_PLUGIN("format", "constructor_crashes", "1.0.0", zoo_init, zoo_fini, zoo_table)
