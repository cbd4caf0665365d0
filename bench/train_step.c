/* bench/train_step.c - tokens per second and memory of whole training steps on random tokens, every token labelled.
 *
 *     build/bench/train_step --model PATH [--method lora] [--args JSON] [--sequences 4] [--length 512] [--steps 5] [--backend NAME] [--compute f32|bf16|fp16]
 *
 * On one processor (taskset -c 0 ...) seconds are processor time. Prints one JSON line: seconds of each step after the first, median tokens/s, model FLOP/s, peak resident memory. */
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/model/model.h"
#include "core/train/update.h"
#include "graft/random.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct setup {
    const char *model, *method, *args, *backend, *compute;
    long sequences, length, steps;
} setup;

/* On one processor (taskset -c 0): processor time, so that other processes do not count. */
static clockid_t clock_of_steps = CLOCK_MONOTONIC;
static double now(void)
{
    struct timespec t;
    clock_gettime(clock_of_steps, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static graft_status open_method(const graft_registry *r, graft_arena *a, const setup *s, graft_active_method *m, graft_error *err)
{
    const graft_entry *entry;
    const graft_loaded *plugin;
    const graft_json *args = NULL;
    graft_status status = graft_registry_need(r, GRAFT_KIND_METHOD, s->method, &entry, err);
    if (!status) status = graft_plugin_load(entry, &plugin, err);
    if (!status) status = graft_json_parse(a, "--args", s->args, strlen(s->args), 0, &args, err);
    if (status) return status;
    *m = (graft_active_method){.name = s->method, .table = plugin->table};
    return m->table->open(plugin->self, graft_config_new(a, "--args", args), NULL, &m->run, err);
}

/* Random tokens, each sequence's rows but the last labelled. */
static graft_status set_batch(graft_exec *e, graft_arena *a, const setup *s, int64_t vocab, graft_error *err)
{
    const int64_t n = s->sequences * s->length, labelled = s->sequences * (s->length - 1);
    int32_t *ids = graft_arena_alloc(a, (size_t)n * 4), *positions = graft_arena_alloc(a, (size_t)n * 4), *borders = graft_arena_alloc(a, (size_t)s->sequences * 16);
    int32_t *rows = graft_arena_alloc(a, (size_t)n * 4), *labels = graft_arena_alloc(a, (size_t)n * 4);
    float *weight = graft_arena_alloc(a, (size_t)n * 4);
    if (!ids || !positions || !borders || !rows || !labels || !weight) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for a batch");
    for (int64_t i = 0; i < n; i++) {
        ids[i] = (int32_t)(graft_random_u32(1, 2, 3, (uint64_t)i) % (uint32_t)vocab);
        positions[i] = (int32_t)(i % s->length);
    }
    for (int64_t q = 0, l = 0; q < s->sequences; q++) {
        const int32_t border[4] = {(int32_t)(q * s->length), (int32_t)s->length, (int32_t)(q * s->length), 0};
        memcpy(borders + 4 * q, border, sizeof border);
        for (int64_t t = 0; t + 1 < s->length; t++, l++) {
            rows[l] = (int32_t)(q * s->length + t);
            labels[l] = ids[q * s->length + t + 1];
            weight[l] = 1.0f / (float)labelled;
        }
    }
    graft_status status = graft_exec_set(e, "tokens", ids, n * 4, err);
    if (!status) status = graft_exec_set(e, "positions", positions, n * 4, err);
    if (!status) status = graft_exec_set(e, "sequences", borders, s->sequences * 16, err);
    if (!status) status = graft_exec_set(e, "label_rows", rows, labelled * 4, err);
    if (!status) status = graft_exec_set(e, "labels", labels, labelled * 4, err);
    return status ? status : graft_exec_set(e, "label_weight", weight, labelled * 4, err);
}

static graft_status run_steps(graft_exec *train, graft_update *u, const setup *s, double flops, graft_error *err)
{
    const int64_t tokens = s->sequences * s->length, labelled = s->sequences * (s->length - 1), extent[GRAFT_SYMBOLS] = {tokens, s->sequences, labelled, 0};
    const graft_update_options o = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .max_grad_norm = 1.0};
    double *seconds = calloc((size_t)s->steps + 1, sizeof *seconds), norm = 0.0;
    graft_status status = GRAFT_OK;
    float loss = 0.0f;
    for (long i = 0; !status && seconds && i <= s->steps; i++) {
        const double begin = now();
        status = graft_exec_run(train, extent, (uint64_t)i + 1, 1, err);
        if (!status) status = graft_exec_get(train, "loss", &loss, 4, err);
        if (!status) status = graft_update_run(u, &o, i + 1, 1e-4, &norm, err);
        seconds[i] = now() - begin;
    }
    if (!status && seconds) {
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        qsort(seconds + 1, (size_t)s->steps, sizeof *seconds, by_value);
        const double median = seconds[1 + s->steps / 2];
        printf("{\"tokens_per_s\": %.1f, \"best_tokens_per_s\": %.1f, \"gflops\": %.1f, \"first_step_s\": %.3f, \"peak_mib\": %.0f, \"loss\": %.5f, \"grad_norm\": %.5f}\n", (double)tokens / median,
               (double)tokens / seconds[1], flops / median * 1e-9, seconds[0], (double)usage.ru_maxrss / 1024.0, (double)loss, norm);
    }
    free(seconds);
    return status;
}

static graft_status run(const setup *s, graft_error *err)
{
    const graft_registry_options where = {0};
    const int64_t tokens = s->sequences * s->length, capacity[GRAFT_SYMBOLS] = {tokens, s->sequences, tokens, 0};
    graft_arena *a = graft_arena_new();
    graft_registry *r = NULL;
    graft_device d = {0};
    graft_model *m = NULL;
    graft_active_method method = {0};
    graft_graph *g = NULL;
    graft_store *store = NULL;
    graft_exec *train = NULL;
    graft_plan *plan = NULL;
    graft_update u = {0};
    graft_status status = graft_registry_open(&where, &r, err);
    if (!status) status = graft_device_open(r, s->backend, NULL, &d, err);
    if (!status) d.compute = !strcmp(s->compute, "bf16") ? 2 : !strcmp(s->compute, "fp16") ? 4
                                                                                           : 1;
    if (!status) status = graft_model_open(r, s->model, &m, err);
    if (!status) status = open_method(r, a, s, &method, err);
    if (!status) status = graft_model_graph(m, &method, 1, GRAFT_FOR_TRAIN, &g, err);
    if (!status) status = graft_graph_prepare(g, &d, 0, 0, err);
    if (!status) status = graft_update_graphs(&u, g, &(graft_update_options){0}, &d, err);
    if (!status) status = graft_store_new(&d, &store, err);
    if (!status) status = graft_store_add_graph(store, g, capacity, err);
    if (!status) status = graft_store_add_graph(store, u.step, capacity, err);
    if (!status) status = graft_store_commit(store, err);
    if (!status) status = graft_model_load(m, g, store, 42, err);
    if (!status) status = graft_plan_new(g, store, capacity, 42, &plan, err);
    if (!status) status = graft_exec_new(g, store, capacity, 42, &train, err);
    if (!status) status = graft_update_compile(&u, store, capacity, 42, err);
    if (!status) status = set_batch(train, a, s, m->vocab, err);
    if (!status) status = run_steps(train, &u, s, plan->flops, err);
    graft_update_free(&u);
    graft_exec_free(train);
    graft_plan_free(plan);
    graft_store_free(store);
    graft_graph_free(g);
    if (method.table && method.table->close) method.table->close(method.run);
    graft_model_close(m);
    graft_device_close(&d);
    graft_registry_close(r);
    graft_arena_free(a);
    return status;
}

int main(int argc, char **argv)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) == 1) clock_of_steps = CLOCK_PROCESS_CPUTIME_ID;
    setup s = {.method = "lora", .args = "{\"lora_rank\": 8, \"lora_alpha\": 16, \"lora_target\": \"all\"}", .compute = "f32", .sequences = 4, .length = 512, .steps = 5};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *v = argv[i + 1];
        if (!strcmp(argv[i], "--model")) s.model = v;
        else if (!strcmp(argv[i], "--method")) s.method = v;
        else if (!strcmp(argv[i], "--args")) s.args = v;
        else if (!strcmp(argv[i], "--backend")) s.backend = v;
        else if (!strcmp(argv[i], "--compute")) s.compute = v;
        else if (!strcmp(argv[i], "--sequences")) s.sequences = atol(v);
        else if (!strcmp(argv[i], "--length")) s.length = atol(v);
        else if (!strcmp(argv[i], "--steps")) s.steps = atol(v);
        else s.model = NULL, i = argc;
    }
    if (!s.model || s.sequences < 1 || s.length < 2 || s.steps < 1) {
        fprintf(stderr, "usage: train_step --model PATH [--method NAME] [--args JSON] [--sequences N] [--length N] [--steps N] [--backend NAME] [--compute f32|bf16|fp16]\n");
        return 1;
    }
    graft_error err = GRAFT_ERROR_INIT;
    char text[1200];
    const graft_status status = run(&s, &err);
    if (status) fprintf(stderr, "train_step: %s\n", graft_error_text(&err, text, sizeof text));
    return status != GRAFT_OK;
}
