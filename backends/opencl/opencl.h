/* backends/opencl/opencl.h - the shapes shared by the OpenCL backend.
 *
 *   opencl.c   the door, devices, buffers, sync        driver.c   libOpenCL opened at run time, its errors in words
 *   program.c  kernels: built once, kept on disk        plan.c     compile and run: instructions to launches
 *   launch.c   one launch; helpers for the families     async.c    events, queues, pinned memory     rates.c  the measured rates
 *   element.c matmul.c attention.c norm.c loss.c index.c ...   one file a family of ops, with its kernels in kernels/NAME.cl
 *
 * A tensor on the device is a buffer and an offset in bytes, so that no alignment of sub-buffers is asked of the driver. One in-order queue does the work:
 * run only enqueues. What data alone can get wrong (a row number, a border) is noted by the kernels in a few integers, the complaint, read by sync.
 * Results repeat bit for bit: every sum has one order, no atomics but for the complaint. */
#ifndef BACKENDS_OPENCL_H
#define BACKENDS_OPENCL_H

#include "cl.h"
#include "graft/graft.h"

enum { OCL_IN = 12,
       OCL_OUT = 5,
       OCL_ATTR = 8 };

/* Kernel sources: one program a family, built when a plan first needs it. */
typedef enum ocl_family { OCL_ELEMENT,
                          OCL_MATMUL,
                          OCL_REDUCE,
                          OCL_INDEX,
                          OCL_NORM,
                          OCL_ATTENTION,
                          OCL_LOSS,
                          OCL_OPTIM,
                          OCL_MOE,
                          OCL_FAMILIES } ocl_family;

#define OCL_KERNELS(X)         \
    X(unary, ELEMENT)          \
    X(binary, ELEMENT)         \
    X(mlp, ELEMENT)            \
    X(move, ELEMENT)           \
    X(cast, ELEMENT)           \
    X(random_fill, ELEMENT)    \
    X(rope, ELEMENT)           \
    X(gemm, MATMUL)            \
    X(gemm_sum, MATMUL)        \
    X(reduce_serial, REDUCE)   \
    X(reduce_group, REDUCE)    \
    X(softmax, REDUCE)         \
    X(softmax_grad, REDUCE)    \
    X(gather, INDEX)           \
    X(scatter, INDEX)          \
    X(norm, NORM)              \
    X(norm_grad, NORM)         \
    X(norm_columns, NORM)      \
    X(spans, ATTENTION)        \
    X(cache_rows, ATTENTION)   \
    X(attend, ATTENTION)       \
    X(attend_delta, ATTENTION) \
    X(attend_dq, ATTENTION)    \
    X(attend_dkv, ATTENTION)   \
    X(loss_rows, LOSS)         \
    X(loss_sum, LOSS)          \
    X(squares, OPTIM)          \
    X(squares_end, OPTIM)      \
    X(adamw, OPTIM)            \
    X(peak, OPTIM)             \
    X(topk, MOE)               \
    X(expert_order, MOE)       \
    X(expert_rows, MOE)        \
    X(expert_outer, MOE)
#define OCL_KERNEL_ID_(name, family) OCL_K_##name,
typedef enum ocl_kernel { OCL_KERNELS(OCL_KERNEL_ID_) OCL_KERNEL_COUNT } ocl_kernel;

/* The kernel's text (generated from kernels/): family f after the common part. */
extern const char *const ocl_source_common;
extern const char *const ocl_sources[OCL_FAMILIES];
extern const char *const ocl_family_names[OCL_FAMILIES];

/* ---- driver.c ---- */
enum { OCL_MAX_DEVICES = 32 };
typedef struct ocl_driver {
    const graft_host *host;
    void *library; /* NULL: not there */
    ocl_api cl;
    int32_t n_devices; /* -1: not asked yet */
    cl_device_id devices[OCL_MAX_DEVICES];
    char why[160]; /* why there is none */
} ocl_driver;
void ocl_driver_load(ocl_driver *v); /* fills the list once; never fails: n_devices 0 and why */
void ocl_driver_drop(ocl_driver *v);
const char *ocl_error_name(cl_int code);
int64_t ocl_device_int(const ocl_api *cl, cl_device_id id, cl_uint what); /* 0 when the driver does not say */
void ocl_device_text(const ocl_api *cl, cl_device_id id, cl_uint what, char *out, size_t room);
void ocl_describe(const ocl_driver *v, int32_t i, graft_device_info *info);

/* ---- device ---- */
typedef struct ocl_buffer {
    cl_mem mem; /* NULL when bytes is 0 */
    int64_t bytes;
} ocl_buffer;

typedef struct ocl_device {
    const graft_host *host;
    const ocl_api *cl;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;
    cl_mem complaint, dummy; /* COMPLAINT integers; what stands for an absent tensor */
    cl_program programs[OCL_FAMILIES];
    cl_kernel kernels[OCL_KERNEL_COUNT];
    graft_op_claim *claims;
    int32_t n_claims;
    cl_command_queue copies; /* queue 1, or NULL */
    void *pins;              /* async.c */
    int lost;                /* the device answered that it is gone */
    cl_mem scratch;          /* grown by compile, shared by the device's plans: they run one after another */
    int64_t scratch_bytes, max_alloc, local_bytes;
    int wide;                                  /* has f64 */
    int64_t most, units;                       /* work items of a group at most; compute units */
    int lanes[OCL_FAMILIES];                   /* work items of a group of each family's kernels; settled when the family is built */
    int processor, side, tile_rows, tile_cols; /* of matmul: the variant for processors; side of a group; its tile */
    const struct plan *ran;                    /* whose complaint sync will word; its steps say where */
    char name[96], version[160];
} ocl_device;

enum { OCL_COMPLAINT = 8 };
/* What a kernel noted: [0] code, [1] step, [2..] numbers. */
enum { OCL_BAD_ROW = 1,      /* row number, rows of the table */
       OCL_BAD_LABEL = 2,    /* label, its row, size of the vocabulary */
       OCL_BAD_BORDER = 3,   /* sequence, first row, rows, tokens */
       OCL_BAD_CACHE = 4,    /* sequence, first cache row, cached, rows, cache's rows */
       OCL_BAD_ORDER = 5,    /* row */
       OCL_BAD_EXPERT = 6 }; /* expert, how many there are */

graft_status ocl_failed(ocl_device *d, cl_int code, const char *doing, graft_error *err);      /* code in words; CL_SUCCESS gives GRAFT_OK */
graft_status ocl_complaint(ocl_device *d, const cl_int note[OCL_COMPLAINT], graft_error *err); /* plan.c */
graft_status ocl_sync(void *dev, graft_error *err);
cl_mem ocl_take(ocl_device *d, int64_t bytes, graft_error *err); /* zero-filled; NULL with the error */

graft_status ocl_inside(const ocl_device *d, const ocl_buffer *b, int64_t offset, int64_t bytes, graft_error *err);

/* ---- async.c, rates.c ---- */
extern const graft_backend_async_table ocl_async;
extern const graft_backend_probe_table ocl_probe;
void ocl_async_drop(ocl_device *d);
void ocl_version(const ocl_api *cl, cl_device_id id, char *out, size_t room); /* of device and driver */

/* ---- program.c ---- */
graft_status ocl_family_need(ocl_device *d, ocl_family f, graft_error *err);
void ocl_families_drop(ocl_device *d);
ocl_family ocl_family_of(ocl_kernel k);

/* ---- plan.c ---- */
graft_status ocl_compile(void *dev, const graft_program *p, void **plan, graft_error *err);
void ocl_discard(void *plan);
graft_status ocl_run(void *plan, const graft_run *r, graft_error *err);
int64_t ocl_workspace(void *plan);

/* ---- a call: one instruction at the sizes of a run ---- */
typedef struct ocl_view {
    int there; /* 0: an absent input, or an output that nobody reads */
    graft_dtype dtype;
    int32_t rank;
    int64_t dims[GRAFT_MAX_RANK];
    int64_t n;      /* elements */
    cl_mem mem;     /* NULL while compiling */
    int64_t offset; /* bytes */
} ocl_view;

typedef struct ocl_call {
    ocl_device *d;
    const char *op, *site;
    int32_t step; /* its number in the plan, for the complaint */
    ocl_view in[OCL_IN], out[OCL_OUT];
    const graft_attr *attr;
    int32_t n_attr;
    uint64_t seed, number; /* number: of the run */
    int training;
    graft_error *err;
} ocl_call;

/* What the backend knows of an op. Letters of `in`, a capital where it may be absent: f f32; v f32, bf16 or f16; w those and the quantised weights;
 * i i32; a f32, bf16, f16 or i32; n f32 or i32. */
typedef struct ocl_op {
    const char *name, *in;
    int n_out;
    uint32_t families; /* bits of ocl_family */
    const char *attrs[OCL_ATTR];
    graft_status (*run)(const ocl_call *c);
    int (*fits)(const ocl_call *c);        /* do sizes (at capacity) and attributes go together? NULL: always */
    int64_t (*scratch)(const ocl_call *c); /* bytes at the call's sizes; NULL: none */
} ocl_op;
extern const ocl_op ocl_elements[], ocl_matmuls[], ocl_reductions[], ocl_indices[], ocl_moves[], ocl_norms[], ocl_attentions[], ocl_losses[], ocl_optims[], ocl_experts[];
const ocl_op *ocl_op_at(int32_t i); /* the i-th of all; NULL past the end */

/* ---- launch.c: for the families ---- */
#define OCL_BIT(family) (1u << (family))
/* One kernel over a grid. Letters of args: t ocl_view * (buffer, offset; absent: offset -1), i int, l int64_t, u uint64_t, f double (a float there),
 * v int64_t[4], s size_t (local memory), c complaint and step. global is rounded up to whole groups; a grid of 0 does nothing. */
graft_status ocl_launch(const ocl_call *c, ocl_kernel k, const int64_t global[3], const int64_t local[3], const char *args, ...);
graft_status ocl_launch_1d(const ocl_call *c, ocl_kernel k, int64_t n, const char *args, ...);     /* n items in groups of the family's lanes */
graft_status ocl_copy(const ocl_call *c, const ocl_view *from, const ocl_view *to, int64_t bytes); /* nothing when they are the same memory */
graft_status ocl_zero(const ocl_call *c, const ocl_view *x);
ocl_view ocl_room(const ocl_call *c, int64_t *at, int64_t bytes, int64_t n); /* f32 scratch of n elements from *at on, which moves behind it */
int64_t ocl_int(const ocl_call *c, const char *key);
double ocl_real(const ocl_call *c, const char *key);
int ocl_same(const ocl_view *x, const ocl_view *y); /* same dims; an absent one fits all */
int ocl_broadcasts(const ocl_view *x, const ocl_view *to);
int64_t ocl_rows(const ocl_view *x);
int64_t ocl_last(const ocl_view *x);
int64_t ocl_size(graft_dtype t); /* bytes of an element of f32, i32, bf16, f16 */
/* y = alpha op(a) op(w) + c on the last two axes; matmul.c. */
graft_status ocl_gemm(const ocl_call *call, const ocl_view *a, const ocl_view *w, const ocl_view *c, const ocl_view *y, int ta, int tb, double alpha);
graft_status ocl_sum_rows(const ocl_call *c, const ocl_view *x, const ocl_view *y, int64_t outer, int64_t n, int64_t inner); /* reduce.c: y [outer, inner] from x [outer, n, inner] */

#endif
