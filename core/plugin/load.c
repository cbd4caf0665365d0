/* core/plugin/load.c - see load.h. Loaded plugins form a list, the newest first, so that fini runs in reverse order. A library once opened stays mapped
 * with its descriptor (door.h); it is remembered by content hash, so that loading it again after graft_plugin_unload_all opens nothing anew. */
#include "core/plugin/load.h"

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/plugin/door.h"
#include "core/plugin/host.h"
#include "core/plugin/machine.h"
#include "core/plugin/probe.h"
#include "core/plugin/table.h"
#include "core/plugin/trust.h"

#include <string.h>

typedef struct loaded {
    graft_loaded shown; /* first: callers hold a pointer to it */
    graft_entry entry;
    graft_arena *arena;
    graft_lent lent;
    char *path; /* NULL when linked statically */
    struct loaded *next;
} loaded;

typedef struct library {
    char sha256[65];
    graft_door_entry entry;
    struct library *next;
} library;

static loaded *plugins;
static library *libraries;
static const graft_static_entry *linked;

void graft_plugin_link_static(const graft_static_entry *entries) { linked = entries; }

const graft_plugin *graft_plugin_linked(graft_kind kind, const char *name)
{
    for (const graft_static_entry *e = linked; e && *e; e++) {
        const graft_plugin *door = (*e)();
        if (door && door->kind && door->name && !strcmp(door->kind, graft_kind_name(kind)) && !strcmp(door->name, name)) return door;
    }
    return NULL;
}

static graft_status no_memory(const graft_entry *e, graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "initialised: %s: out of memory; close other programs and try again.", e->name); }

static void discard(loaded *p)
{
    if (!p) return;
    graft_free((void *)(uintptr_t)p->shown.table);
    graft_free(p->path);
    graft_arena_free(p->arena);
    graft_free(p);
}

/* init and table: from a door to a plugin in the list. path is owned by the plugin afterwards, also on failure. */
static graft_status start(const graft_entry *e, char *path, const graft_plugin *door, const graft_loaded **out, graft_error *err)
{
    loaded *p = graft_calloc(1, sizeof *p);
    if (!p) {
        graft_free(path);
        return no_memory(e, err);
    }
    p->path = path;
    p->arena = graft_arena_new();
    p->entry = *e;
    if (p->arena) {
        p->entry.name = graft_arena_copy(p->arena, e->name, strlen(e->name));
        p->entry.layer = graft_arena_copy(p->arena, e->layer, strlen(e->layer));
        p->entry.dir = graft_arena_copy(p->arena, e->dir, strlen(e->dir));
        p->entry.json = graft_json_copy(p->arena, e->json);
    }
    graft_status status = p->arena && p->entry.name && p->entry.layer && p->entry.dir && p->entry.json ? GRAFT_OK : no_memory(e, err);
    graft_lent_init(&p->lent, e->name, 0);
    p->shown = (graft_loaded){.entry = &p->entry, .door = door};
    if (!status) status = graft_door_init(e->name, path, door, &p->lent.host, &p->shown.self, err);
    if (!status) {
        status = graft_table_take(e->name, path, e->kind, door, p->shown.self, &p->shown.table, err);
        if (status) door->fini(p->shown.self);
    }
    if (status) {
        discard(p);
        return status;
    }
    p->next = plugins;
    plugins = p;
    *out = &p->shown;
    return GRAFT_OK;
}

/* The entry function of a trusted library: opened before, or opened now and remembered. */
static graft_status open_library(graft_trusted *t, graft_door_entry *entry, graft_error *err)
{
    for (const library *l = libraries; l; l = l->next)
        if (!strcmp(l->sha256, t->sha256)) {
            *entry = l->entry;
            return GRAFT_OK;
        }
    library *l = graft_calloc(1, sizeof *l);
    if (!l) return graft_fail(err, GRAFT_NO_MEMORY, t->path, "opened: %s: out of memory; close other programs and try again.", t->name);
    const graft_status status = graft_door_open(t, entry, err);
    if (status) {
        graft_free(l);
        return status;
    }
    memcpy(l->sha256, t->sha256, sizeof l->sha256);
    l->entry = *entry;
    l->next = libraries;
    libraries = l;
    t->fd = -1; /* stays open: see door.h */
    return GRAFT_OK;
}

static graft_status open_file(const graft_entry *e, const char *path, const graft_plugin **door, graft_error *err)
{
    graft_trusted t;
    graft_probe_report report;
    graft_door_entry entry;
    const graft_json *hash = graft_json_get(e->json, "sha256");
    graft_status status = graft_trust_open(e->name, path, hash ? hash->text : NULL, e->layer, &t, err);
    if (status) return status;
    status = graft_trust_inspect(&t, err);
    if (!status) status = graft_machine_meets(e, path, err);
    if (!status) status = graft_probe(&t, e->kind, e->name, e->json, &report, err);
    if (!status) status = open_library(&t, &entry, err);
    if (!status) {
        *door = entry();
        status = graft_door_check(e->name, path, *door, e->kind, e->name, err);
    }
    graft_trust_close(&t);
    return status;
}

graft_status graft_plugin_load(const graft_entry *e, const graft_loaded **out, graft_error *err)
{
    *out = NULL;
    if (e->kind == GRAFT_KIND_DATASET) return graft_fail(err, GRAFT_INTERNAL, NULL, "found: %s: is a dataset, which has no library to load.", e->name);
    const graft_plugin *door = graft_plugin_linked(e->kind, e->name);
    char *path = door ? NULL : graft_entry_path(e);
    if (!door && !path) return no_memory(e, err);
    for (loaded *p = plugins; p; p = p->next)
        if (p->entry.kind == e->kind && !strcmp(p->entry.name, e->name) && (door ? p->shown.door == door : p->path && !strcmp(p->path, path))) {
            graft_free(path);
            *out = &p->shown;
            return GRAFT_OK;
        }
    const graft_status status = door ? graft_door_check(e->name, NULL, door, e->kind, e->name, err) : open_file(e, path, &door, err);
    if (status) {
        graft_free(path);
        return status;
    }
    return start(e, path, door, out, err);
}

void graft_plugin_unload_all(void)
{
    while (plugins) {
        loaded *p = plugins;
        plugins = p->next;
        p->shown.door->fini(p->shown.self);
        discard(p);
    }
}

void graft_plugin_memory(const graft_loaded *p, int64_t *blocks, int64_t *bytes)
{
    const loaded *l = (const loaded *)(const void *)p;
    *blocks = __atomic_load_n(&l->lent.blocks, __ATOMIC_RELAXED);
    *bytes = __atomic_load_n(&l->lent.bytes, __ATOMIC_RELAXED);
}
