/* cpu.h - the shapes shared by the cpu backend: device, plan, call, op.
 *
 *   cpu.c       the door: devices, buffers                      pool.c      one thread pool for everything
 *   plan.c      program -> steps -> run                         features.c  what this processor can do
 *   kernels/    every op, compiled once per instruction set (vec.h hides the difference); table.c lists them
 *
 * Results are the same bits for any number of threads: work is cut into units by shape alone, and whatever is summed across units is
 * summed in the units' order. (A matmul may cut M and N by threads: the order of each element's sum does not depend on that.) */
#ifndef CPU_H
#define CPU_H

#include "graft/graft.h"

#include <stdatomic.h>

enum { CPU_MAX_IN = 12,
       CPU_MAX_OUT = 6,
       CPU_MAX_ATTR = 16,
       CPU_MAX_THREADS = 256 };

/* ---- features.c ---- */
typedef enum cpu_isa { CPU_SCALAR,
                       CPU_AVX2,
                       CPU_AVX512,
                       CPU_ISAS } cpu_isa;
/* What a matrix product multiplies; sums are always f32. Bit 1 << i as in graft_op_claim. */
typedef enum cpu_compute { CPU_F32,
                           CPU_BF16,
                           CPU_FP16,
                           CPU_COMPUTES } cpu_compute;
cpu_isa cpu_best_isa(void); /* highest that processor and operating system allow and this build holds */
const char *cpu_isa_name(cpu_isa isa);
uint32_t cpu_processor_compute(void); /* bits that the processor has instructions for, beside the vector set; the build may lack them */
void cpu_model_name(char *out, size_t room);
int cpu_count(void); /* processors that this process may use */
void cpu_memory(int64_t *total, int64_t *available);
unsigned cpu_flush_denormals(void); /* sets FTZ and DAZ on this thread; returns the state to give back */
void cpu_restore_denormals(unsigned state);

/* ---- pool.c ---- */
typedef struct cpu_pool cpu_pool;
typedef void (*cpu_task)(void *ctx, int64_t unit, int thread);
cpu_pool *cpu_pool_new(const graft_host *host, int threads, int pin); /* NULL: no memory or no threads */
void cpu_pool_free(cpu_pool *p);
int cpu_pool_threads(const cpu_pool *p);
void cpu_pool_enter(cpu_pool *p); /* around a run: the caller stays on one processor meanwhile, if the pool was made so */
void cpu_pool_leave(const cpu_pool *p);
/* task(ctx, unit, thread) for units 0 .. n - 1, handed out in this order; thread < cpu_pool_threads. Returns when all are done. */
void cpu_pool_run(cpu_pool *p, int64_t n, cpu_task task, void *ctx);

/* ---- a call: one instruction at the actual sizes of this run ---- */
typedef struct cpu_arg {
    void *data; /* may be NULL when n is 0 */
    int64_t dims[GRAFT_MAX_RANK];
    int64_t n; /* elements */
    int32_t rank;
    int32_t on; /* 0: an absent input or an output that nobody reads */
    graft_dtype dtype;
} cpu_arg;

typedef struct cpu_attr {
    int64_t i;
    double r;
} cpu_attr;

typedef struct cpu_call {
    cpu_arg in[CPU_MAX_IN], out[CPU_MAX_OUT];
    const cpu_attr *attr; /* in the op's order */
    cpu_pool *pool;
    char *work;    /* shared workspace, as much as op->room asked for at capacity */
    char *scratch; /* of thread t: scratch + t * scratch_bytes */
    int64_t scratch_bytes;
    uint64_t seed, step;
    int training;
    cpu_compute compute; /* of matrix products of more than a few rows and columns */
    float *table;        /* rope: cosines and sines of this run, shared by the calls that turn by the same angles */
    int table_ready;     /* 0: this call fills the table */
    const graft_host *host;
    graft_error *err;
} cpu_call;

typedef struct cpu_rule {
    const char *key;
    double fallback;
} cpu_rule;

typedef struct cpu_room {
    int64_t work, scratch, table;
} cpu_room;

typedef struct cpu_op {
    const char *name;
    uint32_t dtypes; /* as in graft_op_claim */
    cpu_rule attrs[CPU_MAX_ATTR];
    graft_status (*run)(cpu_call *c);
    void (*room)(const cpu_call *c, int threads, cpu_room *r); /* bytes wanted when c has the capacities; may be NULL */
} cpu_op;

/* One instruction set's build of kernels/: families of ops, each ending with name NULL; the list ends with NULL. */
typedef struct cpu_kernels {
    const cpu_op *const *families;
    /* `times` rounds of a packed tile product from the nearest caches, in `room` of spin_bytes; returns its operations, -1: this build has no such arithmetic. */
    double (*spin)(cpu_compute how, int64_t times, char *room);
    int64_t spin_bytes;
} cpu_kernels;
extern const cpu_kernels cpu_kernels_scalar, cpu_kernels_avx2, cpu_kernels_avx512;
const cpu_kernels *cpu_kernels_of(cpu_isa isa);

/* ---- device ---- */
typedef struct cpu_buffer {
    void *data;
    int64_t bytes;
    int mapped;
} cpu_buffer;

typedef struct cpu_device {
    const graft_host *host;
    const cpu_kernels *kernels;
    graft_op_claim *claims;
    const cpu_op **ops; /* of claim i */
    int32_t n_claims;
    cpu_pool *pool;
    cpu_buffer *buffers;
    int32_t n_buffers, room_buffers;
    int profile;               /* option: report the time of each op when a plan is discarded */
    uint32_t compute;          /* bits that run here */
    int said;                  /* 1 + the arithmetic last told of */
    double rate[CPU_COMPUTES]; /* of a tile product, operations a second on all threads; 0: not measured yet */
    int work_mapped, scratch_mapped;
    char *work, *scratch; /* grown by compile, shared by the device's plans: they run one after another */
    int64_t work_bytes, scratch_bytes;
} cpu_device;

/* Zero-filled memory, 64-byte aligned; mapped says how to give it back; NULL: no memory. */
void *cpu_take(const graft_host *host, int64_t bytes, int *mapped);
void cpu_give(const graft_host *host, void *data, int64_t bytes, int mapped);

/* Ops whose names begin with a dot are not claimed: fuse.c and group.c make them. */
#define CPU_MATMUL_CHAIN ".matmul_chain"
#define CPU_MATMUL_GROUP ".matmul_group"

/* ---- probe.c ---- */
void cpu_measure(cpu_device *d);                         /* fills rate: a few milliseconds an arithmetic, once */
cpu_compute cpu_choose(cpu_device *d, uint32_t allowed); /* the fastest that is allowed and runs here; f32 always is */
extern const graft_backend_probe_table cpu_probe_table;

/* ---- plan.c ---- */
graft_status cpu_compile(void *dev, const graft_program *p, void **plan, graft_error *err);
void cpu_discard(void *plan);
int64_t cpu_workspace(void *plan);
graft_status cpu_run(void *plan, const graft_run *r, graft_error *err);

#endif
