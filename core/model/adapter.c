/* core/model/adapter.c - adapter folders: the method's own config file and a safetensors file of its parameters. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/model/export.h"
#include "core/model/model.h"

#include <inttypes.h>
#include <string.h>

static int owned(const graft_value_info *v, int index) { return v->place == GRAFT_PLACE_WEIGHT && v->node < 0 && v->from_method == index; }

static graft_status load_tensor(const graft_weights *w, const char *path, const char *prefix, const graft_value_info *leaf, graft_arena *a, graft_store *s, graft_error *err)
{
    const char *name = graft_arena_printf(a, "%s%s", prefix, leaf->name);
    if (!name) return graft_fail(err, GRAFT_NO_MEMORY, path, "no memory for a name");
    const graft_weight_info *t = graft_weights_find(w, name);
    if (!t) return graft_fail(err, GRAFT_BAD_INPUT, path, "the adapter lacks the tensor \"%s\"; it was made for other modules or another model", name);
    int same = t->rank == leaf->shape.rank;
    for (int32_t i = 0; same && i < t->rank; i++) same = t->dims[i] == leaf->shape.dims[i];
    const int at = graft_store_find(s, leaf->name);
    if (!same) return graft_fail(err, GRAFT_BAD_INPUT, path, "the tensor \"%s\" has another shape than this model and the adapter's settings ask for; it was made for another model", name);
    if (at < 0) return graft_fail(err, GRAFT_INTERNAL, leaf->name, "the adapter's parameter is not in the store");
    const int64_t bytes = graft_weights_elements(t) * (int64_t)sizeof(float);
    float *buffer = graft_calloc((size_t)bytes + 1, 1);
    if (!buffer) return graft_fail(err, GRAFT_NO_MEMORY, path, "no memory for a tensor of %" PRId64 " bytes", bytes);
    graft_status status = graft_weights_read_f32(t, buffer, err);
    if (!status) status = graft_store_write(s, at, buffer, bytes, err);
    graft_free(buffer);
    return status;
}

/* A tensor of the file that no parameter took would be a part of the adapter that does nothing. */
static graft_status check_all_used(const graft_weights *w, const char *path, const char *prefix, int index, const graft_graph *g, graft_error *err)
{
    for (int64_t i = 0; i < graft_weights_count(w); i++) {
        const char *name = graft_weights_at(w, i)->name;
        const size_t n = strlen(prefix);
        const graft_value v = strncmp(name, prefix, n) ? graft_null_value() : graft_graph_find(g, name + n);
        if (!v.id || !owned(graft_graph_info(g, v), index))
            return graft_fail(err, GRAFT_BAD_INPUT, path, "the tensor \"%s\" belongs to no module of this model that the adapter changes; it was made for another model or method", name);
    }
    return GRAFT_OK;
}

static graft_status load_file(const char *dir, const graft_adapter_files *files, int index, const graft_graph *g, graft_store *s, graft_arena *a, graft_error *err)
{
    const char *path = graft_arena_printf(a, "%s/%s", dir, files->weights);
    if (!path) return graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory for a path");
    if (!graft_path_exists(path)) return graft_fail(err, GRAFT_BAD_INPUT, path, "the adapter's weights are missing; pickled adapters (adapter_model.bin) are not read: save it as safetensors");
    graft_weights *w;
    graft_status status = graft_weights_open(path, &w, err);
    if (status) return status;
    for (int32_t i = 1; i < g->n_values && !status; i++)
        if (owned(&g->values[i], index)) status = load_tensor(w, path, files->prefix, &g->values[i], a, s, err);
    if (!status) status = check_all_used(w, path, files->prefix, index, g, err);
    graft_weights_close(w);
    return status;
}

static graft_status need_files(const graft_active_method *method, graft_error *err)
{
    if (GRAFT_HAS(graft_method_table, method->table, files) && method->table->files) return GRAFT_OK;
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the method %s has no adapter files: it changes the model's own weights", method->name);
}

graft_status graft_adapter_load(const char *dir, const graft_active_method *method, int index, const graft_graph *g, graft_store *s, graft_error *err)
{
    graft_status status = need_files(method, err);
    if (status) return status;
    graft_arena *a = graft_arena_new();
    if (!a) return graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory to read the adapter");
    status = load_file(dir, method->table->files, index, g, s, a, err);
    graft_arena_free(a);
    return status;
}

static graft_status save_config(const char *dir, const graft_active_method *method, int index, const graft_graph *g, const char *base, graft_arena *a, graft_error *err)
{
    graft_writer *w = graft_writer_new(a);
    if (!w) return graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory to write the adapter's settings");
    int32_t n;
    const char *const *sites = graft_graph_changed_sites(g, index, &n);
    if (base) w->api->text(w, "base_model_name_or_path", base);
    const graft_method_table *table = method->table;
    const graft_status status = GRAFT_HAS(graft_method_table, table, save) && table->save ? table->save(method->run, w, n, sites, err) : GRAFT_OK;
    return status ? status : graft_export_json(dir, table->files->config, graft_writer_object(w), err);
}

graft_status graft_adapter_save(const char *dir, const graft_active_method *method, int index, const graft_graph *g, const graft_store *s, const char *base, graft_error *err)
{
    graft_status status = need_files(method, err);
    if (!status) status = graft_dir_make(dir, err);
    if (status) return status;
    graft_arena *a = graft_arena_new();
    const graft_adapter_files *files = method->table->files;
    const char *path = a ? graft_arena_printf(a, "%s/%s", dir, files->weights) : NULL;
    status = path ? graft_export_weights(g, s, index, files->prefix, NULL, GRAFT_F32, path, -1, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory to write the adapter");
    if (!status) status = save_config(dir, method, index, g, base, a, err);
    graft_arena_free(a);
    return status;
}
