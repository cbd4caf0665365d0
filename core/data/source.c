/* core/data/source.c - see source.h. Rows one after another out of
 *
 *   [ {...}, {...} ]           a JSON array, or
 *   {...}\n{...}\n             JSON objects with blanks or newlines between them (JSON Lines; a row may span lines), or
 *   line\nline\n              a .txt file: each line, empty ones too, is the row {"text": line}; \n, \r\n and \r end it
 *
 * A byte order mark and CRLF are fine. Every error names file, line, column and record. */
#include "core/data/source.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum layout { UNKNOWN,
                      ARRAY,
                      ROWS,
                      LINES } layout;

typedef struct source {
    graft_source base;
    graft_map map;
    const char *text;
    int64_t at, start, record; /* start: of the last row; record < 0: unknown after a jump */
    int64_t forgotten;         /* what lies before may have left memory */
    int line;                  /* of text[at] */
    layout layout;
    int ended; /* the array was closed */
    graft_arena *row;
    char *path, place[400];
} source;

static source *of(graft_source *s) { return (source *)s; }

static const char *where(source *s)
{
    const char *name = graft_path_base(s->path);
    if (s->record < 0) snprintf(s->place, sizeof s->place, "%.200s: byte %" PRId64, name, s->at);
    else snprintf(s->place, sizeof s->place, "%.200s: record %" PRId64 " (byte %" PRId64 ")", name, s->record, s->start);
    return s->place;
}

static graft_status refuse(source *s, graft_error *err, const char *sentence)
{
    char place[420];
    snprintf(place, sizeof place, "%.380s:%d", s->path, s->line);
    return graft_fail(err, GRAFT_BAD_INPUT, place, "%s", sentence);
}

enum { BEHIND = 1 << 20 }; /* bytes behind the reader that stay in memory */

/* A mapped file is in memory as far as it was touched: what was read goes, so that memory does not grow with the file. */
static void forget_behind(source *s)
{
    if (s->at - s->forgotten < 2 * BEHIND) return;
    const int64_t to = (s->at - BEHIND) / BEHIND * BEHIND; /* whole pages */
    graft_map_forget(s->text + s->forgotten, to - s->forgotten);
    s->forgotten = to;
}

static void blanks(source *s)
{
    for (; s->at < s->map.bytes; s->at++) {
        const char c = s->text[s->at];
        if (c == '\n') s->line++;
        else if (c != ' ' && c != '\t' && c != '\r') return;
    }
}

/* Before the first row: what kind of file is it? */
static graft_status begin(source *s, graft_error *err)
{
    if (s->map.bytes >= 3 && !memcmp(s->text, "\xEF\xBB\xBF", 3)) s->at = 3;
    blanks(s);
    if (s->at == s->map.bytes) return refuse(s, err, "the file is empty; expected a JSON list of records or one JSON object a line");
    s->layout = s->text[s->at] == '[' ? ARRAY : s->text[s->at] == '{' ? ROWS
                                                                      : UNKNOWN;
    if (s->layout == UNKNOWN) return refuse(s, err, "expected a JSON list of records or one JSON object a line, found something else; check the file's format");
    if (s->layout == ARRAY) s->at++;
    return GRAFT_OK;
}

/* Moves to the next value of the array: 0 there is one, 1 the array ended. */
static graft_status array_step(source *s, int *end, graft_error *err)
{
    blanks(s);
    if (s->at == s->map.bytes) return refuse(s, err, "the file ends inside the list of records; it is cut short: copy or download it again");
    if (s->text[s->at] == ']') {
        s->at++;
        s->ended = 1;
        blanks(s);
        *end = 1;
        return s->at < s->map.bytes ? refuse(s, err, "there is more text after the end of the list of records") : GRAFT_OK;
    }
    if (s->record == 0) return GRAFT_OK;
    if (s->text[s->at] != ',') return refuse(s, err, "expected a comma or the end of the list after a record");
    s->at++;
    blanks(s);
    return GRAFT_OK;
}

/* "path:line:column" of a parser that took the row for the whole text: the column is moved to the row's place in its line. */
static void move_column(source *s, graft_error *err)
{
    char *column = strrchr(err->where, ':');
    char *line = column;
    while (line && line > err->where && line[-1] != ':') line--;
    if (!column || atoi(line) != s->line) return;
    int64_t from = s->start;
    while (from > 0 && s->text[from - 1] != '\n') from--;
    const int at = atoi(column + 1);
    snprintf(column, sizeof err->where - (size_t)(column - err->where), ":%" PRId64, at + s->start - from);
}

static graft_status refuse_row(source *s, graft_error *err)
{
    if (err->code != GRAFT_BAD_INPUT || s->record < 1) return err->code;
    const graft_error first = *err;
    graft_fail(err, GRAFT_BAD_INPUT, first.where[0] ? first.where : s->path, "record %" PRId64 ": %.700s", s->record, first.message);
    move_column(s, err);
    return err->code;
}

static graft_status parse(source *s, const graft_json **row, graft_error *err)
{
    size_t used = 0;
    graft_arena_free(s->row);
    if (!(s->row = graft_arena_new())) return graft_fail(err, GRAFT_NO_MEMORY, s->path, "out of memory for a record");
    s->record += s->record >= 0;
    s->start = s->at;
    if (graft_json_parse_prefix(s->row, s->path, s->text + s->at, (size_t)(s->map.bytes - s->at), s->line, GRAFT_JSON_ALLOW_LONE_SURROGATE, row, &used, err)) return refuse_row(s, err);
    if ((*row)->type != GRAFT_JSON_OBJECT) return refuse(s, err, "expected a record as a JSON object {\"column\": value}, found something else");
    for (const char *p = s->text + s->at, *end = p + used; (p = memchr(p, '\n', (size_t)(end - p))); p++) s->line++;
    s->at += (int64_t)used;
    return GRAFT_OK;
}

static graft_status line_row(source *s, const graft_json **row, graft_error *err)
{
    if (!s->at && s->map.bytes >= 3 && !memcmp(s->text, "\xEF\xBB\xBF", 3)) s->at = 3;
    if (s->at == s->map.bytes) return GRAFT_OK;
    const char *from = s->text + s->at;
    const size_t left = (size_t)(s->map.bytes - s->at);
    size_t n = 0;
    while (n < left && from[n] != '\n' && from[n] != '\r') n++;
    s->start = s->at;
    s->at += (int64_t)(n + (n < left) + (n + 1 < left && from[n] == '\r' && from[n + 1] == '\n'));
    s->record += s->record >= 0;
    s->line++;
    graft_arena_free(s->row);
    s->row = graft_arena_new();
    graft_json *o = s->row ? graft_json_new(s->row, GRAFT_JSON_OBJECT) : NULL, *text = o ? graft_json_text(s->row, from, n) : NULL;
    if (!text) return graft_fail(err, GRAFT_NO_MEMORY, s->path, "out of memory for a record");
    graft_json_put(s->row, o, "text", text);
    *row = o;
    return GRAFT_OK;
}

static graft_status source_row(graft_source *base, const graft_json **row, graft_error *err)
{
    source *s = of(base);
    int end = s->ended;
    *row = NULL;
    forget_behind(s);
    if (s->layout == LINES) return line_row(s, row, err);
    if (s->layout == UNKNOWN && begin(s, err)) return err->code;
    if (end) return GRAFT_OK;
    if (s->layout == ARRAY && array_step(s, &end, err)) return err->code;
    if (s->layout == ROWS) blanks(s), end = s->at == s->map.bytes;
    return end ? GRAFT_OK : parse(s, row, err);
}

static int64_t source_read(graft_source *base, void *to, int64_t bytes)
{
    source *s = of(base);
    const int64_t n = bytes < s->map.bytes - s->at ? bytes : s->map.bytes - s->at;
    if (n > 0) memcpy(to, s->text + s->at, (size_t)n), s->at += n;
    forget_behind(s);
    return n > 0 ? n : 0;
}

static int64_t source_tell(graft_source *base) { return of(base)->at; }

static int32_t source_seek(graft_source *base, int64_t offset)
{
    source *s = of(base);
    graft_error err = GRAFT_ERROR_INIT;
    if (offset < 0 || offset > s->map.bytes) return -1;
    if (s->layout == UNKNOWN && s->map.bytes && begin(s, &err)) return -1;
    s->ended = 0, s->forgotten = 0;
    if (!offset) { /* the beginning: everything is known again */
        s->at = 0, s->record = 0, s->line = 1;
        if (s->layout != LINES) s->layout = UNKNOWN;
        return 0;
    }
    s->record = -1, s->line = 1;
    for (s->at = 0; s->at < offset;) {
        const int64_t from = s->at;
        s->at = offset - from < BEHIND ? offset : from + BEHIND;
        for (const char *p = s->text + from, *end = s->text + s->at; (p = memchr(p, '\n', (size_t)(end - p))); p++) s->line++;
        forget_behind(s);
    }
    return 0;
}

static const char *source_place(graft_source *base) { return where(of(base)); }

static const graft_source_api api = {(uint32_t)sizeof(graft_source_api), source_read, source_row, source_tell, source_seek, source_place};

graft_status graft_source_open(const char *path, graft_source **out, graft_error *err)
{
    *out = NULL;
    source *s = graft_calloc(1, sizeof *s);
    if (!s) return graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
    s->base.api = &api;
    s->line = 1;
    const size_t n = strlen(path);
    s->path = graft_calloc(n + 1, 1);
    graft_status status = s->path ? graft_map_open(&s->map, path, err) : graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
    if (status) {
        graft_free(s->path);
        graft_free(s);
        return status;
    }
    memcpy(s->path, path, n);
    if (n > 4 && !strcmp(path + n - 4, ".txt")) s->layout = LINES;
    s->text = s->map.bytes ? (const char *)s->map.data : "";
    *out = &s->base;
    return GRAFT_OK;
}

void graft_source_close(graft_source *base)
{
    if (!base) return;
    source *s = of(base);
    graft_arena_free(s->row);
    graft_map_close(&s->map);
    graft_free(s->path);
    graft_free(s);
}

const char *graft_source_head(const graft_source *base, size_t *bytes)
{
    const source *s = (const source *)base;
    *bytes = s->map.bytes < 65536 ? (size_t)s->map.bytes : 65536;
    return s->text;
}

void graft_source_recount(graft_source *base, int64_t records) { of(base)->record = records; }

int64_t graft_source_record(const graft_source *base) { return ((const source *)base)->record; }
