/* graft/backend.h - a compute backend ("graft.backend/1").
 *
 * The host has planned everything: a program is a straight list of instructions over tensors whose places in memory are known.
 * The backend may fuse, reorder within dependencies and pack weights inside compile; run must not allocate.
 * What it cannot do it leaves out of `ops`, and the host lowers it; it is never asked for an op that it did not claim.
 * The maths of each op is written in graft/ops.h. */
#ifndef GRAFT_BACKEND_H
#define GRAFT_BACKEND_H

#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct graft_device_info {
    uint32_t size;
    char     name[96];
    int64_t  memory_total, memory_free; /* bytes */
    int      score;                     /* 0 cannot run (reason says why), 100 plain CPU, 200 SIMD CPU, 500+ accelerator */
    char     reason[160];
} graft_device_info;

/* One claim: this op, for these element types. Capability is data. */
typedef struct graft_op_claim {
    uint64_t op;                /* graft_op_id("matmul/1"): a stable hash of the name    */
    uint32_t dtypes;            /* bit set over graft_dtype (1u << GRAFT_F32 | ...) of the floating inputs */
    uint32_t compute;           /* bit set: 1 f32, 2 bf16-dot, 4 fp16-fma                */
} graft_op_claim;

/* Where a tensor lives. WEIGHT: parameters. STATE: gradients, optimiser moments, key/value cache: kept between runs.
 * ARENA: intermediate values of one run. INPUT and OUTPUT: filled and read by the host around a run. CONSTANT: tables fixed at compile. */
typedef enum graft_place { GRAFT_PLACE_WEIGHT, GRAFT_PLACE_STATE, GRAFT_PLACE_ARENA, GRAFT_PLACE_INPUT, GRAFT_PLACE_OUTPUT, GRAFT_PLACE_CONSTANT, GRAFT_PLACES } graft_place;

typedef struct graft_tensor {
    graft_dtype dtype;
    graft_place place;
    int32_t     rank;
    int32_t     frozen;         /* a weight that never changes during this program: may be packed once */
    int64_t     dims[GRAFT_MAX_RANK]; /* symbols are negative, see graph.h; row-major, dense at the ACTUAL sizes */
    int64_t     offset;         /* bytes into its place; 64-byte aligned               */
    int64_t     bytes;          /* at the plan's capacities                            */
    const char *name;           /* site path, for profiles and errors                  */
} graft_tensor;

typedef struct graft_instr {
    uint64_t          op;
    const char       *name;     /* "matmul/1" */
    int32_t           n_in, n_out, n_attr;
    const int32_t    *in, *out; /* indices into tensors; -1: an absent optional input or an output that nobody reads */
    const graft_attr *attr;     /* an out tensor may share offset with an in tensor where the op allows in-place */
} graft_instr;

typedef struct graft_program {
    uint32_t            size;
    int32_t             n_tensors, n_instrs;
    const graft_tensor *tensors;
    const graft_instr  *instrs;
    int64_t             place_bytes[GRAFT_PLACES]; /* the sizes of the buffers that run will be given */
    int64_t             capacity[GRAFT_SYMBOLS];   /* of the symbols tokens, sequences, labelled, cached */
    uint32_t            compute;                  /* policy: which arithmetic matmuls may use, as in graft_op_claim */
    uint64_t            seed;                     /* of counter-based random numbers                    */
} graft_program;

typedef struct graft_run {
    uint32_t     size;
    int64_t      extent[GRAFT_SYMBOLS]; /* actual sizes of the symbols, <= capacity; 0 is legal */
    void *const *places;                /* GRAFT_PLACES buffers of this backend (alloc); NULL where the size is 0 */
    uint64_t     step;                  /* number of this run, for random numbers; unique within training */
    int32_t      training;              /* 0: dropout does nothing */
} graft_run;

typedef struct graft_backend_table {
    uint32_t size;
    graft_status (*devices)(void *self, graft_device_info *out, int32_t room, int32_t *n, graft_error *err);        /* [control] never fails for want of hardware: n = 0 */
    graft_status (*open)(void *self, int32_t device, const graft_config *options, void **dev, graft_error *err);    /* [control] options: "threads" */
    void         (*close)(void *dev);                                                                              /* [control] */
    const graft_op_claim *(*ops)(void *dev, int32_t *n);                                                           /* [any] */
    graft_status (*alloc)(void *dev, int64_t bytes, void **buffer, graft_error *err);                               /* [control] 64-byte aligned, zero-filled */
    void         (*release)(void *dev, void *buffer);
    graft_status (*upload)(void *dev, void *buffer, int64_t offset, const void *from, int64_t bytes, graft_error *err);
    graft_status (*download)(void *dev, const void *buffer, int64_t offset, void *to, int64_t bytes, graft_error *err);
    graft_status (*compile)(void *dev, const graft_program *p, void **plan, graft_error *err);                      /* [control] p is borrowed for the call */
    void         (*discard)(void *plan);
    graft_status (*run)(void *plan, const graft_run *r, graft_error *err);                                         /* [step] may return before the work is done */
    graft_status (*sync)(void *dev, graft_error *err);
    int64_t      (*workspace)(void *plan);                                                                         /* [any] bytes that the plan holds, or will hold once it has run, beside the places: packed weights, scratch. NULL: none */
} graft_backend_table;

/* ---- "graft.backend.async/1", optional: what a device with a memory and queues of its own adds ------------------------------------------------
 * `run` works on queue 0. Work of one queue is done in order; queues wait for each other by events only. A host without this table loses nothing but
 * overlap: upload, download and sync of the first table wait. Slots that a device cannot offer are NULL.
 * After lost() is 1 every call fails with GRAFT_DEVICE; the device is closed and opened again, and the host loads what it had kept. */
typedef struct graft_backend_async_table {
    uint32_t size;
    int32_t      (*queues)(void *dev);                                                                            /* [any] at least 1                         */
    graft_status (*pin)(void *dev, int64_t bytes, void **memory, graft_error *err);                               /* [control] host memory that copies at full rate */
    void         (*unpin)(void *dev, void *memory);                                                               /* [control] no copy on it may be under way  */
    graft_status (*send)(void *dev, int32_t queue, void *buffer, int64_t offset, const void *from, int64_t bytes, graft_error *err);  /* [step] from must stay until an event after it */
    graft_status (*fetch)(void *dev, int32_t queue, const void *buffer, int64_t offset, void *to, int64_t bytes, graft_error *err);   /* [step] */
    graft_status (*copy)(void *dev, int32_t queue, const void *from, int64_t from_offset, void *to, int64_t to_offset, int64_t bytes, graft_error *err); /* [step] */
    graft_status (*peer)(void *from_dev, const void *from, int64_t from_offset, void *to_dev, void *to, int64_t to_offset, int64_t bytes, graft_error *err); /* [step] between two devices of this backend */
    graft_status (*record)(void *dev, int32_t queue, void **event, graft_error *err);                             /* [step] happens when all before it is done */
    graft_status (*wait)(void *dev, int32_t queue, void *event, graft_error *err);                                /* [step] what follows on queue waits for it */
    graft_status (*finish)(void *dev, void *event, graft_error *err);                                             /* [step] the caller waits for it            */
    int          (*done)(void *dev, void *event);                                                                 /* [step] 1: it has happened, 0: not yet, -1: it failed */
    void         (*drop)(void *dev, void *event);                                                                 /* [step] */
    int          (*lost)(void *dev);                                                                              /* [any] */
} graft_backend_async_table;

/* ---- "graft.backend.probe/1", optional: what the device really does, measured in about two seconds ---------------------------------------------- */
typedef struct graft_backend_rates {
    uint32_t size;
    double   flops;             /* f32 operations a second, multiply and add counted as two, from registers */
    double   matmul;            /* operations a second of this backend's matmul, 1024 x 1024 x 1024          */
    double   memory;            /* bytes a second read and written by a copy inside the device               */
    double   upload, download;  /* bytes a second between host and device                                    */
    char     driver[160];       /* what the rates hold for: a new driver is measured anew                    */
    double   bf16, fp16;        /* operations a second of matmul's other arithmetics (graft_op_claim.compute), measured as `flops` is; 0: not offered */
} graft_backend_rates;
typedef struct graft_backend_probe_table {
    uint32_t size;
    graft_status (*driver)(void *self, int32_t device, char *text, int32_t room, graft_error *err); /* [control] cheap: the driver and its version, as in rates */
    graft_status (*rates)(void *dev, graft_backend_rates *out, graft_error *err);                  /* [control] out->size is the caller's */
} graft_backend_probe_table;

#ifdef __cplusplus
}
#endif
#endif
