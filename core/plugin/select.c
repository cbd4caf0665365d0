/* core/plugin/select.c - see select.h. */
#include "core/plugin/select.h"

#include "core/base/error.h"
#include "core/base/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_DEVICES = 32,
       MAX_CANDIDATES = 64 };

static int prefer_of(const graft_entry *e)
{
    const graft_json *prefer = graft_json_get(e->json, "prefer");
    return prefer && prefer->integral ? (int)prefer->integer : 0;
}

/* One candidate without a device: the entry is there, but cannot be used; why is a sentence. */
static void unusable(graft_candidate *c, const graft_entry *e, const graft_loaded *plugin, const char *why)
{
    memset(c, 0, sizeof *c);
    c->backend = e->name, c->device = -1, c->plugin = plugin;
    c->info.size = (uint32_t)sizeof c->info;
    snprintf(c->verdict, sizeof c->verdict, "%s", why);
}

typedef struct answer {
    graft_device_info devices[MAX_DEVICES];
    int32_t n;
    int said; /* the child came to the end of the question */
    graft_status status;
    graft_error err;
} answer;

static void list_devices(const graft_loaded *plugin, answer *a)
{
    for (int i = 0; i < MAX_DEVICES; i++) a->devices[i].size = (uint32_t)sizeof a->devices[i];
    a->status = ((const graft_backend_table *)plugin->table)->devices(plugin->self, a->devices, MAX_DEVICES, &a->n, &a->err);
}

/* Backends whose driver is in this process already: a child would have its locks, but not its threads. */
static const graft_loaded *here[MAX_CANDIDATES];
static int n_here;

static int is_here(const graft_loaded *plugin)
{
    for (int i = 0; i < n_here; i++)
        if (here[i] == plugin) return 1;
    return 0;
}

static void list_here(const graft_loaded *plugin, answer *a)
{
    if (!is_here(plugin) && n_here < MAX_CANDIDATES) here[n_here++] = plugin;
    list_devices(plugin, a);
}

/* A driver that is only asked may cost a hundred megabytes and threads, and may crash: a child asks it, and this process stays as it is. */
static void list_elsewhere(const graft_loaded *plugin, answer *out)
{
    int status = 0;
    answer *a = mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (a != MAP_FAILED) *a = *out;
    const pid_t child = a != MAP_FAILED ? fork() : -1;
    if (child == 0) {
        list_devices(plugin, a);
        a->said = 1;
        _exit(0);
    }
    if (child < 0) list_here(plugin, out);
    else {
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
        if (a->said) *out = *a;
        else out->status = graft_fail(&out->err, GRAFT_DEVICE, NULL, "%s: its driver ended the process that asked for devices. Repair the driver or remove the backend.", plugin->entry->name);
    }
    if (a != MAP_FAILED) munmap(a, sizeof *a);
}

/* Candidates of one entry into out; returns how many. err: why there is no usable one. apart: it is one of many, and what it needs from the system stays out of here. */
static int32_t ask(const graft_entry *e, int apart, graft_candidate *out, int32_t room, graft_error *err)
{
    const graft_loaded *plugin = NULL;
    answer a = {.err = GRAFT_ERROR_INIT};
    int32_t kept = 0;
    if (room <= 0) return 0;
    if (graft_plugin_load(e, &plugin, err)) {
        unusable(out, e, NULL, err->message);
        return 1;
    }
    if (apart && graft_json_get(e->json, "requires") && !is_here(plugin)) list_elsewhere(plugin, &a);
    else list_here(plugin, &a);
    graft_status status = a.status;
    if (status) *err = a.err;
    if (!status && a.n <= 0) status = graft_fail(err, GRAFT_UNSUPPORTED, NULL, "%s: found no device on this machine. Choose another backend.", e->name);
    if (status) {
        unusable(out, e, plugin, err->message);
        return 1;
    }
    for (int32_t i = 0; i < a.n && i < MAX_DEVICES && kept < room; i++) {
        graft_candidate *c = &out[kept++];
        unusable(c, e, plugin, "");
        c->device = i, c->info = a.devices[i];
        c->info.name[sizeof c->info.name - 1] = 0, c->info.reason[sizeof c->info.reason - 1] = 0;
        if (c->info.score > 0) {
            c->info.score += prefer_of(e);
            if (c->info.score < 1) c->info.score = 1;
        } else {
            c->info.score = 0;
            snprintf(c->verdict, sizeof c->verdict, "cannot run: %s", c->info.reason[0] ? c->info.reason : "the backend gives no reason");
        }
    }
    return kept;
}

void graft_backend_use(const graft_candidate *c)
{
    answer a = {.err = GRAFT_ERROR_INIT};
    if (c->plugin && !is_here(c->plugin)) list_here(c->plugin, &a);
}

static int better_first(const void *left, const void *right)
{
    const graft_candidate *a = left, *b = right;
    if (a->info.score != b->info.score) return a->info.score > b->info.score ? -1 : 1;
    const int by_name = strcmp(a->backend, b->backend);
    return by_name ? by_name : (a->device > b->device) - (a->device < b->device);
}

graft_status graft_backend_candidates(const graft_registry *r, graft_candidate *out, int32_t room, int32_t *n, graft_error *err)
{
    const graft_entry *const *entries;
    const size_t count = graft_registry_list(r, GRAFT_KIND_BACKEND, &entries);
    *n = 0;
    if (!count) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "The registry names no backend. Install graft again, or add one with 'graft plugin add FILE.so'.");
    for (size_t i = 0; i < count && *n < room; i++) {
        graft_error why = GRAFT_ERROR_INIT;
        *n += ask(entries[i], 1, out + *n, room - *n, &why);
    }
    qsort(out, (size_t)*n, sizeof *out, better_first);
    for (int32_t i = 0; i < *n; i++) {
        if (out[i].info.score <= 0) continue;
        if (i == 0) snprintf(out[i].verdict, sizeof out[i].verdict, "chosen");
        else if (out[i].info.score == out[0].info.score) snprintf(out[i].verdict, sizeof out[i].verdict, "same score as %s, which comes first by name", out[0].backend);
        else snprintf(out[i].verdict, sizeof out[i].verdict, "lower score than %s (%d)", out[0].backend, out[0].info.score);
    }
    return GRAFT_OK;
}

static graft_status choose_best(const graft_registry *r, graft_candidate *out, graft_error *err)
{
    int32_t n = 0;
    graft_candidate *all = graft_calloc(MAX_CANDIDATES, sizeof *all);
    if (!all) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "Out of memory while choosing a backend; close other programs and try again.");
    graft_status status = graft_backend_candidates(r, all, MAX_CANDIDATES, &n, err);
    if (!status && all[0].info.score > 0) *out = all[0];
    else if (!status) status = graft_fail(err, GRAFT_UNSUPPORTED, NULL, "No backend can run here; the first one said: %s 'graft doctor' lists all.", all[0].verdict);
    graft_free(all);
    return status;
}

static graft_status no_such_device(const char *name, const graft_candidate *all, int32_t n, long device, graft_error *err)
{
    char list[500] = "";
    for (int32_t i = 0; i < n; i++) {
        const size_t used = strlen(list);
        const char *label = all[i].info.name;
        if (used + 120 < sizeof list) snprintf(list + used, sizeof list - used, "%s%d%s%.60s%s", i ? ", " : "", (int)all[i].device, *label ? " (" : "", label, *label ? ")" : "");
    }
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "Backend %s has no device %ld, it has %s. Choose one of them.", name, device, list);
}

/* "NAME" or "NAME:DEVICE". */
static graft_status choose_named(const graft_registry *r, const char *wanted, graft_candidate *out, graft_error *err)
{
    char name[64];
    const graft_entry *e = NULL;
    const char *colon = strchr(wanted, ':');
    const size_t bytes = colon ? (size_t)(colon - wanted) : strlen(wanted);
    char *end = NULL;
    const long device = colon ? strtol(colon + 1, &end, 10) : -1;
    if (colon && (!colon[1] || *end || device < 0 || device >= MAX_DEVICES))
        return graft_fail(err, GRAFT_BAD_INPUT, NULL, "Backend \"%s\": expected NAME or NAME:NUMBER of a device, as 'graft doctor' lists them.", wanted);
    snprintf(name, sizeof name, "%.*s", (int)(bytes < sizeof name ? bytes : sizeof name - 1), wanted);
    graft_status status = graft_registry_need(r, GRAFT_KIND_BACKEND, name, &e, err);
    graft_candidate *all = status ? NULL : graft_calloc(MAX_DEVICES, sizeof *all);
    if (status) return status;
    if (!all) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "Out of memory while choosing a backend; close other programs and try again.");
    graft_error why = GRAFT_ERROR_INIT;
    const int32_t n = ask(e, 0, all, MAX_DEVICES, &why);
    const graft_candidate *best = NULL;
    for (int32_t i = 0; i < n; i++)
        if (all[i].info.score > 0 && (device < 0 ? !best || all[i].info.score > best->info.score : all[i].device == device)) best = &all[i];
    if (best) {
        *out = *best;
        snprintf(out->verdict, sizeof out->verdict, "chosen by name");
    } else if (why.code) *err = why, status = why.code;
    else if (device >= n) status = no_such_device(name, all, n, device, err);
    else status = graft_fail(err, GRAFT_UNSUPPORTED, NULL, "Backend %s %s. Choose another one.", name, all[device < 0 ? 0 : device].verdict);
    graft_free(all);
    return status;
}

graft_status graft_backend_choose(const graft_registry *r, const char *wanted, graft_candidate *out, graft_error *err)
{
    memset(out, 0, sizeof *out);
    return !wanted || !strcmp(wanted, "auto") ? choose_best(r, out, err) : choose_named(r, wanted, out, err);
}
