/* core/model/tokenizer.c - see tokenizer.h. The parts are in core/model/tokenizer/; here they are put together. */
#include "core/model/tokenizer.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/str.h"
#include "core/model/tokenizer/parts.h"

#include <string.h>

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for the tokenizer"); }

/* ---- scratch pool: encoding is [any], so what changes is lent out under a lock ----------------------------------------------------- */

graft_scratch *graft_scratch_take(const graft_tokenizer *t)
{
    pthread_mutex_lock(&t->pool->lock);
    graft_scratch *x = t->pool->idle;
    if (x) t->pool->idle = x->next;
    pthread_mutex_unlock(&t->pool->lock);
    if (x) return x;
    if (!(x = graft_calloc(1, sizeof *x))) return NULL;
    if (!(x->cache = graft_calloc(GRAFT_CACHE_ENTRIES, sizeof *x->cache))) return graft_free(x), NULL;
    graft_str_init(&x->text[0], 0);
    graft_str_init(&x->text[1], 0);
    graft_str_init(&x->clean, 0);
    graft_str_init(&x->piece, 0);
    return x;
}

void graft_scratch_give(const graft_tokenizer *t, graft_scratch *x)
{
    pthread_mutex_lock(&t->pool->lock);
    x->next = t->pool->idle;
    t->pool->idle = x;
    pthread_mutex_unlock(&t->pool->lock);
}

static void scratch_free(graft_scratch *x)
{
    graft_matcher_free(&x->matcher);
    graft_str_free(&x->text[0]);
    graft_str_free(&x->text[1]);
    graft_str_free(&x->clean);
    graft_str_free(&x->piece);
    graft_arena_free(x->temp);
    void *const owned[] = {x->cache, x->pieces[0].item, x->pieces[1].item, x->marks, x->id, x->rank, x->made, x->prev, x->after, x->heap, x->best, x->best_id, x->best_from, x};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) graft_free(owned[i]);
}

/* Remembered words are wrong once the vocabulary changes. [control] */
static void caches_clear(graft_tokenizer *t)
{
    for (graft_scratch *x = t->pool->idle; x; x = x->next) memset(x->cache, 0, GRAFT_CACHE_ENTRIES * sizeof *x->cache);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------------ */

graft_tokenizer *graft_tokenizer_new(graft_error *err)
{
    graft_unicode_init();
    graft_tokenizer *t = graft_calloc(1, sizeof *t);
    if (t) {
        t->bos = t->eos = t->pad = t->unk = t->bpe.unk = t->unigram.unk = t->wordpiece.unk = -1;
        t->arena = graft_arena_new();
        t->pool = graft_calloc(1, sizeof *t->pool);
        if (t->pool) pthread_mutex_init(&t->pool->lock, NULL);
    }
    if (t && t->arena && t->pool) return t;
    graft_tokenizer_close(t);
    no_memory(err);
    return NULL;
}

/* A file by what it holds: a tokenizer.json, a sentencepiece model or tiktoken's ranks. config: tokenizer_config.json or NULL. */
static graft_status file_open(graft_tokenizer *t, const char *path, const graft_json *config, graft_error *err)
{
    char *data = NULL;
    size_t bytes = 0, i = 0;
    graft_status status = graft_file_read(path, 512ll << 20, &data, &bytes, err);
    if (status) return status;
    while (i < bytes && strchr(" \t\r\n\xEF\xBB\xBF", data[i])) i++;
    if (i == bytes) status = graft_fail(err, GRAFT_BAD_INPUT, path, "the file is empty; fetch it again");
    else if (data[0] == '\n' && bytes > 1 && data[1]) status = graft_tokenizer_sentencepiece(t, path, data, bytes, config, err); /* field 1, a run of bytes */
    else if (i < bytes && data[i] == '{') status = graft_tokenizer_json_text(t, t->json_path = path, data, bytes, err);
    else status = graft_tokenizer_tiktoken(t, path, data, bytes, config, err);
    graft_free(data);
    return status;
}

/* The file of a folder to open: tokenizer.json wins, vocab.json stands for itself and merges.txt. NULL: none. Names end in ".tiktoken" as they like. */
static const char *file_of(graft_tokenizer *t, graft_error *err)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json"};
    char **list = NULL;
    size_t n = 0;
    const char *found = NULL;
    if (graft_dir_list(t->dir, &list, &n, err)) return NULL;
    for (size_t k = 0; k < sizeof names / sizeof *names && !found; k++)
        for (size_t i = 0; i < n && !found; i++)
            if (!strcmp(list[i], names[k])) found = names[k];
    for (size_t i = 0; i < n && (!found || !strcmp(found, "vocab.json")); i++) {
        const size_t bytes = strlen(list[i]);
        if (bytes > 9 && !strcmp(list[i] + bytes - 9, ".tiktoken")) found = graft_arena_copy(t->arena, list[i], bytes);
    }
    if (!found) graft_fail(err, GRAFT_BAD_INPUT, t->dir, "the folder has no tokenizer.json (nor tokenizer.model, *.tiktoken, or vocab.json with merges.txt); put the model's tokenizer files there");
    found = found ? graft_arena_printf(t->arena, "%s/%s", t->dir, found) : NULL;
    graft_dir_list_free(list, n);
    return found;
}

static graft_status folder_open(graft_tokenizer *t, graft_error *err)
{
    const char *file = file_of(t, err);
    if (!file) return err->code ? err->code : no_memory(err);
    graft_arena *a = graft_arena_new();
    const char *beside = graft_arena_printf(t->arena, "%s/tokenizer_config.json", t->dir);
    const graft_json *config = NULL;
    graft_status status = a && beside ? GRAFT_OK : no_memory(err);
    if (!status && graft_path_exists(beside)) status = graft_json_parse_file(a, beside, 512ll << 20, 0, &config, err);
    if (!status && !strcmp(graft_path_base(file), "vocab.json")) {
        const char *merges = graft_arena_printf(t->arena, "%s/merges.txt", t->dir);
        status = merges ? graft_tokenizer_vocab_merges(t, file, merges, config, err) : no_memory(err);
    } else if (!status) {
        status = file_open(t, file, config, err);
    }
    graft_arena_free(a);
    if (status) return status;
    graft_tokenizer_plan(t);
    return graft_tokenizer_config_load(t, t->dir, err);
}

graft_status graft_tokenizer_open(const char *path, graft_tokenizer **out, graft_error *err)
{
    *out = NULL;
    graft_tokenizer *t = graft_tokenizer_new(err);
    if (!t) return err->code;
    const char *slash = strrchr(path, '/'), *own = graft_arena_copy(t->arena, path, strlen(path));
    const int folder = graft_path_is_dir(path);
    t->dir = folder ? graft_arena_copy(t->arena, path, strlen(path)) : slash ? graft_arena_copy(t->arena, path, (size_t)(slash - path))
                                                                             : graft_arena_copy(t->arena, ".", 1);
    graft_status status = t->dir && own ? GRAFT_OK : no_memory(err);
    if (!status) status = folder ? folder_open(t, err) : file_open(t, own, NULL, err);
    if (!status && !folder) graft_tokenizer_plan(t);
    if (!status) status = graft_decode_prepare(t, 0, err);
    t->file_eos = t->eos, t->file_pad = t->pad;
    if (status) return graft_tokenizer_close(t), status;
    *out = t;
    return GRAFT_OK;
}

void graft_tokenizer_close(graft_tokenizer *t)
{
    if (!t) return;
    for (graft_scratch *x = t->pool ? t->pool->idle : NULL, *next; x; x = next) next = x->next, scratch_free(x);
    if (t->pool) pthread_mutex_destroy(&t->pool->lock);
    graft_free(t->pool);
    for (size_t i = 0; i < t->n_norm; i++) graft_pattern_free(&t->norm[i].pattern);
    for (size_t i = 0; i < t->n_pretok; i++) graft_pattern_free(&t->pretok[i].pattern);
    for (size_t i = 0; i < t->n_decode; i++) graft_pattern_free(&t->decode[i].pattern);
    graft_bpe_free(&t->bpe);
    graft_unigram_free(&t->unigram);
    graft_added_free(&t->added);
    graft_vocab_free(&t->vocab);
    graft_free(t->special);
    graft_free(t->bytes);
    graft_arena_free(t->arena);
    graft_free(t);
}

/* ---- ids --------------------------------------------------------------------------------------------------------------------------------- */

void graft_ids_free(graft_ids *v)
{
    graft_free(v->ids);
    *v = (graft_ids){0};
}

graft_status graft_ids_add(graft_ids *v, const int32_t *ids, size_t n, graft_error *err)
{
    if (!n) return GRAFT_OK;
    if (graft_grow((void **)&v->ids, &v->room, v->n + n, sizeof *v->ids)) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for %zu token ids", v->n + n);
    memcpy(v->ids + v->n, ids, n * sizeof *ids);
    v->n += n;
    return GRAFT_OK;
}

/* ---- encode --------------------------------------------------------------------------------------------------------------------------------- */

graft_status graft_model_word(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err)
{
    switch (t->kind) {
    case MODEL_BPE: return graft_bpe_word(t, x, s, n, out, err);
    case MODEL_UNIGRAM: return graft_unigram_word(t, x, s, n, out, err);
    case MODEL_WORDPIECE: return graft_wordpiece_word(t, x, s, n, out, err);
    case MODEL_WORDLEVEL: return graft_wordlevel_word(t, x, s, n, out, err);
    }
    return GRAFT_OK;
}

/* Text without raw added tokens: normalise, cut out the normalised ones, pre-tokenise. */
static graft_status encode_part(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, int first, int split_special, graft_ids *out, graft_error *err)
{
    if (!n) return GRAFT_OK;
    graft_span text;
    if (graft_normalise(t, x, s, n, &text, err)) return err->code;
    size_t at = 0, start, end;
    const graft_added *a;
    while (graft_added_next(t, &t->added.normal, text.s, text.n, at, &start, &end, &a, split_special)) {
        if (graft_pretokenise(t, x, text.s + at, start - at, first && !at, out, err) || graft_ids_one(out, a->id, err)) return err->code;
        at = end;
    }
    return graft_pretokenise(t, x, text.s + at, text.n - at, first && !at, out, err);
}

graft_status graft_tokenizer_encode(const graft_tokenizer *t, const char *text, size_t bytes, int split_special, graft_ids *out, graft_error *err)
{
    graft_scratch *x = graft_scratch_take(t);
    if (!x) return no_memory(err);
    if (!graft_utf8_valid(text, bytes)) {
        graft_str_clear(&x->clean);
        graft_utf8_lossy(&x->clean, text, bytes);
        text = x->clean.data, bytes = x->clean.bytes;
    }
    graft_status status = x->clean.failed ? no_memory(err) : GRAFT_OK;
    size_t at = 0, start, end;
    const graft_added *a;
    while (!status && graft_added_next(t, &t->added.raw, text, bytes, at, &start, &end, &a, split_special)) {
        status = encode_part(t, x, text + at, start - at, !at, split_special, out, err);
        if (!status) status = graft_ids_one(out, a->id, err);
        at = end;
    }
    if (!status) status = encode_part(t, x, text + at, bytes - at, !at, split_special, out, err);
    graft_scratch_give(t, x);
    return status;
}

/* ---- decode ----------------------------------------------------------------------------------------------------------------------------------- */

static int known(const graft_tokenizer *t, int32_t id) { return id >= 0 && (size_t)id < t->vocab.size && t->vocab.text[id].s; }

/* The ByteLevel decoder alone: every token's bytes, then one pass over bad UTF-8. */
static graft_status decode_bytes(const graft_tokenizer *t, graft_scratch *x, const int32_t *ids, size_t n, int skip_special, graft_str *out, graft_error *err)
{
    graft_str *raw = &x->text[0];
    graft_str_clear(raw);
    for (size_t i = 0; i < n; i++)
        if (known(t, ids[i]) && !(skip_special && graft_tokenizer_is_special(t, ids[i]))) graft_str_add(raw, t->bytes[ids[i]].s, t->bytes[ids[i]].n);
    graft_utf8_lossy(out, raw->data, raw->bytes);
    return raw->failed || out->failed ? no_memory(err) : GRAFT_OK;
}

graft_status graft_tokenizer_decode(const graft_tokenizer *t, const int32_t *ids, size_t n, int skip_special, struct graft_str *out, graft_error *err)
{
    graft_scratch *x = graft_scratch_take(t);
    if (!x) return no_memory(err);
    graft_status status;
    if (t->n_decode == 1 && t->decode[0].kind == DEC_BYTE_LEVEL) {
        status = decode_bytes(t, x, ids, n, skip_special, out, err);
    } else {
        graft_span *tokens = graft_calloc(n + 1, sizeof *tokens);
        size_t m = 0;
        for (size_t i = 0; tokens && i < n; i++)
            if (known(t, ids[i]) && !(skip_special && graft_tokenizer_is_special(t, ids[i]))) tokens[m++] = t->vocab.text[ids[i]];
        status = tokens ? graft_decode_tokens(t, x, tokens, m, out, err) : no_memory(err);
        graft_free(tokens);
    }
    graft_scratch_give(t, x);
    return status;
}

const char *graft_tokenizer_bytes(const graft_tokenizer *t, int32_t id, size_t *bytes)
{
    if (!known(t, id)) return *bytes = 0, "";
    *bytes = t->bytes[id].n;
    return t->bytes[id].s;
}

/* ---- facts ------------------------------------------------------------------------------------------------------------------------------------- */

int64_t graft_tokenizer_size(const graft_tokenizer *t) { return (int64_t)t->vocab.size; }
int32_t graft_tokenizer_id(const graft_tokenizer *t, const char *token) { return graft_vocab_find(&t->vocab, token, strlen(token)); }
int graft_tokenizer_is_special(const graft_tokenizer *t, int32_t id) { return id >= 0 && (size_t)id < t->special_room && (size_t)id < t->vocab.size && t->special[id]; }
int32_t graft_tokenizer_bos(const graft_tokenizer *t) { return t->bos; }
int32_t graft_tokenizer_eos(const graft_tokenizer *t) { return t->eos; }
int32_t graft_tokenizer_pad(const graft_tokenizer *t) { return t->pad; }
void graft_tokenizer_set_eos(graft_tokenizer *t, int32_t id) { t->eos = id; }
void graft_tokenizer_set_pad(graft_tokenizer *t, int32_t id) { t->pad = id; }

graft_status graft_tokenizer_add_special(graft_tokenizer *t, const char *token, int32_t *id, graft_error *err)
{
    const size_t before = t->vocab.size;
    const int32_t there = graft_tokenizer_id(t, token);
    for (size_t i = 0; there >= 0 && i < t->added.n; i++)
        if (t->added.item[i].id == there && t->added.item[i].special) return *id = there, GRAFT_OK; /* keeps its own stripping rules */
    const graft_added a = {.content = {token, strlen(token)}, .id = -1, .special = 1};
    t->changed = 1;
    if (graft_added_put(t, a, err)) return err->code;
    *id = graft_tokenizer_id(t, token);
    caches_clear(t);
    return graft_decode_prepare(t, before, err);
}
