/* Several methods at once: two adapters of one method add up, unlike methods work side by side, and two that claim one place are refused by name. */
#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/model/model.h"
#include "tests/support/device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TOKENS = 9,
       MOST = 4 };

typedef struct rig {
    graft_arena *arena;
    graft_model *model;
    graft_active_method methods[MOST];
    const char *adapters[MOST];
    int n;
    graft_graph *graph;
    graft_store *store;
} rig;

/* A fixture's adapter, by the method of this name. */
static void add(rig *r, const char *method, const char *fixture)
{
    const graft_entry *entry;
    const graft_loaded *plugin;
    const graft_json *saved;
    char path[4096];
    ck_assert_ok(graft_registry_need(registry, GRAFT_KIND_METHOD, method, &entry, &err));
    ck_assert_ok(graft_plugin_load(entry, &plugin, &err));
    graft_active_method *m = &r->methods[r->n];
    *m = (graft_active_method){.name = entry->name, .table = plugin->table};
    const char *dir = graft_test_fixture(fixture);
    r->adapters[r->n] = graft_arena_copy(r->arena, dir, strlen(dir));
    snprintf(path, sizeof path, "%s/%s", dir, m->table->files->config);
    ck_assert_ok(graft_json_parse_file(r->arena, path, 1 << 20, 0, &saved, &err));
    ck_assert_ok(m->table->open(plugin->self, graft_config_new(r->arena, "arguments", NULL), graft_config_new(r->arena, path, saved), &m->run, &err));
    r->n++;
}

static void begin(rig *r, const char *base)
{
    memset(r, 0, sizeof *r);
    r->arena = graft_arena_new();
    ck_assert_ok(graft_model_open(registry, graft_test_fixture(base), &r->model, &err));
}

static graft_status build(rig *r)
{
    const int64_t capacity[GRAFT_SYMBOLS] = {64, 4, 64, 64};
    graft_status status = graft_store_new(&device, &r->store, &err);
    if (!status) status = graft_model_graph(r->model, r->methods, r->n, GRAFT_FOR_FORWARD, &r->graph, &err);
    if (!status) status = graft_graph_prepare(r->graph, &device, 0, 0, &err);
    if (!status) status = graft_store_add_graph(r->store, r->graph, capacity, &err);
    if (!status) status = graft_store_commit(r->store, &err);
    if (!status) status = graft_model_load(r->model, r->graph, r->store, 1, &err);
    for (int i = 0; i < r->n && !status; i++) status = graft_adapter_load(r->adapters[i], &r->methods[i], i, r->graph, r->store, &err);
    return status;
}

static void end(rig *r)
{
    graft_graph_free(r->graph);
    graft_store_free(r->store);
    for (int i = 0; i < r->n; i++) r->methods[i].table->close(r->methods[i].run);
    graft_model_close(r->model);
    graft_arena_free(r->arena);
}

static float *logits_of(rig *r, graft_graph *g)
{
    const int64_t capacity[GRAFT_SYMBOLS] = {64, 4, 64, 64}, extent[GRAFT_SYMBOLS] = {TOKENS, 1, TOKENS, 0}, bytes = TOKENS * r->model->vocab * 4;
    int32_t ids[TOKENS], places[TOKENS];
    const int32_t border[4] = {0, TOKENS, 0, 0};
    graft_exec *e;
    float *out = graft_arena_alloc(r->arena, (size_t)bytes);
    for (int32_t i = 0; i < TOKENS; i++) ids[i] = 5 + 7 * i, places[i] = i;
    ck_assert_ok(graft_exec_new(g, r->store, capacity, 1, &e, &err));
    ck_assert_ok(graft_exec_set(e, "tokens", ids, sizeof ids, &err));
    ck_assert_ok(graft_exec_set(e, "positions", places, sizeof places, &err));
    ck_assert_ok(graft_exec_set(e, "sequences", border, sizeof border, &err));
    ck_assert_ok(graft_exec_set(e, "label_rows", places, sizeof places, &err));
    ck_assert_ok(graft_exec_run(e, extent, 0, 0, &err));
    ck_assert_ok(graft_exec_get(e, "logits", out, bytes, &err));
    graft_exec_free(e);
    return out;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double most = 0.0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* Logits with these adapters. */
static double *with(const char *base, int n, const char *const methods[], const char *const fixtures[], int64_t *count)
{
    rig r;
    begin(&r, base);
    for (int i = 0; i < n; i++) add(&r, methods[i], fixtures[i]);
    const graft_status status = build(&r);
    ck_assert_msg(!status, "%s: %s", err.where, err.message);
    const float *x = logits_of(&r, r.graph);
    *count = TOKENS * r.model->vocab;
    double *out = graft_calloc((size_t)*count, sizeof *out);
    for (int64_t i = 0; i < *count; i++) out[i] = (double)x[i];
    end(&r);
    return out;
}

static double apart(const double *a, const double *b, int64_t n)
{
    double most = 0.0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(a[i] - b[i]));
    return most;
}

START_TEST(two_adapters_of_one_method_add_up)
{
    static const char *const methods[] = {"lora", "lora"}, *const ab[] = {"methods/llama_lora_qv", "methods/llama_lora_all"}, *const ba[] = {"methods/llama_lora_all", "methods/llama_lora_qv"};
    int64_t n;
    start();
    double *both = with("methods/base/llama", 2, methods, ab, &n), *turned = with("methods/base/llama", 2, methods, ba, &n), *one = with("methods/base/llama", 1, methods, ab, &n);
    ck_assert_double_lt(apart(both, turned, n), 1e-4);
    ck_assert_double_gt(apart(both, one, n), 1e-2);
    graft_free(turned);
    graft_free(one);
    rig r, merged;
    begin(&r, "methods/base/llama");
    for (int i = 0; i < 2; i++) add(&r, methods[i], ab[i]);
    ck_assert_ok(build(&r));
    ck_assert_ok(graft_model_merge(r.model, r.methods, r.n, r.graph, r.store, &err));
    const char *dir = graft_test_dir("several_merged");
    ck_assert_ok(graft_model_save(r.model, r.graph, r.store, NULL, dir, GRAFT_F32, 0, &err));
    end(&r);
    memset(&merged, 0, sizeof merged);
    merged.arena = graft_arena_new();
    ck_assert_ok(graft_model_open(registry, dir, &merged.model, &err));
    ck_assert_ok(build(&merged));
    const float *x = logits_of(&merged, merged.graph);
    float *want = graft_arena_alloc(merged.arena, (size_t)n * sizeof *want);
    for (int64_t i = 0; i < n; i++) want[i] = (float)both[i];
    ck_assert_double_lt(distance(x, want, n), 1e-4);
    end(&merged);
    graft_free(both);
    stop();
}
END_TEST

/* Adapter i at this strength is the adapter with its output side times the strength. */
START_TEST(strengths_are_those_by_hand)
{
    static const char *const fixtures[] = {"methods/llama_lora_qv", "methods/llama_lora_all"};
    static double strength[2] = {0.3, -1.7};
    rig r, hand;
    start();
    begin(&r, "methods/base/llama");
    begin(&hand, "methods/base/llama");
    for (int i = 0; i < 2; i++) {
        add(&r, "lora", fixtures[i]);
        add(&hand, "lora", fixtures[i]);
        r.methods[i].strength = &strength[i];
    }
    ck_assert_ok(build(&r));
    ck_assert_ok(build(&hand));
    int scaled = 0;
    for (int32_t i = 1; i < hand.graph->n_values; i++) {
        const graft_value_info *v = &hand.graph->values[i];
        if (v->node >= 0 || v->from_method < 0 || !strstr(v->name, "lora_B")) continue;
        const int at = graft_store_find(hand.store, v->name);
        const int64_t bytes = graft_store_tensor_bytes(hand.store, at);
        float *data = graft_arena_alloc(hand.arena, (size_t)bytes);
        ck_assert_ok(graft_store_read(hand.store, at, data, bytes, &err));
        for (int64_t k = 0; k < bytes / 4; k++) data[k] = (float)((double)data[k] * strength[v->from_method]);
        ck_assert_ok(graft_store_write(hand.store, at, data, bytes, &err));
        scaled++;
    }
    ck_assert_int_gt(scaled, 8);
    const int64_t n = TOKENS * r.model->vocab;
    const float *x = logits_of(&r, r.graph), *y = logits_of(&hand, hand.graph);
    ck_assert_double_lt(distance(x, y, n), 1e-4);
    ck_assert_ok(graft_model_merge(r.model, r.methods, r.n, r.graph, r.store, &err));
    strength[0] = strength[1] = 0.0; /* none of the hooks: the merged base alone */
    graft_graph *plain = NULL;
    const int64_t capacity[GRAFT_SYMBOLS] = {64, 4, 64, 64};
    ck_assert_ok(graft_model_graph(r.model, r.methods, r.n, GRAFT_FOR_FORWARD, &plain, &err));
    ck_assert_ok(graft_graph_prepare(plain, &device, 0, 0, &err));
    ck_assert_ok(graft_store_add_graph(r.store, plain, capacity, &err));
    ck_assert_double_lt(distance(logits_of(&r, plain), y, n), 1e-4);
    graft_graph_free(plain);
    strength[0] = 0.3, strength[1] = -1.7;
    end(&r);
    end(&hand);
    stop();
}
END_TEST

START_TEST(unlike_methods_side_by_side)
{
    static const char *const methods[] = {"lora", "adapter"}, *const fixtures[] = {"methods/qwen2_lora_qv", "methods/qwen2_houlsby"};
    int64_t n;
    start();
    double *both = with("methods/base/qwen2", 2, methods, fixtures, &n), *lora = with("methods/base/qwen2", 1, methods, fixtures, &n), *adapter = with("methods/base/qwen2", 1, methods + 1, fixtures + 1, &n);
    ck_assert_double_gt(apart(both, lora, n), 1e-3);
    ck_assert_double_gt(apart(both, adapter, n), 1e-3);
    graft_free(both);
    graft_free(lora);
    graft_free(adapter);
    stop();
}
END_TEST

START_TEST(two_claims_of_one_place_are_refused)
{
    static const char *const pairs[][2] = {{"prefix", "methods/llama_prefix"}, {"prompt", "methods/llama_prompt"}};
    start();
    for (int i = 0; i < 2; i++) {
        rig r;
        begin(&r, "methods/base/llama");
        add(&r, pairs[i][0], pairs[i][1]);
        add(&r, pairs[i][0], pairs[i][1]);
        ck_assert_int_ne(build(&r), GRAFT_OK);
        ck_assert_msg(strstr(err.message, "only one can") && strstr(err.message, pairs[i][0]) && strstr(err.message, "site"), "%s", err.message);
        end(&r);
    }
    stop();
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, two_adapters_of_one_method_add_up);
    tcase_add_test(tc, strengths_are_those_by_hand);
    tcase_add_test(tc, unlike_methods_side_by_side);
    tcase_add_test(tc, two_claims_of_one_place_are_refused);
}

int main(void) { return graft_test_main("methods/several", cases); }
