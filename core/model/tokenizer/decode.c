/* core/model/tokenizer/decode.c - ids to text: the decoders of tokenizer.json over the list of token texts.
 *
 * The common ByteLevel decoder is done from each token's bytes; all others step by step. Texts that a step makes live in the scratch's arena. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"

#include <string.h>

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory while decoding"); }

static int begins(graft_span t, graft_span with) { return t.n >= with.n && !memcmp(t.s, with.s, with.n); }

/* All `what` in t become `with`. */
static graft_status replaced(graft_scratch *x, graft_span *t, graft_span what, graft_span with, graft_error *err)
{
    if (!what.n || !t->n || !memmem(t->s, t->n, what.s, what.n)) return GRAFT_OK;
    graft_str out;
    graft_str_init(&out, 0);
    size_t at = 0;
    for (const char *found; at < t->n && (found = memmem(t->s + at, t->n - at, what.s, what.n)); at = (size_t)(found - t->s) + what.n) {
        graft_str_add(&out, t->s + at, (size_t)(found - t->s) - at);
        graft_str_add(&out, with.s, with.n);
    }
    graft_str_add(&out, t->s + at, t->n - at);
    const char *copy = out.failed ? NULL : graft_arena_copy(x->temp, out.data, out.bytes);
    *t = (graft_span){copy ? copy : "", copy ? out.bytes : 0};
    graft_str_free(&out);
    return copy ? GRAFT_OK : no_memory(err);
}

static graft_status by_pattern(graft_scratch *x, const graft_decode *d, graft_span *t, graft_error *err)
{
    if (d->pattern.literal.s) return replaced(x, t, d->pattern.literal, d->content, err);
    graft_str out;
    graft_str_init(&out, 0);
    size_t at = 0, start, end;
    int found = 0;
    while (at < t->n && (found = graft_pattern_next(&d->pattern, &x->matcher, t->s, t->n, at, &start, &end)) > 0) {
        graft_str_add(&out, t->s + at, start - at);
        graft_str_add(&out, d->content.s, d->content.n);
        at = end;
    }
    graft_str_add(&out, t->s + at, t->n - at);
    const char *copy = out.failed ? NULL : graft_arena_copy(x->temp, out.data, out.bytes);
    *t = (graft_span){copy ? copy : "", copy ? out.bytes : 0};
    graft_str_free(&out);
    return !copy ? no_memory(err) : found < 0 ? graft_fail(err, GRAFT_BAD_INPUT, NULL, "the decoder's pattern gave up on a token")
                                              : GRAFT_OK;
}

/* The byte of "<0xE3>", or -1. */
static int byte_token(graft_span t)
{
    if (t.n != 6 || memcmp(t.s, "<0x", 3) || t.s[5] != '>') return -1;
    int v = 0;
    for (int i = 3; i < 5; i++) {
        const char c = t.s[i];
        const int d = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                   : c >= 'a' && c <= 'f'   ? c - 'a' + 10
                                                                            : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* Runs of byte tokens become their text, or one U+FFFD a byte when they are no UTF-8. */
static graft_status byte_fallback(graft_scratch *x, graft_span *t, size_t *n, graft_error *err)
{
    size_t m = 0;
    for (size_t i = 0; i < *n;) {
        size_t end = i;
        while (end < *n && byte_token(t[end]) >= 0) end++;
        if (end == i) {
            t[m++] = t[i++];
            continue;
        }
        char *bytes = graft_arena_alloc(x->temp, end - i + 1);
        if (!bytes) return no_memory(err);
        for (size_t j = i; j < end; j++) bytes[j - i] = (char)byte_token(t[j]);
        if (graft_utf8_valid(bytes, end - i)) t[m++] = (graft_span){bytes, end - i};
        else
            for (size_t j = i; j < end; j++) t[m++] = (graft_span){"\xEF\xBF\xBD", 3};
        i = end;
    }
    *n = m;
    return GRAFT_OK;
}

static graft_status joined(graft_scratch *x, graft_span *t, size_t *n, const char *between, int lossy, graft_error *err)
{
    graft_str all, out;
    graft_str_init(&all, 0);
    graft_str_init(&out, 0);
    for (size_t i = 0; i < *n; i++) {
        if (i) graft_str_text(&all, between);
        graft_str_add(&all, t[i].s, t[i].n);
    }
    if (lossy) graft_utf8_lossy(&out, all.data, all.bytes);
    const graft_str *made = lossy ? &out : &all;
    const char *copy = all.failed || out.failed ? NULL : graft_arena_copy(x->temp, made->data, made->bytes);
    if (copy && *n) t[0] = (graft_span){copy, made->bytes}, *n = 1;
    graft_str_free(&all);
    graft_str_free(&out);
    return copy ? GRAFT_OK : no_memory(err);
}

static void strip(const graft_decode *d, graft_span *t)
{
    for (size_t i = 0; i < d->start && t->n && begins(*t, d->content); i++) t->s += d->content.n, t->n -= d->content.n;
    for (size_t i = 0; i < d->stop && t->n >= d->content.n && t->n && !memcmp(t->s + t->n - d->content.n, d->content.s, d->content.n); i++) t->n -= d->content.n;
}

static graft_status clean_up(graft_scratch *x, graft_span *t, graft_error *err)
{
    static const char *const rules[][2] = {{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (replaced(x, t, (graft_span){rules[i][0], strlen(rules[i][0])}, (graft_span){rules[i][1], strlen(rules[i][1])}, err)) return err->code;
    return GRAFT_OK;
}

static graft_status wordpiece(graft_scratch *x, const graft_decode *d, graft_span *t, size_t i, graft_error *err)
{
    if (i && begins(*t, d->content)) {
        t->s += d->content.n, t->n -= d->content.n;
    } else if (i) {
        char *text = graft_arena_alloc(x->temp, t->n + 1);
        if (!text) return no_memory(err);
        text[0] = ' ';
        memcpy(text + 1, t->s, t->n);
        *t = (graft_span){text, t->n + 1};
    }
    return d->flag ? clean_up(x, t, err) : GRAFT_OK;
}

static graft_status ctc(graft_scratch *x, const graft_decode *d, graft_span *t, size_t *n, graft_error *err)
{
    size_t m = 0;
    graft_span before = {NULL, 0};
    for (size_t i = 0; i < *n; i++) {
        const graft_span now = t[i];
        if (before.s && before.n == now.n && !memcmp(before.s, now.s, now.n)) continue;
        before = now;
        graft_span made = now;
        if (replaced(x, &made, d->content, (graft_span){"", 0}, err)) return err->code;
        if (d->flag && (clean_up(x, &made, err) || replaced(x, &made, d->delimiter, (graft_span){" ", 1}, err))) return err->code;
        if (made.n) t[m++] = made;
    }
    *n = m;
    return GRAFT_OK;
}

static graft_status each(graft_scratch *x, const graft_decode *d, graft_span *t, size_t i, size_t n, graft_error *err)
{
    switch (d->kind) {
    case DEC_REPLACE: return by_pattern(x, d, t, err);
    case DEC_STRIP: strip(d, t); return GRAFT_OK;
    case DEC_METASPACE: return replaced(x, t, d->content, i || !d->flag ? (graft_span){" ", 1} : (graft_span){"", 0}, err);
    case DEC_WORDPIECE: return wordpiece(x, d, t, i, err);
    case DEC_BPE: return replaced(x, t, d->content, i + 1 == n ? (graft_span){"", 0} : (graft_span){" ", 1}, err);
    default: return GRAFT_OK;
    }
}

/* What a token says under the ByteLevel decoder: the bytes its characters stand for, or its text when one of them stands for none. */
static size_t bytes_of(graft_span token, char *out)
{
    size_t n = 0;
    for (size_t i = 0, k; i < token.n; i += k) {
        const int byte = graft_char_byte(graft_utf8_get(token.s + i, &k));
        if (byte < 0) return memcpy(out, token.s, token.n), token.n;
        out[n++] = (char)byte;
    }
    return n;
}

static graft_status byte_level(graft_scratch *x, graft_span *t, size_t *n, graft_error *err)
{
    for (size_t i = 0; i < *n; i++) {
        char *bytes = graft_arena_alloc(x->temp, t[i].n + 1);
        if (!bytes) return no_memory(err);
        t[i] = (graft_span){bytes, bytes_of(t[i], bytes)};
    }
    return joined(x, t, n, "", 1, err);
}

graft_status graft_decode_tokens(const graft_tokenizer *t, graft_scratch *x, graft_span *tokens, size_t n, graft_str *out, graft_error *err)
{
    graft_arena_free(x->temp);
    if (!(x->temp = graft_arena_new())) return no_memory(err);
    for (size_t s = 0; s < t->n_decode; s++) {
        const graft_decode *d = &t->decode[s];
        graft_status status = GRAFT_OK;
        if (d->kind == DEC_BYTE_LEVEL) status = byte_level(x, tokens, &n, err);
        else if (d->kind == DEC_BYTE_FALLBACK) status = byte_fallback(x, tokens, &n, err);
        else if (d->kind == DEC_FUSE) status = joined(x, tokens, &n, "", 0, err);
        else if (d->kind == DEC_CTC) status = ctc(x, d, tokens, &n, err);
        else
            for (size_t i = 0; !status && i < n; i++) status = each(x, d, &tokens[i], i, n, err);
        if (status) return status;
    }
    for (size_t i = 0; i < n; i++) {
        if (i && !t->has_decoder) graft_str_add(out, " ", 1);
        graft_str_add(out, tokens[i].s, tokens[i].n);
    }
    return out->failed ? no_memory(err) : GRAFT_OK;
}

graft_status graft_decode_prepare(graft_tokenizer *t, size_t from, graft_error *err)
{
    int bytes = 0, fallback = 0;
    graft_span blank = {0}, prefix = {0};
    for (size_t i = 0; i < t->n_decode; i++) {
        const graft_decode *d = &t->decode[i];
        bytes |= d->kind == DEC_BYTE_LEVEL, fallback |= d->kind == DEC_BYTE_FALLBACK;
        if (d->kind == DEC_METASPACE) blank = d->content;
        if (d->kind == DEC_REPLACE && d->content.n == 1 && d->content.s[0] == ' ' && d->pattern.literal.s) blank = d->pattern.literal;
        if (d->kind == DEC_WORDPIECE) prefix = d->content;
    }
    if (graft_grow((void **)&t->bytes, &t->bytes_room, t->vocab.size, sizeof *t->bytes)) return no_memory(err);
    for (size_t id = from; id < t->vocab.size; id++) {
        const graft_span text = t->vocab.text[id];
        const int byte = text.s && fallback ? byte_token(text) : -1;
        char *out = text.s ? graft_arena_alloc(t->arena, text.n + 2) : NULL;
        if (text.s && !out) return no_memory(err);
        size_t n = 0;
        if (!text.s) n = 0;
        else if (bytes) n = bytes_of(text, out);
        else if (byte >= 0) out[0] = (char)byte, n = 1;
        else if (prefix.n && begins(text, prefix)) memcpy(out, text.s + prefix.n, n = text.n - prefix.n);
        else if (prefix.n || !t->has_decoder) out[0] = ' ', memcpy(out + 1, text.s, text.n), n = text.n + 1;
        else
            for (size_t i = 0; i < text.n;) {
                if (blank.n && begins((graft_span){text.s + i, text.n - i}, blank)) out[n++] = ' ', i += blank.n;
                else out[n++] = text.s[i++];
            }
        t->bytes[id] = (graft_span){out ? out : "", n};
    }
    return GRAFT_OK;
}
