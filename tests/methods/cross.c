/* Every tuning method on every architecture, neither knowing the other: small random models of the tree's plugins, one after the other with each method.
 *
 *     begin    the loss at step zero is the base model's, where the method promises it
 *     train    ten updates: the loss falls, weights that do not train keep their bits, as many numbers train as the plan says
 *     files    saved and loaded: the same loss, bit for bit
 *     merge    merged into the weights: the same loss; or a sentence why not
 *     resume   six updates at once, or three and three after a checkpoint: the same files, byte for byte
 *
 * A method that cannot take a model must say so in a sentence; that is counted aloud. */
#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/graph/store.h"
#include "core/train/train.h"
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 8,
       LENGTH = 12 };

static graft_error err = GRAFT_ERROR_INIT;
static graft_registry *registry;
static graft_device device;
static int refused, done;

typedef struct trial {
    const char *name, *method, *args;
    int begins_as_base, merges;
    double rate;
} trial;

static const trial trials[] = {
    {"full", "full", "{}", 1, 0, 1e-3},
    {"freeze", "freeze", "{\"freeze_trainable_layers\": 1}", 1, 0, 1e-3},
    {"lisa", "lisa", "{\"lisa_activated_layers\": 1, \"lisa_step_interval\": 2}", 1, 0, 1e-3},
    {"bitfit", "bitfit", "{}", 1, 1, 1e-2},
    {"lora", "lora", "{\"lora_rank\": 4}", 1, 1, 1e-2},
    {"lora dropout", "lora", "{\"lora_rank\": 4, \"lora_dropout\": 0.1, \"use_rslora\": true}", 1, 1, 1e-2},
    {"lora plus", "lora", "{\"lora_rank\": 4, \"loraplus_lr_ratio\": 4.0, \"lora_bias\": \"all\"}", 1, 1, 3e-3},
    {"dora", "lora", "{\"lora_rank\": 4, \"use_dora\": true}", 1, 1, 1e-2},
    {"pissa", "lora", "{\"lora_rank\": 4, \"pissa_init\": true, \"pissa_iter\": -1}", 1, 1, 1e-3},
    {"olora", "lora", "{\"lora_rank\": 4, \"init_lora_weights\": \"olora\"}", 1, 1, 1e-3},
    {"lora ends", "lora", "{\"lora_rank\": 4, \"lora_target\": \"embed,head\"}", 1, 1, 1e-2},
    {"adalora", "adalora", "{\"init_r\": 4, \"orth_reg_weight\": 0.1}", 1, 1, 1e-2},
    {"ia3", "ia3", "{}", 1, 1, 3e-2},
    {"houlsby", "adapter", "{\"adapter_type\": \"houlsby\", \"reduction_factor\": 4}", 1, 0, 1e-2},
    {"pfeiffer", "adapter", "{\"adapter_type\": \"pfeiffer\", \"reduction_factor\": 4}", 1, 0, 1e-2},
    {"parallel", "adapter", "{\"adapter_type\": \"parallel\", \"reduction_factor\": 4}", 1, 0, 1e-2},
    {"llama_adapter", "llama_adapter", "{\"adapter_len\": 4}", 1, 0, 3e-2},
    {"prefix", "prefix", "{\"num_virtual_tokens\": 4}", 0, 0, 3e-2},
    {"prefix projection", "prefix", "{\"num_virtual_tokens\": 4, \"prefix_projection\": true, \"encoder_hidden_size\": 8}", 0, 0, 1e-2},
    {"prompt", "prompt", "{\"num_virtual_tokens\": 4, \"prompt_tuning_init\": \"SAMPLE_VOCAB\"}", 0, 0, 3e-2},
    {"ptuning mlp", "ptuning", "{\"num_virtual_tokens\": 4, \"encoder_hidden_size\": 8}", 0, 0, 1e-2},
    {"ptuning lstm", "ptuning", "{\"num_virtual_tokens\": 4, \"encoder_hidden_size\": 6, \"encoder_reparameterization_type\": \"LSTM\"}", 0, 0, 1e-2},
};

/* GRAFT_TEST_BACKEND and GRAFT_TEST_MODEL: another backend than the plain one, and only the fixture of this name. */
static const char *backend_wanted(void) { return getenv("GRAFT_TEST_BACKEND") ? getenv("GRAFT_TEST_BACKEND") : "reference"; }

static int start(void)
{
    const graft_registry_options o = {.shipped = GRAFT_BINARY_DIR "/lib/graft/registry.json"};
    ck_assert_ok(graft_registry_open(&o, &registry, &err));
    const graft_status status = graft_device_open(registry, backend_wanted(), NULL, &device, &err);
    if (status) printf("skipped: backend %s: %s\n", backend_wanted(), err.message);
    ck_assert_msg(!status || getenv("GRAFT_TEST_BACKEND"), "%s", err.message);
    refused = done = 0;
    return status == GRAFT_OK;
}

static void stop(void)
{
    graft_device_close(&device);
    graft_registry_close(registry);
}

/* ---- a model with a method -------------------------------------------------------------------------------------------------------------- */

typedef struct rig {
    graft_arena *arena;
    graft_model *model;
    graft_active_method method;
    int n_methods;
    graft_graph *graph;
    graft_store *store;
    graft_exec *exec;
    int64_t capacity[GRAFT_SYMBOLS];
} rig;

static graft_status open_method(rig *r, const trial *t, const char *adapter)
{
    const graft_entry *entry;
    const graft_loaded *plugin;
    const graft_json *args = NULL, *saved = NULL;
    char path[4096];
    graft_status status = graft_registry_need(registry, GRAFT_KIND_METHOD, t->method, &entry, &err);
    if (!status) status = graft_plugin_load(entry, &plugin, &err);
    if (status) return status;
    r->method = (graft_active_method){.name = entry->name, .table = plugin->table};
    status = graft_json_parse(r->arena, "arguments", t->args, strlen(t->args), 0, &args, &err);
    if (!status && adapter) {
        snprintf(path, sizeof path, "%s/%s", adapter, r->method.table->files->config);
        status = graft_json_parse_file(r->arena, path, 1 << 20, 0, &saved, &err);
        if (!status) ck_assert_msg(r->method.table->owns(plugin->self, saved), "%s does not know its own file", t->name);
    }
    const graft_config *config = status ? NULL : graft_config_new(r->arena, "arguments", args);
    if (!status) status = r->method.table->open(plugin->self, config, saved ? graft_config_new(r->arena, adapter, saved) : NULL, &r->method.run, &err);
    if (!status) r->n_methods = 1, status = graft_config_check(config, &err);
    return status;
}

static graft_status open_model(rig *r, const char *model, const trial *t, const char *adapter)
{
    memset(r, 0, sizeof *r);
    r->arena = graft_arena_new();
    graft_status status = graft_model_open(registry, model, &r->model, &err);
    return status || !t ? status : open_method(r, t, adapter);
}

/* The loss alone, and for files the whole graph. t NULL: the base. */
static graft_status open_rig(rig *r, const char *model, const trial *t, const char *adapter)
{
    graft_status status = open_model(r, model, t, adapter);
    for (int i = 0; i < GRAFT_SYMBOLS; i++) r->capacity[i] = 256;
    if (!status) status = graft_store_new(&device, &r->store, &err);
    if (!status) status = graft_model_graph(r->model, &r->method, r->n_methods, GRAFT_FOR_LOSS, &r->graph, &err);
    if (!status) status = graft_graph_prepare(r->graph, &device, 0, 0, &err);
    if (!status) status = graft_store_add_graph(r->store, r->graph, r->capacity, &err);
    if (!status) status = graft_store_commit(r->store, &err);
    if (!status) status = graft_model_load(r->model, r->graph, r->store, 7, &err);
    if (!status && adapter) status = graft_adapter_load(adapter, &r->method, 0, r->graph, r->store, &err);
    return status;
}

static void close_rig(rig *r)
{
    graft_exec_free(r->exec);
    graft_graph_free(r->graph);
    graft_store_free(r->store);
    if (r->n_methods) r->method.table->close(r->method.run);
    graft_model_close(r->model);
    graft_arena_free(r->arena);
    memset(r, 0, sizeof *r);
}

static graft_dataset *samples(int64_t vocab)
{
    graft_dataset *d = graft_dataset_empty();
    for (int64_t i = 0; i < SAMPLES; i++) {
        int32_t ids[LENGTH], labels[LENGTH];
        for (int64_t k = 0; k < LENGTH; k++) ids[k] = labels[k] = (int32_t)(3 + (7 * i + 5 * k + k * k * (i % 3)) % (vocab - 3));
        labels[0] = labels[1] = -100;
        ck_assert_ok(graft_dataset_add(d, ids, labels, LENGTH - i % 4, &err));
    }
    return d;
}

static double loss_of(rig *r, const graft_dataset *d)
{
    graft_batch *b;
    float loss = 0;
    ck_assert_ok(graft_batch_new(&b, 256, SAMPLES, &err));
    b->virtual_tokens = graft_graph_virtual_tokens(r->graph);
    for (int64_t i = 0; i < SAMPLES; i++) {
        const graft_sample s = graft_dataset_at(d, i);
        ck_assert_int_eq(graft_batch_add(b, &s), 1);
    }
    int64_t extent[GRAFT_SYMBOLS];
    if (!r->exec) ck_assert_ok(graft_exec_new(r->graph, r->store, r->capacity, 7, &r->exec, &err));
    ck_assert_ok(graft_batch_give(b, r->exec, 1.0 / (double)b->labelled, extent, &err));
    ck_assert_ok(graft_exec_run(r->exec, extent, 0, 0, &err));
    ck_assert_ok(graft_exec_get(r->exec, "loss", &loss, sizeof loss, &err));
    graft_batch_free(b);
    return (double)loss;
}

/* ---- training ------------------------------------------------------------------------------------------------------------------------------ */

static double losses[64];
static void note_loss(void *ctx, const graft_train_progress *p, int logging)
{
    (void)ctx, (void)logging;
    if (p->step < 64) losses[p->step] = p->loss;
}

/* steps updates into dir; the run goes on from a checkpoint that lies there. save: a checkpoint every so many. */
static graft_status train(rig *r, const trial *t, const graft_dataset *d, const char *dir, int64_t steps, int64_t save, graft_memory *plan)
{
    const graft_train_options o = {.output_dir = dir, .learning_rate = t->rate, .optim = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .max_grad_norm = 1.0}, .num_train_epochs = 1, .max_steps = steps, .per_device_train_batch_size = SAMPLES, .per_device_eval_batch_size = SAMPLES, .gradient_accumulation_steps = 1, .lr_scheduler_type = "constant", .logging_steps = 1, .save_steps = (double)save, .save_strategy = save ? "steps" : "no", .seed = 7, .data_seed = 7, .base_name = "base"};
    const graft_train_events events = {.progress = note_loss};
    graft_train_result result;
    const graft_train_job job = {.model = r->model, .methods = &r->method, .n_methods = r->n_methods, .device = &device, .train = d, .options = &o, .events = &events};
    if (plan) {
        const graft_status status = graft_train_plan(&job, plan, &err);
        if (status) return status;
    }
    return graft_train(&job, &result, &err);
}

static int same_file(const char *a, const char *b)
{
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    ck_assert_ok(graft_file_read(a, 1 << 28, &x, &n, &err));
    ck_assert_ok(graft_file_read(b, 1 << 28, &y, &m, &err));
    const int same = n == m && !memcmp(x, y, n);
    graft_free(x);
    graft_free(y);
    return same;
}

static const char *file_in(const char *dir, const char *name)
{
    static char path[4][8192];
    static int at;
    at = (at + 1) % 4;
    snprintf(path[at], sizeof path[at], "%s/%s", dir, name);
    return path[at];
}

static const char *weights_of(const trial *t, const rig *r)
{
    (void)t;
    return r->method.table->files ? r->method.table->files->weights : "model.safetensors";
}

/* Numbers that the method trains by its graph, and the base's weights that it leaves alone: equal before and after. */
static int64_t count_trained(const char *model, const trial *t)
{
    rig r;
    graft_graph *g = NULL;
    int64_t n = 0;
    const int64_t none[GRAFT_SYMBOLS] = {0};
    ck_assert_ok(open_model(&r, model, t, NULL));
    ck_assert_ok(graft_model_graph(r.model, &r.method, 1, GRAFT_FOR_TRAIN, &g, &err));
    for (int32_t i = 1; i < g->n_values; i++)
        if (g->values[i].node < 0 && g->values[i].place == GRAFT_PLACE_STATE && !strncmp(g->values[i].name, "grad:", 5)) n += graft_shape_elements(&g->values[i].shape, none);
    graft_graph_free(g);
    close_rig(&r);
    return n;
}

/* Weights of the saved model that the method does not train are the base's, bit for bit. Only for methods that save the whole model. */
static void check_frozen(const char *model, const trial *t, const char *dir)
{
    rig base, now, graph;
    graft_graph *g = NULL;
    if (!strcmp(t->method, "lisa")) return; /* every layer may have been awake once; the trainer's test of periods is below */
    ck_assert_ok(open_rig(&base, model, NULL, NULL));
    ck_assert_ok(open_rig(&now, dir, NULL, NULL));
    ck_assert_ok(open_model(&graph, model, t, NULL));
    ck_assert_ok(graft_model_graph(graph.model, &graph.method, 1, GRAFT_FOR_TRAIN, &g, &err));
    int changed = 0;
    for (int32_t i = 1; i < g->n_values; i++) {
        const graft_value_info *v = &g->values[i];
        if (v->node >= 0 || v->place != GRAFT_PLACE_WEIGHT || v->from_method >= 0) continue;
        const int a = graft_store_find(base.store, v->name), b = graft_store_find(now.store, v->name);
        ck_assert_msg(a >= 0 && b >= 0, "%s: %s is missing", t->name, v->name);
        const int64_t bytes = graft_store_tensor_bytes(base.store, a);
        char *x = graft_calloc((size_t)bytes + 1, 1), *y = graft_calloc((size_t)bytes + 1, 1);
        ck_assert_ok(graft_store_read(base.store, a, x, bytes, &err));
        ck_assert_ok(graft_store_read(now.store, b, y, bytes, &err));
        const int same = !memcmp(x, y, (size_t)bytes);
        ck_assert_msg(same || v->trainable, "%s: the frozen weight %s changed", t->name, v->name);
        changed += !same;
        graft_free(x);
        graft_free(y);
    }
    ck_assert_int_gt(changed, 0);
    graft_graph_free(g);
    close_rig(&graph);
    close_rig(&now);
    close_rig(&base);
}

static void check_merge(rig *r, const trial *t, const graft_dataset *d, double loss, const char *dir)
{
    rig merged;
    const graft_status status = graft_model_merge(r->model, &r->method, 1, r->graph, r->store, &err);
    if (!t->merges && r->method.table->files) {
        ck_assert_msg(status == GRAFT_UNSUPPORTED && err.message[0], "%s merged although it cannot", t->name);
        return;
    }
    if (status && strstr(err.message, "the model's head is its embedding")) return; /* merged with a head of its own: tests/methods/sites.c */
    ck_assert_msg(!status, "%s: %s", t->name, err.message);
    ck_assert_ok(graft_path_remove(dir, &err));
    ck_assert_ok(graft_model_save(r->model, r->graph, r->store, NULL, dir, GRAFT_F32, 0, &err));
    ck_assert_ok(open_rig(&merged, dir, NULL, NULL));
    const double now = loss_of(&merged, d);
    ck_assert_msg(fabs(now - loss) < 2e-5, "%s: the merged model has loss %.7f, not %.7f", t->name, now, loss);
    close_rig(&merged);
}

static void check_resume(const char *model, const trial *t, const graft_dataset *d)
{
    rig r;
    char whole[4096], parts[4096];
    snprintf(whole, sizeof whole, "%s", graft_test_dir("cross_whole"));
    snprintf(parts, sizeof parts, "%s", graft_test_dir("cross_parts"));
    ck_assert_ok(open_model(&r, model, t, NULL));
    ck_assert_ok(train(&r, t, d, whole, 6, 0, NULL));
    close_rig(&r);
    ck_assert_ok(open_model(&r, model, t, NULL));
    ck_assert_ok(train(&r, t, d, parts, 3, 3, NULL));
    close_rig(&r);
    ck_assert_ok(open_model(&r, model, t, NULL));
    ck_assert_ok(train(&r, t, d, parts, 6, 0, NULL));
    ck_assert_msg(same_file(file_in(whole, weights_of(t, &r)), file_in(parts, weights_of(t, &r))), "%s: a resumed run of %s ends elsewhere", t->name, model);
    close_rig(&r);
}

static char **fixtures; /* models of the tree */
static size_t n_fixtures;

/* ---- one pair ---------------------------------------------------------------------------------------------------------------------------------- */

/* 0 when the method refuses the model with a sentence. */
static int begins(const char *model, const trial *t, const graft_dataset *d, double base)
{
    rig r;
    graft_graph *g = NULL;
    graft_status status = open_rig(&r, model, t, NULL);
    if (!status) status = graft_model_graph(r.model, &r.method, 1, GRAFT_FOR_TRAIN, &g, &err);
    graft_graph_free(g);
    if (status) {
        ck_assert_msg(err.message[0] && (status == GRAFT_BAD_INPUT || status == GRAFT_UNSUPPORTED), "%s on %s: status %d without a sentence", t->name, model, (int)status);
        printf("refused: %s on %s: %s\n", t->name, graft_path_base(model), err.message);
        refused++;
        close_rig(&r);
        return 0;
    }
    if (t->begins_as_base) {
        const double loss = loss_of(&r, d);
        ck_assert_msg(fabs(loss - base) < 1e-5, "%s on %s: loss %.7f at step zero, the base has %.7f", t->name, model, loss, base);
    }
    close_rig(&r);
    return 1;
}

static void pair(const char *model, const trial *t, const graft_dataset *d, double base)
{
    rig r, again;
    graft_memory plan;
    char out[4096], merged[4096];
    if (!begins(model, t, d, base)) return;
    snprintf(out, sizeof out, "%s", graft_test_dir("cross_out"));
    snprintf(merged, sizeof merged, "%s", graft_test_dir("cross_merged"));
    ck_assert_ok(open_model(&r, model, t, NULL));
    const graft_status status = train(&r, t, d, out, 10, 0, &plan);
    ck_assert_msg(!status, "%s on %s: %s: %s", t->name, model, err.where, err.message);
    ck_assert_msg(losses[10] < losses[1], "%s on %s: the loss went from %.6f to %.6f", t->name, model, losses[1], losses[10]);
    ck_assert_msg(plan.trainable == count_trained(model, t), "%s on %s: the plan says %lld trainable", t->name, model, (long long)plan.trainable);
    const int has_files = r.method.table->files != NULL;
    close_rig(&r);
    if (!has_files) check_frozen(model, t, out);
    ck_assert_ok(has_files ? open_rig(&r, model, t, out) : open_rig(&r, out, NULL, NULL));
    const double loss = loss_of(&r, d);
    ck_assert_msg(loss < losses[1], "%s on %s: loss %.6f after training, %.6f before", t->name, model, loss, losses[1]);
    if (has_files) { /* what was read is written and read once more */
        ck_assert_ok(graft_path_remove(merged, &err));
        ck_assert_ok(graft_adapter_save(merged, &r.method, 0, r.graph, r.store, "base", &err));
        const graft_status second = open_rig(&again, model, t, merged);
        ck_assert_msg(!second, "%s on %s: %s: %s", t->name, model, err.where, err.message);
        const double same = loss_of(&again, d);
        ck_assert_msg(same == loss, "%s on %s: %.9f after a second save, not %.9f", t->name, model, same, loss);
        close_rig(&again);
        close_rig(&r); /* the frozen weights were run: merging writes them anew */
        ck_assert_ok(open_rig(&r, model, t, out));
        check_merge(&r, t, d, loss, merged);
    }
    close_rig(&r);
    check_resume(model, t, d);
    done++;
}

/* The first fixture of each architecture. */
static int known_before(const char *model, size_t at)
{
    rig a, b;
    char path[4096];
    int known = 0;
    if (open_model(&a, model, NULL, NULL)) return 0;
    for (size_t i = 0; i < at && !known; i++) {
        snprintf(path, sizeof path, "%s/arch/%s", graft_test_fixture(""), fixtures[i]);
        known = !open_model(&b, path, NULL, NULL) && !strcmp(a.model->model_type, b.model->model_type);
        close_rig(&b);
    }
    close_rig(&a);
    return known;
}

static void all_methods(size_t at)
{
    rig base;
    const char *fixture = fixtures[at];
    char model[4096];
    snprintf(model, sizeof model, "%s/arch/%s", graft_test_fixture(""), fixture);
    if (getenv("GRAFT_TEST_MODEL") ? strcmp(fixture, getenv("GRAFT_TEST_MODEL")) : known_before(model, at)) return;
    if (open_rig(&base, model, NULL, NULL)) {
        printf("skipped: %s: %s\n", fixture, err.message);
        close_rig(&base);
        return;
    }
    graft_dataset *d = samples(base.model->vocab);
    const double loss = loss_of(&base, d);
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) pair(model, &trials[i], d, loss);
    printf("%s: %d methods trained, %d refused with a sentence\n", fixture, done, refused);
    ck_assert_int_gt(done, 10);
    graft_dataset_free(d);
    close_rig(&base);
}

START_TEST(every_method_takes_the_model_or_says_why_not)
{
    if (start()) all_methods((size_t)_i);
    stop();
}
END_TEST

static void cases(TCase *tc)
{
    if (graft_dir_list(graft_test_fixture("arch"), &fixtures, &n_fixtures, &err)) return;
    tcase_add_loop_test(tc, every_method_takes_the_model_or_says_why_not, 0, (int)n_fixtures);
}

int main(void) { return graft_test_main("methods/cross", cases); }
