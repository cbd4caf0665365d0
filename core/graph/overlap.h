/* core/graph/overlap.h - work of the host beside that of the device, for devices with "graft.backend.async/1": the inputs of the next run are sent on a queue of
 * their own while a run is under way, and what a run answers comes to pinned memory behind it, so that reading a loss stops nothing.
 *
 *   host      set k+1 ........ start k+1 ... wait k: the loss
 *   queue 1      send k+1 |                                      each run waits for its inputs by an event
 *   queue 0   run k ............ fetch k | run k+1 ............
 *
 * At most two runs are under way, each with inputs and outputs of its own. [control] */
#ifndef CORE_GRAPH_OVERLAP_H
#define CORE_GRAPH_OVERLAP_H

#include "core/graph/run.h"

enum { GRAFT_OVERLAP_OUTPUTS = 1 << 20 }; /* bytes of outputs that are brought to the host with every run */

typedef struct graft_overlap graft_overlap;

/* input, output: the program's own buffers, used by every other run; borrowed. *out stays NULL when the device has no such table, or the outputs are too many
 * bytes to bring along every time. */
graft_status graft_overlap_new(const graft_device *d, void *input, int64_t input_bytes, void *output, int64_t output_bytes, int32_t n_inputs, graft_overlap **out, graft_error *err);
void graft_overlap_free(graft_overlap *o); /* waits; NULL is fine */
int64_t graft_overlap_bytes(const graft_device *d, int64_t input_bytes, int64_t output_bytes); /* on the device, beside the program's own */

/* Input i for the next run; those that are not set again keep what they were. */
graft_status graft_overlap_set(graft_overlap *o, int32_t i, int64_t offset, const void *data, int64_t bytes, graft_error *err);
graft_status graft_overlap_begin(graft_overlap *o, void **input, graft_error *err); /* queue 0 waits for the inputs; the run is to use *input */
graft_status graft_overlap_begun(graft_overlap *o, graft_error *err);               /* after run: what follows it                     */
int graft_overlap_running(const graft_overlap *o);
graft_status graft_overlap_wait(graft_overlap *o, graft_error *err);                 /* for the oldest run; nothing when none is under way */
const char *graft_overlap_outputs(const graft_overlap *o);                           /* of the run that was waited for last                */

#endif
