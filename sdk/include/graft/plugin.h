/* graft/plugin.h - the one door. A plugin exports exactly one symbol, graft_plugin_entry, and imports none from the host. */
#ifndef GRAFT_PLUGIN_H
#define GRAFT_PLUGIN_H

#include "base.h"

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { GRAFT_ABI_MAJOR = 1, GRAFT_ABI_MINOR = 0 };

/* build_flags: a host refuses a mismatch that it cannot survive (a sanitized plugin in a plain host and the reverse). */
enum { GRAFT_BUILD_ASAN = 1, GRAFT_BUILD_TSAN = 2, GRAFT_BUILD_DEBUG = 4 };
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GRAFT_BUILD_ASAN_ GRAFT_BUILD_ASAN
#endif
#if __has_feature(thread_sanitizer)
#define GRAFT_BUILD_TSAN_ GRAFT_BUILD_TSAN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(GRAFT_BUILD_ASAN_)
#define GRAFT_BUILD_ASAN_ GRAFT_BUILD_ASAN
#endif
#if defined(__SANITIZE_THREAD__) && !defined(GRAFT_BUILD_TSAN_)
#define GRAFT_BUILD_TSAN_ GRAFT_BUILD_TSAN
#endif
#ifndef GRAFT_BUILD_ASAN_
#define GRAFT_BUILD_ASAN_ 0
#endif
#ifndef GRAFT_BUILD_TSAN_
#define GRAFT_BUILD_TSAN_ 0
#endif
#ifdef NDEBUG
#define GRAFT_BUILD_DEBUG_ 0
#else
#define GRAFT_BUILD_DEBUG_ GRAFT_BUILD_DEBUG
#endif
#define GRAFT_BUILD_FLAGS (GRAFT_BUILD_ASAN_ | GRAFT_BUILD_TSAN_ | GRAFT_BUILD_DEBUG_)

/* What the host lends a plugin. Valid from init to fini. */
typedef struct graft_host {
    uint32_t size;
    uint32_t abi;                                                        /* major << 16 | minor                    */
    void    *ctx;                                                        /* first argument of every call below     */
    void *(*alloc)(void *ctx, size_t bytes, size_t align);               /* [any] NULL when out of memory; counted per plugin */
    void  (*release)(void *ctx, void *p);                                /* [any] what alloc gave, or NULL         */
    void  (*log)(void *ctx, int level, const char *sentence);            /* [any] level 0 debug .. 3 error         */
    graft_status (*fail)(graft_error *err, graft_status code, const char *where, const char *fmt, ...) GRAFT_PRINTF(4, 5); /* [any] fills err, returns code */
} graft_host;

/* 64 bytes on LP64, frozen for ever; growth happens behind table(). Filled by GRAFT_PLUGIN, not by hand. */
typedef struct graft_plugin {
    uint32_t    size;
    uint16_t    abi_major, abi_minor;
    uint32_t    build_flags;    /* GRAFT_BUILD_* */
    uint32_t    reserved;       /* 0 */
    const char *kind;           /* "model" | "method" | "format" | "backend" | "comm" */
    const char *name;           /* the registry's key */
    const char *version;        /* semantic version of the plugin */
    graft_status (*init)(const graft_host *host, void **self, graft_error *err); /* [control] */
    void         (*fini)(void *self);                                           /* [control] */
    const void  *(*table)(void *self, const char *id);                          /* [any] "graft.method/1"; NULL = not offered */
} graft_plugin;

#ifdef __cplusplus
}
#define GRAFT_EXTERN_C extern "C"
#else
#define GRAFT_EXTERN_C
#endif

/* The statically linked variant of a plugin (sanitizers, fuzzers) is the same source built with
 * -DGRAFT_PLUGIN_ENTRY=graft_plugin_entry_NAME, so that many fit in one program. */
#ifndef GRAFT_PLUGIN_ENTRY
#define GRAFT_PLUGIN_ENTRY graft_plugin_entry
#endif
#define GRAFT_EXPORT GRAFT_EXTERN_C __attribute__((visibility("default")))

GRAFT_EXPORT const graft_plugin *GRAFT_PLUGIN_ENTRY(void); /* [any] pure; may be called often */

/* Defines the door: GRAFT_PLUGIN("method", "lora", "1.0.0", init, fini, table) */
#define GRAFT_PLUGIN(kind_, name_, version_, init_, fini_, table_)                                                      \
    GRAFT_EXPORT const graft_plugin *GRAFT_PLUGIN_ENTRY(void)                                                           \
    {                                                                                                                   \
        static const graft_plugin door = {(uint32_t)sizeof(graft_plugin), GRAFT_ABI_MAJOR, GRAFT_ABI_MINOR,             \
                                          GRAFT_BUILD_FLAGS, 0, kind_, name_, version_, init_, fini_, table_};          \
        return &door;                                                                                                   \
    }

/* The common case: one table, no state of its own; `self` is then the host. */
#define GRAFT_ONE_TABLE(kind_, id_, name_, version_, table_)                                                         \
    static graft_status graft_init_(const graft_host *host, void **self, graft_error *err)                           \
    {                                                                                                                \
        (void)err;                                                                                                   \
        *self = (void *)(uintptr_t)host;                                                                             \
        return GRAFT_OK;                                                                                             \
    }                                                                                                                \
    static void graft_fini_(void *self) { (void)self; }                                                              \
    static const void *graft_table_(void *self, const char *id)                                                      \
    {                                                                                                                \
        (void)self;                                                                                                  \
        return strcmp(id, id_) ? NULL : (const void *)(table_);                                                      \
    }                                                                                                                \
    GRAFT_PLUGIN(kind_, name_, version_, graft_init_, graft_fini_, graft_table_)

#endif
