/* core/graph/run.h - from graph to numbers: a device, the store of persistent tensors on it, the memory plan, compiled programs. */
#ifndef CORE_GRAPH_RUN_H
#define CORE_GRAPH_RUN_H

#include "core/base/config.h"
#include "core/graph/graph.h"
#include "core/plugin/select.h"

/* An opened device of a backend plugin. */
typedef struct graft_device {
    const char *name; /* the backend's name in the registry; borrowed from it */
    const graft_backend_table *table;
    void *dev;
    graft_device_info info;
    uint32_t compute; /* what training, evaluation and generation may multiply in (graft_graph.compute); 0: f32 */
    const graft_backend_async_table *async; /* NULL: it works while the host waits */
} graft_device;
/* What a candidate will be once it is open: dev is NULL. */
graft_device graft_device_of(const graft_candidate *c);
/* 1: the device is gone, every call fails; only closing and opening it again can help. */
int graft_device_lost(const graft_device *d);

/* wanted NULL or "auto": the best candidate that opens, each that declines is said in one line; else that backend or an error.
 * options: the backend's own ("threads" ...), may be NULL. [control] */
graft_status graft_device_open(const graft_registry *r, const char *wanted, const graft_config *options, graft_device *out, graft_error *err);
/* The same from what a person wrote at `backend`: nothing, "NAME", "NAME:DEVICE" or {NAME: {device: N, OPTION: VALUE ...}}. An option that the backend does not
 * ask for is an error. common: an object whose "threads" holds where the options have none; may be NULL. The arena outlives the call only in what err borrows. */
graft_status graft_device_open_said(const graft_registry *r, graft_arena *a, const char *place, const graft_json *said, const graft_json *common, graft_device *out, graft_error *err);
/* The text and the options of that, for who chooses a candidate himself. */
graft_status graft_backend_said(graft_arena *a, const char *place, const graft_json *said, const graft_json *common, const char **wanted, const graft_config **options, graft_error *err);
/* After open: a wrong value, or an option that nobody asked for. */
graft_status graft_backend_said_check(const char *backend, const graft_config *options, graft_error *err);
void graft_device_close(graft_device *d); /* after everything that lives on it is freed; a zeroed struct is fine */

/* Lowers g to what the device has, fuses, recomputes (level 0: nothing; see graft_graph_recompute) and prunes. Once per graph, before
 * graft_store_add_graph, graft_plan_new and graft_exec_new. The graph will multiply in what the device's policy allows. */
graft_status graft_graph_prepare(graft_graph *g, const graft_device *d, int recompute_level, int32_t recompute_layers, graft_error *err);

/* ---- store: tensors that live between runs (weights, gradients, moments, caches), shared by several programs ------------------------------ */
typedef struct graft_store graft_store;
graft_status graft_store_new(const graft_device *d, graft_store **out, graft_error *err);
void graft_store_free(graft_store *s);
/* Adds every WEIGHT and STATE leaf of g that the store does not have yet (same name: same shape and dtype, else an error); capacity sizes symbols. */
graft_status graft_store_add_graph(graft_store *s, const graft_graph *g, const int64_t capacity[GRAFT_SYMBOLS], graft_error *err);
/* Allocates the WEIGHT and STATE buffers, zero-filled. Once, after all graphs were added. */
graft_status graft_store_commit(graft_store *s, graft_error *err);
int64_t graft_store_bytes(const graft_store *s, graft_place place);
int graft_store_find(const graft_store *s, const char *name); /* -1 when absent */
int graft_store_count(const graft_store *s);
const char *graft_store_name(const graft_store *s, int i);
graft_shape graft_store_shape(const graft_store *s, int i);
int64_t graft_store_tensor_bytes(const graft_store *s, int i);
graft_status graft_store_write(graft_store *s, int i, const void *from, int64_t bytes, graft_error *err);
/* A part of a tensor, from a byte on. */
graft_status graft_store_write_at(graft_store *s, int i, int64_t offset, const void *from, int64_t bytes, graft_error *err);
graft_status graft_store_read(const graft_store *s, int i, void *to, int64_t bytes, graft_error *err);
graft_status graft_store_read_part(const graft_store *s, int i, int64_t offset, void *to, int64_t bytes, graft_error *err);
graft_status graft_store_clear(graft_store *s, int i, graft_error *err); /* zeros */
/* Forgets every STATE tensor and gives its memory back; weights stay. Programs made before must be freed first; add the new graphs and commit again. */
graft_status graft_store_reset_state(graft_store *s, graft_error *err);

/* ---- plan: places and offsets, before anything is allocated --------------------------------------------------------------------------------- */
typedef struct graft_plan_name graft_plan_name;
typedef struct graft_plan {
    graft_program program; /* arrays live in the plan's arena */
    graft_arena *arena;
    int64_t bytes[GRAFT_PLACES];
    int64_t live_bytes;                            /* largest sum of values alive at one time: the floor of bytes[GRAFT_PLACE_ARENA] */
    double flops;                                  /* of one run at capacity */
    graft_plan_name *inputs, *constants, *outputs; /* plan.h */
    int32_t n_inputs, n_constants, n_outputs;
} graft_plan;
/* A NULL store plans the leaves as if they were alone (for `graft plan`). */
graft_status graft_plan_new(const graft_graph *g, const graft_store *s, const int64_t capacity[GRAFT_SYMBOLS], uint64_t seed, graft_plan **out, graft_error *err);
void graft_plan_free(graft_plan *p);

/* ---- program: compiled and runnable ------------------------------------------------------------------------------------------------------------- */
/* Programs of one store share its arena: they never run at the same time. A weight that no graph of the store trains or assigns is frozen, and
 * a backend may have packed it: writing it after a run is refused. */
typedef struct graft_exec graft_exec;
graft_status graft_exec_new(const graft_graph *g, graft_store *s, const int64_t capacity[GRAFT_SYMBOLS], uint64_t seed, graft_exec **out, graft_error *err);
void graft_exec_free(graft_exec *e);
int64_t graft_exec_bytes(const graft_exec *e, graft_place place);
int64_t graft_exec_workspace(const graft_exec *e); /* what the backend holds for itself: packed weights, workspace */
/* Input by name; bytes must equal the size at the extents of the coming run. */
graft_status graft_exec_set(graft_exec *e, const char *name, const void *data, int64_t bytes, graft_error *err);
graft_status graft_exec_run(graft_exec *e, const int64_t extent[GRAFT_SYMBOLS], uint64_t step, int training, graft_error *err); /* waits for the end */
graft_status graft_exec_get(graft_exec *e, const char *name, void *to, int64_t bytes, graft_error *err);                        /* output by name, after a run */
/* Where that output lies on the host until the run after the next; NULL: only graft_exec_get brings it. */
const void *graft_exec_answer(const graft_exec *e, const char *name);
/* A run in two halves, so that the host prepares the next inputs meanwhile: start, set and start the next, wait for the first, get its outputs. At most two
 * runs are under way. What only the data can get wrong is said by the last wait. On a device without queues of its own start does all. Only for programs whose
 * outputs are no more than a megabyte. */
graft_status graft_exec_start(graft_exec *e, const int64_t extent[GRAFT_SYMBOLS], uint64_t step, int training, graft_error *err);
int graft_exec_running(const graft_exec *e); /* started and not waited for */
graft_status graft_exec_wait(graft_exec *e, graft_error *err); /* for the oldest; nothing when none is under way */

#endif
