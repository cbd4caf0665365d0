/* Gemma 3, the language model: Gemma 2's block with RMS norms on each head of q and k, and sliding layers with rotary frequencies of their own.
 * Norm weights are stored minus one. attn_logit_softcapping is not used, as in transformers.
 * Gemma Team 2025, arXiv 2503.19786. */
#include "graft/model.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>

typedef struct gemma3_text {
    int64_t d, f, heads, kv, head, layers, vocab, window, pattern;
    const graft_json *layer_types; /* a text for each layer, or NULL: every pattern-th is full */
    int tied, bias;
    double eps, scale, logit_cap;
    const char *act;
} gemma3_text;

static gemma3_text read_config(const graft_config *c)
{
    gemma3_text m = {0};
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
    m.pattern = graft_dim(c, "sliding_window_pattern", 6);
    m.scale = 1.0 / sqrt(graft_real(c, "query_pre_attn_scalar", 256.0, 1e-9, 1e12));
    m.logit_cap = graft_real(c, "final_logit_softcapping", 0.0, 0.0, 1e12);
    m.act = graft_text(c, "hidden_activation", "gelu_pytorch_tanh");
    m.layer_types = c->api->value(c, "layer_types");
    if (m.layer_types && (m.layer_types->type != GRAFT_JSON_ARRAY || m.layer_types->count != m.layers)) c->api->error(c, "layer_types", "must be a list with one text for each layer");
    if (graft_flag(c, "use_bidirectional_attention", 0)) c->api->error(c, "use_bidirectional_attention", "must be false for a language model");
    return m;
}

/* Tokens that layer i sees back, itself included; 0: all. */
static int64_t window_of(const gemma3_text *m, int64_t i)
{
    if (!m->layer_types) return (i + 1) % m->pattern ? m->window : 0;
    const char *type = graft_layer_text(m->layer_types, i);
    return type && !strcmp(type, "sliding_attention") ? m->window : 0;
}

static graft_value norm(graft_builder *b, const gemma3_text *m, graft_value x, const char *name)
{
    return graft_rms_norm(b, x, graft_weight(b, name, GRAFT_ROLE_NORM, m->d, 0), m->eps, 1.0);
}

/* Each head of x [T, n * head] by itself. */
static graft_value head_norm(graft_builder *b, const gemma3_text *m, graft_value x, int64_t n, const char *name)
{
    const int64_t heads[] = {GRAFT_DIM_TOKENS, n, m->head}, flat[] = {GRAFT_DIM_TOKENS, n * m->head};
    const graft_value y = graft_rms_norm(b, graft_reshape(b, x, 3, heads), graft_weight(b, name, GRAFT_ROLE_NORM, m->head, 0), m->eps, 1.0);
    return graft_reshape(b, y, 2, flat);
}

static graft_value attention(graft_builder *b, const gemma3_text *m, const graft_model_inputs *in, graft_value x, int64_t window)
{
    graft_push(b, "self_attn");
    graft_value q = graft_linear(b, x, "q_proj", m->heads * m->head, m->bias, GRAFT_ROLE_ATTN_Q);
    graft_value k = graft_linear(b, x, "k_proj", m->kv * m->head, m->bias, GRAFT_ROLE_ATTN_K);
    graft_value v = graft_linear(b, x, "v_proj", m->kv * m->head, m->bias, GRAFT_ROLE_ATTN_V);
    const int local = window && in->local_inv_freq.id;
    const graft_value inv_freq = local ? in->local_inv_freq : in->inv_freq;
    const double rope_scale = local ? in->local_rope_scale : in->rope_scale;
    q = graft_rope(b, head_norm(b, m, q, m->heads, "q_norm.weight"), in->positions, inv_freq, m->head, rope_scale, 0);
    k = graft_rope(b, head_norm(b, m, k, m->kv, "k_norm.weight"), in->positions, inv_freq, m->head, rope_scale, 0);
    graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->kv, window, m->scale, 0.0);
    o = graft_mark(b, graft_linear(b, o, "o_proj", m->d, m->bias, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return o;
}

static graft_value mlp(graft_builder *b, const gemma3_text *m, graft_value x)
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
    const gemma3_text m = read_config(cfg);
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

static const graft_model_table gemma3_text_table = {
    .size = sizeof gemma3_text_table,
    .build = build,
    .class_name = "Gemma3ForCausalLM",
    .defaults = "{\"head_dim\": 256, \"sliding_window\": 4096, \"rope_theta\": 1000000.0, \"rope_local_base_freq\": 10000.0}",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "gemma3_text", "1.0.0", &gemma3_text_table)
