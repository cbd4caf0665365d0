/* core/plugin/select.h - choosing among backends: named by the user (strict) or best score, with the reasons kept for `graft doctor`. */
#ifndef CORE_PLUGIN_SELECT_H
#define CORE_PLUGIN_SELECT_H

#include "core/plugin/load.h"
#include "graft/backend.h"

typedef struct graft_candidate {
    const char *backend;
    int32_t device;
    graft_device_info info;
    const graft_loaded *plugin; /* NULL when it could not be loaded */
    char verdict[760];          /* "chosen", "lower score than x (200)", or why not: a sentence */
} graft_candidate;

/* Every backend entry of the registry is loaded and asked, one with requirements of its own in a child process; sorted by score, then name. room candidates at most. A usable device's score is its own plus the
 * entry's "prefer" (at least 1); 0 means that it cannot run. An entry that could not be loaded, or has no device, is one candidate with device -1. */
graft_status graft_backend_candidates(const graft_registry *r, graft_candidate *out, int32_t room, int32_t *n, graft_error *err);
/* Before a candidate's device is opened: its driver comes into this process, if it was only asked in a child. */
void graft_backend_use(const graft_candidate *c);
/* wanted NULL or "auto": best usable; else that backend ("NAME", its best device, or "NAME:DEVICE") or an error. */
graft_status graft_backend_choose(const graft_registry *r, const char *wanted, graft_candidate *out, graft_error *err);

#endif
