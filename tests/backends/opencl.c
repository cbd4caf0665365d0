/* tests/backends/opencl.c - the OpenCL backend on a real device, where there is one (PoCL makes one of a processor): whole runs equal to those on the default
 * backend, a checkpoint that goes on on the other one, the second queue and its events, the choice by name. */
#include "tests/backends/overlap.h"
#include "tests/e2e/world.h"

#include "core/base/config.h"
#include "core/graph/check.h"
#include "core/graph/rates.h"

#include <math.h>

static graft_registry *registry;

/* The first usable device into c; 0: skipped, said aloud. */
static int usable(graft_candidate *c)
{
    graft_registry_options o = {.shipped = GRAFT_BINARY_DIR "/lib/graft/registry.json"};
    graft_plugin_link_static(graft_test_static_plugins);
    if (!registry) ck_assert_ok(graft_registry_open(&o, &registry, &err));
    const graft_status status = graft_backend_choose(registry, "opencl", c, &err);
    if (status) printf("skipped: %s\n", err.message);
    return status == GRAFT_OK;
}

/* ---- whole runs ------------------------------------------------------------------------------------------------------------------------- */
static void train_on(const char *backend, const char *out, const char *method, const char *more)
{
    char finetuning[64];
    snprintf(finetuning, sizeof finetuning, "finetuning_type=%s", method);
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("%s", out), "--backend", backend, finetuning, "save_steps=5", "logging_steps=1", more ? more : "seed=42"));
}

/* Losses of a finished run by step, 1 to 10; NAN where the log has none. */
static void losses(const char *out, double loss[11])
{
    graft_arena *a = graft_arena_new();
    const graft_json *state = NULL;
    for (int i = 0; i < 11; i++) loss[i] = (double)NAN;
    ck_assert_ok(graft_json_parse_file(a, in_world("%s/trainer_state.json", out), 1 << 24, 0, &state, &err));
    for (const graft_json *e = graft_json_get(state, "log_history")->child; e; e = e->next) {
        const graft_json *step = graft_json_get(e, "step"), *v = graft_json_get(e, "loss");
        if (v && step->integer >= 1 && step->integer <= 10) loss[step->integer] = v->number;
    }
    graft_arena_free(a);
}

static void same_losses(const char *x, const char *y, const char *method, int from)
{
    double a[11], b[11], worst = 0.0;
    losses(x, a);
    losses(y, b);
    for (int i = from; i <= 10; i++) {
        ck_assert_msg(!isnan(a[i]) && !isnan(b[i]), "%s: step %d is missing in %s or %s", method, i, x, y);
        worst = fmax(worst, fabs(a[i] - b[i]));
    }
    printf("%s: %s and %s: losses differ by %.1e\n", method, x, y, worst);
    ck_assert_msg(worst <= 1e-5, "%s: losses of %s and %s differ by %g", method, x, y, worst);
}

static void trains_alike(const char *method)
{
    graft_candidate c;
    char world[64], resume[4200];
    if (!usable(&c)) return;
    snprintf(world, sizeof world, "opencl-%s", method);
    make_world(world);
    train_on("cpu", "there", method, NULL);
    train_on("opencl", "here", method, NULL);
    same_losses("there", "here", method, 1);
    snprintf(resume, sizeof resume, "resume_from_checkpoint=%s", in_world("there/checkpoint-5"));
    train_on("opencl", "moved", method, resume);
    same_losses("there", "moved", method, 6);
    snprintf(resume, sizeof resume, "resume_from_checkpoint=%s", in_world("here/checkpoint-5"));
    train_on("cpu", "back", method, resume);
    same_losses("there", "back", method, 6);
}

START_TEST(lora_trains_alike_and_checkpoints_move) { trains_alike("lora"); }
END_TEST
START_TEST(full_trains_alike_and_checkpoints_move) { trains_alike("full"); }
END_TEST

/* ---- the choice ------------------------------------------------------------------------------------------------------------------------------ */
START_TEST(named_it_is_that_or_nothing)
{
    make_world("opencl-strict");
    setenv("OCL_ICD_VENDORS", "/nonexistent/", 1); /* a loader without any driver */
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "--backend", "opencl"));
    ck_assert_msg(strstr(said_err, "opencl") && (strstr(said_err, "no device") || strstr(said_err, "libOpenCL")), "%s", said_err);
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "--backend", "auto", "max_steps=1"));
    expect_status(0, graft("doctor"));
    unsetenv("OCL_ICD_VENDORS");
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "--backend", "opencl:31"));
    expect_said(said_err, "opencl");
}
END_TEST

/* backend: {NAME: {device: N, OPTION: VALUE}} in a file and as words, and what is wrong with one. */
START_TEST(device_and_options_are_a_mapping)
{
    static const struct {
        const char *said, *sentence;
    } wrong[] = {
        {"backend: {opencl: {grup: 8}}", "backend opencl has no option 'grup', did you mean 'group'? It has device, threads, group"},
        {"backend: {opencl: {group: wide}}", "group must be"},
        {"backend: {opencl: {device: 31}}", "Backend opencl has no device 31, it has 0 ("},
        {"backend: {opencl: {device: one}}", "device of backend opencl must be a number from 0"},
        {"backend: {auto: {group: 8}}", "auto takes no options"},
        {"backend: {opencl: {}, cpu: {}}", "backend must be a name"},
        {"backend: [opencl]", "backend must be a name"},
        {"backend: {openci: {}}", "did you mean \"opencl\""},
    };
    graft_candidate c;
    make_world("opencl-mapping");
    if (!usable(&c)) return;
    char run[9000], *text_of = get_text(in_world("run.yaml"));
    snprintf(run, sizeof run, "%s", text_of);
    graft_free(text_of);
    ck_assert(strstr(run, "backend: cpu") != NULL);
    *strstr(run, "backend: cpu") = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        graft_str text;
        graft_str_init(&text, 0);
        graft_str_printf(&text, "%s%s\n", run, wrong[i].said);
        put_text(in_world("wrong.yaml"), text.data);
        graft_str_free(&text);
        expect_status(1, graft("train", in_world("wrong.yaml"), "--output_dir", in_world("out")));
        expect_said(said_err, wrong[i].sentence);
    }
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("a"), "backend={opencl: {device: 0, group: 64}}", "max_steps=1"));
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("b"), "backend.opencl.device=0", "max_steps=1"));
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("c"), "--backend", "opencl:0", "max_steps=1"));
}
END_TEST

START_TEST(selftest_passes_and_reports)
{
    graft_candidate c;
    graft_arena *a = graft_arena_new();
    const graft_json *top = NULL;
    make_world("opencl-selftest");
    if (usable(&c)) {
        expect_status(0, graft("selftest", "--backend", "opencl", "--report", in_world("out.json")));
        ck_assert_ok(graft_json_parse_file(a, in_world("out.json"), 1 << 24, 0, &top, &err));
        ck_assert_int_eq(graft_json_get(top, "failed")->integer, 0);
        ck_assert_int_gt(graft_json_get(top, "ops")->count, 50);
        ck_assert(graft_json_get(graft_json_get(top, "per_second"), "matmul_flops")->number > 0.0);
        ck_assert(graft_json_get(graft_json_get(top, "tested"), "name")->bytes > 0);
    }
    graft_arena_free(a);
}
END_TEST

/* ---- kernels of devices that are not here: matmul in groups, as on a GPU ------------------------------------------------------------------- */
static void agrees(void *ctx, const graft_check_row *row)
{
    int *n = ctx;
    if (!row->claimed) return;
    ck_assert_msg(!row->trouble[0] && row->worst <= graft_check_tolerance && row->repeats, "%s: %g %s", row->op, row->worst, row->trouble);
    (*n)++;
}

/* Devices with groups of 1, 8, 64 and 256 work items at most. */
START_TEST(groups_of_every_size)
{
    static const int sizes[] = {1, 8, 64, 256};
    graft_candidate c;
    graft_device here, plain;
    if (!usable(&c)) return;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        graft_arena *a = graft_arena_new();
        graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
        int n = 0;
        graft_json_put(a, o, "group", graft_json_int(a, sizes[i]));
        ck_assert_ok(graft_device_open(registry, "opencl", graft_config_new(a, "test", o), &here, &err));
        ck_assert_ok(graft_device_open(registry, "reference", NULL, &plain, &err));
        ck_assert_ok(graft_check_ops(&here, &plain, agrees, &n, &err));
        ck_assert_int_gt(n, 50);
        graft_device_close(&here);
        graft_device_close(&plain);
        graft_arena_free(a);
    }
}
END_TEST

/* Few results and a long sum: K is cut into pieces. M, N, K around the tiles and the shortest piece, with alpha and c, from each layout. */
START_TEST(long_sums_are_cut)
{
    enum { MOST_K = 1000,
           MOST_M = 20,
           MOST_N = 70 };
    static const int64_t sizes[][3] = {{8, 8, 700}, {16, 70, 1000}, {1, 1, 999}, {20, 33, 257}, {3, 5, 256}, {7, 64, 255}}, groups[] = {0, 1, 64, 256};
    static float x[MOST_M * MOST_K], w[MOST_N * MOST_K], add[MOST_M * MOST_N], y[MOST_M * MOST_N];
    static const int64_t capacity[GRAFT_SYMBOLS] = {1, 1, 1, 1};
    graft_candidate c;
    graft_device d;
    if (!usable(&c)) return;
    for (int i = 0; i < MOST_M * MOST_K; i++) x[i] = (float)(i * 37 % 101 - 50) / 50.0f;
    for (int i = 0; i < MOST_N * MOST_K; i++) w[i] = (float)(i * 53 % 97 - 48) / 48.0f;
    for (int i = 0; i < MOST_M * MOST_N; i++) add[i] = (float)(i % 13);
    for (size_t at = 0; at < 4 * 4 * sizeof sizes / sizeof *sizes; at++) {
        const int64_t *s = sizes[at / 16], m = s[0], n = s[1], k = s[2], ta = at / 4 % 4 & 1, tb = at / 4 % 4 >> 1;
        const int64_t dx[] = {ta ? k : m, ta ? m : k}, dw[] = {tb ? n : k, tb ? k : n}, dy[] = {m, n};
        const graft_attr attr[] = {GRAFT_INTA("trans_a", ta), GRAFT_INTA("trans_b", tb), GRAFT_REALA("alpha", 0.5)};
        graft_arena *a = graft_arena_new();
        graft_json *o = graft_json_new(a, GRAFT_JSON_OBJECT);
        graft_store *store = NULL;
        graft_exec *exec = NULL;
        graft_json_put(a, o, "group", graft_json_int(a, groups[at % 4]));
        ck_assert_ok(graft_device_open(registry, "opencl", graft_config_new(a, "test", o), &d, &err));
        graft_graph *g = graft_graph_new();
        const graft_value in[] = {graft_graph_input(g, "x", GRAFT_F32, 2, dx), graft_graph_input(g, "w", GRAFT_F32, 2, dw), graft_graph_input(g, "c", GRAFT_F32, 2, dy)};
        graft_graph_output(g, "y", g->builder->api->op(g->builder, "matmul/1", 3, in, 3, attr));
        ck_assert_ok(graft_graph_prepare(g, &d, 0, 0, &err));
        ck_assert_ok(graft_store_new(&d, &store, &err));
        ck_assert_ok(graft_store_commit(store, &err));
        ck_assert_ok(graft_exec_new(g, store, capacity, 0, &exec, &err));
        ck_assert_ok(graft_exec_set(exec, "x", x, m * k * 4, &err));
        ck_assert_ok(graft_exec_set(exec, "w", w, n * k * 4, &err));
        ck_assert_ok(graft_exec_set(exec, "c", add, m * n * 4, &err));
        ck_assert_ok(graft_exec_run(exec, capacity, 0, 0, &err));
        ck_assert_ok(graft_exec_get(exec, "y", y, m * n * 4, &err));
        for (int64_t i = 0; i < m * n; i++) {
            double sum = 0.0;
            for (int64_t j = 0; j < k; j++) sum += (double)x[ta ? j * m + i / n : i / n * k + j] * (double)w[tb ? i % n * k + j : j * n + i % n];
            sum = 0.5 * sum + (double)add[i];
            ck_assert_msg(fabs((double)y[i] - sum) <= 1e-4, "%dx%dx%d, transposed %d %d, groups of %d: %d: expected %g, found %g", (int)m, (int)n, (int)k, (int)ta, (int)tb, (int)groups[at % 4], (int)i, sum, (double)y[i]);
        }
        graft_exec_free(exec);
        graft_store_free(store);
        graft_graph_free(g);
        graft_device_close(&d);
        graft_arena_free(a);
    }
}
END_TEST

/* ---- queues ------------------------------------------------------------------------------------------------------------------------------------ */
/* Up on queue 1, across by queue 0, down on queue 1, each waiting for the other by an event. */
START_TEST(queues_wait_for_each_other)
{
    enum { N = 1 << 20 };
    graft_candidate c;
    void *dev, *x, *y, *pinned, *event[2];
    if (!usable(&c)) return;
    const graft_backend_table *b = c.plugin->table;
    const graft_backend_async_table *q = c.plugin->door->table(c.plugin->self, "graft.backend.async/1");
    ck_assert(q && q->queues && q->peer == NULL);
    ck_assert_ok(b->open(c.plugin->self, c.device, NULL, &dev, &err));
    ck_assert_int_ge(q->queues(dev), 2);
    ck_assert_ok(b->alloc(dev, N, &x, &err));
    ck_assert_ok(b->alloc(dev, N, &y, &err));
    ck_assert_ok(q->pin(dev, 2 * N, &pinned, &err));
    unsigned char *bytes = pinned;
    for (int round = 1; round < 20; round++) {
        for (int i = 0; i < N; i++) bytes[i] = (unsigned char)(i * round + round), bytes[N + i] = 0;
        ck_assert_ok(q->send(dev, 1, x, 0, bytes, N, &err));
        ck_assert_ok(q->record(dev, 1, &event[0], &err));
        ck_assert_ok(q->wait(dev, 0, event[0], &err));
        ck_assert_ok(q->copy(dev, 0, x, 0, y, 0, N, &err));
        ck_assert_ok(q->record(dev, 0, &event[1], &err));
        ck_assert_ok(q->wait(dev, 1, event[1], &err));
        ck_assert_ok(q->fetch(dev, 1, y, 0, bytes + N, N, &err));
        q->drop(dev, event[0]);
        ck_assert_ok(q->record(dev, 1, &event[0], &err));
        ck_assert_ok(q->finish(dev, event[0], &err));
        ck_assert_int_eq(q->done(dev, event[1]), 1);
        ck_assert(!memcmp(bytes, bytes + N, N));
        q->drop(dev, event[0]);
        q->drop(dev, event[1]);
    }
    ck_assert_int_eq(q->lost(dev), 0);
    ck_assert_int_eq(q->send(dev, 7, x, 0, bytes, N, &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(q->copy(dev, 0, x, 8, y, 0, N, &err), GRAFT_INTERNAL);
    q->unpin(dev, pinned);
    b->release(dev, x);
    b->release(dev, y);
    b->close(dev);
}
END_TEST

/* The inputs of the next run are sent while this one is under way; the answers are those of runs one after the other. */
START_TEST(runs_overlap)
{
    enum { ROUNDS = 40 };
    static float answers[ROUNDS * OVERLAP_N];
    static const char *const backends[] = {"opencl", "reference"};
    graft_candidate c;
    graft_device d;
    overlap_rig r;
    if (!usable(&c)) return;
    for (size_t b = 0; b < 2; b++) {
        double kept[OVERLAP_N] = {0};
        ck_assert_ok(graft_device_open(registry, backends[b], NULL, &d, &err));
        ck_assert(!graft_device_lost(&d) && (d.async != NULL) == (b == 0));
        ck_assert_ok(overlap_open(&r, &d, &err));
        ck_assert_ok(overlap_use(&r, ROUNDS, answers, &err));
        for (int k = 0; k < ROUNDS; k++)
            for (int i = 0; i < OVERLAP_N; i++) {
                kept[i] += k + i + 100 * (k - k % 3);
                ck_assert_msg((double)answers[k * OVERLAP_N + i] == 2.0 * kept[i], "%s: round %d, %d: expected %g, found %g", backends[b], k, i, 2.0 * kept[i], (double)answers[k * OVERLAP_N + i]);
            }
        overlap_close(&r);
        graft_device_close(&d);
    }
}
END_TEST

/* A driver through a processor must not be chosen before the processor's own backend. */
START_TEST(a_processor_scores_below_its_own_backend)
{
    graft_candidate c, best;
    graft_backend_rates r;
    int kept = 0;
    setenv("XDG_CACHE_HOME", graft_test_dir("opencl-rates"), 1);
    if (!usable(&c)) return;
    ck_assert_ok(graft_backend_choose(registry, NULL, &best, &err));
    if (c.info.score < 100) ck_assert_str_ne(best.backend, "opencl");
    ck_assert_ok(graft_rates_of(&c, 0, &r, &kept, &err));
    ck_assert(!kept && r.flops > 0.0 && r.matmul > 0.0 && r.memory > 0.0 && r.upload > 0.0 && r.download > 0.0 && r.driver[0]);
    const double first = r.matmul;
    ck_assert_ok(graft_rates_of(&c, 0, &r, &kept, &err));
    ck_assert(kept && r.matmul == first);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, lora_trains_alike_and_checkpoints_move);
    tcase_add_test(tc, full_trains_alike_and_checkpoints_move);
    tcase_add_test(tc, named_it_is_that_or_nothing);
    tcase_add_test(tc, device_and_options_are_a_mapping);
    tcase_add_test(tc, selftest_passes_and_reports);
    tcase_add_test(tc, groups_of_every_size);
    tcase_add_test(tc, long_sums_are_cut);
    tcase_add_test(tc, queues_wait_for_each_other);
    tcase_add_test(tc, runs_overlap);
    tcase_add_test(tc, a_processor_scores_below_its_own_backend);
}

int main(void)
{
    if (access(GRAFT_SOURCE_DIR "/backends/opencl/opencl.c", R_OK)) {
        printf("skipped: there is no backend opencl in this tree\n");
        return 0;
    }
    return graft_test_main("opencl", cases);
}
