/* core/model/jinja_tokens.c - the words, numbers, texts and operators inside a Jinja tag (jinja_parts.h). */
#include "core/model/jinja_parts.h"

#include "core/base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void graft_jinja_refuse(graft_jinja_parser *p, const char *what)
{
    char where[300];
    snprintf(where, sizeof where, "%.270s:%d", p->name, p->line);
    if (!p->failed) graft_fail(p->err, GRAFT_BAD_INPUT, where, "the chat template is not understood: %s", what);
    p->failed = 1;
}

graft_jinja_node *graft_jinja_node_new(graft_jinja_parser *p, graft_jinja_kind kind)
{
    graft_jinja_node *n = graft_arena_alloc(p->a, sizeof *n);
    if (!n) {
        if (!p->failed) graft_fail(p->err, GRAFT_NO_MEMORY, p->name, "out of memory for the chat template");
        p->failed = 1;
        return &p->spare;
    }
    n->kind = kind, n->line = p->line;
    return n;
}

/* ---- tokens ------------------------------------------------------------------------------------------------------------------------- */

static int is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static int is_digit(char c) { return c >= '0' && c <= '9'; }
int graft_jinja_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; }

static size_t utf8(char *out, unsigned code)
{
    if (code < 0x80) return out[0] = (char)code, 1;
    if (code < 0x800) return out[0] = (char)(0xC0 | code >> 6), out[1] = (char)(0x80 | (code & 63)), 2;
    if (code < 0x10000) return out[0] = (char)(0xE0 | code >> 12), out[1] = (char)(0x80 | (code >> 6 & 63)), out[2] = (char)(0x80 | (code & 63)), 3;
    return out[0] = (char)(0xF0 | (code >> 18 & 7)), out[1] = (char)(0x80 | (code >> 12 & 63)), out[2] = (char)(0x80 | (code >> 6 & 63)), out[3] = (char)(0x80 | (code & 63)), 4;
}

static void string_token(graft_jinja_parser *p)
{
    const char quote = p->text[p->at++];
    size_t end = p->at, n = 0;
    while (end < p->bytes && p->text[end] != quote) end += p->text[end] == '\\' ? 2 : 1;
    char *out = end < p->bytes ? graft_arena_alloc(p->a, end - p->at + 1) : NULL;
    if (!out) {
        graft_jinja_refuse(p, "a text has no closing quote");
        return;
    }
    for (; p->at < end; p->at++) {
        char c = p->text[p->at];
        if (c == '\n') p->line++;
        if (c != '\\') {
            out[n++] = c;
            continue;
        }
        static const char from[] = "ntrbfv0a", to[] = "\n\t\r\b\f\v\0\a";
        c = p->text[++p->at];
        const char *known = c ? strchr(from, c) : NULL;
        const int digits = c == 'x' ? 2 : c == 'u' ? 4
                                      : c == 'U'   ? 8
                                                   : 0;
        if (digits && p->at + (size_t)digits < end) {
            char hex[9] = "";
            memcpy(hex, p->text + p->at + 1, (size_t)digits);
            n += utf8(out + n, (unsigned)strtoul(hex, NULL, 16) % 0x110000);
            p->at += (size_t)digits;
        } else if (known) {
            out[n++] = to[known - from];
        } else {
            if (c == '\n') p->line++;
            else if (c != '\\' && c != '\'' && c != '"') out[n++] = '\\';
            if (c != '\n') out[n++] = c;
        }
    }
    p->at = end + 1;
    p->token = JINJA_STRING;
    p->value = graft_json_text(p->a, out, n);
}

static void number_token(graft_jinja_parser *p)
{
    char digits[64];
    size_t n = 0;
    int real = 0;
    while (p->at < p->bytes && n < sizeof digits - 1) {
        const char c = p->text[p->at];
        if (c == '.' && p->at + 1 < p->bytes && is_digit(p->text[p->at + 1])) real = 1;
        else if ((c == 'e' || c == 'E') && p->at + 1 < p->bytes && (is_digit(p->text[p->at + 1]) || p->text[p->at + 1] == '-' || p->text[p->at + 1] == '+')) {
            real = 1;
            digits[n++] = c;
            p->at++;
        } else if (!is_digit(c) && c != '_') break;
        if (p->text[p->at] != '_') digits[n++] = p->text[p->at];
        p->at++;
    }
    digits[n] = '\0';
    p->token = JINJA_NUMBER;
    p->value = real ? graft_json_real(p->a, strtod(digits, NULL)) : graft_json_int(p->a, strtoll(digits, NULL, 10));
}

void graft_jinja_next(graft_jinja_parser *p)
{
    static const char *const pairs[] = {"==", "!=", "<=", ">=", "//", "**"};
    if (p->failed) {
        p->token = JINJA_END;
        return;
    }
    while (p->at < p->bytes && graft_jinja_space(p->text[p->at])) p->line += p->text[p->at++] == '\n';
    const char *s = p->text + p->at;
    const size_t left = p->bytes - p->at;
    const size_t sign = left && (*s == '-' || *s == '+');
    p->word = s, p->word_bytes = 0;
    if (!p->braces && left >= 2 + sign && s[sign] == p->close && s[sign + 1] == '}') {
        p->at += 2 + sign;
        p->token = JINJA_END;
        p->trim_next = sign && *s == '-' ? 2 : p->close == '%' && !sign ? 1
                                                                        : 0;
    } else if (!left) {
        graft_jinja_refuse(p, "a tag is not closed");
        p->token = JINJA_END;
    } else if (is_alpha(*s)) {
        while (p->word_bytes < left && (is_alpha(s[p->word_bytes]) || is_digit(s[p->word_bytes]))) p->word_bytes++;
        p->token = JINJA_WORD, p->at += p->word_bytes;
    } else if (is_digit(*s)) {
        number_token(p);
    } else if (*s == '"' || *s == '\'') {
        string_token(p);
    } else {
        p->token = JINJA_OPERATOR, p->word_bytes = 1;
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
            if (left >= 2 && !memcmp(s, pairs[i], 2)) p->word_bytes = 2;
        p->braces += *s == '{' ? 1 : *s == '}' && p->braces ? -1
                                                            : 0;
        p->at += p->word_bytes;
    }
}
