/* Nothing is wrong with this one. */
#include "tests/plugins/zoo/zoo.h"

GRAFT_PLUGIN("format", "good", "1.2.3", zoo_init, zoo_fini, zoo_table)
