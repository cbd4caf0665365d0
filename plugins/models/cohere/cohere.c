/* Cohere's Command R: attention and MLP side by side under one LayerNorm without bias, rotary pairs interleaved, logits scaled. Cohere 2024. */
#include "graft/decoder.h"
#include "graft/plugin.h"

static graft_value norm(graft_builder *b, const graft_decoder *m, graft_value x, const char *name)
{
    graft_push(b, name);
    const graft_value w = graft_weight(b, "weight", GRAFT_ROLE_NORM, m->d, 0);
    graft_pop(b);
    return graft_layer_norm(b, x, w, graft_null_value(), m->eps);
}

/* Each head of x [T, n * h] by itself, weights [n, h]. */
static graft_value head_norms(graft_builder *b, const graft_decoder *m, graft_value x, int64_t n, const char *name)
{
    const int64_t heads[] = {GRAFT_DIM_TOKENS, n, m->head}, flat[] = {GRAFT_DIM_TOKENS, n * m->head};
    const graft_value y = graft_layer_norm(b, graft_reshape(b, x, 3, heads), graft_null_value(), graft_null_value(), m->eps);
    graft_push(b, name);
    const graft_value w = graft_weight(b, "weight", GRAFT_ROLE_NORM, n, m->head);
    graft_pop(b);
    return graft_reshape(b, graft_mul(b, y, w), 2, flat);
}

static graft_value block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    const graft_value normed = m->norm(b, m, x, "input_layernorm");
    return graft_add(b, graft_add(b, x, graft_self_attention(b, m, in, normed, layer)), graft_mlp(b, m, normed));
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    graft_decoder m = graft_decoder_config(cfg);
    m.eps = graft_real(cfg, "layer_norm_eps", 1e-5, 0.0, 1.0), m.norm = norm;
    m.qkv_bias = m.o_bias = graft_flag(cfg, "attention_bias", 0);
    m.qk_norm = graft_flag(cfg, "use_qk_norm", 0) ? head_norms : NULL;
    m.tied = graft_flag(cfg, "tie_word_embeddings", 1);
    m.logit_scale = graft_real(cfg, "logit_scale", 0.0625, -1e9, 1e9);
    m.interleaved = 1;
    return graft_decoder_build(b, cfg, &m, in, out, block);
}

static const graft_model_table cohere_table = {.size = sizeof cohere_table, .build = build, .class_name = "CohereForCausalLM"};

GRAFT_ONE_TABLE("model", "graft.model/1", "cohere", "1.0.0", &cohere_table)
