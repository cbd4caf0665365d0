/* core/model/tokenizer/split.c - the well-known pre-tokenizer patterns by hand: the regular expressions below, one piece at a time.
 *
 *   GPT2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *   LLAMA3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *   QWEN2   as LLAMA3 with \p{N} for \p{N}{1,3}
 *
 * Each pattern covers every text, so the pieces lie end to end. Input is valid UTF-8 and not empty. */
#include "core/model/tokenizer/parts.h"

/* First byte at or after i whose character has none of (want) / any of (stop) the class bits. */
static size_t run_of(const char *s, size_t n, size_t i, uint8_t want)
{
    while (i < n) {
        size_t k;
        if (!(graft_class_at(s + i, &k) & want)) break;
        i += k;
    }
    return i;
}

static size_t run_until(const char *s, size_t n, size_t i, uint8_t stop)
{
    while (i < n) {
        size_t k;
        if (graft_class_at(s + i, &k) & stop) break;
        i += k;
    }
    return i;
}

/* Bytes of a contraction that begins with the apostrophe at s, or 0. With any_case also 'S, 'Re and the long s, which folds to s. */
static size_t contraction(const char *s, size_t n, int any_case)
{
    if (n < 2) return 0;
    if (any_case && n >= 3 && (uint8_t)s[1] == 0xC5 && (uint8_t)s[2] == 0xBF) return 3;
    const char fold = any_case ? 0x20 : 0;
    const char a = (char)(s[1] | fold);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (n < 3) return 0;
    const char b = (char)(s[2] | fold);
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s+(?!\S)|\s+ for a run of blanks [0, end): all of it at the end of the text, else all but its last character, else the one character. */
static size_t blanks(const char *s, size_t n, size_t end)
{
    if (end == n) return end;
    const size_t last = graft_utf8_back(s, end);
    return end > last ? end - last : end;
}

static size_t gpt2(const char *s, size_t n)
{
    if (s[0] == '\'') {
        const size_t c = contraction(s, n, 0);
        if (c) return c;
    }
    const size_t blank = s[0] == ' ' && n > 1;
    size_t k;
    const uint8_t c = graft_class_at(s + blank, &k);
    if (c & UNI_LETTER) return run_of(s, n, blank + k, UNI_LETTER);
    if (c & UNI_NUMBER) return run_of(s, n, blank + k, UNI_NUMBER);
    if (!(c & UNI_SPACE)) return run_until(s, n, blank + k, UNI_SPACE | UNI_LETTER | UNI_NUMBER);
    return blanks(s, n, run_of(s, n, blank + k, UNI_SPACE));
}

static size_t llama3(const char *s, size_t n, int digits)
{
    if (s[0] == '\'') {
        const size_t c = contraction(s, n, 1);
        if (c) return c;
    }
    size_t k, k2;
    const uint8_t c = graft_class_at(s, &k);
    if (c & UNI_LETTER) return run_of(s, n, k, UNI_LETTER);
    if (c & UNI_NUMBER) {
        size_t i = k;
        for (int d = 1; d < digits && i < n && graft_class_at(s + i, &k2) & UNI_NUMBER; d++) i += k2;
        return i;
    }
    if (k < n && s[0] != '\r' && s[0] != '\n' && graft_class_at(s + k, &k2) & UNI_LETTER) return run_of(s, n, k + k2, UNI_LETTER);
    const size_t blank = s[0] == ' ' && n > 1;
    const uint8_t after = blank ? graft_class_at(s + 1, &k2) : c;
    if (!(after & (UNI_SPACE | UNI_LETTER | UNI_NUMBER))) {
        size_t i = run_until(s, n, blank ? 1 + k2 : k, UNI_SPACE | UNI_LETTER | UNI_NUMBER);
        while (i < n && (s[i] == '\r' || s[i] == '\n')) i++;
        return i;
    }
    const size_t end = run_of(s, n, k, UNI_SPACE);
    for (size_t i = end; i > 0; i--)
        if (s[i - 1] == '\r' || s[i - 1] == '\n') return i;
    return blanks(s, n, end);
}

size_t graft_split_next(graft_known known, const char *s, size_t n)
{
    switch (known) {
    case GRAFT_KNOWN_GPT2: return gpt2(s, n);
    case GRAFT_KNOWN_LLAMA3: return llama3(s, n, 3);
    case GRAFT_KNOWN_QWEN2: return llama3(s, n, 1);
    default: return n;
    }
}
