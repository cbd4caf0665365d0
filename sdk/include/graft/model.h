/* graft/model.h - a model architecture ("graft.model/1"): describes a graph, computes nothing. */
#ifndef GRAFT_MODEL_H
#define GRAFT_MODEL_H

#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct graft_model_inputs {
    uint32_t    size;
    graft_value tokens;     /* [tokens] i32                                                                       */
    graft_value positions;  /* [tokens] i32, restart at each sequence                                             */
    graft_value sequences;  /* [sequences, 4] i32: first row in the batch, rows, first row in the cache, rows already cached */
    graft_value inv_freq;   /* [rotary_dim / 2] f32: rotary frequencies, all scalings of the config applied by the host */
    double      rope_scale; /* multiplies cos and sin (yarn, longrope), else 1                                    */
    double      local_rope_scale; /* the same for layers with a sliding window, where the config gives them rotary settings of their own */
    graft_value local_inv_freq;   /* else the null value                                                          */
} graft_model_inputs;

/* The host multiplies by the head itself, for labelled tokens only, fused with the loss. */
typedef struct graft_model_outputs {
    uint32_t    size;
    graft_value hidden;    /* [tokens, d] after the last norm */
    graft_value head;      /* [vocab, d]; the embedding when tied */
    double      softcap;   /* tanh cap of the logits, 0 = none */
    double      scale;     /* multiplies the logits, 1 = none  */
} graft_model_outputs;

/* GGUF files name weights and settings in their own words. Patterns hold at most one '#', the layer's number. */
typedef struct graft_gguf_name {
    const char *file;      /* "blk.#.attn_q.weight"                    */
    const char *weight;    /* "model.layers.#.self_attn.q_proj.weight" */
    const char *unpermute; /* config key of the number of heads whose rotary rows the file interleaves, or NULL */
} graft_gguf_name;
typedef struct graft_gguf_key {
    const char *file;      /* after "<architecture>.", e.g. "attention.head_count_kv" */
    const char *config;    /* "num_key_value_heads" */
} graft_gguf_key;

/* How the files store a weight that is not there name for name and as [out, in]. In both names '#' stands for the layer's number; in `file` '@'
 * for an expert's. TRANSPOSED: the file holds [in, out]. STACKED: the weight [experts, out, in] is one tensor an expert; a file that holds it whole,
 * under the weight's own name, is read as well. IGNORED: a tensor of the file that is no weight (a mask); `weight` is NULL. */
enum { GRAFT_STORED_TRANSPOSED = 1, GRAFT_STORED_STACKED = 2, GRAFT_STORED_IGNORED = 4 };
typedef struct graft_weight_layout {
    const char *weight;    /* "model.layers.#.mlp.experts.up_proj.weight"   */
    const char *file;      /* "model.layers.#.mlp.experts.@.up_proj.weight" */
    uint32_t    flags;
} graft_weight_layout;

/* Another word of config.json for a setting: {"n_embd", "hidden_size"}. */
typedef struct graft_config_word {
    const char *file;
    const char *config;
} graft_config_word;

/* The row of the token table that takes no gradient: pad_token_id where the architecture makes its embedding with torch's padding_idx. -1: none. [any] */
static inline int64_t graft_padding_row(const graft_config *c, int64_t vocab)
{
    const int64_t id = c->api->value(c, "pad_token_id") ? c->api->integer(c, "pad_token_id", -1, -vocab, INT32_MAX) : vocab;
    return id >= vocab ? -1 : id < 0 ? id + vocab
                                     : id;
}

typedef struct graft_model_table {
    uint32_t     size;
    graft_status (*build)(void *self, const graft_config *cfg, graft_builder *b, const graft_model_inputs *in, graft_model_outputs *out, graft_error *err); /* [control] */
    const graft_gguf_name *gguf_names; /* ends with {NULL}; NULL: no GGUF of this architecture */
    const graft_gguf_key  *gguf_keys;  /* ends with {NULL}                                      */
    const char            *class_name; /* config.json's "architectures" entry, for exports      */
    const graft_weight_layout *layouts; /* ends with {NULL, NULL}; NULL: all is stored as the graph names it */
    const graft_config_word *config_words; /* ends with {NULL}; NULL: none                      */
    const char            *prefix;     /* of names that some files leave out: "transformer."; NULL: none */
    const char            *defaults;   /* a JSON object: settings that config.json may leave out; NULL: none */
} graft_model_table;

/* Entry i of a list of texts such as "layer_types"; NULL where there is none. [any] */
static inline const char *graft_layer_text(const graft_json *list, int64_t i)
{
    const graft_json *t = list && list->type == GRAFT_JSON_ARRAY ? list->child : NULL;
    while (t && i-- > 0) t = t->next;
    return t && t->type == GRAFT_JSON_TEXT ? t->text : NULL;
}

#ifdef __cplusplus
}
#endif
#endif
