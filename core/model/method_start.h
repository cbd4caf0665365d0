/* core/model/method_start.h - what a model tells the methods: how many blocks it has, and its weights once they are loaded. */
#ifndef CORE_MODEL_METHOD_START_H
#define CORE_MODEL_METHOD_START_H

#include "core/model/model.h"

/* Number of blocks by the configuration; 0 when it does not say. */
int64_t graft_model_blocks(const graft_model *m);
/* The model's merged adapters into the base weights that the store holds: once the base is read, before any start hook. (merged.c) */
graft_status graft_model_merge_first(const graft_model *m, graft_store *s, uint64_t seed, graft_error *err);
/* Each active method's start hook, once the base is loaded and before a saved adapter is read. */
graft_status graft_model_start(const graft_model *m, const graft_graph *g, graft_store *s, uint64_t seed, graft_error *err);

#endif
