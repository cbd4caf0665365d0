/* Granite 3: Llama's block with four multipliers: of embeddings, attention scores, residual branches and logits. Granite Team 2024. */
#include "graft/decoder.h"
#include "graft/plugin.h"

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    graft_decoder m = graft_decoder_config(cfg);
    m.qkv_bias = m.o_bias = graft_flag(cfg, "attention_bias", 0);
    m.mlp_bias = graft_flag(cfg, "mlp_bias", 0);
    m.embed_scale = graft_real(cfg, "embedding_multiplier", 1.0, -1e9, 1e9);
    m.scale = graft_real(cfg, "attention_multiplier", 1.0, -1e9, 1e9);
    m.residual_scale = graft_real(cfg, "residual_multiplier", 1.0, -1e9, 1e9);
    m.logit_scale = 1.0 / graft_real(cfg, "logits_scaling", 1.0, 1e-9, 1e9);
    return graft_decoder_build(b, cfg, &m, in, out, graft_prenorm_block);
}

static const graft_model_table granite_table = {.size = sizeof granite_table, .build = build, .class_name = "GraniteForCausalLM"};

GRAFT_ONE_TABLE("model", "graft.model/1", "granite", "1.0.0", &granite_table)
