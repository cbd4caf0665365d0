/* core/model/tokenizer/json.c - tokenizer.json of the `tokenizers` library into a graft_tokenizer, and what tokenizer_config.json adds to it.
 *
 *   { "added_tokens": [{"id", "content", "special", "single_word", "lstrip", "rstrip", "normalized"}],
 *     "normalizer": null | {"type": ...}, "pre_tokenizer": ..., "decoder": ..., "post_processor": (special tokens around a text: not ours),
 *     "model": {"type": "BPE", "vocab": {text: id}, "merges": ["a b"] | [["a", "b"]], "unk_token", "byte_fallback", "fuse_unk", "ignore_merges", ...} }
 *
 * Limits: 512 MiB a file, GRAFT_TOKENS_MAX ids, 64 steps in each pipeline. Every refusal says file, line and column. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

#include <stdio.h>
#include <string.h>

enum { STEPS_MAX = 64 };
#define FILE_MAX (512ll << 20)

typedef struct reader {
    graft_tokenizer *t;
    const char *path;
    graft_error *err;
    char where[256];
} reader;

static const char *place(reader *r, const graft_json *v)
{
    snprintf(r->where, sizeof r->where, v ? "%s:%d:%d" : "%s", r->path, v ? v->line : 0, v ? v->column : 0);
    return r->where;
}

#define REFUSE(r_, v_, ...) graft_fail((r_)->err, GRAFT_BAD_INPUT, place(r_, v_), __VA_ARGS__)

static graft_status no_memory(reader *r)
{
    return graft_fail(r->err, GRAFT_NO_MEMORY, r->path, "out of memory for the tokenizer");
}

static const graft_json *get(const graft_json *o, const char *key)
{
    const graft_json *v = graft_json_get(o, key);
    return v && v->type != GRAFT_JSON_NULL ? v : NULL;
}

static int flag(const graft_json *o, const char *key, int fallback)
{
    const graft_json *v = get(o, key);
    return v && v->type == GRAFT_JSON_BOOL ? (int)v->integer : fallback;
}

static graft_span copy(reader *r, const graft_json *v)
{
    return v && v->type == GRAFT_JSON_TEXT ? (graft_span){graft_arena_copy(r->t->arena, v->text, v->bytes), v->bytes} : (graft_span){0};
}

static graft_span copy_of(reader *r, const graft_json *o, const char *key) { return copy(r, get(o, key)); }

static int is(const graft_json *v, const char *s) { return v && v->type == GRAFT_JSON_TEXT && v->bytes == strlen(s) && !memcmp(v->text, s, v->bytes); }

/* {"String": "x"} or {"Regex": "x"} */
static graft_status pattern_of(reader *r, const graft_json *step, graft_pattern *p)
{
    const graft_json *v = get(step, "pattern"), *literal = get(v, "String"), *regex = get(v, "Regex");
    if (v && v->type == GRAFT_JSON_TEXT) literal = v;
    if (literal && literal->type == GRAFT_JSON_TEXT) {
        p->literal = copy(r, literal);
        return p->literal.s ? GRAFT_OK : no_memory(r);
    }
    if (regex && regex->type == GRAFT_JSON_TEXT) return graft_pattern_regex(p, regex->text, regex->bytes, place(r, regex), r->err);
    return REFUSE(r, step, "expected a pattern {\"String\": ...} or {\"Regex\": ...}, found none");
}

/* Calls add for the step, or for each step of a Sequence (nested ones too). list: its member. */
typedef graft_status (*add_fn)(reader *r, const graft_json *step, const graft_json *type);
static graft_status steps(reader *r, const graft_json *v, const char *list, const char *what, add_fn add, int depth)
{
    if (!v) return GRAFT_OK;
    const graft_json *type = get(v, "type");
    if (!type || type->type != GRAFT_JSON_TEXT) return REFUSE(r, v, "expected a %s {\"type\": ...}, found none", what);
    if (!is(type, "Sequence")) return add(r, v, type);
    const graft_json *items = get(v, list);
    if (!items || items->type != GRAFT_JSON_ARRAY || depth > 8) return REFUSE(r, v, "a Sequence needs a list \"%s\"", list);
    for (const graft_json *s = items->child; s; s = s->next)
        if (steps(r, s, list, what, add, depth + 1)) return r->err->code;
    return GRAFT_OK;
}

/* A zeroed element at the end of a list of steps, or NULL. */
static void *step_new(reader *r, void *list, size_t *n, size_t size)
{
    if (*n >= STEPS_MAX) return NULL;
    void **items = list;
    if (!*items && !(*items = graft_arena_alloc(r->t->arena, STEPS_MAX * size))) return NULL;
    return (char *)*items + size * (*n)++;
}

static graft_status add_norm(reader *r, const graft_json *v, const graft_json *type)
{
    static const struct {
        const char *name;
        graft_norm_kind kind;
    } kinds[] = {
        {"NFC", NORM_NFC}, {"NFD", NORM_NFD}, {"NFKC", NORM_NFKC}, {"NFKD", NORM_NFKD}, {"Lowercase", NORM_LOWERCASE}, {"Strip", NORM_STRIP}, {"StripAccents", NORM_STRIP_ACCENTS}, {"Replace", NORM_REPLACE}, {"Prepend", NORM_PREPEND}, {"BertNormalizer", NORM_BERT}, {"Nmt", NORM_NMT}, {"ByteLevel", NORM_BYTE_LEVEL}, {"Precompiled", NORM_PRECOMPILED}};
    size_t i = 0;
    while (i < sizeof kinds / sizeof *kinds && !is(type, kinds[i].name)) i++;
    if (i == sizeof kinds / sizeof *kinds) return REFUSE(r, type, "the normalizer \"%s\" is none that this version knows", type->text);
    graft_norm *m = step_new(r, &r->t->norm, &r->t->n_norm, sizeof *m);
    if (!m) return no_memory(r);
    m->kind = kinds[i].kind;
    m->left = flag(v, "strip_left", 1), m->right = flag(v, "strip_right", 1);
    m->clean = flag(v, "clean_text", 1), m->chinese = flag(v, "handle_chinese_chars", 1), m->accents = flag(v, "strip_accents", -1), m->lower = flag(v, "lowercase", 1);
    if (m->kind == NORM_REPLACE || m->kind == NORM_PREPEND) {
        m->content = copy_of(r, v, m->kind == NORM_REPLACE ? "content" : "prepend");
        if (!m->content.s) return REFUSE(r, v, "the normalizer %s needs the text that it puts in", type->text);
    }
    if (m->kind == NORM_REPLACE) return pattern_of(r, v, &m->pattern);
    return m->kind == NORM_PRECOMPILED ? graft_precompiled_open(r->t, m, get(v, "precompiled_charsmap"), place(r, v), r->err) : GRAFT_OK;
}

static graft_status behaviour_of(reader *r, const graft_json *v, graft_behaviour *out)
{
    static const struct {
        const char *name;
        graft_behaviour how;
    } words[] = {{"Removed", SPLIT_REMOVED}, {"Isolated", SPLIT_ISOLATED}, {"MergedWithPrevious", SPLIT_MERGED_PREVIOUS}, {"MergedWithNext", SPLIT_MERGED_NEXT}, {"Contiguous", SPLIT_CONTIGUOUS}};
    const graft_json *b = get(v, "behavior");
    *out = SPLIT_ISOLATED;
    if (!b) return GRAFT_OK;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (is(b, words[i].name)) return *out = words[i].how, GRAFT_OK;
    return REFUSE(r, b, "expected a behavior among Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous, found \"%s\"", b->text ? b->text : "something else");
}

static graft_status metaspace_of(reader *r, const graft_json *v, graft_pretok *p)
{
    const graft_json *scheme = get(v, "prepend_scheme");
    p->mark = copy_of(r, v, "replacement");
    if (!p->mark.n) p->mark = (graft_span){"\xE2\x96\x81", 3};
    p->split = flag(v, "split", 1);
    p->prepend = flag(v, "add_prefix_space", 1) ? PREPEND_ALWAYS : PREPEND_NEVER; /* the word of old files */
    if (is(scheme, "first")) p->prepend = PREPEND_FIRST;
    else if (is(scheme, "never")) p->prepend = PREPEND_NEVER;
    else if (is(scheme, "always")) p->prepend = PREPEND_ALWAYS;
    else if (scheme) return REFUSE(r, scheme, "expected prepend_scheme always, first or never");
    return GRAFT_OK;
}

static graft_status add_pretok(reader *r, const graft_json *v, const graft_json *type)
{
    static const struct {
        const char *name;
        graft_pretok_kind kind;
    } kinds[] = {
        {"ByteLevel", PRE_BYTE_LEVEL}, {"Split", PRE_SPLIT}, {"Digits", PRE_DIGITS}, {"Metaspace", PRE_METASPACE}, {"Whitespace", PRE_WHITESPACE}, {"WhitespaceSplit", PRE_WHITESPACE_SPLIT}, {"Punctuation", PRE_PUNCTUATION}, {"BertPreTokenizer", PRE_BERT}, {"CharDelimiterSplit", PRE_DELIMITER}, {"FixedLength", PRE_FIXED_LENGTH}};
    size_t i = 0;
    while (i < sizeof kinds / sizeof *kinds && !is(type, kinds[i].name)) i++;
    if (i == sizeof kinds / sizeof *kinds) return REFUSE(r, type, "the pre_tokenizer \"%s\" is none that this version knows", type->text);
    graft_pretok *p = step_new(r, &r->t->pretok, &r->t->n_pretok, sizeof *p);
    if (!p) return no_memory(r);
    p->kind = kinds[i].kind;
    p->prefix_space = flag(v, "add_prefix_space", 1), p->use_regex = flag(v, "use_regex", 1);
    p->pattern.known = p->kind == PRE_BYTE_LEVEL ? GRAFT_KNOWN_GPT2 : GRAFT_KNOWN_NONE;
    p->individual = flag(v, "individual_digits", 0), p->invert = flag(v, "invert", 0);
    if (p->kind == PRE_SPLIT && pattern_of(r, v, &p->pattern)) return r->err->code;
    if (p->kind == PRE_METASPACE) return metaspace_of(r, v, p);
    if (p->kind == PRE_DELIMITER && !(p->mark = copy_of(r, v, "delimiter")).n) return REFUSE(r, v, "CharDelimiterSplit needs a delimiter");
    if (p->kind == PRE_FIXED_LENGTH) {
        const graft_json *length = get(v, "length");
        p->length = length && length->integral && length->integer > 0 ? (size_t)length->integer : 5;
    }
    return p->kind == PRE_SPLIT || p->kind == PRE_PUNCTUATION ? behaviour_of(r, v, &p->behaviour) : GRAFT_OK;
}

static size_t count_of(const graft_json *o, const char *key)
{
    const graft_json *v = get(o, key);
    return v && v->integral && v->integer > 0 ? (size_t)v->integer : 0;
}

static graft_status add_decode(reader *r, const graft_json *v, const graft_json *type)
{
    static const struct {
        const char *name;
        graft_decode_kind kind;
        const char *content, *fallback;
    } kinds[] = {
        {"ByteLevel", DEC_BYTE_LEVEL, NULL, NULL}, {"ByteFallback", DEC_BYTE_FALLBACK, NULL, NULL}, {"Fuse", DEC_FUSE, NULL, NULL}, {"Strip", DEC_STRIP, "content", " "}, {"Replace", DEC_REPLACE, "content", ""}, {"Metaspace", DEC_METASPACE, "replacement", "\xE2\x96\x81"}, {"WordPiece", DEC_WORDPIECE, "prefix", "##"}, {"BPEDecoder", DEC_BPE, "suffix", "</w>"}, {"CTC", DEC_CTC, "pad_token", "<pad>"}};
    size_t i = 0;
    while (i < sizeof kinds / sizeof *kinds && !is(type, kinds[i].name)) i++;
    if (i == sizeof kinds / sizeof *kinds) return REFUSE(r, type, "the decoder \"%s\" is none that this version knows", type->text);
    graft_decode *d = step_new(r, &r->t->decode, &r->t->n_decode, sizeof *d);
    if (!d) return no_memory(r);
    d->kind = kinds[i].kind;
    d->content = kinds[i].content ? copy_of(r, v, kinds[i].content) : (graft_span){0};
    if (kinds[i].fallback && !d->content.s) d->content = (graft_span){kinds[i].fallback, strlen(kinds[i].fallback)};
    d->start = count_of(v, "start"), d->stop = count_of(v, "stop");
    d->flag = flag(v, "cleanup", 1);
    if (d->kind == DEC_METASPACE) d->flag = get(v, "prepend_scheme") ? !is(get(v, "prepend_scheme"), "never") : flag(v, "add_prefix_space", 1);
    if (d->kind == DEC_CTC && !(d->delimiter = copy_of(r, v, "word_delimiter_token")).s) d->delimiter = (graft_span){"|", 1};
    return d->kind == DEC_REPLACE ? pattern_of(r, v, &d->pattern) : GRAFT_OK;
}

/* ---- the model ---------------------------------------------------------------------------------------------------------------------- */

static graft_status vocab_of(reader *r, const graft_json *model)
{
    const graft_json *vocab = get(model, "vocab");
    if (!vocab || vocab->type != GRAFT_JSON_OBJECT) return REFUSE(r, vocab ? vocab : model, "expected model.vocab as an object {token: id}");
    for (const graft_json *v = vocab->child; v; v = v->next) {
        if (v->type != GRAFT_JSON_NUMBER || !v->integral || v->integer < 0 || v->integer >= GRAFT_TOKENS_MAX)
            return REFUSE(r, v, "the id of token \"%.60s\" must be an integer between 0 and %d", v->key, GRAFT_TOKENS_MAX - 1);
        const char *text = graft_arena_copy(r->t->arena, v->key, v->key_bytes);
        if (!text) return no_memory(r);
        if (graft_vocab_put(&r->t->vocab, v->integer, text, v->key_bytes, r->err)) {
            if (!r->err->where[0]) snprintf(r->err->where, sizeof r->err->where, "%s", place(r, v));
            return r->err->code;
        }
    }
    r->t->model_size = r->t->vocab.size;
    return GRAFT_OK;
}

static graft_status token_id(reader *r, const graft_json *model, const char *key, int32_t *id)
{
    const graft_json *v = get(model, key);
    *id = -1;
    if (!v) return GRAFT_OK;
    if (v->type != GRAFT_JSON_TEXT || (*id = graft_vocab_find(&r->t->vocab, v->text, v->bytes)) < 0) return REFUSE(r, v, "%s \"%s\" is not in the vocabulary", key, v->text ? v->text : "");
    return GRAFT_OK;
}

static graft_status merge_of(reader *r, const graft_json *m, uint32_t rank)
{
    graft_span a = {0}, b = {0};
    if (m->type == GRAFT_JSON_TEXT) {
        const char *blank = memchr(m->text, ' ', m->bytes);
        if (blank) a = (graft_span){m->text, (size_t)(blank - m->text)}, b = (graft_span){blank + 1, m->bytes - a.n - 1};
        if (!blank || memchr(b.s, ' ', b.n)) return REFUSE(r, m, "merge %u, \"%.80s\", must have two parts with one blank between them", rank + 1, m->text);
    } else if (m->type == GRAFT_JSON_ARRAY && m->count == 2 && m->child->type == GRAFT_JSON_TEXT && m->child->next->type == GRAFT_JSON_TEXT) {
        a = (graft_span){m->child->text, m->child->bytes}, b = (graft_span){m->child->next->text, m->child->next->bytes};
    } else {
        return REFUSE(r, m, "merge %u must be \"a b\" or [\"a\", \"b\"]", rank + 1);
    }
    const int32_t left = graft_vocab_find(&r->t->vocab, a.s, a.n), right = graft_vocab_find(&r->t->vocab, b.s, b.n);
    if (left < 0 || right < 0) return REFUSE(r, m, "merge %u names \"%.*s\", which is not in the vocabulary", rank + 1, (int)(left < 0 ? a.n : b.n), left < 0 ? a.s : b.s);
    const size_t skip = r->t->bpe.prefix.n;
    char *text = a.n + b.n < 65536 && b.n >= skip ? graft_calloc(a.n + b.n + 1, 1) : NULL;
    if (!text) return REFUSE(r, m, "merge %u cannot be joined", rank + 1);
    memcpy(text, a.s, a.n);
    memcpy(text + a.n, b.s + skip, b.n - skip);
    const int32_t id = graft_vocab_find(&r->t->vocab, text, a.n + b.n - skip);
    const graft_status status = id < 0 ? REFUSE(r, m, "merge %u makes \"%.80s\", which is not in the vocabulary", rank + 1, text) : graft_bpe_merge_add(r->t, left, right, rank, id, r->err);
    graft_free(text);
    return status;
}

static graft_status bpe_of(reader *r, const graft_json *model)
{
    graft_bpe *b = &r->t->bpe;
    b->byte_fallback = flag(model, "byte_fallback", 0), b->fuse_unk = flag(model, "fuse_unk", 0), b->ignore_merges = flag(model, "ignore_merges", 0);
    b->prefix = copy_of(r, model, "continuing_subword_prefix"), b->suffix = copy_of(r, model, "end_of_word_suffix");
    b->bytes = r->t->n_pretok && r->t->pretok[r->t->n_pretok - 1].kind == PRE_BYTE_LEVEL && !b->prefix.n && !b->suffix.n && !b->byte_fallback;
    if (vocab_of(r, model) || token_id(r, model, "unk_token", &b->unk)) return r->err->code;
    const graft_json *merges = get(model, "merges");
    if (!merges || merges->type != GRAFT_JSON_ARRAY) return REFUSE(r, merges ? merges : model, "expected model.merges as a list");
    uint32_t rank = 0;
    for (const graft_json *m = merges->child; m; m = m->next, rank++)
        if (merge_of(r, m, rank)) return r->err->code;
    return graft_bpe_finish(r->t, r->err);
}

static graft_status unigram_of(reader *r, const graft_json *model)
{
    graft_tokenizer *t = r->t;
    const graft_json *vocab = get(model, "vocab"), *unk = get(model, "unk_id");
    if (!vocab || vocab->type != GRAFT_JSON_ARRAY || vocab->count >= GRAFT_TOKENS_MAX) return REFUSE(r, vocab ? vocab : model, "expected model.vocab as a list of [token, score]");
    if (!(t->unigram.score = graft_calloc((size_t)vocab->count + 1, sizeof *t->unigram.score))) return no_memory(r);
    int64_t id = 0;
    for (const graft_json *v = vocab->child; v; v = v->next, id++) {
        const graft_json *token = v->type == GRAFT_JSON_ARRAY && v->count == 2 ? v->child : NULL;
        if (!token || token->type != GRAFT_JSON_TEXT || token->next->type != GRAFT_JSON_NUMBER) return REFUSE(r, v, "token %lld of model.vocab must be [text, score]", (long long)id);
        const graft_span text = copy(r, token);
        if (!text.s) return no_memory(r);
        if (graft_vocab_again(&t->vocab, id, text.s, text.n, r->err)) return r->err->code;
        t->unigram.score[id] = token->next->number;
    }
    if (unk && (!unk->integral || unk->integer < 0 || unk->integer >= id)) return REFUSE(r, unk, "unk_id must be an id of the vocabulary");
    t->unigram.unk = unk ? (int32_t)unk->integer : -1;
    t->unigram.byte_fallback = flag(model, "byte_fallback", 0);
    t->model_size = t->vocab.size;
    return graft_unigram_finish(t, r->err);
}

static graft_status words_of(reader *r, const graft_json *model)
{
    const graft_json *most = get(model, "max_input_chars_per_word");
    r->t->wordpiece.prefix = copy_of(r, model, "continuing_subword_prefix");
    if (!r->t->wordpiece.prefix.s) r->t->wordpiece.prefix = (graft_span){"##", 2};
    r->t->wordpiece.max_chars = most && most->integral && most->integer > 0 ? (size_t)most->integer : 100;
    const graft_json *unk = get(model, "unk_token");
    if (vocab_of(r, model)) return r->err->code;
    r->t->wordpiece.unk = unk && unk->type == GRAFT_JSON_TEXT ? graft_vocab_find(&r->t->vocab, unk->text, unk->bytes) : -1; /* one that is not there is missed when it is needed */
    return GRAFT_OK;
}

static graft_status model_of(reader *r, const graft_json *root)
{
    const graft_json *model = get(root, "model"), *type = get(model, "type");
    if (!model || model->type != GRAFT_JSON_OBJECT) return REFUSE(r, model ? model : root, "expected an object \"model\", found none: is this a tokenizer.json?");
    if (type ? is(type, "BPE") : get(model, "merges") != NULL) return r->t->kind = MODEL_BPE, bpe_of(r, model);
    const graft_json *vocab = get(model, "vocab");
    if (type ? is(type, "Unigram") : vocab && vocab->type == GRAFT_JSON_ARRAY) return r->t->kind = MODEL_UNIGRAM, unigram_of(r, model);
    if (type ? is(type, "WordPiece") : get(model, "continuing_subword_prefix") != NULL) return r->t->kind = MODEL_WORDPIECE, words_of(r, model);
    if (type ? is(type, "WordLevel") : vocab != NULL) return r->t->kind = MODEL_WORDLEVEL, words_of(r, model);
    return REFUSE(r, type ? type : model, "the model type \"%s\" is none that this version knows", type && type->text ? type->text : "(none)");
}

/* ---- added tokens and the files beside ------------------------------------------------------------------------------------------------- */

static graft_status added_of(reader *r, const graft_json *v, int64_t id)
{
    const graft_json *content = get(v, "content");
    if (!content || content->type != GRAFT_JSON_TEXT) return REFUSE(r, v, "an added token needs its content as text");
    if (id < 0 || id >= GRAFT_TOKENS_MAX) return REFUSE(r, v, "the id of added token \"%.60s\" must be an integer between 0 and %d", content->text, GRAFT_TOKENS_MAX - 1);
    const int special = flag(v, "special", 0);
    const graft_added a = {.content = {content->text, content->bytes}, .id = (int32_t)id, .special = special, .single_word = flag(v, "single_word", 0), .lstrip = flag(v, "lstrip", 0), .rstrip = flag(v, "rstrip", 0), .normalized = flag(v, "normalized", !special)};
    return graft_added_put(r->t, a, r->err);
}

static graft_status pipeline_of(reader *r, const graft_json *root)
{
    r->t->has_decoder = get(root, "decoder") != NULL;
    if (steps(r, get(root, "normalizer"), "normalizers", "normalizer", add_norm, 0) || steps(r, get(root, "pre_tokenizer"), "pretokenizers", "pre_tokenizer", add_pretok, 0) ||
        steps(r, get(root, "decoder"), "decoders", "decoder", add_decode, 0))
        return r->err->code;
    return GRAFT_OK;
}

graft_status graft_tokenizer_pipeline_load(graft_tokenizer *t, const char *json, graft_error *err)
{
    reader r = {.t = t, .path = "tokenizer", .err = err};
    const graft_json *root = NULL;
    graft_arena *a = graft_arena_new();
    graft_status status = a ? graft_json_parse(a, r.path, json, strlen(json), 0, &root, err) : no_memory(&r);
    if (!status) status = pipeline_of(&r, root);
    graft_arena_free(a);
    return status;
}

graft_status graft_tokenizer_json_text(graft_tokenizer *t, const char *path, const char *text, size_t bytes, graft_error *err)
{
    reader r = {.t = t, .path = path, .err = err};
    const graft_json *root = NULL;
    graft_arena *a = graft_arena_new();
    graft_status status = a ? graft_json_parse(a, path, text, bytes, 0, &root, err) : no_memory(&r);
    if (!status && root->type != GRAFT_JSON_OBJECT) status = REFUSE(&r, root, "expected a JSON object at the top of a tokenizer.json");
    if (!status && !(status = pipeline_of(&r, root))) status = model_of(&r, root);
    const graft_json *added = status ? NULL : get(root, "added_tokens");
    for (const graft_json *v = added && added->type == GRAFT_JSON_ARRAY ? added->child : NULL; v && !status; v = v->next) {
        const graft_json *id = get(v, "id");
        status = added_of(&r, v, id && id->integral ? id->integer : -1);
    }
    graft_arena_free(a);
    return status;
}

/* "bos_token": "<s>" or {"content": "<s>", ...}: its id, made special; -1 when not named. */
static graft_status named_token(reader *r, const graft_json *v, int32_t *id)
{
    const graft_json *content = v && v->type == GRAFT_JSON_OBJECT ? get(v, "content") : v;
    if (!content || content->type != GRAFT_JSON_TEXT || !content->bytes) return GRAFT_OK;
    const graft_added a = {.content = {content->text, content->bytes}, .id = -1, .special = 1, .lstrip = flag(v, "lstrip", 0), .rstrip = flag(v, "rstrip", 0)};
    const int32_t there = graft_vocab_find(&r->t->vocab, content->text, content->bytes);
    for (size_t i = 0; there >= 0 && i < r->t->added.n; i++)
        if (r->t->added.item[i].id == there && r->t->added.item[i].special) return *id = there, GRAFT_OK; /* as tokenizer.json has it */
    if (graft_added_put(r->t, a, r->err)) return r->err->code;
    *id = graft_vocab_find(&r->t->vocab, content->text, content->bytes);
    return GRAFT_OK;
}

static graft_status config_file(reader *r, const graft_json *root)
{
    graft_tokenizer *t = r->t;
    const graft_json *decoder = get(root, "added_tokens_decoder");
    for (const graft_json *v = decoder && decoder->type == GRAFT_JSON_OBJECT ? decoder->child : NULL; v; v = v->next) {
        const graft_json *content = get(v, "content");
        int64_t id = 0;
        for (size_t i = 0; i < v->key_bytes && i < 9 && id >= 0; i++) id = v->key[i] >= '0' && v->key[i] <= '9' ? id * 10 + (v->key[i] - '0') : -1;
        if (!content || content->type != GRAFT_JSON_TEXT || graft_vocab_find(&t->vocab, content->text, content->bytes) >= 0) continue;
        if (added_of(r, v, id)) return r->err->code;
    }
    int32_t other = -1;
    if (named_token(r, get(root, "bos_token"), &t->bos) || named_token(r, get(root, "eos_token"), &t->eos) || named_token(r, get(root, "unk_token"), &t->unk) ||
        named_token(r, get(root, "pad_token"), &t->pad))
        return r->err->code;
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t i = 0; i < 2; i++) {
        const graft_json *list = get(root, lists[i]);
        for (const graft_json *v = list && (list->type == GRAFT_JSON_ARRAY || list->type == GRAFT_JSON_OBJECT) ? list->child : NULL; v; v = v->next)
            if (named_token(r, v, &other)) return r->err->code;
    }
    return GRAFT_OK;
}

graft_status graft_tokenizer_config_load(graft_tokenizer *t, const char *dir, graft_error *err)
{
    static const char *const names[] = {"special_tokens_map.json", "tokenizer_config.json"};
    graft_status status = GRAFT_OK;
    for (size_t i = 0; i < 2 && !status; i++) {
        char *path = graft_path_join(dir, names[i]);
        graft_arena *a = graft_arena_new();
        const graft_json *root = NULL;
        reader r = {.t = t, .path = path, .err = err};
        if (!path || !a) status = no_memory(&r);
        else if (graft_path_exists(path) && !(status = graft_json_parse_file(a, path, FILE_MAX, 0, &root, err))) status = root->type == GRAFT_JSON_OBJECT ? config_file(&r, root) : REFUSE(&r, root, "expected a JSON object");
        graft_arena_free(a);
        graft_free(path);
    }
    return status;
}
