/* Qwen2 and Qwen2.5: grouped-query rotary attention with biases on q, k and v, SwiGLU, and on request a sliding window in the upper
 * layers. Yang et al. 2024, arXiv 2407.10671. */
#include "graft/decoder.h"
#include "graft/plugin.h"

/* Without layer_types the layers from max_window_layers on slide. */
static int slides(const graft_decoder *m, int64_t layer) { return layer >= m->pattern; }

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    graft_decoder m = graft_decoder_config(cfg);
    m.qkv_bias = 1;
    m.window = graft_flag(cfg, "use_sliding_window", 0) ? graft_dim(cfg, "sliding_window", 4096) : 0;
    m.pattern = cfg->api->integer(cfg, "max_window_layers", 28, 0, INT32_MAX);
    graft_decoder_slides(&m, cfg, slides);
    if (strcmp(m.act, "silu") != 0) cfg->api->error(cfg, "hidden_act", "must be \"silu\"");
    return graft_decoder_build(b, cfg, &m, in, out, graft_prenorm_block);
}

static const graft_gguf_name gguf_names[] = {
    GRAFT_GGUF_ENDS, GRAFT_GGUF_PRENORMS, GRAFT_GGUF_ATTENTION, GRAFT_GGUF_MLP,
    GRAFT_GGUF_BIAS("attn_q", "self_attn.q_proj"), GRAFT_GGUF_BIAS("attn_k", "self_attn.k_proj"), GRAFT_GGUF_BIAS("attn_v", "self_attn.v_proj"), GRAFT_GGUF_NO_MORE};

static const graft_gguf_key gguf_keys[] = {GRAFT_GGUF_KEYS, {"attention.key_length", "head_dim"}, {"attention.layer_norm_rms_epsilon", "rms_norm_eps"}, GRAFT_GGUF_NO_MORE_KEYS};

static const graft_model_table qwen2_table = {
    .size = sizeof qwen2_table,
    .build = build,
    .class_name = "Qwen2ForCausalLM",
    .gguf_names = gguf_names,
    .gguf_keys = gguf_keys,
};

GRAFT_ONE_TABLE("model", "graft.model/1", "qwen2", "1.0.0", &qwen2_table)
