/* Built for an ABI that does not exist yet. */
#include "tests/plugins/zoo/zoo.h"

ZOO_DOOR({(uint32_t)sizeof(graft_plugin), 2, GRAFT_ABI_MINOR, GRAFT_BUILD_FLAGS, 0, "format", "major_new", "1.0.0", zoo_init, zoo_fini, zoo_table})
