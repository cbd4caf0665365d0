/* Phi-3: Llama's block with one projection for q, k and v and one for gate and up; part of a head may rotate. Abdin et al. 2024, arXiv 2404.14219. */
#include "graft/model.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>

typedef struct phi3 {
    int64_t d, f, heads, kv, head, layers, vocab, window;
    int tied;
    double eps;
    const char *act;
} phi3;

static phi3 read_config(const graft_config *c)
{
    phi3 m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.f = graft_dim(c, "intermediate_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.eps = graft_real(c, "rms_norm_eps", 1e-5, 0.0, 1.0);
    m.kv = graft_dim(c, "num_key_value_heads", m.heads);
    m.head = graft_dim(c, "head_dim", m.d / m.heads);
    m.tied = graft_flag(c, "tie_word_embeddings", 0);
    m.window = c->api->value(c, "sliding_window") ? graft_dim(c, "sliding_window", 0) : 0; /* tokens seen back, itself included; null: all */
    m.act = graft_text(c, "hidden_act", "silu");
    return m;
}

static graft_value norm(graft_builder *b, const phi3 *m, graft_value x, const char *name)
{
    return graft_rms_norm(b, x, graft_weight(b, name, GRAFT_ROLE_NORM, m->d, 0), m->eps, 0.0);
}

static graft_value attention(graft_builder *b, const phi3 *m, const graft_model_inputs *in, graft_value x)
{
    graft_push(b, "self_attn");
    const int64_t wide = m->heads * m->head, narrow = m->kv * m->head;
    const graft_value qkv = graft_linear(b, x, "qkv_proj", wide + 2 * narrow, 0, GRAFT_ROLE_ATTN_QKV);
    graft_value q = graft_slice(b, qkv, 1, 0, wide), k = graft_slice(b, qkv, 1, wide, narrow), v = graft_slice(b, qkv, 1, wide + narrow, narrow);
    q = graft_rope(b, q, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    k = graft_rope(b, k, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->kv, m->window, 1.0 / sqrt((double)m->head), 0.0);
    o = graft_mark(b, graft_linear(b, o, "o_proj", m->d, 0, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return o;
}

static graft_value mlp(graft_builder *b, const phi3 *m, graft_value x)
{
    graft_push(b, "mlp");
    const graft_value both = graft_linear(b, x, "gate_up_proj", 2 * m->f, 0, GRAFT_ROLE_MLP_GATE_UP);
    const graft_value gate = graft_slice(b, both, 1, 0, m->f), up = graft_slice(b, both, 1, m->f, m->f);
    graft_value y = graft_mark(b, graft_linear(b, graft_gated(b, gate, up, m->act), "down_proj", m->d, 0, GRAFT_ROLE_MLP_DOWN), GRAFT_ROLE_MLP);
    graft_pop(b);
    return y;
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const phi3 m = read_config(cfg);
    graft_push(b, "model");
    graft_value embed = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_embed(b, embed, in->tokens, graft_padding_row(cfg, m.vocab));
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "layers", i);
        x = graft_add(b, x, attention(b, &m, in, norm(b, &m, x, "input_layernorm.weight")));
        x = graft_add(b, x, mlp(b, &m, norm(b, &m, x, "post_attention_layernorm.weight")));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = norm(b, &m, x, "norm.weight");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    return GRAFT_OK;
}

static const graft_model_table phi3_table = {.size = sizeof phi3_table, .build = build, .class_name = "Phi3ForCausalLM"};

GRAFT_ONE_TABLE("model", "graft.model/1", "phi3", "1.0.0", &phi3_table)
