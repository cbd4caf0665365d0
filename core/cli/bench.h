/* core/cli/bench.h - what graft bench measures with a model. */
#ifndef CORE_CLI_BENCH_H
#define CORE_CLI_BENCH_H

#include "core/cli/cli.h"

graft_status graft_bench_train(graft_cli *c, graft_error *err);    /* batch, length, rounds; model and method as for training */
graft_status graft_bench_generate(graft_cli *c, graft_error *err); /* prompt_tokens, new_tokens, rounds */

#endif
