/* graft/method.h - a tuning method ("graft.method/1"): changes sites, never models.
 * Any hook may be NULL: the method leaves that alone. Hooks run while a graph is built, unless they are tagged [control]. */
#ifndef GRAFT_METHOD_H
#define GRAFT_METHOD_H

#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GRAFT_STEP_REPLAN = 1 }; /* on_step: the set of trainable weights changed, plan again */

/* The files of an adapter. Parameters are stored under prefix + their name in the graph. */
typedef struct graft_adapter_files {
    uint32_t    size;
    const char *config;   /* "adapter_config.json"       */
    const char *weights;  /* "adapter_model.safetensors" */
    const char *prefix;   /* "base_model.model."         */
} graft_adapter_files;

/* The store's tensors, for `start` and `after_update`: base weights and new parameters by their names in the graph, f32. [control] */
typedef struct graft_tensors graft_tensors;
typedef struct graft_tensors_api {
    uint32_t size;
    graft_status (*read)(graft_tensors *t, const char *name, int64_t n, float *to, graft_error *err);         /* n: elements expected */
    graft_status (*write)(graft_tensors *t, const char *name, int64_t n, const float *from, graft_error *err); /* also of a frozen weight */
    graft_status (*tokens)(graft_tensors *t, const char *text, int64_t room, int32_t *ids, int64_t *n, graft_error *err); /* by the model's tokenizer, without special tokens */
    graft_status (*gradient)(graft_tensors *t, const char *name, int64_t n, float *to, graft_error *err);     /* in after_update: of a parameter, as the update used it */
    float       *(*kept)(graft_tensors *t, const char *name, int64_t n);                                      /* in after_update: n numbers of the method's own, zero at first, that last from update to update and lie in checkpoints; NULL: no memory */
} graft_tensors_api;
struct graft_tensors {
    const graft_tensors_api *api;
    uint64_t                 seed;
    int32_t                  n_sites;  /* linear sites that the method changed, in order */
    const graft_site *const *sites;
    int64_t                  updates;  /* of the whole run, in after_update */
};

typedef struct graft_method_table {
    uint32_t size;
    graft_status (*open)(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err); /* [control] saved: the adapter's config file, NULL for a new one */
    void         (*close)(void *run);                                                                               /* [control] */
    int          (*trains)(void *run, graft_builder *b, const graft_site *s, const char *weight);                   /* does this base weight train now? s->path is the weight's module */
    graft_value  (*linear)(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y);         /* y = x W^T + bias -> y'; of the head: y are the logits before any scale or cap */
    graft_value  (*merge)(void *run, graft_builder *b, const graft_site *s, graft_value w);                         /* W -> W' such that y' = x W'^T; NULL: cannot merge */
    void         (*extend_kv)(void *run, graft_builder *b, const graft_site *s, graft_value *k, graft_value *v);    /* extra keys and values [m, kv*h] */
    graft_value  (*extend_input)(void *run, graft_builder *b, const graft_site *s);                                 /* virtual tokens [m, d] before each sequence */
    graft_value  (*after)(void *run, graft_builder *b, const graft_site *s, graft_value h);                         /* after a block, attention or mlp */
    graft_status (*on_step)(void *run, int64_t step, uint64_t random, uint32_t *flags, graft_error *err);           /* [control] before update `step` (from 0), once for each in order; random: the run's seed */
    const graft_adapter_files *files;                                                                               /* NULL: the method changes the base's own weights */
    graft_status (*save)(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err);  /* [control] the adapter's config file; sites: paths that the method changed */
    int          (*owns)(void *self, const graft_json *saved);                                                      /* [any] is this adapter config file one of mine? */
    graft_value  (*attention)(void *run, graft_builder *b, const graft_site *s, graft_value q, graft_value o);      /* o [tokens, n*h] of queries q, before the output projection -> o' */
    graft_value  (*merge_bias)(void *run, graft_builder *b, const graft_site *s, graft_value bias);                 /* bias -> bias', with merge */
    int64_t      (*offset)(void *run);                                                                              /* positions that lie before the first token of each sequence */
    double       (*rate)(void *run, const char *weight);                                                            /* [control] factor on the learning rate of a parameter that it trains */
    graft_status (*start)(void *run, graft_tensors *t, graft_error *err);                                           /* [control] once the base is loaded: starting values that depend on it; may change the base. Before a saved adapter's weights are read */
    int          (*file_name)(void *run, const char *weight, char *out, size_t room);                               /* [control] the whole name in the adapter file of a parameter or base weight that it trains; 0: prefix + name */
    graft_value  (*stored)(void *run, graft_builder *b, const char **name);                                         /* the one value that the file holds under this name instead of the parameters, as an encoder's output; null: the parameters */
    int          (*changes)(void *run);                                                                             /* [control] will start write weights of the base? They are then held in f32 */
    graft_value  (*embed)(void *run, graft_builder *b, const graft_site *s, graft_value ids, int64_t padding, graft_value y); /* y [tokens, d] = rows `ids` of the token table [s->in, s->out] (ops.h, embed; role EMBED); a negative id is a row of zeros -> y'. merge is then called for the table too */
    graft_value  (*experts)(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value ids, graft_value y); /* y = expert_matmul(x, the stack of weights, ids), ops.h -> y'. merge is then called for the stack too */
    int          (*file_part)(void *run, const char *weight, int64_t part, char *out, size_t room);                 /* [control] of a parameter that the file holds as one tensor for each entry of its first axis: the whole name of tensor `part`; 0: it is one */
    int          (*file_rows)(void *run, const char *weight, int *axis, const uint8_t **kept);                      /* [control] of a parameter of which the file holds the marked entries of this axis: 1; it is then kept whole for going on. 0: all of it */
    graft_status (*after_update)(void *run, graft_tensors *t, int64_t step, graft_error *err);                      /* [control] after update `step` (from 0), once for each in order; reads and writes the method's parameters */
    int          (*watches)(void *run);                                                                             /* [control] will after_update do anything? Memory for the gradients of its parameters and two numbers of its own for each is then planned */
} graft_method_table;

#ifdef __cplusplus
}
#endif
#endif
