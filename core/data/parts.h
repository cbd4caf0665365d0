/* core/data/parts.h - what read.c, dataset.c and stream.c share while a dataset is made. */
#ifndef CORE_DATA_PARTS_H
#define CORE_DATA_PARTS_H

#include "core/base/rng.h"
#include "core/base/sha256.h"
#include "core/data/cache.h"
#include "core/data/dataset.h"
#include "core/data/record.h"
#include "core/data/source.h"

enum { GRAFT_SETS_MAX = 1024,
       GRAFT_BLOCK = 256 };

/* The records of all sets, one set after the other: a record has one number. Shared by the datasets cut from one load. */
typedef struct graft_corpus {
    graft_cache *set[GRAFT_SETS_MAX];
    int64_t first[GRAFT_SETS_MAX + 1]; /* first[sets]: how many there are */
    int64_t sets;
    graft_arena *arena; /* sentences kept */
    int refs;
} graft_corpus;

/* One making of a train and an eval dataset. */
typedef struct graft_load {
    const graft_registry *registry;
    const graft_dataset_options *o; /* as given */
    graft_dataset_options how;      /* for single samples: cutoff_len as packing leaves it */
    const graft_template *t;
    const graft_tokenizer *tok;
    graft_corpus *corpus;
    int32_t *records; /* numbers, in the order of use */
    size_t n_records, records_room;
    int64_t set_size[GRAFT_SETS_MAX]; /* records of each set */
    graft_dataset_report report;
    graft_mt19937 draws; /* numpy's global generator, for num_samples */
    graft_error *err;
    graft_record_copy block[GRAFT_BLOCK];
    graft_made made[GRAFT_BLOCK];
    int64_t n_block;
    graft_arena *arena;    /* the block's texts */
    graft_cache *bad_into; /* where bad records are counted; NULL: in the report */
} graft_load;

/* ---- read.c ---- */
/* All sets that the names say, each drawn from and cut as its entry and the options want; l->records, l->set_size. */
graft_status graft_load_sets(graft_load *l);
/* Renders and tokenises the block in parallel, appends it to c, empties it. */
graft_status graft_load_flush(graft_load *l, graft_cache *c);
/* The files of an entry's path in their order; the caller frees with graft_dir_list_free. */
graft_status graft_load_files(graft_load *l, const char *path, const graft_json *entry, char ***files, size_t *n);
/* An open file with the format that reads it. */
typedef struct graft_load_stream {
    graft_source *source;
    const graft_loaded *plugin;
    void *stream;
    graft_arena *arena;
} graft_load_stream;
graft_status graft_load_open(graft_load *l, const char *path, const graft_json *entry, graft_load_stream *out);
void graft_load_close(graft_load_stream *s);
/* The next record into r (its texts in a); *end at the end. Bad ones are errors, or counted and skipped. */
graft_status graft_load_next(graft_load *l, graft_load_stream *s, graft_record_copy *r, graft_arena *a, int *end);
/* The next name of a list "a, b"; 0 at its end. Errors: a name that is too long. */
int graft_load_name(const char **list, char name[4096]);
graft_status graft_load_entry(graft_load *l, const char *name, const graft_json **entry, char **path);

/* ---- dataset.c ---- */
graft_dataset *graft_dataset_on(graft_corpus *corpus);
/* Samples of l->records[order[from .. end)] (order NULL: from .. end), packed in windows where that is asked for. */
graft_status graft_load_pick(graft_load *l, graft_dataset *to, const int32_t *order, int64_t from, int64_t end);
graft_corpus *graft_corpus_new(void);
void graft_corpus_free(graft_corpus *c); /* one reference */
graft_status graft_load_probabilities(graft_load *l, int64_t sets, double *out);
int graft_load_packs(const graft_dataset_options *o);

/* ---- stream.c ---- */
typedef struct graft_stream graft_stream;
/* Takes l over, also when it fails. *eval: the first val_size records, or NULL. */
graft_status graft_stream_open(graft_load *l, graft_stream **out, graft_dataset **eval);
void graft_stream_free(graft_stream *s);
int64_t graft_stream_count(const graft_stream *s);
graft_status graft_stream_get(graft_stream *s, int64_t i, graft_sample *out, graft_error *err);
graft_sample_size graft_stream_largest(const graft_stream *s); /* no sample is larger */

#endif
