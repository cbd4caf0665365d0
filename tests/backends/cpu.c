/* The cpu backend's kernels against plain loops in double, on every instruction set that runs here, and with 1, 2 and 3 threads: the same bits. */
#include "tests/backends/device.h"

static const char *const isas[] = {"scalar", "avx2", "avx512"};
#define FOR_EACH_DEVICE(d)                                   \
    for (int isa_ = 0; isa_ < 3; isa_++)                     \
        for (int threads_ = 1; threads_ <= 3; threads_ += 2) \
            for (device d, *once_ = &d; once_ && device_open(&d, "cpu", isas[isa_], threads_) == GRAFT_OK; d.table->close(d.dev), once_ = NULL)

static double half(const uint8_t *p)
{
    const int h = p[0] | p[1] << 8, exponent = h >> 10 & 31;
    const double size = exponent ? ldexp(1024 + (h & 1023), exponent - 25) : ldexp(h & 1023, -24);
    return h & 0x8000 ? -size : size;
}

static double stored(const image *m, int32_t t, int64_t i)
{
    const graft_tensor *x = &m->tensors[t];
    if (x->dtype == GRAFT_F32) return floats(m, t)[i];
    const uint8_t *bytes = (const uint8_t *)m->data + x->offset;
    const int64_t j = i % 32;
    if (graft_is_packed(x->dtype)) return graft_packed_at(bytes, i, x->dtype);
    if (x->dtype == GRAFT_Q8_0) return half(bytes + i / 32 * 34) * (int8_t)bytes[i / 32 * 34 + 2 + j];
    if (x->dtype == GRAFT_Q4_0) return half(bytes + i / 32 * 18) * ((bytes[i / 32 * 18 + 2 + j % 16] >> (j < 16 ? 0 : 4) & 15) - 8);
    if (x->dtype == GRAFT_Q4_1) return half(bytes + i / 32 * 20) * (bytes[i / 32 * 20 + 4 + j % 16] >> (j < 16 ? 0 : 4) & 15) + half(bytes + i / 32 * 20 + 2);
    const uint16_t h = ((const uint16_t *)(const void *)(m->data + x->offset))[i];
    if (x->dtype == GRAFT_BF16) {
        const uint32_t u = (uint32_t)h << 16;
        float f;
        memcpy(&f, &u, sizeof f);
        return f;
    }
    return half(bytes + 2 * i);
}

/* ---- matmul ------------------------------------------------------------------------------------------------------------------------------------ */
static void one_matmul(const device *d, int64_t m, int64_t n, int64_t k, int ta, int tb, graft_dtype tw, int with_c, int in_place)
{
    image g = {.n = 0};
    const int32_t a = ta ? matrix(&g, k, m) : matrix(&g, m, k), w = image_add(&g, tw, 2, tb ? n : k, tb ? k : n, 0, 0);
    const int32_t c = matrix(&g, m, n), y = in_place ? c : matrix(&g, m, n);
    fill_noise(&g, a, 1.0f);
    if (tw == GRAFT_F32) fill_noise(&g, w, 1.0f);
    uint8_t *bytes = (uint8_t *)g.data + g.tensors[w].offset;
    const int64_t block = tw == GRAFT_Q4_0 ? 18 : tw == GRAFT_Q4_1 ? 20
                                              : tw == GRAFT_Q8_0   ? 34
                                                                   : 0;
    for (int64_t i = 0; block && i < g.tensors[w].bytes; i++) /* f16 scales of about 0.1, any numbers */
        bytes[i] = i % block == 1 || (block == 20 && i % block == 3) ? 0x2e : (uint8_t)graft_random_u32(3, 1, 0, (uint64_t)i);
    const int64_t step = tw == GRAFT_NF4 ? 36 : tw == GRAFT_INT8 ? 68
                                                                 : GRAFT_NF4_GROUP_BYTES;
    for (int64_t i = 0; graft_is_packed(tw) && i < g.tensors[w].bytes; i++) bytes[i] = (uint8_t)graft_random_u32(3, 1, 0, (uint64_t)i);
    for (int64_t i = 0; graft_is_packed(tw) && i < g.tensors[w].bytes; i += step) memcpy(bytes + i, (float[]){0.4f, 0.6f}, tw == GRAFT_NF4_DOUBLE ? 8 : 4);
    for (int64_t i = 0; tw != GRAFT_F32 && !block && !graft_is_packed(tw) && i < n * k; i++)
        ((uint16_t *)(void *)bytes)[i] = (uint16_t)(0x3c00 + graft_random_u32(3, 1, 0, (uint64_t)i) % 900 + ((uint64_t)i % 3 == 0 ? 0x8000 : 0));
    fill_noise(&g, c, 1.0f);
    double *want = malloc((size_t)(m * n + 1) * sizeof *want);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (int64_t p = 0; p < k; p++) sum += (double)floats(&g, a)[ta ? p * m + i : i * k + p] * stored(&g, w, tb ? j * k + p : p * n + j);
            want[i * n + j] = 0.5 * sum + (with_c ? (double)floats(&g, c)[i * n + j] : 0.0);
        }
    const int32_t in[] = {a, w, c}, out[] = {y};
    const graft_attr at[] = {GRAFT_INTA("trans_a", ta), GRAFT_INTA("trans_b", tb), GRAFT_REALA("alpha", 0.5)};
    ck_assert_int_eq(run_op(d, &g, "matmul/1", with_c ? 3 : 2, in, 1, out, 3, at), GRAFT_OK);
    char what[120];
    snprintf(what, sizeof what, "matmul %lld x %lld x %lld, transposed %d %d, type %d, c %d", (long long)m, (long long)n, (long long)k, ta, tb, (int)tw, with_c);
    near(what, floats(&g, y), want, m * n, 2e-6, (block == 34 ? 10.0 : 1.0) * (1.0 + sqrt((double)k)));
    free(want);
    free(g.data);
}

START_TEST(matmul_shapes)
{
    static const int64_t shapes[][3] = {{1, 1, 1}, {1, 70, 33}, {3, 5, 7}, {8, 64, 100}, {100, 8, 64}, {9, 9, 9}, {12, 32, 16}, {13, 33, 17}, {50, 40, 800}, {97, 130, 401}, {70, 3, 129}, {200, 7, 8}, {0, 4, 4}, {4, 0, 4}, {4, 12, 0}, {24, 20, 0}};
    FOR_EACH_DEVICE(d)
    {
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int t = 0; t < 4; t++) {
                one_matmul(&d, shapes[i][0], shapes[i][1], shapes[i][2], t & 1, t >> 1, GRAFT_F32, (int)(i + (size_t)t) % 2, t % 3 == 0);
                one_matmul(&d, shapes[i][0], shapes[i][1], shapes[i][2], t & 1, t >> 1, t & 1 ? GRAFT_BF16 : GRAFT_F16, 0, 0);
            }
    }
}
END_TEST

/* Stored blocks of 32: as rows along k and across it, for one row, a few and many. */
START_TEST(matmul_of_blocks)
{
    static const int64_t rows[] = {1, 5, 40};
    FOR_EACH_DEVICE(d)
    {
        for (int i = 0; i < 3; i++)
            for (graft_dtype t = GRAFT_Q4_0; t <= GRAFT_Q8_0; t++) {
                one_matmul(&d, rows[i], 50, 448, 0, 1, t, 1, 0);
                one_matmul(&d, rows[i], 96, 70, 0, 0, t, 0, 0);
            }
        for (int i = 0; i < 3; i++) /* 448 x 50 is more than one group of nf4_double */
            for (int t = 0; t < 3; t++) {
                const graft_dtype packed = (graft_dtype[]){GRAFT_NF4, GRAFT_NF4_DOUBLE, GRAFT_INT8}[t];
                one_matmul(&d, rows[i], 50, 448, 0, 1, packed, 1, 0);
                one_matmul(&d, rows[i], 448, 70, 0, 0, packed, 0, 0);
            }
    }
}
END_TEST

START_TEST(matmul_batches)
{
    FOR_EACH_DEVICE(d)
    {
        image g = {.n = 0};
        const int32_t a = image_add(&g, GRAFT_F32, 4, 3, 1, 5, 7), w = image_add(&g, GRAFT_F32, 4, 1, 2, 11, 7), y = image_add(&g, GRAFT_F32, 4, 3, 2, 5, 11);
        fill_noise(&g, a, 1.0f);
        fill_noise(&g, w, 1.0f);
        const int32_t in[] = {a, w}, out[] = {y};
        const graft_attr at[] = {GRAFT_INTA("trans_b", 1)};
        ck_assert_int_eq(run_op(&d, &g, "matmul/1", 2, in, 1, out, 1, at), GRAFT_OK);
        double want[3 * 2 * 5 * 11];
        for (int64_t b = 0; b < 6; b++)
            for (int64_t i = 0; i < 5; i++)
                for (int64_t j = 0; j < 11; j++) {
                    double sum = 0.0;
                    for (int64_t p = 0; p < 7; p++) sum += (double)floats(&g, a)[(b / 2 * 5 + i) * 7 + p] * (double)floats(&g, w)[(b % 2 * 11 + j) * 7 + p];
                    want[(b * 5 + i) * 11 + j] = sum;
                }
        near("batched matmul", floats(&g, y), want, 330, 2e-6, 3.0);
        free(g.data);
    }
}
END_TEST

/* Products added to each other are joined at compile time; what is left must be the same sum. */
static void one_sum(const device *d, int64_t m, int64_t n, const int64_t k[3], int variant)
{
    image g = {.n = 0};
    int32_t a[3], b[3];
    const int32_t c = matrix(&g, m, n), y = matrix(&g, m, n), z = variant & 1 ? y : matrix(&g, m, n), last = variant & 2 ? c : matrix(&g, m, n);
    for (int i = 0; i < 3; i++) {
        const int ta = (variant >> i) & 1, tb = (variant >> (2 - i)) & 1;
        a[i] = ta ? matrix(&g, k[i], m) : matrix(&g, m, k[i]);
        b[i] = tb ? matrix(&g, n, k[i]) : matrix(&g, k[i], n);
        fill_noise(&g, a[i], 1.0f);
        fill_noise(&g, b[i], 1.0f);
    }
    fill_noise(&g, c, 1.0f);
    for (int32_t t = 0; t < g.n; t++) g.tensors[t].place = GRAFT_PLACE_ARENA;
    double *want = malloc((size_t)(m * n + 1) * sizeof *want);
    static const double alpha[3] = {1.0, 2.0, 0.75};
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            want[i * n + j] = (double)floats(&g, c)[i * n + j];
            for (int t = 0; t < 3; t++) {
                const int ta = (variant >> t) & 1, tb = (variant >> (2 - t)) & 1;
                for (int64_t p = 0; p < k[t]; p++)
                    want[i * n + j] += alpha[t] * (double)floats(&g, a[t])[ta ? p * m + i : i * k[t] + p] * (double)floats(&g, b[t])[tb ? j * k[t] + p : p * n + j];
            }
        }
    const int32_t in[3][3] = {{a[0], b[0], c}, {a[1], b[1], y}, {a[2], b[2], z}}, out[3] = {y, z, last};
    graft_attr at[3][3];
    graft_instr instrs[3];
    for (int t = 0; t < 3; t++) {
        const graft_attr row[] = {GRAFT_INTA("trans_a", (variant >> t) & 1), GRAFT_INTA("trans_b", (variant >> (2 - t)) & 1), GRAFT_REALA("alpha", alpha[t])};
        memcpy(at[t], row, sizeof row);
        instrs[t] = (graft_instr){graft_op_id("matmul/1"), "matmul/1", 3, 1, 3, in[t], &out[t], at[t]};
    }
    ck_assert_int_eq(run_program(d, &g, 3, instrs), GRAFT_OK);
    char what[80];
    snprintf(what, sizeof what, "sum of products %lld x %lld, variant %d", (long long)m, (long long)n, variant);
    near(what, floats(&g, last), want, m * n, 4e-6, 1.0 + sqrt((double)(k[0] + k[1] + k[2])));
    free(want);
    free(g.data);
}

START_TEST(sums_of_products)
{
    FOR_EACH_DEVICE(d)
    {
        for (int variant = 0; variant < 8; variant++) {
            one_sum(&d, 5, 16, (const int64_t[]){16, 16, 16}, variant);
            one_sum(&d, 40, 50, (const int64_t[]){300, 8, 200}, variant);
            one_sum(&d, 33, 9, (const int64_t[]){8, 130, 7}, variant);
            one_sum(&d, 30, 70, (const int64_t[]){0, 8, 390}, variant);
        }
    }
}
END_TEST

/* ---- functions of one number ------------------------------------------------------------------------------------------------------------------- */
static double d_rsqrt(double x) { return 1.0 / sqrt(x); }
static double d_sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static double d_neg(double x) { return -x; }
static double d_silu(double x) { return x / (1.0 + exp(-x)); }

START_TEST(unary_functions)
{
    static const struct {
        const char *op;
        double (*f)(double);
        double low, high;
    } rows[] = {
        {"neg/1", d_neg, -9, 9}, {"exp/1", exp, -87, 88.7}, {"log/1", log, 1e-6, 50}, {"sqrt/1", sqrt, 0, 50}, {"rsqrt/1", d_rsqrt, 1e-3, 50}, {"tanh/1", tanh, -12, 12}, {"sigmoid/1", d_sigmoid, -40, 40}, {"sin/1", sin, -30, 30}, {"cos/1", cos, -30, 30}, {"abs/1", fabs, -5, 5}, {"erf/1", erf, -4, 4}, {"silu/1", d_silu, -30, 30}};
    enum { N = 5003 };
    FOR_EACH_DEVICE(d)
    {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            image g = {.n = 0};
            const int32_t x = vector(&g, N), y = vector(&g, N);
            static double want[N];
            for (int i = 0; i < N; i++) {
                floats(&g, x)[i] = (float)(rows[r].low + (rows[r].high - rows[r].low) * i / (N - 1));
                want[i] = rows[r].f((double)floats(&g, x)[i]);
            }
            ck_assert_int_eq(run_op(&d, &g, rows[r].op, 1, &x, 1, &y, 0, NULL), GRAFT_OK);
            near(rows[r].op, floats(&g, y), want, N, 4e-7, 1e-8 + (!strcmp(rows[r].op, "log/1") ? 0.2 : 0.0));
            free(g.data);
        }
    }
}
END_TEST

START_TEST(unary_edges)
{
    FOR_EACH_DEVICE(d)
    {
        image g = {.n = 0};
        const int32_t x = vector(&g, 8), y = vector(&g, 8);
        const float in[8] = {INFINITY, -INFINITY, NAN, 0.0f, 1000.0f, -1000.0f, -1.0f, 1.0f};
        memcpy(floats(&g, x), in, sizeof in);
        ck_assert_int_eq(run_op(&d, &g, "exp/1", 1, &x, 1, &y, 0, NULL), GRAFT_OK);
        const float *o = floats(&g, y);
        ck_assert(isinf(o[0]) && o[1] == 0.0f && isnan(o[2]) && o[3] == 1.0f && isinf(o[4]) && o[5] == 0.0f);
        ck_assert_int_eq(run_op(&d, &g, "log/1", 1, &x, 1, &y, 0, NULL), GRAFT_OK);
        ck_assert(isinf(o[0]) && isnan(o[1]) && isnan(o[2]) && isinf(o[3]) && o[3] < 0.0f && isnan(o[6]) && o[7] == 0.0f);
        ck_assert_int_eq(run_op(&d, &g, "tanh/1", 1, &x, 1, &y, 0, NULL), GRAFT_OK);
        ck_assert(o[0] == 1.0f && o[1] == -1.0f && isnan(o[2]) && o[3] == 0.0f && o[4] == 1.0f && o[5] == -1.0f);
        ck_assert_int_eq(run_op(&d, &g, "sigmoid/1", 1, &x, 1, &y, 0, NULL), GRAFT_OK);
        ck_assert(o[0] == 1.0f && o[1] == 0.0f && isnan(o[2]) && o[3] == 0.5f && o[4] == 1.0f && o[5] == 0.0f);
        free(g.data);
    }
}
END_TEST

/* ---- attention ----------------------------------------------------------------------------------------------------------------------------------- */
typedef struct heads {
    int64_t T, S, n, kv, h, m, window;
    double scale, softcap;
    int32_t seq[12];
} heads;

/* Forward and, where do is given, backward of one query head, in double. */
static void plain_attention(const heads *p, const float *q, const float *k, const float *v, const float *ke, const float *ve, const float *dy,
                            double *o, double *lse, double *dq, double *dk, double *dv, double *dke, double *dve)
{
    const int64_t W = p->n * p->h, KW = p->kv * p->h;
    double *prob = malloc((size_t)(p->T + p->m) * sizeof *prob), *raw = malloc((size_t)(p->T + p->m) * sizeof *raw);
    for (int64_t s = 0; s < p->S; s++)
        for (int64_t i = 0; i < p->seq[4 * s + 1]; i++)
            for (int64_t n = 0; n < p->n; n++) {
                const int64_t t = p->seq[4 * s] + i, head = n / (p->n / p->kv), low = p->window && i - p->window + 1 > 0 ? i - p->window + 1 : 0, keys = p->m + i + 1 - low;
                double top = -1e300, total = 0.0, delta = 0.0;
                for (int64_t j = 0; j < keys; j++) {
                    const float *key = j < p->m ? ke + j * KW + head * p->h : k + (p->seq[4 * s] + low + j - p->m) * KW + head * p->h;
                    double z = 0.0;
                    for (int64_t e = 0; e < p->h; e++) z += (double)q[t * W + n * p->h + e] * (double)key[e];
                    z *= p->scale;
                    if (p->softcap > 0.0) z = p->softcap * tanh(z / p->softcap);
                    raw[j] = z;
                    top = z > top ? z : top;
                }
                for (int64_t j = 0; j < keys; j++) total += prob[j] = exp(raw[j] - top);
                lse[t * p->n + n] = top + log(total);
                for (int64_t j = 0; j < keys; j++) {
                    const float *value = j < p->m ? ve + j * KW + head * p->h : v + (p->seq[4 * s] + low + j - p->m) * KW + head * p->h;
                    prob[j] /= total;
                    for (int64_t e = 0; e < p->h; e++) o[t * W + n * p->h + e] += prob[j] * (double)value[e];
                }
                if (!dy) continue;
                for (int64_t e = 0; e < p->h; e++) delta += o[t * W + n * p->h + e] * (double)dy[t * W + n * p->h + e];
                for (int64_t j = 0; j < keys; j++) {
                    const int64_t at = j < p->m ? j * KW + head * p->h : (p->seq[4 * s] + low + j - p->m) * KW + head * p->h;
                    const float *key = j < p->m ? ke + at : k + at, *value = j < p->m ? ve + at : v + at;
                    double dp = 0.0;
                    for (int64_t e = 0; e < p->h; e++) dp += (double)dy[t * W + n * p->h + e] * (double)value[e];
                    double ds = prob[j] * (dp - delta) * p->scale;
                    if (p->softcap > 0.0) ds *= 1.0 - raw[j] / p->softcap * (raw[j] / p->softcap);
                    for (int64_t e = 0; e < p->h; e++) {
                        dq[t * W + n * p->h + e] += ds * (double)key[e];
                        (j < p->m ? dke : dk)[at + e] += ds * (double)q[t * W + n * p->h + e];
                        (j < p->m ? dve : dv)[at + e] += prob[j] * (double)dy[t * W + n * p->h + e];
                    }
                }
            }
    free(prob);
    free(raw);
}

#define HEAD_ATTRS(p)                                                                                                                      \
    {                                                                                                                                      \
        GRAFT_INTA("heads", (p)->n), GRAFT_INTA("kv_heads", (p)->kv), GRAFT_INTA("window", (p)->window), GRAFT_REALA("scale", (p)->scale), \
            GRAFT_REALA("softcap", (p)->softcap)                                                                                           \
    }

static double *zeros(int64_t n)
{
    double *x = calloc((size_t)n + 1, sizeof *x);
    ck_assert_ptr_nonnull(x);
    return x;
}

static void one_attention(const device *d, const heads *p)
{
    image g = {.n = 0};
    const int64_t W = p->n * p->h, KW = p->kv * p->h;
    const int32_t q = matrix(&g, p->T, W), k = matrix(&g, p->T, KW), v = matrix(&g, p->T, KW), seq = image_add(&g, GRAFT_I32, 2, p->S, 4, 0, 0);
    const int32_t ke = p->m ? matrix(&g, p->m, KW) : -1, ve = p->m ? matrix(&g, p->m, KW) : -1;
    const int32_t o = matrix(&g, p->T, W), lse = matrix(&g, p->T, p->n), dy = matrix(&g, p->T, W);
    const int32_t dq = matrix(&g, p->T, W), dk = matrix(&g, p->T, KW), dv = matrix(&g, p->T, KW), dke = p->m ? matrix(&g, p->m, KW) : -1, dve = p->m ? matrix(&g, p->m, KW) : -1;
    const int32_t noisy[] = {q, k, v, dy, ke, ve};
    for (int i = 0; i < (p->m ? 6 : 4); i++) fill_noise(&g, noisy[i], 1.0f);
    memcpy(ints(&g, seq), p->seq, (size_t)(p->S * 4) * sizeof(int32_t));
    const graft_attr at[] = HEAD_ATTRS(p);
    const int32_t in[] = {q, k, v, seq, ke, ve, o, lse, dy}, out[] = {o, lse}, grads[] = {dq, dk, dv, dke, dve};
    ck_assert_int_eq(run_op(d, &g, "attention/1", p->m ? 6 : 4, in, 2, out, 5, at), GRAFT_OK);
    ck_assert_int_eq(run_op(d, &g, "attention_grad/1", 9, in, 5, grads, 5, at), GRAFT_OK);
    double *w[7] = {zeros(p->T * W), zeros(p->T * p->n), zeros(p->T * W), zeros(p->T * KW), zeros(p->T * KW), zeros(p->m * KW), zeros(p->m * KW)};
    plain_attention(p, floats(&g, q), floats(&g, k), floats(&g, v), p->m ? floats(&g, ke) : NULL, p->m ? floats(&g, ve) : NULL, floats(&g, dy), w[0], w[1], w[2], w[3], w[4], w[5], w[6]);
    near("attention o", floats(&g, o), w[0], p->T * W, 4e-6, 1.0);
    near("attention lse", floats(&g, lse), w[1], p->T * p->n, 2e-6, 1.0);
    near("attention dq", floats(&g, dq), w[2], p->T * W, 2e-5, 1.0);
    near("attention dk", floats(&g, dk), w[3], p->T * KW, 2e-5, 3.0);
    near("attention dv", floats(&g, dv), w[4], p->T * KW, 2e-5, 3.0);
    if (p->m) near("attention dk_extra", floats(&g, dke), w[5], p->m * KW, 2e-5, 10.0);
    if (p->m) near("attention dv_extra", floats(&g, dve), w[6], p->m * KW, 2e-5, 10.0);
    for (int i = 0; i < 7; i++) free(w[i]);
    free(g.data);
}

static const heads shapes_of_attention[] = {
    {5, 1, 1, 1, 4, 0, 0, 0.5, 0.0, {0, 5, 0, 0}},
    {150, 2, 6, 2, 16, 0, 0, 0.25, 0.0, {0, 130, 0, 0, 132, 17, 0, 0}},
    {200, 2, 2, 1, 40, 3, 0, 0.2, 0.0, {10, 100, 0, 0, 110, 90, 0, 0}},
    {190, 1, 10, 2, 64, 0, 33, 0.125, 0.0, {0, 190, 0, 0}},
    {140, 3, 3, 3, 24, 70, 20, 0.3, 5.0, {0, 70, 0, 0, 70, 1, 0, 0, 71, 69, 0, 0}},
};

START_TEST(attention_shapes)
{
    FOR_EACH_DEVICE(d)
    {
        for (size_t i = 0; i < sizeof shapes_of_attention / sizeof *shapes_of_attention; i++) one_attention(&d, &shapes_of_attention[i]);
    }
}
END_TEST

/* Token by token over a cache gives what the whole sequence at once gives. */
START_TEST(attention_with_a_cache)
{
    FOR_EACH_DEVICE(d)
    {
        const heads p = {9, 2, 4, 2, 8, 0, 6, 0.35, 0.0, {0, 4, 3, 5, 4, 5, 20, 0}};
        const int64_t W = 32, KW = 16, C = 30;
        image g = {.n = 0};
        const int32_t q = matrix(&g, p.T, W), k = matrix(&g, p.T, KW), v = matrix(&g, p.T, KW), seq = image_add(&g, GRAFT_I32, 2, 2, 4, 0, 0), o = matrix(&g, p.T, W);
        const int32_t kc = matrix(&g, C, KW), vc = matrix(&g, C, KW);
        const int32_t noisy[] = {q, k, v, kc, vc};
        for (int i = 0; i < 5; i++) fill_noise(&g, noisy[i], 1.0f);
        memcpy(ints(&g, seq), p.seq, sizeof(int32_t) * 8);
        const graft_attr at[] = HEAD_ATTRS(&p);
        const int32_t in[] = {q, k, v, seq, -1, -1, kc, vc}, out[] = {o, kc, vc};
        ck_assert_int_eq(run_op(&d, &g, "attention_cached/1", 8, in, 3, out, 5, at), GRAFT_OK);
        ck_assert_mem_eq(floats(&g, kc) + 8 * KW, floats(&g, k), (size_t)(4 * KW) * sizeof(float));
        ck_assert_mem_eq(floats(&g, vc) + 20 * KW, floats(&g, v) + 4 * KW, (size_t)(5 * KW) * sizeof(float));
        for (int s = 0; s < 2; s++) { /* the same rows as one sequence without a cache: the last of 9 and of 5 tokens */
            const int64_t rows = s ? 5 : 9, first = s ? 20 : 3, new_rows = s ? 5 : 4;
            heads whole = p;
            whole.T = rows, whole.S = 1;
            memcpy(whole.seq, (int32_t[]){0, (int32_t)rows, 0, 0}, sizeof(int32_t) * 4);
            float *all_q = calloc((size_t)(rows * W), sizeof *all_q);
            memcpy(all_q + (rows - new_rows) * W, floats(&g, q) + (s ? 4 : 0) * W, (size_t)(new_rows * W) * sizeof(float));
            double *want = zeros(rows * W), *lse = zeros(rows * p.n);
            plain_attention(&whole, all_q, floats(&g, kc) + first * KW, floats(&g, vc) + first * KW, NULL, NULL, NULL, want, lse, NULL, NULL, NULL, NULL, NULL);
            near("attention_cached", floats(&g, o) + (s ? 4 : 0) * W, want + (rows - new_rows) * W, new_rows * W, 4e-6, 1.0);
            free(all_q);
            free(want);
            free(lse);
        }
        free(g.data);
    }
}
END_TEST

/* ---- the loss ---------------------------------------------------------------------------------------------------------------------------------------- */
static void one_loss(const device *d, int64_t L, int64_t V, int64_t w, double softcap, double scale)
{
    image g = {.n = 0};
    const int32_t hidden = matrix(&g, L, w), head = matrix(&g, V, w), labels = image_add(&g, GRAFT_I32, 1, L, 0, 0, 0), weight = vector(&g, L), base = matrix(&g, V, w);
    const int32_t loss = vector(&g, 1), nll = vector(&g, L), dhidden = matrix(&g, L, w), loss2 = vector(&g, 1), nll2 = vector(&g, L);
    fill_noise(&g, hidden, 1.0f);
    fill_noise(&g, head, 0.5f);
    fill_noise(&g, base, 1.0f);
    double *dh = zeros(L * w), *dw = zeros(V * w), *want = zeros(L), total = 0.0, *z = zeros(V);
    for (int64_t i = 0; i < V * w; i++) dw[i] = (double)floats(&g, base)[i];
    for (int64_t i = 0; i < L; i++) {
        const int32_t label = ints(&g, labels)[i] = i % 5 == 3 ? -100 : (int32_t)(graft_random_u32(1, 2, 3, (uint64_t)i) % (uint32_t)V);
        floats(&g, weight)[i] = i % 7 == 2 ? 0.0f : 0.25f + 0.01f * (float)i;
        double top = -1e300, sum = 0.0;
        for (int64_t v = 0; v < V; v++) {
            z[v] = 0.0;
            for (int64_t e = 0; e < w; e++) z[v] += (double)floats(&g, hidden)[i * w + e] * (double)floats(&g, head)[v * w + e] * scale;
            if (softcap > 0.0) z[v] = softcap * tanh(z[v] / softcap);
            top = z[v] > top ? z[v] : top;
        }
        for (int64_t v = 0; v < V; v++) sum += exp(z[v] - top);
        if (label < 0) continue;
        want[i] = top + log(sum) - z[label];
        total += want[i] * (double)floats(&g, weight)[i];
        for (int64_t v = 0; v < V; v++) {
            double dz = (double)floats(&g, weight)[i] * (exp(z[v] - top) / sum - (v == label)) * scale;
            if (softcap > 0.0) dz *= 1.0 - z[v] / softcap * (z[v] / softcap);
            for (int64_t e = 0; e < w; e++) {
                dh[i * w + e] += dz * (double)floats(&g, head)[v * w + e];
                dw[v * w + e] += dz * (double)floats(&g, hidden)[i * w + e];
            }
        }
    }
    const graft_attr at[] = {GRAFT_REALA("softcap", softcap), GRAFT_REALA("scale", scale)};
    const int32_t in[] = {hidden, head, labels, weight, base}, out[] = {loss, nll, dhidden, base}, plain[] = {loss2, nll2};
    ck_assert_int_eq(run_op(d, &g, "linear_cross_entropy/1", 4, in, 2, plain, 2, at), GRAFT_OK);
    ck_assert_int_eq(run_op(d, &g, "linear_cross_entropy_train/1", 5, in, 4, out, 2, at), GRAFT_OK);
    near("nll", floats(&g, nll), want, L, 3e-6, 1.0);
    near("nll without gradients", floats(&g, nll2), want, L, 3e-6, 1.0);
    near("loss", floats(&g, loss), &total, 1, 3e-6, 1.0);
    near("dhidden", floats(&g, dhidden), dh, L * w, 1e-5, 1.0);
    near("dhead", floats(&g, base), dw, V * w, 1e-5, 1.0);
    free(dh), free(dw), free(want), free(z), free(g.data);
}

START_TEST(loss_shapes)
{
    FOR_EACH_DEVICE(d)
    {
        one_loss(&d, 5, 11, 4, 0.0, 1.0);
        one_loss(&d, 70, 1030, 20, 0.0, 0.7);
        one_loss(&d, 33, 600, 16, 3.0, 1.3);
        one_loss(&d, 0, 40, 8, 0.0, 1.0);
    }
}
END_TEST

START_TEST(loss_in_several_blocks)
{
    device d;
    ck_assert_int_eq(device_open(&d, "cpu", NULL, 2), GRAFT_OK);
    one_loss(&d, 600, 40, 8, 0.0, 1.0);
    d.table->close(d.dev);
}
END_TEST

/* ---- failures, random numbers, bits ------------------------------------------------------------------------------------------------------------------ */
START_TEST(row_numbers_are_checked)
{
    device d;
    ck_assert_int_eq(device_open(&d, "cpu", NULL, 2), GRAFT_OK);
    image g = {.n = 0};
    const int32_t table = matrix(&g, 3, 5), ids = image_add(&g, GRAFT_I32, 1, 4, 0, 0, 0), y = matrix(&g, 4, 5), in[] = {table, ids};
    fill_noise(&g, table, 1.0f);
    memcpy(ints(&g, ids), (int32_t[]){2, -1, 0, 2}, 4 * sizeof(int32_t));
    ck_assert_int_eq(run_op(&d, &g, "gather/1", 2, in, 1, &y, 0, NULL), GRAFT_OK);
    ck_assert_mem_eq(floats(&g, y), floats(&g, table) + 10, 5 * sizeof(float));
    ck_assert(floats(&g, y)[5] == 0.0f && floats(&g, y)[9] == 0.0f);
    ints(&g, ids)[1] = 3;
    ck_assert_int_eq(run_op(&d, &g, "gather/1", 2, in, 1, &y, 0, NULL), GRAFT_BAD_INPUT);
    free(g.data);
    d.table->close(d.dev);
}
END_TEST

START_TEST(random_bits)
{
    enum { N = 40000 };
    FOR_EACH_DEVICE(d)
    {
        image g = {.n = 0, .seed = 0x123456789abcdefull, .step = 77, .training = 1};
        const int32_t x = vector(&g, N), y = vector(&g, N), u = vector(&g, N);
        fill_noise(&g, x, 1.0f);
        const graft_attr at[] = {GRAFT_REALA("p", 0.3), GRAFT_INTA("stream", 99)};
        const int64_t dims[] = {N};
        const graft_attr shape[] = {GRAFT_DIM_ATTRS_(1, dims), GRAFT_INTA("stream", 99)};
        ck_assert_int_eq(run_op(&d, &g, "dropout/1", 1, &x, 1, &y, 2, at), GRAFT_OK);
        ck_assert_int_eq(run_op(&d, &g, "random/1", 0, NULL, 1, &u, 6, shape), GRAFT_OK);
        for (int i = 0; i < N; i++) {
            const float r = graft_random_uniform(g.seed, 99, 77, (uint64_t)i);
            ck_assert_msg(floats(&g, u)[i] == r, "element %d", i);
            ck_assert_msg(floats(&g, y)[i] == (r >= 0.3f ? floats(&g, x)[i] * (float)(1.0 / 0.7) : 0.0f), "element %d", i);
        }
        g.training = 0;
        ck_assert_int_eq(run_op(&d, &g, "dropout/1", 1, &x, 1, &y, 2, at), GRAFT_OK);
        ck_assert_mem_eq(floats(&g, x), floats(&g, y), N * sizeof(float));
        free(g.data);
    }
}
END_TEST

/* One hash over everything that a few large ops computed. */
static uint64_t bits_of(const char *isa, int threads)
{
    device d;
    if (device_open(&d, "cpu", isa, threads) != GRAFT_OK) return 0;
    image g = {.n = 0};
    enum { T = 400,
           D = 192,
           V = 700 };
    const int32_t x = matrix(&g, T, D), w = matrix(&g, V, D), y = matrix(&g, T, V), dw = matrix(&g, V, D), kv = matrix(&g, T, D / 3), seq = image_add(&g, GRAFT_I32, 2, 2, 4, 0, 0);
    const int32_t o = matrix(&g, T, D), lse = matrix(&g, T, 3), dq = matrix(&g, T, D), dk = matrix(&g, T, D / 3), dv = matrix(&g, T, D / 3), scale = vector(&g, D), rstd = matrix(&g, T, 1), dn = vector(&g, D), square = vector(&g, 1);
    const int32_t labels = image_add(&g, GRAFT_I32, 1, T, 0, 0, 0), weight = vector(&g, T), loss = vector(&g, 1), dh = matrix(&g, T, D);
    const int32_t noisy[] = {x, w, kv, scale, weight};
    for (int i = 0; i < 5; i++) fill_noise(&g, noisy[i], 0.4f);
    memcpy(ints(&g, seq), (int32_t[]){0, 250, 0, 0, 250, 150, 0, 0}, 8 * sizeof(int32_t));
    const heads p = {T, 2, 3, 1, 64, 0, 0, 0.125, 0.0, {0}};
    const graft_attr heads_at[] = HEAD_ATTRS(&p), nt[] = {GRAFT_INTA("trans_b", 1)}, tn[] = {GRAFT_INTA("trans_a", 1)}, eps[] = {GRAFT_REALA("eps", 1e-5)};
    ck_assert_int_eq(run_op(&d, &g, "matmul/1", 2, (int32_t[]){x, w}, 1, &y, 1, nt), GRAFT_OK);
    ck_assert_int_eq(run_op(&d, &g, "matmul/1", 2, (int32_t[]){y, x}, 1, &dw, 1, tn), GRAFT_OK);
    ck_assert_int_eq(run_op(&d, &g, "attention/1", 4, (int32_t[]){x, kv, kv, seq}, 2, (int32_t[]){o, lse}, 5, heads_at), GRAFT_OK);
    ck_assert_int_eq(run_op(&d, &g, "attention_grad/1", 9, (int32_t[]){x, kv, kv, seq, -1, -1, o, lse, x}, 5, (int32_t[]){dq, dk, dv, -1, -1}, 5, heads_at), GRAFT_OK);
    ck_assert_int_eq(run_op(&d, &g, "rms_norm/1", 2, (int32_t[]){x, scale}, 2, (int32_t[]){o, rstd}, 1, eps), GRAFT_OK);
    ck_assert_int_eq(run_op(&d, &g, "rms_norm_grad/1", 4, (int32_t[]){x, scale, rstd, o}, 2, (int32_t[]){dh, dn}, 1, eps), GRAFT_OK);
    ck_assert_int_eq(run_op(&d, &g, "sum_squares/1", 1, &dw, 1, &square, 0, NULL), GRAFT_OK);
    ck_assert_int_eq(run_op(&d, &g, "linear_cross_entropy_train/1", 5, (int32_t[]){x, w, labels, weight, dw}, 4, (int32_t[]){loss, -1, o, dw}, 0, NULL), GRAFT_OK);
    uint64_t hash = 14695981039346656037ull;
    for (int64_t i = 0; i < g.bytes; i++) hash = (hash ^ (uint8_t)g.data[i]) * 1099511628211ull;
    free(g.data);
    d.table->close(d.dev);
    return hash;
}

START_TEST(bits_do_not_depend_on_threads)
{
    for (int i = 0; i < 3; i++) {
        const uint64_t one = bits_of(isas[i], 1);
        for (int threads = 2; threads <= 5; threads++) ck_assert_msg(bits_of(isas[i], threads) == one, "%s: 1 and %d threads differ", isas[i], threads);
    }
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, matmul_shapes);
    tcase_add_test(tc, matmul_of_blocks);
    tcase_add_test(tc, matmul_batches);
    tcase_add_test(tc, sums_of_products);
    tcase_add_test(tc, unary_functions);
    tcase_add_test(tc, unary_edges);
    tcase_add_test(tc, attention_shapes);
    tcase_add_test(tc, attention_with_a_cache);
    tcase_add_test(tc, loss_shapes);
    tcase_add_test(tc, loss_in_several_blocks);
    tcase_add_test(tc, row_numbers_are_checked);
    tcase_add_test(tc, random_bits);
    tcase_add_test(tc, bits_do_not_depend_on_threads);
}

int main(void) { return graft_test_main("cpu", cases); }
