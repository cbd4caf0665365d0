/* core/model/method_start.c - see method_start.h. */
#include "core/model/method_start.h"

#include "core/base/error.h"
#include "core/model/hold.h"

#include <string.h>

int64_t graft_model_blocks(const graft_model *m)
{
    static const char *const keys[] = {"num_hidden_layers", "num_layers", "n_layer", "n_layers"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const graft_json *v = m->config->api->value(m->config, keys[i]);
        if (v && v->integral && v->integer > 0 && v->integer < INT32_MAX) return v->integer;
    }
    return 0;
}

typedef struct tensors {
    graft_tensors base;
    const graft_model *model;
    const graft_graph *graph;
    graft_store *store;
    graft_tokenizer *tokenizer; /* opened when a method first asks */
    const graft_active_method *methods;
    int n_methods, method; /* method: whose start runs */
} tensors;

/* "lm_head.weight" of a model whose head is its embedding: the site's weight has another name. */
static const char *shared_name(const tensors *t, const char *name)
{
    static const char tail[] = ".weight";
    const size_t n = strlen(name), k = sizeof tail - 1;
    for (int32_t i = 0; n > k && !strcmp(name + n - k, tail) && i < t->base.n_sites; i++) {
        const graft_site *s = t->base.sites[i];
        if (s->weight.id && strlen(s->path) == n - k && !strncmp(s->path, name, n - k)) return graft_graph_info(t->graph, s->weight)->name;
    }
    return name;
}

static graft_status locate(const tensors *t, const char *name, int64_t n, int *at, graft_error *err)
{
    *at = graft_store_find(t->store, name);
    if (*at < 0) *at = graft_store_find(t->store, shared_name(t, name));
    if (*at < 0) return graft_fail(err, GRAFT_INTERNAL, name, "a method asked for a tensor that the model does not have");
    const graft_shape shape = graft_store_shape(t->store, *at);
    if (graft_shape_elements(&shape, (const int64_t[GRAFT_SYMBOLS]){0}) != n) return graft_fail(err, GRAFT_INTERNAL, name, "a method expected %lld numbers in this tensor", (long long)n);
    return GRAFT_OK;
}

static graft_status read_tensor(graft_tensors *base, const char *name, int64_t n, float *to, graft_error *err)
{
    const tensors *t = (tensors *)base;
    int at = -1;
    const graft_status status = locate(t, name, n, &at, err);
    return status ? status : graft_store_read_f32(t->store, at, to, err);
}

/* A method changes a weight of the base, as decompositions do that split it: it is part of the model from now on. */
static graft_status pin(const tensors *t, const char *weight, graft_error *err)
{
    const graft_active_method *m = &t->methods[t->method];
    if (m->strength && *m->strength != 1.0)
        return graft_fail(err, GRAFT_UNSUPPORTED, weight, "the adapter of %s begins by changing this weight of the base, so it can only act whole: give it strength 1, or convert it to an ordinary adapter", m->name);
    for (int i = 0; i < t->n_methods; i++)
        if (i != t->method && !(GRAFT_HAS(graft_method_table, t->methods[i].table, files) && t->methods[i].table->files))
            return graft_fail(err, GRAFT_UNSUPPORTED, weight, "%s begins by changing this weight of the base, so it cannot run beside %s, which trains the base's weights", m->name, t->methods[i].name);
    if (m->pins) *m->pins = 1;
    return GRAFT_OK;
}

static graft_status write_tensor(graft_tensors *base, const char *name, int64_t n, const float *from, graft_error *err)
{
    const tensors *t = (tensors *)base;
    int at = -1;
    graft_status status = locate(t, name, n, &at, err);
    if (!status && graft_store_find(t->store, name) < 0)
        return graft_fail(err, GRAFT_UNSUPPORTED, name, "the method begins by changing this weight, which is the model's embedding too: choose other modules, or another start");
    if (!status && graft_graph_info(t->graph, graft_graph_find(t->graph, name))->from_method < 0) status = pin(t, name, err);
    if (!status && graft_store_shape(t->store, at).dtype != GRAFT_F32)
        return graft_fail(err, GRAFT_INTERNAL, name, "a method began by changing a weight that is held as %s, but does not say so (changes)", graft_dtype_name(graft_store_shape(t->store, at).dtype));
    return status ? status : graft_store_write(t->store, at, from, n * (int64_t)sizeof *from, err);
}

static graft_status text_tokens(graft_tensors *base, const char *text, int64_t room, int32_t *ids, int64_t *n, graft_error *err)
{
    tensors *t = (tensors *)base;
    graft_ids all = {0};
    graft_status status = t->tokenizer ? GRAFT_OK : graft_model_tokenizer(t->model, &t->tokenizer, err);
    if (!status) status = graft_tokenizer_encode(t->tokenizer, text, strlen(text), 0, &all, err);
    *n = (int64_t)all.n < room ? (int64_t)all.n : room;
    if (!status && *n) memcpy(ids, all.ids, (size_t)*n * sizeof *ids);
    graft_ids_free(&all);
    return status;
}

/* The sites of the graph that method i changed, in the graph's order. */
static const graft_site **changed(const graft_graph *g, int method, int32_t *n)
{
    int32_t n_sites, n_paths;
    const graft_site *sites = graft_graph_sites(g, &n_sites);
    const char *const *paths = graft_graph_changed_sites(g, method, &n_paths);
    const graft_site **out = graft_calloc((size_t)n_paths + 1, sizeof *out);
    *n = 0;
    for (int32_t i = 0, k = 0; out && i < n_sites && k < n_paths; i++)
        if (!strcmp(sites[i].path, paths[k])) out[(*n)++] = &sites[i], k++;
    return out;
}

graft_status graft_model_start(const graft_model *m, const graft_graph *g, graft_store *s, uint64_t seed, graft_error *err)
{
    static const graft_tensors_api api = {.size = sizeof api, .read = read_tensor, .write = write_tensor, .tokens = text_tokens};
    int n = 0;
    const graft_active_method *methods = graft_graph_active(g, &n);
    tensors t = {.base = {.api = &api, .seed = seed}, .model = m, .graph = g, .store = s, .methods = methods, .n_methods = n};
    graft_status status = GRAFT_OK;
    for (int i = 0; i < n && !status; i++) {
        const graft_method_table *table = methods[i].table;
        if (!GRAFT_HAS(graft_method_table, table, start) || !table->start || (methods[i].strength && *methods[i].strength == 0.0)) continue;
        const graft_site **sites = changed(g, i, &t.base.n_sites);
        t.base.sites = sites;
        t.method = i;
        status = sites ? table->start(methods[i].run, &t.base, err) : graft_fail(err, GRAFT_NO_MEMORY, methods[i].name, "no memory for the method's sites");
        graft_free(sites);
    }
    graft_tokenizer_close(t.tokenizer);
    return status;
}
