/* core/data/record.h - one record between a format plugin and a sample. */
#ifndef CORE_DATA_RECORD_H
#define CORE_DATA_RECORD_H

#include "core/data/dataset.h"
#include "graft/format.h"

typedef struct graft_record_turn {
    graft_speaker who;
    const char *text;
    size_t bytes;
} graft_record_turn;

/* The host's side of graft_record: the plugin's calls fill it, texts are copied into the arena. */
typedef struct graft_record_copy {
    graft_record base;  /* first: the plugin sees this */
    graft_arena *arena; /* of the block that the record is in */
    graft_record_turn *turns;
    size_t n, room;
    const char *dropped; /* why, or NULL */
    const char *place;   /* "identity.json: record 3 (byte 812)" */
    int preference;      /* it has a kto label or chosen and rejected answers */
    int failed;          /* out of memory */
} graft_record_copy;
void graft_record_init(graft_record_copy *r, graft_arena *a);

/* A record made into ids and labels. arena: owns them; the caller frees it. */
typedef struct graft_made {
    graft_arena *arena;
    int32_t *ids, *labels;
    int64_t n, cut; /* tokens kept, tokens that the cutoff took away */
    const char *dropped;
    graft_error err;
    graft_status status;
} graft_made;
void graft_made_free(graft_made *m);
/* Renders, tokenises, cuts, labels. [any] */
/* A text to go on with, for pretraining: the first message and eos; every token is a label, but for those that are pad. [any] */
void graft_text_make(const graft_record_copy *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out);
void graft_sample_make(const graft_record_copy *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out);

#endif
