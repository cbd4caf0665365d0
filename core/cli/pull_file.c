/* core/cli/pull_file.c - one transfer: asked again when it breaks off, going on where it ended, shown on a terminal, checked by size and SHA-256. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/sha256.h"
#include "core/cli/pull_parts.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 1 << 20, /* bytes written at once */
       TRIES = 4 };

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory"); }

const char *graft_pull_kind(const graft_puller *p) { return p->how->kind == GRAFT_HUB_MODEL ? "model" : "dataset"; }

/* ---- answers that are no file ------------------------------------------------------------------------------------------------------------------ */

static graft_status refuse(const graft_puller *p, const graft_http_reply *r, const char *what)
{
    const char *name = p->how->name, *where = p->endpoint, *prefix = p->how->kind == GRAFT_HUB_MODEL ? "" : "datasets/";
    if (!strcmp(r->code, "GatedRepo"))
        return graft_fail(p->err, GRAFT_BAD_INPUT, where, "the %s %s is gated: accept its terms at %s/%s%s with your account, then set %s to a token of that account", graft_pull_kind(p), name, where, prefix, name, p->site->token_name);
    if (!strcmp(r->code, "RevisionNotFound")) return graft_fail(p->err, GRAFT_BAD_INPUT, where, "the %s %s has no revision \"%s\"; check model_revision", graft_pull_kind(p), name, p->revision);
    if ((r->status == 401 || r->status == 403) && p->token)
        return graft_fail(p->err, GRAFT_BAD_INPUT, where, "the hub refuses %s of the %s %s to this token (status %ld); check the name, and that %s is valid and may read it", what, graft_pull_kind(p), name, r->status, p->site->token_name);
    if (r->status == 401 || r->status == 403 || r->status == 404)
        return graft_fail(p->err, GRAFT_BAD_INPUT, where, "the hub has no %s %s%s (status %ld); check the name (ORG/NAME)%s%s%s", graft_pull_kind(p), name, p->token ? "" : " that can be seen without a token", r->status, p->token ? "" : ", or set ", p->token ? "" : p->site->token_name, p->token ? "" : " when it is private");
    return graft_fail(p->err, GRAFT_IO, where, "the hub answered status %ld for %s of the %s %s; try again later", r->status, what, graft_pull_kind(p), name);
}

/* Worth another try, after a while? */
static int passes(graft_status status, const graft_http_reply *r) { return status == GRAFT_IO || (!status && (r->status == 429 || r->status >= 500)); }

static graft_status unreachable(const graft_puller *p)
{
    graft_error why = *p->err;
    return graft_fail(p->err, GRAFT_IO, p->endpoint, "the hub cannot be reached or broke off (%.200s); check the network, or fetch %s on another machine and copy the folder %s", why.message, p->how->name, p->folder);
}

static graft_status into_text(void *ctx, const void *data, size_t bytes, int from_start, graft_error *err)
{
    graft_str *s = ctx;
    (void)from_start;
    graft_str_add(s, data, bytes);
    return s->failed ? graft_fail(err, GRAFT_BAD_INPUT, NULL, "the hub's answer is larger than %d MiB", (int)(s->limit >> 20)) : GRAFT_OK;
}

void graft_pull_escape(graft_str *url, const char *text, int slashes)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("-._~", *p) || (slashes && *p == '/')) graft_str_add(url, (const char *)p, 1);
        else graft_str_printf(url, "%%%02X", *p);
}

graft_status graft_pull_text(graft_puller *p, const char *url, const char *what, graft_str *text)
{
    graft_http_reply r = {0};
    graft_status status = GRAFT_OK;
    for (int i = 0; i < TRIES; i++) {
        graft_str_clear(text);
        status = graft_http_get(p->http, url, p->token, 0, into_text, text, &r, p->err);
        if (!passes(status, &r) || i + 1 == TRIES || (!r.status && i)) break; /* who never answers is asked twice */
        sleep(1u << i);
    }
    if (status) return status == GRAFT_IO ? unreachable(p) : status;
    return r.status == 200 ? GRAFT_OK : refuse(p, &r, what);
}

graft_status graft_pull_item_new(graft_puller *p, const graft_json *path, graft_pull_item *f)
{
    if (!path || path->type != GRAFT_JSON_TEXT || strlen(path->text) != path->bytes || !graft_hub_is_inside(path->text))
        return graft_fail(p->err, GRAFT_BAD_INPUT, p->endpoint, "the %s %s lists a file \"%.200s\", which would lie outside of its folder; nothing was fetched", graft_pull_kind(p), p->how->name, path && path->type == GRAFT_JSON_TEXT ? path->text : "");
    *f = (graft_pull_item){.path = graft_arena_copy(p->c->arena, path->text, path->bytes), .bytes = -1};
    return f->path ? GRAFT_OK : no_memory(p->err);
}

/* ---- one file ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct download {
    graft_puller *p;
    const graft_pull_item *f;
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

int64_t graft_pull_size(const char *path)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    int64_t bytes = 0, modified;
    return graft_path_exists(path) && !graft_path_stamp(path, &bytes, &modified, &ignored) ? bytes : 0;
}

/* One answer, from where the incomplete file ends. */
static graft_status transfer(download *d, const char *url, graft_http_reply *r)
{
    graft_error late = GRAFT_ERROR_INIT;
    d->have = d->begun_at = graft_pull_size(d->part), d->held = 0, d->anew = 0;
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
    const graft_pull_item *f = d->f;
    char sum[65];
    if (!graft_path_exists(d->part) && graft_file_append(d->part, "", 0, d->p->err)) return d->p->err->code; /* an empty file */
    const int64_t have = graft_pull_size(d->part);
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

graft_status graft_pull_file(graft_puller *p, const graft_pull_item *f, const char *url, const char *part, char name[65])
{
    download d = {.p = p, .f = f, .part = part, .piece = graft_calloc(PIECE, 1)};
    graft_http_reply r = {0};
    graft_status status = d.piece ? GRAFT_OK : no_memory(p->err);
    for (int i = 0; !status && i < TRIES; i++) {
        const int64_t before = graft_pull_size(part);
        status = transfer(&d, url, &r);
        if (graft_pull_size(part) > before) i = 0; /* it goes on */
        if (!status && r.status == 416) {          /* there is nothing behind what is here: is it another file's? */
            status = graft_path_remove(part, p->err);
            continue;
        }
        if (!passes(status, &r) || i + 1 == TRIES) break;
        status = GRAFT_OK;
        sleep(1u << i);
    }
    if (status == GRAFT_IO && !r.status) status = unreachable(p);
    else if (!status && r.status != 200 && r.status != 206) status = refuse(p, &r, f->path);
    if (!status) show(&d, 1);
    if (!status) status = check(&d, name);
    if (!status && !p->c->terminal) graft_log(GRAFT_LOG_INFO, "fetched %s (%.1f MB)", f->path, (double)graft_pull_size(part) / 1e6);
    graft_free(d.piece);
    return status;
}
