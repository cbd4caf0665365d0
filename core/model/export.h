/* core/model/export.h - tensors of a store into safetensors, for adapters and models. */
#ifndef CORE_MODEL_EXPORT_H
#define CORE_MODEL_EXPORT_H

#include "core/graph/run.h"
#include "core/model/weights.h"

/* The WEIGHT leaves that method `owner` made (-1: the base model's own), as prefix + name in dtype; layouts: stored as that table says, NULL: as they are. shard_bytes < 0: one file at path; else path is a folder. */
graft_status graft_export_weights(const graft_graph *g, const graft_store *s, int owner, const char *prefix, const graft_model_table *layouts, graft_dtype dtype, const char *path, int64_t shard_bytes, graft_error *err);
/* object as indented JSON with sorted keys into dir/name. */
graft_status graft_export_json(const char *dir, const char *name, const graft_json *object, graft_error *err);

#endif
