/* bench/gemm.c - GF/s of the cpu backend's matmul on the shapes of training and decoding, against the fused multiply-add peak of this machine.
 *
 *   gemm [threads] [isa] [repeats] [f32 | bf16 | fp16]     or     gemm --peak [threads]     or     gemm --errors
 *
 * Each row is the best of many interleaved runs (a shared machine takes a core away now and then); the peak is measured before and after.
 * Bytes: what a product must at least read and write once, for the rows that the memory bounds. */
#include <stdio.h>
#include <stdlib.h>
#define DEVICE_CHECK(truth, text) ((truth) ? (void)0 : (void)(fprintf(stderr, "%s\n", text), exit(1)))
#include "bench/peak.h"
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

typedef struct row {
    const char *what;
    int64_t m, n, k;
    int ta, tb, c;
    graft_dtype tw; /* of op(B), 0: f32 */
} row;

static const row rows[] = {
    {"2048^3", 2048, 2048, 2048, 0, 0, 0, 0},
    {"SmolLM2 q fwd", 2048, 576, 576, 0, 1, 0, 0},
    {"SmolLM2 kv fwd", 2048, 192, 576, 0, 1, 0, 0},
    {"SmolLM2 up fwd", 2048, 1536, 576, 0, 1, 0, 0},
    {"SmolLM2 down fwd", 2048, 576, 1536, 0, 1, 0, 0},
    {"SmolLM2 up dx", 2048, 576, 1536, 0, 0, 1, 0},
    {"SmolLM2 down dx", 2048, 1536, 576, 0, 0, 0, 0},
    {"SmolLM2 up dW", 1536, 576, 2048, 1, 0, 1, 0},
    {"512 tokens up fwd", 512, 1536, 576, 0, 1, 0, 0},
    {"512 tokens down fwd", 512, 576, 1536, 0, 1, 0, 0},
    {"Qwen q fwd", 1024, 896, 896, 0, 1, 0, 0},
    {"Qwen up fwd", 1024, 4864, 896, 0, 1, 0, 0},
    {"Qwen down fwd", 1024, 896, 4864, 0, 1, 0, 0},
    {"Qwen up dx", 1024, 896, 4864, 0, 0, 1, 0},
    {"head fwd 256 rows", 256, 49152, 576, 0, 1, 0, 0},
    {"head dx 256 rows", 256, 576, 49152, 0, 0, 0, 0},
    {"head dW 256 rows", 49152, 576, 256, 1, 0, 1, 0},
    {"LoRA xA", 2048, 8, 576, 0, 1, 0, 0},
    {"LoRA xA wide", 2048, 8, 1536, 0, 1, 0, 0},
    {"LoRA y += (xA)B", 2048, 576, 8, 0, 1, 1, 0},
    {"LoRA y += (xA)B wide", 2048, 1536, 8, 0, 1, 1, 0},
    {"LoRA dB", 1536, 8, 2048, 1, 0, 1, 0},
    {"LoRA dA", 8, 576, 2048, 1, 0, 1, 0},
    {"LoRA d(xA)", 2048, 8, 1536, 0, 0, 0, 0},
    {"LoRA dx += d(xA) A", 2048, 576, 8, 0, 0, 1, 0},
    {"decode up", 1, 1536, 576, 0, 1, 0, 0},
    {"decode head", 1, 49152, 576, 0, 1, 0, 0},
    {"decode 8 up", 8, 1536, 576, 0, 1, 0, 0},
    {"decode up bf16", 1, 1536, 576, 0, 1, 0, GRAFT_BF16},
    {"decode head bf16", 1, 151936, 896, 0, 1, 0, GRAFT_BF16},
    {"decode head Q8_0", 1, 151936, 896, 0, 1, 0, GRAFT_Q8_0},
    {"decode head Q4_0", 1, 151936, 896, 0, 1, 0, GRAFT_Q4_0},
    {"decode head Q4_1", 1, 151936, 896, 0, 1, 0, GRAFT_Q4_1},
    {"decode head NF4", 1, 151936, 896, 0, 1, 0, GRAFT_NF4},
    {"decode head int8", 1, 151936, 896, 0, 1, 0, GRAFT_INT8},
    {"prefill 512 up Q4_1", 512, 4864, 896, 0, 1, 0, GRAFT_Q4_1},
    {"prefill 512 up bf16", 512, 4864, 896, 0, 1, 0, GRAFT_BF16},
    {"prefill 32 up", 32, 1536, 576, 0, 1, 0, 0},
};
enum { ROWS = sizeof rows / sizeof *rows };

typedef struct run {
    void *plan, *buffer;
    image g;
    double best, bytes;
} run;

static const char *const types[] = {"f32", "bf16", "fp16"};
enum { TYPES = sizeof types / sizeof *types };
static uint32_t compute = 1;

static int prepare(const device *d, const row *r, run *x)
{
    graft_error err = {.size = (uint32_t)sizeof err};
    const int32_t a = r->ta ? matrix(&x->g, r->k, r->m) : matrix(&x->g, r->m, r->k), w = image_add(&x->g, r->tw ? r->tw : GRAFT_F32, 2, r->tb ? r->n : r->k, r->tb ? r->k : r->n, 0, 0);
    const int32_t y = matrix(&x->g, r->m, r->n), in[] = {a, w, y}, out[] = {y};
    for (int64_t i = 0; i < count(&x->g, a); i++) floats(&x->g, a)[i] = 0.01f * (float)(i % 17 - 8);
    for (int64_t i = 0; !r->tw && i < count(&x->g, w); i++) floats(&x->g, w)[i] = 0.01f * (float)(i % 13 - 6); /* stored types: zeros cost as much */
    x->bytes = (double)x->g.tensors[a].bytes + (double)x->g.tensors[w].bytes + (double)x->g.tensors[y].bytes * (r->c ? 2 : 1);
    const graft_attr at[] = {GRAFT_INTA("trans_a", r->ta), GRAFT_INTA("trans_b", r->tb)};
    const graft_instr instr = {graft_op_id("matmul/1"), "matmul/1", r->c ? 3 : 2, 1, 2, in, out, at};
    graft_program p = {.size = (uint32_t)sizeof p, .n_tensors = x->g.n, .n_instrs = 1, .tensors = x->g.tensors, .instrs = &instr, .compute = compute};
    p.place_bytes[GRAFT_PLACE_INPUT] = x->g.bytes;
    x->best = 1e30;
    return d->table->alloc(d->dev, x->g.bytes, &x->buffer, &err) || d->table->upload(d->dev, x->buffer, 0, x->g.data, x->g.bytes, &err) ||
           d->table->compile(d->dev, &p, &x->plan, &err);
}

static void time_once(const device *d, run *x, int64_t flops)
{
    graft_error err = {.size = (uint32_t)sizeof err};
    void *places[GRAFT_PLACES] = {NULL};
    places[GRAFT_PLACE_INPUT] = x->buffer;
    const graft_run r = {.size = (uint32_t)sizeof r, .places = places};
    const int times = flops > 40000000 ? 1 : (int)(40000000 / (flops + 1)) + 1;
    const double begin = now();
    for (int i = 0; i < times; i++) d->table->run(x->plan, &r, &err);
    const double seconds = (now() - begin) / times;
    if (seconds < x->best) x->best = seconds;
}

/* Does the device multiply in these types? */
static int offers(const device *d, uint32_t bit)
{
    int32_t n;
    const graft_op_claim *claims = d->table->ops(d->dev, &n);
    for (int32_t i = 0; i < n; i++)
        if (claims[i].op == graft_op_id("matmul/1")) return (claims[i].compute & bit) != 0;
    return 0;
}

/* Root mean square error of a product of normal numbers (width 1 and 0.02), relative to that of the product, for each type; also with A's rows of widths 2^-20 to 2^20. */
static int errors(void)
{
    enum { M = 96,
           N = 192 };
    static const int64_t ks[] = {64, 576, 1536, 4864};
    device d;
    if (device_open(&d, "cpu", NULL, 1) != GRAFT_OK) return 1;
    printf("%-6s %6s %12s %12s\n", "type", "k", "error", "uneven rows");
    for (int type = 0; type < TYPES; type++) {
        compute = 1u << type;
        if (!offers(&d, compute)) {
            printf("%-6s not on this processor\n", types[type]);
            continue;
        }
        for (size_t n = 0; n < sizeof ks / sizeof *ks; n++) {
            double found[2];
            for (int uneven = 0; uneven < 2; uneven++) {
                image g = {.n = 0};
                const int64_t k = ks[n];
                const int32_t a = matrix(&g, M, k), w = matrix(&g, N, k), y = matrix(&g, M, N), in[] = {a, w}, out[] = {y};
                fill_noise(&g, a, 1.0f);
                fill_noise(&g, w, 0.02f);
                for (int64_t i = 0; uneven && i < M * k; i++) floats(&g, a)[i] *= exp2f((float)(i / k % 41 - 20));
                const graft_attr at[] = {GRAFT_INTA("trans_b", 1)};
                const graft_instr instr = {graft_op_id("matmul/1"), "matmul/1", 2, 1, 1, in, out, at};
                run_program_as(&d, &g, 1, &instr, compute);
                double wrong = 0.0, right = 0.0;
                for (int64_t i = 0; i < M; i++)
                    for (int64_t j = 0; j < N; j++) {
                        double sum = 0.0, width = uneven ? exp2((double)(i % 41 - 20)) : 1.0;
                        for (int64_t p = 0; p < k; p++) sum += (double)floats(&g, a)[i * k + p] * (double)floats(&g, w)[j * k + p];
                        wrong += pow(((double)floats(&g, y)[i * N + j] - sum) / width, 2);
                        right += pow(sum / width, 2);
                    }
                found[uneven] = sqrt(wrong / right);
                free(g.data);
            }
            printf("%-6s %6lld %12.2e %12.2e\n", types[type], (long long)ks[n], found[0], found[1]);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--peak")) {
        printf("peak f32 %.0f GF/s on one thread, %.0f on %d\n", peak_gflops(1), peak_gflops(argc > 2 ? atoi(argv[2]) : 2), argc > 2 ? atoi(argv[2]) : 2);
        return 0;
    }
    if (argc > 1 && !strcmp(argv[1], "--errors")) return errors();
    for (int i = 0; argc > 4 && i < TYPES; i++)
        if (!strcmp(argv[4], types[i])) compute = 1u << i;
    const int threads = argc > 1 ? atoi(argv[1]) : 2, repeats = argc > 3 ? atoi(argv[3]) : 15;
    if (threads == 1) clock_of_runs = CLOCK_PROCESS_CPUTIME_ID;
    device d;
    if (device_open(&d, "cpu", argc > 2 && *argv[2] ? argv[2] : NULL, threads) != GRAFT_OK) return 1;
    if (!offers(&d, compute)) return fprintf(stderr, "skipped: %s is not offered on this processor\n", argv[4]), 0;
    static run runs[ROWS];
    for (int i = 0; i < ROWS; i++) {
        if (prepare(&d, &rows[i], &runs[i])) return 1;
        free(runs[i].g.data);
    }
    for (int repeat = 0; repeat < repeats; repeat++)
        for (int i = 0; i < ROWS; i++) time_once(&d, &runs[i], 2 * rows[i].m * rows[i].n * rows[i].k);
    const double peak = peak_gflops(threads);
    printf("peak of %d threads: %.0f GF/s\n%-22s %6s %6s %6s %5s %9s %9s %6s %7s\n", threads, peak, "product", "m", "n", "k", "trans", "ms", "GF/s", "%", "GB/s");
    for (int i = 0; i < ROWS; i++) {
        const row *r = &rows[i];
        const double flops = 2.0 * (double)r->m * (double)r->n * (double)r->k;
        printf("%-22s %6lld %6lld %6lld  %c%c%c  %9.3f %9.1f %6.1f %7.1f\n", r->what, (long long)r->m, (long long)r->n, (long long)r->k, r->ta ? 'T' : 'N', r->tb ? 'T' : 'N', r->c ? '+' : ' ',
               runs[i].best * 1e3, flops / runs[i].best * 1e-9, peak > 0.0 ? flops / runs[i].best * 1e-7 / peak : 0.0, runs[i].bytes / runs[i].best * 1e-9);
    }
    return 0;
}
