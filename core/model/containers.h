/* core/model/containers.h - the two containers of weights as parsers over bytes in memory. weights.c maps the files and joins shards. */
#ifndef CORE_MODEL_CONTAINERS_H
#define CORE_MODEL_CONTAINERS_H

#include "core/model/weights.h"

/* Tensors found so far; `at` is of graft_calloc, strings are the arena's, data points into the file. */
typedef struct graft_weight_list {
    graft_weight_info *at;
    size_t n, room;
} graft_weight_list;

/* file: its path, for errors and info->file; must outlive the list. metadata: __metadata__ or the key/values, an object, or NULL. */
graft_status graft_safetensors_parse(graft_arena *a, const char *file, const uint8_t *data, int64_t bytes, graft_weight_list *out, const graft_json **metadata, graft_error *err);
graft_status graft_gguf_parse(graft_arena *a, const char *file, const uint8_t *data, int64_t bytes, graft_weight_list *out, const graft_json **metadata, graft_error *err);

/* Elements and bytes of dims in a storage type; -1 when either overflows or a row (the last dimension) is no whole number of blocks. */
int64_t graft_storage_bytes(const struct graft_storage *s, int32_t rank, const int64_t *dims);

/* Room for one more; NULL when out of memory. */
graft_weight_info *graft_weight_list_add(graft_weight_list *l);

#endif
