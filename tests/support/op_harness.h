/* tests/support/op_harness.h - one op (or a small graph) as a test case: inputs by rule, run on any device, gradients beside the outputs.
 * A case is drawn from a seed: shapes with axes of size 1, symbols whose actual size is below the capacity, every attribute. */
#ifndef TESTS_OP_HARNESS_H
#define TESTS_OP_HARNESS_H

#include "tests/support/support.h"

#include "core/base/error.h"
#include "core/graph/run.h"
#include "graft/packed.h"

enum { OP_RESULTS = GRAFT_MAX_IN + GRAFT_MAX_OUT };

typedef struct op_rng {
    uint64_t state;
} op_rng;
uint32_t op_draw(op_rng *r, uint32_t n); /* below n */
double op_uniform(op_rng *r, double low, double high);

/* What an input holds. NORMAL: about N(0, 1). POSITIVE: [0.5, 2]. SPREAD: no two values of the case nearer than 0.1, none nearer to 0 than 0.05 (for
 * maxima and comparisons). BITS: 0 or 1. INDEX: i32 below `limit`, some negative. SMALL: i32 0 .. 3. POSITIONS, SEQ, CACHE_SEQ: as the ops want them.
 * HYPER: adamw's eight numbers. */
typedef enum op_fill { OP_NORMAL,
                       OP_POSITIVE,
                       OP_SPREAD,
                       OP_BITS,
                       OP_INDEX,
                       OP_SMALL,
                       OP_POSITIONS,
                       OP_SEQ,
                       OP_CACHE_SEQ,
                       OP_FREQ,
                       OP_HYPER } op_fill;

typedef struct op_input {
    graft_shape shape;
    op_fill fill;
    int64_t limit;
} op_input; /* rank -1: absent */

typedef struct op_case op_case;
struct op_case {
    const char *op;
    int n_in, n_attr;
    op_input in[GRAFT_MAX_IN];
    graft_attr attr[GRAFT_MAX_ATTR];
    int64_t extent[GRAFT_SYMBOLS], capacity[GRAFT_SYMBOLS];
    uint32_t seeded;  /* bit i: output i passes a gradient; 0: forward only */
    uint32_t outputs; /* bit i: output i is read */
    int unit_seed;    /* the gradient of the seeded output is the constant 1 instead of an input */
    int training;
    uint64_t seed;
    int (*build)(graft_graph *g, const op_case *c, const graft_value *in, graft_value *out); /* NULL: the op itself. Returns the number of outputs */
};

void op_case_begin(op_case *c, const char *op, uint64_t seed);
op_input *op_case_in(op_case *c, op_fill fill, int rank, int64_t d0, int64_t d1, int64_t d2, int64_t d3); /* f32, or i32 where the fill says so */
void op_case_absent(op_case *c);
void op_case_int(op_case *c, const char *key, int64_t v);
void op_case_real(op_case *c, const char *key, double v);
void op_case_text(const op_case *c, char *out, size_t room); /* for messages */

/* The inputs' bytes. seeds: gradients of the outputs, f32. */
typedef struct op_data {
    void *in[GRAFT_MAX_IN];
    int64_t in_bytes[GRAFT_MAX_IN], in_n[GRAFT_MAX_IN];
    float *seed[GRAFT_MAX_OUT];
    int64_t seed_n[GRAFT_MAX_OUT];
} op_data;
void op_data_new(const op_case *c, op_data *d); /* freed by op_data_free */
void op_data_free(op_data *d);

/* outputs, then gradients of the inputs; NULL where there is none (an unwanted or zero gradient). */
typedef struct op_result {
    double *v[OP_RESULTS];
    int64_t n[OP_RESULTS];
    graft_dtype type[OP_RESULTS];
} op_result;
void op_result_free(op_result *r);
/* Largest |a - b| over largest |b| (an output at least 0.01, a gradient at least 1) of one tensor; HUGE_VAL where one is nan and the other not. */
double op_result_error(const op_result *a, const op_result *b, int i);
const char *op_result_name(int i); /* "output 0", "gradient 1" */

extern int op_harness_recompute; /* level of the coming programs; all layers */
typedef struct op_program {
    const op_case *c;
    graft_graph *g;
    graft_store *store;
    graft_exec *exec;
    int n_out, has_grad[GRAFT_MAX_IN];
    graft_shape out[GRAFT_MAX_OUT];
} op_program;
graft_status op_program_open(op_program *p, const graft_device *d, const op_case *c, int with_gradients, graft_error *err);
graft_status op_program_run(op_program *p, const op_data *data, op_result *r, graft_error *err);
void op_program_close(op_program *p);
/* All of it at once; the test fails with the case's text on an error. */
void op_case_run(const graft_device *d, const op_case *c, int with_gradients, const op_data *data, op_result *r);

/* Devices of the build tree. reference: tier 1 claims all, 0 primitives alone. others: every other backend that can run here. */
graft_device op_reference(int tier);
int op_other_devices(graft_device *out, int room);
int op_claims(const graft_device *d, const op_case *c); /* does the device have the case's op for its types? */

/* ---- the cases (op_cases.c) */
typedef struct op_maker {
    const char *op;
    void (*make)(op_case *c, op_rng *r, int large);
    op_fill fill;
    int variant;
} op_maker;
extern const op_maker op_makers[]; /* ends with op NULL; every record has at least one */
void op_make(const op_maker *m, uint64_t seed, int large, op_case *c);

#endif
