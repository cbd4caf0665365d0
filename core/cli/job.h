/* core/cli/job.h - a training job out of the arguments, for `graft train` and `graft plan`. */
#ifndef CORE_CLI_JOB_H
#define CORE_CLI_JOB_H

#include "core/cli/session.h"
#include "core/train/train.h"

typedef struct graft_job {
    graft_session s;
    graft_dataset *train;
    graft_session_eval eval;
    const graft_dataset *eval_sets[GRAFT_SESSION_EVALS];
    graft_train_options o;
    graft_train_job job;
} graft_job;

/* Opens model, template, method and device, and reads the data. without_data: a plan may do without dataset and template. j->s.c must be set. */
graft_status graft_job_open(graft_job *j, int without_data, graft_error *err);
void graft_job_close(graft_job *j);

#endif
