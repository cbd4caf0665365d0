/* core/data/table.h - records of a table in text: comma- or tab-separated values, as pandas reads them (LLaMA-Factory's reader).
 *
 *   question,answer          the first line names the columns
 *   "with, comma","a ""b"""  quotes keep separators, line ends and doubled quotes
 *   what,NA                  an empty cell, NA, null, NaN ... is null
 *
 * A column whose cells are all numbers (or all true and false) is one of numbers. Blank lines are no records. */
#ifndef CORE_DATA_TABLE_H
#define CORE_DATA_TABLE_H

#include "core/base/json.h"

enum { GRAFT_TABLE_COLUMNS = 4096 };

typedef enum graft_cells { GRAFT_CELLS_EMPTY, /* nothing but nulls so far */
                           GRAFT_CELLS_BOOL,
                           GRAFT_CELLS_NUMBER,
                           GRAFT_CELLS_TEXT } graft_cells;

typedef struct graft_cell {
    const char *text; /* as it stands there, quotes resolved */
    size_t bytes;
} graft_cell;

/* One line of cells, memory of the arena. text: from the line's start to the end of what is known; last: the file ends there.
 * *used: bytes of it, line end included; 0: the line goes on behind the text. *lines: line ends in it. *n: 0 for a blank line. */
graft_status graft_table_line(graft_arena *a, const char *place, const char *text, size_t bytes, int last, char separator, graft_cell **cells, size_t *n, size_t *used, int *lines, graft_error *err);

/* What cells of a column are once this one is seen too. */
graft_cells graft_table_kind(graft_cells before, graft_cell cell);
/* The record of a line: names[n] are the columns; fewer cells are nulls. */
const graft_json *graft_table_row(graft_arena *a, const graft_cell *names, const graft_cells *kinds, size_t columns, const graft_cell *cells, size_t n);

#endif
