/* core/cli/cmd_plugin.c - graft plugin list|show|why|add|remove|retry|path. Listing and showing open no library: they read the registry, the files and the
 * kept results of probes. add, why and retry run unknown code in a child process only; why then loads the plugin as a run would. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/cli/cli.h"
#include "core/plugin/examine.h"
#include "core/plugin/load.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void put_text(graft_cli *c, graft_json *o, const char *key, const char *text)
{
    if (text) graft_json_put(c->arena, o, key, graft_json_text(c->arena, text, strlen(text)));
}

static const char *text_of(const graft_json *o, const char *key)
{
    const graft_json *v = graft_json_get(o, key);
    return v && v->type == GRAFT_JSON_TEXT ? v->text : "";
}

/* ---- finding: NAME, KIND/NAME or FILE.so ---- */

static int is_file_word(const char *word)
{
    const size_t n = strlen(word);
    return n > 3 && !strcmp(word + n - 3, ".so");
}

/* The absolute path of a file word, in the arena, links resolved for the folders only, so that a linked library is still seen as one. */
static const char *file_word(graft_cli *c, const char *word)
{
    char folder[PATH_MAX];
    const char *base = graft_path_base(word);
    char *dir = graft_arena_copy(c->arena, word, (size_t)(base - word));
    if (!dir || !realpath(*dir ? dir : ".", folder)) return word;
    return graft_arena_printf(c->arena, "%s/%s", !strcmp(folder, "/") ? "" : folder, base);
}

static graft_status none_named(const graft_registry *r, const char *word, graft_error *err)
{
    const char *names[256];
    size_t n = 0;
    for (int k = GRAFT_KIND_FORMAT; k < GRAFT_KINDS; k++) {
        const graft_entry *const *list;
        const size_t count = graft_registry_list(r, (graft_kind)k, &list);
        for (size_t i = 0; i < count && n < 256; i++) names[n++] = list[i]->name;
    }
    const char *near = graft_nearest(word, names, n);
    if (near) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "No plugin is named '%s', did you mean '%s'?", word, near);
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "No plugin is named '%s'; 'graft plugin list' names all. For a file, give its path ending in .so.", word);
}

/* The one entry of this name; several kinds may have it: then KIND/NAME is asked for. */
static graft_status find(const graft_registry *r, const char *word, const graft_entry **out, graft_error *err)
{
    const char *slash = strchr(word, '/');
    *out = NULL;
    if (slash) {
        char kind[16];
        snprintf(kind, sizeof kind, "%.*s", (int)(slash - word < 15 ? slash - word : 15), word);
        if (graft_kind_of(kind) < GRAFT_KINDS) return graft_registry_need(r, graft_kind_of(kind), slash + 1, out, err);
    }
    for (int k = GRAFT_KIND_FORMAT; k < GRAFT_KINDS; k++) {
        const graft_entry *e = graft_registry_find(r, (graft_kind)k, word);
        if (e && *out) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "Both a %s and a %s are named '%s'; say %s/%s or %s/%s.", graft_kind_name((*out)->kind), graft_kind_name(e->kind), word, graft_kind_name((*out)->kind), word, graft_kind_name(e->kind), word);
        if (e) *out = e;
    }
    return *out ? GRAFT_OK : none_named(r, word, err);
}

/* The entry whose file this is, or NULL. */
static const graft_entry *entry_of_file(const graft_registry *r, const char *path)
{
    for (int k = GRAFT_KIND_FORMAT; k < GRAFT_KINDS; k++) {
        const graft_entry *const *list;
        const size_t count = graft_registry_list(r, (graft_kind)k, &list);
        for (size_t i = 0; i < count; i++) {
            char *own = graft_entry_path(list[i]);
            const int same = own && !strcmp(own, path);
            graft_free(own);
            if (same) return list[i];
        }
    }
    return NULL;
}

/* ---- list, show, path ---- */

static graft_json *describe(graft_cli *c, const graft_entry *e)
{
    char state[400];
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    char *path = graft_entry_path(e);
    graft_plugin_state(e, state, sizeof state);
    put_text(c, o, "kind", graft_kind_name(e->kind));
    put_text(c, o, "name", e->name);
    put_text(c, o, "file", path);
    put_text(c, o, "registry", e->layer);
    put_text(c, o, "state", state);
    graft_free(path);
    return o;
}

static graft_status do_list(graft_cli *c, graft_registry *r, graft_error *err)
{
    const char *kinds[GRAFT_KINDS + 1] = {"format", "model", "method", "backend", "comm", NULL};
    const char *only = c->n_words > 1 ? c->words[1] : NULL;
    graft_json *all = graft_json_new(c->arena, GRAFT_JSON_ARRAY);
    if (only && (graft_kind_of(only) == GRAFT_KINDS || graft_kind_of(only) == GRAFT_KIND_DATASET)) return graft_cli_unknown_word(c, only, kinds, err);
    int width = 4;
    for (int k = GRAFT_KIND_FORMAT; k < GRAFT_KINDS; k++) {
        const graft_entry *const *list;
        const size_t n = only && graft_kind_of(only) != (graft_kind)k ? 0 : graft_registry_list(r, (graft_kind)k, &list);
        for (size_t i = 0; i < n; i++) {
            graft_json_push(c->arena, all, describe(c, list[i]));
            if ((int)strlen(list[i]->name) > width) width = (int)strlen(list[i]->name);
        }
    }
    if (c->json) {
        graft_cli_print_json(c, all, 2);
        return GRAFT_OK;
    }
    fprintf(c->out, "%-8s %-*s  %-22s  %s\n", "kind", width, "name", "state", "file");
    for (const graft_json *o = all->child; o; o = o->next)
        fprintf(c->out, "%-8s %-*s  %-22s  %s\n", text_of(o, "kind"), width, text_of(o, "name"), text_of(o, "state"), text_of(o, "file"));
    if (!all->count) fputs("no plugin is registered\n", c->out);
    return GRAFT_OK;
}

static graft_status do_show(graft_cli *c, graft_registry *r, graft_error *err)
{
    const graft_entry *e;
    const graft_status status = find(r, c->words[1], &e, err);
    if (status) return status;
    graft_json *o = describe(c, e);
    graft_json_put(c->arena, o, "entry", graft_json_copy(c->arena, e->json));
    if (c->json) {
        graft_cli_print_json(c, o, 2);
        return GRAFT_OK;
    }
    for (const graft_json *m = o->child; m; m = m->next)
        if (m->type == GRAFT_JSON_TEXT) fprintf(c->out, "%-12s %s\n", m->key, m->text);
    for (const graft_json *m = e->json->child; m; m = m->next) {
        graft_str text;
        graft_str_init(&text, 0);
        if (m->type == GRAFT_JSON_TEXT) graft_str_add(&text, m->text, m->bytes);
        else graft_json_write(&text, m, 0, 0);
        fprintf(c->out, "%-12s %s\n", m->key, text.data);
        graft_str_free(&text);
    }
    return GRAFT_OK;
}

static graft_status do_path(graft_cli *c, graft_registry *r, graft_error *err)
{
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT), *layers = graft_json_new(c->arena, GRAFT_JSON_ARRAY);
    char *cache = graft_probe_folder();
    (void)err;
    for (size_t i = 0; graft_registry_layers(r, i); i++) {
        graft_json *l = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
        put_text(c, l, "file", graft_registry_layers(r, i));
        graft_json_put(c->arena, l, "found", graft_json_flag(c->arena, graft_registry_layer_found(r, i)));
        graft_json_push(c->arena, layers, l);
        if (!c->json) fprintf(c->out, "registry %zu   %s%s\n", i + 1, graft_registry_layers(r, i), graft_registry_layer_found(r, i) ? "" : "  (not there)");
    }
    graft_json_put(c->arena, o, "registries", layers);
    put_text(c, o, "user_registry", graft_registry_user_file(r));
    put_text(c, o, "probe_results", cache);
    if (c->json) graft_cli_print_json(c, o, 2);
    else {
        fprintf(c->out, "add writes   %s\n", graft_registry_user_file(r) ? graft_registry_user_file(r) : "(nowhere: HOME is not set)");
        fprintf(c->out, "probes       %s\n", cache ? cache : "(not kept: HOME is not set)");
    }
    graft_free(cache);
    return GRAFT_OK;
}

/* ---- why, retry, add: the steps said aloud ---- */

typedef struct listener {
    graft_cli *c;
    graft_json *steps;
} listener;

static void say_step(void *ctx, const char *stage, const char *phrase)
{
    listener *l = ctx;
    graft_json *o = graft_json_new(l->c->arena, GRAFT_JSON_OBJECT);
    put_text(l->c, o, "stage", stage);
    put_text(l->c, o, "found", phrase);
    graft_json_push(l->c->arena, l->steps, o);
    if (!l->c->json) {
        fprintf(l->c->out, "%-12s %s\n", stage, phrase);
        fflush(l->c->out);
    }
}

/* The report of the steps as JSON, with the refusal when there was one. */
static void print_steps(const listener *l, const char *name, const graft_error *refusal)
{
    graft_cli *c = l->c;
    if (!c->json) return;
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    put_text(c, o, "name", name);
    graft_json_put(c->arena, o, "usable", graft_json_flag(c->arena, !refusal));
    graft_json_put(c->arena, o, "steps", l->steps);
    if (refusal) put_text(c, o, "refusal", refusal->message);
    graft_cli_print_json(c, o, 2);
}

static graft_status examine_and_load(const graft_entry *e, const char *path, int flags, listener *l, graft_error *err)
{
    graft_examined x;
    const graft_loaded *p;
    char text[200];
    graft_status status = GRAFT_OK;
    if (e && graft_plugin_linked(e->kind, e->name)) say_step(l, "linked", "linked into the program: no file, no probe");
    else status = graft_plugin_examine(e, path, flags, say_step, l, &x, err);
    if (status || !e) return status;
    status = graft_plugin_load(e, &p, err);
    if (status) return status;
    snprintf(text, sizeof text, "loaded into this process with the table \"graft.%s/1\"", graft_kind_name(e->kind));
    say_step(l, "initialised", text);
    return GRAFT_OK;
}

static graft_status aloud(graft_cli *c, graft_registry *r, int flags, graft_error *err)
{
    const graft_entry *e = NULL;
    const char *word = c->words[1], *path = is_file_word(word) ? file_word(c, word) : NULL;
    graft_status status = GRAFT_OK;
    if (path) e = entry_of_file(r, path);
    else status = find(r, word, &e, err);
    if (status) return status;
    listener l = {c, graft_json_new(c->arena, GRAFT_JSON_ARRAY)};
    status = examine_and_load(e, path, flags, &l, err);
    print_steps(&l, e ? e->name : path, status ? err : NULL);
    if (!status && !c->json) {
        if (e) fprintf(c->out, "%s %s can be used.\n", graft_kind_name(e->kind), e->name);
        else fprintf(c->out, "It can be used; no registry names it yet: 'graft plugin add %s' does.\n", word);
    }
    return status;
}

static graft_status do_why(graft_cli *c, graft_registry *r, graft_error *err) { return aloud(c, r, GRAFT_EXAMINE_AGAIN, err); }
static graft_status do_retry(graft_cli *c, graft_registry *r, graft_error *err) { return aloud(c, r, GRAFT_EXAMINE_RETRY, err); }

/* The entry to write: what is registered already under this kind and name, with file, hash and version of now, and what the command line gives. */
static graft_json *entry_to_write(graft_cli *c, const graft_entry *old, const graft_examined *x)
{
    static const char *const given[] = {"model_type", "prefer", "description", "license", "homepage", "requires", "provides"};
    graft_json *entry = old ? graft_json_copy(c->arena, old->json) : graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    const graft_config *args = graft_args_config(c->args);
    put_text(c, entry, "file_name", x->path);
    put_text(c, entry, "sha256", x->sha256);
    put_text(c, entry, "version", x->probe.version);
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        const graft_json *v = args->api->value(args, given[i]);
        if (v) graft_json_put(c->arena, entry, given[i], graft_json_copy(c->arena, v));
    }
    return entry;
}

static graft_status do_add(graft_cli *c, graft_registry *r, graft_error *err)
{
    graft_examined x;
    const char *path = file_word(c, c->words[1]), *file = graft_registry_user_file(r);
    listener l = {c, graft_json_new(c->arena, GRAFT_JSON_ARRAY)};
    if (!file) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "There is no place for your registry: HOME is not set. Set it, or write the entry into a file for --registry.");
    graft_status status = graft_plugin_examine(NULL, path, 0, say_step, &l, &x, err);
    const graft_kind kind = status ? GRAFT_KINDS : graft_kind_of(x.probe.kind);
    const graft_entry *old = status ? NULL : graft_registry_find(r, kind, x.probe.name);
    graft_json *entry = status ? NULL : entry_to_write(c, old, &x);
    if (!status) status = graft_args_finish(c->args, NULL, err);
    if (!status) status = graft_registry_put(file, kind, x.probe.name, entry, err);
    if (!status) {
        const char *phrase = graft_arena_printf(c->arena, "%s %s %s in %s%s%s", x.probe.kind, x.probe.name, x.probe.version, file, old ? ", in place of the one of " : "", old ? old->layer : "");
        say_step(&l, "registered", phrase ? phrase : file);
    }
    print_steps(&l, status ? path : x.probe.name, status ? err : NULL);
    return status;
}

static graft_status do_remove(graft_cli *c, graft_registry *r, graft_error *err)
{
    const graft_entry *e;
    int found = 0;
    const char *file = graft_registry_user_file(r);
    graft_status status = find(r, c->words[1], &e, err);
    if (!status && file) status = graft_registry_drop(file, e->kind, e->name, &found, err);
    if (status) return status;
    if (!found) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "%s %s is registered by %s, which this command leaves alone. Remove the entry there.", graft_kind_name(e->kind), e->name, e->layer);
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    put_text(c, o, "removed", e->name);
    put_text(c, o, "registry", file);
    if (c->json) graft_cli_print_json(c, o, 2);
    else fprintf(c->out, "removed %s %s from %s; its file stays where it is\n", graft_kind_name(e->kind), e->name, file);
    return GRAFT_OK;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    static const struct action {
        const char *word;
        int argument;
        graft_status (*run)(graft_cli *c, graft_registry *r, graft_error *err);
    } actions[] = {
        {"list", 0, do_list}, {"show", 1, do_show}, {"why", 1, do_why}, {"add", 1, do_add}, {"remove", 1, do_remove}, {"retry", 1, do_retry}, {"path", 0, do_path}};
    const char *words[sizeof actions / sizeof *actions + 1] = {NULL};
    const char *word = c->n_words ? c->words[0] : "list";
    graft_registry *r = NULL;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        words[i] = actions[i].word;
        if (strcmp(actions[i].word, word)) continue;
        if (actions[i].argument && c->n_words < 2)
            return graft_fail(err, GRAFT_BAD_INPUT, NULL, "'%s' needs a %s, see `graft help plugin`", word, actions[i].run == do_add ? "FILE.so" : "NAME");
        const graft_status status = graft_cli_registry(c, &r, err);
        return status ? status : actions[i].run(c, r, err);
    }
    return graft_cli_unknown_word(c, word, words, err);
}

const graft_command graft_command_plugin = {
    .name = "plugin",
    .summary = "what is registered, why a plugin is refused, adding and removing",
    .usage = "Usage: graft plugin list [KIND]     models, methods, formats and backends of the registry; nothing is opened\n"
             "       graft plugin show NAME       all that the registry says about one\n"
             "       graft plugin why NAME|FILE   every check of a load, one line each, until one fails\n"
             "       graft plugin add FILE.so     check a library in a child process and write it, with its sha256, into your registry\n"
             "       graft plugin remove NAME     take it out of your registry again\n"
             "       graft plugin retry NAME|FILE probe again what crashed before\n"
             "       graft plugin path            the registry files, in the order in which later ones win\n\n"
             "NAME may be KIND/NAME. --json gives the report as JSON. add takes model_type=a,b, prefer=N, description=, license=.\n\n"
             "  graft plugin add ./build/mymodel.so model_type=mymodel\n"
             "  graft plugin why mymodel\n",
    .positional = 1,
    .run = run,
};
