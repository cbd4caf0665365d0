/* core/model/jinja_words.c - what chat templates may call: filters (x | trim), tests (x is string), methods of texts and mappings, and functions. */
#include "core/model/jinja_parts.h"

#include "core/base/error.h"

#include <math.h>
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

static const graft_json *printed(graft_jinja_run *r, int line, const graft_json *v)
{
    graft_str text;
    if (is_text(v)) return v;
    graft_str_init(&text, 0);
    graft_jinja_print(r, &text, v, 0);
    return finish(r, line, &text);
}

/* ---- texts ------------------------------------------------------------------------------------------------------------------------------- */

/* Python's white space in UTF-8 at s (or ending at it, for backward): its length, or 0. */
static size_t white(const char *s, size_t n)
{
    static const char *const wide[] = {"\xC2\x85", "\xC2\xA0", "\xE1\x9A\x80", "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    if (!n) return 0;
    if (*s == ' ' || (*s >= '\t' && *s <= '\r') || (*s >= 0x1C && *s <= 0x1F)) return 1;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (n >= strlen(wide[i]) && !memcmp(s, wide[i], strlen(wide[i]))) return strlen(wide[i]);
    return n >= 3 && !memcmp(s, "\xE2\x80", 2) && (unsigned char)s[2] >= 0x80 && (unsigned char)s[2] <= 0x8A ? 3 : 0;
}

/* set: characters to take, NULL: white space. */
static size_t to_strip(const char *s, size_t n, const graft_json *set)
{
    const size_t k = n ? (size_t)graft_utf8_length(s, n) : 0;
    if (!set) return white(s, n);
    return k && set->bytes >= k && memmem(set->text, set->bytes, s, k) ? k : 0;
}

static const graft_json *strip(graft_jinja_run *r, const graft_json *v, const graft_json *set, int left, int right)
{
    size_t from = 0, end = v->bytes, k;
    if (!is_text(set)) set = NULL;
    while (left && (k = to_strip(v->text + from, end - from, set))) from += k;
    while (right && end > from) {
        size_t begin = end - 1;
        while (begin > from && ((unsigned char)v->text[begin] & 0xC0) == 0x80) begin--;
        if (to_strip(v->text + begin, end - begin, set) != end - begin) break;
        end = begin;
    }
    return graft_jinja_text(r, v->text + from, end - from);
}

static const graft_json *replaced(graft_jinja_run *r, int line, const graft_json *v, const graft_json *from, const graft_json *to, const graft_json *most)
{
    graft_str out;
    int64_t left = is_number(most) ? most->integer : -1;
    if (!is_text(v) || !is_text(from) || !is_text(to)) return graft_jinja_fail(r, line, "replace needs texts");
    graft_str_init(&out, 64 << 20);
    for (size_t i = 0; i < v->bytes;) {
        const int hit = left && from->bytes && v->bytes - i >= from->bytes && !memcmp(v->text + i, from->text, from->bytes);
        if (hit) graft_str_add(&out, to->text, to->bytes), i += from->bytes, left--;
        else graft_str_add(&out, v->text + i++, 1);
    }
    return finish(r, line, &out);
}

/* split(): by runs of white space, or by a text; most: how often at most, from the right when so asked. */
static const graft_json *split(graft_jinja_run *r, const graft_json *v, const graft_json *by, int64_t most, int from_right)
{
    graft_json *list = graft_jinja_list(r);
    if (!list) return NULL;
    if (!is_text(by) || !by->bytes) {
        for (size_t i = 0, k, start; i < v->bytes;) {
            while ((k = white(v->text + i, v->bytes - i))) i += k;
            start = i;
            if (most == 0) i = v->bytes;
            while (i < v->bytes && !white(v->text + i, v->bytes - i)) i++;
            if (i > start) graft_jinja_push(r, list, graft_jinja_text(r, v->text + start, i - start)), most--;
        }
        return list;
    }
    int64_t all = 0, skip = 0;
    for (size_t i = 0; i + by->bytes <= v->bytes;) {
        const int hit = !memcmp(v->text + i, by->text, by->bytes);
        all += hit, i += hit ? by->bytes : 1;
    }
    if (most >= 0 && from_right && all > most) skip = all - most;
    size_t start = 0;
    for (size_t i = 0; i + by->bytes <= v->bytes && most;) {
        if (memcmp(v->text + i, by->text, by->bytes)) {
            i++;
            continue;
        }
        i += by->bytes;
        if (skip-- > 0) continue;
        graft_jinja_push(r, list, graft_jinja_text(r, v->text + start, i - by->bytes - start));
        start = i, most -= most > 0;
    }
    graft_jinja_push(r, list, graft_jinja_text(r, v->text + start, v->bytes - start));
    return list;
}

/* how: 'u' upper, 'l' lower, 'c' capitalize, 't' title. ASCII letters: chat templates' own words. */
static const graft_json *cased(graft_jinja_run *r, const graft_json *v, char how)
{
    char *out = graft_arena_copy(r->a, v->text, v->bytes);
    for (size_t i = 0; out && i < v->bytes; i++) {
        const char c = out[i];
        const char before = i ? v->text[i - 1] : ' ';
        const int letter_before = (before >= 'a' && before <= 'z') || (before >= 'A' && before <= 'Z');
        const int up = how == 'u' || (how == 'c' && !i) || (how == 't' && !letter_before);
        if (up && c >= 'a' && c <= 'z') out[i] = (char)(c - 32);
        if (!up && c >= 'A' && c <= 'Z') out[i] = (char)(c + 32);
    }
    return graft_jinja_text(r, out, out ? v->bytes : 0);
}

static int begins(const graft_json *v, const graft_json *with) { return is_text(with) && v->bytes >= with->bytes && !memcmp(v->text, with->text, with->bytes); }
static int ends(const graft_json *v, const graft_json *with) { return is_text(with) && v->bytes >= with->bytes && !memcmp(v->text + v->bytes - with->bytes, with->text, with->bytes); }

static int any_of(const graft_json *v, const graft_json *with, int (*has)(const graft_json *v, const graft_json *with))
{
    if (!is_list(with)) return has(v, with);
    for (const graft_json *m = with->child; m; m = m->next)
        if (has(v, m)) return 1;
    return 0;
}

static const graft_json *joined(graft_jinja_run *r, int line, const graft_json *list, const graft_json *with, const char *attribute)
{
    graft_str out;
    const graft_json *items = graft_jinja_items(r, line, list);
    graft_str_init(&out, 64 << 20);
    for (const graft_json *m = items ? items->child : NULL; m; m = m->next) {
        if (m != items->child && is_text(with)) graft_str_add(&out, with->text, with->bytes);
        graft_jinja_print(r, &out, attribute ? graft_json_get(m, attribute) : m, 0);
    }
    return finish(r, line, &out);
}

/* ---- methods ---------------------------------------------------------------------------------------------------------------------------------- */

static const graft_json *pairs(graft_jinja_run *r, const graft_json *v)
{
    graft_json *list = graft_jinja_list(r);
    for (const graft_json *m = list ? v->child : NULL; m; m = m->next) {
        graft_json *pair = graft_jinja_list(r);
        graft_jinja_push(r, pair, graft_jinja_text(r, m->key, m->key_bytes));
        graft_jinja_push(r, pair, m);
        graft_jinja_push(r, list, pair);
    }
    return list;
}

static const graft_json *dict_method(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *key = graft_jinja_argument(args, 0, "key");
    if (!strcmp(name, "items")) return pairs(r, v);
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

static const graft_json *text_method(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *x = graft_jinja_argument(args, 0, NULL), *y = graft_jinja_argument(args, 1, NULL), *most = graft_jinja_argument(args, 1, "maxsplit");
    const int64_t times = is_number(most) ? most->integer : -1;
    const char *at = is_text(x) && x->bytes <= v->bytes ? memmem(v->text, v->bytes, x->text, x->bytes) : NULL;
    if (!strcmp(name, "strip")) return strip(r, v, x, 1, 1);
    if (!strcmp(name, "lstrip")) return strip(r, v, x, 1, 0);
    if (!strcmp(name, "rstrip")) return strip(r, v, x, 0, 1);
    if (!strcmp(name, "split")) return split(r, v, x, times, 0);
    if (!strcmp(name, "rsplit")) return split(r, v, x, times, 1);
    if (!strcmp(name, "splitlines")) {
        const graft_json *lines = split(r, v, graft_jinja_text(r, "\n", 1), -1, 0);
        const int cut = v->bytes && v->text[v->bytes - 1] == '\n';
        graft_json *kept = graft_jinja_list(r);
        for (const graft_json *m = v->bytes && lines ? lines->child : NULL; m; m = m->next)
            if (m->next || !cut) graft_jinja_push(r, kept, m);
        return kept;
    }
    if (!strcmp(name, "startswith")) return graft_jinja_flag(r, any_of(v, x, begins));
    if (!strcmp(name, "endswith")) return graft_jinja_flag(r, any_of(v, x, ends));
    if (!strcmp(name, "removeprefix")) return begins(v, x) ? graft_jinja_text(r, v->text + x->bytes, v->bytes - x->bytes) : v;
    if (!strcmp(name, "removesuffix")) return ends(v, x) ? graft_jinja_text(r, v->text, v->bytes - x->bytes) : v;
    if (!strcmp(name, "replace")) return replaced(r, args->line, v, x, y, graft_jinja_argument(args, 2, "count"));
    if (!strcmp(name, "join")) return joined(r, args->line, x, v, NULL);
    if (!strcmp(name, "upper")) return cased(r, v, 'u');
    if (!strcmp(name, "lower")) return cased(r, v, 'l');
    if (!strcmp(name, "title")) return cased(r, v, 't');
    if (!strcmp(name, "capitalize")) return cased(r, v, 'c');
    if (!strcmp(name, "find")) {
        int64_t n = 0;
        for (const char *c = v->text; at && c < at; c++) n += ((unsigned char)*c & 0xC0) != 0x80;
        return graft_jinja_int(r, at ? n : -1);
    }
    if (!strcmp(name, "count")) {
        const graft_json *parts = is_text(x) && x->bytes ? split(r, v, x, -1, 0) : NULL;
        return graft_jinja_int(r, parts ? parts->count - 1 : 0);
    }
    return graft_jinja_fail(r, args->line, "a text has no method \"%.60s\"", name);
}

const graft_json *graft_jinja_method(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args)
{
    if (is_text(v)) return text_method(r, name, v, args);
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
    } plain[] = {{"defined", v != NULL}, {"undefined", v == NULL}, {"none", v && v->type == GRAFT_JSON_NULL}, {"string", is_text(v)}, {"mapping", is_dict(v)}, {"sequence", is_list(v) || is_text(v) || is_dict(v)}, {"iterable", is_list(v) || is_text(v) || is_dict(v)}, {"number", is_number(v) || (v && v->type == GRAFT_JSON_BOOL)}, {"integer", is_number(v) && v->integral}, {"float", is_number(v) && !v->integral}, {"boolean", v && v->type == GRAFT_JSON_BOOL}, {"true", v && v->type == GRAFT_JSON_BOOL && v->integer}, {"false", v && v->type == GRAFT_JSON_BOOL && !v->integer}, {"odd", is_number(v) && v->integer % 2 != 0}, {"even", is_number(v) && v->integer % 2 == 0}, {"callable", 0}};
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

static const graft_json *to_json(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *indent = graft_jinja_argument(args, JINJA_ARGS_MAX, "indent"), *keys = graft_jinja_argument(args, JINJA_ARGS_MAX, "sort_keys");
    graft_str out;
    if (!v) return graft_jinja_fail(r, args->line, "something undefined cannot be written as JSON");
    if (!indent) indent = graft_jinja_argument(args, 0, NULL);
    graft_str_init(&out, 64 << 20);
    graft_json_write(&out, v, is_number(indent) ? (int)indent->integer : 0, graft_jinja_true(keys));
    return finish(r, args->line, &out);
}

static const graft_json *indented(graft_jinja_run *r, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *width = graft_jinja_argument(args, 0, "width");
    const int64_t n = is_number(width) ? width->integer : 4;
    int due = graft_jinja_true(graft_jinja_argument(args, 1, "first"));
    graft_str out;
    graft_str_init(&out, 64 << 20);
    for (size_t i = 0; i < v->bytes; i++) {
        for (int64_t k = 0; due && v->text[i] != '\n' && k < n && !out.failed; k++) graft_str_text(&out, " ");
        graft_str_add(&out, v->text + i, 1);
        due = v->text[i] == '\n';
    }
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
    return is_text(v) ? joined(r, line, list, NULL, NULL) : list;
}

static int64_t length(const graft_json *v)
{
    int64_t n = 0;
    if (!v || !is_text(v)) return v ? v->count : 0;
    for (size_t i = 0; i < v->bytes; i++) n += ((unsigned char)v->text[i] & 0xC0) != 0x80;
    return n;
}

static const graft_json *text_filter(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args, int *known)
{
    *known = 1;
    if (!strcmp(name, "string") || !strcmp(name, "safe")) return printed(r, args->line, v);
    const graft_json *text = printed(r, args->line, v);
    if (!text) return NULL;
    if (!strcmp(name, "trim")) return strip(r, text, graft_jinja_argument(args, 0, "chars"), 1, 1);
    if (!strcmp(name, "upper")) return cased(r, text, 'u');
    if (!strcmp(name, "lower")) return cased(r, text, 'l');
    if (!strcmp(name, "title")) return cased(r, text, 't');
    if (!strcmp(name, "capitalize")) return cased(r, text, 'c');
    if (!strcmp(name, "indent")) return indented(r, text, args);
    if (!strcmp(name, "replace")) return replaced(r, args->line, text, graft_jinja_argument(args, 0, "old"), graft_jinja_argument(args, 1, "new"), graft_jinja_argument(args, 2, "count"));
    *known = 0;
    return NULL;
}

const graft_json *graft_jinja_filter(graft_jinja_run *r, const char *name, const graft_json *v, const graft_jinja_args *args)
{
    const graft_json *x = graft_jinja_argument(args, 0, NULL), *items;
    int known = 0;
    if (!strcmp(name, "tojson")) return to_json(r, v, args);
    if (!strcmp(name, "default") || !strcmp(name, "d")) {
        const int empty_too = graft_jinja_true(graft_jinja_argument(args, 1, "boolean"));
        return v && !(empty_too && !graft_jinja_true(v)) ? v : x ? x
                                                                 : graft_jinja_text(r, "", 0);
    }
    if (!strcmp(name, "length") || !strcmp(name, "count")) return graft_jinja_int(r, length(v));
    if (!strcmp(name, "join")) {
        const graft_json *attribute = graft_jinja_argument(args, 1, "attribute");
        return joined(r, args->line, v, graft_jinja_argument(args, 0, "d"), is_text(attribute) ? attribute->text : NULL);
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
    const graft_json *text = text_filter(r, name, v, args, &known);
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

/* strftime_now: the caller's date, so that what is rendered does not change from day to day. */
static const graft_json *date(graft_jinja_run *r, const graft_jinja_args *args)
{
    static const char *const months[12] = {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"};
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
