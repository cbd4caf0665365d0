/* Qwen2 and Qwen2.5: grouped-query rotary attention with biases on q, k and v, SwiGLU, and on request a sliding window in the upper
 * layers. Yang et al. 2024, arXiv 2407.10671. */
#include "graft/model.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>

typedef struct qwen2 {
    int64_t d, f, heads, kv, head, layers, vocab, window, first_window;
    const graft_json *layer_types; /* a text for each layer, or NULL */
    int tied;
    double eps;
} qwen2;

static qwen2 read_config(const graft_config *c)
{
    qwen2 m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.f = graft_dim(c, "intermediate_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.eps = graft_real(c, "rms_norm_eps", 1e-6, 0.0, 1.0);
    m.kv = graft_dim(c, "num_key_value_heads", m.heads);
    m.head = graft_dim(c, "head_dim", m.d / m.heads);
    m.tied = graft_flag(c, "tie_word_embeddings", 0);
    m.window = graft_flag(c, "use_sliding_window", 0) ? graft_dim(c, "sliding_window", 4096) : 0;
    m.first_window = c->api->integer(c, "max_window_layers", 28, 0, INT32_MAX);
    m.layer_types = c->api->value(c, "layer_types");
    if (m.layer_types && (m.layer_types->type != GRAFT_JSON_ARRAY || m.layer_types->count != m.layers)) c->api->error(c, "layer_types", "must be a list with one text for each layer");
    if (strcmp(graft_text(c, "hidden_act", "silu"), "silu") != 0) c->api->error(c, "hidden_act", "must be \"silu\"");
    return m;
}

/* Tokens that layer i sees back, itself included; 0: all. */
static int64_t window_of(const qwen2 *m, int64_t i)
{
    if (!m->layer_types) return i >= m->first_window ? m->window : 0;
    const graft_json *t = m->layer_types->child;
    for (int64_t k = 0; k < i && t; k++) t = t->next;
    return t && t->type == GRAFT_JSON_TEXT && !strcmp(t->text, "sliding_attention") ? m->window : 0;
}

static graft_value norm(graft_builder *b, const qwen2 *m, graft_value x, const char *name)
{
    return graft_rms_norm(b, x, graft_weight(b, name, GRAFT_ROLE_NORM, m->d, 0), m->eps, 0.0);
}

static graft_value attention(graft_builder *b, const qwen2 *m, const graft_model_inputs *in, graft_value x, int64_t window)
{
    graft_push(b, "self_attn");
    graft_value q = graft_linear(b, x, "q_proj", m->heads * m->head, 1, GRAFT_ROLE_ATTN_Q);
    graft_value k = graft_linear(b, x, "k_proj", m->kv * m->head, 1, GRAFT_ROLE_ATTN_K);
    graft_value v = graft_linear(b, x, "v_proj", m->kv * m->head, 1, GRAFT_ROLE_ATTN_V);
    q = graft_rope(b, q, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    k = graft_rope(b, k, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->kv, window, 1.0 / sqrt((double)m->head), 0.0);
    o = graft_mark(b, graft_linear(b, o, "o_proj", m->d, 0, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return o;
}

static graft_value mlp(graft_builder *b, const qwen2 *m, graft_value x)
{
    graft_push(b, "mlp");
    graft_value gate = graft_linear(b, x, "gate_proj", m->f, 0, GRAFT_ROLE_MLP_GATE);
    graft_value up = graft_linear(b, x, "up_proj", m->f, 0, GRAFT_ROLE_MLP_UP);
    graft_value y = graft_mark(b, graft_linear(b, graft_swiglu(b, gate, up), "down_proj", m->d, 0, GRAFT_ROLE_MLP_DOWN), GRAFT_ROLE_MLP);
    graft_pop(b);
    return y;
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const qwen2 m = read_config(cfg);
    graft_push(b, "model");
    graft_value embed = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_embed(b, embed, in->tokens, graft_padding_row(cfg, m.vocab));
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "layers", i);
        x = graft_add(b, x, attention(b, &m, in, norm(b, &m, x, "input_layernorm.weight"), window_of(&m, i)));
        x = graft_add(b, x, mlp(b, &m, norm(b, &m, x, "post_attention_layernorm.weight")));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = norm(b, &m, x, "norm.weight");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    return GRAFT_OK;
}

static const graft_gguf_name gguf_names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", NULL},
    {"blk.#.attn_norm.weight", "model.layers.#.input_layernorm.weight", NULL},
    {"blk.#.attn_q.weight", "model.layers.#.self_attn.q_proj.weight", NULL},
    {"blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias", NULL},
    {"blk.#.attn_k.weight", "model.layers.#.self_attn.k_proj.weight", NULL},
    {"blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias", NULL},
    {"blk.#.attn_v.weight", "model.layers.#.self_attn.v_proj.weight", NULL},
    {"blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias", NULL},
    {"blk.#.attn_output.weight", "model.layers.#.self_attn.o_proj.weight", NULL},
    {"blk.#.ffn_norm.weight", "model.layers.#.post_attention_layernorm.weight", NULL},
    {"blk.#.ffn_gate.weight", "model.layers.#.mlp.gate_proj.weight", NULL},
    {"blk.#.ffn_up.weight", "model.layers.#.mlp.up_proj.weight", NULL},
    {"blk.#.ffn_down.weight", "model.layers.#.mlp.down_proj.weight", NULL},
    {"output_norm.weight", "model.norm.weight", NULL},
    {"output.weight", "lm_head.weight", NULL},
    {NULL, NULL, NULL}};

static const graft_gguf_key gguf_keys[] = {
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"context_length", "max_position_embeddings"},
    {NULL, NULL}};

static const graft_model_table qwen2_table = {
    .size = sizeof qwen2_table,
    .build = build,
    .gguf_names = gguf_names,
    .gguf_keys = gguf_keys,
    .class_name = "Qwen2ForCausalLM",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "qwen2", "1.0.0", &qwen2_table)
