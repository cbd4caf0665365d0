/* core/train/schedule.h - learning-rate schedules, transformers' formulas (optimization.py). */
#ifndef CORE_TRAIN_SCHEDULE_H
#define CORE_TRAIN_SCHEDULE_H

#include "graft/base.h"

typedef struct graft_schedule { int kind; int64_t warmup, total; double base; } graft_schedule;
graft_status graft_schedule_new(graft_schedule *s, const char *name, double base, int64_t warmup, int64_t total, graft_error *err); /* unknown name: error with the nearest */
double       graft_schedule_rate(const graft_schedule *s, int64_t step); /* rate of update `step`, counted from 0 */

#endif
