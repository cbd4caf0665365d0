/* graft/decoder.h - what most decoder language models share, so that a model plugin says only what is its own.
 *
 * Inline functions over model.h and ops.h; nothing here is part of the ABI. T tokens, d width of the residual stream, h of a head.
 * A family takes the parts that it has: the whole (graft_decoder_build with graft_prenorm_block), a block of its own over the same attention and MLP, or
 * one function. plugins/models/llama spells the same block out, without this header. */
#ifndef GRAFT_DECODER_H
#define GRAFT_DECODER_H

#include "model.h"
#include "ops.h"

#include <math.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct graft_decoder graft_decoder;
struct graft_decoder {
    int64_t d, f, heads, kv, head, layers, vocab; /* widths: residual stream, MLP; heads of q, of k and v; width of one; layers; tokens of the vocabulary */
    int64_t window;                               /* tokens that a sliding layer sees back, itself included; 0: all */
    const graft_json *layer_types;                /* a text for each layer; NULL: slides() decides, without it all layers slide (graft_decoder_slides) */
    int    (*slides)(const graft_decoder *m, int64_t layer);
    int64_t pattern;                              /* for slides(): what the family's configuration gives for it */
    int    tied;                                  /* the head is the embedding */
    int    qkv_bias, o_bias, mlp_bias;
    int    interleaved;                           /* rotary pairs are neighbours; 0: halves of a head */
    double eps, norm_offset;                      /* of norms; norm weights are stored minus this */
    double scale, softcap;                        /* of attention scores (ops.h) */
    double embed_scale, residual_scale;           /* multiply the embeddings; what a sublayer adds */
    double logit_scale, logit_cap;                /* model.h */
    const char *act;
    graft_value (*norm)(graft_builder *b, const graft_decoder *m, graft_value x, const char *name);                    /* of the residual stream */
    graft_value (*qk_norm)(graft_builder *b, const graft_decoder *m, graft_value x, int64_t heads, const char *name);  /* of q and k before they rotate; NULL: none */
};

/* ---- parts ----------------------------------------------------------------------------------------------------------------------------------- */

/* x [T, d]: RMS norm with the weight name.weight. */
static inline graft_value graft_norm_rms(graft_builder *b, const graft_decoder *m, graft_value x, const char *name)
{
    graft_push(b, name);
    const graft_value w = graft_weight(b, "weight", GRAFT_ROLE_NORM, m->d, 0);
    graft_pop(b);
    return graft_rms_norm(b, x, w, m->eps, m->norm_offset);
}

/* x [T, d]: LayerNorm with name.weight and name.bias. */
static inline graft_value graft_norm_affine(graft_builder *b, graft_value x, int64_t d, double eps, const char *name)
{
    graft_push(b, name);
    const graft_value w = graft_weight(b, "weight", GRAFT_ROLE_NORM, d, 0), c = graft_weight(b, "bias", GRAFT_ROLE_NORM, d, 0);
    graft_pop(b);
    return graft_layer_norm(b, x, w, c, eps);
}
static inline graft_value graft_norm_layer(graft_builder *b, const graft_decoder *m, graft_value x, const char *name) { return graft_norm_affine(b, x, m->d, m->eps, name); }

/* x [T, n * h]: RMS norm of each head by itself, one weight [h] for all. */
static inline graft_value graft_norm_heads(graft_builder *b, const graft_decoder *m, graft_value x, int64_t n, const char *name)
{
    const int64_t heads[] = {GRAFT_DIM_TOKENS, n, m->head}, flat[] = {GRAFT_DIM_TOKENS, n * m->head};
    graft_push(b, name);
    const graft_value w = graft_weight(b, "weight", GRAFT_ROLE_NORM, m->head, 0);
    graft_pop(b);
    return graft_reshape(b, graft_rms_norm(b, graft_reshape(b, x, 3, heads), w, m->eps, m->norm_offset), 2, flat);
}

/* Tokens that this layer sees back, itself included; 0: all. */
static inline int64_t graft_window_of(const graft_decoder *m, int64_t layer)
{
    if (!m->layer_types) return !m->slides || m->slides(m, layer) ? m->window : 0;
    const char *type = graft_layer_text(m->layer_types, layer);
    return type && !strcmp(type, "sliding_attention") ? m->window : 0;
}

/* q [T, heads * h], k and v [T, kv * h] -> [T, heads * h]: q and k are turned by their positions, sliding layers by their own frequencies where there are any. */
static inline graft_value graft_attend(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value q, graft_value k, graft_value v, int64_t layer)
{
    const int64_t window = graft_window_of(m, layer);
    const int local = window && in->local_inv_freq.id;
    const graft_value inv_freq = local ? in->local_inv_freq : in->inv_freq;
    const double rope_scale = local ? in->local_rope_scale : in->rope_scale;
    if (m->qk_norm) q = m->qk_norm(b, m, q, m->heads, "q_norm"), k = m->qk_norm(b, m, k, m->kv, "k_norm");
    q = graft_rope(b, q, in->positions, inv_freq, m->head, rope_scale, m->interleaved);
    k = graft_rope(b, k, in->positions, inv_freq, m->head, rope_scale, m->interleaved);
    return graft_attention(b, q, k, v, in->sequences, m->heads, m->kv, window, m->scale, m->softcap);
}

/* self_attn.{q,k,v,o}_proj: grouped-query rotary attention of x [T, d]. */
static inline graft_value graft_self_attention(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    graft_push(b, "self_attn");
    const graft_value q = graft_linear(b, x, "q_proj", m->heads * m->head, m->qkv_bias, GRAFT_ROLE_ATTN_Q);
    const graft_value k = graft_linear(b, x, "k_proj", m->kv * m->head, m->qkv_bias, GRAFT_ROLE_ATTN_K);
    const graft_value v = graft_linear(b, x, "v_proj", m->kv * m->head, m->qkv_bias, GRAFT_ROLE_ATTN_V);
    const graft_value o = graft_linear(b, graft_attend(b, m, in, q, k, v, layer), "o_proj", m->d, m->o_bias, GRAFT_ROLE_ATTN_O);
    const graft_value y = graft_mark(b, o, GRAFT_ROLE_ATTN);
    graft_pop(b);
    return y;
}

/* name.{gate,up,down}_proj of x [T, d] through a hidden width: down(act(gate) * up). site: GRAFT_ROLE_MLP marks it as the
 * block's; GRAFT_ROLE_OTHER: it is a part of one, such as a shared expert. */
static inline graft_value graft_gated_mlp(graft_builder *b, const graft_decoder *m, graft_value x, int64_t width, const char *name, graft_role site)
{
    graft_push(b, name);
    const graft_value gate = graft_linear(b, x, "gate_proj", width, m->mlp_bias, GRAFT_ROLE_MLP_GATE);
    const graft_value up = graft_linear(b, x, "up_proj", width, m->mlp_bias, GRAFT_ROLE_MLP_UP);
    graft_value y = graft_linear(b, graft_gated(b, gate, up, m->act), "down_proj", m->d, m->mlp_bias, GRAFT_ROLE_MLP_DOWN);
    if (site != GRAFT_ROLE_OTHER) y = graft_mark(b, y, site);
    graft_pop(b);
    return y;
}
static inline graft_value graft_mlp(graft_builder *b, const graft_decoder *m, graft_value x)
{
    return graft_gated_mlp(b, m, x, m->f, "mlp", GRAFT_ROLE_MLP);
}

/* mlp.gate_up_proj, mlp.down_proj: the same with gate and up in one projection, gate first. */
static inline graft_value graft_fused_mlp(graft_builder *b, const graft_decoder *m, graft_value x)
{
    graft_push(b, "mlp");
    const graft_value both = graft_linear(b, x, "gate_up_proj", 2 * m->f, m->mlp_bias, GRAFT_ROLE_MLP_GATE_UP);
    const graft_value gate = graft_slice(b, both, 1, 0, m->f), up = graft_slice(b, both, 1, m->f, m->f);
    const graft_value y = graft_mark(b, graft_linear(b, graft_gated(b, gate, up, m->act), "down_proj", m->d, m->mlp_bias, GRAFT_ROLE_MLP_DOWN), GRAFT_ROLE_MLP);
    graft_pop(b);
    return y;
}

/* mlp.{up, down} without a gate: down(act(up)). */
static inline graft_value graft_plain_mlp(graft_builder *b, graft_value x, int64_t d, int64_t f, const char *up, const char *down, int bias, const char *act)
{
    graft_push(b, "mlp");
    const graft_value a = graft_activate(b, graft_linear(b, x, up, f, bias, GRAFT_ROLE_MLP_UP), act);
    const graft_value y = graft_mark(b, graft_linear(b, a, down, d, bias, GRAFT_ROLE_MLP_DOWN), GRAFT_ROLE_MLP);
    graft_pop(b);
    return y;
}

/* experts.{gate, up, down}: each token of x [T, d] through the experts ids [T, k] of E, hidden width f; the sum weighted by share ([T, k] or [T, k, 1]) -> [T, d]. */
static inline graft_value graft_routed_experts(graft_builder *b, const graft_decoder *m, graft_value x, graft_value ids, graft_value share, int64_t k, int64_t experts, int64_t f,
                                               const char *gate, const char *up, const char *down)
{
    const int64_t one_row[] = {GRAFT_DIM_TOKENS, 1, m->d}, factors[] = {GRAFT_DIM_TOKENS, k, 1}, flat[] = {GRAFT_DIM_TOKENS, m->d};
    const graft_value rows = graft_reshape(b, x, 3, one_row);
    graft_push(b, "experts");
    const graft_value g = graft_experts(b, rows, ids, gate, experts, f), u = graft_experts(b, rows, ids, up, experts, f);
    const graft_value y = graft_experts(b, graft_gated(b, g, u, m->act), ids, down, experts, m->d);
    graft_pop(b);
    return graft_reshape(b, graft_sum(b, graft_mul(b, y, graft_reshape(b, share, 3, factors)), 1), 2, flat);
}

/* gate, experts.*: a router's softmax chooses k experts for each token; they count by its probability, or by their share of it (normed). */
static inline graft_value graft_softmax_moe(graft_builder *b, const graft_decoder *m, graft_value x, int64_t k, int64_t experts, int64_t f, int normed, const char *gate, const char *up, const char *down)
{
    const graft_value p = graft_topk(b, graft_softmax(b, graft_linear(b, x, "gate", experts, 0, GRAFT_ROLE_ROUTER)), k);
    const graft_value ids = b->api->output(b, p, 1), share = normed ? graft_div(b, p, graft_sum(b, p, 1)) : p;
    return graft_routed_experts(b, m, x, ids, share, k, experts, f, gate, up, down);
}

/* ---- the whole -------------------------------------------------------------------------------------------------------------------------------- */

/* The settings by the words that most configurations use. What a family has otherwise it sets afterwards. */
static inline graft_decoder graft_decoder_config(const graft_config *c)
{
    graft_decoder m;
    memset(&m, 0, sizeof m);
    m.d = graft_dim(c, "hidden_size", 0);
    m.heads = graft_dim(c, "num_attention_heads", 0);
    m.layers = graft_dim(c, "num_hidden_layers", 0);
    m.vocab = graft_dim(c, "vocab_size", 0);
    m.f = graft_dim(c, "intermediate_size", 0);
    m.kv = graft_dim(c, "num_key_value_heads", m.heads);
    m.head = graft_dim(c, "head_dim", m.d / m.heads);
    m.eps = graft_real(c, "rms_norm_eps", 1e-6, 0.0, 1.0);
    m.tied = graft_flag(c, "tie_word_embeddings", 0);
    m.act = graft_text(c, "hidden_act", "silu");
    m.scale = 1.0 / sqrt((double)m.head);
    m.embed_scale = m.residual_scale = m.logit_scale = 1.0;
    m.norm = graft_norm_rms;
    return m;
}

/* "sliding_window" where it is a number; null: all. */
static inline int64_t graft_sliding_window(const graft_config *c) { return c->api->value(c, "sliding_window") ? graft_dim(c, "sliding_window", 0) : 0; }

/* Which layers slide: "layer_types", a list with one text for each layer, or without it slides(). */
static inline void graft_decoder_slides(graft_decoder *m, const graft_config *c, int (*slides)(const graft_decoder *m, int64_t layer))
{
    m->layer_types = c->api->value(c, "layer_types");
    if (m->layer_types && (m->layer_types->type != GRAFT_JSON_ARRAY || m->layer_types->count != m->layers)) c->api->error(c, "layer_types", "must be a list with one text for each layer");
    m->slides = slides;
}

/* x + residual_scale * y */
static inline graft_value graft_residual(graft_builder *b, const graft_decoder *m, graft_value x, graft_value y)
{
    return graft_add(b, x, m->residual_scale != 1.0 ? graft_scale(b, y, m->residual_scale) : y);
}

/* One layer: x [T, d] -> [T, d], within the layer's path; the caller marks it. */
typedef graft_value (*graft_block)(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer);

static inline graft_value graft_prenorm_block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    x = graft_residual(b, m, x, graft_self_attention(b, m, in, m->norm(b, m, x, "input_layernorm"), layer));
    return graft_residual(b, m, x, graft_mlp(b, m, m->norm(b, m, x, "post_attention_layernorm")));
}

/* model.embed_tokens -> model.layers.# -> model.norm, lm_head. m may be the first member of a larger struct, which block then finds. */
static inline graft_status graft_decoder_build(graft_builder *b, const graft_config *c, const graft_decoder *m, const graft_model_inputs *in, graft_model_outputs *out, graft_block block)
{
    graft_push(b, "model");
    const graft_value embed = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, m->vocab, m->d);
    graft_value x = graft_embed(b, embed, in->tokens, graft_padding_row(c, m->vocab));
    if (m->embed_scale != 1.0) x = graft_scale(b, x, m->embed_scale);
    for (int64_t i = 0; i < m->layers; i++) {
        graft_push_index(b, "layers", i);
        x = graft_mark(b, block(b, m, in, x, i), GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    out->hidden = m->norm(b, m, x, "norm");
    graft_pop(b);
    out->head = m->tied ? embed : graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, m->vocab, m->d);
    out->scale = m->logit_scale, out->softcap = m->logit_cap;
    return GRAFT_OK; /* errors are the builder's and the config's; the host asks them */
}

/* ---- rows of gguf_names, gguf_keys and layouts for the names above ------------------------------------------------------------------------------ */

/* embedding, norms, attention, MLP and head; biases are rows of their own: GRAFT_GGUF_BIAS("attn_q", "self_attn.q_proj"). */
#define GRAFT_GGUF_BLOCK(file_, weight_) {"blk.#." file_ ".weight", "model.layers.#." weight_ ".weight", NULL}
#define GRAFT_GGUF_BIAS(file_, weight_) {"blk.#." file_ ".bias", "model.layers.#." weight_ ".bias", NULL}
#define GRAFT_GGUF_ENDS {"token_embd.weight", "model.embed_tokens.weight", NULL}, {"output_norm.weight", "model.norm.weight", NULL}, {"output.weight", "lm_head.weight", NULL}
#define GRAFT_GGUF_ATTENTION                                                                                                              \
    GRAFT_GGUF_BLOCK("attn_q", "self_attn.q_proj"), GRAFT_GGUF_BLOCK("attn_k", "self_attn.k_proj"), GRAFT_GGUF_BLOCK("attn_v", "self_attn.v_proj"), \
        GRAFT_GGUF_BLOCK("attn_output", "self_attn.o_proj")
#define GRAFT_GGUF_PRENORMS GRAFT_GGUF_BLOCK("attn_norm", "input_layernorm"), GRAFT_GGUF_BLOCK("ffn_norm", "post_attention_layernorm")
#define GRAFT_GGUF_MLP GRAFT_GGUF_BLOCK("ffn_gate", "mlp.gate_proj"), GRAFT_GGUF_BLOCK("ffn_up", "mlp.up_proj"), GRAFT_GGUF_BLOCK("ffn_down", "mlp.down_proj")
#define GRAFT_GGUF_NO_MORE {NULL, NULL, NULL}

#define GRAFT_GGUF_KEYS                                                                                                                      \
    {"embedding_length", "hidden_size"}, {"block_count", "num_hidden_layers"}, {"feed_forward_length", "intermediate_size"},                \
        {"attention.head_count", "num_attention_heads"}, {"attention.head_count_kv", "num_key_value_heads"}, {"context_length", "max_position_embeddings"}
#define GRAFT_GGUF_NO_MORE_KEYS {NULL, NULL}

/* Experts that the files hold one by one: path.experts.@.name, as one weight path.experts.name. */
#define GRAFT_STACKED_EXPERTS(path_, name_) {"model.layers.#." path_ ".experts." name_ ".weight", "model.layers.#." path_ ".experts.@." name_ ".weight", GRAFT_STORED_STACKED}

#ifdef __cplusplus
}
#endif
#endif
