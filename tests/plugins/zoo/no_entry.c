/* Exports a name, but not the door. */
#include "tests/plugins/zoo/zoo.h"

GRAFT_EXPORT const void *helper_table(void);
GRAFT_EXPORT const void *helper_table(void) { return zoo_table(NULL, ""); }
