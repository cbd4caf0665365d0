/* A new door at each call. */
#include "tests/plugins/zoo/zoo.h"

GRAFT_EXPORT const graft_plugin *graft_plugin_entry(void)
{
    static graft_plugin doors[2];
    static int calls;
    graft_plugin *door = &doors[calls++ % 2];
    *door = (graft_plugin){(uint32_t)sizeof(graft_plugin), GRAFT_ABI_MAJOR, GRAFT_ABI_MINOR, GRAFT_BUILD_FLAGS, 0, "format", "impure", "1.0.0", zoo_init, zoo_fini, zoo_table};
    return door;
}
