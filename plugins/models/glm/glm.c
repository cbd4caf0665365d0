/* GLM-4 in its first form: Llama's block with biases on q, k and v, one projection for gate and up, and half of each head rotating in interleaved pairs.
 * GLM Team 2024, arXiv 2406.12793. */
#include "graft/decoder.h"
#include "graft/plugin.h"

static graft_value block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    x = graft_add(b, x, graft_self_attention(b, m, in, m->norm(b, m, x, "input_layernorm"), layer));
    return graft_add(b, x, graft_fused_mlp(b, m, m->norm(b, m, x, "post_attention_layernorm")));
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    graft_decoder m = graft_decoder_config(cfg);
    m.eps = graft_real(cfg, "rms_norm_eps", 1.5625e-7, 0.0, 1.0);
    m.qkv_bias = graft_flag(cfg, "attention_bias", 0);
    m.interleaved = 1;
    return graft_decoder_build(b, cfg, &m, in, out, block);
}

static const graft_model_table glm_table = {
    .size = sizeof glm_table,
    .build = build,
    .class_name = "GlmForCausalLM",
    .defaults = "{\"head_dim\": 128, \"partial_rotary_factor\": 0.5}",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "glm", "1.0.0", &glm_table)
