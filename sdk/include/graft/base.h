/* graft/base.h - status codes, errors, JSON views, configuration, the struct-growth rule.
 *
 * Every fallible function returns a graft_status and, on failure, fills the caller's graft_error (never NULL).
 * A plugin never prints, exits, aborts or throws. Strings are UTF-8, borrowed for the duration of the call.
 * Thread tags: [any] any thread at any time; [control] one thread, serialised by the host;
 * [step] inside a training step, on any worker, never concurrently for one instance. */
#ifndef GRAFT_BASE_H
#define GRAFT_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GRAFT_PRINTF(fmt_, first_) __attribute__((format(printf, fmt_, first_)))
#else
#define GRAFT_PRINTF(fmt_, first_)
#endif

typedef int32_t graft_status;
enum {
    GRAFT_OK          = 0,
    GRAFT_BAD_INPUT   = 1, /* the user's file, flag or record is wrong; message says where and what to do   */
    GRAFT_UNSUPPORTED = 2, /* this plugin cannot do it here; the host may try another                        */
    GRAFT_NO_MEMORY   = 3,
    GRAFT_IO          = 4,
    GRAFT_DEVICE      = 5,
    GRAFT_CANCELLED   = 6,
    GRAFT_INTERNAL    = 7  /* a bug; please report                                                           */
};

/* Caller-owned. `message` is one sentence: what was expected, what was found, what to do. */
typedef struct graft_error {
    uint32_t     size;
    graft_status code;
    char         where[256];   /* file:line:column, record number or graph path; may be empty */
    char         message[760];
} graft_error;

/* Has the caller's (possibly older) struct this field? Offset of end, never sizeof: padding hides new fields. */
#define GRAFT_HAS(type, ptr, field) ((ptr)->size >= offsetof(type, field) + sizeof((ptr)->field))

/* ---- JSON values, read only -------------------------------------------------------------------------------
 * One node of a parsed document (JSON or YAML), owned by the host and valid as long as the document is.
 * Children of an array or object form a list in the file's order. Text is UTF-8 and may hold NUL bytes, hence `bytes`;
 * it is NUL-terminated as well. An integer that fits int64 has integral = 1 and both numbers set. */
typedef enum graft_json_type {
    GRAFT_JSON_NULL, GRAFT_JSON_BOOL, GRAFT_JSON_NUMBER, GRAFT_JSON_TEXT, GRAFT_JSON_ARRAY, GRAFT_JSON_OBJECT
} graft_json_type;

typedef struct graft_json {
    int32_t                  type;      /* graft_json_type                                     */
    int32_t                  integral;  /* a number written without fraction that fits int64   */
    int32_t                  line, column; /* 1-based place of the value in its file           */
    const char              *key;       /* member name inside an object, else NULL             */
    size_t                   key_bytes;
    const char              *text;      /* of a TEXT; for a NUMBER its spelling in the file    */
    size_t                   bytes;
    double                   number;
    int64_t                  integer;   /* also 0/1 of a BOOL                                  */
    int64_t                  count;     /* children of an ARRAY or OBJECT                      */
    const struct graft_json *child;     /* first child, or NULL                                */
    const struct graft_json *next;      /* next sibling, or NULL                               */
} graft_json;

/* Member of an object by name; the last one when a key is given twice; NULL when absent or not an object. [any] */
static inline const graft_json *graft_json_get(const graft_json *object, const char *key)
{
    const graft_json *found = NULL;
    if (!object || object->type != GRAFT_JSON_OBJECT) return NULL;
    for (const graft_json *m = object->child; m; m = m->next) {
        size_t i = 0;
        while (i < m->key_bytes && key[i] && m->key[i] == key[i]) i++;
        if (i == m->key_bytes && !key[i]) found = m;
    }
    return found;
}

/* ---- configuration ------------------------------------------------------------------------------------------
 * Read-only view of a JSON object: a model's config.json, a method's arguments, a registry entry. [any]
 * Reading a key marks it as known; afterwards the host refuses keys nobody read, naming the nearest one.
 * Reads are sticky like the builder: a value outside its range, or absent with no sane fallback, is remembered as the error,
 * and `low` is returned, so a hostile file can neither divide by zero nor overflow. (Fallback below low: the key is required.)
 * JSON null reads as absent. Like every object the host hands out, its first member is its table: no globals, no imports. */
typedef struct graft_config graft_config;
typedef struct graft_config_api {
    uint32_t size;
    int64_t     (*integer)(const graft_config *c, const char *key, int64_t fallback, int64_t low, int64_t high);
    double      (*number)(const graft_config *c, const char *key, double fallback, double low, double high);
    const char *(*text)(const graft_config *c, const char *key, const char *fallback);
    const graft_json *(*value)(const graft_config *c, const char *key); /* the raw value, NULL when absent or null */
    void        (*error)(const graft_config *c, const char *key, const char *sentence); /* remember: the value at key is wrong because ... */
} graft_config_api;
struct graft_config { const graft_config_api *api; };

static inline int64_t graft_dim(const graft_config *c, const char *key, int64_t fallback) { return c->api->integer(c, key, fallback, 1, INT32_MAX); }
static inline int graft_flag(const graft_config *c, const char *key, int fallback) { return (int)c->api->integer(c, key, fallback, 0, 1); }
static inline double graft_real(const graft_config *c, const char *key, double fallback, double low, double high) { return c->api->number(c, key, fallback, low, high); }
static inline const char *graft_text(const graft_config *c, const char *key, const char *fallback) { return c->api->text(c, key, fallback); }

/* ---- writing a small JSON object (an adapter's config file): the plugin says members, the host writes them sorted and indented. [control] */
typedef struct graft_writer graft_writer;
typedef struct graft_writer_api {
    uint32_t size;
    void (*null)(graft_writer *w, const char *key);
    void (*flag)(graft_writer *w, const char *key, int value);
    void (*integer)(graft_writer *w, const char *key, int64_t value);
    void (*number)(graft_writer *w, const char *key, double value);
    void (*text)(graft_writer *w, const char *key, const char *value);
    void (*texts)(graft_writer *w, const char *key, int32_t n, const char *const *values);
    void (*value)(graft_writer *w, const char *key, const graft_json *value); /* a copy of a parsed value */
} graft_writer_api;
struct graft_writer { const graft_writer_api *api; };

#ifdef __cplusplus
}
#endif
#endif
