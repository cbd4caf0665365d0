/* core/base/yaml.c - reads YAML by libyaml's events into the SDK's nodes; see yaml.h.
 *
 * Plain scalars are resolved as OmegaConf 2.x does for LLaMA-Factory: the patterns of YAML 1.1 (https://yaml.org/type/) as PyYAML spells them, without
 * timestamps, with floats that need no point (1e-4). An alias shares the children of its anchor, so that what is bounded is the document as seen by a reader
 * who follows every alias: MOST_NODES values, DEEPEST levels. */
#include "core/base/yaml.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEEPEST = 64,
       MOST_ALIASES = 1000,
       MOST_NODES = 1000000,
       MOST_MERGED = 1000,
       MOST_BYTES = 16 << 20,
       LONGEST_NUMBER = 400 };

#define INT_PATTERN "^([-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+)$"
#define FLOAT_PATTERN                                                                                              \
    "^([-+]?[0-9][0-9_]*\\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|\\.[0-9_]+([eE][-+][0-9]+)?" \
    "|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\\.[0-9_]*|[-+]?\\.(inf|Inf|INF)|\\.(nan|NaN|NAN))$"

typedef struct anchor {
    struct anchor *next;
    const char *name;
    const graft_json *node;
    int64_t nodes; /* in it, aliases followed */
    int height;
} anchor;

typedef struct reader {
    graft_arena *arena;
    const char *name, *text;
    size_t bytes;
    yaml_parser_t parser;
    regex_t integer, real;
    anchor *anchors;
    int64_t nodes, aliases;
    int deepest; /* level reached since it was last set */
    graft_error *err;
} reader;

static const char *place(const reader *y, size_t line, size_t column, char where[256])
{
    snprintf(where, 256, "%.200s:%zu:%zu", y->name, line + 1, column + 1);
    return where;
}

static graft_status fail_at(reader *y, yaml_mark_t mark, const char *sentence)
{
    char where[256];
    return graft_fail(y->err, GRAFT_BAD_INPUT, place(y, mark.line, mark.column, where), "%s", sentence);
}

static graft_status no_memory(reader *y) { return graft_fail(y->err, GRAFT_NO_MEMORY, y->name, "not enough memory to read this YAML"); }

static graft_status next_event(reader *y, yaml_event_t *e)
{
    char where[256];
    const yaml_parser_t *p = &y->parser;
    if (yaml_parser_parse(&y->parser, e)) return GRAFT_OK;
    if (p->error == YAML_MEMORY_ERROR) return no_memory(y);
    size_t line = p->problem_mark.line, column = p->problem_mark.column;
    if (p->error == YAML_READER_ERROR) { /* knows bytes, not lines */
        line = column = 0;
        for (size_t i = 0; i < p->problem_offset && i < y->bytes; i++) {
            column++;
            if (y->text[i] == '\n') line++, column = 0;
        }
    }
    return graft_fail(y->err, GRAFT_BAD_INPUT, place(y, line, column, where), "expected YAML, but %s; correct it there", p->problem ? p->problem : "it is malformed");
}

/* ---- scalars ------------------------------------------------------------------------------------------------------------------------------- */

static int among(const char *s, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(s, *list)) return 1;
    return 0;
}

/* Digits separated by colons, base 60: 1:30 is 90. */
static double base60(const char *s)
{
    double v = 0.0;
    for (;;) {
        char *rest;
        v = v * 60.0 + strtod(s, &rest);
        if (*rest != ':') return v;
        s = rest + 1;
    }
}

/* s without underscores, of the integer pattern. */
static void set_integer(graft_json *v, const char *s)
{
    const int negative = *s == '-';
    const char *digits = s + (*s == '-' || *s == '+');
    int base = 10;
    if (digits[0] == '0' && digits[1] == 'b') base = 2;
    if (digits[0] == '0' && digits[1] == 'x') base = 16;
    if (base != 10) digits += 2;
    if (base == 10 && digits[0] == '0') base = 8;
    v->type = GRAFT_JSON_NUMBER;
    if (strchr(digits, ':')) {
        v->number = base60(digits);
        v->integral = v->number < 0x1p53;
        v->integer = v->integral ? (int64_t)v->number : 0;
        if (negative) v->number = -v->number, v->integer = -v->integer;
        return;
    }
    int64_t i = 0;
    int fits = 1;
    for (const char *p = digits; *p; p++) {
        const int d = *p <= '9' ? *p - '0' : (*p | 32) - 'a' + 10;
        v->number = v->number * base + d;
        fits = fits && !__builtin_mul_overflow(i, base, &i) && !(negative ? __builtin_sub_overflow(i, d, &i) : __builtin_add_overflow(i, d, &i));
    }
    if (negative) v->number = -v->number;
    if (fits) v->integral = 1, v->integer = i, v->number = (double)i;
    if (!fits && base == 10) v->number = strtod(s, NULL);
}

static void set_real(graft_json *v, const char *s)
{
    const int negative = *s == '-';
    const char *digits = s + (*s == '-' || *s == '+');
    v->type = GRAFT_JSON_NUMBER;
    if ((digits[1] | 32) == 'i') {
        v->number = INFINITY;
    } else if ((digits[1] | 32) == 'n') {
        v->number = NAN;
    } else {
        v->number = strchr(digits, ':') ? base60(digits) : strtod(digits, NULL);
    }
    if (negative) v->number = -v->number;
}

static graft_status resolve(reader *y, graft_json *v)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const yes[] = {"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", NULL};
    static const char *const no[] = {"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", NULL};
    const char *s = v->text;
    if (strlen(s) != v->bytes) return GRAFT_OK;
    if (among(s, nulls)) {
        v->type = GRAFT_JSON_NULL;
    } else if (among(s, yes) || among(s, no)) {
        v->type = GRAFT_JSON_BOOL;
        v->integer = among(s, yes);
        v->number = (double)v->integer;
    }
    if (v->type != GRAFT_JSON_TEXT || v->bytes > LONGEST_NUMBER) return GRAFT_OK;
    const int whole = !regexec(&y->integer, s, 0, NULL, 0);
    if (!whole && regexec(&y->real, s, 0, NULL, 0)) return GRAFT_OK;
    char clean[LONGEST_NUMBER + 1];
    size_t n = 0, digits = 0;
    for (; *s; s++) {
        if (*s == '_') continue;
        clean[n++] = *s;
        digits += *s >= '0';
    }
    clean[n] = '\0';
    if (!digits || (whole && n > 1 && (clean[n - 1] == 'x' || (clean[n - 1] == 'b' && n < 4 && clean[n - 2] == '0')))) return GRAFT_OK; /* "._", "0x_": no digits */
    if (whole) {
        set_integer(v, clean);
    } else {
        set_real(v, clean);
    }
    return GRAFT_OK;
}

static graft_status read_scalar(reader *y, const yaml_event_t *e, graft_json *v)
{
    const char *tag = (const char *)e->data.scalar.tag;
    const int plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    v->type = GRAFT_JSON_TEXT;
    v->text = graft_arena_copy(y->arena, (const char *)e->data.scalar.value, e->data.scalar.length);
    v->bytes = e->data.scalar.length;
    if (!v->text) return no_memory(y);
    if (!tag) return plain ? resolve(y, v) : GRAFT_OK;
    if (!strcmp(tag, "!") || !strcmp(tag, YAML_STR_TAG)) return GRAFT_OK;
    resolve(y, v);
    if (!strcmp(tag, YAML_NULL_TAG) && v->type == GRAFT_JSON_NULL) return GRAFT_OK;
    if (!strcmp(tag, YAML_BOOL_TAG) && v->type == GRAFT_JSON_BOOL) return GRAFT_OK;
    if (!strcmp(tag, YAML_INT_TAG) && v->type == GRAFT_JSON_NUMBER && v->integral) return GRAFT_OK;
    if (!strcmp(tag, YAML_FLOAT_TAG) && v->type == GRAFT_JSON_NUMBER) {
        v->integral = 0;
        v->text = NULL, v->bytes = 0; /* it may spell an integer */
        return GRAFT_OK;
    }
    return fail_at(y, e->start_mark, "expected a value that its tag (!!...) allows, of the tags str, int, float, bool and null; remove the tag or correct the value");
}

/* ---- collections --------------------------------------------------------------------------------------------------------------------------- */

static graft_status read_node(reader *y, const yaml_event_t *e, int depth, graft_json *v);

static void append(graft_json *parent, graft_json **last, graft_json *m)
{
    m->next = NULL;
    if (*last) {
        (*last)->next = m;
    } else {
        parent->child = m;
    }
    *last = m;
    parent->count++;
}

/* Copies the members of from (shared below the first level) into into; a key that is already there stays, or with own gets the new value in its place. */
static graft_status add_members(reader *y, graft_json *into, graft_json **last, const graft_json *from, int own)
{
    for (const graft_json *m = from->child; m; m = m->next) {
        graft_json *found = NULL;
        for (graft_json *k = (graft_json *)(uintptr_t)into->child; k && !found; k = (graft_json *)(uintptr_t)k->next)
            if (k->key_bytes == m->key_bytes && !memcmp(k->key, m->key, m->key_bytes)) found = k;
        if (found && !own) continue;
        if (found) {
            const graft_json *next = found->next;
            *found = *m;
            found->next = next;
            continue;
        }
        graft_json *c = graft_arena_alloc(y->arena, sizeof *c);
        if (!c) return no_memory(y);
        *c = *m;
        append(into, last, c);
    }
    return GRAFT_OK;
}

/* {<<: *a, k: v} or {<<: [*a, *b], k: v}: what a holds comes first, then b's, and the mapping's own keys win. */
static graft_status merge(reader *y, const yaml_event_t *start, graft_json *v, const graft_json *sources, int64_t n)
{
    graft_json all = *v, *last = NULL;
    int64_t members = v->count;
    all.child = NULL;
    all.count = 0;
    for (const graft_json *s = sources; n-- > 0; s = s->next) {
        if (s->type != GRAFT_JSON_OBJECT) return fail_at(y, start->start_mark, "expected a mapping or a list of mappings behind <<; name the anchor of one");
        members += s->count;
        if (members > MOST_MERGED) return fail_at(y, start->start_mark, "expected at most 1000 merged keys; write the keys out");
        const graft_status status = add_members(y, &all, &last, s, 0);
        if (status) return status;
    }
    const graft_status status = add_members(y, &all, &last, v, 1);
    *v = all;
    return status;
}

static graft_status read_mapping(reader *y, const yaml_event_t *start, int depth, graft_json *v)
{
    graft_json *last = NULL, *merged = NULL;
    graft_status status = GRAFT_OK;
    v->type = GRAFT_JSON_OBJECT;
    for (;;) {
        yaml_event_t e;
        if ((status = next_event(y, &e))) return status;
        if (e.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            break;
        }
        graft_json *m = graft_arena_alloc(y->arena, sizeof *m);
        const int scalar = e.type == YAML_SCALAR_EVENT;
        const int merging = scalar && e.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && e.data.scalar.length == 2 && !memcmp(e.data.scalar.value, "<<", 2);
        if (!m) status = no_memory(y);
        if (!status && !scalar) status = fail_at(y, e.start_mark, "expected a plain word as key, found a list, mapping or alias; write the key out");
        if (!status) {
            m->key = graft_arena_copy(y->arena, (const char *)e.data.scalar.value, e.data.scalar.length);
            m->key_bytes = e.data.scalar.length;
            if (!m->key) status = no_memory(y);
        }
        yaml_event_delete(&e);
        if (status || (status = next_event(y, &e))) return status;
        status = read_node(y, &e, depth + 1, m);
        yaml_event_delete(&e);
        if (status) return status;
        if (!merging) {
            append(v, &last, m);
        } else if (merged) {
            return fail_at(y, start->start_mark, "expected the key << at most once; give it a list");
        } else {
            merged = m;
        }
    }
    if ((status = graft_json_unique_keys(y->name, v, y->err)) || !merged) return status;
    const int list = merged->type == GRAFT_JSON_ARRAY;
    return merge(y, start, v, list ? merged->child : merged, list ? merged->count : 1);
}

static graft_status read_sequence(reader *y, int depth, graft_json *v)
{
    graft_json *last = NULL;
    v->type = GRAFT_JSON_ARRAY;
    for (;;) {
        yaml_event_t e;
        graft_status status = next_event(y, &e);
        if (status) return status;
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&e);
            return GRAFT_OK;
        }
        graft_json *m = graft_arena_alloc(y->arena, sizeof *m);
        status = m ? read_node(y, &e, depth + 1, m) : no_memory(y);
        yaml_event_delete(&e);
        if (status) return status;
        append(v, &last, m);
    }
}

static graft_status read_alias(reader *y, const yaml_event_t *e, int depth, graft_json *v)
{
    const anchor *a = y->anchors;
    while (a && strcmp(a->name, (const char *)e->data.alias.anchor)) a = a->next;
    if (!a) return fail_at(y, e->start_mark, "expected an alias (*name) of an anchor (&name) that ends before it; define it above");
    if (++y->aliases > MOST_ALIASES) return fail_at(y, e->start_mark, "expected at most 1000 aliases; write the values out");
    y->nodes += a->nodes;
    if (depth + a->height > y->deepest) y->deepest = depth + a->height;
    const graft_json kept = *v;
    *v = *a->node;
    v->key = kept.key;
    v->key_bytes = kept.key_bytes;
    v->next = NULL;
    return GRAFT_OK;
}

static graft_status keep_anchor(reader *y, const char *name, const graft_json *v, int64_t nodes, int height)
{
    anchor *a = graft_arena_alloc(y->arena, sizeof *a);
    if (!a || !(a->name = graft_arena_copy(y->arena, name, strlen(name)))) return no_memory(y);
    a->node = v;
    a->nodes = nodes;
    a->height = height;
    a->next = y->anchors;
    y->anchors = a;
    return GRAFT_OK;
}

/* The value that e begins, into v (whose key is set already). */
static graft_status read_node(reader *y, const yaml_event_t *e, int depth, graft_json *v)
{
    graft_status status = GRAFT_OK;
    const char *name = NULL;
    const int64_t nodes = y->nodes++;
    const int deepest = y->deepest;
    y->deepest = depth;
    v->line = (int32_t)e->start_mark.line + 1;
    v->column = (int32_t)e->start_mark.column + 1;
    if (depth > DEEPEST) return fail_at(y, e->start_mark, "expected at most 64 levels inside each other; flatten it");
    switch (e->type) {
    case YAML_ALIAS_EVENT: status = read_alias(y, e, depth, v); break;
    case YAML_SCALAR_EVENT:
        name = (const char *)e->data.scalar.anchor;
        status = read_scalar(y, e, v);
        break;
    case YAML_SEQUENCE_START_EVENT:
        name = (const char *)e->data.sequence_start.anchor;
        status = read_sequence(y, depth, v);
        break;
    case YAML_MAPPING_START_EVENT:
        name = (const char *)e->data.mapping_start.anchor;
        status = read_mapping(y, e, depth, v);
        break;
    default: status = fail_at(y, e->start_mark, "expected a value; correct the YAML there");
    }
    if (status) return status;
    if (y->deepest > DEEPEST) return fail_at(y, e->start_mark, "expected at most 64 levels inside each other, aliases followed; flatten it");
    if (y->nodes > MOST_NODES) return fail_at(y, e->start_mark, "expected at most 1000000 values, aliases followed; split the file");
    if (name) status = keep_anchor(y, name, v, y->nodes - nodes, y->deepest - depth);
    if (deepest > y->deepest) y->deepest = deepest;
    return status;
}

/* ---- documents ----------------------------------------------------------------------------------------------------------------------------- */

static graft_status read_document(reader *y, graft_json_type when_empty, const graft_json **out)
{
    yaml_event_t e;
    graft_status status;
    int documents = 0;
    graft_json *v = graft_arena_alloc(y->arena, sizeof *v);
    if (!v) return no_memory(y);
    v->type = (int32_t)when_empty;
    for (int ended = 0; !ended;) {
        if ((status = next_event(y, &e))) return status;
        ended = e.type == YAML_STREAM_END_EVENT;
        const int content = e.type != YAML_STREAM_START_EVENT && e.type != YAML_DOCUMENT_START_EVENT && e.type != YAML_DOCUMENT_END_EVENT && !ended;
        if (e.type == YAML_DOCUMENT_START_EVENT && ++documents > 1) status = fail_at(y, e.start_mark, "expected one document, found a second one; remove it");
        if (content && !status) status = read_node(y, &e, 1, v);
        yaml_event_delete(&e);
        if (status) return status;
    }
    if (v->type == GRAFT_JSON_NULL) v->type = (int32_t)when_empty;
    *out = v;
    return GRAFT_OK;
}

static graft_status read_text(graft_arena *a, const char *name, const char *text, size_t bytes, graft_json_type when_empty, const graft_json **out, graft_error *err)
{
    reader y = {.arena = a, .name = name ? name : "YAML", .text = text, .bytes = bytes, .err = err};
    *out = NULL;
    if (bytes > MOST_BYTES) return graft_fail(err, GRAFT_BAD_INPUT, y.name, "expected at most %d bytes of YAML, found more; is this the right file?", MOST_BYTES);
    if (!yaml_parser_initialize(&y.parser)) return no_memory(&y);
    const int no_integer = regcomp(&y.integer, INT_PATTERN, REG_EXTENDED | REG_NOSUB), no_real = regcomp(&y.real, FLOAT_PATTERN, REG_EXTENDED | REG_NOSUB);
    yaml_parser_set_input_string(&y.parser, (const unsigned char *)text, bytes);
    const graft_status status = no_integer || no_real ? no_memory(&y) : read_document(&y, when_empty, out);
    if (!no_integer) regfree(&y.integer);
    if (!no_real) regfree(&y.real);
    yaml_parser_delete(&y.parser);
    return status;
}

graft_status graft_yaml_parse(graft_arena *a, const char *name, const char *text, size_t bytes, const graft_json **out, graft_error *err)
{
    return read_text(a, name, text, bytes, GRAFT_JSON_OBJECT, out, err);
}

graft_status graft_yaml_parse_file(graft_arena *a, const char *path, const graft_json **out, graft_error *err)
{
    char *text;
    size_t bytes;
    *out = NULL;
    graft_status status = graft_file_read(path, MOST_BYTES, &text, &bytes, err);
    if (status) return status;
    status = graft_yaml_parse(a, path, text, bytes, out, err);
    graft_free(text);
    return status;
}

graft_status graft_yaml_scalar(graft_arena *a, const char *name, const char *word, const graft_json **out, graft_error *err)
{
    return read_text(a, name, word, strlen(word), GRAFT_JSON_NULL, out, err);
}
