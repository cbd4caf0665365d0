/* core/cli/swift.h - ms-swift's flags (sft, pt, infer, export) as graft's. */
#ifndef CORE_CLI_SWIFT_H
#define CORE_CLI_SWIFT_H

#include "core/cli/cli.h"

/* The words after the command, with ms-swift's names and defaults, become "--key value" words with graft's. */
graft_status graft_swift_train(graft_cli *c, int *n, char *const **words, graft_error *err);
graft_status graft_swift_infer(graft_cli *c, int *n, char *const **words, graft_error *err);
/* export is LLaMA-Factory's command too: words without a flag that only ms-swift has stay as they are. */
graft_status graft_swift_export(graft_cli *c, int *n, char *const **words, graft_error *err);

#endif
