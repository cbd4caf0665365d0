/* init fails without a word. */
#include "tests/plugins/zoo/zoo.h"

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    (void)host, (void)self, (void)err;
    return GRAFT_DEVICE;
}
GRAFT_PLUGIN("format", "silent", "1.0.0", init, zoo_fini, zoo_table)
