/* init prints to standard output. */
#include "tests/plugins/zoo/zoo.h"

#include <stdio.h>

static graft_status init(const graft_host *host, void **self, graft_error *err)
{
    printf("hello from a plugin\n");
    return zoo_init(host, self, err);
}
GRAFT_PLUGIN("format", "prints", "1.0.0", init, zoo_fini, zoo_table)
