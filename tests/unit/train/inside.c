/* tests/unit/train/inside.c - an update inside the training graph beside the same update after it: the same weights and states bit for bit, for every optimiser
 * that can, on every device; and the memory of the gradients that is not needed. */
#include "core/base/error.h"
#include "core/graph/store.h"
#include "core/train/update.h"
#include "tests/support/op_harness.h"

#include <math.h>
#include <stdio.h>

enum { ROWS = 24,
       WIDE = 96,
       LAYERS = 6,
       STEPS = 4 };

static graft_error err = GRAFT_ERROR_INIT;

static graft_value layer(graft_builder *b, graft_value x, int i)
{
    char name[32];
    snprintf(name, sizeof name, "layer.%d.weight", i);
    const graft_value w = graft_weight(b, name, GRAFT_ROLE_OTHER, WIDE, WIDE), other = graft_weight(b, "shared.weight", GRAFT_ROLE_OTHER, WIDE, WIDE);
    return graft_silu(b, graft_add(b, graft_matmul_nt(b, x, w), graft_matmul_nt(b, x, other)));
}

/* Layers that all share one weight beside their own: its gradient is a sum over the whole backward pass. */
static graft_graph *network(void)
{
    const int64_t dims[] = {ROWS, WIDE}, one[] = {1};
    graft_graph *g = graft_graph_new();
    graft_value x = graft_graph_input(g, "x", GRAFT_F32, 2, dims);
    for (int i = 0; i < LAYERS; i++) x = layer(g->builder, x, i);
    const graft_value loss = graft_reshape(g->builder, graft_sum_squares(g->builder, x, graft_null_value()), 1, one);
    for (int32_t v = 1; v < g->n_values; v++) g->values[v].trainable = g->values[v].place == GRAFT_PLACE_WEIGHT && g->values[v].node < 0;
    graft_graph_output(g, "loss", loss);
    ck_assert_ok(graft_graph_autodiff(g, loss, &err));
    return g;
}

static void fill(float *x, int n, float phase)
{
    for (int i = 0; i < n; i++) x[i] = sinf(0.37f * (float)i + phase) * 0.2f;
}

/* STEPS steps; everything that the store holds but gradients, one after the other in `out`, in the order of names. Returns the bytes of gradients and activations. */
static int64_t train(const graft_device *d, const graft_update_options *o, int inside, float *out, int64_t *n_out, double norms[STEPS])
{
    const int64_t none[GRAFT_SYMBOLS] = {0};
    static float x[ROWS * WIDE], w[WIDE * WIDE];
    graft_graph *g = network();
    graft_store *s = NULL;
    graft_exec *run = NULL;
    graft_update u;
    if (inside) ck_assert_ok(graft_update_inside(&u, g, o, &err));
    else ck_assert_ok(graft_update_graphs(&u, g, o, d, &err));
    ck_assert_ok(graft_graph_prepare(g, d, 0, 0, &err));
    if (inside) ck_assert_ok(graft_graph_early(g, &err));
    ck_assert_ok(graft_store_new(d, &s, &err));
    ck_assert_ok(graft_store_add_graph(s, g, none, &err));
    if (!inside) ck_assert_ok(graft_store_add_graph(s, u.step, none, &err));
    ck_assert_ok(graft_store_commit(s, &err));
    for (int i = 0; i < graft_store_count(s); i++) {
        if (graft_store_place(s, i) != GRAFT_PLACE_WEIGHT) continue;
        fill(w, WIDE * WIDE, (float)graft_store_name(s, i)[6]);
        ck_assert_ok(graft_store_write(s, i, w, sizeof w, &err));
    }
    ck_assert_ok(graft_exec_new(g, s, none, 1, &run, &err));
    ck_assert_ok(graft_update_compile(&u, s, none, 1, &err));
    for (int t = 1; t <= STEPS; t++) {
        fill(x, ROWS * WIDE, (float)t);
        ck_assert_ok(graft_exec_set(run, "x", x, sizeof x, &err));
        if (t == 3) u.leaves[1].active = 0;
        if (inside) ck_assert_ok(graft_update_before(&u, o, run, t, 0.01, &err));
        ck_assert_ok(graft_exec_run(run, none, (uint64_t)t, 1, &err));
        ck_assert_ok(inside ? graft_update_after(run, &norms[t - 1], &err) : graft_update_run(&u, o, t, 0.01, &norms[t - 1], &err));
        u.leaves[1].active = 1;
    }
    int64_t used = graft_exec_bytes(run, GRAFT_PLACE_ARENA);
    *n_out = 0;
    for (int pass = 0; pass < 2; pass++) /* weights, then states: the two stores have them in other orders */
        for (int v = 1; v < g->n_values; v++) {
            static const char *const states[] = {"", "adam_m:", "adam_v:", "lion_m:", "ada_row:", "adam8_m:"};
            char name[64];
            if (!graft_update_trains(g, &g->values[v])) continue;
            for (size_t k = (size_t)pass; k < (pass ? sizeof states / sizeof *states : 1); k++) {
                snprintf(name, sizeof name, "%s%s", states[k], g->values[v].name);
                const int at = graft_store_find(s, name);
                if (at < 0) continue;
                ck_assert_ok(graft_store_read(s, at, out + *n_out, graft_store_tensor_bytes(s, at), &err));
                *n_out += graft_store_tensor_bytes(s, at) / 4;
            }
        }
    for (int i = 0; i < graft_store_count(s); i++)
        if (!strncmp(graft_store_name(s, i), GRAFT_GRADIENT, strlen(GRAFT_GRADIENT))) used += graft_store_tensor_bytes(s, i);
    graft_exec_free(run);
    graft_update_free(&u);
    graft_store_free(s);
    graft_graph_free(g);
    return used;
}

START_TEST(same_bits)
{
    static const char *const optimisers[] = {"adamw_torch", "sgd", "lion_32bit", "adafactor", "adamw_bnb_8bit"};
    enum { MOST = 4 * (LAYERS + 1) * WIDE * WIDE };
    static float after[MOST], within[MOST];
    graft_device devices[9] = {op_reference(1)};
    const int n = 1 + op_other_devices(devices + 1, 8);
    for (int k = 0; k < n; k++)
        for (size_t i = 0; i < sizeof optimisers / sizeof *optimisers; i++) {
            graft_update_options o = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1};
            int64_t n_after, n_within;
            double norm[2][STEPS];
            ck_assert_ok(graft_optim_choose(&o, optimisers[i], NULL, &err));
            ck_assert(graft_update_fits_inside(&o));
            const int64_t bytes = train(&devices[k], &o, 0, after, &n_after, norm[0]), less = train(&devices[k], &o, 1, within, &n_within, norm[1]);
            ck_assert_int_eq(n_after, n_within);
            ck_assert_msg(!memcmp(after, within, (size_t)n_after * 4), "%s on %s: other weights or states", optimisers[i], devices[k].name);
            for (int t = 0; t < STEPS; t++) ck_assert_double_eq_tol(norm[0][t], norm[1][t], 1e-5 * norm[0][t]);
            if (!k && !i) printf("gradients and activations: %lld bytes after, %lld inside\n", (long long)bytes, (long long)less);
            if (i == 4) continue; /* its codes in f32 take more than six small gradients */
            ck_assert_msg(less < bytes, "%s on %s: %lld bytes, after the pass %lld", optimisers[i], devices[k].name, (long long)less, (long long)bytes);
        }
    for (int k = 0; k < n; k++) graft_device_close(&devices[k]);
}
END_TEST

START_TEST(refused)
{
    static const char *const others[] = {"galore_adamw", "muon"};
    graft_update_options o = {.max_grad_norm = 1.0};
    ck_assert(!graft_update_fits_inside(&o));
    o.max_grad_norm = 0;
    ck_assert(graft_update_fits_inside(&o));
    for (int i = 0; i < 2; i++) {
        ck_assert_ok(graft_optim_choose(&o, others[i], NULL, &err));
        ck_assert(!graft_update_fits_inside(&o));
    }
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, same_bits);
    tcase_add_test(tc, refused);
    tcase_set_timeout(tc, 120);
}

int main(void) { return graft_test_main("inside", cases); }
