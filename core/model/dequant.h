/* core/model/dequant.h - the storage types of safetensors and GGUF: their names, block sizes, and how to read them as f32. */
#ifndef CORE_MODEL_DEQUANT_H
#define CORE_MODEL_DEQUANT_H

#include "graft/graph.h"

typedef struct graft_storage {
    const char *name;                                               /* "BF16", "Q4_1", as the containers spell it                                     */
    int32_t gguf;                                                   /* ggml's number of the type, -1: not in GGUF                                      */
    int32_t hf;                                                     /* 1: a dtype of safetensors                                                       */
    int32_t dtype;                                                  /* graft_dtype, 0: none                                                            */
    int32_t block;                                                  /* elements that are stored together                                               */
    int32_t bytes;                                                  /* of a block                                                                      */
    void (*to_f32)(const uint8_t *from, float *to, int64_t blocks); /* from may be unaligned; NULL: known, but not readable by this version */
} graft_storage;

const graft_storage *graft_storage_by_name(const char *name); /* safetensors' dtype; NULL when unknown */
const graft_storage *graft_storage_by_gguf(uint32_t type);    /* NULL when unknown */
const graft_storage *graft_storage_by_dtype(int dtype);        /* graft_dtype; NULL when no file stores it */

#endif
