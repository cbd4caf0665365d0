/* init aborts, as an uncaught C++ exception would. */
#include "tests/plugins/zoo/zoo.h"

#include <stdlib.h>

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    if (host->size) abort();
    return zoo_init(host, self, err);
}
GRAFT_PLUGIN("format", "init_aborts", "1.0.0", init, zoo_fini, zoo_table)
