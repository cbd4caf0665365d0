/* core/cli/predict.c - see predict.h.
 *
 *   evaluation set -> question | expected answer -> the model's answer -> {"prompt", "predict", "label"} a line, as soon as it is there
 *                                                                      \> BLEU-4 and ROUGE, their means (metric.h) */
#include "core/cli/predict.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/cli/answers.h"
#include "core/cli/metric.h"
#include "core/data/batch.h"
#include "core/train/journal.h"

#include <math.h>
#include <string.h>
#include <time.h>

/* How a line of answers is written. */
typedef enum shape { OF_PREDICT, /* {"prompt", "predict", "label"}: LLaMA-Factory's */
                     OF_INFER    /* {"response", "labels", "logprobs": null, "prompt"}: ms-swift's, with the prompt as it was rendered in place of its messages */
} shape;

typedef struct predict {
    shape line;
    graft_session s;
    graft_answers by;
    graft_journal files; /* whose folder the results go to */
    const char *out;
    graft_session_eval sets;
    double prepared; /* seconds until the model was there */
    int32_t *ids;    /* the answer in the making */
    int64_t n_ids, room;
} predict;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double rounded(double v, double unit) { return round(v * unit) / unit; }

graft_status graft_cli_with_trained(graft_cli *c, const char *folder, graft_args **out, graft_error *err)
{
    graft_arena *a = c->arena;
    const char *given = graft_args_text(c->args, "adapter_name_or_path"), *adapters = NULL;
    const char *base = folder ? graft_arena_printf(a, "%s/config.json", folder) : NULL, *one = folder ? graft_arena_printf(a, "%s/adapter_config.json", folder) : NULL, *list = folder ? graft_arena_printf(a, "%s/adapters.json", folder) : NULL;
    char **words = graft_arena_alloc(a, ((size_t)c->n_all + 3) * sizeof *words);
    if (!words || (folder && (!base || !one || !list))) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    int n = 0;
    for (int i = 0; i < c->n_all; i++) words[n++] = c->all[i];
    const int has_base = folder && graft_path_exists(base);
    if (folder && (graft_path_exists(one) || graft_path_exists(list))) {
        /* training went on with the last of several adapters, the others had become part of the base */
        const char *comma = given ? strrchr(given, ',') : NULL;
        const int anew = graft_args_flag(c->args, "create_new_adapter");
        if (given && anew) adapters = graft_arena_printf(a, "%s,%s", given, folder);
        else adapters = comma ? graft_arena_printf(a, "%.*s,%s", (int)(comma - given), given, folder) : folder;
    }
    if (has_base) words[n++] = graft_arena_printf(a, "--model_name_or_path=%s", folder);
    words[n++] = adapters ? graft_arena_printf(a, "--adapter_name_or_path=%s", adapters) : graft_arena_printf(a, "adapter_name_or_path=");
    for (int i = c->n_all; i < n; i++)
        if (!words[i]) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    return graft_args_parse(a, n, words, 0, out, err);
}

graft_status graft_cli_with_model(graft_cli *c, const char *folder, graft_args **out, graft_error *err)
{
    char **words = graft_arena_alloc(c->arena, ((size_t)c->n_all + 2) * sizeof *words);
    char *model = graft_arena_printf(c->arena, "--model_name_or_path=%s", folder), *none = graft_arena_printf(c->arena, "adapter_name_or_path=");
    if (!words || !model || !none) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    for (int i = 0; i < c->n_all; i++) words[i] = c->all[i];
    words[c->n_all] = model, words[c->n_all + 1] = none;
    return graft_args_parse(c->arena, c->n_all + 2, words, 0, out, err);
}

/* ---- sets ------------------------------------------------------------------------------------------------------------------------ */

/* eval_dataset, or the part of dataset that val_size holds back. */
static graft_status load_sets(predict *p, int questions, graft_error *err)
{
    const graft_args *x = p->s.c->args;
    const char *names = graft_args_text(x, "eval_dataset");
    graft_dataset *train = NULL;
    graft_dataset_report report = {0};
    graft_session_eval_free(&p->sets);
    graft_dataset_options o = graft_session_data_options(p->s.c, names ? names : graft_args_text(x, "dataset"));
    o.predict = questions;
    if (questions) o.packing = GRAFT_PACKING_OFF;
    if (names) return graft_session_eval_load(&p->s, &o, names, &p->sets, err);
    o.val_size = graft_args_real(x, "val_size");
    const graft_status s = graft_dataset_load(p->s.registry, &o, p->s.chat, p->s.tokenizer, &train, &p->sets.set[0], &report, err);
    p->sets.n = p->sets.set[0] != NULL;
    graft_dataset_free(train);
    return s || p->sets.n ? s : graft_fail(err, GRAFT_BAD_INPUT, "do_predict", "there is nothing to evaluate on: give eval_dataset or val_size");
}

/* "eval_NAME_loss" of one of several sets, "eval_loss" else. */
static void put(predict *p, graft_json *o, const char *prefix, int set, const char *key, double v)
{
    graft_arena *a = p->s.c->arena;
    const char *name = p->sets.each ? p->sets.name[set] : NULL;
    graft_json_put(a, o, graft_arena_printf(a, "%s_%s%s%s", prefix, name ? name : "", name ? "_" : "", key), graft_json_real(a, v));
}

static void put_times(predict *p, graft_json *o, const char *prefix, int set, double took, int64_t samples, int64_t steps)
{
    put(p, o, prefix, set, "model_preparation_time", rounded(p->prepared, 1e4));
    put(p, o, prefix, set, "runtime", rounded(took, 1e4));
    put(p, o, prefix, set, "samples_per_second", rounded(took > 0 ? (double)samples / took : 0, 1e3));
    put(p, o, prefix, set, "steps_per_second", rounded(took > 0 ? (double)steps / took : 0, 1e3));
}

static int64_t batches_of(const predict *p, int64_t n)
{
    const int64_t size = graft_args_int(p->s.c->args, "per_device_eval_batch_size");
    return size > 0 ? (n + size - 1) / size : n;
}

/* ---- the loss ---------------------------------------------------------------------------------------------------------------------- */

static graft_status loss_of(graft_exec *e, graft_batch *b, const graft_sample *sample, double *sum, int64_t *rows, graft_error *err)
{
    float value = 0;
    graft_batch_clear(b);
    graft_batch_add(b, sample);
    if (!b->labelled) return GRAFT_OK;
    int64_t extent[GRAFT_SYMBOLS];
    graft_status s = graft_batch_give(b, e, 1.0, extent, err);
    if (!s) s = graft_exec_run(e, extent, 0, 0, err);
    if (!s) s = graft_exec_get(e, "loss", &value, sizeof value, err);
    *sum += (double)value, *rows += b->labelled;
    return s;
}

static graft_status rate_set(predict *p, graft_exec *e, graft_batch *b, int set, graft_json *results, graft_error *err)
{
    const graft_dataset *d = p->sets.set[set];
    const int64_t n = graft_dataset_count(d), size = graft_args_int(p->s.c->args, "per_device_eval_batch_size"), batches = batches_of(p, n);
    const double began = seconds();
    double all = 0;
    graft_status s = GRAFT_OK;
    for (int64_t k = 0; !s && k < batches; k++) {
        double sum = 0;
        int64_t rows = 0;
        for (int64_t i = k * size; !s && i < n && i < (k + 1) * size; i++) {
            graft_sample sample;
            s = graft_dataset_get(d, i, &sample, err);
            if (!s) s = loss_of(e, b, &sample, &sum, &rows, err);
        }
        all += rows ? sum / (double)rows : 0;
    }
    if (s) return s;
    const double took = seconds() - began;
    put(p, results, "eval", set, "loss", all / (double)batches);
    put_times(p, results, "eval", set, took, n, batches);
    fprintf(p->s.c->out, "%s: eval_loss %.4f over %lld samples\n", p->sets.each ? p->sets.name[set] : "evaluation", all / (double)batches, (long long)n);
    return GRAFT_OK;
}

static graft_status rate(predict *p, graft_error *err)
{
    graft_graph *g = NULL;
    graft_store *store = NULL;
    graft_exec *e = NULL;
    graft_batch *b = NULL;
    graft_json *results = graft_json_new(p->s.c->arena, GRAFT_JSON_OBJECT);
    int64_t tokens = 1, sequences = 1, virtual_tokens = 0;
    const double began = seconds();
    graft_status s = results ? load_sets(p, 0, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    for (int k = 0; !s && k < p->sets.n; k++)
        for (int64_t i = 0; i < graft_dataset_count(p->sets.set[k]); i++) {
            const graft_sample_size m = graft_dataset_measure(p->sets.set[k], i);
            tokens = m.rows > tokens ? m.rows : tokens, sequences = m.sequences > sequences ? m.sequences : sequences;
        }
    if (!s) s = graft_session_virtual(&p->s, &virtual_tokens, err);
    tokens += virtual_tokens * sequences;
    const int64_t capacity[GRAFT_SYMBOLS] = {tokens, sequences, tokens, 0};
    if (!s) s = graft_session_load(&p->s, GRAFT_FOR_LOSS, capacity, &g, &store, err);
    if (!s) s = graft_exec_new(g, store, capacity, 0, &e, err);
    if (!s) s = graft_batch_new(&b, tokens, sequences, err);
    if (!s) b->virtual_tokens = virtual_tokens;
    p->prepared = seconds() - began;
    for (int k = 0; !s && k < p->sets.n; k++) s = rate_set(p, e, b, k, results, err);
    if (!s) s = graft_journal_results(&p->files, "eval", results, err);
    graft_batch_free(b);
    graft_exec_free(e);
    graft_store_free(store);
    graft_graph_free(g);
    return s;
}

/* ---- answers ------------------------------------------------------------------------------------------------------------------------ */

static int on_token(void *ctx, int32_t id)
{
    predict *p = ctx;
    if (p->n_ids == p->room) return 1;
    p->ids[p->n_ids++] = id;
    return 0;
}

typedef struct texts {
    graft_str prompt, predict, label, plain, plain_label; /* plain: without special tokens, for the comparison */
} texts;

static graft_status decode(predict *p, const graft_sample *q, int64_t n_prompt, texts *t, graft_error *err)
{
    const int skip = graft_args_flag(p->s.c->args, "skip_special_tokens");
    const graft_tokenizer *tok = p->s.tokenizer;
    graft_status s = graft_tokenizer_decode(tok, q->ids, (size_t)n_prompt, 0, &t->prompt, err);
    if (!s) s = graft_tokenizer_decode(tok, p->ids, (size_t)p->n_ids, skip, &t->predict, err);
    if (!s) s = graft_tokenizer_decode(tok, q->ids + n_prompt, (size_t)(q->n - n_prompt), skip, &t->label, err);
    if (!s) s = graft_tokenizer_decode(tok, p->ids, (size_t)p->n_ids, 1, &t->plain, err);
    return s ? s : graft_tokenizer_decode(tok, q->ids + n_prompt, (size_t)(q->n - n_prompt), 1, &t->plain_label, err);
}

static void put_text(graft_str *line, const char *key, const graft_str *text)
{
    graft_str_printf(line, "%s\"%s\": ", line->bytes ? ", " : "{", key);
    graft_str_json(line, text->data ? text->data : "", text->bytes);
}

static graft_status append(const char *path, shape how, const texts *t, graft_error *err)
{
    graft_str line;
    graft_str_init(&line, 0);
    if (how == OF_INFER) {
        put_text(&line, "response", &t->predict);
        put_text(&line, "labels", &t->label);
        graft_str_text(&line, ", \"logprobs\": null");
        put_text(&line, "prompt", &t->prompt);
    } else {
        put_text(&line, "prompt", &t->prompt);
        put_text(&line, "predict", &t->predict);
        put_text(&line, "label", &t->label);
    }
    graft_str_text(&line, "}\n");
    const graft_status s = line.failed ? graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory") : graft_file_append(path, line.data, line.bytes, err);
    graft_str_free(&line);
    return s;
}

static graft_status answer_one(predict *p, const graft_sample *q, const char *path, graft_likeness *like, int *same, graft_error *err)
{
    int64_t n_prompt = 0;
    texts t;
    graft_str *const all[] = {&t.prompt, &t.predict, &t.label, &t.plain, &t.plain_label};
    for (size_t i = 0; i < 5; i++) graft_str_init(all[i], 0);
    while (n_prompt < q->n && q->labels[n_prompt] == -100) n_prompt++;
    p->n_ids = 0;
    graft_generator_reset(p->by.generator);
    graft_status s = n_prompt ? graft_generator_run(p->by.generator, q->ids, n_prompt, &p->by.how, p->by.max_new, p->by.stops, p->by.n_stops, on_token, p, err) : GRAFT_OK;
    if (!s) s = decode(p, q, n_prompt, &t, err);
    if (!s && path) s = append(path, p->line, &t, err);
    if (!s) s = graft_likeness_of(t.plain.data ? t.plain.data : "", t.plain.bytes, t.plain_label.data ? t.plain_label.data : "", t.plain_label.bytes, like, err);
    *same = t.plain.bytes == t.plain_label.bytes && (!t.plain.bytes || !memcmp(t.plain.data, t.plain_label.data, t.plain.bytes));
    for (size_t i = 0; i < 5; i++) graft_str_free(all[i]);
    return s;
}

/* infer: what --metric asks for. */
static graft_status say_rating(const predict *p, int64_t n, int64_t alike, const graft_likeness *sum, const char *path)
{
    const char *metric = graft_args_text(p->s.c->args, "metric");
    FILE *out = p->s.c->out;
    if (metric && !strcmp(metric, "acc")) fprintf(out, "{'acc': %.6g}\n", (double)alike / (double)n);
    if (metric && !strcmp(metric, "rouge")) fprintf(out, "{'rouge-1': %.6f, 'rouge-2': %.6f, 'rouge-l': %.6f, 'bleu-4': %.6f}\n", sum->rouge1 / (double)n, sum->rouge2 / (double)n, sum->rougel / (double)n, sum->bleu4 / (double)n);
    fprintf(out, "%lld answers: %s\n", (long long)n, path);
    return GRAFT_OK;
}

static graft_status answer_set(predict *p, const char *prefix, int set, const char *path, graft_json *results, graft_error *err)
{
    const graft_dataset *d = p->sets.set[set];
    const int64_t n = graft_dataset_count(d);
    const double began = seconds();
    graft_likeness sum = {0};
    int64_t alike = 0;
    graft_status s = GRAFT_OK;
    for (int64_t i = 0; !s && i < n; i++) {
        graft_likeness one = {0};
        graft_sample q;
        int same = 0;
        if (graft_cli_interrupted(NULL)) return graft_fail(err, GRAFT_CANCELLED, NULL, "interrupted after %lld of %lld answers%s%s", (long long)i, (long long)n, path ? "; they are in " : "", path ? path : "");
        s = graft_dataset_get(d, i, &q, err);
        if (!s) s = answer_one(p, &q, path, &one, &same, err);
        sum.bleu4 += one.bleu4, sum.rouge1 += one.rouge1, sum.rouge2 += one.rouge2, sum.rougel += one.rougel, alike += same;
        if (!s && ((i + 1) % 10 == 0 || i + 1 == n)) graft_log(GRAFT_LOG_INFO, "%lld of %lld answers, %.1f s each", (long long)i + 1, (long long)n, (seconds() - began) / (double)(i + 1));
    }
    if (s) return s;
    if (p->line == OF_INFER) return say_rating(p, n, alike, &sum, path);
    put(p, results, prefix, set, "bleu-4", sum.bleu4 / (double)n);
    put(p, results, prefix, set, "rouge-1", sum.rouge1 / (double)n);
    put(p, results, prefix, set, "rouge-2", sum.rouge2 / (double)n);
    put(p, results, prefix, set, "rouge-l", sum.rougel / (double)n);
    put_times(p, results, prefix, set, seconds() - began, n, batches_of(p, n));
    fprintf(p->s.c->out, "%lld answers: BLEU-4 %.2f, ROUGE-1 %.2f, ROUGE-2 %.2f, ROUGE-L %.2f%s%s\n", (long long)n, sum.bleu4 / (double)n, sum.rouge1 / (double)n, sum.rouge2 / (double)n, sum.rougel / (double)n, path ? "; " : "", path ? path : "");
    return GRAFT_OK;
}

static graft_status answer_all(predict *p, const char *prefix, int keep, graft_error *err)
{
    graft_json *results = graft_json_new(p->s.c->arena, GRAFT_JSON_OBJECT);
    const char *path = graft_arena_printf(p->s.c->arena, "%s/generated_predictions.jsonl", p->out);
    graft_status s = results && path ? load_sets(p, 1, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!s && keep) s = graft_path_remove(path, err);
    for (int k = 0; !s && k < p->sets.n; k++) s = answer_set(p, prefix, k, keep ? path : NULL, results, err);
    return s ? s : graft_journal_results(&p->files, prefix, results, err);
}

/* ---- what was asked for -------------------------------------------------------------------------------------------------------------- */

static graft_status open_for_loss(graft_session *s, graft_error *err)
{
    graft_status status = graft_session_model(s, err);
    if (!status) status = graft_session_method(s, 0, err);
    if (!status) status = graft_args_finish(s->c->args, NULL, err);
    if (!status) status = graft_session_template(s, err);
    return status ? status : graft_session_device(s, err);
}

static graft_status run(predict *p, int evaluate, graft_error *err)
{
    const graft_args *x = p->s.c->args;
    const int generates = graft_args_flag(x, "predict_with_generate"), predicts = graft_args_flag(x, "do_predict");
    if (!p->out || !*p->out) return graft_fail(err, GRAFT_BAD_INPUT, "output_dir", "expected a folder for the results: give output_dir");
    const double began = seconds();
    graft_status s = graft_dir_make(p->out, err);
    if (!s) s = graft_journal_new(&p->files, p->out, 0, 0, err);
    if (!s) s = generates || predicts ? graft_answers_open(&p->by, &p->s, err) : open_for_loss(&p->s, err);
    if (!s) s = graft_session_template_look(&p->s, err);
    p->prepared = seconds() - began;
    p->room = p->by.context;
    if (!s && !(p->ids = graft_calloc((size_t)p->room + 1, sizeof *p->ids))) s = graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!s && evaluate && generates) s = answer_all(p, "eval", 0, err);
    if (!s && predicts) s = answer_all(p, "predict", 1, err);
    if (!s && evaluate && !generates) s = rate(p, err);
    return s;
}

static graft_status infer(predict *p, const char *path, graft_error *err)
{
    const char *base = graft_path_base(path);
    char *dir = graft_arena_copy(p->s.c->arena, path, base > path ? (size_t)(base - path) : 0);
    graft_status s = dir ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!s && *dir) s = graft_dir_make(dir, err);
    if (!s) s = graft_answers_open(&p->by, &p->s, err);
    p->room = p->by.context;
    if (!s && !(p->ids = graft_calloc((size_t)p->room + 1, sizeof *p->ids))) s = graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!s) s = load_sets(p, 1, err);
    for (int k = 0; !s && k < p->sets.n; k++) s = answer_set(p, "", k, path, NULL, err);
    return s;
}

static void release(predict *p)
{
    graft_session_eval_free(&p->sets);
    graft_answers_close(&p->by);
    graft_session_close(&p->s);
    graft_journal_free(&p->files);
    graft_free(p->ids);
}

graft_status graft_infer(graft_cli *c, const char *path, graft_error *err)
{
    predict p = {.s = {.c = c}, .line = OF_INFER};
    graft_cli_catch_signals();
    const graft_status s = infer(&p, path, err);
    release(&p);
    return s;
}

graft_status graft_predict(graft_cli *c, const char *trained, int evaluate, graft_error *err)
{
    graft_cli own = *c; /* the session reads its arguments there */
    predict p = {.s = {.c = &own}, .out = graft_args_text(c->args, "output_dir")};
    graft_status s = trained ? graft_cli_with_trained(c, trained, &own.args, err) : GRAFT_OK;
    if (!s) s = run(&p, evaluate, err);
    release(&p);
    if (own.registry != c->registry) c->registry = own.registry; /* opened here, closed by main */
    return s;
}
