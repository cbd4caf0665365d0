/* core/train/update.h - an update as two small graphs over the gradients that a training graph leaves in the store.
 *
 *   norm:  grad:* -> sum of squares -> "sum_squares"          the host takes the root and the clipping factor
 *   step:  hyper, grad:*, states, weights -> new weights and states in place; gradients become zero (optim.h: whose step)
 *
 * Or inside the training graph, where an update is one run and no norm of all gradients is asked for before the step: each weight's step comes as soon as its
 * gradient is there, and the gradient is released. The weights become the same bit for bit; the norm, which is only reported then, is summed in another order.
 */
#ifndef CORE_TRAIN_UPDATE_H
#define CORE_TRAIN_UPDATE_H

#include "core/graph/run.h"
#include "core/train/optim.h"

#define GRAFT_GRADIENT "grad:"

typedef graft_optim_options graft_update_options;

/* One trained weight. rate, decay and active may be changed between updates: a tuning method's own rates, and weights that rest. */
typedef struct graft_update_leaf {
    const char *name;
    double rate;     /* times the schedule's rate; 1 */
    double decay;    /* times weight_decay: 1, or 0 for biases and norms */
    int active;      /* 0: the update leaves the weight and its states as they are, and does not count as a step of it; its gradient becomes zero all the same */
    int64_t skipped; /* updates that were no steps of it */
} graft_update_leaf;

typedef struct graft_update {
    graft_graph *norm, *step;
    graft_exec *run_norm, *run_step;
    int inside; /* of the training graph: the four above are NULL */
    graft_store *store; /* where compiled for; not owned */
    graft_update_leaf *leaves; /* rows of hyper; names are the step graph's */
    float *hyper;
    int32_t n_leaves;
    graft_status (*watch)(void *ctx, double factor, graft_error *err); /* before the step, while the gradients are in the store: times factor they are what it uses; NULL: nobody looks */
    void *watcher;
} graft_update;

/* A weight of the training graph that gets a gradient; 0 for other values. */
int graft_update_trains(const graft_graph *train, const graft_value_info *v);
/* transformers' rule: weight decay leaves biases and norms alone. */
int graft_update_decays(const graft_value_info *v);

/* Both graphs, prepared for the device. They share their leaves with the training graph by name. */
graft_status graft_update_graphs(graft_update *u, const graft_graph *train, const graft_update_options *o, const graft_device *d, graft_error *err);
graft_status graft_update_compile(graft_update *u, graft_store *s, const int64_t capacity[GRAFT_SYMBOLS], uint64_t seed, graft_error *err);
/* May an update with these options be inside the training graph? Clipping and the host's own work need all gradients first; products of the optimiser's stay apart. */
int graft_update_fits_inside(const graft_update_options *o);
/* Into a training graph that is not prepared yet; graft_graph_early is to follow the preparation. Its gradients are no states any more. */
graft_status graft_update_inside(graft_update *u, graft_graph *train, const graft_update_options *o, graft_error *err);
void graft_update_free(graft_update *u);
graft_update_leaf *graft_update_find(const graft_update *u, const char *weight); /* NULL: not trained */

/* Update number t (from 1) with this rate. norm: of all gradients, before clipping. A norm that is no number is an error and changes no weight. */
graft_status graft_update_run(graft_update *u, const graft_update_options *o, int64_t t, double rate, double *norm, graft_error *err);
/* Of an update inside: before and after the run of the training program. A norm that is no number is an error; the weights have changed by then. */
graft_status graft_update_before(graft_update *u, const graft_update_options *o, graft_exec *train, int64_t t, double rate, graft_error *err);
graft_status graft_update_after(graft_exec *train, double *norm, graft_error *err);

#endif
