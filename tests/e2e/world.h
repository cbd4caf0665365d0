/* tests/e2e/world.h - a small world for whole runs of the program: a random model of two layers with a real tokenizer, a dataset, and a way to run graft. */
#ifndef TESTS_E2E_WORLD_H
#define TESTS_E2E_WORLD_H

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/sha256.h"
#include "core/model/weights.h"
#include "graft/random.h"
#include "tests/support/support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static graft_error err = GRAFT_ERROR_INIT;
static char root[3000]; /* the world's folder */

/* ---- files -------------------------------------------------------------------------------------------------------------------- */

static inline const char *in_world(const char *fmt, ...) GRAFT_PRINTF(1, 2);
static inline const char *in_world(const char *fmt, ...)
{
    static char path[8][4096];
    static int at;
    va_list args;
    at = (at + 1) % 8;
    const int n = snprintf(path[at], sizeof path[at], "%s/", root);
    va_start(args, fmt);
    vsnprintf(path[at] + n, sizeof path[at] - (size_t)n, fmt, args);
    va_end(args);
    return path[at];
}

static inline void put_text(const char *path, const char *text) { ck_assert_ok(graft_file_replace(path, text, strlen(text), &err)); }

static inline char *get_text(const char *path) /* graft_free */
{
    char *data = NULL;
    size_t bytes = 0;
    ck_assert_ok(graft_file_read(path, 1 << 28, &data, &bytes, &err));
    return data;
}

static inline void copy_file(const char *from, const char *to)
{
    char *data = NULL;
    size_t bytes = 0;
    ck_assert_ok(graft_file_read(from, 1 << 28, &data, &bytes, &err));
    ck_assert_ok(graft_file_replace(to, data, bytes, &err));
    graft_free(data);
}

static inline const char *sha_of(const char *path)
{
    static char hex[8][65];
    static int at;
    at = (at + 1) % 8;
    ck_assert_ok(graft_sha256_file(path, hex[at], &err));
    return hex[at];
}

/* ---- the model ------------------------------------------------------------------------------------------------------------------ */

enum { VOCAB = 49152, /* the tokenizer's */
       WIDTH = 16,
       INNER = 32,
       LAYERS = 2 };

typedef struct random_tensor {
    char name[96];
    uint64_t stream;
    int64_t d0, d1;
} random_tensor;

static inline graft_status random_bytes(void *ctx, int64_t offset, void *to, int64_t bytes, graft_error *e)
{
    const random_tensor *t = ctx;
    float *out = to;
    (void)e;
    for (int64_t i = 0; i < bytes / 4; i++) out[i] = t->d1 ? (graft_random_uniform(7, t->stream, 0, (uint64_t)(offset / 4 + i)) - 0.5f) * 0.4f : 1.0f;
    return GRAFT_OK;
}

static inline void make_model(const char *dir)
{
    static const struct {
        const char *name;
        int64_t d0, d1;
    } layer[] = {{"input_layernorm", WIDTH, 0}, {"post_attention_layernorm", WIDTH, 0}, {"self_attn.q_proj", WIDTH, WIDTH}, {"self_attn.k_proj", WIDTH / 2, WIDTH}, {"self_attn.v_proj", WIDTH / 2, WIDTH}, {"self_attn.o_proj", WIDTH, WIDTH}, {"mlp.gate_proj", INNER, WIDTH}, {"mlp.up_proj", INNER, WIDTH}, {"mlp.down_proj", WIDTH, INNER}};
    static random_tensor t[2 + 9 * LAYERS];
    graft_tensor_out out[2 + 9 * LAYERS];
    int n = 0;
    t[n++] = (random_tensor){"model.embed_tokens.weight", 1, VOCAB, WIDTH};
    t[n++] = (random_tensor){"model.norm.weight", 2, WIDTH, 0};
    for (int l = 0; l < LAYERS; l++)
        for (int i = 0; i < 9; i++, n++) {
            t[n] = (random_tensor){"", (uint64_t)(10 + n), layer[i].d0, layer[i].d1};
            snprintf(t[n].name, sizeof t[n].name, "model.layers.%d.%s.weight", l, layer[i].name);
        }
    for (int i = 0; i < n; i++) out[i] = (graft_tensor_out){.name = t[i].name, .dtype = GRAFT_F32, .rank = t[i].d1 ? 2 : 1, .dims = {t[i].d0, t[i].d1, 0, 0}, .read = random_bytes, .ctx = &t[i]};
    char path[4096];
    ck_assert_ok(graft_dir_make(dir, &err));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    ck_assert_ok(graft_safetensors_write(path, out, n, &err));
    snprintf(path, sizeof path, "%s/config.json", dir);
    put_text(path, "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 16, \"intermediate_size\": 32, \"num_hidden_layers\": 2, \"num_attention_heads\": 2,"
                   " \"num_key_value_heads\": 1, \"head_dim\": 8, \"vocab_size\": 49152, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"tie_word_embeddings\": true, \"hidden_act\": \"silu\","
                   " \"attention_bias\": false, \"mlp_bias\": false, \"max_position_embeddings\": 512, \"bos_token_id\": 1, \"eos_token_id\": 2, \"torch_dtype\": \"float32\"}");
    char **names = NULL;
    size_t files = 0;
    ck_assert_ok(graft_dir_list(graft_test_fixture("tokenizers/smollm2"), &names, &files, &err));
    for (size_t i = 0; i < files; i++) {
        char from[4200];
        snprintf(from, sizeof from, "%s/%s", graft_test_fixture("tokenizers/smollm2"), names[i]);
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        copy_file(from, path);
    }
    graft_dir_list_free(names, files);
}

/* A fresh world under the build tree: model/, data/ with the set "small", and run.yaml of a short training. */
static inline void make_world(const char *name)
{
    static const char *const questions[] = {"Who are you?", "What is the capital of France?", "Count to three.", "Say hello.", "What is two plus two?", "Name a colour.", "Why is the sky blue?"};
    static const char *const answers[] = {"I am Graft.", "Paris.", "One, two, three.", "Hello!", "Four.", "Green, like a young twig.", "Because air scatters short waves more than long ones."};
    graft_str data;
    snprintf(root, sizeof root, "%s", graft_test_dir(name));
    make_model(in_world("model"));
    ck_assert_ok(graft_dir_make(in_world("data"), &err));
    graft_str_init(&data, 0);
    for (int i = 0; i < 14; i++) graft_str_printf(&data, "%s\n{\"instruction\": \"%s\", \"input\": \"%s\", \"output\": \"%s\"}", i ? "," : "[", questions[i % 7], i < 7 ? "" : "Please.", answers[i % 7]);
    graft_str_text(&data, "\n]\n");
    put_text(in_world("data/small.json"), data.data);
    graft_str_free(&data);
    put_text(in_world("data/dataset_info.json"), "{\"small\": {\"file_name\": \"small.json\"}}\n");
    char yaml[9000];
    snprintf(yaml, sizeof yaml, "model_name_or_path: %s/model\ntemplate: smollm2\ndataset: small\ndataset_dir: %s/data\nstage: sft\ndo_train: true\nfinetuning_type: lora\nlora_rank: 4\nlora_target: all\n"
                                "cutoff_len: 64\nper_device_train_batch_size: 2\ngradient_accumulation_steps: 2\nmax_steps: 10\nlearning_rate: 1.0e-2\nlr_scheduler_type: cosine\nwarmup_ratio: 0.1\n"
                                "logging_steps: 2\nsave_steps: 1\nsave_total_limit: 2\nplot_loss: true\nreport_to: none\nbackend: cpu\n",
             root, root);
    put_text(in_world("run.yaml"), yaml);
}

/* ---- the program ------------------------------------------------------------------------------------------------------------------ */

/* What the last run said. */
static char *said_out, *said_err;

static inline pid_t start_graft(const char *fault, const char *const *words)
{
    unlink(in_world("err.txt"));
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child) return child;
    const char *argv[128] = {GRAFT_BINARY_DIR "/bin/graft"};
    int n = 1;
    for (; words[n - 1] && n < 127; n++) argv[n] = words[n - 1];
    setenv("XDG_CONFIG_HOME", in_world("config"), 1);
    setenv("XDG_CACHE_HOME", in_world("cache"), 1);
    if (fault) setenv("GRAFT_FAULT", fault, 1);
    const int out = open(in_world("out.txt"), O_CREAT | O_TRUNC | O_WRONLY, 0644), e = open(in_world("err.txt"), O_CREAT | O_TRUNC | O_WRONLY, 0644), in = open(in_world("in.txt"), O_RDONLY | O_CREAT, 0644);
    dup2(in, 0);
    dup2(out, 1);
    dup2(e, 2);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(99);
}

/* Exit status, or -1 for a signal. */
static inline int wait_graft(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {}
    graft_free(said_out);
    graft_free(said_err);
    said_out = get_text(in_world("out.txt"));
    said_err = get_text(in_world("err.txt"));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define graft_with(fault, ...) wait_graft(start_graft(fault, (const char *const[]){__VA_ARGS__, NULL}))
#define graft(...)             graft_with(NULL, __VA_ARGS__)

/* The program must end with this status. */
#define expect_status(status, call)                                                                                      \
    do {                                                                                                                 \
        const int found_ = (call);                                                                                       \
        ck_assert_msg(found_ == (status), "%s: status %d\n--- out\n%s\n--- err\n%s", #call, found_, said_out, said_err); \
    } while (0)

#define expect_said(where, text) ck_assert_msg(strstr(where, text) != NULL, "expected '%s' in:\n%s", text, where)

#endif
