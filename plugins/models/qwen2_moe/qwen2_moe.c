/* Qwen2-MoE: Qwen2's attention; in sparse layers a router chooses some experts for each token, beside one shared expert behind a gate.
 * Yang et al. 2024, arXiv 2407.10671. */
#include "graft/model.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>

typedef struct qwen2_moe {
    int64_t d, f, heads, kv, head, layers, vocab, window, first_window, experts, chosen, expert_f, shared_f, step;
    const graft_json *layer_types, *dense_layers; /* a text for each layer, or NULL */
    int tied, bias, normed;
    const char *act;
    double eps;
} qwen2_moe;

static qwen2_moe read_config(const graft_config *c)
{
    qwen2_moe m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.f = graft_dim(c, "intermediate_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.eps = graft_real(c, "rms_norm_eps", 1e-6, 0.0, 1.0);
    m.kv = graft_dim(c, "num_key_value_heads", m.heads);
    m.head = graft_dim(c, "head_dim", m.d / m.heads);
    m.bias = graft_flag(c, "qkv_bias", 1);
    m.experts = c->api->integer(c, "num_experts", 60, 0, INT32_MAX);
    m.chosen = graft_dim(c, "num_experts_per_tok", 4);
    m.expert_f = graft_dim(c, "moe_intermediate_size", 1408);
    m.shared_f = graft_dim(c, "shared_expert_intermediate_size", 5632);
    m.step = graft_dim(c, "decoder_sparse_step", 1);
    m.normed = graft_flag(c, "norm_topk_prob", 0);
    m.dense_layers = c->api->value(c, "mlp_only_layers");
    if (m.dense_layers && m.dense_layers->type != GRAFT_JSON_ARRAY) c->api->error(c, "mlp_only_layers", "must be a list of numbers of layers");
    if (graft_flag(c, "output_router_logits", 0)) c->api->error(c, "output_router_logits", "must be false: the load-balancing loss is not computed");
    m.tied = graft_flag(c, "tie_word_embeddings", 0);
    m.window = graft_flag(c, "use_sliding_window", 0) ? graft_dim(c, "sliding_window", 4096) : 0;
    m.first_window = c->api->integer(c, "max_window_layers", 28, 0, INT32_MAX);
    m.layer_types = c->api->value(c, "layer_types");
    if (m.layer_types && (m.layer_types->type != GRAFT_JSON_ARRAY || m.layer_types->count != m.layers)) c->api->error(c, "layer_types", "must be a list with one text for each layer");
    m.act = graft_text(c, "hidden_act", "silu");
    return m;
}

/* Tokens that layer i sees back, itself included; 0: all. */
static int64_t window_of(const qwen2_moe *m, int64_t i)
{
    if (!m->layer_types) return i >= m->first_window ? m->window : 0;
    const graft_json *t = m->layer_types->child;
    for (int64_t k = 0; k < i && t; k++) t = t->next;
    return t && t->type == GRAFT_JSON_TEXT && !strcmp(t->text, "sliding_attention") ? m->window : 0;
}

static graft_value norm(graft_builder *b, const qwen2_moe *m, graft_value x, const char *name)
{
    return graft_rms_norm(b, x, graft_weight(b, name, GRAFT_ROLE_NORM, m->d, 0), m->eps, 0.0);
}

static graft_value attention(graft_builder *b, const qwen2_moe *m, const graft_model_inputs *in, graft_value x, int64_t window)
{
    graft_push(b, "self_attn");
    graft_value q = graft_linear(b, x, "q_proj", m->heads * m->head, m->bias, GRAFT_ROLE_ATTN_Q);
    graft_value k = graft_linear(b, x, "k_proj", m->kv * m->head, m->bias, GRAFT_ROLE_ATTN_K);
    graft_value v = graft_linear(b, x, "v_proj", m->kv * m->head, m->bias, GRAFT_ROLE_ATTN_V);
    q = graft_rope(b, q, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    k = graft_rope(b, k, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->kv, window, 1.0 / sqrt((double)m->head), 0.0);
    o = graft_mark(b, graft_linear(b, o, "o_proj", m->d, 0, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return o;
}

static graft_value mlp(graft_builder *b, const qwen2_moe *m, graft_value x, int64_t width, const char *name)
{
    graft_push(b, name);
    const graft_value gate = graft_linear(b, x, "gate_proj", width, 0, GRAFT_ROLE_MLP_GATE), up = graft_linear(b, x, "up_proj", width, 0, GRAFT_ROLE_MLP_UP);
    const graft_value y = graft_linear(b, graft_gated(b, gate, up, m->act), "down_proj", m->d, 0, GRAFT_ROLE_MLP_DOWN);
    graft_pop(b);
    return y;
}

static int is_sparse(const qwen2_moe *m, int64_t layer)
{
    for (const graft_json *n = m->dense_layers ? m->dense_layers->child : NULL; n; n = n->next)
        if (n->type == GRAFT_JSON_NUMBER && n->integer == layer) return 0;
    return m->experts > 0 && (layer + 1) % m->step == 0;
}

/* The sum of the chosen experts' MLPs, weighted by the router's probability or their share of it. */
static graft_value routed(graft_builder *b, const qwen2_moe *m, graft_value x)
{
    const int64_t one_row[] = {GRAFT_DIM_TOKENS, 1, m->d}, factors[] = {GRAFT_DIM_TOKENS, m->chosen, 1}, flat[] = {GRAFT_DIM_TOKENS, m->d};
    const graft_value p = graft_topk(b, graft_softmax(b, graft_linear(b, x, "gate", m->experts, 0, GRAFT_ROLE_ROUTER)), m->chosen);
    const graft_value ids = b->api->output(b, p, 1), share = m->normed ? graft_div(b, p, graft_sum(b, p, 1)) : p, rows = graft_reshape(b, x, 3, one_row);
    graft_push(b, "experts");
    const graft_value gate = graft_experts(b, rows, ids, "gate_proj", m->experts, m->expert_f), up = graft_experts(b, rows, ids, "up_proj", m->experts, m->expert_f);
    const graft_value y = graft_experts(b, graft_gated(b, gate, up, m->act), ids, "down_proj", m->experts, m->d);
    graft_pop(b);
    return graft_reshape(b, graft_sum(b, graft_mul(b, y, graft_reshape(b, share, 3, factors)), 1), 2, flat);
}

static graft_value feed_forward(graft_builder *b, const qwen2_moe *m, graft_value x, int64_t layer)
{
    if (!is_sparse(m, layer)) return graft_mark(b, mlp(b, m, x, m->f, "mlp"), GRAFT_ROLE_MLP);
    graft_push(b, "mlp");
    const graft_value shared = graft_mul(b, mlp(b, m, x, m->shared_f, "shared_expert"), graft_sigmoid(b, graft_linear(b, x, "shared_expert_gate", 1, 0, GRAFT_ROLE_OTHER)));
    const graft_value y = graft_mark(b, graft_add(b, routed(b, m, x), shared), GRAFT_ROLE_MLP);
    graft_pop(b);
    return y;
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const qwen2_moe m = read_config(cfg);
    graft_push(b, "model");
    graft_value embed = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_embed(b, embed, in->tokens, graft_padding_row(cfg, m.vocab));
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "layers", i);
        x = graft_add(b, x, attention(b, &m, in, norm(b, &m, x, "input_layernorm.weight"), window_of(&m, i)));
        x = graft_add(b, x, feed_forward(b, &m, norm(b, &m, x, "post_attention_layernorm.weight"), i));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = norm(b, &m, x, "norm.weight");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    return GRAFT_OK;
}

static const graft_weight_layout layouts[] = {
    {"model.layers.#.mlp.experts.gate_proj.weight", "model.layers.#.mlp.experts.@.gate_proj.weight", GRAFT_STORED_STACKED},
    {"model.layers.#.mlp.experts.up_proj.weight", "model.layers.#.mlp.experts.@.up_proj.weight", GRAFT_STORED_STACKED},
    {"model.layers.#.mlp.experts.down_proj.weight", "model.layers.#.mlp.experts.@.down_proj.weight", GRAFT_STORED_STACKED},
    {NULL, NULL, 0}};

static const graft_config_word config_words[] = {{"num_local_experts", "num_experts"}, {NULL, NULL}};

static const graft_model_table qwen2_moe_table = {
    .size = sizeof qwen2_moe_table,
    .build = build,
    .class_name = "Qwen2MoeForCausalLM",
    .layouts = layouts,
    .config_words = config_words,
};

GRAFT_ONE_TABLE("model", "graft.model/1", "qwen2_moe", "1.0.0", &qwen2_moe_table)
