/* backends/reference/reference.h - the backend that is right rather than fast: plain C, one thread, sums in double. Other backends are tested
 * against it, so each kernel is written to be read beside the formulas of graft/ops.h.
 *
 *   reference.c  the door, device, buffers          plan.c      compile and run: instructions to calls of kernels
 *   element.h    one element of any storage type     the others  one file a family of ops
 */
#ifndef BACKENDS_REFERENCE_H
#define BACKENDS_REFERENCE_H

#include "graft/backend.h"
#include "graft/ops.h"
#include "graft/plugin.h"

enum { REF_IN = 12,
       REF_OUT = 5,
       REF_ATTR = 8 };

/* A tensor at the actual sizes of a run: dense, row-major. */
typedef struct ref_view {
    int there; /* 0: an absent optional input, or an output that nobody reads */
    graft_dtype dtype;
    int32_t rank;
    int64_t dims[GRAFT_MAX_RANK];
    int64_t n;  /* elements */
    void *data; /* NULL while compiling */
} ref_view;

/* One instruction of one run. */
typedef struct ref_call {
    const graft_host *host;
    const char *op, *site; /* for errors */
    ref_view in[REF_IN], out[REF_OUT];
    const graft_attr *attr;
    int32_t n_attr;
    uint64_t seed, step;
    int training;
    double *scratch; /* REF_SCRATCH times the longest axis of the instruction, where the op asks for it */
    graft_error *err;
} ref_call;
enum { REF_SCRATCH = 4 };

/* What the backend knows of an op. `in` has one letter an input, a capital where it may be absent:
 * f f32; v f32, bf16 or f16; w those and the quantised weights; i i32; a f32, bf16, f16 or i32; n f32 or i32. */
typedef struct ref_op {
    const char *name, *in;
    int n_out;
    const char *attrs[REF_ATTR];
    graft_status (*run)(const ref_call *c);
    int (*fits)(const ref_call *c); /* do the sizes (at capacity) and attributes go together? NULL: always */
    int scratch;
} ref_op;

/* Families; each ends with a NULL name. tier 0 first. */
extern const ref_op ref_elementwise[], ref_binary[], ref_reduce[], ref_matmul[], ref_index[], ref_movement[], ref_create[];
extern const ref_op ref_norm[], ref_softmax[], ref_rope[], ref_attention[], ref_mlp[], ref_dropout[], ref_moe[], ref_loss[], ref_optim[];
const ref_op *ref_op_at(int32_t i, int *tier); /* the i-th of all; NULL past the end */

typedef struct ref_device {
    const graft_host *host;
    graft_op_claim *claims;
    int32_t n_claims;
} ref_device;
typedef struct ref_buffer {
    int64_t bytes;
    void *data;
} ref_buffer;

/* plan.c */
graft_status ref_compile(void *dev, const graft_program *p, void **plan, graft_error *err);
void ref_discard(void *plan);
graft_status ref_run(void *plan, const graft_run *r, graft_error *err);
int64_t ref_workspace(void *plan);

/* ---- for kernels */
int64_t ref_int(const ref_call *c, const char *key);
double ref_real(const ref_call *c, const char *key);
graft_status ref_fail(const ref_call *c, const char *fmt, ...) GRAFT_PRINTF(2, 3); /* data of the run is wrong: GRAFT_BAD_INPUT */
int ref_same(const ref_view *x, const ref_view *y);                                /* same dims; an absent one fits all */
int ref_broadcasts(const ref_view *x, const ref_view *to);
int64_t ref_offset(const ref_view *x, const ref_view *out, int64_t i); /* element of x that belongs to element i of out, by broadcasting */
int64_t ref_rows(const ref_view *x);                                   /* product of all axes but the last */
int64_t ref_last(const ref_view *x);                                   /* size of the last axis */

static inline const float *ref_f32(const ref_view *x) { return x->data; }
static inline float *ref_out(const ref_view *x) { return x->data; }

#endif
