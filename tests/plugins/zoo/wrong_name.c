/* Registered under another name. */
#include "tests/plugins/zoo/zoo.h"

ZOO_DOOR({(uint32_t)sizeof(graft_plugin), GRAFT_ABI_MAJOR, GRAFT_ABI_MINOR, GRAFT_BUILD_FLAGS, 0, "format", "right_name", "1.0.0", zoo_init, zoo_fini, zoo_table})
