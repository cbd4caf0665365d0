/* Granite 3: Llama's block with four multipliers: of embeddings, attention scores, residual branches and logits. Granite Team 2024. */
#include "graft/model.h"
#include "graft/ops.h"
#include "graft/plugin.h"

typedef struct granite {
    int64_t d, f, heads, kv, head, layers, vocab;
    int attn_bias, mlp_bias, tied;
    double eps, of_embedding, of_scores, of_residual, of_logits;
    const char *act;
} granite;

static granite read_config(const graft_config *c)
{
    granite m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.f = graft_dim(c, "intermediate_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.eps = graft_real(c, "rms_norm_eps", 1e-6, 0.0, 1.0);
    m.kv = graft_dim(c, "num_key_value_heads", m.heads);
    m.head = graft_dim(c, "head_dim", m.d / m.heads);
    m.attn_bias = graft_flag(c, "attention_bias", 0);
    m.mlp_bias = graft_flag(c, "mlp_bias", 0);
    m.tied = graft_flag(c, "tie_word_embeddings", 0);
    m.of_embedding = graft_real(c, "embedding_multiplier", 1.0, -1e9, 1e9);
    m.of_scores = graft_real(c, "attention_multiplier", 1.0, -1e9, 1e9);
    m.of_residual = graft_real(c, "residual_multiplier", 1.0, -1e9, 1e9);
    m.of_logits = 1.0 / graft_real(c, "logits_scaling", 1.0, 1e-9, 1e9);
    m.act = graft_text(c, "hidden_act", "silu");
    return m;
}

static graft_value norm(graft_builder *b, const granite *m, graft_value x, const char *name)
{
    return graft_rms_norm(b, x, graft_weight(b, name, GRAFT_ROLE_NORM, m->d, 0), m->eps, 0.0);
}

static graft_value attention(graft_builder *b, const granite *m, const graft_model_inputs *in, graft_value x)
{
    graft_push(b, "self_attn");
    graft_value q = graft_linear(b, x, "q_proj", m->heads * m->head, m->attn_bias, GRAFT_ROLE_ATTN_Q);
    graft_value k = graft_linear(b, x, "k_proj", m->kv * m->head, m->attn_bias, GRAFT_ROLE_ATTN_K);
    graft_value v = graft_linear(b, x, "v_proj", m->kv * m->head, m->attn_bias, GRAFT_ROLE_ATTN_V);
    q = graft_rope(b, q, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    k = graft_rope(b, k, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->kv, 0, m->of_scores, 0.0);
    o = graft_mark(b, graft_linear(b, o, "o_proj", m->d, m->attn_bias, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return o;
}

static graft_value mlp(graft_builder *b, const granite *m, graft_value x)
{
    graft_push(b, "mlp");
    graft_value gate = graft_linear(b, x, "gate_proj", m->f, m->mlp_bias, GRAFT_ROLE_MLP_GATE);
    graft_value up = graft_linear(b, x, "up_proj", m->f, m->mlp_bias, GRAFT_ROLE_MLP_UP);
    graft_value y = graft_mark(b, graft_linear(b, graft_gated(b, gate, up, m->act), "down_proj", m->d, m->mlp_bias, GRAFT_ROLE_MLP_DOWN), GRAFT_ROLE_MLP);
    graft_pop(b);
    return y;
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const granite m = read_config(cfg);
    graft_push(b, "model");
    graft_value embed = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_scale(b, graft_embed(b, embed, in->tokens, graft_padding_row(cfg, m.vocab)), m.of_embedding);
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "layers", i);
        x = graft_add(b, x, graft_scale(b, attention(b, &m, in, norm(b, &m, x, "input_layernorm.weight")), m.of_residual));
        x = graft_add(b, x, graft_scale(b, mlp(b, &m, norm(b, &m, x, "post_attention_layernorm.weight")), m.of_residual));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = norm(b, &m, x, "norm.weight");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    out->scale = m.of_logits;
    return GRAFT_OK;
}

static const graft_model_table granite_table = {.size = sizeof granite_table, .build = build, .class_name = "GraniteForCausalLM"};

GRAFT_ONE_TABLE("model", "graft.model/1", "granite", "1.0.0", &granite_table)
