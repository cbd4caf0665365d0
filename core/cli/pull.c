/* core/cli/pull.c - see pull.h. The hub's side:
 *
 *   GET HF_ENDPOINT/api/models/NAME/revision/REV?blobs=true     {"sha": commit, "siblings": [{"rfilename", "size", "blobId", "lfs": {"sha256", "size"}}]}
 *   GET HF_ENDPOINT/NAME/resolve/COMMIT/FILE                    the file, mostly behind a redirect; with Range when a part is here
 *
 * A file is written to blobs/ETAG.incomplete, checked by size and, where the hub knows it, SHA-256, then renamed to blobs/ETAG and linked; refs/REV comes last. Only
 * what is data is fetched: no pickle, no program. Names that lead out of the folder end everything. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/sha256.h"
#include "core/cli/pull_parts.h"

#include <stdlib.h>
#include <string.h>

enum { LISTING_MAX = 256 << 20 };

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory"); }

/* ---- the environment ------------------------------------------------------------------------------------------------------------------------- */

/* HF_TOKEN, else what `huggingface-cli login` left; NULL: none. */
static const char *token_of(graft_cli *c)
{
    const char *said = graft_args_text(c->args, "hf_hub_token"), *path = getenv("HF_TOKEN_PATH"), *home = getenv("HF_HOME"), *cache = getenv("XDG_CACHE_HOME"), *user = getenv("HOME");
    graft_error ignored = GRAFT_ERROR_INIT;
    char *text = NULL;
    size_t n = 0;
    if (!said || !*said) said = getenv("HF_TOKEN");
    if (!said || !*said) said = getenv("HUGGING_FACE_HUB_TOKEN");
    if (said && *said) return said;
    if (!path && home) path = graft_arena_printf(c->arena, "%s/token", home);
    if (!path && cache) path = graft_arena_printf(c->arena, "%s/huggingface/token", cache);
    if (!path && user) path = graft_arena_printf(c->arena, "%s/.cache/huggingface/token", user);
    if (!path || !graft_path_exists(path) || graft_file_read(path, 4096, &text, &n, &ignored)) return NULL;
    n = strcspn(text, " \r\n\t");
    const char *copy = n ? graft_arena_copy(c->arena, text, n) : NULL;
    graft_free(text);
    return copy;
}

static const char *endpoint_of(graft_cli *c)
{
    const char *said = getenv("HF_ENDPOINT");
    size_t n = said ? strlen(said) : 0;
    while (n && said[n - 1] == '/') n--;
    return n ? graft_arena_copy(c->arena, said, n) : "https://huggingface.co";
}

/* MODELSCOPE_DOMAIN is a host, or a whole address. */
static const char *scope_endpoint(graft_cli *c)
{
    const char *said = getenv("MODELSCOPE_DOMAIN"), *host = said && *said ? said : "www.modelscope.cn";
    return graft_arena_printf(c->arena, "%s%s", strstr(host, "://") ? "" : "https://", host);
}

static const char *scope_token(graft_cli *c)
{
    const char *said = graft_args_text(c->args, "ms_hub_token");
    if (!said || !*said) said = getenv("MODELSCOPE_API_TOKEN");
    return said && *said ? said : NULL;
}

/* ---- the list of files ------------------------------------------------------------------------------------------------------------------------- */

static graft_status get_listing(graft_puller *p, graft_str *text)
{
    graft_str url;
    graft_str_init(&url, 1 << 16);
    graft_str_printf(&url, "%s/api/%ss/%s/revision/", p->endpoint, graft_pull_kind(p), p->how->name);
    graft_pull_escape(&url, p->revision, 0);
    graft_str_text(&url, "?blobs=true");
    const graft_status status = url.failed ? no_memory(p->err) : graft_pull_text(p, url.data, "the list of files", text);
    graft_str_free(&url);
    return status;
}

static int is_hex(const char *text, size_t n) { return strlen(text) == n && strspn(text, "0123456789abcdef") == n; }

static graft_status read_item(graft_puller *p, const graft_json *s, graft_pull_item *f)
{
    const graft_json *size = graft_json_get(s, "size"), *blob = graft_json_get(s, "blobId"), *lfs = graft_json_get(s, "lfs");
    const graft_json *sum = graft_json_get(lfs, "sha256") ? graft_json_get(lfs, "sha256") : graft_json_get(lfs, "oid");
    if (graft_pull_item_new(p, graft_json_get(s, "rfilename"), f)) return p->err->code;
    if (lfs && graft_json_get(lfs, "size")) size = graft_json_get(lfs, "size");
    if (size && size->integral && size->integer >= 0) f->bytes = size->integer;
    if (sum && sum->type == GRAFT_JSON_TEXT && is_hex(sum->text, 64)) f->summed = 1, memcpy(f->etag, sum->text, 65);
    else if (blob && blob->type == GRAFT_JSON_TEXT && is_hex(blob->text, 40)) memcpy(f->etag, blob->text, 41);
    return GRAFT_OK;
}

static graft_status read_listing(graft_puller *p, const char *text, size_t bytes)
{
    const graft_json *root = NULL;
    graft_status status = graft_json_parse(p->c->arena, p->endpoint, text, bytes, 0, &root, p->err);
    const graft_json *sha = graft_json_get(root, "sha"), *list = graft_json_get(root, "siblings");
    if (status) return status;
    if (!sha || sha->type != GRAFT_JSON_TEXT || !is_hex(sha->text, 40) || !list || list->type != GRAFT_JSON_ARRAY)
        return graft_fail(p->err, GRAFT_BAD_INPUT, p->endpoint, "the answer is not one of a hub (no commit, no list of files); check HF_ENDPOINT");
    memcpy(p->commit, sha->text, 41);
    p->items = graft_arena_alloc(p->c->arena, ((size_t)list->count + 1) * sizeof *p->items);
    if (!p->items) return no_memory(p->err);
    for (const graft_json *s = list->child; !status && s; s = s->next) status = read_item(p, s, &p->items[p->n++]);
    return status;
}

static graft_status list(graft_puller *p)
{
    graft_str text;
    graft_str_init(&text, LISTING_MAX);
    graft_status status = get_listing(p, &text);
    if (!status) status = read_listing(p, text.data, text.bytes);
    graft_str_free(&text);
    return status;
}

/* ---- files ------------------------------------------------------------------------------------------------------------------------------------- */

static int has_blob(const graft_pull_item *f, const char *blob) { return f->etag[0] && graft_path_exists(blob) && (f->bytes < 0 || graft_pull_size(blob) == f->bytes); }

static graft_status fetch_blob(graft_puller *p, const graft_pull_item *f, const char *part, char name[65])
{
    graft_str url;
    graft_str_init(&url, 1 << 16);
    graft_str_printf(&url, "%s/%s%s/resolve/%s/", p->endpoint, p->how->kind == GRAFT_HUB_MODEL ? "" : "datasets/", p->how->name, p->commit);
    graft_pull_escape(&url, f->path, 1);
    graft_status status = url.failed ? no_memory(p->err) : graft_pull_file(p, f, url.data, part, name);
    graft_str_free(&url);
    const char *to = status ? NULL : graft_arena_printf(p->c->arena, "%s/blobs/%s", p->folder, name);
    return status ? status : to ? graft_path_rename(part, to, p->err)
                                : no_memory(p->err);
}

/* The blob under its name; what is there already stays. The lock is huggingface_hub's too. */
static graft_status get_blob(graft_puller *p, const graft_pull_item *f, char name[65])
{
    graft_arena *a = p->c->arena;
    char path_sum[65];
    graft_sha256 sum;
    graft_sha256_init(&sum);
    graft_sha256_add(&sum, f->path, strlen(f->path));
    graft_sha256_hex(&sum, path_sum);
    const char *key = f->etag[0] ? f->etag : path_sum, *base = graft_path_base(p->folder);
    const char *blobs = graft_arena_printf(a, "%s/blobs", p->folder), *blob = graft_arena_printf(a, "%s/%s", blobs, key), *part = graft_arena_printf(a, "%s.incomplete", blob);
    const char *locks = graft_arena_printf(a, "%.*s.locks/%s", (int)(base - p->folder), p->folder, base), *lock = graft_arena_printf(a, "%s/%s.lock", locks, key);
    if (!blobs || !blob || !part || !locks || !lock) return no_memory(p->err);
    memcpy(name, f->etag, 65);
    if (has_blob(f, blob)) return GRAFT_OK;
    if (graft_dir_make(blobs, p->err) || graft_dir_make(locks, p->err)) return p->err->code;
    graft_lock *held = graft_lock_take(lock, p->err);
    if (!held) return p->err->code;
    const graft_status status = has_blob(f, blob) ? GRAFT_OK : fetch_blob(p, f, part, name); /* another process may have been faster */
    graft_lock_give(held);
    return status;
}

static const char *path_of(graft_puller *p, const graft_pull_item *f) { return graft_arena_printf(p->c->arena, "%s/snapshots/%s/%s", p->folder, p->commit, f->path); }

static graft_status get_file(graft_puller *p, const graft_pull_item *f)
{
    graft_arena *a = p->c->arena;
    char name[65];
    graft_str target;
    const char *path = path_of(p, f), *base = path ? graft_path_base(path) : NULL;
    char *dir = path ? graft_arena_copy(a, path, (size_t)(base - path - 1)) : NULL;
    if (!dir) return no_memory(p->err);
    graft_status status = get_blob(p, f, name);
    if (!status) status = graft_dir_make(dir, p->err);
    if (status) return status;
    graft_str_init(&target, 1 << 16);
    graft_str_text(&target, "../../");
    for (const char *s = f->path; (s = strchr(s, '/')); s++) graft_str_text(&target, "../");
    graft_str_printf(&target, "blobs/%s", name);
    status = target.failed ? no_memory(p->err) : graft_path_link(target.data, path, p->err);
    graft_str_free(&target);
    return status;
}

/* ---- a repository ------------------------------------------------------------------------------------------------------------------------------ */

static graft_status write_ref(graft_puller *p)
{
    char *path = graft_arena_printf(p->c->arena, "%s/refs/%s", p->folder, p->revision);
    if (!strcmp(p->revision, p->commit)) return GRAFT_OK;
    const char *base = path ? graft_path_base(path) : NULL;
    const char *dir = path ? graft_arena_copy(p->c->arena, path, (size_t)(base - path - 1)) : NULL;
    if (!dir) return no_memory(p->err);
    return graft_dir_make(dir, p->err) ? p->err->code : graft_file_replace(path, p->commit, 40, p->err);
}

const graft_pull_site graft_pull_huggingface = {"HF_TOKEN", list, get_file, path_of, write_ref};

static graft_status get_all(graft_puller *p)
{
    int64_t bytes = 0;
    size_t n = 0;
    if (graft_pull_choose(p)) return p->err->code;
    for (size_t i = 0; i < p->n; i++)
        if (p->items[i].wanted) n++, bytes += p->items[i].bytes > 0 ? p->items[i].bytes : 0;
    graft_log(GRAFT_LOG_INFO, "%s at %.8s: %zu files, %.1f MB", p->how->name, p->commit[0] ? p->commit : p->revision, n, (double)bytes / 1e6);
    for (size_t i = 0; i < p->n; i++)
        if (p->items[i].wanted && !p->items[i].done && p->site->get(p, &p->items[i])) return p->err->code;
    return p->site->finish(p);
}

graft_status graft_pull_repository(graft_cli *c, const graft_pull *how, const char **folder, graft_error *err)
{
    const int scope = how->site == GRAFT_HUB_MODELSCOPE;
    const char *usual = scope ? "master" : "main";
    graft_puller p = {.c = c, .how = how, .site = scope ? &graft_pull_modelscope : &graft_pull_huggingface, .endpoint = scope ? scope_endpoint(c) : endpoint_of(c), .token = scope ? scope_token(c) : token_of(c), .revision = how->revision && *how->revision ? how->revision : usual, .err = err};
    *folder = NULL;
    if (scope && !strcmp(p.revision, "main")) p.revision = usual; /* model_revision's default, which LLaMA-Factory reads so too */
    if (!graft_hub_is_name(how->name)) return graft_fail(err, GRAFT_BAD_INPUT, how->name, "expected a name of the hub, ORG/NAME");
    if (!graft_hub_is_inside(p.revision)) return graft_fail(err, GRAFT_BAD_INPUT, "model_revision", "expected a branch, tag or commit, found \"%.100s\"", p.revision);
    if (!(p.folder = graft_hub_folder(how->site, how->kind, how->name))) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "nothing says where downloads belong: set HF_HOME or HOME");
    graft_status status = graft_http_open(&p.http, err);
    if (!status) status = p.site->list(&p);
    if (!status) status = get_all(&p);
    if (!status) *folder = scope ? graft_arena_copy(c->arena, p.folder, strlen(p.folder)) : graft_arena_printf(c->arena, "%s/snapshots/%s", p.folder, p.commit);
    if (!status && !*folder) status = no_memory(err);
    graft_http_close(p.http);
    graft_free(p.folder);
    return status;
}
