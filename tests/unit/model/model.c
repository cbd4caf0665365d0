/* A model from its folder to its numbers: graphs of each purpose on a device, generation with a cache, saving and loading again, and what is refused. */
#include "core/model/model.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/model/generate.h"
#include "tests/support/device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The expected batch of a fixture and a model on the device. */
typedef struct rig {
    graft_model *model;
    graft_weights *expect;
    graft_graph *forward, *generate;
    graft_store *store;
    int64_t capacity[GRAFT_SYMBOLS];
} rig;

static const graft_weight_info *tensor(const rig *r, const char *name)
{
    const graft_weight_info *t = graft_weights_find(r->expect, name);
    ck_assert_msg(t != NULL, "%s is missing", name);
    return t;
}

static const int32_t *ints(const rig *r, const char *name, int64_t *n)
{
    const graft_weight_info *t = tensor(r, name);
    *n = graft_weights_elements(t);
    return (const int32_t *)(const void *)t->data;
}

static void open_rig(rig *r, const char *path, const char *expect)
{
    char name[4096];
    memset(r, 0, sizeof *r);
    snprintf(name, sizeof name, "%s/expect.safetensors", expect);
    ck_assert_ok(graft_weights_open(name, &r->expect, &err));
    ck_assert_ok(graft_model_open(registry, path, &r->model, &err));
    for (int i = 0; i < GRAFT_SYMBOLS; i++) r->capacity[i] = 96;
    ck_assert_ok(graft_store_new(&device, &r->store, &err));
    ck_assert_ok(graft_model_graph(r->model, NULL, 0, GRAFT_FOR_FORWARD, &r->forward, &err));
    ck_assert_ok(graft_model_graph(r->model, NULL, 0, GRAFT_FOR_GENERATE, &r->generate, &err));
    ck_assert_ok(graft_graph_prepare(r->forward, &device, 0, 0, &err));
    ck_assert_ok(graft_graph_prepare(r->generate, &device, 0, 0, &err));
    ck_assert_ok(graft_store_add_graph(r->store, r->forward, r->capacity, &err));
    ck_assert_ok(graft_store_add_graph(r->store, r->generate, r->capacity, &err));
    ck_assert_ok(graft_store_commit(r->store, &err));
    ck_assert_ok(graft_model_load(r->model, r->forward, r->store, 1, &err));
}

static void close_rig(rig *r)
{
    graft_graph_free(r->forward);
    graft_graph_free(r->generate);
    graft_store_free(r->store);
    graft_model_close(r->model);
    graft_weights_close(r->expect);
}

static void check_logits(const rig *r)
{
    int64_t n, n_seq;
    const int32_t *ids = ints(r, "flat.input_ids", &n), *positions = ints(r, "flat.position_ids", &n), *cu = ints(r, "flat.cu_seqlens", &n_seq);
    const int64_t vocab = r->model->vocab, sequences = n_seq - 1, extent[GRAFT_SYMBOLS] = {n, sequences, n, 0};
    int32_t borders[64][4], rows[96];
    ck_assert_int_le(n, 96);
    for (int64_t i = 0; i < sequences; i++) borders[i][0] = cu[i], borders[i][1] = cu[i + 1] - cu[i], borders[i][2] = borders[i][3] = 0;
    for (int64_t i = 0; i < n; i++) rows[i] = (int32_t)i;
    graft_exec *e;
    ck_assert_ok(graft_exec_new(r->forward, r->store, r->capacity, 0, &e, &err));
    ck_assert_ok(graft_exec_set(e, "tokens", ids, n * 4, &err));
    ck_assert_ok(graft_exec_set(e, "positions", positions, n * 4, &err));
    ck_assert_ok(graft_exec_set(e, "sequences", borders, sequences * 16, &err));
    ck_assert_ok(graft_exec_set(e, "label_rows", rows, n * 4, &err));
    ck_assert_ok(graft_exec_run(e, extent, 0, 0, &err));
    float *got = graft_calloc((size_t)(n * vocab), sizeof *got);
    ck_assert_ok(graft_exec_get(e, "logits", got, n * vocab * 4, &err));
    const float *want = (const float *)(const void *)tensor(r, "logits")->data;
    float worst = 0;
    for (int64_t i = 0; i < n * vocab; i++) worst = fmaxf(worst, fabsf(got[i] - want[i]));
    ck_assert_msg(worst < 1e-4f, "%s: logits differ by %g", r->model->path, (double)worst);
    graft_free(got);
    graft_exec_free(e);
}

START_TEST(logits_of_every_container)
{
    static const char *const models[] = {"llama_tied", "llama_untied_llama3rope_bias", "llama_sharded", "llama_bf16", "qwen2_tied", "qwen2_untied_sliding", "qwen2_fp16"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[256];
        rig r;
        snprintf(path, sizeof path, "arch/%s", models[i]);
        open_rig(&r, graft_test_fixture(path), graft_test_fixture(path));
        check_logits(&r);
        close_rig(&r);
    }
}
END_TEST

START_TEST(logits_of_a_gguf_model)
{
    rig r;
    open_rig(&r, graft_test_fixture("gguf/llama/model.gguf"), graft_test_fixture("gguf/llama"));
    check_logits(&r);
    for (int64_t i = 0; i < graft_weights_count(r.model->weights); i++) {
        const graft_weight_info *t = graft_weights_at(r.model->weights, i);
        char name[256];
        snprintf(name, sizeof name, "value.%s", t->name);
        const graft_weight_info *e = tensor(&r, name);
        float *got = graft_calloc((size_t)graft_weights_elements(t), sizeof *got);
        ck_assert_ok(graft_weights_read_f32(t, got, &err));
        ck_assert_msg(!memcmp(got, e->data, (size_t)e->bytes), "%s differs", t->name);
        graft_free(got);
    }
    close_rig(&r);
}
END_TEST

typedef struct answer {
    int32_t ids[64];
    int64_t n;
} answer;
static int collect(void *ctx, int32_t id)
{
    answer *a = ctx;
    a->ids[a->n++] = id;
    return 0;
}

/* The cache changes nothing: the fixture's greedy continuation, and the same logits however the prompt is cut. */
START_TEST(generation)
{
    static const char *const models[] = {"llama_tied", "qwen2_untied_sliding"};
    for (size_t i = 0; i < 2; i++) {
        char path[256];
        rig r;
        graft_generator *g;
        int64_t n, m;
        answer a = {.n = 0};
        const graft_sampling greedy = {.temperature = 0, .top_p = 1, .repetition_penalty = 1};
        snprintf(path, sizeof path, "arch/%s", models[i]);
        open_rig(&r, graft_test_fixture(path), graft_test_fixture(path));
        const int32_t *prompt = ints(&r, "greedy.prompt", &n), *tokens = ints(&r, "greedy.tokens", &m);
        ck_assert_ok(graft_generator_new(r.generate, r.store, r.model->vocab, 96, &g, &err));
        ck_assert_ok(graft_generator_run(g, prompt, n, &greedy, m, NULL, 0, collect, &a, &err));
        ck_assert(a.n == m && !memcmp(a.ids, tokens, (size_t)m * 4));
        const float *logits;
        float *whole = graft_calloc((size_t)r.model->vocab, sizeof *whole);
        graft_generator_reset(g);
        ck_assert_ok(graft_generator_feed(g, prompt, n, &logits, &err));
        memcpy(whole, logits, (size_t)r.model->vocab * 4);
        graft_generator_reset(g);
        for (int64_t k = 0; k < n; k++) ck_assert_ok(graft_generator_feed(g, prompt + k, 1, &logits, &err));
        for (int64_t k = 0; k < r.model->vocab; k++) ck_assert_float_eq_tol(logits[k], whole[k], 1e-5f);
        graft_free(whole);
        graft_generator_free(g);
        close_rig(&r);
    }
}
END_TEST

START_TEST(generation_ends)
{
    rig r;
    graft_generator *g;
    int64_t n, m;
    answer a = {.n = 0};
    const float *logits;
    const graft_sampling greedy = {.temperature = 0, .top_p = 1, .repetition_penalty = 1};
    open_rig(&r, graft_test_fixture("arch/llama_tied"), graft_test_fixture("arch/llama_tied"));
    const int32_t *prompt = ints(&r, "greedy.prompt", &n), *tokens = ints(&r, "greedy.tokens", &m), far[] = {1 << 20}, negative[] = {-1};
    ck_assert_ok(graft_generator_new(r.generate, r.store, r.model->vocab, n + 3, &g, &err));
    ck_assert_ok(graft_generator_run(g, prompt, n, &greedy, m, NULL, 0, collect, &a, &err));
    ck_assert_int_eq(a.n, 4); /* three fit behind the prompt, and the last one's logits give one more */
    ck_assert_int_eq(graft_generator_feed(g, prompt, 1, &logits, &err), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(err.message, "room for 0 more") != NULL, "%s", err.message);
    graft_generator_reset(g);
    a.n = 0;
    ck_assert_ok(graft_generator_run(g, prompt, n, &greedy, m, tokens + 2, 1, collect, &a, &err));
    ck_assert_int_le(a.n, 2);
    graft_generator_reset(g);
    ck_assert_int_eq(graft_generator_feed(g, prompt, 0, &logits, &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(graft_generator_feed(g, far, 1, &logits, &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(graft_generator_feed(g, negative, 1, &logits, &err), GRAFT_BAD_INPUT);
    graft_generator_free(g);
    close_rig(&r);
}
END_TEST

/* Saved as one file, in shards, and from GGUF: the folder opens again and gives the same logits. */
START_TEST(saved_models_open_again)
{
    static const struct {
        const char *path, *expect;
        int64_t shard;
    } models[] = {{"arch/qwen2_untied_sliding", "arch/qwen2_untied_sliding", 0}, {"arch/llama_tied", "arch/llama_tied", 20000}, {"gguf/llama/model.gguf", "gguf/llama", 0}};
    for (size_t i = 0; i < 3; i++) {
        rig r, again;
        char dir[4096];
        snprintf(dir, sizeof dir, "%s", graft_test_dir("saved"));
        open_rig(&r, graft_test_fixture(models[i].path), graft_test_fixture(models[i].expect));
        ck_assert_ok(graft_model_save(r.model, r.forward, r.store, NULL, dir, GRAFT_F32, models[i].shard, &err));
        open_rig(&again, dir, graft_test_fixture(models[i].expect));
        check_logits(&again);
        ck_assert(graft_json_is(graft_json_get(graft_config_object(again.model->config), "torch_dtype"), "float32"));
        close_rig(&again);
        close_rig(&r);
    }
}
END_TEST

static void write_text(const char *dir, const char *name, const char *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
}

static void refused(const char *path, const char *says)
{
    graft_model *m = NULL;
    graft_status status = graft_model_open(registry, path, &m, &err);
    graft_graph *g = NULL;
    if (!status) status = graft_model_graph(m, NULL, 0, GRAFT_FOR_FORWARD, &g, &err);
    ck_assert_msg(status == GRAFT_BAD_INPUT, "status %d, expected a sentence with \"%s\"", (int)status, says);
    ck_assert_msg(strstr(err.message, says) != NULL, "\"%s: %s\" does not say \"%s\"", err.where, err.message, says);
    graft_graph_free(g);
    graft_model_close(m);
}

START_TEST(bad_models)
{
    const char *dir = graft_test_dir("bad_model");
    char path[4096], *data;
    size_t bytes;
    refused("/nowhere/at/all", "no such model");
    ck_assert_ok(graft_file_read(graft_test_fixture("arch/llama_tied/model.safetensors"), 1 << 24, &data, &bytes, &err));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    ck_assert_ok(graft_file_replace(path, data, bytes, &err));
    graft_free(data);
    refused(path, "a model is a folder");
    refused(dir, "no config.json");
    static const struct {
        const char *config, *says;
    } bad[] = {
        {"[]", "model_type"},
        {"{\"model_type\": 3}", "model_type"},
        {"{\"model_type\": \"lama\"}", "lama"},
        {"{\"model_type\": \"llama\"", "expected"},
        {"{\"model_type\": \"llama\"}", "vocab_size is missing"},
        {"{\"model_type\": \"llama\", \"vocab_size\": 320}", "is missing"},
        {"{\"model_type\": \"llama\", \"vocab_size\": 320, \"hidden_size\": 32, \"num_attention_heads\": 0}", "num_attention_heads must be an integer between"},
        {"{\"model_type\": \"llama\", \"vocab_size\": 320, \"hidden_size\": 32, \"num_attention_heads\": 4, \"intermediate_size\": 40, \"num_hidden_layers\": 2147483647}", "num_hidden_layers must be an integer between 1 and 4096"},
        {"{\"model_type\": \"llama\", \"vocab_size\": 320, \"hidden_size\": 32, \"num_attention_heads\": 4, \"intermediate_size\": 40, \"num_hidden_layers\": 2, \"num_key_value_heads\": 3}", ""},
        {"{\"model_type\": \"llama\", \"vocab_size\": 320, \"hidden_size\": 32, \"num_attention_heads\": 4, \"intermediate_size\": 40, \"num_hidden_layers\": 2, \"hidden_act\": \"gelu\"}", "silu"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(dir, "config.json", bad[i].config);
        refused(dir, bad[i].says);
    }
}
END_TEST

/* Weights that do not belong to the configuration. */
START_TEST(weights_must_fit)
{
    static const struct {
        const char *change, *says;
    } bad[] = {{"\"intermediate_size\": 48", "mlp.gate_proj.weight\" has the shape [40, 32], config.json asks for [48, 32]"}, {"\"num_hidden_layers\": 3", "\"model.layers.2.input_layernorm.weight\" is missing"}};
    for (size_t i = 0; i < 2; i++) {
        char dir[2048], text[1024], path[4096], *data;
        size_t bytes;
        snprintf(dir, sizeof dir, "%s", graft_test_dir("misfit"));
        ck_assert_ok(graft_file_read(graft_test_fixture("arch/llama_tied/model.safetensors"), 1 << 24, &data, &bytes, &err));
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        ck_assert_ok(graft_file_replace(path, data, bytes, &err));
        graft_free(data);
        snprintf(text, sizeof text, "{\"model_type\": \"llama\", \"vocab_size\": 320, \"hidden_size\": 32, \"intermediate_size\": 40, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"tie_word_embeddings\": true, %s}", bad[i].change);
        write_text(dir, "config.json", text);
        graft_model *m;
        graft_graph *g;
        graft_store *s;
        const int64_t one[GRAFT_SYMBOLS] = {8, 1, 8, 8};
        ck_assert_ok(graft_model_open(registry, dir, &m, &err));
        ck_assert_ok(graft_model_graph(m, NULL, 0, GRAFT_FOR_FORWARD, &g, &err));
        ck_assert_ok(graft_store_new(&device, &s, &err));
        ck_assert_ok(graft_store_add_graph(s, g, one, &err));
        ck_assert_ok(graft_store_commit(s, &err));
        ck_assert_int_eq(graft_model_load(m, g, s, 1, &err), GRAFT_BAD_INPUT);
        ck_assert_msg(strstr(err.message, bad[i].says) != NULL, "%s", err.message);
        graft_graph_free(g);
        graft_store_free(s);
        graft_model_close(m);
    }
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_unchecked_fixture(tc, start, stop);
    tcase_add_test(tc, logits_of_every_container);
    tcase_add_test(tc, logits_of_a_gguf_model);
    tcase_add_test(tc, generation);
    tcase_add_test(tc, generation_ends);
    tcase_add_test(tc, saved_models_open_again);
    tcase_add_test(tc, bad_models);
    tcase_add_test(tc, weights_must_fit);
}

int main(void) { return graft_test_main("model", cases); }
