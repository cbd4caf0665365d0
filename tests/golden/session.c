/* tests/golden/session.c - models, batches and steps for the comparisons. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- stored tensors ----------------------------------------------------------------------------------------------------- */

const graft_weight_info *golden_tensor(const graft_weights *w, const char *fmt, ...)
{
    char name[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    return graft_weights_find(w, name);
}

int64_t golden_count(const graft_weight_info *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dims[i];
    return n;
}

double golden_f64(const graft_weight_info *t, int64_t i)
{
    double d = 0.0;
    float f = 0.0f;
    int32_t n = 0;
    if (!strcmp(t->dtype_name, "F64")) return memcpy(&d, t->data + 8 * i, 8), d;
    if (!strcmp(t->dtype_name, "I32")) return memcpy(&n, t->data + 4 * i, 4), (double)n;
    return memcpy(&f, t->data + 4 * i, 4), (double)f;
}

/* ---- models ----------------------------------------------------------------------------------------------------------------- */

static graft_status find_method(golden_session *s, golden_model *m, const char *name, const char *args, const char *adapter, graft_error *err)
{
    const graft_json *given = NULL, *saved = NULL;
    graft_status status = args ? graft_json_parse(m->arena, "arguments", args, strlen(args), 0, &given, err) : GRAFT_OK;
    if (status) return status;
    const graft_entry *const *list;
    const size_t n = graft_registry_list(s->registry, GRAFT_KIND_METHOD, &list);
    for (size_t i = 0; i < n; i++) {
        const int fresh = name && *name == '='; /* of the kind of an adapter, but new */
        const char *dir = fresh ? name + 1 : adapter;
        if (name && !fresh && strcmp(list[i]->name, name)) continue;
        const graft_loaded *plugin;
        if ((status = graft_plugin_load(list[i], &plugin, err))) return status;
        const graft_method_table *table = plugin->table;
        saved = NULL;
        if (dir) {
            if (!table->files || !table->owns) continue;
            char *path = graft_path_join(dir, table->files->config);
            graft_error ignored = GRAFT_ERROR_INIT;
            const graft_status found = path ? graft_json_parse_file(m->arena, path, 1 << 24, 0, &saved, &ignored) : GRAFT_NO_MEMORY;
            graft_free(path);
            if (found || !table->owns(plugin->self, saved)) continue;
        }
        if (fresh && !args) given = saved;
        graft_active_method *a = &m->methods[m->n_methods];
        *a = (graft_active_method){.name = list[i]->name, .table = table};
        status = table->open(plugin->self, graft_config_new(m->arena, "arguments", given), saved && !fresh ? graft_config_new(m->arena, adapter, saved) : NULL, &a->run, err);
        if (!status) m->n_methods++;
        uint32_t flags = 0;
        return !status && GRAFT_HAS(graft_method_table, table, on_step) && table->on_step ? table->on_step(a->run, 0, 42, &flags, err) : status;
    }
    return graft_fail(err, GRAFT_UNSUPPORTED, adapter ? adapter : name, "no method of the registry takes it");
}

static graft_status add_graph(golden_session *s, golden_model *m, graft_purpose purpose, graft_graph **out, graft_error *err)
{
    graft_status status = graft_model_graph(m->model, m->methods, m->n_methods, purpose, out, err);
    if (!status) status = graft_graph_prepare(*out, &s->device, 0, 0, err);
    if (!status) status = graft_store_add_graph(m->store, *out, m->capacity, err);
    return status;
}

graft_status golden_open(golden_session *s, const char *path, const char *method, const char *args, const char *adapter, int64_t tokens, golden_model *m, graft_error *err)
{
    *m = (golden_model){.arena = graft_arena_new(), .capacity = {tokens, tokens, tokens, tokens}};
    graft_status status = m->arena ? graft_model_open(s->registry, path, &m->model, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory");
    if (!status && (method || adapter)) status = find_method(s, m, method, args, adapter, err);
    if (!status) status = graft_store_new(&s->device, &m->store, err);
    if (!status && m->n_methods) status = add_graph(s, m, GRAFT_FOR_TRAIN, &m->train, err);
    if (!status) status = add_graph(s, m, GRAFT_FOR_FORWARD, &m->forward, err);
    if (!status) status = add_graph(s, m, GRAFT_FOR_GENERATE, &m->generate, err);
    if (!status) status = graft_store_commit(m->store, err);
    graft_graph *const fullest = m->train ? m->train : m->forward;
    if (!status) status = graft_model_load(m->model, fullest, m->store, 42, err);
    if (!status && adapter) status = graft_adapter_load(adapter, &m->methods[0], 0, fullest, m->store, err);
    if (!status && m->train) status = graft_exec_new(m->train, m->store, m->capacity, 42, &m->train_exec, err);
    if (!status) status = graft_exec_new(m->forward, m->store, m->capacity, 42, &m->forward_exec, err);
    return status;
}

void golden_close(golden_model *m)
{
    graft_exec_free(m->train_exec);
    graft_exec_free(m->forward_exec);
    graft_graph_free(m->train);
    graft_graph_free(m->forward);
    graft_graph_free(m->generate);
    graft_store_free(m->store);
    for (int i = 0; i < m->n_methods; i++)
        if (m->methods[i].table->close) m->methods[i].table->close(m->methods[i].run);
    graft_model_close(m->model);
    graft_arena_free(m->arena);
    memset(m, 0, sizeof *m);
}

/* ---- batches ------------------------------------------------------------------------------------------------------------------ */

graft_status golden_batch_new(graft_arena *a, const int32_t *ids, const int32_t *labels, const int32_t *cu_seqlens, int64_t sequences, int64_t virtual_tokens, golden_batch *b, graft_error *err)
{
    const int64_t tokens = cu_seqlens[sequences] + sequences * virtual_tokens;
    const size_t n = (size_t)tokens + 1;
    *b = (golden_batch){.tokens = tokens, .sequences = sequences};
    b->ids = graft_arena_alloc(a, n * 4);
    b->positions = graft_arena_alloc(a, n * 4);
    b->borders = graft_arena_alloc(a, ((size_t)sequences + 1) * 16);
    b->rows = graft_arena_alloc(a, n * 4);
    b->labels = graft_arena_alloc(a, n * 4);
    b->real = graft_arena_alloc(a, n * 4);
    b->weight = graft_arena_alloc(a, n * 4);
    if (!b->ids || !b->positions || !b->borders || !b->rows || !b->labels || !b->real || !b->weight) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory");
    const int32_t m = (int32_t)virtual_tokens;
    for (int64_t s = 0; s < sequences; s++) {
        const int32_t first = cu_seqlens[s], end = cu_seqlens[s + 1], at = first + (int32_t)s * m;
        const int32_t border[4] = {at, end - first + m, at, 0};
        memcpy(b->borders + 4 * s, border, sizeof border);
        for (int32_t t = 0; t < end - first + m; t++) {
            b->ids[at + t] = t < m ? -1 - t : ids[first + t - m];
            b->positions[at + t] = t;
            if (t >= m) b->real[b->n_real++] = at + t;
        }
        for (int32_t t = first; labels && t + 1 < end; t++)
            if (labels[t + 1] != -100) b->rows[b->labelled] = at + m + t - first, b->labels[b->labelled++] = labels[t + 1];
    }
    for (int64_t i = 0; i < b->labelled; i++) b->weight[i] = 1.0f / (float)b->labelled;
    return GRAFT_OK;
}

static graft_status set_tokens(graft_exec *e, const golden_batch *b, graft_error *err)
{
    graft_status status = graft_exec_set(e, "tokens", b->ids, b->tokens * 4, err);
    if (!status) status = graft_exec_set(e, "positions", b->positions, b->tokens * 4, err);
    return status ? status : graft_exec_set(e, "sequences", b->borders, b->sequences * 16, err);
}

graft_status golden_loss(golden_model *m, const golden_batch *b, double *loss, graft_error *err)
{
    const int64_t extent[GRAFT_SYMBOLS] = {b->tokens, b->sequences, b->labelled, 0};
    float sum = 0.0f;
    graft_status status = set_tokens(m->train_exec, b, err);
    if (!status) status = graft_exec_set(m->train_exec, "label_rows", b->rows, b->labelled * 4, err);
    if (!status) status = graft_exec_set(m->train_exec, "labels", b->labels, b->labelled * 4, err);
    if (!status) status = graft_exec_set(m->train_exec, "label_weight", b->weight, b->labelled * 4, err);
    if (!status) status = graft_exec_run(m->train_exec, extent, 1, 0, err);
    if (!status) status = graft_exec_get(m->train_exec, "loss", &sum, 4, err);
    *loss = (double)sum;
    return status;
}

graft_status golden_logits(golden_model *m, const golden_batch *b, float *logits, graft_error *err)
{
    const int64_t extent[GRAFT_SYMBOLS] = {b->tokens, b->sequences, b->n_real, 0};
    graft_status status = set_tokens(m->forward_exec, b, err);
    if (!status) status = graft_exec_set(m->forward_exec, "label_rows", b->real, b->n_real * 4, err);
    if (!status) status = graft_exec_run(m->forward_exec, extent, 1, 0, err);
    return status ? status : graft_exec_get(m->forward_exec, "logits", logits, b->n_real * m->model->vocab * 4, err);
}

graft_status golden_clear_gradients(golden_model *m, graft_error *err)
{
    graft_status status = GRAFT_OK;
    for (int i = 0; !status && i < graft_store_count(m->store); i++)
        if (!strncmp(graft_store_name(m->store, i), "grad:", 5)) status = graft_store_clear(m->store, i, err);
    return status;
}

/* ---- one step of AdamW, in double on the host -------------------------------------------------------------------------------- */

static graft_status update(golden_model *m, golden_adamw *o, int64_t t, int at, float *p, const float *g, int64_t n, graft_error *err)
{
    if (!o->m) {
        const size_t count = (size_t)graft_store_count(m->store);
        o->m = graft_arena_alloc(m->arena, count * sizeof *o->m);
        o->v = graft_arena_alloc(m->arena, count * sizeof *o->v);
    }
    if (o->m && o->v && !o->m[at]) {
        o->m[at] = graft_arena_alloc(m->arena, (size_t)n * 4 + 4);
        o->v[at] = graft_arena_alloc(m->arena, (size_t)n * 4 + 4);
    }
    if (!o->m || !o->v || !o->m[at] || !o->v[at]) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory");
    const double c1 = 1.0 - pow(o->beta1, (double)t), c2 = 1.0 - pow(o->beta2, (double)t);
    for (int64_t i = 0; i < n; i++) {
        const double first = o->beta1 * (double)o->m[at][i] + (1.0 - o->beta1) * (double)g[i];
        const double second = o->beta2 * (double)o->v[at][i] + (1.0 - o->beta2) * (double)g[i] * (double)g[i];
        o->m[at][i] = (float)first, o->v[at][i] = (float)second;
        p[i] = (float)((double)p[i] * (1.0 - o->lr * o->decay) - o->lr * (first / c1) / (sqrt(second / c2) + o->eps));
    }
    return GRAFT_OK;
}

graft_status golden_step(golden_model *m, golden_adamw *o, int64_t t, double *norm, graft_error *err)
{
    double squares = 0.0;
    graft_status status = GRAFT_OK;
    for (int i = 0; !status && i < graft_store_count(m->store); i++) {
        const char *name = graft_store_name(m->store, i);
        if (strncmp(name, "grad:", 5)) continue;
        const int at = graft_store_find(m->store, name + 5);
        const int64_t bytes = graft_store_tensor_bytes(m->store, i), n = bytes / 4;
        float *g = graft_calloc((size_t)n + 1, 4), *p = graft_calloc((size_t)n + 1, 4);
        status = g && p && at >= 0 ? graft_store_read(m->store, i, g, bytes, err) : graft_fail(err, GRAFT_NO_MEMORY, name, "no memory");
        if (!status) status = graft_store_read(m->store, at, p, bytes, err);
        for (int64_t k = 0; !status && k < n; k++) squares += (double)g[k] * (double)g[k];
        if (!status) status = update(m, o, t, at, p, g, n, err);
        if (!status) status = graft_store_write(m->store, at, p, bytes, err);
        graft_free(g);
        graft_free(p);
    }
    *norm = sqrt(squares);
    return status ? status : golden_clear_gradients(m, err);
}
