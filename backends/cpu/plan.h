/* plan.h - a plan's steps, for the files that make and change them. */
#ifndef CPU_PLAN_H
#define CPU_PLAN_H

#include "cpu.h"

typedef struct slot { /* where a tensor is */
    graft_dtype dtype;
    graft_place place;
    int32_t rank, on, id; /* id: of the tensor in the program */
    int64_t dims[GRAFT_MAX_RANK], offset, bytes;
} slot;

typedef struct step {
    const cpu_op *op;           /* NULL: another step does its work */
    int32_t n_in, n_out, table; /* table: index or -1 */
    slot in[CPU_MAX_IN], out[CPU_MAX_OUT];
    cpu_attr attr[CPU_MAX_ATTR];
    const char *name;
    int64_t nanoseconds;
} step;

/* fuse.c: joins steps that together need fewer passes over memory. Steps whose work moved get op NULL. */
graft_status cpu_fuse(const cpu_device *d, step *steps, int32_t n, int32_t n_tensors, graft_error *err);

/* group.c: joins products of one input. Steps whose work moved get op NULL. */
void cpu_group(const cpu_device *d, step *steps, int32_t n);

#endif
