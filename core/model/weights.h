/* core/model/weights.h - tensors of a model on disk, whatever the container: one or sharded safetensors, GGUF. Names and shapes are Hugging Face's. */
#ifndef CORE_MODEL_WEIGHTS_H
#define CORE_MODEL_WEIGHTS_H

#include "core/base/arena.h"
#include "graft/graph.h"
#include "graft/model.h"

typedef struct graft_weight_info {
    const char *name;                    /* the graph's name: "model.layers.0.self_attn.q_proj.weight" */
    const char *stored;                  /* the file's own name                                        */
    const char *file;
    int         dtype;                   /* graft_dtype, or 0: none of them (dtype_name says which)    */
    const char *dtype_name;
    const struct graft_storage *storage; /* dequant.h: how its blocks are read                         */
    int32_t     rank;
    int64_t     dims[8];                 /* torch order                                                */
    int64_t     bytes;
    const uint8_t *data;                 /* mapped                                                     */
    int64_t     unpermute;               /* rotary heads to put back in order while reading, 0: none    */
} graft_weight_info;

typedef struct graft_weights graft_weights;
/* path: a folder (model.safetensors, or model.safetensors.index.json with shards), a .safetensors file or a .gguf file. */
graft_status graft_weights_open(const char *path, graft_weights **out, graft_error *err);
void         graft_weights_close(graft_weights *w);
void         graft_weights_forget(const graft_weights *w); /* what was read leaves memory until it is read again */
int64_t      graft_weights_count(const graft_weights *w);
const graft_weight_info *graft_weights_at(const graft_weights *w, int64_t i);
const graft_weight_info *graft_weights_find(const graft_weights *w, const char *name);
/* The whole tensor as f32 (dequantised, rotary rows put back in order) into out, on all threads; a type that cannot be read is an error. */
graft_status graft_weights_read_f32(const graft_weight_info *t, float *out, graft_error *err);
/* n rows from `first` on, as f32 and as they are stored. A row is graft_weights_columns elements: the last dimension, 1 of a vector. The file's pages are
 * let go of afterwards. */
graft_status graft_weights_read_rows(const graft_weight_info *t, int64_t first, int64_t n, float *out, graft_error *err);
void         graft_weights_read_stored(const graft_weight_info *t, int64_t first, int64_t n, uint8_t *out);
int64_t      graft_weights_columns(const graft_weight_info *t);
int64_t      graft_weights_elements(const graft_weight_info *t);

/* GGUF only: metadata as a JSON object (arrays of over 16 elements too), and renaming by the model plugin's tables. */
const graft_json *graft_weights_metadata(const graft_weights *w);    /* NULL for safetensors: or its __metadata__ */
int          graft_weights_is_gguf(const graft_weights *w);
/* Gives tensors the names of the graph by the model plugin's patterns; one that no pattern fits keeps its own. config: for the unpermute keys. */
graft_status graft_weights_rename_gguf(graft_weights *w, const graft_gguf_name *names, const graft_config *config, graft_error *err);

/* safetensors out. Tensors in any order; written sorted by dtype alignment descending, then name; header padded to 8; metadata {"format":"pt"}. */
typedef struct graft_tensor_out {
    const char *name;
    graft_dtype dtype;                   /* F32, BF16, F16, I32 */
    int32_t     rank;
    int64_t     dims[GRAFT_MAX_RANK];
    /* Gives the tensor's bytes (little endian, row-major) piece by piece: called with growing offsets until all are written. */
    graft_status (*read)(void *ctx, int64_t offset, void *to, int64_t bytes, graft_error *err);
    void       *ctx;
} graft_tensor_out;
graft_status graft_safetensors_write(const char *path, const graft_tensor_out *t, int64_t n, graft_error *err);
/* A model folder's weights: model.safetensors, or shards of at most shard_bytes with the index; 0: 5e9. Removes older shards of the folder last. */
graft_status graft_safetensors_write_model(const char *dir, const graft_tensor_out *t, int64_t n, int64_t shard_bytes, graft_error *err);

/* Conversions, round to nearest even. */
float    graft_bf16_to_f32(uint16_t v);
uint16_t graft_f32_to_bf16(float v);
float    graft_f16_to_f32(uint16_t v);
uint16_t graft_f32_to_f16(float v);

#endif
