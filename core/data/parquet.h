/* core/data/parquet.h - rows of a Parquet file, as the records that a JSON file would give. source.c reads through it.
 *
 *   "PAR1"  column chunk: [dictionary page] data page ...   of the first row group, one chunk a column
 *           ...                                             of the others
 *           footer: schema, where the chunks lie            its size (4 bytes)   "PAR1"
 *
 * Of each column one page and its dictionary are in memory, so memory grows with the pages and not with the file. Read: all encodings that writers use, pages
 * of version 1 and 2, packed by nothing, Snappy, gzip or zstd; lists, structs and maps in any depth. Text is text (bytes without a type too, when they are UTF-8);
 * numbers, decimals, dates and times are numbers as they are stored; bytes that are no text are null, which is said once. */
#ifndef CORE_DATA_PARQUET_H
#define CORE_DATA_PARQUET_H

#include "core/base/file.h"
#include "core/base/json.h"

typedef struct graft_parquet graft_parquet;

/* By the file's first bytes. */
int graft_parquet_is(const graft_map *m);
/* m and path must stay. */
graft_status graft_parquet_open(const graft_map *m, const char *path, graft_parquet **out, graft_error *err);
/* The next row, memory of the arena; *row NULL: there is none. */
graft_status graft_parquet_row(graft_parquet *p, graft_arena *a, const graft_json **row, graft_error *err);
/* Rows read so far, and the way to any such place; damage on the way is said by the next row. */
int64_t graft_parquet_tell(const graft_parquet *p);
int64_t graft_parquet_rows(const graft_parquet *p);
graft_status graft_parquet_seek(graft_parquet *p, int64_t row, graft_error *err);
void graft_parquet_close(graft_parquet *p);

#endif
