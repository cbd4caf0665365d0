/* Not a fault of its own: its process is killed, as for want of memory. */
#include "tests/plugins/zoo/zoo.h"

#include <signal.h>

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    raise(SIGKILL);
    return zoo_init(host, self, err);
}
GRAFT_PLUGIN("format", "ended", "1.0.0", init, zoo_fini, zoo_table)
