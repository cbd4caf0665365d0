/* Needs libzoo_gone.so.9, which the build makes but nobody can find at run time. */
#include "tests/plugins/zoo/zoo.h"

int zoo_gone(void);
static graft_status init(const graft_host *host, void **self, graft_error *err) { return zoo_gone() ? GRAFT_INTERNAL : zoo_init(host, self, err); }
GRAFT_PLUGIN("format", "missing_library", "1.0.0", init, zoo_fini, zoo_table)
