/* tests/ops/gradients.c - the backward of every op against finite differences on the reference backend.
 *
 * The function is phi(x) = sum of seed . output, summed in double. Central differences at steps h and 2h are combined (Richardson), so the error is
 * O(h^4) in the function plus the rounding of f32 outputs divided by h; the tolerance is the sum of both, from the sizes found. */
#include "tests/support/op_harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEEDS = 100,
       ELEMENTS = 12 };

static graft_device device;
static int64_t compared;

typedef struct probe {
    op_program program;
    op_data *data;
    double noise;
} probe;

static double phi(probe *p)
{
    graft_error err = GRAFT_ERROR_INIT;
    op_result r = {.n = {0}};
    double sum = 0.0, squares = 0.0;
    ck_assert_ok(op_program_run(&p->program, p->data, &r, &err));
    for (int i = 0; i < p->program.n_out; i++) {
        for (int64_t k = 0; k < r.n[i] && (p->program.c->seeded >> i & 1u) && p->program.out[i].dtype == GRAFT_F32; k++) {
            const double part = r.v[i][k] * (p->data->seed[i] ? (double)p->data->seed[i][k] : 1.0);
            sum += part, squares += part * part;
        }
    }
    p->noise = fmax(p->noise, sqrt(squares) * 6e-8);
    op_result_free(&r);
    return sum;
}

/* d phi / d x[at], with its own estimate of the error. */
static double difference(probe *p, float *x, int64_t at, double *error)
{
    const float x0 = x[at];
    const double h = 0.015 * fmax(1.0, fabs((double)x0) * 0.5);
    double slope[2];
    for (int i = 0; i < 2; i++) {
        const float up = x0 + (float)((i + 1) * h), down = x0 - (float)((i + 1) * h);
        x[at] = up;
        const double above = phi(p);
        x[at] = down;
        slope[i] = (above - phi(p)) / ((double)up - (double)down);
    }
    x[at] = x0;
    *error = 4.0 * p->noise / h + 0.02 * fabs(slope[1] - slope[0]);
    return (4.0 * slope[0] - slope[1]) / 3.0;
}

/* Returns the largest error seen relative to the largest gradient of its input. */
static double check(const op_case *c)
{
    char text[600];
    op_data data;
    op_result r;
    double worst = 0.0;
    graft_error err = GRAFT_ERROR_INIT;
    probe p = {.data = &data};
    op_case_text(c, text, sizeof text);
    op_data_new(c, &data);
    op_case_run(&device, c, 1, &data, &r); /* draws the seeds too */
    op_case plain = *c;
    ck_assert_ok(op_program_open(&p.program, &device, &plain, 0, &err));
    for (int i = 0; i < c->n_in; i++) {
        if (!data.in[i] || c->in[i].shape.dtype != GRAFT_F32 || c->in[i].fill == OP_FREQ || c->in[i].fill == OP_BITS) continue;
        const double *g = r.v[GRAFT_MAX_OUT + i];
        double size = 0.0;
        for (int64_t k = 0; k < data.in_n[i]; k++) size = fmax(size, g ? fabs(g[k]) : 0.0);
        for (int64_t k = 0; k < ELEMENTS && k < data.in_n[i]; k++) {
            const int64_t at = data.in_n[i] <= ELEMENTS ? k : (k * 7919 + (int64_t)c->seed) % data.in_n[i];
            double error;
            const double want = difference(&p, data.in[i], at, &error), got = g ? g[at] : 0.0;
            ck_assert_msg(fabs(got - want) <= error + 1e-5 * size, "%s: input %d element %lld: gradient %.8g, finite difference %.8g +- %.2g", text, i,
                          (long long)at, got, want, error + 1e-5 * size);
            worst = fmax(worst, fabs(got - want) / (size + 1e-3)), compared++;
        }
    }
    op_program_close(&p.program);
    op_result_free(&r);
    op_data_free(&data);
    return worst;
}

START_TEST(every_backward_is_the_derivative)
{
    device = op_reference(1);
    printf("%-32s %s\n", "finite differences", "largest error / largest gradient");
    for (const op_maker *m = op_makers; m->op; m++) {
        double worst = 0.0;
        int n = 0;
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            op_case c;
            op_make(m, seed, 0, &c);
            if (!c.seeded || !graft_op_find(m->op)->backward) continue;
            worst = fmax(worst, check(&c));
            n++;
        }
        if (n) printf("%-32s %.1e\n", m->op, worst);
    }
    printf("%lld derivatives compared\n", (long long)compared);
    graft_device_close(&device);
}
END_TEST

/* The test above must be able to fail: a wrong factor is seen. */
static int wrong(graft_graph *g, const op_case *c, const graft_value *in, graft_value *out)
{
    (void)c;
    out[0] = graft_mul(g->builder, in[0], in[0]);
    return 1;
}

START_TEST(a_wrong_gradient_is_noticed)
{
    op_case c;
    op_data data;
    op_result r;
    graft_error err = GRAFT_ERROR_INIT;
    device = op_reference(1);
    op_case_begin(&c, "mul/1", 5);
    op_case_in(&c, OP_POSITIVE, 1, 3, 0, 0, 0);
    c.build = wrong;
    op_data_new(&c, &data);
    op_case_run(&device, &c, 1, &data, &r);
    probe p = {.data = &data};
    ck_assert_ok(op_program_open(&p.program, &device, &c, 0, &err));
    double error;
    const double want = difference(&p, data.in[0], 1, &error);
    ck_assert(fabs(r.v[GRAFT_MAX_OUT][1] - want) <= error);
    ck_assert(fabs(r.v[GRAFT_MAX_OUT][1] * 1.0005 - want) > error);
    op_program_close(&p.program);
    op_result_free(&r);
    op_data_free(&data);
    graft_device_close(&device);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, every_backward_is_the_derivative);
    tcase_add_test(tc, a_wrong_gradient_is_noticed);
}

int main(void) { return graft_test_main("gradients", cases); }
