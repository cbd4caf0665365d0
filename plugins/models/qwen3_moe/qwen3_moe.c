/* Qwen3-MoE: Qwen3's attention with norms on each head of q and k; in sparse layers a router chooses some experts for each token.
 * Yang et al. 2025, arXiv 2505.09388. */
#include "graft/decoder.h"
#include "graft/plugin.h"

typedef struct qwen3_moe {
    graft_decoder m;
    int64_t experts, chosen, expert_f, step;
    int normed;
    const graft_json *dense_layers; /* their numbers, or NULL */
} qwen3_moe;

static int is_sparse(const qwen3_moe *own, int64_t layer)
{
    for (const graft_json *n = own->dense_layers ? own->dense_layers->child : NULL; n; n = n->next)
        if (n->type == GRAFT_JSON_NUMBER && n->integer == layer) return 0;
    return own->experts > 0 && (layer + 1) % own->step == 0;
}

static graft_value feed_forward(graft_builder *b, const qwen3_moe *own, graft_value x, int64_t layer)
{
    if (!is_sparse(own, layer)) return graft_mlp(b, &own->m, x);
    graft_push(b, "mlp");
    const graft_value y = graft_mark(b, graft_softmax_moe(b, &own->m, x, own->chosen, own->experts, own->expert_f, own->normed, "gate_proj", "up_proj", "down_proj"), GRAFT_ROLE_MLP);
    graft_pop(b);
    return y;
}

static graft_value block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    x = graft_add(b, x, graft_self_attention(b, m, in, m->norm(b, m, x, "input_layernorm"), layer));
    return graft_add(b, x, feed_forward(b, (const qwen3_moe *)m, m->norm(b, m, x, "post_attention_layernorm"), layer));
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    qwen3_moe own = {.m = graft_decoder_config(cfg)};
    own.m.qkv_bias = own.m.o_bias = graft_flag(cfg, "attention_bias", 0);
    own.m.qk_norm = graft_norm_heads;
    own.m.window = graft_flag(cfg, "use_sliding_window", 0) ? graft_dim(cfg, "sliding_window", 4096) : 0;
    graft_decoder_slides(&own.m, cfg, NULL);
    own.experts = cfg->api->integer(cfg, "num_experts", 128, 0, INT32_MAX);
    own.chosen = graft_dim(cfg, "num_experts_per_tok", 8);
    own.expert_f = graft_dim(cfg, "moe_intermediate_size", 768);
    own.step = graft_dim(cfg, "decoder_sparse_step", 1);
    own.normed = graft_flag(cfg, "norm_topk_prob", 0);
    own.dense_layers = cfg->api->value(cfg, "mlp_only_layers");
    if (own.dense_layers && own.dense_layers->type != GRAFT_JSON_ARRAY) cfg->api->error(cfg, "mlp_only_layers", "must be a list of numbers of layers");
    return graft_decoder_build(b, cfg, &own.m, in, out, block);
}

static const graft_weight_layout layouts[] = {
    GRAFT_STACKED_EXPERTS("mlp", "gate_proj"), GRAFT_STACKED_EXPERTS("mlp", "up_proj"), GRAFT_STACKED_EXPERTS("mlp", "down_proj"), {NULL, NULL, 0}};

static const graft_config_word config_words[] = {{"num_local_experts", "num_experts"}, {NULL, NULL}};

static const graft_model_table qwen3_moe_table = {
    .size = sizeof qwen3_moe_table,
    .build = build,
    .class_name = "Qwen3MoeForCausalLM",
    .layouts = layouts,
    .config_words = config_words,
    .defaults = "{\"head_dim\": 128}",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "qwen3_moe", "1.0.0", &qwen3_moe_table)
