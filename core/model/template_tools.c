/* core/model/template_tools.c - tools and calls out of their JSON: what LLaMA-Factory's formatters read before a tool format writes it again.
 *
 *   a call  [thought] {"name": ..., "arguments": {...}} or a list of them; or text <tool_call>{...}</tool_call> text (the template's tool_call_words)
 *   tools   a JSON list of {"name", "description", "parameters"}, bare or inside {"type": "function", "function": ...}
 *
 * Text around tool_call_words stays in front of the call, an exact thought likewise; of several calls in words the first is taken. Values are written as
 * Python's json writes them; of a key given twice the last value counts, at the place of the first. */
#include "core/model/template_parts.h"

#include "core/base/error.h"

#include <string.h>

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for tools"); }

/* As Python's dict holds it. */
static graft_json *as_dict(graft_arena *a, const graft_json *v)
{
    if (v->type != GRAFT_JSON_ARRAY && v->type != GRAFT_JSON_OBJECT) return graft_json_copy(a, v);
    graft_json *out = graft_json_new(a, (graft_json_type)v->type);
    for (const graft_json *m = v->child; m && out; m = m->next) {
        graft_json *c = as_dict(a, m);
        if (!c) return NULL;
        if (v->type == GRAFT_JSON_ARRAY) graft_json_push(a, out, c);
        else graft_json_put(a, out, m->key, c);
    }
    return out;
}

static const graft_json *parse(graft_arena *a, const char *text, size_t bytes, graft_error *err)
{
    const graft_json *v = NULL;
    if (graft_json_parse(a, "json", text, bytes, GRAFT_JSON_ALLOW_NAN | GRAFT_JSON_ALLOW_LONE_SURROGATE, &v, err)) return NULL;
    v = as_dict(a, v);
    if (!v) no_memory(err);
    return v;
}

static graft_status finish(graft_arena *a, graft_str *text, graft_status status, graft_slice *out, graft_error *err)
{
    const char *copy = status || text->failed ? NULL : graft_arena_copy(a, text->data, text->bytes);
    *out = (graft_slice){copy, copy ? text->bytes : 0};
    graft_str_free(text);
    return status ? status : copy ? GRAFT_OK
                                  : no_memory(err);
}

/* tools_text with the tools at its first {{content}}. */
static graft_status as_it_came(const graft_template *t, graft_arena *a, const char *tools, graft_slice *out, graft_error *err)
{
    const char *at = strstr(t->tools_text.s, "{{content}}");
    const char *text = at ? graft_arena_printf(a, "%.*s%s%s", (int)(at - t->tools_text.s), t->tools_text.s, tools, at + strlen("{{content}}")) : t->tools_text.s;
    *out = (graft_slice){text, text ? strlen(text) : 0};
    return text ? GRAFT_OK : no_memory(err);
}

graft_status graft_tools_prompt(const graft_template *t, const graft_template_options *o, graft_arena *a, const char *tools, graft_slice *out, graft_error *err)
{
    if (t->tools_text.s) return as_it_came(t, a, tools, out, err);
    const graft_tool_format *f = graft_tool_format_find(t->tools, err);
    if (!f) return err->code;
    graft_error why = GRAFT_ERROR_INIT;
    const graft_json *list = parse(a, tools, strlen(tools), &why);
    if (!list || list->type != GRAFT_JSON_ARRAY)
        return graft_fail(err, GRAFT_BAD_INPUT, NULL, "tools must be the JSON text of a list of functions%s%.300s", list ? ", found something else" : ": ", list ? "" : why.message);
    *out = (graft_slice){"", 0};
    if (!list->child) return GRAFT_OK;
    graft_str text;
    graft_str_init(&text, 1 << 26);
    return finish(a, &text, f->prompt(&text, list, o->today ? o->today : "26 Jul 2024", err), out, err);
}

/* ---- calls -------------------------------------------------------------------------------------------------------------------------------- */

/* The first exact words[0] .. words[1] in text: 1, its outer bounds and inner text. */
static int enclosed(graft_slice text, const graft_slice words[2], size_t *from, size_t *end, graft_slice *inner)
{
    const char *open = words[0].n && text.n >= words[0].n ? memmem(text.s, text.n, words[0].s, words[0].n) : NULL;
    if (!open) return 0;
    const char *start = open + words[0].n;
    const char *close = memmem(start, text.n - (size_t)(start - text.s), words[1].s, words[1].n);
    if (!close) return 0;
    *from = (size_t)(open - text.s), *end = (size_t)(close - text.s) + words[1].n;
    *inner = (graft_slice){start, (size_t)(close - start)};
    return 1;
}

/* text without every occurrence of its part [from, end), as str.replace does it. */
static graft_slice without(graft_arena *a, graft_slice text, size_t from, size_t end)
{
    const size_t k = end - from;
    char *out = graft_arena_alloc(a, text.n + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < text.n;) {
        if (text.n - i >= k && !memcmp(text.s + i, text.s + from, k)) i += k;
        else out[n++] = text.s[i++];
    }
    return (graft_slice){out, n};
}

static graft_status calls_of(graft_arena *a, graft_slice json, graft_call **calls, size_t *n, graft_error *err)
{
    graft_error why = GRAFT_ERROR_INIT;
    const graft_json *v = parse(a, json.s, json.n, &why);
    if (!v) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the content of a function turn must be the JSON of a call {\"name\", \"arguments\"} or of a list of them: %.300s", why.message);
    const graft_json *first = v->type == GRAFT_JSON_ARRAY ? v->child : v;
    *n = v->type == GRAFT_JSON_ARRAY ? (size_t)v->count : 1;
    if (!(*calls = graft_arena_alloc(a, (*n + 1) * sizeof **calls))) return no_memory(err);
    for (size_t i = 0; i < *n; i++, first = first->next) {
        const graft_json *name = graft_json_get(first, "name"), *arguments = graft_json_get(first, "arguments");
        if (!name || name->type != GRAFT_JSON_TEXT || !arguments) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "call %zu of a function turn needs a \"name\" (a text) and \"arguments\"", i + 1);
        (*calls)[i] = (graft_call){{name->text, name->bytes}, arguments};
    }
    return GRAFT_OK;
}

graft_status graft_tools_call(const graft_template *t, graft_arena *a, const char *content, size_t bytes, graft_slice *out, graft_error *err)
{
    const graft_tool_format *f = graft_tool_format_find(t->tools, err);
    if (!f) return err->code;
    graft_slice all = {content, bytes}, json = all, before = {"", 0}, inner;
    size_t from, end;
    /* templates with the system text in the user's turn know neither words: their content is JSON alone */
    if (!t->system_in_user && enclosed(all, t->call, &from, &end, &inner)) {
        json = inner;
        before = without(a, all, from, end);
    } else if (!t->system_in_user && enclosed(all, t->thought, &from, &end, &inner)) {
        json = without(a, all, from, end);
        before = (graft_slice){content + from, end - from};
    }
    if (!json.s || !before.s) return no_memory(err);
    graft_call *calls = NULL;
    size_t n = 0;
    if (calls_of(a, json, &calls, &n, err)) return err->code;
    graft_str text;
    graft_str_init(&text, 1 << 26);
    graft_str_add(&text, before.s, before.n);
    return finish(a, &text, f->calls(&text, calls, n, err), out, err);
}
