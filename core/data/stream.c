/* core/data/stream.c - streaming: a run begins at once, nothing is kept of the data but a shuffle buffer. The order is that of `datasets`' IterableDataset as
 * LLaMA-Factory uses it, for data of one shard:
 *
 *   files -> records of each set -> sets mixed (concat; interleaved by turns or chance) -> shuffle buffer -> val_size: the first so many are set aside
 *         -> windows of preprocessing_batch_size records -> samples, packed in their window
 *
 * Buffer: when it is full, one at random leaves for each that comes; at the end of the data what is left is shuffled. A pass over the data has a generator of
 * its own, made from the seed's and the pass's number, and passes over its own first val_size records: from the second pass on those set aside are learned
 * from, which is said. Going on after a stop, the samples before are made again and passed over. Other than there, a batch at the end of the data is filled
 * from the next pass. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/data/pack.h"
#include "core/data/parts.h"

#include <string.h>

enum { DRAWS = 1000 }; /* numbers that `datasets` draws at a time */

/* A record outside of any arena: its turns and texts lie behind it. */
typedef struct blob {
    graft_record_copy r;
    graft_record_turn turn[];
} blob;

typedef struct set {
    const graft_json *entry;
    char **files;
    size_t n_files, at;
    graft_load_stream s; /* of files[at]; source NULL: not open */
    blob *next;          /* taken in advance, to see the end */
    int exhausted;
    double until; /* of the cumulated probabilities */
} set;

/* The samples of one window. */
typedef struct window {
    graft_dataset *d;
    int64_t first, count;
} window;

struct graft_stream {
    graft_load *l;
    graft_dataset_options o;
    set *sets;
    set **order; /* joined sets, in the order of this pass */
    int64_t n_sets, turn;
    graft_pcg64 mixing, shuffling;
    blob **buffer;
    int64_t size, held, left; /* left: of a buffer that is being emptied, the next to go */
    int64_t draws, pass, aside;
    int ended; /* the sets, in this pass */
    window *windows;
    size_t n_windows, windows_room;
    int64_t made;     /* samples so far */
    int64_t in_pass;  /* samples made in this pass */
    int said_dropped; /* a record was dropped and said */
};

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for streamed data"); }

/* ---- records ------------------------------------------------------------------------------------------------------------------------------ */

static blob *blob_of(const graft_record_copy *r)
{
    const char *const extra[2] = {r->dropped, r->place};
    size_t bytes = sizeof(blob) + r->n * sizeof(graft_record_turn);
    for (size_t i = 0; i < r->n; i++) bytes += r->turns[i].bytes + 1;
    for (int i = 0; i < 2; i++) bytes += extra[i] ? strlen(extra[i]) + 1 : 0;
    blob *b = graft_calloc(bytes, 1);
    if (!b) return NULL;
    char *to = (char *)(b->turn + r->n);
    b->r = *r;
    b->r.turns = b->turn, b->r.room = r->n, b->r.arena = NULL;
    for (size_t i = 0; i < r->n; i++) {
        b->turn[i] = r->turns[i];
        b->turn[i].text = to;
        if (r->turns[i].bytes) memcpy(to, r->turns[i].text, r->turns[i].bytes);
        to += r->turns[i].bytes + 1;
    }
    for (int i = 0; i < 2; i++) {
        if (!extra[i]) continue;
        const size_t n = strlen(extra[i]) + 1;
        memcpy(to, extra[i], n);
        *(i ? &b->r.place : &b->r.dropped) = to;
        to += n;
    }
    return b;
}

static void rewind_set(set *x)
{
    graft_load_close(&x->s);
    graft_free(x->next);
    x->next = NULL, x->at = 0;
}

/* The set's next record; NULL at its end. */
static graft_status set_next(graft_stream *s, set *x, blob **out)
{
    graft_load *l = s->l;
    *out = NULL;
    while (x->at < x->n_files) {
        int end = 0;
        graft_record_copy r;
        if (!x->s.source && graft_load_open(l, x->files[x->at], x->entry, &x->s)) return l->err->code;
        graft_arena *a = graft_arena_new();
        if (!a) return no_memory(l->err);
        graft_status status = graft_load_next(l, &x->s, &r, a, &end);
        if (!status && !end && (r.failed || !(*out = blob_of(&r)))) status = no_memory(l->err);
        graft_arena_free(a);
        if (status || !end) return status;
        graft_load_close(&x->s);
        x->at++;
    }
    return GRAFT_OK;
}

/* ---- sets mixed ------------------------------------------------------------------------------------------------------------------------------ */

static int64_t draw_set(graft_stream *s)
{
    if (!s->o.interleave_probs) return s->turn++ % s->n_sets;
    const double u = graft_pcg64_double(&s->mixing);
    int64_t i = 0;
    while (i < s->n_sets - 1 && s->sets[i].until <= u) i++;
    return i;
}

static int all_used(const graft_stream *s)
{
    int64_t used = 0;
    for (int64_t i = 0; i < s->n_sets; i++) used += s->sets[i].exhausted;
    return !strcmp(s->o.mix_strategy, "interleave_over") ? used == s->n_sets : used > 0;
}

/* The next record of the mixture; NULL at its end. A set's end is seen when its last record is taken. */
static graft_status mixed_next(graft_stream *s, blob **out)
{
    const int concat = s->n_sets == 1 || !s->o.mix_strategy || !strcmp(s->o.mix_strategy, "concat");
    *out = NULL;
    for (; concat && s->turn < s->n_sets; s->turn++)
        if (set_next(s, s->order[s->turn], out) || *out) return *out ? GRAFT_OK : s->l->err->code;
    while (!concat && !*out && !all_used(s)) {
        set *x = &s->sets[draw_set(s)];
        if (!x->next && set_next(s, x, &x->next)) return s->l->err->code;
        *out = x->next, x->next = NULL;
        if (*out && set_next(s, x, &x->next)) return s->l->err->code;
        if (!x->next) x->exhausted = 1, rewind_set(x);
    }
    return GRAFT_OK;
}

/* ---- shuffled -------------------------------------------------------------------------------------------------------------------------------- */

static graft_status shuffled_next(graft_stream *s, blob **out)
{
    *out = NULL;
    while (!s->ended) {
        blob *b;
        if (mixed_next(s, &b)) return s->l->err->code;
        if (!b) {
            while (s->draws % DRAWS) graft_pcg64_integer(&s->shuffling, (uint32_t)(s->size - 1)), s->draws++; /* they were drawn there */
            graft_pcg64_shuffle(&s->shuffling, (void **)(void *)s->buffer, s->held);
            s->ended = 1, s->left = 0;
        } else if (s->held < s->size) {
            s->buffer[s->held++] = b;
        } else {
            const uint32_t i = graft_pcg64_integer(&s->shuffling, (uint32_t)(s->size - 1));
            s->draws++;
            *out = s->buffer[i], s->buffer[i] = b;
            return GRAFT_OK;
        }
    }
    if (s->left < s->held) *out = s->buffer[s->left], s->buffer[s->left++] = NULL;
    return GRAFT_OK;
}

static graft_status begin_pass(graft_stream *s)
{
    graft_pcg64 g;
    uint64_t seed = s->o.seed;
    if (s->pass) {
        graft_pcg64_seed(&g, seed);
        const int64_t drawn = (int64_t)(graft_pcg64_next(&g) >> 1) - s->pass; /* integers(0, 2^63) - epoch */
        seed = drawn < 0 ? (UINT64_C(1) << 63) + (uint64_t)drawn : (uint64_t)drawn;
    }
    graft_pcg64_seed(&s->mixing, seed);
    graft_pcg64_seed(&s->shuffling, seed);
    graft_pcg64_seed(&g, seed);
    for (int64_t i = 0; i < s->n_sets; i++) s->order[i] = &s->sets[i];
    graft_pcg64_shuffle(&g, (void **)(void *)s->order, s->n_sets); /* a copy of the generator shuffles the joined sets */
    for (int64_t i = 0; i < s->n_sets; i++) rewind_set(&s->sets[i]), s->sets[i].exhausted = 0;
    s->turn = s->held = s->left = s->draws = s->in_pass = 0, s->ended = 0;
    if (s->pass == 1 && s->aside) graft_log(GRAFT_LOG_WARNING, "the data begins anew in another order: the %lld records set aside for evaluation are learned from now on; use eval_dataset, or fewer max_steps", (long long)s->aside);
    for (int64_t k = 0; s->pass && k < s->aside; k++) {
        blob *b;
        if (shuffled_next(s, &b)) return s->l->err->code;
        graft_free(b);
    }
    return GRAFT_OK;
}

/* ---- samples ---------------------------------------------------------------------------------------------------------------------------------- */

/* Up to `most` records as a dataset of their own; *read: how many there were. */
static graft_status take_records(graft_stream *s, int64_t most, graft_dataset **out, int64_t *read)
{
    graft_load *l = s->l;
    blob *held[GRAFT_BLOCK] = {NULL};
    graft_corpus *corpus = graft_corpus_new();
    graft_status status = corpus ? graft_cache_open(NULL, NULL, graft_tokenizer_size(l->tok) <= 65536, 0, 0, &corpus->set[0], l->err) : no_memory(l->err);
    *out = NULL, *read = 0;
    for (int end = 0; !status && !end;) {
        int64_t n = 0;
        for (; !status && !end && n < GRAFT_BLOCK && *read < most; n += !end, *read += !end) {
            status = shuffled_next(s, &held[n]);
            end = !held[n];
            if (!end) l->block[n] = held[n]->r;
        }
        end |= *read == most;
        l->n_block = status ? 0 : n;
        if (!status) status = graft_load_flush(l, corpus->set[0]);
        for (int64_t i = 0; i < n; i++) graft_free(held[i]), held[i] = NULL;
    }
    if (!status) {
        const int64_t records = graft_cache_records(corpus->set[0]);
        corpus->first[1] = records, corpus->sets = 1;
        graft_corpus *before = l->corpus;
        l->corpus = corpus, l->n_records = (size_t)records;
        if (!(*out = graft_dataset_on(corpus)) || graft_grow((void **)&l->records, &l->records_room, (size_t)records + 1, sizeof *l->records)) status = no_memory(l->err);
        for (int64_t i = 0; !status && i < records; i++) l->records[i] = (int32_t)i;
        if (!status) status = graft_load_pick(l, *out, NULL, 0, records);
        l->corpus = before;
        const char *drop = graft_cache_first_drop(corpus->set[0]);
        if (drop && !s->said_dropped) graft_log(GRAFT_LOG_WARNING, "a record is dropped, and so are others like it: %s", drop);
        s->said_dropped |= drop != NULL;
    }
    graft_corpus_free(corpus);
    if (status) graft_dataset_free(*out), *out = NULL;
    return status;
}

/* The next window's samples, from the next pass when this one has ended. */
static graft_status next_window(graft_stream *s)
{
    graft_load *l = s->l;
    graft_dataset *d;
    int64_t read;
    if (take_records(s, s->o.preprocessing_batch_size > 0 ? s->o.preprocessing_batch_size : 1000, &d, &read)) return l->err->code;
    const int64_t count = graft_dataset_count(d);
    if (!read) {
        graft_dataset_free(d);
        if (!s->in_pass) return graft_fail(l->err, GRAFT_BAD_INPUT, NULL, "no record of \"%.120s\" can be learned from: all %lld were dropped", s->o.names, (long long)l->report.records);
        s->pass++;
        return begin_pass(s);
    }
    if (graft_grow((void **)&s->windows, &s->windows_room, s->n_windows + 1, sizeof *s->windows)) return graft_dataset_free(d), no_memory(l->err);
    s->windows[s->n_windows++] = (window){d, s->made, count};
    s->made += count, s->in_pass += count;
    return GRAFT_OK;
}

/* Windows that nobody will ask for again. */
static void leave_behind(graft_stream *s, int64_t before)
{
    size_t gone = 0;
    while (gone < s->n_windows && s->windows[gone].first + s->windows[gone].count <= before) graft_dataset_free(s->windows[gone++].d);
    if (gone) memmove(s->windows, s->windows + gone, (s->n_windows - gone) * sizeof *s->windows);
    s->n_windows -= gone;
}

graft_status graft_stream_get(graft_stream *s, int64_t i, graft_sample *out, graft_error *err)
{
    s->l->err = err;
    while (i >= s->made) {
        leave_behind(s, i - s->o.stream_window);
        if (next_window(s)) return err->code;
    }
    for (size_t k = s->n_windows; k-- > 0;) {
        const window *w = &s->windows[k];
        if (i >= w->first && i < w->first + w->count) return graft_dataset_get(w->d, i - w->first, out, err);
    }
    return graft_fail(err, GRAFT_INTERNAL, NULL, "sample %lld of a stream was asked for again, too late", (long long)i);
}

int64_t graft_stream_count(const graft_stream *s) { return s->o.stream_samples; }

graft_sample_size graft_stream_largest(const graft_stream *s)
{
    const int64_t cut = s->l->how.cutoff_len, packed = s->o.pretrain ? cut : cut + 1;
    if (s->o.preference) return (graft_sample_size){.n = 2 * cut, .rows = 2 * cut, .sequences = 2, .labelled = 2 * cut};
    if (!graft_load_packs(&s->o)) return (graft_sample_size){.n = cut, .rows = cut, .sequences = 1, .labelled = cut};
    return (graft_sample_size){.n = packed, .rows = packed, .sequences = s->o.packing == GRAFT_PACKING_NEAT ? packed : 1, .labelled = packed};
}

/* ---- opening ------------------------------------------------------------------------------------------------------------------------------------ */

static graft_status open_sets(graft_stream *s)
{
    graft_load *l = s->l;
    char name[4096];
    double probabilities[GRAFT_SETS_MAX], sum = 0;
    size_t room = 0;
    for (const char *list = s->o.names; graft_load_name(&list, name);) {
        char *path = NULL;
        if (s->n_sets == GRAFT_SETS_MAX) return graft_fail(l->err, GRAFT_BAD_INPUT, "dataset", "more than %d sets are named", GRAFT_SETS_MAX);
        if (graft_grow((void **)&s->sets, &room, (size_t)s->n_sets + 1, sizeof *s->sets)) return no_memory(l->err);
        set *x = &s->sets[s->n_sets++];
        *x = (set){0};
        graft_status status = graft_load_entry(l, name, &x->entry, &path);
        if (!status) status = graft_load_files(l, path, x->entry, &x->files, &x->n_files);
        graft_free(path);
        if (status) return status;
    }
    if (!s->n_sets) return graft_fail(l->err, GRAFT_BAD_INPUT, NULL, "no dataset is named; set dataset to a name of dataset_info.json or to a file");
    if (s->n_sets < 2 || !s->o.interleave_probs || !s->o.mix_strategy || !strcmp(s->o.mix_strategy, "concat")) return GRAFT_OK;
    if (graft_load_probabilities(l, s->n_sets, probabilities)) return l->err->code;
    for (int64_t i = 0; i < s->n_sets; i++) sum += probabilities[i], s->sets[i].until = sum;
    for (int64_t i = 0; i < s->n_sets; i++) {
        if (!(probabilities[i] >= 0) || !(sum > 1 - 1e-6 && sum < 1 + 1e-6)) return graft_fail(l->err, GRAFT_BAD_INPUT, "interleave_probs", "expected probabilities from 0 that sum to 1, they sum to %g", sum);
        if (!(probabilities[i] > 0) && !strcmp(s->o.mix_strategy, "interleave_over")) return graft_fail(l->err, GRAFT_BAD_INPUT, "interleave_probs", "set %lld has no probability above 0, so it is never used up, which interleave_over waits for; leave it out", (long long)i + 1);
        s->sets[i].until /= sum;
    }
    return GRAFT_OK;
}

static graft_status check(const graft_dataset_options *o, graft_error *err)
{
    const char *mix = o->mix_strategy;
    if (mix && strcmp(mix, "concat") && strcmp(mix, "interleave_under") && strcmp(mix, "interleave_over")) return graft_fail(err, GRAFT_BAD_INPUT, "mix_strategy", "\"%.60s\" is not possible; use concat, interleave_under or interleave_over", mix);
    if (o->stream_samples < 1) return graft_fail(err, GRAFT_BAD_INPUT, "streaming", "how long the run is must be said: give max_steps");
    if (o->max_samples > 0) return graft_fail(err, GRAFT_BAD_INPUT, "streaming", "max_samples and streaming exclude each other; leave one out");
    if (o->val_size > 0 && o->val_size < 1) return graft_fail(err, GRAFT_BAD_INPUT, "val_size", "with streaming expected a number of records, found %g", o->val_size);
    if (o->buffer_size < 0 || o->buffer_size >= INT32_MAX) return graft_fail(err, GRAFT_BAD_INPUT, "buffer_size", "expected a number of records from 1, found %lld", (long long)o->buffer_size);
    return GRAFT_OK;
}

graft_status graft_stream_open(graft_load *l, graft_stream **out, graft_dataset **eval)
{
    graft_stream *s = *out = graft_calloc(1, sizeof *s);
    int64_t read;
    if (!s) {
        const graft_status status = no_memory(l->err);
        graft_corpus_free(l->corpus);
        graft_free(l);
        return status;
    }
    s->l = l, s->o = *l->o, l->o = &s->o;
    s->o.draws = NULL, s->o.preprocessing_workers = 0; /* several workers are for data that is read whole */
    s->size = s->o.buffer_size ? s->o.buffer_size : 16384;
    if (check(&s->o, l->err) || open_sets(s)) return l->err->code;
    s->buffer = graft_calloc((size_t)s->size, sizeof *s->buffer);
    s->order = graft_calloc((size_t)s->n_sets, sizeof *s->order);
    if (!s->buffer || !s->order) return no_memory(l->err);
    if (begin_pass(s)) return l->err->code;
    s->aside = (int64_t)s->o.val_size;
    if (s->aside && take_records(s, s->aside, eval, &read)) return l->err->code;
    return next_window(s); /* the first: what is wrong with the data is said before the run */
}

void graft_stream_free(graft_stream *s)
{
    if (!s) return;
    for (int64_t i = 0; i < s->n_sets; i++) rewind_set(&s->sets[i]), graft_dir_list_free(s->sets[i].files, s->sets[i].n_files);
    for (int64_t i = 0; s->buffer && i < s->held; i++) graft_free(s->buffer[i]);
    for (size_t i = 0; i < s->n_windows; i++) graft_dataset_free(s->windows[i].d);
    graft_free(s->windows);
    graft_free(s->buffer);
    graft_free(s->sets);
    graft_free(s->order);
    graft_corpus_free(s->l->corpus);
    graft_free(s->l->records);
    graft_free(s->l);
    graft_free(s);
}
