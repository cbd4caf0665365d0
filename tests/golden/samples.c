/* tests/golden/samples.c - one case of samples/CASE.jsonl: the data pipeline with the arguments of head.yaml against the samples that LLaMA-Factory made.
 *
 * Compared: the ids of the tokenizer after the template was applied, the number of samples and of dropped records, the order of the numbered sets, and of
 * each row ids, labels, attention and positions (of both sides in preference rows). Where LLaMA-Factory stops with an error, this build has to refuse too. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/data/dataset.h"

#include <stdio.h>
#include <string.h>

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

/* A path of the arguments: relative to --data, or to the nearest folder above the case that has it. NULL: nowhere. */
static char *found(const golden_session *s, const char *file, const char *path)
{
    static const char *const up[] = {"", "/..", "/../..", "/../../.."};
    const char *base = graft_path_base(file);
    char dir[4200], all[8400];
    snprintf(dir, sizeof dir, "%.*s", (int)(base > file ? base - file - 1 : 1), base > file ? file : ".");
    const char *const inner = strncmp(path, "golden/", 7) ? path : path + 7;
    for (size_t i = 0; i < 2 * (sizeof up / sizeof *up + 1); i++) {
        const char *p = i % 2 ? inner : path;
        if (i / 2 == 0 && !s->data) continue;
        if (i / 2 == 0) snprintf(all, sizeof all, "%s/%s", s->data, p);
        else snprintf(all, sizeof all, "%s%s/%s", dir, up[i / 2 - 1], p);
        if (graft_path_exists(all)) return graft_path_join(all, "");
    }
    return NULL;
}

/* A key of the arguments that this driver does not act on, or NULL. */
static const char *unknown_key(const graft_json *yaml)
{
    static const char *const known[] = {"stage", "do_train", "model_name_or_path", "dataset_dir", "dataset", "output_dir", "overwrite_cache", "template", "cutoff_len", "max_samples", "enable_thinking", "add_special_tokens",
                                        "mask_history", "val_size", "seed", "default_system", "split_special_tokens", "preserve_thinking", "train_on_prompt", "preprocessing_batch_size", "preprocessing_num_workers",
                                        "tool_format", "packing", "neat_packing", "mix_strategy", "interleave_probs", "eval_dataset", "eval_on_each_dataset"};
    for (const graft_json *m = yaml->child; m; m = m->next) {
        int is = 0;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) is |= !strcmp(m->key, known[i]);
        if (!is) return m->key;
    }
    return NULL;
}

/* ---- one load ----------------------------------------------------------------------------------------------------------------------------- */

typedef struct parts {
    graft_registry *registry;
    graft_tokenizer *tok;
    graft_template *t;
    graft_dataset *train, *eval;
    graft_dataset_report report;
} parts;

static graft_status add_tokens(graft_tokenizer *tok, const char *list, graft_error *err)
{
    char word[200];
    for (const char *p = list; *p; p += *p == ',') {
        const size_t n = strcspn(p, ",");
        int32_t id;
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        if (graft_tokenizer_add_special(tok, word, &id, err)) return err->code;
        p += n;
    }
    return GRAFT_OK;
}

static graft_dataset_options options_of(const graft_json *yaml)
{
    const graft_json *thinking = graft_json_get(yaml, "enable_thinking"), *val = graft_json_get(yaml, "val_size");
    const char *stage = text_at(yaml, "stage", "sft");
    graft_dataset_options o = {.names = text_at(yaml, "dataset", ""),
                               .cutoff_len = int_at(yaml, "cutoff_len", 2048),
                               .max_samples = int_at(yaml, "max_samples", 0),
                               .train_on_prompt = (int)int_at(yaml, "train_on_prompt", 0),
                               .mask_history = (int)int_at(yaml, "mask_history", 0),
                               .val_size = val ? val->number : 0,
                               .seed = (uint64_t)int_at(yaml, "seed", 42),
                               .pretrain = !strcmp(stage, "pt"),
                               .preprocessing_batch_size = int_at(yaml, "preprocessing_batch_size", 0),
                               .preprocessing_workers = int_at(yaml, "preprocessing_num_workers", 0),
                               .mix_strategy = text_at(yaml, "mix_strategy", NULL),
                               .interleave_probs = text_at(yaml, "interleave_probs", NULL),
                               .default_system = text_at(yaml, "default_system", NULL),
                               .preserve_thinking = (int)int_at(yaml, "preserve_thinking", 0),
                               .split_special_tokens = (int)int_at(yaml, "split_special_tokens", 0),
                               .today = "26 Jul 2024"}; /* when the stored samples were made, as far as their clock knew */
    if (!strcmp(stage, "rm") || !strcmp(stage, "dpo")) o.preference = GRAFT_PREFERENCE_PAIRS;
    if (!strcmp(stage, "kto")) o.preference = GRAFT_PREFERENCE_LABELS;
    if (thinking) o.thinking = thinking->type == GRAFT_JSON_NULL ? GRAFT_THINKING_NULL : thinking->integer ? GRAFT_THINKING_TRUE
                                                                                                           : GRAFT_THINKING_FALSE;
    if (int_at(yaml, "neat_packing", 0)) o.packing = GRAFT_PACKING_NEAT;
    else if (int_at(yaml, "packing", -1) >= 0) o.packing = int_at(yaml, "packing", 0) ? GRAFT_PACKING_ON : GRAFT_PACKING_OFF;
    return o;
}

static graft_status load(const char *model, const char *dataset_dir, const graft_json *yaml, parts *p, graft_error *err)
{
    char shipped[4200];
    snprintf(shipped, sizeof shipped, "%s/lib/graft/registry.json", GRAFT_BINARY_DIR);
    const graft_registry_options ro = {.shipped = shipped, .dataset_dir = dataset_dir};
    if (graft_tokenizer_open(model, &p->tok, err) || graft_registry_open(&ro, &p->registry, err)) return err->code;
    const char *template = text_at(yaml, "template", NULL);
    if (template ? graft_template_open(GRAFT_SOURCE_DIR "/formats/templates", template, &p->t, err) : graft_template_of_tokenizer(GRAFT_SOURCE_DIR "/formats/templates", p->tok, &p->t, err)) return err->code;
    if (graft_json_get(yaml, "tool_format") && graft_template_use_tools(p->t, text_at(yaml, "tool_format", ""), err)) return err->code;
    if (add_tokens(p->tok, text_at(yaml, "add_special_tokens", ""), err) || graft_template_fit(p->t, p->tok, err)) return err->code;
    const graft_dataset_options o = options_of(yaml);
    return graft_dataset_load(p->registry, &o, p->t, p->tok, &p->train, &p->eval, &p->report, err);
}

/* eval_dataset, or one set of it when they are evaluated each by itself. */
static graft_status load_eval(parts *p, const graft_json *yaml, const char *names, graft_error *err)
{
    graft_dataset_options o = options_of(yaml);
    graft_dataset *none = NULL;
    graft_dataset_report ignored;
    graft_dataset_free(p->eval);
    p->eval = NULL;
    o.names = names, o.val_size = 0;
    const graft_status status = graft_dataset_load(p->registry, &o, p->t, p->tok, &p->eval, &none, &ignored, err);
    graft_dataset_free(none);
    return status;
}

/* ---- the tokenizer as the case has it --------------------------------------------------------------------------------------------------------- */

static int tokenizer_same(const graft_json *want, const graft_tokenizer *tok, const graft_template *t)
{
    graft_arena *a = graft_arena_new();
    size_t n = 0, wanted = 0;
    int same = int_at(want, "bos", -1) == graft_tokenizer_bos(tok) && int_at(want, "eos", -1) == graft_tokenizer_eos(tok) && int_at(want, "pad", -1) == graft_tokenizer_pad(tok) &&
               int_at(want, "size", -1) == graft_tokenizer_size(tok);
    const int32_t *stops = graft_template_stops(t, tok, a, &n);
    for (const graft_json *s = graft_json_get(want, "stop_ids")->child; s; s = s->next, wanted++) {
        int there = 0;
        for (size_t i = 0; i < n; i++) there |= stops[i] == s->integer;
        same &= there;
    }
    const graft_json *added = graft_json_get(want, "added");
    for (const graft_json *x = added && added->type == GRAFT_JSON_OBJECT ? added->child : NULL; x; x = x->next) same &= graft_tokenizer_id(tok, x->key) == x->integer;
    graft_arena_free(a);
    return same && wanted == n;
}

/* ---- rows: runs of labels, positions and attention of a part of a sample -------------------------------------------------------------------------- */

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

static int ids_same(const graft_json *want, const graft_sample *s, const char *row)
{
    int64_t at = 0;
    for (const graft_json *id = want->child; id; id = id->next, at++)
        if (at >= s->n || s->ids[at] != id->integer) {
            golden_fail("ids", "row %s: %s[%lld] should be %lld and is %d", row, want->key, (long long)at, (long long)id->integer, at < s->n ? s->ids[at] : -1);
            return 0;
        }
    if (at != s->n) golden_fail("ids", "row %s: %s should be %lld and are %lld", row, want->key, (long long)at, (long long)s->n);
    return at == s->n;
}

/* Members "<prefix>input_ids", "<prefix>labels" ... of a row. */
static void part_check(const graft_json *row, const char *prefix, const graft_sample *s, const char *name)
{
    char key[64];
    const graft_json *v;
    snprintf(key, sizeof key, "%sinput_ids", prefix);
    if ((v = graft_json_get(row, key))) golden_equal("ids", ids_same(v, s, name));
    snprintf(key, sizeof key, "%slabels", prefix);
    if ((v = graft_json_get(row, key))) golden_equal("labels", labels_same(v, s));
    snprintf(key, sizeof key, "%sposition", prefix);
    if ((v = graft_json_get(row, key))) golden_equal("positions", positions_same(v, s));
    snprintf(key, sizeof key, "%sattention", prefix);
    if ((v = graft_json_get(row, key))) golden_equal("attention", attention_same(v, s));
}

static void row_check(const graft_json *row, const graft_dataset *d)
{
    static const char *const prefixes[2][2] = {{"chosen_", "rejected_"}, {"", "kl_"}};
    const int64_t i = int_at(row, "i", -1);
    char name[32];
    snprintf(name, sizeof name, "%lld", (long long)i);
    if (i < 0 || i >= graft_dataset_count(d)) {
        golden_fail("rows", "row %s is missing", name);
        return;
    }
    const graft_sample s = graft_dataset_at(d, i);
    const int pair = graft_json_get(row, "chosen_input_ids") != NULL, labelled = graft_json_get(row, "kto_tag") != NULL;
    if (!pair && !labelled) {
        part_check(row, "", &s, name);
        return;
    }
    golden_equal("parts", s.parts == 2 && s.positions && s.part_ends[1] == s.n);
    if (s.parts != 2) return;
    if (labelled) golden_equal("kto_tag", s.desirable == int_at(row, "kto_tag", -1));
    for (int k = 0; k < 2; k++) {
        const int64_t from = k ? s.part_ends[0] : 0;
        const graft_sample part = {.n = s.part_ends[k] - from, .ids = s.ids + from, .labels = s.labels + from, .positions = s.positions + from};
        int restarts = 1;
        for (int64_t at = 0; at < part.n; at++) restarts &= part.positions[at] == at;
        golden_equal("positions", restarts);
        part_check(row, prefixes[labelled][k], &part, name);
    }
}

static void rows_check(const char *file, const char *text, size_t bytes, const graft_dataset *d)
{
    graft_error err = GRAFT_ERROR_INIT;
    const char *end = text + bytes;
    for (const char *p = memchr(text, '\n', bytes); p && p + 1 < end; p = memchr(p + 1, '\n', (size_t)(end - p - 1))) {
        const char *stop = memchr(p + 1, '\n', (size_t)(end - p - 1));
        const graft_json *row = NULL;
        graft_arena *a = graft_arena_new();
        if (graft_json_parse(a, file, p + 1, (size_t)((stop ? stop : end) - p - 1), 0, &row, &err)) golden_error("read", &err);
        else if (graft_json_get(row, "i")) row_check(row, d);
        graft_arena_free(a);
    }
}

/* Samples of the numbered sets read "a7ok a7": their names are what stands before the "ok". */
static void order_check(const char *what, const graft_json *names, const graft_dataset *d, const graft_tokenizer *tok)
{
    graft_error err = GRAFT_ERROR_INIT;
    int64_t i = 0;
    if (!names) return;
    golden_equal(what, d && names->count == graft_dataset_count(d));
    for (const graft_json *n = names->child; n && d && i < graft_dataset_count(d); n = n->next, i++) {
        const graft_sample s = graft_dataset_at(d, i);
        graft_str text;
        graft_str_init(&text, 0);
        if (graft_tokenizer_decode(tok, s.ids, (size_t)s.n, 0, &text, &err)) golden_error(what, &err);
        else golden_equal(what, text.bytes > n->bytes && !memcmp(text.data, n->text, n->bytes) && !strncmp(text.data + n->bytes, "ok ", 3));
        graft_str_free(&text);
    }
}

/* ---- one case ---------------------------------------------------------------------------------------------------------------------------------------- */

static graft_status evaluations(parts *p, const graft_json *head, const graft_json *yaml, graft_error *err)
{
    const graft_json *order = graft_json_get(head, "eval_order");
    const char *names = text_at(yaml, "eval_dataset", NULL);
    if (!int_at(yaml, "eval_on_each_dataset", 0)) {
        if (names && load_eval(p, yaml, names, err)) return err->code;
        order_check("eval order", order, p->eval, p->tok);
        return GRAFT_OK;
    }
    for (const graft_json *o = order ? order->child : NULL; o; o = o->next) {
        if (load_eval(p, yaml, o->key, err)) return err->code;
        order_check("eval order", o, p->eval, p->tok);
    }
    return GRAFT_OK;
}

static void run_case(const char *file, const char *text, size_t bytes, const graft_json *head, const char *model, const char *dataset_dir)
{
    const graft_json *yaml = graft_json_get(head, "yaml");
    const char *stops = text_at(head, "error", NULL);
    graft_error err = GRAFT_ERROR_INIT;
    parts p = {0};
    golden_case(file);
    graft_status status = load(model, dataset_dir, yaml, &p, &err);
    if (status == GRAFT_UNSUPPORTED && !stops) golden_skip("%s: %s: %s", file, err.where, err.message);
    else if (stops) golden_equal("refused", status != GRAFT_OK);
    else if (status) golden_error("load", &err);
    else {
        golden_equal("tokenizer", tokenizer_same(graft_json_get(head, "tokenizer"), p.tok, p.t));
        golden_equal("samples", int_at(head, "samples", -1) == graft_dataset_count(p.train));
        golden_equal("dropped", int_at(head, "dropped", 0) == p.report.dropped);
        order_check("order", graft_json_get(head, "order"), p.train, p.tok);
        rows_check(file, text, bytes, p.train);
        if (evaluations(&p, head, yaml, &err)) golden_error("evaluation", &err);
    }
    graft_dataset_free(p.train);
    graft_dataset_free(p.eval);
    graft_template_close(p.t);
    graft_tokenizer_close(p.tok);
    graft_registry_close(p.registry);
}

int golden_samples(golden_session *s, const char *file)
{
    graft_error err = GRAFT_ERROR_INIT;
    char *text = NULL;
    size_t bytes = 0, used = 0;
    const graft_json *first = NULL;
    graft_arena *a = graft_arena_new();
    graft_status status = graft_file_read(file, 1 << 28, &text, &bytes, &err);
    if (!status) status = graft_json_parse_prefix(a, file, text, bytes, 1, 0, &first, &used, &err);
    const graft_json *head = status ? NULL : graft_json_get(first, "head"), *yaml = graft_json_get(head, "yaml");
    if (yaml) {
        char *model = found(s, file, text_at(yaml, "model_name_or_path", "")), *dir = found(s, file, text_at(yaml, "dataset_dir", "data"));
        const char *key = unknown_key(yaml), *error = text_at(head, "error", NULL);
        if (!model) golden_skip("%s: %s is not here (--data FOLDER)", file, text_at(yaml, "model_name_or_path", "the tokenizer"));
        else if (!dir) golden_skip("%s: the folder %s is not here (--data FOLDER)", file, text_at(yaml, "dataset_dir", "data"));
        else if (key) golden_skip("%s: the driver does not act on %s", file, key);
        else if (error && strstr(error, "rocessor")) golden_skip("%s: there an image processor is demanded for text, here none is needed", file);
        else run_case(file, text, bytes, head, model, dir);
        graft_free(model);
        graft_free(dir);
    }
    graft_arena_free(a);
    graft_free(text);
    return yaml != NULL;
}
