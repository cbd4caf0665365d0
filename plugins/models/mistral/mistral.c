/* Mistral: pre-norm blocks of grouped-query rotary attention over a sliding window, and SwiGLU. Jiang et al. 2023, arXiv 2310.06825.
 * GGUF files call this architecture llama. */
#include "graft/decoder.h"
#include "graft/plugin.h"

static graft_status build(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err)
{
    (void)self, (void)err;
    graft_decoder m = graft_decoder_config(cfg);
    m.window = graft_sliding_window(cfg);
    return graft_decoder_build(b, cfg, &m, in, out, graft_prenorm_block);
}

static const graft_model_table mistral_table = {.size = sizeof mistral_table, .build = build, .class_name = "MistralForCausalLM"};

GRAFT_ONE_TABLE("model", "graft.model/1", "mistral", "1.0.0", &mistral_table)
