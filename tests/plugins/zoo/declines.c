/* init declines, and says why. */
#include "tests/plugins/zoo/zoo.h"

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    (void)self;
    return host->fail(err, GRAFT_DEVICE, NULL, "no device with %d GiB free (largest: %.1f GiB).", 4, 2.1);
}
GRAFT_PLUGIN("format", "declines", "1.0.0", init, zoo_fini, zoo_table)
