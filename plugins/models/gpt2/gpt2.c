/* GPT-2: pre-norm blocks with LayerNorm, learned positions, one projection for q, k and v, and a GELU MLP. Radford et al. 2019, "Language models
 * are unsupervised multitask learners". Its files hold weights as [in, out] (Conv1D), and published ones leave out "transformer.". Dropout of the
 * configuration is for pretraining and is not applied. */
#include "graft/decoder.h"
#include "graft/plugin.h"

typedef struct gpt2 {
    int64_t d, f, heads, layers, vocab, positions;
    int tied, scaled, scaled_by_layer;
    double eps;
    const char *act;
} gpt2;

static gpt2 read_config(const graft_config *c)
{
    gpt2 m = {0};
    m.d = graft_dim(c, "hidden_size", 768);
    m.heads = graft_dim(c, "num_attention_heads", 12);
    m.layers = graft_dim(c, "num_hidden_layers", 12);
    m.vocab = graft_dim(c, "vocab_size", 50257);
    m.positions = graft_dim(c, "max_position_embeddings", 1024);
    m.eps = graft_real(c, "layer_norm_epsilon", 1e-5, 0.0, 1.0);
    m.f = graft_dim(c, "n_inner", 4 * m.d);
    m.tied = graft_flag(c, "tie_word_embeddings", 1);
    m.scaled = graft_flag(c, "scale_attn_weights", 1);
    m.scaled_by_layer = graft_flag(c, "scale_attn_by_inverse_layer_idx", 0);
    m.act = graft_text(c, "activation_function", "gelu_new");
    if (m.d % m.heads) c->api->error(c, "n_embd", "must be a multiple of n_head");
    if (graft_flag(c, "add_cross_attention", 0)) c->api->error(c, "add_cross_attention", "must be false: there is no encoder to attend to");
    return m;
}

static graft_value attention(graft_builder *b, const gpt2 *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    double scale = m->scaled ? 1.0 / sqrt((double)(m->d / m->heads)) : 1.0;
    if (m->scaled_by_layer) scale /= (double)(layer + 1);
    graft_push(b, "attn");
    const graft_value qkv = graft_linear(b, x, "c_attn", 3 * m->d, 1, GRAFT_ROLE_ATTN_QKV);
    const graft_value q = graft_slice(b, qkv, 1, 0, m->d), k = graft_slice(b, qkv, 1, m->d, m->d), v = graft_slice(b, qkv, 1, 2 * m->d, m->d);
    const graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->heads, 0, scale, 0.0);
    const graft_value y = graft_mark(b, graft_linear(b, o, "c_proj", m->d, 1, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return y;
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const gpt2 m = read_config(cfg);
    graft_push(b, "transformer");
    const graft_value embed = graft_weight(b, "wte.weight", GRAFT_ROLE_EMBED, m.vocab, m.d);
    const graft_value places = graft_weight(b, "wpe.weight", GRAFT_ROLE_OTHER, m.positions, m.d);
    graft_value x = graft_add(b, graft_embed(b, embed, in->tokens, -1), graft_gather(b, places, in->positions));
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "h", i);
        x = graft_add(b, x, attention(b, &m, in, graft_norm_affine(b, x, m.d, m.eps, "ln_1"), i));
        x = graft_add(b, x, graft_plain_mlp(b, graft_norm_affine(b, x, m.d, m.eps, "ln_2"), m.d, m.f, "c_fc", "c_proj", 1, m.act));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = graft_norm_affine(b, x, m.d, m.eps, "ln_f");
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.d);
    return GRAFT_OK;
}

static const graft_weight_layout layouts[] = {
    {"transformer.h.#.attn.c_attn.weight", "transformer.h.#.attn.c_attn.weight", GRAFT_STORED_TRANSPOSED},
    {"transformer.h.#.attn.c_proj.weight", "transformer.h.#.attn.c_proj.weight", GRAFT_STORED_TRANSPOSED},
    {"transformer.h.#.mlp.c_fc.weight", "transformer.h.#.mlp.c_fc.weight", GRAFT_STORED_TRANSPOSED},
    {"transformer.h.#.mlp.c_proj.weight", "transformer.h.#.mlp.c_proj.weight", GRAFT_STORED_TRANSPOSED},
    {NULL, "transformer.h.#.attn.bias", GRAFT_STORED_IGNORED}, /* the causal mask */
    {NULL, NULL, 0}};

static const graft_config_word config_words[] = {
    {"n_embd", "hidden_size"},
    {"n_head", "num_attention_heads"},
    {"n_layer", "num_hidden_layers"},
    {"n_positions", "max_position_embeddings"},
    {NULL, NULL}};

static const graft_gguf_name gguf_names[] = {
    {"token_embd.weight", "transformer.wte.weight", NULL},
    {"position_embd.weight", "transformer.wpe.weight", NULL},
    {"blk.#.attn_norm.weight", "transformer.h.#.ln_1.weight", NULL},
    {"blk.#.attn_norm.bias", "transformer.h.#.ln_1.bias", NULL},
    {"blk.#.attn_qkv.weight", "transformer.h.#.attn.c_attn.weight", NULL},
    {"blk.#.attn_qkv.bias", "transformer.h.#.attn.c_attn.bias", NULL},
    {"blk.#.attn_output.weight", "transformer.h.#.attn.c_proj.weight", NULL},
    {"blk.#.attn_output.bias", "transformer.h.#.attn.c_proj.bias", NULL},
    {"blk.#.ffn_norm.weight", "transformer.h.#.ln_2.weight", NULL},
    {"blk.#.ffn_norm.bias", "transformer.h.#.ln_2.bias", NULL},
    {"blk.#.ffn_up.weight", "transformer.h.#.mlp.c_fc.weight", NULL},
    {"blk.#.ffn_up.bias", "transformer.h.#.mlp.c_fc.bias", NULL},
    {"blk.#.ffn_down.weight", "transformer.h.#.mlp.c_proj.weight", NULL},
    {"blk.#.ffn_down.bias", "transformer.h.#.mlp.c_proj.bias", NULL},
    {"output_norm.weight", "transformer.ln_f.weight", NULL},
    {"output_norm.bias", "transformer.ln_f.bias", NULL},
    {"output.weight", "lm_head.weight", NULL},
    {NULL, NULL, NULL}};

static const graft_gguf_key gguf_keys[] = {
    {"embedding_length", "n_embd"},
    {"block_count", "n_layer"},
    {"feed_forward_length", "n_inner"},
    {"attention.head_count", "n_head"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {"context_length", "n_positions"},
    {NULL, NULL}};

static const graft_model_table gpt2_table = {
    .size = sizeof gpt2_table,
    .build = build,
    .gguf_names = gguf_names,
    .gguf_keys = gguf_keys,
    .class_name = "GPT2LMHeadModel",
    .layouts = layouts,
    .config_words = config_words,
    .prefix = "transformer.",
};

GRAFT_ONE_TABLE("model", "graft.model/1", "gpt2", "1.0.0", &gpt2_table)
