/* Qwen3: grouped-query rotary attention with RMS norms on each head of q and k, SwiGLU, and on request a sliding window in the upper layers.
 * Yang et al. 2025, arXiv 2505.09388. */
#include "graft/decoder.h"
#include "graft/plugin.h"

/* Without layer_types the layers from max_window_layers on slide. */
static int slides(const graft_decoder *m, int64_t layer) { return layer >= m->pattern; }

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    graft_decoder m = graft_decoder_config(cfg);
    m.qkv_bias = m.o_bias = graft_flag(cfg, "attention_bias", 0);
    m.qk_norm = graft_norm_heads;
    m.window = graft_flag(cfg, "use_sliding_window", 0) ? graft_dim(cfg, "sliding_window", 4096) : 0;
    m.pattern = cfg->api->integer(cfg, "max_window_layers", 28, 0, INT32_MAX);
    graft_decoder_slides(&m, cfg, slides);
    return graft_decoder_build(b, cfg, &m, in, out, graft_prenorm_block);
}

static const graft_gguf_name gguf_names[] = {
    GRAFT_GGUF_ENDS, GRAFT_GGUF_PRENORMS, GRAFT_GGUF_ATTENTION, GRAFT_GGUF_MLP,
    GRAFT_GGUF_BLOCK("attn_q_norm", "self_attn.q_norm"), GRAFT_GGUF_BLOCK("attn_k_norm", "self_attn.k_norm"), GRAFT_GGUF_NO_MORE};

static const graft_gguf_key gguf_keys[] = {GRAFT_GGUF_KEYS, {"attention.key_length", "head_dim"}, {"attention.layer_norm_rms_epsilon", "rms_norm_eps"}, GRAFT_GGUF_NO_MORE_KEYS};

static const graft_model_table qwen3_table = {
    .size = sizeof qwen3_table,
    .build = build,
    .class_name = "Qwen3ForCausalLM",
    .gguf_names = gguf_names,
    .gguf_keys = gguf_keys,
    .defaults = "{\"head_dim\": 128}",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "qwen3", "1.0.0", &qwen3_table)
