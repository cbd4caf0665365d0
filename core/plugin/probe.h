/* core/plugin/probe.h - the first run of unknown code happens in a child process; what came of it is kept by content hash.
 *
 * The child opens the library, asks its door twice, runs init, fetches the table and runs fini, in a time limit, with stdin from /dev/null and its output
 * caught. A result is kept in $XDG_CACHE_HOME/graft/probe/SHA256 (~/.cache/...), one small JSON file:
 *   {"probe": 1, "host": "0.1.0", "verdict": "good" | "quarantined", "kind": .., "name": .., "version": .., "file": .., "reason": .., "notes": [..]}
 * Only these two verdicts are kept: a plugin that declines (no such device today) is asked again next time. A crash, an exit or a hang quarantines the content
 * until `graft plugin retry`. Another version of graft probes again. Without a cache folder everything works, probing each time. */
#ifndef CORE_PLUGIN_PROBE_H
#define CORE_PLUGIN_PROBE_H

#include "core/plugin/registry.h"
#include "core/plugin/trust.h"

typedef struct graft_probe_report {
    int quarantined, cached;
    char kind[64], name[64], version[64]; /* as the door says; empty when it did not come so far */
    char file[1024];
    char reason[256];   /* of a quarantine: "the probe process died with signal 11 (segmentation fault) in stage init" */
    char notes[4][160]; /* what is odd but allowed: prints to stderr, leaks, leaves threads, exports more names        */
    int n_notes;
} graft_probe_report;

/* The kept result or a fresh one. kind GRAFT_KINDS and name NULL: whatever the door says. requires: the entry's object or NULL (its "library" list is tried).
 * Fails with the sentence of the stage that failed; "probed: NAME: ..." for crashes. [control] */
graft_status graft_probe(const graft_trusted *t, graft_kind kind, const char *name, const graft_json *entry, graft_probe_report *out, graft_error *err);

int graft_probe_recall(const char sha256[65], graft_probe_report *out);   /* 1 when a result is kept */
graft_status graft_probe_forget(const char sha256[65], graft_error *err); /* fine when none is kept  */
char *graft_probe_folder(void);                                           /* graft_free; NULL when there is no home folder */
void graft_probe_time_limit(int milliseconds);                            /* 0: the default of 20 s */

#endif
