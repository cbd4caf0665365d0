/* Its door is smaller than the frozen 64 bytes. */
#include "tests/plugins/zoo/zoo.h"

ZOO_DOOR({48, GRAFT_ABI_MAJOR, GRAFT_ABI_MINOR, GRAFT_BUILD_FLAGS, 0, "format", "small_door", "1.0.0", zoo_init, zoo_fini, zoo_table})
