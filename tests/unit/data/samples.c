/* The data pipeline against LLaMA-Factory's: every case file (golden/samples layout) names its arguments and the samples that came out.
 *
 * Fixtures hold the cases with tokenizers and data that may be copied; ../shared, when it is there, has all. A case with a feature that is not built yet
 * is listed as skipped; the cases named in must_pass may not be. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/data/dataset.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

static const char *const must_pass[] = {
    "sft_alpaca_en_qwen2_5", "sft_identity_default", "sft_identity_default_system", "sft_identity_default_system_empty", "sft_identity_empty", "sft_identity_smollm2",
    "sft_identity_split_special", "sft_identity_yi_qwen2_5", "cut_alpaca_en_48", "cut_alpaca_en_100", "cut_history_1", "cut_history_20", "fmt_alpaca_history", "fmt_prompt_response",
    "fmt_specials", "val_0_1", "val_0_333", "val_30", "val_concat_seed0", "mix_concat", "num_samples_10", "num_samples_60", "num_samples_60_max_30", "num_samples_two",
    "fmt_messages_openai", "fmt_messages_sharegpt", "fmt_partial_tags", "fmt_odd_sharegpt", "fmt_odd_sharegpt_qwen", "fmt_openai_tools", "sft_toolcalls_qwen", "sft_toolcalls_qwen3", "think_cut_qwen3", "think_false_qwen3", "think_glmz1_smollm2",
    "think_null_qwen3", "think_qwen3_nothink", "think_true_qwen3", "think_true_qwen3_mask_history", "think_true_qwen3_preserve"};
static const char *const must_pass_shared[] = {"mix_max_samples", "mix_once", "mix_over", "mix_over_probs", "mix_over_probs_seed7", "mix_under", "mix_under_probs", "neat_pack_alpaca_identity", "pack_alpaca_identity", "pack_batch_25", "pack_efficient_eos", "pack_overlong", "pt_alpaca", "pt_c4_llama3", "pt_c4_packing_false", "pt_c4_packing_true", "pt_c4_smollm2", "pt_lines_txt", "pt_wiki_qwen2_5", "val_eval_dataset", "cut_glaive_160", "mask_history_glaive", "mask_history_cut_glaive", "sft_glaive_qwen", "sft_glaive_smollm2", "sft_glaive_tool_format", "train_on_prompt_glaive", "think_deepseekr1", "cut_glaive_420_chatglm3", "fmt_folder", "sft_glaive_chatglm3", "sft_glaive_llama3", "sft_glaive_mistral", "sft_toolcalls_llama3", "think_glm4_7", "sft_identity_alpaca", "sft_identity_vicuna", "sft_alpaca_en_llama3", "sft_alpaca_en_mistral", "sft_alpaca_zh_chatglm3", "sft_alpaca_zh_llama2", "sft_identity_chatml_llama2", "fmt_alpaca_history_llama2", "mask_history_chatglm3"};

/* What a run needs: where the relative paths of a case begin. */
typedef struct ground {
    char tokenizers[4096], datasets[4096], data[4096], templates[4096], registry[4096], formats[4200];
} ground;

typedef enum verdict { SAME,
                       DIFFERENT,
                       SKIPPED } verdict;
typedef struct outcome {
    verdict verdict;
    char why[900];
} outcome;

static outcome say(verdict v, const char *what, const char *more)
{
    outcome o = {.verdict = v};
    snprintf(o.why, sizeof o.why, "%s%s", what, more ? more : "");
    return o;
}

static const char *text_at(const graft_json *o, const char *key, const char *fallback)
{
    const graft_json *v = graft_json_get(o, key);
    return v && v->type == GRAFT_JSON_TEXT ? v->text : fallback;
}

static int64_t int_at(const graft_json *o, const char *key, int64_t fallback)
{
    const graft_json *v = graft_json_get(o, key);
    return v && v->type != GRAFT_JSON_NULL ? v->integer : fallback;
}

/* A key of the case's yaml that this driver does not act on, or NULL. */
static const char *unknown_key(const graft_json *yaml)
{
    static const char *const known[] = {"stage", "do_train", "model_name_or_path", "dataset_dir", "dataset", "output_dir", "overwrite_cache", "template", "cutoff_len", "max_samples", "enable_thinking", "add_special_tokens",
                                        "mask_history", "val_size", "seed", "default_system", "split_special_tokens", "preserve_thinking", "train_on_prompt", "preprocessing_batch_size", "tool_format", "packing", "neat_packing", "mix_strategy", "interleave_probs", "eval_dataset"};
    for (const graft_json *m = yaml->child; m; m = m->next) {
        int found = 0;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) found |= !strcmp(m->key, known[i]);
        if (!found) return m->key;
    }
    if (strcmp(text_at(yaml, "stage", ""), "sft") && strcmp(text_at(yaml, "stage", ""), "pt")) return text_at(yaml, "stage", "stage");
    return graft_json_get(yaml, "template") ? NULL : "no template";
}

/* ---- the tokenizer as the case has it --------------------------------------------------------------------------------------------------- */

static outcome tokenizer_check(const graft_json *want, const graft_tokenizer *tok, const graft_template *t)
{
    graft_arena *a = graft_arena_new();
    size_t n = 0, wrong = 0, wanted = 0;
    const int32_t *stops = graft_template_stops(t, tok, a, &n);
    for (const graft_json *s = graft_json_get(want, "stop_ids")->child; s; s = s->next, wanted++) {
        int there = 0;
        for (size_t i = 0; i < n; i++) there |= stops[i] == s->integer;
        wrong += !there;
    }
    wrong += wanted != n;
    graft_arena_free(a);
    char line[200];
    snprintf(line, sizeof line, "bos %d eos %d pad %d size %lld, %zu stop ids", graft_tokenizer_bos(tok), graft_tokenizer_eos(tok), graft_tokenizer_pad(tok), (long long)graft_tokenizer_size(tok), n);
    if (wrong || int_at(want, "bos", -1) != graft_tokenizer_bos(tok) || int_at(want, "eos", -1) != graft_tokenizer_eos(tok) || int_at(want, "pad", -1) != graft_tokenizer_pad(tok) ||
        int_at(want, "size", -1) != graft_tokenizer_size(tok))
        return say(DIFFERENT, "the tokenizer's ", line);
    return say(SAME, "", NULL);
}

static graft_status add_tokens(graft_tokenizer *tok, const char *list, graft_error *err)
{
    char word[200];
    for (const char *p = list; *p; p += *p == ',') {
        const size_t n = strcspn(p, ",");
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        int32_t id;
        if (graft_tokenizer_add_special(tok, word, &id, err)) return err->code;
        p += n;
    }
    return GRAFT_OK;
}

/* ---- comparing ------------------------------------------------------------------------------------------------------------------------------ */

static int labels_same(const graft_json *runs, const graft_sample *s)
{
    int64_t at = 0;
    for (const graft_json *r = runs->child; r; r = r->next) {
        const graft_json *what = r->child;
        for (int64_t k = 0; k < what->next->integer; k++, at++) {
            if (at >= s->n) return 0;
            const int32_t want = graft_json_is(what, "mask") ? -100 : graft_json_is(what, "copy") ? s->ids[at]
                                                                                                  : (int32_t)what->integer;
            if (s->labels[at] != want) return 0;
        }
    }
    return at == s->n;
}

static int positions_same(const graft_json *runs, const graft_sample *s)
{
    int64_t at = 0;
    for (const graft_json *r = runs->child; r; r = r->next) {
        const int zero = graft_json_is(r->child, "zero");
        for (int64_t k = 0; k < r->child->next->integer; k++, at++)
            if (at >= s->n || (s->positions ? s->positions[at] : at) != (zero ? 0 : k)) return 0;
    }
    return at == s->n;
}

/* Sequences that see each other have one number, from 1; 0 is padding. Plain packing has 1 all over. */
static int attention_same(const graft_json *runs, const graft_sample *s)
{
    int64_t at = 0, part = 0;
    for (const graft_json *r = runs->child; r; r = r->next)
        for (int64_t k = 0; k < r->child->next->integer; k++, at++) {
            while (s->parts && part < s->parts && at >= s->part_ends[part]) part++;
            const int64_t have = part == s->parts && s->parts ? 0 : part + 1;
            if (at >= s->n || have != r->child->integer) return 0;
        }
    return at == s->n;
}

static outcome row_check(const graft_json *row, const graft_dataset *d)
{
    const int64_t i = int_at(row, "i", -1);
    char line[300];
    if (i < 0 || i >= graft_dataset_count(d)) return say(DIFFERENT, "a row is missing", NULL);
    const graft_sample s = graft_dataset_at(d, i);
    int64_t at = 0;
    for (const graft_json *id = graft_json_get(row, "input_ids")->child; id; id = id->next, at++)
        if (at >= s.n || s.ids[at] != id->integer) {
            snprintf(line, sizeof line, "row %lld: input_ids[%lld] should be %lld and is %d", (long long)i, (long long)at, (long long)id->integer, at < s.n ? s.ids[at] : -1);
            return say(DIFFERENT, line, NULL);
        }
    snprintf(line, sizeof line, "row %lld: ", (long long)i);
    if (at != s.n) return say(DIFFERENT, line, "too many input_ids");
    if (!graft_json_get(row, "labels")) return say(SAME, "", NULL); /* a pretraining block: ids alone */
    if (graft_json_get(row, "position") && !positions_same(graft_json_get(row, "position"), &s)) return say(DIFFERENT, line, "positions");
    if (graft_json_get(row, "attention") && !attention_same(graft_json_get(row, "attention"), &s)) return say(DIFFERENT, line, "attention");
    return labels_same(graft_json_get(row, "labels"), &s) ? say(SAME, "", NULL) : say(DIFFERENT, line, "labels");
}

/* Samples of the numbered sets read "a7ok a7": their names are what stands before the "ok". */
static outcome order_check(const graft_json *names, const graft_dataset *d, const graft_tokenizer *tok)
{
    if (!names) return say(SAME, "", NULL);
    if (names->type != GRAFT_JSON_ARRAY) return say(SKIPPED, "several evaluation sets", NULL);
    if (!d || names->count != graft_dataset_count(d)) return say(DIFFERENT, "the number of samples", NULL);
    graft_error err = GRAFT_ERROR_INIT;
    int64_t i = 0;
    for (const graft_json *n = names->child; n; n = n->next, i++) {
        const graft_sample s = graft_dataset_at(d, i);
        graft_str text;
        graft_str_init(&text, 0);
        ck_assert_ok(graft_tokenizer_decode(tok, s.ids, (size_t)s.n, 0, &text, &err));
        const int same = text.bytes > n->bytes && !memcmp(text.data, n->text, n->bytes) && !strncmp(text.data + n->bytes, "ok ", 3);
        graft_str_free(&text);
        if (!same) return say(DIFFERENT, "the order: first difference where there should be ", n->text);
    }
    return say(SAME, "", NULL);
}

static outcome rows_check(graft_arena *a, const char *text, size_t bytes, const graft_dataset *d)
{
    graft_error err = GRAFT_ERROR_INIT;
    outcome o = say(SAME, "", NULL);
    const char *end = text + bytes;
    for (const char *p = memchr(text, '\n', bytes); p && p + 1 < end && o.verdict == SAME; p = memchr(p + 1, '\n', (size_t)(end - p - 1))) {
        const char *stop = memchr(p + 1, '\n', (size_t)(end - p - 1));
        const graft_json *row;
        ck_assert_ok(graft_json_parse(a, "row", p + 1, (size_t)((stop ? stop : end) - p - 1), 0, &row, &err));
        if (graft_json_get(row, "input_ids")) o = row_check(row, d);
    }
    return o;
}

/* ---- one case ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct parts {
    graft_registry *registry;
    graft_tokenizer *tok;
    graft_template *t;
    graft_dataset *train, *eval;
} parts;

static outcome failure(const graft_error *err)
{
    char line[900];
    graft_error_text(err, line, sizeof line);
    const int unbuilt = err->code == GRAFT_UNSUPPORTED || strncmp(err->message, "No format is named", 18) == 0;
    return say(unbuilt ? SKIPPED : DIFFERENT, line, NULL);
}

static outcome load(const ground *g, const graft_json *yaml, parts *p, graft_dataset_report *report)
{
    graft_error err = GRAFT_ERROR_INIT;
    char path[9000];
    const char *model = text_at(yaml, "model_name_or_path", ""), *dir = text_at(yaml, "dataset_dir", "");
    snprintf(path, sizeof path, "%s/%s", g->tokenizers, graft_path_base(model));
    if (!graft_path_exists(path)) return say(SKIPPED, "its tokenizer is not here: ", graft_path_base(model));
    if (graft_tokenizer_open(path, &p->tok, &err)) return failure(&err);
    const graft_registry_options ro = {.shipped = g->registry, .extra = g->formats, .dataset_dir = !strcmp(dir, "datasets") ? g->datasets : g->data};
    if (graft_registry_open(&ro, &p->registry, &err)) return failure(&err);
    if (graft_template_open(g->templates, text_at(yaml, "template", ""), &p->t, &err)) return failure(&err);
    if (graft_json_get(yaml, "tool_format") && graft_template_use_tools(p->t, text_at(yaml, "tool_format", ""), &err)) return failure(&err);
    if (add_tokens(p->tok, text_at(yaml, "add_special_tokens", ""), &err) || graft_template_fit(p->t, p->tok, &err)) return failure(&err);
    const graft_json *thinking = graft_json_get(yaml, "enable_thinking"), *val = graft_json_get(yaml, "val_size");
    const graft_dataset_options o = {.names = text_at(yaml, "dataset", ""),
                                     .dataset_dir = ro.dataset_dir,
                                     .cutoff_len = int_at(yaml, "cutoff_len", 2048),
                                     .max_samples = int_at(yaml, "max_samples", 0),
                                     .train_on_prompt = (int)int_at(yaml, "train_on_prompt", 0),
                                     .mask_history = (int)int_at(yaml, "mask_history", 0),
                                     .val_size = val ? val->number : 0,
                                     .seed = (uint64_t)int_at(yaml, "seed", 42),
                                     .pretrain = !strcmp(text_at(yaml, "stage", ""), "pt"),
                                     .packing = int_at(yaml, "neat_packing", 0)   ? GRAFT_PACKING_NEAT
                                                : int_at(yaml, "packing", -1) < 0 ? GRAFT_PACKING_UNSAID
                                                : int_at(yaml, "packing", 0)      ? GRAFT_PACKING_ON
                                                                                  : GRAFT_PACKING_OFF,
                                     .preprocessing_batch_size = int_at(yaml, "preprocessing_batch_size", 0),
                                     .mix_strategy = text_at(yaml, "mix_strategy", NULL),
                                     .interleave_probs = text_at(yaml, "interleave_probs", NULL),
                                     .default_system = text_at(yaml, "default_system", NULL),
                                     .today = "26 Jul 2024", /* when the fixtures were made, as far as their clock knew */
                                     .thinking = !thinking ? GRAFT_THINKING_TRUE : thinking->type == GRAFT_JSON_NULL ? GRAFT_THINKING_NULL
                                                                               : thinking->integer                   ? GRAFT_THINKING_TRUE
                                                                                                                     : GRAFT_THINKING_FALSE,
                                     .preserve_thinking = (int)int_at(yaml, "preserve_thinking", 0),
                                     .split_special_tokens = (int)int_at(yaml, "split_special_tokens", 0)};
    if (graft_dataset_load(p->registry, &o, p->t, p->tok, &p->train, &p->eval, report, &err)) return failure(&err);
    if (graft_json_get(yaml, "eval_dataset")) {
        graft_dataset_options e = o;
        graft_dataset *none = NULL;
        graft_dataset_report ignored;
        e.names = text_at(yaml, "eval_dataset", "");
        if (graft_dataset_load(p->registry, &e, p->t, p->tok, &p->eval, &none, &ignored, &err)) return failure(&err);
    }
    return say(SAME, "", NULL);
}

static outcome run_case(const ground *g, const char *path)
{
    graft_error err = GRAFT_ERROR_INIT;
    char *text = NULL;
    size_t bytes = 0, used = 0;
    const graft_json *first = NULL;
    parts p = {0};
    graft_dataset_report report;
    graft_arena *a = graft_arena_new();
    ck_assert_ok(graft_file_read(path, 1 << 26, &text, &bytes, &err));
    ck_assert_ok(graft_json_parse_prefix(a, path, text, bytes, 1, 0, &first, &used, &err));
    const graft_json *head = graft_json_get(first, "head"), *yaml = graft_json_get(head, "yaml");
    outcome o = !yaml ? say(SKIPPED, "no case of the pipeline", NULL) : unknown_key(yaml) ? say(SKIPPED, "not built yet: ", unknown_key(yaml))
                                                                                          : say(SAME, "", NULL);
    if (o.verdict == SAME) o = load(g, yaml, &p, &report);
    if (yaml && graft_json_get(head, "error")) {
        if (o.verdict == SAME) o = say(DIFFERENT, "LLaMA-Factory stops with an error here", NULL);
        else if (o.verdict == DIFFERENT) o = say(SAME, "", NULL);
    } else if (o.verdict == SAME) {
        o = tokenizer_check(graft_json_get(head, "tokenizer"), p.tok, p.t);
        if (o.verdict == SAME && int_at(head, "samples", -1) != graft_dataset_count(p.train)) o = say(DIFFERENT, "the number of samples", NULL);
        if (o.verdict == SAME && int_at(head, "dropped", 0) != report.dropped) o = say(DIFFERENT, "the number of dropped records", NULL);
        if (o.verdict == SAME) o = order_check(graft_json_get(head, "order"), p.train, p.tok);
        if (o.verdict == SAME) o = order_check(graft_json_get(head, "eval_order"), p.eval, p.tok);
        if (o.verdict == SAME) o = rows_check(a, text, bytes, p.train);
    }
    graft_dataset_free(p.train);
    graft_dataset_free(p.eval);
    graft_template_close(p.t);
    graft_tokenizer_close(p.tok);
    graft_registry_close(p.registry);
    graft_arena_free(a);
    graft_free(text);
    return o;
}

static int listed(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, list[i])) return 1;
    return 0;
}

static void run_folder(const ground *g, const char *dir, int shared)
{
    graft_error err = GRAFT_ERROR_INIT;
    char **names, name[300], path[8200];
    size_t n, count[3] = {0}, bad = 0, needed = sizeof must_pass / sizeof *must_pass + (shared ? sizeof must_pass_shared / sizeof *must_pass_shared : 0);
    ck_assert_ok(graft_dir_list(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++) {
        const size_t k = strlen(names[i]);
        if (k < 7 || strcmp(names[i] + k - 6, ".jsonl")) continue;
        snprintf(name, sizeof name, "%.*s", (int)(k - 6), names[i]);
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        const outcome o = run_case(g, path);
        const int must = listed(name, must_pass, sizeof must_pass / sizeof *must_pass) || (shared && listed(name, must_pass_shared, sizeof must_pass_shared / sizeof *must_pass_shared));
        count[o.verdict]++;
        needed -= must && o.verdict == SAME;
        bad += o.verdict == DIFFERENT || (must && o.verdict == SKIPPED);
        printf("%s %s%s%s\n", o.verdict == SAME ? "same     " : o.verdict == DIFFERENT ? "DIFFERENT"
                                                                                       : "skipped  ",
               name, *o.why ? ": " : "", o.why);
    }
    graft_dir_list_free(names, n);
    printf("%s: %zu same, %zu different, %zu skipped\n", dir, count[SAME], count[DIFFERENT], count[SKIPPED]);
    ck_assert_msg(!bad, "%zu cases differ or were skipped and may not be", bad);
    ck_assert_msg(!needed, "%zu cases that must pass are not in %s", needed, dir);
}

/* A layer with every format of the build, whether or not the shipped registry names it. */
static const char *formats_layer(void)
{
    static const char *const names[] = {"alpaca", "sharegpt", "openai"};
    static char path[4200];
    graft_error err = GRAFT_ERROR_INIT;
    graft_str text;
    graft_str_init(&text, 0);
    graft_str_text(&text, "{\"formats\": {");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) graft_str_printf(&text, "%s\"%s\": {\"file_name\": \"%s.so\"}", i ? ", " : "", names[i], names[i]);
    graft_str_text(&text, "}}\n");
    snprintf(path, sizeof path, "%s/lib/graft/test-formats.json", GRAFT_BINARY_DIR);
    ck_assert_ok(graft_file_replace(path, text.data, text.bytes, &err));
    graft_str_free(&text);
    return path;
}

static ground ground_of(const char *tokenizers, const char *datasets, const char *data)
{
    ground g;
    snprintf(g.tokenizers, sizeof g.tokenizers, "%s", tokenizers);
    snprintf(g.datasets, sizeof g.datasets, "%s", datasets);
    snprintf(g.data, sizeof g.data, "%s", data);
    snprintf(g.templates, sizeof g.templates, "%s/formats/templates", GRAFT_SOURCE_DIR);
    snprintf(g.registry, sizeof g.registry, "%s/lib/graft/registry.json", GRAFT_BINARY_DIR);
    snprintf(g.formats, sizeof g.formats, "%s", formats_layer());
    return g;
}

START_TEST(fixtures)
{
    const ground g = ground_of(graft_test_fixture("tokenizers"), graft_test_fixture("datasets"), graft_test_fixture("samples/data"));
    run_folder(&g, graft_test_fixture("samples"), 0);
}
END_TEST

START_TEST(shared)
{
    const char *dir = graft_test_shared("golden/samples");
    if (!dir) {
        printf("skipped: golden/samples is not here\n");
        return;
    }
    const ground g = ground_of(graft_test_shared("tokenizers"), graft_test_shared("datasets"), graft_test_shared("golden/samples/data"));
    run_folder(&g, dir, 1);
}
END_TEST

START_TEST(seqlen)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    const graft_json *root;
    ck_assert_ok(graft_json_parse_file(a, graft_test_fixture("samples/infer_seqlen.json"), 1 << 24, 0, &root, &err));
    int64_t rows = 0;
    for (const graft_json *r = graft_json_get(root, "rows")->child; r; r = r->next, rows++) {
        int64_t v[5], k = 0, s, t;
        for (const graft_json *e = r->child; e; e = e->next) v[k++] = e->integer;
        graft_infer_seqlen(v[0], v[1], v[2], &s, &t);
        ck_assert_msg(s == v[3] && t == v[4], "(%lld, %lld, %lld) gives (%lld, %lld)", (long long)v[0], (long long)v[1], (long long)v[2], (long long)s, (long long)t);
    }
    ck_assert_int_gt(rows, 20);
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, fixtures);
    tcase_add_test(tc, shared);
    tcase_add_test(tc, seqlen);
}

int main(void) { return graft_test_main("samples", cases); }
