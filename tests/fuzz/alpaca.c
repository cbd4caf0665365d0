/* Every format plugin of the registry over any file: it ends, its records are whole, and refusals say where. */
#include "core/base/config.h"
#include "core/base/error.h"
#include "core/data/record.h"
#include "core/data/source.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void drain(const graft_loaded *plugin, const char *path, const graft_json *entry)
{
    const graft_format_table *table = plugin->table;
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    graft_source *source = NULL;
    void *stream = NULL;
    if (graft_source_open(path, &source, &err)) { /* a file of columns is looked into when it is opened */
        if (!err.message[0]) abort();
        graft_arena_free(a);
        return;
    }
    size_t bytes;
    const char *head = graft_source_head(source, &bytes);
    const int sure = table->sniff(plugin->self, head, bytes, path);
    if (sure < 0 || sure > 100) abort();
    if (!table->open(plugin->self, source, graft_config_new(a, "fuzz", entry), &stream, &err)) {
        for (int end = 0; !end;) {
            graft_record_copy r;
            graft_record_init(&r, a);
            if (table->next(stream, &r.base, &end, &err)) {
                if (!err.message[0] || !err.where[0]) abort();
                break;
            }
            for (size_t i = 0; i < r.n; i++)
                if (strlen(r.turns[i].text) > r.turns[i].bytes) abort();
            if (!end && !r.dropped && !r.n) abort();
            graft_cursor at;
            if (table->tell(stream, &at, &err) || table->seek(stream, &at, &err)) abort();
        }
        table->close(stream);
    }
    graft_source_close(source);
    graft_arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[64]; /* a file in memory */
    static int fd = -1;
    static graft_registry *registry;
    graft_error err = GRAFT_ERROR_INIT;
    if (fd < 0) {
        char shipped[4200];
        graft_plugin_link_static(graft_test_static_plugins);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd = memfd_create("rows", 0));
        snprintf(shipped, sizeof shipped, "%s/lib/graft/registry.json", GRAFT_BINARY_DIR);
        const graft_registry_options o = {.shipped = shipped};
        if (graft_registry_open(&o, &registry, &err)) abort();
    }
    if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size) return 0;
    static const char entry_text[] = "{\"formatting\":\"x\",\"columns\":{\"prompt\":\"instruction\",\"query\":\"input\",\"response\":\"output\",\"history\":\"history\",\"system\":\"system\",\"tools\":\"tools\",\"kto_tag\":\"kto_tag\",\"messages\":\"messages\"}}";
    const graft_json *entry;
    graft_arena *a = graft_arena_new();
    if (graft_json_parse(a, "entry", entry_text, sizeof entry_text - 1, 0, &entry, &err)) abort();
    const graft_entry *const *entries;
    const size_t n = graft_registry_list(registry, GRAFT_KIND_FORMAT, &entries);
    size_t loaded = 0;
    for (size_t i = 0; i < n; i++) {
        const graft_loaded *plugin;
        if (graft_plugin_load(entries[i], &plugin, &err)) continue;
        loaded++;
        drain(plugin, path, NULL);
        drain(plugin, path, entry);
    }
    if (!loaded) abort(); /* a run that tests nothing is none */
    graft_arena_free(a);
    return 0;
}
