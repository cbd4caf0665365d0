/* core/plugin/probe.c - see probe.h. Parent and child share one page (note): the child writes down each stage before it enters it, so that after a crash
 * the parent knows where it was. The child is a plain fork: the C library makes memory and the loader usable in it even when the parent has threads,
 * and the time limit ends it should a lock of something else hang. */
#include "core/plugin/probe.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/plugin/door.h"
#include "core/plugin/host.h"
#include "core/plugin/probe_cache.h"
#include "core/plugin/table.h"

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <float.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DEFAULT_LIMIT = 20000 };
static int time_limit = DEFAULT_LIMIT;
void graft_probe_time_limit(int milliseconds) { time_limit = milliseconds > 0 ? milliseconds : DEFAULT_LIMIT; }

typedef enum stage { STAGE_START,
                     STAGE_OPEN,
                     STAGE_QUERY,
                     STAGE_INIT,
                     STAGE_TABLE,
                     STAGE_FINI,
                     STAGE_DONE } stage;
static const char *const stage_names[] = {"start", "open", "query", "init", "table", "fini", "done"};

typedef struct note {
    volatile int stage;
    int failed; /* err holds the sentence */
    graft_error err;
    char kind[64], name[64], version[64];
    int64_t leaked_blocks, leaked_bytes;
    int threads_left;
} note;

typedef struct job {
    const graft_trusted *t;
    graft_kind kind;
    const char *name;
    const graft_json *libraries;
    note *n;
} job;

/* ---- in the child ---- */

static int flushes_to_zero(void)
{
    volatile float tiny = FLT_MIN, half = 0.5f;
    const volatile float product = tiny * half;
    return product == 0.0f;
}

static int thread_count(void)
{
    struct stat st;
    return stat("/proc/self/task", &st) ? 1 : (int)st.st_nlink - 2; /* one folder a thread */
}

static graft_status check_arithmetic(const graft_trusted *t, int rounding, graft_error *err)
{
    if (fegetround() != rounding)
        return graft_fail(err, GRAFT_BAD_INPUT, t->path, "probed: %s: changes the processor's rounding mode, which would change every number of the program. Restore it before init returns.", t->name);
    if (flushes_to_zero())
        return graft_fail(err, GRAFT_BAD_INPUT, t->path, "probed: %s: turns on flush-to-zero, which would change numbers of the whole program. Link it without -ffast-math.", t->name);
    return GRAFT_OK;
}

static graft_status try_libraries(const job *j, graft_error *err)
{
    for (const graft_json *l = j->libraries ? j->libraries->child : NULL; l; l = l->next)
        if (!graft_door_finds(l->text))
            return graft_fail(err, GRAFT_UNSUPPORTED, j->t->path, "probed: %s: needs the library %s, which was not found. Install it, or choose another plugin.", j->t->name, l->text);
    return GRAFT_OK;
}

static void count_leftovers(const graft_lent *lent, note *n)
{
    const struct timespec pause = {0, 1000000};
    n->leaked_blocks = lent->blocks, n->leaked_bytes = lent->bytes;
    for (int i = 0; i < 20 && thread_count() > 1; i++) nanosleep(&pause, NULL); /* a joined thread may be listed a moment longer */
    n->threads_left = thread_count() - 1;
}

static graft_status run_plugin(const job *j, graft_error *err)
{
    const graft_trusted *t = j->t;
    note *n = j->n;
    graft_lent lent;
    graft_door_entry entry;
    void *self = NULL;
    const void *table = NULL;
    const int rounding = fegetround();
    n->stage = STAGE_OPEN;
    graft_status status = try_libraries(j, err);
    if (!status) status = graft_door_open(t, &entry, err);
    if (status) return status;
    n->stage = STAGE_QUERY;
    const graft_plugin *door = entry();
    if (door != entry()) return graft_fail(err, GRAFT_BAD_INPUT, t->path, "queried: %s: graft_plugin_entry gives another pointer at each call, expected one constant door. Define it with GRAFT_PLUGIN.", t->name);
    status = graft_door_check(t->name, t->path, door, j->kind, j->name, err);
    if (status) return status;
    snprintf(n->kind, sizeof n->kind, "%s", door->kind);
    snprintf(n->name, sizeof n->name, "%s", door->name);
    snprintf(n->version, sizeof n->version, "%s", door->version);
    n->stage = STAGE_INIT;
    graft_lent_init(&lent, t->name, 1);
    status = graft_door_init(t->name, t->path, door, &lent.host, &self, err);
    if (!status) status = check_arithmetic(t, rounding, err);
    if (status) return status;
    n->stage = STAGE_TABLE;
    status = graft_table_take(t->name, t->path, graft_kind_of(door->kind), door, self, &table, err);
    if (status) return status;
    n->stage = STAGE_FINI;
    door->fini(self);
    count_leftovers(&lent, n);
    return GRAFT_OK;
}

static void leave_at_once(void) { _exit(0); }

/* Default signals, no core file, no inherited output; ends with the parent. */
static void settle(int out, int err)
{
    static const int reset[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGINT, SIGTERM, SIGPIPE, SIGCHLD, SIGALRM};
    const struct rlimit none = {0, 0};
    sigset_t empty;
    sigemptyset(&empty);
    for (size_t i = 0; i < sizeof reset / sizeof *reset; i++) signal(reset[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, &empty, NULL);
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing >= 0) dup2(nothing, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    __fpurge(stdout); /* what the parent had not flushed yet is the parent's to write */
    __fpurge(stderr);
    atexit(leave_at_once); /* should the plugin call exit: the parent's own handlers must not run here */
}

static void be_child(const job *j, int out, int err)
{
    settle(out, err);
    j->n->err.size = (uint32_t)sizeof j->n->err;
    if (run_plugin(j, &j->n->err)) j->n->failed = 1;
    fflush(stdout);
    fflush(stderr);
    j->n->stage = STAGE_DONE;
    _exit(0);
}

/* ---- in the parent ---- */

/* The signals that only the code itself brings about; NULL for others, such as Ctrl-C or a kill for want of memory. */
static const char *fault_name(int number)
{
    switch (number) {
    case SIGILL: return "illegal instruction";
    case SIGABRT: return "abort";
    case SIGBUS: return "bus error";
    case SIGFPE: return "arithmetic exception";
    case SIGSEGV: return "segmentation fault";
    case SIGTRAP: return "trap";
    case SIGSYS: return "forbidden system call";
    default: return NULL;
    }
}

/* Waits for the child's end of the pipe to close, at most time_limit; 1 when it is over by itself. */
static int wait_for(int pipe_end)
{
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        const int64_t passed = (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000;
        struct pollfd p = {.fd = pipe_end, .events = POLLIN};
        if (passed >= time_limit) return 0;
        const int got = poll(&p, 1, (int)(time_limit - passed));
        if (got > 0 || (got < 0 && errno != EINTR)) return 1;
    }
}

/* How a child that did not finish ended, into r->reason; 0 when it did finish. */
static int ended_badly(int over, int status, const note *n, graft_probe_report *r)
{
    const char *at = stage_names[n->stage >= 0 && n->stage <= STAGE_DONE ? n->stage : STAGE_START];
    if (!over) return snprintf(r->reason, sizeof r->reason, "the probe process did not finish within %g s in stage %s", time_limit / 1000.0, at);
    if (WIFSIGNALED(status)) return snprintf(r->reason, sizeof r->reason, "the probe process died with signal %d (%s) in stage %s", WTERMSIG(status), fault_name(WTERMSIG(status)), at);
    if (n->stage != STAGE_DONE) return snprintf(r->reason, sizeof r->reason, "the plugin ended its process in stage %s", at);
    return 0;
}

/* The first printable bytes of what the child wrote; 0 when it wrote nothing. */
static int written(int fd, char *out, size_t room)
{
    const ssize_t n = pread(fd, out, room - 1, 0);
    out[n > 0 ? n : 0] = 0;
    for (char *c = out; *c; c++)
        if (*c < 32 || *c > 126) *c = ' ';
    return n > 0;
}

static void add_note(graft_probe_report *r, const char *sentence)
{
    if (r->n_notes < 4) snprintf(r->notes[r->n_notes++], sizeof r->notes[0], "%s", sentence);
}

static void collect_notes(const graft_trusted *t, const note *n, int err_fd, graft_probe_report *r)
{
    char text[160], start[64];
    if (t->elf.n_exports > 1) {
        int used = snprintf(text, sizeof text, "exports %d names, expected only graft_plugin_entry: ", t->elf.n_exports), first = 1;
        for (int i = 0; i < t->elf.n_exports && i < GRAFT_ELF_NAMES && used < (int)sizeof text; i++) {
            if (!strcmp(t->elf.exports[i], "graft_plugin_entry")) continue;
            used += snprintf(text + used, sizeof text - (size_t)used, "%s%s", first ? "" : ", ", t->elf.exports[i]);
            first = 0;
        }
        add_note(r, text);
    }
    if (n->leaked_blocks) {
        snprintf(text, sizeof text, "keeps %lld blocks (%lld bytes) of the host's memory after fini", (long long)n->leaked_blocks, (long long)n->leaked_bytes);
        add_note(r, text);
    }
    if (n->threads_left > 0) {
        snprintf(text, sizeof text, "leaves %d threads running after fini", n->threads_left);
        add_note(r, text);
    }
    if (written(err_fd, start, sizeof start)) {
        snprintf(text, sizeof text, "wrote to standard error: \"%s\"", start);
        add_note(r, text);
    }
}

/* named: a registry entry has this name; else the file is what can be retried. */
static graft_status quarantined(const graft_trusted *t, int named, const graft_probe_report *r, graft_error *err)
{
    return graft_fail(err, GRAFT_UNSUPPORTED, t->path, "probed: %s: %s. Quarantined by sha256; 'graft plugin retry %s' tries again.", t->name, r->reason, named ? t->name : t->path);
}

static graft_status judge(const job *j, int over, int status, int out, int err_fd, graft_probe_report *r, graft_error *err)
{
    const graft_trusted *t = j->t;
    const note *n = j->n;
    char start[64];
    snprintf(r->kind, sizeof r->kind, "%s", n->kind);
    snprintf(r->name, sizeof r->name, "%s", n->name);
    snprintf(r->version, sizeof r->version, "%s", n->version);
    snprintf(r->file, sizeof r->file, "%.1023s", t->path);
    if (over && WIFSIGNALED(status) && !fault_name(WTERMSIG(status)))
        return graft_fail(err, GRAFT_CANCELLED, t->path, "probed: %s: the probe process was ended from outside (signal %d). Try again.", t->name, WTERMSIG(status));
    r->quarantined = ended_badly(over, status, n, r) != 0;
    if (r->quarantined) {
        graft_probe_keep(t->sha256, r);
        return quarantined(t, j->name != NULL, r, err);
    }
    if (n->failed) {
        const graft_error said = n->err; /* copied before it is believed: the page was the plugin's to overwrite */
        return graft_fail(err, said.code > 0 && said.code <= GRAFT_INTERNAL ? said.code : GRAFT_INTERNAL, t->path, "%.*s", (int)sizeof said.message - 1, said.message);
    }
    if (written(out, start, sizeof start))
        return graft_fail(err, GRAFT_BAD_INPUT, t->path, "probed: %s: wrote \"%s\" to standard output, which belongs to the program's results. Use host->log.", t->name, start);
    collect_notes(t, n, err_fd, r);
    for (int i = 0; i < r->n_notes; i++) graft_log(GRAFT_LOG_WARNING, "Plugin %s %s.", t->name, r->notes[i]);
    graft_probe_keep(t->sha256, r);
    return GRAFT_OK;
}

static graft_status run_child(const job *j, int out, int err_fd, graft_probe_report *r, graft_error *err)
{
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC)) return graft_fail(err, GRAFT_IO, j->t->path, "probed: %s: the probe could not be started (%s); free resources and try again.", j->t->name, strerror(errno));
    const pid_t child = fork();
    if (child == 0) be_child(j, out, err_fd);
    close(ends[1]);
    if (child < 0) {
        const int why = errno;
        close(ends[0]);
        return graft_fail(err, GRAFT_IO, j->t->path, "probed: %s: the probe could not be started (%s); free resources and try again.", j->t->name, strerror(why));
    }
    const int over = wait_for(ends[0]);
    if (!over) kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    close(ends[0]);
    return judge(j, over, status, out, err_fd, r, err);
}

graft_status graft_probe(const graft_trusted *t, graft_kind kind, const char *name, const graft_json *entry, graft_probe_report *out, graft_error *err)
{
    if (graft_probe_recall(t->sha256, out)) return out->quarantined ? quarantined(t, name != NULL, out, err) : GRAFT_OK;
    memset(out, 0, sizeof *out);
    job j = {t, kind, name, graft_json_get(graft_json_get(entry, "requires"), "library"), NULL};
    void *page = mmap(NULL, sizeof(note), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const int out_fd = memfd_create("probe-output", MFD_CLOEXEC), err_fd = memfd_create("probe-errors", MFD_CLOEXEC);
    graft_status status;
    if (page == MAP_FAILED || out_fd < 0 || err_fd < 0) status = graft_fail(err, GRAFT_IO, t->path, "probed: %s: the probe could not be started (%s); free resources and try again.", t->name, strerror(errno));
    else {
        j.n = page;
        status = run_child(&j, out_fd, err_fd, out, err);
    }
    if (page != MAP_FAILED) munmap(page, sizeof(note));
    if (out_fd >= 0) close(out_fd);
    if (err_fd >= 0) close(err_fd);
    return status;
}
