/* core/base/file.c - see file.h. Every call of the system that touches a file is here, behind three gates (write, fsync, rename) where tests let faults in. */
#include "core/base/file.h"

#include "core/base/arena.h"
#include "core/base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- faults ------------------------------------------------------------------------------------------------------------------------------ */

enum { WRITE,
       FSYNC,
       RENAME,
       CALLS };
static const char *const call_names[CALLS] = {"write", "fsync", "rename"};
static struct {
    long countdown;
    int error_number;
} faults[CALLS];
static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t environment_once = PTHREAD_ONCE_INIT;

static void set_fault(const char *call, size_t length, long countdown, int error_number)
{
    for (int i = 0; i < CALLS; i++)
        if (strlen(call_names[i]) == length && !memcmp(call_names[i], call, length)) {
            faults[i].countdown = countdown;
            faults[i].error_number = error_number;
        }
}

/* GRAFT_FAULT=call:count:errno, the errno by name or number. */
static void read_environment(void)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EDQUOT", EDQUOT}, {"EROFS", EROFS}, {"EACCES", EACCES}, {"EFBIG", EFBIG}};
    const char *text = getenv("GRAFT_FAULT"), *colon = text ? strchr(text, ':') : NULL;
    if (!colon) return;
    char *rest;
    const long countdown = strtol(colon + 1, &rest, 10);
    if (*rest != ':') return;
    int number = atoi(rest + 1);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(rest + 1, known[i].name)) number = known[i].number;
    set_fault(text, (size_t)(colon - text), countdown, number);
}

void graft_file_fault(const char *call, long countdown, int error_number)
{
    pthread_once(&environment_once, read_environment);
    pthread_mutex_lock(&fault_lock);
    set_fault(call, strlen(call), error_number ? countdown : 0, error_number);
    pthread_mutex_unlock(&fault_lock);
}

/* 0, or -1 with errno set when the test wants this call to fail. */
static int gate(int call)
{
    int error_number = 0;
    pthread_once(&environment_once, read_environment);
    pthread_mutex_lock(&fault_lock);
    if (faults[call].countdown > 0 && --faults[call].countdown == 0) error_number = faults[call].error_number;
    pthread_mutex_unlock(&fault_lock);
    if (!error_number) return 0;
    errno = error_number;
    return -1;
}

static int sync_fd(int fd)
{
    if (gate(FSYNC)) return -1;
    return fsync(fd);
}

static int write_all(int fd, const char *data, size_t bytes)
{
    if (gate(WRITE)) return -1;
    while (bytes) {
        const ssize_t n = write(fd, data, bytes < (size_t)1 << 30 ? bytes : (size_t)1 << 30);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        data += n;
        bytes -= (size_t)n;
    }
    return 0;
}

static int rename_path(const char *from, const char *to)
{
    if (gate(RENAME)) return -1;
    return rename(from, to);
}

/* ---- errors ------------------------------------------------------------------------------------------------------------------------------ */

/* "cannot <verb> the file: <reason>; <remedy>" of the errno. */
static graft_status io_fail(graft_error *err, const char *path, const char *what, int number)
{
    const char *remedy = number == ENOENT                                         ? "check the path"
                         : number == EACCES || number == EPERM || number == EROFS ? "check its owner and permissions"
                         : number == ENOSPC || number == EDQUOT                   ? "free some space or choose another disk"
                         : number == EISDIR || number == ENOTDIR                  ? "check which part of the path is a folder"
                         : number == EIO                                          ? "check the disk"
                                                                                  : "check the path and the disk";
    const graft_status code = number == ENOENT || number == EISDIR || number == ENOTDIR ? GRAFT_BAD_INPUT : GRAFT_IO;
    const char *reason = strerrordesc_np(number);
    return graft_fail(err, code, path, "cannot %s: %s; %s", what, reason ? reason : "unknown error", remedy);
}

static graft_status no_memory(graft_error *err, const char *path) { return graft_fail(err, GRAFT_NO_MEMORY, path, "not enough memory for this file"); }

/* ---- reading ----------------------------------------------------------------------------------------------------------------------------- */

graft_status graft_map_open(graft_map *m, const char *path, graft_error *err)
{
    struct stat st;
    graft_status status = GRAFT_OK;
    *m = (graft_map){0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not stop us before we see that it is one */
    if (fd < 0) return io_fail(err, path, "open the file", errno);
    if (fstat(fd, &st)) {
        status = io_fail(err, path, "open the file", errno);
    } else if (!S_ISREG(st.st_mode)) {
        status = graft_fail(err, GRAFT_BAD_INPUT, path, "expected a regular file, found %s; give the path of a file", S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            status = io_fail(err, path, "map the file into memory", errno);
        } else {
            m->data = p;
            m->bytes = st.st_size;
        }
    }
    close(fd);
    return status;
}

void graft_map_close(graft_map *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, (size_t)m->bytes);
    *m = (graft_map){0};
}

void graft_map_forget(const void *data, int64_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)data + page - 1) / page * page, to = ((uintptr_t)data + (uintptr_t)bytes) / page * page;
    if (to > from) (void)madvise((void *)from, to - from, MADV_DONTNEED); /* whole pages only; a refusal costs memory, nothing else */
}

graft_status graft_file_read(const char *path, int64_t max_bytes, char **data, size_t *bytes, graft_error *err)
{
    graft_status status = GRAFT_OK;
    char *buffer = NULL;
    size_t room = 0, used = 0;
    struct stat st;
    *data = NULL;
    *bytes = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_fail(err, path, "open the file", errno);
    size_t guess = 4096;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= max_bytes) guess = (size_t)st.st_size + 1;
    for (;;) {
        if (used + 1 >= room) {
            void *block = buffer;
            if (graft_grow(&block, &room, room ? room * 2 : guess + 1, 1)) {
                status = no_memory(err, path);
                goto out;
            }
            buffer = block;
        }
        const ssize_t n = read(fd, buffer + used, room - used - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            status = io_fail(err, path, "read the file", errno);
            goto out;
        }
        if (n == 0) break;
        used += (size_t)n;
        if ((int64_t)used > max_bytes) {
            status = graft_fail(err, GRAFT_BAD_INPUT, path, "expected at most %lld bytes, found more; is this the right file?", (long long)max_bytes);
            goto out;
        }
    }
    buffer[used] = '\0';
    *data = buffer;
    *bytes = used;
    buffer = NULL;
out:
    graft_free(buffer);
    close(fd);
    return status;
}

/* ---- writing -----------------------------------------------------------------------------------------------------------------------------
 *
 *   graft_file_write --copy--> buffer 0 | buffer 1 --thread--> file        while one is filled, the other is written
 *
 * A file that outgrows a buffer is written past the page cache (O_DIRECT) where the file system can: the cache would hold a second copy of it and hand it to the
 * disk late, in small pieces. Direct writes need addresses, offsets and lengths in whole blocks: all buffers but the last are full, and the end of the last one,
 * after its whole blocks, is written the usual way. */
enum { BUFFER = 2 << 20,
       BLOCK = 4096 };

struct graft_file {
    char *path, *memory[2], *buffer[2]; /* buffer: memory from its first whole block on */
    size_t used;                        /* of the buffer that is being filled */
    int fd, error_number;               /* of the first failure */
    int filling, direct, large;         /* large: it outgrew a buffer */
    /* The thread: there is one from the first full buffer on. */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int threaded, pending, ending; /* pending: the buffer that is not being filled waits or is being written */
};

static void file_free(graft_file *f)
{
    graft_free(f->path);
    for (int i = 0; i < 2; i++) graft_free(f->memory[i]);
    graft_free(f);
}

static int take_buffer(graft_file *f, int i)
{
    f->memory[i] = graft_calloc(BUFFER + BLOCK, 1);
    f->buffer[i] = (char *)(((uintptr_t)f->memory[i] + BLOCK - 1) / BLOCK * BLOCK);
    return f->memory[i] ? 0 : -1;
}

graft_status graft_file_create(graft_file **out, const char *path, graft_error *err)
{
    *out = NULL;
    graft_file *f = graft_calloc(1, sizeof *f);
    if (!f) return no_memory(err, path);
    f->path = graft_calloc(strlen(path) + 1, 1);
    if (!f->path || take_buffer(f, 0)) {
        file_free(f);
        return no_memory(err, path);
    }
    memcpy(f->path, path, strlen(path));
    f->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (f->fd < 0) {
        const int number = errno;
        file_free(f);
        return io_fail(err, path, "create the file", number);
    }
    *out = f;
    return GRAFT_OK;
}

static int set_direct(graft_file *f, int on)
{
    const int flags = fcntl(f->fd, F_GETFL);
    if (flags < 0 || fcntl(f->fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT)) return -1;
    f->direct = on;
    return 0;
}

/* Whole blocks of a buffer; a file system that took O_DIRECT and refuses it now gets them the usual way. */
static int write_blocks(graft_file *f, const char *data, size_t bytes)
{
    const off_t at = f->direct ? lseek(f->fd, 0, SEEK_CUR) : 0;
    if (!write_all(f->fd, data, bytes)) return 0;
    if (!f->direct || errno != EINVAL || set_direct(f, 0) || lseek(f->fd, at, SEEK_SET) != at) return errno;
    return write_all(f->fd, data, bytes) ? errno : 0;
}

static void *write_beside(void *p)
{
    graft_file *f = p;
    pthread_mutex_lock(&f->lock);
    for (;;) {
        while (!f->pending && !f->ending) pthread_cond_wait(&f->changed, &f->lock);
        if (!f->pending) break;
        const char *data = f->buffer[!f->filling];
        const int skip = f->error_number;
        pthread_mutex_unlock(&f->lock);
        const int number = skip ? 0 : write_blocks(f, data, BUFFER);
        pthread_mutex_lock(&f->lock);
        if (number) f->error_number = number;
        f->pending = 0;
        pthread_cond_broadcast(&f->changed);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* Signals are for the threads that were there before. */
static void start_thread(graft_file *f)
{
    sigset_t all, before;
    if (take_buffer(f, 1) || pthread_mutex_init(&f->lock, NULL)) return;
    if (pthread_cond_init(&f->changed, NULL)) {
        pthread_mutex_destroy(&f->lock);
        return;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    f->threaded = !pthread_create(&f->thread, NULL, write_beside, f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (f->threaded) return;
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
}

/* The thread is done with everything that it was given, and gone. */
static void end_thread(graft_file *f)
{
    if (!f->threaded) return;
    pthread_mutex_lock(&f->lock);
    f->ending = 1;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    f->threaded = 0;
}

/* The full buffer goes to the thread, or where there is none to the file. */
static void hand_over(graft_file *f)
{
    f->used = 0;
    if (!f->large) {
        f->large = 1;
        (void)set_direct(f, 1);
        start_thread(f);
    }
    if (!f->threaded) {
        if (!f->error_number) f->error_number = write_blocks(f, f->buffer[f->filling], BUFFER);
        return;
    }
    pthread_mutex_lock(&f->lock);
    while (f->pending) pthread_cond_wait(&f->changed, &f->lock);
    f->filling = !f->filling;
    f->pending = 1;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static int failure(graft_file *f)
{
    if (!f->threaded) return f->error_number;
    pthread_mutex_lock(&f->lock);
    const int number = f->error_number;
    pthread_mutex_unlock(&f->lock);
    return number;
}

graft_status graft_file_write(graft_file *f, const void *data, size_t bytes, graft_error *err)
{
    const char *from = data;
    while (bytes) {
        const size_t some = bytes < BUFFER - f->used ? bytes : BUFFER - f->used;
        memcpy(f->buffer[f->filling] + f->used, from, some);
        f->used += some, from += some, bytes -= some;
        if (f->used == BUFFER) hand_over(f);
    }
    const int number = failure(f);
    return number ? io_fail(err, f->path, "write the file", number) : GRAFT_OK;
}

/* What is left in the buffer: whole blocks as before, the rest without O_DIRECT. */
static void flush(graft_file *f)
{
    const size_t whole = f->direct ? f->used / BLOCK * BLOCK : 0;
    const char *rest = f->buffer[f->filling];
    if (!f->error_number && whole) f->error_number = write_blocks(f, rest, whole);
    if (!f->error_number && f->direct && set_direct(f, 0)) f->error_number = errno;
    if (!f->error_number && f->used > whole && write_all(f->fd, rest + whole, f->used - whole)) f->error_number = errno;
}

graft_status graft_file_finish(graft_file *f, graft_error *err)
{
    graft_status status = GRAFT_OK;
    end_thread(f);
    flush(f);
    if (!f->error_number && sync_fd(f->fd)) f->error_number = errno;
    if (close(f->fd) && !f->error_number) f->error_number = errno;
    if (f->error_number) {
        status = io_fail(err, f->path, "write the file", f->error_number);
        unlink(f->path); /* half a file is worse than none */
    }
    file_free(f);
    return status;
}

void graft_file_abandon(graft_file *f)
{
    if (!f) return;
    end_thread(f);
    close(f->fd);
    unlink(f->path);
    file_free(f);
}

graft_status graft_file_replace(const char *path, const void *data, size_t bytes, graft_error *err)
{
    char temporary[PATH_MAX], folder[PATH_MAX];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.tmp", path) >= sizeof temporary) return io_fail(err, path, "write the file", ENAMETOOLONG);
    graft_file *f;
    graft_status status = graft_file_create(&f, temporary, err);
    if (status) return status;
    if ((status = graft_file_write(f, data, bytes, err))) {
        graft_file_abandon(f);
        return status;
    }
    if ((status = graft_file_finish(f, err))) return status;
    if (rename_path(temporary, path)) {
        const int number = errno;
        unlink(temporary);
        return io_fail(err, path, "put the new file in the place of the old one", number);
    }
    const size_t length = (size_t)(graft_path_base(path) - path);
    snprintf(folder, sizeof folder, "%.*s", (int)length, path);
    return graft_dir_sync(length ? folder : ".", err);
}

graft_status graft_file_append(const char *path, const void *data, size_t bytes, graft_error *err)
{
    graft_status status = GRAFT_OK;
    const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) return io_fail(err, path, "open the file", errno);
    if (write_all(fd, data, bytes)) status = io_fail(err, path, "write the file", errno);
    if (close(fd) && !status) status = io_fail(err, path, "write the file", errno);
    return status;
}

/* ---- what must be durable ---------------------------------------------------------------------------------------------------------------- */

graft_status graft_dir_sync(const char *path, graft_error *err)
{
    graft_status status = GRAFT_OK;
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return io_fail(err, path, "open the folder", errno);
    /* Some file systems cannot sync a folder and say EINVAL; there is nothing more to be done on those. */
    if (sync_fd(fd) && errno != EINVAL) status = io_fail(err, path, "sync the folder", errno);
    close(fd);
    return status;
}

graft_status graft_path_rename(const char *from, const char *to, graft_error *err)
{
    char what[512];
    if (!rename_path(from, to)) return GRAFT_OK;
    snprintf(what, sizeof what, "rename it to %.400s", to);
    return io_fail(err, from, what, errno);
}
