/* core/model/jinja_values.c - what Python does with values of a chat template: truth, equality, order, membership, str and repr (jinja_parts.h). */
#include "core/model/jinja_parts.h"

#include "core/base/error.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- making ----------------------------------------------------------------------------------------------------------------------------- */

const graft_json *graft_jinja_fail(graft_jinja_run *r, int line, const char *fmt, ...)
{
    char what[900], where[300];
    va_list args;
    if (r->failed) return NULL;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    snprintf(where, sizeof where, "%.270s:%d", r->name, line);
    graft_fail(r->err, GRAFT_BAD_INPUT, where, "the chat template stops: %s", what);
    r->failed = 1;
    return NULL;
}

const graft_json *graft_jinja_made(graft_jinja_run *r, const graft_json *v)
{
    if (!v && !r->failed) graft_fail(r->err, GRAFT_NO_MEMORY, r->name, "out of memory while rendering the chat template"), r->failed = 1;
    return v;
}

const graft_json *graft_jinja_text(graft_jinja_run *r, const char *s, size_t n) { return graft_jinja_made(r, graft_json_text(r->a, s ? s : "", n)); }
const graft_json *graft_jinja_flag(graft_jinja_run *r, int v) { return graft_jinja_made(r, graft_json_flag(r->a, v)); }
const graft_json *graft_jinja_int(graft_jinja_run *r, int64_t v) { return graft_jinja_made(r, graft_json_int(r->a, v)); }
const graft_json *graft_jinja_real(graft_jinja_run *r, double v) { return graft_jinja_made(r, graft_json_real(r->a, v)); }

graft_json *graft_jinja_list(graft_jinja_run *r)
{
    graft_json *list = graft_json_new(r->a, GRAFT_JSON_ARRAY);
    graft_jinja_made(r, list);
    return list;
}

/* A node of its own for a list or mapping; what is inside is shared. */
graft_json *graft_jinja_node_of(graft_jinja_run *r, const graft_json *v)
{
    graft_json *n = graft_json_new(r->a, GRAFT_JSON_NULL);
    if (!graft_jinja_made(r, n) || !v) return n;
    *n = *v;
    n->next = NULL, n->key = NULL, n->key_bytes = 0;
    return n;
}

void graft_jinja_push(graft_jinja_run *r, graft_json *list, const graft_json *v)
{
    graft_json *n = graft_jinja_node_of(r, v);
    if (n && list) graft_json_push(r->a, list, n);
}

int graft_jinja_true(const graft_json *v)
{
    if (!v || v->type == GRAFT_JSON_NULL) return 0;
    if (v->type == GRAFT_JSON_BOOL) return v->integer != 0;
    if (v->type == GRAFT_JSON_NUMBER) return v->number > 0 || v->number < 0;
    return v->type == GRAFT_JSON_TEXT ? v->bytes > 0 : v->count > 0;
}

int graft_jinja_same(const graft_json *x, const graft_json *y)
{
    if (!x || !y) return x == y;
    if (graft_jinja_is_number(x) && graft_jinja_is_number(y)) return !(graft_jinja_number_of(x) < graft_jinja_number_of(y)) && !(graft_jinja_number_of(x) > graft_jinja_number_of(y));
    if (x->type != y->type) return 0;
    if (x->type == GRAFT_JSON_TEXT) return x->bytes == y->bytes && !memcmp(x->text, y->text, x->bytes);
    if (x->type == GRAFT_JSON_NULL) return 1;
    if (x->count != y->count) return 0;
    const graft_json *b = y->child;
    for (const graft_json *a = x->child; a && b; a = a->next, b = b->next)
        if (!graft_jinja_same(a, x->type == GRAFT_JSON_OBJECT ? graft_json_get(y, a->key) : b)) return 0;
    return 1;
}

int graft_jinja_order(graft_jinja_run *r, int line, const graft_json *x, const graft_json *y)
{
    if (graft_jinja_is_number(x) && graft_jinja_is_number(y)) return graft_jinja_number_of(x) < graft_jinja_number_of(y) ? -1 : graft_jinja_number_of(x) > graft_jinja_number_of(y);
    if (x && y && x->type == GRAFT_JSON_ARRAY && y->type == GRAFT_JSON_ARRAY) { /* the first that differ decide */
        const graft_json *a = x->child, *b = y->child;
        for (; a && b; a = a->next, b = b->next)
            if (!graft_jinja_same(a, b)) return graft_jinja_order(r, line, a, b);
        return (a != NULL) - (b != NULL);
    }
    if (!graft_jinja_is_text(x) || !graft_jinja_is_text(y)) return graft_jinja_fail(r, line, "two values cannot be compared by size"), 0;
    const int c = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);
    return c ? c : x->bytes < y->bytes ? -1
                                       : x->bytes > y->bytes;
}

int graft_jinja_holds(graft_jinja_run *r, int line, const graft_json *container, const graft_json *v)
{
    if (!container) return 0;
    if (graft_jinja_is_text(container)) {
        if (!graft_jinja_is_text(v)) return graft_jinja_fail(r, line, "only a text can be in a text"), 0;
        return !v->bytes || (container->bytes >= v->bytes && memmem(container->text, container->bytes, v->text, v->bytes) != NULL);
    }
    if (container->type == GRAFT_JSON_OBJECT) return graft_jinja_is_text(v) && graft_json_get(container, v->text) != NULL;
    if (container->type != GRAFT_JSON_ARRAY) return graft_jinja_fail(r, line, "\"in\" needs a text, a list or a mapping"), 0;
    for (const graft_json *m = container->child; m; m = m->next)
        if (graft_jinja_same(m, v)) return 1;
    return 0;
}

static void quoted(graft_str *out, const graft_json *v)
{
    const char quote = memchr(v->text, '\'', v->bytes) && !memchr(v->text, '"', v->bytes) ? '"' : '\'';
    graft_str_add(out, &quote, 1);
    for (size_t i = 0; i < v->bytes; i++) {
        const char c = v->text[i];
        if (c == '\n') graft_str_text(out, "\\n");
        else if (c == '\t') graft_str_text(out, "\\t");
        else if (c == '\r') graft_str_text(out, "\\r");
        else {
            if (c == '\\' || c == quote) graft_str_add(out, "\\", 1);
            graft_str_add(out, &c, 1);
        }
    }
    graft_str_add(out, &quote, 1);
}

void graft_jinja_print(graft_jinja_run *r, graft_str *out, const graft_json *v, int repr)
{
    if (!v) return;
    switch (v->type) {
    case GRAFT_JSON_NULL: graft_str_text(out, "None"); return;
    case GRAFT_JSON_BOOL: graft_str_text(out, v->integer ? "True" : "False"); return;
    case GRAFT_JSON_NUMBER:
        if (v->integral) graft_str_printf(out, "%lld", (long long)v->integer);
        else graft_str_double(out, v->number);
        return;
    case GRAFT_JSON_TEXT:
        if (repr) quoted(out, v);
        else graft_str_add(out, v->text, v->bytes);
        return;
    default: break;
    }
    if (++r->depth > JINJA_DEPTH_MAX) graft_jinja_fail(r, 0, "a value is nested too deeply");
    const int tuple = graft_jinja_is_tuple(v);
    graft_str_text(out, tuple ? "(" : v->type == GRAFT_JSON_ARRAY ? "["
                                                                  : "{");
    for (const graft_json *m = r->failed ? NULL : v->child; m; m = m->next) {
        if (m != v->child) graft_str_text(out, ", ");
        if (v->type == GRAFT_JSON_OBJECT) {
            const graft_json key = {.type = GRAFT_JSON_TEXT, .text = m->key, .bytes = m->key_bytes};
            quoted(out, &key);
            graft_str_text(out, ": ");
        }
        graft_jinja_print(r, out, m, 1);
    }
    if (tuple && v->count == 1) graft_str_text(out, ",");
    graft_str_text(out, tuple ? ")" : v->type == GRAFT_JSON_ARRAY ? "]"
                                                                  : "}");
    r->depth--;
}

const graft_json *graft_jinja_argument(const graft_jinja_args *args, int position, const char *name)
{
    int at = 0;
    for (int i = 0; i < args->n; i++) {
        if (args->name[i] ? name && !strcmp(args->name[i], name) : at == position) return args->value[i];
        at += !args->name[i];
    }
    return NULL;
}

const graft_json *graft_jinja_items(graft_jinja_run *r, int line, const graft_json *v)
{
    if (v && v->type == GRAFT_JSON_ARRAY) return v;
    graft_json *list = graft_jinja_list(r);
    if (!v || !list) return list;
    if (v->type == GRAFT_JSON_OBJECT)
        for (const graft_json *m = v->child; m; m = m->next) graft_jinja_push(r, list, graft_jinja_text(r, m->key, m->key_bytes));
    else if (graft_jinja_is_text(v))
        for (size_t i = 0, n; i < v->bytes; i += n) {
            n = (size_t)graft_utf8_length(v->text + i, v->bytes - i);
            if (!n) n = 1;
            graft_jinja_push(r, list, graft_jinja_text(r, v->text + i, n));
        }
    else return graft_jinja_fail(r, line, "a list is needed, found a single value");
    return list;
}
