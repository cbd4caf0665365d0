/* tests/unit/graph/plan.c - what shares memory, what is copied, and what a plan promises. */
#include "tests/support/support.h"

#include "core/base/error.h"
#include "core/graph/plan.h"
#include "core/graph/run.h"

#include <string.h>

static const int64_t capacity[GRAFT_SYMBOLS] = {16, 4, 8, 32};
static const int64_t rows[2] = {GRAFT_DIM_TOKENS, 8};

static graft_plan *plan_of(graft_graph *g)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_plan *p = NULL;
    ck_assert_ok(graft_plan_new(g, NULL, capacity, 1, &p, &err));
    return p;
}

static const graft_tensor *tensor(const graft_plan *p, int32_t i) { return &p->program.tensors[i]; }
static int shares(const graft_plan *p, int32_t a, int32_t b) { return tensor(p, a)->place == tensor(p, b)->place && tensor(p, a)->offset == tensor(p, b)->offset; }

START_TEST(elementwise_runs_in_place)
{
    graft_graph *g = graft_graph_new();
    graft_value x = graft_graph_input(g, "x", GRAFT_F32, 2, rows);
    graft_value y = graft_exp(g->builder, graft_neg(g->builder, x));
    graft_graph_output(g, "y", graft_sum(g->builder, graft_tanh(g->builder, y), 1));
    graft_plan *p = plan_of(g);
    ck_assert_int_eq(p->program.n_instrs, 4);
    const graft_instr *i = p->program.instrs;
    ck_assert_msg(!shares(p, i[0].in[0], i[0].out[0]), "an input must never be overwritten");
    ck_assert(shares(p, i[1].in[0], i[1].out[0]));
    ck_assert(shares(p, i[2].in[0], i[2].out[0]));
    ck_assert_int_eq(p->bytes[GRAFT_PLACE_ARENA], 16 * 8 * 4);
    ck_assert_int_eq(tensor(p, i[3].out[0])->place, GRAFT_PLACE_OUTPUT);
    graft_plan_free(p);
    graft_graph_free(g);
}
END_TEST

START_TEST(a_value_with_a_later_reader_is_kept)
{
    graft_graph *g = graft_graph_new();
    graft_value x = graft_graph_input(g, "x", GRAFT_F32, 2, rows);
    graft_value a = graft_neg(g->builder, x), b = graft_exp(g->builder, a);
    graft_graph_output(g, "y", graft_mul(g->builder, b, a));
    graft_plan *p = plan_of(g);
    const graft_instr *i = p->program.instrs;
    ck_assert(!shares(p, i[1].in[0], i[1].out[0]));
    graft_plan_free(p);
    graft_graph_free(g);
}
END_TEST

START_TEST(reshape_costs_nothing)
{
    graft_graph *g = graft_graph_new();
    const int64_t flat[1] = {32}, square[2] = {4, 8};
    graft_value x = graft_graph_input(g, "x", GRAFT_F32, 1, flat);
    graft_value y = graft_reshape(g->builder, graft_neg(g->builder, x), 2, square);
    graft_graph_output(g, "y", graft_exp(g->builder, y));
    graft_plan *p = plan_of(g);
    ck_assert_int_eq(p->program.n_instrs, 2);
    ck_assert_int_eq(tensor(p, p->program.instrs[1].in[0])->rank, 2);
    ck_assert(shares(p, p->program.instrs[0].out[0], p->program.instrs[1].in[0]));
    graft_plan_free(p);
    graft_graph_free(g);
}
END_TEST

START_TEST(an_accumulating_matmul_writes_into_the_state)
{
    graft_graph *g = graft_graph_new();
    const int64_t w[2] = {8, 8};
    graft_value x = graft_graph_input(g, "x", GRAFT_F32, 2, rows), grad = graft_graph_state(g, "grad:w", GRAFT_F32, 2, w);
    graft_graph_assign(g, grad, graft_gemm(g->builder, x, x, grad, 1, 0, 1.0));
    graft_plan *p = plan_of(g);
    ck_assert_int_eq(p->program.n_instrs, 1);
    ck_assert(shares(p, p->program.instrs[0].in[2], p->program.instrs[0].out[0]));
    ck_assert_int_eq(tensor(p, p->program.instrs[0].out[0])->place, GRAFT_PLACE_STATE);
    graft_plan_free(p);
    graft_graph_free(g);
}
END_TEST

START_TEST(a_state_that_is_read_later_is_copied_at_the_end)
{
    graft_graph *g = graft_graph_new();
    const int64_t n[1] = {8};
    graft_value s = graft_graph_state(g, "s", GRAFT_F32, 1, n);
    graft_value now = graft_exp(g->builder, s);
    graft_graph_assign(g, s, now);
    graft_graph_output(g, "old", graft_neg(g->builder, s));
    graft_plan *p = plan_of(g);
    ck_assert_int_eq(p->program.n_instrs, 3);
    ck_assert_str_eq(p->program.instrs[2].name, "affine/1");
    ck_assert_int_eq(tensor(p, p->program.instrs[2].out[0])->place, GRAFT_PLACE_STATE);
    graft_plan_free(p);
    graft_graph_free(g);
}
END_TEST

START_TEST(a_fresh_value_replaces_a_state_that_nobody_reads_any_more)
{
    graft_graph *g = graft_graph_new();
    const int64_t n[1] = {8};
    graft_value s = graft_graph_state(g, "s", GRAFT_F32, 1, n);
    graft_graph_output(g, "old", graft_neg(g->builder, s));
    graft_graph_assign(g, s, graft_fill(g->builder, 1, n, 0.0));
    graft_plan *p = plan_of(g);
    ck_assert_int_eq(p->program.n_instrs, 2);
    ck_assert_int_eq(tensor(p, p->program.instrs[1].out[0])->place, GRAFT_PLACE_STATE);
    graft_plan_free(p);
    graft_graph_free(g);
}
END_TEST

START_TEST(a_leaf_as_output_is_copied_out)
{
    graft_graph *g = graft_graph_new();
    const int64_t n[1] = {8};
    graft_value s = graft_graph_state(g, "s", GRAFT_F32, 1, n);
    graft_graph_output(g, "s", s);
    graft_plan *p = plan_of(g);
    ck_assert_int_eq(p->program.n_instrs, 1);
    ck_assert_int_eq(tensor(p, p->program.instrs[0].out[0])->place, GRAFT_PLACE_OUTPUT);
    ck_assert_int_eq(p->n_outputs, 1);
    graft_plan_free(p);
    graft_graph_free(g);
}
END_TEST

START_TEST(an_unread_input_is_known)
{
    graft_graph *g = graft_graph_new();
    graft_value x = graft_graph_input(g, "x", GRAFT_F32, 2, rows);
    graft_graph_input(g, "unused", GRAFT_I32, 1, rows);
    graft_graph_output(g, "y", graft_neg(g->builder, x));
    graft_plan *p = plan_of(g);
    ck_assert_int_eq(p->n_inputs, 2);
    ck_assert_int_eq(p->inputs[1].tensor, -1);
    graft_plan_free(p);
    graft_graph_free(g);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, elementwise_runs_in_place);
    tcase_add_test(tc, a_value_with_a_later_reader_is_kept);
    tcase_add_test(tc, reshape_costs_nothing);
    tcase_add_test(tc, an_accumulating_matmul_writes_into_the_state);
    tcase_add_test(tc, a_state_that_is_read_later_is_copied_at_the_end);
    tcase_add_test(tc, a_fresh_value_replaces_a_state_that_nobody_reads_any_more);
    tcase_add_test(tc, a_leaf_as_output_is_copied_out);
    tcase_add_test(tc, an_unread_input_is_known);
}

int main(void) { return graft_test_main("plan", cases); }
