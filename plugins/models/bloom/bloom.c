/* BLOOM: LayerNorm, q, k and v fused head by head, no positions but ALiBi in the attention scores. BigScience Workshop 2022, arXiv 2211.05100. */
#include "graft/decoder.h"
#include "graft/plugin.h"

typedef struct bloom {
    int64_t d, heads, head, layers, vocab;
    int from_norm, tied; /* from_norm: residuals start behind the norms */
    double eps;
} bloom;

static bloom read_config(const graft_config *c)
{
    bloom m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.eps = graft_real(c, "layer_norm_epsilon", 1e-5, 0.0, 1.0);
    m.head = m.d / m.heads;
    m.from_norm = graft_flag(c, "apply_residual_connection_post_layernorm", 0);
    m.tied = graft_flag(c, "tie_word_embeddings", 1);
    if (m.d % m.heads) c->api->error(c, "hidden_size", "must be a multiple of n_head");
    return m;
}

/* q.k scale + slope * place as one product: q [T, n, h] gains 1 / scale, k gains slope * place [T, n, 1], v a zero. */
static graft_value attention(graft_builder *b, const bloom *m, const graft_model_inputs *in, graft_value x, graft_value alibi)
{
    const int64_t by_head[] = {GRAFT_DIM_TOKENS, m->heads, 3 * m->head}, one[] = {GRAFT_DIM_TOKENS, m->heads, 1}, wide[] = {GRAFT_DIM_TOKENS, m->heads * (m->head + 1)};
    const int64_t apart[] = {GRAFT_DIM_TOKENS, m->heads, m->head + 1}, flat[] = {GRAFT_DIM_TOKENS, m->d};
    const double root = sqrt((double)m->head);
    graft_push(b, "self_attention");
    const graft_value qkv = graft_reshape(b, graft_linear(b, x, "query_key_value", 3 * m->d, 1, GRAFT_ROLE_ATTN_QKV), 3, by_head);
    const graft_value q = graft_concat(b, graft_slice(b, qkv, 2, 0, m->head), graft_fill(b, 3, one, root), 2);
    const graft_value k = graft_concat(b, graft_slice(b, qkv, 2, m->head, m->head), alibi, 2);
    const graft_value v = graft_pad(b, graft_slice(b, qkv, 2, 2 * m->head, m->head), 2, 0, 1);
    graft_value o = graft_attention(b, graft_reshape(b, q, 2, wide), graft_reshape(b, k, 2, wide), graft_reshape(b, v, 2, wide), in->sequences, m->heads, m->heads, 0, 1.0 / root, 0.0);
    o = graft_reshape(b, graft_slice(b, graft_reshape(b, o, 3, apart), 2, 0, m->head), 2, flat);
    const graft_value y = graft_mark(b, graft_linear(b, o, "dense", m->d, 1, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return y;
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const bloom m = read_config(cfg);
    const int64_t column[] = {GRAFT_DIM_TOKENS, 1, 1};
    graft_push(b, "transformer");
    const graft_value place = graft_reshape(b, graft_cast(b, in->positions, GRAFT_F32), 3, column);
    const graft_value alibi = graft_mul(b, graft_alibi_slopes(b, "alibi_slopes", m.heads), place);
    const graft_value embed = graft_weight(b, "word_embeddings.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_norm_affine(b, graft_embed(b, embed, in->tokens, -1), m.d, m.eps, "word_embeddings_layernorm");
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "h", i);
        const graft_value n1 = graft_norm_affine(b, x, m.d, m.eps, "input_layernorm");
        const graft_value after = graft_add(b, m.from_norm ? n1 : x, attention(b, &m, in, n1, alibi));
        const graft_value n2 = graft_norm_affine(b, after, m.d, m.eps, "post_attention_layernorm");
        x = graft_mark(b, graft_add(b, m.from_norm ? n2 : after, graft_plain_mlp(b, n2, m.d, 4 * m.d, "dense_h_to_4h", "dense_4h_to_h", 1, "gelu_pytorch_tanh")), GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = graft_norm_affine(b, x, m.d, m.eps, "ln_f");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    return GRAFT_OK;
}

static const graft_config_word config_words[] = {
    {"n_embed", "hidden_size"},
    {"n_head", "num_attention_heads"},
    {"n_layer", "num_hidden_layers"},
    {NULL, NULL}};

static const graft_model_table bloom_table = {
    .size = sizeof bloom_table,
    .build = build,
    .class_name = "BloomForCausalLM",
    .config_words = config_words,
    .prefix = "transformer.",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "bloom", "1.0.0", &bloom_table)
