/* bench/opencl/rates.c - ops at the sizes of one run of SmolLM2-135M on 512 tokens, on the cpu backend and on OpenCL's first device, in turns: milliseconds on
 * each, how many times slower, and the share of the device's measured peak (multiply-adds in registers; copies for ops that only move).
 *
 *   opencl_rates [repeats] [backend]
 *
 * Each number is the best of the repeats (5). */
#include <stdio.h>
#include <stdlib.h>
#define DEVICE_CHECK(truth, text) ((truth) ? (void)0 : (void)(fprintf(stderr, "%s\n", text), exit(1)))
#include "tests/backends/device.h"

#include <time.h>

const graft_static_entry graft_test_static_plugins[] = {NULL};

enum { T = 512,
       D = 576,
       F = 1536,
       HEADS = 9,
       KV = 3,
       KVW = 192,
       V = 49152,
       RANK = 16,
       LABELLED = 128 };
#define LIST(...)  ((const int32_t[]){__VA_ARGS__})
#define ATTRS(...) (int)(sizeof((const graft_attr[]){__VA_ARGS__}) / sizeof(graft_attr)), ((const graft_attr[]){__VA_ARGS__})

typedef struct run_on {
    void *plan, *buffer;
    double best;
} run_on;
typedef struct job {
    char what[48];
    double flops, bytes;
    run_on on[2];
} job;

static device devices[2];
static job jobs[64];
static int n_jobs;
static graft_error err = {.size = (uint32_t)sizeof err};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void spread(const image *g, int32_t t)
{
    if (g->tensors[t].dtype == GRAFT_F32)
        for (int64_t i = 0; i < count(g, t); i++) floats(g, t)[i] = 0.1f * (float)((i * 7919) % 2001 - 1000) * 0.001f;
}

/* g's data is freed. */
static void add(const char *what, image g, const char *op, int n_in, const int32_t *in, int n_out, const int32_t *out, int n_attr, const graft_attr *attr, double flops)
{
    job *j = &jobs[n_jobs++];
    const graft_instr instr = {graft_op_id(op), op, n_in, n_out, n_attr, in, out, attr};
    graft_program p = {.size = (uint32_t)sizeof p, .n_tensors = g.n, .n_instrs = 1, .tensors = g.tensors, .instrs = &instr, .compute = 1};
    p.place_bytes[GRAFT_PLACE_INPUT] = g.bytes;
    *j = (job){.flops = flops};
    snprintf(j->what, sizeof j->what, "%s", what);
    for (int i = 0; i < n_in; i++) j->bytes += in[i] >= 0 ? (double)g.tensors[in[i]].bytes : 0;
    for (int i = 0; i < n_out; i++) j->bytes += out[i] >= 0 ? (double)g.tensors[out[i]].bytes : 0;
    for (int d = 0; d < 2; d++) {
        j->on[d].best = 1e30;
        DEVICE_OK(devices[d].table->alloc(devices[d].dev, g.bytes, &j->on[d].buffer, &err));
        DEVICE_OK(devices[d].table->upload(devices[d].dev, j->on[d].buffer, 0, g.data, g.bytes, &err));
        DEVICE_OK(devices[d].table->compile(devices[d].dev, &p, &j->on[d].plan, &err));
    }
    free(g.data);
}

/* y [m, n] of K numbers each. */
static void product(const char *what, int64_t m, int64_t n, int64_t k, int ta, int tb, graft_dtype weights)
{
    image g = {.n = 0};
    const int32_t a = ta ? matrix(&g, k, m) : matrix(&g, m, k), w = image_add(&g, weights, 2, tb ? n : k, tb ? k : n, 0, 0), y = matrix(&g, m, n);
    spread(&g, a), spread(&g, w);
    add(what, g, "matmul/1", 2, LIST(a, w), 1, LIST(y), ATTRS(GRAFT_INTA("trans_a", ta), GRAFT_INTA("trans_b", tb), GRAFT_REALA("alpha", 1.0)), 2.0 * (double)(m * n) * (double)k);
}

static void products(void)
{
    product("matmul forward, up", T, F, D, 0, 1, GRAFT_F32);
    product("matmul forward, up, q4_1", T, F, D, 0, 1, GRAFT_Q4_1);
    product("matmul forward, up, nf4", T, F, D, 0, 1, GRAFT_NF4);
    product("matmul dx, up", T, D, F, 0, 0, GRAFT_F32);
    product("matmul dW, up", F, D, T, 1, 0, GRAFT_F32);
    product("matmul low rank, down", T, RANK, D, 0, 1, GRAFT_F32);
    product("matmul low rank, up", T, F, RANK, 0, 1, GRAFT_F32);
    product("matmul low rank, dA", RANK, D, T, 1, 0, GRAFT_F32);
    product("matmul one token", 1, F, D, 0, 1, GRAFT_F32);
}

static void attention(void)
{
    for (int grad = 0; grad < 2; grad++) {
        image g = {.n = 0};
        const int32_t q = matrix(&g, T, D), k = matrix(&g, T, KVW), v = matrix(&g, T, KVW), seq = image_add(&g, GRAFT_I32, 2, 1, 4, 0, 0), o = matrix(&g, T, D), lse = matrix(&g, T, HEADS);
        const int32_t dy = matrix(&g, T, D), dq = matrix(&g, T, D), dk = matrix(&g, T, KVW), dv = matrix(&g, T, KVW);
        for (int32_t t = 0; t < g.n; t++) spread(&g, t);
        memcpy(ints(&g, seq), (int32_t[]){0, T, 0, 0}, 16);
        const double flops = 2.0 * T * T * D; /* the useful half */
        if (grad) add("attention, gradient", g, "attention_grad/1", 9, LIST(q, k, v, seq, -1, -1, o, lse, dy), 3, LIST(dq, dk, dv), ATTRS(GRAFT_INTA("heads", HEADS), GRAFT_INTA("kv_heads", KV), GRAFT_INTA("window", 0), GRAFT_REALA("scale", 0.125), GRAFT_REALA("softcap", 0)), 2.5 * flops);
        else add("attention", g, "attention/1", 4, LIST(q, k, v, seq), 2, LIST(o, lse), ATTRS(GRAFT_INTA("heads", HEADS), GRAFT_INTA("kv_heads", KV), GRAFT_INTA("window", 0), GRAFT_REALA("scale", 0.125), GRAFT_REALA("softcap", 0)), flops);
    }
}

static void loss(void)
{
    image g = {.n = 0};
    const int32_t hidden = matrix(&g, LABELLED, D), head = matrix(&g, V, D), labels = image_add(&g, GRAFT_I32, 1, LABELLED, 0, 0, 0), weight = vector(&g, LABELLED);
    const int32_t l = vector(&g, 1), nll = vector(&g, LABELLED), dh = matrix(&g, LABELLED, D);
    spread(&g, hidden), spread(&g, head), spread(&g, weight);
    for (int i = 0; i < LABELLED; i++) ints(&g, labels)[i] = (i * 37) % V;
    add("loss with its gradient, 128 rows", g, "linear_cross_entropy_train/1", 4, LIST(hidden, head, labels, weight), 3, LIST(l, nll, dh), ATTRS(GRAFT_REALA("softcap", 0), GRAFT_REALA("scale", 1.0)), 4.0 * LABELLED * V * D);
}

static void streams(void)
{
    for (int grad = 0; grad < 2; grad++) {
        image g = {.n = 0};
        const int32_t x = matrix(&g, T, D), w = vector(&g, D), y = matrix(&g, T, D), r = matrix(&g, T, 1), dx = matrix(&g, T, D);
        for (int32_t t = 0; t < g.n; t++) spread(&g, t);
        if (grad) add("rms_norm, gradient", g, "rms_norm_grad/1", 4, LIST(x, w, r, y), 1, LIST(dx), ATTRS(GRAFT_REALA("plus", 0.0)), 0);
        else add("rms_norm", g, "rms_norm/1", 2, LIST(x, w), 2, LIST(y, r), ATTRS(GRAFT_REALA("eps", 1e-5), GRAFT_REALA("plus", 0.0)), 0);
    }
    for (int grad = 0; grad < 2; grad++) {
        image g = {.n = 0};
        const int32_t a = matrix(&g, T, F), b = matrix(&g, T, F), c = matrix(&g, T, F), da = matrix(&g, T, F), db = matrix(&g, T, F);
        for (int32_t t = 0; t < g.n; t++) spread(&g, t);
        if (grad) add("swiglu, gradient", g, "swiglu_grad/1", 3, LIST(a, b, c), 2, LIST(da, db), 0, NULL, 0);
        else add("swiglu", g, "swiglu/1", 2, LIST(a, b), 1, LIST(c), 0, NULL, 0);
    }
    image g = {.n = 0};
    const int32_t a = matrix(&g, T, D), b = matrix(&g, T, D), c = matrix(&g, T, D);
    spread(&g, a), spread(&g, b);
    add("add", g, "add/1", 2, LIST(a, b), 1, LIST(c), 0, NULL, 0);
    image u = {.n = 0};
    const int64_t n = 5000000;
    const int32_t p = vector(&u, n), q = vector(&u, n), m = vector(&u, n), v = vector(&u, n), h = vector(&u, 8), po = vector(&u, n), mo = vector(&u, n), vo = vector(&u, n);
    for (int i = 0; i < 8; i++) floats(&u, h)[i] = 0.5f;
    add("adamw, 5 M", u, "adamw/1", 5, LIST(p, q, m, v, h), 3, LIST(po, mo, vo), ATTRS(GRAFT_INTA("decay", 1)), 0);
}

int main(int argc, char **argv)
{
    const int repeats = argc > 1 ? atoi(argv[1]) : 5;
    const char *other = argc > 2 ? argv[2] : "opencl";
    graft_backend_rates peak = {.size = (uint32_t)sizeof peak};
    if (device_open(&devices[0], "cpu", NULL, 2) != GRAFT_OK || device_open(&devices[1], other, NULL, 2) != GRAFT_OK) return 1;
    const graft_backend_probe_table *probe = door_of(other)()->table(devices[1].self, "graft.backend.probe/1");
    if (probe) DEVICE_OK(probe->rates(devices[1].dev, &peak, &err));
    products(), attention(), loss(), streams();
    for (int repeat = 0; repeat < repeats; repeat++)
        for (int i = 0; i < 2 * n_jobs; i++) {
            const device *d = &devices[i % 2];
            run_on *on = &jobs[i / 2].on[i % 2];
            void *places[GRAFT_PLACES] = {NULL};
            places[GRAFT_PLACE_INPUT] = on->buffer;
            const graft_run r = {.size = (uint32_t)sizeof r, .places = places, .training = 1};
            const double begin = now();
            DEVICE_OK(d->table->run(on->plan, &r, &err));
            DEVICE_OK(d->table->sync(d->dev, &err));
            if (now() - begin < on->best) on->best = now() - begin;
        }
    printf("%s: %.1f GF/s in registers, copies %.1f GB/s; %s\n\n", other, peak.flops * 1e-9, peak.memory * 1e-9, peak.driver);
    printf("%-34s %10s %10s %8s %8s %8s %8s\n", "op, 512 tokens of SmolLM2-135M", "cpu ms", "other ms", "slower", "GF/s", "GB/s", "of peak");
    for (int i = 0; i < n_jobs; i++) {
        const job *j = &jobs[i];
        const double s = j->on[1].best, share = j->flops > 0 ? j->flops / s / (peak.flops > 0 ? peak.flops : 1) : j->bytes / s / (peak.memory > 0 ? peak.memory : 1);
        printf("%-34s %10.3f %10.3f %7.1fx %8.1f %8.1f %7.0f%%\n", j->what, j->on[0].best * 1e3, s * 1e3, s / j->on[0].best, j->flops / s * 1e-9, j->bytes / s * 1e-9, 100 * share);
    }
    return 0;
}
