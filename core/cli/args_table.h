/* core/cli/args_table.h - the groups of the argument table, one file each. */
#ifndef CORE_CLI_ARGS_TABLE_H
#define CORE_CLI_ARGS_TABLE_H

#include "core/cli/args.h"

extern const graft_arg_group graft_args_model, graft_args_data, graft_args_training, graft_args_tuning, graft_args_generation, graft_args_evaluation, graft_args_own, graft_args_older;
extern const char *const graft_args_host_backend; /* the backend that needs no other device */

#endif
