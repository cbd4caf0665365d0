/* core/cli/data.c - what the arguments say about data becomes options of core/data, and the datasets that they name. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/cli/pull.h"
#include "core/cli/session.h"
#include "core/data/cache.h"
#include "core/data/saved.h"

#include <string.h>
#include <time.h>

/* enable_thinking: null is the third way: thoughts are left as they are. */
static graft_thinking thinking_of(const graft_args *x)
{
    const graft_json *v = graft_json_get(graft_args_object(x), "enable_thinking");
    if (v && v->type == GRAFT_JSON_NULL) return GRAFT_THINKING_NULL;
    return graft_args_flag(x, "enable_thinking") ? GRAFT_THINKING_TRUE : GRAFT_THINKING_FALSE;
}

static graft_packing packing_of(const graft_args *x)
{
    if (graft_args_flag(x, "neat_packing")) return GRAFT_PACKING_NEAT;
    if (!graft_args_given(x, "packing")) return GRAFT_PACKING_UNSAID;
    return graft_args_flag(x, "packing") ? GRAFT_PACKING_ON : GRAFT_PACKING_OFF;
}

/* Stages that compare answers read preference records. */
static graft_preference preference_of(const graft_args *x)
{
    const char *stage = graft_args_text(x, "stage");
    if (!strcmp(stage, "rm") || !strcmp(stage, "dpo")) return GRAFT_PREFERENCE_PAIRS;
    return strcmp(stage, "kto") ? GRAFT_PREFERENCE_NONE : GRAFT_PREFERENCE_LABELS;
}

/* The date that some tool prompts hold, as in 26 Jul 2024: today's unless `today` says another. */
static const char *date_of(graft_cli *c)
{
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const time_t now = time(NULL);
    struct tm day;
    const char *said = graft_args_text(c->args, "today");
    if (said && *said) return said;
    if (!localtime_r(&now, &day)) return NULL;
    return graft_arena_printf(c->arena, "%02d %s %d", day.tm_mday, months[day.tm_mon], day.tm_year + 1900);
}

/* Samples of large sets are kept in the user's cache folder, or where tokenized_path says; not in a folder that LLaMA-Factory saved. */
static const char *cache_of(graft_cli *c)
{
    const char *said = graft_args_text(c->args, "tokenized_path");
    if (said && *said && !graft_saved_is(said)) return said;
    char *folder = graft_cache_folder();
    const char *copy = folder ? graft_arena_copy(c->arena, folder, strlen(folder)) : NULL;
    graft_free(folder);
    return copy;
}

/* Nothing goes from a folder that the user named. */
static int64_t limit_of(const graft_args *x)
{
    graft_error unsaid = GRAFT_ERROR_INIT;
    int64_t bytes = 0;
    const char *named = graft_args_text(x, "tokenized_path");
    if (named && *named) return 0;
    return graft_parse_bytes(graft_args_text(x, "cache_limit"), &bytes, &unsaid) ? 0 : bytes;
}

/* Samples that LLaMA-Factory tokenised and saved: they are all of the data, whatever `dataset` says. */
static graft_status load_saved(graft_session *s, const char *dir, graft_dataset **train, graft_session_eval *eval, graft_error *err)
{
    const int64_t tokens = graft_tokenizer_size(s->tokenizer);
    if (strcmp(graft_args_text(s->c->args, "stage"), "sft") != 0) return graft_fail(err, GRAFT_UNSUPPORTED, "tokenized_path", "%s holds samples saved by LLaMA-Factory, which are read for stage sft alone; leave tokenized_path out, so that the data is tokenised anew", dir);
    graft_status status = graft_saved_load(dir, "train", tokens, train, err);
    if (!status && !*train) status = graft_fail(err, GRAFT_BAD_INPUT, "tokenized_path", "%s holds no split train", dir);
    if (!status) status = graft_saved_load(dir, "validation", tokens, &eval->set[0], err);
    if (status) return status;
    eval->n = eval->set[0] != NULL;
    graft_log(GRAFT_LOG_INFO, "%s: %lld samples that LLaMA-Factory saved are taken as they are; what dataset, template and cutoff_len say does not count", dir, (long long)graft_dataset_count(*train));
    return GRAFT_OK;
}

graft_template_options graft_session_rendering(graft_cli *c)
{
    const graft_args *x = c->args;
    return (graft_template_options){.thinking = thinking_of(x), .preserve_thinking = graft_args_flag(x, "preserve_thinking"), .mask_history = graft_args_flag(x, "mask_history"), .split_special = graft_args_flag(x, "split_special_tokens"), .today = date_of(c)};
}

graft_dataset_options graft_session_data_options(graft_cli *c, const char *names)
{
    const graft_args *x = c->args;
    const graft_template_options r = graft_session_rendering(c);
    return (graft_dataset_options){
        .names = names,
        .dataset_dir = graft_args_text(x, "dataset_dir"),
        .cutoff_len = graft_args_int(x, "cutoff_len"),
        .max_samples = graft_args_int(x, "max_samples"),
        .train_on_prompt = graft_args_flag(x, "train_on_prompt"),
        .mask_history = r.mask_history,
        .seed = (uint64_t)graft_args_int(x, "seed"),
        .preference = preference_of(x),
        .pretrain = !strcmp(graft_args_text(x, "stage"), "pt"),
        .drop_overlong = !strcmp(graft_args_text(x, "overlong"), "drop"),
        .skip_bad_records = !strcmp(graft_args_text(x, "bad_records"), "skip"),
        .separate_texts = graft_args_flag(x, "separate_texts"),
        .learn_pad = graft_args_flag(x, "learn_pad"),
        .packing = packing_of(x),
        .preprocessing_batch_size = graft_args_int(x, "preprocessing_batch_size"),
        .preprocessing_workers = graft_args_int(x, "preprocessing_num_workers"),
        .mix_strategy = graft_args_text(x, "mix_strategy"),
        .interleave_probs = graft_args_text(x, "interleave_probs"),
        .default_system = graft_args_text(x, "default_system"),
        .thinking = r.thinking,
        .preserve_thinking = r.preserve_thinking,
        .split_special_tokens = r.split_special,
        .today = r.today,
        .cache_dir = cache_of(c),
        .cache_limit = limit_of(x),
        .cache_from = graft_args_given(x, "tokenized_path"),
        .overwrite_cache = graft_args_flag(x, "overwrite_cache"),
    };
}

/* The training set as a stream: as many samples as the run takes. */
static graft_status stream_options(const graft_args *x, graft_dataset_options *o, graft_error *err)
{
    const int64_t update = graft_args_int(x, "per_device_train_batch_size") * graft_args_int(x, "gradient_accumulation_steps"), steps = graft_args_int(x, "max_steps");
    if (!graft_args_flag(x, "streaming")) return GRAFT_OK;
    if (steps < 1) return graft_fail(err, GRAFT_BAD_INPUT, "streaming", "how long the run is must be said: give max_steps");
    if (graft_args_given(x, "tokenized_path")) return graft_fail(err, GRAFT_BAD_INPUT, "tokenized_path", "with streaming nothing is kept; leave one of the two out");
    if (update < 1 || update > INT32_MAX || steps > INT32_MAX / update) return graft_fail(err, GRAFT_BAD_INPUT, "max_steps", "%lld updates of %lld samples are more than can be counted; lower it", (long long)steps, (long long)update);
    o->streaming = 1, o->buffer_size = graft_args_int(x, "buffer_size"), o->stream_samples = steps * update, o->stream_window = update;
    return GRAFT_OK;
}

void graft_session_data_report(const char *what, const graft_dataset_report *r)
{
    graft_log(GRAFT_LOG_INFO, "%s: %lld records read, %lld kept, %lld dropped, %lld truncated; %lld tokens, %lld of them learned", what, (long long)r->records, (long long)r->kept, (long long)r->dropped, (long long)r->truncated, (long long)r->tokens, (long long)r->labelled);
    if (r->bad && r->first_bad) graft_log(GRAFT_LOG_WARNING, "%lld bad records were skipped, first %s", (long long)r->bad, r->first_bad);
    if (r->overlong) graft_log(GRAFT_LOG_WARNING, "%lld records were dropped since they are longer than cutoff_len", (long long)r->overlong);
    if (r->dropped > r->overlong && r->first_drop) graft_log(GRAFT_LOG_WARNING, "%lld records were dropped, first %s", (long long)r->dropped, r->first_drop);
    if (r->truncated) graft_log(GRAFT_LOG_WARNING, "%lld records are longer than cutoff_len and lost %lld tokens; overlong: drop leaves them out instead", (long long)r->truncated, (long long)r->tokens_cut);
}

/* eval_dataset: its sets joined, or with eval_on_each_dataset each by itself. */
graft_status graft_session_eval_load(graft_session *s, const graft_dataset_options *o, const char *names, graft_session_eval *eval, graft_error *err)
{
    const int each = graft_args_flag(s->c->args, "eval_on_each_dataset");
    graft_status status = GRAFT_OK;
    for (const char *p = names; !status && *p;) {
        const char *name = names;
        graft_dataset *none = NULL;
        graft_dataset_report report = {0};
        size_t n = each ? strcspn(p, ",") : strlen(p);
        if (eval->n == GRAFT_SESSION_EVALS) return graft_fail(err, GRAFT_BAD_INPUT, "eval_dataset", "at most %d sets can be evaluated each by itself", GRAFT_SESSION_EVALS);
        while (n && *p == ' ') p++, n--;
        if (each && !(name = graft_arena_copy(s->c->arena, p, n))) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
        graft_dataset_options e = *o;
        e.names = name;
        e.val_size = 0, e.streaming = 0;
        status = graft_dataset_load(s->registry, &e, s->chat, s->tokenizer, &eval->set[eval->n], &none, &report, err);
        if (!status) graft_session_data_report(name, &report), eval->name[eval->n++] = name;
        graft_dataset_free(none);
        p += n + (p[n] == ',');
    }
    eval->each = each;
    return status;
}

void graft_session_eval_free(graft_session_eval *eval)
{
    for (int i = 0; i < eval->n; i++) graft_dataset_free(eval->set[i]);
    eval->n = 0;
}

graft_status graft_session_data(graft_session *s, graft_dataset **train, graft_session_eval *eval, graft_error *err)
{
    const graft_args *x = s->c->args;
    const char *names = graft_args_text(x, "dataset"), *eval_names = graft_args_text(x, "eval_dataset");
    graft_dataset_report report = {0};
    graft_mt19937 draws;
    *train = NULL;
    *eval = (graft_session_eval){0};
    const char *saved = graft_args_text(x, "tokenized_path");
    if (saved && *saved && graft_saved_is(saved)) return load_saved(s, saved, train, eval, err);
    if (!names || !*names) return graft_fail(err, GRAFT_BAD_INPUT, "dataset", "no data was named: give dataset=... or --dataset ...");
    graft_dataset_options o = graft_session_data_options(s->c, names);
    o.val_size = graft_args_real(x, "val_size");
    if (o.cutoff_len < 2) return graft_fail(err, GRAFT_BAD_INPUT, "cutoff_len", "expected at least 2 tokens, found %lld", (long long)o.cutoff_len);
    graft_mt19937_seed(&draws, o.seed);
    o.draws = &draws;
    graft_status status = stream_options(x, &o, err);
    if (!status) status = graft_pull_datasets(s->c, names, err);
    if (!status && eval_names) status = graft_pull_datasets(s->c, eval_names, err);
    if (!status) status = graft_dataset_load(s->registry, &o, s->chat, s->tokenizer, train, &eval->set[0], &report, err);
    if (status) return status;
    eval->n = eval->set[0] != NULL;
    if (!o.streaming) graft_session_data_report(names, &report);
    if (eval->n) graft_log(GRAFT_LOG_INFO, "%lld samples to train on, %lld to evaluate on", (long long)graft_dataset_count(*train), (long long)graft_dataset_count(eval->set[0]));
    if (eval_names) status = graft_session_eval_load(s, &o, eval_names, eval, err);
    return status ? status : graft_session_data_look(s, &o, *train, eval->n ? eval->set[0] : NULL, err);
}
