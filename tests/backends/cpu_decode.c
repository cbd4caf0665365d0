/* What the cpu backend does otherwise for a few rows, as decoding has them: attention of single tokens over a cache, products that share their rows.
 * Against plain loops in double, on every instruction set that runs here, with 1, 2 and 5 threads: the same bits. */
#include "tests/backends/device.h"

static const char *const isas[] = {"scalar", "avx2", "avx512"};

/* Runs `check` on every instruction set; what the runs of one set with several threads leave in the image must be the same bytes. */
static void on_every_device(void (*check)(const device *d, const void *what, image *g), const void *what)
{
    for (int isa = 0; isa < 3; isa++) {
        image first = {.n = 0};
        for (int threads = 1; threads <= 5; threads += threads == 1 ? 1 : 3) {
            device d;
            if (device_open(&d, "cpu", isas[isa], threads) != GRAFT_OK) break;
            image g = {.n = 0};
            check(&d, what, &g);
            d.table->close(d.dev);
            if (!first.data) {
                first = g;
                continue;
            }
            ck_assert_msg(!memcmp(first.data, g.data, (size_t)g.bytes), "%s: 1 and %d threads differ", isas[isa], threads);
            free(g.data);
        }
        free(first.data);
    }
}

/* ---- attention ------------------------------------------------------------------------------------------------------------------------------------ */
enum { SEQUENCES = 3 };
typedef struct shape {
    int64_t n, kv, h, m, window;
    double scale, softcap;
    int32_t cached[SEQUENCES]; /* before the new token; -1: the sequence has none this time */
} shape;

/* One query over `keys` keys at k and v, rows of width floats. */
static void plain_query(const shape *p, const float *q, int64_t keys, const float *const *k, const float *const *v, double *o)
{
    double *z = calloc((size_t)keys, sizeof *z), top = -1e300, total = 0.0;
    for (int64_t j = 0; j < keys; j++) {
        for (int64_t e = 0; e < p->h; e++) z[j] += (double)q[e] * (double)k[j][e];
        z[j] *= p->scale;
        if (p->softcap > 0.0) z[j] = p->softcap * tanh(z[j] / p->softcap);
        top = z[j] > top ? z[j] : top;
    }
    for (int64_t j = 0; j < keys; j++) total += z[j] = exp(z[j] - top);
    for (int64_t e = 0; e < p->h; e++) o[e] = 0.0;
    for (int64_t j = 0; j < keys; j++)
        for (int64_t e = 0; e < p->h; e++) o[e] += z[j] / total * (double)v[j][e];
    free(z);
}

static void one_step(const device *d, const void *what, image *g)
{
    enum { ROOM = 210 }; /* cache rows a sequence */
    const shape *p = what;
    const int64_t W = p->n * p->h, KW = p->kv * p->h;
    const int32_t q = matrix(g, SEQUENCES, W), k = matrix(g, SEQUENCES, KW), v = matrix(g, SEQUENCES, KW), seq = image_add(g, GRAFT_I32, 2, SEQUENCES, 4, 0, 0), o = matrix(g, SEQUENCES, W);
    const int32_t kc = matrix(g, SEQUENCES * ROOM, KW), vc = matrix(g, SEQUENCES * ROOM, KW), ke = p->m ? matrix(g, p->m, KW) : -1, ve = p->m ? matrix(g, p->m, KW) : -1;
    const int32_t noisy[] = {q, k, v, kc, vc, ke, ve};
    for (int i = 0; i < 7; i++)
        if (noisy[i] >= 0) fill_noise(g, noisy[i], 1.0f);
    int32_t token = 0;
    for (int32_t s = 0; s < SEQUENCES; s++) {
        const int there = p->cached[s] >= 0;
        memcpy(ints(g, seq) + 4 * s, (int32_t[]){token, there, s * ROOM, there ? p->cached[s] : 0}, 4 * sizeof(int32_t));
        token += there;
    }
    const graft_attr at[] = {GRAFT_INTA("heads", p->n), GRAFT_INTA("kv_heads", p->kv), GRAFT_INTA("window", p->window), GRAFT_REALA("scale", p->scale), GRAFT_REALA("softcap", p->softcap)};
    ck_assert_int_eq(run_op(d, g, "attention_cached/1", 8, (int32_t[]){q, k, v, seq, ke, ve, kc, vc}, 3, (int32_t[]){o, kc, vc}, 5, at), GRAFT_OK);
    double *want = calloc((size_t)p->h, sizeof *want);
    const float **keys = malloc((size_t)(p->m + ROOM) * sizeof *keys), **values = malloc((size_t)(p->m + ROOM) * sizeof *values);
    for (int32_t s = 0; s < SEQUENCES; s++) {
        if (p->cached[s] < 0) continue;
        const int64_t t = ints(g, seq)[4 * s], last = p->cached[s], first = p->window && last - p->window + 1 > 0 ? last - p->window + 1 : 0;
        ck_assert_mem_eq(floats(g, kc) + (s * ROOM + last) * KW, floats(g, k) + t * KW, (size_t)KW * sizeof(float));
        for (int64_t n = 0; n < p->n; n++) {
            const int64_t head = n / (p->n / p->kv) * p->h;
            int64_t count = 0;
            for (int64_t j = 0; j < p->m; j++, count++) keys[count] = floats(g, ke) + j * KW + head, values[count] = floats(g, ve) + j * KW + head;
            for (int64_t j = first; j <= last; j++, count++) keys[count] = floats(g, kc) + (s * ROOM + j) * KW + head, values[count] = floats(g, vc) + (s * ROOM + j) * KW + head;
            plain_query(p, floats(g, q) + t * W + n * p->h, count, keys, values, want);
            near("one token over its cache", floats(g, o) + t * W + n * p->h, want, p->h, 4e-6, 1.0);
        }
    }
    for (int64_t i = token * W; i < SEQUENCES * W; i++) ck_assert(floats(g, o)[i] == 0.0f);
    free(want);
    free(keys);
    free(values);
}

static const shape shapes[] = {
    {9, 3, 64, 0, 0, 0.125, 0.0, {0, 63, 200}},
    {14, 2, 64, 0, 0, 0.125, 0.0, {64, 127, 5}},
    {8, 8, 128, 0, 0, 0.09, 0.0, {190, -1, 2}},
    {7, 1, 24, 70, 100, 0.2, 5.0, {150, 99, 3}},
    {6, 3, 40, 1, 0, 0.15, 0.0, {31, 0, 140}},
    {5, 5, 5, 0, 64, 0.4, 0.0, {64, 65, 209}},
    {2, 1, 256, 0, 17, 0.0625, 30.0, {16, 17, -1}},
};

START_TEST(single_tokens)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) on_every_device(one_step, &shapes[i]);
}
END_TEST

/* ---- products of one input ------------------------------------------------------------------------------------------------------------------------ */
typedef struct family {
    int64_t rows, k, n[3];
} family;

/* y0, y1, y2 = x [w0 | w1 | w2]^T, with a step between that doubles y1 where it lies. */
static void one_family(const device *d, const void *what, image *g)
{
    const family *f = what;
    const int32_t x = matrix(g, f->rows, f->k);
    int32_t w[3], y[3];
    for (int i = 0; i < 3; i++) w[i] = matrix(g, f->n[i], f->k), y[i] = matrix(g, f->rows, f->n[i]);
    fill_noise(g, x, 1.0f);
    for (int i = 0; i < 3; i++) fill_noise(g, w[i], 1.0f);
    const graft_attr nt[] = {GRAFT_INTA("trans_a", 0), GRAFT_INTA("trans_b", 1), GRAFT_REALA("alpha", 0.5)};
    const int32_t in[3][2] = {{x, w[0]}, {x, w[1]}, {x, w[2]}}, twice[2] = {y[1], y[1]};
    graft_instr instrs[4];
    for (int i = 0; i < 3; i++) instrs[i + (i == 2)] = (graft_instr){graft_op_id("matmul/1"), "matmul/1", 2, 1, 3, in[i], &y[i], nt};
    instrs[2] = (graft_instr){graft_op_id("add/1"), "add/1", 2, 1, 0, twice, &y[1], NULL};
    ck_assert_int_eq(run_program(d, g, 4, instrs), GRAFT_OK);
    for (int i = 0; i < 3; i++)
        for (int64_t r = 0; r < f->rows; r++)
            for (int64_t j = 0; j < f->n[i]; j++) {
                double sum = 0.0;
                for (int64_t e = 0; e < f->k; e++) sum += (i == 1 ? 1.0 : 0.5) * (double)floats(g, x)[r * f->k + e] * (double)floats(g, w[i])[j * f->k + e];
                near("products of one input", floats(g, y[i]) + r * f->n[i] + j, &sum, 1, 2e-6, 1.0 + sqrt((double)f->k));
            }
}

static const family families[] = {{1, 576, {576, 192, 192}}, {3, 70, {200, 33, 5}}, {16, 64, {130, 40, 16}}, {40, 96, {64, 48, 30}}};

START_TEST(products_of_one_input)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) on_every_device(one_family, &families[i]);
}
END_TEST

/* A product that reads the same memory as an earlier one, but not the same numbers, stays where it is. */
static void one_change(const device *d, const void *what, image *g)
{
    (void)what;
    enum { K = 32,
           N = 24 };
    const int32_t x = matrix(g, 1, K), w0 = matrix(g, N, K), w1 = matrix(g, N, K), y0 = matrix(g, 1, N), y1 = matrix(g, 1, N);
    for (int32_t t = x; t <= w1; t++) fill_noise(g, t, 1.0f);
    float before[K];
    memcpy(before, floats(g, x), sizeof before);
    const graft_attr nt[] = {GRAFT_INTA("trans_a", 0), GRAFT_INTA("trans_b", 1), GRAFT_REALA("alpha", 1.0)};
    const graft_instr instrs[] = {{graft_op_id("matmul/1"), "matmul/1", 2, 1, 3, (int32_t[]){x, w0}, &y0, nt},
                                  {graft_op_id("add/1"), "add/1", 2, 1, 0, (int32_t[]){x, x}, &x, NULL},
                                  {graft_op_id("matmul/1"), "matmul/1", 2, 1, 3, (int32_t[]){x, w1}, &y1, nt}};
    ck_assert_int_eq(run_program(d, g, 3, instrs), GRAFT_OK);
    for (int i = 0; i < 2; i++)
        for (int64_t j = 0; j < N; j++) {
            double sum = 0.0;
            for (int64_t e = 0; e < K; e++) sum += (i ? 2.0 : 1.0) * (double)before[e] * (double)floats(g, i ? w1 : w0)[j * K + e];
            near("products of a changing input", floats(g, i ? y1 : y0) + j, &sum, 1, 2e-6, 8.0);
        }
}

START_TEST(products_of_a_changing_input) { on_every_device(one_change, NULL); }
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, single_tokens);
    tcase_add_test(tc, products_of_one_input);
    tcase_add_test(tc, products_of_a_changing_input);
}

int main(void) { return graft_test_main("cpu_decode", cases); }
