/* core/plugin/host.c - see host.h. A block is [raw pointer, bytes][what the plugin got, aligned]. */
#include "core/plugin/host.h"

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct head {
    void *raw;
    size_t bytes;
} head;

static void *lend(void *ctx, size_t bytes, size_t align)
{
    graft_lent *l = ctx;
    size_t total;
    if (align < 16) align = 16;
    if (align & (align - 1)) return NULL;
    if (__builtin_add_overflow(bytes, align + sizeof(head), &total)) return NULL;
    char *raw = graft_calloc(1, total);
    if (!raw) return NULL;
    const uintptr_t first = (uintptr_t)raw + sizeof(head);
    char *given = raw + sizeof(head) + ((align - first % align) % align);
    const head h = {raw, bytes};
    memcpy(given - sizeof h, &h, sizeof h);
    __atomic_add_fetch(&l->blocks, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&l->bytes, (int64_t)bytes, __ATOMIC_RELAXED);
    return given;
}

static void take_back(void *ctx, void *p)
{
    graft_lent *l = ctx;
    head h;
    if (!p) return;
    memcpy(&h, (char *)p - sizeof h, sizeof h);
    __atomic_sub_fetch(&l->blocks, 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&l->bytes, (int64_t)h.bytes, __ATOMIC_RELAXED);
    graft_free(h.raw);
}

static void say(void *ctx, int level, const char *sentence)
{
    const graft_lent *l = ctx;
    const int bounded = level < GRAFT_LOG_DEBUG ? GRAFT_LOG_DEBUG : level > GRAFT_LOG_ERROR ? GRAFT_LOG_ERROR
                                                                                            : level;
    if (!l->silent) graft_log((graft_log_level)bounded, "%s: %s", l->name, sentence);
}

static graft_status fail(graft_error *err, graft_status code, const char *where, const char *fmt, ...)
{
    char message[sizeof err->message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    return graft_fail(err, code, where, "%s", message);
}

void graft_lent_init(graft_lent *l, const char *name, int silent)
{
    memset(l, 0, sizeof *l);
    snprintf(l->name, sizeof l->name, "%s", name);
    l->silent = silent;
    l->host = (graft_host){.size = (uint32_t)sizeof(graft_host), .abi = (uint32_t)GRAFT_ABI_MAJOR << 16 | GRAFT_ABI_MINOR, .ctx = l, .alloc = lend, .release = take_back, .log = say, .fail = fail};
}
