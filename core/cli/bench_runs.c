/* core/cli/bench_runs.c - graft bench train and generate: whole steps and whole answers on random tokens, timed. */
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/cli/bench.h"
#include "core/cli/session.h"
#include "core/graph/rates.h"
#include "core/model/generate.h"
#include "core/model/hold.h"
#include "core/train/train.h"
#include "core/train/update.h"
#include "graft/random.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { MOST_ROUNDS = 1000 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int64_t n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

static int32_t token(int64_t i, int64_t vocab) { return (int32_t)(graft_random_u32(1, 2, 3, (uint64_t)i) % (uint32_t)vocab); }

static graft_status count_of(graft_cli *c, const char *key, int64_t most, int64_t *out, graft_error *err)
{
    *out = graft_args_int(c->args, key);
    return *out >= 1 && *out <= most ? GRAFT_OK : graft_fail(err, GRAFT_BAD_INPUT, key, "expected a number from 1 to %lld, found %lld", (long long)most, (long long)*out);
}

/* What the device does at best in the arithmetic that products run in, measured now; with several allowed, in the fastest. */
static graft_status peak_of(const graft_session *s, double *peak, graft_error *err)
{
    graft_candidate b;
    graft_backend_rates r;
    graft_status status = graft_backend_choose(s->registry, s->device.name, &b, err);
    if (!status) status = graft_rates_measure(&b, &s->device, &r, err);
    if (status) return status;
    const uint32_t may = s->device.compute;
    *peak = may & 1u || !may ? (r.flops > 0.0 ? r.flops : r.matmul) : 0.0;
    if (may & 2u && r.bf16 > *peak) *peak = r.bf16;
    if (may & 4u && r.fp16 > *peak) *peak = r.fp16;
    return GRAFT_OK;
}

static graft_status open_all(graft_session *s, int train, graft_error *err)
{
    graft_status status = graft_session_model(s, err);
    if (!status) status = graft_session_device(s, err);
    return status ? status : graft_session_method(s, train, err);
}

static void put(graft_cli *c, graft_json *o, const char *key, const char *label, double v, const char *unit)
{
    graft_json_put(c->arena, o, key, graft_json_real(c->arena, v));
    if (!c->json) fprintf(c->out, "%-22s %12.*f %s\n", label, v < 10.0 ? 3 : 1, v, unit);
}

static void put_memory(graft_cli *c, graft_json *o)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    graft_json_put(c->arena, o, "peak_rss_bytes", graft_json_int(c->arena, (int64_t)usage.ru_maxrss * 1024));
    if (!c->json) fprintf(c->out, "%-22s %12.1f MiB\n", "peak memory", (double)usage.ru_maxrss / 1024.0);
}

/* ---- train --------------------------------------------------------------------------------------------------------------------------------------- */
typedef struct training {
    graft_graph *g;
    graft_store *store;
    graft_exec *run;
    graft_plan *plan;
    graft_update update;
    int64_t batch, length, rounds, part; /* part: sequences of one run, as `graft train` would split the batch */
} training;

static const graft_update_options adamw = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .max_grad_norm = 1.0};

static graft_status prepare(graft_session *s, training *t, graft_error *err)
{
    const int64_t run = graft_train_run_tokens(&s->device);
    t->part = t->batch;
    while (run && t->part > 1 && (t->part * t->length > run || t->batch % t->part)) t->part--;
    const int64_t tokens = t->part * t->length, capacity[GRAFT_SYMBOLS] = {tokens, t->part, tokens, 0};
    const uint64_t seed = (uint64_t)graft_args_int(s->c->args, "seed");
    graft_status status = graft_model_graph(s->model, s->methods, s->n_methods, GRAFT_FOR_TRAIN, &t->g, err);
    if (!status) status = graft_graph_prepare(t->g, &s->device, 0, 0, err);
    if (!status) status = graft_model_hold(s->model, &t->g, 1, NULL, &s->device, err);
    if (!status) status = graft_update_graphs(&t->update, t->g, &adamw, &s->device, err);
    if (!status) status = graft_store_new(&s->device, &t->store, err);
    if (!status) status = graft_store_add_graph(t->store, t->g, capacity, err);
    if (!status) status = graft_store_add_graph(t->store, t->update.step, capacity, err);
    if (!status) status = graft_store_commit(t->store, err);
    if (!status) status = graft_model_load(s->model, t->g, t->store, seed, err);
    if (!status) status = graft_plan_new(t->g, t->store, capacity, seed, &t->plan, err);
    if (!status) status = graft_exec_new(t->g, t->store, capacity, seed, &t->run, err);
    return status ? status : graft_update_compile(&t->update, t->store, capacity, seed, err);
}

/* Random tokens; every row but a sequence's last has a label. All parts of the batch have the same ones: numbers cost the same. */
static graft_status set_batch(graft_session *s, const training *t, graft_error *err)
{
    const int64_t n = t->part * t->length, labelled = t->part * (t->length - 1);
    graft_arena *a = s->c->arena;
    int32_t *ids = graft_arena_alloc(a, (size_t)n * 4), *positions = graft_arena_alloc(a, (size_t)n * 4), *borders = graft_arena_alloc(a, (size_t)t->batch * 16);
    int32_t *rows = graft_arena_alloc(a, (size_t)n * 4), *labels = graft_arena_alloc(a, (size_t)n * 4);
    float *weight = graft_arena_alloc(a, (size_t)n * 4);
    if (!ids || !positions || !borders || !rows || !labels || !weight) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for a batch");
    for (int64_t i = 0; i < n; i++) {
        ids[i] = token(i, s->model->vocab);
        positions[i] = (int32_t)(i % t->length);
    }
    for (int64_t q = 0, l = 0; q < t->part; q++) {
        const int32_t border[4] = {(int32_t)(q * t->length), (int32_t)t->length, (int32_t)(q * t->length), 0};
        memcpy(borders + 4 * q, border, sizeof border);
        for (int64_t i = 0; i + 1 < t->length; i++, l++) {
            rows[l] = (int32_t)(q * t->length + i);
            labels[l] = ids[q * t->length + i + 1];
            weight[l] = 1.0f / (float)(t->batch * (t->length - 1));
        }
    }
    graft_status status = graft_exec_set(t->run, "tokens", ids, n * 4, err);
    if (!status) status = graft_exec_set(t->run, "positions", positions, n * 4, err);
    if (!status) status = graft_exec_set(t->run, "sequences", borders, t->part * 16, err);
    if (!status) status = graft_exec_set(t->run, "label_rows", rows, labelled * 4, err);
    if (!status) status = graft_exec_set(t->run, "labels", labels, labelled * 4, err);
    return status ? status : graft_exec_set(t->run, "label_weight", weight, labelled * 4, err);
}

/* The first step, which touches all memory for the first time, is not counted. */
static graft_status steps(const training *t, double *seconds, float *loss, double *faults, graft_error *err)
{
    const int64_t extent[GRAFT_SYMBOLS] = {t->part * t->length, t->part, t->part * (t->length - 1), 0}, parts = t->batch / t->part;
    graft_status status = GRAFT_OK;
    double norm;
    struct rusage before = {0}, after;
    for (int64_t i = 0; i <= t->rounds && !status; i++) {
        if (i <= 1) getrusage(RUSAGE_SELF, &before); /* the first step touches all memory */
        const double begin = now();
        for (int64_t k = 0; k < parts && !status; k++) status = graft_exec_run(t->run, extent, (uint64_t)(i * parts + k) + 1, 1, err);
        if (!status) status = graft_exec_get(t->run, "loss", loss, 4, err);
        *loss *= (float)parts;
        if (!status) status = graft_update_run((graft_update *)(uintptr_t)&t->update, &adamw, i + 1, 1e-4, &norm, err);
        if (i) seconds[i - 1] = now() - begin;
    }
    getrusage(RUSAGE_SELF, &after);
    *faults = (double)(after.ru_minflt - before.ru_minflt) / (double)t->rounds;
    return status;
}

graft_status graft_bench_train(graft_cli *c, graft_error *err)
{
    graft_session s = {.c = c};
    training t = {0};
    double seconds[MOST_ROUNDS] = {0}, peak = 0.0, faults = 0.0;
    float loss = 0.0f;
    graft_status status = count_of(c, "batch", 1 << 16, &t.batch, err);
    if (!status) status = count_of(c, "length", 1 << 20, &t.length, err);
    if (!status && t.length < 2) status = graft_fail(err, GRAFT_BAD_INPUT, "length", "expected at least 2 tokens, of which the last is learned");
    if (!status) status = count_of(c, "rounds", MOST_ROUNDS, &t.rounds, err);
    if (!status) status = open_all(&s, 1, err);
    if (!status) status = prepare(&s, &t, err);
    if (!status) status = set_batch(&s, &t, err);
    if (!status) status = steps(&t, seconds, &loss, &faults, err);
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    if (!status) put_memory(c, o); /* before the probe takes memory of its own */
    if (!status) status = peak_of(&s, &peak, err);
    if (!status) {
        const double step = median(seconds, t.rounds), tokens = (double)(t.batch * t.length), flops = t.plan->flops * (double)(t.batch / t.part);
        put(c, o, "tokens_per_s", "median", tokens / step, "tokens/s");
        put(c, o, "best_tokens_per_s", "best", tokens / seconds[0], "tokens/s");
        put(c, o, "flops_per_s", "arithmetic", flops / step * 1e-9, "GF/s");
        put(c, o, "peak_flops_per_s", "measured peak", peak * 1e-9, "GF/s");
        put(c, o, "share_of_peak", "share of peak", peak > 0.0 ? flops / step / peak : 0.0, "");
        graft_json_put(c->arena, o, "flops_per_s", graft_json_real(c->arena, flops / step));
        graft_json_put(c->arena, o, "peak_flops_per_s", graft_json_real(c->arena, peak));
        put(c, o, "page_faults_per_step", "page faults a step", faults, "");
        graft_json_put(c->arena, o, "loss", graft_json_real(c->arena, (double)loss));
        if (c->json) graft_cli_print_json(c, o, 2);
    }
    graft_update_free(&t.update);
    graft_exec_free(t.run);
    graft_plan_free(t.plan);
    graft_store_free(t.store);
    graft_graph_free(t.g);
    graft_session_close(&s);
    return status;
}

/* ---- generate ------------------------------------------------------------------------------------------------------------------------------------- */
typedef struct answer {
    double first, last; /* when the first and the last token was there */
    int64_t tokens;
} answer;

static int on_token(void *ctx, int32_t id)
{
    answer *a = ctx;
    (void)id;
    a->last = now();
    if (!a->tokens++) a->first = a->last;
    return 0;
}

graft_status graft_bench_generate(graft_cli *c, graft_error *err)
{
    graft_session s = {.c = c};
    graft_graph *g = NULL;
    graft_store *store = NULL;
    graft_generator *x = NULL;
    int64_t prompt = 0, fresh = 0, rounds = 0;
    double prefill[MOST_ROUNDS] = {0}, decode[MOST_ROUNDS] = {0};
    graft_status status = count_of(c, "prompt_tokens", 1 << 20, &prompt, err);
    if (!status) status = count_of(c, "new_tokens", 1 << 20, &fresh, err);
    if (!status) status = count_of(c, "rounds", MOST_ROUNDS, &rounds, err);
    if (!status) status = open_all(&s, 0, err);
    const int64_t context = prompt + fresh, capacity[GRAFT_SYMBOLS] = {1, 1, 1, context};
    if (!status) status = graft_session_load(&s, GRAFT_FOR_GENERATE, capacity, &g, &store, err);
    if (!status) status = graft_generator_new(g, store, s.model->vocab, context, &x, err);
    int32_t *ids = graft_arena_alloc(c->arena, (size_t)prompt * sizeof *ids);
    if (!status && !ids) status = graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    for (int64_t i = 0; i < prompt && !status; i++) ids[i] = token(i, s.model->vocab);
    const graft_sampling greedy = {.top_p = 1.0, .repetition_penalty = 1.0};
    for (int64_t i = 0; i <= rounds && !status; i++) { /* the first round warms up */
        answer a = {0};
        graft_generator_reset(x);
        const double begin = now();
        status = graft_generator_run(x, ids, prompt, &greedy, fresh, NULL, 0, on_token, &a, err);
        if (!i || status) continue;
        prefill[i - 1] = a.first - begin;
        decode[i - 1] = a.tokens > 1 ? (a.last - a.first) / (double)(a.tokens - 1) : 0.0;
    }
    if (!status) {
        graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
        put(c, o, "prefill_tokens_per_s", "prefill", (double)prompt / median(prefill, rounds), "tokens/s");
        put(c, o, "decode_tokens_per_s", "decode", fresh > 1 ? 1.0 / median(decode, rounds) : 0.0, "tokens/s");
        put(c, o, "best_prefill_tokens_per_s", "best prefill", (double)prompt / prefill[0], "tokens/s");
        put(c, o, "best_decode_tokens_per_s", "best decode", fresh > 1 ? 1.0 / decode[0] : 0.0, "tokens/s");
        put_memory(c, o);
        if (c->json) graft_cli_print_json(c, o, 2);
    }
    graft_generator_free(x);
    graft_store_free(store);
    graft_graph_free(g);
    graft_session_close(&s);
    return status;
}
