/* core/plugin/door.c - see door.h. */
#include "core/plugin/door.h"

#include "core/base/error.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define ENTRY "graft_plugin_entry"

int graft_door_finds(const char *library)
{
    return dlopen(library, RTLD_LAZY | RTLD_LOCAL) != NULL;
}

/* "a", "a and b", "a, b and c" appended to out. */
static void enlist(char *out, size_t room, const char *name, int at, int n)
{
    const size_t used = strlen(out);
    snprintf(out + used, room - used, "%s%s", at == 0 ? "" : at == n - 1 ? " and "
                                                                         : ", ",
             name);
}

/* The sentence for what the loader said; its own words are kept, without the descriptor's name. */
static graft_status open_failed(const graft_trusted *t, const char *said, const char *link, graft_error *err)
{
    char words[400], missing[300] = "";
    const char *missed[GRAFT_ELF_NAMES];
    int n = 0;
    const size_t prefix = strlen(link);
    snprintf(words, sizeof words, "%s", strncmp(said, link, prefix) ? said : said + prefix + strspn(said + prefix, ": "));
    const char *symbol = strstr(words, "undefined symbol: ");
    if (symbol) {
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(symbol + 18, " ,("), symbol + 18);
        return graft_fail(err, GRAFT_BAD_INPUT, t->path, "opened: %s: uses %s, which neither it nor a library it names defines. Link it with -Wl,-z,defs to find such names. (%s)", t->name, name, words);
    }
    for (int i = 0; i < t->elf.n_needed; i++) {
        const size_t bytes = strlen(t->elf.needed[i]);
        const int named = !strncmp(words, t->elf.needed[i], bytes) && words[bytes] == ':';
        if (named || (!t->elf.has_runpath && !graft_door_finds(t->elf.needed[i]))) missed[n++] = t->elf.needed[i];
    }
    for (int i = 0; i < n; i++) enlist(missing, sizeof missing, missed[i], i, n);
    if (n)
        return graft_fail(err, GRAFT_UNSUPPORTED, t->path, "opened: %s: %s %s needed and %s not found. Install %s, or choose another plugin. (%s)", t->name, missing, n > 1 ? "are" : "is",
                          n > 1 ? "were" : "was", n > 1 ? "them" : "it", words);
    return graft_fail(err, GRAFT_BAD_INPUT, t->path, "opened: %s: the system cannot open it. Build it again, or install what it needs. (%s)", t->name, words);
}

graft_status graft_door_open(const graft_trusted *t, graft_door_entry *entry, graft_error *err)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", t->fd);
    void *library = dlopen(link, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) {
        const char *said = dlerror();
        return open_failed(t, said ? said : "the loader gave no reason", link, err);
    }
    void *symbol = dlsym(library, ENTRY);
    if (!symbol) return graft_fail(err, GRAFT_BAD_INPUT, t->path, "queried: %s: has no symbol " ENTRY ", so it is no graft plugin. Define it with GRAFT_PLUGIN.", t->name);
    memcpy(entry, &symbol, sizeof *entry);
    return GRAFT_OK;
}

/* MAJOR.MINOR.PATCH of digits, then perhaps -pre or +build. */
static int is_version(const char *v)
{
    for (int part = 0; part < 3; part++) {
        const size_t digits = strspn(v, "0123456789");
        if (!digits || digits > 9) return 0;
        v += digits;
        if (part < 2 && *v++ != '.') return 0;
    }
    return !*v || ((*v == '-' || *v == '+') && v[1]);
}

static int is_word(const char *text) { return text && strnlen(text, 64) < 64 && *text; }

static const char *sanitizers(uint32_t flags)
{
    if (flags & GRAFT_BUILD_ASAN) return "AddressSanitizer";
    return flags & GRAFT_BUILD_TSAN ? "ThreadSanitizer" : "no sanitizer";
}

static graft_status check_identity(const char *label, const char *path, const graft_plugin *door, graft_kind kind, const char *name, graft_error *err)
{
    if (!is_word(door->kind) || !is_word(door->name) || !is_word(door->version))
        return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: its kind, name or version is missing or longer than 63 bytes. Use GRAFT_PLUGIN to fill the door.", label);
    const graft_kind own = graft_kind_of(door->kind);
    if (own == GRAFT_KINDS || own == GRAFT_KIND_DATASET)
        return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: its kind is \"%s\"; this host knows model, method, format, backend and comm. Correct the kind, or update graft.", label, door->kind);
    if (kind != GRAFT_KINDS && own != kind)
        return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: the registry says kind \"%s\", the library says \"%s\". Move the entry to section \"%s\".", label, graft_kind_name(kind), door->kind, graft_kind_section(own));
    if (name && strcmp(name, door->name))
        return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: the registry says name \"%s\", the library says \"%s\". Rename the entry.", label, name, door->name);
    if (!is_version(door->version))
        return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: its version is \"%s\", expected a semantic version such as 1.0.0. Correct it.", label, door->version);
    return GRAFT_OK;
}

graft_status graft_door_check(const char *label, const char *path, const graft_plugin *door, graft_kind kind, const char *name, graft_error *err)
{
    const uint32_t both = GRAFT_BUILD_ASAN | GRAFT_BUILD_TSAN;
    if (!door) return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: " ENTRY " returned NULL, expected the door. Define it with GRAFT_PLUGIN.", label);
    if (door->size != sizeof *door)
        return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: its door has size %u, expected %zu. Define it with GRAFT_PLUGIN.", label, door->size, sizeof *door);
    if (door->abi_major != GRAFT_ABI_MAJOR)
        return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: built for ABI major %u, this host speaks %d. Update graft, or rebuild the plugin with SDK %d.x.", label, (unsigned)door->abi_major, GRAFT_ABI_MAJOR, GRAFT_ABI_MAJOR);
    if ((door->build_flags & both) != (GRAFT_BUILD_FLAGS & both))
        return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: built with %s, this host with %s. Rebuild one of them.", label, sanitizers(door->build_flags), sanitizers(GRAFT_BUILD_FLAGS));
    if (door->reserved) return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: its door's reserved field is %u, expected 0. Define it with GRAFT_PLUGIN.", label, door->reserved);
    if (!door->init || !door->fini || !door->table)
        return graft_fail(err, GRAFT_BAD_INPUT, path, "queried: %s: its door has no %s. Give GRAFT_PLUGIN init, fini and table.", label, !door->init ? "init" : !door->fini ? "fini"
                                                                                                                                                                            : "table");
    return check_identity(label, path, door, kind, name, err);
}

graft_status graft_door_init(const char *label, const char *path, const graft_plugin *door, const graft_host *host, void **self, graft_error *err)
{
    graft_error why = GRAFT_ERROR_INIT;
    *self = NULL;
    const graft_status status = door->init(host, self, &why);
    if (!status) return GRAFT_OK;
    why.message[sizeof why.message - 1] = 0;
    if (!why.message[0])
        return graft_fail(err, GRAFT_UNSUPPORTED, path, "initialised: %s: init returned status %d without a message. Fill the error with host->fail.", label, (int)status);
    return graft_fail(err, status > 0 && status <= GRAFT_INTERNAL ? status : GRAFT_INTERNAL, path, "initialised: %s: declined: %s", label, why.message);
}
