/* core/cli/pull.c - see pull.h. The hub's side:
 *
 *   GET HF_ENDPOINT/api/models/NAME/revision/REV?blobs=true     {"sha": commit, "siblings": [{"rfilename", "size", "blobId", "lfs": {"sha256", "size"}}]}
 *   GET HF_ENDPOINT/NAME/resolve/COMMIT/FILE                    the file, mostly behind a redirect; with Range when a part is here
 *
 * A file is written to blobs/ETAG.incomplete, checked by size and, where the hub knows it, SHA-256, then renamed to blobs/ETAG and linked; refs/REV comes last. Only
 * what is data is fetched: no pickle, no program. Names that lead out of the folder end everything. */
#include "core/cli/pull.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/sha256.h"
#include "core/base/str.h"
#include "core/cli/http.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LISTING_MAX = 256 << 20,
       PIECE = 1 << 20, /* bytes written at once */
       TRIES = 4 };

typedef struct remote_file {
    const char *path;
    char etag[65]; /* names the blob: the SHA-256 of a large file, else git's name of it; "": the hub says neither */
    int summed;    /* etag is its SHA-256 */
    int64_t bytes; /* -1: unknown */
    int wanted, done;
} remote_file;

typedef struct pull {
    graft_cli *c;
    const graft_pull *how;
    graft_http *http;
    const char *endpoint, *token, *revision;
    char *folder, commit[41];
    remote_file *files;
    size_t n;
    graft_error *err;
} pull;

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

static const char *kind_word(const pull *p) { return p->how->kind == GRAFT_HUB_MODEL ? "model" : "dataset"; }

/* ---- answers that are no file ------------------------------------------------------------------------------------------------------------------ */

static graft_status refuse(const pull *p, const graft_http_reply *r, const char *what)
{
    const char *name = p->how->name, *where = p->endpoint, *prefix = p->how->kind == GRAFT_HUB_MODEL ? "" : "datasets/";
    if (!strcmp(r->code, "GatedRepo"))
        return graft_fail(p->err, GRAFT_BAD_INPUT, where, "the %s %s is gated: accept its terms at %s/%s%s with your account, then set HF_TOKEN to a token of that account", kind_word(p), name, where, prefix, name);
    if (!strcmp(r->code, "RevisionNotFound")) return graft_fail(p->err, GRAFT_BAD_INPUT, where, "the %s %s has no revision \"%s\"; check model_revision", kind_word(p), name, p->revision);
    if ((r->status == 401 || r->status == 403) && p->token)
        return graft_fail(p->err, GRAFT_BAD_INPUT, where, "the hub refuses %s of the %s %s to this token (status %ld); check the name, and that HF_TOKEN is valid and may read it", what, kind_word(p), name, r->status);
    if (r->status == 401 || r->status == 403 || r->status == 404)
        return graft_fail(p->err, GRAFT_BAD_INPUT, where, "the hub has no %s %s%s (status %ld); check the name (ORG/NAME)%s", kind_word(p), name, p->token ? "" : " that can be seen without a token", r->status, p->token ? "" : ", or set HF_TOKEN when it is private");
    return graft_fail(p->err, GRAFT_IO, where, "the hub answered status %ld for %s of the %s %s; try again later", r->status, what, kind_word(p), name);
}

/* Worth another try, after a while? */
static int passes(graft_status status, const graft_http_reply *r) { return status == GRAFT_IO || (!status && (r->status == 429 || r->status >= 500)); }

static graft_status unreachable(const pull *p)
{
    graft_error why = *p->err;
    return graft_fail(p->err, GRAFT_IO, p->endpoint, "the hub cannot be reached or broke off (%.200s); check the network, or fetch %s on another machine and copy the folder %s", why.message, p->how->name, p->folder);
}

/* ---- the list of files ------------------------------------------------------------------------------------------------------------------------- */

static graft_status into_text(void *ctx, const void *data, size_t bytes, int from_start, graft_error *err)
{
    graft_str *s = ctx;
    (void)from_start;
    graft_str_add(s, data, bytes);
    return s->failed ? graft_fail(err, GRAFT_BAD_INPUT, NULL, "the hub's answer is larger than %d MiB", LISTING_MAX >> 20) : GRAFT_OK;
}

/* Text of a path or revision inside a URL. */
static void add_escaped(graft_str *url, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("-._~/", *p)) graft_str_add(url, (const char *)p, 1);
        else graft_str_printf(url, "%%%02X", *p);
}

static graft_status get_listing(pull *p, graft_str *text)
{
    graft_http_reply r = {0};
    graft_status status = GRAFT_OK;
    graft_str url;
    graft_str_init(&url, 1 << 16);
    graft_str_printf(&url, "%s/api/%ss/%s/revision/", p->endpoint, kind_word(p), p->how->name);
    for (const char *c = p->revision; *c; c++)
        if (*c == '/') graft_str_text(&url, "%2F");
        else add_escaped(&url, (const char[]){*c, 0});
    graft_str_text(&url, "?blobs=true");
    for (int i = 0; i < TRIES; i++) {
        graft_str_clear(text);
        status = url.failed ? no_memory(p->err) : graft_http_get(p->http, url.data, p->token, 0, into_text, text, &r, p->err);
        if (!passes(status, &r) || i + 1 == TRIES || (!r.status && i)) break; /* who never answers is asked twice */
        sleep(1u << i);
    }
    graft_str_free(&url);
    if (status) return status == GRAFT_IO ? unreachable(p) : status;
    return r.status == 200 ? GRAFT_OK : refuse(p, &r, "the list of files");
}

static int is_hex(const char *text, size_t n) { return strlen(text) == n && strspn(text, "0123456789abcdef") == n; }

static graft_status read_file_of(pull *p, const graft_json *s, remote_file *f)
{
    const graft_json *name = graft_json_get(s, "rfilename"), *size = graft_json_get(s, "size"), *blob = graft_json_get(s, "blobId"), *lfs = graft_json_get(s, "lfs");
    const graft_json *sum = graft_json_get(lfs, "sha256") ? graft_json_get(lfs, "sha256") : graft_json_get(lfs, "oid");
    if (!name || name->type != GRAFT_JSON_TEXT || strlen(name->text) != name->bytes || !graft_hub_is_inside(name->text))
        return graft_fail(p->err, GRAFT_BAD_INPUT, p->endpoint, "the %s %s lists a file \"%.200s\", which would lie outside of its folder; nothing was fetched", kind_word(p), p->how->name, name && name->type == GRAFT_JSON_TEXT ? name->text : "");
    *f = (remote_file){.path = graft_arena_copy(p->c->arena, name->text, name->bytes), .bytes = -1};
    if (!f->path) return no_memory(p->err);
    if (lfs && graft_json_get(lfs, "size")) size = graft_json_get(lfs, "size");
    if (size && size->integral && size->integer >= 0) f->bytes = size->integer;
    if (sum && sum->type == GRAFT_JSON_TEXT && is_hex(sum->text, 64)) f->summed = 1, memcpy(f->etag, sum->text, 65);
    else if (blob && blob->type == GRAFT_JSON_TEXT && is_hex(blob->text, 40)) memcpy(f->etag, blob->text, 41);
    return GRAFT_OK;
}

static graft_status read_listing(pull *p, const char *text, size_t bytes)
{
    const graft_json *root = NULL;
    graft_status status = graft_json_parse(p->c->arena, p->endpoint, text, bytes, 0, &root, p->err);
    const graft_json *sha = graft_json_get(root, "sha"), *list = graft_json_get(root, "siblings");
    if (status) return status;
    if (!sha || sha->type != GRAFT_JSON_TEXT || !is_hex(sha->text, 40) || !list || list->type != GRAFT_JSON_ARRAY)
        return graft_fail(p->err, GRAFT_BAD_INPUT, p->endpoint, "the answer is not one of a hub (no commit, no list of files); check HF_ENDPOINT");
    memcpy(p->commit, sha->text, 41);
    p->files = graft_arena_alloc(p->c->arena, ((size_t)list->count + 1) * sizeof *p->files);
    if (!p->files) return no_memory(p->err);
    for (const graft_json *s = list->child; !status && s; s = s->next) status = read_file_of(p, s, &p->files[p->n++]);
    return status;
}

/* ---- one file ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct download {
    pull *p;
    const remote_file *f;
    const char *part; /* the incomplete file */
    char *piece;
    size_t held;
    int64_t have, begun_at;
    int anew;
    struct timespec begun, said;
} download;

static double seconds_since(const struct timespec *t)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - t->tv_sec) + (double)(now.tv_nsec - t->tv_nsec) * 1e-9;
}

/* A line that is written over, on a terminal. */
static void show(download *d, int last)
{
    const double took = seconds_since(&d->begun), mb = (double)d->have / 1e6;
    if (!d->p->c->terminal || (!last && seconds_since(&d->said) < 0.2)) return;
    clock_gettime(CLOCK_MONOTONIC, &d->said);
    const char *name = graft_path_base(d->f->path);
    if (d->f->bytes > 0) fprintf(d->p->c->err, "\r%-44.44s %3.0f %%  %.1f of %.1f MB", name, 100.0 * (double)d->have / (double)d->f->bytes, mb, (double)d->f->bytes / 1e6);
    else fprintf(d->p->c->err, "\r%-44.44s %.1f MB", name, mb);
    fprintf(d->p->c->err, "  %.1f MB/s\033[K%s", took > 0 ? (double)(d->have - d->begun_at) / 1e6 / took : 0.0, last ? "\n" : "");
    fflush(d->p->c->err);
}

static graft_status write_piece(download *d, graft_error *err)
{
    const graft_status status = d->held ? graft_file_append(d->part, d->piece, d->held, err) : GRAFT_OK;
    d->held = 0;
    return status;
}

static graft_status into_file(void *ctx, const void *data, size_t bytes, int from_start, graft_error *err)
{
    download *d = ctx;
    if (from_start && !d->anew) { /* what is here is not what comes */
        d->anew = 1, d->held = 0, d->have = d->begun_at = 0;
        const graft_status status = graft_path_remove(d->part, err);
        if (status) return status;
    }
    while (bytes) {
        const size_t room = PIECE - d->held, n = bytes < room ? bytes : room;
        memcpy(d->piece + d->held, data, n);
        d->held += n, d->have += (int64_t)n;
        data = (const char *)data + n, bytes -= n;
        if (d->held == PIECE && write_piece(d, err)) return err->code;
    }
    if (d->f->bytes >= 0 && d->have > d->f->bytes) return graft_fail(err, GRAFT_BAD_INPUT, d->f->path, "more bytes came than the hub's list says (%lld)", (long long)d->f->bytes);
    show(d, 0);
    return GRAFT_OK;
}

static int64_t size_of(const char *path)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    int64_t bytes = 0, modified;
    return graft_path_exists(path) && !graft_path_stamp(path, &bytes, &modified, &ignored) ? bytes : 0;
}

/* One answer, from where the incomplete file ends. */
static graft_status transfer(download *d, const char *url, graft_http_reply *r)
{
    graft_error late = GRAFT_ERROR_INIT;
    d->have = d->begun_at = size_of(d->part), d->held = 0, d->anew = 0;
    clock_gettime(CLOCK_MONOTONIC, &d->begun);
    d->said = d->begun;
    if (d->f->bytes >= 0 && d->have > d->f->bytes && graft_path_remove(d->part, d->p->err)) return d->p->err->code;
    if (d->f->bytes >= 0 && d->have == d->f->bytes && (d->have || graft_path_exists(d->part))) return *r = (graft_http_reply){.status = 200}, GRAFT_OK;
    if (d->f->bytes >= 0 && d->have > d->f->bytes) d->have = d->begun_at = 0;
    const graft_status status = graft_http_get(d->p->http, url, d->p->token, d->have, into_file, d, r, d->p->err);
    if (write_piece(d, &late)) return *d->p->err = late, late.code;
    return status;
}

static graft_status check(download *d, char name[65])
{
    const remote_file *f = d->f;
    char sum[65];
    if (!graft_path_exists(d->part) && graft_file_append(d->part, "", 0, d->p->err)) return d->p->err->code; /* an empty file */
    const int64_t have = size_of(d->part);
    if (f->bytes >= 0 && have != f->bytes)
        return graft_fail(d->p->err, GRAFT_IO, f->path, "%lld of %lld bytes came; give the command again to go on", (long long)have, (long long)f->bytes);
    memcpy(name, f->etag, 65);
    if (f->etag[0] && !f->summed) return GRAFT_OK;
    if (graft_sha256_file(d->part, sum, d->p->err)) return d->p->err->code;
    memcpy(name, sum, 65);
    if (!f->summed || !strcmp(sum, f->etag)) return GRAFT_OK;
    graft_error ignored = GRAFT_ERROR_INIT;
    graft_path_remove(d->part, &ignored);
    return graft_fail(d->p->err, GRAFT_BAD_INPUT, f->path, "its SHA-256 is %.16s..., the hub says %.16s...; the download was damaged and is removed: give the command again", sum, f->etag);
}

static graft_status fetch(download *d)
{
    pull *p = d->p;
    graft_http_reply r = {0};
    graft_status status = GRAFT_OK;
    graft_str url;
    graft_str_init(&url, 1 << 16);
    graft_str_printf(&url, "%s/%s%s/resolve/%s/", p->endpoint, p->how->kind == GRAFT_HUB_MODEL ? "" : "datasets/", p->how->name, p->commit);
    add_escaped(&url, d->f->path);
    d->piece = graft_calloc(PIECE, 1);
    if (!d->piece || url.failed) status = no_memory(p->err);
    for (int i = 0; !status && i < TRIES; i++) {
        const int64_t before = size_of(d->part);
        status = transfer(d, url.data, &r);
        if (size_of(d->part) > before) i = 0; /* it goes on */
        if (!passes(status, &r) || i + 1 == TRIES) break;
        status = GRAFT_OK;
        sleep(1u << i);
    }
    if (status == GRAFT_IO && !r.status) status = unreachable(p);
    else if (!status && r.status != 200 && r.status != 206) status = refuse(p, &r, d->f->path);
    if (!status) show(d, 1);
    graft_free(d->piece);
    graft_str_free(&url);
    return status;
}

/* The blob under its name; what is there already stays. */
static graft_status get_blob(pull *p, const remote_file *f, char name[65])
{
    graft_arena *a = p->c->arena;
    char path_sum[65];
    graft_sha256 sum;
    graft_sha256_init(&sum);
    graft_sha256_add(&sum, f->path, strlen(f->path));
    graft_sha256_hex(&sum, path_sum);
    const char *key = f->etag[0] ? f->etag : path_sum, *base = graft_path_base(p->folder);
    const char *blob = graft_arena_printf(a, "%s/blobs/%s", p->folder, key), *part = graft_arena_printf(a, "%s/blobs/%s.incomplete", p->folder, key);
    const char *locks = graft_arena_printf(a, "%.*s.locks/%s", (int)(base - p->folder), p->folder, base), *lock = graft_arena_printf(a, "%s/%s.lock", locks, key);
    if (!blob || !part || !locks || !lock) return no_memory(p->err);
    memcpy(name, f->etag, 65);
    if (f->etag[0] && graft_path_exists(blob) && (f->bytes < 0 || size_of(blob) == f->bytes)) return GRAFT_OK;
    if (graft_dir_make(locks, p->err)) return p->err->code;
    graft_lock *held = graft_lock_take(lock, p->err);
    if (!held) return p->err->code;
    download d = {.p = p, .f = f, .part = part};
    graft_status status = GRAFT_OK;
    if (!f->etag[0] || !graft_path_exists(blob)) status = fetch(&d); /* else another process was faster */
    if (!status && (!f->etag[0] || !graft_path_exists(blob))) {
        status = check(&d, name);
        const char *to = graft_arena_printf(a, "%s/blobs/%s", p->folder, name);
        if (!status) status = to ? graft_path_rename(part, to, p->err) : no_memory(p->err);
        if (!status && !p->c->terminal) graft_log(GRAFT_LOG_INFO, "fetched %s (%.1f MB)", f->path, (double)d.have / 1e6);
    }
    graft_lock_give(held);
    return status;
}

static graft_status get_file(pull *p, const remote_file *f)
{
    graft_arena *a = p->c->arena;
    char name[65];
    graft_str target;
    const char *path = graft_arena_printf(a, "%s/snapshots/%s/%s", p->folder, p->commit, f->path), *base = path ? graft_path_base(path) : NULL;
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

/* ---- which files ------------------------------------------------------------------------------------------------------------------------------- */

static int ends_with(const char *text, const char *ending)
{
    const size_t n = strlen(text), k = strlen(ending);
    return n >= k && !strcmp(text + n - k, ending);
}

static int ends_in(const char *text, const char *const *endings)
{
    for (; *endings; endings++)
        if (ends_with(text, *endings)) return 1;
    return 0;
}

/* Files that cannot do anything by being read. */
static int is_harmless(const char *path)
{
    static const char *const endings[] = {".safetensors", ".gguf", ".json", ".txt", ".model", ".tiktoken", ".jinja", ".md", ".yaml", ".jsonl", ".parquet", ".csv", ".tsv", ".gz", ".zst", ".arrow", "LICENSE", NULL};
    return ends_in(path, endings);
}

/* What a model is read from: in its folder, not in others beside (onnx, original). */
static int is_of_model(const pull *p, const char *path)
{
    static const char *const endings[] = {".safetensors", ".json", ".txt", ".model", ".tiktoken", ".jinja", NULL};
    int named = 0;
    for (size_t i = 0; i < p->n; i++) named |= !strncmp(p->files[i].path, "model", 5) && ends_with(p->files[i].path, ".safetensors");
    if (named && !strncmp(path, "consolidated", 12)) return 0; /* the same weights again */
    return (!strchr(path, '/') || !strncmp(path, "additional_chat_templates/", 26)) && ends_in(path, endings);
}

static int is_named(const pull *p, const char *path)
{
    for (size_t i = 0; i < p->how->n_patterns; i++)
        if (!fnmatch(p->how->patterns[i], path, FNM_PERIOD)) return 1;
    return 0;
}

/* Weights that are there, but not as safetensors. */
static graft_status check_model(const pull *p)
{
    char ggufs[300] = "";
    const char *pickle = NULL;
    for (size_t i = 0; i < p->n; i++) {
        const char *path = p->files[i].path;
        const size_t used = strlen(ggufs);
        if (p->files[i].wanted && ends_with(path, ".safetensors")) return GRAFT_OK;
        if (ends_with(path, ".bin") || ends_with(path, ".pt") || ends_with(path, ".pth")) pickle = path;
        if (ends_with(path, ".gguf") && used + strlen(path) + 3 < sizeof ggufs) snprintf(ggufs + used, sizeof ggufs - used, "%s%s", used ? ", " : "", path);
    }
    if (ggufs[0]) return graft_fail(p->err, GRAFT_BAD_INPUT, p->endpoint, "%s holds GGUF files: name one of them, as in `graft pull %s FILE`, of %s", p->how->name, p->how->name, ggufs);
    if (pickle) return graft_fail(p->err, GRAFT_UNSUPPORTED, p->endpoint, "%s has its weights as pickle alone (%.100s), which can run code when it is read; ask for a version with safetensors, or convert it once", p->how->name, pickle);
    return GRAFT_OK; /* a tokenizer alone */
}

/* The dataset's files of the entry's split; its README tells, and is fetched first. */
static graft_status choose_data(pull *p)
{
    const graft_json *entry = p->how->entry, *words[3] = {graft_json_get(entry, "subset"), graft_json_get(entry, "split"), graft_json_get(entry, "folder")};
    const char *said[3] = {NULL, NULL, NULL};
    char **names = graft_arena_alloc(p->c->arena, (p->n + 1) * sizeof *names), *keep = graft_arena_alloc(p->c->arena, p->n + 1), *readme = NULL;
    size_t bytes = 0;
    graft_status status = names && keep ? GRAFT_OK : no_memory(p->err);
    for (size_t i = 0; !status && i < p->n; i++) {
        names[i] = (char *)(uintptr_t)p->files[i].path;
        if (strcmp(p->files[i].path, "README.md") != 0) continue;
        const char *path = graft_arena_printf(p->c->arena, "%s/snapshots/%s/README.md", p->folder, p->commit);
        p->files[i].wanted = 1;
        status = path ? get_file(p, &p->files[i]) : no_memory(p->err);
        if (!status) status = graft_file_read(path, 1 << 24, &readme, &bytes, p->err);
        p->files[i].done = 1;
    }
    for (int i = 0; i < 3; i++) said[i] = words[i] && words[i]->type == GRAFT_JSON_TEXT ? words[i]->text : NULL;
    if (!status) status = graft_hub_choose(p->how->name, readme, bytes, names, p->n, said[0], said[1], said[2], keep, p->err);
    for (size_t i = 0; !status && i < p->n; i++) p->files[i].wanted |= keep[i];
    graft_free(readme);
    return status;
}

static graft_status choose(pull *p)
{
    size_t left_out = 0, wanted = 0;
    const char *example = NULL;
    const int model = p->how->kind == GRAFT_HUB_MODEL;
    for (size_t i = 0; i < p->n; i++) {
        remote_file *f = &p->files[i];
        const int asked = p->how->n_patterns ? is_named(p, f->path) : model ? is_of_model(p, f->path)
                                                                            : !p->how->entry && (graft_hub_is_data(f->path) || !strcmp(f->path, "README.md"));
        f->wanted = asked && is_harmless(f->path);
        if (f->path[0] != '.' && !is_harmless(f->path)) left_out++, example = f->path;
    }
    if (!model && !p->how->n_patterns && p->how->entry && choose_data(p)) return p->err->code;
    for (size_t i = 0; i < p->n; i++) wanted += p->files[i].wanted != 0;
    if (model && !p->how->n_patterns && check_model(p)) return p->err->code;
    if (left_out) graft_log(GRAFT_LOG_INFO, "%zu files that are not data are left out (pickle, programs and others, as %s)", left_out, example);
    if (wanted) return GRAFT_OK;
    return graft_fail(p->err, GRAFT_BAD_INPUT, p->endpoint, p->how->n_patterns ? "no file of the %s %s is named like \"%.100s\"" : "the %s %s has no file that graft reads%.0s", kind_word(p), p->how->name, p->how->n_patterns ? p->how->patterns[0] : "");
}

/* ---- a repository ------------------------------------------------------------------------------------------------------------------------------ */

static graft_status write_ref(pull *p)
{
    char *path = graft_arena_printf(p->c->arena, "%s/refs/%s", p->folder, p->revision);
    if (!strcmp(p->revision, p->commit)) return GRAFT_OK;
    const char *base = path ? graft_path_base(path) : NULL;
    const char *dir = path ? graft_arena_copy(p->c->arena, path, (size_t)(base - path - 1)) : NULL;
    if (!dir) return no_memory(p->err);
    return graft_dir_make(dir, p->err) ? p->err->code : graft_file_replace(path, p->commit, 40, p->err);
}

static graft_status get_all(pull *p)
{
    const char *blobs = graft_arena_printf(p->c->arena, "%s/blobs", p->folder);
    int64_t bytes = 0;
    size_t n = 0;
    if (!blobs) return no_memory(p->err);
    if (graft_dir_make(blobs, p->err) || choose(p)) return p->err->code;
    for (size_t i = 0; i < p->n; i++)
        if (p->files[i].wanted) n++, bytes += p->files[i].bytes > 0 ? p->files[i].bytes : 0;
    graft_log(GRAFT_LOG_INFO, "%s at %.8s: %zu files, %.1f MB", p->how->name, p->commit, n, (double)bytes / 1e6);
    for (size_t i = 0; i < p->n; i++)
        if (p->files[i].wanted && !p->files[i].done && get_file(p, &p->files[i])) return p->err->code;
    return write_ref(p);
}

graft_status graft_pull_repository(graft_cli *c, const graft_pull *how, const char **folder, graft_error *err)
{
    pull p = {.c = c, .how = how, .endpoint = endpoint_of(c), .token = token_of(c), .revision = how->revision && *how->revision ? how->revision : "main", .err = err};
    graft_str text;
    *folder = NULL;
    if (!graft_hub_is_name(how->name)) return graft_fail(err, GRAFT_BAD_INPUT, how->name, "expected a name of the hub, ORG/NAME");
    if (!graft_hub_is_inside(p.revision)) return graft_fail(err, GRAFT_BAD_INPUT, "model_revision", "expected a branch, tag or commit, found \"%.100s\"", p.revision);
    if (!(p.folder = graft_hub_folder(how->kind, how->name))) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "nothing says where downloads belong: set HF_HOME or HOME");
    graft_str_init(&text, LISTING_MAX);
    graft_status status = graft_http_open(&p.http, err);
    if (!status) status = get_listing(&p, &text);
    if (!status) status = read_listing(&p, text.data, text.bytes);
    if (!status) status = get_all(&p);
    if (!status && !(*folder = graft_arena_printf(c->arena, "%s/snapshots/%s", p.folder, p.commit))) status = no_memory(err);
    graft_str_free(&text);
    graft_http_close(p.http);
    graft_free(p.folder);
    return status;
}
