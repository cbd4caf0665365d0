/* core/plugin/door.h - opening a library and reading its door; the only file with dlopen and dlsym. Used by load.c and, in the probe's child, by probe.c. */
#ifndef CORE_PLUGIN_DOOR_H
#define CORE_PLUGIN_DOOR_H

#include "core/plugin/registry.h"
#include "core/plugin/trust.h"
#include "graft/plugin.h"

typedef const graft_plugin *(*graft_door_entry)(void);

/* dlopen("/proc/self/fd/N", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) of the trusted descriptor, then the entry function.
 * After success the descriptor must stay open for the life of the process: the system's loader knows the library by that name, and would hand it out again
 * for another file under the same number. ($ORIGIN in a plugin's RUNPATH does not work under this name; absolute folders do.)
 * err: "opened: NAME: ..." or "queried: NAME: ...", with the loader's own words. */
graft_status graft_door_open(const graft_trusted *t, graft_door_entry *entry, graft_error *err);

/* Every rule of the frozen struct. kind GRAFT_KINDS and name NULL: whatever the door says. Message "queried: NAME: ..." */
graft_status graft_door_check(const char *label, const char *path, const graft_plugin *door, graft_kind kind, const char *name, graft_error *err);

/* init, with a plugin's failure turned into "initialised: NAME: declined: ..." */
graft_status graft_door_init(const char *label, const char *path, const graft_plugin *door, const graft_host *host, void **self, graft_error *err);

/* Can the system's loader find this library? Opens it: for the probe's child. */
int graft_door_finds(const char *library);

#endif
