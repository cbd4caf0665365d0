/* core/plugin/load.h - trust, probe, open, init: from a registry entry to a plugin that works.
 *
 * Every refusal is one sentence: err->where is the file, the message "STAGE: NAME: what was expected, what was found, what to do" with the stages
 * found, trusted, opened, queried, probed, initialised. The dlopen itself is in door.c. */
#ifndef CORE_PLUGIN_LOAD_H
#define CORE_PLUGIN_LOAD_H

#include "core/plugin/registry.h"
#include "graft/plugin.h"

typedef struct graft_loaded {
    const graft_entry *entry; /* a copy that lives as long as the plugin */
    const graft_plugin *door;
    void *self;        /* what init gave */
    const void *table; /* "graft.KIND/1", a full-size copy whose missing slots are stubs that say "unsupported: <function>" where that is safe;
                        * documented-optional slots (NULL allowed by the SDK header) stay NULL */
} graft_loaded;

/* Opens an entry's library by the rules: trusted (path, owner, mode, sha256), probed in a child once per content hash, opened by file descriptor
 * RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE, door checked, init called, table fetched. The same entry twice gives the same object. [control] */
graft_status graft_plugin_load(const graft_entry *e, const graft_loaded **out, graft_error *err);
void graft_plugin_unload_all(void); /* fini in reverse order; at the end of the program */

/* Memory that a loaded plugin holds through the host's alloc now. */
void graft_plugin_memory(const graft_loaded *p, int64_t *blocks, int64_t *bytes);

/* Statically linked plugins (sanitizer and fuzz builds): found by kind and name before any file. Table ends with NULL. */
typedef const graft_plugin *(*graft_static_entry)(void);
void graft_plugin_link_static(const graft_static_entry *entries);
/* The door linked under this kind and name, or NULL. */
const graft_plugin *graft_plugin_linked(graft_kind kind, const char *name);

#endif
