/* Mixtral: Mistral's attention, and instead of one MLP several experts, of which a router chooses some for each token.
 * Jiang et al. 2024, arXiv 2401.04088. */
#include "graft/model.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>

typedef struct mixtral {
    int64_t d, f, heads, kv, head, layers, vocab, window, experts, chosen;
    int tied;
    const char *act;
    double eps;
} mixtral;

static mixtral read_config(const graft_config *c)
{
    mixtral m = {0};
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
    m.experts = graft_dim(c, "num_local_experts", 8);
    m.chosen = graft_dim(c, "num_experts_per_tok", 2);
    if (graft_flag(c, "output_router_logits", 0)) c->api->error(c, "output_router_logits", "must be false: the load-balancing loss is not computed");
    m.act = graft_text(c, "hidden_act", "silu");
    return m;
}

static graft_value norm(graft_builder *b, const mixtral *m, graft_value x, const char *name)
{
    return graft_rms_norm(b, x, graft_weight(b, name, GRAFT_ROLE_NORM, m->d, 0), m->eps, 0.0);
}

static graft_value attention(graft_builder *b, const mixtral *m, const graft_model_inputs *in, graft_value x)
{
    graft_push(b, "self_attn");
    graft_value q = graft_linear(b, x, "q_proj", m->heads * m->head, 0, GRAFT_ROLE_ATTN_Q);
    graft_value k = graft_linear(b, x, "k_proj", m->kv * m->head, 0, GRAFT_ROLE_ATTN_K);
    graft_value v = graft_linear(b, x, "v_proj", m->kv * m->head, 0, GRAFT_ROLE_ATTN_V);
    q = graft_rope(b, q, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    k = graft_rope(b, k, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->kv, m->window, 1.0 / sqrt((double)m->head), 0.0);
    o = graft_mark(b, graft_linear(b, o, "o_proj", m->d, 0, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return o;
}

/* The sum of the chosen experts' MLPs, weighted by their share of the router's probability. */
static graft_value moe(graft_builder *b, const mixtral *m, graft_value x)
{
    const int64_t one_row[] = {GRAFT_DIM_TOKENS, 1, m->d}, factors[] = {GRAFT_DIM_TOKENS, m->chosen, 1}, flat[] = {GRAFT_DIM_TOKENS, m->d};
    graft_push(b, "block_sparse_moe");
    const graft_value p = graft_topk(b, graft_softmax(b, graft_linear(b, x, "gate", m->experts, 0, GRAFT_ROLE_ROUTER)), m->chosen);
    const graft_value ids = b->api->output(b, p, 1), share = graft_div(b, p, graft_sum(b, p, 1)), rows = graft_reshape(b, x, 3, one_row);
    graft_push(b, "experts");
    const graft_value gate = graft_experts(b, rows, ids, "w1", m->experts, m->f), up = graft_experts(b, rows, ids, "w3", m->experts, m->f);
    const graft_value y = graft_experts(b, graft_gated(b, gate, up, m->act), ids, "w2", m->experts, m->d);
    graft_pop(b);
    const graft_value sum = graft_sum(b, graft_mul(b, y, graft_reshape(b, share, 3, factors)), 1);
    const graft_value out = graft_mark(b, graft_reshape(b, sum, 2, flat), GRAFT_ROLE_MLP);
    graft_pop(b);
    return out;
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const mixtral m = read_config(cfg);
    graft_push(b, "model");
    graft_value embed = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_embed(b, embed, in->tokens, graft_padding_row(cfg, m.vocab));
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "layers", i);
        x = graft_add(b, x, attention(b, &m, in, norm(b, &m, x, "input_layernorm.weight")));
        x = graft_add(b, x, moe(b, &m, norm(b, &m, x, "post_attention_layernorm.weight")));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = norm(b, &m, x, "norm.weight");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    return GRAFT_OK;
}

static const graft_weight_layout layouts[] = {
    {"model.layers.#.block_sparse_moe.experts.w1.weight", "model.layers.#.block_sparse_moe.experts.@.w1.weight", GRAFT_STORED_STACKED},
    {"model.layers.#.block_sparse_moe.experts.w2.weight", "model.layers.#.block_sparse_moe.experts.@.w2.weight", GRAFT_STORED_STACKED},
    {"model.layers.#.block_sparse_moe.experts.w3.weight", "model.layers.#.block_sparse_moe.experts.@.w3.weight", GRAFT_STORED_STACKED},
    {NULL, NULL, 0}};

static const graft_model_table mixtral_table = {.size = sizeof mixtral_table, .build = build, .class_name = "MixtralForCausalLM", .layouts = layouts};

GRAFT_ONE_TABLE("model", "graft.model/1", "mixtral", "1.0.0", &mixtral_table)
