/* StarCoder2: LayerNorm, biases everywhere, a sliding window and a GELU MLP without gate. Lozhkov et al. 2024, arXiv 2402.19173. */
#include "graft/model.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>

typedef struct starcoder2 {
    int64_t d, f, heads, kv, head, layers, vocab, window;
    int bias, tied;
    double eps;
    const char *act;
} starcoder2;

static starcoder2 read_config(const graft_config *c)
{
    starcoder2 m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.f = graft_dim(c, "intermediate_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.eps = graft_real(c, "norm_epsilon", 1e-5, 0.0, 1.0);
    m.kv = graft_dim(c, "num_key_value_heads", m.heads);
    m.head = graft_dim(c, "head_dim", m.d / m.heads);
    m.bias = graft_flag(c, "use_bias", 1);
    m.tied = graft_flag(c, "tie_word_embeddings", 1);
    m.window = c->api->value(c, "sliding_window") ? graft_dim(c, "sliding_window", 0) : 0; /* tokens seen back, itself included; null: all */
    m.act = graft_text(c, "hidden_act", "gelu_pytorch_tanh");
    return m;
}

static graft_value norm(graft_builder *b, const starcoder2 *m, graft_value x, const char *name)
{
    graft_push(b, name);
    const graft_value w = graft_weight(b, "weight", GRAFT_ROLE_NORM, m->d, 0), c = graft_weight(b, "bias", GRAFT_ROLE_NORM, m->d, 0);
    graft_pop(b);
    return graft_layer_norm(b, x, w, c, m->eps);
}

static graft_value attention(graft_builder *b, const starcoder2 *m, const graft_model_inputs *in, graft_value x)
{
    graft_push(b, "self_attn");
    graft_value q = graft_linear(b, x, "q_proj", m->heads * m->head, m->bias, GRAFT_ROLE_ATTN_Q);
    graft_value k = graft_linear(b, x, "k_proj", m->kv * m->head, m->bias, GRAFT_ROLE_ATTN_K);
    graft_value v = graft_linear(b, x, "v_proj", m->kv * m->head, m->bias, GRAFT_ROLE_ATTN_V);
    q = graft_rope(b, q, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    k = graft_rope(b, k, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->kv, m->window, 1.0 / sqrt((double)m->head), 0.0);
    o = graft_mark(b, graft_linear(b, o, "o_proj", m->d, m->bias, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return o;
}

static graft_value mlp(graft_builder *b, const starcoder2 *m, graft_value x)
{
    graft_push(b, "mlp");
    const graft_value up = graft_activate(b, graft_linear(b, x, "c_fc", m->f, m->bias, GRAFT_ROLE_MLP_UP), m->act);
    const graft_value y = graft_mark(b, graft_linear(b, up, "c_proj", m->d, m->bias, GRAFT_ROLE_MLP_DOWN), GRAFT_ROLE_MLP);
    graft_pop(b);
    return y;
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const starcoder2 m = read_config(cfg);
    graft_push(b, "model");
    graft_value embed = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_embed(b, embed, in->tokens, graft_padding_row(cfg, m.vocab));
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "layers", i);
        x = graft_add(b, x, attention(b, &m, in, norm(b, &m, x, "input_layernorm")));
        x = graft_add(b, x, mlp(b, &m, norm(b, &m, x, "post_attention_layernorm")));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = norm(b, &m, x, "norm");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    return GRAFT_OK;
}

static const graft_gguf_name gguf_names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", NULL},
    {"blk.#.attn_norm.weight", "model.layers.#.input_layernorm.weight", NULL},
    {"blk.#.attn_norm.bias", "model.layers.#.input_layernorm.bias", NULL},
    {"blk.#.attn_q.weight", "model.layers.#.self_attn.q_proj.weight", NULL},
    {"blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias", NULL},
    {"blk.#.attn_k.weight", "model.layers.#.self_attn.k_proj.weight", NULL},
    {"blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias", NULL},
    {"blk.#.attn_v.weight", "model.layers.#.self_attn.v_proj.weight", NULL},
    {"blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias", NULL},
    {"blk.#.attn_output.weight", "model.layers.#.self_attn.o_proj.weight", NULL},
    {"blk.#.attn_output.bias", "model.layers.#.self_attn.o_proj.bias", NULL},
    {"blk.#.ffn_norm.weight", "model.layers.#.post_attention_layernorm.weight", NULL},
    {"blk.#.ffn_norm.bias", "model.layers.#.post_attention_layernorm.bias", NULL},
    {"blk.#.ffn_up.weight", "model.layers.#.mlp.c_fc.weight", NULL},
    {"blk.#.ffn_up.bias", "model.layers.#.mlp.c_fc.bias", NULL},
    {"blk.#.ffn_down.weight", "model.layers.#.mlp.c_proj.weight", NULL},
    {"blk.#.ffn_down.bias", "model.layers.#.mlp.c_proj.bias", NULL},
    {"output_norm.weight", "model.norm.weight", NULL},
    {"output_norm.bias", "model.norm.bias", NULL},
    {"output.weight", "lm_head.weight", NULL},
    {NULL, NULL, NULL}};

static const graft_gguf_key gguf_keys[] = {
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.layer_norm_epsilon", "norm_epsilon"},
    {"attention.sliding_window", "sliding_window"},
    {"context_length", "max_position_embeddings"},
    {NULL, NULL}};

static const graft_model_table starcoder2_table = {
    .size = sizeof starcoder2_table,
    .build = build,
    .gguf_names = gguf_names,
    .gguf_keys = gguf_keys,
    .class_name = "Starcoder2ForCausalLM",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "starcoder2", "1.0.0", &starcoder2_table)
