/* core/graph/check.h - what a device computes, compared with another one: every op on made-up data, and a small model trained for some steps.
 * For `graft selftest` on machines where no test suite is; the suite itself (tests/ops) draws far more cases. */
#ifndef CORE_GRAPH_CHECK_H
#define CORE_GRAPH_CHECK_H

#include "core/graph/run.h"

typedef struct graft_check_row {
    const char *op;
    int claimed;        /* 0: the device leaves it to the host to lower */
    int cases, repeats; /* cases that ran; repeats: each gave the same bits twice */
    double worst;       /* largest |a - b| over the largest |b| (at least 0.01) of any output; infinity where one is nan and the other not */
    char trouble[300];  /* a sentence when a case did not run, else empty */
} graft_check_row;
typedef void (*graft_check_say)(void *ctx, const graft_check_row *row);

extern const double graft_check_tolerance; /* of worst: f32 with sums in any order */
/* Each record of an op in turn. Fails only for want of memory; what goes wrong on the device is in the rows. [control] */
graft_status graft_check_ops(const graft_device *d, const graft_device *against, graft_check_say say, void *ctx, graft_error *err);

enum { GRAFT_CHECK_STEPS = 10 };
typedef struct graft_check_training {
    double loss[GRAFT_CHECK_STEPS], want[GRAFT_CHECK_STEPS]; /* of the device, of the other one */
    double weights;                                          /* largest difference of a weight after the last step */
    int repeats;                                             /* a second run gave the same bits */
} graft_check_training;
/* A block of attention and gated units with dropout, trained by AdamW on made-up tokens. */
graft_status graft_check_train(const graft_device *d, const graft_device *against, graft_check_training *out, graft_error *err);

#endif
