/* core/model/hfconfig.h - config.json of a model folder (or its like made from GGUF metadata), in one spelling, and what the host computes from it. */
#ifndef CORE_MODEL_HFCONFIG_H
#define CORE_MODEL_HFCONFIG_H

#include "core/base/config.h"
#include "core/model/weights.h"

/* config.json in the host's words, by the model plugin's tables: other words for a setting are replaced, settings left out get the plugin's defaults. */
graft_status graft_hfconfig_complete(graft_arena *a, const char *name, const graft_json *original, const graft_model_table *table, const graft_json **out, graft_error *err);
/* transformers 4 and 5 spell it differently; afterwards: rope_theta at the top, rope_scaling {rope_type, factor ...} or absent (local_rope_theta and local_rope_scaling:
 * of layers with a sliding window), torch_dtype, layer_types kept,
 * head_dim (hidden_size / num_attention_heads) and num_key_value_heads (num_attention_heads) filled when absent. The original is kept for exports. */
graft_status graft_hfconfig_normalise(graft_arena *a, const char *name, const graft_json *original, const graft_json **out, graft_error *err);
/* From GGUF metadata by the model plugin's key table, before the tensors are renamed; also model_type, vocab_size, tie_word_embeddings, bos/eos ids, rope_theta, torch_dtype "bfloat16", "architectures". */
graft_status graft_hfconfig_from_gguf(graft_arena *a, const graft_weights *w, const graft_model_table *table, const char *model_type, const graft_json **out, graft_error *err);

/* Rotary frequencies [rotary_dim / 2] with default, linear, dynamic (as at short lengths), llama3, yarn, longrope scaling; *scale multiplies cos and sin.
 * A configuration that names neither head_dim nor hidden_size has none: *n is 0. */
graft_status graft_rope_local(graft_arena *a, const graft_config *c, float **inv_freq, int64_t *n, double *scale, graft_error *err); /* of layers with a sliding window; *n is 0 when they have no settings of their own */
graft_status graft_rope_frequencies(graft_arena *a, const graft_config *c, float **inv_freq, int64_t *n, double *scale, graft_error *err);

#endif
