/* core/model/hold.h - in which element type each frozen weight of a base model is held, and how it gets there. */
#ifndef CORE_MODEL_HOLD_H
#define CORE_MODEL_HOLD_H

#include "core/graph/hold.h"
#include "core/model/model.h"

/* Types for the graphs of one store, made for this model and prepared for d. Frozen matrices are held as m->base_dtype says:
 *   0        as the files store them, in bf16, f16 or GGUF blocks
 *   f32, bf16, f16                          all of them so
 *   nf4, nf4_double, int8                   the linear layers so (not the head), quantised while they are loaded; the others as stored
 * Weights that a method trains, or may train later, or starts by changing, are f32. What the device cannot read is widened, which is said once: the
 * numbers stay those of the type. s: a store with an earlier graph of the model, whose weights keep their types; NULL: none. */
graft_status graft_model_hold(const graft_model *m, graft_graph *const *graphs, int n, const graft_store *s, const graft_device *d, graft_error *err);
/* One line: how many weights are held in which type, and how many are wider than their numbers. Nothing when all are f32. */
void graft_model_hold_say(const graft_model *m, const graft_graph *g, const graft_device *d);

/* The type whose numbers this frozen weight has, whatever it is held in. */
graft_dtype graft_hold_numbers(const graft_model *m, const graft_graph *g, const graft_value_info *leaf);

/* A whole tensor of the store, whatever it is held in. */
graft_status graft_store_read_f32(const graft_store *s, int at, float *to, graft_error *err);

/* Reads a base weight from the model's files into the store's tensor `at`. used: by tensor of the files, set for those that were read. buffers: see below. */
typedef struct graft_hold_room {
    float *numbers, *scratch, *scales; /* a whole weight; a part that is stored turned; a scale a block */
    uint8_t *bytes;
    int64_t n_numbers, n_scratch, n_scales, n_bytes;
} graft_hold_room;
graft_status graft_hold_load(const graft_model *m, const graft_graph *g, const graft_value_info *leaf, graft_store *s, int at, graft_hold_room *room, uint8_t *used, graft_error *err);
int graft_hold_room_numbers(graft_hold_room *room, int64_t n); /* room->numbers is for n at least: 0, or -1 without memory */
void graft_hold_room_free(graft_hold_room *room);

#endif
