/* core/train/journal.c - see journal.h. */
#include "core/train/journal.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_FILE   "trainer_log.jsonl"
#define STATE_FILE "trainer_state.json"
enum { MAX_LOG_BYTES = 1 << 30 };

static graft_status no_memory(const graft_journal *j, graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, j->out, "out of memory while writing the log"); }

static void put_real(const graft_journal *j, graft_json *o, const char *key, double v) { graft_json_put(j->arena, o, key, graft_json_real(j->arena, v)); }
static void put_int(const graft_journal *j, graft_json *o, const char *key, int64_t v) { graft_json_put(j->arena, o, key, graft_json_int(j->arena, v)); }

graft_status graft_journal_new(graft_journal *j, const char *out, int64_t total_steps, int count_tokens, graft_error *err)
{
    memset(j, 0, sizeof *j);
    j->out = out;
    j->total_steps = total_steps;
    j->count_tokens = count_tokens;
    graft_str_init(&j->lines, MAX_LOG_BYTES);
    j->arena = graft_arena_new();
    j->history = j->arena ? graft_json_new(j->arena, GRAFT_JSON_ARRAY) : NULL;
    return j->history ? GRAFT_OK : no_memory(j, err);
}

void graft_journal_free(graft_journal *j)
{
    graft_arena_free(j->arena);
    graft_str_free(&j->lines);
    memset(j, 0, sizeof *j);
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

graft_status graft_journal_write(const char *dir, const char *name, const graft_json *v, int indent, int sorted, graft_error *err)
{
    graft_str text;
    graft_str_init(&text, MAX_LOG_BYTES);
    graft_json_write(&text, v, indent, sorted);
    graft_str_text(&text, "\n");
    char *path = graft_path_join(dir, name);
    graft_status s = text.failed || !path ? graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory while writing %s", name) : graft_file_replace(path, text.data, text.bytes, err);
    graft_free(path);
    graft_str_free(&text);
    return s;
}

static graft_status write_lines(const graft_journal *j, const char *dir, graft_error *err)
{
    char *path = graft_path_join(dir, LOG_FILE);
    graft_status s = j->lines.failed || !path ? no_memory(j, err) : graft_file_replace(path, j->lines.data, j->lines.bytes, err);
    graft_free(path);
    return s;
}

static graft_status append_line(graft_journal *j, const graft_json *line, graft_error *err)
{
    const size_t before = j->lines.bytes;
    graft_json_write(&j->lines, line, 0, 0);
    graft_str_text(&j->lines, "\n");
    char *path = graft_path_join(j->out, LOG_FILE);
    graft_status s = j->lines.failed || !path ? no_memory(j, err) : graft_file_append(path, j->lines.data + before, j->lines.bytes - before, err);
    graft_free(path);
    return s;
}

graft_status graft_journal_resume(graft_journal *j, const char *checkpoint, graft_error *err)
{
    const graft_json *state = NULL;
    char *data = NULL, *path = graft_path_join(checkpoint, STATE_FILE), *log = graft_path_join(checkpoint, LOG_FILE);
    size_t bytes = 0;
    graft_status s = path && log ? graft_json_parse_file(j->arena, path, MAX_LOG_BYTES, GRAFT_JSON_ALLOW_NAN, &state, err) : no_memory(j, err);
    const graft_json *history = s ? NULL : graft_json_get(state, "log_history");
    if (!s && (!history || history->type != GRAFT_JSON_ARRAY)) s = graft_fail(err, GRAFT_BAD_INPUT, path, "expected a list at log_history");
    for (const graft_json *e = history ? history->child : NULL; e; e = e->next) graft_json_push(j->arena, j->history, graft_json_copy(j->arena, e));
    if (!s) s = graft_file_read(log, MAX_LOG_BYTES, &data, &bytes, err);
    if (!s) {
        graft_str_clear(&j->lines);
        graft_str_add(&j->lines, data, bytes);
        s = write_lines(j, j->out, err);
    }
    graft_free(data);
    graft_free(path);
    graft_free(log);
    return s;
}

/* ---- entries ---------------------------------------------------------------------------------------------------------- */

/* Python's str(timedelta(seconds=n)): 0:07:11, 1 day, 2:03:04. */
static void duration(double seconds, char out[48])
{
    const long long n = seconds > 0 && seconds < 1e12 ? (long long)seconds : 0, days = n / 86400;
    char head[24] = "";
    if (days) snprintf(head, sizeof head, "%lld day%s, ", days, days == 1 ? "" : "s");
    snprintf(out, 48, "%s%lld:%02lld:%02lld", head, n / 3600 % 24, n / 60 % 60, n % 60);
}

static double rounded(double v, int decimals)
{
    char text[400];
    snprintf(text, sizeof text, "%.*f", decimals, v);
    return strtod(text, NULL);
}

/* A number of updates: whole unless it is a share. */
static void put_count(const graft_journal *j, graft_json *o, const char *key, double v)
{
    if (v == floor(v) && fabs(v) < 0x1p53) put_int(j, o, key, (int64_t)v);
    else put_real(j, o, key, v);
}

/* Before the first update it is a whole number there. */
static void put_epoch(const graft_journal *j, graft_json *o, const graft_journal_moment *at)
{
    if (at->step) put_real(j, o, "epoch", at->epoch);
    else put_int(j, o, "epoch", 0);
}

/* One line of trainer_log.jsonl; NaN: the key is left out. */
static graft_status log_line(graft_journal *j, const graft_journal_moment *at, double loss, double eval_loss, double rate, graft_error *err)
{
    char time[48];
    graft_json *o = graft_json_new(j->arena, GRAFT_JSON_OBJECT);
    if (!o) return no_memory(j, err);
    put_int(j, o, "current_steps", at->step);
    put_int(j, o, "total_steps", j->total_steps);
    if (!isnan(loss)) put_real(j, o, "loss", loss);
    if (!isnan(eval_loss)) put_real(j, o, "eval_loss", eval_loss);
    if (!isnan(rate)) put_real(j, o, "lr", rate);
    put_epoch(j, o, at);
    put_real(j, o, "percentage", rounded(j->total_steps ? 100.0 * (double)at->step / (double)j->total_steps : 100.0, 2));
    duration(at->seconds, time);
    graft_json_put(j->arena, o, "elapsed_time", graft_json_text(j->arena, time, strlen(time)));
    duration(at->session_steps ? at->session_seconds / (double)at->session_steps * (double)(j->total_steps - at->step) : 0.0, time);
    graft_json_put(j->arena, o, "remaining_time", graft_json_text(j->arena, time, strlen(time)));
    if (j->count_tokens) {
        put_real(j, o, "throughput", rounded(at->seconds > 0 ? (double)at->tokens / at->seconds : 0.0, 2));
        put_int(j, o, "total_tokens", at->tokens);
    }
    return append_line(j, o, err);
}

graft_status graft_journal_train(graft_journal *j, const graft_journal_moment *at, double loss, double grad_norm, double rate, graft_error *err)
{
    graft_json *o = graft_json_new(j->arena, GRAFT_JSON_OBJECT);
    if (!o) return no_memory(j, err);
    put_real(j, o, "epoch", at->epoch);
    put_real(j, o, "grad_norm", grad_norm);
    put_real(j, o, "learning_rate", rate);
    put_real(j, o, "loss", loss);
    if (j->count_tokens) put_int(j, o, "num_input_tokens_seen", at->tokens);
    put_int(j, o, "step", at->step);
    graft_json_push(j->arena, j->history, o);
    return log_line(j, at, loss, NAN, rate, err);
}

/* eval_loss and the like, or eval_NAME_loss of one of several sets. */
static void put_eval(const graft_journal *j, graft_json *o, const char *name, double loss, double runtime, int64_t samples, int64_t batches)
{
    const struct {
        const char *key;
        double v;
    } rows[] = {{"loss", loss}, {"runtime", rounded(runtime, 4)}, {"samples_per_second", rounded(runtime > 0 ? (double)samples / runtime : 0.0, 3)}, {"steps_per_second", rounded(runtime > 0 ? (double)batches / runtime : 0.0, 3)}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) put_real(j, o, graft_arena_printf(j->arena, "eval_%s%s%s", name ? name : "", name ? "_" : "", rows[i].key), rows[i].v);
}

graft_status graft_journal_eval(graft_journal *j, const graft_journal_moment *at, const char *name, double loss, double runtime, int64_t samples, int64_t batches, graft_error *err)
{
    graft_json *o = graft_json_new(j->arena, GRAFT_JSON_OBJECT);
    if (!o) return no_memory(j, err);
    put_epoch(j, o, at);
    put_eval(j, o, name, loss, runtime, samples, batches);
    put_int(j, o, "step", at->step);
    graft_json_push(j->arena, j->history, o);
    graft_status s = log_line(j, at, NAN, name ? NAN : loss, NAN, err);
    if (s) return s;
    graft_json *results = graft_json_new(j->arena, GRAFT_JSON_OBJECT);
    if (!results) return no_memory(j, err);
    for (const graft_json *m = name && j->eval_results ? j->eval_results->child : NULL; m; m = m->next) graft_json_put(j->arena, results, m->key, graft_json_copy(j->arena, m)); /* of the other sets */
    put_real(j, results, "epoch", at->epoch);
    put_eval(j, results, name, loss, runtime, samples, batches);
    j->eval_results = results;
    return graft_journal_results(j, "eval", results, err);
}

static void put_end(const graft_journal *j, graft_json *o, const graft_train_result *r, double flops)
{
    put_real(j, o, "total_flos", flops);
    put_real(j, o, "train_loss", r->train_loss);
    put_real(j, o, "train_runtime", rounded(r->runtime, 4));
    put_real(j, o, "train_samples_per_second", rounded(r->samples_per_s, 3));
    put_real(j, o, "train_steps_per_second", rounded(r->steps_per_s, 3));
}

graft_status graft_journal_end(graft_journal *j, const graft_journal_moment *at, const graft_train_result *r, double flops, graft_error *err)
{
    graft_json *o = graft_json_new(j->arena, GRAFT_JSON_OBJECT), *results = graft_json_new(j->arena, GRAFT_JSON_OBJECT);
    if (!o || !results) return no_memory(j, err);
    put_real(j, o, "epoch", at->epoch);
    if (j->count_tokens) put_int(j, o, "num_input_tokens_seen", at->tokens);
    put_int(j, o, "step", at->step);
    put_end(j, o, r, flops);
    graft_json_push(j->arena, j->history, o);
    graft_status s = log_line(j, at, NAN, NAN, NAN, err);
    if (s) return s;
    put_real(j, results, "epoch", at->epoch);
    if (j->count_tokens) put_int(j, results, "num_input_tokens_seen", at->tokens);
    put_end(j, results, r, flops);
    if (r->effective_tokens_per_s > 0) put_real(j, results, "effective_tokens_per_sec", r->effective_tokens_per_s);
    return graft_journal_results(j, "train", results, err);
}

graft_status graft_journal_results(const graft_journal *j, const char *name, const graft_json *keys, graft_error *err)
{
    char file[64];
    const graft_json *all = NULL;
    graft_error unheard = GRAFT_ERROR_INIT;
    snprintf(file, sizeof file, "%.40s_results.json", name);
    graft_status s = graft_journal_write(j->out, file, keys, 4, 1, err);
    char *path = graft_path_join(j->out, "all_results.json");
    if (!s && !path) s = no_memory(j, err);
    if (s) goto out;
    graft_json *merged = NULL; /* an unreadable older file is replaced */
    if (graft_path_exists(path) && !graft_json_parse_file(j->arena, path, 1 << 20, GRAFT_JSON_ALLOW_NAN, &all, &unheard) && all->type == GRAFT_JSON_OBJECT) merged = graft_json_copy(j->arena, all);
    if (!merged) merged = graft_json_new(j->arena, GRAFT_JSON_OBJECT);
    for (const graft_json *m = keys->child; merged && m; m = m->next) graft_json_put(j->arena, merged, m->key, graft_json_copy(j->arena, m));
    s = merged ? graft_journal_write(j->out, "all_results.json", merged, 4, 1, err) : no_memory(j, err);
out:
    graft_free(path);
    return s;
}

static void put_null(const graft_journal *j, graft_json *o, const char *key) { graft_json_put(j->arena, o, key, graft_json_new(j->arena, GRAFT_JSON_NULL)); }
static void put_flag(const graft_journal *j, graft_json *o, const char *key, int v) { graft_json_put(j->arena, o, key, graft_json_flag(j->arena, v)); }

/* The checkpoint of the best evaluation, if it was or is being written. */
static void put_best(const graft_journal *j, graft_json *s, int64_t step)
{
    char path[4096] = "";
    if (!j->best_step || snprintf(path, sizeof path, "%s/checkpoint-%lld", j->out, (long long)j->best_step) >= (int)sizeof path) *path = 0;
    put_null(j, s, "best_global_step");
    put_null(j, s, "best_metric");
    put_null(j, s, "best_model_checkpoint");
    if (j->best_step) put_int(j, s, "best_global_step", j->best_step);
    if (j->best_step) put_real(j, s, "best_metric", j->best_metric);
    if (*path && (j->best_step == step || graft_path_exists(path))) graft_json_put(j->arena, s, "best_model_checkpoint", graft_json_text(j->arena, path, strlen(path)));
}

/* transformers' TrainerState: exactly its fields, since its reader refuses others. */
static graft_json *state_of(const graft_journal *j, const graft_train_options *o, const graft_journal_moment *at, double flops)
{
    graft_json *s = graft_json_new(j->arena, GRAFT_JSON_OBJECT);
    if (!s) return NULL;
    put_best(j, s, at->step);
    put_real(j, s, "epoch", at->epoch);
    put_count(j, s, "eval_steps", o->eval_steps > 0 ? o->eval_steps : o->logging_steps);
    put_int(j, s, "global_step", at->step);
    put_flag(j, s, "is_hyper_param_search", 0);
    put_flag(j, s, "is_local_process_zero", 1);
    put_flag(j, s, "is_world_process_zero", 1);
    graft_json_put(j->arena, s, "log_history", graft_json_copy(j->arena, j->history));
    put_count(j, s, "logging_steps", o->logging_steps);
    put_int(j, s, "max_steps", j->total_steps);
    put_int(j, s, "num_input_tokens_seen", j->count_tokens ? at->tokens : 0);
    put_int(j, s, "num_train_epochs", (int64_t)ceil(o->num_train_epochs));
    put_count(j, s, "save_steps", o->save_steps);
    graft_json_put(j->arena, s, "stateful_callbacks", graft_json_new(j->arena, GRAFT_JSON_OBJECT));
    put_real(j, s, "total_flos", flops);
    put_int(j, s, "train_batch_size", o->per_device_train_batch_size);
    put_null(j, s, "trial_name");
    put_null(j, s, "trial_params");
    return s;
}

graft_status graft_journal_save(const graft_journal *j, const char *dir, const graft_train_options *o, const graft_journal_moment *at, double flops, graft_error *err)
{
    graft_journal page = *j; /* the document lives in an arena of its own: a run saves often */
    page.arena = graft_arena_new();
    const graft_json *state = page.arena ? state_of(&page, o, at, flops) : NULL;
    const graft_status status = state ? graft_journal_write(dir, STATE_FILE, state, 2, 1, err) : no_memory(j, err);
    graft_arena_free(page.arena);
    return status ? status : write_lines(j, dir, err);
}

graft_status graft_journal_results_again(graft_journal *j, const graft_journal_moment *now, int64_t step, graft_error *err)
{
    graft_json *results = graft_json_new(j->arena, GRAFT_JSON_OBJECT);
    if (!results) return no_memory(j, err);
    put_epoch(j, results, now);
    for (const graft_json *e = j->history->child; e; e = e->next) {
        const graft_json *at = graft_json_get(e, "step");
        for (const graft_json *m = at && at->integer == step ? e->child : NULL; m; m = m->next)
            if (!strncmp(m->key, "eval_", 5)) graft_json_put(j->arena, results, m->key, graft_json_copy(j->arena, m));
    }
    return graft_journal_results(j, "eval", results, err);
}

graft_status graft_journal_points(const graft_journal *j, const char *key, double **steps, double **values, size_t *n, graft_error *err)
{
    const size_t room = (size_t)j->history->count + 1;
    *n = 0;
    *steps = graft_calloc(room, sizeof **steps);
    *values = graft_calloc(room, sizeof **values);
    if (!*steps || !*values) return no_memory(j, err);
    for (const graft_json *e = j->history->child; e; e = e->next) {
        const graft_json *v = graft_json_get(e, key), *step = graft_json_get(e, "step");
        if (!v || !step || v->type != GRAFT_JSON_NUMBER) continue;
        (*steps)[*n] = step->number;
        (*values)[(*n)++] = v->number;
    }
    return GRAFT_OK;
}
