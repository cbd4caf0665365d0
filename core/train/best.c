/* core/train/best.c - the best evaluation so far: which checkpoint it was, when to stop for want of a better one, and its weights again at the end.
 *
 * As transformers has it: the metric is compared after each evaluation; the checkpoint of the best one is kept by save_total_limit; early stopping counts
 * evaluations in a row that were not better. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *metric_of(const graft_train_options *o)
{
    const char *name = o->metric_for_best_model ? o->metric_for_best_model : "loss";
    return strncmp(name, "eval_", 5) ? name : name + 5;
}

/* Which evaluation set the metric is of: 0.., or -1 when there is no such metric. */
static int set_of(const graft_train_job *job)
{
    const char *metric = metric_of(job->options);
    if (!job->n_eval_sets) return strcmp(metric, "loss") ? -1 : 0;
    for (int i = 0; i < job->n_eval_sets; i++) {
        const size_t n = strlen(job->eval_names[i]);
        if (!strncmp(metric, job->eval_names[i], n) && !strcmp(metric + n, "_loss")) return i;
    }
    return -1;
}

static int wanted(const graft_train_options *o, const graft_train_steps *s) { return o->load_best_model_at_end || o->early_stopping_steps > 0 || o->metric_for_best_model || s->save_best; }

graft_status graft_trainer_best_begin(graft_trainer *t, graft_error *err)
{
    const graft_train_options *o = t->o;
    const graft_train_steps *s = &t->steps;
    t->best_set = -1;
    t->journal.best_metric = NAN;
    if (!wanted(o, s)) return GRAFT_OK;
    const char *key = o->load_best_model_at_end ? "load_best_model_at_end" : o->early_stopping_steps > 0 ? "early_stopping_steps"
                                                                         : s->save_best                  ? "save_strategy"
                                                                                                         : NULL;
    if (!s->evaluate && !s->evaluate_epochs && !key) return GRAFT_OK;
    if (!s->evaluate && !s->evaluate_epochs) return graft_fail(err, GRAFT_BAD_INPUT, key, "what is best is said by evaluations: give eval_strategy and val_size or eval_dataset");
    t->best_set = set_of(t->job);
    if (t->best_set < 0) return graft_fail(err, GRAFT_BAD_INPUT, "metric_for_best_model", "expected %s, found '%.200s'", t->job->n_eval_sets ? "NAME_loss of one of the evaluation sets" : "loss", o->metric_for_best_model ? o->metric_for_best_model : "loss");
    const int same = s->save_best || (s->save_epochs && s->evaluate_epochs) || (s->save && s->evaluate && s->save % s->evaluate == 0);
    if (o->load_best_model_at_end && !same) return graft_fail(err, GRAFT_BAD_INPUT, "load_best_model_at_end", "checkpoints must come with evaluations: give save_strategy the value of eval_strategy, and save_steps a multiple of eval_steps");
    return GRAFT_OK;
}

int graft_trainer_best_look(graft_trainer *t, int set, double value)
{
    if (set != t->best_set) return 0;
    const double best = t->journal.best_metric;
    const int better = isnan(best) || (t->o->greater_is_better > 0 ? value > best : value < best);
    t->worse = better ? 0 : t->worse + 1;
    if (better) t->journal.best_metric = value, t->journal.best_step = t->step;
    if (t->o->early_stopping_steps > 0 && t->worse >= t->o->early_stopping_steps) t->stopped = 1;
    return better;
}

graft_status graft_trainer_best_load(graft_trainer *t, graft_error *err)
{
    char dir[GRAFT_CHECKPOINT_PATH];
    int64_t step = 0;
    if (!t->o->load_best_model_at_end || !t->journal.best_step || t->journal.best_step == t->step) return GRAFT_OK;
    graft_status s = graft_checkpoint_path(t->o->output_dir, t->journal.best_step, dir, err);
    if (!s && !graft_path_exists(dir)) return graft_log(GRAFT_LOG_WARNING, "%s is not there: the weights of the last update are kept", dir), GRAFT_OK;
    if (!s) s = graft_checkpoint_check(dir, &step, err);
    if (!s) s = graft_trainer_take_weights(t, dir, err);
    if (s) return s;
    graft_log(GRAFT_LOG_INFO, "the best evaluation was after update %lld (%.4f): its weights are taken from %s", (long long)step, t->journal.best_metric, dir);
    t->result->eval_loss = t->journal.best_metric;
    const graft_journal_moment now = graft_trainer_moment(t);
    s = graft_journal_results_again(&t->journal, &now, step, err);
    return s || t->o->save_total_limit != 1 ? s : graft_checkpoint_prune(t->o->output_dir, 1, step, 0, err); /* the one to keep is the best */
}
