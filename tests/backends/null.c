/* tests/backends/null.c - what the host plans and allocates around a device that computes nothing: claims, places, programs that share a store, zeros out. */
#include "tests/backends/device.h"

#include "core/base/error.h"
#include "core/graph/run.h"

#include <unistd.h>

static graft_device null_device(void *self)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_device d = {.name = "null"};
    const graft_plugin *door = door_of("null")();
    ck_assert_int_eq(door->init(&test_host, self, &err), GRAFT_OK);
    d.table = door->table(*(void **)self, "graft.backend/1");
    ck_assert_int_eq(d.table->open(*(void **)self, 0, NULL, &d.dev, &err), GRAFT_OK);
    return d;
}

/* y = relu(x w^T), its sum, and the gradient of w. */
static graft_graph *small_graph(void)
{
    graft_graph *g = graft_graph_new();
    graft_builder *b = g->builder;
    const graft_value x = graft_graph_input(g, "x", GRAFT_F32, 2, (const int64_t[]){GRAFT_DIM_TOKENS, 8, 0, 0});
    const graft_value w = graft_new_param(b, "w", GRAFT_START_ONE, 0.0, 4, 8);
    const graft_value y = graft_relu(b, graft_matmul_nt(b, x, w));
    graft_value sum = graft_sum(b, graft_sum(b, y, 0), 1);
    const graft_value seed = graft_fill(b, 2, (const int64_t[]){1, 1, 0, 0}, 1.0);
    graft_value dw;
    graft_graph_gradients(g, &sum, &seed, 1, &w, 1, &dw);
    graft_graph_output(g, "sum", sum);
    graft_graph_output(g, "dw", dw);
    return g;
}

START_TEST(a_program_is_planned_and_answers_zeros)
{
    void *self;
    graft_device d = null_device(&self);
    graft_error err = GRAFT_ERROR_INIT;
    graft_store *store = NULL;
    graft_exec *exec = NULL;
    graft_plan *plan = NULL;
    const int64_t capacity[GRAFT_SYMBOLS] = {16, 1, 1, 0}, extent[GRAFT_SYMBOLS] = {3, 1, 1, 0};
    float x[24], dw[32];
    graft_graph *g = small_graph();
    ck_assert_ok(graft_graph_prepare(g, &d, 0, 0, &err));
    ck_assert_ok(graft_plan_new(g, NULL, capacity, 1, &plan, &err));
    ck_assert_ok(graft_store_new(&d, &store, &err));
    ck_assert_ok(graft_store_add_graph(store, g, capacity, &err));
    ck_assert_ok(graft_store_commit(store, &err));
    ck_assert_ok(graft_exec_new(g, store, capacity, 1, &exec, &err));
    ck_assert_int_ge(plan->bytes[GRAFT_PLACE_INPUT], 16 * 8 * 4);
    ck_assert_int_ge(graft_store_bytes(store, GRAFT_PLACE_WEIGHT), 4 * 8 * 4);
    ck_assert_int_ge(plan->bytes[GRAFT_PLACE_ARENA], plan->live_bytes);
    for (int i = 0; i < GRAFT_PLACES; i++) {
        if (i != GRAFT_PLACE_WEIGHT && i != GRAFT_PLACE_STATE) ck_assert_int_eq(graft_exec_bytes(exec, (graft_place)i), plan->bytes[i]);
    }
    for (int i = 0; i < 24; i++) x[i] = 1.0f;
    ck_assert_ok(graft_exec_set(exec, "x", x, sizeof x, &err));
    ck_assert_ok(graft_exec_run(exec, extent, 1, 1, &err));
    ck_assert_ok(graft_exec_get(exec, "dw", dw, sizeof dw, &err));
    for (int i = 0; i < 32; i++) ck_assert(dw[i] == 0.0f);
    ck_assert_int_eq(graft_exec_workspace(exec), 0);
    graft_exec_free(exec);
    graft_plan_free(plan);
    graft_store_free(store);
    graft_graph_free(g);
    graft_device_close(&d);
}
END_TEST

/* A device that cannot hold the plan is told before anything runs. */
START_TEST(memory_that_is_not_there_is_refused)
{
    void *self;
    graft_device d = null_device(&self);
    graft_error err = GRAFT_ERROR_INIT;
    graft_store *store = NULL;
    const int64_t capacity[GRAFT_SYMBOLS] = {INT64_C(1) << 44, 1, 1, 0};
    graft_exec *exec = NULL;
    graft_graph *g = small_graph();
    ck_assert_ok(graft_graph_prepare(g, &d, 0, 0, &err));
    ck_assert_ok(graft_store_new(&d, &store, &err));
    ck_assert_ok(graft_store_add_graph(store, g, capacity, &err));
    ck_assert_ok(graft_store_commit(store, &err));
    ck_assert_int_eq(graft_exec_new(g, store, capacity, 1, &exec, &err), GRAFT_NO_MEMORY);
    ck_assert_ptr_null(exec);
    graft_store_free(store);
    graft_graph_free(g);
    graft_device_close(&d);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, a_program_is_planned_and_answers_zeros);
    tcase_add_test(tc, memory_that_is_not_there_is_refused);
}

int main(void)
{
    if (access(GRAFT_SOURCE_DIR "/backends/null/null.c", R_OK)) {
        printf("skipped: there is no backend null in this tree\n");
        return 0;
    }
    return graft_test_main("null", cases);
}
