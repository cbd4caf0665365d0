/* What the wrong plugins share: a format that would be right. Each file of this folder becomes NAME.so and is wrong in the one way its comment says;
 * the sentence it earns is in tests/plugins/refusals.c. */
#ifndef TESTS_PLUGINS_ZOO_H
#define TESTS_PLUGINS_ZOO_H

#include "graft/format.h"
#include "graft/plugin.h"

static graft_status zoo_open(void *self, graft_source *source, const graft_config *entry, void **stream, graft_error *err)
{
    (void)entry, (void)err;
    *stream = source;
    return self ? GRAFT_OK : GRAFT_INTERNAL;
}

static graft_status zoo_next(void *stream, graft_record *out, int *end, graft_error *err)
{
    (void)stream, (void)out, (void)err;
    *end = 1;
    return GRAFT_OK;
}

static const graft_format_table zoo_format = {.size = (uint32_t)sizeof(graft_format_table), .open = zoo_open, .next = zoo_next};

static inline graft_status zoo_init(const graft_host *host, void **self, graft_error *err)
{
    (void)err;
    *self = (void *)(uintptr_t)host;
    return GRAFT_OK;
}

static inline void zoo_fini(void *self) { (void)self; }

static inline const void *zoo_table(void *self, const char *id)
{
    (void)self;
    return strcmp(id, "graft.format/1") ? NULL : &zoo_format;
}

/* A door whose fields are given one by one, for those that GRAFT_PLUGIN would not let anyone get wrong. */
#define ZOO_DOOR(...)                                         \
    GRAFT_EXPORT const graft_plugin *graft_plugin_entry(void) \
    {                                                         \
        static const graft_plugin door = __VA_ARGS__;         \
        return &door;                                         \
    }

#endif
