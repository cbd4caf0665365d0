/* init never returns. */
#include "tests/plugins/zoo/zoo.h"

#include <unistd.h>

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    while (host->size) pause();
    return zoo_init(host, self, err);
}
GRAFT_PLUGIN("format", "init_hangs", "1.0.0", init, zoo_fini, zoo_table)
