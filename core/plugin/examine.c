/* core/plugin/examine.c - see examine.h. */
#include "core/plugin/examine.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/sha256.h"
#include "core/base/str.h"
#include "core/plugin/load.h"
#include "core/plugin/machine.h"
#include "core/plugin/trust.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct steps {
    void (*say)(void *ctx, const char *stage, const char *phrase);
    void *ctx;
} steps;

static void tell(const steps *s, const char *stage, const char *phrase)
{
    if (s->say) s->say(s->ctx, stage, phrase);
}

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void tell_opened(const steps *s, const graft_elf *elf)
{
    graft_str text;
    graft_str_init(&text, 65536);
    graft_str_text(&text, "a whole shared object for this machine; needs ");
    for (int i = 0; i < elf->n_needed; i++) graft_str_printf(&text, "%s%s", i ? ", " : "", elf->needed[i]);
    if (!elf->n_needed) graft_str_text(&text, "no library");
    tell(s, "opened", text.data);
    graft_str_free(&text);
}

static void tell_probed(const steps *s, const graft_probe_report *r, double took)
{
    char text[640];
    if (r->cached) snprintf(text, sizeof text, "%s %s %s; kept result of an earlier probe", r->kind, r->name, r->version);
    else snprintf(text, sizeof text, "%s %s %s; door, init, table and fini in a child process, %.1f ms", r->kind, r->name, r->version, took);
    tell(s, "probed", text);
    for (int i = 0; i < r->n_notes; i++) {
        snprintf(text, sizeof text, "it %s", r->notes[i]);
        tell(s, "warning", text);
    }
}

static graft_status probe_step(const graft_trusted *t, const graft_entry *e, int flags, const steps *s, graft_examined *out, graft_error *err)
{
    graft_status status = GRAFT_OK;
    const int known = graft_probe_recall(t->sha256, &out->probe);
    if (known && ((flags & GRAFT_EXAMINE_RETRY) || ((flags & GRAFT_EXAMINE_AGAIN) && !out->probe.quarantined))) status = graft_probe_forget(t->sha256, err);
    const double start = milliseconds();
    if (!status) status = graft_probe(t, e ? e->kind : GRAFT_KINDS, e ? e->name : NULL, e ? e->json : NULL, &out->probe, err);
    if (!status) tell_probed(s, &out->probe, milliseconds() - start);
    return status;
}

/* The name that messages use for a file without an entry: its own without ".so". */
static void label_of(const char *path, char *out, size_t room)
{
    const char *base = graft_path_base(path);
    const size_t bytes = strlen(base), cut = bytes > 3 && !strcmp(base + bytes - 3, ".so") ? bytes - 3 : bytes;
    snprintf(out, room, "%.*s", (int)(cut < room ? cut : room - 1), base);
}

graft_status graft_plugin_examine(const graft_entry *e, const char *path, int flags, void (*say)(void *ctx, const char *stage, const char *phrase), void *ctx, graft_examined *out, graft_error *err)
{
    const steps s = {say, ctx};
    graft_trusted t;
    char label[64], text[8400];
    memset(out, 0, sizeof *out);
    char *own = path ? NULL : graft_entry_path(e);
    if (!path && !own) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "found: %s: out of memory for its path.", e->name);
    snprintf(out->path, sizeof out->path, "%s", path ? path : own);
    graft_free(own);
    if (e) snprintf(label, sizeof label, "%s", e->name);
    else label_of(out->path, label, sizeof label);
    const graft_json *hash = e ? graft_json_get(e->json, "sha256") : NULL;
    graft_status status = graft_trust_open(label, out->path, hash ? hash->text : NULL, e ? e->layer : NULL, &t, err);
    if (status) return status;
    out->bytes = t.bytes;
    memcpy(out->sha256, t.sha256, sizeof out->sha256);
    snprintf(text, sizeof text, "%s, %lld bytes%s%s", out->path, (long long)t.bytes, e ? ", named by " : "", e ? e->layer : "");
    tell(&s, "found", text);
    snprintf(text, sizeof text, "only you and root can change it; sha256 %s%s", t.sha256, hash ? ", as registered" : e ? ", which the registry leaves open"
                                                                                                                       : "");
    tell(&s, "trusted", text);
    status = graft_trust_inspect(&t, err);
    if (!status) tell_opened(&s, &t.elf);
    if (!status && e) status = graft_machine_meets(e, out->path, err);
    if (!status) status = probe_step(&t, e, flags, &s, out, err);
    graft_trust_close(&t);
    return status;
}

void graft_plugin_state(const graft_entry *e, char *out, size_t room)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_probe_report r;
    char sum[65];
    const graft_json *want = graft_json_get(e->json, "sha256");
    char *path = graft_entry_path(e);
    if (e->kind == GRAFT_KIND_DATASET || !path) snprintf(out, room, "no plugin");
    else if (graft_plugin_linked(e->kind, e->name)) snprintf(out, room, "linked into the program");
    else if (!graft_path_exists(path)) snprintf(out, room, "no such file");
    else if (graft_sha256_file(path, sum, &err)) snprintf(out, room, "unreadable");
    else if (want && strcasecmp(want->text, sum)) snprintf(out, room, "changed since it was registered");
    else if (!graft_probe_recall(sum, &r)) snprintf(out, room, "not probed yet");
    else if (r.quarantined) snprintf(out, room, "quarantined: %s", r.reason);
    else snprintf(out, room, "ready, version %s", r.version);
    graft_free(path);
}
