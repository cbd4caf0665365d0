/* LoRA on its base model: PEFT's adapters load and give torch's logits, loss and gradients; saved ones are the same files; merging equals PEFT's;
 * a new adapter starts as the base model. */
#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/model/model.h"
#include "tests/support/device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct rig {
    graft_arena *arena;
    graft_model *model;
    graft_active_method method;
    const graft_loaded *plugin;
    graft_graph *train, *forward;
    graft_store *store;
    int64_t capacity[GRAFT_SYMBOLS];
} rig;

static const graft_json *parse(graft_arena *a, const char *text)
{
    const graft_json *o;
    ck_assert_ok(graft_json_parse(a, "arguments", text, strlen(text), 0, &o, &err));
    return o;
}

static const graft_json *parse_file(graft_arena *a, const char *dir)
{
    const graft_json *o;
    char path[4096];
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    ck_assert_ok(graft_json_parse_file(a, path, 1 << 20, 0, &o, &err));
    return o;
}

/* args: the user's arguments as JSON. adapter: a folder to continue, or NULL. */
static void open_rig(rig *r, const char *base, const char *args, const char *adapter)
{
    const graft_entry *entry;
    memset(r, 0, sizeof *r);
    r->arena = graft_arena_new();
    for (int i = 0; i < GRAFT_SYMBOLS; i++) r->capacity[i] = 96;
    ck_assert_ok(graft_registry_need(registry, GRAFT_KIND_METHOD, "lora", &entry, &err));
    ck_assert_ok(graft_plugin_load(entry, &r->plugin, &err));
    r->method = (graft_active_method){.name = "lora", .table = r->plugin->table};
    const graft_config *saved = adapter ? graft_config_new(r->arena, adapter, parse_file(r->arena, adapter)) : NULL;
    ck_assert_ok(r->method.table->open(r->plugin->self, graft_config_new(r->arena, "arguments", parse(r->arena, args)), saved, &r->method.run, &err));
    ck_assert_ok(graft_model_open(registry, graft_test_fixture(base), &r->model, &err));
    ck_assert_ok(graft_store_new(&device, &r->store, &err));
    ck_assert_ok(graft_model_graph(r->model, &r->method, 1, GRAFT_FOR_TRAIN, &r->train, &err));
    ck_assert_ok(graft_model_graph(r->model, &r->method, 1, GRAFT_FOR_FORWARD, &r->forward, &err));
    ck_assert_ok(graft_graph_prepare(r->train, &device, 0, 0, &err));
    ck_assert_ok(graft_graph_prepare(r->forward, &device, 0, 0, &err));
    ck_assert_ok(graft_store_add_graph(r->store, r->train, r->capacity, &err));
    ck_assert_ok(graft_store_add_graph(r->store, r->forward, r->capacity, &err));
    ck_assert_ok(graft_store_commit(r->store, &err));
    ck_assert_ok(graft_model_load(r->model, r->train, r->store, 1, &err));
    if (adapter) ck_assert_ok(graft_adapter_load(adapter, &r->method, 0, r->train, r->store, &err));
}

static void close_rig(rig *r)
{
    graft_graph_free(r->train);
    graft_graph_free(r->forward);
    graft_store_free(r->store);
    graft_model_close(r->model);
    r->method.table->close(r->method.run);
    graft_arena_free(r->arena);
}

/* ---- numbers ---------------------------------------------------------------------------------------------------------------------------- */

typedef struct batch {
    int64_t n, sequences, labelled;
    const int32_t *ids, *positions;
    int32_t borders[64][4], rows[96], labels[96];
    float weight[96];
} batch;

static const graft_weight_info *tensor(const graft_weights *w, const char *name)
{
    const graft_weight_info *t = graft_weights_find(w, name);
    ck_assert_msg(t != NULL, "%s is missing", name);
    return t;
}

static void read_batch(const graft_weights *w, batch *b)
{
    const graft_weight_info *ids = tensor(w, "flat.input_ids"), *cu = tensor(w, "flat.cu_seqlens");
    const int32_t *at = (const int32_t *)(const void *)cu->data, *labels = (const int32_t *)(const void *)tensor(w, "flat.labels")->data;
    memset(b, 0, sizeof *b);
    b->n = graft_weights_elements(ids), b->sequences = graft_weights_elements(cu) - 1;
    ck_assert_int_le(b->n, 96);
    b->ids = (const int32_t *)(const void *)ids->data;
    b->positions = (const int32_t *)(const void *)tensor(w, "flat.position_ids")->data;
    for (int64_t s = 0; s < b->sequences; s++) {
        b->borders[s][0] = at[s], b->borders[s][1] = at[s + 1] - at[s];
        for (int32_t t = at[s]; t + 1 < at[s + 1]; t++)
            if (labels[t + 1] >= 0) b->rows[b->labelled] = t, b->labels[b->labelled++] = labels[t + 1];
    }
    for (int64_t i = 0; i < b->labelled; i++) b->weight[i] = 1.0f / (float)b->labelled;
}

static void set_batch(graft_exec *e, const batch *b, const int32_t *rows, int64_t n_rows, int training)
{
    ck_assert_ok(graft_exec_set(e, "tokens", b->ids, b->n * 4, &err));
    ck_assert_ok(graft_exec_set(e, "positions", b->positions, b->n * 4, &err));
    ck_assert_ok(graft_exec_set(e, "sequences", b->borders, b->sequences * 16, &err));
    ck_assert_ok(graft_exec_set(e, "label_rows", rows, n_rows * 4, &err));
    if (training) ck_assert_ok(graft_exec_set(e, "labels", b->labels, b->labelled * 4, &err));
    if (training) ck_assert_ok(graft_exec_set(e, "label_weight", b->weight, b->labelled * 4, &err));
    const int64_t extent[GRAFT_SYMBOLS] = {b->n, b->sequences, n_rows, 0};
    ck_assert_ok(graft_exec_run(e, extent, 0, training, &err));
}

static float *logits_of(const rig *r, const batch *b)
{
    int32_t rows[96];
    graft_exec *e;
    float *z = graft_calloc((size_t)(b->n * r->model->vocab), sizeof *z);
    for (int i = 0; i < 96; i++) rows[i] = i;
    ck_assert_ok(graft_exec_new(r->forward, r->store, r->capacity, 0, &e, &err));
    set_batch(e, b, rows, b->n, 0);
    ck_assert_ok(graft_exec_get(e, "logits", z, b->n * r->model->vocab * 4, &err));
    graft_exec_free(e);
    return z;
}

static float worst(const float *a, const float *b, int64_t n)
{
    float w = 0;
    for (int64_t i = 0; i < n; i++) w = fmaxf(w, fabsf(a[i] - b[i]));
    return w;
}

static float *stored(const rig *r, const char *name, int64_t *n)
{
    const int i = graft_store_find(r->store, name);
    ck_assert_msg(i >= 0, "%s is not in the store", name);
    const int64_t bytes = graft_store_tensor_bytes(r->store, i);
    float *v = graft_calloc((size_t)bytes, 1);
    ck_assert_ok(graft_store_read(r->store, i, v, bytes, &err));
    *n = bytes / 4;
    return v;
}

/* Every expected tensor "KIND.NAME" against the store's make(NAME); how many. */
static int compare(const rig *r, const graft_weights *w, const char *kind, const char *strip, const char *add, float tolerance)
{
    int compared = 0;
    for (int64_t i = 0; i < graft_weights_count(w); i++) {
        const graft_weight_info *t = graft_weights_at(w, i);
        char name[512];
        int64_t n;
        if (strncmp(t->name, kind, strlen(kind))) continue;
        const char *rest = t->name + strlen(kind);
        if (!strncmp(rest, strip, strlen(strip))) rest += strlen(strip);
        snprintf(name, sizeof name, "%s%s", add, rest);
        float *v = stored(r, name, &n);
        const float far = worst(v, (const float *)(const void *)t->data, n);
        ck_assert_msg(far <= tolerance, "%s differs by %g", t->name, (double)far);
        graft_free(v);
        compared++;
    }
    return compared;
}

static const struct {
    const char *base, *adapter;
} cases_of[] = {
    {"methods/base/llama", "methods/llama_lora_all"}, {"methods/base/llama", "methods/llama_lora_qv"}, {"methods/base/qwen2", "methods/qwen2_lora_qv"}, {"methods/base/qwen2", "methods/qwen2_rslora_all"}};
enum { CASES = sizeof cases_of / sizeof *cases_of };

START_TEST(numbers_of_torch)
{
    for (size_t i = 0; i < CASES; i++) {
        rig r;
        batch b;
        graft_weights *w;
        graft_exec *e;
        char path[4096];
        float loss;
        double want;
        snprintf(path, sizeof path, "%s/expect.safetensors", graft_test_fixture(cases_of[i].adapter));
        ck_assert_ok(graft_weights_open(path, &w, &err));
        open_rig(&r, cases_of[i].base, "{}", graft_test_fixture(cases_of[i].adapter));
        read_batch(w, &b);
        float *z = logits_of(&r, &b);
        ck_assert_msg(worst(z, (const float *)(const void *)tensor(w, "logits")->data, b.n * r.model->vocab) < 1e-4f, "%s: logits", cases_of[i].adapter);
        ck_assert_ok(graft_exec_new(r.train, r.store, r.capacity, 0, &e, &err));
        set_batch(e, &b, b.rows, b.labelled, 1);
        ck_assert_ok(graft_exec_get(e, "loss", &loss, 4, &err));
        const graft_weight_info *t = tensor(w, "loss_f64");
        memcpy(&want, t->data, sizeof want);
        ck_assert_double_eq_tol((double)loss, want, 1e-5);
        ck_assert_int_gt(compare(&r, w, "grad.", "base_model.model.", "grad:", 3e-5f), 0);
        graft_exec_free(e);
        graft_free(z);
        close_rig(&r);
        graft_weights_close(w);
    }
}
END_TEST

START_TEST(merged_as_peft_does)
{
    for (size_t i = 0; i < CASES; i++) {
        rig r;
        batch b;
        graft_weights *w;
        char path[4096], dir[2048];
        snprintf(path, sizeof path, "%s/expect.safetensors", graft_test_fixture(cases_of[i].adapter));
        ck_assert_ok(graft_weights_open(path, &w, &err));
        read_batch(w, &b);
        open_rig(&r, cases_of[i].base, "{}", graft_test_fixture(cases_of[i].adapter));
        ck_assert_ok(graft_model_merge(r.model, &r.method, 1, r.train, r.store, &err));
        ck_assert_int_gt(compare(&r, w, "merged.", "base_model.model.", "", 1e-6f), 0);
        snprintf(dir, sizeof dir, "%s", graft_test_dir("merged"));
        ck_assert_ok(graft_model_save(r.model, r.train, r.store, NULL, dir, GRAFT_F32, 0, &err));
        graft_model *m;
        ck_assert_ok(graft_model_open(registry, dir, &m, &err));
        ck_assert_int_eq(graft_weights_count(m->weights), graft_weights_count(r.model->weights)); /* no lora_A in it */
        graft_model_close(m);
        close_rig(&r);
        graft_weights_close(w);
    }
}
END_TEST

/* ---- files ----------------------------------------------------------------------------------------------------------------------------------- */

static void same_file(const char *a, const char *b, const char *name)
{
    char x[4096], y[4096], *p, *q;
    size_t n, m;
    snprintf(x, sizeof x, "%s/%s", a, name);
    snprintf(y, sizeof y, "%s/%s", b, name);
    ck_assert_ok(graft_file_read(x, 1 << 24, &p, &n, &err));
    ck_assert_ok(graft_file_read(y, 1 << 24, &q, &m, &err));
    ck_assert_msg(n == m && !memcmp(p, q, n), "%s and %s differ", x, y);
    graft_free(p);
    graft_free(q);
}

/* Loaded and saved: the same weights byte for byte, and the settings that PEFT reads. */
START_TEST(saved_as_peft_does)
{
    static const char *const keys[] = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "bias", "fan_in_fan_out", "target_modules", "task_type", "inference_mode", "modules_to_save", "rank_pattern", "alpha_pattern", "layers_to_transform", "init_lora_weights"};
    for (size_t i = 0; i < CASES; i++) {
        rig r;
        char dir[2048];
        const char *from = graft_test_fixture(cases_of[i].adapter);
        snprintf(dir, sizeof dir, "%s", graft_test_dir("adapter"));
        open_rig(&r, cases_of[i].base, "{}", from);
        ck_assert_ok(graft_adapter_save(dir, &r.method, 0, r.train, r.store, "some/base", &err));
        same_file(dir, from, "adapter_model.safetensors");
        const graft_json *theirs = parse_file(r.arena, from), *ours = parse_file(r.arena, dir);
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            graft_str x, y;
            graft_str_init(&x, 0);
            graft_str_init(&y, 0);
            ck_assert_msg(graft_json_get(ours, keys[k]) && graft_json_get(theirs, keys[k]), "%s is missing", keys[k]);
            graft_json_write(&x, graft_json_get(ours, keys[k]), 0, 1);
            graft_json_write(&y, graft_json_get(theirs, keys[k]), 0, 1);
            ck_assert_msg(!strcmp(x.data, y.data), "%s: %s is %s, expected %s", cases_of[i].adapter, keys[k], x.data, y.data);
            graft_str_free(&x);
            graft_str_free(&y);
        }
        ck_assert(graft_json_is(graft_json_get(ours, "base_model_name_or_path"), "some/base"));
        close_rig(&r);
    }
}
END_TEST

static void check_targets(const char *args, const char *expect)
{
    rig r;
    char dir[2048];
    graft_str text;
    snprintf(dir, sizeof dir, "%s", graft_test_dir("targets"));
    open_rig(&r, "methods/base/llama", args, NULL);
    ck_assert_ok(graft_adapter_save(dir, &r.method, 0, r.train, r.store, NULL, &err));
    graft_str_init(&text, 0);
    graft_json_write(&text, graft_json_get(parse_file(r.arena, dir), "target_modules"), 0, 1);
    ck_assert_str_eq(text.data, expect);
    graft_str_free(&text);
    close_rig(&r);
    open_rig(&r, "methods/base/llama", "{\"lora_rank\": 3}", dir); /* continues with its own settings */
    close_rig(&r);
}

/* The names choose the same modules under PEFT's rule. */
START_TEST(targets_in_peft_s_words)
{
    check_targets("{}", "[\"q_proj\", \"k_proj\", \"v_proj\", \"o_proj\", \"gate_proj\", \"up_proj\", \"down_proj\"]");
    check_targets("{\"lora_target\": \"q_proj,v_proj\"}", "[\"q_proj\", \"v_proj\"]");
    check_targets("{\"lora_target\": [\"mlp.up_proj\"]}", "[\"mlp.up_proj\"]");
    check_targets("{\"lora_target\": \"attn_q\"}", "[\"model.layers.0.self_attn.q_proj\", \"model.layers.1.self_attn.q_proj\"]");
    check_targets("{\"lora_target\": \"q_proj\", \"layers_to_transform\": \"1-7\"}", "[\"q_proj\"]");
    check_targets("{\"lora_target\": \".*layers[.]1[.]mlp.*\"}", "[\"model.layers.1.mlp.gate_proj\", \"model.layers.1.mlp.up_proj\", \"model.layers.1.mlp.down_proj\"]");
}
END_TEST

/* Ranges of layers are numbers in the file. */
START_TEST(ranges_of_layers)
{
    static const struct {
        const char *text, *layers;
        int32_t sites;
    } some[] = {{"0-3", "[0, 1]", 14}, {"1", "[1]", 7}, {"5, 0-0", "[0]", 7}, {"0,1", "[0, 1]", 14}};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        rig r;
        graft_str text;
        char args[128], dir[2048];
        int32_t n;
        snprintf(args, sizeof args, "{\"layers_to_transform\": \"%s\"}", some[i].text);
        snprintf(dir, sizeof dir, "%s", graft_test_dir("ranges"));
        open_rig(&r, "methods/base/llama", args, NULL);
        graft_graph_changed_sites(r.train, 0, &n);
        ck_assert_msg(n == some[i].sites, "%s: %d sites", some[i].text, (int)n);
        ck_assert_ok(graft_adapter_save(dir, &r.method, 0, r.train, r.store, NULL, &err));
        graft_str_init(&text, 0);
        graft_json_write(&text, graft_json_get(parse_file(r.arena, dir), "layers_to_transform"), 0, 1);
        ck_assert_str_eq(text.data, some[i].layers);
        graft_str_free(&text);
        close_rig(&r);
    }
}
END_TEST

/* Step zero is the base model: B is zero; A is uniform in +-1/sqrt(in), and the same for the same seed. */
START_TEST(a_new_adapter_changes_nothing)
{
    rig r, plain;
    batch b;
    graft_weights *w;
    int64_t n;
    char path[4096];
    snprintf(path, sizeof path, "%s/expect.safetensors", graft_test_fixture("methods/llama_lora_qv"));
    ck_assert_ok(graft_weights_open(path, &w, &err));
    read_batch(w, &b);
    open_rig(&r, "methods/base/llama", "{\"lora_rank\": 4, \"lora_alpha\": 64}", NULL);
    open_rig(&plain, "methods/base/llama", "{\"lora_target\": \"o_proj\"}", NULL);
    float *x = logits_of(&r, &b), *y = logits_of(&plain, &b);
    ck_assert(!memcmp(x, y, (size_t)(b.n * r.model->vocab) * 4));
    float *a = stored(&r, "model.layers.0.self_attn.q_proj.lora_A.weight", &n);
    ck_assert_int_eq(n, 4 * 32);
    float low = 0, high = 0;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) low = fminf(low, a[i]), high = fmaxf(high, a[i]), sum += (double)a[i] * (double)a[i];
    const float bound = 1 / sqrtf(32.0f);
    ck_assert(low >= -bound && high <= bound && low < -0.8f * bound && high > 0.8f * bound);
    ck_assert_double_eq_tol(sum / (double)n, 1.0 / (3 * 32), 0.3 / (3 * 32));
    graft_free(a);
    graft_free(x);
    graft_free(y);
    close_rig(&r);
    close_rig(&plain);
    graft_weights_close(w);
}
END_TEST

/* ---- refusals ----------------------------------------------------------------------------------------------------------------------------------- */

static void copy_adapter(const char *dir, const char *from, const char *config)
{
    char path[4096], *data;
    size_t n;
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", graft_test_fixture(from));
    ck_assert_ok(graft_file_read(path, 1 << 24, &data, &n, &err));
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    ck_assert_ok(graft_file_replace(path, data, n, &err));
    graft_free(data);
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    ck_assert_ok(graft_file_replace(path, config, strlen(config), &err));
}

static void refused(const char *base, const char *dir, const char *says)
{
    const graft_entry *entry;
    const graft_loaded *plugin;
    graft_model *m;
    graft_graph *g = NULL;
    graft_store *s;
    const int64_t capacity[GRAFT_SYMBOLS] = {8, 1, 8, 8};
    graft_arena *a = graft_arena_new();
    ck_assert_ok(graft_registry_need(registry, GRAFT_KIND_METHOD, "lora", &entry, &err));
    ck_assert_ok(graft_plugin_load(entry, &plugin, &err));
    graft_active_method x = {.name = "lora", .table = plugin->table};
    const graft_config *saved = graft_config_new(a, dir, parse_file(a, dir));
    ck_assert_ok(graft_model_open(registry, graft_test_fixture(base), &m, &err));
    ck_assert_ok(graft_store_new(&device, &s, &err));
    graft_status status = x.table->open(plugin->self, graft_config_new(a, "arguments", NULL), saved, &x.run, &err);
    const int opened = !status;
    if (!status) status = graft_config_check(saved, &err);
    if (!status) status = graft_model_graph(m, &x, 1, GRAFT_FOR_TRAIN, &g, &err);
    if (!status) status = graft_store_add_graph(s, g, capacity, &err);
    if (!status) status = graft_store_commit(s, &err);
    if (!status) status = graft_adapter_load(dir, &x, 0, g, s, &err);
    ck_assert_msg(status != GRAFT_OK, "taken, expected a sentence with \"%s\"", says);
    ck_assert_msg(strstr(err.message, says) != NULL, "\"%s: %s\" does not say \"%s\"", err.where, err.message, says);
    graft_graph_free(g);
    graft_store_free(s);
    graft_model_close(m);
    if (opened) x.table->close(x.run);
    graft_arena_free(a);
}

START_TEST(adapters_that_do_not_fit)
{
    static const struct {
        const char *base, *config, *says;
    } bad[] = {
        {"methods/base/llama", "{\"peft_type\": \"LORA\", \"r\": 8, \"lora_alpha\": 16, \"target_modules\": [\"q_proj\", \"k_proj\"]}", "the adapter lacks the tensor \"base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight\""},
        {"methods/base/llama", "{\"peft_type\": \"LORA\", \"r\": 8, \"lora_alpha\": 16, \"target_modules\": [\"q_proj\"]}", "belongs to no module"},
        {"methods/base/llama", "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 16, \"target_modules\": [\"q_proj\", \"v_proj\"]}", "another shape"},
        {"methods/base/llama", "{\"peft_type\": \"LORA\", \"r\": 8, \"lora_alpha\": 16, \"target_modules\": [\"query\"]}", "\"query\" matched no site"},
        {"methods/base/llama", "{\"peft_type\": \"LORA\", \"r\": 8, \"layer_replication\": [[0, 1]], \"target_modules\": [\"q_proj\"]}", "layer_replication"},
        {"methods/base/llama", "{\"peft_type\": \"LORA\", \"r\": 8, \"lora_bias\": true, \"use_dora\": true, \"target_modules\": [\"q_proj\"]}", "lora_bias and use_dora exclude each other"},
        {"methods/base/llama", "{\"peft_type\": \"LORA\", \"r\": 8, \"modules_to_save\": [\"lm_head\"], \"target_modules\": [\"q_proj\"]}", "lacks the tensor \"base_model.model.lm_head.weight\""},
        {"methods/base/llama", "{\"peft_type\": \"LORA\", \"r\": 0, \"target_modules\": [\"q_proj\"]}", "r must be an integer between"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char dir[2048];
        snprintf(dir, sizeof dir, "%s", graft_test_dir("misfit"));
        copy_adapter(dir, "methods/llama_lora_qv", bad[i].config);
        refused(bad[i].base, dir, bad[i].says);
    }
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_unchecked_fixture(tc, start, stop);
    tcase_add_test(tc, numbers_of_torch);
    tcase_add_test(tc, merged_as_peft_does);
    tcase_add_test(tc, saved_as_peft_does);
    tcase_add_test(tc, targets_in_peft_s_words);
    tcase_add_test(tc, ranges_of_layers);
    tcase_add_test(tc, a_new_adapter_changes_nothing);
    tcase_add_test(tc, adapters_that_do_not_fit);
}

int main(void) { return graft_test_main("lora", cases); }
