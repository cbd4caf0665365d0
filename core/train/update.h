/* core/train/update.h - the optimiser as two small graphs over the gradients that a training graph leaves in the store.
 *
 *   norm:  grad:* -> sum of squares -> "sum_squares"          the host takes the root and the clipping factor
 *   step:  hyper, grad:*, adam_m:*, adam_v:*, weights -> new weights and moments in place; gradients become zero
 */
#ifndef CORE_TRAIN_UPDATE_H
#define CORE_TRAIN_UPDATE_H

#include "core/graph/run.h"

#define GRAFT_MOMENT_M "adam_m:"
#define GRAFT_MOMENT_V "adam_v:"
#define GRAFT_GRADIENT "grad:"

typedef struct graft_update {
    graft_graph *norm, *step;
    graft_exec *run_norm, *run_step;
} graft_update;

/* How an update is done, besides the rate. */
typedef struct graft_update_options {
    double beta1, beta2, epsilon, weight_decay, max_grad_norm;
} graft_update_options;

/* A weight of the training graph that gets a gradient; 0 for other values. */
int graft_update_trains(const graft_graph *train, const graft_value_info *v);
/* transformers' rule: weight decay leaves biases and norms alone. */
int graft_update_decays(const graft_value_info *v);

/* Both graphs, prepared for the device. They share their leaves with the training graph by name. */
graft_status graft_update_graphs(graft_update *u, const graft_graph *train, const graft_device *d, graft_error *err);
graft_status graft_update_compile(graft_update *u, graft_store *s, const int64_t capacity[GRAFT_SYMBOLS], uint64_t seed, graft_error *err);
void graft_update_free(graft_update *u);

/* Update number t (from 1) with this rate. norm: of all gradients, before clipping. A norm that is no number is an error and changes no weight. */
graft_status graft_update_run(graft_update *u, const graft_update_options *o, int64_t t, double rate, double *norm, graft_error *err);

#endif
