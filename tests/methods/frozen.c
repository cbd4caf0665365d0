/* What does not train keeps its bits, in the very store that training writes to; and LISA's memory falls when it has fewer blocks awake. */
#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/graph/store.h"
#include "core/model/model.h"
#include "core/train/train.h"
#include "core/train/update.h"
#include "tests/support/device.h"

#include <stdio.h>
#include <string.h>

enum { TOKENS = 12 };

static graft_active_method method_of(graft_arena *a, const char *name, const char *args)
{
    const graft_entry *entry;
    const graft_loaded *plugin;
    const graft_json *o = NULL;
    graft_active_method m = {.name = name};
    ck_assert_ok(graft_registry_need(registry, GRAFT_KIND_METHOD, name, &entry, &err));
    ck_assert_ok(graft_plugin_load(entry, &plugin, &err));
    ck_assert_ok(graft_json_parse(a, "arguments", args, strlen(args), 0, &o, &err));
    m.table = plugin->table;
    ck_assert_ok(m.table->open(plugin->self, graft_config_new(a, "arguments", o), NULL, &m.run, &err));
    return m;
}

static const struct {
    const char *method, *args;
} adapters[] = {
    {"lora", "{\"lora_rank\": 4}"},
    {"lora", "{\"lora_rank\": 4, \"use_dora\": true, \"lora_dropout\": 0.1}"},
    {"lora", "{\"lora_rank\": 2, \"lora_target\": \"q_proj\", \"additional_target\": \"norm\"}"},
    {"adalora", "{\"init_r\": 4}"},
    {"ia3", "{}"},
    {"adapter", "{\"adapter_type\": \"houlsby\", \"reduction_factor\": 4}"},
    {"adapter", "{\"adapter_type\": \"parallel\", \"reduction_factor\": 4}"},
    {"llama_adapter", "{\"adapter_len\": 3}"},
    {"prefix", "{\"num_virtual_tokens\": 3}"},
    {"prompt", "{\"num_virtual_tokens\": 3}"},
    {"ptuning", "{\"num_virtual_tokens\": 3, \"encoder_hidden_size\": 8}"},
    {"freeze", "{\"freeze_trainable_layers\": 1}"},
    {"lisa", "{\"lisa_activated_layers\": 1}"},
};

static void feed(graft_exec *e, int64_t virtual_tokens)
{
    const int64_t n = TOKENS + virtual_tokens;
    int32_t ids[64], places[64], rows[64], labels[64];
    float weight[64];
    const int32_t border[4] = {0, (int32_t)n, 0, 0};
    for (int64_t i = 0; i < n; i++) ids[i] = i < virtual_tokens ? (int32_t)(-1 - i) : (int32_t)(3 + 7 * (i - virtual_tokens)), places[i] = (int32_t)i;
    for (int64_t i = 0; i + 1 < TOKENS; i++) rows[i] = (int32_t)(virtual_tokens + i), labels[i] = ids[virtual_tokens + i + 1], weight[i] = 1.0f / (TOKENS - 1);
    const int64_t extent[GRAFT_SYMBOLS] = {n, 1, TOKENS - 1, 0};
    ck_assert_ok(graft_exec_set(e, "tokens", ids, n * 4, &err));
    ck_assert_ok(graft_exec_set(e, "positions", places, n * 4, &err));
    ck_assert_ok(graft_exec_set(e, "sequences", border, sizeof border, &err));
    ck_assert_ok(graft_exec_set(e, "label_rows", rows, (TOKENS - 1) * 4, &err));
    ck_assert_ok(graft_exec_set(e, "labels", labels, (TOKENS - 1) * 4, &err));
    ck_assert_ok(graft_exec_set(e, "label_weight", weight, (TOKENS - 1) * 4, &err));
    ck_assert_ok(graft_exec_run(e, extent, 1, 1, &err));
}

static int is_weight(const graft_value_info *v) { return v->node < 0 && v->place == GRAFT_PLACE_WEIGHT; }

START_TEST(ten_updates_leave_the_rest)
{
    const int64_t capacity[GRAFT_SYMBOLS] = {64, 2, 64, 0};
    const graft_update_options o = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1, .max_grad_norm = 1.0};
    graft_arena *a = graft_arena_new();
    graft_model *model;
    graft_graph *g;
    graft_store *s;
    graft_update u;
    graft_exec *e;
    double norm;
    start();
    ck_assert_ok(graft_model_open(registry, graft_test_fixture("methods/base/qwen2"), &model, &err));
    graft_active_method m = method_of(a, adapters[_i].method, adapters[_i].args);
    ck_assert_ok(graft_model_graph(model, &m, 1, GRAFT_FOR_TRAIN, &g, &err));
    ck_assert_ok(graft_update_graphs(&u, g, &o, &device, &err));
    ck_assert_ok(graft_graph_prepare(g, &device, 0, 0, &err));
    ck_assert_ok(graft_store_new(&device, &s, &err));
    ck_assert_ok(graft_store_add_graph(s, g, capacity, &err));
    ck_assert_ok(graft_store_add_graph(s, u.norm, capacity, &err));
    ck_assert_ok(graft_store_add_graph(s, u.step, capacity, &err));
    ck_assert_ok(graft_store_commit(s, &err));
    ck_assert_ok(graft_model_load(model, g, s, 3, &err));
    ck_assert_ok(graft_exec_new(g, s, capacity, 3, &e, &err));
    ck_assert_ok(graft_update_compile(&u, s, capacity, 3, &err));
    char **before = graft_calloc((size_t)g->n_values, sizeof *before);
    for (int32_t i = 1; i < g->n_values; i++) {
        const int at = is_weight(&g->values[i]) ? graft_store_find(s, g->values[i].name) : -1;
        if (at < 0) continue;
        before[i] = graft_calloc((size_t)graft_store_tensor_bytes(s, at) + 1, 1);
        ck_assert_ok(graft_store_read(s, at, before[i], graft_store_tensor_bytes(s, at), &err));
    }
    for (int t = 1; t <= 10; t++) {
        feed(e, graft_graph_virtual_tokens(g));
        ck_assert_ok(graft_update_run(&u, &o, t, 1e-2, &norm, &err));
        ck_assert_double_gt(norm, 0);
    }
    int kept = 0, moved = 0;
    for (int32_t i = 1; i < g->n_values; i++) {
        if (!before[i]) continue;
        const graft_value_info *v = &g->values[i];
        const int at = graft_store_find(s, v->name);
        char *now = graft_calloc((size_t)graft_store_tensor_bytes(s, at) + 1, 1);
        ck_assert_ok(graft_store_read(s, at, now, graft_store_tensor_bytes(s, at), &err));
        const int same = !memcmp(before[i], now, (size_t)graft_store_tensor_bytes(s, at));
        ck_assert_msg(same || graft_update_find(&u, v->name), "%s %s: %s changed and does not train", adapters[_i].method, adapters[_i].args, v->name);
        kept += same && v->from_method < 0;
        moved += !same;
        graft_free(now);
        graft_free(before[i]);
    }
    ck_assert_msg(kept > 2 && moved > 0, "%s: %d weights of the base kept, %d of all moved", adapters[_i].method, kept, moved);
    graft_free(before);
    graft_exec_free(e);
    graft_update_free(&u);
    graft_graph_free(g);
    graft_store_free(s);
    m.table->close(m.run);
    graft_model_close(model);
    graft_arena_free(a);
    stop();
}
END_TEST

/* ---- LISA ---------------------------------------------------------------------------------------------------------------------- */

typedef struct seen {
    int64_t memory[16];
} seen;

static void note(void *ctx, const graft_train_progress *p, int logging)
{
    (void)logging;
    if (p->step < 16) ((seen *)ctx)->memory[p->step] = p->memory_bytes;
}

static int64_t moments_at(const char *dir, int step)
{
    char path[4200];
    graft_weights *w = NULL;
    int64_t bytes = 0;
    snprintf(path, sizeof path, "%s/checkpoint-%d/optimiser.safetensors", dir, step);
    ck_assert_ok(graft_weights_open(path, &w, &err));
    for (int64_t i = 0; i < graft_weights_count(w); i++) bytes += graft_weights_at(w, i)->bytes;
    graft_weights_close(w);
    return bytes;
}

/* Two blocks awake, then one, then two others: what the optimiser holds, as the checkpoints have it, falls by a block's moments and rises again; what the
 * loop reports as its memory falls by these and the block's gradients, in fact and not only in the plan, for it is made of what the store was told to hold. */
START_TEST(lisas_memory_falls)
{
    graft_arena *a = graft_arena_new();
    graft_model *model;
    graft_graph *g;
    start();
    ck_assert_ok(graft_model_open(registry, graft_test_fixture("methods/base/llama_deep"), &model, &err));
    graft_active_method m = method_of(a, "lisa", "{\"lisa_schedule\": [[0, 2], [1], [2, 3]], \"lisa_step_interval\": 2}");
    int64_t block = 0;
    const int64_t none[GRAFT_SYMBOLS] = {0};
    ck_assert_ok(graft_model_graph(model, NULL, 0, GRAFT_FOR_LOSS, &g, &err));
    for (int32_t i = 1; i < g->n_values; i++)
        if (is_weight(&g->values[i]) && g->values[i].layer == 1) block += 4 * graft_shape_elements(&g->values[i].shape, none);
    graft_graph_free(g);
    graft_dataset *d = graft_dataset_empty();
    for (int i = 0; i < 4; i++) {
        int32_t ids[TOKENS];
        for (int k = 0; k < TOKENS; k++) ids[k] = 3 + (5 * i + 7 * k) % 60;
        ck_assert_ok(graft_dataset_add(d, ids, ids, TOKENS, &err));
    }
    const char *dir = graft_test_dir("lisa_memory");
    seen saw = {{0}};
    const graft_train_events events = {.ctx = &saw, .progress = note};
    const graft_train_options o = {.output_dir = dir, .learning_rate = 1e-3, .optim = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .max_grad_norm = 1.0}, .num_train_epochs = 1, .max_steps = 6, .per_device_train_batch_size = 4, .per_device_eval_batch_size = 4, .gradient_accumulation_steps = 1, .lr_scheduler_type = "constant", .logging_steps = 1, .save_steps = 1, .save_strategy = "steps", .seed = 7, .data_seed = 7, .base_name = "base"};
    const graft_train_job job = {.model = model, .methods = &m, .n_methods = 1, .device = &device, .train = d, .options = &o, .events = &events};
    graft_train_result result;
    const graft_status status = graft_train(&job, &result, &err);
    ck_assert_msg(!status, "%s: %s", err.where, err.message);
    const int64_t two = moments_at(dir, 2), one = moments_at(dir, 4), again = moments_at(dir, 6);
    printf("moments with two blocks awake %lld bytes, with one %lld; the loop's memory %lld and %lld\n", (long long)two, (long long)one, (long long)saw.memory[2], (long long)saw.memory[4]);
    ck_assert_int_eq(two - one, 2 * block);
    ck_assert_int_eq(again, two);
    ck_assert_int_le(saw.memory[4] + 3 * block, saw.memory[2]);
    graft_dataset_free(d);
    m.table->close(m.run);
    graft_model_close(model);
    graft_arena_free(a);
    stop();
}
END_TEST

static void cases(TCase *tc)
{
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, ten_updates_leave_the_rest, 0, (int)(sizeof adapters / sizeof *adapters));
    tcase_add_test(tc, lisas_memory_falls);
}

int main(void) { return graft_test_main("methods/frozen", cases); }
