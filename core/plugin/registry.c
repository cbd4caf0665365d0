/* core/plugin/registry.c - see registry.h. Layers are parsed into one arena and merged by (kind, name) as they come; lists are kept sorted by name.
 *
 * Which of its two forms a file has is told by its shape: a section holds only objects (entries), an entry holds at least one value that is none,
 * or "columns"/"tags"/"options". One section makes the file a registry, in which every other top-level name must be a section too. */
#include "core/plugin/registry.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/plugin/entry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define MAX_FILE    (16 << 20)
#define MAX_LAYERS  8
#define SYSTEM_FILE "/etc/graft/registry.json"

static const char *const kind_names[GRAFT_KINDS] = {"dataset", "format", "model", "method", "backend", "comm"};
static const char *const kind_sections[GRAFT_KINDS] = {"datasets", "formats", "models", "methods", "backends", "comm"};

const char *graft_kind_name(graft_kind k) { return (unsigned)k < GRAFT_KINDS ? kind_names[k] : "unknown kind"; }
const char *graft_kind_section(graft_kind k) { return (unsigned)k < GRAFT_KINDS ? kind_sections[k] : "unknown section"; }

graft_kind graft_kind_of(const char *name)
{
    for (int k = 0; k < GRAFT_KINDS; k++)
        if (!strcmp(name, kind_names[k])) return (graft_kind)k;
    return GRAFT_KINDS;
}

typedef struct layer {
    const char *path;
    int found;
} layer;
typedef struct row {
    graft_entry entry;
    size_t order;
} row; /* order: number of the layer, for the latest-wins rules */

struct graft_registry {
    graft_arena *arena;
    const graft_entry **rows[GRAFT_KINDS]; /* each points at the entry inside a row */
    size_t n[GRAFT_KINDS], room[GRAFT_KINDS];
    layer layers[MAX_LAYERS];
    size_t n_layers, order;
    const char *user_file;
};

graft_registry *graft_registry_new(void)
{
    graft_registry *r = graft_calloc(1, sizeof *r);
    if (r && !(r->arena = graft_arena_new())) {
        graft_free(r);
        r = NULL;
    }
    return r;
}

void graft_registry_close(graft_registry *r)
{
    if (!r) return;
    for (int k = 0; k < GRAFT_KINDS; k++) graft_free(r->rows[k]);
    graft_arena_free(r->arena);
    graft_free(r);
}

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "Out of memory while reading the registry; close other programs and try again."); }

/* Index of the first row whose name is not below `name`. */
static size_t lower_bound(const graft_registry *r, graft_kind kind, const char *name)
{
    size_t low = 0, high = r->n[kind];
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(r->rows[kind][middle]->name, name) < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

const graft_entry *graft_registry_find(const graft_registry *r, graft_kind kind, const char *name)
{
    if ((unsigned)kind >= GRAFT_KINDS || !name) return NULL;
    const size_t at = lower_bound(r, kind, name);
    return at < r->n[kind] && !strcmp(r->rows[kind][at]->name, name) ? r->rows[kind][at] : NULL;
}

static int put(graft_registry *r, const graft_entry *e)
{
    const size_t at = lower_bound(r, e->kind, e->name);
    row *fresh = graft_arena_alloc(r->arena, sizeof *fresh);
    if (!fresh) return -1;
    fresh->entry = *e, fresh->order = r->order;
    if (at < r->n[e->kind] && !strcmp(r->rows[e->kind][at]->name, e->name)) {
        r->rows[e->kind][at] = &fresh->entry;
        return 0;
    }
    void *items = (void *)r->rows[e->kind];
    if (graft_grow(&items, &r->room[e->kind], r->n[e->kind] + 1, sizeof r->rows[0][0])) return -1;
    r->rows[e->kind] = items;
    memmove(&r->rows[e->kind][at + 1], &r->rows[e->kind][at], (r->n[e->kind] - at) * sizeof r->rows[0][0]);
    r->rows[e->kind][at] = &fresh->entry;
    r->n[e->kind]++;
    return 0;
}

/* ---- one file ---- */

static graft_kind section_of(const graft_json *member)
{
    for (int k = 0; k < GRAFT_KINDS; k++)
        if (member->key_bytes == strlen(kind_sections[k]) && !memcmp(member->key, kind_sections[k], member->key_bytes)) return (graft_kind)k;
    return GRAFT_KINDS;
}

static int is_section(const graft_json *v)
{
    static const char *const inside_entries[] = {"columns", "tags", "options"};
    if (v->type != GRAFT_JSON_OBJECT) return 0;
    if (!v->child) return section_of(v) < GRAFT_KINDS;
    for (const graft_json *m = v->child; m; m = m->next) {
        if (m->type != GRAFT_JSON_OBJECT) return 0;
        for (size_t i = 0; i < sizeof inside_entries / sizeof *inside_entries; i++)
            if (!strcmp(m->key, inside_entries[i])) return 0;
    }
    return 1;
}

int graft_registry_has_sections(const graft_json *top)
{
    for (const graft_json *m = top->child; m; m = m->next)
        if (is_section(m)) return 1;
    return 0;
}

static graft_status add_entry(graft_registry *r, graft_kind kind, const graft_json *m, const char *path, const char *dir, graft_error *err)
{
    if (!m->key_bytes || strlen(m->key) != m->key_bytes) return graft_entry_fail(err, path, m, "A name in section \"%s\" is empty or holds a NUL byte; rename it.", kind_sections[kind]);
    const graft_status status = graft_entry_check(kind, m->key, m, path, err);
    if (status) return status;
    const graft_entry e = {kind, m->key, m, path, dir};
    return put(r, &e) ? no_memory(err) : GRAFT_OK;
}

static graft_status unknown_section(const graft_json *s, const char *path, graft_error *err)
{
    const char *near = graft_nearest(s->key, kind_sections, GRAFT_KINDS);
    if (near) return graft_entry_fail(err, path, s, "Unknown section \"%s\"; did you mean \"%s\"?", s->key, near);
    return graft_entry_fail(err, path, s, "Unknown section \"%s\"; a registry has datasets, formats, models, methods, backends and comm.", s->key);
}

static graft_status add_sections(graft_registry *r, const graft_json *top, const char *path, const char *dir, int datasets_only, graft_error *err)
{
    for (const graft_json *s = top->child; s; s = s->next) {
        const graft_kind kind = section_of(s);
        if (kind == GRAFT_KINDS) return unknown_section(s, path, err);
        if (s->type != GRAFT_JSON_OBJECT) return graft_entry_fail(err, path, s, "Section \"%s\" must be an object of named entries; correct it.", s->key);
        if (datasets_only && kind != GRAFT_KIND_DATASET && s->child)
            return graft_entry_fail(err, path, s, "A data folder cannot register code: move section \"%s\" to %s.", s->key, r->user_file ? r->user_file : "a file given with --registry");
        for (const graft_json *m = s->child; m; m = m->next) {
            const graft_status status = add_entry(r, kind, m, path, dir, err);
            if (status) return status;
        }
    }
    return GRAFT_OK;
}

graft_status graft_registry_add(graft_registry *r, const char *path, const char *text, size_t bytes, int datasets_only, graft_error *err)
{
    const graft_json *top = NULL;
    const char *slash = strrchr(path, '/');
    const char *kept = graft_arena_copy(r->arena, path, strlen(path));
    const char *dir = slash ? graft_arena_copy(r->arena, path, slash == path ? 1 : (size_t)(slash - path)) : graft_arena_copy(r->arena, ".", 1);
    if (!kept || !dir) return no_memory(err);
    if (bytes > MAX_FILE) return graft_fail(err, GRAFT_BAD_INPUT, path, "A registry has at most %d MiB, found %zu bytes; is this the right file?", MAX_FILE >> 20, bytes);
    graft_status status = graft_json_parse(r->arena, kept, text, bytes, GRAFT_JSON_STRICT_KEYS, &top, err);
    if (status) return status;
    if (top->type != GRAFT_JSON_OBJECT) return graft_fail(err, GRAFT_BAD_INPUT, path, "Expected a JSON object of sections or datasets; an example is the registry.json that graft ships.");
    r->order++;
    if (graft_registry_has_sections(top)) return add_sections(r, top, kept, dir, datasets_only, err);
    for (const graft_json *m = top->child; m && !status; m = m->next) status = add_entry(r, GRAFT_KIND_DATASET, m, kept, dir, err);
    return status;
}

/* ---- the layers ---- */

static graft_status add_layer(graft_registry *r, const char *path, int must, int datasets_only, graft_error *err)
{
    if (!path || r->n_layers == MAX_LAYERS) return GRAFT_OK;
    layer *l = &r->layers[r->n_layers++];
    l->path = graft_arena_copy(r->arena, path, strlen(path));
    if (!l->path) return no_memory(err);
    if (!graft_path_exists(path)) return must ? graft_fail(err, GRAFT_BAD_INPUT, path, "There is no registry here; correct the path.") : GRAFT_OK;
    char *text = NULL;
    size_t bytes = 0;
    graft_status status = graft_file_read(path, MAX_FILE, &text, &bytes, err);
    if (!status) status = graft_registry_add(r, path, text, bytes, datasets_only, err);
    l->found = !status;
    graft_free(text);
    return status;
}

/* The absolute form of a path that may be relative; layers keep absolute paths, so that a later change of folder changes nothing. */
static const char *absolute(graft_registry *r, const char *path)
{
    if (!path || path[0] == '/') return path;
    char here[4096];
    if (!getcwd(here, sizeof here)) return path;
    return graft_arena_printf(r->arena, "%s/%s", here, path);
}

/* registry.json of the install or build tree this program belongs to: beside bin/ in lib/graft, wherever the system keeps lib. */
static const char *shipped_file(graft_registry *r)
{
    char self[4096];
    struct utsname machine;
    const ssize_t bytes = readlink("/proc/self/exe", self, sizeof self - 1);
    if (bytes <= 0) return NULL;
    self[bytes] = 0;
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(self, '/');
        if (!slash) return NULL;
        *slash = 0;
    }
    const char *first = graft_arena_printf(r->arena, "%s/lib/graft/registry.json", self);
    if (!first || graft_path_exists(first)) return first;
    const char *second = graft_arena_printf(r->arena, "%s/lib64/graft/registry.json", self);
    if (second && graft_path_exists(second)) return second;
    const char *third = uname(&machine) ? NULL : graft_arena_printf(r->arena, "%s/lib/%s-linux-gnu/graft/registry.json", self, machine.machine);
    return third && graft_path_exists(third) ? third : first;
}

static const char *user_file(graft_registry *r)
{
    const char *config = secure_getenv("XDG_CONFIG_HOME"), *home = secure_getenv("HOME");
    if (config && config[0] == '/') return graft_arena_printf(r->arena, "%s/graft/registry.json", config);
    return home && home[0] == '/' ? graft_arena_printf(r->arena, "%s/.config/graft/registry.json", home) : NULL;
}

graft_status graft_registry_open(const graft_registry_options *o, graft_registry **out, graft_error *err)
{
    *out = NULL;
    graft_registry *r = graft_registry_new();
    if (!r) return no_memory(err);
    r->user_file = user_file(r);
    const char *shipped = o->shipped ? absolute(r, o->shipped) : shipped_file(r);
    char *data = o->dataset_dir ? graft_path_join(o->dataset_dir, "dataset_info.json") : NULL;
    graft_status status = add_layer(r, shipped, o->shipped != NULL, 0, err);
    if (!status) status = add_layer(r, SYSTEM_FILE, 0, 0, err);
    if (!status) status = add_layer(r, r->user_file, 0, 0, err);
    if (!status) status = add_layer(r, absolute(r, o->extra), 1, 0, err);
    if (!status) status = add_layer(r, absolute(r, data), 0, 1, err);
    graft_free(data);
    if (status) {
        graft_registry_close(r);
        return status;
    }
    if (!r->layers[0].found) graft_log(GRAFT_LOG_DEBUG, "No registry of graft's own at %s.", shipped ? shipped : "the program's place");
    *out = r;
    return GRAFT_OK;
}

/* ---- questions ---- */

size_t graft_registry_list(const graft_registry *r, graft_kind kind, const graft_entry *const **out)
{
    *out = (unsigned)kind < GRAFT_KINDS ? r->rows[kind] : NULL;
    return (unsigned)kind < GRAFT_KINDS ? r->n[kind] : 0;
}

/* "a, b, c" of at most a dozen names, for errors. */
static void name_list(const graft_registry *r, graft_kind kind, char *out, size_t room)
{
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < r->n[kind] && i < 12 && used < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%s", i ? ", " : "", r->rows[kind][i]->name);
    if (r->n[kind] > 12 && used < room) snprintf(out + used, room - used, " and %zu more", r->n[kind] - 12);
    if (!r->n[kind]) snprintf(out, room, "none");
}

static const char *nearest_name(const graft_registry *r, graft_kind kind, const char *name)
{
    const char **names = graft_calloc(r->n[kind] ? r->n[kind] : 1, sizeof *names);
    if (!names) return NULL;
    for (size_t i = 0; i < r->n[kind]; i++) names[i] = r->rows[kind][i]->name;
    const char *near = graft_nearest(name, names, r->n[kind]);
    graft_free(names);
    return near;
}

graft_status graft_registry_need(const graft_registry *r, graft_kind kind, const char *name, const graft_entry **out, graft_error *err)
{
    *out = graft_registry_find(r, kind, name);
    if (*out) return GRAFT_OK;
    char known[400];
    const char *near = nearest_name(r, kind, name);
    if (near) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "No %s is named \"%s\"; did you mean \"%s\"?", graft_kind_name(kind), name, near);
    name_list(r, kind, known, sizeof known);
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "No %s is named \"%s\"; the registry has: %s.", graft_kind_name(kind), name, known);
}

static int lists_type(const graft_json *types, const char *model_type)
{
    if (!types) return 0;
    if (types->type == GRAFT_JSON_TEXT) return graft_json_is(types, model_type);
    for (const graft_json *t = types->child; t; t = t->next)
        if (graft_json_is(t, model_type)) return 1;
    return 0;
}

graft_status graft_registry_model_for(const graft_registry *r, const char *model_type, const graft_entry **out, graft_error *err)
{
    size_t best = 0;
    *out = NULL;
    for (size_t i = 0; i < r->n[GRAFT_KIND_MODEL]; i++) {
        const row *candidate = (const row *)(const void *)r->rows[GRAFT_KIND_MODEL][i];
        if (lists_type(graft_json_get(candidate->entry.json, "model_type"), model_type) && (!*out || candidate->order > best)) {
            *out = &candidate->entry;
            best = candidate->order;
        }
    }
    if (!*out) *out = graft_registry_find(r, GRAFT_KIND_MODEL, model_type);
    if (*out) return GRAFT_OK;
    char known[400];
    name_list(r, GRAFT_KIND_MODEL, known, sizeof known);
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "No model plugin builds model_type \"%s\"; the registry has: %s. Add one with 'graft plugin add FILE.so'.", model_type, known);
}

char *graft_entry_path(const graft_entry *e)
{
    const graft_json *file = graft_json_get(e->json, "file_name");
    if (!file || file->type != GRAFT_JSON_TEXT) return NULL;
    return graft_path_join(file->text[0] == '/' ? "" : e->dir, file->text);
}

const char *graft_registry_user_file(const graft_registry *r) { return r->user_file; }
const char *graft_registry_layers(const graft_registry *r, size_t i) { return i < r->n_layers ? r->layers[i].path : NULL; }
int graft_registry_layer_found(const graft_registry *r, size_t i) { return i < r->n_layers && r->layers[i].found; }
