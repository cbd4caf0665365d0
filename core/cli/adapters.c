/* core/cli/adapters.c - the tuning methods of a session: those of finetuning_type, or those whose adapters lie in adapter_name_or_path's folders.
 *
 *   finetuning_type:       lora | lora,adapter                  several run side by side; one method once
 *   adapter_name_or_path:  out | math=out/m, chat=out/c         NAME=FOLDER names an adapter, else it is called as its folder
 *   adapter:               math=0.7, chat                       which of the loaded act, and how strongly: NAME or NAME=STRENGTH
 *   FOLDER/adapters.json   {"adapters": ["lora", "adapter"]}    a run of several methods: the folders inside that belong together */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/cli/pull.h"
#include "core/cli/session.h"
#include "core/model/hold.h"
#include "core/train/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory"); }

static graft_status load_method(graft_session *s, const graft_entry *e, const graft_config *saved, graft_active_method *out, graft_error *err)
{
    const graft_loaded *plugin = NULL;
    graft_status status = graft_plugin_load(e, &plugin, err);
    if (status) return status;
    const graft_method_table *table = plugin->table;
    void *run = NULL;
    status = table->open(plugin->self, graft_args_config(s->c->args), saved, &run, err);
    if (status) return status;
    *out = (graft_active_method){.name = e->name, .table = table, .run = run};
    status = graft_config_check(graft_args_config(s->c->args), err);
    return status || !saved ? status : graft_config_check(saved, err);
}

/* ---- one adapter ------------------------------------------------------------------------------------------------------------ */

/* The method whose adapter lies in the folder: each method of the registry with files of its own is asked. *found stays NULL when none knows it. */
static graft_status owner_of(graft_session *s, const char *dir, const graft_entry **found, const graft_config **config, graft_error *err)
{
    const graft_entry *const *entries = NULL;
    const size_t n = graft_registry_list(s->registry, GRAFT_KIND_METHOD, &entries);
    *found = NULL;
    for (size_t i = 0; i < n; i++) {
        const graft_loaded *plugin = NULL;
        const graft_json *saved = NULL;
        graft_error why = GRAFT_ERROR_INIT;
        if (graft_plugin_load(entries[i], &plugin, &why)) {
            graft_log(GRAFT_LOG_WARNING, "the method %s could not be asked about this adapter: %s", entries[i]->name, why.message);
            continue;
        }
        const graft_method_table *table = plugin->table;
        if (!table->files || !table->owns) continue;
        const char *name = graft_arena_printf(s->c->arena, "%s/%s", dir, table->files->config);
        if (!name) return no_memory(err);
        if (!graft_path_exists(name)) continue;
        const graft_status status = graft_json_parse_file(s->c->arena, name, 1 << 24, 0, &saved, err);
        if (status) return status;
        if (!table->owns(plugin->self, saved)) continue;
        *found = entries[i];
        *config = graft_config_new(s->c->arena, name, saved);
        return *config ? GRAFT_OK : no_memory(err);
    }
    return GRAFT_OK;
}

typedef struct target {
    graft_active_method *methods;
    const char **dirs;
    int *n;
    const char **labels; /* may be NULL */
} target;

static graft_status add_adapter(graft_session *s, const char *dir, const char *label, const target *to, graft_error *err)
{
    const graft_entry *e = NULL;
    const graft_config *config = NULL;
    if (*to->n == GRAFT_SESSION_METHODS) return graft_fail(err, GRAFT_BAD_INPUT, "adapter_name_or_path", "at most %d adapters can be loaded at once", (int)GRAFT_SESSION_METHODS);
    if (!graft_path_is_dir(dir) && (!graft_hub_is_name(dir) || !strchr(dir, '/'))) return graft_fail(err, GRAFT_BAD_INPUT, "adapter_name_or_path", "there is no folder '%s'", dir);
    if (!graft_path_is_dir(dir) && graft_pull_path(s->c, "adapter_name_or_path", dir, NULL, &dir, err)) return err->code;
    graft_status status = owner_of(s, dir, &e, &config, err);
    if (status) return status;
    if (!e) return graft_fail(err, GRAFT_BAD_INPUT, dir, "no tuning method of the registry knows this adapter: expected adapter_config.json (or another method's file) in the folder");
    status = load_method(s, e, config, &to->methods[*to->n], err);
    if (status) return status;
    to->dirs[*to->n] = dir;
    if (to->labels) to->labels[*to->n] = label;
    ++*to->n;
    return GRAFT_OK;
}

/* A folder with an index stands for the folders inside that it lists. */
static graft_status add_folder(graft_session *s, const char *dir, const char *label, const target *to, graft_error *err)
{
    const graft_json *index = NULL;
    const char *path = graft_arena_printf(s->c->arena, "%s/" GRAFT_ADAPTERS_INDEX, dir);
    if (!path) return no_memory(err);
    if (!graft_path_exists(path)) return add_adapter(s, dir, label, to, err);
    graft_status status = graft_json_parse_file(s->c->arena, path, 1 << 20, 0, &index, err);
    const graft_json *list = status ? NULL : graft_json_get(index, "adapters");
    if (!status && (!list || list->type != GRAFT_JSON_ARRAY || !list->count)) status = graft_fail(err, GRAFT_BAD_INPUT, path, "expected {\"adapters\": [\"FOLDER\", ...]}");
    for (const graft_json *v = list ? list->child : NULL; v && !status; v = v->next) {
        if (v->type != GRAFT_JSON_TEXT || !v->bytes || strchr(v->text, '/') || !strcmp(v->text, "..")) return graft_fail(err, GRAFT_BAD_INPUT, path, "\"adapters\" must list names of folders beside this file");
        const char *inner = graft_arena_printf(s->c->arena, "%s/%s", dir, v->text), *name = graft_arena_printf(s->c->arena, "%s.%s", label, v->text);
        status = inner && name ? add_adapter(s, inner, name, to, err) : no_memory(err);
    }
    return status;
}

/* ---- lists ------------------------------------------------------------------------------------------------------------------- */

/* The next item of "a, b" without blanks around; NULL at the end. */
static const char *next_item(graft_arena *a, const char **at)
{
    *at += strspn(*at, ", ");
    size_t n = strcspn(*at, ",");
    if (!n) return NULL;
    const char *from = *at;
    *at += n;
    while (n && from[n - 1] == ' ') n--;
    return graft_arena_copy(a, from, n);
}

/* NAME=FOLDER, or a folder. */
static graft_status add_item(graft_session *s, const char *item, const target *to, graft_error *err)
{
    const char *equals = graft_path_is_dir(item) ? NULL : strchr(item, '=');
    const char *dir = equals ? equals + 1 : item, *label = equals ? graft_arena_copy(s->c->arena, item, (size_t)(equals - item)) : graft_path_base(item);
    const char *inner = graft_args_text(s->c->args, "adapter_folder");
    if (label && inner && *inner) dir = graft_arena_printf(s->c->arena, "%s/%s", dir, inner);
    if (!label || !dir) return no_memory(err);
    for (int i = 0; to->labels && i < *to->n; i++)
        if (!strcmp(to->labels[i], label)) return graft_fail(err, GRAFT_BAD_INPUT, "adapter_name_or_path", "two adapters are called '%s': name them, as in a=%s", label, dir);
    return add_folder(s, dir, label, to, err);
}

static graft_status add_adapters(graft_session *s, const char *list, int train, graft_error *err)
{
    const target act = {s->methods, s->adapters, &s->n_methods, s->labels}, base = {s->merged, s->merged_from, &s->n_merged, NULL};
    const int fresh = train && graft_args_flag(s->c->args, "create_new_adapter");
    graft_status status = GRAFT_OK;
    const char *item, *at = list;
    for (item = next_item(s->c->arena, &at); item && !status; item = next_item(s->c->arena, &at)) {
        const int last = !at[strspn(at, ", ")];
        status = add_item(s, item, train && (fresh || !last) ? &base : &act, err);
    }
    if (!status && s->n_merged) {
        s->model->merged = s->merged;
        s->model->merged_from = s->merged_from;
        s->model->n_merged = s->n_merged;
        graft_log(GRAFT_LOG_INFO, "%d adapter%s of adapter_name_or_path become%s part of the base: load the new one after them, as %s", s->n_merged, s->n_merged > 1 ? "s" : "", s->n_merged > 1 ? "" : "s", "adapter_name_or_path: OLDER,NEW");
    }
    return status;
}

static graft_status add_types(graft_session *s, const char *list, graft_error *err)
{
    graft_status status = GRAFT_OK;
    const char *item, *at = list;
    for (item = next_item(s->c->arena, &at); item && !status; item = next_item(s->c->arena, &at)) {
        const graft_entry *e = NULL;
        if (s->n_methods == GRAFT_SESSION_METHODS) return graft_fail(err, GRAFT_BAD_INPUT, "finetuning_type", "at most %d methods can run at once", (int)GRAFT_SESSION_METHODS);
        status = graft_registry_need(s->registry, GRAFT_KIND_METHOD, item, &e, err);
        for (int i = 0; !status && i < s->n_methods; i++)
            if (!strcmp(s->methods[i].name, e->name)) status = graft_fail(err, GRAFT_BAD_INPUT, "finetuning_type", "the method %s is named twice; its settings hold once for the run", e->name);
        if (!status) status = load_method(s, e, NULL, &s->methods[s->n_methods], err);
        if (!status) s->labels[s->n_methods] = e->name, s->n_methods++;
    }
    if (!status && !s->n_methods) status = graft_fail(err, GRAFT_BAD_INPUT, "finetuning_type", "no tuning method was named");
    return status;
}

static graft_status join_names(graft_session *s, graft_error *err)
{
    const char *names = "";
    for (int i = 0; i < s->n_methods && names; i++) names = graft_arena_printf(s->c->arena, "%s%s%s", names, i ? "," : "", s->methods[i].name);
    s->names = names;
    return names ? GRAFT_OK : no_memory(err);
}

graft_status graft_session_method(graft_session *s, int train, graft_error *err)
{
    const graft_args *x = s->c->args;
    const char *adapter = graft_args_text(x, "adapter_name_or_path"), *chosen = graft_args_text(x, "adapter");
    graft_status status = graft_cli_registry(s->c, &s->registry, err);
    if (train && chosen) return graft_fail(err, GRAFT_BAD_INPUT, "adapter", "this chooses among loaded adapters for chat, score and export; training goes on with the last of adapter_name_or_path");
    if (!status && adapter && *adapter) status = add_adapters(s, adapter, train, err);
    if (!status && train && !s->n_methods) status = add_types(s, graft_args_text(x, "finetuning_type"), err);
    if (!status && !train) status = graft_session_strengths(s, chosen, err);
    for (int i = 0; !train && i < s->n_methods; i++) s->methods[i].strength = &s->strengths[i], s->methods[i].pins = &s->pins[i];
    return status ? status : join_names(s, err);
}

/* ---- how strongly each acts ---------------------------------------------------------------------------------------------------- */

/* The label itself, or of a run of several methods the part before the dot. */
static int is_called(const char *label, const char *name, size_t bytes) { return !strncmp(label, name, bytes) && (!label[bytes] || label[bytes] == '.'); }

static graft_status set_strength(graft_session *s, const char *item, graft_error *err)
{
    const char *equals = strchr(item, '='), *known[GRAFT_SESSION_METHODS];
    const size_t bytes = equals ? (size_t)(equals - item) : strlen(item);
    char *end = NULL;
    const double v = equals ? strtod(equals + 1, &end) : 1.0;
    int found = 0;
    if (equals && (end == equals + 1 || *end || !isfinite(v))) return graft_fail(err, GRAFT_BAD_INPUT, "adapter", "expected NAME or NAME=STRENGTH like math=0.7, found '%s'", item);
    for (int i = 0; i < s->n_methods; i++) {
        known[i] = s->labels[i];
        if (is_called(s->labels[i], item, bytes)) s->strengths[i] = v, found = 1;
    }
    if (found) return GRAFT_OK;
    const char *name = graft_arena_copy(s->c->arena, item, bytes), *near = name ? graft_nearest(name, known, (size_t)s->n_methods) : NULL;
    if (!s->n_methods) return graft_fail(err, GRAFT_BAD_INPUT, "adapter", "no adapter is loaded: name folders with adapter_name_or_path");
    return graft_fail(err, GRAFT_BAD_INPUT, "adapter", "no loaded adapter is called '%s'%s%s%s", name ? name : item, near ? ", did you mean '" : ": loaded are ", near ? near : s->labels[0], near ? "'?" : "");
}

graft_status graft_session_strengths(graft_session *s, const char *list, graft_error *err)
{
    graft_status status = GRAFT_OK;
    double before[GRAFT_SESSION_METHODS];
    memcpy(before, s->strengths, sizeof before);
    for (int i = 0; i < s->n_methods; i++) s->strengths[i] = list ? 0.0 : 1.0;
    const char *item, *at = list ? list : "";
    for (item = next_item(s->c->arena, &at); item && !status; item = next_item(s->c->arena, &at))
        if (strcmp(item, "none")) status = set_strength(s, item, err);
    if (status) memcpy(s->strengths, before, sizeof before);
    return status;
}

/* ---- graphs and weights ---------------------------------------------------------------------------------------------------------- */

graft_status graft_session_virtual(graft_session *s, int64_t *n, graft_error *err)
{
    graft_graph *g = NULL;
    *n = 0;
    if (!s->n_methods) return GRAFT_OK;
    const graft_status status = graft_model_graph(s->model, s->methods, s->n_methods, GRAFT_FOR_LOSS, &g, err);
    if (!status) *n = graft_graph_virtual_tokens(g);
    graft_graph_free(g);
    return status;
}

graft_status graft_session_graph(graft_session *s, graft_purpose purpose, const int64_t capacity[GRAFT_SYMBOLS], graft_store *store, graft_graph **g, graft_error *err)
{
    for (int i = 0; i < s->n_methods; i++)
        if (s->pins[i] && s->strengths[i] != 1.0)
            return graft_fail(err, GRAFT_UNSUPPORTED, s->adapters[i], "this adapter holds weights of the base itself, so it can only act whole: give it strength 1 or leave its folder out");
    graft_status status = graft_model_graph(s->model, s->methods, s->n_methods, purpose, g, err);
    if (!status) status = graft_graph_prepare(*g, &s->device, 0, 0, err);
    if (!status) status = graft_model_hold(s->model, g, 1, store, &s->device, err);
    if (!status) status = graft_store_add_graph(store, *g, capacity, err);
    return status ? status : graft_store_commit(store, err);
}

/* The graph that loads: every adapter whole, so that any of them can be asked for later; where they do not go together, those that act. */
static graft_status loading_graph(graft_session *s, graft_purpose purpose, graft_graph **g, graft_error *err)
{
    double asked[GRAFT_SESSION_METHODS];
    int some = 0;
    memcpy(asked, s->strengths, sizeof asked);
    for (int i = 0; i < s->n_methods; i++) some |= asked[i] == 0.0, s->strengths[i] = 1.0;
    graft_error unheard = GRAFT_ERROR_INIT;
    graft_status status = graft_model_graph(s->model, s->methods, s->n_methods, purpose, g, some ? &unheard : err);
    s->partial = status && some;
    for (int i = 0; s->partial && i < s->n_methods; i++) s->strengths[i] = asked[i] != 0.0;
    if (s->partial) status = graft_model_graph(s->model, s->methods, s->n_methods, purpose, g, err);
    return status;
}

static graft_status load_adapters(graft_session *s, const graft_graph *g, graft_store *store, graft_error *err)
{
    graft_status status = GRAFT_OK;
    for (int i = 0; i < s->n_methods && !status; i++)
        if (s->adapters[i] && s->strengths[i] != 0.0) status = graft_adapter_load(s->adapters[i], &s->methods[i], i, g, store, err);
    for (int32_t i = 1; i < g->n_values; i++)
        if (g->values[i].node < 0 && g->values[i].place == GRAFT_PLACE_WEIGHT && g->values[i].trained_by >= 0) s->pins[g->values[i].trained_by] = 1;
    return status;
}

graft_status graft_session_load(graft_session *s, graft_purpose purpose, const int64_t capacity[GRAFT_SYMBOLS], graft_graph **g, graft_store **store, graft_error *err)
{
    const uint64_t seed = (uint64_t)graft_args_int(s->c->args, "seed");
    double asked[GRAFT_SESSION_METHODS];
    int whole = 1;
    memcpy(asked, s->strengths, sizeof asked);
    memset(s->pins, 0, sizeof s->pins);
    graft_status status = loading_graph(s, purpose, g, err);
    if (!status) status = graft_graph_prepare(*g, &s->device, 0, 0, err);
    if (!status) status = graft_model_hold(s->model, g, 1, NULL, &s->device, err);
    if (!status) status = graft_store_new(&s->device, store, err);
    if (!status) status = graft_store_add_graph(*store, *g, capacity, err);
    if (!status) status = graft_store_commit(*store, err);
    if (!status) graft_model_hold_say(s->model, *g, &s->device);
    if (!status) status = graft_model_load(s->model, *g, *store, seed, err);
    if (!status) status = load_adapters(s, *g, *store, err);
    for (int i = 0; i < s->n_methods; i++) whole &= asked[i] == s->strengths[i];
    memcpy(s->strengths, asked, sizeof asked);
    if (status || whole) return status;
    graft_graph_free(*g);
    *g = NULL;
    return graft_session_graph(s, purpose, capacity, *store, g, err);
}
