/* core/plugin/table.h - the table of a kind, copied to its full size, so that nobody ever calls NULL by accident. */
#ifndef CORE_PLUGIN_TABLE_H
#define CORE_PLUGIN_TABLE_H

#include "core/plugin/registry.h"
#include "graft/plugin.h"

/* Fetches "graft.KIND/1" from the door. A table shorter than today's (an older plugin) is padded; missing functions become stand-ins: those that can do
 * nothing do nothing (close, discard), the others fail with "unsupported: NAME has no FUNCTION". Slots that the SDK's header calls optional stay NULL.
 * A function without which the kind has no meaning is an error. The copy is made with graft_calloc; the caller frees it with graft_free.
 * err: where = path, message "queried: NAME: ...". */
graft_status graft_table_take(const char *name, const char *path, graft_kind kind, const graft_plugin *door, void *self, const void **out, graft_error *err);

#endif
