/* core/train/svd.h - the largest singular vectors of a matrix, on the host. */
#ifndef CORE_TRAIN_SVD_H
#define CORE_TRAIN_SVD_H

#include "graft/base.h"

/* Of w [rows, columns] in row order: the r largest left and right singular vectors, r at most min(rows, columns). left [rows, r], right [r, columns]; either
 * may be NULL. The sign of a pair is the one that makes the largest entry of the right vector positive. Directions beyond w's rank are some orthonormal ones.
 * seed: of the vector that the search begins with. 0, or -1 without memory. */
int graft_svd_largest(const float *w, int64_t rows, int64_t columns, int64_t r, uint64_t seed, float *left, float *right);

#endif
