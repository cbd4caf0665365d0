/* core/base/json.h - JSON in and out. Reading gives the SDK's graft_json nodes with line and column. */
#ifndef CORE_BASE_JSON_H
#define CORE_BASE_JSON_H

#include "core/base/arena.h"
#include "core/base/str.h"

enum {
    GRAFT_JSON_STRICT_KEYS = 1, /* a key twice in one object is an error */
    GRAFT_JSON_ALLOW_NAN   = 2, /* NaN, Infinity, -Infinity as Python's json writes and reads them */
    GRAFT_JSON_ALLOW_LONE_SURROGATE = 4, /* "\ud800" becomes U+FFFD instead of an error */
    GRAFT_JSON_MAX_DEPTH   = 128
};

/* One JSON document in text (RFC 8259, UTF-8 checked, BOM skipped, depth limited). Nodes live in the arena. name: for err->where "name:line:column". */
graft_status graft_json_parse(graft_arena *a, const char *name, const char *text, size_t bytes, int flags, const graft_json **out, graft_error *err);

/* The first JSON value in text; *used = bytes consumed including leading white space. For streams: the caller cuts records. first_line: line number of text[0]. */
graft_status graft_json_parse_prefix(graft_arena *a, const char *name, const char *text, size_t bytes, int first_line, int flags, const graft_json **out, size_t *used, graft_error *err);

graft_status graft_json_parse_file(graft_arena *a, const char *path, int64_t max_bytes, int flags, const graft_json **out, graft_error *err);

/* Building small documents. Keys and texts are copied. put and push take containers that graft_json_new or graft_json_copy made; when memory runs out
 * (a NULL value, a key that cannot be copied) the container is marked, and graft_json_write of it sets out->failed. */
graft_json *graft_json_new(graft_arena *a, graft_json_type type);
graft_json *graft_json_text(graft_arena *a, const char *text, size_t bytes);
graft_json *graft_json_int(graft_arena *a, int64_t v);
graft_json *graft_json_real(graft_arena *a, double v);
graft_json *graft_json_flag(graft_arena *a, int v);
void        graft_json_put(graft_arena *a, graft_json *object, const char *key, graft_json *v);  /* replaces an equal key */
void        graft_json_push(graft_arena *a, graft_json *array, graft_json *v);
graft_json *graft_json_copy(graft_arena *a, const graft_json *v);

/* Appends v as text. indent 0: compact with ", " and ": " as Python's json.dumps; n: n spaces a level as json.dumps(indent=n). sorted: keys in order. */
void graft_json_write(graft_str *out, const graft_json *v, int indent, int sorted);

/* An error with the place of the second when a key of the object is given twice. (GRAFT_JSON_STRICT_KEYS does this while parsing.) */
graft_status graft_json_unique_keys(const char *name, const graft_json *object, graft_error *err);

/* Text of a TEXT node equal to s? */
int graft_json_is(const graft_json *v, const char *s);

#endif
