/* core/plugin/entry.c - see entry.h. One table per kind of object: key, what its value must be. */
#include "core/plugin/entry.h"

#include "core/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum shape { SHAPE_TEXT,
                     SHAPE_NULL_OR_TEXT,
                     SHAPE_FLAG,
                     SHAPE_COUNT,
                     SHAPE_INTEGER,
                     SHAPE_TEXTS,
                     SHAPE_TEXT_OR_TEXTS,
                     SHAPE_SENTENCES,
                     SHAPE_SIZE,
                     SHAPE_HASH,
                     SHAPE_OBJECT,
                     SHAPE_COLUMNS,
                     SHAPE_TAGS,
                     SHAPE_REQUIRES } shape;

static const char *const shape_words[] = {
    "a text", "a text or null", "true or false", "an integer above 0", "an integer", "a list of texts", "a text or a list of texts", "an object whose values are sentences",
    "a number of bytes or a text such as \"4 GiB\"", "64 hexadecimal digits", "an object", "an object", "an object", "an object"};

typedef struct rule {
    const char *key;
    shape shape;
    uint32_t kinds;
} rule; /* kinds: bit set of graft_kind that may have it */

enum { D = 1 << GRAFT_KIND_DATASET,
       F = 1 << GRAFT_KIND_FORMAT,
       M = 1 << GRAFT_KIND_MODEL,
       T = 1 << GRAFT_KIND_METHOD,
       B = 1 << GRAFT_KIND_BACKEND,
       C = 1 << GRAFT_KIND_COMM,
       CODE = F | M | T | B | C };

static const rule entry_rules[] = {
    {"hf_hub_url", SHAPE_TEXT, D}, {"ms_hub_url", SHAPE_TEXT, D}, {"om_hub_url", SHAPE_TEXT, D}, {"script_url", SHAPE_TEXT, D}, {"cloud_file_name", SHAPE_TEXT, D}, {"file_name", SHAPE_TEXT, D | CODE}, {"formatting", SHAPE_TEXT, D}, {"ranking", SHAPE_FLAG, D}, {"subset", SHAPE_NULL_OR_TEXT, D}, {"split", SHAPE_TEXT, D}, {"folder", SHAPE_NULL_OR_TEXT, D}, {"num_samples", SHAPE_COUNT, D}, {"columns", SHAPE_COLUMNS, D}, {"tags", SHAPE_TAGS, D}, {"options", SHAPE_OBJECT, D}, {"file_sha1", SHAPE_TEXT, D}, {"sha256", SHAPE_HASH, CODE}, {"model_type", SHAPE_TEXT_OR_TEXTS, M}, {"own", SHAPE_TEXTS, T}, {"against", SHAPE_SENTENCES, T}, {"requires", SHAPE_REQUIRES, CODE}, {"prefer", SHAPE_INTEGER, B | C}, {"version", SHAPE_TEXT, CODE}, {"description", SHAPE_TEXT, CODE}, {"license", SHAPE_TEXT, CODE}, {"homepage", SHAPE_TEXT, CODE}, {"provides", SHAPE_TEXTS, CODE}};

static const rule column_rules[] = {
    {"prompt", SHAPE_NULL_OR_TEXT, D}, {"query", SHAPE_NULL_OR_TEXT, D}, {"response", SHAPE_NULL_OR_TEXT, D}, {"history", SHAPE_NULL_OR_TEXT, D}, {"messages", SHAPE_NULL_OR_TEXT, D}, {"system", SHAPE_NULL_OR_TEXT, D}, {"tools", SHAPE_NULL_OR_TEXT, D}, {"images", SHAPE_NULL_OR_TEXT, D}, {"videos", SHAPE_NULL_OR_TEXT, D}, {"audios", SHAPE_NULL_OR_TEXT, D}, {"chosen", SHAPE_NULL_OR_TEXT, D}, {"rejected", SHAPE_NULL_OR_TEXT, D}, {"kto_tag", SHAPE_NULL_OR_TEXT, D}};

static const rule tag_rules[] = {
    {"role_tag", SHAPE_NULL_OR_TEXT, D}, {"content_tag", SHAPE_NULL_OR_TEXT, D}, {"user_tag", SHAPE_NULL_OR_TEXT, D}, {"assistant_tag", SHAPE_NULL_OR_TEXT, D}, {"observation_tag", SHAPE_NULL_OR_TEXT, D}, {"function_tag", SHAPE_NULL_OR_TEXT, D}, {"system_tag", SHAPE_NULL_OR_TEXT, D}};

static const rule require_rules[] = {{"processor", SHAPE_TEXTS, CODE}, {"library", SHAPE_TEXTS, CODE}, {"memory", SHAPE_SIZE, CODE}};

#define COUNT(a_) (sizeof(a_) / sizeof((a_)[0]))

/* Where we are, for errors. */
typedef struct place {
    graft_kind kind;
    const char *name, *path;
    graft_error *err;
} place;

graft_status graft_entry_fail(graft_error *err, const char *path, const graft_json *v, const char *fmt, ...)
{
    char where[sizeof err->where], message[sizeof err->message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    snprintf(where, sizeof where, "%s:%d:%d", path, (int)v->line, (int)v->column);
    return graft_fail(err, GRAFT_BAD_INPUT, where, "%s", message);
}

static graft_status wrong(const place *at, const graft_json *v, const char *key, const char *expected)
{
    return graft_entry_fail(at->err, at->path, v, "%s %s: \"%s\" must be %s; correct it.", graft_kind_name(at->kind), at->name, key, expected);
}

static int is_text(const graft_json *v) { return v->type == GRAFT_JSON_TEXT && v->bytes > 0 && strlen(v->text) == v->bytes; }

/* A list, or an object, of texts. */
static int is_texts(const graft_json *v, int32_t in)
{
    if (v->type != in) return 0;
    for (const graft_json *m = v->child; m; m = m->next)
        if (!is_text(m)) return 0;
    return 1;
}

static int is_hash(const graft_json *v)
{
    if (v->type != GRAFT_JSON_TEXT || v->bytes != 64) return 0;
    return strspn(v->text, "0123456789abcdefABCDEF") == 64;
}

static int fits(shape s, const graft_json *v)
{
    switch (s) {
    case SHAPE_TEXT: return is_text(v);
    case SHAPE_NULL_OR_TEXT: return v->type == GRAFT_JSON_NULL || v->type == GRAFT_JSON_TEXT;
    case SHAPE_FLAG: return v->type == GRAFT_JSON_BOOL;
    case SHAPE_COUNT: return v->type == GRAFT_JSON_NUMBER && v->integral && v->integer > 0;
    case SHAPE_INTEGER: return v->type == GRAFT_JSON_NUMBER && v->integral && v->integer >= -1000000 && v->integer <= 1000000;
    case SHAPE_TEXTS: return is_texts(v, GRAFT_JSON_ARRAY);
    case SHAPE_TEXT_OR_TEXTS: return is_text(v) || is_texts(v, GRAFT_JSON_ARRAY);
    case SHAPE_SENTENCES: return is_texts(v, GRAFT_JSON_OBJECT);
    case SHAPE_SIZE: return graft_entry_bytes(v) >= 0;
    case SHAPE_HASH: return is_hash(v);
    case SHAPE_OBJECT:
    case SHAPE_COLUMNS:
    case SHAPE_TAGS:
    case SHAPE_REQUIRES: return v->type == GRAFT_JSON_OBJECT;
    }
    return 0;
}

static graft_status unknown_key(const place *at, const graft_json *m, const char *inside, const rule *rules, size_t n)
{
    const char *known[32];
    size_t n_known = 0;
    for (size_t i = 0; i < n && n_known < COUNT(known); i++)
        if (rules[i].kinds & (1u << at->kind)) known[n_known++] = rules[i].key;
    const char *near = graft_nearest(m->key, known, n_known);
    if (near) return graft_entry_fail(at->err, at->path, m, "%s %s: unknown key \"%s\"%s; did you mean \"%s\"?", graft_kind_name(at->kind), at->name, m->key, inside, near);
    return graft_entry_fail(at->err, at->path, m, "%s %s: unknown key \"%s\"%s; remove it.", graft_kind_name(at->kind), at->name, m->key, inside);
}

static graft_status check_members(const place *at, const graft_json *object, const char *inside, const rule *rules, size_t n)
{
    for (const graft_json *m = object->child; m; m = m->next) {
        const rule *found = NULL;
        for (size_t i = 0; i < n && !found; i++)
            if ((rules[i].kinds & (1u << at->kind)) && m->key_bytes == strlen(rules[i].key) && !memcmp(m->key, rules[i].key, m->key_bytes)) found = &rules[i];
        if (!found) return unknown_key(at, m, inside, rules, n);
        if (!fits(found->shape, m)) return wrong(at, m, found->key, shape_words[found->shape]);
        graft_status status = GRAFT_OK;
        if (found->shape == SHAPE_COLUMNS) status = check_members(at, m, " in \"columns\"", column_rules, COUNT(column_rules));
        if (found->shape == SHAPE_TAGS) status = check_members(at, m, " in \"tags\"", tag_rules, COUNT(tag_rules));
        if (found->shape == SHAPE_REQUIRES) status = check_members(at, m, " in \"requires\"", require_rules, COUNT(require_rules));
        if (status) return status;
    }
    return GRAFT_OK;
}

static int plugin_name_ok(const char *name)
{
    const size_t bytes = strlen(name);
    return bytes > 0 && bytes < 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == bytes && name[0] != '.' && name[0] != '-';
}

graft_status graft_entry_check(graft_kind kind, const char *name, const graft_json *entry, const char *path, graft_error *err)
{
    static const char *const sources[] = {"file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"};
    const place at = {kind, name, path, err};
    if (kind != GRAFT_KIND_DATASET && !plugin_name_ok(name))
        return graft_entry_fail(err, path, entry, "%s \"%s\": a plugin's name has 1 to 63 of the characters a-z 0-9 _ . - and begins with a letter, digit or _; rename it.", graft_kind_name(kind), name);
    if (entry->type != GRAFT_JSON_OBJECT)
        return graft_entry_fail(err, path, entry, "%s %s: expected an object such as {\"file_name\": \"...\"}; correct it.", graft_kind_name(kind), name);
    const graft_status status = check_members(&at, entry, "", entry_rules, COUNT(entry_rules));
    if (status) return status;
    if (kind != GRAFT_KIND_DATASET)
        return graft_json_get(entry, "file_name") ? GRAFT_OK : graft_entry_fail(err, path, entry, "%s %s: has no \"file_name\"; name the plugin's library.", graft_kind_name(kind), name);
    for (size_t i = 0; i < COUNT(sources); i++)
        if (graft_json_get(entry, sources[i])) return GRAFT_OK;
    return graft_entry_fail(err, path, entry, "dataset %s: has no source; give it \"file_name\" or \"hf_hub_url\".", name);
}

int64_t graft_entry_bytes(const graft_json *v)
{
    static const struct {
        const char *word;
        double factor;
    } units[] = {{"B", 1}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}};
    if (v->type == GRAFT_JSON_NUMBER) return v->integral && v->integer >= 0 ? v->integer : -1;
    if (v->type != GRAFT_JSON_TEXT || v->bytes > 40) return -1;
    char *end = NULL;
    if (v->text[0] < '0' || v->text[0] > '9') return -1;
    const double number = strtod(v->text, &end);
    while (*end == ' ') end++;
    for (size_t i = 0; i < COUNT(units); i++)
        if (!strcmp(end, units[i].word)) return number >= 0 && number * units[i].factor < 9e18 ? (int64_t)(number * units[i].factor) : -1;
    return -1;
}
