/* tests/ops/training.c - a small model trained for 40 steps on primitives alone, and on every backend: the same losses and the same weights as on reference.
 * A backend that passes tier 0 can train every model: here it does. Also recomputation: the same numbers from a smaller arena. */
#include "tests/support/op_harness.h"
#include "tests/unit/graph/tiny.h"

#include <math.h>
#include <stdio.h>

enum { T = 24,
       S = 3,
       STEPS = 40,
       MAX_DEVICES = 16,
       MAX_WEIGHTS = 64 };

static const int64_t extent[GRAFT_SYMBOLS] = {T, S, T - S, 0}, capacity[GRAFT_SYMBOLS] = {T + 5, S + 1, T, 0};

typedef struct outcome {
    double loss[STEPS], weights[MAX_WEIGHTS][TINY_VOCAB * TINY_D];
    int n_weights;
    int64_t n[MAX_WEIGHTS], arena;
} outcome;

/* AdamW on every trained weight, then its gradient back to zero. */
static graft_graph *update_graph(const graft_graph *trained)
{
    static const int64_t eight[] = {8};
    graft_graph *g = graft_graph_new();
    graft_builder *b = g->builder;
    const graft_value hyper = graft_graph_input(g, "hyper", GRAFT_F32, 1, eight);
    for (int32_t i = 1; i < trained->n_values; i++) {
        const graft_value_info *w = &trained->values[i];
        if (w->node != -1 || !w->trainable) continue;
        graft_value state[3];
        static const char *const prefix[] = {"grad:", "m:", "v:"};
        for (int k = 0; k < 3; k++) {
            char name[200];
            snprintf(name, sizeof name, "%s%s", prefix[k], w->name);
            state[k] = graft_graph_state(g, name, GRAFT_F32, w->shape.rank, w->shape.dims);
        }
        const graft_value p = graft_weight(b, w->name, w->role, w->shape.dims[0], w->shape.rank > 1 ? w->shape.dims[1] : 0);
        const graft_value p1 = graft_adamw(b, p, state[0], state[1], state[2], hyper, w->shape.rank > 1);
        graft_graph_assign(g, p, p1);
        graft_graph_assign(g, state[1], b->api->output(b, p1, 1));
        graft_graph_assign(g, state[2], b->api->output(b, p1, 2));
        graft_graph_assign(g, state[0], graft_fill(b, w->shape.rank, w->shape.dims, 0.0));
    }
    return g;
}

static void set_inputs(graft_exec *e)
{
    graft_error err = GRAFT_ERROR_INIT;
    int32_t tokens[T], positions[T], rows[T], labels[T];
    float weight[T];
    const int32_t seq[S * 4] = {0, 9, 0, 0, 9, 5, 0, 0, 14, 10, 0, 0};
    int n = 0;
    for (int s = 0; s < S; s++) {
        for (int i = 0; i < seq[4 * s + 1]; i++) {
            const int t = seq[4 * s] + i;
            tokens[t] = (i * i * 3 + s * 5) % TINY_VOCAB, positions[t] = i;
            if (i + 1 == seq[4 * s + 1]) continue;
            rows[n] = t, labels[n] = ((i + 1) * (i + 1) * 3 + s * 5) % TINY_VOCAB, weight[n++] = 1.0f / (float)(T - S);
        }
    }
    ck_assert_int_eq(n, T - S);
    ck_assert_ok(graft_exec_set(e, "tokens", tokens, (int64_t)sizeof tokens, &err));
    ck_assert_ok(graft_exec_set(e, "positions", positions, (int64_t)sizeof positions, &err));
    ck_assert_ok(graft_exec_set(e, "sequences", seq, (int64_t)sizeof seq, &err));
    ck_assert_ok(graft_exec_set(e, "label_rows", rows, (int64_t)n * 4, &err));
    ck_assert_ok(graft_exec_set(e, "labels", labels, (int64_t)n * 4, &err));
    ck_assert_ok(graft_exec_set(e, "label_weight", weight, (int64_t)n * 4, &err));
}

static void start_weights(graft_store *s)
{
    graft_error err = GRAFT_ERROR_INIT;
    for (int i = 0; i < graft_store_count(s); i++) {
        const char *name = graft_store_name(s, i);
        if (strchr(name, ':')) continue; /* gradients and moments begin with zero */
        op_rng r = {graft_op_id(name) % 1000000};
        const int64_t bytes = graft_store_tensor_bytes(s, i);
        float *w = graft_calloc((size_t)bytes, 1);
        for (int64_t k = 0; k < bytes / 4; k++) w[k] = strstr(name, "norm") ? 1.0f : (float)op_uniform(&r, -0.35, 0.35);
        ck_assert_ok(graft_store_write(s, i, w, bytes, &err));
        graft_free(w);
    }
}

static void keep_weights(const graft_store *s, outcome *out)
{
    graft_error err = GRAFT_ERROR_INIT;
    out->n_weights = 0;
    for (int i = 0; i < graft_store_count(s); i++) {
        float w[TINY_VOCAB * TINY_D];
        const int64_t bytes = graft_store_tensor_bytes(s, i);
        if (strchr(graft_store_name(s, i), ':')) continue;
        ck_assert(bytes <= (int64_t)sizeof w && out->n_weights < MAX_WEIGHTS);
        ck_assert_ok(graft_store_read(s, i, w, bytes, &err));
        for (int64_t k = 0; k < bytes / 4; k++) out->weights[out->n_weights][k] = (double)w[k];
        out->n[out->n_weights++] = bytes / 4;
    }
}

static void train(const graft_device *d, int recompute, outcome *out)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = graft_graph_new();
    graft_store *store;
    graft_exec *step, *update;
    const graft_active_method method = {.name = "all", .table = &tiny_all_table};
    graft_graph_methods(g, &method, 1);
    ck_assert_ok(graft_graph_autodiff(g, tiny_loss(g), &err));
    graft_graph *u = update_graph(g);
    ck_assert_ok(graft_graph_prepare(g, d, recompute, TINY_LAYERS, &err));
    ck_assert_ok(graft_graph_prepare(u, d, 0, 0, &err));
    ck_assert_ok(graft_store_new(d, &store, &err));
    ck_assert_ok(graft_store_add_graph(store, g, capacity, &err));
    ck_assert_ok(graft_store_add_graph(store, u, capacity, &err));
    ck_assert_ok(graft_store_commit(store, &err));
    start_weights(store);
    ck_assert_ok(graft_exec_new(g, store, capacity, 42, &step, &err));
    ck_assert_ok(graft_exec_new(u, store, capacity, 42, &update, &err));
    out->arena = graft_exec_bytes(step, GRAFT_PLACE_ARENA);
    set_inputs(step);
    for (int i = 0; i < STEPS; i++) {
        float loss;
        const float hyper[8] = {0.01f, 0.9f, 0.99f, 1e-6f, 0.01f, (float)(1.0 - pow(0.9, i + 1)), (float)(1.0 - pow(0.99, i + 1)), 1.0f};
        ck_assert_ok(graft_exec_run(step, extent, (uint64_t)i, 1, &err));
        ck_assert_ok(graft_exec_get(step, "loss", &loss, sizeof loss, &err));
        ck_assert_ok(graft_exec_set(update, "hyper", hyper, sizeof hyper, &err));
        ck_assert_ok(graft_exec_run(update, extent, (uint64_t)i, 1, &err));
        out->loss[i] = (double)loss;
    }
    keep_weights(store, out);
    graft_exec_free(step);
    graft_exec_free(update);
    graft_store_free(store);
    graft_graph_free(g);
    graft_graph_free(u);
}

static double difference(const outcome *a, const outcome *b, double *loss)
{
    double weights = 0.0;
    *loss = 0.0;
    ck_assert_int_eq(a->n_weights, b->n_weights);
    for (int i = 0; i < STEPS; i++) *loss = fmax(*loss, fabs(a->loss[i] - b->loss[i]));
    for (int i = 0; i < a->n_weights; i++) {
        for (int64_t k = 0; k < a->n[i]; k++) weights = fmax(weights, fabs(a->weights[i][k] - b->weights[i][k]));
    }
    return weights;
}

START_TEST(every_backend_trains_alike)
{
    static outcome want, got;
    graft_device devices[MAX_DEVICES + 2] = {op_reference(1), op_reference(0)};
    const int n = 2 + op_other_devices(devices + 2, MAX_DEVICES);
    train(&devices[0], 0, &want);
    printf("loss %.4f -> %.4f in %d steps\n", want.loss[0], want.loss[STEPS - 1], STEPS);
    ck_assert(fabs(want.loss[0] - log(TINY_VOCAB)) < 0.7);
    ck_assert(want.loss[STEPS - 1] < 0.1 * want.loss[0]);
    for (int i = 0; i < n; i++) {
        for (int recompute = 0; recompute <= 2; recompute++) {
            double loss;
            train(&devices[i], recompute, &got);
            const double weights = difference(&got, &want, &loss);
            printf("%-12s %s recompute %d: loss differs by %.1e, weights by %.1e, arena %lld bytes\n", devices[i].name, i == 1 ? "primitives," : "", recompute, loss, weights,
                   (long long)got.arena);
            ck_assert_msg(loss <= 1e-5 && weights <= 1e-4, "%s: loss differs by %g, weights by %g", devices[i].name, loss, weights);
            if (i == 0) ck_assert_msg(loss == 0.0 && weights == 0.0, "recomputation changed the numbers");
            if (i == 0 && recompute) ck_assert_msg(got.arena < want.arena, "recomputation saved nothing");
        }
        graft_device_close(&devices[i]);
    }
}
END_TEST

static void cases(TCase *tc) { tcase_add_test(tc, every_backend_trains_alike); }

int main(void) { return graft_test_main("training", cases); }
