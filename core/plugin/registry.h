/* core/plugin/registry.h - the layered registry: five sections of {name: entry}. Reading it never opens a library. */
#ifndef CORE_PLUGIN_REGISTRY_H
#define CORE_PLUGIN_REGISTRY_H

#include "core/base/arena.h"

typedef enum graft_kind { GRAFT_KIND_DATASET, GRAFT_KIND_FORMAT, GRAFT_KIND_MODEL, GRAFT_KIND_METHOD, GRAFT_KIND_BACKEND, GRAFT_KIND_COMM, GRAFT_KINDS } graft_kind;
const char *graft_kind_name(graft_kind k);    /* "model": the door's word */
const char *graft_kind_section(graft_kind k); /* "models": the registry's */

typedef struct graft_entry {
    graft_kind        kind;
    const char       *name;
    const graft_json *json;    /* the entry's object */
    const char       *layer;   /* path of the registry file it comes from */
    const char       *dir;     /* folder that file_name is relative to */
} graft_entry;

typedef struct graft_registry graft_registry;

typedef struct graft_registry_options {
    const char *shipped;      /* registry.json of the install or build tree; NULL: found from the program's own place */
    const char *extra;        /* --registry FILE, or NULL */
    const char *dataset_dir;  /* --dataset_dir, or NULL: its dataset_info.json is the last layer, datasets only */
} graft_registry_options;

/* Layers, later wins by name: shipped, /etc/graft/registry.json, $XDG_CONFIG_HOME/graft/registry.json, extra, dataset_dir/dataset_info.json. */
graft_status graft_registry_open(const graft_registry_options *o, graft_registry **out, graft_error *err);
void         graft_registry_close(graft_registry *r);
const graft_entry *graft_registry_find(const graft_registry *r, graft_kind kind, const char *name);     /* NULL when absent */
graft_status graft_registry_need(const graft_registry *r, graft_kind kind, const char *name, const graft_entry **out, graft_error *err); /* with "did you mean" */
size_t       graft_registry_list(const graft_registry *r, graft_kind kind, const graft_entry *const **out); /* sorted by name */
/* The model entry whose "model_type" list has this type, or whose name it is. */
graft_status graft_registry_model_for(const graft_registry *r, const char *model_type, const graft_entry **out, graft_error *err);
char        *graft_entry_path(const graft_entry *e);  /* dir/file_name, absolute; graft_free */
const char  *graft_registry_user_file(const graft_registry *r); /* where `plugin add` writes */
const char  *graft_registry_layers(const graft_registry *r, size_t i); /* paths looked at, in order; NULL past the end */

#endif
