/* core/train/neftune.h - NEFTune (Jain et al. 2023): in training, noise U(-1, 1) * alpha / sqrt(L d) on what the embedding of tokens gives; L is the longest
 * sequence of the micro-batch, padded to a multiple of 8 as LLaMA-Factory's batches are, d the width. */
#ifndef CORE_TRAIN_NEFTUNE_H
#define CORE_TRAIN_NEFTUNE_H

#include "core/graph/graph.h"

/* Changes a training graph after its gradients were made: the noise depends on no weight, so each reader of the embedding reads the noisy one, forward and
 * backward. Virtual tokens stay without noise. A graph without an embedding of tokens is an error. */
graft_status graft_neftune(graft_graph *g, double alpha, graft_error *err);

#endif
