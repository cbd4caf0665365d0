/* GLM-4-0414: GLM's block with a norm after each sublayer as well. Half of each head rotates, in interleaved pairs. GLM Team 2024, arXiv 2406.12793. */
#include "graft/decoder.h"
#include "graft/plugin.h"

static graft_value block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    const graft_value a = graft_self_attention(b, m, in, m->norm(b, m, x, "input_layernorm"), layer);
    x = graft_add(b, x, m->norm(b, m, a, "post_self_attn_layernorm"));
    const graft_value y = graft_fused_mlp(b, m, m->norm(b, m, x, "post_attention_layernorm"));
    return graft_add(b, x, m->norm(b, m, y, "post_mlp_layernorm"));
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

static const graft_model_table glm4_table = {
    .size = sizeof glm4_table,
    .build = build,
    .class_name = "Glm4ForCausalLM",
    .defaults = "{\"head_dim\": 128, \"partial_rotary_factor\": 0.5}",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "glm4", "1.0.0", &glm4_table)
