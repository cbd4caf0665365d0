/* graft/method.h - a tuning method ("graft.method/1"): changes sites, never models.
 * Any hook may be NULL: the method leaves that alone. Hooks run while a graph is built, except on_step, save and load. */
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

typedef struct graft_method_table {
    uint32_t size;
    graft_status (*open)(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err); /* [control] saved: the adapter's config file, NULL for a new one */
    void         (*close)(void *run);                                                                               /* [control] */
    int          (*trains)(void *run, const graft_site *s, const char *weight);                                     /* does this base weight train now? s->path is the weight's module */
    graft_value  (*linear)(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y);         /* y = x W^T + bias -> y' */
    graft_value  (*merge)(void *run, graft_builder *b, const graft_site *s, graft_value w);                         /* W -> W' such that y' = x W'^T; NULL: cannot merge */
    void         (*extend_kv)(void *run, graft_builder *b, const graft_site *s, graft_value *k, graft_value *v);    /* extra keys and values [m, kv*h] */
    graft_value  (*extend_input)(void *run, graft_builder *b, const graft_site *s);                                 /* virtual tokens [m, d] before each sequence */
    graft_value  (*after)(void *run, graft_builder *b, const graft_site *s, graft_value h);                         /* after a block, attention or mlp */
    graft_status (*on_step)(void *run, int64_t step, uint64_t random, uint32_t *flags, graft_error *err);           /* [control] between steps */
    const graft_adapter_files *files;                                                                               /* NULL: the method changes the base's own weights */
    graft_status (*save)(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err);  /* [control] the adapter's config file; sites: paths that the method changed */
    int          (*owns)(void *self, const graft_json *saved);                                                      /* [any] is this adapter config file one of mine? */
} graft_method_table;

#ifdef __cplusplus
}
#endif
#endif
