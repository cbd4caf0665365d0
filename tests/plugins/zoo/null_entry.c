/* The entry returns NULL. */
#include "tests/plugins/zoo/zoo.h"

GRAFT_EXPORT const graft_plugin *graft_plugin_entry(void) { return NULL; }
