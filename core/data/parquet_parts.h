/* core/data/parquet_parts.h - what the files of the Parquet reader share: footer (parquet_footer.c), pages (parquet_page.c), values (parquet_values.c), rows (parquet.c). */
#ifndef CORE_DATA_PARQUET_PARTS_H
#define CORE_DATA_PARQUET_PARTS_H

#include "core/base/arena.h"
#include "core/data/parquet.h"

/* The format's own numbers. */
enum { PARQUET_BOOLEAN, PARQUET_INT32, PARQUET_INT64, PARQUET_INT96, PARQUET_FLOAT, PARQUET_DOUBLE, PARQUET_BYTES, PARQUET_FIXED };
enum { PARQUET_PLAIN = 0, PARQUET_OLD_DICTIONARY = 2, PARQUET_RLE = 3, PARQUET_OLD_BITS = 4, PARQUET_DELTA = 5, PARQUET_DELTA_LENGTH = 6, PARQUET_DELTA_BYTES = 7,
       PARQUET_DICTIONARY = 8, PARQUET_SPLIT = 9 };
enum { PARQUET_REQUIRED, PARQUET_OPTIONAL, PARQUET_REPEATED };

/* What a column's values become. */
typedef enum parquet_kind { PARQUET_AS_STORED, /* numbers and truths by their type; bytes are a text when they are UTF-8 */
                            PARQUET_TEXT,      /* must be UTF-8 */
                            PARQUET_UNSIGNED,
                            PARQUET_DECIMAL,
                            PARQUET_HALF,
                            PARQUET_BINARY, /* no text by its type */
                            PARQUET_NULLS } parquet_kind;

/* Where bytes are: of a text, or the little-endian bytes of a number. */
typedef struct parquet_value {
    const uint8_t *p;
    size_t n;
} parquet_value;

/* ---- parquet_values.c ---- */
/* Runs of one number and of numbers packed in `width` bits each: levels, indices, truths. */
typedef struct parquet_runs {
    const uint8_t *at, *end;
    int width;
    int64_t run, packed; /* numbers left in this run */
    uint32_t value;      /* of a run */
    uint64_t bit;        /* from `at`, of packed ones */
    size_t bytes;        /* of the packed run */
} parquet_runs;
void parquet_runs_open(parquet_runs *r, const uint8_t *at, size_t bytes, int width);
int parquet_runs_next(parquet_runs *r, uint32_t *v); /* -1: the bytes end */

/* Differences of integers in blocks. */
typedef struct parquet_deltas {
    const uint8_t *at, *end, *widths, *data;
    int64_t left;
    int per_mini, minis, mini, in_mini, width, begun;
    size_t data_bytes;
    uint64_t value, least, bit;
} parquet_deltas;

/* Values of one page, one after the other. */
typedef struct parquet_values {
    int encoding, type;
    size_t width; /* bytes of a value; 0: it varies */
    const uint8_t *at, *end;
    int64_t count, index; /* of PARQUET_SPLIT: values in the page; read */
    parquet_runs runs;
    parquet_deltas lengths, prefixes;
    const parquet_value *dictionary;
    size_t n_dictionary;
    uint8_t number[64]; /* a value put together */
    uint8_t *text;      /* the text before, of PARQUET_DELTA_BYTES */
    size_t text_bytes, text_room;
} parquet_values;
/* n: no more values than these are in the page. -1: damaged, 1: this encoding is not one of this type, 2: out of memory. `text`, `dictionary` stay as they are. */
int parquet_values_open(parquet_values *v, int encoding, const uint8_t *at, size_t bytes, int64_t n);
int parquet_values_next(parquet_values *v, parquet_value *out); /* 0, -1, 2 as above */

/* ---- parquet_footer.c ---- */
typedef struct parquet_node {
    const char *name;
    int repetition, is_list, is_map;
    int max_def, max_rep;
    int first, n_children; /* of a group: children are nodes[child[first ..]] */
    int leaf;              /* number of the column; of a group: of the first column in it */
    int n_leaves;
} parquet_node;

typedef struct parquet_chunk {
    int64_t begin, bytes, values;
    int codec;
} parquet_chunk;

typedef struct parquet_leaf {
    const char *path; /* "messages.list.element.role" */
    int type, kind, scale;
    size_t width;
    int max_def, max_rep;
    /* where it is read */
    const uint8_t *at, *end; /* of the chunk */
    const uint8_t *forgotten;
    int64_t left;            /* entries in pages not yet begun */
    int64_t entries;         /* left in this page */
    int codec;
    parquet_runs defs, reps;
    parquet_values values;
    parquet_value *dictionary;
    size_t dictionary_room;
    uint8_t *page, *dictionary_page;
    size_t page_room, dictionary_page_room;
    int peeked, def, rep;
    int said; /* that its bytes are no text */
} parquet_leaf;

typedef struct graft_parquet {
    graft_columns base;
    const graft_map *map;
    const char *path;
    graft_arena *arena;
    parquet_node *nodes;
    int *child, n_nodes, n_leaves;
    parquet_leaf *leaves;
    int64_t rows, n_groups;
    int64_t *group_rows;   /* [n_groups] */
    parquet_chunk *chunks; /* [n_groups][n_leaves] */
    int64_t group, left, row;  /* the row group being read; rows left in it; rows read */
    graft_error late;                           /* what was found on the way to a place: said when its row is asked for */
} graft_parquet;

graft_status parquet_footer_read(graft_parquet *p, graft_error *err);

/* ---- parquet_page.c ---- */
/* The leaf stands at the start of its chunk. */
void parquet_leaf_begin(graft_parquet *p, parquet_leaf *l, const parquet_chunk *c);
/* The levels of the next entry are in l->def and l->rep. */
graft_status parquet_leaf_peek(graft_parquet *p, parquet_leaf *l, graft_error *err);
/* Takes the entry that was peeked; has: with its value. */
graft_status parquet_leaf_take(graft_parquet *p, parquet_leaf *l, int has, parquet_value *v, graft_error *err);
/* "column "x", row group 2: SENTENCE" */
graft_status parquet_refuse(const graft_parquet *p, const parquet_leaf *l, graft_status code, graft_error *err, const char *sentence);

#endif
