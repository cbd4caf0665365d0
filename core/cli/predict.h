/* core/cli/predict.h - do_eval and do_predict without or after training: the loss of an evaluation set, and answers to its questions beside what was expected. */
#ifndef CORE_CLI_PREDICT_H
#define CORE_CLI_PREDICT_H

#include "core/cli/cli.h"

/* What the arguments of c ask for: OUT/eval_results.json with do_eval, OUT/generated_predictions.jsonl and OUT/predict_results.json with do_predict, and their
 * share of OUT/all_results.json. trained: the folder whose adapter or model is asked, NULL: what the arguments name. evaluate 0: the loss is known already. */
graft_status graft_predict(graft_cli *c, const char *trained, int evaluate, graft_error *err);

/* ms-swift's infer over eval_dataset: a line of JSON for each answer, appended to the file at path. */
graft_status graft_infer(graft_cli *c, const char *path, graft_error *err);

/* The same command's arguments with the model or adapter in this folder; without it, when it is NULL, with the base model alone. */
graft_status graft_cli_with_trained(graft_cli *c, const char *folder, graft_args **out, graft_error *err);
/* The same with another base model, and no adapter. */
graft_status graft_cli_with_model(graft_cli *c, const char *folder, graft_args **out, graft_error *err);

#endif
