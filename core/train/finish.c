/* core/train/finish.c - the files of output_dir at the end: the trained model or adapter, state, results, curves, README.md. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/train/plot.h"
#include "core/train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- model ------------------------------------------------------------------------------------------------------------------ */

/* Weights of an earlier run under names that this one does not use would be read instead of the new ones. */
static int is_stale(const char *name, int models, char *const *kept, size_t n)
{
    const size_t k = strlen(name), end = sizeof ".safetensors" - 1;
    const int shard = !strncmp(name, "model-", 6) && k > end && !strcmp(name + k - end, ".safetensors");
    const int model = models && (shard || !strcmp(name, "model.safetensors") || !strcmp(name, "model.safetensors.index.json"));
    if (!model && strcmp(name, GRAFT_ADAPTERS_INDEX) != 0) return 0;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(kept[i], name)) return 0;
    return 1;
}

static graft_status remove_stale(const char *dir, char *const *kept, size_t n, graft_error *err)
{
    char **names = NULL;
    size_t all = 0, models = 0;
    for (size_t i = 0; i < n; i++) models += !strncmp(kept[i], "model", 5);
    graft_status s = graft_dir_list(dir, &names, &all, err);
    for (size_t i = 0; !s && i < all; i++) {
        if (!is_stale(names[i], models > 0, kept, n)) continue; /* an adapter lies beside whatever model is there */
        char *path = graft_path_join(dir, names[i]);
        s = path ? graft_path_remove(path, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
        graft_free(path);
    }
    graft_dir_list_free(names, all);
    return s;
}

/* Written to a folder beside and then moved, file by file: a full disk leaves the files of an earlier run as they were. */
static graft_status save_model(const graft_trainer *t, graft_error *err)
{
    char **names = NULL;
    size_t n = 0;
    char *tmp = graft_path_join(t->o->output_dir, ".final.tmp");
    graft_status s = tmp ? graft_path_remove(tmp, err) : graft_fail(err, GRAFT_NO_MEMORY, t->o->output_dir, "out of memory");
    if (!s) s = graft_dir_make(tmp, err);
    if (!s) s = graft_trainer_write_model(t, tmp, err);
    if (!s) s = graft_dir_list(tmp, &names, &n, err);
    for (size_t i = 0; !s && i < n; i++) {
        char *from = graft_path_join(tmp, names[i]), *to = graft_path_join(t->o->output_dir, names[i]);
        if (from && to && graft_path_is_dir(from)) s = graft_path_remove(to, err); /* a folder does not replace another */
        if (!s) s = from && to ? graft_path_rename(from, to, err) : graft_fail(err, GRAFT_NO_MEMORY, tmp, "out of memory");
        graft_free(from);
        graft_free(to);
    }
    if (!s) s = remove_stale(t->o->output_dir, names, n, err);
    if (!s) s = graft_dir_sync(t->o->output_dir, err);
    graft_error unheard = GRAFT_ERROR_INIT;
    if (tmp) graft_path_remove(tmp, s ? &unheard : err);
    graft_dir_list_free(names, n);
    graft_free(tmp);
    return s;
}

/* ---- curves ----------------------------------------------------------------------------------------------------------------- */

static graft_status plot(graft_trainer *t, const char *key, char out[4096], graft_error *err)
{
    double *steps = NULL, *values = NULL;
    size_t n = 0;
    char title[4300], file[4096];
    graft_status s = graft_journal_points(&t->journal, key, &steps, &values, &n, err);
    snprintf(title, sizeof title, "training %s of %s", key, t->o->output_dir);
    const int fits = snprintf(file, sizeof file, "%s/training_%s.png", t->o->output_dir, key) < (int)sizeof file;
    for (char *c = fits ? file + strlen(t->o->output_dir) + 1 : file + strlen(file); *c; c++) *c = *c == '/' ? '_' : *c;
    if (!s && n && fits) {
        s = graft_plot_write(file, title, key, steps, values, n, err);
        if (!s) snprintf(out, 4096, "%s", file);
    } else if (!s && !n && !strcmp(key, "loss")) {
        graft_log(GRAFT_LOG_WARNING, "no curve was drawn: nothing was logged in %lld updates, lower logging_steps", (long long)t->step);
    }
    graft_free(steps);
    graft_free(values);
    return s;
}

/* ---- README.md ---------------------------------------------------------------------------------------------------------------- */

static void card_head(const graft_trainer *t, graft_str *out, const char *base, const char *name)
{
    const int adapter = t->job->n_methods && t->job->methods[t->job->n_methods - 1].table->files;
    graft_str_printf(out, "---\n%slicense: other\nbase_model: %s\ntags:\n- graft\n", adapter ? "library_name: peft\n" : "library_name: transformers\n", base);
    if (t->o->method_name) graft_str_printf(out, "- %s\n", t->o->method_name);
    graft_str_text(out, "- generated_from_trainer\n");
    graft_str_printf(out, "model-index:\n- name: %s\n  results: []\n---\n\n# %s\n\nThis model is a fine-tuned version of [%s](%s)", name, name, base, base);
    if (t->o->dataset_name) graft_str_printf(out, " on %s", t->o->dataset_name);
    graft_str_text(out, ".\n");
    if (!isnan(t->result->eval_loss)) graft_str_printf(out, "It reaches a loss of %.4f on the evaluation data.\n", t->result->eval_loss);
}

static graft_status write_card(const graft_trainer *t, graft_error *err)
{
    const graft_train_options *o = t->o;
    const char *base = o->base_name ? o->base_name : t->job->model->path;
    graft_str out;
    graft_str_init(&out, 1 << 20);
    card_head(t, &out, base, graft_path_base(o->output_dir));
    graft_str_text(&out, "\n## Training procedure\n\n### Training hyperparameters\n\nThe following hyperparameters were used during training:\n");
    graft_str_text(&out, "- learning_rate: ");
    graft_str_double(&out, o->learning_rate);
    graft_str_printf(&out, "\n- train_batch_size: %lld\n- eval_batch_size: %lld\n- seed: %llu\n", (long long)o->per_device_train_batch_size, (long long)o->per_device_eval_batch_size, (unsigned long long)o->seed);
    if (o->gradient_accumulation_steps > 1)
        graft_str_printf(&out, "- gradient_accumulation_steps: %lld\n- total_train_batch_size: %lld\n", (long long)o->gradient_accumulation_steps, (long long)(o->gradient_accumulation_steps * o->per_device_train_batch_size));
    const graft_optim *optim = graft_optim_of(&o->optim);
    if (optim == &graft_optim_adamw) graft_str_printf(&out, "- optimizer: AdamW with betas=(%g,%g) and epsilon=%g\n", o->optim.beta1, o->optim.beta2, o->optim.epsilon);
    else graft_str_printf(&out, "- optimizer: %s\n", optim->name);
    graft_str_printf(&out, "- lr_scheduler_type: %s\n", o->lr_scheduler_type);
    if (t->steps.warmup) graft_str_printf(&out, "- lr_scheduler_warmup_steps: %lld\n", (long long)t->steps.warmup);
    if (o->max_steps > 0) graft_str_printf(&out, "- training_steps: %lld\n", (long long)o->max_steps);
    else graft_str_printf(&out, "- num_epochs: %g\n", o->num_train_epochs);
    graft_str_printf(&out, "\n### Training results\n\nTraining loss %.4f after %lld updates.\n\n### Framework versions\n\n- graft %s\n", t->result->train_loss, (long long)t->step, GRAFT_VERSION);
    char *path = graft_path_join(o->output_dir, "README.md");
    const graft_status s = out.failed || !path ? graft_fail(err, GRAFT_NO_MEMORY, o->output_dir, "out of memory") : graft_file_replace(path, out.data, out.bytes, err);
    graft_free(path);
    graft_str_free(&out);
    return s;
}

graft_status graft_trainer_finish(graft_trainer *t, graft_error *err)
{
    const graft_journal_moment now = graft_trainer_moment(t);
    char unused[4096];
    graft_status s = save_model(t, err);
    if (!s) s = graft_journal_end(&t->journal, &now, t->result, t->flops, err);
    if (!s) s = graft_journal_save(&t->journal, t->o->output_dir, t->o, &now, t->flops, err);
    if (!s && t->job->arguments) s = graft_journal_write(t->o->output_dir, "training_args.json", t->job->arguments, 2, 0, err);
    if (!s && t->o->plot_loss) s = plot(t, "loss", t->result->plot, err);
    if (!s && t->o->plot_loss && !t->job->n_eval_sets) s = plot(t, "eval_loss", unused, err);
    for (int i = 0; !s && t->o->plot_loss && i < t->job->n_eval_sets; i++) {
        char key[600];
        if (snprintf(key, sizeof key, "eval_%s_loss", t->job->eval_names[i]) < (int)sizeof key) s = plot(t, key, unused, err);
    }
    if (!s) s = write_card(t, err);
    return s;
}
