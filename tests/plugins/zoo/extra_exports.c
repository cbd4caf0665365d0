/* Right, but exports more than the door: a warning. */
#include "tests/plugins/zoo/zoo.h"

GRAFT_EXPORT int helper_free(void);
GRAFT_EXPORT int helper_free(void) { return 1; }
GRAFT_PLUGIN("format", "extra_exports", "1.0.0", zoo_init, zoo_fini, zoo_table)
