/* core/data/unpack.h - gzip and zstd files as a stream of what is packed in them. */
#ifndef CORE_DATA_UNPACK_H
#define CORE_DATA_UNPACK_H

#include "core/base/file.h"

typedef struct graft_unpack graft_unpack;

/* By the file's first bytes: is it gzip or zstd? */
int graft_unpack_is(const graft_map *m);
/* Reads m, which must stay open. path: for errors. */
graft_status graft_unpack_open(const graft_map *m, const char *path, graft_unpack **out, graft_error *err);
/* Up to `room` bytes; *got 0: the end. Damage, and an end before the packed data's, is an error. Several files packed one behind the other are one. */
graft_status graft_unpack_read(graft_unpack *u, void *to, size_t room, size_t *got, graft_error *err);
void graft_unpack_close(graft_unpack *u);

#endif
