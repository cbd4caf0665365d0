/* core/train/state.c - a checkpoint's content, out and in.
 *
 *   checkpoint-N/  adapter or model files, tokenizer files     as at the end of training: usable by itself; of several methods
 *                  METHOD/ .., adapters.json                   each its folder, and their list
 *                  optimiser.safetensors                       what the optimiser keeps: "adam_m:NAME" .. (optim.h), and what methods do: "kept:METHOD:NAME"; not with save_only_model
 *                  trainer_state.json, trainer_log.jsonl       the log so far
 *                  training_state.json                         counters and sums, see put_counters; not with save_only_model
 *                  training_args.json                          the arguments of the run
 *
 * Gradients are zero between updates and random numbers are counted, so this is the whole state: a resumed run goes on bit for bit. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/train/after.h"
#include "core/train/checkpoint.h"
#include "core/train/trainer.h"

#include <stdio.h>
#include <string.h>

#define OPTIMISER "optimiser.safetensors"
#define COUNTERS  "training_state.json"
#define ARGUMENTS "training_args.json"

graft_journal_moment graft_trainer_moment(const graft_trainer *t)
{
    const graft_train_steps *s = &t->steps;
    const int64_t epoch = t->step ? (t->step - 1) / s->updates : 0, update = t->step - epoch * s->updates;
    const int64_t done = update * t->o->gradient_accumulation_steps < s->batches ? update * t->o->gradient_accumulation_steps : s->batches;
    const double session = graft_trainer_clock() - t->started;
    return (graft_journal_moment){.step = t->step, .tokens = t->tokens, .epoch = t->step ? (double)epoch + (double)done / (double)s->batches : 0.0, .seconds = t->seconds_before + session, .session_seconds = session, .session_steps = t->step - t->started_step};
}

/* ---- tensors out ------------------------------------------------------------------------------------------------------- */

typedef struct stored {
    const graft_store *store;
    int index;
    const float *data; /* or this, where a method keeps it */
} stored;

static graft_status read_piece(void *ctx, int64_t offset, void *to, int64_t bytes, graft_error *err)
{
    const stored *s = ctx;
    if (s->data) return memcpy(to, (const char *)s->data + offset, (size_t)bytes), GRAFT_OK;
    return graft_store_read_part(s->store, s->index, offset, to, bytes, err);
}

static graft_status write_optimiser(const graft_trainer *t, const char *dir, graft_error *err)
{
    const int all = graft_store_count(t->store);
    const char *name;
    const float *data;
    int64_t n = 0, count;
    int n_kept = 0;
    while (graft_after_kept(t, n_kept, &name, &data, &count)) n_kept++;
    graft_tensor_out *out = graft_calloc((size_t)(all + n_kept) + 1, sizeof *out);
    stored *from = graft_calloc((size_t)(all + n_kept) + 1, sizeof *from);
    char *path = graft_path_join(dir, OPTIMISER);
    for (int i = 0; out && from && i < all; i++) {
        if (!graft_optim_is_state(graft_store_name(t->store, i))) continue;
        const graft_shape shape = graft_store_shape(t->store, i);
        from[n] = (stored){.store = t->store, .index = i};
        out[n] = (graft_tensor_out){.name = graft_store_name(t->store, i), .dtype = shape.dtype, .rank = shape.rank, .read = read_piece, .ctx = &from[n]};
        memcpy(out[n].dims, shape.dims, sizeof out[n].dims);
        n++;
    }
    for (int i = 0; out && from && graft_after_kept(t, i, &name, &data, &count); i++, n++) {
        from[n] = (stored){.data = data};
        out[n] = (graft_tensor_out){.name = name, .dtype = GRAFT_F32, .rank = 1, .dims = {count}, .read = read_piece, .ctx = &from[n]};
    }
    const graft_status s = out && from && path ? graft_safetensors_write(path, out, n, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory to save the optimiser");
    graft_free(path);
    graft_free(from);
    graft_free(out);
    return s;
}

/* ---- what the methods trained --------------------------------------------------------------------------------------------- */

static int has_files(const graft_active_method *m) { return GRAFT_HAS(graft_method_table, m->table, files) && m->table->files; }

/* Some method trains the base's own weights, so the whole model is saved. */
static int trains_base(const graft_train_job *job)
{
    for (int i = 0; i < job->n_methods; i++)
        if (!has_files(&job->methods[i])) return 1;
    return !job->n_methods;
}

/* Where method i's files are: dir itself when it is the only method, else a folder in it. Free it. */
static char *place_of(const graft_train_job *job, const char *dir, int i, graft_error *err)
{
    char *path = graft_path_join(dir, job->n_methods > 1 ? job->methods[i].name : ".");
    if (!path) graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory for a path");
    return path;
}

/* Of several methods, the folders with files. */
static graft_status write_index(const graft_train_job *job, const char *dir, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    graft_json *o = a ? graft_json_new(a, GRAFT_JSON_OBJECT) : NULL, *list = o ? graft_json_new(a, GRAFT_JSON_ARRAY) : NULL;
    int n = 0;
    for (int i = 0; list && i < job->n_methods; i++)
        if (has_files(&job->methods[i])) graft_json_push(a, list, graft_json_text(a, job->methods[i].name, strlen(job->methods[i].name))), n++;
    if (list) graft_json_put(a, o, "adapters", list);
    graft_status s = list ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory while saving");
    if (!s && n) s = graft_journal_write(dir, GRAFT_ADAPTERS_INDEX, o, 2, 0, err);
    graft_arena_free(a);
    return s;
}

graft_status graft_trainer_write_model(const graft_trainer *t, const char *dir, graft_error *err)
{
    const graft_train_job *job = t->job;
    const int base = trains_base(job);
    const char *name = base && job->n_methods > 1 ? t->o->output_dir : t->o->base_name ? t->o->base_name
                                                                                       : job->model->path;
    graft_status s = base ? graft_model_save(job->model, t->graphs.train, t->store, job->tokenizer, dir, GRAFT_F32, 0, err) : GRAFT_OK;
    for (int i = 0; i < job->n_methods && !s; i++) {
        if (!has_files(&job->methods[i])) continue;
        char *place = place_of(job, dir, i, err);
        s = place ? graft_adapter_save(place, &job->methods[i], i, t->graphs.train, t->store, name, err) : GRAFT_NO_MEMORY;
        graft_free(place);
    }
    if (!s && job->n_methods > 1) s = write_index(job, dir, err);
    return s || base || !job->tokenizer ? s : graft_tokenizer_save(job->tokenizer, dir, err);
}

/* ---- counters -------------------------------------------------------------------------------------------------------------- */

static graft_status put_counters(const graft_trainer *t, const char *dir, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    graft_json *o = a ? graft_json_new(a, GRAFT_JSON_OBJECT) : NULL;
    if (!o) {
        graft_arena_free(a);
        return graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory while saving");
    }
    const struct {
        const char *key;
        int64_t v;
    } whole[] = {{"step", t->step}, {"micro_batches", t->runs}, {"tokens", t->tokens}, {"updates_since_log", t->log_count}, {"samples", graft_dataset_count(t->job->train)}, {"per_device_train_batch_size", t->o->per_device_train_batch_size}, {"gradient_accumulation_steps", t->o->gradient_accumulation_steps}, {"seed", (int64_t)t->o->seed}, {"best_step", t->journal.best_step}, {"evaluations_since_best", t->worse}};
    const struct {
        const char *key;
        double v;
    } real[] = {{"loss_since_log", t->log_loss}, {"loss_sum", t->total_loss}, {"flops", t->flops}, {"seconds", graft_trainer_moment(t).seconds}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) graft_json_put(a, o, whole[i].key, graft_json_int(a, whole[i].v));
    for (size_t i = 0; i < sizeof real / sizeof *real; i++) graft_json_put(a, o, real[i].key, graft_json_real(a, real[i].v));
    graft_json *skipped = NULL; /* updates that were no steps of a weight */
    for (int32_t i = 0; i < t->graphs.update.n_leaves; i++) {
        const graft_update_leaf *leaf = &t->graphs.update.leaves[i];
        if (leaf->skipped && !skipped) skipped = graft_json_new(a, GRAFT_JSON_OBJECT);
        if (leaf->skipped) graft_json_put(a, skipped, leaf->name, graft_json_int(a, leaf->skipped));
    }
    if (skipped) graft_json_put(a, o, "skipped", skipped);
    if (t->journal.best_step) graft_json_put(a, o, "best_metric", graft_json_real(a, t->journal.best_metric));
    graft_schedule_save(&t->schedule, a, o);
    const graft_status s = graft_journal_write(dir, COUNTERS, o, 2, 0, err);
    graft_arena_free(a);
    return s;
}

static int64_t counter(const graft_json *o, const char *key)
{
    const graft_json *v = graft_json_get(o, key);
    return v && v->type == GRAFT_JSON_NUMBER && v->integral && v->integer >= 0 ? v->integer : -1;
}

static double sum_of(const graft_json *o, const char *key)
{
    const graft_json *v = graft_json_get(o, key);
    return v && v->type == GRAFT_JSON_NUMBER ? v->number : 0.0;
}

static void say_changed(const graft_json *o, const char *key, int64_t now)
{
    const int64_t then = counter(o, key);
    if (then != now) graft_log(GRAFT_LOG_WARNING, "%s was %lld when the checkpoint was made and is %lld now: the run goes on, but not as it would have", key, (long long)then, (long long)now);
}

static graft_status take_counters(graft_trainer *t, const char *dir, graft_error *err)
{
    const graft_json *o = NULL;
    graft_arena *a = graft_arena_new();
    char *path = graft_path_join(dir, COUNTERS);
    graft_status s = a && path ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    if (!s && !graft_path_exists(path)) s = graft_fail(err, GRAFT_BAD_INPUT, dir, "this checkpoint holds the model alone (save_only_model) and cannot be gone on with: begin anew with overwrite_output_dir=true, or start from it in another output_dir");
    if (!s) s = graft_json_parse_file(a, path, 1 << 20, GRAFT_JSON_ALLOW_NAN, &o, err);
    if (!s) {
        t->step = counter(o, "step");
        t->runs = counter(o, "micro_batches");
        t->tokens = counter(o, "tokens");
        t->log_count = counter(o, "updates_since_log");
        t->log_loss = sum_of(o, "loss_since_log");
        t->total_loss = sum_of(o, "loss_sum");
        t->flops = sum_of(o, "flops");
        t->seconds_before = sum_of(o, "seconds");
        graft_schedule_restore(&t->schedule, o);
        if (t->best_set >= 0 && counter(o, "best_step") > 0) t->journal.best_step = counter(o, "best_step"), t->journal.best_metric = sum_of(o, "best_metric"), t->worse = counter(o, "evaluations_since_best");
        if (t->step < 1 || t->runs < 1 || t->tokens < 0 || t->log_count < 0) s = graft_fail(err, GRAFT_BAD_INPUT, path, "the counters of the checkpoint are missing or negative; use another checkpoint");
    }
    if (!s) {
        for (int32_t i = 0; i < t->graphs.update.n_leaves; i++) {
            graft_update_leaf *leaf = &t->graphs.update.leaves[i];
            const int64_t n = counter(graft_json_get(o, "skipped"), leaf->name);
            leaf->skipped = n > 0 ? n : 0;
        }
        say_changed(o, "samples", graft_dataset_count(t->job->train));
        say_changed(o, "per_device_train_batch_size", t->o->per_device_train_batch_size);
        say_changed(o, "gradient_accumulation_steps", t->o->gradient_accumulation_steps);
        say_changed(o, "seed", (int64_t)t->o->seed);
    }
    graft_free(path);
    graft_arena_free(a);
    return s;
}

/* ---- out -------------------------------------------------------------------------------------------------------------------- */

graft_status graft_trainer_write_checkpoint(const graft_trainer *t, char dir[GRAFT_CHECKPOINT_PATH], graft_error *err)
{
    const graft_journal_moment now = graft_trainer_moment(t);
    graft_status s = graft_checkpoint_begin(t->o->output_dir, t->step, dir, err);
    if (!s) s = graft_trainer_write_model(t, dir, err);
    const int whole = !t->o->save_only_model || t->result->interrupted;
    if (!s && whole) s = write_optimiser(t, dir, err);
    if (!s) s = graft_journal_save(&t->journal, dir, t->o, &now, t->flops, err);
    if (!s && whole) s = put_counters(t, dir, err);
    if (!s && t->job->arguments) s = graft_journal_write(dir, ARGUMENTS, t->job->arguments, 2, 0, err);
    if (s) {
        graft_checkpoint_abandon(t->o->output_dir, t->step);
        return s;
    }
    s = graft_checkpoint_commit(t->o->output_dir, t->step, err);
    if (!s) s = graft_checkpoint_path(t->o->output_dir, t->step, dir, err);
    return s ? s : graft_checkpoint_prune(t->o->output_dir, t->o->save_total_limit, t->step, t->journal.best_step, err);
}

/* ---- in --------------------------------------------------------------------------------------------------------------------- */

/* Every tensor `wanted` says from the opened file into the store's tensor of that name. */
static graft_status take_tensor(graft_trainer *t, const graft_weights *w, const char *name, const char *file, graft_error *err)
{
    const graft_weight_info *info = graft_weights_find(w, name);
    const int i = graft_store_find(t->store, name);
    if (!info) return graft_fail(err, GRAFT_BAD_INPUT, file, "the checkpoint lacks %s: it was made with other trained weights or another optim; use the same arguments or another output_dir", name);
    if (i < 0) return graft_fail(err, GRAFT_INTERNAL, name, "a trained weight is not in the store");
    const graft_shape shape = graft_store_shape(t->store, i);
    int same = info->rank == shape.rank && (shape.dtype == GRAFT_F32 || (!strcmp(info->dtype_name, "I32") && info->bytes == graft_store_tensor_bytes(t->store, i)));
    for (int k = 0; same && k < shape.rank; k++) same = info->dims[k] == shape.dims[k];
    if (!same) return graft_fail(err, GRAFT_BAD_INPUT, file, "%s has another shape than in this run: use the same arguments or another output_dir", name);
    const int64_t bytes = graft_store_tensor_bytes(t->store, i);
    if (shape.dtype != GRAFT_F32) return graft_store_write(t->store, i, info->data, bytes, err);
    float *data = graft_calloc((size_t)bytes + 1, 1);
    if (!data) return graft_fail(err, GRAFT_NO_MEMORY, file, "no memory to read %s", name);
    graft_status s = graft_weights_read_f32(info, data, err);
    if (!s) s = graft_store_write(t->store, i, data, bytes, err);
    graft_free(data);
    return s;
}

static graft_status take_optimiser(graft_trainer *t, const char *dir, graft_error *err)
{
    graft_weights *w = NULL;
    char *path = graft_path_join(dir, OPTIMISER);
    graft_status s = path ? graft_weights_open(path, &w, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    for (int i = 0; !s && i < graft_store_count(t->store); i++)
        if (graft_optim_is_state(graft_store_name(t->store, i))) s = take_tensor(t, w, graft_store_name(t->store, i), path, err);
    for (int64_t i = 0; !s && i < graft_weights_count(w); i++) {
        const graft_weight_info *kept = graft_weights_at(w, i);
        if (!strncmp(kept->name, GRAFT_KEPT, sizeof GRAFT_KEPT - 1)) s = graft_after_restore(t, kept->name, graft_weights_elements(kept), kept, err);
    }
    graft_weights_close(w);
    graft_free(path);
    return s;
}

graft_status graft_trainer_take_weights(graft_trainer *t, const char *dir, graft_error *err)
{
    const graft_train_job *job = t->job;
    graft_status s = trains_base(job) ? graft_model_reload(job->model, dir, t->graphs.train, t->store, err) : GRAFT_OK;
    for (int i = 0; i < job->n_methods && !s; i++) {
        if (!has_files(&job->methods[i])) continue;
        char *place = place_of(job, dir, i, err);
        s = place ? graft_adapter_resume(place, &job->methods[i], i, t->graphs.train, t->store, err) : GRAFT_NO_MEMORY;
        graft_free(place);
    }
    return s;
}

graft_status graft_trainer_resume(graft_trainer *t, const char *dir, graft_error *err)
{
    int64_t step = 0;
    graft_status s = graft_checkpoint_check(dir, &step, err);
    if (!s) s = take_counters(t, dir, err);
    if (!s) s = graft_trainer_take_weights(t, dir, err);
    if (!s) s = take_optimiser(t, dir, err);
    if (!s) s = graft_journal_resume(&t->journal, dir, err);
    if (s) return s;
    t->result->resumed_from = t->step;
    graft_log(GRAFT_LOG_INFO, "going on from %s", dir);
    return GRAFT_OK;
}
