/* tests/golden/arch.c - a model folder with stored logits, loss, gradients, steps and continuation. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct continuation {
    int32_t ids[256];
    int64_t n;
} continuation;

static int collect(void *ctx, int32_t id)
{
    continuation *c = ctx;
    if (c->n < 256) c->ids[c->n++] = id;
    return 0;
}

static graft_status check_greedy(golden_model *m, const golden_expected *x, graft_error *err)
{
    const graft_weight_info *prompt = golden_tensor(x->w, "greedy.prompt"), *tokens = golden_tensor(x->w, "greedy.tokens");
    if (!prompt || !tokens) return GRAFT_OK;
    const graft_sampling greedy = {.temperature = 0.0, .top_p = 1.0, .repetition_penalty = 1.0};
    const int64_t n = golden_count(tokens);
    graft_generator *g = NULL;
    continuation c = {.n = 0};
    graft_status status = graft_generator_new(m->generate, m->store, m->model->vocab, m->capacity[3], &g, err);
    if (!status) status = graft_generator_run(g, (const int32_t *)(const void *)prompt->data, golden_count(prompt), &greedy, n, NULL, 0, collect, &c, err);
    if (!status) golden_equal("greedy continuation", c.n == n && !memcmp(c.ids, tokens->data, (size_t)n * 4));
    graft_generator_free(g);
    return status;
}

/* Containers hold logits and loss only. */
static graft_status run_folder(golden_session *s, const char *path, const golden_expected *x, int only_logits, graft_error *err)
{
    golden_model m;
    golden_batch b;
    const int64_t tokens = golden_count(x->ids);
    graft_status status = golden_open(s, path, "full", NULL, NULL, tokens > 64 ? tokens : 64, &m, err);
    if (!status) status = golden_batch_of(&m, x, &b, err);
    if (!status) status = golden_compare_logits(&m, x, &b, err);
    if (!status) status = golden_compare_loss(&m, x, &b, err);
    if (!status && !only_logits) {
        golden_compare_gradients(&m, x, "");
        status = check_greedy(&m, x, err);
        if (!status) status = golden_compare_steps(&m, x, &b, err);
    }
    golden_close(&m);
    return status;
}

/* The same model under transformers 4's spelling of the configuration. */
static graft_status run_v4(golden_session *s, const char *path, const golden_expected *x, graft_error *err)
{
    char from[4096], dir[4096], to[8192];
    snprintf(from, sizeof from, "%s/config.v4.json", path);
    if (!graft_path_exists(from)) return GRAFT_OK;
    snprintf(dir, sizeof dir, "%s/v4.%ld", s->work, (long)getpid()); /* one a process: backends are compared side by side */
    graft_status status = graft_path_remove(dir, err);
    if (!status) status = graft_dir_make(dir, err);
    char *full = status ? NULL : realpath(path, NULL), **names = NULL;
    size_t n = 0;
    if (full) status = graft_dir_list(full, &names, &n, err);
    for (size_t i = 0; !status && i < n; i++) {
        const int v4 = !strcmp(names[i], "config.v4.json");
        if (!strcmp(names[i], "config.json")) continue;
        snprintf(from, sizeof from, "%s/%s", full, names[i]);
        snprintf(to, sizeof to, "%s/%s", dir, v4 ? "config.json" : names[i]);
        if (symlink(from, to)) status = graft_fail(err, GRAFT_IO, to, "cannot link");
    }
    graft_dir_list_free(names, n);
    free(full);
    if (!status) {
        char title[4200];
        snprintf(title, sizeof title, "%s (config.v4.json)", path);
        golden_case(title);
        status = run_folder(s, dir, x, 1, err);
    }
    graft_error ignored = GRAFT_ERROR_INIT;
    (void)graft_path_remove(dir, &ignored);
    return status;
}

int golden_arch(golden_session *s, const char *path)
{
    char file[4096];
    snprintf(file, sizeof file, "%s/config.json", path);
    if (!graft_path_exists(file)) return 0;
    snprintf(file, sizeof file, "%s/expect.safetensors", path);
    if (!graft_path_exists(file)) return 0;
    graft_error err = GRAFT_ERROR_INIT;
    golden_expected x;
    golden_case(path);
    if (!golden_open_expected(path, &x)) return 1;
    graft_status status = run_folder(s, path, &x, !golden_tensor(x.w, "step_loss"), &err);
    if (status == GRAFT_OK) status = run_v4(s, path, &x, &err);
    if (status) golden_error("run", &err);
    graft_weights_close(x.w);
    return 1;
}
