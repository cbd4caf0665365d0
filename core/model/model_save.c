/* core/model/model_save.c - merging a method into the base weights on the device, and writing a Hugging Face folder. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/graph/store.h"
#include "core/model/export.h"
#include "core/model/layout.h"
#include "core/model/model.h"

#include <string.h>

/* ---- merge ------------------------------------------------------------------------------------------------------------------------------ */

static void merge_one(graft_graph *g, graft_value leaf, graft_value merged, int *any)
{
    if (g->error.code || merged.id == leaf.id) return;
    graft_graph_assign(g, leaf, merged);
    *any = 1;
}

/* The head and the token table are one weight, and something changes one of them. */
static int is_shared(const graft_site *sites, int32_t n, int32_t i)
{
    int others = 0;
    for (int32_t k = 0; k < n; k++) others += k != i && sites[k].weight.id == sites[i].weight.id;
    return others;
}

static graft_value base_weight(graft_graph *g, const graft_graph *model, const graft_site *site)
{
    const graft_value_info *w = graft_graph_info(model, site->weight);
    graft_param p = {.size = (uint32_t)sizeof p, .role = site->role, .start = GRAFT_START_CHECKPOINT, .rank = w->shape.rank};
    memcpy(p.dims, w->shape.dims, sizeof p.dims);
    char *name = graft_arena_printf(g->arena, "/%s", w->name); /* of the whole model, whatever path is open */
    return name ? g->builder->api->param(g->builder, name, &p) : graft_null_value();
}

/* A graph of its own: for each site W -> W', assigned back to W. 1 in *any when a method changes some site. */
static graft_status merge_graph(const graft_graph *model, graft_graph *g, int *any, graft_error *err)
{
    int32_t n;
    const graft_site *sites = graft_graph_sites(model, &n);
    graft_builder *b = g->builder;
    for (int32_t i = 0; i < n && !g->error.code; i++) {
        graft_site site = sites[i];
        const graft_value w = base_weight(g, model, &site);
        b->api->push(b, site.path, -1);
        const graft_param q = {(uint32_t)sizeof q, site.role, GRAFT_START_CHECKPOINT, 0.0, 1, {site.out, 0, 0, 0}};
        const graft_value bias = site.bias.id ? b->api->param(b, "bias", &q) : graft_null_value();
        b->api->pop(b);
        site.weight = w, site.bias = bias;
        const graft_value merged = graft_graph_merge_site(g, &site, w);
        if (merged.id != w.id && is_shared(sites, n, i) && !g->error.code)
            return graft_fail(err, GRAFT_UNSUPPORTED, site.path, "the adapter changes this module alone, but the model's head is its embedding and its architecture has no other: it cannot be merged; keep the adapter beside the model");
        merge_one(g, w, merged, any);
        if (site.bias.id) merge_one(g, bias, graft_graph_merge_bias(g, &site, bias), any);
    }
    return graft_graph_check(g, err);
}

static graft_status run_merge(graft_graph *g, graft_store *s, graft_error *err)
{
    const int64_t one[GRAFT_SYMBOLS] = {1, 1, 1, 1};
    graft_exec *e = NULL;
    graft_status status = graft_graph_prepare(g, graft_store_device(s), 0, 0, err);
    g->compute = 1; /* whatever training multiplied in */
    if (!status) status = graft_store_add_graph(s, g, one, err);
    if (!status) status = graft_exec_new(g, s, one, 0, &e, err);
    if (!status) status = graft_exec_run(e, one, 0, 0, err);
    graft_exec_free(e);
    return status;
}

graft_status graft_model_merge(const graft_model *m, const graft_active_method *methods, int n_methods, const graft_graph *g, graft_store *s, graft_error *err)
{
    for (int i = 0; i < n_methods; i++) {
        const graft_method_table *t = methods[i].table;
        const int adds = GRAFT_HAS(graft_method_table, t, files) && t->files, merges = GRAFT_HAS(graft_method_table, t, merge) && t->merge;
        if (adds && !merges && !(methods[i].strength && *methods[i].strength == 0.0)) return graft_fail(err, GRAFT_UNSUPPORTED, m->path, "the method %s cannot be merged into the model's weights; keep its adapter beside the model", methods[i].name);
    }
    int32_t n_sites;
    const graft_site *sites = graft_graph_sites(g, &n_sites);
    for (int32_t i = 0; i < n_sites; i++) {
        const graft_value_info *w = graft_graph_info(g, sites[i].weight);
        if (sites[i].weight.id && w->shape.dtype != GRAFT_F32)
            return graft_fail(err, GRAFT_UNSUPPORTED, m->path, "the base is held as %s, and merging writes into it: merge into the full weights, without quantization_bit", graft_dtype_name(w->shape.dtype));
    }
    graft_graph *merge = graft_graph_new();
    if (!merge) return graft_fail(err, GRAFT_NO_MEMORY, m->path, "no memory to merge");
    int any = 0;
    graft_graph_methods(merge, methods, n_methods);
    graft_status status = merge_graph(g, merge, &any, err);
    if (!status && any) status = run_merge(merge, s, err);
    graft_graph_free(merge);
    return status;
}

/* ---- a Hugging Face folder ----------------------------------------------------------------------------------------------------------------- */

static const char *dtype_word(graft_dtype t) { return t == GRAFT_F32 ? "float32" : t == GRAFT_BF16 ? "bfloat16"
                                                                                                   : "float16"; }

/* The original with the type of the written weights, in the spelling that the original uses. */
/* Its own head, where the model was read with one weight for head and embedding. */
static int head_is_apart(const graft_model *m, const graft_graph *g)
{
    const graft_json *tied = graft_json_get(m->original, "tie_word_embeddings");
    for (int32_t i = 1; i < g->n_values; i++) {
        const graft_value_info *v = &g->values[i];
        if (v->place == GRAFT_PLACE_WEIGHT && v->node < 0 && v->role == GRAFT_ROLE_HEAD && v->from_method < 0) return tied ? tied->integer != 0 : !graft_layout_find(m->weights, m->table, v->name);
    }
    return 0;
}

static graft_status save_config(const graft_model *m, const graft_graph *g, graft_arena *a, const char *dir, graft_dtype dtype, graft_error *err)
{
    graft_json *o = graft_json_copy(a, m->original);
    const char *word = dtype_word(dtype);
    graft_json_put(a, o, graft_json_get(m->original, "dtype") ? "dtype" : "torch_dtype", graft_json_text(a, word, strlen(word)));
    if (head_is_apart(m, g)) graft_json_put(a, o, "tie_word_embeddings", graft_json_flag(a, 0));
    if (!graft_json_get(m->original, "architectures") && m->table->class_name) {
        graft_json *classes = graft_json_new(a, GRAFT_JSON_ARRAY);
        graft_json_push(a, classes, graft_json_text(a, m->table->class_name, strlen(m->table->class_name)));
        graft_json_put(a, o, "architectures", classes);
    }
    return o ? graft_export_json(dir, "config.json", o, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory for config.json");
}

/* The model's own, or one with the special ids of config.json, as transformers makes it. */
static graft_status save_generation(const graft_model *m, graft_arena *a, const char *dir, graft_error *err)
{
    static const char *const ids[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
    const char *from = graft_arena_printf(a, "%s/generation_config.json", m->path);
    const graft_json *found = NULL;
    if (from && graft_path_is_dir(m->path) && graft_path_exists(from)) {
        const graft_status status = graft_json_parse_file(a, from, 1 << 20, GRAFT_JSON_ALLOW_NAN, &found, err);
        return status ? status : graft_export_json(dir, "generation_config.json", found, err);
    }
    graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
    graft_json_put(a, o, "_from_model_config", graft_json_flag(a, 1));
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        const graft_json *v = graft_json_get(m->original, ids[i]);
        if (v && v->type != GRAFT_JSON_NULL) graft_json_put(a, o, ids[i], graft_json_copy(a, v));
    }
    return from && o ? graft_export_json(dir, "generation_config.json", o, err) : graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory for generation_config.json");
}

graft_status graft_model_save(const graft_model *m, const graft_graph *g, const graft_store *s, const graft_tokenizer *tok, const char *dir, graft_dtype dtype, int64_t shard_bytes, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    if (!a) return graft_fail(err, GRAFT_NO_MEMORY, dir, "no memory to save the model");
    graft_status status = graft_dir_make(dir, err);
    if (!status) status = graft_export_weights(g, s, -1, NULL, m->table, dtype, dir, shard_bytes > 0 ? shard_bytes : 0, err);
    if (!status && tok) status = graft_tokenizer_save(tok, dir, err);
    if (!status) status = save_generation(m, a, dir, err);
    if (!status) status = save_config(m, g, a, dir, dtype, err);
    graft_arena_free(a);
    return status;
}
