/* core/plugin/load.h - trust, probe, open, init. The only dlopen in the tree. */
#ifndef CORE_PLUGIN_LOAD_H
#define CORE_PLUGIN_LOAD_H

#include "core/plugin/registry.h"
#include "graft/plugin.h"

typedef struct graft_loaded {
    const graft_entry *entry;
    const graft_plugin *door;
    void *self;        /* what init gave */
    const void *table; /* "graft.KIND/1", a full-size copy whose missing slots are stubs that say "unsupported: <function>" where that is safe;
                        * documented-optional slots (NULL allowed by the SDK header) stay NULL */
} graft_loaded;

/* Opens an entry's library by the rules: trusted (path, owner, mode, sha256), probed in a child once per content hash, opened by file descriptor
 * RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE, door checked, init called, table fetched. The same entry twice gives the same object. [control] */
graft_status graft_plugin_load(const graft_entry *e, const graft_loaded **out, graft_error *err);
void graft_plugin_unload_all(void); /* fini in reverse order; at the end of the program */

/* Statically linked plugins (sanitizer and fuzz builds): found by kind and name before any file. Table ends with NULL. */
typedef const graft_plugin *(*graft_static_entry)(void);
void graft_plugin_link_static(const graft_static_entry *entries);

#endif
