/* core/model/quantise.h - numbers into the storage types of graft/packed.h and back from any that a weight may be held in. */
#ifndef CORE_MODEL_QUANTISE_H
#define CORE_MODEL_QUANTISE_H

#include "graft/graph.h"

/* x [rows, columns] into `to` (graft_dtype_bytes of it), on all threads. scales: rows * columns / 64 numbers of room. t: NF4, NF4_DOUBLE, INT8; columns
 * are a multiple of 64. For NF4_DOUBLE the mean scale is that of these rows: one tensor of the file at a time. */
void graft_quantise(graft_dtype t, const float *x, int64_t rows, int64_t columns, uint8_t *to, float *scales);

/* n elements, whole blocks of any type that a weight may be held in, beginning at the tensor's first. */
void graft_widen(graft_dtype t, const void *from, int64_t n, float *to);

#endif
