/* tests/ops/decompositions.c - every fused op, forward and gradient, against its decomposition: the reference backend with all ops against the reference
 * backend with primitives alone, to which the host lowers everything. */
#include "tests/support/op_harness.h"

#include <math.h>
#include <stdio.h>

enum { SEEDS = 40 };

START_TEST(every_fused_op_is_its_decomposition)
{
    graft_device fused = op_reference(1), primitive = op_reference(0);
    printf("%-32s %s\n", "fused against decomposed", "largest difference / largest value");
    for (const op_maker *m = op_makers; m->op; m++) {
        const graft_op_record *op = graft_op_find(m->op);
        double worst = 0.0;
        if (op->flags & GRAFT_OP_PRIMITIVE) continue;
        ck_assert_msg(op->decompose != NULL, "%s is no primitive and has no decomposition", m->op);
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            char text[600];
            op_case c;
            op_data data;
            op_result a, b;
            op_make(m, seed, seed % 4 == 0, &c);
            op_case_text(&c, text, sizeof text);
            op_data_new(&c, &data);
            op_case_run(&fused, &c, 1, &data, &a);
            op_case_run(&primitive, &c, 1, &data, &b);
            for (int i = 0; i < OP_RESULTS; i++) {
                if (!b.v[i] && i < GRAFT_MAX_OUT) continue;
                const double error = op_result_error(&a, &b, i);
                ck_assert_msg(error <= 2e-5, "%s: %s differs by %.2g of its size", text, op_result_name(i), error);
                worst = fmax(worst, error);
            }
            op_result_free(&a);
            op_result_free(&b);
            op_data_free(&data);
        }
        printf("%-32s %.1e\n", m->op, worst);
    }
    graft_device_close(&fused);
    graft_device_close(&primitive);
}
END_TEST

static void cases(TCase *tc) { tcase_add_test(tc, every_fused_op_is_its_decomposition); }

int main(void) { return graft_test_main("decompositions", cases); }
