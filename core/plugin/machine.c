/* core/plugin/machine.c - see machine.h. */
#include "core/plugin/machine.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/threads.h"
#include "core/plugin/entry.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The first bytes of a file of /proc or /sys, whose size the system does not tell beforehand. */
static size_t read_head(const char *path, char *out, size_t room)
{
    size_t used = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    out[0] = 0;
    if (fd < 0) return 0;
    while (used + 1 < room) {
        const ssize_t got = read(fd, out + used, room - 1 - used);
        if (got <= 0) break;
        used += (size_t)got;
    }
    close(fd);
    out[used] = 0;
    return used;
}

/* The value of the first line "KEY<blanks>: VALUE"; 0 when there is none. */
static int field(const char *text, const char *key, char *out, size_t room)
{
    const size_t n = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, key, n)) continue;
        const char *colon = line + n + strspn(line + n, " \t");
        if (*colon != ':') continue;
        const char *value = colon + 1 + strspn(colon + 1, " \t");
        const size_t bytes = strcspn(value, "\n");
        snprintf(out, room, "%.*s", (int)(bytes < room ? bytes : room - 1), value);
        return 1;
    }
    return 0;
}

static int64_t kibibytes(const char *text, const char *key)
{
    char value[64];
    return field(text, key, value, sizeof value) ? (int64_t)strtoll(value, NULL, 10) * 1024 : 0;
}

void graft_machine_read(graft_machine *m)
{
    char text[16384];
    struct utsname name;
    memset(m, 0, sizeof *m);
    read_head("/proc/cpuinfo", text, sizeof text);
    if (!field(text, "model name", m->model, sizeof m->model) && !uname(&name)) snprintf(m->model, sizeof m->model, "%s", name.machine);
    if (!field(text, "flags", m->features, sizeof m->features)) field(text, "Features", m->features, sizeof m->features);
    read_head("/proc/meminfo", text, sizeof text);
    m->memory_total = kibibytes(text, "MemTotal");
    m->memory_free = kibibytes(text, "MemAvailable");
    read_head("/sys/kernel/mm/transparent_hugepage/enabled", m->huge_pages, sizeof m->huge_pages);
    m->huge_pages[strcspn(m->huge_pages, "\n")] = 0;
    m->processors = graft_cpu_count();
}

int graft_machine_has(const graft_machine *m, const char *feature)
{
    const size_t n = strlen(feature);
    for (const char *at = m->features; n && (at = strstr(at, feature)); at += n)
        if ((at == m->features || at[-1] == ' ') && (at[n] == ' ' || !at[n])) return 1;
    return 0;
}

graft_status graft_machine_meets(const graft_entry *e, const char *path, graft_error *err)
{
    const graft_json *needs = graft_json_get(e->json, "requires"), *features = graft_json_get(needs, "processor"), *memory = graft_json_get(needs, "memory");
    if (!features && !memory) return GRAFT_OK;
    graft_machine m;
    graft_machine_read(&m);
    for (const graft_json *f = features ? features->child : NULL; f; f = f->next)
        if (!graft_machine_has(&m, f->text))
            return graft_fail(err, GRAFT_UNSUPPORTED, path, "probed: %s: needs the processor feature \"%s\", which this machine lacks. Choose another plugin.", e->name, f->text);
    const double gib = 1073741824.0, wanted = memory ? (double)graft_entry_bytes(memory) : 0;
    if (wanted > (double)m.memory_total)
        return graft_fail(err, GRAFT_UNSUPPORTED, path, "probed: %s: needs %.1f GiB of memory, this machine has %.1f. Choose another plugin.", e->name, wanted / gib, (double)m.memory_total / gib);
    return GRAFT_OK;
}
