/* core/plugin/trust.c - see trust.h. */
#include "core/plugin/trust.h"

#include "core/base/error.h"
#include "core/base/sha256.h"
#include "graft/plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int private_group(const struct stat *st) { return st->st_uid != 0 && st->st_uid == geteuid() && st->st_gid == st->st_uid; }

static int ours(const struct stat *st) { return st->st_uid == geteuid() || st->st_uid == 0; }

/* Nobody but the owner may write to this file or folder. */
static graft_status check_mode(const graft_trusted *t, const char *what, const struct stat *st, graft_error *err)
{
    const unsigned mode = st->st_mode & 07777u;
    if (S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX)) return GRAFT_OK;
    if (st->st_mode & S_IWOTH)
        return graft_fail(err, GRAFT_BAD_INPUT, t->path, "trusted: %s: %s is writable by everyone (mode %04o), so any user could replace the plugin. chmod o-w %s.", t->name, what, mode, what);
    if ((st->st_mode & S_IWGRP) && !private_group(st))
        return graft_fail(err, GRAFT_BAD_INPUT, t->path, "trusted: %s: %s is writable by its group (mode %04o), so any member could replace the plugin. chmod g-w %s.", t->name, what, mode, what);
    return GRAFT_OK;
}

/* Is this folder also above the program? */
static int above_program(const char *folder)
{
    char self[4096];
    const ssize_t bytes = readlink("/proc/self/exe", self, sizeof self - 1);
    if (bytes <= 0) return 0;
    self[bytes] = 0;
    const size_t n = strlen(folder);
    return !strncmp(self, folder, n) && (self[n] == '/' || n == 1);
}

static graft_status check_folder(const graft_trusted *t, const char *folder, graft_error *err)
{
    struct stat st;
    if (stat(folder, &st)) return graft_fail(err, GRAFT_IO, t->path, "trusted: %s: %s cannot be examined (%s); make it readable.", t->name, folder, strerror(errno));
    if (!ours(&st) && !above_program(folder))
        return graft_fail(err, GRAFT_BAD_INPUT, t->path, "trusted: %s: %s belongs to user %u, who could replace the plugin; expected you or root. chown it, or install the plugin elsewhere.", t->name, folder, (unsigned)st.st_uid);
    return check_mode(t, folder, &st, err);
}

/* Every folder above an absolute path, the innermost first. */
static graft_status check_folders(const graft_trusted *t, const char *path, graft_error *err)
{
    char folder[4096];
    const size_t bytes = strlen(path);
    if (bytes >= sizeof folder) return graft_fail(err, GRAFT_BAD_INPUT, t->path, "trusted: %s: its path is longer than %zu bytes; move it.", t->name, sizeof folder - 1);
    memcpy(folder, path, bytes + 1);
    for (;;) {
        char *slash = strrchr(folder, '/');
        if (!slash) return GRAFT_OK;
        slash[slash == folder] = 0;
        const graft_status status = check_folder(t, folder, err);
        if (status || slash == folder) return status;
    }
}

static graft_status check_file(const graft_trusted *t, const struct stat *st, graft_error *err)
{
    if (!S_ISREG(st->st_mode))
        return graft_fail(err, GRAFT_BAD_INPUT, t->path, "trusted: %s: %s is %s, expected a regular file. Name the .so itself.", t->name, t->path, S_ISDIR(st->st_mode) ? "a folder" : "no regular file");
    if (!ours(st))
        return graft_fail(err, GRAFT_BAD_INPUT, t->path, "trusted: %s: %s belongs to user %u, expected you or root. Copy it, or chown it.", t->name, t->path, (unsigned)st->st_uid);
    return check_mode(t, t->path, st, err);
}

static graft_status open_failed(const graft_trusted *t, const char *registry, graft_error *err)
{
    const int why = errno;
    char target[1024];
    if (why == ELOOP) {
        const ssize_t n = readlink(t->path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = 0;
        return graft_fail(err, GRAFT_BAD_INPUT, t->path, "trusted: %s: %s is a symbolic link (to %s), and what a link names can change. Register the file itself.", t->name, t->path, target);
    }
    if (why == ENOENT || why == ENOTDIR)
        return graft_fail(err, GRAFT_BAD_INPUT, t->path, "found: %s: there is no file %s. Build or install the plugin, or correct \"file_name\" in %s.", t->name, t->path, registry ? registry : "the registry");
    return graft_fail(err, GRAFT_IO, t->path, "found: %s: %s cannot be opened (%s). Make it readable.", t->name, t->path, strerror(why));
}

static graft_status check_hash(graft_trusted *t, const char *want, const char *registry, graft_error *err)
{
    graft_sha256 sum;
    graft_sha256_init(&sum);
    if (t->bytes) graft_sha256_add(&sum, t->data, (size_t)t->bytes);
    graft_sha256_hex(&sum, t->sha256);
    if (!want || !strcasecmp(want, t->sha256)) return GRAFT_OK;
    return graft_fail(err, GRAFT_BAD_INPUT, t->path, "trusted: %s: sha256 is %.12s..., %s expects %.12s.... The file changed since it was registered; if you rebuilt it, run 'graft plugin add %s'.",
                      t->name, t->sha256, registry ? registry : "the registry", want, t->path);
}

graft_status graft_trust_open(const char *name, const char *path, const char *want, const char *registry, graft_trusted *out, graft_error *err)
{
    struct stat st;
    char link[64], real[4096];
    memset(out, 0, sizeof *out);
    out->fd = -1;
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(out->path, sizeof out->path, "%s", path);
    if (path[0] != '/' || strlen(path) >= sizeof out->path) return graft_fail(err, GRAFT_BAD_INPUT, path, "trusted: %s: the path of a plugin must be absolute and shorter than %zu bytes.", name, sizeof out->path);
    out->fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (out->fd < 0) return open_failed(out, registry, err);
    graft_status status = GRAFT_OK;
    if (fstat(out->fd, &st)) status = graft_fail(err, GRAFT_IO, path, "trusted: %s: %s cannot be examined (%s).", name, path, strerror(errno));
    if (!status) status = check_file(out, &st, err);
    snprintf(link, sizeof link, "/proc/self/fd/%d", out->fd);
    const ssize_t n = readlink(link, real, sizeof real - 1);
    if (!status && n <= 0) status = graft_fail(err, GRAFT_IO, path, "trusted: %s: /proc is not mounted, so the opened file cannot be checked. Mount it.", name);
    if (!status) {
        real[n] = 0;
        status = check_folders(out, path, err);
        if (!status) status = check_folders(out, real, err);
    }
    if (!status && st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, out->fd, 0);
        if (data == MAP_FAILED) status = graft_fail(err, GRAFT_IO, path, "trusted: %s: %s cannot be read (%s).", name, path, strerror(errno));
        else out->data = data, out->bytes = (int64_t)st.st_size;
    }
    if (!status) status = check_hash(out, want, registry, err);
    if (status) graft_trust_close(out);
    return status;
}

static graft_status sanitizer_differs(const graft_trusted *t, const char *what, int theirs, graft_error *err)
{
    return graft_fail(err, GRAFT_BAD_INPUT, t->path, "opened: %s: built %s %s, this host %s it. Rebuild one of them.", t->name, theirs ? "with" : "without", what, theirs ? "lacks" : "has");
}

static graft_status no_entry(const graft_trusted *t, graft_error *err)
{
    char names[200] = "nothing";
    int used = 0;
    for (int i = 0; i < t->elf.n_exports && i < 3 && used < (int)sizeof names; i++) used += snprintf(names + used, sizeof names - (size_t)used, "%s%s", i ? ", " : "", t->elf.exports[i]);
    return graft_fail(err, GRAFT_BAD_INPUT, t->path, "queried: %s: has no symbol graft_plugin_entry, so it is no graft plugin (it exports %s%s). Define it with GRAFT_PLUGIN.", t->name, names,
                      t->elf.n_exports > 3 ? ", ..." : "");
}

graft_status graft_trust_inspect(graft_trusted *t, graft_error *err)
{
    graft_error why = GRAFT_ERROR_INIT;
    if (graft_elf_read(t->data, t->bytes, &t->elf, &why)) return graft_fail(err, GRAFT_BAD_INPUT, t->path, "opened: %s: the file %s.", t->name, why.message);
    if (t->elf.symbols_read && !t->elf.has_entry) return no_entry(t, err);
    const int asan = (GRAFT_BUILD_FLAGS & GRAFT_BUILD_ASAN) != 0, tsan = (GRAFT_BUILD_FLAGS & GRAFT_BUILD_TSAN) != 0;
    if (t->elf.asan != asan) return sanitizer_differs(t, "AddressSanitizer", t->elf.asan, err);
    if (t->elf.tsan != tsan) return sanitizer_differs(t, "ThreadSanitizer", t->elf.tsan, err);
    return GRAFT_OK;
}

void graft_trust_close(graft_trusted *t)
{
    if (t->data) munmap((void *)(uintptr_t)t->data, (size_t)t->bytes);
    if (t->fd >= 0) close(t->fd);
    t->data = NULL, t->bytes = 0, t->fd = -1;
}
