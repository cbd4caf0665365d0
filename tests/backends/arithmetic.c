/* Matrix products in bf16 and fp16: within the error of their rounding, the same bits for any number of threads, f32 where the processor lacks them.
 * fp16's own code is tested as a model in plain C (FP16_MODEL): few processors have its instructions. */
#include "tests/backends/device.h"

#include "backends/cpu/kernels/gemm.h"

#ifndef WITH_CPU_PLUGIN
const cpu_kernels cpu_kernels_scalar = {NULL, NULL, 0}; /* for features.c */
#endif

typedef struct shape {
    int64_t m, n, k;
    int ta, tb, c;
} shape;
static const shape shapes[] = {{17, 17, 1, 0, 1, 0}, {97, 130, 401, 0, 1, 1}, {97, 130, 401, 1, 0, 0}, {64, 33, 800, 0, 0, 1}, {50, 70, 1700, 1, 1, 0}, {24, 200, 33, 0, 1, 1}, {200, 40, 64, 1, 0, 1}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static float bf16_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
    memcpy(&f, &u, sizeof f);
    return f;
}

static int offers(const device *d, uint32_t bit)
{
    int32_t n;
    const graft_op_claim *claims = d->table->ops(d->dev, &n);
    for (int32_t i = 0; i < n; i++)
        if (claims[i].op == graft_op_id("matmul/1")) return (claims[i].compute & bit) != 0;
    return 0;
}

/* y = 0.5 op(a) op(b) (+ c) on d; the result is kept in `got`. Compared with the product of rounded numbers, where `rounds` says how they are rounded. */
static void one_product(const device *d, const shape *s, uint32_t compute, float (*rounds)(float), double tolerance, float *got)
{
    image g = {.n = 0};
    const int32_t a = s->ta ? matrix(&g, s->k, s->m) : matrix(&g, s->m, s->k), b = s->tb ? matrix(&g, s->n, s->k) : matrix(&g, s->k, s->n), c = matrix(&g, s->m, s->n), y = matrix(&g, s->m, s->n);
    fill_noise(&g, a, 1.0f);
    fill_noise(&g, b, 1.0f);
    fill_noise(&g, c, 1.0f);
    const int32_t in[] = {a, b, c}, out[] = {y};
    const graft_attr at[] = {GRAFT_INTA("trans_a", s->ta), GRAFT_INTA("trans_b", s->tb), GRAFT_REALA("alpha", 0.5)};
    const graft_instr instr = {graft_op_id("matmul/1"), "matmul/1", s->c ? 3 : 2, 1, 3, in, out, at};
    ck_assert_int_eq(run_program_as(d, &g, 1, &instr, compute), GRAFT_OK);
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double sum = 0.0;
            for (int64_t p = 0; p < s->k; p++)
                sum += (double)rounds(floats(&g, a)[s->ta ? p * s->m + i : i * s->k + p]) * (double)rounds(floats(&g, b)[s->tb ? j * s->k + p : p * s->n + j]);
            const double want = 0.5 * sum + (s->c ? (double)floats(&g, c)[i * s->n + j] : 0.0);
            ck_assert_msg(fabs((double)floats(&g, y)[i * s->n + j] - want) <= tolerance * (1.0 + sqrt((double)s->k) + fabs(want)), "%lld x %lld x %lld at %lld, %lld: expected %.9g, found %.9g", (long long)s->m,
                          (long long)s->n, (long long)s->k, (long long)i, (long long)j, want, (double)floats(&g, y)[i * s->n + j]);
        }
    memcpy(got, floats(&g, y), (size_t)(s->m * s->n) * sizeof *got);
    free(g.data);
}

static float same(float x) { return x; }

START_TEST(products)
{
    static float got[3][200 * 200];
    static const struct {
        const char *name;
        float (*rounds)(float);
        double tolerance;
    } types[] = {{"f32", same, 2e-6}, {"bf16", bf16_of, 2e-6}, {"fp16", same, 4e-3}};
    for (int type = 0; type < 3; type++) {
        int here = 0;
        for (size_t i = 0; i < SHAPES; i++)
            for (int threads = 1; threads <= 3; threads++) {
                device d;
                ck_assert_int_eq(device_open(&d, "cpu", NULL, threads), GRAFT_OK);
                here = offers(&d, 1u << type);
                one_product(&d, &shapes[i], 1u << type, here ? types[type].rounds : same, here ? types[type].tolerance : 2e-6, got[threads - 1]);
                ck_assert_msg(!memcmp(got[0], got[threads - 1], (size_t)(shapes[i].m * shapes[i].n) * sizeof(float)), "%s: not the same bits with %d threads", types[type].name, threads);
                d.table->close(d.dev);
            }
        if (!here) printf("skipped: this processor does not multiply in %s; its products ran in f32\n", types[type].name);
    }
}
END_TEST

/* Two products joined, the first with an odd k: pairs of bf16 must not mix them. */
START_TEST(joined_products)
{
    static const int64_t ks[][2] = {{33, 400}, {400, 33}, {8, 576}, {577, 800}};
    for (size_t t = 0; t < sizeof ks / sizeof *ks; t++) {
        device d;
        enum { M = 40,
               N = 50 };
        image g = {.n = 0};
        ck_assert_int_eq(device_open(&d, "cpu", NULL, 2), GRAFT_OK);
        const int rounded = offers(&d, 2);
        int32_t a[2], b[2];
        for (int i = 0; i < 2; i++) {
            a[i] = matrix(&g, M, ks[t][i]), b[i] = matrix(&g, N, ks[t][i]);
            fill_noise(&g, a[i], 1.0f);
            fill_noise(&g, b[i], 1.0f);
        }
        const int32_t y = matrix(&g, M, N), z = matrix(&g, M, N);
        for (int32_t i = 0; i < g.n; i++) g.tensors[i].place = GRAFT_PLACE_ARENA;
        const int32_t first[] = {a[0], b[0]}, second[] = {a[1], b[1], y}, out[] = {y, z};
        const graft_attr at[] = {GRAFT_INTA("trans_b", 1)};
        const graft_instr instrs[] = {{graft_op_id("matmul/1"), "matmul/1", 2, 1, 1, first, &out[0], at}, {graft_op_id("matmul/1"), "matmul/1", 3, 1, 1, second, &out[1], at}};
        ck_assert_int_eq(run_program_as(&d, &g, 2, instrs, 2), GRAFT_OK);
        for (int64_t i = 0; i < M; i++)
            for (int64_t j = 0; j < N; j++) {
                double want = 0.0;
                for (int n = 0; n < 2; n++)
                    for (int64_t p = 0; p < ks[t][n]; p++) {
                        const float x = floats(&g, a[n])[i * ks[t][n] + p], w = floats(&g, b[n])[j * ks[t][n] + p];
                        want += rounded ? (double)bf16_of(x) * (double)bf16_of(w) : (double)x * (double)w;
                    }
                ck_assert_msg(fabs((double)floats(&g, z)[i * N + j] - want) < 1e-4, "%lld, %lld: expected %.9g, found %.9g", (long long)i, (long long)j, want, (double)floats(&g, z)[i * N + j]);
            }
        free(g.data);
        d.table->close(d.dev);
    }
}
END_TEST

/* ---- the model of fp16.c ---------------------------------------------------------------------------------------------------------------------------- */
static void model_product(const shape *s, const float *a, const float *b, const float *c, float *y, int threads)
{
    cpu_room room = {0, 0, 0};
    K(gemm_room)
    (s->m, s->n, s->k, &room);
    cpu_call call = {.compute = CPU_FP16, .host = &test_host, .scratch_bytes = (room.scratch + 63) / 64 * 64};
    call.pool = cpu_pool_new(&test_host, threads, 0);
    ck_assert_ptr_nonnull(call.pool);
    call.work = host_alloc(NULL, (size_t)room.work, 64);
    call.scratch = host_alloc(NULL, (size_t)(call.scratch_bytes * threads), 64);
    gemm g = {.m = s->m, .n = s->n, .terms = 1, .c = y, .ldc = s->n, .base = c, .ldbase = s->n};
    g.t[0] = (term){.a = a, .b = b, .lda = s->ta ? s->m : s->k, .ldb = s->tb ? s->k : s->n, .k = s->k, .ta = GRAFT_F32, .tb = GRAFT_F32, .trans_a = s->ta, .trans_b = s->tb, .alpha = 0.5f};
    K(gemm_run)
    (&call, &g);
    cpu_pool_free(call.pool);
    free(call.work);
    free(call.scratch);
}

/* Rows of A have widths from 2^-40 to 2^40: each is scaled by itself. */
static void one_model(const shape *s, int threads, float *y)
{
    float *a = malloc((size_t)(s->m * s->k) * sizeof *a), *b = malloc((size_t)(s->n * s->k) * sizeof *b), *c = malloc((size_t)(s->m * s->n) * sizeof *c);
    ck_assert(a && b && c);
    for (int64_t i = 0; i < s->m * s->k; i++) a[i] = noise(1, (uint64_t)i) * exp2f((float)((s->ta ? i % s->m : i / s->k) % 9 * 10 - 40));
    for (int64_t i = 0; i < s->n * s->k; i++) b[i] = noise(2, (uint64_t)i) * 0.02f;
    for (int64_t i = 0; i < s->m * s->n; i++) c[i] = noise(3, (uint64_t)i) * exp2f((float)(i / s->n % 9 * 10 - 40));
    model_product(s, a, b, s->c ? c : NULL, y, threads);
    double wrong = 0.0, right = 0.0;
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double sum = 0.0;
            const double width = exp2((double)(i % 9 * 10 - 40));
            for (int64_t p = 0; p < s->k; p++) sum += (double)a[s->ta ? p * s->m + i : i * s->k + p] * (double)b[s->tb ? j * s->k + p : p * s->n + j];
            const double want = 0.5 * sum + (s->c ? (double)c[i * s->n + j] : 0.0), off = ((double)y[i * s->n + j] - want) / width;
            ck_assert_msg(fabs(off) < 6e-3 * 0.02 * sqrt((double)s->k) + 1e-6, "%lld x %lld x %lld at %lld, %lld: expected %.9g, found %.9g", (long long)s->m, (long long)s->n, (long long)s->k, (long long)i,
                          (long long)j, want, (double)y[i * s->n + j]);
            wrong += off * off;
            right += pow(0.5 * sum / width, 2);
        }
    ck_assert_msg(wrong <= right * pow(1.6e-3, 2), "%lld x %lld x %lld: relative error %.2e", (long long)s->m, (long long)s->n, (long long)s->k, sqrt(wrong / right));
    free(a), free(b), free(c);
}

START_TEST(fp16_model)
{
    static float y[2][200 * 200];
    for (size_t i = 0; i < SHAPES; i++) {
        one_model(&shapes[i], 1, y[0]);
        one_model(&shapes[i], 3, y[1]);
        ck_assert_mem_eq(y[0], y[1], (size_t)(shapes[i].m * shapes[i].n) * sizeof(float));
    }
}
END_TEST

/* Halves hold small whole numbers exactly, so these products are exact; infinities and nans must not vanish. */
START_TEST(fp16_model_edges)
{
    enum { M = 20,
           N = 24,
           K_ = 70 };
    const shape s = {M, N, K_, 0, 1, 0};
    static float a[M * K_], b[N * K_], y[M * N];
    for (int i = 0; i < M * K_; i++) a[i] = (float)(i % 7 - 3);
    for (int i = 0; i < N * K_; i++) b[i] = (float)(i % 5 - 2);
    for (int p = 0; p < K_; p++) a[3 * K_ + p] = 0.0f;
    a[1 * K_ + 9] = INFINITY, b[0 * K_ + 9] = 1.0f;
    a[2 * K_ + 5] = NAN;
    model_product(&s, a, b, NULL, y, 1);
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            double want = 0.0;
            for (int64_t p = 0; p < K_; p++) want += (double)a[i * K_ + p] * (double)b[j * K_ + p];
            const double found = (double)y[i * N + j];
            if (i == 1 || i == 2) ck_assert_msg(isnan(want) ? isnan(found) : found == 0.5 * want, "row %d, column %d: found %g", (int)i, (int)j, found);
            else ck_assert_msg(found == 0.5 * want, "row %d, column %d: expected %g, found %g", (int)i, (int)j, 0.5 * want, found);
        }
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, products);
    tcase_add_test(tc, joined_products);
    tcase_add_test(tc, fp16_model);
    tcase_add_test(tc, fp16_model_edges);
}

int main(void) { return graft_test_main("arithmetic", cases); }
