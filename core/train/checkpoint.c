/* core/train/checkpoint.c - see checkpoint.h. */
#include "core/train/checkpoint.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST "manifest.json"
#define FORMAT   "graft.checkpoint/1"

static graft_status join(char path[GRAFT_CHECKPOINT_PATH], const char *out, const char *before, int64_t step, const char *after, graft_error *err)
{
    const int n = snprintf(path, GRAFT_CHECKPOINT_PATH, "%s/%scheckpoint-%lld%s", out, before, (long long)step, after);
    if (n < 0 || n >= GRAFT_CHECKPOINT_PATH) return graft_fail(err, GRAFT_BAD_INPUT, "output_dir", "the path is longer than %d bytes; choose a shorter one", GRAFT_CHECKPOINT_PATH - 64);
    return GRAFT_OK;
}

graft_status graft_checkpoint_path(const char *out, int64_t step, char path[GRAFT_CHECKPOINT_PATH], graft_error *err) { return join(path, out, "", step, "", err); }

/* The step of "checkpoint-12" or, with the affixes, of ".checkpoint-12.tmp"; -1 for other names. */
static int64_t step_of(const char *name, const char *before, const char *after)
{
    const size_t head = strlen(before);
    if (strncmp(name, before, head) || strncmp(name + head, "checkpoint-", 11)) return -1;
    const char *digits = name + head + 11;
    const size_t n = strspn(digits, "0123456789");
    if (!n || n > 18 || (n > 1 && *digits == '0') || strcmp(digits + n, after)) return -1;
    return strtoll(digits, NULL, 10);
}

graft_status graft_checkpoint_begin(const char *out, int64_t step, char tmp[GRAFT_CHECKPOINT_PATH], graft_error *err)
{
    graft_status s = join(tmp, out, ".", step, ".tmp", err);
    if (!s) s = graft_path_remove(tmp, err);
    if (!s) s = graft_dir_make(tmp, err);
    return s;
}

void graft_checkpoint_abandon(const char *out, int64_t step)
{
    char tmp[GRAFT_CHECKPOINT_PATH];
    graft_error unheard = GRAFT_ERROR_INIT; /* the error that led here is the one to report */
    if (!join(tmp, out, ".", step, ".tmp", &unheard)) graft_path_remove(tmp, &unheard);
}

static graft_status file_bytes(const char *dir, const char *name, int64_t *bytes, graft_error *err)
{
    graft_map m;
    char *path = graft_path_join(dir, name);
    if (!path) return graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    const graft_status s = graft_map_open(&m, path, err);
    if (!s) {
        *bytes = m.bytes;
        graft_map_close(&m);
    }
    graft_free(path);
    return s;
}

static int is_folder(const char *dir, const char *name)
{
    char *path = graft_path_join(dir, name);
    const int folder = path && graft_path_is_dir(path);
    graft_free(path);
    return folder;
}

/* The files of dir/inner, and of the folders in it when inner is "": a run of several methods has one for each. */
static graft_status list_files(graft_str *text, const char *dir, const char *inner, int *any, graft_error *err)
{
    char **names = NULL, name[1024];
    size_t n = 0;
    char *path = graft_path_join(dir, *inner ? inner : ".");
    graft_status s = path ? graft_dir_list(path, &names, &n, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    for (size_t i = 0; !s && i < n; i++) {
        int64_t bytes = 0;
        if (snprintf(name, sizeof name, "%s%s%s", inner, *inner ? "/" : "", names[i]) >= (int)sizeof name) s = graft_fail(err, GRAFT_BAD_INPUT, dir, "the name of a file is too long");
        const int folder = !s && !*inner && is_folder(dir, name);
        if (folder) s = list_files(text, dir, name, any, err);
        if (s || folder) continue;
        s = file_bytes(dir, name, &bytes, err);
        graft_str_text(text, (*any)++ ? ",\n    " : "\n    ");
        graft_str_json(text, name, strlen(name));
        graft_str_printf(text, ": %lld", (long long)bytes);
    }
    graft_dir_list_free(names, n);
    graft_free(path);
    return s;
}

static graft_status write_manifest(const char *dir, int64_t step, graft_error *err)
{
    graft_str text;
    int any = 0;
    graft_str_init(&text, 0);
    graft_str_printf(&text, "{\n  \"format\": \"" FORMAT "\",\n  \"step\": %lld,\n  \"files\": {", (long long)step);
    graft_status s = list_files(&text, dir, "", &any, err);
    graft_str_text(&text, "\n  }\n}\n");
    char *path = graft_path_join(dir, MANIFEST);
    if (!s && (text.failed || !path)) s = graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    if (!s) s = graft_file_replace(path, text.data, text.bytes, err);
    graft_free(path);
    graft_str_free(&text);
    return s;
}

graft_status graft_checkpoint_commit(const char *out, int64_t step, graft_error *err)
{
    char tmp[GRAFT_CHECKPOINT_PATH], path[GRAFT_CHECKPOINT_PATH], old[GRAFT_CHECKPOINT_PATH];
    int aside = 0;
    graft_status s = join(tmp, out, ".", step, ".tmp", err);
    if (!s) s = join(path, out, "", step, "", err);
    if (!s) s = join(old, out, ".", step, ".old", err);
    if (!s) s = write_manifest(tmp, step, err);
    if (!s) s = graft_dir_sync(tmp, err);
    if (!s && graft_path_exists(path)) {
        s = graft_path_remove(old, err);
        if (!s) s = graft_path_rename(path, old, err);
        aside = !s;
    }
    if (!s) s = graft_path_rename(tmp, path, err);
    if (s) {
        graft_error unheard = GRAFT_ERROR_INIT;
        if (aside) graft_path_rename(old, path, &unheard);
        graft_checkpoint_abandon(out, step);
        return s;
    }
    s = graft_dir_sync(out, err);
    if (!s && aside) s = graft_path_remove(old, err);
    return s;
}

/* "file" or "folder/file" */
static int is_inside(const char *name)
{
    const char *slash = strchr(name, '/');
    return *name && *name != '/' && strncmp(name, "..", 2) != 0 && (!slash || (slash[1] && !strchr(slash + 1, '/') && strncmp(slash + 1, "..", 2) != 0));
}

static graft_status check_files(const char *dir, const graft_json *files, graft_error *err)
{
    for (const graft_json *m = files->child; m; m = m->next) {
        int64_t bytes = 0;
        if (!is_inside(m->key)) return graft_fail(err, GRAFT_BAD_INPUT, dir, "the manifest names the file '%.80s', which is not in the folder", m->key);
        const graft_status s = file_bytes(dir, m->key, &bytes, err);
        if (s) return s;
        if (m->type != GRAFT_JSON_NUMBER || !m->integral || bytes != m->integer)
            return graft_fail(err, GRAFT_BAD_INPUT, dir, "the checkpoint is damaged: %.80s has %lld bytes, its manifest says %.24s; use an older checkpoint", m->key, (long long)bytes, m->text ? m->text : "none");
    }
    return GRAFT_OK;
}

graft_status graft_checkpoint_check(const char *dir, int64_t *step, graft_error *err)
{
    const graft_json *doc = NULL;
    graft_arena *a = graft_arena_new();
    char *path = graft_path_join(dir, MANIFEST);
    graft_status s = a && path ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    if (!s && !graft_path_exists(path)) s = graft_fail(err, GRAFT_BAD_INPUT, dir, "this is no checkpoint of graft: it has no " MANIFEST);
    if (!s) s = graft_json_parse_file(a, path, 1 << 20, GRAFT_JSON_STRICT_KEYS, &doc, err);
    const graft_json *format = graft_json_get(doc, "format"), *at = graft_json_get(doc, "step"), *files = graft_json_get(doc, "files");
    if (!s && (!graft_json_is(format, FORMAT) || !at || !at->integral || !files || files->type != GRAFT_JSON_OBJECT))
        s = graft_fail(err, GRAFT_BAD_INPUT, path, "expected a manifest of the format " FORMAT);
    if (!s) s = check_files(dir, files, err);
    if (!s) *step = at->integer;
    graft_free(path);
    graft_arena_free(a);
    return s;
}

/* Steps of the checkpoints in out, highest first, with graft_free; complete or not. */
static graft_status list_steps(const char *out, int64_t **steps, size_t *n, graft_error *err)
{
    char **names = NULL;
    size_t count = 0;
    *steps = NULL;
    *n = 0;
    if (!graft_path_is_dir(out)) return GRAFT_OK;
    graft_status s = graft_dir_list(out, &names, &count, err);
    if (s) return s;
    *steps = graft_calloc(count + 1, sizeof **steps);
    if (!*steps) s = graft_fail(err, GRAFT_NO_MEMORY, out, "out of memory");
    for (size_t i = 0; !s && i < count; i++) {
        const int64_t step = step_of(names[i], "", "");
        if (step < 0) continue;
        size_t at = (*n)++;
        for (; at > 0 && (*steps)[at - 1] < step; at--) (*steps)[at] = (*steps)[at - 1];
        (*steps)[at] = step;
    }
    graft_dir_list_free(names, count);
    return s;
}

graft_status graft_checkpoint_newest(const char *out, char path[GRAFT_CHECKPOINT_PATH], int64_t *step, graft_error *err)
{
    int64_t *steps = NULL;
    size_t n = 0;
    *path = 0;
    *step = 0;
    graft_status s = list_steps(out, &steps, &n, err);
    for (size_t i = 0; !s && i < n; i++) {
        graft_error why = GRAFT_ERROR_INIT;
        char text[1200];
        s = graft_checkpoint_path(out, steps[i], path, err);
        if (s || !graft_checkpoint_check(path, step, &why)) break;
        graft_log(GRAFT_LOG_WARNING, "%s is passed over: %s", path, graft_error_text(&why, text, sizeof text));
        *path = 0;
        *step = 0;
    }
    graft_free(steps);
    return s;
}

graft_status graft_checkpoint_tidy(const char *out, graft_error *err)
{
    char **names = NULL, path[GRAFT_CHECKPOINT_PATH], from[GRAFT_CHECKPOINT_PATH];
    size_t n = 0;
    if (!graft_path_is_dir(out)) return GRAFT_OK;
    graft_status s = graft_dir_list(out, &names, &n, err);
    for (size_t i = 0; !s && i < n; i++) {
        const int64_t unfinished = step_of(names[i], ".", ".tmp"), old = step_of(names[i], ".", ".old");
        if (unfinished >= 0) {
            s = join(path, out, ".", unfinished, ".tmp", err);
            if (!s) s = graft_path_remove(path, err);
        } else if (old >= 0) {
            s = join(from, out, ".", old, ".old", err);
            if (!s) s = join(path, out, "", old, "", err);
            if (!s) s = graft_path_exists(path) ? graft_path_remove(from, err) : graft_path_rename(from, path, err);
        }
    }
    graft_dir_list_free(names, n);
    return s;
}

graft_status graft_checkpoint_prune(const char *out, int64_t keep, int64_t current, int64_t best, graft_error *err)
{
    int64_t *steps = NULL, kept = 0;
    size_t n = 0;
    char path[GRAFT_CHECKPOINT_PATH];
    if (keep <= 0) return GRAFT_OK;
    graft_status s = list_steps(out, &steps, &n, err);
    for (size_t i = 0; !s && best < current && i < n; i++) kept += steps[i] == best; /* its place is taken beforehand */
    if (kept && keep == 1) keep = 2;
    for (size_t i = 0; !s && i < n; i++) {
        if (steps[i] == best && best < current) continue;
        if (steps[i] <= current && kept++ < keep) continue;
        s = graft_checkpoint_path(out, steps[i], path, err);
        if (!s) s = graft_path_remove(path, err);
    }
    graft_free(steps);
    return s;
}
