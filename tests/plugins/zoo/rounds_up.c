/* init leaves another rounding mode behind. */
#include "tests/plugins/zoo/zoo.h"

#include <fenv.h>

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    fesetround(FE_UPWARD);
    return zoo_init(host, self, err);
}
GRAFT_PLUGIN("format", "rounds_up", "1.0.0", init, zoo_fini, zoo_table)
