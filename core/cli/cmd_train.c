/* core/cli/cmd_train.c - graft train: reads the arguments, runs the loop, shows how it goes. */
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/cli/job.h"
#include "core/cli/predict.h"
#include "core/cli/swift.h"

#include <math.h>
#include <string.h>

enum { BAR = 24 };

typedef struct view {
    graft_cli *c;
    int bar;             /* a bar stands on the line */
    graft_status logged; /* of ms-swift's log */
    graft_error err;
} view;

static void clock_text(double seconds, char out[32])
{
    const long long n = seconds > 0 && seconds < 1e9 ? (long long)(seconds + 0.5) : 0;
    if (n >= 3600) snprintf(out, 32, "%lld:%02lld:%02lld", n / 3600, n / 60 % 60, n % 60);
    else snprintf(out, 32, "%lld:%02lld", n / 60, n % 60);
}

static void wipe(view *v)
{
    if (v->bar) fputs("\r\033[K", v->c->err);
    v->bar = 0;
}

static void log_line(view *v, const graft_train_progress *p)
{
    char left[32], memory[32];
    clock_text(p->remaining_seconds, left);
    fprintf(v->c->err, "step %lld/%lld  epoch %.2f  loss %.4f  grad_norm %.4f  lr %.3g  %.0f tokens/s  %s left  %s", (long long)p->step, (long long)p->total_steps, p->epoch, p->loss, p->grad_norm, p->learning_rate, p->tokens_per_s, left, graft_bytes_text(p->memory_bytes, memory));
    if (!isnan(p->eval_loss)) fprintf(v->c->err, "  eval_loss %.4f", p->eval_loss);
    fputc('\n', v->c->err);
}

static void bar_line(view *v, const graft_train_progress *p)
{
    char bar[BAR + 1], left[32], memory[32];
    const int full = p->total_steps ? (int)(BAR * p->step / p->total_steps) : BAR;
    memset(bar, '.', BAR);
    memset(bar, '=', (size_t)(full < BAR ? full : BAR));
    bar[BAR] = 0;
    clock_text(p->remaining_seconds, left);
    fprintf(v->c->err, "\r\033[K[%s] %lld/%lld  loss %.4f  %.0f tokens/s  %s left  %s", bar, (long long)p->step, (long long)p->total_steps, p->loss, p->tokens_per_s, left, graft_bytes_text(p->memory_bytes, memory));
    v->bar = 1;
}

static void on_progress(void *ctx, const graft_train_progress *p, int logging_step)
{
    view *v = ctx;
    const int bars = v->c->terminal && !graft_args_flag(v->c->args, "disable_tqdm");
    if (logging_step || !isnan(p->eval_loss)) {
        wipe(v);
        log_line(v, p);
    }
    if (v->c->run_dir && !v->logged) v->logged = graft_swift_log(v->c->run_dir, p, logging_step, &v->err);
    if (bars) bar_line(v, p);
    if (bars && p->step == p->total_steps) wipe(v);
    fflush(v->c->err);
}

static void print_json(graft_cli *c, const graft_job *j, const graft_train_result *r)
{
    graft_arena *a = c->arena;
    graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
    graft_json_put(a, o, "output_dir", graft_json_text(a, j->o.output_dir, strlen(j->o.output_dir)));
    graft_json_put(a, o, "steps", graft_json_int(a, r->steps));
    graft_json_put(a, o, "total_steps", graft_json_int(a, r->total_steps));
    graft_json_put(a, o, "resumed_from", graft_json_int(a, r->resumed_from));
    graft_json_put(a, o, "interrupted", graft_json_flag(a, r->interrupted));
    graft_json_put(a, o, "train_loss", graft_json_real(a, r->train_loss));
    if (!isnan(r->eval_loss)) graft_json_put(a, o, "eval_loss", graft_json_real(a, r->eval_loss));
    graft_json_put(a, o, "train_runtime", graft_json_real(a, r->runtime));
    graft_json_put(a, o, "tokens", graft_json_int(a, r->tokens));
    graft_json_put(a, o, "tokens_per_second", graft_json_real(a, r->runtime > 0 ? (double)r->tokens / r->runtime : 0));
    graft_json_put(a, o, "save_seconds", graft_json_real(a, r->save_seconds));
    graft_json_put(a, o, "save_waited_seconds", graft_json_real(a, r->save_waited));
    if (*r->checkpoint) graft_json_put(a, o, "checkpoint", graft_json_text(a, r->checkpoint, strlen(r->checkpoint)));
    if (*r->plot) graft_json_put(a, o, "plot", graft_json_text(a, r->plot, strlen(r->plot)));
    graft_cli_print_json(c, o, 2);
}

static void print_text(graft_cli *c, const graft_job *j, const graft_train_result *r)
{
    char took[32];
    clock_text(r->runtime, took);
    fprintf(c->out, "trained %lld updates in %s: mean loss %.4f", (long long)r->steps, took, r->train_loss);
    if (!isnan(r->eval_loss)) fprintf(c->out, ", eval_loss %.4f", r->eval_loss);
    fprintf(c->out, ", %.0f tokens/s\nresults: %s\n", r->runtime > 0 ? (double)r->tokens / r->runtime : 0.0, j->o.output_dir);
    if (*r->plot) fprintf(c->out, "loss curve: %s\n", r->plot);
}

static graft_status train(graft_cli *c, graft_error *err)
{
    graft_job j = {.s = {.c = c}};
    graft_train_result r;
    view v = {.c = c, .err = GRAFT_ERROR_INIT};
    const graft_train_events events = {.ctx = &v, .progress = on_progress, .interrupted = graft_cli_interrupted};
    graft_status s = graft_job_open(&j, 0, err);
    if (!s && graft_cli_interrupted(NULL)) s = graft_fail(err, GRAFT_CANCELLED, NULL, "interrupted before the first update; nothing was written");
    if (!s) {
        j.job.events = &events;
        s = graft_train(&j.job, &r, err);
        wipe(&v);
    }
    if (!s && v.logged) *err = v.err, s = v.logged;
    if (!s && c->run_dir && !r.interrupted) s = graft_swift_finish(c, c->run_dir, r.checkpoint, err);
    if (!s && c->json) print_json(c, &j, &r);
    if (!s && !c->json && !r.interrupted) print_text(c, &j, &r);
    if (!s && r.interrupted) s = graft_fail(err, GRAFT_CANCELLED, NULL, "interrupted after update %lld of %lld; saved in %s; the same command%s goes on from there", (long long)r.steps, (long long)r.total_steps, r.checkpoint, j.o.overwrite_output_dir ? " with resume_from_checkpoint=true" : "");
    graft_job_close(&j);
    return s;
}

/* What do_train, do_eval and do_predict ask for; training where nothing is said. */
static graft_status run(graft_cli *c, graft_error *err)
{
    const graft_args *x = c->args;
    const int evaluates = graft_args_flag(x, "do_eval"), predicts = graft_args_flag(x, "do_predict"), generates = graft_args_flag(x, "predict_with_generate");
    const int trains = graft_args_given(x, "do_train") ? graft_args_flag(x, "do_train") : !evaluates && !predicts;
    if (!trains && !evaluates && !predicts) return graft_fail(err, GRAFT_BAD_INPUT, "do_train", "false leaves nothing to do: give do_eval or do_predict, or leave it out");
    graft_cli_catch_signals();
    graft_env_say();
    graft_registry *registry = NULL;
    graft_status s = trains ? train(c, err) : graft_cli_registry(c, &registry, err);
    if (!s && !trains) s = graft_args_check(x, registry, 1, err);
    if (!s && (predicts || (evaluates && (generates || !trains)))) s = graft_predict(c, trains ? graft_args_text(x, "output_dir") : NULL, evaluates, err);
    return s;
}

const graft_command graft_command_train = {
    .name = "train",
    .summary = "fine-tune a model",
    .usage = "Usage: graft train [FILE.yaml] [key=value ...] [--key value ...]\n\n"
             "  graft train lora.yaml\n"
             "  graft train lora.yaml learning_rate=1e-4 --max_steps 100\n"
             "  graft train --model_name_or_path models/small --template chatml --dataset identity \\\n"
             "      --finetuning_type full --output_dir out --plot_loss\n\n"
             "Model      model_name_or_path, adapter_name_or_path (go on with this adapter), template\n"
             "Data       dataset (names of the registry, or a file), dataset_dir, cutoff_len, max_samples, val_size\n"
             "Method     finetuning_type and its own keys\n"
             "Training   learning_rate, num_train_epochs or max_steps, per_device_train_batch_size,\n"
             "           gradient_accumulation_steps, lr_scheduler_type, warmup_ratio, logging_steps, eval_strategy, seed\n"
             "Saving     output_dir, save_strategy, save_steps, save_total_limit, resume_from_checkpoint, plot_loss\n"
             "Evaluation eval_dataset or val_size, eval_strategy; do_eval or do_predict without do_train rate a model as it is, and\n"
             "           predict_with_generate answers the questions: generated_predictions.jsonl, BLEU-4 and ROUGE\n"
             "Machine    memory (e.g. 6G: recomputation is chosen to fit), backend, threads\n\n"
             "A run that was interrupted or killed goes on from its newest checkpoint when the same command is given\n"
             "again; overwrite_output_dir begins anew. Ctrl-C saves first. --json prints the result as JSON.\n"
             "`graft plan` with the same arguments tells the memory beforehand; docs/compat.md lists every key.\n",
    .run = run,
};
