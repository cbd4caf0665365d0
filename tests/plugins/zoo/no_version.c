/* The door has no version. */
#include "tests/plugins/zoo/zoo.h"

ZOO_DOOR({(uint32_t)sizeof(graft_plugin), GRAFT_ABI_MAJOR, GRAFT_ABI_MINOR, GRAFT_BUILD_FLAGS, 0, "format", "no_version", NULL, zoo_init, zoo_fini, zoo_table})
