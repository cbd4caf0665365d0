/* config.json: one spelling, rotary frequencies, and the graph of whatever model it names, as long as that has few layers. */
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/model/model.h"
#include "tests/support/support.h"

#include <stdlib.h>

enum { MOST_LAYERS = 3 };

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

static void build(graft_model *m)
{
    const graft_entry *entry;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g;
    if (graft_registry_model_for(registry(), m->model_type, &entry, &err)) return;
    if (graft_plugin_load(entry, &m->plugin, &err)) abort();
    m->table = m->plugin->table;
    if (graft_model_graph(m, NULL, 0, GRAFT_FOR_GENERATE, &g, &err)) {
        if (!err.message[0]) abort();
        return;
    }
    graft_graph_free(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *original, *normal;
    if (!graft_json_parse(a, "config.json", (const char *)data, size, GRAFT_JSON_ALLOW_NAN, &original, &err) && !graft_hfconfig_normalise(a, "config.json", original, &normal, &err)) {
        graft_model m = {.arena = a, .path = "fuzz", .original = original, .config = graft_config_new(a, "config.json", normal)};
        const graft_json *type = graft_json_get(normal, "model_type"), *layers = graft_json_get(normal, "num_hidden_layers");
        float *f;
        int64_t n;
        double scale;
        if (graft_rope_frequencies(a, m.config, &f, &n, &scale, &err) && !err.message[0]) abort();
        m.config = graft_config_new(a, "config.json", normal);
        m.model_type = type && type->type == GRAFT_JSON_TEXT ? type->text : NULL;
        if (m.model_type && (!layers || !layers->integral || layers->integer <= MOST_LAYERS)) build(&m);
    }
    graft_arena_free(a);
    return 0;
}
