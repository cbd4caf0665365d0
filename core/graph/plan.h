/* core/graph/plan.h - the named ends of a plan, for run.c. The plan itself is in run.h. */
#ifndef CORE_GRAPH_PLAN_H
#define CORE_GRAPH_PLAN_H

#include "core/graph/run.h"

/* A tensor of the program that the host fills or reads. An input that no instruction reads has tensor -1. */
struct graft_plan_name {
    const char *name;
    int32_t tensor;
    const float *data; /* of constants */
};

#endif
