/* core/train/checkpoint.h - folders that are complete or absent.
 *
 *   OUT/.checkpoint-12.tmp/   files are written and fsynced one by one
 *   OUT/.checkpoint-12.tmp/manifest.json   last: {"format": "graft.checkpoint/1", "step": 12, "files": {"name": bytes, ...}}
 *   rename to OUT/checkpoint-12, fsync OUT. An older folder of that name steps aside to OUT/.checkpoint-12.old first and is removed afterwards.
 *
 * Whatever the moment of a crash, graft_checkpoint_tidy makes OUT hold only complete folders again, and the newest complete one is never lost. */
#ifndef CORE_TRAIN_CHECKPOINT_H
#define CORE_TRAIN_CHECKPOINT_H

#include "graft/base.h"

enum { GRAFT_CHECKPOINT_PATH = 4096 };

/* OUT/checkpoint-STEP into path. */
graft_status graft_checkpoint_path(const char *out, int64_t step, char path[GRAFT_CHECKPOINT_PATH], graft_error *err);

/* An empty temporary folder for this step; its path into tmp. */
graft_status graft_checkpoint_begin(const char *out, int64_t step, char tmp[GRAFT_CHECKPOINT_PATH], graft_error *err);
/* Makes the temporary folder the checkpoint of this step, durably. After an error the temporary folder is gone and older checkpoints are as they were. */
graft_status graft_checkpoint_commit(const char *out, int64_t step, graft_error *err);
void graft_checkpoint_abandon(const char *out, int64_t step);

/* Are all files of the manifest there with their sizes? A sentence otherwise. */
graft_status graft_checkpoint_check(const char *dir, int64_t *step, graft_error *err);
/* The complete checkpoint of the highest step into path; "" and step 0 when there is none. Incomplete ones are passed over (and said). */
graft_status graft_checkpoint_newest(const char *out, char path[GRAFT_CHECKPOINT_PATH], int64_t *step, graft_error *err);
/* Removes what a crash left behind: temporary folders, and an old folder whose successor stands; brings an old folder back whose successor never came. */
graft_status graft_checkpoint_tidy(const char *out, graft_error *err);
/* Keeps the `keep` newest (0: all), `best` (0: none) among them. `current` is never removed; checkpoints of later steps come from an older run and go first. */
graft_status graft_checkpoint_prune(const char *out, int64_t keep, int64_t current, int64_t best, graft_error *err);

#endif
