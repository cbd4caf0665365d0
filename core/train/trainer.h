/* core/train/trainer.h - the loop's own state, shared by the files of this room. */
#ifndef CORE_TRAIN_TRAINER_H
#define CORE_TRAIN_TRAINER_H

#include "core/train/checkpoint.h"
#include "core/train/journal.h"
#include "core/train/schedule.h"
#include "core/train/train.h"
#include "core/train/update.h"

enum { GRAFT_TRAIN_ACCELERATOR = 500 }; /* from this score on (graft_device_info) a device has its own memory and wants large runs */

/* How many of what. An update holds up to gradient_accumulation_steps micro-batches and never crosses the end of an epoch. */
typedef struct graft_train_steps {
    int64_t batches, updates; /* per epoch */
    int64_t total, epochs;
    int64_t log, save, evaluate; /* every so many updates, 0: never, *_epochs: at the end of each epoch */
    int save_epochs, evaluate_epochs, log_epochs, save_best;
    int64_t warmup;
} graft_train_steps;

typedef struct graft_train_graphs {
    graft_graph *train, *eval; /* eval NULL without evaluation data */
    graft_update update;
} graft_train_graphs;

typedef struct graft_saving graft_saving; /* saver.c */
typedef struct graft_after graft_after;   /* after.c */

typedef struct graft_trainer {
    const graft_train_job *job;
    const graft_train_options *o;
    graft_train_result *result;
    graft_train_steps steps;
    graft_train_graphs graphs;
    graft_memory memory;
    int64_t capacity[GRAFT_SYMBOLS], eval_capacity[GRAFT_SYMBOLS];
    graft_store *store;
    graft_exec *train, *eval;
    graft_batch *batch;
    graft_order order;
    graft_schedule schedule;
    graft_journal journal;
    /* What a checkpoint holds besides weights and moments. */
    int64_t step;                       /* updates done */
    int64_t runs;                       /* micro-batches done: the step number of random draws */
    int64_t tokens, log_count;          /* tokens seen; updates since the last logging step */
    double log_loss, total_loss, flops; /* sums of the losses of updates */
    double seconds_before;              /* of earlier processes */
    /* Of this process. */
    double started;
    int64_t started_step, eval_step; /* eval_step: of the last evaluation, -1 none */
    int best_set;                       /* evaluation set that says what is best; -1: nothing is asked for (best.c) */
    int64_t worse;                      /* evaluations since the best one */
    int stopped;                        /* early */
    graft_saving *saving;            /* a checkpoint that is being written, or NULL */
    graft_after *after;              /* what methods that look at updates keep; NULL: none does */
} graft_trainer;

/* ---- plan.c ---- */
graft_status graft_train_count(const graft_train_job *job, graft_train_steps *out, graft_error *err);
/* Capacities of the largest runs that will come: see graft_memory. */
graft_status graft_train_measure(const graft_train_job *job, const graft_train_steps *steps, int64_t run_tokens, int64_t capacity[GRAFT_SYMBOLS], int64_t eval_capacity[GRAFT_SYMBOLS], graft_error *err);
/* How many of these n samples the next run takes. */
int64_t graft_train_run_of(const graft_dataset *d, const int64_t *samples, int64_t n, int64_t run_tokens);

/* Bytes of this process in memory now, in steps of 4 MiB so that the same job gets the same plan again; 0 where nothing says so. */
int64_t graft_train_resident(void);

/* ---- choose.c ---- */
/* Builds the graphs that fit the memory, and the promise. */
graft_status graft_train_choose(const graft_train_job *job, const graft_train_steps *steps, graft_train_graphs *graphs, int64_t capacity[GRAFT_SYMBOLS],
                                int64_t eval_capacity[GRAFT_SYMBOLS], graft_memory *m, graft_error *err);
/* The same again with the recomputation that m says, for capacities that were chosen; m's sizes follow. */
graft_status graft_train_remake(const graft_train_job *job, graft_memory *m, const int64_t capacity[GRAFT_SYMBOLS], const int64_t eval_capacity[GRAFT_SYMBOLS], graft_train_graphs *g, graft_error *err);
void graft_train_graphs_free(graft_train_graphs *g);

/* ---- train.c ---- */
graft_status graft_trainer_add_graphs(graft_trainer *t, graft_error *err); /* their tensors into the store */
graft_status graft_trainer_compile(graft_trainer *t, graft_error *err);

/* ---- state.c ---- */
/* Writes OUT/checkpoint-STEP, whose path is dir afterwards, and prunes older ones. */
graft_status graft_trainer_write_checkpoint(const graft_trainer *t, char dir[GRAFT_CHECKPOINT_PATH], graft_error *err);
/* Weights, moments and counters of a checkpoint folder into the trainer. */
graft_status graft_trainer_resume(graft_trainer *t, const char *dir, graft_error *err);
graft_status graft_trainer_take_weights(graft_trainer *t, const char *dir, graft_error *err); /* those alone */
/* Adapter or model files, and the tokenizer's, into dir. */
graft_status graft_trainer_write_model(const graft_trainer *t, const char *dir, graft_error *err);
graft_journal_moment graft_trainer_moment(const graft_trainer *t);

/* ---- saver.c ---- */
/* Begins a checkpoint, and may return before it is written. */
graft_status graft_trainer_save(graft_trainer *t, graft_error *err);
/* The checkpoint that was begun is written, and t->result says where. Before anything that changes weights, states, methods or the journal. */
graft_status graft_trainer_saved(graft_trainer *t, graft_error *err);

/* ---- best.c ---- */
graft_status graft_trainer_best_begin(graft_trainer *t, graft_error *err);
/* An evaluation of this set gave this loss: is it the best so far? */
int graft_trainer_best_look(graft_trainer *t, int set, double value);
/* load_best_model_at_end: its weights from its checkpoint. */
graft_status graft_trainer_best_load(graft_trainer *t, graft_error *err);

/* ---- finish.c ---- */
/* The files of output_dir at the end: model, state, results, plots, README.md. */
graft_status graft_trainer_finish(graft_trainer *t, graft_error *err);

double graft_trainer_clock(void); /* seconds, monotonic */

#endif
