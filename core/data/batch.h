/* core/data/batch.h - samples to packed batches without padding, and the order in which they come. */
#ifndef CORE_DATA_BATCH_H
#define CORE_DATA_BATCH_H

#include "core/data/dataset.h"
#include "core/graph/run.h"

/* The inputs of the model's graph for some samples laid end to end. Labels are shifted here: row t predicts token t + 1 of its sequence. */
typedef struct graft_batch {
    int64_t tokens, sequences, labelled;
    int64_t counted;              /* labels != -100 before the shift: transformers' denominator (a labelled first token counts) */
    int32_t *ids, *positions;     /* [tokens]       */
    int32_t *borders;             /* [sequences, 4] */
    int32_t *label_rows, *labels; /* [labelled]     */
    float *label_weight;          /* [labelled], filled by graft_batch_give */
    int64_t room_tokens, room_sequences;
    int64_t virtual_tokens; /* rows with the ids -1, -2 .. that begin each sequence, for methods that put embeddings there; 0, set after graft_batch_new */
} graft_batch;
graft_status graft_batch_new(graft_batch **out, int64_t max_tokens, int64_t max_sequences, graft_error *err);
void graft_batch_free(graft_batch *b);
void graft_batch_clear(graft_batch *b);
/* 0 when it does not fit. */
int graft_batch_add(graft_batch *b, const graft_sample *s);
/* Hands the batch to a graph that gives the loss, each label with this weight; extent: for the run. */
graft_status graft_batch_give(graft_batch *b, graft_exec *e, double weight, int64_t extent[GRAFT_SYMBOLS], graft_error *err);

/* Which samples make up micro-batch m of epoch e: order of torch's RandomSampler with generator seed (seed + epoch), or sequential; the last batch may be short. */
typedef struct graft_order {
    int64_t n, per_batch;
    uint64_t seed;
    int shuffle;
    int64_t epoch;
    int32_t *index;  /* [n] */
    int64_t *batch; /* [per_batch] the one last asked for */
} graft_order;
graft_status graft_order_new(graft_order *o, int64_t n, int64_t per_batch, uint64_t seed, int shuffle, graft_error *err);
void graft_order_free(graft_order *o);
int64_t graft_order_batches(const graft_order *o); /* per epoch */
graft_status graft_order_epoch(graft_order *o, int64_t epoch, graft_error *err);
int64_t graft_order_batch(const graft_order *o, int64_t batch, const int64_t **samples); /* count of samples, which live until the next call */

#endif
