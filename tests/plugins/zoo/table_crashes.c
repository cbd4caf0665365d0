/* table() traps. */
#include "tests/plugins/zoo/zoo.h"

static const void *table(void *self, const char *id)
{
    __builtin_trap();
    return zoo_table(self, id);
}
GRAFT_PLUGIN("format", "table_crashes", "1.0.0", zoo_init, zoo_fini, table)
