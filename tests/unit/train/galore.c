/* GaLore: singular vectors against their definition, few directions of every kind of matrix, moments that are really smaller, and a resumed run. The steps
 * themselves are compared with galore_torch's by tests/golden on tests/fixtures/optim_galore. */
#include "core/base/error.h"
#include "core/train/svd.h"
#include "core/train/update.h"
#include "graft/random.h"
#include "tests/support/op_harness.h"

#include <math.h>
#include <string.h>

static graft_error err = GRAFT_ERROR_INIT;

static double noise(uint64_t stream, int64_t i) { return 2.0 * (double)graft_random_uniform(7, stream, 0, (uint64_t)i) - 1.0; }

/* |W^T W v - s^2 v| of each right vector, orthonormality, the order, and left = W v / s. */
static void check_vectors(const float *w, int64_t m, int64_t n, int64_t r, double exact)
{
    float *left = graft_calloc((size_t)(m * r), sizeof *left), *right = graft_calloc((size_t)(r * n), sizeof *right);
    double *wv = graft_calloc((size_t)(m + n), sizeof *wv), before = INFINITY, top = 0;
    ck_assert_int_eq(graft_svd_largest(w, m, n, r, 1, left, right), 0);
    for (int64_t i = 0; i < r; i++) {
        double s = 0, worst = 0;
        for (int64_t a = 0; a < m; a++) {
            wv[a] = 0;
            for (int64_t p = 0; p < n; p++) wv[a] += (double)w[a * n + p] * (double)right[i * n + p];
            s += wv[a] * wv[a];
        }
        s = sqrt(s);
        if (!i) top = s;
        for (int64_t p = 0; p < n; p++) {
            double sum = 0;
            for (int64_t a = 0; a < m; a++) sum += (double)w[a * n + p] * wv[a];
            worst = fmax(worst, fabs(sum - s * s * (double)right[i * n + p]));
        }
        ck_assert_msg(worst <= exact * top * top + 1e-30, "vector %d of %d x %d: %g of %g", (int)i, (int)m, (int)n, worst, top);
        for (int64_t a = 0; a < m; a++) ck_assert_double_lt(fabs(wv[a] - s * (double)left[a * r + i]), exact * top + 1e-30);
        ck_assert_double_le(s, before + exact * top);
        before = s;
        for (int64_t k = 0; k <= i; k++) {
            double right_dot = 0, left_dot = 0;
            for (int64_t p = 0; p < n; p++) right_dot += (double)right[i * n + p] * (double)right[k * n + p];
            for (int64_t a = 0; a < m; a++) left_dot += (double)left[a * r + i] * (double)left[a * r + k];
            ck_assert_double_lt(fabs(right_dot - (i == k)), 1e-5);
            ck_assert_double_lt(fabs(left_dot - (i == k)), 1e-5);
        }
    }
    graft_free(left);
    graft_free(right);
    graft_free(wv);
}

START_TEST(singular_vectors)
{
    static const int64_t sizes[][3] = {{40, 30, 8}, {30, 40, 8}, {200, 17, 17}, {17, 200, 17}, {1, 9, 1}, {9, 1, 1}, {150, 150, 4}, {5, 5, 5}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const int64_t m = sizes[k][0], n = sizes[k][1];
        float *w = graft_calloc((size_t)(m * n), sizeof *w);
        for (int64_t i = 0; i < m * n; i++) w[i] = (float)noise(k, i);
        check_vectors(w, m, n, sizes[k][2], 1e-5);
        graft_free(w);
    }
}
END_TEST

/* Zero, of rank one, with equal singular values, tiny and huge. */
START_TEST(odd_matrices)
{
    enum { M = 24,
           N = 18 };
    static float w[M * N];
    for (int kind = 0; kind < 5; kind++) {
        for (int64_t i = 0; i < M * N; i++) w[i] = (float)(kind == 0 ? 0.0 : kind == 1 ? noise(1, i / N) * noise(2, i % N)
                                                                         : kind == 2   ? i / N == i % N
                                                                         : kind == 3   ? 1e-25 * noise(3, i)
                                                                                       : 1e18 * noise(4, i));
        check_vectors(w, M, N, 6, 1e-5);
    }
}
END_TEST

/* The bytes of what is kept, by AdamW and by GaLore, of one matrix; and that a run that goes on from its states is the run that went through. */
static int64_t run(const graft_device *d, const char *optim, const char *args, int from, int to, float *w, float **given, float **kept)
{
    enum { M = 64,
           N = 48 };
    const int64_t dims[] = {M, N}, none[GRAFT_SYMBOLS] = {0};
    graft_update_options o = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1};
    graft_graph *g = graft_graph_new();
    graft_store *s = NULL;
    graft_update u;
    double norm = 0;
    int64_t bytes = 0;
    static float grad[M * N];
    const graft_value v = graft_weight(g->builder, "w", GRAFT_ROLE_OTHER, M, N);
    g->values[v.id].trainable = 1;
    graft_graph_state(g, "grad:w", GRAFT_F32, 2, dims);
    ck_assert_ok(graft_optim_choose(&o, optim, args, &err));
    ck_assert_ok(graft_update_graphs(&u, g, &o, d, &err));
    ck_assert_ok(graft_store_new(d, &s, &err));
    ck_assert_ok(graft_store_add_graph(s, u.norm, none, &err));
    ck_assert_ok(graft_store_add_graph(s, u.step, none, &err));
    ck_assert_ok(graft_store_commit(s, &err));
    ck_assert_ok(graft_update_compile(&u, s, none, 1, &err));
    ck_assert_ok(graft_store_write(s, graft_store_find(s, "w"), w, sizeof grad, &err));
    for (int i = 0, k = 0; i < graft_store_count(s); i++) {
        if (!graft_optim_is_state(graft_store_name(s, i))) continue;
        const int64_t size = graft_store_tensor_bytes(s, i);
        if (given) ck_assert_ok(graft_store_write(s, i, given[k], size, &err));
        bytes += size;
        k++;
    }
    for (int t = from + 1; t <= to; t++) {
        for (int64_t i = 0; i < M * N; i++) grad[i] = w[i] * 0.1f + (float)noise((uint64_t)t, i);
        ck_assert_ok(graft_store_write(s, graft_store_find(s, "grad:w"), grad, sizeof grad, &err));
        ck_assert_ok(graft_update_run(&u, &o, t, 1e-2, &norm, &err));
        ck_assert_ok(graft_store_read(s, graft_store_find(s, "w"), w, sizeof grad, &err));
    }
    for (int i = 0, k = 0; kept && i < graft_store_count(s); i++) {
        if (!graft_optim_is_state(graft_store_name(s, i))) continue;
        kept[k] = graft_calloc((size_t)graft_store_tensor_bytes(s, i), 1);
        ck_assert_ok(graft_store_read(s, i, kept[k++], graft_store_tensor_bytes(s, i), &err));
    }
    graft_update_free(&u);
    graft_store_free(s);
    graft_graph_free(g);
    return bytes;
}

START_TEST(small_and_resumable)
{
    static float whole[64 * 48], parts[64 * 48], start[64 * 48];
    graft_device d = op_reference(1);
    float *states[8] = {NULL};
    for (int64_t i = 0; i < 64 * 48; i++) start[i] = whole[i] = parts[i] = (float)noise(99, i);
    const char *const args = "rank=4, update_proj_gap=3, scale=1.5";
    const int64_t adamw = run(&d, "adamw_torch", NULL, 0, 1, start, NULL, NULL), galore = run(&d, "galore_adamw", args, 0, 8, whole, NULL, NULL);
    ck_assert_int_eq(adamw, 2 * 64 * 48 * 4);
    ck_assert_int_eq(galore, (2 * 64 * 4 + 4 * 48) * 4); /* two moments [64, 4], directions [4, 48] */
    run(&d, "galore_adamw", args, 0, 5, parts, NULL, states);
    run(&d, "galore_adamw", args, 5, 8, parts, states, NULL);
    ck_assert_int_eq(memcmp(whole, parts, sizeof whole), 0);
    for (int i = 0; i < 8; i++) graft_free(states[i]);
    graft_device_close(&d);
}
END_TEST

START_TEST(refused)
{
    graft_update_options o = {.beta1 = 0.9};
    ck_assert_int_eq(graft_optim_choose(&o, "galore_adamw", "proj_type=up", &err), GRAFT_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "proj_type expects std, reverse_std, right, left or full, found 'up'"));
    ck_assert_int_eq(graft_optim_choose(&o, "galore_adamw", "rank=0", &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(graft_optim_choose(&o, "galore_adamw", "rnak=4", &err), GRAFT_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(err.message, "did you mean 'rank'?"));
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, singular_vectors);
    tcase_add_test(tc, odd_matrices);
    tcase_add_test(tc, small_and_resumable);
    tcase_add_test(tc, refused);
}

int main(void) { return graft_test_main("galore", cases); }
