/* tests/golden/smollm2.c - a real model: its weights' hash, tokens, logits, greedy answers, likelihoods, and two short trainings. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/sha256.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ids {
    int32_t *v;
    int64_t n;
} ids;

static ids ids_of(graft_arena *a, const graft_json *list)
{
    ids r = {graft_arena_alloc(a, ((size_t)(list ? list->count : 0) + 1) * 4), 0};
    for (const graft_json *i = list ? list->child : NULL; r.v && i; i = i->next) r.v[r.n++] = (int32_t)i->integer;
    return r;
}

static int by_name(const void *a, const void *b)
{
    const graft_weight_info *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* SHA-256 of the f32 bytes of all weights in the order of their names. */
static graft_status hash_weights(const graft_model *m, char out[65], graft_error *err)
{
    const int64_t n = graft_weights_count(m->weights);
    const graft_weight_info **list = graft_calloc((size_t)n + 1, sizeof *list);
    if (!list) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory");
    for (int64_t i = 0; i < n; i++) list[i] = graft_weights_at(m->weights, i);
    qsort(list, (size_t)n, sizeof *list, by_name);
    graft_sha256 sum;
    graft_sha256_init(&sum);
    graft_status status = GRAFT_OK;
    for (int64_t i = 0; !status && i < n; i++) {
        const int64_t count = golden_count(list[i]);
        float *v = graft_calloc((size_t)count + 1, 4);
        status = v ? graft_weights_read_f32(list[i], v, err) : graft_fail(err, GRAFT_NO_MEMORY, list[i]->name, "no memory");
        if (!status) graft_sha256_add(&sum, v, (size_t)count * 4);
        graft_free(v);
    }
    graft_sha256_hex(&sum, out);
    graft_free(list);
    return status;
}

typedef struct answer {
    int32_t ids[256];
    int64_t n;
} answer;
static int collect(void *ctx, int32_t id)
{
    answer *a = ctx;
    if (a->n < 256) a->ids[a->n++] = id;
    return 0;
}

static graft_status check_prompt(golden_model *m, graft_generator *g, const graft_json *p, graft_error *err)
{
    const ids prompt = ids_of(m->arena, graft_json_get(p, "ids")), top = ids_of(m->arena, graft_json_get(p, "top5_ids")), greedy = ids_of(m->arena, graft_json_get(p, "greedy_ids"));
    const float *logits = NULL;
    graft_generator_reset(g);
    graft_status status = graft_generator_feed(g, prompt.v, prompt.n, &logits, err);
    const graft_json *want = graft_json_get(p, "top5_logits");
    int64_t k = 0;
    for (const graft_json *x = want ? want->child : NULL; !status && x && k < top.n; x = x->next, k++) golden_check("top-5 logits", fabs((double)logits[top.v[k]] - x->number), 5e-4);
    const graft_sampling how = {.temperature = 0.0, .top_p = 1.0, .repetition_penalty = 1.0};
    answer a = {.n = 0};
    graft_generator_reset(g);
    if (!status) status = graft_generator_run(g, prompt.v, prompt.n, &how, greedy.n, NULL, 0, collect, &a, err);
    if (!status) golden_equal("greedy tokens", a.n == greedy.n && !memcmp(a.ids, greedy.v, (size_t)a.n * 4));
    return status;
}

static graft_status check_tokens(const graft_tokenizer *t, graft_arena *a, const graft_json *text, const graft_json *want, graft_error *err)
{
    const ids expected = ids_of(a, want);
    graft_ids got = {0};
    const graft_status status = graft_tokenizer_encode(t, text->text, text->bytes, 0, &got, err);
    if (!status) golden_equal("tokens", (int64_t)got.n == expected.n && !memcmp(got.ids, expected.v, got.n * 4));
    graft_ids_free(&got);
    return status;
}

static graft_status check_text(golden_model *m, const graft_json *x, graft_error *err)
{
    const ids text = ids_of(m->arena, graft_json_get(x, "ids"));
    int32_t *labels = graft_arena_alloc(m->arena, (size_t)text.n * 4 + 4);
    const int32_t borders[2] = {0, (int32_t)text.n};
    golden_batch b;
    double loss = 0.0;
    if (!labels) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory");
    memcpy(labels, text.v, (size_t)text.n * 4);
    graft_status status = golden_batch_new(m->arena, text.v, labels, borders, 1, 0, &b, err);
    if (!status) status = golden_loss(m, &b, &loss, err);
    if (!status) golden_check("mean_nll", fabs(loss - graft_json_get(x, "mean_nll")->number), 2e-5);
    return status;
}

static graft_status check_answers(golden_session *s, const char *model, const graft_json *expect, graft_error *err)
{
    golden_model m;
    graft_tokenizer *t = NULL;
    graft_generator *g = NULL;
    char sum[65];
    graft_status status = golden_open(s, model, "full", NULL, NULL, 512, &m, err);
    if (!status) status = hash_weights(m.model, sum, err);
    if (!status) golden_equal("weights_sha256", graft_json_is(graft_json_get(expect, "weights_sha256"), sum));
    if (!status) status = graft_model_tokenizer(m.model, &t, err);
    if (!status) status = graft_generator_new(m.generate, m.store, m.model->vocab, 512, &g, err);
    const graft_json *prompts = graft_json_get(expect, "prompts"), *texts = graft_json_get(expect, "texts");
    for (const graft_json *p = prompts ? prompts->child : NULL; !status && p; p = p->next) {
        status = check_tokens(t, m.arena, graft_json_get(p, "rendered"), graft_json_get(p, "ids"), err);
        if (!status) status = check_prompt(&m, g, p, err);
    }
    for (const graft_json *x = texts ? texts->child : NULL; !status && x; x = x->next) status = check_text(&m, x, err);
    graft_generator_free(g);
    graft_tokenizer_close(t);
    golden_close(&m);
    return status;
}

/* ---- training.json ------------------------------------------------------------------------------------------------------ */

static graft_status batch_of(golden_model *m, const graft_json *j, golden_batch *b, graft_error *err)
{
    const graft_json *rows = graft_json_get(j, "input_ids"), *labels = graft_json_get(j, "labels");
    int32_t all[4096], all_labels[4096], borders[64] = {0};
    int64_t n = 0, sequences = 0;
    for (const graft_json *r = rows->child, *l = labels->child; r && l && sequences < 63; r = r->next, l = l->next) {
        const ids x = ids_of(m->arena, r), y = ids_of(m->arena, l);
        if (n + x.n > 4096 || x.n != y.n) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "a batch of training.json is malformed or over 4096 tokens");
        memcpy(all + n, x.v, (size_t)x.n * 4);
        memcpy(all_labels + n, y.v, (size_t)x.n * 4);
        n += x.n;
        borders[++sequences] = (int32_t)n;
    }
    return golden_batch_new(m->arena, all, all_labels, borders, sequences, 0, b, err);
}

static graft_status check_training(golden_session *s, const char *model, const char *adapter, const char *which, const graft_json *training, graft_error *err)
{
    const graft_json *run = graft_json_get(training, which), *batches = graft_json_get(training, "batches");
    if (!run || !batches) return GRAFT_OK;
    golden_model m;
    golden_adamw o = {.lr = graft_json_get(run, "lr")->number, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    const graft_json *loss = graft_json_get(run, "loss")->child, *norm = graft_json_get(run, "grad_norm")->child;
    char quantity[64];
    int64_t t = 0;
    graft_status status = golden_open(s, model, adapter ? NULL : which, NULL, adapter, 512, &m, err);
    for (const graft_json *j = batches->child; !status && j && loss && norm; j = j->next, loss = loss->next, norm = norm->next) {
        golden_batch b;
        double got = 0.0, length = 0.0;
        status = batch_of(&m, j, &b, err);
        if (!status) status = golden_loss(&m, &b, &got, err);
        if (!status) status = golden_step(&m, &o, ++t, &length, err);
        if (status) break;
        if (getenv("GOLDEN_STEPS")) fprintf(stderr, "%s %lld: loss %.7f - %.7f = %.2e, norm %.6f / %.6f = %.2e\n", which, (long long)t, got, loss->number, got - loss->number, length, norm->number, length / norm->number - 1.0);
        snprintf(quantity, sizeof quantity, "%s: loss", which);
        golden_check(quantity, fabs(got - loss->number), 3e-4);
        snprintf(quantity, sizeof quantity, "%s: grad_norm (relative)", which);
        golden_check(quantity, fabs(length / norm->number - 1.0), 1e-3);
    }
    golden_close(&m);
    return status;
}

/* The adapter beside the file, unpacked into the work folder when it is compressed. NULL when there is none. */
static const char *adapter_beside(golden_session *s, const char *dir, char out[4096])
{
    char file[4096], to[4200];
    snprintf(out, 4096, "%s/adapter", dir);
    snprintf(file, sizeof file, "%s/adapter/adapter_model.safetensors", dir);
    if (graft_path_exists(file)) return out;
    snprintf(file, sizeof file, "%s/adapter/adapter_model.safetensors.zst", dir);
    if (!graft_path_exists(file)) return NULL;
    graft_error err = GRAFT_ERROR_INIT;
    char *config = NULL;
    size_t bytes = 0;
    char from[4200];
    snprintf(from, sizeof from, "%s/adapter/adapter_config.json", dir);
    snprintf(out, 4096, "%s/smollm2-adapter", s->work);
    snprintf(to, sizeof to, "%s/adapter_config.json", out);
    graft_status status = graft_dir_make(out, &err);
    if (!status) status = graft_file_read(from, 1 << 20, &config, &bytes, &err);
    if (!status) status = graft_file_replace(to, config, bytes, &err);
    graft_free(config);
    snprintf(to, sizeof to, "%s/adapter_model.safetensors", out);
    const char *const unpack[] = {"zstd", "-q", "-d", "-f", file, "-o", to, NULL};
    return !status && golden_spawn(unpack) == 0 ? out : NULL;
}

int golden_smollm2(golden_session *s, const char *path)
{
    static const char *const files[] = {"expect.json", "expect_gguf.json", "training.json"};
    char file[4096], adapter[4096];
    snprintf(file, sizeof file, "%s/training.json", path);
    if (!graft_path_exists(file)) return 0;
    for (int i = 0; i < 3; i++) {
        const char *model = golden_model_path(s, i == 1 ? "smollm2.gguf" : "smollm2");
        graft_error err = GRAFT_ERROR_INIT;
        const graft_json *j = NULL;
        snprintf(file, sizeof file, "%s/%s", path, files[i]);
        golden_case(file);
        if (!model) {
            golden_skip("%s: no model; give --model smollm2.gguf=FILE", file);
            continue;
        }
        graft_arena *a = graft_arena_new();
        graft_status status = graft_json_parse_file(a, file, 1 << 28, GRAFT_JSON_ALLOW_NAN, &j, &err);
        if (!status && i < 2) status = check_answers(s, model, j, &err);
        if (!status && i == 2) status = check_training(s, model, NULL, "full", j, &err);
        if (!status && i == 2) {
            const char *beside = adapter_beside(s, path, adapter);
            if (beside) status = check_training(s, model, beside, "lora", j, &err);
            else golden_skip("%s: no adapter could be read beside it", file);
        }
        if (status) golden_error("run", &err);
        graft_arena_free(a);
    }
    return 1;
}
