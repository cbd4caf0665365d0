/* Mixtral: Mistral's attention, and instead of one MLP several experts, of which a router chooses some for each token.
 * Jiang et al. 2024, arXiv 2401.04088. */
#include "graft/decoder.h"
#include "graft/plugin.h"

typedef struct mixtral {
    graft_decoder m;
    int64_t experts, chosen;
} mixtral;

static graft_value block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    const mixtral *own = (const mixtral *)m;
    x = graft_add(b, x, graft_self_attention(b, m, in, m->norm(b, m, x, "input_layernorm"), layer));
    const graft_value normed = m->norm(b, m, x, "post_attention_layernorm");
    graft_push(b, "block_sparse_moe");
    const graft_value y = graft_mark(b, graft_softmax_moe(b, m, normed, own->chosen, own->experts, m->f, 1, "w1", "w3", "w2"), GRAFT_ROLE_MLP);
    graft_pop(b);
    return graft_add(b, x, y);
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    mixtral own = {.m = graft_decoder_config(cfg)};
    own.m.eps = graft_real(cfg, "rms_norm_eps", 1e-5, 0.0, 1.0);
    own.m.window = graft_sliding_window(cfg);
    own.experts = graft_dim(cfg, "num_local_experts", 8);
    own.chosen = graft_dim(cfg, "num_experts_per_tok", 2);
    return graft_decoder_build(b, cfg, &own.m, in, out, block);
}

static const graft_weight_layout layouts[] = {
    GRAFT_STACKED_EXPERTS("block_sparse_moe", "w1"), GRAFT_STACKED_EXPERTS("block_sparse_moe", "w2"), GRAFT_STACKED_EXPERTS("block_sparse_moe", "w3"), {NULL, NULL, 0}};

static const graft_model_table mixtral_table = {.size = sizeof mixtral_table, .build = build, .class_name = "MixtralForCausalLM", .layouts = layouts};

GRAFT_ONE_TABLE("model", "graft.model/1", "mixtral", "1.0.0", &mixtral_table)
