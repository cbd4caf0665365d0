/* core/plugin/machine.h - what this machine is, as far as choosing plugins needs it: Linux's own words from /proc and /sys. */
#ifndef CORE_PLUGIN_MACHINE_H
#define CORE_PLUGIN_MACHINE_H

#include "core/plugin/registry.h"

typedef struct graft_machine {
    char model[128];                   /* "Intel(R) Xeon(R) ...", or the architecture when the system names none */
    char features[4096];               /* words of the first processor, one space between                      */
    int processors;                    /* that this process may use                                             */
    int64_t memory_total, memory_free; /* bytes; free: MemAvailable                                  */
    char huge_pages[64];               /* the line of transparent_hugepage/enabled: "always [madvise] never"   */
} graft_machine;

/* Never fails: what cannot be read is empty or 0. */
void graft_machine_read(graft_machine *m);
int graft_machine_has(const graft_machine *m, const char *feature);

/* The entry's "requires" against the machine (processor and memory; libraries are tried in the probe). GRAFT_UNSUPPORTED "probed: NAME: needs ..." */
graft_status graft_machine_meets(const graft_entry *e, const char *path, graft_error *err);

#endif
