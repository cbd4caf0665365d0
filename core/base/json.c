/* core/base/json.c - reads JSON (RFC 8259) into the SDK's nodes; see json.h.
 *
 * One pass over the bytes, recursive by depth (at most GRAFT_JSON_MAX_DEPTH). Nodes and texts are copied into the arena, so the input may go away.
 * Lines and columns (in characters) are counted by a second, trailing cursor that only ever moves forward. */
#include "core/base/json.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    graft_arena *arena;
    const char *name, *at, *end;
    const char *counted; /* line and column below are those of this byte */
    int32_t line, column;
    int flags, depth;
    graft_error *err;
} reader;

static void count_to(reader *r, const char *to)
{
    for (; r->counted < to; r->counted++) {
        if (*r->counted == '\n') {
            r->line += r->line < INT32_MAX;
            r->column = 1;
        } else if (((unsigned char)*r->counted & 0xC0) != 0x80) {
            r->column += r->column < INT32_MAX;
        }
    }
}

/* What stands at p, for "found ...". */
static const char *seen(const reader *r, const char *p, char out[32])
{
    const int n = p < r->end ? graft_utf8_length(p, (size_t)(r->end - p)) : 0;
    if (p >= r->end) {
        snprintf(out, 32, "the end of the text");
    } else if (n == 0 || (n == 1 && ((unsigned char)*p < 0x20 || *p == 0x7F))) {
        snprintf(out, 32, "the byte 0x%02x", (unsigned char)*p);
    } else {
        snprintf(out, 32, "%.*s", n, p);
    }
    return out;
}

static graft_status fail_at(reader *r, const char *p, const char *expected)
{
    char where[256], found[32];
    count_to(r, p);
    snprintf(where, sizeof where, "%.200s:%d:%d", r->name, (int)r->line, (int)r->column);
    return graft_fail(r->err, GRAFT_BAD_INPUT, where, "expected %s, found %s; correct the JSON there", expected, seen(r, p, found));
}

static graft_status no_memory(reader *r) { return graft_fail(r->err, GRAFT_NO_MEMORY, r->name, "not enough memory to read this JSON"); }

static void skip_space(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')) r->at++;
}

static int hex4(const char *p, const char *end, unsigned *out)
{
    unsigned v = 0;
    if (end - p < 4) return 0;
    for (int i = 0; i < 4; i++) {
        const char c = p[i];
        const int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                   : c >= 'A' && c <= 'F'   ? c - 'A' + 10
                                                                            : -1;
        if (d < 0) return 0;
        v = v << 4 | (unsigned)d;
    }
    *out = v;
    return 1;
}

static char *put_utf8(char *to, unsigned c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xC0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *to++ = (char)(0xE0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    } else {
        *to++ = (char)(0xF0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3F));
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    }
    return to;
}

/* \uXXXX at p (behind the u), with its low half when it is a surrogate pair. Moves both pointers. */
static graft_status read_unicode(reader *r, const char **p, char **to)
{
    unsigned c, low;
    if (!hex4(*p, r->end, &c)) return fail_at(r, *p, "four hexadecimal digits after \\u");
    if (c >= 0xD800 && c < 0xDC00 && r->end - *p >= 10 && (*p)[4] == '\\' && (*p)[5] == 'u' && hex4(*p + 6, r->end, &low) && low >= 0xDC00 && low < 0xE000) {
        *to = put_utf8(*to, 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00));
        *p += 10;
        return GRAFT_OK;
    }
    if (c >= 0xD800 && c < 0xE000) {
        if (!(r->flags & GRAFT_JSON_ALLOW_LONE_SURROGATE)) return fail_at(r, *p, "both halves of a surrogate pair");
        c = 0xFFFD;
    }
    *to = put_utf8(*to, c);
    *p += 4;
    return GRAFT_OK;
}

/* The string whose opening quote is at r->at. An escape is never shorter than what it stands for, so the raw length bounds the result. */
static graft_status read_string(reader *r, const char **text, size_t *bytes)
{
    static const char letter[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";
    const char *p = r->at + 1, *close = p;
    while (close < r->end && *close != '"') close += *close == '\\' && close + 1 < r->end ? 2 : 1;
    if (close >= r->end) return fail_at(r, r->end, "a closing quote");
    char *out = graft_arena_alloc(r->arena, (size_t)(close - p) + 1), *to = out;
    if (!out) return no_memory(r);
    while (p < close) {
        const unsigned char c = (unsigned char)*p;
        if (c == '\\') {
            const char *known = p[1] ? strchr(letter, p[1]) : NULL;
            if (known) {
                *to++ = meaning[known - letter];
                p += 2;
            } else if (p[1] == 'u') {
                p += 2;
                const graft_status status = read_unicode(r, &p, &to);
                if (status) return status;
            } else {
                return fail_at(r, p + 1, "one of \" \\ / b f n r t u after a backslash");
            }
        } else if (c < 0x20) {
            return fail_at(r, p, "control characters in a text written as \\u00XX");
        } else if (c < 0x80) {
            *to++ = *p++;
        } else {
            const int n = graft_utf8_length(p, (size_t)(close - p));
            if (!n) return fail_at(r, p, "UTF-8");
            memcpy(to, p, (size_t)n);
            to += n;
            p += n;
        }
    }
    *text = out;
    *bytes = (size_t)(to - out);
    r->at = close + 1;
    return GRAFT_OK;
}

static const char *digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p;
}

static graft_status read_number(reader *r, graft_json *v)
{
    const char *start = r->at, *p = start + (*start == '-'), *q = digits(p, r->end);
    int whole = 1;
    if (q == p) return fail_at(r, q, "a digit");
    if (*p == '0' && q - p > 1) return fail_at(r, p, "a number without leading zeros");
    if (q < r->end && *q == '.') {
        whole = 0;
        p = q + 1;
        if ((q = digits(p, r->end)) == p) return fail_at(r, q, "a digit after the point");
    }
    if (q < r->end && (*q == 'e' || *q == 'E')) {
        whole = 0;
        p = q + 1;
        if (p < r->end && (*p == '+' || *p == '-')) p++;
        if ((q = digits(p, r->end)) == p) return fail_at(r, q, "a digit in the exponent");
    }
    v->type = GRAFT_JSON_NUMBER;
    v->bytes = (size_t)(q - start);
    v->text = graft_arena_copy(r->arena, start, v->bytes);
    if (!v->text) return no_memory(r);
    v->number = strtod(v->text, NULL);
    if (isinf(v->number) && !(r->flags & GRAFT_JSON_ALLOW_NAN)) return fail_at(r, start, "a number within a double's range");
    if (whole) {
        errno = 0;
        const long long i = strtoll(v->text, NULL, 10);
        if (!errno) v->integral = 1, v->integer = i;
    }
    r->at = q;
    return GRAFT_OK;
}

/* Consumes word when it stands here. */
static int word(reader *r, const char *w)
{
    const size_t n = strlen(w);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, w, n)) return 0;
    r->at += n;
    return 1;
}

static int read_special(reader *r, graft_json *v)
{
    static const struct {
        const char *spelling;
        double value;
    } specials[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
    for (size_t i = 0; i < 3; i++)
        if (word(r, specials[i].spelling)) {
            v->type = GRAFT_JSON_NUMBER;
            v->text = specials[i].spelling;
            v->bytes = strlen(v->text);
            v->number = specials[i].value;
            return 1;
        }
    return 0;
}

static uint64_t key_hash(const graft_json *m)
{
    uint64_t h = 0xCBF29CE484222325ull; /* FNV-1a */
    for (size_t i = 0; i < m->key_bytes; i++) h = (h ^ (unsigned char)m->key[i]) * 0x100000001B3ull;
    return h;
}

static int same_key(const graft_json *a, const graft_json *b) { return a->key_bytes == b->key_bytes && !memcmp(a->key, b->key, a->key_bytes); }

/* A table with at most half its places taken, so that an object of n members costs n. */
graft_status graft_json_unique_keys(const char *name, const graft_json *object, graft_error *err)
{
    const graft_json **table;
    size_t room = 16;
    while (room < (size_t)object->count * 2) room *= 2;
    if (!(table = graft_calloc(room, sizeof *table))) return graft_fail(err, GRAFT_NO_MEMORY, name, "not enough memory to compare this object's keys");
    graft_status status = GRAFT_OK;
    for (const graft_json *m = object->child; m && !status; m = m->next) {
        size_t at = key_hash(m) & (room - 1);
        while (table[at] && !same_key(table[at], m)) at = (at + 1) & (room - 1);
        if (table[at]) {
            char where[256];
            snprintf(where, sizeof where, "%.200s:%d:%d", name, (int)m->line, (int)m->column);
            status = graft_fail(err, GRAFT_BAD_INPUT, where, "the key \"%s\" is given twice, first in line %d; remove one of them", m->key, (int)table[at]->line);
        }
        table[at] = m;
    }
    graft_free(table);
    return status;
}

static graft_status read_value(reader *r, graft_json *v);

/* The members between the brackets; r->at is behind the opening one. */
static graft_status read_children(reader *r, graft_json *v, int object)
{
    const char close = object ? '}' : ']';
    graft_json *last = NULL;
    v->type = object ? GRAFT_JSON_OBJECT : GRAFT_JSON_ARRAY;
    skip_space(r);
    if (r->at < r->end && *r->at == close) {
        r->at++;
        return GRAFT_OK;
    }
    for (;;) {
        graft_status status;
        graft_json *m = graft_arena_alloc(r->arena, sizeof *m);
        if (!m) return no_memory(r);
        skip_space(r);
        if (object) {
            if (r->at >= r->end || *r->at != '"') return fail_at(r, r->at, "a key in double quotes");
            if ((status = read_string(r, &m->key, &m->key_bytes))) return status;
            skip_space(r);
            if (r->at >= r->end || *r->at != ':') return fail_at(r, r->at, "a colon after the key");
            r->at++;
        }
        if ((status = read_value(r, m))) return status;
        if (last) {
            last->next = m;
        } else {
            v->child = m;
        }
        last = m;
        v->count++;
        skip_space(r);
        if (r->at < r->end && *r->at == close) break;
        if (r->at >= r->end || *r->at != ',') return fail_at(r, r->at, object ? "a comma or } after the member" : "a comma or ] after the item");
        r->at++;
    }
    r->at++;
    return object && (r->flags & GRAFT_JSON_STRICT_KEYS) ? graft_json_unique_keys(r->name, v, r->err) : GRAFT_OK;
}

static graft_status read_value(reader *r, graft_json *v)
{
    skip_space(r);
    count_to(r, r->at);
    v->line = r->line;
    v->column = r->column;
    const char c = r->at < r->end ? *r->at : '\0';
    if (c == '{' || c == '[') {
        if (r->depth >= GRAFT_JSON_MAX_DEPTH) return fail_at(r, r->at, "at most 128 brackets inside each other");
        r->at++;
        r->depth++;
        const graft_status status = read_children(r, v, c == '{');
        r->depth--;
        return status;
    }
    if (c == '"') {
        v->type = GRAFT_JSON_TEXT;
        return read_string(r, &v->text, &v->bytes);
    }
    if ((r->flags & GRAFT_JSON_ALLOW_NAN) && read_special(r, v)) return GRAFT_OK;
    if (c == '-' || (c >= '0' && c <= '9')) return read_number(r, v);
    if (word(r, "null")) {
        v->type = GRAFT_JSON_NULL;
        return GRAFT_OK;
    }
    v->type = GRAFT_JSON_BOOL;
    if (word(r, "true")) {
        v->integer = 1;
        v->number = 1.0;
        return GRAFT_OK;
    }
    return word(r, "false") ? GRAFT_OK : fail_at(r, r->at, "a JSON value");
}

graft_status graft_json_parse_prefix(graft_arena *a, const char *name, const char *text, size_t bytes, int first_line, int flags, const graft_json **out, size_t *used, graft_error *err)
{
    reader r = {.arena = a, .name = name ? name : "JSON", .at = text, .end = text + bytes, .counted = text, .line = first_line, .column = 1, .flags = flags, .err = err};
    graft_json *v = graft_arena_alloc(a, sizeof *v);
    *out = NULL;
    if (!v) return no_memory(&r);
    if (bytes >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) r.at += 3, r.counted += 3;
    const graft_status status = read_value(&r, v);
    if (status) return status;
    *used = (size_t)(r.at - text);
    *out = v;
    return GRAFT_OK;
}

graft_status graft_json_parse(graft_arena *a, const char *name, const char *text, size_t bytes, int flags, const graft_json **out, graft_error *err)
{
    size_t used;
    graft_status status = graft_json_parse_prefix(a, name, text, bytes, 1, flags, out, &used, err);
    if (status) return status;
    reader r = {.name = name ? name : "JSON", .at = text + used, .end = text + bytes, .counted = text, .line = 1, .column = 1, .err = err};
    skip_space(&r);
    if (r.at < r.end) {
        *out = NULL;
        return fail_at(&r, r.at, "nothing after the JSON value");
    }
    return GRAFT_OK;
}

graft_status graft_json_parse_file(graft_arena *a, const char *path, int64_t max_bytes, int flags, const graft_json **out, graft_error *err)
{
    char *text;
    size_t bytes;
    *out = NULL;
    graft_status status = graft_file_read(path, max_bytes, &text, &bytes, err);
    if (status) return status;
    status = graft_json_parse(a, path, text, bytes, flags, out, err);
    graft_free(text);
    return status;
}
