/* core/train/schedule.h - learning-rate schedules, transformers' formulas (optimization.py). */
#ifndef CORE_TRAIN_SCHEDULE_H
#define CORE_TRAIN_SCHEDULE_H

#include "graft/base.h"

/* The options of lr_scheduler_kwargs; NaN: not given. */
typedef struct graft_schedule_options {
    double num_cycles, power, lr_end, timescale, min_lr, min_lr_rate, num_stable_steps, num_decay_steps, min_lr_ratio;
    char decay_type[16]; /* "linear" | "cosine" | "1-sqrt" */
} graft_schedule_options;

typedef struct graft_schedule {
    int kind;
    int64_t warmup, total;
    double base;
    graft_schedule_options o;
} graft_schedule;

/* kwargs: an object, or NULL. An unknown name, or an option that this schedule does not have, is an error that names the nearest. */
graft_status graft_schedule_new(graft_schedule *s, const char *name, double base, int64_t warmup, int64_t total, const graft_json *kwargs, graft_error *err);
double graft_schedule_rate(const graft_schedule *s, int64_t step); /* rate of update `step`, counted from 0 */

#endif
