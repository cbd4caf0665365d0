/* tests/golden/functions.c - layouts that test one function each: schedules, sampling, tokenizers. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/str.h"
#include "core/train/schedule.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- optim/schedules.json: lr_per_step[t] is the rate of step t ------------------------------------------------------------ */

static void check_schedules(const char *file)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *list = NULL;
    golden_case(file);
    if (graft_json_parse_file(a, file, 1 << 26, 0, &list, &err)) golden_error("read", &err);
    for (const graft_json *c = list ? list->child : NULL; c; c = c->next) {
        graft_json *options = graft_json_new(a, GRAFT_JSON_OBJECT);
        graft_schedule s;
        int64_t t = 0;
        for (const graft_json *o = c->child; o; o = o->next)
            if (strcmp(o->key, "name") && strcmp(o->key, "lr") && strcmp(o->key, "warmup") && strcmp(o->key, "total") && strcmp(o->key, "lr_per_step"))
                graft_json_put(a, options, o->key, graft_json_copy(a, o));
        const char *name = graft_json_get(c, "name")->text;
        if (graft_schedule_new(&s, name, graft_json_get(c, "lr")->number, graft_json_get(c, "warmup")->integer, graft_json_get(c, "total")->integer, options, &err)) {
            golden_error(name, &err);
            continue;
        }
        for (const graft_json *r = graft_json_get(c, "lr_per_step")->child; r; r = r->next, t++)
            golden_check(name, fabs(graft_schedule_rate(&s, t) - r->number) / fmax(fabs(r->number), 1e-12), 1e-9);
    }
    graft_arena_free(a);
}

/* ---- sampling: the kept set is equal, kept values are close ---------------------------------------------------------------- */

static double real_of(const graft_json *c, const char *key, double fallback)
{
    const graft_json *v = graft_json_get(c, key);
    return v ? v->number : fallback;
}

static void check_sampling_case(graft_arena *a, const graft_weights *w, const graft_json *c, int index)
{
    const graft_weight_info *logits = golden_tensor(w, "logits"), *history = golden_tensor(w, "history"), *want = golden_tensor(w, "out.%d", index);
    if (!logits || !history || !want) {
        golden_fail("kept set", "out.%d is missing", index);
        return;
    }
    const graft_sampling s = {.temperature = real_of(c, "temperature", 1.0), .top_p = real_of(c, "top_p", 1.0), .top_k = (int64_t)real_of(c, "top_k", 0.0), .repetition_penalty = real_of(c, "repetition_penalty", 1.0), .no_repeat_ngram_size = (int64_t)real_of(c, "no_repeat_ngram_size", 0.0), .presence_penalty = real_of(c, "presence_penalty", 0.0), .frequency_penalty = real_of(c, "frequency_penalty", 0.0), .min_p = real_of(c, "min_p", 0.0), .typical_p = real_of(c, "typical_p", 1.0)};
    const int64_t rows = logits->dims[0], vocab = logits->dims[1], past = history->dims[1];
    float *v = graft_arena_alloc(a, (size_t)vocab * 4);
    int32_t *scratch = graft_arena_alloc(a, (size_t)vocab * 8);
    for (int64_t r = 0; v && scratch && r < rows; r++) {
        const float *expected = (const float *)(const void *)want->data + r * vocab;
        memcpy(v, logits->data + r * vocab * 4, (size_t)vocab * 4);
        graft_sample_process(&s, v, vocab, (const int32_t *)(const void *)history->data + r * past, past, scratch);
        for (int64_t i = 0; i < vocab; i++) {
            golden_equal("kept set", (isinf(v[i]) && v[i] < 0) == (isinf(expected[i]) && expected[i] < 0));
            if (isfinite(v[i]) && isfinite(expected[i])) golden_check("kept values (relative)", fabs((double)v[i] - (double)expected[i]) / fmax(1.0, fabs((double)expected[i])), 1e-5);
        }
    }
}

static void check_sampling(const char *dir)
{
    char file[4200];
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *cases = NULL;
    graft_weights *w = NULL;
    int index = 0;
    snprintf(file, sizeof file, "%s/cases.json", dir);
    golden_case(dir);
    graft_status status = graft_json_parse_file(a, file, 1 << 26, 0, &cases, &err);
    snprintf(file, sizeof file, "%s/expect.safetensors", dir);
    if (!status) status = graft_weights_open(file, &w, &err);
    const graft_json *list = status ? NULL : graft_json_get(cases, "cases");
    for (const graft_json *c = list ? list->child : NULL; c; c = c->next) check_sampling_case(a, w, c, index++);
    if (status) golden_error("read", &err);
    graft_weights_close(w);
    graft_arena_free(a);
}

/* ---- tokenizer/NAME.jsonl with tokenizers/NAME beside or above it ------------------------------------------------------------ */

static int equal_ids(const graft_ids *got, const graft_json *want)
{
    size_t i = 0;
    for (const graft_json *x = want->child; x; x = x->next, i++)
        if (i >= got->n || got->ids[i] != (int32_t)x->integer) return 0;
    return i == got->n;
}

static void check_row(const graft_tokenizer *t, const graft_json *row)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_ids ids = {0};
    graft_str text;
    graft_str_init(&text, 0);
    const graft_json *s = graft_json_get(row, "s"), *decode = graft_json_get(row, "decode"), *back = graft_json_get(row, decode ? "text" : "decoded");
    if (s && graft_tokenizer_encode(t, s->text, s->bytes, 0, &ids, &err)) golden_error("encode", &err);
    else if (s) golden_equal("encode", equal_ids(&ids, graft_json_get(row, "ids")));
    for (const graft_json *x = decode ? decode->child : NULL; x; x = x->next) {
        const int32_t id = (int32_t)x->integer;
        graft_ids_add(&ids, &id, 1, &err);
    }
    if (!back) back = s;
    if (back && graft_tokenizer_decode(t, ids.ids, ids.n, 0, &text, &err)) golden_error("decode", &err);
    else if (back) golden_equal("decode", text.bytes == back->bytes && !memcmp(text.data, back->text, text.bytes));
    graft_str_free(&text);
    graft_ids_free(&ids);
}

static void check_tokenizer(const char *file)
{
    static const char *const up[] = {".", "..", "../..", "../../.."};
    const char *base = graft_path_base(file);
    char dir[4300], path[8192], name[256];
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *t = NULL;
    snprintf(dir, sizeof dir, "%.*s", (int)(base > file ? base - file - 1 : 1), base > file ? file : ".");
    snprintf(name, sizeof name, "%.*s", (int)(strlen(base) - 6), base);
    golden_case(file);
    path[0] = 0;
    for (size_t i = 0; i < sizeof up / sizeof *up; i++) {
        snprintf(path, sizeof path, "%s/%s/tokenizers/%s", dir, up[i], name);
        if (graft_path_is_dir(path)) break;
    }
    char *text = NULL;
    size_t bytes = 0, at = 0;
    snprintf(dir, sizeof dir, "%s/tokenizer.json", path);
    if (!graft_path_exists(dir)) {
        golden_skip("%s: no folder tokenizers/%s beside or above it", file, name);
        return;
    }
    if (graft_tokenizer_open(dir, &t, &err) || graft_file_read(file, 1 << 28, &text, &bytes, &err)) golden_error("open", &err);
    while (text && t && at < bytes) {
        const char *end = memchr(text + at, '\n', bytes - at);
        const size_t n = end ? (size_t)(end - text) - at : bytes - at;
        graft_arena *a = graft_arena_new();
        const graft_json *row = NULL;
        if (n && graft_json_parse(a, file, text + at, n, GRAFT_JSON_ALLOW_LONE_SURROGATE, &row, &err)) golden_error("read", &err);
        else if (row && !graft_json_get(row, "head")) check_row(t, row);
        graft_arena_free(a);
        at += n + 1;
    }
    graft_free(text);
    graft_tokenizer_close(t);
}

static int ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

int golden_functions(golden_session *s, const char *path)
{
    char file[4200];
    snprintf(file, sizeof file, "%s/cases.json", path);
    if (graft_path_exists(file)) return check_sampling(path), 1;
    const int optim = golden_optim(s, path);
    snprintf(file, sizeof file, "%s/schedules.json", path);
    if (graft_path_exists(file)) return check_schedules(file), 1;
    if (optim) return 1;
    if (ends_with(path, "schedules.json")) return check_schedules(path), 1;
    if (graft_path_is_dir(path) && !strcmp(graft_path_base(path), "tokenizer")) {
        char **names = NULL;
        size_t n = 0;
        graft_error err = GRAFT_ERROR_INIT;
        if (graft_dir_list(path, &names, &n, &err)) return 0;
        for (size_t i = 0; i < n; i++) {
            snprintf(file, sizeof file, "%s/%s", path, names[i]);
            if (ends_with(file, ".jsonl")) check_tokenizer(file);
        }
        graft_dir_list_free(names, n);
        return 1;
    }
    if (ends_with(path, ".jsonl") && strstr(path, "tokenizer/")) return check_tokenizer(path), 1;
    return 0;
}
