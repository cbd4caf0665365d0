/* StableLM 2: LayerNorm, part of each head rotates, optional LayerNorms on each head of q and k, optionally attention and MLP side by side.
 * Bellagente et al. 2024, arXiv 2402.17834. */
#include "graft/decoder.h"
#include "graft/plugin.h"

/* Each head of x [T, n * h] with a norm of its own: q_layernorm.norms.#, k_layernorm.norms.#. */
static graft_value head_norms(graft_builder *b, const graft_decoder *m, graft_value x, int64_t n, const char *name)
{
    const int64_t heads[] = {GRAFT_DIM_TOKENS, n, m->head}, flat[] = {GRAFT_DIM_TOKENS, n * m->head}, row[] = {1, m->head};
    graft_value all = graft_null_value();
    graft_push(b, name[0] == 'q' ? "q_layernorm" : "k_layernorm");
    for (int64_t i = 0; i < n; i++) {
        graft_push_index(b, "norms", i);
        const graft_value w = graft_reshape(b, graft_weight(b, "weight", GRAFT_ROLE_NORM, m->head, 0), 2, row);
        all = i ? graft_concat(b, all, w, 0) : w;
        graft_pop(b);
    }
    graft_pop(b);
    const graft_value y = graft_layer_norm(b, graft_reshape(b, x, 3, heads), graft_null_value(), graft_null_value(), m->eps);
    return graft_reshape(b, graft_mul(b, y, all), 2, flat);
}

static graft_value parallel_block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    const graft_value normed = m->norm(b, m, x, "input_layernorm");
    return graft_add(b, graft_add(b, x, graft_self_attention(b, m, in, normed, layer)), graft_mlp(b, m, normed));
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    graft_decoder m = graft_decoder_config(cfg);
    m.eps = graft_real(cfg, "layer_norm_eps", 1e-5, 0.0, 1.0), m.norm = graft_norm_layer;
    m.qkv_bias = graft_flag(cfg, "use_qkv_bias", 0);
    m.qk_norm = graft_flag(cfg, "qk_layernorm", 0) ? head_norms : NULL;
    return graft_decoder_build(b, cfg, &m, in, out, graft_flag(cfg, "use_parallel_residual", 0) ? parallel_block : graft_prenorm_block);
}

static const graft_model_table stablelm_table = {
    .size = sizeof stablelm_table,
    .build = build,
    .class_name = "StableLmForCausalLM",
    .defaults = "{\"partial_rotary_factor\": 0.25}",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "stablelm", "1.0.0", &stablelm_table)
