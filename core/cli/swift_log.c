/* core/cli/swift_log.c - what ms-swift writes into a run's version folder: logging.jsonl as the run goes, images/ and args.json in every checkpoint at its end.
 *
 *   {"loss": 1.5, "grad_norm": 0.8, "learning_rate": 0.0001, "epoch": 0.5, "global_step/max_steps": "5/10", "elapsed_time": "12s", "remaining_time": "12s",
 *    "memory(GiB)": 1.2, "train_speed(s/it)": 2.4}                                       a logging step; {"eval_loss": ...} an evaluation
 *   {"last_model_checkpoint": "...", "best_model_checkpoint": null, "best_metric": null, "global_step": 10, "log_history": [...]}      the last line */
#include "core/cli/swift.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/train/plot.h"

#include <math.h>
#include <string.h>

/* 1d 2h 3m 4s, without what is 0 in front. */
static void time_text(double seconds, char out[64])
{
    const long long n = seconds > 0 && seconds < 1e12 ? (long long)(seconds + 0.5) : 0;
    int used = 0;
    if (n >= 86400) used += snprintf(out + used, 64 - (size_t)used, "%lldd ", n / 86400);
    if (n >= 3600) used += snprintf(out + used, 64 - (size_t)used, "%lldh ", n / 3600 % 24);
    if (n >= 60) used += snprintf(out + used, 64 - (size_t)used, "%lldm ", n / 60 % 60);
    snprintf(out + used, 64 - (size_t)used, "%llds", n % 60);
}

static graft_json *real(graft_arena *a, double v, double unit) { return graft_json_real(a, round(v * unit) / unit); }

static graft_status append(const char *dir, const graft_json *line, graft_error *err)
{
    graft_str text;
    graft_str_init(&text, 0);
    graft_json_write(&text, line, 0, 0);
    graft_str_text(&text, "\n");
    char *path = graft_path_join(dir, "logging.jsonl");
    const graft_status s = path && !text.failed ? graft_file_append(path, text.data, text.bytes, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    graft_free(path);
    graft_str_free(&text);
    return s;
}

static graft_status row(const char *dir, const graft_train_progress *p, int evaluated, graft_error *err)
{
    char step[64], passed[64], left[64];
    graft_arena *a = graft_arena_new();
    graft_json *o = a ? graft_json_new(a, GRAFT_JSON_OBJECT) : NULL;
    if (!o) return graft_arena_free(a), graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    if (evaluated) graft_json_put(a, o, "eval_loss", real(a, p->eval_loss, 1e8));
    else {
        graft_json_put(a, o, "loss", real(a, p->loss, 1e8));
        graft_json_put(a, o, "grad_norm", real(a, p->grad_norm, 1e8));
        graft_json_put(a, o, "learning_rate", real(a, p->learning_rate, 1e12));
    }
    snprintf(step, sizeof step, "%lld/%lld", (long long)p->step, (long long)p->total_steps);
    time_text(p->seconds, passed);
    time_text(p->remaining_seconds, left);
    graft_json_put(a, o, "epoch", real(a, p->epoch, 1e8));
    graft_json_put(a, o, "global_step/max_steps", graft_json_text(a, step, strlen(step)));
    graft_json_put(a, o, "elapsed_time", graft_json_text(a, passed, strlen(passed)));
    graft_json_put(a, o, "remaining_time", graft_json_text(a, left, strlen(left)));
    graft_json_put(a, o, "memory(GiB)", real(a, (double)p->memory_bytes / (double)(1 << 30), 1e2));
    graft_json_put(a, o, "train_speed(s/it)", real(a, p->step ? p->seconds / (double)p->step : 0, 1e6));
    const graft_status s = append(dir, o, err);
    graft_arena_free(a);
    return s;
}

graft_status graft_swift_log(const char *dir, const graft_train_progress *p, int logged, graft_error *err)
{
    graft_status s = logged ? row(dir, p, 0, err) : GRAFT_OK;
    return s || isnan(p->eval_loss) ? s : row(dir, p, 1, err);
}

/* ---- the end -------------------------------------------------------------------------------------------------------------------- */

/* images/train_loss.png: the points of one key of the log. */
static graft_status image(const char *dir, const graft_json *history, const char *key, const char *name, graft_error *err)
{
    char path[4200];
    double *x = graft_calloc((size_t)history->count + 1, sizeof *x), *y = graft_calloc((size_t)history->count + 1, sizeof *y);
    size_t n = 0;
    for (const graft_json *e = x && y ? history->child : NULL; e; e = e->next) {
        const graft_json *v = graft_json_get(e, key), *step = graft_json_get(e, "step");
        if (v && step && v->type == GRAFT_JSON_NUMBER && step->type == GRAFT_JSON_NUMBER) x[n] = step->number, y[n++] = v->number;
    }
    const int fits = snprintf(path, sizeof path, "%s/images/%s.png", dir, name) < (int)sizeof path;
    const graft_status s = n && fits ? graft_plot_write(path, name, key, x, y, n, err) : GRAFT_OK;
    graft_free(x);
    graft_free(y);
    return s;
}

/* Each checkpoint says by itself what the run was told. */
static graft_status spread_args(const char *dir, graft_error *err)
{
    char **names = NULL, *text = NULL, *from = graft_path_join(dir, "args.json");
    size_t n = 0, bytes = 0;
    graft_status s = from ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    if (!s && graft_path_exists(from)) s = graft_file_read(from, 1 << 24, &text, &bytes, err);
    if (!s && text) s = graft_dir_list(dir, &names, &n, err);
    for (size_t i = 0; !s && i < n; i++) {
        char path[4200];
        if (strncmp(names[i], "checkpoint-", 11) || snprintf(path, sizeof path, "%s/%s/args.json", dir, names[i]) >= (int)sizeof path || graft_path_exists(path)) continue;
        s = graft_file_replace(path, text, bytes, err);
    }
    graft_dir_list_free(names, n);
    graft_free(text);
    graft_free(from);
    return s;
}

graft_status graft_swift_finish(graft_cli *c, const char *dir, const char *checkpoint, graft_error *err)
{
    static const char *const curves[][2] = {{"loss", "train_loss"}, {"grad_norm", "train_grad_norm"}, {"learning_rate", "train_learning_rate"}, {"eval_loss", "eval_loss"}};
    static const char *const kept[] = {"best_model_checkpoint", "best_metric", "global_step", "log_history"};
    graft_arena *a = c->arena;
    const graft_json *state = NULL;
    const char *file = graft_arena_printf(a, "%s/trainer_state.json", dir), *images = graft_arena_printf(a, "%s/images", dir);
    graft_json *last = graft_json_new(a, GRAFT_JSON_OBJECT);
    graft_status s = file && images && last ? spread_args(dir, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    if (!s) s = graft_json_parse_file(a, file, 1 << 30, GRAFT_JSON_ALLOW_NAN, &state, err);
    const graft_json *history = s ? NULL : graft_json_get(state, "log_history");
    if (!s) s = graft_dir_make(images, err);
    for (size_t i = 0; !s && history && i < sizeof curves / sizeof *curves; i++) s = image(dir, history, curves[i][0], curves[i][1], err);
    if (s) return s;
    graft_json_put(a, last, "last_model_checkpoint", *checkpoint ? graft_json_text(a, checkpoint, strlen(checkpoint)) : graft_json_new(a, GRAFT_JSON_NULL));
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (graft_json_get(state, kept[i])) graft_json_put(a, last, kept[i], graft_json_copy(a, graft_json_get(state, kept[i])));
    s = append(dir, last, err);
    if (!s && !c->json) fprintf(c->out, "images: %s\n", images);
    return s;
}
