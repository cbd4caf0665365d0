/* tests/golden/data.c - the layouts of the data pipeline: samples/ and template/ (their own files), and the pure functions beside them: truncation, bins,
 * schedules, batches, random draws. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/base/str.h"
#include "core/data/batch.h"
#include "core/data/pack.h"
#include "core/train/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t *numbers_of(graft_arena *a, const graft_json *list, int64_t *n)
{
    int64_t *v = graft_arena_alloc(a, ((size_t)list->count + 1) * sizeof *v);
    *n = 0;
    for (const graft_json *e = list->child; v && e; e = e->next) v[(*n)++] = e->integer;
    return v;
}

static void check_seqlen(graft_arena *a, const graft_json *root)
{
    for (const graft_json *r = graft_json_get(root, "rows")->child; r; r = r->next) {
        int64_t n, s, t, *v = numbers_of(a, r, &n);
        graft_infer_seqlen(v[0], v[1], v[2], &s, &t);
        golden_equal("kept", s == v[3] && t == v[4]);
    }
}

static void check_bins(graft_arena *a, const graft_json *root)
{
    for (const graft_json *r = graft_json_get(root, "rows")->child; r; r = r->next) {
        int64_t n, at = 0, bin = 0, *lengths = numbers_of(a, graft_json_get(r, "lengths"), &n);
        int64_t *order = graft_arena_alloc(a, ((size_t)n + 1) * sizeof *order), *ends = graft_arena_alloc(a, ((size_t)n + 1) * sizeof *ends);
        const int64_t bins = graft_pack_bins(lengths, n, graft_json_get(r, "capacity")->integer, order, ends);
        golden_equal("bins", bins == graft_json_get(r, "bins")->count);
        for (const graft_json *b = graft_json_get(r, "bins")->child; b && bin < bins; b = b->next, bin++) {
            for (const graft_json *length = b->child; length; length = length->next, at++) golden_equal("lengths", at < n && lengths[order[at]] == length->integer);
            golden_equal("bin ends", ends[bin] == at);
        }
    }
}

/* "cosine_with_min_lr {min_lr: 0.25, num_cycles: 1.0}": a name and options. */
static graft_status schedule_named(graft_arena *a, const char *text, int64_t warmup, int64_t total, graft_schedule *s, graft_error *err)
{
    char name[64], key[64];
    const size_t n = strcspn(text, " ");
    graft_json *options = graft_json_new(a, GRAFT_JSON_OBJECT);
    snprintf(name, sizeof name, "%.*s", (int)n, text);
    for (const char *p = text[n] ? text + n + 2 : ""; *p && *p != '}';) {
        const size_t k = strcspn(p, ":");
        char *end;
        snprintf(key, sizeof key, "%.*s", (int)k, p);
        graft_json_put(a, options, key, graft_json_real(a, strtod(p + k + 1, &end)));
        p = end + strspn(end, ", ");
    }
    return graft_schedule_new(s, name, 1.0, warmup, total, options, err);
}

static void check_factors(graft_arena *a, const graft_json *root)
{
    for (const graft_json *t = graft_json_get(root, "tables")->child; t; t = t->next)
        for (const graft_json *f = graft_json_get(t, "factors")->child; f; f = f->next) {
            graft_error err = GRAFT_ERROR_INIT;
            graft_schedule s;
            int64_t step = 0;
            if (schedule_named(a, f->key, graft_json_get(t, "warmup")->integer, graft_json_get(t, "total")->integer, &s, &err)) {
                golden_error(f->key, &err);
                continue;
            }
            for (const graft_json *x = f->child; x; x = x->next, step++) golden_check(f->key, fabs(graft_schedule_rate(&s, step) - x->number), 1e-12);
        }
}

/* ---- rng.json ------------------------------------------------------------------------------------------------------------------------------- */

static void order_same(const char *what, const graft_json *want, const int64_t *have)
{
    int64_t i = 0;
    for (const graft_json *w = want ? want->child : NULL; w; w = w->next, i++) golden_equal(what, have[i] == w->integer);
}

static void check_seed(graft_arena *a, const graft_json *seed, int64_t n, const graft_json *probabilities)
{
    const uint64_t s = (uint64_t)strtoull(seed->key, NULL, 10);
    int64_t *order = graft_arena_alloc(a, ((size_t)n + 64) * sizeof *order), i = 0;
    graft_mt19937 mt;
    graft_pcg64 pcg;
    graft_mt19937_seed(&mt, s);
    for (const graft_json *w = graft_json_get(seed, "mt19937_first_uint32")->child; w; w = w->next) golden_equal("mt19937", (int64_t)graft_mt19937_next(&mt) == w->integer);
    graft_pcg64_seed(&pcg, s);
    for (const graft_json *w = graft_json_get(seed, "pcg64_first_uint64_as_text")->child; w; w = w->next)
        golden_equal("pcg64", graft_pcg64_double(&pcg) == (double)(strtoull(w->text, NULL, 10) >> 11) * 0x1p-53); /* its upper 53 bits */
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        graft_torch_randperm(s + epoch, n, order);
        order_same("shuffle", graft_json_get(seed, epoch ? "shuffle_epoch1" : "shuffle_epoch0"), order);
    }
    graft_numpy_permutation(s, n, order);
    order_same("val split", graft_json_get(seed, "val_split_permutation"), order);
    graft_mt19937_seed(&mt, s);
    graft_numpy_shuffled(&mt, n, order);
    order_same("num_samples", graft_json_get(seed, "num_samples_permutation"), order);
    for (const graft_json *w = graft_json_get(seed, "num_samples_then_choice_20")->child; w; w = w->next) golden_equal("num_samples beyond", graft_numpy_below(&mt, (uint32_t)n - 1) == w->integer);
    double until[16], sum = 0;
    for (const graft_json *p = probabilities->child; p && i < 16; p = p->next) until[i++] = sum += p->number;
    graft_pcg64_seed(&pcg, s);
    for (const graft_json *w = graft_json_get(seed, "interleave_sources_40")->child; w; w = w->next) {
        const double u = graft_pcg64_double(&pcg);
        int64_t k = 0;
        while (k < i - 1 && until[k] / sum <= u) k++;
        golden_equal("interleave", k == w->integer);
    }
}

static void check_draws(graft_arena *a, const graft_json *root)
{
    for (const graft_json *s = graft_json_get(root, "seeds")->child; s; s = s->next) check_seed(a, s, graft_json_get(root, "n")->integer, graft_json_get(root, "probs"));
}

/* ---- collate.jsonl: batches here have no padding, so what is compared is what stands before it ---------------------------------------------------- */

typedef struct feature {
    int32_t *ids, *labels, *positions, *ends;
    graft_sample s;
} feature;

static int32_t *row_of(graft_arena *a, const graft_json *list, int64_t *n)
{
    int64_t *v = list ? numbers_of(a, list, n) : NULL;
    int32_t *out = v ? graft_arena_alloc(a, ((size_t)*n + 1) * sizeof *out) : NULL;
    for (int64_t i = 0; out && i < *n; i++) out[i] = (int32_t)v[i];
    return out;
}

/* A sample from the members "<prefix>input_ids" ...; with attention numbers 1, 2 .. it has parts. pad: the label of a pretraining text that is none. */
static feature feature_of(graft_arena *a, const graft_json *f, const char *prefix, int32_t pad)
{
    char key[64];
    feature x = {0};
    int64_t n = 0, m = 0;
    snprintf(key, sizeof key, "%sinput_ids", prefix);
    x.ids = row_of(a, graft_json_get(f, key), &n);
    snprintf(key, sizeof key, "%slabels", prefix);
    x.labels = row_of(a, graft_json_get(f, key), &m);
    x.positions = row_of(a, graft_json_get(f, "position_ids"), &m);
    if (!x.labels) {
        x.labels = graft_arena_alloc(a, ((size_t)n + 1) * sizeof *x.labels);
        for (int64_t i = 0; i < n; i++) x.labels[i] = x.ids[i] == pad ? -100 : x.ids[i];
    }
    x.s = (graft_sample){.n = n, .ids = x.ids, .labels = x.labels, .positions = x.positions};
    snprintf(key, sizeof key, "%sattention_mask", prefix);
    const int32_t *mask = row_of(a, graft_json_get(f, key), &m);
    x.ends = graft_arena_alloc(a, ((size_t)n + 1) * sizeof *x.ends);
    for (int64_t i = 0; mask && i < n; i++)
        if (mask[i] > 1 || x.s.parts) { /* a second sequence: neat packing */
            if (!x.s.parts)
                for (x.s.parts = 1, x.ends[0] = (int32_t)i, x.s.part_ends = x.ends; 0;) continue;
            if (mask[i] && mask[i] == mask[i - 1] && x.s.parts == mask[i]) x.ends[x.s.parts - 1] = (int32_t)i + 1;
            else if (mask[i]) x.ends[x.s.parts++] = (int32_t)i + 1;
        }
    return x;
}

/* A row of the reference's batch against rows [from, from + n) of ours; what follows there is padding, which is not in ours. */
static void batch_row_same(const graft_batch *b, int64_t from, int64_t n, const graft_json *ids, const graft_json *labels)
{
    int64_t i = 0, labelled = 0;
    for (const graft_json *x = ids->child; x && i < n; x = x->next, i++) golden_equal("ids", b->ids[from + i] == x->integer);
    golden_equal("ids", i == n);
    i = 0;
    for (const graft_json *x = labels->child; x && i < n; x = x->next, i++) {
        int found = 0;
        for (int64_t k = 0; k < b->labelled; k++) found |= b->label_rows[k] == from + i - 1 && b->labels[k] == x->integer;
        if (i && x->integer != -100) golden_equal("labels", found), labelled++;
    }
    for (int64_t k = 0; k < b->labelled; k++) labelled -= b->label_rows[k] >= from && b->label_rows[k] < from + n;
    golden_equal("labels", labelled == 0);
}

/* Which earlier tokens a token sees: "oox.." rows of the 4-D mask, as far as there are sequences. */
static void mask_same(const graft_sample *s, const graft_json *rows)
{
    int64_t i = 0;
    for (const graft_json *r = rows->child; r && i < graft_sample_rows(s); r = r->next, i++) {
        int64_t from = 0;
        for (int64_t p = 0; p < s->parts && s->part_ends[p] <= i; p++) from = s->part_ends[p];
        for (int64_t k = 0; k < (int64_t)r->bytes; k++) golden_equal("attention", (r->text[k] == 'o') == (k >= from && k <= i));
    }
}

static void check_batch(graft_arena *a, const graft_json *row)
{
    static const char *const sides[] = {"", "chosen_", "rejected_", "kl_"};
    const graft_json *features = graft_json_get(row, "features"), *out = graft_json_get(row, "batch"), *mask = graft_json_get(out, "attention_mask");
    graft_error err = GRAFT_ERROR_INIT;
    graft_batch *b = NULL;
    if (graft_batch_new(&b, 4096, 256, &err)) {
        golden_error("batch", &err);
        return;
    }
    for (size_t side = 0; side < sizeof sides / sizeof *sides; side++) { /* chosen rows stand before rejected ones; kl rows in a batch of their own */
        const graft_json *ids = graft_json_get(out, side == 3 ? "kl_input_ids" : "input_ids"), *labels = graft_json_get(out, side == 3 ? "kl_labels" : "labels");
        const graft_json *id = ids ? ids->child : NULL, *label = labels ? labels->child : NULL;
        if (side == 2)
            for (int64_t k = 0; k < features->count && id; k++) id = id->next, label = label->next;
        for (const graft_json *f = features->child; f && id && label; f = f->next, id = id->next, label = label->next) {
            const feature x = feature_of(a, f, sides[side], 2);
            if (!x.ids) break;
            const int64_t from = b->tokens, counted = b->counted;
            golden_equal("fits", graft_batch_add(b, &x.s));
            batch_row_same(b, from, graft_sample_rows(&x.s), id, label);
            int64_t want = 0, at = 0;
            for (const graft_json *l = label->child; l && at < graft_sample_rows(&x.s); l = l->next, at++) want += l->integer != -100;
            golden_equal("denominator", b->counted - counted == want);
            if (x.s.parts && mask && mask->type == GRAFT_JSON_ARRAY && mask->child->child && mask->child->child->type == GRAFT_JSON_TEXT) mask_same(&x.s, mask->child);
        }
    }
    graft_batch_free(b);
}

static void check_collate(graft_arena *a, const char *file, const char *text, size_t bytes)
{
    graft_error err = GRAFT_ERROR_INIT;
    for (const char *p = text, *end = text + bytes; p < end;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        const size_t n = (size_t)((stop ? stop : end) - p);
        const graft_json *row = NULL, *note;
        if (n && graft_json_parse(a, file, p, n, 0, &row, &err)) golden_error("read", &err);
        else if (row && graft_json_get(row, "case")) {
            char title[4400];
            snprintf(title, sizeof title, "%s: %s", file, graft_json_get(row, "case")->text);
            golden_case(title);
            note = graft_json_get(row, "note");
            if (graft_json_is(graft_json_get(row, "case"), "sft_pad_label")) golden_skip("%s: %s (batches here have no padding)", title, note ? note->text : "");
            else check_batch(a, row);
        }
        p += n + 1;
    }
}

/* ---- files ------------------------------------------------------------------------------------------------------------------------------------------ */

static int ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static int data_file(golden_session *s, const char *file)
{
    static const struct {
        const char *name;
        void (*check)(graft_arena *a, const graft_json *root);
    } functions[] = {{"infer_seqlen.json", check_seqlen}, {"knapsack.json", check_bins}, {"lr_schedules.json", check_factors}, {"rng.json", check_draws}};
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    const graft_json *root = NULL;
    char *text = NULL;
    size_t bytes = 0;
    int is = 0;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(graft_path_base(file), functions[i].name)) continue;
        is = 1;
        golden_case(file);
        if (graft_json_parse_file(a, file, 1 << 26, 0, &root, &err)) golden_error("read", &err);
        else functions[i].check(a, root);
    }
    if (!strcmp(graft_path_base(file), "collate.jsonl")) {
        is = 1;
        if (graft_file_read(file, 1 << 26, &text, &bytes, &err)) golden_case(file), golden_error("read", &err);
        else check_collate(a, file, text, bytes);
        graft_free(text);
    }
    graft_arena_free(a);
    if (is) return 1;
    if (ends_with(file, ".jsonl")) return golden_samples(s, file);
    return ends_with(file, ".json") && *graft_path_base(file) != '_' && golden_template_file(file);
}

int golden_data(golden_session *s, const char *path)
{
    graft_error err = GRAFT_ERROR_INIT;
    char **names = NULL;
    size_t n = 0;
    int found = 0;
    if (!graft_path_is_dir(path)) return (ends_with(path, ".json") || ends_with(path, ".jsonl")) && graft_path_exists(path) && data_file(s, path);
    if (graft_dir_list(path, &names, &n, &err)) return 0;
    for (size_t i = 0; i < n; i++) {
        char *file = graft_path_join(path, names[i]);
        if (file && !graft_path_is_dir(file) && (ends_with(file, ".json") || ends_with(file, ".jsonl"))) found |= data_file(s, file);
        if (file && found && graft_path_is_dir(file)) golden_data(s, file); /* template/legacy, template/unseen */
        graft_free(file);
    }
    graft_dir_list_free(names, n);
    return found;
}
