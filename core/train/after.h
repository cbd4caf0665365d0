/* core/train/after.h - methods that look at what an update did (their after_update hook): the gradients that it used, and numbers of their own that last.
 *
 *   gradients known, norm known --take--> copies, clipped | the step | --run--> each method's hook, in order
 */
#ifndef CORE_TRAIN_AFTER_H
#define CORE_TRAIN_AFTER_H

#include "core/train/trainer.h"

#define GRAFT_KEPT "kept:" /* "kept:METHOD:NAME": a method's own numbers, in a checkpoint beside the optimiser's states */

/* Does the method's hook have anything to do? */
int graft_after_watches(const graft_active_method *m);
/* Copies the gradients, times factor. ctx: the trainer. */
graft_status graft_after_take(void *ctx, double factor, graft_error *err);
/* The hooks after update `step`. */
graft_status graft_after_run(graft_trainer *t, int64_t step, graft_error *err);
/* The numbers that a checkpoint holds: the i-th, 0 when there are no more; and back from one. */
int graft_after_kept(const graft_trainer *t, int i, const char **name, const float **data, int64_t *n);
graft_status graft_after_restore(graft_trainer *t, const char *name, int64_t n, const graft_weight_info *from, graft_error *err);
void graft_after_free(graft_trainer *t);

#endif
