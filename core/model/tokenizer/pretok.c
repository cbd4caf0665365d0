/* core/model/tokenizer/pretok.c - the pre-tokenizers: a text becomes words, and every word goes to the model.
 *
 * The usual pipelines (optional Digits, one known pattern, ByteLevel) are walked word by word without any list. All others go step by step over
 * lists of pieces. A step finds matches in a piece and then keeps, joins or drops them by its behaviour, `tokenizers`' SplitDelimiterBehavior. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"

#include <string.h>

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory while cutting a text into words"); }

/* ---- matches of one piece: x->marks holds start, end, is a match ------------------------------------------------------------------ */

static int mark(graft_scratch *x, size_t start, size_t end, int match)
{
    if (start == end) return 0;
    if (graft_grow((void **)&x->marks, &x->marks_room, x->marks_n * 3 + 3, sizeof *x->marks)) return -1;
    size_t *m = x->marks + 3 * x->marks_n++;
    m[0] = start, m[1] = end, m[2] = (size_t)match;
    return 0;
}

static graft_status marks_by_pattern(graft_scratch *x, const graft_pattern *p, graft_piece piece, graft_error *err)
{
    size_t at = 0, start, end;
    x->marks_n = 0;
    while (at < piece.n) {
        if (p->known) {
            start = at, end = at + graft_split_next(p->known, piece.s + at, piece.n - at);
        } else {
            const int found = graft_pattern_next(p, &x->matcher, piece.s, piece.n, at, &start, &end);
            if (found < 0) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the pre-tokenizer's pattern gave up on a text of %zu bytes; split the text", piece.n);
            if (!found) break;
        }
        if (mark(x, at, start, 0) || mark(x, start, end, 1)) return no_memory(err);
        at = end;
    }
    return mark(x, at, piece.n, 0) ? no_memory(err) : GRAFT_OK;
}

typedef int (*is_fn)(uint32_t c, const graft_pretok *p);
static int is_blank(uint32_t c, const graft_pretok *p) { return (void)p, (graft_unicode[c] & UNI_SPACE) != 0; }
static int is_digit(uint32_t c, const graft_pretok *p) { return (void)p, (graft_unicode[c] & UNI_NUMBER) != 0; }
static int is_punct(uint32_t c, const graft_pretok *p)
{
    (void)p;
    return (c < 128 && c > 32 && !(graft_unicode[c] & (UNI_LETTER | UNI_NUMBER)) && c != 127) || (graft_unicode[c] & UNI_PUNCT);
}
static int is_delimiter(uint32_t c, const graft_pretok *p)
{
    size_t k;
    return c == graft_utf8_get(p->mark.s, &k);
}

/* Every character that `is` matches is a match of its own. */
static graft_status marks_by_class(graft_scratch *x, is_fn is, const graft_pretok *p, graft_piece piece, graft_error *err)
{
    size_t from = 0;
    x->marks_n = 0;
    for (size_t i = 0, k; i < piece.n; i += k) {
        if (!is(graft_utf8_get(piece.s + i, &k), p)) continue;
        if (mark(x, from, i, 0) || mark(x, i, i + k, 1)) return no_memory(err);
        from = i + k;
    }
    return mark(x, from, piece.n, 0) ? no_memory(err) : GRAFT_OK;
}

/* \w+|[^\w\s]+ */
static graft_status marks_of_words(graft_scratch *x, graft_piece piece, graft_error *err)
{
    x->marks_n = 0;
    for (size_t i = 0, k; i < piece.n;) {
        const size_t from = i;
        const uint8_t c = graft_class_at(piece.s + i, &k);
        const int kind = c & UNI_WORD ? 1 : c & UNI_SPACE ? 0
                                                          : 2;
        while (i < piece.n) {
            const uint8_t d = graft_class_at(piece.s + i, &k);
            if ((d & UNI_WORD ? 1 : d & UNI_SPACE ? 0
                                                  : 2) != kind) break;
            i += k;
        }
        if (mark(x, from, i, kind != 0)) return no_memory(err);
    }
    return GRAFT_OK;
}

static int piece_put(graft_pieces *v, const char *s, size_t n, int first)
{
    if (!n) return 0;
    if (graft_grow((void **)&v->item, &v->room, v->n + 1, sizeof *v->item)) return -1;
    v->item[v->n++] = (graft_piece){s, n, first};
    return 0;
}

/* The piece's parts into out. */
static graft_status by_behaviour(graft_scratch *x, graft_piece piece, graft_behaviour how, int invert, graft_pieces *out, graft_error *err)
{
    size_t *m = x->marks, n = 0;
    if (invert)
        for (size_t i = 0; i < x->marks_n; i++) m[3 * i + 2] = !m[3 * i + 2];
    if (how == SPLIT_MERGED_NEXT) { /* joined from the end: a match goes to the part behind it */
        size_t at = x->marks_n;
        int before = 0;
        for (size_t i = x->marks_n; i-- > 0;) {
            if (m[3 * i + 2] && !before && at < x->marks_n) m[3 * at] = m[3 * i];
            else at--, m[3 * at] = m[3 * i], m[3 * at + 1] = m[3 * i + 1];
            before = (int)m[3 * i + 2];
        }
        for (size_t i = at; i < x->marks_n; i++)
            if (piece_put(out, piece.s + m[3 * i], m[3 * i + 1] - m[3 * i], piece.first && !m[3 * i])) return no_memory(err);
        return GRAFT_OK;
    }
    int before = 0;
    for (size_t i = 0; i < x->marks_n; i++) {
        const int match = (int)m[3 * i + 2];
        const int join = n && ((how == SPLIT_CONTIGUOUS && match == before) || (how == SPLIT_MERGED_PREVIOUS && match && !before));
        before = match;
        if (how == SPLIT_REMOVED && match) continue;
        if (join) m[3 * (n - 1) + 1] = m[3 * i + 1];
        else m[3 * n] = m[3 * i], m[3 * n + 1] = m[3 * i + 1], n++;
    }
    for (size_t i = 0; i < n; i++)
        if (piece_put(out, piece.s + m[3 * i], m[3 * i + 1] - m[3 * i], piece.first && !m[3 * i])) return no_memory(err);
    return GRAFT_OK;
}

/* ---- steps --------------------------------------------------------------------------------------------------------------------------- */

static graft_status byte_level(const graft_tokenizer *t, graft_scratch *x, const graft_pretok *p, int last, graft_piece piece, graft_pieces *out, graft_error *err)
{
    if (p->prefix_space && piece.s[0] != ' ') {
        char *text = graft_arena_alloc(x->temp, piece.n + 1);
        if (!text) return no_memory(err);
        text[0] = ' ';
        memcpy(text + 1, piece.s, piece.n);
        piece.s = text, piece.n++;
    }
    const size_t from = out->n;
    if (p->use_regex) {
        if (marks_by_pattern(x, &p->pattern, piece, err) || by_behaviour(x, piece, SPLIT_ISOLATED, 0, out, err)) return err->code;
    } else if (piece_put(out, piece.s, piece.n, piece.first)) {
        return no_memory(err);
    }
    if (last && t->kind == MODEL_BPE && t->bpe.bytes) return GRAFT_OK; /* the model takes the bytes themselves */
    for (size_t i = from; i < out->n; i++) {
        graft_piece *q = &out->item[i];
        char *text = graft_arena_alloc(x->temp, 2 * q->n);
        if (!text) return no_memory(err);
        size_t n = 0;
        for (size_t j = 0; j < q->n; j++) n += graft_utf8_put(text + n, graft_byte_char((uint8_t)q->s[j]));
        q->s = text, q->n = n;
    }
    return GRAFT_OK;
}

static graft_status metaspace(graft_scratch *x, const graft_pretok *p, graft_piece piece, graft_pieces *out, graft_error *err)
{
    size_t blanks = 1;
    for (size_t i = 0; i < piece.n; i++) blanks += piece.s[i] == ' ';
    char *text = graft_arena_alloc(x->temp, piece.n + blanks * p->mark.n);
    if (!text) return no_memory(err);
    size_t n = 0;
    const int marked = piece.s[0] == ' ' || (piece.n >= p->mark.n && !memcmp(piece.s, p->mark.s, p->mark.n));
    if (!marked && (p->prepend == PREPEND_ALWAYS || (p->prepend == PREPEND_FIRST && piece.first))) memcpy(text, p->mark.s, p->mark.n), n = p->mark.n;
    for (size_t i = 0; i < piece.n; i++) {
        if (piece.s[i] == ' ') memcpy(text + n, p->mark.s, p->mark.n), n += p->mark.n;
        else text[n++] = piece.s[i];
    }
    const graft_piece marked_piece = {text, n, piece.first};
    if (!p->split) return piece_put(out, text, n, piece.first) ? no_memory(err) : GRAFT_OK;
    const graft_pattern literal = {.literal = p->mark};
    if (marks_by_pattern(x, &literal, marked_piece, err)) return err->code;
    return by_behaviour(x, marked_piece, SPLIT_MERGED_NEXT, 0, out, err);
}

static graft_status fixed_length(const graft_pretok *p, graft_piece piece, graft_pieces *out, graft_error *err)
{
    for (size_t i = 0, k; i < piece.n;) {
        const size_t from = i;
        for (size_t c = 0; c < p->length && i < piece.n; c++) graft_utf8_get(piece.s + i, &k), i += k;
        if (piece_put(out, piece.s + from, i - from, piece.first && !from)) return no_memory(err);
    }
    return GRAFT_OK;
}

static graft_status by_class(graft_scratch *x, const graft_pretok *p, is_fn is, graft_behaviour how, graft_piece piece, graft_pieces *out, graft_error *err)
{
    return marks_by_class(x, is, p, piece, err) ? err->code : by_behaviour(x, piece, how, 0, out, err);
}

static graft_status step(const graft_tokenizer *t, graft_scratch *x, size_t i, graft_piece piece, graft_pieces *out, graft_error *err)
{
    const graft_pretok *p = &t->pretok[i];
    switch (p->kind) {
    case PRE_BYTE_LEVEL: return byte_level(t, x, p, i + 1 == t->n_pretok, piece, out, err);
    case PRE_SPLIT: return marks_by_pattern(x, &p->pattern, piece, err) ? err->code : by_behaviour(x, piece, p->behaviour, p->invert, out, err);
    case PRE_DIGITS: return by_class(x, p, is_digit, p->individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS, piece, out, err);
    case PRE_METASPACE: return metaspace(x, p, piece, out, err);
    case PRE_WHITESPACE: return marks_of_words(x, piece, err) ? err->code : by_behaviour(x, piece, SPLIT_REMOVED, 1, out, err);
    case PRE_WHITESPACE_SPLIT: return by_class(x, p, is_blank, SPLIT_REMOVED, piece, out, err);
    case PRE_PUNCTUATION: return by_class(x, p, is_punct, p->behaviour, piece, out, err);
    case PRE_DELIMITER: return by_class(x, p, is_delimiter, SPLIT_REMOVED, piece, out, err);
    case PRE_FIXED_LENGTH: return fixed_length(p, piece, out, err);
    case PRE_BERT: {
        graft_pieces words = {0};
        graft_status status = by_class(x, p, is_blank, SPLIT_REMOVED, piece, &words, err);
        for (size_t w = 0; !status && w < words.n; w++) status = by_class(x, p, is_punct, SPLIT_ISOLATED, words.item[w], out, err);
        graft_free(words.item);
        return status;
    }
    }
    return GRAFT_OK;
}

/* ---- the walk -------------------------------------------------------------------------------------------------------------------------- */

static graft_status fast_walk(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err)
{
    for (size_t i = 0; i < n;) {
        const size_t k = graft_split_next(t->fast, s + i, n - i);
        if (graft_bpe_word(t, x, s + i, k, out, err)) return err->code;
        i += k;
    }
    return GRAFT_OK;
}

/* Digits before the pattern: single digits (or runs of them) are texts of their own, and so is what lies between. */
static graft_status fast_digits(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err)
{
    for (size_t i = 0, k; i < n;) {
        const size_t from = i;
        const int digit = (graft_class_at(s + i, &k) & UNI_NUMBER) != 0;
        for (i += k; i < n; i += k)
            if (((graft_class_at(s + i, &k) & UNI_NUMBER) != 0) != digit || (digit && t->fast_digits == 2)) break;
        if (fast_walk(t, x, s + from, i - from, out, err)) return err->code;
    }
    return GRAFT_OK;
}

void graft_tokenizer_plan(graft_tokenizer *t)
{
    size_t i = 0;
    t->fast = GRAFT_KNOWN_NONE, t->fast_digits = 0;
    if (t->kind != MODEL_BPE || !t->bpe.bytes || !t->n_pretok) return;
    if (t->pretok[0].kind == PRE_DIGITS) t->fast_digits = t->pretok[0].individual ? 2 : 1, i++;
    const graft_pretok *p = t->pretok + i;
    if (t->n_pretok == i + 2 && p[0].kind == PRE_SPLIT && p[0].behaviour == SPLIT_ISOLATED && !p[0].invert && p[1].kind == PRE_BYTE_LEVEL && !p[1].use_regex && !p[1].prefix_space)
        t->fast = p[0].pattern.known;
    if (t->n_pretok == i + 1 && p[0].kind == PRE_BYTE_LEVEL && p[0].use_regex && !p[0].prefix_space) t->fast = GRAFT_KNOWN_GPT2;
}

graft_status graft_pretokenise(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, int first, graft_ids *out, graft_error *err)
{
    if (!n) return GRAFT_OK;
    if (!t->n_pretok) return graft_model_word(t, x, s, n, out, err);
    if (t->fast) return t->fast_digits ? fast_digits(t, x, s, n, out, err) : fast_walk(t, x, s, n, out, err);
    graft_arena_free(x->temp);
    if (!(x->temp = graft_arena_new())) return no_memory(err);
    graft_pieces *from = &x->pieces[0], *to = &x->pieces[1];
    from->n = 0;
    if (piece_put(from, s, n, first)) return no_memory(err);
    for (size_t i = 0; i < t->n_pretok; i++) {
        to->n = 0;
        for (size_t j = 0; j < from->n; j++)
            if (step(t, x, i, from->item[j], to, err)) return err->code;
        graft_pieces *swap = from;
        from = to, to = swap;
    }
    for (size_t j = 0; j < from->n; j++)
        if (graft_model_word(t, x, from->item[j].s, from->item[j].n, out, err)) return err->code;
    return GRAFT_OK;
}
