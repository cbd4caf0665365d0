/* tests/ops/backends.c - every backend of the build tree that can run here against reference, for every op that it claims: small shapes with axes of
 * size 1, and shapes that cross the borders of tiles; forward and gradients. Prints the largest error of each op. */
#include "tests/support/op_harness.h"

#include <math.h>
#include <stdio.h>

enum { SEEDS = 60,
       MAX_DEVICES = 16 };

/* f32 with sums in any order: errors of a sum grow with its length, which is at most a few hundred here. exp, tanh, erf may be polynomials. */
static const double tolerance = 1e-5;

static double compare(const graft_device *d, const graft_device *reference, const op_case *c)
{
    char text[600];
    op_data data;
    op_result a, b;
    double worst = 0.0;
    op_case_text(c, text, sizeof text);
    op_data_new(c, &data);
    op_case_run(d, c, 1, &data, &a);
    op_case_run(reference, c, 1, &data, &b);
    for (int i = 0; i < OP_RESULTS; i++) {
        const double error = op_result_error(&a, &b, i);
        ck_assert_msg(error <= tolerance, "%s on %s: %s differs by %.2g of its size", text, d->name, op_result_name(i), error);
        worst = fmax(worst, error);
    }
    op_result_free(&a);
    op_result_free(&b);
    op_data_free(&data);
    return worst;
}

START_TEST(every_backend_agrees_with_reference)
{
    graft_device reference = op_reference(1), others[MAX_DEVICES];
    const int n = op_other_devices(others, MAX_DEVICES);
    if (n == 0) printf("skipped: no backend but reference can run here\n");
    for (int i = 0; i < n; i++) {
        printf("%-32s largest difference from reference / largest value\n", others[i].name);
        for (const op_maker *m = op_makers; m->op; m++) {
            double worst = 0.0;
            int ran = 0;
            for (uint64_t seed = 1; seed <= SEEDS; seed++) {
                op_case c;
                op_make(m, seed, seed % 2 == 0, &c);
                if (!op_claims(&others[i], &c)) continue;
                worst = fmax(worst, compare(&others[i], &reference, &c));
                ran++;
            }
            if (ran) printf("%-32s %.1e   %d cases\n", m->variant ? "  with stored weights" : m->op, worst, ran);
            else printf("%-32s not claimed\n", m->variant ? "  with stored weights" : m->op);
        }
        graft_device_close(&others[i]);
    }
    graft_device_close(&reference);
}
END_TEST

/* The same program twice on the same data: the same bits. */
START_TEST(every_backend_repeats_itself)
{
    graft_device others[MAX_DEVICES];
    const int n = op_other_devices(others, MAX_DEVICES);
    for (int i = 0; i < n; i++) {
        for (const op_maker *m = op_makers; m->op; m++) {
            op_case c;
            op_data data;
            op_result a, b;
            op_make(m, 62, 1, &c);
            if (!op_claims(&others[i], &c)) continue;
            op_data_new(&c, &data);
            op_case_run(&others[i], &c, 1, &data, &a);
            op_case_run(&others[i], &c, 1, &data, &b);
            for (int k = 0; k < OP_RESULTS; k++) {
                for (int64_t e = 0; e < a.n[k]; e++)
                    ck_assert_msg(a.v[k][e] == b.v[k][e] || (isnan(a.v[k][e]) && isnan(b.v[k][e])), "%s on %s: %s has other bits the second time", m->op, others[i].name, op_result_name(k));
            }
            op_result_free(&a);
            op_result_free(&b);
            op_data_free(&data);
        }
        graft_device_close(&others[i]);
    }
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, every_backend_agrees_with_reference);
    tcase_add_test(tc, every_backend_repeats_itself);
}

int main(void) { return graft_test_main("backends", cases); }
