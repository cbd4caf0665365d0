/* core/base/json_write.c - builds small JSON documents and spells them as Python's json.dumps does; see json.h.
 *
 * A builder call that runs out of memory marks the document as broken instead of leaving a hole in it: graft_json_write then sets out->failed. */
#include "core/base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BROKEN = -1 };

/* What graft_json_new gives: a node that knows its last child, so that appending to a long list stays cheap. */
typedef struct built {
    graft_json json;
    graft_json *last;
} built;

graft_json *graft_json_new(graft_arena *a, graft_json_type type)
{
    built *b = graft_arena_alloc(a, sizeof *b);
    if (!b) return NULL;
    b->json.type = (int32_t)type;
    return &b->json;
}

graft_json *graft_json_text(graft_arena *a, const char *text, size_t bytes)
{
    graft_json *v = graft_json_new(a, GRAFT_JSON_TEXT);
    if (v && !(v->text = graft_arena_copy(a, text, bytes))) return NULL;
    if (v) v->bytes = bytes;
    return v;
}

graft_json *graft_json_int(graft_arena *a, int64_t i)
{
    graft_json *v = graft_json_new(a, GRAFT_JSON_NUMBER);
    if (v) v->integral = 1, v->integer = i, v->number = (double)i;
    return v;
}

graft_json *graft_json_real(graft_arena *a, double d)
{
    graft_json *v = graft_json_new(a, GRAFT_JSON_NUMBER);
    if (v) v->number = d;
    return v;
}

graft_json *graft_json_flag(graft_arena *a, int on)
{
    graft_json *v = graft_json_new(a, GRAFT_JSON_BOOL);
    if (v) v->integer = on != 0, v->number = on != 0;
    return v;
}

static void append(graft_json *parent, graft_json *v)
{
    built *b = (built *)parent;
    if (b->last) {
        b->last->next = v;
    } else {
        parent->child = v;
    }
    b->last = v;
    parent->count++;
}

void graft_json_put(graft_arena *a, graft_json *object, const char *key, graft_json *v)
{
    if (!object) return;
    char *copy = v ? graft_arena_copy(a, key, strlen(key)) : NULL;
    if (!copy) {
        object->type = BROKEN;
        return;
    }
    v->key = copy;
    v->key_bytes = strlen(key);
    graft_json *before = NULL;
    for (graft_json *m = (graft_json *)(uintptr_t)object->child; m; before = m, m = (graft_json *)(uintptr_t)m->next) {
        if (m->key_bytes != v->key_bytes || memcmp(m->key, key, v->key_bytes)) continue;
        v->next = m->next;
        if (before) {
            before->next = v;
        } else {
            object->child = v;
        }
        if (((built *)object)->last == m) ((built *)object)->last = v;
        return;
    }
    append(object, v);
}

void graft_json_push(graft_arena *a, graft_json *array, graft_json *v)
{
    (void)a;
    if (!array) return;
    if (v) {
        append(array, v);
    } else {
        array->type = BROKEN;
    }
}

graft_json *graft_json_copy(graft_arena *a, const graft_json *v)
{
    graft_json *to = v ? graft_json_new(a, (graft_json_type)v->type) : NULL;
    if (!to) return NULL;
    const graft_json own = *to;
    *to = *v;
    to->key = own.key, to->key_bytes = 0, to->next = NULL, to->child = NULL, to->count = 0;
    if (v->text && !(to->text = graft_arena_copy(a, v->text, v->bytes))) return NULL;
    for (const graft_json *m = v->child; m; m = m->next) {
        graft_json *c = graft_json_copy(a, m);
        if (!c) return NULL;
        if (m->key && !(c->key = graft_arena_copy(a, m->key, m->key_bytes))) return NULL;
        c->key_bytes = m->key_bytes;
        append(to, c);
    }
    return to;
}

static void write_number(graft_str *out, const graft_json *v)
{
    if (v->integral) {
        graft_str_printf(out, "%" PRId64, v->integer);
    } else if (v->text && v->bytes && v->text[*v->text == '-'] != '0' && strspn(v->text, "-0123456789") == v->bytes) {
        graft_str_add(out, v->text, v->bytes); /* an integer beyond int64 */
    } else {
        graft_str_double(out, v->number);
    }
}

static int by_key(const void *x, const void *y)
{
    const graft_json *a = *(const graft_json *const *)x, *b = *(const graft_json *const *)y;
    const size_t n = a->key_bytes < b->key_bytes ? a->key_bytes : b->key_bytes;
    const int order = memcmp(a->key, b->key, n);
    return order ? order : (a->key_bytes > b->key_bytes) - (a->key_bytes < b->key_bytes);
}

typedef struct writing {
    graft_str *out;
    int indent, sorted;
} writing;

static void write_value(const writing *w, const graft_json *v, int depth);

static void break_line(const writing *w, int depth)
{
    if (w->indent) graft_str_printf(w->out, "\n%*s", w->indent * depth, "");
}

static void write_children(const writing *w, const graft_json *v, int depth)
{
    const int object = v->type == GRAFT_JSON_OBJECT;
    const graft_json **order = graft_calloc((size_t)v->count, sizeof *order);
    int64_t n = 0;
    if (!order) {
        w->out->failed = 1;
        return;
    }
    for (const graft_json *m = v->child; m && n < v->count; m = m->next) order[n++] = m;
    if (object && w->sorted) qsort(order, (size_t)n, sizeof *order, by_key);
    graft_str_text(w->out, object ? "{" : "[");
    for (int64_t i = 0; i < n; i++) {
        if (i) graft_str_text(w->out, w->indent ? "," : ", ");
        break_line(w, depth + 1);
        if (object) {
            graft_str_json(w->out, order[i]->key, order[i]->key_bytes);
            graft_str_text(w->out, ": ");
        }
        write_value(w, order[i], depth + 1);
    }
    if (n) break_line(w, depth);
    graft_str_text(w->out, object ? "}" : "]");
    graft_free(order);
}

static void write_value(const writing *w, const graft_json *v, int depth)
{
    if (!v || depth > 2 * GRAFT_JSON_MAX_DEPTH) {
        w->out->failed = 1;
        return;
    }
    switch (v->type) {
    case GRAFT_JSON_NULL: graft_str_text(w->out, "null"); break;
    case GRAFT_JSON_BOOL: graft_str_text(w->out, v->integer ? "true" : "false"); break;
    case GRAFT_JSON_NUMBER: write_number(w->out, v); break;
    case GRAFT_JSON_TEXT: graft_str_json(w->out, v->text, v->bytes); break;
    case GRAFT_JSON_ARRAY:
    case GRAFT_JSON_OBJECT: write_children(w, v, depth); break;
    default: w->out->failed = 1;
    }
}

void graft_json_write(graft_str *out, const graft_json *v, int indent, int sorted)
{
    const writing w = {out, indent, sorted};
    write_value(&w, v, 0);
}

int graft_json_is(const graft_json *v, const char *s)
{
    return v && v->type == GRAFT_JSON_TEXT && v->bytes == strlen(s) && !memcmp(v->text, s, v->bytes);
}
