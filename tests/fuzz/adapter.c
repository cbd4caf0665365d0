/* adapter_config.json: every method of the registry that says it owns the file opens it, or says why not, and writes it again. */
#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/plugin/load.h"
#include "graft/method.h"
#include "tests/support/support.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static graft_registry *registry(void)
{
    static graft_registry *r;
    const graft_registry_options o = {.shipped = GRAFT_BINARY_DIR "/lib/graft/registry.json"};
    graft_error err = GRAFT_ERROR_INIT;
    if (r) return r;
    graft_plugin_link_static(graft_test_static_plugins);
    if (graft_registry_open(&o, &r, &err)) abort();
    return r;
}

static void open_and_save(graft_arena *a, const graft_loaded *plugin, const graft_json *saved)
{
    static const char *const sites[] = {"model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj", "lm_head"};
    const graft_method_table *table = plugin->table;
    graft_error err = GRAFT_ERROR_INIT;
    const graft_config *c = graft_config_new(a, "adapter_config.json", saved);
    void *run = NULL;
    graft_status status = table->open(plugin->self, graft_config_new(a, "arguments", NULL), c, &run, &err);
    if (status && !err.message[0]) abort();
    if (status) return;
    status = graft_config_check(c, &err);
    if (!status && table->save && table->save(run, graft_writer_new(a), 3, sites, &err) && !err.message[0]) abort();
    table->close(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *saved;
    const graft_entry *const *entries;
    const size_t n = graft_registry_list(registry(), GRAFT_KIND_METHOD, &entries);
    if (!graft_json_parse(a, "adapter_config.json", (const char *)data, size, GRAFT_JSON_ALLOW_NAN, &saved, &err)) {
        for (size_t i = 0; i < n; i++) {
            const graft_loaded *plugin;
            if (graft_plugin_load(entries[i], &plugin, &err)) continue;
            const graft_method_table *table = plugin->table;
            if (table->owns && table->owns(plugin->self, saved)) open_and_save(a, plugin, saved);
        }
    }
    graft_arena_free(a);
    return 0;
}
