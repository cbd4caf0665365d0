/* core/data/parquet.h - rows of a Parquet file, as the records that a JSON file would give. See columns.h.
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

#include "core/data/columns.h"

int graft_parquet_is(const graft_map *m);
graft_status graft_parquet_open(const graft_map *m, const char *path, graft_columns **out, graft_error *err);

#endif
