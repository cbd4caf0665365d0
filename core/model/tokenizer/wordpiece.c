/* core/model/tokenizer/wordpiece.c - WordPiece (the longest token from the left, again and again) and WordLevel (whole words). */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"

#include <string.h>

static int32_t known(const graft_tokenizer *t, const char *s, size_t n)
{
    const int32_t id = graft_vocab_find(&t->vocab, s, n);
    return (size_t)id < t->model_size ? id : -1; /* added tokens are no words of the model */
}

static graft_status unknown(const graft_tokenizer *t, graft_ids *out, graft_error *err)
{
    if (t->wordpiece.unk >= 0) return graft_ids_one(out, t->wordpiece.unk, err);
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the text has a word that the tokenizer does not know, and tokenizer.json names no unk_token");
}

graft_status graft_wordlevel_word(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err)
{
    (void)x;
    const int32_t id = known(t, s, n);
    return id >= 0 ? graft_ids_one(out, id, err) : unknown(t, out, err);
}

graft_status graft_wordpiece_word(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err)
{
    const graft_span prefix = t->wordpiece.prefix;
    size_t chars = 0;
    for (size_t i = 0; i < n; i++) chars += ((uint8_t)s[i] & 0xC0) != 0x80;
    if (chars > t->wordpiece.max_chars) return unknown(t, out, err);
    const size_t before = out->n;
    for (size_t from = 0, end; from < n; from = end) {
        int32_t id = -1;
        for (end = n; end > from; end -= graft_utf8_back(s, end)) {
            graft_str *text = &x->piece;
            if (!from) {
                id = known(t, s, end);
            } else {
                graft_str_clear(text);
                graft_str_add(text, prefix.s, prefix.n);
                graft_str_add(text, s + from, end - from);
                if (text->failed) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory while tokenising");
                id = known(t, text->data, text->bytes);
            }
            if (id >= 0) break;
        }
        if (id < 0) { /* one part that is none: the whole word is unknown */
            out->n = before;
            return unknown(t, out, err);
        }
        if (graft_ids_one(out, id, err)) return err->code;
    }
    return GRAFT_OK;
}
