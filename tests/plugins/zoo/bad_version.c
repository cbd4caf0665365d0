/* A version that is not semantic. */
#include "tests/plugins/zoo/zoo.h"

ZOO_DOOR({(uint32_t)sizeof(graft_plugin), GRAFT_ABI_MAJOR, GRAFT_ABI_MINOR, GRAFT_BUILD_FLAGS, 0, "format", "bad_version", "2.1-final", zoo_init, zoo_fini, zoo_table})
