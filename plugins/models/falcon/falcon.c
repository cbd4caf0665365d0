/* Falcon: q, k and v fused by groups that share one k and v, attention and MLP side by side under one norm or two, rotary positions or ALiBi.
 * Almazrouei et al. 2023, arXiv 2311.16867. */
#include "graft/decoder.h"
#include "graft/plugin.h"

typedef struct falcon {
    int64_t d, f, heads, kv, head, layers, vocab;
    int grouped, parallel, two_norms, alibi, bias, tied; /* grouped: the architecture of the 40B model */
    double eps;
    const char *act;
} falcon;

static falcon read_config(const graft_config *c)
{
    falcon m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.eps = graft_real(c, "layer_norm_epsilon", 1e-5, 0.0, 1.0);
    m.f = graft_dim(c, "ffn_hidden_size", 4 * m.d);
    m.head = m.d / m.heads;
    m.grouped = graft_flag(c, "new_decoder_architecture", 0);
    m.parallel = graft_flag(c, "parallel_attn", 1);
    const int shared = graft_flag(c, "multi_query", 1);
    const int64_t groups = graft_dim(c, "num_kv_heads", m.heads);
    m.kv = m.grouped ? groups : shared ? 1
                                       : m.heads;
    m.two_norms = c->api->integer(c, "num_ln_in_parallel_attn", m.grouped ? 2 : 1, 1, 2) == 2 && m.grouped && m.parallel;
    m.alibi = graft_flag(c, "alibi", 0);
    m.bias = graft_flag(c, "bias", 0);
    m.tied = graft_flag(c, "tie_word_embeddings", 1);
    m.act = graft_text(c, "activation", "gelu");
    if (m.d % m.heads || m.heads % m.kv) c->api->error(c, "num_attention_heads", "must divide hidden_size and be a multiple of num_kv_heads");
    if (m.grouped && !m.parallel) c->api->error(c, "parallel_attn", "must be true with new_decoder_architecture");
    return m;
}

/* k or v [T, kv, 1, h] for each query head: [T, n, h]. */
static graft_value repeated(graft_builder *b, const falcon *m, graft_value x)
{
    const int64_t each[] = {GRAFT_DIM_TOKENS, m->kv, m->heads / m->kv, m->head}, flat[] = {GRAFT_DIM_TOKENS, m->heads, m->head};
    return graft_reshape(b, graft_broadcast(b, x, 4, each), 3, flat);
}

/* (q.k + slope * place) scale as one product: q [T, n, h] gains a one, k gains the bias [T, n, 1], v a zero. */
static graft_value with_alibi(graft_builder *b, const falcon *m, const graft_model_inputs *in, graft_value q, graft_value k, graft_value v, graft_value bias)
{
    const int64_t apart[] = {GRAFT_DIM_TOKENS, m->heads, m->head}, one[] = {GRAFT_DIM_TOKENS, m->heads, 1};
    const int64_t wide[] = {GRAFT_DIM_TOKENS, m->heads * (m->head + 1)}, more[] = {GRAFT_DIM_TOKENS, m->heads, m->head + 1}, flat[] = {GRAFT_DIM_TOKENS, m->d};
    const graft_value q1 = graft_reshape(b, graft_concat(b, graft_reshape(b, q, 3, apart), graft_fill(b, 3, one, 1.0), 2), 2, wide);
    const graft_value k1 = graft_reshape(b, graft_concat(b, repeated(b, m, k), bias, 2), 2, wide), v1 = graft_reshape(b, graft_pad(b, repeated(b, m, v), 2, 0, 1), 2, wide);
    const graft_value o = graft_attention(b, q1, k1, v1, in->sequences, m->heads, m->heads, 0, 1.0 / sqrt((double)m->head), 0.0);
    return graft_reshape(b, graft_slice(b, graft_reshape(b, o, 3, more), 2, 0, m->head), 2, flat);
}

static graft_value attention(graft_builder *b, const falcon *m, const graft_model_inputs *in, graft_value x, graft_value bias)
{
    const int64_t group = m->heads / m->kv, fused[] = {GRAFT_DIM_TOKENS, m->kv, group + 2, m->head}, flat[] = {GRAFT_DIM_TOKENS, m->d}, narrow[] = {GRAFT_DIM_TOKENS, m->kv * m->head};
    graft_push(b, "self_attention");
    const graft_value qkv = graft_reshape(b, graft_linear(b, x, "query_key_value", (m->heads + 2 * m->kv) * m->head, m->bias, GRAFT_ROLE_ATTN_QKV), 4, fused);
    graft_value q = graft_reshape(b, graft_slice(b, qkv, 2, 0, group), 2, flat), k = graft_slice(b, qkv, 2, group, 1), v = graft_slice(b, qkv, 2, group + 1, 1), o;
    if (m->alibi) {
        o = with_alibi(b, m, in, q, k, v, bias);
    } else {
        q = graft_rope(b, q, in->positions, in->inv_freq, m->head, in->rope_scale, 0);
        k = graft_rope(b, graft_reshape(b, k, 2, narrow), in->positions, in->inv_freq, m->head, in->rope_scale, 0);
        o = graft_attention(b, q, k, graft_reshape(b, v, 2, narrow), in->sequences, m->heads, m->kv, 0, 1.0 / sqrt((double)m->head), 0.0);
    }
    const graft_value y = graft_mark(b, graft_linear(b, o, "dense", m->d, m->bias, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return y;
}

static graft_value block(graft_builder *b, const falcon *m, const graft_model_inputs *in, graft_value x, graft_value bias)
{
    const graft_value first = graft_norm_affine(b, x, m->d, m->eps, m->two_norms ? "ln_attn" : "input_layernorm");
    const graft_value after = graft_add(b, x, attention(b, m, in, first, bias));
    const graft_value second = m->two_norms ? graft_norm_affine(b, x, m->d, m->eps, "ln_mlp") : m->parallel ? first
                                                                                                            : graft_norm_affine(b, after, m->d, m->eps, "post_attention_layernorm");
    return graft_mark(b, graft_add(b, after, graft_plain_mlp(b, second, m->d, m->f, "dense_h_to_4h", "dense_4h_to_h", m->bias, m->act)), GRAFT_ROLE_BLOCK);
}

/* The reference rounds slopes, places and their products to bf16. */
static graft_value rounded(graft_builder *b, graft_value x) { return graft_cast(b, graft_cast(b, x, GRAFT_BF16), GRAFT_F32); }

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const falcon m = read_config(cfg);
    const int64_t column[] = {GRAFT_DIM_TOKENS, 1, 1};
    graft_value bias = graft_null_value();
    graft_push(b, "transformer");
    if (m.alibi) bias = rounded(b, graft_mul(b, rounded(b, graft_alibi_slopes(b, "alibi_slopes", m.heads)), rounded(b, graft_reshape(b, graft_cast(b, in->positions, GRAFT_F32), 3, column))));
    const graft_value embed = graft_weight(b, "word_embeddings.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_embed(b, embed, in->tokens, -1);
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "h", i);
        x = block(b, &m, in, x, bias);
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
    {"n_head_kv", "num_kv_heads"},
    {"n_layer", "num_hidden_layers"},
    {NULL, NULL}};

static const graft_model_table falcon_table = {.size = sizeof falcon_table, .build = build, .class_name = "FalconForCausalLM", .config_words = config_words};

GRAFT_ONE_TABLE("model", "graft.model/1", "falcon", "1.0.0", &falcon_table)
