/* bench/ops.c - the cpu backend's other ops at the sizes of one step of SmolLM2-135M on 4 x 512 tokens: milliseconds, GB/s or GF/s.
 *
 *   ops [threads] [isa] [repeats]
 *
 * Each row is the best of many interleaved runs. */
#include <stdio.h>
#include <stdlib.h>
#define DEVICE_CHECK(truth, text) ((truth) ? (void)0 : (void)(fprintf(stderr, "%s\n", text), exit(1)))
#include "tests/backends/device.h"

#include <time.h>

const graft_static_entry graft_test_static_plugins[] = {NULL};

/* One thread: processor time, so that other processes do not count. */
static clockid_t clock_of_runs = CLOCK_MONOTONIC;
static double now(void)
{
    struct timespec t;
    clock_gettime(clock_of_runs, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { T = 2048,
       D = 576,
       F = 1536,
       HEADS = 9,
       KV = 3,
       V = 49152,
       KVW = 192 };

typedef struct job {
    const char *what;
    double flops, bytes, best;
    void *plan, *buffer;
    image g;
} job;

static job jobs[64];
static int n_jobs;

static void add(const device *d, const char *what, image g, const char *op, int n_in, const int32_t *in, int n_out, const int32_t *out, int n_attr, const graft_attr *attr, double flops)
{
    graft_error err = {.size = (uint32_t)sizeof err};
    job *j = &jobs[n_jobs++];
    const graft_instr instr = {graft_op_id(op), op, n_in, n_out, n_attr, in, out, attr};
    graft_program p = {.size = (uint32_t)sizeof p, .n_tensors = g.n, .n_instrs = 1, .tensors = g.tensors, .instrs = &instr, .compute = 1};
    p.place_bytes[GRAFT_PLACE_INPUT] = g.bytes;
    *j = (job){.what = what, .flops = flops, .best = 1e30, .g = g};
    for (int i = 0; i < n_in; i++) j->bytes += in[i] >= 0 ? (double)g.tensors[in[i]].bytes : 0;
    for (int i = 0; i < n_out; i++) j->bytes += out[i] >= 0 ? (double)g.tensors[out[i]].bytes : 0;
    DEVICE_OK(d->table->alloc(d->dev, g.bytes, &j->buffer, &err));
    DEVICE_OK(d->table->upload(d->dev, j->buffer, 0, g.data, g.bytes, &err));
    DEVICE_OK(d->table->compile(d->dev, &p, &j->plan, &err));
    free(g.data);
}

static void spread(const image *g, int32_t t, float width)
{
    for (int64_t i = 0; i < count(g, t); i++) floats(g, t)[i] = width * (float)((i * 7919) % 2001 - 1000) * 0.001f;
}

static void attention(const device *d, int sequences)
{
    static char names[8][2][40];
    static int at;
    image g = {.n = 0};
    const int32_t q = matrix(&g, T, D), k = matrix(&g, T, KVW), v = matrix(&g, T, KVW), seq = image_add(&g, GRAFT_I32, 2, sequences, 4, 0, 0), o = matrix(&g, T, D), lse = matrix(&g, T, HEADS);
    const int32_t dy = matrix(&g, T, D), dq = matrix(&g, T, D), dk = matrix(&g, T, KVW), dv = matrix(&g, T, KVW);
    const int32_t noisy[] = {q, k, v, dy};
    for (int i = 0; i < 4; i++) spread(&g, noisy[i], 1.0f);
    const int32_t rows = T / sequences;
    for (int i = 0; i < sequences; i++) memcpy(ints(&g, seq) + 4 * i, (int32_t[]){i * rows, rows, 0, 0}, 16);
    const graft_attr attr[] = {GRAFT_INTA("heads", HEADS), GRAFT_INTA("kv_heads", KV), GRAFT_INTA("window", 0), GRAFT_REALA("scale", 0.125), GRAFT_REALA("softcap", 0)};
    const int32_t in[] = {q, k, v, seq, -1, -1, o, lse, dy}, out[] = {o, lse}, grads[] = {dq, dk, dv, -1, -1};
    const double flops = 2.0 * T * rows * D; /* the useful half of 4 T rows D */
    snprintf(names[at][0], 40, "attention %d x %d", sequences, rows);
    snprintf(names[at][1], 40, "attention_grad %d x %d", sequences, rows);
    image copy = g;
    copy.data = malloc((size_t)g.bytes);
    memcpy(copy.data, g.data, (size_t)g.bytes);
    add(d, names[at][0], g, "attention/1", 4, in, 2, out, 5, attr, flops);
    add(d, names[at][1], copy, "attention_grad/1", 9, in, 5, grads, 5, attr, 2.5 * flops);
    at++;
}

static void loss(const device *d, int rows, int with_head)
{
    static char names[8][40];
    static int at;
    image g = {.n = 0};
    const int32_t hidden = matrix(&g, rows, D), head = matrix(&g, V, D), labels = image_add(&g, GRAFT_I32, 1, rows, 0, 0, 0), weight = vector(&g, rows), base = with_head ? matrix(&g, V, D) : -1;
    const int32_t l = vector(&g, 1), nll = vector(&g, rows), dh = matrix(&g, rows, D);
    spread(&g, hidden, 1.0f);
    spread(&g, head, 0.1f);
    for (int i = 0; i < rows; i++) ints(&g, labels)[i] = (i * 37) % V, floats(&g, weight)[i] = 0.001f;
    const int32_t in[] = {hidden, head, labels, weight, base}, out[] = {l, nll, dh, base};
    snprintf(names[at], 40, "loss_train %d rows%s", rows, with_head ? ", head" : "");
    add(d, names[at++], g, "linear_cross_entropy_train/1", 5, in, 4, out, 0, NULL, (with_head ? 6.0 : 4.0) * rows * V * D);
}

static void streams(const device *d)
{
    {
        image g = {.n = 0};
        const int32_t x = matrix(&g, T, D), w = vector(&g, D), y = matrix(&g, T, D), r = matrix(&g, T, 1), in[] = {x, w, r, y}, out[] = {y, r}, grads[] = {x, -1};
        const graft_attr eps[] = {GRAFT_REALA("eps", 1e-5)};
        spread(&g, x, 1.0f);
        image copy = g;
        copy.data = malloc((size_t)g.bytes);
        memcpy(copy.data, g.data, (size_t)g.bytes);
        add(d, "rms_norm", g, "rms_norm/1", 2, in, 2, out, 1, eps, 0);
        add(d, "rms_norm_grad", copy, "rms_norm_grad/1", 4, in, 2, grads, 1, eps, 0);
    }
    {
        image g = {.n = 0};
        const int32_t a = matrix(&g, T, F), b = matrix(&g, T, F), c = matrix(&g, T, F), in[] = {a, b, c}, out[] = {c, b};
        spread(&g, a, 3.0f);
        image copy = g;
        copy.data = calloc((size_t)g.bytes, 1);
        add(d, "swiglu", g, "swiglu/1", 2, in, 1, out, 0, NULL, 0);
        add(d, "swiglu_grad", copy, "swiglu_grad/1", 3, in, 2, out, 0, NULL, 0);
    }
    {
        image g = {.n = 0};
        const int32_t a = matrix(&g, T, D), b = matrix(&g, T, D), in[] = {a, b}, out[] = {a};
        add(d, "add", g, "add/1", 2, in, 1, out, 0, NULL, 0);
    }
    {
        image g = {.n = 0, .training = 1};
        const int32_t a = matrix(&g, T, D), pos = image_add(&g, GRAFT_I32, 1, T, 0, 0, 0), f = vector(&g, 32), in[] = {a, pos, f}, out[] = {a};
        const graft_attr at[] = {GRAFT_INTA("head", 64)};
        add(d, "rope (with its table)", g, "rope/1", 3, in, 1, out, 1, at, 0);
    }
    {
        image g = {.n = 0};
        const int32_t a = matrix(&g, T, D), in[] = {a}, out[] = {a};
        const graft_attr at[] = {GRAFT_REALA("p", 0.1)};
        add(d, "dropout", g, "dropout/1", 1, in, 1, out, 1, at, 0);
    }
    {
        image g = {.n = 0};
        const int32_t p = vector(&g, 20000000), q = vector(&g, 20000000), m = vector(&g, 20000000), v = vector(&g, 20000000), h = vector(&g, 8), in[] = {p, q, m, v, h}, out[] = {p, m, v};
        for (int i = 0; i < 8; i++) floats(&g, h)[i] = 0.5f;
        add(d, "adamw 20 M", g, "adamw/1", 5, in, 3, out, 0, NULL, 0);
    }
    {
        image g = {.n = 0};
        const int32_t x = vector(&g, 20000000), y = vector(&g, 1), in[] = {x};
        add(d, "sum_squares 20 M", g, "sum_squares/1", 1, in, 1, &y, 0, NULL, 0);
    }
}

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : 2, repeats = argc > 3 ? atoi(argv[3]) : 10;
    graft_error err = {.size = (uint32_t)sizeof err};
    if (threads == 1) clock_of_runs = CLOCK_PROCESS_CPUTIME_ID;
    device d;
    if (device_open(&d, "cpu", argc > 2 && *argv[2] ? argv[2] : NULL, threads) != GRAFT_OK) return 1;
    attention(&d, 4);
    attention(&d, 1);
    loss(&d, 2048, 0);
    loss(&d, 512, 1);
    streams(&d);
    for (int repeat = 0; repeat < repeats; repeat++)
        for (int i = 0; i < n_jobs; i++) {
            void *places[GRAFT_PLACES] = {NULL};
            places[GRAFT_PLACE_INPUT] = jobs[i].buffer;
            const graft_run r = {.size = (uint32_t)sizeof r, .places = places, .training = 1};
            const double begin = now();
            DEVICE_OK(d.table->run(jobs[i].plan, &r, &err));
            const double seconds = now() - begin;
            if (seconds < jobs[i].best) jobs[i].best = seconds;
        }
    printf("%-28s %10s %8s %8s\n", "op", "ms", "GF/s", "GB/s");
    for (int i = 0; i < n_jobs; i++)
        printf("%-28s %10.3f %8.1f %8.1f\n", jobs[i].what, jobs[i].best * 1e3, jobs[i].flops / jobs[i].best * 1e-9, jobs[i].bytes / jobs[i].best * 1e-9);
    return 0;
}
