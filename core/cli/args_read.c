/* core/cli/args_read.c - values by key with the table's defaults, what is said about keys that nothing acts on, and docs/compat.md. */
#include "core/cli/args.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const graft_json *graft_args_value(const graft_args *x, const char *key)
{
    const graft_json *v = graft_json_get(graft_args_object(x), key);
    return v && v->type != GRAFT_JSON_NULL ? v : NULL;
}

int graft_args_given(const graft_args *x, const char *key) { return graft_args_value(x, key) != NULL; }

static const char *fallback_of(const char *key)
{
    const graft_arg *arg = graft_arg_find(key);
    return arg ? arg->fallback : NULL;
}

const char *graft_args_text(const graft_args *x, const char *key)
{
    const graft_json *v = graft_args_value(x, key);
    return v ? v->text : fallback_of(key);
}

int64_t graft_args_int(const graft_args *x, const char *key)
{
    const graft_json *v = graft_args_value(x, key);
    const char *fallback = fallback_of(key);
    return v ? v->integer : fallback ? strtoll(fallback, NULL, 10)
                                     : 0;
}

double graft_args_real(const graft_args *x, const char *key)
{
    const graft_json *v = graft_args_value(x, key);
    const char *fallback = fallback_of(key);
    return v ? v->number : fallback ? strtod(fallback, NULL)
                                    : 0.0;
}

int graft_args_flag(const graft_args *x, const char *key)
{
    const graft_json *v = graft_args_value(x, key);
    const char *fallback = fallback_of(key);
    return v ? v->integer != 0 : fallback && !strcmp(fallback, "true");
}

/* ---- what nothing acts on ----------------------------------------------------------------------------------------------------- */

/* Does v say the same as the default? Where there is none, off, zero and empty say nothing either. */
static int is_default(const graft_arg *arg, const graft_json *v)
{
    const char *f = arg->fallback;
    switch (v->type) {
    case GRAFT_JSON_NULL: return 1;
    case GRAFT_JSON_BOOL: return f ? (!strcmp(f, "true")) == (v->integer != 0) && (!strcmp(f, "true") || !strcmp(f, "false") || !v->integer) : !v->integer;
    case GRAFT_JSON_NUMBER: return v->number == (f ? strtod(f, NULL) : 0.0);
    case GRAFT_JSON_TEXT: return f ? !strcmp(v->text, f) : !v->bytes || !strcmp(v->text, "none");
    default: return v->count == 0;
    }
}

static const char *near_to(const char *key)
{
    size_t n, at = 0;
    const graft_arg_group *g = graft_arg_groups(&n);
    const char *names[512];
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < g[i].n && at < sizeof names / sizeof *names; k++) names[at++] = g[i].args[k].name;
    return graft_nearest(key, names, at);
}

graft_status graft_args_unknown(const char *place, const char *key, graft_error *err)
{
    const char *near = near_to(key);
    if (near) return graft_fail(err, GRAFT_BAD_INPUT, place, "unknown key '%s', did you mean '%s'?", key, near);
    return graft_fail(err, GRAFT_BAD_INPUT, place, "unknown key '%s', expected a key of LLaMA-Factory, of graft or of a plugin in use", key);
}

static const char *where_of(const graft_args *x, const graft_json *v, char *room, size_t bytes)
{
    if (!v->line) return "command line";
    snprintf(room, bytes, "%s:%d:%d", graft_config_name(graft_args_config(x)), (int)v->line, (int)v->column);
    return room;
}

void graft_args_mistyped(const graft_args *x, graft_error *err)
{
    char room[512];
    for (const graft_json *m = graft_args_object(x)->child; m; m = m->next) {
        const char *near = graft_arg_find(m->key) || graft_config_was_read(graft_args_config(x), m->key) ? NULL : near_to(m->key);
        if (!near || strcmp(near, err->where) != 0) continue;
        graft_args_unknown(where_of(x, m, room, sizeof room), m->key, err);
        return;
    }
}

static void warn(graft_str *list, const char *what)
{
    if (list->bytes) graft_log(GRAFT_LOG_WARNING, "%s: %s", what, list->data);
    graft_str_free(list);
}

static void list_key(graft_str *list, const char *key, const char *note)
{
    graft_str_printf(list, "%s%s", list->bytes ? ", " : "", key);
    if (note) graft_str_printf(list, " (%s)", note);
}

/* Do this group's keys matter to the command? Training reads all; the others read what names and loads a model. */
static int group_matters(const graft_arg *arg, const char *method)
{
    size_t n;
    const graft_arg_group *g = graft_arg_groups(&n);
    if (method) return 1;
    for (size_t i = 0; i < n; i++)
        if (arg >= g[i].args && arg < g[i].args + g[i].n) return !strcmp(g[i].name, "model") || !strcmp(g[i].name, "generation") || !strcmp(g[i].name, "graft");
    return 0;
}

static int extra_allowed(void)
{
    const char *e = getenv("ALLOW_EXTRA_ARGS"); /* LLaMA-Factory's */
    return e && (!strcmp(e, "1") || !strcmp(e, "y") || !strcmp(e, "true") || !strcmp(e, "True"));
}

graft_status graft_args_finish(const graft_args *x, const char *method, graft_error *err)
{
    graft_str later, unread, extra;
    char room[512], what[160];
    graft_status s = GRAFT_OK;
    graft_str_init(&later, 0);
    graft_str_init(&unread, 0);
    graft_str_init(&extra, 0);
    for (const graft_json *m = graft_args_object(x)->child; !s && m; m = m->next) {
        const graft_arg *arg = graft_arg_find(m->key);
        const int was_read = graft_config_was_read(graft_args_config(x), m->key);
        if (!arg && !was_read && extra_allowed()) list_key(&extra, m->key, NULL);
        else if (!arg && !was_read) s = graft_args_unknown(where_of(x, m, room, sizeof room), m->key, err);
        else if (!arg || is_default(arg, m) || was_read || !group_matters(arg, method)) continue;
        else if (arg->status == GRAFT_ARG_LATER) list_key(&later, m->key, arg->note);
        else if (arg->status == GRAFT_ARG_METHOD && method) list_key(&unread, m->key, NULL);
        else if (arg->status == GRAFT_ARG_REFUSED) s = graft_fail(err, GRAFT_UNSUPPORTED, where_of(x, m, room, sizeof room), "%s is not supported: %s", m->key, arg->note);
    }
    snprintf(what, sizeof what, "not read by the tuning method %.100s", method ? method : "");
    warn(&later, "not acted on");
    warn(&unread, what);
    warn(&extra, "unknown keys, passed over since ALLOW_EXTRA_ARGS is set");
    return s;
}

/* ---- docs/compat.md ---------------------------------------------------------------------------------------------------------------- */

static void compat_row(graft_str *out, const graft_arg *a)
{
    static const char *const words[] = {"acted on", "read by the tuning method", "accepted", "not acted on", "refused", "alias of"};
    graft_str_printf(out, "| `%s` | %s | %s | ", a->name, a->fallback ? a->fallback : "", a->help);
    graft_str_text(out, words[a->status]);
    if (a->note) graft_str_printf(out, a->status == GRAFT_ARG_ALIAS ? " `%s`" : ": %s", a->note);
    graft_str_text(out, " |\n");
}

void graft_args_compat(graft_str *out)
{
    size_t n;
    const graft_arg_group *g = graft_arg_groups(&n);
    graft_str_text(out, "# LLaMA-Factory's keys, and what becomes of each\n\n"
                        "Made by `graft help --compat` from the table that the program itself uses; do not edit.\n\n"
                        "* *acted on*: does what it says. *read by the tuning method*: the chosen method's plugin reads it; if it does not, one line says so.\n"
                        "* *accepted*: cannot change the result here. *not acted on*: a value other than the default is named in one warning line.\n"
                        "* *refused*: a value other than the default would change the result, and is an error that names the alternative.\n\n"
                        "A YAML file may hold the keys of several commands; each command picks its own. Unknown keys are errors that name the nearest one.\n");
    for (size_t i = 0; i < n; i++) {
        graft_str_printf(out, "\n## %s\n\n| key | default | meaning | here |\n| --- | --- | --- | --- |\n", g[i].name);
        for (size_t k = 0; k < g[i].n; k++) compat_row(out, &g[i].args[k]);
    }
}
