/* Phi-3: Llama's block with one projection for q, k and v and one for gate and up; part of a head may rotate. Abdin et al. 2024, arXiv 2404.14219. */
#include "graft/decoder.h"
#include "graft/plugin.h"

static graft_value attention(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    const int64_t wide = m->heads * m->head, narrow = m->kv * m->head;
    graft_push(b, "self_attn");
    const graft_value qkv = graft_linear(b, x, "qkv_proj", wide + 2 * narrow, 0, GRAFT_ROLE_ATTN_QKV);
    const graft_value q = graft_slice(b, qkv, 1, 0, wide), k = graft_slice(b, qkv, 1, wide, narrow), v = graft_slice(b, qkv, 1, wide + narrow, narrow);
    const graft_value o = graft_linear(b, graft_attend(b, m, in, q, k, v, layer), "o_proj", m->d, 0, GRAFT_ROLE_ATTN_O);
    const graft_value y = graft_mark(b, o, GRAFT_ROLE_ATTN);
    graft_pop(b);
    return y;
}

static graft_value block(graft_builder *b, const graft_decoder *m, const graft_model_inputs *in, graft_value x, int64_t layer)
{
    x = graft_add(b, x, attention(b, m, in, m->norm(b, m, x, "input_layernorm"), layer));
    return graft_add(b, x, graft_fused_mlp(b, m, m->norm(b, m, x, "post_attention_layernorm")));
}

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    graft_decoder m = graft_decoder_config(cfg);
    m.eps = graft_real(cfg, "rms_norm_eps", 1e-5, 0.0, 1.0);
    m.window = graft_sliding_window(cfg);
    return graft_decoder_build(b, cfg, &m, in, out, block);
}

static const graft_model_table phi3_table = {.size = sizeof phi3_table, .build = build, .class_name = "Phi3ForCausalLM"};

GRAFT_ONE_TABLE("model", "graft.model/1", "phi3", "1.0.0", &phi3_table)
