/* core/data/hub.c - see hub.h: names, folders, what is there. */
#include "core/data/hub.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NAME_MAX_BYTES = 96 };

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

int graft_hub_env_on(const char *name)
{
    static const char *const words[] = {"1", "ON", "YES", "TRUE"};
    const char *v = env(name);
    for (size_t i = 0; v && i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(v, words[i])) return 1;
    return 0;
}

graft_hub_site graft_hub_usual(void) { return graft_hub_env_on("USE_MODELSCOPE_HUB") ? GRAFT_HUB_MODELSCOPE : GRAFT_HUB_HUGGINGFACE; }

static const char *text_at(const graft_json *entry, const char *key)
{
    const graft_json *v = graft_json_get(entry, key);
    return v && v->type == GRAFT_JSON_TEXT && v->bytes ? v->text : NULL;
}

const char *graft_hub_of_entry(const graft_json *entry, graft_hub_site *site)
{
    const char *face = text_at(entry, "hf_hub_url"), *scope = text_at(entry, "ms_hub_url");
    *site = scope && (!face || graft_hub_usual() == GRAFT_HUB_MODELSCOPE) ? GRAFT_HUB_MODELSCOPE : GRAFT_HUB_HUGGINGFACE;
    if (text_at(entry, "file_name")) return NULL;
    return *site == GRAFT_HUB_MODELSCOPE ? scope : face;
}

int graft_hub_is_name(const char *text)
{
    const size_t n = strlen(text);
    int slashes = 0;
    if (!n || n > NAME_MAX_BYTES || strstr(text, "..") || strstr(text, "--")) return 0;
    for (size_t i = 0; i < n; i++) {
        const char c = text[i], before = i ? text[i - 1] : '/', after = i + 1 < n ? text[i + 1] : '/';
        if (c == '/') slashes++;
        else if ((c == '.' || c == '-') && (before == '/' || after == '/')) return 0;
        else if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_')) return 0;
        if (c == '/' && before == '/') return 0;
    }
    return slashes <= 1 && text[n - 1] != '/';
}

int graft_hub_is_inside(const char *path)
{
    size_t part = 0;
    for (const char *p = path;; p++) {
        if ((unsigned char)*p < ' ' && *p) return 0;
        if (*p == '\\' || *p == 0x7F) return 0;
        if (*p && *p != '/') {
            part++;
            continue;
        }
        if (!part || (part == 1 && p[-1] == '.') || (part == 2 && p[-1] == '.' && p[-2] == '.')) return 0;
        if (!*p) return p - path < 1000;
        part = 0;
    }
}

/* ---- folders -------------------------------------------------------------------------------------------------------------------------------- */

static int cache_folder(char *out, size_t room)
{
    const char *said = env("HF_HUB_CACHE") ? env("HF_HUB_CACHE") : env("HUGGINGFACE_HUB_CACHE"), *home = env("HF_HOME"), *cache = env("XDG_CACHE_HOME"), *user = env("HOME");
    int n = -1;
    if (said && !strncmp(said, "~/", 2) && user) n = snprintf(out, room, "%s%s", user, said + 1);
    else if (said) n = snprintf(out, room, "%s", said);
    else if (home && !strncmp(home, "~/", 2) && user) n = snprintf(out, room, "%s%s/hub", user, home + 1);
    else if (home) n = snprintf(out, room, "%s/hub", home);
    else if (cache) n = snprintf(out, room, "%s/huggingface/hub", cache);
    else if (user) n = snprintf(out, room, "%s/.cache/huggingface/hub", user);
    return n > 0 && (size_t)n < room;
}

/* MODELSCOPE_CACHE/models/ORG/NAME */
static char *scope_folder(graft_hub_kind kind, const char *name)
{
    char path[4096];
    const char *said = env("MODELSCOPE_CACHE"), *user = env("HOME"), *slash = strchr(name, '/');
    if (!said && !user) return NULL;
    int n = snprintf(path, sizeof path, "%s%s/%s/", said ? said : user, said ? "" : "/.cache/modelscope/hub", kind == GRAFT_HUB_MODEL ? "models" : "datasets");
    for (const char *p = name; *p && n < (int)sizeof path - 8; p++) n += snprintf(path + n, sizeof path - (size_t)n, *p == '.' && (!slash || p > slash) ? "___" : "%c", *p);
    return n < (int)sizeof path - 8 ? graft_path_join("", path) : NULL;
}

char *graft_hub_folder(graft_hub_site site, graft_hub_kind kind, const char *name)
{
    char cache[3000], part[128];
    const char *slash = strchr(name, '/');
    if (!graft_hub_is_name(name)) return NULL;
    if (site == GRAFT_HUB_MODELSCOPE) return scope_folder(kind, name);
    if (!cache_folder(cache, sizeof cache)) return NULL;
    if (slash) snprintf(part, sizeof part, "%s--%.*s--%s", kind == GRAFT_HUB_MODEL ? "models" : "datasets", (int)(slash - name), name, slash + 1);
    else snprintf(part, sizeof part, "%s--%s", kind == GRAFT_HUB_MODEL ? "models" : "datasets", name);
    return graft_path_join(cache, part);
}

static int is_commit(const char *text) { return strlen(text) == 40 && strspn(text, "0123456789abcdef") == 40; }

/* The commit that refs/REVISION names; 0: none. */
static int read_ref(const char *folder, const char *revision, char commit[41])
{
    char path[4096];
    char *text = NULL;
    size_t bytes = 0;
    graft_error ignored = GRAFT_ERROR_INIT;
    snprintf(path, sizeof path, "%s/refs/%s", folder, revision);
    if (!graft_path_exists(path) || graft_file_read(path, 256, &text, &bytes, &ignored)) return 0;
    snprintf(commit, 41, "%.40s", text);
    graft_free(text);
    return is_commit(commit);
}

char *graft_hub_find(graft_hub_site site, graft_hub_kind kind, const char *name, const char *revision)
{
    char commit[41] = "", path[4096];
    char *folder = graft_hub_folder(site, kind, name), *found = NULL;
    const char *wanted = revision && *revision ? revision : "main";
    if (!folder) return NULL;
    if (site == GRAFT_HUB_MODELSCOPE) {
        if (graft_path_is_dir(folder)) return folder;
        graft_free(folder);
        return NULL;
    }
    if (is_commit(wanted)) snprintf(commit, sizeof commit, "%s", wanted);
    else if (graft_hub_is_inside(wanted)) read_ref(folder, wanted, commit);
    if (is_commit(commit) && snprintf(path, sizeof path, "%s/snapshots/%s", folder, commit) < (int)sizeof path && graft_path_is_dir(path)) found = graft_path_join("", path);
    graft_free(folder);
    return found;
}

/* ---- models --------------------------------------------------------------------------------------------------------------------------------- */

static int has(const char *dir, const char *name)
{
    char *path = graft_path_join(dir, name);
    const int there = path && graft_path_exists(path);
    graft_free(path);
    return there;
}

/* All files that the index of a model in parts names. */
static int has_parts(const char *dir)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    const graft_json *index = NULL;
    graft_arena *a = graft_arena_new();
    char *path = graft_path_join(dir, "model.safetensors.index.json");
    int all = a && path && !graft_json_parse_file(a, path, 1 << 28, 0, &index, &ignored);
    const graft_json *map = graft_json_get(index, "weight_map");
    const char *before = "";
    for (const graft_json *m = map ? map->child : NULL; all && m; m = m->next) {
        if (m->type != GRAFT_JSON_TEXT || !strcmp(m->text, before)) continue;
        before = m->text;
        all = graft_hub_is_inside(m->text) && has(dir, m->text);
    }
    all = all && map && map->child;
    graft_free(path);
    graft_arena_free(a);
    return all;
}

int graft_hub_whole(const char *dir)
{
    if (has(dir, "adapter_config.json") && has(dir, "adapter_model.safetensors")) return 1;
    if (!has(dir, "config.json")) return 0;
    return has(dir, "model.safetensors.index.json") ? has_parts(dir) : has(dir, "model.safetensors");
}
