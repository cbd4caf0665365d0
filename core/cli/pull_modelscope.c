/* core/cli/pull_modelscope.c - ModelScope as a hub to fetch from; see pull_parts.h.
 *
 *   GET MODELSCOPE_DOMAIN/api/v1/models/NAME/repo/files?Revision=REV&Recursive=True          {"Data": {"Files": [{"Path", "Type", "Size", "Sha256"}]}}
 *   GET .../api/v1/models/NAME/repo?Revision=REV&FilePath=FILE                               the file
 *   GET .../api/v1/datasets/NAME                                                             {"Data": {"Id": 12}}
 *   GET .../api/v1/datasets/12/repo/tree?Revision=REV&Root=/&Recursive=True&PageNumber=1&PageSize=200
 *   GET .../api/v1/datasets/NAME/repo?Source=SDK&Revision=REV&FilePath=FILE
 *
 * Files lie in MODELSCOPE_CACHE/models/ORG/NAME as they are, a dot of the name written ___. They are collected in ._____temp beside, and moved when all are there. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/cli/pull_parts.h"

#include <string.h>

enum { LISTING_MAX = 256 << 20,
       PAGE = 200,
       PAGES_MAX = 500 };

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory"); }

/* ---- the list of files ------------------------------------------------------------------------------------------------------------------------- */

static graft_status get_json(graft_puller *p, const char *url, const graft_json **out)
{
    graft_str text;
    graft_str_init(&text, LISTING_MAX);
    graft_status status = url ? graft_pull_text(p, url, "the list of files", &text) : no_memory(p->err);
    if (!status) status = graft_json_parse(p->c->arena, p->endpoint, text.data, text.bytes, 0, out, p->err);
    graft_str_free(&text);
    return status;
}

static int is_sum(const graft_json *v) { return v && v->type == GRAFT_JSON_TEXT && v->bytes == 64 && strspn(v->text, "0123456789abcdef") == 64; }

static graft_status read_page(graft_puller *p, const graft_json *root, size_t *room, size_t *found)
{
    const graft_json *files = graft_json_get(graft_json_get(root, "Data"), "Files");
    *found = 0;
    if (!files || files->type != GRAFT_JSON_ARRAY) return graft_fail(p->err, GRAFT_BAD_INPUT, p->endpoint, "the answer is not one of ModelScope (no list of files); check MODELSCOPE_DOMAIN and the name %s", p->how->name);
    if (p->n + (size_t)files->count > *room) {
        graft_pull_item *more = graft_arena_alloc(p->c->arena, (p->n + (size_t)files->count) * 2 * sizeof *more);
        if (!more) return no_memory(p->err);
        if (p->n) memcpy(more, p->items, p->n * sizeof *more);
        p->items = more, *room = (p->n + (size_t)files->count) * 2;
    }
    for (const graft_json *s = files->child; s; s = s->next, ++*found) {
        const graft_json *size = graft_json_get(s, "Size"), *sum = graft_json_get(s, "Sha256");
        if (graft_json_is(graft_json_get(s, "Type"), "tree")) continue;
        graft_pull_item *f = &p->items[p->n];
        if (graft_pull_item_new(p, graft_json_get(s, "Path"), f)) return p->err->code;
        if (size && size->integral && size->integer >= 0) f->bytes = size->integer;
        if (is_sum(sum)) f->summed = 1, memcpy(f->etag, sum->text, 65);
        p->n++;
    }
    return GRAFT_OK;
}

static graft_status list(graft_puller *p)
{
    graft_arena *a = p->c->arena;
    const graft_json *root = NULL;
    size_t room = 0, found = 0;
    if (p->how->kind == GRAFT_HUB_MODEL) {
        if (get_json(p, graft_arena_printf(a, "%s/api/v1/models/%s/repo/files?Revision=%s&Recursive=True", p->endpoint, p->how->name, p->revision), &root)) return p->err->code;
        return read_page(p, root, &room, &found);
    }
    if (get_json(p, graft_arena_printf(a, "%s/api/v1/datasets/%s", p->endpoint, p->how->name), &root)) return p->err->code;
    const graft_json *id = graft_json_get(graft_json_get(root, "Data"), "Id");
    if (!id || !id->integral) return graft_fail(p->err, GRAFT_BAD_INPUT, p->endpoint, "ModelScope gives no number for the dataset %s; check the name", p->how->name);
    for (int page = 1; page <= PAGES_MAX; page++) {
        const char *url = graft_arena_printf(a, "%s/api/v1/datasets/%lld/repo/tree?Revision=%s&Root=/&Recursive=True&PageNumber=%d&PageSize=%d", p->endpoint, (long long)id->integer, p->revision, page, PAGE);
        if (get_json(p, url, &root) || read_page(p, root, &room, &found)) return p->err->code;
        if (found < PAGE) break;
    }
    return GRAFT_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------------------------------------- */

static const char *final_path(graft_puller *p, const graft_pull_item *f) { return graft_arena_printf(p->c->arena, "%s/%s", p->folder, f->path); }

/* CACHE/models/._____temp/ORG/NAME/FILE */
static const char *early_path(graft_puller *p, const graft_pull_item *f)
{
    const char *name = graft_path_base(p->folder), *org = name - 1;
    while (org > p->folder && org[-1] != '/') org--;
    return graft_arena_printf(p->c->arena, "%.*s._____temp/%s/%s", (int)(org - p->folder), p->folder, org, f->path);
}

static int is_whole(const graft_pull_item *f, const char *path) { return f->bytes >= 0 && graft_path_exists(path) && graft_pull_size(path) == f->bytes; }

static const char *path_of(graft_puller *p, const graft_pull_item *f)
{
    const char *early = early_path(p, f);
    return early && graft_path_exists(early) ? early : final_path(p, f);
}

static graft_status make_folder_of(graft_puller *p, const char *path)
{
    const char *dir = graft_arena_copy(p->c->arena, path, (size_t)(graft_path_base(path) - path - 1));
    return dir ? graft_dir_make(dir, p->err) : no_memory(p->err);
}

static graft_status get(graft_puller *p, const graft_pull_item *f)
{
    const char *early = early_path(p, f), *final = final_path(p, f), *part = early ? graft_arena_printf(p->c->arena, "%s.incomplete", early) : NULL, *lock = early ? graft_arena_printf(p->c->arena, "%s.lock", early) : NULL;
    char name[65];
    graft_str url;
    if (!early || !final || !part || !lock) return no_memory(p->err);
    if (is_whole(f, final) || is_whole(f, early)) return GRAFT_OK;
    if (make_folder_of(p, early)) return p->err->code;
    graft_lock *held = graft_lock_take(lock, p->err);
    if (!held) return p->err->code;
    graft_str_init(&url, 1 << 16);
    graft_str_printf(&url, "%s/api/v1/%ss/%s/repo?%sRevision=", p->endpoint, graft_pull_kind(p), p->how->name, p->how->kind == GRAFT_HUB_MODEL ? "" : "Source=SDK&");
    graft_pull_escape(&url, p->revision, 0);
    graft_str_text(&url, "&FilePath=");
    graft_pull_escape(&url, f->path, 0);
    graft_status status = url.failed ? no_memory(p->err) : graft_pull_file(p, f, url.data, part, name);
    if (!status) status = graft_path_rename(part, early, p->err);
    graft_str_free(&url);
    graft_lock_give(held);
    return status;
}

static graft_status finish(graft_puller *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const graft_pull_item *f = &p->items[i];
        const char *early = f->wanted ? early_path(p, f) : NULL, *final = f->wanted ? final_path(p, f) : NULL;
        if (!f->wanted) continue;
        if (!early || !final) return no_memory(p->err);
        if (!graft_path_exists(early)) continue; /* it was there before */
        if (make_folder_of(p, final) || graft_path_rename(early, final, p->err)) return p->err->code;
    }
    return GRAFT_OK;
}

const graft_pull_site graft_pull_modelscope = {"MODELSCOPE_API_TOKEN", list, get, path_of, finish};
