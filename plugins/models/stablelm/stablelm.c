/* StableLM 2: LayerNorm, part of each head rotates, optional LayerNorms on each head of q and k, optionally attention and MLP side by side.
 * Bellagente et al. 2024, arXiv 2402.17834. */
#include "graft/model.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>

typedef struct stablelm {
    int64_t d, f, heads, kv, head, layers, vocab;
    int qkv_bias, head_norms, parallel, tied;
    double eps;
    const char *act;
} stablelm;

static stablelm read_config(const graft_config *c)
{
    stablelm m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.f = graft_dim(c, "intermediate_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.eps = graft_real(c, "layer_norm_eps", 1e-5, 0.0, 1.0);
    m.kv = graft_dim(c, "num_key_value_heads", m.heads);
    m.head = graft_dim(c, "head_dim", m.d / m.heads);
    m.qkv_bias = graft_flag(c, "use_qkv_bias", 0);
    m.head_norms = graft_flag(c, "qk_layernorm", 0);
    m.parallel = graft_flag(c, "use_parallel_residual", 0);
    m.tied = graft_flag(c, "tie_word_embeddings", 0);
    m.act = graft_text(c, "hidden_act", "silu");
    return m;
}

static graft_value norm(graft_builder *b, const stablelm *m, graft_value x, const char *name)
{
    graft_push(b, name);
    const graft_value w = graft_weight(b, "weight", GRAFT_ROLE_NORM, m->d, 0), c = graft_weight(b, "bias", GRAFT_ROLE_NORM, m->d, 0);
    graft_pop(b);
    return graft_layer_norm(b, x, w, c, m->eps);
}

/* Each head of x [T, n * head] with a norm of its own. */
static graft_value head_norms(graft_builder *b, const stablelm *m, graft_value x, int64_t n, const char *name)
{
    const int64_t heads[] = {GRAFT_DIM_TOKENS, n, m->head}, flat[] = {GRAFT_DIM_TOKENS, n * m->head}, row[] = {1, m->head};
    graft_value all = graft_null_value();
    graft_push(b, name);
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

static graft_value attention(graft_builder *b, const stablelm *m, const graft_model_inputs *in, graft_value x)
{
    graft_push(b, "self_attn");
    graft_value q = graft_linear(b, x, "q_proj", m->heads * m->head, m->qkv_bias, GRAFT_ROLE_ATTN_Q);
    graft_value k = graft_linear(b, x, "k_proj", m->kv * m->head, m->qkv_bias, GRAFT_ROLE_ATTN_K);
    graft_value v = graft_linear(b, x, "v_proj", m->kv * m->head, m->qkv_bias, GRAFT_ROLE_ATTN_V);
    if (m->head_norms) {
        q = head_norms(b, m, q, m->heads, "q_layernorm");
        k = head_norms(b, m, k, m->kv, "k_layernorm");
    }
    q = graft_rope(b, q, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    k = graft_rope(b, k, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->kv, 0, 1.0 / sqrt((double)m->head), 0.0);
    o = graft_mark(b, graft_linear(b, o, "o_proj", m->d, 0, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return o;
}

static graft_value mlp(graft_builder *b, const stablelm *m, graft_value x)
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
    const stablelm m = read_config(cfg);
    graft_push(b, "model");
    graft_value embed = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_embed(b, embed, in->tokens, graft_padding_row(cfg, m.vocab));
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "layers", i);
        const graft_value normed = norm(b, &m, x, "input_layernorm");
        const graft_value after = graft_add(b, x, attention(b, &m, in, normed));
        x = graft_add(b, after, mlp(b, &m, m.parallel ? normed : norm(b, &m, after, "post_attention_layernorm")));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = norm(b, &m, x, "norm");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    return GRAFT_OK;
}

static const graft_model_table stablelm_table = {
    .size = sizeof stablelm_table,
    .build = build,
    .class_name = "StableLmForCausalLM",
    .defaults = "{\"partial_rotary_factor\": 0.25}",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "stablelm", "1.0.0", &stablelm_table)
