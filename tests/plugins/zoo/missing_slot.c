/* A format that cannot give a record. */
#include "tests/plugins/zoo/zoo.h"

static const graft_format_table partial = {.size = (uint32_t)sizeof(graft_format_table), .open = zoo_open};
static const void *table(void *self, const char *id) { return strcmp(id, "graft.format/1") ? zoo_table(self, id) : &partial; }
GRAFT_PLUGIN("format", "missing_slot", "1.0.0", zoo_init, zoo_fini, table)
