/* core/plugin/edit.c - graft_registry_put and graft_registry_drop: one entry of one registry file, all else kept (values and their order; layout becomes
 * two spaces a level). The new text is checked as a registry before it replaces the old file. A dataset_info.json without sections is moved into "datasets". */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/plugin/registry.h"

#include <string.h>

#define MAX_FILE (16 << 20)

/* The file as a sectioned object in the arena; an empty object when there is no file. */
static graft_status read_sections(graft_arena *a, const char *path, graft_json **out, graft_error *err)
{
    const graft_json *top = NULL;
    *out = graft_json_new(a, GRAFT_JSON_OBJECT);
    if (!*out) return graft_fail(err, GRAFT_NO_MEMORY, path, "Out of memory while reading the registry; close other programs and try again.");
    if (!graft_path_exists(path)) return GRAFT_OK;
    const graft_status status = graft_json_parse_file(a, path, MAX_FILE, GRAFT_JSON_STRICT_KEYS, &top, err);
    if (status) return status;
    if (top->type != GRAFT_JSON_OBJECT) return graft_fail(err, GRAFT_BAD_INPUT, path, "Expected a JSON object of sections; correct or move the file.");
    if (!top->child) return GRAFT_OK;
    if (graft_registry_has_sections(top)) *out = graft_json_copy(a, top);
    else graft_json_put(a, *out, graft_kind_section(GRAFT_KIND_DATASET), graft_json_copy(a, top));
    return *out ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, path, "Out of memory while reading the registry; close other programs and try again.");
}

static graft_status write_sections(const char *path, const graft_json *top, graft_error *err)
{
    graft_str text;
    graft_str_init(&text, MAX_FILE);
    graft_json_write(&text, top, 2, 0);
    graft_str_text(&text, "\n");
    graft_registry *check = graft_registry_new();
    char *dir = graft_path_join("", path), *slash = dir ? strrchr(dir, '/') : NULL;
    if (slash) *slash = 0;
    graft_status status = GRAFT_OK;
    if (text.failed || !check || !dir) status = graft_fail(err, GRAFT_NO_MEMORY, path, "The registry could not be written: out of memory, or more than %d MiB.", MAX_FILE >> 20);
    if (!status) status = graft_registry_add(check, path, text.data, text.bytes, 0, err);
    if (!status && slash && *dir) status = graft_dir_make(dir, err);
    if (!status) status = graft_file_replace(path, text.data, text.bytes, err);
    graft_registry_close(check);
    graft_free(dir);
    graft_str_free(&text);
    return status;
}

/* A copy of `object` (NULL: empty) without the member `name`. */
static graft_json *without(graft_arena *a, const graft_json *object, const char *name, int *found)
{
    graft_json *out = graft_json_new(a, GRAFT_JSON_OBJECT);
    *found = 0;
    for (const graft_json *m = object ? object->child : NULL; out && m; m = m->next) {
        if (!strcmp(m->key, name)) *found = 1;
        else graft_json_put(a, out, m->key, graft_json_copy(a, m));
    }
    return out;
}

graft_status graft_registry_put(const char *path, graft_kind kind, const char *name, const graft_json *entry, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    graft_json *top = NULL;
    graft_status status = a ? read_sections(a, path, &top, err) : graft_fail(err, GRAFT_NO_MEMORY, path, "Out of memory while writing the registry.");
    if (!status) {
        const graft_json *old = graft_json_get(top, graft_kind_section(kind));
        graft_json *section = old ? graft_json_copy(a, old) : graft_json_new(a, GRAFT_JSON_OBJECT);
        graft_json *copy = graft_json_copy(a, entry);
        if (section && copy) {
            graft_json_put(a, section, name, copy);
            graft_json_put(a, top, graft_kind_section(kind), section);
            status = write_sections(path, top, err);
        } else status = graft_fail(err, GRAFT_NO_MEMORY, path, "Out of memory while writing the registry.");
    }
    graft_arena_free(a);
    return status;
}

graft_status graft_registry_drop(const char *path, graft_kind kind, const char *name, int *found, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    graft_json *top = NULL;
    *found = 0;
    graft_status status = a ? read_sections(a, path, &top, err) : graft_fail(err, GRAFT_NO_MEMORY, path, "Out of memory while writing the registry.");
    if (!status) {
        graft_json *section = without(a, graft_json_get(top, graft_kind_section(kind)), name, found);
        if (section && *found) {
            graft_json_put(a, top, graft_kind_section(kind), section);
            status = write_sections(path, top, err);
        }
    }
    graft_arena_free(a);
    return status;
}
