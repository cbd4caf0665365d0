/* core/plugin/registry.h - the layered registry: five sections (and comm) of {name: entry}. Reading it never opens a library.
 *
 *   { "datasets": { NAME: {...} }, "formats": {...}, "models": {...}, "methods": {...}, "backends": {...}, "comm": {...} }
 *
 * A file without any section is a dataset_info.json: each member is a dataset. An unknown key is an error with file:line:column and the nearest known one.
 *
 * Keys of a dataset (LLaMA-Factory's, key for key; when "columns" or "tags" is given, a key not listed in it is null):
 *   source, at least one of   hf_hub_url ms_hub_url om_hub_url script_url cloud_file_name file_name
 *   formatting                name of a format entry; "alpaca" when absent (that default belongs to the data room)
 *   ranking (bool), subset, split, folder, num_samples (integer > 0)
 *   columns {prompt query response history messages system tools images videos audios chosen rejected kto_tag}
 *   tags {role_tag content_tag user_tag assistant_tag observation_tag function_tag system_tag}
 *   options                   object, handed to the format plugin as it is (graft's own key: what a new format needs beyond the above)
 *   file_sha1                 of old files; accepted and not checked, as LLaMA-Factory does
 *
 * Keys of a plugin entry:
 *   file_name                 required; relative to the registry file's folder
 *   sha256                    64 hex digits: the file must have this content
 *   model_type                models only: text or list, the values of config.json's "model_type" that this plugin builds
 *   own                       methods only: list of arguments that no other method has; given without the method, they are an error
 *   against                   methods only: {"ARGUMENTS": "sentence"}, what the method does not go with, as terms of core/cli/args_rules.c: "a !b" is a without b
 *   requires                  {"processor": [feature words of /proc/cpuinfo], "library": [sonames], "memory": bytes or "4 GiB"}: checked before the plugin runs
 *   prefer                    backends and comm: integer added to the score of a usable device
 *   version, description, license, homepage (text), provides (list of text): shown by `graft plugin show`; the file itself has the last word on its version
 *
 * Limits: a file of 16 MiB, plugin names of 1..63 characters [a-z0-9_.-]. */
#ifndef CORE_PLUGIN_REGISTRY_H
#define CORE_PLUGIN_REGISTRY_H

#include "core/base/arena.h"

typedef enum graft_kind { GRAFT_KIND_DATASET,
                          GRAFT_KIND_FORMAT,
                          GRAFT_KIND_MODEL,
                          GRAFT_KIND_METHOD,
                          GRAFT_KIND_BACKEND,
                          GRAFT_KIND_COMM,
                          GRAFT_KINDS } graft_kind;
const char *graft_kind_name(graft_kind k);    /* "model": the door's word */
const char *graft_kind_section(graft_kind k); /* "models": the registry's */
graft_kind graft_kind_of(const char *name);   /* from the door's word; GRAFT_KINDS when it is none */

typedef struct graft_entry {
    graft_kind kind;
    const char *name;
    const graft_json *json; /* the entry's object */
    const char *layer;      /* path of the registry file it comes from */
    const char *dir;        /* folder that file_name is relative to */
} graft_entry;

typedef struct graft_registry graft_registry;

typedef struct graft_registry_options {
    const char *shipped;     /* registry.json of the install or build tree; NULL: found from the program's own place */
    const char *extra;       /* --registry FILE, or NULL */
    const char *dataset_dir; /* --dataset_dir, or NULL: its dataset_info.json is the last layer, datasets only */
} graft_registry_options;

/* Layers, later wins by name: shipped, /etc/graft/registry.json, $XDG_CONFIG_HOME/graft/registry.json (~/.config/graft/registry.json), extra,
 * dataset_dir/dataset_info.json. A data folder can never make graft load code: other sections in its file are an error. The environment is read by
 * secure_getenv. shipped NULL looks beside the program, where the build tree and the install put it; extra, and shipped when named, must exist. */
graft_status graft_registry_open(const graft_registry_options *o, graft_registry **out, graft_error *err);
void graft_registry_close(graft_registry *r);
const graft_entry *graft_registry_find(const graft_registry *r, graft_kind kind, const char *name);                                      /* NULL when absent */
graft_status graft_registry_need(const graft_registry *r, graft_kind kind, const char *name, const graft_entry **out, graft_error *err); /* with "did you mean" */
size_t graft_registry_list(const graft_registry *r, graft_kind kind, const graft_entry *const **out);                                    /* sorted by name */
/* The model entry whose "model_type" list has this type (the latest layer's, when several have), or whose name it is. */
graft_status graft_registry_model_for(const graft_registry *r, const char *model_type, const graft_entry **out, graft_error *err);
char *graft_entry_path(const graft_entry *e);                         /* dir/file_name, absolute; graft_free; NULL when the entry names no file */
const char *graft_registry_user_file(const graft_registry *r);        /* where `plugin add` writes; NULL when there is no home folder */
const char *graft_registry_layers(const graft_registry *r, size_t i); /* paths looked at, in order; NULL past the end */
int graft_registry_layer_found(const graft_registry *r, size_t i);    /* was there a file? */

/* The pieces of open, for tests and the fuzzer: an empty registry, and one more layer from memory on top of it. */
graft_registry *graft_registry_new(void); /* NULL when out of memory */
graft_status graft_registry_add(graft_registry *r, const char *path, const char *text, size_t bytes, int datasets_only, graft_error *err);
int graft_registry_has_sections(const graft_json *top); /* which of the two forms is this object? */

/* Puts or takes one entry of a registry file, keeping all else in it; the file is replaced atomically, and made with its folders when it is not there.
 * drop sets *found to 0 when there was no such entry. */
graft_status graft_registry_put(const char *path, graft_kind kind, const char *name, const graft_json *entry, graft_error *err);
graft_status graft_registry_drop(const char *path, graft_kind kind, const char *name, int *found, graft_error *err);

#endif
