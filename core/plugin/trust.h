/* core/plugin/trust.h - may this file run inside us? The file is opened once; what is checked here is the very content that is opened later.
 *
 * The rules, each with its own sentence:
 * - it exists, and is a regular file: not a link (what a link names can change), not a device;
 * - it belongs to us or root, and neither group nor others may write to it;
 * - nor to any folder above it, as written and as the system resolves it, since who can write there can put another file in its place. A sticky folder
 *   (/tmp, mode 1777) is fine: there only the owner of a file can replace it. Each such folder belongs to us or root, or is also above the program itself:
 *   its owner could as well replace graft.
 * - a group that is the owner's alone (same number as the user, as useradd makes them) counts as the owner;
 * - its SHA-256 is the registry's, when that has one. */
#ifndef CORE_PLUGIN_TRUST_H
#define CORE_PLUGIN_TRUST_H

#include "core/plugin/elf.h"

typedef struct graft_trusted {
    char name[64];       /* how messages call the plugin           */
    char path[4096];     /* absolute, as registered                */
    int fd;              /* -1 when closed                         */
    const uint8_t *data; /* the whole file, mapped read-only       */
    int64_t bytes;
    char sha256[65];
    graft_elf elf; /* filled by graft_trust_inspect          */
} graft_trusted;

/* want: sha256 of the registry or NULL; registry: that file's path, for the message. err: where = path, message "trusted: NAME: ...". */
graft_status graft_trust_open(const char *name, const char *path, const char *want, const char *registry, graft_trusted *out, graft_error *err);

/* Is it a whole shared object for this machine and this build of the host? Message "opened: NAME: ..." */
graft_status graft_trust_inspect(graft_trusted *t, graft_error *err);

/* Unmaps and closes; a library that has been opened keeps its descriptor (see door.h): set fd to -1 first. */
void graft_trust_close(graft_trusted *t);

#endif
