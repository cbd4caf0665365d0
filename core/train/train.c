/* core/train/train.c - the loop: micro-batches accumulate gradients in the store, an update applies them; logging, evaluation, checkpoints, interrupts.
 *
 * The loss of an update is the sum of all its tokens' losses over the number of labelled tokens of the WHOLE update (transformers >= 4.46), so each
 * micro-batch gets weight 1 / that number, and the order of micro-batches or their sizes change nothing. */
#include "core/train/train.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/model/hold.h"
#include "core/train/after.h"
#include "core/train/checkpoint.h"
#include "core/train/replan.h"
#include "core/train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

double graft_trainer_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- one micro-batch ------------------------------------------------------------------------------------------------------- */

static graft_status fill_batch(graft_trainer *t, const graft_dataset *d, const int64_t *samples, int64_t n, graft_error *err)
{
    graft_batch_clear(t->batch);
    for (int64_t i = 0; i < n; i++) {
        graft_sample s;
        if (graft_dataset_get(d, samples[i], &s, err)) return err->code;
        if (!graft_batch_add(t->batch, &s)) return graft_fail(err, GRAFT_INTERNAL, NULL, "a batch of %lld samples is larger than was planned", (long long)n);
    }
    return GRAFT_OK;
}

static graft_status start_run(graft_trainer *t, graft_exec *e, double weight, int training, graft_error *err)
{
    int64_t extent[GRAFT_SYMBOLS];
    graft_status s = graft_batch_give(t->batch, e, weight, extent, err);
    return s ? s : graft_exec_start(e, extent, (uint64_t)t->runs, training, err);
}

/* Waits until no more than `most` runs are under way, and adds their losses. */
static graft_status end_runs(graft_exec *e, int most, double *loss, graft_error *err)
{
    graft_status s = GRAFT_OK;
    while (!s && graft_exec_running(e) > most) {
        float value = 0;
        s = graft_exec_wait(e, err);
        if (!s) s = graft_exec_get(e, "loss", &value, sizeof value, err);
        *loss += (double)value;
    }
    return s;
}

/* A micro-batch in as many runs as the plan says; weight: of each labelled token. The last run may still be under way afterwards. */
static graft_status run_batch(graft_trainer *t, graft_exec *e, const graft_dataset *d, const int64_t *samples, int64_t n, double weight, int training, double *loss, graft_error *err)
{
    graft_status s = GRAFT_OK;
    for (int64_t i = 0, count = 0; i < n && !s; i += count) {
        count = graft_train_run_of(d, samples + i, n - i, t->memory.run_tokens);
        s = fill_batch(t, d, samples + i, count, err);
        if (!s) s = start_run(t, e, weight, training, err);
        if (!s) s = end_runs(e, 1, loss, err);
        if (!training) continue;
        t->runs++;
        t->tokens += t->batch->tokens;
        t->flops += t->memory.flops * (double)t->batch->tokens / (double)(t->capacity[0] ? t->capacity[0] : 1);
    }
    return s;
}

/* ---- one update ------------------------------------------------------------------------------------------------------------ */

/* Labels that count in the update, before the shift, as transformers counts them. */
static graft_status count_labels(const graft_trainer *t, int64_t first, int64_t last, int64_t *counted, graft_error *err)
{
    graft_sample s;
    *counted = 0;
    for (int64_t b = first; b < last; b++) {
        const int64_t *samples = NULL, n = graft_order_batch(&t->order, b, &samples);
        for (int64_t i = 0; i < n; i++) {
            if (graft_dataset_get(t->job->train, samples[i], &s, err)) return err->code;
            for (int64_t k = 0; k < s.n; k++) *counted += s.labels[k] != -100;
        }
    }
    return GRAFT_OK;
}

/* Names the first gradient that is no number, so that a person knows where it began. */
static graft_status diverged(const graft_trainer *t, double rate, graft_error *err)
{
    char found[256] = "";
    const graft_graph *g = t->graphs.train;
    for (int i = 0; !*found && i < graft_store_count(t->store); i++) {
        const char *name = graft_store_name(t->store, i);
        const int64_t bytes = graft_store_tensor_bytes(t->store, i);
        if (strncmp(name, GRAFT_GRADIENT, strlen(GRAFT_GRADIENT)) || !graft_graph_find(g, name).id) continue;
        float *data = graft_calloc((size_t)bytes + 1, 1);
        graft_error unheard = GRAFT_ERROR_INIT;
        if (data && !graft_store_read(t->store, i, data, bytes, &unheard))
            for (int64_t k = 0; !*found && k < bytes / 4; k++)
                if (!isfinite(data[k])) snprintf(found, sizeof found, ", first in the gradient of %.200s", name + strlen(GRAFT_GRADIENT));
        graft_free(data);
    }
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "training diverged at update %lld: the loss or a gradient is not a finite number%s; lower learning_rate (%g now) or look at the samples of this update",
                      (long long)t->step + 1, found, rate);
}

static graft_status update(graft_trainer *t, double *loss, double *norm, double *rate, graft_error *err)
{
    const graft_train_options *o = t->o;
    const int64_t epoch = t->step / t->steps.updates, first = t->step % t->steps.updates * o->gradient_accumulation_steps;
    const int64_t last = first + o->gradient_accumulation_steps < t->steps.batches ? first + o->gradient_accumulation_steps : t->steps.batches;
    graft_status s = t->order.epoch == epoch ? GRAFT_OK : graft_order_epoch(&t->order, epoch, err);
    int64_t counted = 0;
    if (!s) s = count_labels(t, first, last, &counted, err);
    *loss = 0;
    *rate = graft_schedule_rate(&t->schedule, t->step);
    const int inside = t->graphs.update.inside;
    if (!s && inside) s = graft_trainer_saved(t, err);
    if (!s && inside) s = graft_update_before(&t->graphs.update, &o->optim, t->train, t->step + 1, *rate, err);
    for (int64_t b = first; !s && b < last; b++) {
        const int64_t *samples = NULL, n = graft_order_batch(&t->order, b, &samples);
        s = run_batch(t, t->train, t->job->train, samples, n, counted ? 1.0 / (double)counted : 0.0, 1, loss, err);
    }
    if (!s) s = end_runs(t->train, 0, loss, err);
    if (s) return s;
    if (!isfinite(*loss)) return diverged(t, *rate, err);
    if (!inside) s = graft_trainer_saved(t, err);
    if (s) return s;
    for (int i = 0; i < t->job->n_methods; i++)
        if (graft_after_watches(&t->job->methods[i])) t->graphs.update.watch = graft_after_take, t->graphs.update.watcher = t;
    s = inside ? graft_update_after(t->train, norm, err) : graft_update_run(&t->graphs.update, &o->optim, t->step + 1, *rate, norm, err);
    if (s && !isfinite(*norm)) return diverged(t, *rate, err);
    return s ? s : graft_after_run(t, t->step, err);
}

/* ---- evaluation ------------------------------------------------------------------------------------------------------------ */

/* Rows with a loss: all labels but those of first tokens. */
static int64_t count_rows(const graft_dataset *d, const int64_t *samples, int64_t n)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < n; i++) {
        const graft_sample s = graft_dataset_at(d, samples[i]);
        for (int64_t k = 1; k < s.n; k++) rows += s.labels[k] != -100;
    }
    return rows;
}

/* transformers' eval_loss: the mean of the batches' mean losses, the last of which may hold fewer samples. name: of one of several sets, or NULL. */
static graft_status evaluate_set(graft_trainer *t, const graft_dataset *d, const char *name, double *sum, int64_t *n_batches, graft_error *err)
{
    const double began = graft_trainer_clock();
    const int64_t n = graft_dataset_count(d);
    graft_order order = {0};
    *sum = 0;
    graft_status s = graft_order_new(&order, n, t->o->per_device_eval_batch_size, 0, 0, err);
    if (!s) s = graft_order_epoch(&order, 0, err);
    const int64_t batches = *n_batches = s ? 0 : graft_order_batches(&order);
    for (int64_t b = 0; !s && b < batches; b++) {
        const int64_t *samples = NULL, count = graft_order_batch(&order, b, &samples);
        double loss = 0;
        const int64_t labelled = count_rows(d, samples, count);
        s = run_batch(t, t->eval, d, samples, count, labelled ? 1.0 / (double)labelled : 0.0, 0, &loss, err);
        if (!s) s = end_runs(t->eval, 0, &loss, err);
        *sum += loss;
    }
    graft_order_free(&order);
    const graft_journal_moment now = graft_trainer_moment(t);
    return s ? s : graft_journal_eval(&t->journal, &now, name, *sum / (double)batches, graft_trainer_clock() - began, n, batches, err);
}

/* Of several sets the loss of the run is that of all batches, and each is said. */
static graft_status evaluate(graft_trainer *t, int *best, graft_error *err)
{
    const graft_train_job *job = t->job;
    double all = 0;
    int64_t batches = 0;
    graft_status s = GRAFT_OK;
    *best = 0;
    for (int i = 0; !s && i < (job->n_eval_sets ? job->n_eval_sets : 1); i++) {
        const graft_dataset *d = job->n_eval_sets ? job->eval_sets[i] : job->eval;
        const char *name = job->n_eval_sets ? job->eval_names[i] : NULL;
        double sum = 0;
        int64_t n = 0;
        s = evaluate_set(t, d, name, &sum, &n, err);
        all += sum, batches += n;
        if (!s && graft_trainer_best_look(t, i, sum / (double)n)) *best = 1;
        if (!s && name) graft_log(GRAFT_LOG_INFO, "eval_%s_loss %.4f over %lld samples", name, sum / (double)n, (long long)graft_dataset_count(d));
    }
    if (s) return s;
    t->result->eval_loss = all / (double)batches;
    t->eval_step = t->step;
    return GRAFT_OK;
}

/* ---- the loop -------------------------------------------------------------------------------------------------------------- */

static int every(int64_t step, int64_t interval) { return interval > 0 && step % interval == 0; }

static void report(graft_trainer *t, double loss, double norm, double rate, int logged, double eval_loss)
{
    const graft_train_events *events = t->job->events;
    if (!events || !events->progress) return;
    const graft_journal_moment now = graft_trainer_moment(t);
    const double per_step = now.session_steps ? now.session_seconds / (double)now.session_steps : 0;
    const graft_train_progress p = {.step = t->step, .total_steps = t->steps.total, .epoch = now.epoch, .loss = loss, .grad_norm = norm, .learning_rate = rate, .tokens_per_s = now.seconds > 0 ? (double)t->tokens / now.seconds : 0, .seconds = now.seconds, .remaining_seconds = per_step * (double)(t->steps.total - t->step), .tokens = t->tokens, .memory_bytes = t->memory.total, .eval_loss = eval_loss};
    events->progress(events->ctx, &p, logged);
}

/* What follows an update, in transformers' order: log, evaluate, save. */
static graft_status after_update(graft_trainer *t, double loss, double norm, double rate, graft_error *err)
{
    const int epoch_ends = t->step % t->steps.updates == 0 || t->step == t->steps.total;
    const int log = every(t->step, t->steps.log) || (t->steps.log_epochs && epoch_ends) || (t->o->logging_first_step && t->step == 1);
    const int evaluates = every(t->step, t->steps.evaluate) ? t->o->eval_delay <= (double)t->step : t->steps.evaluate_epochs && epoch_ends && t->o->eval_delay <= graft_trainer_moment(t).epoch;
    graft_status s = GRAFT_OK;
    double shown = loss, eval_loss = NAN;
    int best = 0;
    if (log) {
        const graft_journal_moment now = graft_trainer_moment(t);
        shown = t->log_loss / (double)t->log_count;
        s = graft_journal_train(&t->journal, &now, shown, norm, rate, err);
        t->log_loss = 0;
        t->log_count = 0;
    }
    if (!s && evaluates) {
        s = evaluate(t, &best, err);
        if (!s) graft_schedule_metric(&t->schedule, t->result->eval_loss);
        eval_loss = t->result->eval_loss;
    }
    report(t, shown, norm, rate, log, eval_loss);
    if (!s && (every(t->step, t->steps.save) || (t->steps.save && t->step == t->steps.total) || (t->steps.save_epochs && epoch_ends) || (t->steps.save_best && best))) s = graft_trainer_save(t, err);
    return s;
}

static graft_status loop(graft_trainer *t, graft_error *err)
{
    const graft_train_events *events = t->job->events;
    while (t->step < t->steps.total && !t->stopped) {
        double loss = 0, norm = NAN, rate = 0;
        graft_status s = graft_trainer_step_methods(t, err);
        if (!s) s = update(t, &loss, &norm, &rate, err);
        if (s) return s;
        t->step++;
        t->log_count++;
        t->log_loss += loss;
        t->total_loss += loss;
        s = after_update(t, loss, norm, rate, err);
        if (s) return s;
        if (t->step < t->steps.total && !t->stopped && events && events->interrupted && events->interrupted(events->ctx)) {
            char last[GRAFT_CHECKPOINT_PATH];
            t->result->interrupted = 1;
            s = graft_trainer_saved(t, err);
            if (!s) s = graft_checkpoint_path(t->o->output_dir, t->step, last, err);
            if (!s && strcmp(t->result->checkpoint, last)) s = graft_trainer_save(t, err);
            return s;
        }
    }
    return GRAFT_OK;
}

/* ---- before and after ------------------------------------------------------------------------------------------------------- */

/* Which checkpoint to go on from; "" none. */
static graft_status choose_checkpoint(const graft_train_options *o, char dir[GRAFT_CHECKPOINT_PATH], graft_error *err)
{
    const char *wanted = o->resume_from_checkpoint;
    const int newest = wanted && (!strcmp(wanted, "auto") || !strcmp(wanted, "true") || !strcmp(wanted, "True"));
    int64_t step = 0;
    *dir = 0;
    if (wanted && (!strcmp(wanted, "false") || !strcmp(wanted, "False"))) return GRAFT_OK;
    if (wanted && !newest) {
        if (snprintf(dir, GRAFT_CHECKPOINT_PATH, "%s", wanted) >= GRAFT_CHECKPOINT_PATH) return graft_fail(err, GRAFT_BAD_INPUT, "resume_from_checkpoint", "the path is too long");
        return graft_checkpoint_check(dir, &step, err);
    }
    if (!wanted && o->overwrite_output_dir) return GRAFT_OK;
    const graft_status s = graft_checkpoint_newest(o->output_dir, dir, &step, err);
    if (!s && newest && !*dir) return graft_fail(err, GRAFT_BAD_INPUT, "resume_from_checkpoint", "there is no complete checkpoint in %s", o->output_dir);
    return s;
}

static graft_status prepare_folder(const graft_trainer *t, const char *checkpoint, graft_error *err)
{
    graft_status s = graft_dir_make(t->o->output_dir, err);
    if (!s) s = graft_checkpoint_tidy(t->o->output_dir, err);
    if (s || *checkpoint) return s;
    char *log = graft_path_join(t->o->output_dir, "trainer_log.jsonl"); /* of an earlier run that is not gone on with */
    s = log ? graft_path_remove(log, err) : graft_fail(err, GRAFT_NO_MEMORY, t->o->output_dir, "out of memory");
    graft_free(log);
    return s;
}

static void say_plan(const graft_trainer *t)
{
    const graft_memory *m = &t->memory;
    static const char *const how[] = {"nothing is recomputed", "cheap values are recomputed", "values of blocks are recomputed", "blocks are recomputed"};
    char t0[32], t1[32], t2[32], t3[32], t4[32], t5[32], t6[32];
    graft_log(GRAFT_LOG_INFO, "trainable parameters: %lld of %lld (%.4f %%)", (long long)m->trainable, (long long)m->parameters, m->parameters ? 100.0 * (double)m->trainable / (double)m->parameters : 0.0);
    graft_log(GRAFT_LOG_INFO, "memory: %s = host %s + weights %s + gradients %s + optimiser %s + activations %s + workspace %s; %s%s", graft_bytes_text(m->total, t0), graft_bytes_text(m->host, t6), graft_bytes_text(m->weights, t1), graft_bytes_text(m->gradients, t2), graft_bytes_text(m->optimiser, t3), graft_bytes_text(m->activations, t4), graft_bytes_text(m->workspace, t5), how[m->recompute_level], m->inside ? ", each gradient is applied as soon as it is there and released" : "");
    graft_log(GRAFT_LOG_INFO, "%lld samples, %lld updates of %lld x %lld samples, up to %lld tokens in a run", (long long)graft_dataset_count(t->job->train), (long long)t->steps.total, (long long)t->o->per_device_train_batch_size, (long long)t->o->gradient_accumulation_steps, (long long)m->tokens);
}

graft_status graft_trainer_add_graphs(graft_trainer *t, graft_error *err)
{
    graft_status s = graft_store_add_graph(t->store, t->graphs.train, t->capacity, err);
    if (!s && t->graphs.eval) s = graft_store_add_graph(t->store, t->graphs.eval, t->eval_capacity, err);
    if (!s && !t->graphs.update.inside) s = graft_store_add_graph(t->store, t->graphs.update.norm, t->capacity, err);
    if (!s && !t->graphs.update.inside) s = graft_store_add_graph(t->store, t->graphs.update.step, t->capacity, err);
    return s ? s : graft_store_commit(t->store, err);
}

/* Graphs to weights on the device. */
static graft_status load(graft_trainer *t, graft_error *err)
{
    const graft_train_job *job = t->job;
    graft_status s = graft_store_new(job->device, &t->store, err);
    if (!s) s = graft_trainer_add_graphs(t, err);
    if (!s) graft_model_hold_say(job->model, t->graphs.train, job->device);
    if (!s) s = graft_model_load(job->model, t->graphs.train, t->store, t->o->seed, err);
    for (int i = 0; job->adapters && i < job->n_methods && !s; i++)
        if (job->adapters[i]) s = graft_adapter_load(job->adapters[i], &job->methods[i], i, t->graphs.train, t->store, err);
    return s;
}

graft_status graft_trainer_compile(graft_trainer *t, graft_error *err)
{
    graft_status s = graft_exec_new(t->graphs.train, t->store, t->capacity, t->o->seed, &t->train, err);
    if (!s && t->graphs.eval) s = graft_exec_new(t->graphs.eval, t->store, t->eval_capacity, t->o->seed, &t->eval, err);
    if (!s) s = graft_update_compile(&t->graphs.update, t->store, t->capacity, t->o->seed, err);
    return s;
}

static graft_status make_orders(graft_trainer *t, graft_error *err)
{
    const graft_train_options *o = t->o;
    const int64_t tokens = t->capacity[0] > t->eval_capacity[0] ? t->capacity[0] : t->eval_capacity[0];
    const int64_t sequences = t->capacity[1] > t->eval_capacity[1] ? t->capacity[1] : t->eval_capacity[1];
    graft_status s = graft_batch_new(&t->batch, tokens, sequences, err);
    if (!s) t->batch->virtual_tokens = graft_graph_virtual_tokens(t->graphs.train);
    if (!s) s = graft_order_new(&t->order, graft_dataset_count(t->job->train), o->per_device_train_batch_size, o->data_seed == UINT64_MAX ? o->seed : o->data_seed, !o->disable_shuffling, err);
    return s;
}

static graft_status finish(graft_trainer *t, graft_error *err)
{
    const graft_journal_moment now = graft_trainer_moment(t);
    graft_train_result *r = t->result;
    const double samples = t->o->max_steps > 0 ? (double)(t->steps.total * t->o->per_device_train_batch_size * t->o->gradient_accumulation_steps) : (double)graft_dataset_count(t->job->train) * t->o->num_train_epochs;
    r->runtime = now.seconds;
    r->train_loss = t->step ? t->total_loss / (double)t->step : 0;
    r->samples_per_s = now.seconds > 0 ? samples / now.seconds : 0;
    r->steps_per_s = now.seconds > 0 ? (double)t->step / now.seconds : 0;
    r->steps = t->step;
    r->tokens = t->tokens;
    int64_t length = 0;
    for (int64_t i = 0; t->o->include_effective_tokens && i < graft_dataset_count(t->job->train); i++) length += graft_dataset_measure(t->job->train, i).n;
    if (length && now.seconds > 0) r->effective_tokens_per_s = (double)length * now.epoch / now.seconds;
    if (r->interrupted) return GRAFT_OK;
    int best = 0;
    const int wants_eval = t->job->eval && (t->o->do_eval || t->steps.evaluate || t->steps.evaluate_epochs);
    graft_status s = wants_eval && t->eval_step != t->step ? evaluate(t, &best, err) : GRAFT_OK;
    if (!s && t->stopped && t->step < t->steps.total) graft_log(GRAFT_LOG_INFO, "stopped after update %lld of %lld: the last %lld evaluations were not better than %.4f", (long long)t->step, (long long)t->steps.total, (long long)t->worse, t->journal.best_metric);
    if (!s) s = graft_trainer_best_load(t, err);
    return s ? s : graft_trainer_finish(t, err);
}

static void release(graft_trainer *t)
{
    graft_error unheard = GRAFT_ERROR_INIT; /* an earlier one is being said */
    graft_trainer_saved(t, &unheard);
    graft_after_free(t);
    graft_exec_free(t->train);
    graft_exec_free(t->eval);
    graft_train_graphs_free(&t->graphs);
    graft_store_free(t->store);
    graft_batch_free(t->batch);
    graft_order_free(&t->order);
    graft_journal_free(&t->journal);
}

/* A device that is gone takes all with it but what was written: the sentence names it. Opening it again in this process helps with few drivers. */
static graft_status lost(const graft_trainer *t, graft_error *err)
{
    const graft_error cause = *err;
    const char *last = t->result->checkpoint;
    if (!*last) return graft_fail(err, GRAFT_DEVICE, cause.where, "%.400s: this was in update %lld, before a first checkpoint; start anew, with a smaller save_steps", cause.message, (long long)t->step + 1);
    return graft_fail(err, GRAFT_DEVICE, cause.where, "%.400s: this was in update %lld; the same command%s goes on from %.200s", cause.message, (long long)t->step + 1,
                      t->o->overwrite_output_dir ? " with overwrite_output_dir=false" : "", last);
}

graft_status graft_train(const graft_train_job *job, graft_train_result *out, graft_error *err)
{
    const graft_train_options *o = job->options;
    graft_trainer t = {.job = job, .o = o, .result = out, .eval_step = -1};
    char checkpoint[GRAFT_CHECKPOINT_PATH] = "";
    int64_t done = 0;
    int best = 0;
    memset(out, 0, sizeof *out);
    out->eval_loss = NAN;
    if (!job->train) return graft_fail(err, GRAFT_BAD_INPUT, "dataset", "there is no data to train on: give dataset");
    if (!o->output_dir || !*o->output_dir) return graft_fail(err, GRAFT_BAD_INPUT, "output_dir", "expected a folder for the results: give output_dir");
    graft_status s = graft_train_count(job, &t.steps, err);
    out->total_steps = t.steps.total;
    if (!s) s = graft_schedule_new(&t.schedule, o->lr_scheduler_type, o->learning_rate, t.steps.warmup, t.steps.total, o->lr_scheduler_kwargs, err);
    if (!s && graft_schedule_watches(&t.schedule) && !t.steps.evaluate && !t.steps.evaluate_epochs) s = graft_fail(err, GRAFT_BAD_INPUT, "lr_scheduler_type", "%s follows the evaluations: give eval_strategy=steps or epoch", o->lr_scheduler_type);
    if (!s) s = graft_checkpoint_tidy(o->output_dir, err);
    if (!s) s = choose_checkpoint(o, checkpoint, err);
    if (!s && *checkpoint) s = graft_checkpoint_check(checkpoint, &done, err);
    if (!s) s = graft_train_begin_methods(job, done, err);
    if (!s) s = graft_train_choose(job, &t.steps, &t.graphs, t.capacity, t.eval_capacity, &t.memory, err);
    if (!s) say_plan(&t);
    if (!s) s = prepare_folder(&t, checkpoint, err);
    if (!s) s = graft_journal_new(&t.journal, o->output_dir, t.steps.total, o->include_num_input_tokens_seen, err);
    if (!s) s = graft_trainer_best_begin(&t, err);
    if (!s) s = load(&t, err);
    if (!s && *checkpoint) s = graft_trainer_resume(&t, checkpoint, err);
    if (!s) s = graft_trainer_compile(&t, err);
    if (!s) s = make_orders(&t, err);
    t.started = graft_trainer_clock();
    t.started_step = t.step;
    if (!s) s = graft_order_epoch(&t.order, t.step / t.steps.updates, err);
    if (!s && o->eval_on_start && job->eval && !t.step) s = evaluate(&t, &best, err);
    if (!s) s = loop(&t, err);
    if (!s) s = graft_trainer_saved(&t, err);
    if (!s) s = finish(&t, err);
    if (s == GRAFT_DEVICE && graft_device_lost(job->device)) s = lost(&t, err);
    release(&t);
    return s;
}
