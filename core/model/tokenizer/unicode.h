/* core/model/tokenizer/unicode.h - character classes and UTF-8 steps for the tokenizer's inner loops. */
#ifndef CORE_MODEL_TOKENIZER_UNICODE_H
#define CORE_MODEL_TOKENIZER_UNICODE_H

#include "core/base/str.h"

enum {
    UNI_LETTER = 1, /* \p{L}  */
    UNI_NUMBER = 2, /* \p{N}  */
    UNI_SPACE = 4,  /* White_Space: what \s means in Oniguruma and Rust */
    UNI_MARK = 8,   /* \p{M}  */
    UNI_PUNCT = 16, /* \p{P}  */
    UNI_WORD = 32,  /* \w: letters, marks, decimal digits, connectors */
    UNI_NFC = 64,   /* text of such characters alone is in form NFC */
    UNI_OTHER = 128 /* Cc, Cf, Co: what a BERT normalizer removes, tab and newlines apart */
};

extern uint8_t graft_unicode[0x110000]; /* one byte of bits a character; filled by graft_unicode_init */
void graft_unicode_init(void);          /* [any] cheap after the first call */

/* The character at s, valid UTF-8; *n gets its length. */
static inline uint32_t graft_utf8_get(const char *s, size_t *n)
{
    const uint8_t *p = (const uint8_t *)s;
    if (p[0] < 0x80) return *n = 1, p[0];
    if (p[0] < 0xE0) return *n = 2, (uint32_t)(p[0] & 31) << 6 | (p[1] & 63);
    if (p[0] < 0xF0) return *n = 3, (uint32_t)(p[0] & 15) << 12 | (uint32_t)(p[1] & 63) << 6 | (p[2] & 63);
    return *n = 4, (uint32_t)(p[0] & 7) << 18 | (uint32_t)(p[1] & 63) << 12 | (uint32_t)(p[2] & 63) << 6 | (p[3] & 63);
}

/* Class bits of the character at s. */
static inline uint8_t graft_class_at(const char *s, size_t *n) { return graft_unicode[graft_utf8_get(s, n)]; }

/* Bytes of the character that ends before s + at (at > 0), valid UTF-8. */
static inline size_t graft_utf8_back(const char *s, size_t at)
{
    size_t n = 1;
    while (n < at && n < 4 && ((uint8_t)s[at - n] & 0xC0) == 0x80) n++;
    return n;
}

size_t graft_utf8_put(char out[4], uint32_t c); /* length */
int graft_utf8_valid(const char *s, size_t n);
void graft_utf8_lossy(graft_str *out, const char *s, size_t n); /* each maximal bad part becomes U+FFFD, as Rust's from_utf8_lossy and Python's replace */

/* The 256 characters that stand for bytes in byte-level vocabularies (GPT-2's table), and back: -1 for other characters. */
uint32_t graft_byte_char(uint8_t byte);
int graft_char_byte(uint32_t c);

#endif
