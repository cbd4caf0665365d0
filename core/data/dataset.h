/* core/data/dataset.h - from registry entries to tokenised samples: record -> messages -> template -> ids and labels. */
#ifndef CORE_DATA_DATASET_H
#define CORE_DATA_DATASET_H

#include "core/model/template.h"
#include "core/plugin/load.h"

/* Its arrays live until the next sample of the same dataset is asked for. */
typedef struct graft_sample {
    int64_t n;                /* tokens                            */
    const int32_t *ids;       /* [n]                               */
    const int32_t *labels;    /* [n], -100: no loss; not shifted   */
    const int32_t *positions; /* [n], NULL: 0, 1, 2 ...         */
    const int32_t *part_ends; /* [parts] ends of the sequences laid end to end in it that do not see each other; what follows the last is padding */
    int64_t parts;            /* 0: it is one sequence          */
    int desirable;            /* of a labelled answer: it is a good one */
} graft_sample;
/* Sequences and rows that it adds to a batch. */
static inline int64_t graft_sample_sequences(const graft_sample *s) { return s->parts ? s->parts : 1; }
static inline int64_t graft_sample_rows(const graft_sample *s) { return s->parts ? s->part_ends[s->parts - 1] : s->n; }

/* A sample's sizes without reading it; of cut texts and of a stream's samples what they can be at most. */
typedef struct graft_sample_size {
    int64_t n, rows, sequences, labelled; /* labelled: labels that have a row which predicts them */
} graft_sample_size;

typedef enum graft_packing { GRAFT_PACKING_UNSAID, /* only for pretraining texts */
                             GRAFT_PACKING_OFF,
                             GRAFT_PACKING_ON,
                             GRAFT_PACKING_NEAT } graft_packing;

/* What a record is for. The two sequences of a preference sample are parts that do not see each other. */
typedef enum graft_preference { GRAFT_PREFERENCE_NONE,   /* an answer to learn */
                                GRAFT_PREFERENCE_PAIRS,  /* parts: the question with the chosen answer, with the rejected one */
                                GRAFT_PREFERENCE_LABELS, /* an answer said to be good or bad; parts: with it, with the answer of the record before (for the KL term) */
} graft_preference;

typedef struct graft_dataset_options {
    const char *names; /* "identity,alpaca_en_demo" (registry), or a file's path                        */
    const char *dataset_dir;
    int64_t cutoff_len;  /* 2048 */
    int64_t max_samples; /* per dataset, 0: all */
    int train_on_prompt, mask_history;
    double val_size; /* 0; >= 1: samples, < 1: share */
    uint64_t seed;
    int pretrain;                     /* texts to go on with instead of answers: the first message of each record and eos */
    graft_preference preference;
    int predict;                      /* the question alone is context, the last answer is what a model's will be compared with; it may be missing */
    int drop_overlong;                /* a sample longer than cutoff_len is dropped and counted instead of cut */
    int skip_bad_records;             /* a record that is no record is counted and skipped instead of an error */
    int separate_texts;               /* pretraining texts that share a block do not see each other, and none is predicted from the one before */
    int learn_pad;                    /* pretraining texts: labels that are the pad token (often eos) stay, so that it is learned */
    graft_packing packing;            /* blocks of cutoff_len tokens; pretraining texts when unsaid too (when said, cutoff_len - 1) */
    int64_t preprocessing_batch_size; /* records whose samples may share a block; 0: 1000 */
    int64_t preprocessing_workers;    /* the records fall into that many runs; blocks keep to one; 0: 1 */
    const char *mix_strategy;         /* NULL: "concat" */
    const char *interleave_probs;     /* "0.2,0.8", NULL: in turns */
    const char *default_system;       /* NULL: the template's own; "": none */
    graft_thinking thinking;          /* of reasoning templates */
    int preserve_thinking, split_special_tokens;
    const char *today; /* the date in some tool prompts; NULL: "26 Jul 2024", so that samples do not change from day to day */
    /* What may change here changes a sample: a new field of that kind goes into the key of the token cache too (read.c, options_into). */
    const char *cache_dir;       /* folder of the token cache; NULL: samples stay in memory */
    int64_t cache_from;          /* sets of so many bytes are kept there; 0: 8 MiB */
    int64_t cache_file_bytes;    /* of samples in one of its files; 0: 8 MiB */
    int64_t cache_limit;         /* the folder is graft's own: sets unused for long go, and the oldest when all are more than so many bytes; 0: nothing goes */
    int overwrite_cache;         /* made anew */
    int streaming;               /* nothing is tokenised before it is asked for: records pass a shuffle buffer. Samples are asked for in turn; registry, template,
                                  * tokenizer and the texts of these options must then outlive the dataset */
    int64_t buffer_size;         /* records of the shuffle buffer; 0: 16384 */
    int64_t stream_samples;      /* how many samples there are: as many as the run takes; the data begins anew when it ends */
    int64_t stream_window;       /* how far back a sample may be asked for again: those of an update */
    struct graft_mt19937 *draws; /* the generator of num_samples, gone on with by what is loaded next; NULL: one of its own */
} graft_dataset_options;

/* Nothing is dropped silently. */
typedef struct graft_dataset_report {
    int64_t records, kept, dropped, truncated, tokens_cut, tokens, labelled;
    int64_t overlong; /* of the dropped: longer than cutoff_len (drop_overlong)    */
    int64_t bad;      /* skipped before they were records (skip_bad_records)       */
    const char *first_drop; /* "identity.json: record 3: output is null", or NULL; lives as long as the train dataset */
    const char *first_bad;  /* the same of the first bad record */
} graft_dataset_report;

typedef struct graft_dataset graft_dataset;
/* Reads, renders and tokenises (in parallel) all records. eval gets the val_size part. */
graft_status graft_dataset_load(const graft_registry *r, const graft_dataset_options *o, const graft_template *t, const graft_tokenizer *tok,
                                graft_dataset **train, graft_dataset **eval, graft_dataset_report *report, graft_error *err);
void graft_dataset_free(graft_dataset *d);
int64_t graft_dataset_count(const graft_dataset *d);
/* Damage of the token cache is an error. [control] */
graft_status graft_dataset_get(const graft_dataset *d, int64_t i, graft_sample *out, graft_error *err);
graft_sample graft_dataset_at(const graft_dataset *d, int64_t i); /* the same where nothing can go wrong (memory); else an empty sample */
graft_sample_size graft_dataset_measure(const graft_dataset *d, int64_t i);
void graft_dataset_forget(const graft_dataset *d); /* pages of the token cache may leave memory */

/* One sample from explicit arrays (score, golden). Copies. */
graft_dataset *graft_dataset_empty(void);
const char *graft_dataset_keep(graft_dataset *d, const char *text); /* a copy that lives as long as the dataset; NULL when out of memory */
graft_status graft_dataset_add(graft_dataset *d, const int32_t *ids, const int32_t *labels, int64_t n, graft_error *err);

/* LLaMA-Factory's rule: lengths kept of a (prompt, answer) pair within the budget. */
void graft_infer_seqlen(int64_t source, int64_t target, int64_t cutoff, int64_t *keep_source, int64_t *keep_target);

#endif
