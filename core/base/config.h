/* core/base/config.h - graft_config (SDK) over a JSON object: typed, sticky reads that remember which keys were read. */
#ifndef CORE_BASE_CONFIG_H
#define CORE_BASE_CONFIG_H

#include "core/base/json.h"

/* object may be NULL (empty). name: for errors, e.g. the file. The config lives in the arena. */
const graft_config *graft_config_new(graft_arena *a, const char *name, const graft_json *object);

const graft_json *graft_config_object(const graft_config *c);
const char       *graft_config_name(const graft_config *c);

/* The first error of a read, "name:line:column: key must be an integer between 1 and 2147483647, found "x"". GRAFT_OK when there was none. */
graft_status graft_config_check(const graft_config *c, graft_error *err);

/* Was this key read by anyone? */
int graft_config_was_read(const graft_config *c, const char *key);
/* Every key that was asked for, latest first; room at most. Borrowed. */
size_t graft_config_asked(const graft_config *c, const char **keys, size_t room);

/* The writer of the SDK: members into an object node. */
graft_writer     *graft_writer_new(graft_arena *a);
const graft_json *graft_writer_object(graft_writer *w);

#endif
