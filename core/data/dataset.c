/* core/data/dataset.c - see dataset.h. Files are read record by record in blocks; a block is rendered and tokenised in parallel and appended in order.
 *
 * Order of things as LLaMA-Factory has it: every set is read, num_samples is drawn, max_samples cuts, sets are laid end to end, the val_size part is
 * drawn from all records (dropped ones have their place in the draw), then what cannot be learned from falls away and what is left is packed. */
#include "core/data/dataset.h"

#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/base/threads.h"
#include "core/data/pack.h"
#include "core/data/record.h"
#include "core/data/source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256,
       SETS_MAX = 1024 };

/* ---- the store: samples in arena memory, shared by the datasets cut from one load --------------------------------------------------- */

typedef struct store {
    graft_arena *arena;
    int refs;
} store;

struct graft_dataset {
    graft_sample *item;
    size_t n, room;
    store *owner;
};

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for the dataset"); }

static graft_dataset *dataset_on(store *owner)
{
    graft_dataset *d = graft_calloc(1, sizeof *d);
    if (d) d->owner = owner, owner->refs++;
    return d;
}

graft_dataset *graft_dataset_empty(void)
{
    store *s = graft_calloc(1, sizeof *s);
    if (s && (s->arena = graft_arena_new())) {
        graft_dataset *d = dataset_on(s);
        if (d) return d;
    }
    if (s) graft_arena_free(s->arena);
    graft_free(s);
    return NULL;
}

void graft_dataset_free(graft_dataset *d)
{
    if (!d) return;
    if (!--d->owner->refs) {
        graft_arena_free(d->owner->arena);
        graft_free(d->owner);
    }
    graft_free(d->item);
    graft_free(d);
}

int64_t graft_dataset_count(const graft_dataset *d) { return (int64_t)d->n; }
graft_sample graft_dataset_at(const graft_dataset *d, int64_t i) { return d->item[i]; }
const char *graft_dataset_keep(graft_dataset *d, const char *text) { return graft_arena_copy(d->owner->arena, text, strlen(text)); }

static graft_status sample_put(graft_dataset *d, graft_sample s, graft_error *err)
{
    if (graft_grow((void **)&d->item, &d->room, d->n + 1, sizeof *d->item)) return no_memory(err);
    d->item[d->n++] = s;
    return GRAFT_OK;
}

graft_status graft_dataset_add(graft_dataset *d, const int32_t *ids, const int32_t *labels, int64_t n, graft_error *err)
{
    int32_t *copy = n >= 0 && n < INT32_MAX ? graft_arena_alloc(d->owner->arena, (2 * (size_t)n + 1) * sizeof *copy) : NULL;
    if (!copy) return no_memory(err);
    if (n) memcpy(copy, ids, (size_t)n * sizeof *copy), memcpy(copy + n, labels, (size_t)n * sizeof *copy);
    return sample_put(d, (graft_sample){.n = n, .ids = copy, .labels = copy + n}, err);
}

/* ---- loading -------------------------------------------------------------------------------------------------------------------------- */

typedef struct load {
    const graft_registry *registry;
    const graft_dataset_options *o; /* as given */
    graft_dataset_options how;      /* for single samples: cutoff_len as packing leaves it */
    const graft_template *t;
    const graft_tokenizer *tok;
    graft_dataset *all; /* kept samples as read */
    int64_t *cut;       /* [all] tokens that the cutoff took */
    int64_t *records;   /* index into all, -1: dropped */
    size_t n_records, records_room, cut_room;
    int64_t set_size[SETS_MAX]; /* records of each set */
    int64_t sets;
    graft_dataset_report report;
    graft_mt19937 draws; /* numpy's global generator, for num_samples */
    graft_error *err;
    graft_record_copy block[BLOCK];
    graft_made made[BLOCK];
    int64_t n_block;
    graft_arena *arena; /* the block's texts */
} load;

static void make_one(void *ctx, int64_t i)
{
    load *l = ctx;
    if (l->o->preference) graft_preference_make(&l->block[i], &l->how, l->t, l->tok, &l->made[i]);
    else if (l->o->pretrain) graft_text_make(&l->block[i], &l->how, l->t, l->tok, &l->made[i]);
    else graft_sample_make(&l->block[i], &l->how, l->t, l->tok, &l->made[i]);
}

/* A record that is none: an error, or counted and skipped where that is asked for. */
static graft_status bad_record(load *l)
{
    if (!l->o->skip_bad_records || l->err->code != GRAFT_BAD_INPUT) return l->err->code;
    char sentence[1400];
    snprintf(sentence, sizeof sentence, "%s: %s", l->err->where, l->err->message);
    l->report.bad++;
    if (!l->report.first_bad) l->report.first_bad = graft_dataset_keep(l->all, sentence);
    *l->err = (graft_error)GRAFT_ERROR_INIT;
    return GRAFT_OK;
}

static graft_status append_one(load *l, int64_t i)
{
    graft_made *m = &l->made[i];
    if (m->status) {
        *l->err = m->err;
        if (!l->err->where[0]) snprintf(l->err->where, sizeof l->err->where, "%s", l->block[i].place);
        return bad_record(l);
    }
    if (graft_grow((void **)&l->records, &l->records_room, l->n_records + 1, sizeof *l->records)) return no_memory(l->err);
    l->records[l->n_records] = -1;
    char overlong[160];
    if (!m->dropped && m->cut && l->o->drop_overlong) {
        snprintf(overlong, sizeof overlong, "it has %lld tokens, cutoff_len is %lld", (long long)(m->n + m->cut), (long long)l->how.cutoff_len);
        m->dropped = overlong;
        l->report.overlong++;
    }
    if (m->dropped) {
        char sentence[600];
        snprintf(sentence, sizeof sentence, "%s: %s", l->block[i].place, m->dropped);
        if (!l->report.first_drop) l->report.first_drop = graft_dataset_keep(l->all, sentence);
    } else {
        if (graft_grow((void **)&l->cut, &l->cut_room, l->all->n + 1, sizeof *l->cut)) return no_memory(l->err);
        l->cut[l->all->n] = m->cut;
        l->records[l->n_records] = (int64_t)l->all->n;
        if (graft_dataset_add(l->all, m->ids, m->labels, m->n, l->err)) return l->err->code;
    }
    l->n_records++;
    return GRAFT_OK;
}

/* Renders and tokenises the block, appends it, empties it. */
static graft_status flush(load *l)
{
    graft_status status = GRAFT_OK;
    graft_parallel(l->n_block, make_one, l);
    for (int64_t i = 0; i < l->n_block; i++) {
        if (!status) status = append_one(l, i);
        graft_made_free(&l->made[i]);
    }
    l->n_block = 0;
    graft_arena_free(l->arena);
    l->arena = NULL;
    return status;
}

/* All records of an open stream until the set has `most`. */
static graft_status read_stream(load *l, const graft_format_table *table, void *stream, graft_source *source, size_t first, int64_t most)
{
    for (int end = 0;;) {
        if (most && (int64_t)(l->n_records - first) + l->n_block >= most) break;
        if (!l->arena && !(l->arena = graft_arena_new())) return no_memory(l->err);
        graft_record_copy *r = &l->block[l->n_block];
        graft_record_init(r, l->arena);
        const int64_t before = source->api->tell(source);
        if (table->next(stream, &r->base, &end, l->err)) {
            if (source->api->tell(source) == before || bad_record(l)) return l->err->code; /* no further record can be found there */
            continue;
        }
        if (end) break;
        const char *place = source->api->place(source);
        if (!(r->place = graft_arena_copy(l->arena, place, strlen(place)))) return no_memory(l->err);
        if (++l->n_block == BLOCK && flush(l)) return l->err->code;
    }
    return flush(l);
}

/* ---- which plugin reads a file -------------------------------------------------------------------------------------------------------------- */

static graft_status format_named(load *l, const char *name, const graft_loaded **out)
{
    const graft_entry *e;
    return graft_registry_need(l->registry, GRAFT_KIND_FORMAT, name, &e, l->err) ? l->err->code : graft_plugin_load(e, out, l->err);
}

/* No "formatting": the format that is surest about the file's first bytes. */
static graft_status format_sniffed(load *l, const char *path, const graft_source *source, const graft_loaded **out)
{
    const graft_entry *const *entries;
    const size_t n = graft_registry_list(l->registry, GRAFT_KIND_FORMAT, &entries);
    int best = 0;
    size_t bytes;
    const char *head = graft_source_head(source, &bytes);
    *out = NULL;
    for (size_t i = 0; i < n; i++) {
        const graft_loaded *p = NULL;
        graft_error why = GRAFT_ERROR_INIT;
        if (graft_plugin_load(entries[i], &p, &why)) { /* one that does not load takes no part */
            graft_log(GRAFT_LOG_WARNING, "format %s cannot be asked about %s: %s", entries[i]->name, path, why.message);
            continue;
        }
        const int sure = ((const graft_format_table *)p->table)->sniff(p->self, head, bytes, path);
        if (sure > best) best = sure, *out = p;
    }
    if (*out) return GRAFT_OK;
    if (!bytes) return graft_fail(l->err, GRAFT_BAD_INPUT, path, "the file is empty; expected a JSON list of records or one JSON object a line");
    return graft_fail(l->err, GRAFT_BAD_INPUT, path, "no dataset format of the registry knows this file; expected a JSON list of records or one JSON object a line");
}

static graft_status read_file(load *l, const char *path, const graft_json *entry, size_t first, int64_t most)
{
    const graft_json *formatting = graft_json_get(entry, "formatting");
    const graft_loaded *plugin = NULL;
    graft_source *source = NULL;
    void *stream = NULL;
    const graft_format_table *table = NULL;
    graft_arena *a = graft_arena_new();
    graft_status status = a ? graft_source_open(path, &source, l->err) : no_memory(l->err);
    if (status) goto out;
    status = formatting && formatting->type == GRAFT_JSON_TEXT ? format_named(l, formatting->text, &plugin) : format_sniffed(l, path, source, &plugin);
    if (status) goto out;
    table = plugin->table;
    const graft_config *config = graft_config_new(a, path, entry);
    status = config ? table->open(plugin->self, source, config, &stream, l->err) : no_memory(l->err);
    if (!status) status = graft_config_check(config, l->err);
    if (!status) status = read_stream(l, table, stream, source, first, most);
    if (!status && !graft_source_record(source)) status = graft_fail(l->err, GRAFT_BAD_INPUT, path, "the file has no records");
out:
    if (stream) table->close(stream);
    graft_source_close(source);
    graft_arena_free(a);
    graft_arena_free(l->arena);
    l->arena = NULL, l->n_block = 0;
    return status;
}

static int has_ending(const char *path, const char *ending)
{
    const size_t n = strlen(path), k = strlen(ending);
    return n >= k && !strcmp(path + n - k, ending);
}

static graft_status read_path(load *l, const char *path, const graft_json *entry, size_t first, int64_t most)
{
    static const char *const others[] = {".csv", ".parquet", ".arrow", ".gz", ".zst"};
    if (!graft_path_exists(path)) return graft_fail(l->err, GRAFT_BAD_INPUT, path, "the dataset's file does not exist; check file_name and dataset_dir");
    if (!graft_path_is_dir(path)) {
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            if (has_ending(path, others[i])) return graft_fail(l->err, GRAFT_UNSUPPORTED, path, "%s files are not read by this version; convert the file to .jsonl", others[i]);
        return read_file(l, path, entry, first, most);
    }
    char **names = NULL;
    size_t n = 0;
    graft_status status = graft_dir_list(path, &names, &n, l->err);
    if (!status && !n) status = graft_fail(l->err, GRAFT_BAD_INPUT, path, "the dataset's folder is empty");
    for (size_t i = 0; i < n && !status; i++) {
        char *file = graft_path_join(path, names[i]);
        if (!file) status = no_memory(l->err);
        else if (!graft_path_is_dir(file)) status = read_path(l, file, entry, first, most);
        graft_free(file);
    }
    graft_dir_list_free(names, n);
    return status;
}

/* ---- num_samples: numpy's global generator, seeded once, set after set ------------------------------------------------------------------------ */

static uint32_t draw_below(graft_mt19937 *g, uint32_t most) /* in [0, most], by masked rejection */
{
    uint32_t mask = most, v;
    for (int k = 1; k < 32; k *= 2) mask |= mask >> k;
    if (!most) return 0;
    while ((v = graft_mt19937_next(g) & mask) > most) continue;
    return v;
}

/* The records of one set, from `first` on, become exactly `want` of them: permutation()[:want], then choice() with replacement. */
static graft_status draw_samples(load *l, size_t first, int64_t want)
{
    const int64_t n = (int64_t)(l->n_records - first);
    if (n >= INT32_MAX || want >= INT32_MAX) return graft_fail(l->err, GRAFT_BAD_INPUT, NULL, "num_samples is out of range");
    int64_t *order = graft_calloc((size_t)n + 1, sizeof *order), *picked = graft_calloc((size_t)want + 1, sizeof *picked);
    graft_status status = order && picked ? GRAFT_OK : no_memory(l->err);
    if (!status && n) {
        for (int64_t i = 0; i < n; i++) order[i] = i;
        for (int64_t i = n - 1; i > 0; i--) {
            const int64_t j = draw_below(&l->draws, (uint32_t)i), swap = order[i];
            order[i] = order[j], order[j] = swap;
        }
        for (int64_t i = 0; i < want; i++) picked[i] = l->records[first + (size_t)(i < n ? order[i] : draw_below(&l->draws, (uint32_t)(n - 1)))];
        if (graft_grow((void **)&l->records, &l->records_room, first + (size_t)want, sizeof *l->records)) status = no_memory(l->err);
        else memcpy(l->records + first, picked, (size_t)want * sizeof *picked), l->n_records = first + (size_t)want;
    }
    graft_free(order);
    graft_free(picked);
    return status;
}

/* ---- one name ------------------------------------------------------------------------------------------------------------------------------------- */

static graft_status read_entry(load *l, const graft_entry *e)
{
    const graft_json *number = graft_json_get(e->json, "num_samples"), *ranking = graft_json_get(e->json, "ranking"), *file = graft_json_get(e->json, "file_name");
    const int pairs = ranking && ranking->integer;
    if (pairs != (l->o->preference == GRAFT_PREFERENCE_PAIRS))
        return graft_fail(l->err, GRAFT_BAD_INPUT, e->layer, pairs ? "dataset \"%s\" holds preferences (\"ranking\"); this stage needs conversations with one answer" : "dataset \"%s\" holds no preferences (\"ranking\": true); this stage learns from chosen and rejected answers", e->name);
    if (!file || file->type != GRAFT_JSON_TEXT) return graft_fail(l->err, GRAFT_UNSUPPORTED, e->layer, "dataset \"%s\" names no local file; download it and give its entry a file_name", e->name);
    const size_t first = l->n_records;
    const int drawn = number && number->integral && number->integer > 0;
    char *path = graft_entry_path(e);
    graft_status status = path ? read_path(l, path, e->json, first, drawn ? 0 : l->o->max_samples) : no_memory(l->err);
    if (!status && drawn) status = draw_samples(l, first, number->integer);
    if (!status && l->o->max_samples > 0 && (int64_t)(l->n_records - first) > l->o->max_samples) l->n_records = first + (size_t)l->o->max_samples;
    graft_free(path);
    return status;
}

static graft_status read_names(load *l)
{
    char name[4096];
    int any = 0;
    for (const char *p = l->o->names, *comma; p && *p; p = *comma ? comma + 1 : comma) {
        comma = p + strcspn(p, ",");
        while (p < comma && *p == ' ') p++;
        size_t n = (size_t)(comma - p);
        while (n && p[n - 1] == ' ') n--;
        if (!n) continue;
        if (n >= sizeof name) return graft_fail(l->err, GRAFT_BAD_INPUT, NULL, "a dataset's name is longer than %zu bytes", sizeof name - 1);
        memcpy(name, p, n);
        name[n] = '\0';
        any = 1;
        const graft_entry *e = graft_registry_find(l->registry, GRAFT_KIND_DATASET, name);
        const int path = !e && graft_path_exists(name);
        if (!e && !path && graft_registry_need(l->registry, GRAFT_KIND_DATASET, name, &e, l->err)) return l->err->code;
        const size_t first = l->n_records;
        if (path ? read_path(l, name, NULL, l->n_records, l->o->max_samples) : read_entry(l, e)) return l->err->code;
        if (l->sets == SETS_MAX) return graft_fail(l->err, GRAFT_BAD_INPUT, "dataset", "more than %d sets are named", SETS_MAX);
        l->set_size[l->sets++] = (int64_t)(l->n_records - first);
    }
    return any ? GRAFT_OK : graft_fail(l->err, GRAFT_BAD_INPUT, NULL, "no dataset is named; set dataset to a name of dataset_info.json or to a file");
}

/* ---- several sets ------------------------------------------------------------------------------------------------------------------------------------ */

static graft_status probabilities_of(load *l, double *out)
{
    int64_t n = 0;
    char *end;
    for (const char *p = l->o->interleave_probs; *p; p = *end ? end + 1 : end) {
        const double v = strtod(p, &end);
        if (end == p || (*end && *end != ',')) return graft_fail(l->err, GRAFT_BAD_INPUT, "interleave_probs", "expected probabilities like 0.2,0.8, found \"%.60s\"", l->o->interleave_probs);
        if (n < l->sets) out[n] = v;
        n++;
    }
    return n == l->sets ? GRAFT_OK : graft_fail(l->err, GRAFT_BAD_INPUT, "interleave_probs", "expected one probability for each of the %lld sets, found %lld", (long long)l->sets, (long long)n);
}

static graft_status mix(load *l)
{
    double probabilities[SETS_MAX];
    int64_t *order = NULL, n = 0;
    if (l->sets < 2 || !l->o->mix_strategy || !strcmp(l->o->mix_strategy, "concat")) return GRAFT_OK;
    if (l->o->interleave_probs && probabilities_of(l, probabilities)) return l->err->code;
    if (graft_mix(l->o->mix_strategy, l->set_size, l->sets, l->o->interleave_probs ? probabilities : NULL, l->o->seed, &order, &n, l->err)) return l->err->code;
    for (int64_t i = 0; i < n; i++) order[i] = l->records[order[i]];
    graft_free(l->records);
    l->records = order, l->n_records = l->records_room = (size_t)n;
    return GRAFT_OK;
}

/* ---- train and eval ---------------------------------------------------------------------------------------------------------------------------------- */

static int packs(const graft_dataset_options *o) { return !o->preference && (o->packing >= GRAFT_PACKING_ON || (o->pretrain && o->packing == GRAFT_PACKING_UNSAID)); }

typedef struct target {
    load *l;
    graft_dataset *to;
} target;

static graft_status put(void *ctx, graft_sample s, graft_error *err)
{
    target *t = ctx;
    t->l->report.tokens += s.n;
    for (int64_t k = 0; k < s.n; k++) t->l->report.labelled += s.labels[k] != -100;
    return sample_put(t->to, s, err);
}

static graft_status pick_preferences(target *t, const graft_sample *window, int64_t n)
{
    load *l = t->l;
    int64_t *cut = graft_calloc((size_t)n + 1, sizeof *cut);
    const graft_status status = cut ? graft_preference_window(&l->how, l->all->owner->arena, window, n, put, t, cut, l->err) : no_memory(l->err);
    for (int64_t i = 0; cut && i < n; i++) {
        if (cut[i] && l->o->drop_overlong) l->report.overlong++, l->report.dropped++, l->report.kept--;
        else l->report.truncated += cut[i] > 0, l->report.tokens_cut += cut[i];
    }
    graft_free(cut);
    return status;
}

/* The samples of records [from, end) of the order: one by one, or packed. window: room for as many samples. */
static graft_status pick_window(target *t, const int64_t *order, int64_t from, int64_t end, graft_sample *window)
{
    load *l = t->l;
    const int32_t pad = graft_tokenizer_pad(l->tok);
    int64_t n = 0;
    for (int64_t i = from; i < end; i++) {
        const int64_t at = l->records[order ? order[i] : i];
        l->report.records++;
        if (at < 0) {
            l->report.dropped++;
            continue;
        }
        l->report.kept++, l->report.truncated += l->cut[at] > 0, l->report.tokens_cut += l->cut[at];
        window[n++] = l->all->item[at];
        if (!packs(l->o) && !l->o->preference && put(t, window[--n], l->err)) return l->err->code;
    }
    if (l->o->preference) return pick_preferences(t, window, n);
    const graft_pack p = {.block = l->o->pretrain ? l->how.cutoff_len : l->how.cutoff_len + 1, .pretrain = l->o->pretrain, .neat = l->o->packing == GRAFT_PACKING_NEAT, .pad = pad, .a = l->all->owner->arena, .put = put, .ctx = t};
    return packs(l->o) ? graft_pack_window(&p, window, n, l->err) : GRAFT_OK;
}

/* Records come in windows; where several workers are asked for, each has a run of them and its own windows. */
static graft_status pick(load *l, graft_dataset *to, const int64_t *order, int64_t from, int64_t end)
{
    const int64_t n = end - from, size = l->o->preprocessing_batch_size > 0 ? l->o->preprocessing_batch_size : 1000;
    int64_t workers = l->o->preprocessing_workers > 0 ? l->o->preprocessing_workers : 1;
    target t = {l, to};
    graft_status status = GRAFT_OK;
    graft_sample *window = graft_calloc((size_t)(size < n ? size : n) + 1, sizeof *window);
    if (!window) return no_memory(l->err);
    if (workers > n) workers = n ? n : 1;
    for (int64_t w = 0; w < workers && !status; w++) {
        const int64_t first = from + n / workers * w + (w < n % workers ? w : n % workers), last = first + n / workers + (w < n % workers);
        for (int64_t i = first; i < last && !status; i += size) status = pick_window(&t, order, i, last - i < size ? last : i + size, window);
    }
    graft_free(window);
    return status;
}

static graft_status split(load *l, graft_dataset *train, graft_dataset **eval)
{
    const int64_t n = (int64_t)l->n_records;
    const double v = l->o->val_size;
    if (!(v > 0)) return pick(l, train, NULL, 0, n);
    const int64_t held = v >= 1 ? (v < (double)INT32_MAX ? (int64_t)v : INT32_MAX) : (int64_t)ceil(v * (double)n);
    if (held >= n) return graft_fail(l->err, GRAFT_BAD_INPUT, "val_size", "%g of %lld records leaves none to train on; lower it", v, (long long)n);
    int64_t *order = graft_calloc((size_t)n + 1, sizeof *order);
    graft_status status = order && (*eval = dataset_on(l->all->owner)) ? GRAFT_OK : no_memory(l->err);
    if (!status) graft_numpy_permutation(l->o->seed, n, order);
    if (!status) status = pick(l, *eval, order, 0, held);
    if (!status) status = pick(l, train, order, held, n);
    graft_free(order);
    return status;
}

static graft_status check(const graft_dataset_options *o, graft_error *err)
{
    if (o->cutoff_len < 1 || o->cutoff_len > INT32_MAX) return graft_fail(err, GRAFT_BAD_INPUT, "cutoff_len", "expected a number of tokens between 1 and %d, found %lld", INT32_MAX, (long long)o->cutoff_len);
    if (o->pretrain && o->packing == GRAFT_PACKING_NEAT) return graft_fail(err, GRAFT_BAD_INPUT, "neat_packing", "it is for conversations, not for pretraining texts; use packing");
    if (o->cutoff_len < 2 && o->packing >= GRAFT_PACKING_ON) return graft_fail(err, GRAFT_BAD_INPUT, "cutoff_len", "packing needs at least 2 tokens");
    if (o->train_on_prompt && o->mask_history) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "train_on_prompt and mask_history exclude each other; choose one");
    if (!(o->val_size >= 0)) return graft_fail(err, GRAFT_BAD_INPUT, "val_size", "expected a share below 1 or a number of samples, found %g", o->val_size);
    return GRAFT_OK;
}

graft_status graft_dataset_load(const graft_registry *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_dataset **train, graft_dataset **eval,
                                graft_dataset_report *report, graft_error *err)
{
    *train = *eval = NULL;
    *report = (graft_dataset_report){0};
    if (check(o, err)) return err->code;
    load *l = graft_calloc(1, sizeof *l);
    graft_status status = GRAFT_OK;
    if (!l || !(l->all = graft_dataset_empty()) || !(*train = dataset_on(l->all->owner))) {
        status = no_memory(err);
        goto out;
    }
    l->how = *o;
    l->how.cutoff_len -= o->packing >= GRAFT_PACKING_ON;
    l->registry = r, l->o = o, l->t = t, l->tok = tok, l->err = err;
    graft_mt19937_seed(&l->draws, o->seed);
    if ((status = read_names(l)) || (status = mix(l)) || (status = split(l, *train, eval))) goto out;
    *report = l->report;
    if (!(*train)->n)
        status = graft_fail(err, GRAFT_BAD_INPUT, NULL, "no record of \"%.120s\" can be learned from: all %lld were dropped%s%.400s", o->names, (long long)l->report.records, l->report.first_drop ? ", the first because: " : "",
                            l->report.first_drop ? l->report.first_drop : "");
out:
    if (l) {
        graft_dataset_free(l->all);
        graft_free(l->cut);
        graft_free(l->records);
        graft_free(l);
    }
    if (status) {
        graft_dataset_free(*train);
        graft_dataset_free(*eval);
        *train = *eval = NULL, report->first_drop = NULL;
    }
    return status;
}
