/* LoRA where no plain linear is: the token table, the head, routed experts. A new adapter changes nothing, files have PEFT's names and are read back, merging
 * gives the same logits - with a head of its own where it was the embedding - and what is impossible is said. */
#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/model/model.h"
#include "tests/support/device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TOKENS = 9 };

static const int64_t capacity[GRAFT_SYMBOLS] = {16, 2, 16, 0};

typedef struct rig {
    graft_arena *arena;
    graft_model *model;
    graft_active_method method;
    graft_graph *graph;
    graft_store *store;
} rig;

/* method NULL: the base alone. adapter: a folder to go on from, or NULL. */
static graft_status try_rig(rig *r, const char *base, const char *method, const char *args, const char *adapter, graft_purpose purpose)
{
    const graft_entry *entry;
    const graft_loaded *plugin;
    const graft_json *o = NULL, *saved = NULL;
    char path[4096];
    memset(r, 0, sizeof *r);
    r->arena = graft_arena_new();
    if (method) {
        ck_assert_ok(graft_registry_need(registry, GRAFT_KIND_METHOD, method, &entry, &err));
        ck_assert_ok(graft_plugin_load(entry, &plugin, &err));
        ck_assert_ok(graft_json_parse(r->arena, "arguments", args, strlen(args), 0, &o, &err));
        snprintf(path, sizeof path, "%s/adapter_config.json", adapter ? adapter : "");
        if (adapter) ck_assert_ok(graft_json_parse_file(r->arena, path, 1 << 20, 0, &saved, &err));
        r->method = (graft_active_method){.name = method, .table = plugin->table};
        ck_assert_ok(r->method.table->open(plugin->self, graft_config_new(r->arena, "arguments", o), adapter ? graft_config_new(r->arena, path, saved) : NULL, &r->method.run, &err));
    }
    ck_assert_ok(graft_model_open(registry, base, &r->model, &err));
    ck_assert_ok(graft_store_new(&device, &r->store, &err));
    graft_status status = graft_model_graph(r->model, &r->method, method != NULL, purpose, &r->graph, &err);
    if (!status) status = graft_graph_prepare(r->graph, &device, 0, 0, &err);
    if (!status) status = graft_store_add_graph(r->store, r->graph, capacity, &err);
    if (!status) status = graft_store_commit(r->store, &err);
    if (!status) status = graft_model_load(r->model, r->graph, r->store, 1, &err);
    if (!status && adapter) status = graft_adapter_load(adapter, &r->method, 0, r->graph, r->store, &err);
    return status;
}

static void open_rig(rig *r, const char *base, const char *method, const char *args, const char *adapter, graft_purpose purpose) { ck_assert_ok(try_rig(r, base, method, args, adapter, purpose)); }

static void close_rig(rig *r)
{
    graft_graph_free(r->graph);
    graft_store_free(r->store);
    graft_model_close(r->model);
    if (r->method.table) r->method.table->close(r->method.run);
    graft_arena_free(r->arena);
}

static float *logits(const rig *r)
{
    int32_t ids[TOKENS], rows[TOKENS], borders[4] = {0, TOKENS, 0, 0};
    graft_exec *e;
    float *z = graft_calloc((size_t)(TOKENS * r->model->vocab), sizeof *z);
    for (int32_t i = 0; i < TOKENS; i++) ids[i] = 3 + 5 * i, rows[i] = i;
    ck_assert_ok(graft_exec_new(r->graph, r->store, capacity, 0, &e, &err));
    ck_assert_ok(graft_exec_set(e, "tokens", ids, sizeof ids, &err));
    ck_assert_ok(graft_exec_set(e, "positions", rows, sizeof rows, &err));
    ck_assert_ok(graft_exec_set(e, "sequences", borders, sizeof borders, &err));
    ck_assert_ok(graft_exec_set(e, "label_rows", rows, sizeof rows, &err));
    ck_assert_ok(graft_exec_run(e, (const int64_t[GRAFT_SYMBOLS]){TOKENS, 1, TOKENS, 0}, 0, 0, &err));
    ck_assert_ok(graft_exec_get(e, "logits", z, TOKENS * r->model->vocab * 4, &err));
    graft_exec_free(e);
    return z;
}

static float apart(const float *a, const float *b, int64_t n)
{
    float w = 0;
    for (int64_t i = 0; i < n; i++) w = fmaxf(w, fabsf(a[i] - b[i]));
    return w;
}

/* Parameters of the method as if they were trained. */
static void disturb(rig *r)
{
    uint32_t state = 7;
    for (int32_t i = 1; i < r->graph->n_values; i++) {
        const graft_value_info *v = &r->graph->values[i];
        if (v->place != GRAFT_PLACE_WEIGHT || v->node >= 0 || v->from_method < 0) continue;
        const int at = graft_store_find(r->store, v->name);
        const int64_t bytes = graft_store_tensor_bytes(r->store, at);
        float *x = graft_calloc((size_t)bytes, 1);
        ck_assert_ok(graft_store_read(r->store, at, x, bytes, &err));
        for (int64_t k = 0; k < bytes / 4; k++) state = state * 1664525u + 1013904223u, x[k] += 0.1f * ((float)(state >> 8) / 8388608.0f - 1.0f);
        ck_assert_ok(graft_store_write(r->store, at, x, bytes, &err));
        graft_free(x);
    }
}

static const struct {
    const char *base, *args, *tensors; /* names in the file, one after the other */
} places[] = {
    {"methods/base/qwen2", "{\"lora_rank\": 4, \"lora_target\": \"embed_tokens,lm_head\"}",
     "model.embed_tokens.lora_embedding_A model.embed_tokens.lora_embedding_B lm_head.lora_A.weight lm_head.lora_B.weight"},
    {"methods/base/qwen2", "{\"lora_rank\": 4, \"lora_target\": \"embed\", \"use_dora\": true}", "model.embed_tokens.lora_embedding_A model.embed_tokens.lora_magnitude_vector"},
    {"methods/base/qwen2", "{\"lora_rank\": 4, \"lora_target\": \"lm_head\", \"use_dora\": true}", "lm_head.lora_A.weight lm_head.lora_magnitude_vector"},
    {"methods/base/llama", "{\"lora_rank\": 4, \"lora_target\": \"embed_tokens,head,v_proj\", \"use_dora\": true}", "lm_head.lora_A.weight model.layers.1.self_attn.v_proj.lora_B.weight"},
    {"arch/mixtral", "{\"lora_rank\": 3, \"lora_target\": \"w1,w2,w3\"}",
     "model.layers.0.block_sparse_moe.experts.0.w1.lora_A.weight model.layers.1.block_sparse_moe.experts.3.w2.lora_B.weight"},
    {"arch/mixtral", "{\"lora_rank\": 3, \"lora_target\": \"q_proj\", \"target_parameters\": [\"mlp.experts.gate_up_proj\", \"mlp.experts.down_proj\"]}",
     "model.layers.0.mlp.experts.base_layer.lora_A.weight model.layers.0.mlp.experts.lora_B.weight"},
    {"arch/mixtral", "{\"lora_rank\": 3, \"lora_target\": \"q_proj\", \"target_parameters\": \"experts.gate_up_proj\"}", "model.layers.0.mlp.experts.lora_A.weight"},
    {"arch/deepseek_v3", "{\"lora_rank\": 2, \"lora_target\": \"expert\"}", "model.layers.1.mlp.experts.2.down_proj.lora_A.weight"},
};
enum { PLACES = sizeof places / sizeof *places };

START_TEST(a_new_adapter_changes_nothing)
{
    for (size_t i = 0; i < PLACES; i++) {
        rig r, plain;
        open_rig(&r, graft_test_fixture(places[i].base), "lora", places[i].args, NULL, GRAFT_FOR_FORWARD);
        open_rig(&plain, graft_test_fixture(places[i].base), NULL, NULL, NULL, GRAFT_FOR_FORWARD);
        float *x = logits(&r), *y = logits(&plain);
        ck_assert_msg(apart(x, y, TOKENS * r.model->vocab) < (strstr(places[i].args, "dora") ? 2e-5f : 1e-30f), "%s %s", places[i].base, places[i].args);
        graft_free(x);
        graft_free(y);
        close_rig(&r);
        close_rig(&plain);
    }
}
END_TEST

START_TEST(written_read_and_merged)
{
    for (size_t i = 0; i < PLACES; i++) {
        rig r, again, merge, merged;
        graft_weights *w;
        char dir[2048], path[4096], name[512];
        int n = 0;
        open_rig(&r, graft_test_fixture(places[i].base), "lora", places[i].args, NULL, GRAFT_FOR_FORWARD);
        disturb(&r);
        float *x = logits(&r);
        snprintf(dir, sizeof dir, "%s", graft_test_dir("sites"));
        ck_assert_ok(graft_adapter_save(dir, &r.method, 0, r.graph, r.store, "base", &err));
        snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
        ck_assert_ok(graft_weights_open(path, &w, &err));
        for (const char *at = places[i].tensors; *at; at += n + (at[n] == ' ')) {
            n = (int)strcspn(at, " ");
            snprintf(name, sizeof name, "base_model.model.%.*s", n, at);
            ck_assert_msg(graft_weights_find(w, name) != NULL, "%s is not in the file", name);
        }
        graft_weights_close(w);
        open_rig(&again, graft_test_fixture(places[i].base), "lora", "{}", dir, GRAFT_FOR_FORWARD);
        float *y = logits(&again);
        ck_assert_msg(!memcmp(x, y, (size_t)(TOKENS * r.model->vocab) * 4), "%s %s: read back", places[i].base, places[i].args);
        open_rig(&merge, graft_test_fixture(places[i].base), "lora", "{}", dir, GRAFT_FOR_MERGE);
        ck_assert_ok(graft_model_merge(merge.model, &merge.method, 1, merge.graph, merge.store, &err));
        snprintf(dir, sizeof dir, "%s", graft_test_dir("merged"));
        ck_assert_ok(graft_model_save(merge.model, merge.graph, merge.store, NULL, dir, GRAFT_F32, 0, &err));
        open_rig(&merged, dir, NULL, NULL, NULL, GRAFT_FOR_FORWARD);
        float *z = logits(&merged);
        ck_assert_msg(apart(x, z, TOKENS * r.model->vocab) < 5e-5f, "%s %s: merged differs by %g", places[i].base, places[i].args, (double)apart(x, z, TOKENS * r.model->vocab));
        graft_free(x);
        graft_free(y);
        graft_free(z);
        close_rig(&r);
        close_rig(&again);
        close_rig(&merge);
        close_rig(&merged);
    }
}
END_TEST

/* The token table's padding row takes no gradient: the graph of llama has one (pad_token_id 0). */
START_TEST(what_cannot_be)
{
    static const struct {
        const char *base, *method, *args, *says;
    } bad[] = {
        {"arch/mixtral", "lora", "{\"lora_target\": \"w1\", \"use_dora\": true}", "LoRA on routed experts has no use_dora"},
        {"arch/mixtral", "lora", "{\"lora_target\": \"w1\", \"pissa_init\": true}", "LoRA on routed experts has no PiSSA or OLoRA"},
        {"arch/mixtral", "lora", "{\"lora_target\": \"q_proj\", \"target_parameters\": \"down_proj\", \"lora_dropout\": 0.1}", "no lora_dropout with target_parameters"},
        {"arch/mixtral", "adalora", "{\"lora_target\": \"w1\"}", "\"w1\" chooses the routed experts model.layers.0.block_sparse_moe.experts.w1, where this method can do nothing"},
        {"methods/base/llama", "adalora", "{\"lora_target\": \"embed_tokens\"}", "\"embed_tokens\" chooses the token table model.embed_tokens, where this method can do nothing"},
        {"methods/base/qwen2", "lora", "{\"lora_target\": \"lm_head\", \"lora_rank\": 4, \"init_lora_weights\": \"olora\"}", "begins by changing this weight, which is the model's embedding too"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig r;
        ck_assert_msg(try_rig(&r, graft_test_fixture(bad[i].base), bad[i].method, bad[i].args, NULL, GRAFT_FOR_FORWARD) != GRAFT_OK, "taken: %s", bad[i].args);
        ck_assert_msg(strstr(err.message, bad[i].says) != NULL, "%s: \"%s: %s\"", bad[i].args, err.where, err.message);
        close_rig(&r);
    }
}
END_TEST

/* PEFT's file holds the table too: a copy of the base's is passed over, another one is not. */
START_TEST(a_copy_of_the_table)
{
    rig r;
    const char *adapter = graft_test_fixture("methods/qwen2_lora_tied_embed_head");
    open_rig(&r, graft_test_fixture("methods/base/qwen2"), "lora", "{}", adapter, GRAFT_FOR_FORWARD);
    const int at = graft_store_find(r.store, "model.embed_tokens.weight");
    float first;
    ck_assert_ok(graft_store_read_part(r.store, at, 0, &first, 4, &err));
    const int64_t bytes = graft_store_tensor_bytes(r.store, at);
    float *x = graft_calloc((size_t)bytes, 1);
    ck_assert_ok(graft_store_read(r.store, at, x, bytes, &err));
    x[0] = first + 1.0f;
    ck_assert_ok(graft_store_write(r.store, at, x, bytes, &err));
    ck_assert_int_ne(graft_adapter_load(adapter, &r.method, 0, r.graph, r.store, &err), GRAFT_OK);
    ck_assert_msg(strstr(err.message, "\"base_model.model.model.embed_tokens.base_layer.weight\" is not this base's") != NULL, "%s", err.message);
    graft_free(x);
    close_rig(&r);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_unchecked_fixture(tc, start, stop);
    tcase_add_test(tc, a_new_adapter_changes_nothing);
    tcase_add_test(tc, written_read_and_merged);
    tcase_add_test(tc, what_cannot_be);
    tcase_add_test(tc, a_copy_of_the_table);
}

int main(void) { return graft_test_main("sites", cases); }
