/* The tokenizer against the `tokenizers` library's recorded answers (golden/tokenizer layout), its files, its refusals and its bounds. */
#include "core/model/tokenizer.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/threads.h"
#include "core/model/weights.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static graft_tokenizer *open_ok(const char *path)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *t = NULL;
    ck_assert_ok(graft_tokenizer_open(path, &t, &err));
    return t;
}

static graft_ids encode(const graft_tokenizer *t, const char *text, size_t bytes, int split_special)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_ids ids = {0};
    ck_assert_ok(graft_tokenizer_encode(t, text, bytes, split_special, &ids, &err));
    return ids;
}

static int same_ids(const graft_json *want, const graft_ids *have)
{
    size_t i = 0;
    for (const graft_json *v = want->child; v; v = v->next, i++)
        if (i >= have->n || have->ids[i] != v->integer) return 0;
    return i == have->n;
}

static int decodes_to(const graft_tokenizer *t, const graft_json *list, const graft_json *text)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_ids ids = {0};
    graft_str out;
    graft_str_init(&out, 0);
    for (const graft_json *v = list->child; v; v = v->next) {
        const int32_t id = (int32_t)v->integer;
        ck_assert_ok(graft_ids_add(&ids, &id, 1, &err));
    }
    ck_assert_ok(graft_tokenizer_decode(t, ids.ids, ids.n, 0, &out, &err));
    const int same = out.bytes == text->bytes && !memcmp(out.data, text->text, out.bytes);
    graft_str_free(&out);
    graft_ids_free(&ids);
    return same;
}

/* ---- golden rows ---------------------------------------------------------------------------------------------------------------------- */

typedef struct golden {
    const graft_tokenizer *t;
    const char *text;
    size_t bytes, *from;
    int64_t n;
    int *wrong;
} golden;

static void row_check(void *ctx, int64_t i)
{
    const golden *g = ctx;
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    const graft_json *row = NULL;
    ck_assert_ok(graft_json_parse(a, "row", g->text + g->from[i], g->from[i + 1] - g->from[i], 0, &row, &err));
    const graft_json *s = graft_json_get(row, "s"), *decode = graft_json_get(row, "decode"), *decoded = graft_json_get(row, "decoded");
    if (decode) {
        g->wrong[i] = !decodes_to(g->t, decode, graft_json_get(row, "text"));
    } else if (s) {
        graft_ids ids = encode(g->t, s->text, s->bytes, 0);
        g->wrong[i] = !same_ids(graft_json_get(row, "ids"), &ids) || !decodes_to(g->t, graft_json_get(row, "ids"), decoded ? decoded : s);
        graft_ids_free(&ids);
    }
    graft_arena_free(a);
}

/* All rows, from many threads at once: encoding is [any]. */
static void golden_file(const char *tokenizer, const char *rows, int check_head)
{
    graft_error err = GRAFT_ERROR_INIT;
    golden g = {.t = open_ok(tokenizer)};
    char *text;
    ck_assert_ok(graft_file_read(rows, 1 << 26, &text, &g.bytes, &err));
    g.text = text;
    for (size_t i = 0; i < g.bytes; i++) g.n += text[i] == '\n';
    g.from = graft_calloc((size_t)g.n + 2, sizeof *g.from);
    g.wrong = graft_calloc((size_t)g.n + 1, sizeof *g.wrong);
    int64_t n = 0;
    for (size_t i = 0; i < g.bytes; i++)
        if (text[i] == '\n') g.from[++n] = i + 1;
    graft_parallel(g.n, row_check, &g);
    int wrong = 0;
    for (int64_t i = 0; i < g.n; i++) {
        if (g.wrong[i] && wrong++ < 5) printf("%s row %lld: %.200s\n", rows, (long long)i + 1, text + g.from[i]);
    }
    ck_assert_int_gt(g.n, 100);
    ck_assert_int_eq(wrong, 0);
    graft_arena *a = graft_arena_new();
    const graft_json *head;
    ck_assert_ok(graft_json_parse(a, "head", text, g.from[1], 0, &head, &err));
    if (check_head) ck_assert_int_eq(graft_tokenizer_size(g.t), graft_json_get(graft_json_get(head, "head"), "vocab_size_with_added")->integer);
    graft_arena_free(a);
    graft_free(text);
    graft_free(g.from);
    graft_free(g.wrong);
    graft_tokenizer_close((graft_tokenizer *)(uintptr_t)g.t);
}

START_TEST(golden_fixtures)
{
    golden_file(graft_test_fixture("tokenizers/smollm2/tokenizer.json"), graft_test_fixture("tokenizer/smollm2.jsonl"), 1);
    golden_file(graft_test_fixture("tokenizers/qwen2_5/tokenizer.json"), graft_test_fixture("tokenizer/qwen2_5.jsonl"), 1);
}
END_TEST

START_TEST(golden_shared)
{
    static const char *const names[] = {"smollm2", "qwen2_5", "llama3", "llama2", "chatglm3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char tokenizer[200], rows[200];
        snprintf(tokenizer, sizeof tokenizer, "tokenizers/%s/tokenizer.json", names[i]);
        snprintf(rows, sizeof rows, "golden/tokenizer/%s.jsonl", names[i]);
        const char *t = graft_test_shared(tokenizer), *r = graft_test_shared(rows);
        if (t && r) golden_file(t, r, 1);
        else printf("skipped: %s is not here\n", names[i]);
    }
}
END_TEST

/* Small trained tokenizers of every model kind and many steps; each .jsonl says which version of `tokenizers` gave its rows. */
START_TEST(kinds)
{
    static const char *const names[] = {"bpe_behaviours", "bpe_digits", "bpe_regex", "bpe_words", "unigram", "unigram_bytes", "wordlevel", "wordpiece"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char tokenizer[200], rows[200];
        snprintf(tokenizer, sizeof tokenizer, "tokenizer/kinds/%s.json", names[i]);
        snprintf(rows, sizeof rows, "tokenizer/kinds/%s.jsonl", names[i]);
        golden_file(graft_test_fixture(tokenizer), graft_test_fixture(rows), 1);
    }
}
END_TEST

/* ---- files with one word of trouble --------------------------------------------------------------------------------------------------------- */

START_TEST(zoo)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    const graft_json *expect;
    int n = 0;
    ck_assert_ok(graft_json_parse_file(a, graft_test_fixture("tokenizer/bad/EXPECT.json"), 1 << 24, 0, &expect, &err));
    for (const graft_json *e = expect->child; e; e = e->next, n++) {
        char name[300];
        graft_tokenizer *t = NULL;
        snprintf(name, sizeof name, "tokenizer/bad/%s", graft_path_base(e->key));
        const graft_status status = graft_tokenizer_open(graft_test_fixture(name), &t, &err);
        if (graft_json_is(graft_json_get(e, "verdict"), "reject")) {
            ck_assert_msg(status != GRAFT_OK, "%s was taken: %s", e->key, graft_json_get(e, "why")->text);
            ck_assert_msg(err.message[0] && err.where[0], "%s: \"%s: %s\" says too little", e->key, err.where, err.message);
        } else {
            ck_assert_msg(status == GRAFT_OK, "%s was refused: %s: %s", e->key, err.where, err.message);
        }
        graft_tokenizer_close(t);
    }
    ck_assert_int_gt(n, 10);
    graft_arena_free(a);
}
END_TEST

static void encodes_as(const char *file, const char *text, size_t n, const int32_t *want)
{
    graft_tokenizer *t = open_ok(graft_test_fixture(file));
    graft_ids ids = encode(t, text, strlen(text), 0);
    ck_assert_uint_eq(ids.n, n);
    for (size_t i = 0; i < n; i++) ck_assert_int_eq(ids.ids[i], want[i]);
    graft_ids_free(&ids);
    graft_tokenizer_close(t);
}

START_TEST(zoo_accepted)
{
    encodes_as("tokenizer/bad/merges_as_strings.json", "abc", 1, (const int32_t[]){4});
    encodes_as("tokenizer/bad/ids_with_a_gap.json", "ab", 1, (const int32_t[]){7});
    encodes_as("tokenizer/bad/added_token_in_vocab.json", "abcab", 2, (const int32_t[]){4, 3});
}
END_TEST

/* Rows of a folder's expect.jsonl against t; returns how many differ. */
static int rows_differ(const graft_tokenizer *t, const char *folder, int *rows)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    char name[300], *text = NULL;
    size_t bytes = 0;
    int wrong = 0;
    snprintf(name, sizeof name, "tokenizer/files/%s/expect.jsonl", folder);
    ck_assert_ok(graft_file_read(graft_test_fixture(name), 1 << 24, &text, &bytes, &err));
    *rows = 0;
    for (char *line = text, *end; line < text + bytes; line = end + 1, ++*rows) {
        end = memchr(line, '\n', (size_t)(text + bytes - line));
        ck_assert_ptr_nonnull(end);
        const graft_json *row = NULL;
        ck_assert_ok(graft_json_parse(a, "row", line, (size_t)(end - line), 0, &row, &err));
        const graft_json *s = graft_json_get(row, "s");
        graft_ids ids = encode(t, s->text, s->bytes, 0);
        if (!same_ids(graft_json_get(row, "ids"), &ids)) wrong++, printf("%s: \"%.60s\" differs\n", folder, s->text);
        graft_ids_free(&ids);
    }
    graft_free(text);
    graft_arena_free(a);
    return wrong;
}

/* sentencepiece models, tiktoken ranks, vocab.json with merges.txt: the ids of the libraries that made them, and again from the tokenizer.json that saving writes. */
START_TEST(other_files)
{
    static const struct {
        const char *folder;
        int saved_differ; /* sentencepiece takes the longest replacement, a tokenizer.json's Precompiled goes by grapheme */
    } cases[] = {{"sp_bpe", 0}, {"sp_unigram", 2}, {"sp_unigram_bytes", 0}, {"tiktoken", 0}, {"vocab_merges", 0}};
    const size_t i = (size_t)_i;
    graft_error err = GRAFT_ERROR_INIT;
    char name[300];
    int rows = 0;
    snprintf(name, sizeof name, "tokenizer/files/%s", cases[i].folder);
    graft_tokenizer *t = open_ok(graft_test_fixture(name));
    ck_assert_int_eq(rows_differ(t, cases[i].folder, &rows), 0);
    ck_assert_int_gt(rows, 30);
    const char *dir = graft_test_dir("tokenizer");
    ck_assert_ok(graft_tokenizer_save(t, dir, &err));
    graft_tokenizer *again = open_ok(dir);
    ck_assert_int_le(rows_differ(again, cases[i].folder, &rows), cases[i].saved_differ);
    ck_assert_int_eq(graft_tokenizer_bos(again), graft_tokenizer_bos(t));
    ck_assert_int_eq(graft_tokenizer_eos(again), graft_tokenizer_eos(t));
    ck_assert_int_eq(graft_tokenizer_size(again), graft_tokenizer_size(t));
    graft_tokenizer_close(again);
    graft_tokenizer_close(t);
}
END_TEST

/* Every prefix of a model file and every file with one byte changed: taken or refused in a sentence, never more. */
START_TEST(damaged_files)
{
    static const char *const files[] = {"tokenizer/files/sp_unigram/tokenizer.model", "tokenizer/files/tiktoken/small.tiktoken"};
    graft_error err = GRAFT_ERROR_INIT;
    char *data = NULL, path[4200];
    size_t bytes = 0;
    ck_assert_ok(graft_file_read(graft_test_fixture(files[_i]), 1 << 24, &data, &bytes, &err));
    snprintf(path, sizeof path, "%s/damaged", graft_test_dir("tokenizer"));
    for (size_t k = 0; k < 400; k++) {
        const size_t at = k * 7919 % bytes, n = k % 2 ? at : bytes;
        const char kept = data[at];
        data[at] ^= (char)(1 << k % 8);
        ck_assert_ok(graft_file_replace(path, data, n, &err));
        data[at] = kept;
        graft_tokenizer *t = NULL;
        if (graft_tokenizer_open(path, &t, &err)) ck_assert_msg(err.message[0], "no sentence for change %zu", k);
        graft_tokenizer_close(t);
    }
    graft_free(data);
}
END_TEST

START_TEST(sentences)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *t = NULL;
    ck_assert_int_eq(graft_tokenizer_open(graft_test_fixture("template"), &t, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "the folder has no tokenizer.json (nor tokenizer.model, *.tiktoken, or vocab.json with merges.txt); put the model's tokenizer files there");
    ck_assert_int_ne(graft_tokenizer_open(graft_test_fixture("tokenizer/bad/model_unknown.json"), &t, &err), GRAFT_OK);
    ck_assert_msg(strstr(err.message, "the model type \"") && strstr(err.where, "model_unknown.json:1:"), "%s: %s", err.where, err.message);
    ck_assert_int_ne(graft_tokenizer_open(graft_test_fixture("tokenizer/bad/regex_broken.json"), &t, &err), GRAFT_OK);
    ck_assert_msg(strstr(err.message, "does not compile") != NULL, "%s", err.message);
}
END_TEST

/* ---- special tokens, saving ----------------------------------------------------------------------------------------------------------------- */

START_TEST(specials)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *t = open_ok(graft_test_fixture("tokenizers/smollm2"));
    ck_assert_int_eq(graft_tokenizer_bos(t), 1);
    ck_assert_int_eq(graft_tokenizer_eos(t), 2);
    graft_ids whole = encode(t, "a<|im_end|>", 11, 0), parts = encode(t, "a<|im_end|>", 11, 1);
    ck_assert_uint_eq(whole.n, 2);
    ck_assert_int_eq(whole.ids[1], 2);
    ck_assert_uint_gt(parts.n, 3);
    int32_t id = -1;
    ck_assert_ok(graft_tokenizer_add_special(t, "<|im_end|>", &id, &err));
    ck_assert_int_eq(id, 2);
    ck_assert_ok(graft_tokenizer_add_special(t, "the", &id, &err)); /* an ordinary piece becomes special */
    ck_assert_int_eq(id, graft_tokenizer_id(t, "the"));
    ck_assert(graft_tokenizer_is_special(t, id));
    ck_assert_ok(graft_tokenizer_add_special(t, "<|fresh|>", &id, &err));
    ck_assert_int_eq(id, 49152);
    ck_assert_int_eq(graft_tokenizer_size(t), 49153);
    graft_ids fresh = encode(t, "x<|fresh|>y", 11, 0);
    ck_assert_uint_eq(fresh.n, 3);
    ck_assert_int_eq(fresh.ids[1], 49152);
    size_t n;
    ck_assert_str_eq(graft_tokenizer_bytes(t, 49152, &n), "<|fresh|>");
    graft_str out;
    graft_str_init(&out, 0);
    ck_assert_ok(graft_tokenizer_decode(t, fresh.ids, fresh.n, 1, &out, &err));
    ck_assert_str_eq(out.data, "xy");
    graft_str_free(&out);
    graft_ids_free(&whole);
    graft_ids_free(&parts);
    graft_ids_free(&fresh);
    graft_tokenizer_close(t);
}
END_TEST

static char *copy_of(const char *path, size_t *bytes)
{
    graft_error err = GRAFT_ERROR_INIT;
    char *data;
    ck_assert_ok(graft_file_read(path, 1 << 28, &data, bytes, &err));
    return data;
}

START_TEST(save_unchanged)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *t = open_ok(graft_test_fixture("tokenizers/smollm2"));
    const char *dir = graft_test_dir("tokenizer_unchanged");
    ck_assert_ok(graft_tokenizer_save(t, dir, &err));
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    for (size_t i = 0; i < 2; i++) {
        char from[300], to[4200];
        size_t n, m;
        snprintf(from, sizeof from, "tokenizers/smollm2/%s", names[i]);
        snprintf(to, sizeof to, "%s/%s", dir, names[i]);
        char *a = copy_of(graft_test_fixture(from), &n), *b = copy_of(to, &m);
        ck_assert_uint_eq(n, m);
        ck_assert_int_eq(memcmp(a, b, n), 0);
        graft_free(a);
        graft_free(b);
    }
    graft_tokenizer_close(t);
}
END_TEST

START_TEST(save_changed)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *t = open_ok(graft_test_fixture("tokenizers/smollm2"));
    int32_t id = -1;
    ck_assert_ok(graft_tokenizer_add_special(t, "<|fresh|>", &id, &err));
    graft_tokenizer_set_eos(t, id);
    const char *dir = graft_test_dir("tokenizer_changed");
    ck_assert_ok(graft_tokenizer_save(t, dir, &err));
    graft_tokenizer *again = open_ok(dir);
    ck_assert_int_eq(graft_tokenizer_eos(again), id);
    ck_assert_int_eq(graft_tokenizer_pad(again), 2);
    ck_assert_int_eq(graft_tokenizer_size(again), 49153);
    ck_assert(graft_tokenizer_is_special(again, id));
    graft_tokenizer_close(again);
    graft_tokenizer_close(t);
    char path[4200];
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    golden_file(path, graft_test_fixture("tokenizer/smollm2.jsonl"), 0);
}
END_TEST

/* ---- GGUF ------------------------------------------------------------------------------------------------------------------------------------- */

START_TEST(from_gguf)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_weights *w = NULL;
    graft_tokenizer *t = NULL;
    graft_arena *a = graft_arena_new();
    const graft_json *expect;
    ck_assert_ok(graft_weights_open(graft_test_fixture("gguf/llama/model.gguf"), &w, &err));
    ck_assert_ok(graft_tokenizer_from_gguf(graft_weights_metadata(w), &t, &err));
    ck_assert_int_eq(graft_tokenizer_bos(t), 1);
    ck_assert_int_eq(graft_tokenizer_eos(t), 2);
    ck_assert_ok(graft_json_parse_file(a, graft_test_fixture("gguf/llama/expect.json"), 1 << 24, 0, &expect, &err));
    const char *dir = graft_test_dir("tokenizer_gguf");
    ck_assert_ok(graft_tokenizer_save(t, dir, &err));
    graft_tokenizer *saved = open_ok(dir);
    ck_assert_int_eq(graft_tokenizer_eos(saved), 2);
    int n = 0;
    for (const graft_json *e = graft_json_get(expect, "tokenized")->child; e; e = e->next, n++) {
        graft_ids one = encode(t, e->key, e->key_bytes, 0), two = encode(saved, e->key, e->key_bytes, 0);
        ck_assert_msg(same_ids(e, &one), "%s", e->key);
        ck_assert_msg(same_ids(e, &two), "%s, saved", e->key);
        graft_ids_free(&one);
        graft_ids_free(&two);
    }
    ck_assert_int_gt(n, 0);
    graft_tokenizer_close(saved);
    graft_tokenizer_close(t);
    graft_weights_close(w);
    graft_arena_free(a);
}
END_TEST

static graft_json *texts(graft_arena *a, const char *const *v, size_t n)
{
    graft_json *list = graft_json_new(a, GRAFT_JSON_ARRAY);
    for (size_t i = 0; i < n; i++) graft_json_push(a, list, graft_json_text(a, v[i], strlen(v[i])));
    return list;
}

/* Merges follow from the scores: the higher the earlier. */
START_TEST(from_gguf_scores)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *t = NULL;
    graft_arena *a = graft_arena_new();
    static const char blank_a[] = {(char)0xE2, (char)0x96, (char)0x81, 'a', 0};
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a", "b", blank_a, "ab"};
    static const double scores[] = {0, 0, 0, -5, -6, -7, -2, -1};
    static const int types[] = {2, 3, 3, 1, 1, 1, 1, 1};
    graft_json *m = graft_json_new(a, GRAFT_JSON_OBJECT), *score = graft_json_new(a, GRAFT_JSON_ARRAY), *type = graft_json_new(a, GRAFT_JSON_ARRAY);
    for (size_t i = 0; i < 8; i++) graft_json_push(a, score, graft_json_real(a, scores[i])), graft_json_push(a, type, graft_json_int(a, types[i]));
    graft_json_put(a, m, "tokenizer.ggml.model", graft_json_text(a, "llama", 5));
    graft_json_put(a, m, "tokenizer.ggml.tokens", texts(a, tokens, 8));
    graft_json_put(a, m, "tokenizer.ggml.scores", score);
    graft_json_put(a, m, "tokenizer.ggml.token_type", type);
    graft_json_put(a, m, "tokenizer.ggml.unknown_token_id", graft_json_int(a, 0));
    ck_assert_ok(graft_tokenizer_from_gguf(m, &t, &err));
    graft_ids ids = encode(t, "ab a</s>", 8, 0); /* "ab" (-1) goes before "_a" (-2) */
    const int32_t want[] = {3, 7, 6, 2};
    ck_assert_uint_eq(ids.n, 4);
    for (size_t i = 0; i < 4; i++) ck_assert_int_eq(ids.ids[i], want[i]);
    graft_ids_free(&ids);
    graft_tokenizer_close(t);
    graft_json_put(a, m, "tokenizer.ggml.model", graft_json_text(a, "gpt2", 4));
    graft_json_put(a, m, "tokenizer.ggml.pre", graft_json_text(a, "qwen3", 5));
    ck_assert_int_eq(graft_tokenizer_from_gguf(m, &t, &err), GRAFT_UNSUPPORTED);
    ck_assert_msg(strstr(err.message, "the nearest is qwen2") != NULL, "%s", err.message);
    graft_arena_free(a);
}
END_TEST

/* ---- bounds --------------------------------------------------------------------------------------------------------------------------------------- */

/* A million equal letters in one word: minutes if merging were quadratic, well under Check's timeout as it is. */
START_TEST(long_word)
{
    graft_tokenizer *t = open_ok(graft_test_fixture("tokenizers/qwen2_5"));
    const size_t n = 1000000;
    char *text = graft_calloc(n, 1);
    memset(text, 'a', n);
    graft_ids ids = encode(t, text, n, 0);
    ck_assert_uint_eq(ids.n, 125000);
    graft_ids_free(&ids);
    memset(text, ' ', n);
    ids = encode(t, text, n, 0);
    ck_assert_uint_gt(ids.n, 0);
    graft_ids_free(&ids);
    graft_free(text);
    graft_tokenizer_close(t);
}
END_TEST

START_TEST(any_bytes)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *t = open_ok(graft_test_fixture("tokenizers/qwen2_5"));
    graft_ids ids = encode(t, "a\xFF\xC3", 3, 0); /* no UTF-8: U+FFFD */
    graft_str out;
    graft_str_init(&out, 0);
    ck_assert_ok(graft_tokenizer_decode(t, ids.ids, ids.n, 0, &out, &err));
    ck_assert_str_eq(out.data, "a\xEF\xBF\xBD\xEF\xBF\xBD");
    graft_str_clear(&out);
    const int32_t odd[] = {-1, 99999999, ids.ids[0]}; /* ids that there are none of say nothing */
    ck_assert_ok(graft_tokenizer_decode(t, odd, 3, 0, &out, &err));
    ck_assert_str_eq(out.data, "a");
    graft_str_free(&out);
    graft_ids_free(&ids);
    ids = encode(t, "", 0, 0);
    ck_assert_uint_eq(ids.n, 0);
    graft_ids_free(&ids);
    graft_tokenizer_close(t);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, golden_fixtures);
    tcase_add_test(tc, golden_shared);
    tcase_add_test(tc, kinds);
    tcase_add_test(tc, zoo);
    tcase_add_test(tc, zoo_accepted);
    tcase_add_loop_test(tc, other_files, 0, 5);
    tcase_add_loop_test(tc, damaged_files, 0, 2);
    tcase_add_test(tc, sentences);
    tcase_add_test(tc, specials);
    tcase_add_test(tc, save_unchanged);
    tcase_add_test(tc, save_changed);
    tcase_add_test(tc, from_gguf);
    tcase_add_test(tc, from_gguf_scores);
    tcase_add_test(tc, long_word);
    tcase_add_test(tc, any_bytes);
}

int main(void) { return graft_test_main("tokenizer", cases); }
