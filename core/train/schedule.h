/* core/train/schedule.h - learning-rate schedules, transformers' formulas (optimization.py). */
#ifndef CORE_TRAIN_SCHEDULE_H
#define CORE_TRAIN_SCHEDULE_H

#include "core/base/json.h"

/* The options of lr_scheduler_kwargs; NaN: not given. */
typedef struct graft_schedule_options {
    double num_cycles, power, lr_end, timescale, min_lr, min_lr_rate, num_stable_steps, num_decay_steps, min_lr_ratio, warmup_lr_rate;
    double factor, patience, threshold, cooldown, eps, max_lr, reset_start, rest_after_rise; /* the last three: greedy, the last its "warmup" */
    char decay_type[16];   /* "linear" | "cosine" | "1-sqrt" */
    int highest, absolute, relative; /* of those that watch: mode "max", threshold_mode "abs", "rel" */
} graft_schedule_options;

typedef struct graft_schedule {
    int kind;
    int64_t warmup, total;
    double base;
    graft_schedule_options o;
    /* Those that follow what evaluations say: the rate now, the best value, evaluations without a better one, evaluations left to rest; greedy too: better ones
     * in a row, evaluations left to rest after a rise, reductions at the lowest rate until it begins anew. */
    double rate, best;
    int64_t bad, resting, good, warming, resets;
} graft_schedule;

/* kwargs: an object, or NULL. An unknown name, or an option that this schedule does not have, is an error that names the nearest. */
graft_status graft_schedule_new(graft_schedule *s, const char *name, double base, int64_t warmup, int64_t total, const graft_json *kwargs, graft_error *err);
double graft_schedule_rate(const graft_schedule *s, int64_t step); /* rate of update `step`, counted from 0 */
/* Does it wait for evaluations? */
int graft_schedule_watches(const graft_schedule *s);
void graft_schedule_metric(graft_schedule *s, double value); /* what an evaluation said */
/* What graft_schedule_metric changed, to and from a checkpoint's counters. */
void graft_schedule_save(const graft_schedule *s, graft_arena *a, graft_json *to);
void graft_schedule_restore(graft_schedule *s, const graft_json *from);

#endif
