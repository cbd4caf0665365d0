/* core/cli/swift.h - ms-swift's flags (sft, pt, infer, export) as graft's. */
#ifndef CORE_CLI_SWIFT_H
#define CORE_CLI_SWIFT_H

#include "core/cli/cli.h"
#include "core/train/train.h"

/* The words after the command, with ms-swift's names and defaults, become "--key value" words with graft's. */
graft_status graft_swift_train(graft_cli *c, int *n, char *const **words, graft_error *err);
graft_status graft_swift_infer(graft_cli *c, int *n, char *const **words, graft_error *err);
/* export is LLaMA-Factory's command too: words without a flag that only ms-swift has stay as they are. */
graft_status graft_swift_export(graft_cli *c, int *n, char *const **words, graft_error *err);

/* (swift_log.c) The run's folder: logging.jsonl; at the end images/, the last line of the log, and args.json in each checkpoint. */
graft_status graft_swift_log(const char *dir, const graft_train_progress *p, int logged, graft_error *err);
graft_status graft_swift_finish(graft_cli *c, const char *dir, const char *checkpoint, graft_error *err);

#endif
