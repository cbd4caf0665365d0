/* core/cli/pull_parts.h - what the files of `graft pull` share: a repository being fetched (pull.c, pull_modelscope.c), one transfer (pull_file.c), which files (pull_choose.c). */
#ifndef CORE_CLI_PULL_PARTS_H
#define CORE_CLI_PULL_PARTS_H

#include "core/base/str.h"
#include "core/cli/http.h"
#include "core/cli/pull.h"

typedef struct graft_pull_item {
    const char *path;
    char etag[65]; /* names a blob: the SHA-256 of a large file, else git's name of it; "": the hub says neither */
    int summed;    /* etag is its SHA-256 */
    int64_t bytes; /* -1: unknown */
    int wanted, done;
} graft_pull_item;

typedef struct graft_puller graft_puller;

/* A hub: how it lists, where a file is put, what is done when all are there. */
typedef struct graft_pull_site {
    const char *token_name; /* of the environment */
    graft_status (*list)(graft_puller *p);
    graft_status (*get)(graft_puller *p, const graft_pull_item *f);
    const char *(*path)(graft_puller *p, const graft_pull_item *f); /* of a file that was got (arena) */
    graft_status (*finish)(graft_puller *p);
} graft_pull_site;
extern const graft_pull_site graft_pull_huggingface, graft_pull_modelscope;

struct graft_puller {
    graft_cli *c;
    const graft_pull *how;
    const graft_pull_site *site;
    graft_http *http;
    const char *endpoint, *token, *revision;
    char *folder, commit[41];
    graft_pull_item *items;
    size_t n;
    graft_error *err;
};

/* ---- pull_file.c ---- */
const char *graft_pull_kind(const graft_puller *p); /* "model" or "dataset" */
/* Text of a path or revision inside a URL; slashes: they stay. */
void graft_pull_escape(graft_str *url, const char *text, int slashes);
/* A small answer whole. what: "the list of files". */
graft_status graft_pull_text(graft_puller *p, const char *url, const char *what, graft_str *text);
/* Fetches into the file `part`, going on where it ends, and checks it; then `part` is whole. name: what the blob is called. */
graft_status graft_pull_file(graft_puller *p, const graft_pull_item *f, const char *url, const char *part, char name[65]);
/* A new item with this path, which must stay inside its folder. */
graft_status graft_pull_item_new(graft_puller *p, const graft_json *path, graft_pull_item *f);
int64_t graft_pull_size(const char *path); /* 0: nothing is there */

/* ---- pull_choose.c ---- */
/* Sets `wanted`. */
graft_status graft_pull_choose(graft_puller *p);

#endif
