/* core/base/path.c - the folders and paths of file.h. Removing goes by descriptor, folder by folder, so that a link put in the way is removed and never followed. */
#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static graft_status path_fail(graft_error *err, const char *path, const char *what, int number)
{
    const char *reason = strerrordesc_np(number);
    return graft_fail(err, number == ENOENT || number == ENOTDIR ? GRAFT_BAD_INPUT : GRAFT_IO, path, "cannot %s: %s; check the path and its permissions", what, reason ? reason : "unknown error");
}

static graft_status no_memory(graft_error *err, const char *path) { return graft_fail(err, GRAFT_NO_MEMORY, path, "not enough memory to list this folder"); }

graft_status graft_dir_make(const char *path, graft_error *err)
{
    char part[PATH_MAX];
    const size_t n = strlen(path);
    if (!n || n >= sizeof part) return path_fail(err, path, "make the folder", n ? ENAMETOOLONG : ENOENT);
    memcpy(part, path, n + 1);
    for (char *p = part + 1; p <= part + n; p++) {
        if (*p != '/' && *p) continue;
        const char kept = *p;
        *p = '\0';
        if (mkdir(part, 0777) && errno != EEXIST && !graft_path_is_dir(part)) return path_fail(err, path, "make the folder", errno);
        *p = kept;
    }
    return graft_path_is_dir(path) ? GRAFT_OK : path_fail(err, path, "make the folder", ENOTDIR);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void graft_dir_list_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++) graft_free(names[i]);
    graft_free(names);
}

graft_status graft_dir_list(const char *path, char ***names, size_t *n, graft_error *err)
{
    graft_status status = GRAFT_OK;
    void *list = NULL;
    size_t count = 0, room = 0;
    *names = NULL;
    *n = 0;
    DIR *dir = opendir(path);
    if (!dir) return path_fail(err, path, "list the folder", errno);
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (!e) break;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        const size_t length = strlen(e->d_name) + 1;
        char *name = graft_grow(&list, &room, count + 1, sizeof(char *)) ? NULL : graft_calloc(length, 1);
        if (!name) {
            status = no_memory(err, path);
            goto out;
        }
        memcpy(name, e->d_name, length);
        ((char **)list)[count++] = name;
    }
    if (errno) {
        status = path_fail(err, path, "list the folder", errno);
        goto out;
    }
    if (count) qsort(list, count, sizeof(char *), by_name);
    *names = list;
    *n = count;
    list = NULL, count = 0;
out:
    closedir(dir);
    graft_dir_list_free(list, count);
    return status;
}

enum { DEEPEST = 200 }; /* each level holds a descriptor open */

/* Removes everything inside the folder of fd, and closes fd. 0, or an errno. */
static int empty_dir(int fd, int depth)
{
    int number = depth > DEEPEST ? ELOOP : 0;
    DIR *dir = number ? NULL : fdopendir(fd);
    if (!dir) {
        number = number ? number : errno;
        close(fd);
        return number;
    }
    for (const struct dirent *e; !number && (errno = 0, e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        const int inner = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner >= 0) {
            number = empty_dir(inner, depth + 1);
            if (!number && unlinkat(fd, e->d_name, AT_REMOVEDIR)) number = errno;
        } else if (errno == ENOTDIR || errno == ELOOP) {
            if (unlinkat(fd, e->d_name, 0) && errno != ENOENT) number = errno;
        } else {
            number = errno;
        }
    }
    closedir(dir);
    return number;
}

graft_status graft_path_remove(const char *path, graft_error *err)
{
    struct stat st;
    if (lstat(path, &st)) return errno == ENOENT ? GRAFT_OK : path_fail(err, path, "remove it", errno);
    if (!S_ISDIR(st.st_mode)) return unlink(path) && errno != ENOENT ? path_fail(err, path, "remove the file", errno) : GRAFT_OK;
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return path_fail(err, path, "remove the folder", errno);
    const int number = empty_dir(fd, 0);
    if (number) return path_fail(err, path, "remove the folder", number);
    return rmdir(path) ? path_fail(err, path, "remove the folder", errno) : GRAFT_OK;
}

int graft_path_exists(const char *path)
{
    struct stat st;
    return !stat(path, &st);
}

graft_status graft_path_stamp(const char *path, int64_t *bytes, int64_t *modified, graft_error *err)
{
    struct stat st;
    if (stat(path, &st)) return path_fail(err, path, "look at the file", errno);
    *bytes = st.st_size, *modified = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return GRAFT_OK;
}

int graft_path_is_dir(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

char *graft_path_join(const char *dir, const char *name)
{
    const size_t n = strlen(dir), m = strlen(name);
    const int slash = n && m && dir[n - 1] != '/';
    char *path = graft_calloc(n + m + 2, 1);
    if (!path) return NULL;
    memcpy(path, dir, n);
    if (slash) path[n] = '/';
    memcpy(path + n + (size_t)slash, name, m);
    return path;
}

const char *graft_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

graft_status graft_path_link(const char *target, const char *path, graft_error *err)
{
    char new[PATH_MAX];
    if (snprintf(new, sizeof new, "%s.link", path) >= (int)sizeof new) return path_fail(err, path, "make the link", ENAMETOOLONG);
    if (unlink(new) && errno != ENOENT) return path_fail(err, path, "make the link", errno);
    if (symlink(target, new)) return path_fail(err, path, "make the link", errno);
    return graft_path_rename(new, path, err);
}

struct graft_lock {
    int fd;
};

graft_lock *graft_lock_take(const char *path, graft_error *err)
{
    graft_lock *l = graft_calloc(1, sizeof *l);
    if (!l) return no_memory(err, path), NULL;
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    while (l->fd >= 0 && flock(l->fd, LOCK_EX))
        if (errno != EINTR) {
            close(l->fd);
            l->fd = -1;
        }
    if (l->fd >= 0) return l;
    path_fail(err, path, "lock the file", errno);
    graft_free(l);
    return NULL;
}

void graft_lock_give(graft_lock *l)
{
    if (l) close(l->fd);
    graft_free(l);
}
