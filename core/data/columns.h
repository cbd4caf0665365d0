/* core/data/columns.h - rows of files that hold columns (Parquet, Arrow), as the records that a JSON file would give. source.c reads through it. */
#ifndef CORE_DATA_COLUMNS_H
#define CORE_DATA_COLUMNS_H

#include "core/base/file.h"
#include "core/base/json.h"

typedef struct graft_columns graft_columns;
typedef struct graft_columns_api {
    graft_status (*row)(graft_columns *c, graft_arena *a, const graft_json **row, graft_error *err); /* the next one, memory of the arena; NULL: there is none */
    int64_t (*tell)(const graft_columns *c);                                                        /* rows read so far */
    graft_status (*seek)(graft_columns *c, int64_t row, graft_error *err);                           /* to such a place; damage on the way is said by the next row */
    void (*close)(graft_columns *c);
} graft_columns_api;
struct graft_columns { const graft_columns_api *api; };

/* By the file's first bytes: is it one of them? */
int graft_columns_is(const graft_map *m);
/* m and path must stay. */
graft_status graft_columns_open(const graft_map *m, const char *path, graft_columns **out, graft_error *err);

/* Bytes of a column as a JSON text, or null when they are no UTF-8. */
graft_json *graft_columns_text(graft_arena *a, const void *bytes, size_t n);
graft_json *graft_columns_real(graft_arena *a, double v); /* null: no finite number */
double graft_columns_half(const uint8_t bits[2]);         /* IEEE binary16 */
double graft_columns_decimal(const uint8_t *bytes, size_t n, int highest_first, int scale); /* of an integer in two's complement */
int graft_columns_is_text(const void *bytes, size_t n);

#endif
