/* The builder: names, paths, leaves, and every refusal word for word. */
#include "tests/unit/graph/tiny.h"

#include <stdio.h>

static graft_graph *fresh(void)
{
    graft_graph *g = graft_graph_new();
    ck_assert_ptr_nonnull(g);
    return g;
}

/* The graph must have failed at `where` with exactly this sentence; frees it. */
static void refused(graft_graph *g, const char *where, const char *sentence)
{
    graft_error err = GRAFT_ERROR_INIT;
    ck_assert_int_ne(graft_graph_check(g, &err), GRAFT_OK);
    ck_assert_str_eq(err.message, sentence);
    ck_assert_str_eq(err.where, where);
    graft_graph_free(g);
}

static graft_value matrix(graft_graph *g, const char *name, int64_t d0, int64_t d1)
{
    const int64_t dims[] = {d0, d1};
    return graft_graph_input(g, name, GRAFT_F32, 2, dims);
}

START_TEST(paths_name_parameters_and_carry_the_block)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value outside = graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, 4, 3);
    graft_push(b, "model");
    graft_push_index(b, "layers", 3);
    graft_push_index(b, "experts", 7);
    const graft_value w = graft_weight(b, "w1.weight", GRAFT_ROLE_EXPERT, 5, 0);
    const graft_value of_all = graft_weight(b, "/shared.weight", GRAFT_ROLE_OTHER, 2, 0);
    graft_pop(b);
    graft_pop(b);
    graft_pop(b);
    ck_assert_str_eq(graft_graph_info(g, outside)->name, "lm_head.weight");
    ck_assert_int_eq(graft_graph_info(g, outside)->layer, -1);
    ck_assert_str_eq(graft_graph_info(g, w)->name, "model.layers.3.experts.7.w1.weight");
    ck_assert_int_eq(graft_graph_info(g, w)->layer, 3);
    ck_assert_int_eq(graft_graph_info(g, w)->shape.rank, 1);
    ck_assert_str_eq(graft_graph_info(g, of_all)->name, "shared.weight");
    ck_assert_int_eq(graft_graph_info(g, of_all)->layer, -1);
    ck_assert_uint_eq(graft_graph_find(g, "model.layers.3.experts.7.w1.weight").id, w.id);
    ck_assert_uint_eq(graft_graph_find(g, "model.layers.3.experts.7").id, 0);
    ck_assert_uint_eq(graft_weight(b, "lm_head.weight", GRAFT_ROLE_HEAD, 4, 3).id, outside.id);
    tiny_check(g);
    graft_graph_free(g);
}
END_TEST

START_TEST(many_names_are_all_found)
{
    graft_graph *g = fresh();
    char name[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "w%d", i);
        ck_assert_uint_eq(graft_weight(g->builder, name, GRAFT_ROLE_OTHER, 1, 0).id, (uint32_t)(i + 1));
    }
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "w%d", i);
        ck_assert_uint_eq(graft_graph_find(g, name).id, (uint32_t)(i + 1));
    }
    graft_graph_free(g);
}
END_TEST

START_TEST(attributes_are_sorted_and_complete)
{
    graft_graph *g = fresh();
    const graft_value in[] = {matrix(g, "x", GRAFT_DIM_TOKENS, 4), matrix(g, "w", 3, 4)};
    const graft_attr at[] = {GRAFT_INTA("alpha", 2), GRAFT_INTA("trans_b", 1)}; /* an integer serves where a real is asked */
    const graft_value y = g->builder->api->op(g->builder, "matmul/1", 2, in, 2, at);
    const graft_node *n = graft_graph_node(g, y);
    ck_assert_int_eq(n->n_attr, 3);
    ck_assert_str_eq(n->attr[0].key, "trans_a");
    ck_assert_str_eq(n->attr[1].key, "trans_b");
    ck_assert_str_eq(n->attr[2].key, "alpha");
    ck_assert(graft_node_int(n, "trans_a") == 0 && graft_node_int(n, "trans_b") == 1 && graft_node_real(n, "alpha") == 2.0);
    ck_assert_int_eq(n->attr[2].type, GRAFT_ATTR_REAL);
    int64_t dims[GRAFT_MAX_RANK];
    ck_assert_int_eq(g->builder->api->shape(g->builder, y, dims), 2);
    ck_assert_int_eq(dims[0], GRAFT_DIM_TOKENS);
    ck_assert_int_eq(dims[1], 3);
    graft_graph_free(g);
}
END_TEST

START_TEST(the_first_error_stays_and_later_calls_do_nothing)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value x = matrix(g, "x", 2, 4);
    graft_push(b, "model");
    b->api->error(b, "head_dim %d is odd", 3);
    b->api->error(b, "another");
    const int32_t nodes = g->n_nodes, values = g->n_values;
    ck_assert_uint_eq(graft_add(b, x, x).id, 0);
    ck_assert_uint_eq(graft_weight(b, "w", GRAFT_ROLE_OTHER, 1, 0).id, 0);
    ck_assert_uint_eq(graft_linear(b, x, "q", 4, 0, GRAFT_ROLE_ATTN_Q).id, 0);
    ck_assert_uint_eq(graft_mark(b, x, GRAFT_ROLE_BLOCK).id, x.id);
    ck_assert_uint_eq(graft_graph_state(g, "s", GRAFT_F32, 0, NULL).id, 0);
    graft_graph_output(g, "y", x);
    graft_graph_fuse(g);
    graft_graph_prune(g);
    graft_pop(b);
    graft_pop(b);
    ck_assert(g->n_nodes == nodes && g->n_values == values && g->n_outputs == 0);
    refused(g, "model", "head_dim 3 is odd");
}
END_TEST

static void two_shapes(graft_graph *g)
{
    graft_push(g->builder, "model");
    graft_weight(g->builder, "w", GRAFT_ROLE_OTHER, 4, 3);
    graft_weight(g->builder, "w", GRAFT_ROLE_OTHER, 4, 5);
}
static void unknown_op(graft_graph *g) { graft_op1(g->builder, "flash/9", matrix(g, "x", 1, 1)); }
static void near_attribute(graft_graph *g)
{
    const graft_value x = matrix(g, "x", 1, 4);
    const graft_attr at[] = {GRAFT_REALA("epz", 1e-5)};
    g->builder->api->op(g->builder, "rms_norm/1", 1, &x, 1, at);
}
static void far_attribute(graft_graph *g)
{
    const graft_value x = matrix(g, "x", 1, 4);
    const graft_attr at[] = {GRAFT_REALA("bananas", 1.0)};
    g->builder->api->op(g->builder, "rms_norm/1", 1, &x, 1, at);
}
static void no_attributes(graft_graph *g)
{
    const graft_value x = matrix(g, "x", 1, 4);
    const graft_attr at[] = {GRAFT_REALA("eps", 1.0)};
    g->builder->api->op(g->builder, "neg/1", 1, &x, 1, at);
}
static void attribute_missing(graft_graph *g) { graft_op1(g->builder, "rms_norm/1", matrix(g, "x", 1, 4)); }
static void attribute_twice(graft_graph *g)
{
    const graft_value x = matrix(g, "x", 1, 4);
    const graft_attr at[] = {GRAFT_INTA("axis", 1), GRAFT_INTA("axis", 0)};
    g->builder->api->op(g->builder, "sum/1", 1, &x, 2, at);
}
static void attribute_real(graft_graph *g)
{
    const graft_value x = matrix(g, "x", 1, 4);
    const graft_attr at[] = {GRAFT_REALA("axis", 1.0)};
    g->builder->api->op(g->builder, "sum/1", 1, &x, 1, at);
}
static void attribute_nan(graft_graph *g) { graft_affine(g->builder, matrix(g, "x", 1, 4), __builtin_nan(""), 0.0); }
static void few_inputs(graft_graph *g) { graft_op1(g->builder, "add/1", matrix(g, "x", 1, 4)); }
static void many_inputs(graft_graph *g)
{
    const graft_value x = matrix(g, "x", 4, 4), in[] = {x, x, x, x};
    g->builder->api->op(g->builder, "matmul/1", 4, in, 0, NULL);
}
static void null_input(graft_graph *g) { graft_add(g->builder, matrix(g, "x", 1, 4), graft_null_value()); }
static void foreign_input(graft_graph *g) { graft_neg(g->builder, (graft_value){77}); }
static void pop_alone(graft_graph *g) { graft_pop(g->builder); }
static void push_nothing(graft_graph *g) { graft_push(g->builder, ""); }
static void push_for_ever(graft_graph *g)
{
    for (int i = 0; i < 100 && !g->error.code; i++) graft_push(g->builder, "a");
}
static void push_far(graft_graph *g) { graft_push_index(g->builder, "layers", 4294967296); }
static void no_output(graft_graph *g)
{
    const graft_value y = graft_neg(g->builder, matrix(g, "x", 1, 4));
    g->builder->api->output(g->builder, y, 1);
}
static void output_of_leaf(graft_graph *g) { g->builder->api->output(g->builder, matrix(g, "x", 1, 4), 1); }
static void leaf_twice(graft_graph *g)
{
    matrix(g, "x", 1, 4);
    matrix(g, "x", 1, 4);
}
static void negative_weight(graft_graph *g) { graft_weight(g->builder, "w", GRAFT_ROLE_OTHER, 4, -1); }
static void huge_weight(graft_graph *g)
{
    const graft_param p = {(uint32_t)sizeof p, GRAFT_ROLE_OTHER, GRAFT_START_ZERO, 0.0, 3, {INT32_MAX, INT32_MAX, INT32_MAX, 0}};
    g->builder->api->param(g->builder, "w", &p);
}
static void high_rank(graft_graph *g)
{
    const graft_param p = {(uint32_t)sizeof p, GRAFT_ROLE_OTHER, GRAFT_START_ZERO, 0.0, 5, {1, 1, 1, 1}};
    g->builder->api->param(g->builder, "w", &p);
}
static void odd_start(graft_graph *g)
{
    const graft_param p = {(uint32_t)sizeof p, GRAFT_ROLE_OTHER, (graft_start)9, 0.0, 1, {1, 0, 0, 0}};
    g->builder->api->param(g->builder, "w", &p);
}
static void output_null(graft_graph *g) { graft_graph_output(g, "loss", graft_null_value()); }
static void output_twice(graft_graph *g)
{
    graft_graph_output(g, "y", matrix(g, "x", 1, 4));
    graft_graph_output(g, "y", matrix(g, "z", 1, 4));
}
static void assign_input(graft_graph *g)
{
    const graft_value x = matrix(g, "x", 1, 4);
    graft_graph_assign(g, x, graft_neg(g->builder, x));
}
static void assign_twice(graft_graph *g)
{
    const int64_t d = 4;
    const graft_value s = graft_graph_state(g, "s", GRAFT_F32, 1, &d);
    graft_graph_assign(g, s, graft_neg(g->builder, s));
    graft_graph_assign(g, s, graft_exp(g->builder, s));
}
static void linear_of_numbers(graft_graph *g)
{
    const int64_t d = GRAFT_DIM_TOKENS;
    graft_push(g->builder, "mlp");
    graft_linear(g->builder, graft_graph_input(g, "x", GRAFT_F32, 1, &d), "up", 4, 0, GRAFT_ROLE_MLP_UP);
}
static void constant_of_tokens(graft_graph *g)
{
    const int64_t d = GRAFT_DIM_TOKENS;
    g->builder->api->constant(g->builder, "table", 1, &d, NULL);
}

static const struct {
    void (*make)(graft_graph *g);
    const char *where, *sentence;
} refusals[] = {
    {two_shapes, "model", "parameter \"model.w\" is [4, 5] here and was [4, 3] before"},
    {unknown_op, "", "this graft has no op \"flash/9\"; the plugin may need a newer one"},
    {near_attribute, "", "rms_norm/1 has no attribute \"epz\"; did you mean \"eps\"?"},
    {far_attribute, "", "rms_norm/1 has no attribute \"bananas\"; it has: eps, plus"},
    {no_attributes, "", "neg/1 has no attribute \"eps\"; it has none at all"},
    {attribute_missing, "", "rms_norm/1 needs the attribute \"eps\""},
    {attribute_twice, "", "attribute \"axis\" of sum/1 is given twice"},
    {attribute_real, "", "attribute \"axis\" of sum/1 is an integer, found a real number"},
    {attribute_nan, "", "attribute \"mul\" of affine/1 is not a number"},
    {few_inputs, "", "add/1 takes 2 inputs, found 1"},
    {many_inputs, "", "matmul/1 takes 2 to 3 inputs, found 4"},
    {null_input, "", "input 2 of add/1 is the null value"},
    {foreign_input, "", "input 1 of neg/1 is value 77, which is not of this graph"},
    {pop_alone, "", "pop without a push"},
    {push_nothing, "", "push needs a name"},
    {push_far, "", "the index of \"layers\" is 4294967296, at most 2147483647 is possible"},
    {no_output, "", "neg/1 has 1 outputs, there is no output 1"},
    {output_of_leaf, "", "output 1 was asked of a value that no op made"},
    {leaf_twice, "", "\"x\" is made twice; names of leaves are unique"},
    {negative_weight, "", "\"w\" cannot have the shape [4, tokens]: axis 1 is -1"},
    {huge_weight, "", "\"w\" cannot have the shape [2147483647, 2147483647, 2147483647]: axis 2 is 2147483647"},
    {high_rank, "", "\"w\" has rank 5, expected 0 to 4"},
    {odd_start, "", "parameter \"w\" has the unknown start 9"},
    {output_null, "", "the output \"loss\" is the null value"},
    {output_twice, "", "there are two outputs \"y\""},
    {assign_input, "", "only weights and states can be assigned to"},
    {assign_twice, "", "\"s\" is assigned twice"},
    {linear_of_numbers, "mlp.up", "linear needs an input whose last axis has a constant size, found [tokens]"},
    {constant_of_tokens, "", "the constant \"table\" needs a constant shape"},
};

START_TEST(each_refusal_is_one_sentence)
{
    graft_graph *g = fresh();
    refusals[_i].make(g);
    refused(g, refusals[_i].where, refusals[_i].sentence);
}
END_TEST

START_TEST(open_parts_have_an_end)
{
    graft_graph *g = fresh();
    graft_error err = GRAFT_ERROR_INIT;
    push_for_ever(g);
    ck_assert_int_eq(graft_graph_check(g, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "more than 48 open path parts; is a pop missing?");
    graft_graph_free(g);
}
END_TEST

START_TEST(long_names_are_refused_not_cut)
{
    graft_graph *g = fresh();
    graft_error err = GRAFT_ERROR_INIT;
    char name[3000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    graft_push(g->builder, name);
    ck_assert_int_eq(graft_graph_check(g, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "the path is longer than 1023 bytes; use shorter names");
    graft_graph_free(g);
    g = fresh();
    graft_weight(g->builder, name, GRAFT_ROLE_OTHER, 1, 0);
    ck_assert_int_eq(graft_graph_check(g, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "a name is longer than 2047 bytes; use shorter path parts");
    graft_graph_free(g);
}
END_TEST

START_TEST(sizes_of_types_and_shapes)
{
    const int64_t extent[GRAFT_SYMBOLS] = {10, 2, 7, 100};
    const graft_shape s = {GRAFT_F32, 3, {GRAFT_DIM_TOKENS, 4, GRAFT_DIM_LABELLED, 0}}, scalar = {GRAFT_F32, 0, {0}};
    ck_assert_int_eq(graft_shape_elements(&s, extent), 280);
    ck_assert_int_eq(graft_shape_elements(&scalar, extent), 1);
    ck_assert_int_eq(graft_dtype_bytes(GRAFT_F32, 3), 12);
    ck_assert_int_eq(graft_dtype_bytes(GRAFT_BF16, 3), 6);
    ck_assert_int_eq(graft_dtype_bytes(GRAFT_Q4_0, 64), 36);
    ck_assert_int_eq(graft_dtype_bytes(GRAFT_Q4_1, 32), 20);
    ck_assert_int_eq(graft_dtype_bytes(GRAFT_Q8_0, 32), 34);
    ck_assert_int_eq(graft_dtype_bytes(GRAFT_NF4, 64), 36);
    ck_assert_int_eq(graft_dtype_bytes(GRAFT_Q4_0, 33), -1);
    ck_assert_int_eq(graft_dtype_bytes(GRAFT_F32, INT64_MAX), -1);
    ck_assert_int_eq(graft_dtype_bytes((graft_dtype)99, 1), -1);
    ck_assert_str_eq(graft_dtype_name(GRAFT_Q8_0), "q8_0");
}
END_TEST

START_TEST(replacing_spares_the_replacement_itself)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value x = matrix(g, "x", 2, 2), y = graft_exp(b, x), z = graft_neg(b, y), t = graft_tanh(b, y);
    graft_graph_output(g, "y", y);
    graft_graph_replace(g, y, t);
    ck_assert_uint_eq(graft_graph_node(g, t)->in[0].id, y.id);
    ck_assert_uint_eq(graft_graph_node(g, z)->in[0].id, t.id);
    ck_assert_uint_eq(g->outputs[0].value.id, t.id);
    graft_graph_free(g);
}
END_TEST

START_TEST(pruning_keeps_what_outputs_and_assignments_need)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const int64_t d[] = {2, 2};
    const graft_value x = matrix(g, "x", 2, 2), s = graft_graph_state(g, "s", GRAFT_F32, 2, d);
    graft_exp(b, graft_neg(b, x)); /* nobody reads it */
    const graft_value y = graft_tanh(b, x), now = graft_add(b, s, graft_sin(b, x));
    graft_graph_output(g, "y", y);
    graft_graph_assign(g, s, now);
    graft_graph_prune(g);
    tiny_check(g);
    ck_assert_int_eq(g->n_nodes, 3);
    ck_assert_str_eq(g->nodes[0].op->name, "tanh/1");
    ck_assert_str_eq(g->nodes[1].op->name, "sin/1");
    ck_assert_str_eq(g->nodes[2].op->name, "add/1");
    ck_assert_ptr_eq(graft_graph_node(g, now), &g->nodes[2]);
    graft_graph_free(g);
}
END_TEST

START_TEST(a_hostile_number_of_layers_ends_in_a_sentence)
{
    graft_graph *g = fresh();
    graft_error err = GRAFT_ERROR_INIT;
    graft_value x = matrix(g, "x", 1, 1);
    for (int64_t i = 0; i < (int64_t)1 << 40 && !g->error.code; i++) x = graft_neg(g->builder, x);
    ck_assert_int_eq(graft_graph_check(g, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "the graph has more than 262144 nodes; does the configuration ask for too many layers?");
    graft_graph_free(g);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, paths_name_parameters_and_carry_the_block);
    tcase_add_test(tc, many_names_are_all_found);
    tcase_add_test(tc, attributes_are_sorted_and_complete);
    tcase_add_test(tc, the_first_error_stays_and_later_calls_do_nothing);
    tcase_add_loop_test(tc, each_refusal_is_one_sentence, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(tc, open_parts_have_an_end);
    tcase_add_test(tc, long_names_are_refused_not_cut);
    tcase_add_test(tc, sizes_of_types_and_shapes);
    tcase_add_test(tc, replacing_spares_the_replacement_itself);
    tcase_add_test(tc, pruning_keeps_what_outputs_and_assignments_need);
    tcase_add_test(tc, a_hostile_number_of_layers_ends_in_a_sentence);
}

int main(void) { return graft_test_main("build", cases); }
