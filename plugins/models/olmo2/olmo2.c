/* OLMo 2: no norm before a sublayer but one after it, and RMS norms over all of q and all of k before they rotate. OLMo Team 2025, arXiv 2501.00656. */
#include "graft/decoder.h"
#include "graft/plugin.h"

/* All heads of x [T, n * h] together. */
static graft_value whole_norm(graft_builder *b, const graft_decoder *m, graft_value x, int64_t n, const char *name)
{
    graft_push(b, name);
    const graft_value w = graft_weight(b, "weight", GRAFT_ROLE_NORM, n * m->head, 0);
    graft_pop(b);
    return graft_rms_norm(b, x, w, m->eps, 0.0);
}

static graft_value block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    x = graft_add(b, x, m->norm(b, m, graft_self_attention(b, m, in, x, layer), "post_attention_layernorm"));
    return graft_add(b, x, m->norm(b, m, graft_mlp(b, m, x), "post_feedforward_layernorm"));
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    graft_decoder m = graft_decoder_config(cfg);
    m.eps = graft_real(cfg, "rms_norm_eps", 1e-5, 0.0, 1.0);
    m.qkv_bias = m.o_bias = graft_flag(cfg, "attention_bias", 0);
    m.qk_norm = whole_norm;
    return graft_decoder_build(b, cfg, &m, in, out, block);
}

static const graft_gguf_name gguf_names[] = {
    GRAFT_GGUF_ENDS, GRAFT_GGUF_ATTENTION, GRAFT_GGUF_MLP,
    GRAFT_GGUF_BLOCK("attn_q_norm", "self_attn.q_norm"), GRAFT_GGUF_BLOCK("attn_k_norm", "self_attn.k_norm"),
    GRAFT_GGUF_BLOCK("post_attention_norm", "post_attention_layernorm"), GRAFT_GGUF_BLOCK("post_ffw_norm", "post_feedforward_layernorm"), GRAFT_GGUF_NO_MORE};

static const graft_gguf_key gguf_keys[] = {GRAFT_GGUF_KEYS, {"attention.layer_norm_rms_epsilon", "rms_norm_eps"}, GRAFT_GGUF_NO_MORE_KEYS};

static const graft_model_table olmo2_table = {
    .size = sizeof olmo2_table,
    .build = build,
    .class_name = "Olmo2ForCausalLM",
    .gguf_names = gguf_names,
    .gguf_keys = gguf_keys,
};

GRAFT_ONE_TABLE("model", "graft.model/1", "olmo2", "1.0.0", &olmo2_table)
