/* DeepSeek-V3: attention through low-rank latents, of which a part rotates and is shared by all heads; experts chosen within the best groups by
 * scores that a stored table corrects, beside shared experts. DeepSeek-AI 2024, arXiv 2412.19437. */
#include "graft/decoder.h"
#include "graft/plugin.h"

typedef struct deepseek {
    graft_decoder m;
    int64_t q_rank, kv_rank, still, turning, value; /* of a head: elements that stay, that rotate, of a value */
    int64_t experts, chosen, expert_f, shared, groups, best_groups, dense;
    int bias, normed;
    double routed_scale;
} deepseek;

/* Scores are divided by sqrt(head); where yarn stretches the context, multiplied by its factor for them, squared. */
static double score_scale(const graft_config *c, int64_t head)
{
    const graft_json *r = c->api->value(c, "rope_scaling"), *all = graft_json_get(r, "mscale_all_dim"), *factor = graft_json_get(r, "factor");
    const double m = all && all->number > 0.0 && factor && factor->number > 1.0 ? 0.1 * all->number * log(factor->number) + 1.0 : 1.0;
    return m * m / sqrt((double)head);
}

static deepseek read_config(const graft_config *c)
{
    deepseek m = {.m = graft_decoder_config(c)};
    m.q_rank = c->api->value(c, "q_lora_rank") ? graft_dim(c, "q_lora_rank", 0) : 0;
    m.kv_rank = graft_dim(c, "kv_lora_rank", 512);
    m.still = graft_dim(c, "qk_nope_head_dim", 128);
    m.turning = graft_dim(c, "head_dim", 64);
    m.value = graft_dim(c, "v_head_dim", 128);
    m.experts = graft_dim(c, "n_routed_experts", 256);
    m.chosen = graft_dim(c, "num_experts_per_tok", 8);
    m.expert_f = graft_dim(c, "moe_intermediate_size", 2048);
    m.shared = graft_dim(c, "n_shared_experts", 1);
    m.groups = graft_dim(c, "n_group", 8);
    m.best_groups = graft_dim(c, "topk_group", 4);
    m.dense = c->api->integer(c, "first_k_dense_replace", 3, 0, INT32_MAX);
    m.bias = graft_flag(c, "attention_bias", 0);
    m.m.interleaved = graft_flag(c, "rope_interleave", 1);
    m.normed = graft_flag(c, "norm_topk_prob", 1);
    m.routed_scale = graft_real(c, "routed_scaling_factor", 2.5, -1e9, 1e9);
    m.m.scale = score_scale(c, m.still + m.turning);
    if (m.experts % m.groups || m.experts / m.groups < 2) c->api->error(c, "n_group", "must divide n_routed_experts into groups of 2 or more");
    return m;
}

/* Of a latent: eps is 1e-6, whatever the configuration says. */
static graft_value norm(graft_builder *b, graft_value x, int64_t width, const char *name)
{
    return graft_rms_norm(b, x, graft_weight(b, name, GRAFT_ROLE_NORM, width, 0), 1e-6, 0.0);
}

/* x [T, n, head] with zeros behind, as [T, n * width]. */
static graft_value widened(graft_builder *b, graft_value x, int64_t n, int64_t head, int64_t width)
{
    const int64_t flat[] = {GRAFT_DIM_TOKENS, n * width};
    return graft_reshape(b, width > head ? graft_pad(b, x, 2, 0, width - head) : x, 2, flat);
}

static graft_value queries(graft_builder *b, const deepseek *m, const graft_model_inputs *in, graft_value x)
{
    const int64_t n = m->m.heads, head = m->still + m->turning, apart[] = {GRAFT_DIM_TOKENS, n, head}, turning[] = {GRAFT_DIM_TOKENS, n * m->turning}, turned[] = {GRAFT_DIM_TOKENS, n, m->turning};
    graft_value q;
    if (m->q_rank) {
        q = norm(b, graft_linear(b, x, "q_a_proj", m->q_rank, m->bias, GRAFT_ROLE_ATTN_Q), m->q_rank, "q_a_layernorm.weight");
        q = graft_linear(b, q, "q_b_proj", n * head, 0, GRAFT_ROLE_ATTN_Q);
    } else {
        q = graft_linear(b, x, "q_proj", n * head, 0, GRAFT_ROLE_ATTN_Q);
    }
    q = graft_reshape(b, q, 3, apart);
    const graft_value r = graft_rope(b, graft_reshape(b, graft_slice(b, q, 2, m->still, m->turning), 2, turning), in->positions, in->inv_freq, m->turning, in->rope_scale, m->m.interleaved);
    return graft_concat(b, graft_slice(b, q, 2, 0, m->still), graft_reshape(b, r, 3, turned), 2);
}

static graft_value attention(graft_builder *b, const deepseek *m, const graft_model_inputs *in, graft_value x)
{
    const int64_t n = m->m.heads, head = m->still + m->turning, width = head > m->value ? head : m->value;
    const int64_t apart[] = {GRAFT_DIM_TOKENS, n, m->still + m->value}, shared[] = {GRAFT_DIM_TOKENS, 1, m->turning}, each[] = {GRAFT_DIM_TOKENS, n, m->turning};
    const int64_t wide[] = {GRAFT_DIM_TOKENS, n, width}, flat[] = {GRAFT_DIM_TOKENS, n * m->value};
    graft_push(b, "self_attn");
    const graft_value q = queries(b, m, in, x), latent = graft_linear(b, x, "kv_a_proj_with_mqa", m->kv_rank + m->turning, m->bias, GRAFT_ROLE_ATTN_K);
    const graft_value r = graft_rope(b, graft_slice(b, latent, 1, m->kv_rank, m->turning), in->positions, in->inv_freq, m->turning, in->rope_scale, m->m.interleaved);
    const graft_value c = norm(b, graft_slice(b, latent, 1, 0, m->kv_rank), m->kv_rank, "kv_a_layernorm.weight");
    const graft_value kv = graft_reshape(b, graft_linear(b, c, "kv_b_proj", n * (m->still + m->value), 0, GRAFT_ROLE_ATTN_V), 3, apart);
    const graft_value k = graft_concat(b, graft_slice(b, kv, 2, 0, m->still), graft_broadcast(b, graft_reshape(b, r, 3, shared), 3, each), 2), v = graft_slice(b, kv, 2, m->still, m->value);
    graft_value o = graft_attention(b, widened(b, q, n, head, width), widened(b, k, n, head, width), widened(b, v, n, m->value, width), in->sequences, n, n, 0, m->m.scale, 0.0);
    if (width > m->value) o = graft_reshape(b, graft_slice(b, graft_reshape(b, o, 3, wide), 2, 0, m->value), 2, flat);
    const graft_value y = graft_mark(b, graft_linear(b, o, "o_proj", m->m.d, m->bias, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return y;
}

/* scores [T, E] for the choice, without the experts of all but the best groups: a group is as good as its two best experts together. */
static graft_value within_groups(graft_builder *b, const deepseek *m, graft_value scores)
{
    const int64_t each = m->experts / m->groups, grouped[] = {GRAFT_DIM_TOKENS, m->groups, each}, groups[] = {GRAFT_DIM_TOKENS, m->groups};
    const int64_t picks[] = {GRAFT_DIM_TOKENS, m->best_groups, 1}, row[] = {1, 1, m->groups}, column[] = {GRAFT_DIM_TOKENS, m->groups, 1}, flat[] = {GRAFT_DIM_TOKENS, m->experts};
    const graft_value s = graft_reshape(b, scores, 3, grouped), worth = graft_reshape(b, graft_sum(b, graft_topk(b, s, 2), 2), 2, groups);
    const graft_value best = graft_reshape(b, b->api->output(b, graft_topk(b, worth, m->best_groups), 1), 3, picks);
    const graft_value inside = graft_sum(b, graft_equal(b, best, graft_reshape(b, graft_iota(b, m->groups), 3, row)), 1);
    return graft_reshape(b, graft_select(b, graft_reshape(b, inside, 3, column), s, graft_fill(b, 0, NULL, -3e38)), 2, flat);
}

static graft_value routed(graft_builder *b, const deepseek *m, graft_value x)
{
    const int64_t factors[] = {GRAFT_DIM_TOKENS, m->chosen, 1}, row[] = {1, 1, m->experts}, all[] = {GRAFT_DIM_TOKENS, 1, m->experts};
    const graft_value scores = graft_sigmoid(b, graft_linear(b, x, "gate", m->experts, 0, GRAFT_ROLE_ROUTER));
    const graft_value corrected = graft_add(b, scores, graft_weight(b, "gate.e_score_correction_bias", GRAFT_ROLE_BUFFER, m->experts, 0));
    const graft_value ids = b->api->output(b, graft_topk(b, within_groups(b, m, corrected), m->chosen), 1);
    const graft_value hit = graft_equal(b, graft_reshape(b, ids, 3, factors), graft_reshape(b, graft_iota(b, m->experts), 3, row));
    graft_value share = graft_sum(b, graft_mul(b, hit, graft_reshape(b, scores, 3, all)), 2); /* [T, k, 1] */
    if (m->normed) share = graft_div(b, share, graft_affine(b, graft_sum(b, share, 1), 1.0, 1e-20));
    return graft_routed_experts(b, &m->m, x, ids, graft_scale(b, share, m->routed_scale), m->chosen, m->experts, m->expert_f, "gate_proj", "up_proj", "down_proj");
}

static graft_value feed_forward(graft_builder *b, const deepseek *m, graft_value x, int64_t layer)
{
    if (layer < m->dense) return graft_mlp(b, &m->m, x);
    graft_push(b, "mlp");
    const graft_value y = graft_mark(b, graft_add(b, routed(b, m, x), graft_gated_mlp(b, &m->m, x, m->shared * m->expert_f, "shared_experts", GRAFT_ROLE_OTHER)), GRAFT_ROLE_MLP);
    graft_pop(b);
    return y;
}

static graft_value block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    const deepseek *own = (const deepseek *)m;
    x = graft_add(b, x, attention(b, own, in, m->norm(b, m, x, "input_layernorm")));
    return graft_add(b, x, feed_forward(b, own, m->norm(b, m, x, "post_attention_layernorm"), layer));
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const deepseek m = read_config(cfg);
    return graft_decoder_build(b, cfg, &m.m, in, out, block);
}

static const graft_weight_layout layouts[] = {
    GRAFT_STACKED_EXPERTS("mlp", "gate_proj"), GRAFT_STACKED_EXPERTS("mlp", "up_proj"), GRAFT_STACKED_EXPERTS("mlp", "down_proj"), {NULL, NULL, 0}};

/* Only this part of a head rotates: for the host it is the head. */
static const graft_config_word config_words[] = {{"qk_rope_head_dim", "head_dim"}, {NULL, NULL}};

static const graft_model_table deepseek_v3_table = {
    .size = sizeof deepseek_v3_table,
    .build = build,
    .class_name = "DeepseekV3ForCausalLM",
    .layouts = layouts,
    .config_words = config_words,
};

GRAFT_ONE_TABLE("model", "graft.model/1", "deepseek_v3", "1.0.0", &deepseek_v3_table)
