/* core/plugin/table.c - see table.h. One list of slots per kind: offset, stand-in, or required. */
#include "core/plugin/table.h"

#include "core/base/error.h"
#include "graft/backend.h"
#include "graft/format.h"
#include "graft/method.h"
#include "graft/model.h"

#include <stdio.h>
#include <string.h>

typedef void (*any_function)(void);
typedef struct slot {
    const char *name;
    size_t offset;
    any_function standin;
} slot; /* standin NULL: required */

static int no_sniff(void *self, const char *head, size_t bytes, const char *file_name) { return (void)self, (void)head, (void)bytes, (void)file_name, 0; }

static graft_status no_tell(void *stream, graft_cursor *at, graft_error *err)
{
    (void)stream, (void)at;
    return graft_fail(err, GRAFT_UNSUPPORTED, NULL, "unsupported: this format has no tell, so a run over it cannot be resumed; choose another format.");
}

static graft_status no_seek(void *stream, const graft_cursor *at, graft_error *err)
{
    (void)stream, (void)at;
    return graft_fail(err, GRAFT_UNSUPPORTED, NULL, "unsupported: this format has no seek, so a run over it cannot be resumed; choose another format.");
}

static graft_status no_state(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    (void)args, (void)saved, (void)err;
    *run = self; /* a method without open has no state of its own */
    return GRAFT_OK;
}

static void nothing(void *object) { (void)object; }

#define REQUIRED(type_, name_)               \
    {                                        \
#name_, offsetof(type_, name_), NULL \
    }
#define ELSE(type_, name_, standin_)                             \
    {                                                            \
#name_, offsetof(type_, name_), (any_function)(standin_) \
    }

static const slot model_slots[] = {REQUIRED(graft_model_table, build)};

static const slot method_slots[] = {ELSE(graft_method_table, open, no_state), ELSE(graft_method_table, close, nothing)};

static const slot format_slots[] = {ELSE(graft_format_table, sniff, no_sniff), REQUIRED(graft_format_table, open), REQUIRED(graft_format_table, next),
                                    ELSE(graft_format_table, tell, no_tell), ELSE(graft_format_table, seek, no_seek), ELSE(graft_format_table, close, nothing)};

static const slot backend_slots[] = {REQUIRED(graft_backend_table, devices), REQUIRED(graft_backend_table, open), ELSE(graft_backend_table, close, nothing),
                                     REQUIRED(graft_backend_table, ops), REQUIRED(graft_backend_table, alloc), REQUIRED(graft_backend_table, release),
                                     REQUIRED(graft_backend_table, upload), REQUIRED(graft_backend_table, download), REQUIRED(graft_backend_table, compile),
                                     ELSE(graft_backend_table, discard, nothing), REQUIRED(graft_backend_table, run), REQUIRED(graft_backend_table, sync)};

#define SLOTS(a_) a_, sizeof(a_) / sizeof((a_)[0])

static const struct {
    size_t size;
    const slot *slots;
    size_t n;
} kinds[GRAFT_KINDS] = {
    [GRAFT_KIND_FORMAT] = {sizeof(graft_format_table), SLOTS(format_slots)},
    [GRAFT_KIND_MODEL] = {sizeof(graft_model_table), SLOTS(model_slots)},
    [GRAFT_KIND_METHOD] = {sizeof(graft_method_table), SLOTS(method_slots)},
    [GRAFT_KIND_BACKEND] = {sizeof(graft_backend_table), SLOTS(backend_slots)},
    [GRAFT_KIND_COMM] = {64, NULL, 0}, /* the SDK has no header of it yet: its first 64 bytes are carried over */
};

static graft_status fill(const char *name, const char *path, const char *id, graft_kind kind, char *copy, graft_error *err)
{
    for (size_t i = 0; i < kinds[kind].n; i++) {
        const slot *s = &kinds[kind].slots[i];
        any_function f;
        memcpy(&f, copy + s->offset, sizeof f);
        if (f) continue;
        if (!s->standin)
            return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: its table \"%s\" has no function \"%s\", which every %s must give. Add it.", name, id, s->name, graft_kind_name(kind));
        memcpy(copy + s->offset, &s->standin, sizeof s->standin);
    }
    return GRAFT_OK;
}

graft_status graft_table_take(const char *name, const char *path, graft_kind kind, const graft_plugin *door, void *self, const void **out, graft_error *err)
{
    char id[32];
    uint32_t size;
    *out = NULL;
    snprintf(id, sizeof id, "graft.%s/1", graft_kind_name(kind));
    const void *theirs = door->table(self, id);
    if (!theirs) return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: offers no table \"%s\", which a %s needs. Return it from table().", name, id, graft_kind_name(kind));
    memcpy(&size, theirs, sizeof size);
    const size_t least = sizeof(void *) * 2; /* the size field and one function */
    if (size < least || size > 65536)
        return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: its table \"%s\" says size %u, expected %zu (%zu at least). Fill size with sizeof.", name, id, size, kinds[kind].size, least);
    char *copy = graft_calloc(1, kinds[kind].size);
    if (!copy) return graft_fail(err, GRAFT_NO_MEMORY, path, "queried: %s: out of memory for its table.", name);
    memcpy(copy, theirs, size < kinds[kind].size ? size : kinds[kind].size);
    size = (uint32_t)kinds[kind].size;
    memcpy(copy, &size, sizeof size);
    const graft_status status = fill(name, path, id, kind, copy, err);
    if (status) graft_free(copy);
    else *out = copy;
    return status;
}
