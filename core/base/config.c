/* core/base/config.c - the SDK's graft_config over a JSON object, and its graft_writer; see config.h.
 *
 * Reads are allowed from any thread, and what a read remembers (the key, the first error) is behind a lock. */
#include "core/base/config.h"

#include "core/base/error.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

typedef struct seen_key {
    const struct seen_key *next;
    const char *key;
} seen_key;

typedef struct config {
    graft_config base; /* first: the SDK sees only this */
    graft_arena *arena;
    const char *name;
    const graft_json *object;
    const seen_key *seen;
    pthread_mutex_t lock;
    graft_error error;
} config;

/* A plugin holds a const view; what it remembers is ours. */
static config *own(const graft_config *c) { return (config *)(uintptr_t)c; }

static int was_seen(const config *c, const char *key)
{
    for (const seen_key *k = c->seen; k; k = k->next)
        if (!strcmp(k->key, key)) return 1;
    return 0;
}

/* The value at key, marked as read; NULL when absent or null. */
static const graft_json *look(config *c, const char *key)
{
    pthread_mutex_lock(&c->lock);
    if (!was_seen(c, key)) {
        seen_key *k = graft_arena_alloc(c->arena, sizeof *k);
        if (k && (k->key = graft_arena_copy(c->arena, key, strlen(key)))) {
            k->next = c->seen;
            c->seen = k;
        } else if (!c->error.code) {
            graft_fail(&c->error, GRAFT_NO_MEMORY, c->name, "not enough memory to read the configuration");
        }
    }
    pthread_mutex_unlock(&c->lock);
    const graft_json *v = graft_json_get(c->object, key);
    return v && v->type != GRAFT_JSON_NULL ? v : NULL;
}

/* Remembers the first error; place: the value that is wrong, or NULL for the object. */
static void remember(config *c, const graft_json *place, const char *sentence)
{
    char where[256];
    if (!place) place = c->object;
    if (place && place->line > 0) {
        snprintf(where, sizeof where, "%.200s:%d:%d", c->name, (int)place->line, (int)place->column);
    } else {
        snprintf(where, sizeof where, "%.200s", c->name);
    }
    pthread_mutex_lock(&c->lock);
    if (!c->error.code) graft_fail(&c->error, GRAFT_BAD_INPUT, where, "%s", sentence);
    pthread_mutex_unlock(&c->lock);
}

/* "key must be <wanted>, found <value>" or "key is missing; it must be <wanted>". */
static void refuse(config *c, const char *key, const graft_json *v, const char *wanted)
{
    char sentence[760];
    if (v) {
        graft_str found;
        graft_str_init(&found, 0);
        graft_json_write(&found, v, 0, 0);
        size_t n = found.bytes;
        const int cut = n > 80;
        if (cut)
            for (n = 77; n && ((unsigned char)found.data[n] & 0xC0) == 0x80;) n--;
        snprintf(sentence, sizeof sentence, "%.100s must be %s, found %.*s%s", key, wanted, (int)n, found.data, cut ? "..." : "");
        graft_str_free(&found);
    } else {
        snprintf(sentence, sizeof sentence, "%.100s is missing; it must be %s", key, wanted);
    }
    remember(c, v, sentence);
}

static int64_t read_integer(const graft_config *base, const char *key, int64_t fallback, int64_t low, int64_t high)
{
    config *c = own(base);
    const graft_json *v = look(c, key);
    char wanted[120];
    const int yes_no = low == 0 && high == 1;
    if (yes_no) {
        snprintf(wanted, sizeof wanted, "true or false");
    } else if (high == INT64_MAX) {
        snprintf(wanted, sizeof wanted, "an integer of at least %" PRId64, low);
    } else {
        snprintf(wanted, sizeof wanted, "an integer between %" PRId64 " and %" PRId64, low, high);
    }
    if (!v) {
        if (fallback >= low) return fallback;
        refuse(c, key, NULL, wanted);
        return low;
    }
    if (v->type == GRAFT_JSON_BOOL && yes_no) return v->integer;
    if (v->type == GRAFT_JSON_NUMBER && v->integral && v->integer >= low && v->integer <= high) return v->integer;
    refuse(c, key, v, wanted);
    return low;
}

static double read_number(const graft_config *base, const char *key, double fallback, double low, double high)
{
    config *c = own(base);
    const graft_json *v = look(c, key);
    char wanted[120];
    if (isinf(high) || high > 1e300) {
        snprintf(wanted, sizeof wanted, "a number of at least %g", low);
    } else {
        snprintf(wanted, sizeof wanted, "a number between %g and %g", low, high);
    }
    if (isinf(low) || low < -1e300) snprintf(wanted, sizeof wanted, "a number");
    if (!v) {
        if (!(fallback < low)) return fallback;
        refuse(c, key, NULL, wanted);
        return low;
    }
    if (v->type == GRAFT_JSON_NUMBER && v->number >= low && v->number <= high) return v->number;
    refuse(c, key, v, wanted);
    return low;
}

static const char *read_text(const graft_config *base, const char *key, const char *fallback)
{
    config *c = own(base);
    const graft_json *v = look(c, key);
    if (!v) return fallback;
    if (v->type == GRAFT_JSON_TEXT && !memchr(v->text, '\0', v->bytes)) return v->text;
    refuse(c, key, v, "a text");
    return fallback;
}

static const graft_json *read_value(const graft_config *base, const char *key) { return look(own(base), key); }

static void say_error(const graft_config *base, const char *key, const char *sentence)
{
    config *c = own(base);
    const graft_json *v = look(c, key);
    char both[760];
    snprintf(both, sizeof both, "%.100s: %.600s", key, sentence);
    remember(c, v, both);
}

static const graft_config_api config_api = {(uint32_t)sizeof(graft_config_api), read_integer, read_number, read_text, read_value, say_error};

const graft_config *graft_config_new(graft_arena *a, const char *name, const graft_json *object)
{
    config *c = graft_arena_alloc(a, sizeof *c);
    const char *copy = graft_arena_copy(a, name, strlen(name));
    if (!c || !copy) return NULL;
    c->base.api = &config_api;
    c->arena = a;
    c->name = copy;
    c->object = object;
    c->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    return &c->base;
}

const graft_json *graft_config_object(const graft_config *c) { return own(c)->object; }
const char *graft_config_name(const graft_config *c) { return own(c)->name; }

graft_status graft_config_check(const graft_config *base, graft_error *err)
{
    config *c = own(base);
    pthread_mutex_lock(&c->lock);
    const graft_status status = c->error.code;
    if (status) *err = c->error;
    pthread_mutex_unlock(&c->lock);
    return status;
}

int graft_config_was_read(const graft_config *base, const char *key)
{
    config *c = own(base);
    pthread_mutex_lock(&c->lock);
    const int found = was_seen(c, key);
    pthread_mutex_unlock(&c->lock);
    return found;
}

size_t graft_config_asked(const graft_config *base, const char **keys, size_t room)
{
    config *c = own(base);
    size_t n = 0;
    pthread_mutex_lock(&c->lock);
    for (const seen_key *k = c->seen; k && n < room; k = k->next) keys[n++] = k->key;
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* ---- writer -------------------------------------------------------------------------------------------------------------------------------- */

typedef struct writer {
    graft_writer base;
    graft_arena *arena;
    graft_json *object;
} writer;

static void put(graft_writer *base, const char *key, graft_json *v)
{
    writer *w = (writer *)base;
    graft_json_put(w->arena, w->object, key, v);
}

static graft_arena *arena_of(graft_writer *base) { return ((writer *)base)->arena; }
static void put_null(graft_writer *w, const char *key) { put(w, key, graft_json_new(arena_of(w), GRAFT_JSON_NULL)); }
static void put_flag(graft_writer *w, const char *key, int v) { put(w, key, graft_json_flag(arena_of(w), v)); }
static void put_integer(graft_writer *w, const char *key, int64_t v) { put(w, key, graft_json_int(arena_of(w), v)); }
static void put_number(graft_writer *w, const char *key, double v) { put(w, key, graft_json_real(arena_of(w), v)); }
static void put_text(graft_writer *w, const char *key, const char *v) { put(w, key, graft_json_text(arena_of(w), v, strlen(v))); }

static void put_texts(graft_writer *w, const char *key, int32_t n, const char *const *values)
{
    graft_json *array = graft_json_new(arena_of(w), GRAFT_JSON_ARRAY);
    for (int32_t i = 0; i < n; i++) graft_json_push(arena_of(w), array, graft_json_text(arena_of(w), values[i], strlen(values[i])));
    put(w, key, array);
}

static void put_value(graft_writer *w, const char *key, const graft_json *v) { put(w, key, graft_json_copy(arena_of(w), v)); }

static const graft_writer_api writer_api = {(uint32_t)sizeof(graft_writer_api), put_null, put_flag, put_integer, put_number, put_text, put_texts, put_value};

graft_writer *graft_writer_new(graft_arena *a)
{
    writer *w = graft_arena_alloc(a, sizeof *w);
    graft_json *object = graft_json_new(a, GRAFT_JSON_OBJECT);
    if (!w || !object) return NULL;
    w->base.api = &writer_api;
    w->arena = a;
    w->object = object;
    return &w->base;
}

const graft_json *graft_writer_object(graft_writer *w) { return ((writer *)w)->object; }
