/* AdaLoRA's rank schedule over 36 updates, beside PEFT's RankAllocator (tests/peers/adalora.py): the same ranks after each update, the same losses, the same
 * factors and files in the end. */
#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/train/after.h"
#include "tests/support/device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { UPDATES = 36,
       TOKENS = 24,
       RANK = 4,
       SITES = 6 };

#define PREFIX "base_model.model."
static const char *const sites[SITES] = {"model.layers.0.mlp.down_proj", "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj",
                                         "model.layers.1.mlp.down_proj", "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"};

static const int64_t capacity[GRAFT_SYMBOLS] = {TOKENS, 1, TOKENS, 0};

typedef struct rig {
    graft_arena *arena;
    graft_model *model;
    graft_active_method method;
    graft_train_options options;
    graft_train_job job;
    graft_trainer trainer;
    graft_weights *peer;
} rig;

static const float *numbers(const rig *r, const char *name, int64_t *n)
{
    const graft_weight_info *t = graft_weights_find(r->peer, name);
    ck_assert_msg(t != NULL, "%s is missing", name);
    if (n) *n = graft_weights_elements(t);
    return (const float *)(const void *)t->data;
}

static void open_rig(rig *r)
{
    static const char args[] = "{\"lora_target\": \"q_proj,v_proj,down_proj\", \"init_r\": 4, \"target_r\": 2, \"tinit\": 4, \"tfinal\": 7, \"deltaT\": 3, \"beta1\": 0.85, "
                               "\"beta2\": 0.85, \"orth_reg_weight\": 0.1, \"lora_alpha\": 16, \"max_steps\": 36}";
    const graft_entry *entry;
    const graft_loaded *plugin;
    const graft_json *o;
    char path[4096];
    memset(r, 0, sizeof *r);
    r->arena = graft_arena_new();
    snprintf(path, sizeof path, "%s/trajectory.safetensors", graft_test_fixture("methods/llama_adalora_schedule"));
    ck_assert_ok(graft_weights_open(path, &r->peer, &err));
    ck_assert_ok(graft_registry_need(registry, GRAFT_KIND_METHOD, "adalora", &entry, &err));
    ck_assert_ok(graft_plugin_load(entry, &plugin, &err));
    ck_assert_ok(graft_json_parse(r->arena, "arguments", args, strlen(args), 0, &o, &err));
    r->method = (graft_active_method){.name = "adalora", .table = plugin->table};
    ck_assert_ok(r->method.table->open(plugin->self, graft_config_new(r->arena, "arguments", o), NULL, &r->method.run, &err));
    ck_assert_ok(graft_model_open(registry, graft_test_fixture("methods/base/llama"), &r->model, &err));
    r->options.optim = (graft_optim_options){.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .max_grad_norm = 1.0};
    r->job = (graft_train_job){.model = r->model, .methods = &r->method, .n_methods = 1, .device = &device, .options = &r->options};
    graft_trainer *t = &r->trainer;
    *t = (graft_trainer){.job = &r->job, .o = &r->options, .steps = {.total = UPDATES}};
    ck_assert_ok(graft_model_graph(r->model, &r->method, 1, GRAFT_FOR_TRAIN, &t->graphs.train, &err));
    ck_assert_ok(graft_update_graphs(&t->graphs.update, t->graphs.train, &r->options.optim, &device, &err));
    ck_assert_ok(graft_graph_prepare(t->graphs.train, &device, 0, 0, &err));
    ck_assert_ok(graft_store_new(&device, &t->store, &err));
    memcpy(t->capacity, capacity, sizeof capacity);
    ck_assert_ok(graft_trainer_add_graphs(t, &err));
    ck_assert_ok(graft_model_load(r->model, t->graphs.train, t->store, 1, &err));
    ck_assert_ok(graft_trainer_compile(t, &err));
    for (int32_t i = 1; i < t->graphs.train->n_values; i++) {
        const graft_value_info *v = &t->graphs.train->values[i];
        char name[512];
        int64_t n;
        if (v->place != GRAFT_PLACE_WEIGHT || v->node >= 0 || v->from_method < 0) continue;
        snprintf(name, sizeof name, "start." PREFIX "%s", v->name);
        const float *x = numbers(r, name, &n);
        ck_assert_ok(graft_store_write(t->store, graft_store_find(t->store, v->name), x, n * 4, &err));
    }
    t->graphs.update.watch = graft_after_take, t->graphs.update.watcher = t;
}

static void close_rig(rig *r)
{
    graft_after_free(&r->trainer);
    graft_exec_free(r->trainer.train);
    graft_train_graphs_free(&r->trainer.graphs);
    graft_store_free(r->trainer.store);
    r->method.table->close(r->method.run);
    graft_model_close(r->model);
    graft_weights_close(r->peer);
    graft_arena_free(r->arena);
}

/* The loss on sequence step % 3, with gradients. */
static double loss_at(rig *r, int64_t step)
{
    graft_exec *e = r->trainer.train;
    int32_t positions[TOKENS], labels[TOKENS], borders[4] = {0, TOKENS, 0, 0};
    float weight[TOKENS], loss;
    const int32_t *ids = (const int32_t *)(const void *)numbers(r, "ids", NULL) + step % 3 * TOKENS;
    for (int32_t i = 0; i < TOKENS; i++) positions[i] = i, weight[i] = 1.0f / (TOKENS - 1), labels[i] = i + 1 < TOKENS ? ids[i + 1] : 0;
    ck_assert_ok(graft_exec_set(e, "tokens", ids, sizeof positions, &err));
    ck_assert_ok(graft_exec_set(e, "positions", positions, sizeof positions, &err));
    ck_assert_ok(graft_exec_set(e, "sequences", borders, sizeof borders, &err));
    ck_assert_ok(graft_exec_set(e, "label_rows", positions, (TOKENS - 1) * 4, &err));
    ck_assert_ok(graft_exec_set(e, "labels", labels, (TOKENS - 1) * 4, &err));
    ck_assert_ok(graft_exec_set(e, "label_weight", weight, (TOKENS - 1) * 4, &err));
    ck_assert_ok(graft_exec_run(e, (const int64_t[GRAFT_SYMBOLS]){TOKENS, 1, TOKENS - 1, 0}, 0, 1, &err));
    ck_assert_ok(graft_exec_get(e, "loss", &loss, sizeof loss, &err));
    return (double)loss;
}

static void check_masks(const rig *r, int64_t step)
{
    const uint8_t *want = graft_weights_find(r->peer, "masks")->data;
    for (int s = 0; s < SITES; s++) {
        char name[256];
        const uint8_t *kept = NULL;
        int axis = -1;
        snprintf(name, sizeof name, "%s.lora_E", sites[s]);
        const int some = r->method.table->file_rows(r->method.run, name, &axis, &kept);
        for (int i = 0; i < RANK; i++) ck_assert_msg((some ? kept[i] : 1) == want[step * SITES * RANK + s * RANK + i], "update %lld: rank %d of %s", (long long)step, i, sites[s]);
    }
}

static void check_files(rig *r)
{
    char dir[2048], path[4096];
    const char *theirs = graft_test_fixture("methods/llama_adalora_schedule");
    const graft_json *a, *b;
    graft_weights *w, *x;
    snprintf(dir, sizeof dir, "%s", graft_test_dir("adalora"));
    ck_assert_ok(graft_adapter_save(dir, &r->method, 0, r->trainer.graphs.train, r->trainer.store, "base", &err));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    ck_assert_ok(graft_weights_open(path, &w, &err));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", theirs);
    ck_assert_ok(graft_weights_open(path, &x, &err));
    ck_assert_int_eq(graft_weights_count(w), graft_weights_count(x));
    for (int64_t i = 0; i < graft_weights_count(x); i++) {
        const graft_weight_info *want = graft_weights_at(x, i), *got = graft_weights_find(w, want->name);
        ck_assert_msg(got && got->rank == want->rank && got->dims[0] == want->dims[0] && got->dims[1] == want->dims[1], "%s is missing or of another shape", want->name);
        for (int64_t k = 0; k < graft_weights_elements(want); k++) ck_assert_float_eq_tol(((const float *)(const void *)got->data)[k], ((const float *)(const void *)want->data)[k], 5e-5f);
    }
    graft_weights_close(w);
    graft_weights_close(x);
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    ck_assert_ok(graft_json_parse_file(r->arena, path, 1 << 20, 0, &a, &err));
    snprintf(path, sizeof path, "%s/adapter_config.json", theirs);
    ck_assert_ok(graft_json_parse_file(r->arena, path, 1 << 20, 0, &b, &err));
    static const char *const keys[] = {"rank_pattern", "init_r", "target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "total_step", "orth_reg_weight", "lora_alpha", "peft_type"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        graft_str p, q;
        graft_str_init(&p, 0);
        graft_str_init(&q, 0);
        graft_json_write(&p, graft_json_get(a, keys[k]), 0, 1);
        graft_json_write(&q, graft_json_get(b, keys[k]), 0, 1);
        ck_assert_msg(!strcmp(p.data, q.data), "%s is %s, expected %s", keys[k], p.data, q.data);
        graft_str_free(&p);
        graft_str_free(&q);
    }
}

START_TEST(ranks_of_peft)
{
    rig r;
    double norm;
    open_rig(&r);
    const float *want = numbers(&r, "loss", NULL);
    ck_assert(r.method.table->watches(r.method.run));
    for (int64_t step = 0; step < UPDATES; step++) {
        ck_assert_double_eq_tol(loss_at(&r, step), (double)want[step], 2e-5);
        ck_assert_ok(graft_update_run(&r.trainer.graphs.update, &r.options.optim, step + 1, 2e-2, &norm, &err));
        ck_assert_ok(graft_after_run(&r.trainer, step, &err));
        check_masks(&r, step);
    }
    ck_assert_double_eq_tol(loss_at(&r, UPDATES), (double)want[UPDATES], 2e-5);
    for (int s = 0; s < SITES; s++) {
        char name[256], theirs[300];
        float e[RANK];
        snprintf(name, sizeof name, "%s.lora_E", sites[s]);
        snprintf(theirs, sizeof theirs, "after." PREFIX "%s", name);
        ck_assert_ok(graft_store_read(r.trainer.store, graft_store_find(r.trainer.store, name), e, sizeof e, &err));
        for (int i = 0; i < RANK; i++) ck_assert_float_eq_tol(e[i], numbers(&r, theirs, NULL)[i], 5e-5f);
    }
    check_files(&r);
    close_rig(&r);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_unchecked_fixture(tc, start, stop);
    tcase_add_test(tc, ranks_of_peft);
}

int main(void) { return graft_test_main("adalora", cases); }
