/* StarCoder2: LayerNorm, biases everywhere, a sliding window and a GELU MLP without gate. Lozhkov et al. 2024, arXiv 2402.19173. */
#include "graft/decoder.h"
#include "graft/plugin.h"

static graft_value block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    x = graft_add(b, x, graft_self_attention(b, m, in, m->norm(b, m, x, "input_layernorm"), layer));
    return graft_add(b, x, graft_plain_mlp(b, m->norm(b, m, x, "post_attention_layernorm"), m->d, m->f, "c_fc", "c_proj", m->mlp_bias, m->act));
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    graft_decoder m = graft_decoder_config(cfg);
    m.eps = graft_real(cfg, "norm_epsilon", 1e-5, 0.0, 1.0), m.norm = graft_norm_layer;
    m.qkv_bias = m.o_bias = m.mlp_bias = graft_flag(cfg, "use_bias", 1);
    m.tied = graft_flag(cfg, "tie_word_embeddings", 1);
    m.act = graft_text(cfg, "hidden_act", "gelu_pytorch_tanh");
    m.window = graft_sliding_window(cfg);
    return graft_decoder_build(b, cfg, &m, in, out, block);
}

static const graft_gguf_name gguf_names[] = {
    GRAFT_GGUF_ENDS, GRAFT_GGUF_PRENORMS, GRAFT_GGUF_ATTENTION, GRAFT_GGUF_BLOCK("ffn_up", "mlp.c_fc"), GRAFT_GGUF_BLOCK("ffn_down", "mlp.c_proj"), GRAFT_GGUF_BIAS("attn_norm", "input_layernorm"), GRAFT_GGUF_BIAS("ffn_norm", "post_attention_layernorm"), GRAFT_GGUF_BIAS("attn_q", "self_attn.q_proj"), GRAFT_GGUF_BIAS("attn_k", "self_attn.k_proj"), GRAFT_GGUF_BIAS("attn_v", "self_attn.v_proj"), GRAFT_GGUF_BIAS("attn_output", "self_attn.o_proj"), GRAFT_GGUF_BIAS("ffn_up", "mlp.c_fc"), GRAFT_GGUF_BIAS("ffn_down", "mlp.c_proj"), {"output_norm.bias", "model.norm.bias", NULL}, GRAFT_GGUF_NO_MORE};

static const graft_gguf_key gguf_keys[] = {
    GRAFT_GGUF_KEYS, {"attention.layer_norm_epsilon", "norm_epsilon"}, {"attention.sliding_window", "sliding_window"}, GRAFT_GGUF_NO_MORE_KEYS};

static const graft_model_table starcoder2_table = {
    .size = sizeof starcoder2_table,
    .build = build,
    .class_name = "Starcoder2ForCausalLM",
    .gguf_names = gguf_names,
    .gguf_keys = gguf_keys,
};

GRAFT_ONE_TABLE("model", "graft.model/1", "starcoder2", "1.0.0", &starcoder2_table)
