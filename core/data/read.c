/* core/data/read.c - from the names of sets to records: which files, which format, and their samples in the token cache.
 *
 * A file is read record by record in blocks; a block is rendered and tokenised in parallel and appended in order. A set of CACHE_FROM bytes or more is kept
 * in the cache's folder, under a key of all that its samples are made of: data, entry, format, template, tokenizer, options. max_samples is none of it: the
 * cache holds a set as far as it was ever asked for, and goes on from there. */
#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/threads.h"
#include "core/data/cache_keep.h"
#include "core/data/hub.h"
#include "core/data/parts.h"
#include "core/model/fingerprint.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_FROM = 8 << 20,  /* bytes: less is tokenised anew faster than it is looked up */
       HASH_WHOLE = 64 << 20, /* larger files are known by size, time and probes */
       PROBES = 64,           /* pieces of a large file that are hashed */
       PIECE = 64 << 10,
       SAY_EVERY = 1 << 20 }; /* records */

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for the dataset"); }

/* ---- a block of records ---------------------------------------------------------------------------------------------------------------- */

static void make_one(void *load, int64_t i)
{
    graft_load *l = load;
    if (l->o->preference) graft_preference_make(&l->block[i], &l->how, l->t, l->tok, &l->made[i]);
    else if (l->o->predict) graft_question_make(&l->block[i], &l->how, l->t, l->tok, &l->made[i]);
    else if (l->o->pretrain) graft_text_make(&l->block[i], &l->how, l->t, l->tok, &l->made[i]);
    else graft_sample_make(&l->block[i], &l->how, l->t, l->tok, &l->made[i]);
}

/* A record that is none: an error, or counted and skipped where that is asked for. */
static graft_status bad_record(graft_load *l)
{
    if (!l->o->skip_bad_records || l->err->code != GRAFT_BAD_INPUT) return l->err->code;
    char sentence[1400];
    snprintf(sentence, sizeof sentence, "%s: %s", l->err->where, l->err->message);
    if (l->bad_into) graft_cache_bad(l->bad_into, sentence);
    else if (!l->report.bad++) graft_log(GRAFT_LOG_WARNING, "a bad record is skipped, and so are others: %s", sentence);
    *l->err = (graft_error)GRAFT_ERROR_INIT;
    return GRAFT_OK;
}

static graft_status append_one(graft_load *l, graft_cache *c, int64_t i)
{
    const graft_made *m = &l->made[i];
    const char *dropped = m->dropped;
    char overlong[160], sentence[800];
    if (m->status) {
        *l->err = m->err;
        if (!l->err->where[0]) snprintf(l->err->where, sizeof l->err->where, "%s", l->block[i].place);
        return bad_record(l);
    }
    if (!dropped && m->cut && l->o->drop_overlong) {
        snprintf(overlong, sizeof overlong, "it has %lld tokens, cutoff_len is %lld", (long long)(m->n + m->cut), (long long)l->how.cutoff_len);
        dropped = overlong;
    }
    if (!dropped) return graft_cache_add(c, m->ids, m->labels, m->n, m->cut, l->err);
    snprintf(sentence, sizeof sentence, "%s: %s", l->block[i].place, dropped);
    return graft_cache_drop(c, sentence, m->dropped ? 0 : m->cut, l->err);
}

graft_status graft_load_flush(graft_load *l, graft_cache *c)
{
    graft_status status = GRAFT_OK;
    graft_parallel(l->n_block, make_one, l);
    for (int64_t i = 0; i < l->n_block; i++) {
        if (!status) status = append_one(l, c, i);
        graft_made_free(&l->made[i]);
    }
    l->n_block = 0;
    graft_arena_free(l->arena);
    l->arena = NULL;
    return status;
}

graft_status graft_load_next(graft_load *l, graft_load_stream *s, graft_record_copy *r, graft_arena *a, int *end)
{
    for (;;) {
        const int64_t from = s->source->api->tell(s->source);
        graft_record_init(r, a);
        if (!((const graft_format_table *)s->plugin->table)->next(s->stream, &r->base, end, l->err)) break;
        if (s->source->api->tell(s->source) == from || bad_record(l)) return l->err->code; /* no further record can be found there */
    }
    if (*end) return GRAFT_OK;
    const char *place = s->source->api->place(s->source);
    return (r->place = graft_arena_copy(a, place, strlen(place))) ? GRAFT_OK : no_memory(l->err);
}

/* Says now and then how far a large set is. */
static void say_progress(const graft_cache *c, int64_t before, const char *path)
{
    const int64_t now = graft_cache_records(c);
    if (now / SAY_EVERY != before / SAY_EVERY) graft_log(GRAFT_LOG_INFO, "%s: %lld records tokenised", path, (long long)now);
}

/* All records of an open stream until the set has `most`. at: where in the set's data it stands, kept up to date. */
static graft_status read_stream(graft_load *l, graft_cache *c, graft_load_stream *s, const char *path, int64_t most, graft_cache_place *at)
{
    const graft_format_table *table = s->plugin->table;
    for (int end = 0; !end;) {
        const int64_t before = graft_cache_records(c);
        while (!end && l->n_block < GRAFT_BLOCK && !(most && before + l->n_block >= most)) {
            if (!l->arena && !(l->arena = graft_arena_new())) return no_memory(l->err);
            if (graft_load_next(l, s, &l->block[l->n_block], l->arena, &end)) return l->err->code;
            l->n_block += !end;
        }
        graft_error cannot = GRAFT_ERROR_INIT; /* a format that cannot say where it is: the set is kept when its file ends */
        const int told = !end && !table->tell(s->stream, &at->cursor, &cannot);
        at->record = graft_source_record(s->source);
        if (graft_load_flush(l, c)) return l->err->code;
        const int enough = most && graft_cache_records(c) >= most;
        if (told && graft_cache_mark(c, at, enough, l->err)) return l->err->code;
        say_progress(c, before, path);
        if (enough) break;
    }
    return GRAFT_OK;
}

/* ---- which plugin reads a file -------------------------------------------------------------------------------------------------------------- */

static graft_status format_named(graft_load *l, const char *name, const graft_loaded **out)
{
    const graft_entry *e;
    return graft_registry_need(l->registry, GRAFT_KIND_FORMAT, name, &e, l->err) ? l->err->code : graft_plugin_load(e, out, l->err);
}

/* No "formatting": the format that is surest about the file's first bytes. */
static graft_status format_sniffed(graft_load *l, const char *path, const graft_source *source, const graft_loaded **out)
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

void graft_load_close(graft_load_stream *s)
{
    if (s->stream) ((const graft_format_table *)s->plugin->table)->close(s->stream);
    graft_source_close(s->source);
    graft_arena_free(s->arena);
    *s = (graft_load_stream){0};
}

graft_status graft_load_open(graft_load *l, const char *path, const graft_json *entry, graft_load_stream *s)
{
    const graft_json *formatting = graft_json_get(entry, "formatting");
    *s = (graft_load_stream){.arena = graft_arena_new()};
    graft_status status = s->arena ? graft_source_open(path, &s->source, l->err) : no_memory(l->err);
    if (!status) status = formatting && formatting->type == GRAFT_JSON_TEXT ? format_named(l, formatting->text, &s->plugin) : format_sniffed(l, path, s->source, &s->plugin);
    if (!status) {
        const graft_config *config = graft_config_new(s->arena, path, entry);
        status = config ? ((const graft_format_table *)s->plugin->table)->open(s->plugin->self, s->source, config, &s->stream, l->err) : no_memory(l->err);
        if (!status) status = graft_config_check(config, l->err);
    }
    if (status) graft_load_close(s);
    return status;
}

/* ---- the files of a set -------------------------------------------------------------------------------------------------------------------------- */

static graft_status one_file(graft_load *l, const char *path, char ***files, size_t *n)
{
    const size_t bytes = strlen(path);
    char **list = graft_calloc(1, sizeof *list), *copy = list ? graft_calloc(bytes + 1, 1) : NULL;
    if (!copy) return graft_free(list), no_memory(l->err);
    memcpy(copy, path, bytes);
    list[0] = copy, *files = list, *n = 1;
    return GRAFT_OK;
}

/* What save_to_disk of `datasets` writes beside its data. */
static int is_note(const char *name) { return !strcmp(name, "state.json") || !strcmp(name, "dataset_info.json") || !strcmp(name, "dataset_dict.json"); }

/* The files of a folder whose names match; NULL: all, but for hidden ones and notes. */
static graft_status folder_files(graft_load *l, const char *dir, const char *pattern, char ***files, size_t *n)
{
    size_t kept = 0;
    graft_status status = graft_dir_list(dir, files, n, l->err);
    for (size_t i = 0; !status && i < *n; i++) {
        char *name = (*files)[i], *file = graft_path_join(dir, name);
        const int fits = pattern ? !fnmatch(pattern, name, FNM_PERIOD) : name[0] != '.' && !is_note(name);
        graft_free(name);
        (*files)[i] = NULL;
        if (!file) status = no_memory(l->err);
        else if (!fits || graft_path_is_dir(file)) graft_free(file);
        else (*files)[kept++] = file;
    }
    if (!status) *n = kept;
    if (!status && !kept) status = graft_fail(l->err, GRAFT_BAD_INPUT, dir, pattern ? "no file of the folder is named like \"%.200s\"" : "the dataset's folder is empty%s", pattern ? pattern : "");
    return status;
}

static const char *text_at(const graft_json *entry, const char *key)
{
    const graft_json *v = graft_json_get(entry, key);
    return v && v->type == GRAFT_JSON_TEXT && v->bytes ? v->text : NULL;
}

/* A file, a folder, what save_to_disk wrote, or a folder and a pattern like "part-*.jsonl"; of an entry without file_name, a repository's folder. */
graft_status graft_load_files(graft_load *l, const char *path, const graft_json *entry, char ***files, size_t *n)
{
    if (entry && !text_at(entry, "file_name")) return graft_hub_files(path, text_at(entry, "subset"), text_at(entry, "split"), text_at(entry, "folder"), files, n, l->err);
    char dir[4096];
    const char *name = graft_path_base(path);
    *files = NULL, *n = 0;
    if (snprintf(dir, sizeof dir, "%s/dataset_dict.json", path) < (int)sizeof dir && graft_path_exists(dir)) { /* of save_to_disk: a folder a split */
        snprintf(dir, sizeof dir, "%s/train", path);
        return folder_files(l, dir, NULL, files, n);
    }
    if (graft_path_exists(path)) return graft_path_is_dir(path) ? folder_files(l, path, NULL, files, n) : one_file(l, path, files, n);
    snprintf(dir, sizeof dir, "%.*s", name > path ? (int)(name - path - 1) : 1, name > path ? path : ".");
    if (strpbrk(name, "*?[") && graft_path_is_dir(dir)) return folder_files(l, dir, name, files, n);
    return graft_fail(l->err, GRAFT_BAD_INPUT, path, "the dataset's file does not exist; check file_name and dataset_dir");
}

/* ---- what a set's samples are made of ------------------------------------------------------------------------------------------------------------ */

/* A file's content: all of it, or of a large one size, time of change, and pieces from all over it. */
static graft_status file_into(graft_load *l, const char *path, graft_sha256 *sum)
{
    int64_t bytes, modified;
    graft_map map;
    if (graft_path_stamp(path, &bytes, &modified, l->err) || graft_map_open(&map, path, l->err)) return l->err->code;
    const int whole = map.bytes <= HASH_WHOLE;
    const int64_t step = whole ? PIECE : (map.bytes - PIECE) / (PROBES - 1);
    graft_fingerprint_number(sum, map.bytes);
    graft_fingerprint_number(sum, whole ? 0 : modified);
    for (int64_t at = 0; at < map.bytes; at += step) {
        const int64_t n = map.bytes - at < PIECE ? map.bytes - at : PIECE;
        graft_sha256_add(sum, map.data + at, (size_t)n);
        graft_map_forget(map.data, at + n);
    }
    graft_map_close(&map);
    return GRAFT_OK;
}

/* The entry as text, but for what changes the choice of records and not what they are. */
static graft_status entry_into(graft_load *l, const graft_json *entry, graft_sha256 *sum)
{
    graft_str all;
    graft_str_init(&all, 0);
    for (const graft_json *m = entry ? entry->child : NULL; m; m = m->next) {
        if (!strcmp(m->key, "num_samples")) continue;
        graft_str_json(&all, m->key, m->key_bytes);
        graft_json_write(&all, m, 0, 1);
    }
    const graft_status status = all.failed ? no_memory(l->err) : GRAFT_OK;
    graft_fingerprint_text(sum, all.data, all.bytes);
    graft_str_free(&all);
    return status;
}

static void options_into(const graft_load *l, graft_sha256 *sum)
{
    const graft_dataset_options *o = &l->how;
    const int64_t numbers[] = {o->cutoff_len, o->train_on_prompt, o->mask_history, o->pretrain, o->pretrain && o->packing != GRAFT_PACKING_OFF, o->thinking, o->preserve_thinking, o->split_special_tokens, o->preference, o->drop_overlong, o->skip_bad_records, o->learn_pad, o->predict};
    graft_sha256_add(sum, numbers, sizeof numbers);
    graft_fingerprint_text(sum, o->default_system, o->default_system ? strlen(o->default_system) : 0);
}

/* Today's date is part of some tool prompts: a conversation with a tool tells whether it is one of this template's. */
static graft_status date_into(graft_load *l, graft_sha256 *sum)
{
    static const char tools[] = "[{\"name\": \"f\", \"description\": \"d\", \"parameters\": {\"type\": \"object\", \"properties\": {}, \"required\": []}}]";
    const graft_message talk[] = {{GRAFT_MESSAGE_USER, "q", 1}, {GRAFT_MESSAGE_ASSISTANT, "a", 1}};
    const graft_template_options how = {.today = l->how.today};
    graft_error cannot = GRAFT_ERROR_INIT;
    graft_unit_turn *turns;
    size_t n = 0;
    graft_arena *a = graft_arena_new();
    if (!a) return no_memory(l->err);
    if (graft_template_units(l->t, &how, a, talk, 2, "s", 1, tools, &turns, &n, &cannot)) graft_fingerprint_text(sum, how.today, how.today ? strlen(how.today) : 0);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < turns[i].prompt.n; k++) graft_fingerprint_text(sum, turns[i].prompt.item[k].text, turns[i].prompt.item[k].bytes);
    graft_arena_free(a);
    return GRAFT_OK;
}

static graft_status key_of(graft_load *l, const graft_json *entry, const graft_plugin *format, char *const *files, size_t n, char key[65])
{
    static const char words[] = "graft tokens 1 " GRAFT_VERSION;
    graft_sha256 sum;
    graft_sha256_init(&sum);
    graft_fingerprint_text(&sum, words, sizeof words);
    graft_fingerprint_text(&sum, format->name, strlen(format->name));
    graft_fingerprint_text(&sum, format->version, strlen(format->version));
    graft_fingerprint_number(&sum, (int64_t)n);
    for (size_t i = 0; i < n; i++)
        if (file_into(l, files[i], &sum)) return l->err->code;
    if (entry_into(l, entry, &sum) || date_into(l, &sum) || graft_tokenizer_fingerprint(l->tok, &sum, l->err)) return l->err->code;
    graft_template_fingerprint(l->t, &sum);
    options_into(l, &sum);
    graft_sha256_hex(&sum, key);
    return GRAFT_OK;
}

/* ---- one set ------------------------------------------------------------------------------------------------------------------------------------------- */

static graft_status open_cache(graft_load *l, const graft_json *entry, char *const *files, size_t n, graft_cache **out)
{
    const graft_dataset_options *o = l->o;
    const int narrow = graft_tokenizer_size(l->tok) <= 65536;
    int64_t total = 0, bytes, modified;
    char key[65] = "";
    for (size_t i = 0; o->cache_dir && i < n; i++) {
        if (graft_path_stamp(files[i], &bytes, &modified, l->err)) return l->err->code;
        total += bytes;
    }
    const int64_t from = o->cache_from ? o->cache_from : CACHE_FROM;
    if (!o->cache_dir || total < from) return graft_cache_open(NULL, NULL, narrow, 0, 0, out, l->err);
    graft_load_stream s;
    if (graft_load_open(l, files[0], entry, &s)) return l->err->code;
    const graft_status status = key_of(l, entry, s.plugin->door, files, n, key);
    graft_load_close(&s);
    if (status || graft_cache_open(o->cache_dir, key, narrow, o->overwrite_cache, o->cache_file_bytes, out, l->err)) return l->err->code;
    const int64_t records = graft_cache_records(*out);
    if (!records && total > (INT64_C(1) << 30)) graft_log(GRAFT_LOG_INFO, "%s: %.1f GB are tokenised before the first update, once; streaming=true with max_steps begins at once", files[0], (double)total / 1e9);
    if (graft_cache_end(*out)->ended) graft_log(GRAFT_LOG_INFO, "%s: %lld tokenised records are taken from %s/%s", files[0], (long long)records, o->cache_dir, key);
    else if (records) graft_log(GRAFT_LOG_INFO, "%s: %lld records are tokenised already; going on behind them", files[0], (long long)records);
    return GRAFT_OK;
}

/* One file, from where the place says. */
static graft_status read_file(graft_load *l, graft_cache *c, const char *path, const graft_json *entry, int64_t most, graft_cache_place *at)
{
    graft_load_stream s;
    graft_status status = graft_load_open(l, path, entry, &s);
    if (status) return status;
    if (at->record) {
        status = ((const graft_format_table *)s.plugin->table)->seek(s.stream, &at->cursor, l->err);
        graft_source_recount(s.source, at->record);
    }
    if (!status) status = read_stream(l, c, &s, path, most, at);
    if (!status && !graft_source_record(s.source)) status = graft_fail(l->err, GRAFT_BAD_INPUT, path, "the file has no records");
    graft_load_close(&s);
    graft_arena_free(l->arena);
    l->arena = NULL, l->n_block = 0;
    return status;
}

/* The set's records into the corpus, at least `most` of them if it has as many (0: all), and their numbers into l->records. */
static graft_status read_set(graft_load *l, const char *path, const graft_json *entry, int64_t most)
{
    char **files = NULL;
    size_t n = 0;
    graft_corpus *all = l->corpus;
    if (all->sets == GRAFT_SETS_MAX) return graft_fail(l->err, GRAFT_BAD_INPUT, "dataset", "more than %d sets are named", GRAFT_SETS_MAX);
    graft_cache **c = &all->set[all->sets];
    graft_status status = graft_load_files(l, path, entry, &files, &n);
    if (!status) status = open_cache(l, entry, files, n, c);
    l->bad_into = *c;
    if (!status) {
        graft_cache_place at = *graft_cache_end(*c);
        while (!status && !at.ended && !(most && graft_cache_records(*c) >= most)) {
            status = read_file(l, *c, files[at.file], entry, most, &at);
            if (status || (most && graft_cache_records(*c) >= most)) break;
            at = (graft_cache_place){.file = at.file + 1, .ended = at.file + 1 == (int32_t)n};
            status = graft_cache_mark(*c, &at, 0, l->err);
        }
    }
    if (!status && l->o->cache_dir && graft_cache_key(*c)) {
        const int64_t now = graft_cache_note(l->o->cache_dir, graft_cache_key(*c), files[0]);
        if (l->o->cache_limit && now) graft_cache_prune(l->o->cache_dir, l->o->cache_limit, now);
    }
    graft_dir_list_free(files, n);
    l->bad_into = NULL;
    if (status) return status;
    const int64_t records = graft_cache_records(*c), first = all->first[all->sets], want = most && most < records ? most : records;
    all->first[++all->sets] = first + records;
    if (first + records >= INT32_MAX || l->n_records + (size_t)want >= INT32_MAX) return graft_fail(l->err, GRAFT_BAD_INPUT, path, "more than %d records; use streaming", INT32_MAX);
    int32_t *grown = graft_realloc(l->records, l->n_records + (size_t)want, sizeof *grown); /* exactly: there may be many */
    if (!grown) return no_memory(l->err);
    l->records = grown, l->records_room = l->n_records + (size_t)want;
    for (int64_t i = 0; i < want; i++) l->records[l->n_records++] = (int32_t)(first + i);
    graft_cache_forget(*c);
    return GRAFT_OK;
}

/* ---- num_samples: numpy's global generator, seeded once, set after set ------------------------------------------------------------------------ */

/* The records of one set, from `first` on, become exactly `want` of them: permutation()[:want], then choice() with replacement. */
static graft_status draw_samples(graft_load *l, size_t first, int64_t want)
{
    graft_mt19937 *g = l->o->draws ? l->o->draws : &l->draws;
    const int64_t n = (int64_t)(l->n_records - first);
    if (want >= INT32_MAX) return graft_fail(l->err, GRAFT_BAD_INPUT, NULL, "num_samples is out of range");
    int32_t *order = graft_calloc((size_t)n + 1, sizeof *order), *picked = graft_calloc((size_t)want + 1, sizeof *picked);
    graft_status status = order && picked ? GRAFT_OK : no_memory(l->err);
    if (!status && n) {
        for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
        for (int64_t i = n - 1; i > 0; i--) {
            const uint32_t j = graft_numpy_below(g, (uint32_t)i);
            const int32_t swap = order[i];
            order[i] = order[j], order[j] = swap;
        }
        for (int64_t i = 0; i < want; i++) picked[i] = l->records[first + (size_t)(i < n ? (uint32_t)order[i] : graft_numpy_below(g, (uint32_t)(n - 1)))];
        if (graft_grow((void **)&l->records, &l->records_room, first + (size_t)want, sizeof *l->records)) status = no_memory(l->err);
        else memcpy(l->records + first, picked, (size_t)want * sizeof *picked), l->n_records = first + (size_t)want;
    }
    graft_free(order);
    graft_free(picked);
    return status;
}

/* NAME#N as ms-swift takes it: the whole set as often as N holds it, and for the rest the head of a permutation. */
static graft_status take_samples(graft_load *l, size_t first, int64_t want)
{
    graft_mt19937 *g = l->o->draws ? l->o->draws : &l->draws;
    const int64_t n = (int64_t)(l->n_records - first), rest = n ? want % n : 0;
    if (!n) return GRAFT_OK;
    if (want >= INT32_MAX) return graft_fail(l->err, GRAFT_BAD_INPUT, "dataset", "the number behind # is out of range");
    int64_t *order = graft_calloc((size_t)n + 1, sizeof *order);
    int32_t *picked = graft_calloc((size_t)want + 1, sizeof *picked);
    graft_status status = order && picked ? GRAFT_OK : no_memory(l->err);
    if (!status && rest) graft_numpy_shuffled(g, n, order);
    for (int64_t i = 0; !status && i < want; i++) picked[i] = l->records[first + (size_t)(i < want - rest ? i % n : order[i - (want - rest)])];
    if (!status && graft_grow((void **)&l->records, &l->records_room, first + (size_t)want, sizeof *l->records)) status = no_memory(l->err);
    if (!status) memcpy(l->records + first, picked, (size_t)want * sizeof *picked), l->n_records = first + (size_t)want;
    graft_free(order);
    graft_free(picked);
    return status;
}

/* "NAME#500": 500, and the name ends at the #. 0: there is none, or it is part of a file's name. */
static int64_t number_behind(const graft_load *l, char *name)
{
    char *hash = strrchr(name, '#');
    if (!hash || !hash[1] || hash[1 + strspn(hash + 1, "0123456789")] || strlen(hash) > 12 || graft_path_exists(name) || graft_registry_find(l->registry, GRAFT_KIND_DATASET, name)) return 0;
    *hash = 0;
    return strtoll(hash + 1, NULL, 10);
}

/* ---- names ------------------------------------------------------------------------------------------------------------------------------------------ */

int graft_load_name(const char **list, char name[4096])
{
    for (const char *p = *list; p && *p;) {
        const char *comma = p + strcspn(p, ",");
        while (p < comma && *p == ' ') p++;
        size_t n = (size_t)(comma - p);
        while (n && p[n - 1] == ' ') n--;
        *list = *comma ? comma + 1 : comma;
        snprintf(name, 4096, "%.*s", n < 4096 ? (int)n : 4095, p);
        if (n) return 1;
        p = *list;
    }
    return 0;
}

/* An entry whose data lies elsewhere: in the hub's folders on this machine, or it is refused. */
static graft_status find_remote(graft_load *l, const graft_entry *e, char **path)
{
    const char *script = text_at(e->json, "script_url"), *cloud = text_at(e->json, "cloud_file_name"), *modelers = text_at(e->json, "om_hub_url");
    graft_hub_site site;
    const char *name = graft_hub_of_entry(e->json, &site);
    if (name && (*path = graft_hub_find(site, GRAFT_HUB_DATASET, name, NULL))) return GRAFT_OK;
    if (name) return graft_fail(l->err, GRAFT_BAD_INPUT, e->layer, "dataset \"%s\" is \"%.120s\" of the hub and is not on this machine; fetch it with `graft pull %s`", e->name, name, e->name);
    if (script)
        return graft_fail(l->err, GRAFT_UNSUPPORTED, e->layer, "dataset \"%s\" is made by a program (script_url \"%.120s\"), and no data's own code is run here; convert it to a .jsonl file once and give the entry its file_name", e->name, script);
    if (cloud || modelers)
        return graft_fail(l->err, GRAFT_UNSUPPORTED, e->layer, "dataset \"%s\" lies elsewhere (%s \"%.120s\"), from where nothing is downloaded; download its files and give the entry their file_name", e->name, cloud ? "cloud_file_name" : "om_hub_url", cloud ? cloud : modelers);
    return graft_fail(l->err, GRAFT_BAD_INPUT, e->layer, "dataset \"%s\" names no data; give its entry a file_name", e->name);
}

graft_status graft_load_entry(graft_load *l, const char *name, const graft_json **entry, char **path)
{
    const graft_entry *e = graft_registry_find(l->registry, GRAFT_KIND_DATASET, name);
    *entry = NULL, *path = NULL;
    if (!e && (graft_path_exists(name) || (strchr(name, '/') && strpbrk(name, "*?[")))) return (*path = graft_path_join("", name)) ? GRAFT_OK : no_memory(l->err);
    if (!e && graft_registry_need(l->registry, GRAFT_KIND_DATASET, name, &e, l->err)) return l->err->code;
    const graft_json *ranking = graft_json_get(e->json, "ranking"), *file = graft_json_get(e->json, "file_name");
    const int pairs = ranking && ranking->integer;
    if (pairs != (l->o->preference == GRAFT_PREFERENCE_PAIRS))
        return graft_fail(l->err, GRAFT_BAD_INPUT, e->layer, pairs ? "dataset \"%s\" holds preferences (\"ranking\"); this stage needs conversations with one answer" : "dataset \"%s\" holds no preferences (\"ranking\": true); this stage learns from chosen and rejected answers", e->name);
    *entry = e->json;
    if (!file || file->type != GRAFT_JSON_TEXT || !file->bytes) return find_remote(l, e, path);
    const graft_json *part = graft_json_get(e->json, "split");
    if (part && part->type != GRAFT_JSON_NULL && !graft_json_is(part, "train"))
        return graft_fail(l->err, GRAFT_UNSUPPORTED, e->layer, "dataset \"%s\": a file has no split but \"train\", found \"%.80s\"; use num_samples in its entry, or max_samples", e->name, part->type == GRAFT_JSON_TEXT ? part->text : "no text");
    return (*path = graft_entry_path(e)) ? GRAFT_OK : no_memory(l->err);
}

static graft_status read_name(graft_load *l, char *name)
{
    const graft_json *entry;
    char *path;
    const int64_t take = number_behind(l, name);
    if (graft_load_entry(l, name, &entry, &path)) return l->err->code;
    const graft_json *number = graft_json_get(entry, "num_samples");
    const size_t first = l->n_records;
    const int drawn = number && number->integral && number->integer > 0;
    const int64_t set = l->corpus->sets, most = l->o->max_samples;
    graft_status status = read_set(l, path, entry, drawn || take ? 0 : most);
    if (!status && drawn) status = draw_samples(l, first, number->integer);
    if (!status && take) status = take_samples(l, first, take);
    if (!status && most > 0 && (int64_t)(l->n_records - first) > most) l->n_records = first + (size_t)most;
    if (!status) l->set_size[set] = (int64_t)(l->n_records - first);
    graft_free(path);
    return status;
}

graft_status graft_load_sets(graft_load *l)
{
    char name[4096];
    int any = 0;
    graft_mt19937_seed(&l->draws, l->o->seed);
    for (const char *list = l->o->names; graft_load_name(&list, name); any = 1)
        if (read_name(l, name)) return l->err->code;
    return any ? GRAFT_OK : graft_fail(l->err, GRAFT_BAD_INPUT, NULL, "no dataset is named; set dataset to a name of dataset_info.json or to a file");
}
