/* tests/unit/train/optim_8bit.c - the eight-bit map against bitsandbytes' rule, codes on every device, and AdamW with eight-bit moments beside AdamW with f32. */
#include "core/base/error.h"
#include "core/train/update.h"
#include "graft/dynamic8.h"
#include "tests/support/op_harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static graft_error err = GRAFT_ERROR_INIT;

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* bitsandbytes' create_dynamic_map: means of neighbouring points of linspace(0.1, 1, items + 1) in each decade, zero and one. */
static void reference_map(int is_signed, float out[256])
{
    int n = 0;
    for (int e = 0; e < 7; e++) {
        const int items = is_signed ? 1 << e : 2 << e;
        for (int j = 0; j < items; j++) {
            const double low = 0.1 + 0.9 * j / items, high = 0.1 + 0.9 * (j + 1) / items, v = pow(10.0, e - 6) * (low + high) / 2.0;
            out[n++] = (float)v;
            if (is_signed) out[n++] = (float)-v;
        }
    }
    out[n++] = 0.0f, out[n++] = 1.0f;
    ck_assert_int_eq(n, 256);
    qsort(out, 256, sizeof *out, by_value);
}

START_TEST(map_and_nearest)
{
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        float want[256], got[256];
        graft_dynamic8 t;
        graft_dynamic8_make(&t, is_signed);
        reference_map(is_signed, want);
        memcpy(got, t.value, sizeof got);
        qsort(got, 256, sizeof *got, by_value);
        for (int i = 0; i < 256; i++) ck_assert_msg(fabsf(got[i] - want[i]) <= 1e-6f * fabsf(want[i]), "value %d is %g, expected %g", i, (double)got[i], (double)want[i]);
        for (int c = 0; c < 256; c++) ck_assert_int_eq(graft_dynamic8_code(&t, t.value[c]), c);
        for (int i = 0; i <= 200000; i++) { /* the nearest value, up to rounding at the middles */
            const float x = is_signed ? (float)i / 100000.0f - 1.0f : (float)i / 200000.0f, y = x * x * x;
            float best = 9.0f;
            for (int c = 0; c < 256; c++) best = fminf(best, fabsf(t.value[c] - y));
            const float found = fabsf(t.value[graft_dynamic8_code(&t, y)] - y);
            ck_assert_msg(found <= best + 1e-6f * fabsf(y) + 1e-12f, "%.9g goes %g away, the nearest is %g away", (double)y, (double)found, (double)best);
        }
    }
}
END_TEST

/* ---- an update ---------------------------------------------------------------------------------------------------------------- */

enum { ROWS = 70,
       COLUMNS = 61,
       SIZE = ROWS * COLUMNS,
       STEPS = 20 };

/* Steps on one weight with the gradients of a bowl around 1: the weight afterwards, and what the optimiser keeps. */
static void descend(const graft_device *d, const char *optim, float w[SIZE], int64_t *state_bytes, int rest)
{
    const int64_t dims[] = {ROWS, COLUMNS}, none[GRAFT_SYMBOLS] = {0};
    graft_update_options o = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1};
    graft_graph *g = graft_graph_new();
    graft_store *s = NULL;
    graft_update u;
    static float grad[SIZE];
    double norm = 0;
    const graft_value v = graft_weight(g->builder, "w", GRAFT_ROLE_OTHER, ROWS, COLUMNS);
    g->values[v.id].trainable = 1;
    graft_graph_state(g, "grad:w", GRAFT_F32, 2, dims);
    ck_assert_ok(graft_optim_choose(&o, optim, NULL, &err));
    ck_assert_ok(graft_update_graphs(&u, g, &o, d, &err));
    ck_assert_ok(graft_store_new(d, &s, &err));
    ck_assert_ok(graft_store_add_graph(s, u.norm, none, &err));
    ck_assert_ok(graft_store_add_graph(s, u.step, none, &err));
    ck_assert_ok(graft_store_commit(s, &err));
    ck_assert_ok(graft_update_compile(&u, s, none, 1, &err));
    for (int i = 0; i < SIZE; i++) w[i] = sinf((float)i);
    ck_assert_ok(graft_store_write(s, graft_store_find(s, "w"), w, SIZE * 4, &err));
    for (int t = 1; t <= STEPS; t++) {
        for (int i = 0; i < SIZE; i++) grad[i] = (w[i] - 1.0f) * expf(-0.2f * (float)(i % 13));
        ck_assert_ok(graft_store_write(s, graft_store_find(s, "grad:w"), grad, SIZE * 4, &err));
        if (rest) u.leaves[0].active = t != rest;
        static float before[SIZE];
        memcpy(before, w, sizeof before);
        ck_assert_ok(graft_update_run(&u, &o, t, 0.01, &norm, &err));
        ck_assert_ok(graft_store_read(s, graft_store_find(s, "w"), w, SIZE * 4, &err));
        if (t == rest) ck_assert_mem_eq(before, w, sizeof before);
    }
    *state_bytes = 0;
    for (int i = 0; i < graft_store_count(s); i++)
        if (graft_optim_is_state(graft_store_name(s, i))) *state_bytes += graft_store_tensor_bytes(s, i);
    graft_update_free(&u);
    graft_store_free(s);
    graft_graph_free(g);
}

static double apart(const float x[SIZE], const float y[SIZE])
{
    double sum = 0;
    for (int i = 0; i < SIZE; i++) sum += fabs((double)(x[i] - y[i]));
    return sum;
}

START_TEST(beside_f32)
{
    static float whole[SIZE], eight[SIZE], simple[SIZE], other[SIZE];
    int64_t bytes[2];
    graft_device fused = op_reference(1), primitives = op_reference(0), more[8];
    descend(&fused, "adamw_torch", whole, &bytes[0], 0);
    descend(&fused, "adamw_bnb_8bit", eight, &bytes[1], 0);
    printf("moments: %lld bytes in f32, %lld in eight bits\n", (long long)bytes[0], (long long)bytes[1]);
    ck_assert_int_lt(bytes[1] * 28, bytes[0] * 10);
    double sum = 0, moved = 0;
    for (int i = 0; i < SIZE; i++) sum += fabs((double)(eight[i] - whole[i])), moved += fabs((double)whole[i] - sin(i));
    ck_assert_msg(sum < 0.05 * moved && sum > 0, "weights moved %g, and are %g apart", moved / SIZE, sum / SIZE);
    /* Moments that differ in their last bit may fall on either side of a middle, which is a code more or less: on the whole two devices stay much nearer to
     * each other than eight bits are to f32. */
    descend(&primitives, "adamw_bnb_8bit", simple, &bytes[1], 0);
    ck_assert_msg(4 * apart(simple, eight) < sum, "primitives: %g apart, f32 is %g away", apart(simple, eight), sum);
    const int n = op_other_devices(more, 8);
    for (int k = 0; k < n; k++) {
        descend(&more[k], "adamw_bnb_8bit", other, &bytes[1], 0);
        ck_assert_msg(4 * apart(other, eight) < sum, "%s: %g apart, f32 is %g away", more[k].name, apart(other, eight), sum);
        graft_device_close(&more[k]);
    }
    graft_device_close(&fused);
    graft_device_close(&primitives);
}
END_TEST

/* A weight that rests keeps its bits under every optimiser, from the first step or later. */
START_TEST(rests)
{
    static const char *const all[] = {"adamw_torch", "adamw_8bit", "sgd", "lion_32bit", "adafactor", "muon", "galore_adamw"};
    static float w[SIZE];
    int64_t bytes;
    graft_device d = op_reference(1);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int rest = 1; rest < 4; rest += 2) {
            descend(&d, all[i], w, &bytes, rest);
            for (int k = 0; k < SIZE; k++) ck_assert(isfinite(w[k]));
        }
    graft_device_close(&d);
}
END_TEST

START_TEST(arguments)
{
    graft_optim_options o = {.beta1 = 0.9, .beta2 = 0.999};
    ck_assert_ok(graft_optim_choose(&o, "adafactor", " eps1 = 1e-20 ,warmup_init=true, relative_step=True", &err));
    ck_assert_double_eq(o.eps1, 1e-20);
    ck_assert(o.warmup_init && o.relative_step && !o.scale_parameter && !o.first_moment);
    ck_assert_int_eq(graft_optim_choose(&o, "adamw_8bits", NULL, &err), GRAFT_UNSUPPORTED);
    ck_assert_str_eq(err.message, "the optimizer 'adamw_8bits' is not supported: use adamw_8bit");
    ck_assert_int_eq(graft_optim_choose(&o, "sgd", "nesterov=true", &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "nesterov needs a momentum and no dampening");
    ck_assert_int_eq(graft_optim_choose(&o, "sgd", "momentum=1.5", &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "momentum expects a number from 0 and below 1, found '1.5'");
    ck_assert_int_eq(graft_optim_choose(&o, "sgd", "momentum", &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(graft_optim_choose(&o, "muon", "ns_steps=2.5", &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(graft_optim_choose(&o, "adamw_torch", "momentum=0.9", &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "the optimizer adamw has no further options, found 'momentum'");
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, map_and_nearest);
    tcase_add_test(tc, beside_f32);
    tcase_add_test(tc, rests);
    tcase_add_test(tc, arguments);
}

int main(void) { return graft_test_main("optim_8bit", cases); }
