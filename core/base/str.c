/* core/base/str.c - see str.h. */
#include "core/base/str.h"

#include "core/base/arena.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char nothing[1]; /* what an unused string shows; never written */

void graft_str_init(graft_str *s, size_t limit)
{
    *s = (graft_str){.data = nothing, .limit = limit ? limit : (size_t)1 << 30};
}

void graft_str_free(graft_str *s)
{
    if (s->room) graft_free(s->data);
    graft_str_init(s, s->limit);
}

void graft_str_clear(graft_str *s)
{
    s->bytes = 0;
    s->failed = 0;
    if (s->room) s->data[0] = '\0';
}

/* Room for n more bytes and the NUL? */
static int reserve(graft_str *s, size_t n)
{
    if (s->failed) return 0;
    if (n > s->limit || s->bytes > s->limit - n) {
        s->failed = 1;
        return 0;
    }
    void *block = s->room ? s->data : NULL;
    size_t room = s->room;
    if (graft_grow(&block, &room, s->bytes + n + 1, 1)) {
        s->failed = 1;
        return 0;
    }
    s->data = block;
    s->room = room;
    return 1;
}

void graft_str_add(graft_str *s, const char *data, size_t bytes)
{
    if (!reserve(s, bytes)) return;
    if (bytes) memcpy(s->data + s->bytes, data, bytes);
    s->bytes += bytes;
    s->data[s->bytes] = '\0';
}

void graft_str_text(graft_str *s, const char *text) { graft_str_add(s, text, strlen(text)); }

void graft_str_printf(graft_str *s, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0) s->failed = 1;
    if (n >= 0 && reserve(s, (size_t)n)) {
        vsnprintf(s->data + s->bytes, (size_t)n + 1, fmt, again);
        s->bytes += (size_t)n;
    }
    va_end(again);
    va_end(ap);
}

int graft_utf8_length(const char *s, size_t bytes)
{
    const unsigned char *u = (const unsigned char *)s;
    if (!bytes) return 0;
    if (u[0] < 0x80) return 1;
    const int n = u[0] >= 0xC2 && u[0] <= 0xDF ? 2 : (u[0] & 0xF0) == 0xE0      ? 3
                                                 : u[0] >= 0xF0 && u[0] <= 0xF4 ? 4
                                                                                : 0;
    if (!n || bytes < (size_t)n) return 0;
    for (int i = 1; i < n; i++)
        if ((u[i] & 0xC0) != 0x80) return 0;
    if (u[0] == 0xE0 && u[1] < 0xA0) return 0; /* longer than needed */
    if (u[0] == 0xED && u[1] > 0x9F) return 0; /* surrogates */
    if (u[0] == 0xF0 && u[1] < 0x90) return 0;
    if (u[0] == 0xF4 && u[1] > 0x8F) return 0; /* above U+10FFFF */
    return n;
}

void graft_str_json(graft_str *s, const char *text, size_t bytes)
{
    static const char escaped[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    size_t from = 0, at = 0; /* text[from, at) goes out as it is */
    graft_str_add(s, "\"", 1);
    while (at < bytes) {
        const unsigned char c = (unsigned char)text[at];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            at++;
            continue;
        }
        const int n = graft_utf8_length(text + at, bytes - at);
        if (n > 1) {
            at += (size_t)n;
            continue;
        }
        graft_str_add(s, text + from, at - from);
        const char *special = n && c ? strchr(escaped, c) : NULL;
        if (special) {
            graft_str_printf(s, "\\%c", letter[special - escaped]);
        } else if (n) {
            graft_str_printf(s, "\\u%04x", c);
        } else {
            graft_str_text(s, "\xEF\xBF\xBD");
        }
        from = ++at;
    }
    graft_str_add(s, text + from, at - from);
    graft_str_add(s, "\"", 1);
}

/* The fewest digits (d.ddd, at most 17) that read back as v > 0, with their power of ten. */
static int shortest_digits(double v, char digits[20])
{
    char text[40];
    int power = 0;
    for (int n = 1; n <= 17; n++) {
        snprintf(text, sizeof text, "%.*e", n - 1, v);
        if (strtod(text, NULL) == v || n == 17) break;
        /* Just below a power of two the nearest n digits may miss the narrower side while the next larger ones hit. */
        char *last = strchr(text, 'e') - 1;
        if (*last != '9' && *last != '.') {
            ++*last;
            if (strtod(text, NULL) == v) break;
        }
    }
    size_t n = 0;
    for (const char *p = text; *p && *p != 'e'; p++)
        if (*p != '.') digits[n++] = *p;
    power = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    while (n > 1 && digits[n - 1] == '0') n--;
    digits[n] = '\0';
    return power;
}

void graft_str_double(graft_str *s, double v)
{
    char digits[20];
    if (isnan(v)) {
        graft_str_text(s, "NaN");
        return;
    }
    if (signbit(v)) graft_str_text(s, "-");
    if (isinf(v)) {
        graft_str_text(s, "Infinity");
        return;
    }
    const int power = v == 0.0 ? (digits[0] = '0', digits[1] = '\0', 0) : shortest_digits(fabs(v), digits);
    const int n = (int)strlen(digits);
    if (power < -4 || power >= 16) {
        graft_str_printf(s, "%c%s%se%c%02d", digits[0], n > 1 ? "." : "", digits + 1, power < 0 ? '-' : '+', power < 0 ? -power : power);
    } else if (power < 0) {
        graft_str_printf(s, "0.%.*s%s", -power - 1, "0000", digits);
    } else if (n <= power + 1) {
        graft_str_printf(s, "%s%.*s.0", digits, power + 1 - n, "0000000000000000");
    } else {
        graft_str_printf(s, "%.*s.%s", power + 1, digits, digits + power + 1);
    }
}

/* ---- base64 (RFC 4648) ---- */

static const char sextets[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void graft_str_base64(graft_str *s, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i += 3) {
        const size_t n = bytes - i < 3 ? bytes - i : 3;
        const uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0u);
        const char four[4] = {sextets[v >> 18], sextets[v >> 12 & 63], n > 1 ? sextets[v >> 6 & 63] : '=', n > 2 ? sextets[v & 63] : '='};
        graft_str_add(s, four, 4);
    }
}

int64_t graft_base64_read(const char *text, size_t text_bytes, void *out)
{
    uint8_t *to = out;
    uint32_t bits = 0, have = 0;
    while (text_bytes && text[text_bytes - 1] == '=') text_bytes--;
    for (size_t i = 0; i < text_bytes; i++) {
        const char *at = text[i] ? strchr(sextets, text[i]) : NULL;
        if (!at) return -1;
        bits = bits << 6 | (uint32_t)(at - sextets), have += 6;
        if (have >= 8) *to++ = (uint8_t)(bits >> (have -= 8));
    }
    return to - (uint8_t *)out;
}
