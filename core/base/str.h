/* core/base/str.h - a growing byte string with a stated maximum. After a failed growth `failed` is set and later appends do nothing. */
#ifndef CORE_BASE_STR_H
#define CORE_BASE_STR_H

#include "graft/base.h"

typedef struct graft_str {
    char  *data;   /* NUL-terminated; "" before the first append */
    size_t bytes, room, limit;
    int    failed; /* out of memory or over the limit */
} graft_str;

void graft_str_init(graft_str *s, size_t limit);  /* limit 0: 1 GiB */
void graft_str_free(graft_str *s);
void graft_str_clear(graft_str *s);               /* keeps the memory */
void graft_str_add(graft_str *s, const char *data, size_t bytes);
void graft_str_text(graft_str *s, const char *text);
void graft_str_printf(graft_str *s, const char *fmt, ...) GRAFT_PRINTF(2, 3);
void graft_str_json(graft_str *s, const char *text, size_t bytes); /* as a JSON string with quotes, UTF-8 kept, controls escaped; bytes that are no UTF-8 become U+FFFD */
void graft_str_double(graft_str *s, double v);    /* shortest text that reads back as v, as Python's repr: 0.1, 1e-05, 1e+22, 2.0, NaN, Infinity */

void graft_str_base64(graft_str *s, const void *data, size_t bytes);
/* Bytes written to out (room for text_bytes / 4 * 3 + 3), or -1: no base64. Padding may be left out. */
int64_t graft_base64_read(const char *text, size_t text_bytes, void *out);

/* Length of the valid UTF-8 character at s (1..4), or 0. */
int graft_utf8_length(const char *s, size_t bytes);

#endif
