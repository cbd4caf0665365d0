/* core/train/journal.h - what a run writes down: trainer_log.jsonl as it goes, trainer_state.json and *_results.json as LLaMA-Factory and transformers write them. */
#ifndef CORE_TRAIN_JOURNAL_H
#define CORE_TRAIN_JOURNAL_H

#include "core/base/json.h"
#include "core/train/train.h"

typedef struct graft_journal {
    graft_arena *arena;
    const char *out;     /* output_dir */
    graft_json *history; /* log_history */
    double best_metric; /* of the evaluations so far, at best_step; 0: nothing is asked for */
    int64_t best_step;
    graft_json *eval_results; /* eval_results.json as it was written last, or NULL */
    graft_str lines;     /* trainer_log.jsonl so far */
    int64_t total_steps;
    int count_tokens; /* include_num_input_tokens_seen */
} graft_journal;

typedef struct graft_journal_moment {
    int64_t step, tokens;
    double epoch, seconds, session_seconds; /* seconds of training altogether and since this process began */
    int64_t session_steps;
} graft_journal_moment;

graft_status graft_journal_new(graft_journal *j, const char *out, int64_t total_steps, int count_tokens, graft_error *err);
void graft_journal_free(graft_journal *j);

/* Takes up the history of a checkpoint folder, and cuts OUT/trainer_log.jsonl back to it. */
graft_status graft_journal_resume(graft_journal *j, const char *checkpoint, graft_error *err);

graft_status graft_journal_train(graft_journal *j, const graft_journal_moment *at, double loss, double grad_norm, double rate, graft_error *err);
/* name: of one of several evaluation sets, NULL: the only one. */
graft_status graft_journal_eval(graft_journal *j, const graft_journal_moment *at, const char *name, double loss, double runtime, int64_t samples, int64_t batches, graft_error *err);
graft_status graft_journal_end(graft_journal *j, const graft_journal_moment *at, const graft_train_result *r, double flops, graft_error *err);

/* trainer_state.json and trainer_log.jsonl into dir (a checkpoint, or output_dir at the end). */
graft_status graft_journal_save(const graft_journal *j, const char *dir, const graft_train_options *o, const graft_journal_moment *at, double flops, graft_error *err);

/* OUT/NAME_results.json and its share of OUT/all_results.json. keys: an object. */
graft_status graft_journal_results(const graft_journal *j, const char *name, const graft_json *keys, graft_error *err);

/* eval_results.json as the evaluation at `step` gave it. */
graft_status graft_journal_results_again(graft_journal *j, const graft_journal_moment *now, int64_t step, graft_error *err);

/* Points of one key of the history ("loss", "eval_loss") with their steps; graft_free both. */
graft_status graft_journal_points(const graft_journal *j, const char *key, double **steps, double **values, size_t *n, graft_error *err);

/* v as JSON text (indent as Python's json.dump) into dir/name, whole or not at all. */
graft_status graft_journal_write(const char *dir, const char *name, const graft_json *v, int indent, int sorted, graft_error *err);

#endif
