/* OPT: learned positions that begin at row 2, LayerNorm before each sublayer (in the 350M model after it), ReLU. Zhang et al. 2022, arXiv 2205.01068.
 * Dropout of the configuration is for pretraining and is not applied. */
#include "graft/decoder.h"
#include "graft/plugin.h"

enum { FIRST_PLACE = 2 };

typedef struct opt {
    int64_t d, narrow, f, heads, layers, vocab, positions;
    int before, last_norm, bias, affine, tied;
    const char *act;
} opt;

static opt read_config(const graft_config *c)
{
    opt m = {0};
    m.d = graft_dim(c, "hidden_size", 0);
    m.f = graft_dim(c, "ffn_dim", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.positions = graft_dim(c, "max_position_embeddings", 2048);
    m.narrow = graft_dim(c, "word_embed_proj_dim", m.d);
    m.before = graft_flag(c, "do_layer_norm_before", 1);
    m.last_norm = m.before && !graft_flag(c, "_remove_final_layer_norm", 0);
    m.bias = graft_flag(c, "enable_bias", 1);
    m.affine = graft_flag(c, "layer_norm_elementwise_affine", 1);
    m.tied = graft_flag(c, "tie_word_embeddings", 1);
    m.act = graft_text(c, "activation_function", "relu");
    if (m.d % m.heads) c->api->error(c, "hidden_size", "must be a multiple of num_attention_heads");
    return m;
}

static graft_value norm(graft_builder *b, const opt *m, graft_value x, const char *name)
{
    if (!m->affine) return graft_layer_norm(b, x, graft_null_value(), graft_null_value(), 1e-5);
    return graft_norm_affine(b, x, m->d, 1e-5, name);
}

static graft_value attention(graft_builder *b, const opt *m, const graft_model_inputs *in, graft_value x)
{
    graft_push(b, "self_attn");
    const graft_value q = graft_linear(b, x, "q_proj", m->d, m->bias, GRAFT_ROLE_ATTN_Q), k = graft_linear(b, x, "k_proj", m->d, m->bias, GRAFT_ROLE_ATTN_K);
    const graft_value v = graft_linear(b, x, "v_proj", m->d, m->bias, GRAFT_ROLE_ATTN_V);
    const graft_value o = graft_attention(b, q, k, v, in->sequences, m->heads, m->heads, 0, 1.0 / sqrt((double)(m->d / m->heads)), 0.0);
    const graft_value y = graft_mark(b, graft_linear(b, o, "out_proj", m->d, m->bias, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return y;
}

static graft_value mlp(graft_builder *b, const opt *m, graft_value x)
{
    const graft_value up = graft_activate(b, graft_linear(b, x, "fc1", m->f, m->bias, GRAFT_ROLE_MLP_UP), m->act);
    return graft_mark(b, graft_linear(b, up, "fc2", m->d, m->bias, GRAFT_ROLE_MLP_DOWN), GRAFT_ROLE_MLP);
}

static graft_value block(graft_builder *b, const opt *m, const graft_model_inputs *in, graft_value x)
{
    const graft_value a = graft_add(b, x, attention(b, m, in, m->before ? norm(b, m, x, "self_attn_layer_norm") : x));
    const graft_value after = m->before ? a : norm(b, m, a, "self_attn_layer_norm");
    const graft_value y = graft_add(b, after, mlp(b, m, m->before ? norm(b, m, after, "final_layer_norm") : after));
    return graft_mark(b, m->before ? y : norm(b, m, y, "final_layer_norm"), GRAFT_ROLE_BLOCK);
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    const opt m = read_config(cfg);
    graft_push(b, "model");
    graft_push(b, "decoder");
    const graft_value embed = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, m.vocab, m.narrow);
    const graft_value places = graft_weight(b, "embed_positions.weight", GRAFT_ROLE_OTHER, m.positions + FIRST_PLACE, m.d);
    const graft_value place = graft_cast(b, graft_affine(b, graft_cast(b, in->positions, GRAFT_F32), 1.0, FIRST_PLACE), GRAFT_I32);
    graft_value x = graft_embed(b, embed, in->tokens, graft_padding_row(cfg, m.vocab));
    if (m.narrow != m.d) x = graft_linear(b, x, "project_in", m.d, 0, GRAFT_ROLE_OTHER);
    x = graft_add(b, x, graft_gather(b, places, place));
    for (int64_t i = 0; i < m.layers; i++) {
        graft_push_index(b, "layers", i);
        x = block(b, &m, in, x);
        graft_pop(b);
    }
    if (m.last_norm) x = norm(b, &m, x, "final_layer_norm");
    if (m.narrow != m.d) x = graft_linear(b, x, "project_out", m.narrow, 0, GRAFT_ROLE_OTHER);
    out->hidden = x;
    graft_pop(b);
    graft_pop(b);
    out->head = m.tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m.vocab, m.narrow);
    return GRAFT_OK;
}

static const graft_model_table opt_table = {.size = sizeof opt_table, .build = build, .class_name = "OPTForCausalLM", .prefix = "model."};

GRAFT_ONE_TABLE("model", "graft.model/1", "opt", "1.0.0", &opt_table)
