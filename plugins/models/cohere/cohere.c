/* Cohere's Command R: attention and MLP side by side under one LayerNorm without bias, rotary pairs interleaved, logits scaled. Cohere 2024. */
#include "graft/model.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>

typedef struct cohere {
    int64_t d, f, heads, kv, head, layers, vocab;
    int attn_bias, head_norms, tied;
    double eps, logit_scale;
    const char *act;
} cohere;

static cohere read_config(const graft_config *c)
{
    cohere m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.f = graft_dim(c, "intermediate_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.eps = graft_real(c, "layer_norm_eps", 1e-5, 0.0, 1.0);
    m.kv = graft_dim(c, "num_key_value_heads", m.heads);
    m.head = graft_dim(c, "head_dim", m.d / m.heads);
    m.attn_bias = graft_flag(c, "attention_bias", 0);
    m.head_norms = graft_flag(c, "use_qk_norm", 0);
    m.tied = graft_flag(c, "tie_word_embeddings", 1);
    m.logit_scale = graft_real(c, "logit_scale", 0.0625, -1e9, 1e9);
    m.act = graft_text(c, "hidden_act", "silu");
    return m;
}

static graft_value norm(graft_builder *b, const cohere *m, graft_value x, const char *name)
{
    return graft_layer_norm(b, x, graft_weight(b, name, GRAFT_ROLE_NORM, m->d, 0), graft_null_value(), m->eps);
}

/* Each head of x [T, n * head] by itself, weights [n, head]. */
static graft_value head_norms(graft_builder *b, const cohere *m, graft_value x, int64_t n, const char *name)
{
    const int64_t heads[] = {GRAFT_DIM_TOKENS, n, m->head}, flat[] = {GRAFT_DIM_TOKENS, n * m->head};
    const graft_value y = graft_layer_norm(b, graft_reshape(b, x, 3, heads), graft_null_value(), graft_null_value(), m->eps);
    return graft_reshape(b, graft_mul(b, y, graft_weight(b, name, GRAFT_ROLE_NORM, n, m->head)), 2, flat);
}

static graft_value attention(graft_builder *b, const cohere *m, const graft_model_inputs *in, graft_value x)
{
    graft_push(b, "self_attn");
    graft_value q = graft_linear(b, x, "q_proj", m->heads * m->head, m->attn_bias, GRAFT_ROLE_ATTN_Q);
    graft_value k = graft_linear(b, x, "k_proj", m->kv * m->head, m->attn_bias, GRAFT_ROLE_ATTN_K);
    graft_value v = graft_linear(b, x, "v_proj", m->kv * m->head, m->attn_bias, GRAFT_ROLE_ATTN_V);
    if (m->head_norms) {
        q = head_norms(b, m, q, m->heads, "q_norm.weight");
        k = head_norms(b, m, k, m->kv, "k_norm.weight");
    }
    q = graft_rope(b, q, in->positions, in->inv_freq, m->head, in->rope_scale, 1);
    k = graft_rope(b, k, in->positions, in->inv_freq, m->head, in->rope_scale, 1);
    graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->kv, 0, 1.0 / sqrt((double)m->head), 0.0);
    o = graft_mark(b, graft_linear(b, o, "o_proj", m->d, m->attn_bias, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return o;
}

static graft_value mlp(graft_builder *b, const cohere *m, graft_value x)
{
    graft_push(b, "mlp");
    graft_value gate = graft_linear(b, x, "gate_proj", m->f, 0, GRAFT_ROLE_MLP_GATE);
    graft_value up = graft_linear(b, x, "up_proj", m->f, 0, GRAFT_ROLE_MLP_UP);
    graft_value y = graft_mark(b, graft_linear(b, graft_gated(b, gate, up, m->act), "down_proj", m->d, 0, GRAFT_ROLE_MLP_DOWN), GRAFT_ROLE_MLP);
    graft_pop(b);
    return y;
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const cohere m = read_config(cfg);
    graft_push(b, "model");
    graft_value embed = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_embed(b, embed, in->tokens, graft_padding_row(cfg, m.vocab));
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "layers", i);
        const graft_value normed = norm(b, &m, x, "input_layernorm.weight");
        x = graft_add(b, graft_add(b, x, attention(b, &m, in, normed)), mlp(b, &m, normed));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = norm(b, &m, x, "norm.weight");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    out->scale = m.logit_scale;
    return GRAFT_OK;
}

static const graft_model_table cohere_table = {.size = sizeof cohere_table, .build = build, .class_name = "CohereForCausalLM"};

GRAFT_ONE_TABLE("model", "graft.model/1", "cohere", "1.0.0", &cohere_table)
