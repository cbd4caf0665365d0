/* lora.h - one run of LoRA: what lora.c computes with, start.c begins with, and peft.c reads and writes. */
#ifndef LORA_H
#define LORA_H

#include "graft/method.h"
#include "graft/plugin.h"

typedef enum lora_bias { LORA_BIAS_NONE,
                         LORA_BIAS_ALL,
                         LORA_BIAS_OWN /* "lora_only": of the linears that get LoRA */ } lora_bias;
typedef enum lora_init { LORA_INIT_KAIMING,
                         LORA_INIT_GAUSSIAN,
                         LORA_INIT_BOTH, /* init_lora_weights false: B too */
                         LORA_INIT_PISSA,
                         LORA_INIT_OLORA } lora_init;

/* A site that got LoRA, by the hash of its path: names in the adapter's file and starting values depend on it. */
typedef struct lora_site {
    uint64_t id;
    int64_t rank;
    double scale;
} lora_site;

typedef struct lora {
    const graft_host *host;
    const graft_config *select;                        /* holds the selector of sites ...                                          */
    const char *key;                                   /* ... at this key: the user's lora_target, or a saved adapter's target_modules */
    const graft_json *layers, *ranks, *alphas, *whole; /* layers_to_transform, rank_pattern, alpha_pattern, modules_to_save; NULL: none */
    const graft_json *fused;                           /* target_parameters: a list, or NULL                                              */
    int64_t rank;
    int64_t iterations; /* of PiSSA's decomposition; 0: until it stands */
    double alpha, dropout, ratio, embedding_rate; /* the last two: LoRA+, factors on the rates of B and of the token table's B */
    int convert; /* pissa_convert: A [2 r, in] and B [out, 2 r], whose second halves stay what they began as; the base is left alone */
    int spared; /* the model has routed experts that get none: the last parts of paths may name them too */
    int rslora, dora, excludes, saved, output_bias; /* output_bias: B has a bias, PEFT's lora_bias */
    lora_bias bias;
    lora_init init;
    lora_site *sites;
    size_t n_sites, room;
} lora;

/* lora.c */
uint64_t lora_hash(const char *path);
const lora_site *lora_site_at(const lora *m, const char *path); /* NULL: got no LoRA */
int lora_chosen(const lora *m, graft_builder *b, const graft_site *s);
int64_t lora_rank_at(const lora *m, graft_builder *b, const char *path);
double lora_scale_at(const lora *m, graft_builder *b, const char *path);
void lora_remember(lora *m, graft_builder *b, const char *path);

/* experts.c: routed experts, one by one or fused. */
graft_value lora_experts(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value ids, graft_value y);
graft_value lora_merge_experts(const lora *m, graft_builder *b, const graft_site *s, graft_value w);
int lora_file_part(void *run, const char *weight, int64_t part, char *out, size_t room);
int lora_fused_site(const lora *m, const char *path);
int lora_fused_name(const lora *m, const char *weight, char *out, size_t room); /* of a fused parameter in the file; 0: it is none */

/* Next name of "q_proj, v_proj"; NULL at the end. (peft.c) */
const char *lora_next_name(const char *at, size_t *bytes);

/* start.c: values that depend on the base model's weights. */
graft_status lora_start(void *run, graft_tensors *t, graft_error *err);

/* peft.c: adapter_config.json as PEFT writes it. */
graft_status lora_read(lora *m, const graft_config *c, graft_error *err); /* what a saved file and the user's arguments spell alike */
graft_status lora_read_saved(lora *m, const graft_config *saved, graft_error *err);
graft_status lora_save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err);
int lora_owns(void *self, const graft_json *saved);

#endif
