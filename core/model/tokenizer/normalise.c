/* core/model/tokenizer/normalise.c - the normalisers of tokenizer.json, one after another, each from one text buffer into the other.
 *
 * Unicode forms and lower case come from utf8proc; text whose characters are all in form NFC already (one table look-up each) is passed on as it is.
 *
 * Precompiled (sentencepiece's character map): 4 bytes length of the trie, the trie (darts-clone double array, uint32 little endian), then
 * NUL-terminated replacements. As in `tokenizers`, a grapheme of fewer than 6 bytes is looked up whole, otherwise its characters one by one, and
 * of several prefixes in the trie the shortest counts. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory while normalising a text"); }

static int in_nfc(const char *s, size_t n)
{
    for (size_t i = 0, k; i < n; i += k)
        if (!(graft_class_at(s + i, &k) & UNI_NFC)) return 0;
    return 1;
}

static int in_ascii(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)s[i] >= 0x80) return 0;
    return 1;
}

static graft_status unicode_form(graft_str *out, const char *s, size_t n, utf8proc_option_t form, graft_error *err)
{
    utf8proc_uint8_t *text = NULL;
    const utf8proc_ssize_t size = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &text, UTF8PROC_STABLE | form);
    if (size < 0) return graft_fail(err, size == UTF8PROC_ERROR_NOMEM ? GRAFT_NO_MEMORY : GRAFT_BAD_INPUT, NULL, "normalising a text failed: %s", utf8proc_errmsg(size));
    graft_str_add(out, (const char *)text, (size_t)size);
    free(text); /* utf8proc's own malloc */
    return GRAFT_OK;
}

static void put(graft_str *out, uint32_t c)
{
    char bytes[4];
    graft_str_add(out, bytes, graft_utf8_put(bytes, c));
}

static void lowercase(graft_str *out, const char *s, size_t n)
{
    for (size_t i = 0, k; i < n; i += k) {
        const uint32_t c = graft_utf8_get(s + i, &k);
        if (c == 0x130) graft_str_add(out, "i\xCC\x87", 3); /* the one character whose lower case is two */
        else put(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
    }
}

static int is_cjk(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) ||
           (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/* Clean, set off Chinese characters: one pass. */
static void bert_clean(const graft_norm *m, graft_str *out, const char *s, size_t n)
{
    for (size_t i = 0, k; i < n; i += k) {
        const uint32_t c = graft_utf8_get(s + i, &k);
        const int blank = c == '\t' || c == '\n' || c == '\r' || graft_unicode[c] & UNI_SPACE;
        if (m->clean && !(c == '\t' || c == '\n' || c == '\r') && (!c || c == 0xFFFD || graft_unicode[c] & UNI_OTHER)) continue;
        if (m->clean && blank) graft_str_add(out, " ", 1);
        else if (m->chinese && is_cjk(c)) graft_str_add(out, " ", 1), graft_str_add(out, s + i, k), graft_str_add(out, " ", 1);
        else graft_str_add(out, s + i, k);
    }
}

static void without_marks(graft_str *out, const char *s, size_t n, int nonspacing_only)
{
    for (size_t i = 0, k; i < n; i += k) {
        const uint32_t c = graft_utf8_get(s + i, &k);
        if (nonspacing_only ? utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN : (graft_unicode[c] & UNI_MARK) != 0) continue;
        graft_str_add(out, s + i, k);
    }
}

static graft_status bert(const graft_norm *m, graft_str *out, const char *s, size_t n, graft_error *err)
{
    graft_str a, b;
    graft_str_init(&a, 0);
    graft_str_init(&b, 0);
    graft_status status = GRAFT_OK;
    bert_clean(m, &a, s, n);
    if (m->accents < 0 ? m->lower : m->accents) {
        status = unicode_form(&b, a.data, a.bytes, UTF8PROC_DECOMPOSE, err);
        graft_str_clear(&a);
        without_marks(&a, b.data, b.bytes, 1);
    }
    if (m->lower) lowercase(out, a.data, a.bytes);
    else graft_str_add(out, a.data, a.bytes);
    if (!status && (a.failed || b.failed)) status = no_memory(err);
    graft_str_free(&a);
    graft_str_free(&b);
    return status;
}

static void nmt(graft_str *out, const char *s, size_t n)
{
    for (size_t i = 0, k; i < n; i += k) {
        const uint32_t c = graft_utf8_get(s + i, &k);
        if ((c >= 1 && c <= 8) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) continue;
        const int blank = c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
        if (blank) graft_str_add(out, " ", 1);
        else graft_str_add(out, s + i, k);
    }
}

static graft_status replace(const graft_norm *m, graft_scratch *x, graft_str *out, const char *s, size_t n, graft_error *err)
{
    size_t at = 0, start, end;
    int found;
    while (at < n && (found = graft_pattern_next(&m->pattern, &x->matcher, s, n, at, &start, &end))) {
        if (found < 0) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the normaliser's pattern gave up on a text of %zu bytes; split the text", n);
        graft_str_add(out, s + at, start - at);
        graft_str_add(out, m->content.s, m->content.n);
        at = end;
    }
    graft_str_add(out, s + at, n - at);
    return GRAFT_OK;
}

/* ---- Precompiled ---------------------------------------------------------------------------------------------------------------- */

/* The replacement of a prefix of s in the trie and the prefix's bytes, or NULL: the shortest one, or the longest. */
static const char *mapped(const graft_norm *m, const char *s, size_t n, size_t *bytes)
{
    size_t node = 0;
    const char *found = NULL;
    if (!m->trie_units) return NULL;
    uint32_t unit = m->trie[0];
    node ^= (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
    for (size_t i = 0; i < n && s[i] && (m->longest || !found); i++) {
        node ^= (uint8_t)s[i];
        if (node >= m->trie_units) break;
        unit = m->trie[node];
        if ((unit & ((1u << 31) | 0xFF)) != (uint8_t)s[i]) break;
        node ^= (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
        if (!(unit >> 8 & 1)) continue;
        if (node >= m->trie_units) break;
        const size_t at = m->trie[node] & 0x7FFFFFFF;
        if (at < m->content.n) found = m->content.s + at, *bytes = i + 1;
    }
    return found;
}

/* As sentencepiece does it: the longest replacement at every place. */
static void precompiled_longest(const graft_norm *m, graft_str *out, const char *s, size_t n)
{
    for (size_t i = 0, k; i < n; i += k) {
        const char *to = mapped(m, s + i, n - i, &k);
        if (to) {
            graft_str_text(out, to);
        } else {
            graft_utf8_get(s + i, &k);
            graft_str_add(out, s + i, k);
        }
    }
}

/* As `tokenizers` does it: by graphemes. */
static void precompiled(const graft_norm *m, graft_str *out, const char *s, size_t n)
{
    for (size_t i = 0, end; i < n; i = end) {
        size_t k;
        uint32_t c = graft_utf8_get(s + i, &k);
        utf8proc_int32_t state = 0;
        for (end = i + k; end < n; end += k) { /* the grapheme [i, end) */
            const uint32_t next = graft_utf8_get(s + end, &k);
            if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state)) break;
            c = next;
        }
        const char *whole = end - i < 6 ? mapped(m, s + i, end - i, &k) : NULL;
        if (whole) {
            graft_str_text(out, whole);
            continue;
        }
        for (size_t j = i; j < end; j += k) {
            size_t used;
            graft_utf8_get(s + j, &k);
            const char *one = mapped(m, s + j, k, &used);
            if (one) graft_str_text(out, one);
            else graft_str_add(out, s + j, k);
        }
    }
}

graft_status graft_precompiled_open(graft_tokenizer *t, graft_norm *norm, const graft_json *base64, const char *where, graft_error *err)
{
    if (!base64 || base64->type != GRAFT_JSON_TEXT) return graft_fail(err, GRAFT_BAD_INPUT, where, "the Precompiled normaliser needs precompiled_charsmap as base64 text");
    uint8_t *data = graft_arena_alloc(t->arena, base64->bytes + 8);
    if (!data) return no_memory(err);
    const int64_t read = graft_base64_read(base64->text, base64->bytes, data);
    if (read < 0) return graft_fail(err, GRAFT_BAD_INPUT, where, "precompiled_charsmap is no base64");
    const size_t n = (size_t)read;
    uint32_t trie_bytes = 0;
    if (n >= 4) memcpy(&trie_bytes, data, 4);
    if (n < 4 || trie_bytes % 4 || trie_bytes > n - 4) return graft_fail(err, GRAFT_BAD_INPUT, where, "precompiled_charsmap claims a trie of %u bytes and has %zu in all", trie_bytes, n);
    norm->trie = (const uint32_t *)(data + 4); /* arena memory is 16-byte aligned and zeroed past the end */
    norm->trie_units = trie_bytes / 4;
    norm->content = (graft_span){(const char *)data + 4 + trie_bytes, n - 4 - trie_bytes};
    return GRAFT_OK;
}

/* ---- the pipeline ------------------------------------------------------------------------------------------------------------------ */

static graft_status step(const graft_norm *m, graft_scratch *x, graft_str *out, const char *s, size_t n, graft_error *err)
{
    size_t k, from = 0, to = n;
    switch (m->kind) {
    case NORM_NFC: return unicode_form(out, s, n, UTF8PROC_COMPOSE, err);
    case NORM_NFD: return unicode_form(out, s, n, UTF8PROC_DECOMPOSE, err);
    case NORM_NFKC: return unicode_form(out, s, n, UTF8PROC_COMPOSE | UTF8PROC_COMPAT, err);
    case NORM_NFKD: return unicode_form(out, s, n, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, err);
    case NORM_LOWERCASE: lowercase(out, s, n); break;
    case NORM_STRIP:
        while (m->left && from < to && graft_class_at(s + from, &k) & UNI_SPACE) from += k;
        while (m->right && to > from && graft_class_at(s + to - graft_utf8_back(s, to), &k) & UNI_SPACE) to -= graft_utf8_back(s, to);
        graft_str_add(out, s + from, to - from);
        break;
    case NORM_STRIP_ACCENTS: without_marks(out, s, n, 0); break;
    case NORM_REPLACE: return replace(m, x, out, s, n, err);
    case NORM_PREPEND:
        if (n) graft_str_add(out, m->content.s, m->content.n);
        graft_str_add(out, s, n);
        break;
    case NORM_BERT: return bert(m, out, s, n, err);
    case NORM_NMT: nmt(out, s, n); break;
    case NORM_BYTE_LEVEL:
        for (size_t i = 0; i < n; i++) put(out, graft_byte_char((uint8_t)s[i]));
        break;
    case NORM_PRECOMPILED:
        if (m->longest) precompiled_longest(m, out, s, n);
        else precompiled(m, out, s, n);
        break;
    }
    return GRAFT_OK;
}

/* Would this step leave the text as it is? */
static int idle(const graft_norm *m, const char *s, size_t n)
{
    switch (m->kind) {
    case NORM_NFC: return in_nfc(s, n);
    case NORM_NFD:
    case NORM_NFKC:
    case NORM_NFKD: return in_ascii(s, n);
    default: return 0;
    }
}

graft_status graft_normalise(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_span *out, graft_error *err)
{
    int which = 0;
    for (size_t i = 0; i < t->n_norm; i++) {
        if (idle(&t->norm[i], s, n)) continue;
        graft_str *to = &x->text[which];
        graft_str_clear(to);
        if (step(&t->norm[i], x, to, s, n, err)) return err->code;
        if (to->failed) return no_memory(err);
        s = to->data, n = to->bytes;
        which = !which;
    }
    *out = (graft_span){s, n};
    return GRAFT_OK;
}
