/* A table that cannot hold one function. */
#include "tests/plugins/zoo/zoo.h"

static const graft_format_table small = {.size = 4};
static const void *table(void *self, const char *id) { return strcmp(id, "graft.format/1") ? zoo_table(self, id) : &small; }
GRAFT_PLUGIN("format", "small_table", "1.0.0", zoo_init, zoo_fini, table)
