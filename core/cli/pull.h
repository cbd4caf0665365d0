/* core/cli/pull.h - fetches a repository of the Hugging Face hub, or of ModelScope, into the folders that Python's tools share (core/data/hub.h). */
#ifndef CORE_CLI_PULL_H
#define CORE_CLI_PULL_H

#include "core/cli/cli.h"
#include "core/data/hub.h"

typedef struct graft_pull {
    graft_hub_site site;
    graft_hub_kind kind;
    const char *name, *revision; /* revision NULL: main, or master */
    const graft_json *entry;     /* a dataset's: its files of that subset and split; NULL: all of its data */
    const char *const *patterns; /* files to fetch, as "*.gguf"; none: those that graft reads */
    size_t n_patterns;
} graft_pull;

/* *folder: that of the files (arena). What is there already is not fetched again, a download that was cut short goes on. */
graft_status graft_pull_repository(graft_cli *c, const graft_pull *p, const char **folder, graft_error *err);

/* A model or adapter as it was named: a path that exists is itself; ORG/NAME is found on this machine, or fetched. */
graft_status graft_pull_path(graft_cli *c, const char *key, const char *name, const char *revision, const char **path, graft_error *err);
/* The datasets of the list (names of the registry) that lie on the hub and not on this machine. */
graft_status graft_pull_datasets(graft_cli *c, const char *names, graft_error *err);

#endif
