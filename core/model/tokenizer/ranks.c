/* core/model/tokenizer/ranks.c - byte-level BPE without a tokenizer.json.
 *
 *   tiktoken:    lines "base64(token) rank"; a merge is any two tokens whose bytes together are a token, lower ranks first
 *   vocab.json:  {token: id} in byte characters, beside it merges.txt: lines "left right" by rank, an optional first line "#version: ..."
 *
 * Neither file says how text is cut into words nor which tokens are special: the tokenizer_class of tokenizer_config.json does (pipelines.c), and
 * added_tokens_decoder there. Limits: 512 MiB, GRAFT_TOKENS_MAX ids. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/str.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX (512ll << 20)

static graft_status no_memory(const char *path, graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory for the tokenizer"); }

/* Bytes as the characters that byte-level vocabularies spell them with. */
static void spell(graft_str *out, const uint8_t *bytes, size_t n)
{
    graft_str_clear(out);
    for (size_t i = 0; i < n; i++) {
        const uint32_t c = graft_byte_char(bytes[i]); /* below U+0800 */
        const char two[2] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 63))}, one = (char)c;
        graft_str_add(out, c < 128 ? &one : two, c < 128 ? 1 : 2);
    }
}

/* One line "base64 rank". room: as many bytes as the line has. */
static graft_status line_of(graft_tokenizer *t, const char *path, const char *line, size_t n, int64_t number, uint8_t *room, graft_str *text, graft_error *err)
{
    const char *blank = memchr(line, ' ', n);
    const int64_t bytes = blank ? graft_base64_read(line, (size_t)(blank - line), room) : -1;
    int64_t rank = bytes > 0 && blank + 1 < line + n ? 0 : -1;
    for (const char *p = blank ? blank + 1 : line + n; p < line + n && rank >= 0; p++) rank = *p >= '0' && *p <= '9' && rank < GRAFT_TOKENS_MAX ? rank * 10 + (*p - '0') : -1;
    if (rank < 0) return graft_fail(err, GRAFT_BAD_INPUT, path, "line %lld: expected \"base64 rank\", found \"%.*s\"; is this a tiktoken file?", (long long)number, (int)(n < 60 ? n : 60), line);
    spell(text, room, (size_t)bytes);
    const char *copy = text->failed ? NULL : graft_arena_copy(t->arena, text->data, text->bytes);
    return copy ? graft_vocab_put(&t->vocab, rank, copy, text->bytes, err) : no_memory(path, err);
}

static graft_status tokens_of(graft_tokenizer *t, const char *path, const char *data, size_t bytes, graft_error *err)
{
    graft_str text;
    graft_str_init(&text, 1 << 24);
    uint8_t *room = graft_calloc(bytes + 4, 1);
    graft_status status = room ? GRAFT_OK : no_memory(path, err);
    int64_t number = 1;
    for (size_t at = 0; at < bytes && !status; number++) {
        const char *newline = memchr(data + at, '\n', bytes - at);
        size_t n = newline ? (size_t)(newline - data) - at : bytes - at;
        const size_t skip = n + (newline != NULL);
        if (n && data[at + n - 1] == '\r') n--;
        if (n) status = line_of(t, path, data + at, n, number, room, &text, err);
        at += skip;
    }
    graft_free(room);
    graft_str_free(&text);
    return status;
}

graft_status graft_tokenizer_tiktoken(graft_tokenizer *t, const char *path, const char *data, size_t bytes, const graft_json *config, graft_error *err)
{
    const graft_class *c = NULL;
    if (graft_class_of(path, config, "TikTokenTokenizer", &c, err)) return err->code;
    t->kind = MODEL_BPE, t->bpe.bytes = 1, t->bpe.ignore_merges = 1, t->pipeline = c->pipeline;
    if (graft_tokenizer_pipeline_load(t, t->pipeline, err) || tokens_of(t, path, data, bytes, err)) return err->code;
    t->model_size = t->vocab.size;
    double *score = graft_calloc(t->vocab.size + 1, sizeof *score);
    if (!score) return no_memory(path, err);
    for (size_t id = 0; id < t->vocab.size; id++) score[id] = t->vocab.text[id].s ? -(double)id : NAN;
    graft_status status = graft_bpe_merges_from_scores(t, score, t->vocab.size, err);
    if (!status) status = graft_bpe_finish(t, err);
    graft_free(score);
    return status ? status : graft_class_specials(t, c, err);
}

static graft_status merges_of(graft_tokenizer *t, const char *path, const char *data, size_t bytes, graft_error *err)
{
    graft_str both;
    graft_str_init(&both, 1 << 20);
    graft_status status = GRAFT_OK;
    uint32_t rank = 0;
    int64_t number = 1;
    for (size_t at = 0; at < bytes && !status; number++) {
        const char *line = data + at, *newline = memchr(line, '\n', bytes - at);
        size_t n = newline ? (size_t)(newline - line) : bytes - at;
        at += n + (newline != NULL);
        if (n && line[n - 1] == '\r') n--;
        if (!n || (number == 1 && n > 9 && !memcmp(line, "#version:", 9))) continue;
        const char *blank = memchr(line, ' ', n);
        const size_t left_n = blank ? (size_t)(blank - line) : 0, right_n = blank ? n - left_n - 1 : 0;
        graft_str_clear(&both);
        graft_str_add(&both, line, left_n);
        graft_str_add(&both, blank ? blank + 1 : line, right_n);
        const int32_t left = graft_vocab_find(&t->vocab, line, left_n), right = blank ? graft_vocab_find(&t->vocab, blank + 1, right_n) : -1, id = graft_vocab_find(&t->vocab, both.data, both.bytes);
        if (left < 0 || right < 0 || id < 0) status = graft_fail(err, GRAFT_BAD_INPUT, path, "line %lld: expected two tokens of vocab.json with a blank between them that make a third, found \"%.*s\"", (long long)number, (int)(n < 60 ? n : 60), line);
        else status = graft_bpe_merge_add(t, left, right, rank++, id, err);
    }
    graft_str_free(&both);
    return status;
}

graft_status graft_tokenizer_vocab_merges(graft_tokenizer *t, const char *vocab_path, const char *merges_path, const graft_json *config, graft_error *err)
{
    const graft_class *c = NULL;
    size_t bytes = 0;
    char *merges = NULL;
    const graft_json *vocab = NULL;
    graft_arena *a = graft_arena_new();
    graft_status status = a ? graft_class_of(vocab_path, config, "GPT2Tokenizer", &c, err) : no_memory(vocab_path, err);
    if (!status) t->kind = MODEL_BPE, t->bpe.bytes = 1, t->pipeline = c->pipeline;
    if (!status) status = graft_tokenizer_pipeline_load(t, t->pipeline, err);
    if (!status) status = graft_json_parse_file(a, vocab_path, FILE_MAX, 0, &vocab, err);
    if (!status && vocab->type != GRAFT_JSON_OBJECT) status = graft_fail(err, GRAFT_BAD_INPUT, vocab_path, "expected an object {token: id}");
    for (const graft_json *v = status ? NULL : vocab->child; v && !status; v = v->next) {
        const char *text = graft_arena_copy(t->arena, v->key, v->key_bytes);
        if (!v->integral) status = graft_fail(err, GRAFT_BAD_INPUT, vocab_path, "line %d: the id of token \"%.60s\" must be an integer", v->line, v->key);
        else status = text ? graft_vocab_put(&t->vocab, v->integer, text, v->key_bytes, err) : no_memory(vocab_path, err);
    }
    t->model_size = t->vocab.size;
    if (!status) status = graft_file_read(merges_path, FILE_MAX, &merges, &bytes, err);
    if (!status) status = merges_of(t, merges_path, merges, bytes, err);
    if (!status) status = graft_bpe_finish(t, err);
    if (!status) status = graft_class_specials(t, c, err);
    graft_free(merges);
    graft_arena_free(a);
    return status;
}
