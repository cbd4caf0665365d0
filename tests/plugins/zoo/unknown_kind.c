/* A kind that no host knows. */
#include "tests/plugins/zoo/zoo.h"

ZOO_DOOR({(uint32_t)sizeof(graft_plugin), GRAFT_ABI_MAJOR, GRAFT_ABI_MINOR, GRAFT_BUILD_FLAGS, 0, "tuner", "unknown_kind", "1.0.0", zoo_init, zoo_fini, zoo_table})
