/* core/plugin/examine.h - the way of a library from file to probe, one step after the other and each said aloud: for `graft plugin add`, `why` and `retry`.
 * Nothing is opened in this process. */
#ifndef CORE_PLUGIN_EXAMINE_H
#define CORE_PLUGIN_EXAMINE_H

#include "core/plugin/probe.h"
#include "core/plugin/registry.h"

typedef struct graft_examined {
    char path[4096]; /* absolute */
    char sha256[65];
    int64_t bytes;
    graft_probe_report probe;
} graft_examined;

enum { GRAFT_EXAMINE_AGAIN = 1,   /* probe anew also when a good result is kept                 */
       GRAFT_EXAMINE_RETRY = 2 }; /* the same, and forget a quarantine                          */

/* e: the entry, or NULL for a file that no registry names (any kind and name is then right); path: NULL for the entry's own.
 * say gets each step that holds, as (stage, phrase); the first that does not is the error. */
graft_status graft_plugin_examine(const graft_entry *e, const char *path, int flags, void (*say)(void *ctx, const char *stage, const char *phrase), void *ctx, graft_examined *out, graft_error *err);

/* A short state without opening or probing anything: "ready", "not probed yet", "no such file", "changed since it was registered", "quarantined: ...". */
void graft_plugin_state(const graft_entry *e, char *out, size_t room);

#endif
