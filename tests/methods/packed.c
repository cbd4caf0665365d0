/* Frozen bases held in less than f32: as the files store them, and quantised to NF4 or int8 while they are loaded (QLoRA).
 *
 *     numbers  a run on the packed base is the run on its numbers in f32: loss and every gradient
 *     methods  each adapter trains on it; saved, loaded, resumed
 *     refused  what would write into it */
#include "graft/packed.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/model/hold.h"
#include "core/model/quantise.h"
#include "core/train/train.h"
#include "graft/random.h"
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SAMPLES = 4,
       LENGTH = 10,
       HIDDEN = 64,
       MLP = 128,
       VOCAB = 96,
       LAYERS = 2 };

static graft_error err = GRAFT_ERROR_INIT;
static graft_registry *registry;
static graft_device device;

static void start(const char *backend)
{
    const graft_registry_options o = {.shipped = GRAFT_BINARY_DIR "/lib/graft/registry.json"};
    ck_assert_ok(graft_registry_open(&o, &registry, &err));
    ck_assert_ok(graft_device_open(registry, backend, NULL, &device, &err));
}

static void stop(void)
{
    graft_device_close(&device);
    graft_registry_close(registry);
}

/* ---- a small model with rows of 64 and 128 ---------------------------------------------------------------------------------------------------- */

static graft_status random_numbers(void *ctx, int64_t offset, void *to, int64_t bytes, graft_error *e)
{
    (void)e;
    for (int64_t i = 0; i < bytes / 4; i++) ((float *)to)[i] = (graft_random_uniform(5, graft_op_id(ctx), 0, (uint64_t)(offset / 4 + i)) - 0.5f) * 0.3f;
    return GRAFT_OK;
}

static void put(graft_tensor_out *t, int64_t *n, char (*names)[64], const char *name, int layer, int64_t rows, int64_t columns)
{
    char *to = names[*n];
    if (layer < 0) snprintf(to, 64, "%s", name);
    else snprintf(to, 64, "model.layers.%d.%s.weight", layer, name);
    t[(*n)++] = (graft_tensor_out){.name = to, .dtype = GRAFT_F32, .rank = columns ? 2 : 1, .dims = {rows, columns}, .read = random_numbers, .ctx = to};
}

static const char *small_model(void)
{
    static const char config[] = "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 128, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
                                 "\"vocab_size\": 96, \"rms_norm_eps\": 1e-6, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\", \"max_position_embeddings\": 64, \"tie_word_embeddings\": false}";
    static char dir[4096], names[64][64];
    graft_tensor_out t[64];
    int64_t n = 0;
    snprintf(dir, sizeof dir, "%s", graft_test_dir("packed_model"));
    ck_assert_ok(graft_dir_make(dir, &err));
    put(t, &n, names, "model.embed_tokens.weight", -1, VOCAB, HIDDEN);
    put(t, &n, names, "model.norm.weight", -1, HIDDEN, 0);
    put(t, &n, names, "lm_head.weight", -1, VOCAB, HIDDEN);
    for (int i = 0; i < LAYERS; i++) {
        put(t, &n, names, "self_attn.q_proj", i, HIDDEN, HIDDEN);
        put(t, &n, names, "self_attn.k_proj", i, HIDDEN / 2, HIDDEN);
        put(t, &n, names, "self_attn.v_proj", i, HIDDEN / 2, HIDDEN);
        put(t, &n, names, "self_attn.o_proj", i, HIDDEN, HIDDEN);
        put(t, &n, names, "mlp.gate_proj", i, MLP, HIDDEN);
        put(t, &n, names, "mlp.up_proj", i, MLP, HIDDEN);
        put(t, &n, names, "mlp.down_proj", i, HIDDEN, MLP);
        put(t, &n, names, "input_layernorm", i, HIDDEN, 0);
        put(t, &n, names, "post_attention_layernorm", i, HIDDEN, 0);
    }
    char *path = graft_path_join(dir, "model.safetensors"), *file = graft_path_join(dir, "config.json");
    ck_assert_ok(graft_safetensors_write(path, t, n, &err));
    ck_assert_ok(graft_file_replace(file, config, sizeof config - 1, &err));
    graft_free(path);
    graft_free(file);
    return dir;
}

/* ---- a run ----------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct rig {
    graft_arena *arena;
    graft_model *model;
    graft_active_method method;
    int n_methods;
    graft_graph *graph;
    graft_store *store;
    graft_exec *exec;
} rig;

static const int64_t capacity[GRAFT_SYMBOLS] = {64, 8, 64, 64};

static graft_status open_method(rig *r, const char *name, const char *args, const char *adapter)
{
    const graft_entry *entry;
    const graft_loaded *plugin;
    const graft_json *json = NULL, *saved = NULL;
    char path[4200];
    graft_status status = graft_registry_need(registry, GRAFT_KIND_METHOD, name, &entry, &err);
    if (!status) status = graft_plugin_load(entry, &plugin, &err);
    if (!status) status = graft_json_parse(r->arena, "arguments", args, strlen(args), 0, &json, &err);
    if (status) return status;
    r->method = (graft_active_method){.name = entry->name, .table = plugin->table};
    if (adapter) {
        snprintf(path, sizeof path, "%s/%s", adapter, r->method.table->files->config);
        status = graft_json_parse_file(r->arena, path, 1 << 20, 0, &saved, &err);
    }
    if (!status) status = r->method.table->open(plugin->self, graft_config_new(r->arena, "arguments", json), saved ? graft_config_new(r->arena, adapter, saved) : NULL, &r->method.run, &err);
    r->n_methods = !status;
    return status;
}

static graft_status open_model(rig *r, const char *model, graft_dtype base, const char *method, const char *args, const char *adapter)
{
    memset(r, 0, sizeof *r);
    r->arena = graft_arena_new();
    graft_status status = graft_model_open(registry, model, &r->model, &err);
    if (!status) r->model->base_dtype = base;
    return status || !method ? status : open_method(r, method, args, adapter);
}

static graft_status open_rig(rig *r, const char *model, graft_dtype base, const char *method, const char *args, const char *adapter, graft_purpose purpose)
{
    graft_status status = open_model(r, model, base, method, args, adapter);
    if (!status) status = graft_model_graph(r->model, &r->method, r->n_methods, purpose, &r->graph, &err);
    if (!status) status = graft_graph_prepare(r->graph, &device, 0, 0, &err);
    if (!status) status = graft_model_hold(r->model, &r->graph, 1, NULL, &device, &err);
    if (!status) status = graft_store_new(&device, &r->store, &err);
    if (!status) status = graft_store_add_graph(r->store, r->graph, capacity, &err);
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
        labels[0] = -100;
        ck_assert_ok(graft_dataset_add(d, ids, labels, LENGTH - i, &err));
    }
    return d;
}

static float run(rig *r)
{
    graft_batch *b;
    float loss = 0;
    graft_dataset *d = samples(r->model->vocab);
    ck_assert_ok(graft_batch_new(&b, 64, SAMPLES, &err));
    b->virtual_tokens = graft_graph_virtual_tokens(r->graph);
    for (int64_t i = 0; i < SAMPLES; i++) {
        const graft_sample s = graft_dataset_at(d, i);
        ck_assert_int_eq(graft_batch_add(b, &s), 1);
    }
    int64_t extent[GRAFT_SYMBOLS];
    if (!r->exec) ck_assert_ok(graft_exec_new(r->graph, r->store, capacity, 7, &r->exec, &err));
    ck_assert_ok(graft_batch_give(b, r->exec, 1.0 / (double)b->labelled, extent, &err));
    ck_assert_ok(graft_exec_run(r->exec, extent, 0, 0, &err));
    ck_assert_ok(graft_exec_get(r->exec, "loss", &loss, sizeof loss, &err));
    graft_batch_free(b);
    graft_dataset_free(d);
    return loss;
}

static int64_t elements(const rig *r, int i)
{
    const graft_shape s = graft_store_shape(r->store, i);
    return graft_shape_elements(&s, (const int64_t[GRAFT_SYMBOLS]){0});
}

static float *numbers(const rig *r, int i)
{
    float *x = graft_calloc((size_t)elements(r, i) + 1, sizeof *x);
    ck_assert_ok(graft_store_read_f32(r->store, i, x, &err));
    return x;
}

static int count_held(const rig *r, graft_dtype t)
{
    int n = 0;
    for (int i = 0; i < graft_store_count(r->store); i++) n += graft_store_shape(r->store, i).dtype == t;
    return n;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------------------------------------ */

/* The largest difference of the gradients over the largest gradient. */
static double worst_gradient(const rig *a, const rig *b)
{
    double worst = 0.0, largest = 0.0;
    for (int i = 0; i < graft_store_count(a->store); i++) {
        if (strncmp(graft_store_name(a->store, i), "grad:", 5)) continue;
        float *x = numbers(a, i), *y = numbers(b, graft_store_find(b->store, graft_store_name(a->store, i)));
        for (int64_t k = 0; k < elements(a, i); k++) {
            if (fabs((double)x[k] - (double)y[k]) > worst) worst = fabs((double)x[k] - (double)y[k]);
            if (fabs((double)x[k]) > largest) largest = fabs((double)x[k]);
        }
        graft_free(x);
        graft_free(y);
    }
    ck_assert_msg(largest > 1e-3, "there is no gradient");
    return worst / largest;
}

static void same_run(const char *model, graft_dtype t, const char *args, int least_held)
{
    rig packed, wide;
    ck_assert_msg(!open_rig(&packed, model, t, "lora", args, NULL, GRAFT_FOR_TRAIN), "%s: %s", err.where, err.message);
    ck_assert_ok(open_rig(&wide, model, GRAFT_F32, "lora", args, NULL, GRAFT_FOR_TRAIN));
    ck_assert_msg(count_held(&packed, t) >= least_held, "%d weights are %s", count_held(&packed, t), graft_dtype_name(t));
    ck_assert_int_eq(count_held(&wide, GRAFT_F32), graft_store_count(wide.store));
    ck_assert_int_lt(graft_store_bytes(packed.store, GRAFT_PLACE_WEIGHT), graft_store_bytes(wide.store, GRAFT_PLACE_WEIGHT));
    for (int i = 0; i < graft_store_count(packed.store); i++) {
        const int at = graft_store_find(wide.store, graft_store_name(packed.store, i));
        float *x = numbers(&packed, i);
        if (!strncmp(graft_store_name(packed.store, i), "grad:", 5)) goto next;
        ck_assert_ok(graft_store_write(wide.store, at, x, elements(&packed, i) * 4, &err));
    next:
        graft_free(x);
    }
    const float loss = run(&packed), same = run(&wide);
    ck_assert_msg(fabsf(loss - same) < 2e-6f * fabsf(same), "%s %s: loss %.8f, on its numbers in f32 %.8f", device.name, graft_dtype_name(t), (double)loss, (double)same);
    const double worst = worst_gradient(&packed, &wide);
    ck_assert_msg(worst < 5e-6, "%s %s: gradients differ by %.2e of the largest", device.name, graft_dtype_name(t), worst);
    close_rig(&packed);
    close_rig(&wide);
}

static const graft_dtype packed_types[] = {GRAFT_NF4, GRAFT_NF4_DOUBLE, GRAFT_INT8};

static void same_runs(const char *backend)
{
    start(backend);
    const char *model = small_model();
    for (int k = 0; k < 3; k++) {
        same_run(model, packed_types[k], "{\"lora_rank\": 4, \"init_lora_weights\": false}", 7 * LAYERS);
        same_run(model, packed_types[k], "{\"lora_rank\": 4, \"init_lora_weights\": false, \"use_dora\": true}", 7 * LAYERS); /* reads the weight itself: a cast */
    }
    same_run(model, GRAFT_BF16, "{\"lora_rank\": 4, \"init_lora_weights\": false}", 7 * LAYERS + 2);
    stop();
}

START_TEST(a_run_on_reference_is_the_run_on_the_numbers) { same_runs("reference"); }
END_TEST
START_TEST(a_run_on_cpu_is_the_run_on_the_numbers) { same_runs("cpu"); }
END_TEST

/* bf16 in the files, held so: the bits of the loss are those of the widened weights. */
START_TEST(as_stored_changes_no_bit)
{
    static const char *const backends[] = {"reference", "cpu"}, *const models[] = {"arch/llama_bf16", "arch/qwen2_fp16", "gguf/llama/model.gguf"};
    for (int k = 0; k < 2; k++) {
        start(backends[k]);
        for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
            rig stored, wide;
            char path[4200];
            snprintf(path, sizeof path, "%s", graft_test_fixture(models[i]));
            ck_assert_ok(open_rig(&stored, path, (graft_dtype)0, NULL, NULL, NULL, GRAFT_FOR_LOSS));
            ck_assert_ok(open_rig(&wide, path, GRAFT_F32, NULL, NULL, NULL, GRAFT_FOR_LOSS));
            ck_assert_msg(count_held(&stored, GRAFT_F32) < graft_store_count(stored.store), "%s is held in f32", models[i]);
            const float a = run(&stored), b = run(&wide);
            ck_assert_msg(a == b, "%s on %s: loss %.9f, widened %.9f", models[i], backends[k], (double)a, (double)b);
            close_rig(&stored);
            close_rig(&wide);
        }
        stop();
    }
}
END_TEST

/* Rows of 40 are no rows of NF4: that weight is f32, its numbers are NF4's all the same. */
START_TEST(what_cannot_be_held_has_the_same_numbers)
{
    rig packed, wide;
    char path[4200];
    start("reference");
    snprintf(path, sizeof path, "%s", graft_test_fixture("arch/llama_sharded"));
    ck_assert_ok(open_rig(&packed, path, GRAFT_NF4, NULL, NULL, NULL, GRAFT_FOR_LOSS));
    ck_assert_ok(open_rig(&wide, path, GRAFT_F32, NULL, NULL, NULL, GRAFT_FOR_LOSS));
    const int at = graft_store_find(packed.store, "model.layers.1.mlp.down_proj.weight"), held = graft_store_find(packed.store, "model.layers.1.mlp.up_proj.weight");
    ck_assert_int_eq(graft_store_shape(packed.store, at).dtype, GRAFT_F32);
    ck_assert_int_eq(graft_store_shape(packed.store, held).dtype, GRAFT_NF4);
    const int64_t n = elements(&packed, at);
    float *x = numbers(&packed, at), *y = numbers(&wide, at), scales[64];
    uint8_t bytes[4096];
    ck_assert_int_eq(n, 32 * 40);
    ck_assert_int_ne(memcmp(x, y, (size_t)n * sizeof *x), 0);
    graft_quantise(GRAFT_NF4, y, 32, 40, bytes, scales);
    graft_widen(GRAFT_NF4, bytes, n, y);
    ck_assert_int_eq(memcmp(x, y, (size_t)n * sizeof *x), 0);
    graft_free(x);
    graft_free(y);
    close_rig(&packed);
    close_rig(&wide);
    stop();
}
END_TEST

/* ---- methods ------------------------------------------------------------------------------------------------------------------------------------------ */

static double losses[64];
static void note_loss(void *ctx, const graft_train_progress *p, int logging)
{
    (void)ctx, (void)logging;
    if (p->step < 64) losses[p->step] = p->loss;
}

static graft_status train(rig *r, const char *dir, double rate, int64_t steps, int64_t save)
{
    graft_dataset *d = samples(r->model->vocab);
    const graft_train_options o = {.output_dir = dir, .learning_rate = rate, .optim = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .max_grad_norm = 1.0}, .num_train_epochs = 1, .max_steps = steps, .per_device_train_batch_size = SAMPLES, .per_device_eval_batch_size = SAMPLES, .gradient_accumulation_steps = 1, .lr_scheduler_type = "constant", .logging_steps = 1, .save_steps = (double)save, .save_strategy = save ? "steps" : "no", .seed = 7, .data_seed = 7, .base_name = "base"};
    const graft_train_events events = {.progress = note_loss};
    graft_train_result result;
    const graft_train_job job = {.model = r->model, .methods = &r->method, .n_methods = r->n_methods, .device = &device, .train = d, .options = &o, .events = &events};
    const graft_status status = graft_train(&job, &result, &err);
    graft_dataset_free(d);
    return status;
}

typedef struct trial {
    const char *method, *args;
    double rate;
} trial;

static const trial trials[] = {
    {"lora", "{\"lora_rank\": 4}", 1e-2},
    {"lora", "{\"lora_rank\": 4, \"use_dora\": true, \"lora_dropout\": 0.1}", 1e-2},
    {"adalora", "{\"init_r\": 4}", 1e-2},
    {"ia3", "{}", 3e-2},
    {"adapter", "{\"adapter_type\": \"houlsby\", \"reduction_factor\": 4}", 1e-2},
    {"llama_adapter", "{\"adapter_len\": 4}", 3e-2},
    {"prefix", "{\"num_virtual_tokens\": 4}", 3e-2},
    {"prompt", "{\"num_virtual_tokens\": 4, \"prompt_tuning_init\": \"SAMPLE_VOCAB\"}", 3e-2},
    {"ptuning", "{\"num_virtual_tokens\": 4, \"encoder_hidden_size\": 8}", 1e-2},
};

static void same_file(const char *dir_a, const char *dir_b, const char *name)
{
    char path[4200], *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    snprintf(path, sizeof path, "%s/%s", dir_a, name);
    ck_assert_ok(graft_file_read(path, 1 << 26, &x, &n, &err));
    snprintf(path, sizeof path, "%s/%s", dir_b, name);
    ck_assert_ok(graft_file_read(path, 1 << 26, &y, &m, &err));
    ck_assert_msg(n == m && !memcmp(x, y, n), "%s: a resumed run ends elsewhere", name);
    graft_free(x);
    graft_free(y);
}

START_TEST(every_adapter_trains_on_it)
{
    const trial *t = &trials[_i];
    char whole[4096], parts[4096];
    rig r, again;
    start("cpu");
    const char *model = small_model();
    snprintf(whole, sizeof whole, "%s", graft_test_dir("packed_whole"));
    snprintf(parts, sizeof parts, "%s", graft_test_dir("packed_parts"));
    for (int k = 0; k < 2; k++) { /* at once; then the first of two parts: three updates and three */
        ck_assert_ok(open_model(&r, model, GRAFT_NF4_DOUBLE, t->method, t->args, NULL));
        const graft_status status = train(&r, k ? parts : whole, t->rate, k ? 3 : 6, k ? 3 : 0);
        ck_assert_msg(!status, "%s: %s: %s", t->method, err.where, err.message);
        if (!k) ck_assert_msg(losses[6] < losses[1], "%s: the loss went from %.6f to %.6f", t->method, losses[1], losses[6]);
        close_rig(&r);
    }
    ck_assert_ok(open_model(&r, model, GRAFT_NF4_DOUBLE, t->method, t->args, NULL));
    ck_assert_ok(train(&r, parts, t->rate, 6, 0));
    same_file(whole, parts, r.method.table->files->weights);
    close_rig(&r);
    ck_assert_ok(open_rig(&r, model, GRAFT_NF4_DOUBLE, t->method, t->args, whole, GRAFT_FOR_LOSS));
    const float loss = run(&r);
    ck_assert_msg(loss < (float)losses[1], "%s: loss %.6f, in the run %.6f to %.6f", t->method, (double)loss, losses[1], losses[6]);
    ck_assert_ok(graft_path_remove(parts, &err));
    ck_assert_ok(graft_adapter_save(parts, &r.method, 0, r.graph, r.store, "base", &err));
    ck_assert_ok(open_rig(&again, model, GRAFT_NF4_DOUBLE, t->method, t->args, parts, GRAFT_FOR_LOSS));
    ck_assert_msg(run(&again) == loss, "%s: another loss after it was saved and loaded", t->method);
    close_rig(&again);
    close_rig(&r);
    stop();
}
END_TEST

/* ---- refused ------------------------------------------------------------------------------------------------------------------------------------------- */

START_TEST(what_writes_the_base_is_refused)
{
    static const struct {
        const char *method, *args, *words;
    } cases[] = {
        {"full", "{}", "the method full trains the base's own weights"},
        {"freeze", "{\"freeze_trainable_layers\": 1}", "the method freeze trains the base's own weights"},
        {"lisa", "{\"lisa_activated_layers\": 1}", "the method lisa trains the base's own weights"},
        {"lora", "{\"pissa_init\": true}", "the method lora begins by changing the base's weights"},
        {"lora", "{\"init_lora_weights\": \"olora\"}", "the method lora begins by changing the base's weights"},
    };
    rig r;
    start("reference");
    const char *model = small_model();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_int_eq(open_rig(&r, model, GRAFT_NF4, cases[i].method, cases[i].args, NULL, GRAFT_FOR_TRAIN), GRAFT_UNSUPPORTED);
        ck_assert_msg(strstr(err.message, cases[i].words) && strstr(err.message, "leave out quantization_bit"), "%s", err.message);
        close_rig(&r);
        ck_assert_ok(open_rig(&r, model, (graft_dtype)0, cases[i].method, cases[i].args, NULL, GRAFT_FOR_TRAIN)); /* not packed: works */
        close_rig(&r);
    }
    ck_assert_ok(open_rig(&r, model, GRAFT_INT8, "lora", "{}", NULL, GRAFT_FOR_LOSS));
    ck_assert_int_eq(graft_model_merge(r.model, &r.method, 1, r.graph, r.store, &err), GRAFT_UNSUPPORTED);
    ck_assert_str_eq(err.message, "the base is held as int8, and merging writes into it: merge into the full weights, without quantization_bit");
    close_rig(&r);
    stop();
}
END_TEST

/* A model whose weights are stored in bf16 and which begins by changing them is f32. */
START_TEST(what_a_method_changes_is_f32)
{
    rig r;
    char path[4200];
    start("reference");
    snprintf(path, sizeof path, "%s", graft_test_fixture("arch/llama_bf16"));
    ck_assert_ok(open_rig(&r, path, (graft_dtype)0, "lora", "{\"pissa_init\": true, \"pissa_iter\": -1, \"lora_rank\": 4}", NULL, GRAFT_FOR_TRAIN));
    ck_assert_int_eq(count_held(&r, GRAFT_F32), graft_store_count(r.store));
    close_rig(&r);
    ck_assert_ok(open_rig(&r, path, (graft_dtype)0, "lora", "{\"lora_rank\": 4}", NULL, GRAFT_FOR_TRAIN));
    ck_assert_int_gt(count_held(&r, GRAFT_BF16), 14);
    close_rig(&r);
    stop();
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, a_run_on_reference_is_the_run_on_the_numbers);
    tcase_add_test(tc, a_run_on_cpu_is_the_run_on_the_numbers);
    tcase_add_test(tc, as_stored_changes_no_bit);
    tcase_add_test(tc, what_cannot_be_held_has_the_same_numbers);
    tcase_add_loop_test(tc, every_adapter_trains_on_it, 0, (int)(sizeof trials / sizeof *trials));
    tcase_add_test(tc, what_writes_the_base_is_refused);
    tcase_add_test(tc, what_a_method_changes_is_f32);
}

int main(void) { return graft_test_main("methods/packed", cases); }
