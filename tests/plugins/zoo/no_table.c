/* Offers no table of its kind. */
#include "tests/plugins/zoo/zoo.h"

static const void *table(void *self, const char *id) { return strcmp(id, "graft.nothing/1") ? NULL : zoo_table(self, id); }
GRAFT_PLUGIN("format", "no_table", "1.0.0", zoo_init, zoo_fini, table)
