/* core/train/replan.h - methods that change, while the run goes on, which weights train. */
#ifndef CORE_TRAIN_REPLAN_H
#define CORE_TRAIN_REPLAN_H

#include "core/train/trainer.h"

/* Virtual tokens before each sequence; whether a method adds to the loss; and each method has seen the model once. */
graft_status graft_train_look(const graft_train_job *job, int64_t *virtual_tokens, int *penalty, graft_error *err);
/* The methods' own learning rates, into an update made for this training graph. */
void graft_train_rates(graft_update *u, const graft_graph *train);
/* Brings the methods to update `step`: their on_step hook for 0 .. step. Before any graph is made. */
graft_status graft_train_begin_methods(const graft_train_job *job, int64_t step, graft_error *err);
/* Before update t->step. When a method asks for it, graphs and programs are made anew: states of weights that go on are kept, those of weights that stop
 * are released, and weights that begin start with no state and a step count of zero. */
graft_status graft_trainer_step_methods(graft_trainer *t, graft_error *err);

#endif
