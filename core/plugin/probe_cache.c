/* core/plugin/probe_cache.c - the kept results of probe.h. A file that cannot be read or is of another graft counts as none. */
#include "core/plugin/probe_cache.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/plugin/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *graft_probe_folder(void)
{
    const char *cache = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
    if (cache && cache[0] == '/') return graft_path_join(cache, "graft/probe");
    return home && home[0] == '/' ? graft_path_join(home, ".cache/graft/probe") : NULL;
}

static char *file_of(const char *sha256)
{
    char *folder = graft_probe_folder(), *file = folder ? graft_path_join(folder, sha256) : NULL;
    graft_free(folder);
    return file;
}

static void take(const graft_json *object, const char *key, char *out, size_t room)
{
    const graft_json *v = graft_json_get(object, key);
    snprintf(out, room, "%s", v && v->type == GRAFT_JSON_TEXT ? v->text : "");
}

int graft_probe_recall(const char sha256[65], graft_probe_report *out)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    const graft_json *top = NULL;
    graft_arena *a = graft_arena_new();
    char *file = file_of(sha256);
    memset(out, 0, sizeof *out);
    int known = a && file && graft_path_exists(file) && !graft_json_parse_file(a, file, 1 << 16, 0, &top, &ignored);
    if (known) {
        const graft_json *format = graft_json_get(top, "probe"), *verdict = graft_json_get(top, "verdict"), *notes = graft_json_get(top, "notes");
        const int good = verdict && graft_json_is(verdict, "good"), bad = verdict && graft_json_is(verdict, "quarantined");
        const graft_json *host = graft_json_get(top, "host");
        known = format && format->integral && format->integer == 1 && host && graft_json_is(host, GRAFT_VERSION) && (good || bad);
        out->quarantined = bad, out->cached = 1;
        take(top, "kind", out->kind, sizeof out->kind);
        take(top, "name", out->name, sizeof out->name);
        take(top, "version", out->version, sizeof out->version);
        take(top, "file", out->file, sizeof out->file);
        take(top, "reason", out->reason, sizeof out->reason);
        for (const graft_json *n = notes ? notes->child : NULL; n && out->n_notes < 4; n = n->next)
            if (n->type == GRAFT_JSON_TEXT) snprintf(out->notes[out->n_notes++], sizeof out->notes[0], "%s", n->text);
    }
    graft_free(file);
    graft_arena_free(a);
    return known;
}

/* Written beside and renamed, without waiting for the disk: a lost result is only probed again. */
static graft_status write_file(const char *file, const graft_str *text, graft_error *err)
{
    char part[4200];
    snprintf(part, sizeof part, "%s.%ld", file, (long)getpid());
    char *folder = graft_probe_folder();
    graft_status status = folder ? graft_dir_make(folder, err) : graft_fail(err, GRAFT_IO, NULL, "there is no home folder");
    if (!status) status = graft_path_remove(part, err);
    if (!status) status = graft_file_append(part, text->data, text->bytes, err);
    if (!status) status = graft_path_rename(part, file, err);
    graft_free(folder);
    return status;
}

void graft_probe_keep(const char sha256[65], const graft_probe_report *r)
{
    static int said;
    graft_error err = GRAFT_ERROR_INIT;
    graft_str text;
    graft_str_init(&text, 1 << 16);
    const struct {
        const char *key, *value;
    } members[] = {{"host", GRAFT_VERSION}, {"verdict", r->quarantined ? "quarantined" : "good"}, {"kind", r->kind}, {"name", r->name}, {"version", r->version}, {"file", r->file}, {"reason", r->reason}};
    graft_str_text(&text, "{\"probe\": 1");
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        graft_str_printf(&text, ", \"%s\": ", members[i].key);
        graft_str_json(&text, members[i].value, strlen(members[i].value));
    }
    graft_str_text(&text, ", \"notes\": [");
    for (int i = 0; i < r->n_notes; i++) {
        if (i) graft_str_text(&text, ", ");
        graft_str_json(&text, r->notes[i], strlen(r->notes[i]));
    }
    graft_str_text(&text, "]}\n");
    char *file = file_of(sha256);
    graft_status status = file && !text.failed ? write_file(file, &text, &err) : graft_fail(&err, GRAFT_IO, NULL, "there is no home folder");
    if (status && !said) {
        said = 1;
        graft_log(GRAFT_LOG_DEBUG, "Probe results are not kept (%s); plugins are probed at each start.", err.message);
    }
    graft_free(file);
    graft_str_free(&text);
}

graft_status graft_probe_forget(const char sha256[65], graft_error *err)
{
    char *file = file_of(sha256);
    const graft_status status = file ? graft_path_remove(file, err) : GRAFT_OK;
    graft_free(file);
    return status;
}
