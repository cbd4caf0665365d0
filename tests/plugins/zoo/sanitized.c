/* Says that it is built with AddressSanitizer. */
#include "tests/plugins/zoo/zoo.h"

ZOO_DOOR({(uint32_t)sizeof(graft_plugin), GRAFT_ABI_MAJOR, GRAFT_ABI_MINOR, GRAFT_BUILD_ASAN, 0, "format", "sanitized", "1.0.0", zoo_init, zoo_fini, zoo_table})
