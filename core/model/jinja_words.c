/* core/model/jinja_words.c - what chat templates may call: filters (x | trim), tests (x is string), methods of texts and mappings, and functions. */
#include "core/model/jinja_parts.h"

#include "core/base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int is_text(const graft_json *v) { return v && v->type == GRAFT_JSON_TEXT; }
static int is_list(const graft_json *v) { return v && v->type == GRAFT_JSON_ARRAY; }
static int is_dict(const graft_json *v) { return v && v->type == GRAFT_JSON_OBJECT; }
static int is_number(const graft_json *v) { return v && v->type == GRAFT_JSON_NUMBER; }

static const graft_json *finish(graft_jinja_run *r, int line, graft_str *text)
{
    const graft_json *v = text->failed ? graft_jinja_fail(r, line, "a text grows too large") : graft_jinja_text(r, text->data, text->bytes);
    graft_str_free(text);
    return v;
}

/* ---- methods ---------------------------------------------------------------------------------------------------------------------------------- */

static const graft_json *pairs(graft_jinja_run *r, const graft_json *v)
{
    graft_json *list = graft_jinja_list(r);
    for (const graft_json *m = list ? v->child : NULL; m; m = m->next) {
        graft_json *pair = graft_jinja_list(r);
        graft_jinja_push(r, pair, graft_jinja_text(r, m->key, m->key_bytes));
        graft_jinja_push(r, pair, m);
        if (pair) pair->integral = 1; /* a tuple */
        graft_jinja_push(r, list, pair);
    }
    return list;
}

static const graft_json *dict_method(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *key = graft_jinja_argument(args, 0, "key");
    if (!strcmp(name, "items")) return pairs(r, v);
    if (!strcmp(name, "cycle") && graft_json_get(v, "index0") && args->n) return args->value[graft_json_get(v, "index0")->integer % args->n];
    if (!strcmp(name, "keys")) return graft_jinja_items(r, args->line, v);
    if (!strcmp(name, "get")) {
        const graft_json *found = is_text(key) ? graft_json_get(v, key->text) : NULL, *otherwise = graft_jinja_argument(args, 1, "default");
        return found ? found : otherwise ? otherwise
                                         : graft_json_new(r->a, GRAFT_JSON_NULL);
    }
    if (!strcmp(name, "values")) {
        graft_json *list = graft_jinja_list(r);
        for (const graft_json *m = v->child; m; m = m->next) graft_jinja_push(r, list, m);
        return list;
    }
    return graft_jinja_fail(r, args->line, "a mapping has no method \"%.60s\"", name);
}

const graft_json *graft_jinja_method(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args)
{
    if (is_text(v)) return graft_jinja_text_method(r, name, v, args);
    if (is_dict(v)) return dict_method(r, name, v, args);
    return graft_jinja_fail(r, args->line, "this value has no method \"%.60s\"", name);
}

/* ---- tests -------------------------------------------------------------------------------------------------------------------------------------- */

int graft_jinja_test(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *x = graft_jinja_argument(args, 0, NULL);
    const struct {
        const char *name;
        int holds;
    } plain[] = {{"defined", v != NULL}, {"undefined", v == NULL}, {"none", v && v->type == GRAFT_JSON_NULL}, {"string", is_text(v)}, {"mapping", is_dict(v)}, {"sequence", is_list(v) || is_text(v) || is_dict(v)}, {"iterable", is_list(v) || is_text(v) || is_dict(v)}, {"number", is_number(v) || (v && v->type == GRAFT_JSON_BOOL)}, {"integer", is_number(v) && v->integral}, {"float", is_number(v) && !v->integral}, {"boolean", v && v->type == GRAFT_JSON_BOOL}, {"true", v && v->type == GRAFT_JSON_BOOL && v->integer}, {"false", v && v->type == GRAFT_JSON_BOOL && !v->integer}, {"odd", is_number(v) && v->integer % 2 != 0}, {"even", is_number(v) && v->integer % 2 == 0}, {"callable", 0}, {"lower", is_text(v) && graft_jinja_cased(v, 0)}, {"upper", is_text(v) && graft_jinja_cased(v, 1)}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (!strcmp(name, plain[i].name)) return plain[i].holds;
    if (!strcmp(name, "equalto") || !strcmp(name, "eq") || !strcmp(name, "sameas")) return graft_jinja_same(v, x);
    if (!strcmp(name, "ne")) return !graft_jinja_same(v, x);
    if (!strcmp(name, "in")) return graft_jinja_holds(r, args->line, x, v);
    if (!strcmp(name, "divisibleby")) return is_number(v) && is_number(x) && x->integer && v->integer % x->integer == 0;
    if (!strcmp(name, "gt") || !strcmp(name, "greaterthan")) return graft_jinja_order(r, args->line, v, x) > 0;
    if (!strcmp(name, "lt") || !strcmp(name, "lessthan")) return graft_jinja_order(r, args->line, v, x) < 0;
    if (!strcmp(name, "ge")) return graft_jinja_order(r, args->line, v, x) >= 0;
    if (!strcmp(name, "le")) return graft_jinja_order(r, args->line, v, x) <= 0;
    graft_jinja_fail(r, args->line, "there is no test \"%.60s\"", name);
    return 0;
}

/* ---- filters --------------------------------------------------------------------------------------------------------------------------------------- */

/* Of x.y.z its member by a dotted path. */
static const graft_json *by_path(const graft_json *v, const graft_json *path)
{
    char key[200];
    for (const char *p = path->text; v && *p; p += *p == '.') {
        const size_t n = strcspn(p, ".");
        if (n >= sizeof key) return NULL;
        memcpy(key, p, n), key[n] = '\0';
        v = graft_json_get(v, key);
        p += n;
    }
    return v;
}

/* select, reject, selectattr, rejectattr: items that a test holds for. */
static const graft_json *selected(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args, int by_attribute, int want)
{
    const graft_json *items = graft_jinja_items(r, args->line, v), *attribute = by_attribute ? graft_jinja_argument(args, 0, NULL) : NULL;
    const graft_json *test = graft_jinja_argument(args, by_attribute, NULL);
    graft_jinja_args rest = {.line = args->line};
    graft_json *list = graft_jinja_list(r);
    for (int i = by_attribute + 1; i < args->n; i++) rest.value[rest.n++] = args->value[i];
    for (const graft_json *m = items && list ? items->child : NULL; m && !r->failed; m = m->next) {
        const graft_json *x = is_text(attribute) ? by_path(m, attribute) : m;
        if ((is_text(test) ? graft_jinja_test(r, test->text, x, &rest) : graft_jinja_true(x)) == want) graft_jinja_push(r, list, m);
    }
    return list;
}

static const graft_json *mapped(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *items = graft_jinja_items(r, args->line, v), *attribute = graft_jinja_argument(args, JINJA_ARGS_MAX, "attribute"), *filter = graft_jinja_argument(args, 0, NULL);
    const graft_json *otherwise = graft_jinja_argument(args, JINJA_ARGS_MAX, "default");
    graft_jinja_args rest = {.line = args->line};
    graft_json *list = graft_jinja_list(r);
    for (int i = 1; i < args->n; i++) rest.name[rest.n] = args->name[i], rest.value[rest.n++] = args->value[i];
    for (const graft_json *m = items && list ? items->child : NULL; m && !r->failed; m = m->next) {
        const graft_json *x = is_text(attribute) ? by_path(m, attribute) : is_text(filter) ? graft_jinja_filter(r, filter->text, m, &rest)
                                                                                           : m;
        graft_jinja_push(r, list, x ? x : otherwise);
    }
    return list;
}

typedef struct sorting {
    const graft_json *item, *key;
} sorting;

static const graft_json *sorted(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args, const graft_json *attribute, int reverse)
{
    const graft_json *items = graft_jinja_items(r, args->line, v);
    graft_json *list = graft_jinja_list(r);
    sorting *all = items && list ? graft_arena_alloc(r->a, ((size_t)items->count + 1) * sizeof *all) : NULL;
    int64_t n = 0;
    for (const graft_json *m = all ? items->child : NULL; m; m = m->next) { /* by insertion: stable, lists are short */
        const sorting x = {m, is_text(attribute) ? by_path(m, attribute) : is_list(m) && attribute ? m->child
                                                                                                   : m};
        int64_t k = n++;
        for (; k && !r->failed; k--) {
            const int c = graft_jinja_order(r, args->line, all[k - 1].key, x.key);
            if (reverse ? c >= 0 : c <= 0) break;
            all[k] = all[k - 1];
        }
        all[k] = x;
    }
    for (int64_t i = 0; i < n; i++) graft_jinja_push(r, list, all[i].item);
    return list;
}

/* JSON with separators of one's own. Keys stay in their order unless they are to be sorted, which is done by copying. */
static void parted(graft_jinja_run *r, graft_str *out, const graft_json *v, const graft_json *mark, int by_key)
{
    if (v->type != GRAFT_JSON_ARRAY && v->type != GRAFT_JSON_OBJECT) {
        graft_json_write(out, v, 0, by_key);
        return;
    }
    if (++r->depth > JINJA_DEPTH_MAX) graft_jinja_fail(r, 0, "a value is nested too deeply");
    const graft_json *members = v->type == GRAFT_JSON_OBJECT && by_key ? sorted(r, pairs(r, v), &(graft_jinja_args){0}, graft_jinja_flag(r, 1), 0) : v;
    graft_str_text(out, v->type == GRAFT_JSON_ARRAY ? "[" : "{");
    for (const graft_json *m = r->failed || !members ? NULL : members->child; m; m = m->next) {
        const graft_json *value = members == v ? m : m->child->next;
        if (m != members->child) graft_str_add(out, mark->text, mark->bytes);
        if (v->type == GRAFT_JSON_OBJECT) {
            if (members == v) graft_str_json(out, m->key, m->key_bytes);
            else graft_str_json(out, m->child->text, m->child->bytes);
            graft_str_add(out, mark->next->text, mark->next->bytes);
        }
        parted(r, out, value, mark, by_key);
    }
    graft_str_text(out, v->type == GRAFT_JSON_ARRAY ? "]" : "}");
    r->depth--;
}

static const graft_json *to_json(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *indent = graft_jinja_argument(args, JINJA_ARGS_MAX, "indent"), *keys = graft_jinja_argument(args, JINJA_ARGS_MAX, "sort_keys");
    graft_str out;
    if (!v) return graft_jinja_fail(r, args->line, "something undefined cannot be written as JSON");
    if (!indent) indent = graft_jinja_argument(args, 0, NULL);
    graft_str_init(&out, 64 << 20);
    const graft_json *marks = graft_jinja_argument(args, JINJA_ARGS_MAX, "separators");
    if (is_list(marks) && marks->count == 2 && is_text(marks->child) && is_text(marks->child->next) && !is_number(indent)) {
        parted(r, &out, v, marks->child, graft_jinja_true(keys));
        return finish(r, args->line, &out);
    }
    graft_json_write(&out, v, is_number(indent) ? (int)indent->integer : 0, graft_jinja_true(keys));
    return finish(r, args->line, &out);
}

static const graft_json *number(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args, int whole)
{
    char text[64] = "";
    const graft_json *otherwise = graft_jinja_argument(args, 0, "default");
    if (is_number(v)) return whole ? graft_jinja_int(r, v->integral ? v->integer : (int64_t)v->number) : graft_jinja_real(r, v->number);
    if (v && v->type == GRAFT_JSON_BOOL) return whole ? graft_jinja_int(r, v->integer) : graft_jinja_real(r, (double)v->integer);
    if (is_text(v) && v->bytes && v->bytes < sizeof text) {
        char *end;
        memcpy(text, v->text, v->bytes);
        const double d = strtod(text, &end);
        if (!*end && fabs(d) < 9e15) return whole ? graft_jinja_int(r, (int64_t)d) : graft_jinja_real(r, d);
    }
    return otherwise ? otherwise : whole ? graft_jinja_int(r, 0)
                                         : graft_jinja_real(r, 0);
}

static const graft_json *unique(graft_jinja_run *r, int line, const graft_json *v)
{
    const graft_json *items = graft_jinja_items(r, line, v);
    graft_json *list = graft_jinja_list(r);
    for (const graft_json *m = items && list ? items->child : NULL; m; m = m->next)
        if (!graft_jinja_holds(r, line, list, m)) graft_jinja_push(r, list, m);
    return list;
}

static const graft_json *reversed(graft_jinja_run *r, int line, const graft_json *v)
{
    const graft_json *items = graft_jinja_items(r, line, v), **all = items ? graft_arena_alloc(r->a, ((size_t)items->count + 1) * sizeof *all) : NULL;
    graft_json *list = graft_jinja_list(r);
    int64_t n = 0;
    for (const graft_json *m = all ? items->child : NULL; m; m = m->next) all[n++] = m;
    while (n) graft_jinja_push(r, list, all[--n]);
    return is_text(v) ? graft_jinja_join(r, line, list, NULL, NULL) : list;
}

static int64_t length(const graft_json *v)
{
    int64_t n = 0;
    if (!v || !is_text(v)) return v ? v->count : 0;
    for (size_t i = 0; i < v->bytes; i++) n += ((unsigned char)v->text[i] & 0xC0) != 0x80;
    return n;
}

/* "%s"|format(a, b) */
static const graft_json *percent_filter(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args)
{
    graft_json *values = args->n && args->name[0] ? graft_json_new(r->a, GRAFT_JSON_OBJECT) : graft_jinja_list(r);
    if (!graft_jinja_made(r, values)) return NULL;
    values->integral = values->type == GRAFT_JSON_ARRAY;
    for (int i = 0; i < args->n; i++) {
        if (values->type == GRAFT_JSON_ARRAY) graft_jinja_push(r, values, args->value[i]);
        else if (args->name[i]) graft_json_put(r->a, values, args->name[i], graft_jinja_node_of(r, args->value[i]));
    }
    return graft_jinja_percent(r, args->line, v, values);
}

static const graft_json *summed(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *items = graft_jinja_items(r, args->line, v), *attribute = graft_jinja_argument(args, 0, "attribute"), *start = graft_jinja_argument(args, 1, "start");
    graft_json *list = start && start->type == GRAFT_JSON_ARRAY ? graft_jinja_list(r) : NULL;
    double sum = start && is_number(start) ? start->number : 0;
    int whole = !start || !is_number(start) || start->integral;
    for (const graft_json *m = list ? start->child : NULL; m; m = m->next) graft_jinja_push(r, list, m);
    for (const graft_json *m = items ? items->child : NULL; m && !r->failed; m = m->next) {
        const graft_json *x = is_text(attribute) ? by_path(m, attribute) : m;
        if (list && is_list(x))
            for (const graft_json *k = x->child; k; k = k->next) graft_jinja_push(r, list, k);
        else if (!list && graft_jinja_is_number(x)) sum += graft_jinja_number_of(x), whole &= graft_jinja_is_whole(x);
        else return graft_jinja_fail(r, args->line, "sum needs numbers");
    }
    return list ? list : whole && fabs(sum) < 9e15 ? graft_jinja_int(r, (int64_t)sum)
                                                   : graft_jinja_real(r, sum);
}

static const graft_json *extreme(graft_jinja_run *r, int line, const graft_json *v, int greatest)
{
    const graft_json *items = graft_jinja_items(r, line, v), *best = items ? items->child : NULL;
    for (const graft_json *m = best ? best->next : NULL; m && !r->failed; m = m->next) {
        const int c = graft_jinja_order(r, line, m, best);
        if (greatest ? c > 0 : c < 0) best = m;
    }
    return best;
}

static const graft_json *rounded(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *places = graft_jinja_argument(args, 0, "precision"), *how = graft_jinja_argument(args, 1, "method");
    char text[400];
    if (!graft_jinja_is_number(v)) return graft_jinja_fail(r, args->line, "round needs a number");
    const int n = graft_jinja_is_whole(places) && places->integer > 0 && places->integer < 17 ? (int)places->integer : 0;
    const double d = graft_jinja_number_of(v), unit = pow(10, n);
    if (is_text(how) && (!strcmp(how->text, "ceil") || !strcmp(how->text, "floor"))) return graft_jinja_real(r, (how->text[0] == 'c' ? ceil(d * unit) : floor(d * unit)) / unit);
    if (!(fabs(d) < 1e300)) return graft_jinja_real(r, d);
    snprintf(text, sizeof text, "%.*f", n, d); /* halves to the even digit, as Python */
    return graft_jinja_real(r, strtod(text, NULL));
}

/* [(value, [items ..]) ..] by the values of an attribute, in their order. */
static const graft_json *grouped(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *by = graft_jinja_argument(args, 0, "attribute"), *last = NULL;
    if (!is_text(by)) return graft_jinja_fail(r, args->line, "groupby needs an attribute's name");
    const graft_json *all = sorted(r, v, args, by, 0);
    graft_json *groups = graft_jinja_list(r), *pair = NULL, *items = NULL;
    for (const graft_json *m = all && groups ? all->child : NULL; m && !r->failed; m = m->next) {
        const graft_json *key = by_path(m, by);
        if (!items || !graft_jinja_same(key, last)) {
            if (pair) graft_jinja_push(r, pair, items), pair->integral = 1, graft_jinja_push(r, groups, pair);
            pair = graft_jinja_list(r), items = graft_jinja_list(r);
            if (pair) graft_jinja_push(r, pair, key);
            last = key;
        }
        if (items) graft_jinja_push(r, items, m);
    }
    if (pair && items) graft_jinja_push(r, pair, items), pair->integral = 1, graft_jinja_push(r, groups, pair);
    return groups;
}

static const graft_json *batched(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *size = graft_jinja_argument(args, 0, "linecount"), *fill = graft_jinja_argument(args, 1, "fill_with"), *items = graft_jinja_items(r, args->line, v);
    graft_json *all = graft_jinja_list(r), *row = NULL;
    if (!graft_jinja_is_whole(size) || size->integer < 1) return graft_jinja_fail(r, args->line, "batch needs a number from 1");
    for (const graft_json *m = items && all ? items->child : NULL; m; m = m->next) {
        if (row && row->count == size->integer) graft_jinja_push(r, all, row), row = NULL;
        if (!row && !(row = graft_jinja_list(r))) return NULL;
        graft_jinja_push(r, row, m);
    }
    for (int64_t i = 0; row && fill && row->count < size->integer && i < 100000; i++) graft_jinja_push(r, row, fill);
    if (row) graft_jinja_push(r, all, row);
    return all;
}

const graft_json *graft_jinja_filter(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *x = graft_jinja_argument(args, 0, NULL), *items;
    int known = 0;
    if (!strcmp(name, "tojson")) return to_json(r, v, args);
    if (!strcmp(name, "format") && is_text(v)) return percent_filter(r, v, args);
    if (!strcmp(name, "sum")) return summed(r, v, args);
    if (!strcmp(name, "min") || !strcmp(name, "max")) return extreme(r, args->line, v, name[1] == 'a');
    if (!strcmp(name, "round")) return rounded(r, v, args);
    if (!strcmp(name, "groupby")) return grouped(r, v, args);
    if (!strcmp(name, "batch")) return batched(r, v, args);
    if (!strcmp(name, "default") || !strcmp(name, "d")) {
        const int empty_too = graft_jinja_true(graft_jinja_argument(args, 1, "boolean"));
        return v && !(empty_too && !graft_jinja_true(v)) ? v : x ? x
                                                                 : graft_jinja_text(r, "", 0);
    }
    if (!strcmp(name, "length") || !strcmp(name, "count")) return graft_jinja_int(r, length(v));
    if (!strcmp(name, "join")) {
        const graft_json *attribute = graft_jinja_argument(args, 1, "attribute");
        return graft_jinja_join(r, args->line, v, graft_jinja_argument(args, 0, "d"), is_text(attribute) ? attribute->text : NULL);
    }
    if (!strcmp(name, "items")) return is_dict(v) ? pairs(r, v) : graft_jinja_fail(r, args->line, "items needs a mapping");
    if (!strcmp(name, "dictsort")) return is_dict(v) ? sorted(r, pairs(r, v), args, graft_jinja_flag(r, 1), 0) : graft_jinja_fail(r, args->line, "dictsort needs a mapping");
    if (!strcmp(name, "map")) return mapped(r, v, args);
    if (!strcmp(name, "select") || !strcmp(name, "reject")) return selected(r, v, args, 0, name[0] == 's');
    if (!strcmp(name, "selectattr") || !strcmp(name, "rejectattr")) return selected(r, v, args, 1, name[0] == 's');
    if (!strcmp(name, "sort")) return sorted(r, v, args, graft_jinja_argument(args, JINJA_ARGS_MAX, "attribute"), graft_jinja_true(graft_jinja_argument(args, 0, "reverse")));
    if (!strcmp(name, "list")) return graft_jinja_items(r, args->line, v);
    if (!strcmp(name, "unique")) return unique(r, args->line, v);
    if (!strcmp(name, "reverse")) return reversed(r, args->line, v);
    if (!strcmp(name, "int") || !strcmp(name, "float")) return number(r, v, args, name[0] == 'i');
    if (!strcmp(name, "abs")) return is_number(v) && v->integral ? graft_jinja_int(r, v->integer < 0 ? -v->integer : v->integer) : graft_jinja_real(r, is_number(v) ? fabs(v->number) : 0);
    if (!strcmp(name, "first") || !strcmp(name, "last")) {
        if (!(items = graft_jinja_items(r, args->line, v))) return NULL;
        const graft_json *m = items->child;
        while (name[0] == 'l' && m && m->next) m = m->next;
        return m;
    }
    const graft_json *text = graft_jinja_text_filter(r, name, v, args, &known);
    return known || r->failed ? text : graft_jinja_fail(r, args->line, "there is no filter \"%.60s\"", name);
}

/* ---- functions ------------------------------------------------------------------------------------------------------------------------------------- */

static const graft_json *range(graft_jinja_run *r, const graft_jinja_args *args)
{
    const graft_json *x = graft_jinja_argument(args, 0, NULL), *y = graft_jinja_argument(args, 1, NULL), *z = graft_jinja_argument(args, 2, NULL);
    const int64_t from = is_number(y) && is_number(x) ? x->integer : 0, to = is_number(y) ? y->integer : is_number(x) ? x->integer
                                                                                                                      : 0,
                  by = is_number(z) && z->integer ? z->integer : 1;
    graft_json *list = graft_jinja_list(r);
    for (int64_t i = from; list && (by > 0 ? i < to : i > to) && !r->failed; i += by) {
        if (list->count > 100000) return graft_jinja_fail(r, args->line, "a range is too long");
        graft_jinja_push(r, list, graft_jinja_int(r, i));
    }
    return list;
}

/* Day of the week of "26 Jul 2024", 0: Sunday (Sakamoto's method). */
static int weekday(const char *today, int month)
{
    static const int shift[12] = {0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4};
    const int day = atoi(today), year = atoi(today + 7) - (month < 2);
    return ((year + year / 4 - year / 100 + year / 400 + shift[month] + day) % 7 + 7) % 7;
}

/* strftime_now: the caller's date, so that what is rendered does not change from day to day. */
static const graft_json *date(graft_jinja_run *r, const graft_jinja_args *args)
{
    static const char *const months[12] = {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"};
    static const char *const days[7] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    const graft_json *format = graft_jinja_argument(args, 0, NULL);
    const char *today = r->today ? r->today : "26 Jul 2024";
    graft_str out;
    int month = 0;
    if (!is_text(format) || strlen(today) < 11) return graft_jinja_text(r, today, strlen(today));
    while (month < 11 && memcmp(months[month], today + 3, 3)) month++;
    graft_str_init(&out, 1 << 16);
    for (size_t i = 0; i < format->bytes; i++) {
        const char c = format->text[i], what = c == '%' && i + 1 < format->bytes ? format->text[++i] : 0;
        if (!what) graft_str_add(&out, &c, 1);
        else if (what == 'd') graft_str_add(&out, today, 2);
        else if (what == 'b') graft_str_add(&out, today + 3, 3);
        else if (what == 'B') graft_str_text(&out, months[month]);
        else if (what == 'm') graft_str_printf(&out, "%02d", month + 1);
        else if (what == 'Y') graft_str_text(&out, today + 7);
        else if (what == 'y') graft_str_text(&out, today + 9);
        else if (what == 'A' || what == 'a') graft_str_add(&out, days[weekday(today, month)], what == 'A' ? strlen(days[weekday(today, month)]) : 3);
        else if (what == 'H' || what == 'M' || what == 'S') graft_str_text(&out, "00");
        else graft_str_add(&out, &what, 1);
    }
    return finish(r, args->line, &out);
}

const graft_json *graft_jinja_function(graft_jinja_run *r, const char *name, const graft_jinja_args *args, int *known)
{
    const graft_json *x = graft_jinja_argument(args, 0, NULL);
    *known = 1;
    if (!strcmp(name, "range")) return range(r, args);
    if (!strcmp(name, "strftime_now")) return date(r, args);
    if (!strcmp(name, "raise_exception")) return graft_jinja_fail(r, args->line, "%.600s", is_text(x) ? x->text : "it refuses this conversation");
    if (!strcmp(name, "namespace") || !strcmp(name, "dict")) {
        graft_json *space = graft_json_new(r->a, GRAFT_JSON_OBJECT);
        for (const graft_json *m = is_dict(x) ? x->child : NULL; space && m; m = m->next) graft_json_put(r->a, space, m->key, graft_json_copy(r->a, m));
        for (int i = 0; space && i < args->n; i++)
            if (args->name[i]) graft_json_put(r->a, space, args->name[i], args->value[i] ? graft_json_copy(r->a, args->value[i]) : graft_json_new(r->a, GRAFT_JSON_NULL));
        return space;
    }
    *known = 0;
    return NULL;
}
