/* core/data/pack.h - samples that fill blocks of one length, and the order in which several sets are mixed: LLaMA-Factory's rules. */
#ifndef CORE_DATA_PACK_H
#define CORE_DATA_PACK_H

#include "core/base/arena.h"
#include "core/data/dataset.h"

/* Bins of at most `capacity` tokens for samples of these lengths (none longer): each bin takes, again and again, the longest sample that still fits, of equal
 * ones the last. order[n]: the samples, bin after bin; ends[n]: where each bin ends in it. Returns the number of bins, -1 when out of memory. */
int64_t graft_pack_bins(const int64_t *lengths, int64_t n, int64_t capacity, int64_t *order, int64_t *ends);

/* Takes the samples that one window of records becomes, one by one. */
typedef graft_status (*graft_pack_put)(void *ctx, graft_sample block, graft_error *err);

/* Which records of sets of these sizes come in which order. strategy: interleave_under (until the first set is used up) or interleave_over (until all are; the
 * others begin anew). probabilities: NULL for turns; a set of probability 0 is never drawn from. out: indices into the sets laid end to end, n of them; the caller frees it with graft_free. */
graft_status graft_mix(const char *strategy, const int64_t *sizes, int64_t sets, const double *probabilities, uint64_t seed, int64_t **out, int64_t *n, graft_error *err);

#endif
