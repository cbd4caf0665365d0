/* core/data/table.c - see table.h. */
#include "core/data/table.h"

#include "core/base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct line {
    graft_arena *a;
    const char *text;
    size_t bytes, at;
    char separator;
    graft_cell *cells;
    size_t n, room;
} line;

static int ends_cell(const line *l, size_t i) { return l->text[i] == l->separator || l->text[i] == '\n' || l->text[i] == '\r'; }

/* Moves `at` behind the cell that begins there and puts it into the list. 0: it goes on behind the text; -1: out of memory; -2: its quote is not closed. */
static int cell_next(line *l, int last)
{
    size_t end = l->at, n = 0;
    const int quoted = end < l->bytes && l->text[end] == '"';
    int inside = quoted;
    end += (size_t)quoted;
    for (; end < l->bytes && (inside || !ends_cell(l, end)); end++)
        if (inside && l->text[end] == '"') {
            if (end + 1 < l->bytes && l->text[end + 1] == '"') end++;
            else if (end + 1 < l->bytes || last) inside = 0;
        }
    if (end == l->bytes && !last) return 0;
    if (inside) return -2;
    if (l->n == l->room) { /* arena memory: the old list is left behind */
        const size_t room = l->room ? 2 * l->room : 16;
        graft_cell *cells = graft_arena_alloc(l->a, room * sizeof *cells);
        if (!cells) return -1;
        if (l->n) memcpy(cells, l->cells, l->n * sizeof *cells);
        l->cells = cells, l->room = room;
    }
    char *out = graft_arena_alloc(l->a, end - l->at + 1);
    if (!out) return -1;
    inside = quoted;
    for (size_t i = l->at + (size_t)quoted; i < end; i++) {
        if (inside && l->text[i] == '"') {
            if (i + 1 >= end || l->text[i + 1] != '"') {
                inside = 0; /* behind the closing quote all stands for itself */
                continue;
            }
            i++;
        }
        out[n++] = l->text[i];
    }
    l->cells[l->n++] = (graft_cell){out, n};
    l->at = end;
    return 1;
}

static int is_blank(const line *l)
{
    for (size_t i = 0; i < l->at; i++)
        if (l->text[i] != ' ' && l->text[i] != '\t') return 0;
    return l->n == 1;
}

graft_status graft_table_line(graft_arena *a, const char *place, const char *text, size_t bytes, int last, char separator, graft_cell **cells, size_t *n, size_t *used, int *lines, graft_error *err)
{
    line l = {.a = a, .text = text, .bytes = bytes, .separator = separator};
    *used = *n = 0, *lines = 0, *cells = NULL;
    for (;; l.at++) {
        const int got = cell_next(&l, last);
        if (!got) return GRAFT_OK;
        if (got == -2) return graft_fail(err, GRAFT_BAD_INPUT, place, "a quote opens a cell and none closes it; close it, or write the cell as \"\"\"...\"");
        if (got < 0) return graft_fail(err, GRAFT_NO_MEMORY, place, "out of memory for a record");
        if (l.n > GRAFT_TABLE_COLUMNS) return graft_fail(err, GRAFT_BAD_INPUT, place, "the line has more than %d cells", GRAFT_TABLE_COLUMNS);
        if (l.at == bytes || text[l.at] != separator) break;
    }
    if (l.at + 1 == bytes && text[l.at] == '\r' && !last) return GRAFT_OK; /* a newline may follow */
    const int blank = is_blank(&l);
    if (l.at < bytes) l.at += text[l.at] == '\r' && l.at + 1 < bytes && text[l.at + 1] == '\n' ? 2 : 1;
    for (size_t i = 0; i < l.at; i++) *lines += text[i] == '\n' || (text[i] == '\r' && (i + 1 == bytes || text[i + 1] != '\n'));
    *used = l.at, *cells = l.cells, *n = blank ? 0 : l.n;
    return GRAFT_OK;
}

/* ---- what cells are --------------------------------------------------------------------------------------------------------------------- */

static int is_one_of(graft_cell c, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(words[i]) == c.bytes && !memcmp(words[i], c.text, c.bytes)) return 1;
    return 0;
}

static int is_null(graft_cell c)
{
    static const char *const words[] = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"};
    return is_one_of(c, words, sizeof words / sizeof *words);
}

static int is_true(graft_cell c)
{
    static const char *const words[] = {"True", "TRUE", "true"};
    return is_one_of(c, words, 3);
}

static int is_bool(graft_cell c)
{
    static const char *const words[] = {"False", "FALSE", "false"};
    return is_true(c) || is_one_of(c, words, 3);
}

/* A decimal number with blanks around it, as pandas takes one; whole numbers beyond 64 bits are none. */
static int is_number(graft_cell c, double *value)
{
    const char *s = c.text, *end = c.text + c.bytes;
    char *stop;
    while (s < end && *s == ' ') s++;
    while (end > s && end[-1] == ' ') end--;
    const char *p = s + (s < end && (*s == '-' || *s == '+'));
    const size_t word = (size_t)(end - p);
    *value = 0;
    if ((word == 3 && !strncasecmp(p, "inf", 3)) || (word == 8 && !strncasecmp(p, "infinity", 8))) return *value = INFINITY, 1;
    size_t digits = 0;
    int whole = 1;
    for (const char *q = p; q < end; q++) {
        const int digit = *q >= '0' && *q <= '9';
        digits += (size_t)digit;
        if (digit) continue;
        whole = 0;
        if (*q != '.' && (!digits || !strchr("eE+-", *q))) return 0;
    }
    if (!digits || word > 400) return 0;
    *value = strtod(s, &stop);
    while (*stop == ' ') stop++;
    return stop == c.text + c.bytes && (!whole || fabs(*value) < 18446744073709551615.0);
}

graft_cells graft_table_kind(graft_cells before, graft_cell cell)
{
    double ignored;
    if (before == GRAFT_CELLS_TEXT || is_null(cell)) return before;
    const graft_cells is = is_bool(cell) ? GRAFT_CELLS_BOOL : is_number(cell, &ignored) ? GRAFT_CELLS_NUMBER
                                                                                        : GRAFT_CELLS_TEXT;
    return before == GRAFT_CELLS_EMPTY || before == is ? is : GRAFT_CELLS_TEXT;
}

const graft_json *graft_table_row(graft_arena *a, const graft_cell *names, const graft_cells *kinds, size_t columns, const graft_cell *cells, size_t n)
{
    graft_json *row = graft_json_new(a, GRAFT_JSON_OBJECT);
    for (size_t i = 0; row && i < columns; i++) {
        double number = 0;
        graft_json *v;
        if (i >= n || is_null(cells[i])) v = graft_json_new(a, GRAFT_JSON_NULL);
        else if (kinds[i] == GRAFT_CELLS_BOOL) v = graft_json_flag(a, is_true(cells[i]));
        else if (kinds[i] == GRAFT_CELLS_NUMBER && is_number(cells[i], &number)) v = graft_json_real(a, number);
        else v = graft_json_text(a, cells[i].text, cells[i].bytes);
        if (!v) return NULL;
        graft_json_put(a, row, names[i].text, v);
    }
    return row;
}
