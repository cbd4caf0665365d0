/* core/data/record.h - one record between a format plugin and a sample. */
#ifndef CORE_DATA_RECORD_H
#define CORE_DATA_RECORD_H

#include "core/data/pack.h"
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
    int labelled, desirable;         /* its answer is said to be good or bad; good   */
    int chosen_calls, rejected_calls; /* these answers are calls of tools */
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
void graft_sample_make(const graft_record_copy *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out);
/* A text to go on with, for pretraining: the first message and eos; every token is a label, but for those that are pad. [any] */
void graft_text_make(const graft_record_copy *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out);
/* pairs.c: the question (no labels) and the last answer (labels), cut as one turn. [any] */
void graft_question_make(const graft_record_copy *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out);
/* pairs.c: a preference record, whole: what its tokens are is said by their labels, -101 - section. graft_preference_window makes samples of such. [any] */
typedef enum graft_section { GRAFT_SECTION_QUESTION,
                             GRAFT_SECTION_THOUGHT, /* an empty one at the question's end, there because the answer has none */
                             GRAFT_SECTION_GOOD,    /* a chosen answer, or one that is said to be good */
                             GRAFT_SECTION_BAD,
                             GRAFT_SECTIONS } graft_section;
void graft_preference_make(const graft_record_copy *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok, graft_made *out);

/* The turns as messages. wrong: why it is no record of this kind, or NULL. messages has room for one more. */
typedef struct graft_talk {
    graft_message *messages;
    size_t n;
    const char *system, *tools;
    size_t system_bytes;
    const graft_record_turn *chosen, *rejected;
    const char *wrong;
} graft_talk;
graft_talk graft_talk_of(const graft_record_copy *r, const graft_dataset_options *o, graft_arena *a);

/* The samples of one window of preference records, cut to cutoff_len, memory from a. cut: [n] tokens that this took of each. */
graft_status graft_preference_window(const graft_dataset_options *o, graft_arena *a, const graft_sample *records, int64_t n, graft_pack_put put, void *ctx, int64_t *cut, graft_error *err);

#endif
