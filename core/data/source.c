/* core/data/source.c - see source.h. Rows one after another out of
 *
 *   [ {...}, {...} ]           a JSON array, or
 *   {...}\n{...}\n             JSON objects with blanks or newlines between them (JSON Lines; a row may span lines), or
 *   line\nline\n              a .txt file: each line, empty ones too, is the row {"text": line}; \n, \r\n and \r end it, or
 *   a,b\n1,2\n                 a .csv or .tsv file (table.h)
 *   PAR1 ..., ARROW1 ...       a Parquet or Arrow file (columns.h): its places are numbers of rows, not of bytes
 *
 * each but the last plain or packed (NAME.gz, NAME.zst). A plain file is mapped and looked at as a whole; of a packed one a window is unpacked, which moves on
 * and grows to the largest row (64 MiB at most). A byte order mark and CRLF are fine. Every error names file, line, column and record. */
#include "core/data/source.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/data/columns.h"
#include "core/data/table.h"
#include "core/data/unpack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BEHIND = 1 << 20, /* bytes behind the reader that stay in memory */
       CHUNK = 1 << 20,  /* unpacked at a time */
       ROW_MAX = 64 << 20,
       HEAD = 64 << 10 };

typedef enum layout { UNKNOWN,
                      ARRAY,
                      ROWS,
                      LINES,
                      TABLE,
                      COLUMNS } layout;

typedef struct source {
    graft_source base;
    graft_map map;
    graft_unpack *unpack;      /* NULL: a plain file */
    graft_columns *columns_of; /* of COLUMNS */
    char *window;              /* of an unpacked file; else the mapping is the window */
    size_t window_room;
    const char *text;
    int64_t bytes, before;     /* of the window; in front of it */
    int whole;                 /* nothing comes behind the window */
    int64_t at, start, record; /* at, start (of the last row): in the window; record < 0: unknown after a jump */
    int64_t forgotten;         /* what lies before may have left memory */
    int line, row_line;        /* of text[at]; where the last row of a table begins */
    layout layout;
    int begun, ended; /* the first row can be read; the array was closed */
    char separator;   /* of a TABLE */
    graft_cell *columns;
    graft_cells *kinds;
    size_t n_columns;
    graft_arena *row, *table;
    graft_str head;
    char *path, place[400];
} source;

static source *of(graft_source *s) { return (source *)s; }

static const char *where(source *s)
{
    const char *name = graft_path_base(s->path);
    if (s->layout == COLUMNS) snprintf(s->place, sizeof s->place, "%.200s: record %" PRId64, name, s->columns_of->api->tell(s->columns_of));
    else if (s->record < 0) snprintf(s->place, sizeof s->place, "%.200s: byte %" PRId64, name, s->before + s->at);
    else snprintf(s->place, sizeof s->place, "%.200s: record %" PRId64 " (byte %" PRId64 ")", name, s->record, s->before + s->start);
    return s->place;
}

static graft_status refuse(source *s, graft_error *err, const char *sentence)
{
    char place[420];
    snprintf(place, sizeof place, "%.380s:%d", s->path, s->row_line ? s->row_line : s->line);
    return graft_fail(err, GRAFT_BAD_INPUT, place, "%s", sentence);
}

/* ---- the window -------------------------------------------------------------------------------------------------------------------------- */

/* A mapped file is in memory as far as it was touched: what was read goes, so that memory does not grow with the file. */
static void forget_behind(source *s)
{
    if (s->unpack || s->at - s->forgotten < 2 * BEHIND) return;
    const int64_t to = (s->at - BEHIND) / BEHIND * BEHIND; /* whole pages */
    graft_map_forget(s->text + s->forgotten, to - s->forgotten);
    s->forgotten = to;
}

/* Unpacks on; what lies before `at` leaves the window. 1: there is more text, 0: there is none, -1: an error. */
static int more(source *s, graft_error *err)
{
    size_t got = 0;
    if (s->whole) return 0;
    const int64_t kept = s->bytes - s->at;
    if (kept > ROW_MAX) return refuse(s, err, "a record is larger than 64 MiB; is this a file of records?"), -1;
    if (s->at) {
        memmove(s->window, s->window + s->at, (size_t)kept);
        s->before += s->at, s->start -= s->at, s->at = 0, s->bytes = kept;
    }
    if (graft_grow((void **)&s->window, &s->window_room, (size_t)kept + CHUNK, 1)) return graft_fail(err, GRAFT_NO_MEMORY, s->path, "out of memory for a record"), -1;
    s->text = s->window;
    if (graft_unpack_read(s->unpack, s->window + kept, s->window_room - (size_t)kept, &got, err)) return -1;
    s->bytes += (int64_t)got;
    s->whole = !got;
    return got > 0;
}

/* Back to the first byte. */
static graft_status rewind_source(source *s, graft_error *err)
{
    s->at = s->start = s->before = s->forgotten = s->record = 0;
    s->line = 1, s->row_line = s->begun = s->ended = 0;
    if (!s->unpack) return GRAFT_OK;
    graft_unpack_close(s->unpack);
    s->bytes = 0, s->whole = 0;
    if (graft_unpack_open(&s->map, s->path, &s->unpack, err)) return err->code;
    return more(s, err) < 0 ? err->code : GRAFT_OK;
}

/* Is there a byte at `at`? 1 yes, 0 the end, -1 an error. */
static int there(source *s, graft_error *err) { return s->at < s->bytes ? 1 : more(s, err); }

static int blanks(source *s, graft_error *err)
{
    for (;; s->at++) {
        const int is = there(s, err);
        if (is <= 0) return is;
        const char c = s->text[s->at];
        if (c == '\n') s->line++;
        else if (c != ' ' && c != '\t' && c != '\r') return 1;
    }
}

static void skip_mark(source *s)
{
    if (s->bytes >= 3 && !memcmp(s->text, "\xEF\xBB\xBF", 3)) s->at = 3;
}

/* Text that becomes a row's must be UTF-8. */
static graft_status check_text(source *s, const char *text, size_t n, graft_error *err)
{
    for (size_t i = 0, k; i < n; i += k) {
        k = (unsigned char)text[i] < 0x80 ? 1 : (size_t)graft_utf8_length(text + i, n - i);
        if (k) continue;
        char place[420];
        snprintf(place, sizeof place, "%.380s:%d", s->path, s->row_line ? s->row_line : s->line);
        return graft_fail(err, GRAFT_BAD_INPUT, place, "record %" PRId64 ": byte 0x%02X is not UTF-8; save the file as UTF-8", s->record, (unsigned char)text[i]);
    }
    return GRAFT_OK;
}

static graft_status row_arena(source *s, graft_error *err)
{
    graft_arena_free(s->row);
    s->row = graft_arena_new();
    return s->row ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, s->path, "out of memory for a record");
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------------------------ */

static graft_status begin_json(source *s, graft_error *err)
{
    const int is = blanks(s, err);
    if (is < 0) return err->code;
    if (!is) return refuse(s, err, "the file is empty; expected a JSON list of records or one JSON object a line");
    const char c = s->text[s->at];
    if (c != '[' && c != '{') return refuse(s, err, "expected a JSON list of records or one JSON object a line, found something else; check the file's format");
    s->layout = c == '[' ? ARRAY : ROWS;
    s->at += c == '[';
    return GRAFT_OK;
}

/* Moves to the next value of the array; *end: the array ended. */
static graft_status array_step(source *s, int *end, graft_error *err)
{
    int is = blanks(s, err);
    if (is < 0) return err->code;
    if (!is) return refuse(s, err, "the file ends inside the list of records; it is cut short: copy or download it again");
    if (s->text[s->at] == ']') {
        s->at++;
        s->ended = *end = 1;
        is = blanks(s, err);
        return is < 0 ? err->code : is ? refuse(s, err, "there is more text after the end of the list of records")
                                       : GRAFT_OK;
    }
    if (s->record == 0) return GRAFT_OK;
    if (s->text[s->at] != ',') return refuse(s, err, "expected a comma or the end of the list after a record");
    s->at++;
    return blanks(s, err) < 0 ? err->code : GRAFT_OK;
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

/* The error of a row that is no JSON; in a file of lines the reader moves behind its line, from where it could go on. */
static graft_status refuse_row(source *s, graft_error *err)
{
    if (err->code != GRAFT_BAD_INPUT) return err->code;
    const graft_error first = *err;
    if (s->record > 0) graft_fail(err, GRAFT_BAD_INPUT, first.where[0] ? first.where : s->path, "record %" PRId64 ": %.700s", s->record, first.message);
    move_column(s, err);
    if (s->layout == ROWS) {
        const char *end = memchr(s->text + s->at, '\n', (size_t)(s->bytes - s->at));
        s->at = end ? end + 1 - s->text : s->bytes;
        s->line += end != NULL;
    }
    return err->code;
}

static graft_status json_row(source *s, const graft_json **row, graft_error *err)
{
    size_t used = 0;
    s->record += s->record >= 0;
    for (;;) { /* a window may end inside the row */
        graft_error why = GRAFT_ERROR_INIT;
        s->start = s->at;
        if (row_arena(s, err)) return err->code;
        if (!graft_json_parse_prefix(s->row, s->path, s->text + s->at, (size_t)(s->bytes - s->at), s->line, GRAFT_JSON_ALLOW_LONE_SURROGATE, row, &used, &why)) break;
        if (s->whole || why.code != GRAFT_BAD_INPUT) return *err = why, refuse_row(s, err);
        if (more(s, err) < 0) return err->code;
    }
    for (const char *p = s->text + s->at, *end = p + used; (p = memchr(p, '\n', (size_t)(end - p))); p++) s->line++;
    s->at += (int64_t)used;
    if ((*row)->type == GRAFT_JSON_OBJECT) return GRAFT_OK;
    *row = NULL;
    return refuse(s, err, "expected a record as a JSON object {\"column\": value}, found something else");
}

/* ---- lines of text ----------------------------------------------------------------------------------------------------------------------------- */

static graft_status line_row(source *s, const graft_json **row, graft_error *err)
{
    int is = there(s, err);
    size_t n = 0, left = 0;
    if (is <= 0) return is < 0 ? err->code : GRAFT_OK;
    do { /* a line that touches the window's end may go on, and so may its line end */
        left = (size_t)(s->bytes - s->at);
        while (n < left && s->text[s->at + (int64_t)n] != '\n' && s->text[s->at + (int64_t)n] != '\r') n++;
    } while (n + 1 >= left && (is = more(s, err)) > 0);
    if (is < 0) return err->code;
    const char *from = s->text + s->at;
    s->start = s->at;
    s->at += (int64_t)(n + (n < left) + (n + 1 < left && from[n] == '\r' && from[n + 1] == '\n'));
    s->record += s->record >= 0;
    const graft_status status = check_text(s, from, n, err);
    s->line++;
    if (status || row_arena(s, err)) return err->code;
    graft_json *o = graft_json_new(s->row, GRAFT_JSON_OBJECT), *text = o ? graft_json_text(s->row, from, n) : NULL;
    if (!text) return graft_fail(err, GRAFT_NO_MEMORY, s->path, "out of memory for a record");
    graft_json_put(s->row, o, "text", text);
    *row = o;
    return GRAFT_OK;
}

/* ---- tables -------------------------------------------------------------------------------------------------------------------------------------- */

/* The cells of the next line that is not blank; *n 0: the end. */
static graft_status table_cells(source *s, graft_arena *a, graft_cell **cells, size_t *n, graft_error *err)
{
    char place[420];
    *n = 0;
    for (int is; (is = there(s, err)) != 0;) {
        size_t used = 0;
        int lines = 0;
        snprintf(place, sizeof place, "%.380s:%d", s->path, s->line);
        if (is < 0 || graft_table_line(a, place, s->text + s->at, (size_t)(s->bytes - s->at), s->whole, s->separator, cells, n, &used, &lines, err)) return err->code;
        if (!used) {
            if (more(s, err) < 0) return err->code;
            continue;
        }
        s->start = s->at, s->row_line = s->line;
        s->at += (int64_t)used;
        s->line += lines;
        if (*n) break;
    }
    return GRAFT_OK;
}

/* A second column of one name is NAME.1, one without a name "Unnamed: 1". */
static graft_status name_columns(source *s, graft_error *err)
{
    for (size_t i = 0; i < s->n_columns; i++) {
        graft_cell *c = &s->columns[i];
        const char *name = c->bytes ? c->text : graft_arena_printf(s->table, "Unnamed: %zu", i);
        int same = 0;
        for (size_t k = 0; name && k < i; k++) same += !strcmp(s->columns[k].text, name);
        if (name && same) name = graft_arena_printf(s->table, "%s.%d", name, same);
        if (!name) return graft_fail(err, GRAFT_NO_MEMORY, s->path, "out of memory");
        *c = (graft_cell){name, strlen(name)};
    }
    return GRAFT_OK;
}

static graft_status table_header(source *s, graft_arena *a, graft_cell **cells, size_t *n, graft_error *err)
{
    skip_mark(s);
    if (table_cells(s, a, cells, n, err)) return err->code;
    return *n ? GRAFT_OK : refuse(s, err, "the file is empty; expected a first line that names the columns");
}

/* Names from the first line; kinds of columns from all the others, once; then the reader stands behind the first line. */
static graft_status begin_table(source *s, graft_error *err)
{
    graft_cell *cells;
    size_t n = 0;
    graft_status status = GRAFT_OK;
    if (s->table) {
        if (row_arena(s, err)) return err->code;
        return table_header(s, s->row, &cells, &n, err);
    }
    if (!(s->table = graft_arena_new())) return graft_fail(err, GRAFT_NO_MEMORY, s->path, "out of memory");
    if (table_header(s, s->table, &s->columns, &s->n_columns, err) || name_columns(s, err)) return err->code;
    s->kinds = graft_arena_alloc(s->table, s->n_columns * sizeof *s->kinds);
    if (!s->kinds) return graft_fail(err, GRAFT_NO_MEMORY, s->path, "out of memory");
    do {
        if (row_arena(s, err) || (status = table_cells(s, s->row, &cells, &n, err))) return err->code;
        for (size_t i = 0; i < n && i < s->n_columns; i++) s->kinds[i] = graft_table_kind(s->kinds[i], cells[i]);
        forget_behind(s);
    } while (n);
    if (rewind_source(s, err) || row_arena(s, err)) return err->code;
    return table_header(s, s->row, &cells, &n, err);
}

static graft_status table_row(source *s, const graft_json **row, graft_error *err)
{
    graft_cell *cells;
    size_t n = 0;
    if (row_arena(s, err) || table_cells(s, s->row, &cells, &n, err)) return err->code;
    if (!n) return GRAFT_OK;
    s->record += s->record >= 0;
    if (n > s->n_columns) {
        char sentence[200];
        snprintf(sentence, sizeof sentence, "record %" PRId64 " has %zu cells, the first line names %zu columns; a cell that holds a %s must stand in quotes", s->record, n, s->n_columns, s->separator == ',' ? "comma" : "tab");
        return refuse(s, err, sentence);
    }
    for (size_t i = 0; i < n; i++)
        if (check_text(s, cells[i].text, cells[i].bytes, err)) return err->code;
    *row = graft_table_row(s->row, s->columns, s->kinds, s->n_columns, cells, n);
    return *row ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, s->path, "out of memory for a record");
}

/* ---- columns ------------------------------------------------------------------------------------------------------------------------------------- */

static graft_status column_row(source *s, const graft_json **row, graft_error *err)
{
    if (row_arena(s, err)) return err->code;
    const int64_t before = s->columns_of->api->tell(s->columns_of);
    const graft_status status = s->columns_of->api->row(s->columns_of, s->row, row, err);
    if (s->columns_of->api->tell(s->columns_of) > before) s->record += s->record >= 0;
    return status;
}

/* ---- the SDK's side ------------------------------------------------------------------------------------------------------------------------------- */

/* Before the first row. */
static graft_status begin(source *s, graft_error *err)
{
    graft_status status = GRAFT_OK;
    if (s->layout == TABLE) status = begin_table(s, err);
    else {
        skip_mark(s);
        if (s->layout != LINES) status = begin_json(s, err);
    }
    s->begun = !status;
    return status;
}

static graft_status source_row(graft_source *base, const graft_json **row, graft_error *err)
{
    source *s = of(base);
    int end = 0;
    *row = NULL;
    if (s->layout == COLUMNS) return column_row(s, row, err);
    forget_behind(s);
    if (!s->begun && begin(s, err)) return err->code;
    if (s->layout == LINES) return line_row(s, row, err);
    if (s->layout == TABLE) return table_row(s, row, err);
    if (s->ended) return GRAFT_OK;
    if (s->layout == ARRAY && array_step(s, &end, err)) return err->code;
    if (s->layout == ROWS) {
        const int is = blanks(s, err);
        if (is < 0) return err->code;
        end = !is;
    }
    return end ? GRAFT_OK : json_row(s, row, err);
}

static int64_t source_read(graft_source *base, void *to, int64_t bytes)
{
    source *s = of(base);
    graft_error err = GRAFT_ERROR_INIT;
    const int is = there(s, &err);
    if (is <= 0) return is;
    const int64_t n = bytes < s->bytes - s->at ? bytes : s->bytes - s->at;
    if (n > 0) memcpy(to, s->text + s->at, (size_t)n), s->at += n;
    forget_behind(s);
    return n > 0 ? n : 0;
}

static int64_t source_tell(graft_source *base)
{
    const source *s = of(base);
    return s->layout == COLUMNS ? s->columns_of->api->tell(s->columns_of) : s->before + s->at;
}

/* Forward to an offset, counting lines. */
static int32_t go_to(source *s, int64_t offset, graft_error *err)
{
    while (s->before + s->at < offset) {
        if (there(s, err) <= 0) return -1;
        const int64_t left = offset - s->before - s->at, known = s->bytes - s->at, step = left < known ? left : known, from = s->at;
        s->at += step < BEHIND ? step : BEHIND;
        for (const char *p = s->text + from, *end = s->text + s->at; (p = memchr(p, '\n', (size_t)(end - p))); p++) s->line++;
        forget_behind(s);
    }
    return 0;
}

static int32_t source_seek(graft_source *base, int64_t offset)
{
    source *s = of(base);
    graft_error err = GRAFT_ERROR_INIT;
    if (s->layout == COLUMNS) return s->columns_of->api->seek(s->columns_of, s->record = offset, &err) ? -1 : 0;
    if (offset < 0 || (!s->unpack && offset > s->bytes)) return -1;
    if (offset && !s->begun && (rewind_source(s, &err) || (s->bytes && begin(s, &err)))) return -1; /* the layout must be known */
    if (rewind_source(s, &err)) return -1;
    if (!offset) return 0;
    s->begun = 1, s->record = -1;
    return go_to(s, offset, &err);
}

static const char *source_place(graft_source *base) { return where(of(base)); }

static const graft_source_api api = {(uint32_t)sizeof(graft_source_api), source_read, source_row, source_tell, source_seek, source_place};

/* ---- opening ----------------------------------------------------------------------------------------------------------------------------------------- */

static int ends_with(const char *path, size_t n, const char *ending)
{
    const size_t k = strlen(ending);
    return n > k && !strncasecmp(path + n - k, ending, k);
}

/* By its name without .gz or .zst. */
static void layout_by_name(source *s)
{
    size_t n = strlen(s->path);
    if (ends_with(s->path, n, ".gz")) n -= 3;
    else if (ends_with(s->path, n, ".zst")) n -= 4;
    if (ends_with(s->path, n, ".txt")) s->layout = LINES;
    if (ends_with(s->path, n, ".csv") || ends_with(s->path, n, ".tsv")) s->layout = TABLE, s->separator = ends_with(s->path, n, ".csv") ? ',' : '\t';
}

/* The first row of a table, all of its cells as texts. */
static const graft_json *table_peek(source *s, graft_error *err)
{
    graft_cell *names, *cells;
    size_t columns = 0, n = 0;
    if (row_arena(s, err) || table_header(s, s->row, &names, &columns, err) || table_cells(s, s->row, &cells, &n, err)) return NULL;
    const graft_cells *kinds = graft_arena_alloc(s->row, columns * sizeof *kinds);
    return kinds ? graft_table_row(s->row, names, kinds, columns, cells, n) : NULL;
}

/* The first row of a column file that is no bad one. */
static graft_status column_peek(source *s, graft_error *err)
{
    const graft_json *row = NULL;
    int64_t before;
    graft_status status;
    do {
        before = s->columns_of->api->tell(s->columns_of);
        status = column_row(s, &row, err);
    } while (status && s->columns_of->api->tell(s->columns_of) > before);
    if (row) graft_json_write(&s->head, row, 0, 0);
    s->record = 0;
    return status ? status : s->columns_of->api->seek(s->columns_of, 0, err);
}

/* What is no JSON shows its first row as JSON to whoever asks what it is. */
static graft_status make_head(source *s, graft_error *err)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    const graft_json *row = NULL;
    if (s->layout == COLUMNS) return column_peek(s, err);
    if (s->layout == TABLE && s->bytes) row = table_peek(s, &ignored);
    else if (s->layout == LINES && s->bytes && source_row(&s->base, &row, &ignored)) row = NULL;
    if (row) graft_json_write(&s->head, row, 0, 0);
    if (rewind_source(s, &ignored)) s->bytes = 0; /* it will be said when the first row is read */
    return GRAFT_OK;
}

graft_status graft_source_open(const char *path, graft_source **out, graft_error *err)
{
    *out = NULL;
    source *s = graft_calloc(1, sizeof *s);
    if (!s) return graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
    s->base.api = &api;
    graft_str_init(&s->head, 0);
    const size_t n = strlen(path);
    s->path = graft_calloc(n + 1, 1);
    graft_status status = s->path ? graft_map_open(&s->map, path, err) : graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
    if (status) {
        graft_free(s->path);
        graft_free(s);
        return status;
    }
    memcpy(s->path, path, n);
    layout_by_name(s);
    s->text = s->map.bytes ? (const char *)s->map.data : "";
    s->bytes = s->map.bytes, s->whole = 1;
    if (graft_columns_is(&s->map)) status = graft_columns_open(&s->map, s->path, &s->columns_of, err), s->layout = COLUMNS;
    else if (graft_unpack_is(&s->map)) status = graft_unpack_open(&s->map, s->path, &s->unpack, err), s->text = "", s->bytes = 0;
    if (!status) status = rewind_source(s, err);
    if (!status) status = make_head(s, err);
    if (status) return graft_source_close(&s->base), status;
    *out = &s->base;
    return GRAFT_OK;
}

void graft_source_close(graft_source *base)
{
    if (!base) return;
    source *s = of(base);
    graft_unpack_close(s->unpack);
    if (s->columns_of) s->columns_of->api->close(s->columns_of);
    graft_free(s->window);
    graft_str_free(&s->head);
    graft_arena_free(s->row);
    graft_arena_free(s->table);
    graft_map_close(&s->map);
    graft_free(s->path);
    graft_free(s);
}

const char *graft_source_head(const graft_source *base, size_t *bytes)
{
    const source *s = (const source *)base;
    if (s->head.bytes) return *bytes = s->head.bytes, s->head.data;
    if (s->layout == COLUMNS) return *bytes = 0, "";
    *bytes = s->bytes < HEAD ? (size_t)s->bytes : HEAD;
    return s->text;
}

void graft_source_recount(graft_source *base, int64_t records) { of(base)->record = records; }

int64_t graft_source_record(const graft_source *base) { return ((const source *)base)->record; }
