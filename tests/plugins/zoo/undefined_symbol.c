/* Uses a function that nobody defines. */
#include "tests/plugins/zoo/zoo.h"

int helper_scale(void);
static graft_status init(const graft_host *host, void **self, graft_error *err) { return helper_scale() ? GRAFT_INTERNAL : zoo_init(host, self, err); }
GRAFT_PLUGIN("format", "undefined_symbol", "1.0.0", init, zoo_fini, zoo_table)
