/* core/plugin/entry.h - the keys that a registry entry may have, by kind, and the check of one entry against them. */
#ifndef CORE_PLUGIN_ENTRY_H
#define CORE_PLUGIN_ENTRY_H

#include "core/plugin/registry.h"

/* GRAFT_BAD_INPUT with "path:line:column" of the first wrong thing. path: the registry file. */
graft_status graft_entry_check(graft_kind kind, const char *name, const graft_json *entry, const char *path, graft_error *err);

/* A size: integral JSON number of bytes, or text "4 GiB" (B, KiB, MiB, GiB, TiB; fractions are fine). -1 when it is neither. */
int64_t graft_entry_bytes(const graft_json *v);

/* Fails at the place of v in the file: where is "path:line:column". */
graft_status graft_entry_fail(graft_error *err, const char *path, const graft_json *v, const char *fmt, ...) GRAFT_PRINTF(4, 5);

#endif
