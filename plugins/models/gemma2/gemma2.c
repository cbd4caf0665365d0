/* Gemma 2: norms before and after each sublayer, a sliding window in every other layer, soft caps on attention scores and logits, GeGLU, and an
 * embedding scaled by sqrt(d). Norm weights are stored minus one. Gemma Team 2024, arXiv 2408.00118. */
#include "graft/model.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>

typedef struct gemma2 {
    int64_t d, f, heads, kv, head, layers, vocab, window;
    const graft_json *layer_types; /* a text for each layer, or NULL: sliding, full, sliding ... */
    int tied, bias;
    double eps, scale, attention_cap, logit_cap;
    const char *act;
} gemma2;

static gemma2 read_config(const graft_config *c)
{
    gemma2 m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.f = graft_dim(c, "intermediate_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.head = graft_dim(c, "head_dim", 256);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.eps = graft_real(c, "rms_norm_eps", 1e-6, 0.0, 1.0);
    m.kv = graft_dim(c, "num_key_value_heads", m.heads);
    m.tied = graft_flag(c, "tie_word_embeddings", 1);
    m.bias = graft_flag(c, "attention_bias", 0);
    m.window = c->api->value(c, "sliding_window") ? graft_dim(c, "sliding_window", 0) : 0;
    m.scale = 1.0 / sqrt(graft_real(c, "query_pre_attn_scalar", 256.0, 1e-9, 1e12));
    m.attention_cap = graft_real(c, "attn_logit_softcapping", 0.0, 0.0, 1e12);
    m.logit_cap = graft_real(c, "final_logit_softcapping", 0.0, 0.0, 1e12);
    m.act = graft_text(c, "hidden_activation", "gelu_pytorch_tanh");
    m.layer_types = c->api->value(c, "layer_types");
    if (m.layer_types && (m.layer_types->type != GRAFT_JSON_ARRAY || m.layer_types->count != m.layers)) c->api->error(c, "layer_types", "must be a list with one text for each layer");
    if (graft_flag(c, "use_bidirectional_attention", 0)) c->api->error(c, "use_bidirectional_attention", "must be false for a language model");
    return m;
}

/* Tokens that layer i sees back, itself included; 0: all. */
static int64_t window_of(const gemma2 *m, int64_t i)
{
    if (!m->layer_types) return i % 2 ? 0 : m->window;
    const char *type = graft_layer_text(m->layer_types, i);
    return type && !strcmp(type, "sliding_attention") ? m->window : 0;
}

static graft_value norm(graft_builder *b, const gemma2 *m, graft_value x, const char *name)
{
    return graft_rms_norm(b, x, graft_weight(b, name, GRAFT_ROLE_NORM, m->d, 0), m->eps, 1.0);
}

static graft_value attention(graft_builder *b, const gemma2 *m, const graft_model_inputs *in, graft_value x, int64_t window)
{
    graft_push(b, "self_attn");
    graft_value q = graft_linear(b, x, "q_proj", m->heads * m->head, m->bias, GRAFT_ROLE_ATTN_Q);
    graft_value k = graft_linear(b, x, "k_proj", m->kv * m->head, m->bias, GRAFT_ROLE_ATTN_K);
    graft_value v = graft_linear(b, x, "v_proj", m->kv * m->head, m->bias, GRAFT_ROLE_ATTN_V);
    q = graft_rope(b, q, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    k = graft_rope(b, k, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->kv, window, m->scale, m->attention_cap);
    o = graft_mark(b, graft_linear(b, o, "o_proj", m->d, m->bias, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return o;
}

static graft_value mlp(graft_builder *b, const gemma2 *m, graft_value x)
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
    const gemma2 m = read_config(cfg);
    graft_push(b, "model");
    graft_value embed = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_scale(b, graft_embed(b, embed, in->tokens, graft_padding_row(cfg, m.vocab)), sqrt((double)m.d));
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "layers", i);
        const graft_value a = attention(b, &m, in, norm(b, &m, x, "input_layernorm.weight"), window_of(&m, i));
        x = graft_add(b, x, norm(b, &m, a, "post_attention_layernorm.weight"));
        const graft_value y = mlp(b, &m, norm(b, &m, x, "pre_feedforward_layernorm.weight"));
        x = graft_add(b, x, norm(b, &m, y, "post_feedforward_layernorm.weight"));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = norm(b, &m, x, "norm.weight");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    out->softcap = m.logit_cap;
    return GRAFT_OK;
}

static const graft_model_table gemma2_table = {
    .size = sizeof gemma2_table,
    .build = build,
    .class_name = "Gemma2ForCausalLM",
    .defaults = "{\"head_dim\": 256, \"sliding_window\": 4096, \"attn_logit_softcapping\": 50.0, \"final_logit_softcapping\": 30.0}",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "gemma2", "1.0.0", &gemma2_table)
