/* core/model/model.h - a model as the rest of core sees it: its folder or file, its plugin, its graphs. */
#ifndef CORE_MODEL_MODEL_H
#define CORE_MODEL_MODEL_H

#include "core/graph/run.h"
#include "core/model/hfconfig.h"
#include "core/model/tokenizer.h"
#include "core/model/weights.h"
#include "core/plugin/load.h"

typedef struct graft_model {
    graft_arena             *arena;
    const char              *path;
    const graft_json        *original;   /* config.json as found, or made from GGUF */
    const graft_config      *config;     /* normalised */
    const char              *model_type;
    const graft_loaded      *plugin;
    const graft_model_table *table;
    graft_weights           *weights;
    int64_t                  vocab, hidden;
    /* Adapters that become part of the base weights whenever these are loaded (merged.c): methods, and the folder of each. */
    const graft_active_method *merged;
    const char *const        *merged_from;
    int                       n_merged;
    double                    balance; /* weight of the experts' load-balancing loss; 0: as config.json says (balance.h) */
    graft_dtype              base_dtype; /* how frozen weights are held (hold.h); 0: as the files store them */
} graft_model;

/* Reads the configuration, finds the plugin by model_type, maps the weights; reads no weight. */
graft_status graft_model_open(const graft_registry *r, const char *path, graft_model **out, graft_error *err);
void         graft_model_close(graft_model *m);
graft_status graft_model_tokenizer(const graft_model *m, graft_tokenizer **out, graft_error *err);

/* What a graph is for. TRAIN: loss and gradients accumulated into "grad:*". LOSS: "loss" and per-row "nll" only. GENERATE: "logits" [labelled, vocab] of
 * label_rows with a key/value cache. FORWARD: the same logits without a cache. MERGE: as FORWARD, with a head of its own where a method changes the head or the
 * embedding and they are one weight.
 * Inputs: tokens, positions [tokens] i32; sequences [sequences, 4] i32; label_rows [labelled] i32; and for TRAIN and LOSS labels [labelled] i32, label_weight [labelled] f32. */
typedef enum graft_purpose { GRAFT_FOR_TRAIN, GRAFT_FOR_LOSS, GRAFT_FOR_GENERATE, GRAFT_FOR_FORWARD, GRAFT_FOR_MERGE } graft_purpose;

graft_status graft_model_graph(const graft_model *m, const graft_active_method *methods, int n_methods, graft_purpose purpose, graft_graph **out, graft_error *err);

/* Reads every base weight that the store has into it. New parameters of methods start by their rule with this seed. */
graft_status graft_model_load(const graft_model *m, const graft_graph *g, graft_store *s, uint64_t seed, graft_error *err);

/* The base model's weights of a folder that graft_model_save wrote for this model. */
graft_status graft_model_reload(const graft_model *m, const char *dir, const graft_graph *g, graft_store *s, graft_error *err);

/* An adapter folder's weights into the store (names: files->prefix + graph name). A missing or unknown tensor is an error. */
graft_status graft_adapter_load(const char *dir, const graft_active_method *method, int index, const graft_graph *g, graft_store *s, graft_error *err);
/* Writes the method's files into dir. base: model_name_or_path for the config. */
graft_status graft_adapter_save(const char *dir, const graft_active_method *method, int index, const graft_graph *g, const graft_store *s, const char *base, graft_error *err);
/* The parameters themselves, where the adapter's file holds a value made of them and training shall go on later; graft_adapter_save writes both. resume: from them if they are there,
 * else from the adapter's file. */
graft_status graft_adapter_save_parameters(const char *dir, int index, const graft_graph *g, const graft_store *s, graft_error *err);
graft_status graft_adapter_resume(const char *dir, const graft_active_method *method, int index, const graft_graph *g, graft_store *s, graft_error *err);
/* Writes a Hugging Face folder: config.json (dtype set), weights of the store under their names, tokenizer, generation_config.json. */
graft_status graft_model_save(const graft_model *m, const graft_graph *g, const graft_store *s, const graft_tokenizer *tok, const char *dir, graft_dtype dtype, int64_t shard_bytes, graft_error *err);
/* Applies each method's merge hook to the store's base weights (on the device). */
graft_status graft_model_merge(const graft_model *m, const graft_active_method *methods, int n_methods, const graft_graph *g, graft_store *s, graft_error *err);

#endif
