/* core/model/export.h - tensors of a store into safetensors, for adapters and models. */
#ifndef CORE_MODEL_EXPORT_H
#define CORE_MODEL_EXPORT_H

#include "core/graph/run.h"
#include "core/model/weights.h"

/* The WEIGHT leaves that method `owner` made or trains (-1: the base model's own) in dtype. names: the method whose names for them the file uses, NULL: the graph's.
 * layouts: stored as that table says, NULL: as they are. shard_bytes < 0: one file at path; else path is a folder. */
graft_status graft_export_weights(const graft_graph *g, const graft_store *s, int owner, const graft_active_method *names, const graft_model_table *layouts, graft_dtype dtype, const char *path, int64_t shard_bytes, graft_error *err);
/* Does this leaf lie in the adapter file of method `index`? */
int graft_adapter_owns(const graft_value_info *v, int index);
/* Name in a method's adapter file of a leaf (names NULL: the leaf's own). NULL without memory. */
const char *graft_adapter_name(graft_arena *a, const graft_active_method *names, const char *leaf);
/* Of a parameter that the file holds in parts, the name of one; NULL: it is one tensor. names may be NULL. */
const char *graft_adapter_part(graft_arena *a, const graft_active_method *names, const char *leaf, int64_t part);
/* Does the method's file hold only a part of some parameter? */
int graft_export_is_partial(const graft_graph *g, int owner, const graft_active_method *names);
/* object as indented JSON with sorted keys into dir/name. */
graft_status graft_export_json(const char *dir, const char *name, const graft_json *object, graft_error *err);

#endif
