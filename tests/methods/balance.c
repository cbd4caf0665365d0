/* The experts' load-balancing loss: its value and the routers' gradients are transformers' own (float64), by config.json or by the run's weight. */
#include "core/model/balance.h"
#include "core/base/error.h"
#include "core/graph/store.h"
#include "core/model/model.h"
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

enum { TOKENS = 12 };

static graft_error err = GRAFT_ERROR_INIT;

static graft_status full_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *e)
{
    (void)args, (void)saved, (void)e;
    *run = self;
    return GRAFT_OK;
}

static int all(void *run, graft_builder *b, const graft_site *s, const char *weight)
{
    (void)run, (void)b, (void)s, (void)weight;
    return 1;
}

static const graft_method_table table = {.size = sizeof table, .open = full_open, .trains = all};

static void run_once(graft_exec *e)
{
    int32_t ids[TOKENS], places[TOKENS], labels[TOKENS];
    float weight[TOKENS];
    const int32_t border[4] = {0, TOKENS, 0, 0};
    for (int32_t i = 0; i < TOKENS; i++) ids[i] = 3 + 7 * i % 120, places[i] = i;
    for (int32_t i = 0; i + 1 < TOKENS; i++) labels[i] = ids[i + 1], weight[i] = 1.0f / (TOKENS - 1);
    const int64_t extent[GRAFT_SYMBOLS] = {TOKENS, 1, TOKENS - 1, 0};
    ck_assert_ok(graft_exec_set(e, "tokens", ids, sizeof ids, &err));
    ck_assert_ok(graft_exec_set(e, "positions", places, sizeof places, &err));
    ck_assert_ok(graft_exec_set(e, "sequences", border, sizeof border, &err));
    ck_assert_ok(graft_exec_set(e, "label_rows", places, (TOKENS - 1) * 4, &err));
    ck_assert_ok(graft_exec_set(e, "labels", labels, (TOKENS - 1) * 4, &err));
    ck_assert_ok(graft_exec_set(e, "label_weight", weight, (TOKENS - 1) * 4, &err));
    ck_assert_ok(graft_exec_run(e, extent, 0, 1, &err));
}

START_TEST(as_transformers_has_it)
{
    static const double loss[] = {5.257358074188232, 6.388798713684082}, squares[] = {0.540159116679639, 0.24006012132241106};
    const int64_t capacity[GRAFT_SYMBOLS] = {TOKENS, 1, TOKENS, 0};
    const graft_registry_options o = {.shipped = GRAFT_BINARY_DIR "/lib/graft/registry.json"};
    const graft_active_method m = {.name = "all", .table = &table};
    graft_registry *registry;
    graft_device device;
    graft_model *model;
    ck_assert_ok(graft_registry_open(&o, &registry, &err));
    ck_assert_ok(graft_device_open(registry, "reference", NULL, &device, &err));
    ck_assert_ok(graft_model_open(registry, graft_test_fixture("arch/mixtral"), &model, &err));
    ck_assert_double_eq(graft_balance_weight(model), 0.0);
    for (int with = 0; with < 2; with++) {
        graft_graph *g;
        graft_store *s;
        graft_exec *e;
        float found = 0;
        model->balance = with ? 0.5 : 0.0;
        ck_assert_ok(graft_model_graph(model, &m, 1, GRAFT_FOR_TRAIN, &g, &err));
        ck_assert_ok(graft_graph_prepare(g, &device, 0, 0, &err));
        ck_assert_ok(graft_store_new(&device, &s, &err));
        ck_assert_ok(graft_store_add_graph(s, g, capacity, &err));
        ck_assert_ok(graft_store_commit(s, &err));
        ck_assert_ok(graft_model_load(model, g, s, 1, &err));
        ck_assert_ok(graft_exec_new(g, s, capacity, 1, &e, &err));
        run_once(e);
        ck_assert_ok(graft_exec_get(e, "loss", &found, sizeof found, &err));
        ck_assert_msg(fabs((double)found - loss[with]) < 1e-5, "loss %.7f, expected %.7f", (double)found, loss[with]);
        for (int l = 0, k = 0; with && l < graft_store_count(s); l++) {
            const char *name = graft_store_name(s, l);
            float grad[4 * 32];
            double sum = 0;
            if (strncmp(name, "grad:", 5) != 0 || !strstr(name, "block_sparse_moe.gate.weight")) continue;
            ck_assert_int_eq(graft_store_tensor_bytes(s, l), sizeof grad);
            ck_assert_ok(graft_store_read(s, l, grad, sizeof grad, &err));
            for (size_t i = 0; i < sizeof grad / 4; i++) sum += (double)grad[i] * (double)grad[i];
            ck_assert_msg(fabs(sum - squares[k]) < 1e-4 * squares[k], "%s: %.9g, expected %.9g", name, sum, squares[k]);
            k++;
        }
        graft_exec_free(e);
        graft_store_free(s);
        graft_graph_free(g);
    }
    graft_model_close(model);
    graft_device_close(&device);
    graft_registry_close(registry);
}
END_TEST

START_TEST(refused_without_experts)
{
    const graft_registry_options o = {.shipped = GRAFT_BINARY_DIR "/lib/graft/registry.json"};
    graft_registry *registry;
    graft_model *model;
    graft_graph *g = NULL;
    ck_assert_ok(graft_registry_open(&o, &registry, &err));
    ck_assert_ok(graft_model_open(registry, graft_test_fixture("arch/llama_tied"), &model, &err));
    model->balance = 0.1;
    ck_assert_int_ne(graft_model_graph(model, NULL, 0, GRAFT_FOR_LOSS, &g, &err), GRAFT_OK);
    ck_assert_ptr_nonnull(strstr(err.message, "moe_aux_loss_coef needs a model with experts"));
    graft_model_close(model);
    graft_registry_close(registry);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, as_transformers_has_it);
    tcase_add_test(tc, refused_without_experts);
}

int main(void) { return graft_test_main("methods/balance", cases); }
