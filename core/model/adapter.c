/* core/model/adapter.c - adapter folders: the method's own config file and a safetensors file of its parameters. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/graph/store.h"
#include "core/model/export.h"
#include "core/model/hold.h"
#include "core/model/model.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

int graft_adapter_owns(const graft_value_info *v, int index) { return v->place == GRAFT_PLACE_WEIGHT && v->node < 0 && (v->from_method == index || (v->from_method < 0 && v->trained_by == index)); }

const char *graft_adapter_name(graft_arena *a, const graft_active_method *names, const char *leaf)
{
    char own[1024];
    if (!names) return leaf;
    const char *plain = graft_graph_plain_name(leaf);
    const graft_method_table *t = names->table;
    if (GRAFT_HAS(graft_method_table, t, file_name) && t->file_name && t->file_name(names->run, plain, own, sizeof own)) return graft_arena_copy(a, own, strlen(own));
    return graft_arena_printf(a, "%s%s", t->files && t->files->prefix ? t->files->prefix : "", plain);
}

const char *graft_adapter_part(graft_arena *a, const graft_active_method *names, const char *leaf, int64_t part)
{
    char own[1024];
    const graft_method_table *t = names ? names->table : NULL;
    if (!t || !GRAFT_HAS(graft_method_table, t, file_part) || !t->file_part || !t->file_part(names->run, graft_graph_plain_name(leaf), part, own, sizeof own)) return NULL;
    return graft_arena_copy(a, own, strlen(own));
}

/* used: marks the tensors of the file that were read. */
static graft_status load_parts(const graft_weights *w, const char *path, const graft_active_method *names, const graft_value_info *leaf, graft_arena *a, graft_store *s, uint8_t *used, graft_error *err)
{
    const int64_t n = leaf->shape.dims[0], each = graft_shape_elements(&leaf->shape, (const int64_t[GRAFT_SYMBOLS]){0}) / n;
    const int at = graft_store_find(s, leaf->name);
    float *buffer = graft_calloc((size_t)(n * each) + 1, sizeof *buffer);
    graft_status status = buffer ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, path, "no memory for a tensor of %" PRId64 " numbers", n * each);
    for (int64_t k = 0; k < n && !status; k++) {
        const char *name = graft_adapter_part(a, names, leaf->name, k);
        const graft_weight_info *t = name ? graft_weights_find(w, name) : NULL;
        if (!t) status = graft_fail(err, GRAFT_BAD_INPUT, path, "the adapter lacks the tensor \"%s\"; it was made for other modules or another model", name ? name : leaf->name);
        else if (t->rank != 2 || leaf->shape.rank != 3 || t->dims[0] != leaf->shape.dims[1] || t->dims[1] != leaf->shape.dims[2]) status = graft_fail(err, GRAFT_BAD_INPUT, path, "the tensor \"%s\" has another shape than this model and the adapter's settings ask for; it was made for another model", name);
        else used[t - graft_weights_at(w, 0)] = 1, status = graft_weights_read_f32(t, buffer + k * each, err);
    }
    if (!status && at < 0) status = graft_fail(err, GRAFT_INTERNAL, leaf->name, "the adapter's parameter is not in the store");
    if (!status) status = graft_store_write(s, at, buffer, n * each * (int64_t)sizeof *buffer, err);
    graft_free(buffer);
    return status;
}

static graft_status load_tensor(const graft_weights *w, const char *path, const graft_active_method *names, const graft_value_info *leaf, graft_arena *a, graft_store *s, uint8_t *used, graft_error *err)
{
    const char *name = graft_adapter_part(a, names, leaf->name, 0);
    if (name) return load_parts(w, path, names, leaf, a, s, used, err);
    name = graft_adapter_name(a, names, leaf->name);
    if (!name) return graft_fail(err, GRAFT_NO_MEMORY, path, "no memory for a name");
    const graft_weight_info *t = graft_weights_find(w, name);
    if (!t) return graft_fail(err, GRAFT_BAD_INPUT, path, "the adapter lacks the tensor \"%s\"; it was made for other modules or another model", name);
    used[t - graft_weights_at(w, 0)] = 1;
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

/* PEFT puts a copy of the table or head that an adapter changes into its file. It must be the base's own, whatever type it was rounded to. */
static graft_status check_copy(const graft_weights *w, const char *path, const graft_active_method *names, int index, const graft_graph *g, const graft_store *s, graft_arena *a, uint8_t *used, graft_error *err)
{
    int32_t n_paths, n_sites;
    const char *const *paths = names ? graft_graph_changed_sites(g, index, &n_paths) : NULL;
    const graft_site *sites = graft_graph_sites(g, &n_sites);
    graft_status status = GRAFT_OK;
    for (int32_t i = 0; paths && i < n_sites && !status; i++) {
        int mine = 0;
        for (int32_t k = 0; k < n_paths; k++) mine |= !strcmp(paths[k], sites[i].path);
        const char *leaf = mine && sites[i].weight.id ? graft_arena_printf(a, "%s.weight", sites[i].path) : NULL, *name = leaf ? graft_adapter_name(a, names, leaf) : NULL;
        const graft_weight_info *t = name ? graft_weights_find(w, name) : NULL;
        const int at = t ? graft_store_find(s, graft_graph_info(g, sites[i].weight)->name) : -1;
        if (at < 0 || used[t - graft_weights_at(w, 0)]) continue;
        const graft_shape shape = graft_store_shape(s, at);
        const int64_t n = graft_shape_elements(&shape, (const int64_t[GRAFT_SYMBOLS]){0});
        float *own = graft_calloc((size_t)n + 1, sizeof *own), *file = graft_calloc((size_t)n + 1, sizeof *file);
        if (!own || !file) status = graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to read the adapter");
        else if (graft_weights_elements(t) != n) status = graft_fail(err, GRAFT_BAD_INPUT, path, "\"%s\" has another shape than the base's; the adapter was made for a model with another vocabulary", name);
        if (!status) status = graft_store_read_f32(s, at, own, err);
        if (!status) status = graft_weights_read_f32(t, file, err);
        for (int64_t k = 0; k < n && !status; k++)
            if (fabsf(own[k] - file[k]) > 0.01f * fabsf(own[k]) + 1e-6f) status = graft_fail(err, GRAFT_UNSUPPORTED, path, "\"%s\" is not this base's: the adapter was made for another base, or for one whose embedding was changed; merge it with PEFT into that base and use the merged model", name);
        used[t - graft_weights_at(w, 0)] = 1;
        graft_free(own);
        graft_free(file);
    }
    return status;
}

/* A tensor of the file that no parameter took would be a part of the adapter that does nothing; one without numbers, as of a rank that was pruned away, is. */
static graft_status check_all_used(const graft_weights *w, const char *path, const uint8_t *used, graft_error *err)
{
    for (int64_t i = 0; i < graft_weights_count(w); i++)
        if (!used[i] && graft_weights_elements(graft_weights_at(w, i)) > 0) return graft_fail(err, GRAFT_BAD_INPUT, path, "the tensor \"%s\" belongs to no module of this model that the adapter changes; it was made for another model or method", graft_weights_at(w, i)->name);
    return GRAFT_OK;
}

/* names: as in graft_adapter_name. */
static graft_status load_file(const char *path, const graft_active_method *names, int index, const graft_graph *g, graft_store *s, graft_arena *a, graft_error *err)
{
    graft_weights *w;
    graft_status status = graft_weights_open(path, &w, err);
    if (status) return status;
    uint8_t *used = graft_arena_alloc(a, (size_t)graft_weights_count(w) + 1);
    if (!used) status = graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to read the adapter");
    for (int32_t i = 1; i < g->n_values && !status; i++)
        if (graft_adapter_owns(&g->values[i], index)) status = load_tensor(w, path, names, &g->values[i], a, s, used, err);
    if (!status) status = check_copy(w, path, names, index, g, s, a, used, err);
    if (!status) status = check_all_used(w, path, used, err);
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
    const char *path = a ? graft_arena_printf(a, "%s/%s", dir, method->table->files->weights) : NULL;
    if (!path) status = graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory to read the adapter");
    else if (!graft_path_exists(path)) status = graft_fail(err, GRAFT_BAD_INPUT, path, "the adapter's weights are missing; pickled adapters (adapter_model.bin) are not read: save it as safetensors");
    if (!status) status = load_file(path, method, index, g, s, a, err);
    graft_arena_free(a);
    return status;
}

/* ---- a value in the file's place of parameters: an encoder's output ------------------------------------------------------------------------ */

typedef struct held {
    const float *data;
} held;

static graft_status read_held(void *ctx, int64_t offset, void *to, int64_t bytes, graft_error *err)
{
    (void)err;
    memcpy(to, (const uint8_t *)((const held *)ctx)->data + offset, (size_t)bytes);
    return GRAFT_OK;
}

static graft_status compute(graft_graph *g, const graft_store *s, float *to, int64_t n, graft_error *err)
{
    const int64_t one[GRAFT_SYMBOLS] = {1, 1, 1, 1};
    graft_store *store = (graft_store *)(uintptr_t)s; /* the run reads the parameters and writes none */
    graft_exec *e = NULL;
    graft_status status = graft_graph_prepare(g, graft_store_device(s), 0, 0, err);
    g->compute = 1; /* whatever training multiplied in */
    if (!status) status = graft_store_add_graph(store, g, one, err);
    if (!status) status = graft_exec_new(g, store, one, 0, &e, err);
    if (!status) status = graft_exec_run(e, one, 0, 0, err);
    if (!status) status = graft_exec_get(e, "stored", to, n * (int64_t)sizeof *to, err);
    graft_exec_free(e);
    return status;
}

/* *name stays NULL when the method stores its parameters. */
static graft_status save_value(const char *path, const graft_active_method *method, const graft_store *s, graft_arena *a, const char **name, graft_error *err)
{
    const graft_method_table *t = method->table;
    *name = NULL;
    if (!GRAFT_HAS(graft_method_table, t, stored) || !t->stored) return GRAFT_OK;
    graft_graph *g = graft_graph_new();
    if (!g) return graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to write the adapter");
    const graft_value v = t->stored(method->run, g->builder, name);
    graft_status status = graft_graph_check(g, err);
    if (!status && v.id && *name) {
        const graft_shape shape = graft_graph_info(g, v)->shape;
        const int64_t none[GRAFT_SYMBOLS] = {0}, n = graft_shape_elements(&shape, none);
        float *data = graft_arena_alloc(a, (size_t)n * sizeof *data + 1);
        graft_graph_output(g, "stored", v);
        status = data ? compute(g, s, data, n, err) : graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to write the adapter");
        held h = {data};
        graft_tensor_out out = {.name = *name, .dtype = GRAFT_F32, .rank = shape.rank, .read = read_held, .ctx = &h};
        memcpy(out.dims, shape.dims, sizeof shape.dims);
        if (!status) status = graft_safetensors_write(path, &out, 1, err);
    } else {
        *name = NULL;
    }
    graft_graph_free(g);
    return status;
}

#define PARAMETERS "method_parameters.safetensors"

graft_status graft_adapter_save_parameters(const char *dir, int index, const graft_graph *g, const graft_store *s, graft_error *err)
{
    char *path = graft_path_join(dir, PARAMETERS);
    const graft_status status = path ? graft_export_weights(g, s, index, NULL, NULL, GRAFT_F32, path, -1, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory for a path");
    graft_free(path);
    return status;
}

graft_status graft_adapter_resume(const char *dir, const graft_active_method *method, int index, const graft_graph *g, graft_store *s, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    const char *path = a ? graft_arena_printf(a, "%s/" PARAMETERS, dir) : NULL;
    graft_status status = GRAFT_OK;
    if (!path) status = graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory for a path");
    else status = graft_path_exists(path) ? load_file(path, NULL, index, g, s, a, err) : graft_adapter_load(dir, method, index, g, s, err);
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
    const char *value = NULL;
    status = path ? save_value(path, method, s, a, &value, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory to write the adapter");
    if (!status && (value || graft_export_is_partial(g, index, method))) status = graft_adapter_save_parameters(dir, index, g, s, err);
    if (!status && !value) status = graft_export_weights(g, s, index, method, NULL, GRAFT_F32, path, -1, err);
    if (!status) status = save_config(dir, method, index, g, base, a, err);
    graft_arena_free(a);
    return status;
}
