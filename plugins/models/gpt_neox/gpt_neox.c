/* GPT-NeoX and Pythia: LayerNorm, q, k and v fused head by head, part of each head rotates, attention and MLP side by side on request.
 * Black et al. 2022, arXiv 2204.06745. */
#include "graft/decoder.h"
#include "graft/plugin.h"

typedef struct gpt_neox {
    int64_t d, f, heads, head, layers, vocab;
    int bias, parallel, tied;
    double eps;
    const char *act;
} gpt_neox;

static gpt_neox read_config(const graft_config *c)
{
    gpt_neox m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.f = graft_dim(c, "intermediate_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.eps = graft_real(c, "layer_norm_eps", 1e-5, 0.0, 1.0);
    m.head = m.d / m.heads;
    m.bias = graft_flag(c, "attention_bias", 1);
    m.parallel = graft_flag(c, "use_parallel_residual", 1);
    m.tied = graft_flag(c, "tie_word_embeddings", 0);
    m.act = graft_text(c, "hidden_act", "gelu");
    if (m.d % m.heads) c->api->error(c, "hidden_size", "must be a multiple of num_attention_heads");
    return m;
}

/* Part `which` of q, k, v: qkv [T, heads, 3 * head] -> [T, heads * head]. */
static graft_value part(graft_builder *b, const gpt_neox *m, graft_value qkv, int64_t which)
{
    const int64_t flat[] = {GRAFT_DIM_TOKENS, m->d};
    return graft_reshape(b, graft_slice(b, qkv, 2, which * m->head, m->head), 2, flat);
}

static graft_value attention(graft_builder *b, const gpt_neox *m, const graft_model_inputs *in, graft_value x)
{
    const int64_t by_head[] = {GRAFT_DIM_TOKENS, m->heads, 3 * m->head};
    graft_push(b, "attention");
    const graft_value qkv = graft_reshape(b, graft_linear(b, x, "query_key_value", 3 * m->d, m->bias, GRAFT_ROLE_ATTN_QKV), 3, by_head);
    const graft_value q = graft_rope(b, part(b, m, qkv, 0), in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    const graft_value k = graft_rope(b, part(b, m, qkv, 1), in->positions, in->inv_freq, m->head, in->rope_scale, 0);
    const graft_value o = graft_attention(b, q, k, part(b, m, qkv, 2), in->sequences, m->heads, m->heads, 0, 1.0 / sqrt((double)m->head), 0.0);
    const graft_value y = graft_mark(b, graft_linear(b, o, "dense", m->d, m->bias, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return y;
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const gpt_neox m = read_config(cfg);
    graft_push(b, "gpt_neox");
    const graft_value embed = graft_weight(b, "embed_in.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    graft_value x = graft_embed(b, embed, in->tokens, -1);
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "layers", i);
        const graft_value after = graft_add(b, x, attention(b, &m, in, graft_norm_affine(b, x, m.d, m.eps, "input_layernorm")));
        x = graft_add(b, after, graft_plain_mlp(b, graft_norm_affine(b, m.parallel ? x : after, m.d, m.eps, "post_attention_layernorm"), m.d, m.f, "dense_h_to_4h", "dense_4h_to_h", 1, m.act));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = graft_norm_affine(b, x, m.d, m.eps, "final_layer_norm");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "embed_out.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    return GRAFT_OK;
}

static const graft_weight_layout layouts[] = {/* tables that older files store */
                                              {NULL, "gpt_neox.layers.#.attention.bias", GRAFT_STORED_IGNORED},
                                              {NULL, "gpt_neox.layers.#.attention.masked_bias", GRAFT_STORED_IGNORED},
                                              {NULL, "gpt_neox.layers.#.attention.rotary_emb.inv_freq", GRAFT_STORED_IGNORED},
                                              {NULL, NULL, 0}};

static const graft_config_word config_words[] = {
    {"rotary_pct", "partial_rotary_factor"},
    {"rotary_emb_base", "rope_theta"},
    {NULL, NULL}};

static const graft_model_table gpt_neox_table = {
    .size = sizeof gpt_neox_table,
    .build = build,
    .class_name = "GPTNeoXForCausalLM",
    .layouts = layouts,
    .config_words = config_words,
    .defaults = "{\"partial_rotary_factor\": 0.25}",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "gpt_neox", "1.0.0", &gpt_neox_table)
