/* core/cli/compare.h - the same questions to two models: what training changed. */
#ifndef CORE_CLI_COMPARE_H
#define CORE_CLI_COMPARE_H

#include "core/cli/cli.h"

/* `prompt`, or each line of `input`, is answered by the model that `compare` names (base: the one without adapters) and by the one that the arguments name;
 * the answers stand side by side. */
graft_status graft_compare(graft_cli *c, graft_error *err);

#endif
