/* core/data/cache.h - the tokenised samples of one set of files: added in the order of its records, read by number.
 *
 * With a folder they lie in files of some 8 MiB that are mapped, so memory does not grow with the set; each is whole or absent, says where in the data it
 * ends, and a set that was begun goes on from the last of them. Without a folder they lie in memory, in the same form. */
#ifndef CORE_DATA_CACHE_H
#define CORE_DATA_CACHE_H

#include "core/base/arena.h"
#include "graft/format.h"

typedef struct graft_cache graft_cache;

/* Where in the data a set goes on. */
typedef struct graft_cache_place {
    int32_t file, ended; /* number of the file; ended: there is no more */
    int64_t record;      /* rows of that file before it */
    int64_t bad;         /* pieces of the set before it that were no records; the cache counts them */
    graft_cursor cursor; /* the format's; in a file that is not begun all zero */
} graft_cache_place;

/* One record without its tokens. */
typedef struct graft_cache_size {
    int64_t n, labelled, cut; /* tokens, labels that are not -100, tokens that the cutoff took */
    int dropped;
    int first_labelled; /* the first token has a label */
} graft_cache_size;

/* Opens FOLDER/KEY as far as it is whole; what is damaged there is said and removed. folder NULL: memory. key: 64 digits of what the samples are made of.
 * narrow: all ids are below 65536. anew: what is there is not used. file_bytes: of samples in a file, 0: 8 MiB. */
graft_status graft_cache_open(const char *folder, const char *key, int narrow, int anew, int64_t file_bytes, graft_cache **out, graft_error *err);
void graft_cache_free(graft_cache *c);
const graft_cache_place *graft_cache_end(const graft_cache *c);
int64_t graft_cache_records(const graft_cache *c);
const char *graft_cache_key(const graft_cache *c); /* NULL: it is in memory */
const char *graft_cache_first_drop(const graft_cache *c); /* the first sentence given for a dropped record, or NULL */
const char *graft_cache_first_bad(const graft_cache *c);

/* The next record: n tokens and their labels, or dropped: why (cut: the tokens that made it too long). Or a piece that is no record: counted, without a number.
 * A file that cannot be written is said once; the samples then stay in memory. */
graft_status graft_cache_add(graft_cache *c, const int32_t *ids, const int32_t *labels, int64_t n, int64_t cut, graft_error *err);
graft_status graft_cache_drop(graft_cache *c, const char *why, int64_t cut, graft_error *err);
void graft_cache_bad(graft_cache *c, const char *why);
/* All records before this place are added. now: they are to be kept even if they are few. */
graft_status graft_cache_mark(graft_cache *c, const graft_cache_place *at, int now, graft_error *err);

graft_cache_size graft_cache_measure(const graft_cache *c, int64_t record);
/* Tokens [from, from + n) of a record. Damage is an error; the file is then removed, so that the next start makes it again. [control] */
graft_status graft_cache_read(const graft_cache *c, int64_t record, int64_t from, int64_t n, int32_t *ids, int32_t *labels, graft_error *err);
/* Pages of the files that were read may leave memory. */
void graft_cache_forget(const graft_cache *c);
/* The same of files before this record's, for one who measures all records in turn. */
void graft_cache_pass(graft_cache *c, int64_t record);

/* XDG_CACHE_HOME/graft/tokens or HOME/.cache/graft/tokens; NULL when there is neither. The caller frees. */
char *graft_cache_folder(void);

#endif
