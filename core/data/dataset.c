/* core/data/dataset.c - see dataset.h. A dataset is a list of record numbers in the order of use; tokens are read from the token cache when a sample is asked
 * for, and packed samples are put together then.
 *
 * Order of things as LLaMA-Factory has it: every set is read, num_samples is drawn, max_samples cuts, sets are laid end to end, the val_size part is
 * drawn from all records (dropped ones have their place in the draw), then what cannot be learned from falls away and what is left is packed. */
#include "core/data/dataset.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/data/pack.h"
#include "core/data/parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for the dataset"); }

/* ---- the corpus ------------------------------------------------------------------------------------------------------------------------ */

graft_corpus *graft_corpus_new(void)
{
    graft_corpus *c = graft_calloc(1, sizeof *c);
    if (c && (c->arena = graft_arena_new())) return c->refs = 1, c;
    graft_free(c);
    return NULL;
}

void graft_corpus_free(graft_corpus *c)
{
    if (!c || --c->refs) return;
    for (int i = 0; i < GRAFT_SETS_MAX; i++) graft_cache_free(c->set[i]);
    graft_arena_free(c->arena);
    graft_free(c);
}

static graft_cache *set_of(const graft_corpus *c, int32_t record, int64_t *number)
{
    int64_t low = 0, high = c->sets;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (c->first[middle] <= record) low = middle;
        else high = middle;
    }
    *number = record - c->first[low];
    return c->set[low];
}

static graft_cache_size measure(const graft_corpus *c, int32_t record)
{
    int64_t number;
    const graft_cache *set = set_of(c, record, &number);
    return graft_cache_measure(set, number);
}

static graft_status read_tokens(const graft_corpus *c, int32_t record, int64_t from, int64_t n, int32_t *ids, int32_t *labels, graft_error *err)
{
    int64_t number;
    const graft_cache *set = set_of(c, record, &number);
    return graft_cache_read(set, number, from, n, ids, labels, err);
}

/* ---- the dataset ------------------------------------------------------------------------------------------------------------------------- */

/* A sample of several records: from which place in the list; texts: how many of that record's tokens belong to the block before. */
typedef struct block {
    int32_t first, skip;
} block;

/* A preference sample: its record is record[first], `skip` of the block the place of the record before it. */
typedef struct pair_size {
    int32_t n, labelled;
} pair_size;

/* Where a sample is put together. */
typedef struct workspace {
    int32_t *data;
    size_t room;
    graft_arena *arena; /* preferences */
    int64_t read;       /* samples since pages were let go */
} workspace;

typedef enum layout { SINGLE,
                      BINS,
                      TEXTS,
                      PAIRS } layout;

struct graft_dataset {
    graft_corpus *corpus;
    int32_t *record; /* in the order of use; bin after bin */
    size_t n, room;
    layout layout;
    block *block; /* but for SINGLE: one a sample */
    size_t n_blocks, blocks_room;
    pair_size *pair; /* PAIRS */
    size_t pairs_room;
    int64_t block_tokens;
    int32_t pad;
    int neat;
    graft_dataset_options how; /* PAIRS: cutoff_len, preference */
    workspace *work;
    graft_stream *stream; /* else NULL: its samples are this one's */
};

graft_dataset *graft_dataset_on(graft_corpus *corpus)
{
    graft_dataset *d = graft_calloc(1, sizeof *d);
    if (!d || !(d->work = graft_calloc(1, sizeof *d->work))) return graft_free(d), NULL;
    d->corpus = corpus, corpus->refs++;
    return d;
}

graft_dataset *graft_dataset_empty(void)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_corpus *c = graft_corpus_new();
    graft_dataset *d = c && !graft_cache_open(NULL, NULL, 0, 0, 0, &c->set[0], &err) ? graft_dataset_on(c) : NULL;
    if (d) c->sets = 1;
    graft_corpus_free(c);
    return d;
}

void graft_dataset_free(graft_dataset *d)
{
    if (!d) return;
    graft_stream_free(d->stream);
    graft_corpus_free(d->corpus);
    graft_arena_free(d->work->arena);
    graft_free(d->work->data);
    graft_free(d->work);
    graft_free(d->record);
    graft_free(d->block);
    graft_free(d->pair);
    graft_free(d);
}

int64_t graft_dataset_count(const graft_dataset *d) { return d->stream ? graft_stream_count(d->stream) : (int64_t)(d->layout == SINGLE ? d->n : d->n_blocks); }
const char *graft_dataset_keep(graft_dataset *d, const char *text) { return graft_arena_copy(d->corpus->arena, text, strlen(text)); }

void graft_dataset_forget(const graft_dataset *d)
{
    for (int64_t i = 0; i < d->corpus->sets; i++) graft_cache_forget(d->corpus->set[i]);
    d->work->read = 0;
}

static graft_status record_put(graft_dataset *d, int32_t record, graft_error *err)
{
    if (graft_grow((void **)&d->record, &d->room, d->n + 1, sizeof *d->record)) return no_memory(err);
    d->record[d->n++] = record;
    return GRAFT_OK;
}

static graft_status block_put(graft_dataset *d, block b, graft_error *err)
{
    if (graft_grow((void **)&d->block, &d->blocks_room, d->n_blocks + 1, sizeof *d->block)) return no_memory(err);
    d->block[d->n_blocks++] = b;
    return GRAFT_OK;
}

graft_status graft_dataset_add(graft_dataset *d, const int32_t *ids, const int32_t *labels, int64_t n, graft_error *err)
{
    graft_cache *set = d->corpus->set[0];
    if (graft_cache_add(set, ids, labels, n, 0, err)) return err->code;
    return record_put(d, (int32_t)(graft_cache_records(set) - 1), err);
}

/* ---- one sample ------------------------------------------------------------------------------------------------------------------------------ */

static int32_t *room_for(const graft_dataset *d, int64_t n)
{
    return graft_grow((void **)&d->work->data, &d->work->room, (size_t)n + 1, sizeof *d->work->data) ? NULL : d->work->data;
}

/* Places of a bin's members in the list. */
static int64_t bin_end(const graft_dataset *d, int64_t i) { return i + 1 < (int64_t)d->n_blocks ? d->block[i + 1].first : (int64_t)d->n; }

/*   | sample 3 | sample 0 | pad pad |   positions restart with each sample, padding has position 0 and no label; there is always at least one pad, since samples
 *                                       fill block_tokens - 1 at most */
static graft_status bin_at(const graft_dataset *d, int64_t i, graft_sample *out, graft_error *err)
{
    const int64_t first = d->block[i].first, n = bin_end(d, i) - first, size = d->block_tokens;
    int32_t *ids = room_for(d, 3 * size + n), *labels = ids + size, *positions = labels + size, *ends = positions + size;
    int64_t at = 0;
    if (!ids) return no_memory(err);
    for (int64_t k = 0; k < n; k++) {
        const int64_t length = measure(d->corpus, d->record[first + k]).n;
        if (read_tokens(d->corpus, d->record[first + k], 0, length, ids + at, labels + at, err)) return err->code;
        for (int64_t p = 0; p < length; p++) positions[at + p] = (int32_t)p;
        at += length;
        ends[k] = (int32_t)at;
    }
    for (; at < size; at++) ids[at] = d->pad, labels[at] = -100, positions[at] = 0;
    *out = (graft_sample){.n = size, .ids = ids, .labels = labels, .positions = positions};
    if (d->neat) out->part_ends = ends, out->parts = n;
    return GRAFT_OK;
}

/* Tokens [skip, skip + n) of the records from `first` on, laid end to end. */
static graft_status texts_read(const graft_corpus *c, const int32_t *record, int64_t skip, int64_t n, int32_t *ids, int32_t *labels, graft_error *err)
{
    for (int64_t at = 0; at < n; record++, skip = 0) {
        const int64_t length = measure(c, *record).n - skip, take = length < n - at ? length : n - at;
        if (read_tokens(c, *record, skip, take, ids + at, labels + at, err)) return err->code;
        at += take;
    }
    return GRAFT_OK;
}

/* Where the texts of a block end in it, and how many there are. ends: NULL, or room for block_tokens. */
static int64_t text_ends(const graft_dataset *d, int64_t i, int32_t *ends)
{
    int64_t n = 0, skip = d->block[i].skip;
    const int32_t *record = d->record + d->block[i].first;
    for (int64_t at = 0; at < d->block_tokens; record++, skip = 0) {
        const int64_t length = measure(d->corpus, *record).n - skip;
        if (length < 1) continue;
        at = length < d->block_tokens - at ? at + length : d->block_tokens;
        if (ends) ends[n] = (int32_t)at;
        n++;
    }
    return n;
}

/*   | text 0, eos, text 1, eos, te|xt 2, eos ... |   cut without regard to texts; when they are separate, positions restart with each and its first token is no label */
static graft_status texts_at(const graft_dataset *d, int64_t i, graft_sample *out, graft_error *err)
{
    const int64_t size = d->block_tokens;
    int32_t *ids = room_for(d, 4 * size), *labels = ids + size, *positions = labels + size, *ends = positions + size;
    if (!ids) return no_memory(err);
    *out = (graft_sample){.n = size, .ids = ids, .labels = labels};
    if (texts_read(d->corpus, d->record + d->block[i].first, d->block[i].skip, size, ids, labels, err) || !d->neat) return err->code;
    out->positions = positions, out->part_ends = ends, out->parts = text_ends(d, i, ends);
    for (int64_t p = 0, from = 0; p < out->parts; from = ends[p++]) {
        if (from) labels[from] = -100;
        for (int64_t k = from; k < ends[p]; k++) positions[k] = (int32_t)(k - from);
    }
    return GRAFT_OK;
}

static graft_status keep_last(void *ctx, graft_sample s, graft_error *err)
{
    (void)err;
    *(graft_sample *)ctx = s;
    return GRAFT_OK;
}

/* The record's tokens in arena memory. */
static graft_status whole_record(const graft_corpus *c, int32_t record, graft_arena *a, graft_sample *out, graft_error *err)
{
    const int64_t n = measure(c, record).n;
    int32_t *ids = graft_arena_alloc(a, (2 * (size_t)n + 1) * sizeof *ids);
    if (!ids) return no_memory(err);
    *out = (graft_sample){.n = n, .ids = ids, .labels = ids + n};
    return read_tokens(c, record, 0, n, ids, ids + n, err);
}

/* The window of the record before and this one gives this one's sample last. */
static graft_status pair_at(const graft_dataset *d, int64_t i, graft_sample *out, graft_error *err)
{
    const block *b = &d->block[i];
    graft_sample window[2];
    int64_t cut[2] = {0};
    graft_arena_free(d->work->arena);
    if (!(d->work->arena = graft_arena_new())) return no_memory(err);
    if (whole_record(d->corpus, d->record[b->skip], d->work->arena, &window[0], err) || whole_record(d->corpus, d->record[b->first], d->work->arena, &window[1], err)) return err->code;
    return graft_preference_window(&d->how, d->work->arena, window, 2, keep_last, out, cut, err);
}

graft_status graft_dataset_get(const graft_dataset *d, int64_t i, graft_sample *out, graft_error *err)
{
    if (d->stream) return graft_stream_get(d->stream, i, out, err);
    if (++d->work->read > 32) graft_dataset_forget(d);
    if (d->layout == BINS) return bin_at(d, i, out, err);
    if (d->layout == TEXTS) return texts_at(d, i, out, err);
    if (d->layout == PAIRS) return pair_at(d, i, out, err);
    const int64_t n = measure(d->corpus, d->record[i]).n;
    int32_t *ids = room_for(d, 2 * n);
    if (!ids) return no_memory(err);
    *out = (graft_sample){.n = n, .ids = ids, .labels = ids + n};
    return read_tokens(d->corpus, d->record[i], 0, n, ids, ids + n, err);
}

graft_sample graft_dataset_at(const graft_dataset *d, int64_t i)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_sample s;
    return graft_dataset_get(d, i, &s, &err) ? (graft_sample){0} : s;
}

graft_sample_size graft_dataset_measure(const graft_dataset *d, int64_t i)
{
    graft_sample_size s = {.n = d->block_tokens, .rows = d->block_tokens, .sequences = 1, .labelled = d->block_tokens};
    if (d->stream) return graft_stream_largest(d->stream);
    if (d->layout == TEXTS) return s.sequences = d->neat ? text_ends(d, i, NULL) : 1, s;
    if (d->layout == PAIRS) return (graft_sample_size){.n = d->pair[i].n, .rows = d->pair[i].n, .sequences = 2, .labelled = d->pair[i].labelled};
    if (d->layout == SINGLE) {
        const graft_cache_size x = measure(d->corpus, d->record[i]);
        return (graft_sample_size){.n = x.n, .rows = x.n, .sequences = 1, .labelled = x.labelled - x.first_labelled};
    }
    int64_t tokens = 0;
    const int64_t first = d->block[i].first, end = bin_end(d, i);
    s.labelled = 0;
    for (int64_t k = first; k < end; k++) {
        const graft_cache_size x = measure(d->corpus, d->record[k]);
        tokens += x.n, s.labelled += x.labelled - (k == first && x.first_labelled);
    }
    if (d->neat) s.rows = tokens, s.sequences = end - first;
    return s;
}

/* ---- several sets ------------------------------------------------------------------------------------------------------------------------------------ */

graft_status graft_load_probabilities(graft_load *l, int64_t sets, double *out)
{
    int64_t n = 0;
    char *end;
    for (const char *p = l->o->interleave_probs; *p; p = *end ? end + 1 : end) {
        const double v = strtod(p, &end);
        if (end == p || (*end && *end != ',')) return graft_fail(l->err, GRAFT_BAD_INPUT, "interleave_probs", "expected probabilities like 0.2,0.8, found \"%.60s\"", l->o->interleave_probs);
        if (n < sets) out[n] = v;
        n++;
    }
    return n == sets ? GRAFT_OK : graft_fail(l->err, GRAFT_BAD_INPUT, "interleave_probs", "expected one probability for each of the %lld sets, found %lld", (long long)sets, (long long)n);
}

static graft_status mix(graft_load *l)
{
    double probabilities[GRAFT_SETS_MAX];
    int64_t *order = NULL, n = 0;
    const int64_t sets = l->corpus->sets;
    if (sets < 2 || !l->o->mix_strategy || !strcmp(l->o->mix_strategy, "concat")) return GRAFT_OK;
    if (l->o->interleave_probs && graft_load_probabilities(l, sets, probabilities)) return l->err->code;
    if (graft_mix(l->o->mix_strategy, l->set_size, sets, l->o->interleave_probs ? probabilities : NULL, l->o->seed, &order, &n, l->err)) return l->err->code;
    int32_t *records = n < INT32_MAX ? graft_calloc((size_t)n + 1, sizeof *records) : NULL;
    for (int64_t i = 0; records && i < n; i++) records[i] = l->records[order[i]];
    graft_free(order);
    if (!records) return no_memory(l->err);
    graft_free(l->records);
    l->records = records, l->n_records = (size_t)n, l->records_room = (size_t)n + 1;
    return GRAFT_OK;
}

/* ---- train and eval ---------------------------------------------------------------------------------------------------------------------------------- */

int graft_load_packs(const graft_dataset_options *o) { return !o->preference && (o->packing >= GRAFT_PACKING_ON || (o->pretrain && o->packing == GRAFT_PACKING_UNSAID)); }

static graft_status put_bins(graft_load *l, graft_dataset *to, const int32_t *window, int64_t n)
{
    int64_t *lengths = graft_calloc(3 * (size_t)n + 1, sizeof *lengths), at = 0;
    if (!lengths) return no_memory(l->err);
    int64_t *order = lengths + n, *ends = order + n;
    for (int64_t i = 0; i < n; i++) lengths[i] = measure(l->corpus, window[i]).n;
    const int64_t bins = graft_pack_bins(lengths, n, to->block_tokens - 1, order, ends);
    graft_status status = bins < 0 ? no_memory(l->err) : GRAFT_OK;
    for (int64_t b = 0; b < bins && !status; b++) {
        status = block_put(to, (block){(int32_t)to->n, 0}, l->err);
        l->report.tokens += to->block_tokens;
        for (; at < ends[b] && !status; at++) {
            status = record_put(to, window[order[at]], l->err);
            l->report.labelled += measure(l->corpus, window[order[at]]).labelled;
        }
    }
    if (!status && at < n) graft_log(GRAFT_LOG_WARNING, "%lld samples do not fit into a block of %lld tokens and were left out", (long long)(n - at), (long long)to->block_tokens);
    graft_free(lengths);
    return status;
}

/* Blocks of the window's texts; what is left at its end goes. */
static graft_status put_texts(graft_load *l, graft_dataset *to, const int32_t *window, int64_t n)
{
    const int64_t size = to->block_tokens;
    int64_t total = 0, labelled = 0, start = 0, next = 0; /* start: of the text among the window's tokens; next: where the next block begins */
    int32_t *rest = room_for(to, 2 * size);
    if (!rest) return no_memory(l->err);
    for (int64_t i = 0; i < n; i++) total += measure(l->corpus, window[i]).n;
    for (int64_t i = 0; i < n; i++) {
        const graft_cache_size x = measure(l->corpus, window[i]);
        for (; next < start + x.n && next + size <= total; next += size)
            if (block_put(to, (block){(int32_t)to->n, (int32_t)(next - start)}, l->err)) return l->err->code;
        if (next >= start && next < start + x.n && next < total) { /* the rest begins in this text: its labels do not count */
            if (texts_read(l->corpus, window + i, next - start, total - next, rest, rest + size, l->err)) return l->err->code;
            for (int64_t k = 0; k < total - next; k++) labelled -= rest[size + k] != -100;
            next = total;
        }
        if (record_put(to, window[i], l->err)) return l->err->code;
        labelled += x.labelled, start += x.n;
    }
    l->report.tokens += total / size * size, l->report.labelled += labelled;
    return GRAFT_OK;
}

typedef struct sizes {
    pair_size *at;
    int64_t n;
} sizes;

static graft_status note_size(void *ctx, graft_sample s, graft_error *err)
{
    sizes *all = ctx;
    pair_size x = {.n = (int32_t)s.n};
    (void)err;
    for (int64_t k = 1; k < s.n; k++) x.labelled += s.labels[k] != -100;
    all->at[all->n++] = x;
    return GRAFT_OK;
}

/* Preference samples: each is made once here to know its size, and again when it is asked for. */
static graft_status put_pairs(graft_load *l, graft_dataset *to, const int32_t *window, int64_t n)
{
    graft_arena *a = graft_arena_new();
    graft_sample *whole = graft_calloc((size_t)n + 1, sizeof *whole);
    int64_t *cut = graft_calloc((size_t)n + 1, sizeof *cut), made = 0;
    sizes all = {.at = graft_calloc((size_t)n + 1, sizeof *all.at)};
    const size_t first = to->n;
    graft_status status = a && whole && cut && all.at ? GRAFT_OK : no_memory(l->err);
    for (int64_t i = 0; i < n && !status; i++) status = whole_record(l->corpus, window[i], a, &whole[i], l->err);
    if (!status) status = graft_preference_window(&l->how, a, whole, n, note_size, &all, cut, l->err);
    for (int64_t i = 0; i < n && !status; i++) {
        status = record_put(to, window[i], l->err);
        if (cut[i] && l->o->drop_overlong) {
            l->report.overlong++, l->report.dropped++, l->report.kept--;
            continue;
        }
        l->report.truncated += cut[i] > 0, l->report.tokens_cut += cut[i];
        l->report.tokens += all.at[made].n, l->report.labelled += all.at[made].labelled;
        if (!status && graft_grow((void **)&to->pair, &to->pairs_room, to->n_blocks + 1, sizeof *to->pair)) status = no_memory(l->err);
        if (!status) to->pair[to->n_blocks] = all.at[made++];
        if (!status) status = block_put(to, (block){(int32_t)(first + (size_t)i), (int32_t)(first + (size_t)(i ? i - 1 : n - 1))}, l->err);
    }
    graft_free(all.at);
    graft_free(cut);
    graft_free(whole);
    graft_arena_free(a);
    return status;
}

/* Counts the record; 0: it was dropped. */
static int note_record(graft_load *l, int32_t record, int in_turn, graft_cache_size *x)
{
    int64_t number;
    graft_cache *set = set_of(l->corpus, record, &number);
    *x = graft_cache_measure(set, number);
    if (in_turn) graft_cache_pass(set, number);
    l->report.records++;
    l->report.dropped += x->dropped, l->report.overlong += x->dropped && x->cut > 0;
    if (x->dropped) return 0;
    l->report.kept++, l->report.truncated += x->cut > 0, l->report.tokens_cut += x->cut;
    return 1;
}

/* Each record [from, end) of the order is a sample. In the order of the list itself the list becomes the dataset's. */
static graft_status pick_each(graft_load *l, graft_dataset *to, const int32_t *order, int64_t from, int64_t end)
{
    const int whole = !order && !from && end == (int64_t)l->n_records;
    int32_t *list = whole ? l->records : graft_calloc((size_t)(end - from) + 1, sizeof *list);
    graft_cache_size x;
    if (!list && end > from) return no_memory(l->err);
    for (int64_t i = from; i < end; i++) {
        const int32_t record = l->records[order ? order[i] : i];
        if (!note_record(l, record, !order, &x)) continue;
        l->report.tokens += x.n, l->report.labelled += x.labelled;
        list[to->n++] = record;
    }
    if (whole) l->records = NULL, l->n_records = l->records_room = 0;
    to->record = list, to->room = to->n;
    return GRAFT_OK;
}

/* The packed samples of records [from, end) of the order. window: room for as many. */
static graft_status pick_window(graft_load *l, graft_dataset *to, const int32_t *order, int64_t from, int64_t end, int32_t *window)
{
    int64_t n = 0;
    graft_cache_size x;
    for (int64_t i = from; i < end; i++) {
        const int32_t record = l->records[order ? order[i] : i];
        if (note_record(l, record, !order, &x)) window[n++] = record;
    }
    return to->layout == BINS ? put_bins(l, to, window, n) : to->layout == TEXTS ? put_texts(l, to, window, n)
                                                                                 : put_pairs(l, to, window, n);
}

/* Records come in windows; where several workers are asked for, each has a run of them and its own windows. */
graft_status graft_load_pick(graft_load *l, graft_dataset *to, const int32_t *order, int64_t from, int64_t end)
{
    const int packs = graft_load_packs(l->o);
    const int64_t n = end - from, size = l->o->preprocessing_batch_size > 0 ? l->o->preprocessing_batch_size : 1000;
    int64_t workers = l->o->preprocessing_workers > 0 ? l->o->preprocessing_workers : 1;
    graft_status status = GRAFT_OK;
    to->layout = l->o->preference ? PAIRS : !packs       ? SINGLE
                                        : l->o->pretrain ? TEXTS
                                                         : BINS;
    to->block_tokens = l->o->pretrain ? l->how.cutoff_len : l->how.cutoff_len + 1;
    to->neat = l->o->packing == GRAFT_PACKING_NEAT || (l->o->pretrain && l->o->separate_texts), to->pad = graft_tokenizer_pad(l->tok);
    to->how = (graft_dataset_options){.cutoff_len = l->how.cutoff_len, .preference = l->how.preference};
    if (to->layout == SINGLE) return pick_each(l, to, order, from, end);
    int32_t *window = graft_calloc((size_t)(size < n ? size : n) + 1, sizeof *window);
    if (!window) return no_memory(l->err);
    if (workers > n) workers = n ? n : 1;
    for (int64_t w = 0; w < workers && !status; w++) {
        const int64_t first = from + n / workers * w + (w < n % workers ? w : n % workers), last = first + n / workers + (w < n % workers);
        for (int64_t i = first; i < last && !status; i += size) status = pick_window(l, to, order, i, last - i < size ? last : i + size, window);
    }
    graft_free(window);
    graft_dataset_forget(to);
    return status;
}

static graft_status split(graft_load *l, graft_dataset *train, graft_dataset **eval)
{
    const int64_t n = (int64_t)l->n_records;
    const double v = l->o->val_size;
    if (!(v > 0)) return graft_load_pick(l, train, NULL, 0, n);
    const int64_t held = v >= 1 ? (v < (double)INT32_MAX ? (int64_t)v : INT32_MAX) : (int64_t)ceil(v * (double)n);
    if (held >= n) return graft_fail(l->err, GRAFT_BAD_INPUT, "val_size", "%g of %lld records leaves none to train on; lower it", v, (long long)n);
    int64_t *wide = graft_calloc((size_t)n + 1, sizeof *wide);
    int32_t *order = (int32_t *)(void *)wide; /* the same numbers, packed into the first half */
    graft_status status = wide && (*eval = graft_dataset_on(l->corpus)) ? GRAFT_OK : no_memory(l->err);
    if (!status) {
        graft_numpy_permutation(l->o->seed, n, wide);
        for (int64_t i = 0; i < n; i++) {
            const int64_t v_i = wide[i];
            order[i] = (int32_t)v_i;
        }
    }
    if (!status) status = graft_load_pick(l, *eval, order, 0, held);
    if (!status) status = graft_load_pick(l, train, order, held, n);
    graft_free(wide);
    return status;
}

static graft_status check(const graft_dataset_options *o, const graft_template *t, graft_error *err)
{
    if (o->cutoff_len < 1 || o->cutoff_len > INT32_MAX) return graft_fail(err, GRAFT_BAD_INPUT, "cutoff_len", "expected a number of tokens between 1 and %d, found %lld", INT32_MAX, (long long)o->cutoff_len);
    if (o->pretrain && o->packing == GRAFT_PACKING_NEAT) return graft_fail(err, GRAFT_BAD_INPUT, "neat_packing", "it is for conversations, not for pretraining texts; use packing");
    if (o->separate_texts && o->streaming) return graft_fail(err, GRAFT_BAD_INPUT, "separate_texts", "a stream's blocks are cut without regard to texts; leave streaming out");
    if (o->cutoff_len < 2 && o->packing >= GRAFT_PACKING_ON) return graft_fail(err, GRAFT_BAD_INPUT, "cutoff_len", "packing needs at least 2 tokens");
    if (o->train_on_prompt && o->mask_history) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "train_on_prompt and mask_history exclude each other; choose one");
    if (o->train_on_prompt && graft_template_efficient_eos(t)) return graft_fail(err, GRAFT_BAD_INPUT, "train_on_prompt", "the template %s writes the end of an answer over the prompt behind it, so prompts cannot be learned; leave it out or choose another template", graft_template_name(t));
    if (!(o->val_size >= 0)) return graft_fail(err, GRAFT_BAD_INPUT, "val_size", "expected a share below 1 or a number of samples, found %g", o->val_size);
    return GRAFT_OK;
}

/* The first sentence that any set has to say. */
static void take_sentences(graft_load *l)
{
    for (int64_t i = 0; i < l->corpus->sets; i++) {
        const char *drop = graft_cache_first_drop(l->corpus->set[i]), *bad = graft_cache_first_bad(l->corpus->set[i]);
        if (drop && !l->report.first_drop && l->report.dropped) l->report.first_drop = drop;
        if (bad && !l->report.first_bad) l->report.first_bad = bad;
        l->report.bad += graft_cache_end(l->corpus->set[i])->bad;
    }
}

graft_status graft_dataset_load(const graft_registry *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_dataset **train, graft_dataset **eval,
                                graft_dataset_report *report, graft_error *err)
{
    *train = *eval = NULL;
    *report = (graft_dataset_report){0};
    if (check(o, t, err)) return err->code;
    graft_load *l = graft_calloc(1, sizeof *l);
    graft_status status = GRAFT_OK;
    if (!l || !(l->corpus = graft_corpus_new()) || !(*train = graft_dataset_on(l->corpus))) {
        status = no_memory(err);
        goto out;
    }
    l->how = *o;
    l->how.cutoff_len -= o->packing >= GRAFT_PACKING_ON;
    l->registry = r, l->o = o, l->t = t, l->tok = tok, l->err = err;
    if (o->streaming) {
        status = graft_stream_open(l, &(*train)->stream, eval);
        l = NULL;
        goto out;
    }
    if ((status = graft_load_sets(l)) || (status = mix(l)) || (status = split(l, *train, eval))) goto out;
    take_sentences(l);
    *report = l->report;
    if (!graft_dataset_count(*train))
        status = graft_fail(err, GRAFT_BAD_INPUT, NULL, "no record of \"%.120s\" can be learned from: all %lld were dropped%s%.400s", o->names, (long long)l->report.records, l->report.first_drop ? ", the first because: " : "",
                            l->report.first_drop ? l->report.first_drop : "");
out:
    if (l) {
        graft_corpus_free(l->corpus);
        graft_free(l->records);
        graft_free(l);
    }
    if (status) {
        graft_dataset_free(*train);
        graft_dataset_free(*eval);
        *train = *eval = NULL, report->first_drop = report->first_bad = NULL;
    }
    return status;
}
