/* Gemma 2: norms before and after each sublayer, a sliding window in every other layer, soft caps on attention scores and logits, GeGLU, and an
 * embedding scaled by sqrt(d). Norm weights are stored minus one. Gemma Team 2024, arXiv 2408.00118. */
#include "graft/decoder.h"
#include "graft/plugin.h"

/* Without layer_types: sliding, full, sliding ... */
static int slides(const graft_decoder *m, int64_t layer) { return (void)m, layer % 2 == 0; }

static graft_value block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    const graft_value a = graft_self_attention(b, m, in, m->norm(b, m, x, "input_layernorm"), layer);
    x = graft_add(b, x, m->norm(b, m, a, "post_attention_layernorm"));
    const graft_value y = graft_mlp(b, m, m->norm(b, m, x, "pre_feedforward_layernorm"));
    return graft_add(b, x, m->norm(b, m, y, "post_feedforward_layernorm"));
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    graft_decoder m = graft_decoder_config(cfg);
    m.head = graft_dim(cfg, "head_dim", 256);
    m.tied = graft_flag(cfg, "tie_word_embeddings", 1);
    m.qkv_bias = m.o_bias = graft_flag(cfg, "attention_bias", 0);
    m.norm_offset = 1.0;
    m.embed_scale = sqrt((double)m.d);
    m.scale = 1.0 / sqrt(graft_real(cfg, "query_pre_attn_scalar", 256.0, 1e-9, 1e12));
    m.act = graft_text(cfg, "hidden_activation", "gelu_pytorch_tanh");
    m.window = graft_sliding_window(cfg);
    graft_decoder_slides(&m, cfg, slides);
    m.softcap = graft_real(cfg, "attn_logit_softcapping", 0.0, 0.0, 1e12);
    m.logit_cap = graft_real(cfg, "final_logit_softcapping", 0.0, 0.0, 1e12);
    if (graft_flag(cfg, "use_bidirectional_attention", 0)) cfg->api->error(cfg, "use_bidirectional_attention", "must be false for a language model");
    return graft_decoder_build(b, cfg, &m, in, out, block);
}

static const graft_model_table gemma2_table = {
    .size = sizeof gemma2_table,
    .build = build,
    .class_name = "Gemma2ForCausalLM",
    .defaults = "{\"head_dim\": 256, \"sliding_window\": 4096, \"attn_logit_softcapping\": 50.0, \"final_logit_softcapping\": 30.0}",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "gemma2", "1.0.0", &gemma2_table)
