/* core/base/file.h - the one I/O seam: every byte that core reads from or writes to a file passes here, so that faults can be injected and errors say the path. */
#ifndef CORE_BASE_FILE_H
#define CORE_BASE_FILE_H

#include "graft/base.h"

/* A file mapped read-only (regular files only; an empty file gives bytes 0). */
typedef struct graft_map { const uint8_t *data; int64_t bytes; } graft_map;
graft_status graft_map_open(graft_map *m, const char *path, graft_error *err);
void         graft_map_close(graft_map *m);
/* A part of a mapping that was read may leave memory; reading it again fetches it from the file. [any] */
void         graft_map_forget(const void *data, int64_t bytes);

/* Whole file into memory of graft_calloc, NUL-terminated; more than max_bytes is an error. */
graft_status graft_file_read(const char *path, int64_t max_bytes, char **data, size_t *bytes, graft_error *err);

/* Streaming writer: create, write, finish (flush + fsync + close, reports the first error) or abandon (closes and unlinks). Two buffers of 2 MiB. */
typedef struct graft_file graft_file;
graft_status graft_file_create(graft_file **f, const char *path, graft_error *err);
graft_status graft_file_write(graft_file *f, const void *data, size_t bytes, graft_error *err);
graft_status graft_file_finish(graft_file *f, graft_error *err);
void         graft_file_abandon(graft_file *f); /* NULL is fine */

/* Writes path.tmp, fsyncs, renames over path, fsyncs the folder: path holds the old or the new content, whole. */
graft_status graft_file_replace(const char *path, const void *data, size_t bytes, graft_error *err);
graft_status graft_file_append(const char *path, const void *data, size_t bytes, graft_error *err); /* one write(2), for logs */

graft_status graft_dir_make(const char *path, graft_error *err);              /* with parents; existing is fine */
graft_status graft_dir_sync(const char *path, graft_error *err);
graft_status graft_dir_list(const char *path, char ***names, size_t *n, graft_error *err); /* sorted, without . and ..; graft_dir_list_free */
void         graft_dir_list_free(char **names, size_t n);
graft_status graft_path_rename(const char *from, const char *to, graft_error *err);
graft_status graft_path_remove(const char *path, graft_error *err);           /* file or whole folder; never follows links; missing is fine */
int          graft_path_exists(const char *path);
graft_status graft_path_stamp(const char *path, int64_t *bytes, int64_t *modified, graft_error *err); /* size, and time of the last change in ns */
int          graft_path_is_dir(const char *path);
graft_status graft_path_link(const char *target, const char *path, graft_error *err); /* path becomes a symbolic link, replacing what is there at once */
/* One process at a time holds the lock of a file, which is made when it is missing; others wait. NULL: the error. */
typedef struct graft_lock graft_lock;
graft_lock  *graft_lock_take(const char *path, graft_error *err);
void         graft_lock_give(graft_lock *l); /* NULL is fine */
char        *graft_path_join(const char *dir, const char *name);              /* graft_free */
const char  *graft_path_base(const char *path);                               /* after the last slash */

/* Tests: let the n-th write/fsync/rename from now fail with this errno (0 = none), also from the environment GRAFT_FAULT="write:N:ENOSPC". */
void graft_file_fault(const char *call, long countdown, int error_number);

#endif
