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

static void cases(TCase *tc) { tcase_add_test(tc, single_tokens); }

int main(void) { return graft_test_main("cpu_decode", cases); }
