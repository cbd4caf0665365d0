/* Differentiation, lowering and fusion, pattern by pattern. */
#include "tests/unit/graph/tiny.h"

static graft_graph *fresh(void)
{
    graft_graph *g = graft_graph_new();
    ck_assert_ptr_nonnull(g);
    return g;
}

static graft_value input(graft_graph *g, const char *name, int64_t d0, int64_t d1)
{
    const int64_t dims[] = {d0, d1};
    return graft_graph_input(g, name, GRAFT_F32, 2, dims);
}

/* The nodes as text, without leaves, after fusion towards the output y. */
static void fused(graft_graph *g, graft_value y, const char *want)
{
    graft_str text;
    graft_graph_output(g, "y", y);
    graft_graph_fuse(g);
    tiny_check(g);
    graft_str_init(&text, 0);
    graft_graph_text(g, &text);
    const char *nodes = strstr(text.data, "%1 = ");
    ck_assert_str_eq(nodes ? nodes : strstr(text.data, "output"), want);
    graft_str_free(&text);
    graft_graph_free(g);
}

/* ---- fusion ------------------------------------------------------------------------------------------------------------------------------------------- */
START_TEST(scales_go_into_alpha)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value x = input(g, "x", 4, 3), w = input(g, "w", 5, 3);
    fused(g, graft_scale(b, graft_matmul_nt(b, graft_scale(b, x, 2.0), graft_neg(b, w)), 3.0), "%1 = matmul/1(x, w) {trans_a=0, trans_b=1, alpha=-6} : f32[4, 5]\noutput   y = %1\n");
}
END_TEST

START_TEST(a_scale_with_other_readers_stays_for_them)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value x = input(g, "x", 4, 3), w = input(g, "w", 4, 3), s = graft_scale(b, x, 2.0);
    const graft_value m = graft_matmul_nt(b, s, w);
    graft_graph_output(g, "s", s);
    graft_graph_output(g, "m", m); /* read by the host: its alpha must not change */
    fused(g, graft_scale(b, m, 3.0),
          "%1 = affine/1(x) {mul=2, add=0} : f32[4, 3]\n%2 = matmul/1(x, w) {trans_a=0, trans_b=1, alpha=2} : f32[4, 4]\n"
          "%3 = affine/1(%2) {mul=3, add=0} : f32[4, 4]\noutput   s = %1\noutput   m = %2\noutput   y = %3\n");
}
END_TEST

START_TEST(a_shift_does_not_commute_with_matmul)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value x = input(g, "x", 4, 3), w = input(g, "w", 5, 3);
    fused(g, graft_affine(b, graft_matmul_nt(b, graft_affine(b, x, 1.0, 1.0), w), 2.0, 5.0),
          "%1 = affine/1(x) {mul=1, add=1} : f32[4, 3]\n%2 = matmul/1(%1, w) {trans_a=0, trans_b=1, alpha=1} : f32[4, 5]\n"
          "%3 = affine/1(%2) {mul=2, add=5} : f32[4, 5]\noutput   y = %3\n");
}
END_TEST

START_TEST(affine_chains_become_one)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value x = input(g, "x", 4, 3);
    fused(g, graft_affine(b, graft_affine(b, graft_neg(b, x), 2.0, 1.0), 3.0, 4.0), "%1 = affine/1(x) {mul=-6, add=7} : f32[4, 3]\noutput   y = %1\n");
}
END_TEST

START_TEST(what_changes_nothing_vanishes)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const int64_t d[] = {4, 3}, flat[] = {12}, other[] = {2, 6};
    const graft_value x = input(g, "x", 4, 3), zero = graft_fill(b, 2, d, 0.0), one = graft_fill(b, 2, d, 1.0);
    graft_value y = graft_neg(b, graft_neg(b, graft_affine(b, x, 1.0, 0.0)));
    y = graft_mul(b, graft_sub(b, graft_add(b, graft_add(b, zero, y), zero), zero), one);
    y = graft_reshape(b, graft_reshape(b, graft_reshape(b, y, 1, flat), 2, other), 2, d);
    fused(g, y, "output   y = x\n");
}
END_TEST

START_TEST(a_zero_that_broadcasts_still_shapes)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const int64_t d[] = {4, 3};
    const graft_value row = input(g, "row", 1, 3);
    fused(g, graft_add(b, row, graft_fill(b, 2, d, 0.0)),
          "%1 = fill/1() {rank=2, d0=4, d1=3, d2=0, d3=0, value=0} : f32[4, 3]\n%2 = add/1(row, %1) : f32[4, 3]\noutput   y = %2\n");
}
END_TEST

START_TEST(additions_sink_through_sums_and_biases)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value h = input(g, "h", 4, 4), x = input(g, "x", 4, 3), w = input(g, "w", 4, 3), bias = input(g, "bias", 1, 4), z = input(g, "z", 4, 2), B = input(g, "B", 4, 2);
    const graft_value y = graft_add(b, graft_matmul_nt(b, x, w), bias);
    fused(g, graft_add(b, h, graft_add(b, y, graft_scale(b, graft_matmul_nt(b, z, B), 4.0))),
          "%1 = matmul/1(x, w, h) {trans_a=0, trans_b=1, alpha=1} : f32[4, 4]\n%2 = add/1(%1, bias) : f32[4, 4]\n"
          "%3 = matmul/1(z, B, %2) {trans_a=0, trans_b=1, alpha=4} : f32[4, 4]\noutput   y = %3\n");
}
END_TEST

START_TEST(what_comes_later_cannot_sink)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value x = input(g, "x", 4, 3), m = graft_matmul_nt(b, x, x), r = graft_exp(b, graft_matmul_nt(b, graft_tanh(b, x), x));
    fused(g, graft_add(b, m, r),
          "%1 = matmul/1(x, x) {trans_a=0, trans_b=1, alpha=1} : f32[4, 4]\n%2 = tanh/1(x) : f32[4, 3]\n"
          "%3 = matmul/1(%2, x) {trans_a=0, trans_b=1, alpha=1} : f32[4, 4]\n%4 = exp/1(%3) : f32[4, 4]\n%5 = add/1(%1, %4) : f32[4, 4]\noutput   y = %5\n");
}
END_TEST

START_TEST(a_value_twice_does_not_sink_into_itself)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value x = input(g, "x", 4, 3), m = graft_matmul_nt(b, x, x);
    fused(g, graft_add(b, m, m), "%1 = matmul/1(x, x) {trans_a=0, trans_b=1, alpha=1} : f32[4, 4]\n%2 = add/1(%1, %1) : f32[4, 4]\noutput   y = %2\n");
}
END_TEST

START_TEST(a_broadcast_addend_does_not_sink)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value x = input(g, "x", 4, 3), row = input(g, "row", 1, 4);
    fused(g, graft_add(b, row, graft_matmul_nt(b, x, x)), "%1 = matmul/1(x, x) {trans_a=0, trans_b=1, alpha=1} : f32[4, 4]\n%2 = add/1(row, %1) : f32[4, 4]\noutput   y = %2\n");
}
END_TEST

START_TEST(sums_gather_in_one_buffer)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const int64_t d[] = {4, 3}, n = 2;
    const graft_value s = input(g, "s", 4, 3), src = input(g, "src", 2, 3), p = input(g, "p", 4, 2), q = input(g, "q", 2, 3), ids = graft_graph_input(g, "ids", GRAFT_I32, 1, &n);
    graft_value sum = graft_add(b, s, graft_scatter_add(b, graft_fill(b, 2, d, 0.0), src, ids));
    sum = graft_add(b, graft_matmul(b, p, q), sum);
    fused(g, graft_add(b, sum, graft_matmul(b, p, q)),
          "%1 = scatter_add/1(s, src, ids) : f32[4, 3]\n%2 = matmul/1(p, q, %1) {trans_a=0, trans_b=0, alpha=1} : f32[4, 3]\n"
          "%3 = matmul/1(p, q, %2) {trans_a=0, trans_b=0, alpha=1} : f32[4, 3]\noutput   y = %3\n");
}
END_TEST

/* ---- differentiation ---------------------------------------------------------------------------------------------------------------------------------- */
START_TEST(gradients_of_intermediate_values_and_of_nothing)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value x = input(g, "x", 4, 3), y = input(g, "y", 4, 3), h = graft_exp(b, x), z = graft_mul(b, h, h);
    graft_value out[] = {z};
    const graft_value seed[] = {input(g, "dz", 4, 3)}, wrt[] = {h, y};
    graft_value dx[2];
    graft_graph_gradients(g, out, seed, 1, wrt, 2, dx);
    tiny_check(g);
    ck_assert(dx[0].id);
    ck_assert_uint_eq(dx[1].id, 0);
    ck_assert_int_eq(tiny_count(g, "mul/1", "", 1), 2);
    ck_assert_int_eq(tiny_count(g, "add/1", "", 1), 1);
    ck_assert_int_eq(tiny_count(g, NULL, "", 1), 3); /* nothing towards x */
    graft_graph_free(g);
}
END_TEST

START_TEST(whole_numbers_carry_no_gradient)
{
    graft_graph *g = fresh();
    graft_builder *b = g->builder;
    const graft_value x = input(g, "x", 4, 3), y = graft_cast(b, graft_cast(b, x, GRAFT_I32), GRAFT_F32);
    graft_value out[] = {y}, dx[1];
    graft_graph_gradients(g, out, &x, 1, &x, 1, dx);
    tiny_check(g);
    ck_assert_uint_eq(dx[0].id, 0);
    graft_graph_free(g);
}
END_TEST

static int all_train(void *run, graft_builder *b, const graft_site *s, const char *weight)
{
    (void)run, (void)b, (void)s, (void)weight;
    return 1;
}

static graft_graph *trained(void)
{
    static const graft_method_table table = {.size = sizeof table, .trains = all_train};
    const graft_active_method m = {.name = "all", .table = &table};
    graft_graph *g = fresh();
    graft_graph_methods(g, &m, 1);
    return g;
}

static graft_value total(graft_builder *b, graft_value x)
{
    const int64_t one = 1;
    return graft_reshape(b, graft_sum(b, graft_sum(b, x, 0), 1), 1, &one);
}

START_TEST(an_op_without_gradient_is_named_only_when_one_must_pass)
{
    graft_error err = GRAFT_ERROR_INIT;
    for (int trains = 0; trains < 2; trains++) {
        graft_graph *g = trains ? trained() : fresh();
        graft_builder *b = g->builder;
        graft_push(b, "model");
        const graft_value w = graft_weight(b, "w", GRAFT_ROLE_OTHER, 4, 3), x = input(g, "x", 4, 3), hyper = graft_graph_input(g, "hyper", GRAFT_F32, 1, (const int64_t[]){8});
        const graft_value y = graft_adamw(b, x, w, x, x, hyper, 0);
        graft_pop(b);
        const graft_status status = graft_graph_autodiff(g, total(b, y), &err);
        ck_assert_int_eq(status, trains ? GRAFT_UNSUPPORTED : GRAFT_OK);
        if (trains) ck_assert_str_eq(err.message, "adamw/1 has no gradient, but a trained parameter lies before it; freeze what comes before or use another op");
        if (trains) ck_assert_str_eq(err.where, "model");
        graft_graph_free(g);
    }
}
END_TEST

START_TEST(the_loss_is_one_number)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = trained();
    ck_assert_int_eq(graft_graph_autodiff(g, input(g, "x", 4, 3), &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "the loss must be one number of shape [1], found [4, 3]");
    graft_graph_free(g);
}
END_TEST

START_TEST(a_parameter_that_the_loss_ignores_has_a_zero_gradient)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = trained();
    graft_builder *b = g->builder;
    const graft_value w = graft_weight(b, "w", GRAFT_ROLE_OTHER, 4, 3);
    graft_weight(b, "unused", GRAFT_ROLE_OTHER, 2, 0);
    ck_assert_ok(graft_graph_autodiff(g, total(b, w), &err));
    tiny_check(g);
    ck_assert(graft_graph_info(g, graft_graph_find(g, "grad:w"))->assigned);
    const graft_value unused = graft_graph_find(g, "grad:unused");
    ck_assert(unused.id && !graft_graph_info(g, unused)->assigned && graft_graph_info(g, unused)->place == GRAFT_PLACE_STATE);
    graft_graph_free(g);
}
END_TEST

START_TEST(a_loss_read_by_others_stays_in_order)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = trained();
    graft_builder *b = g->builder;
    const int64_t n = 4;
    const graft_value h = graft_weight(b, "h", GRAFT_ROLE_OTHER, 4, 3), head = graft_weight(b, "head", GRAFT_ROLE_HEAD, 5, 3);
    const graft_value labels = graft_graph_input(g, "labels", GRAFT_I32, 1, &n), weight = graft_graph_input(g, "weight", GRAFT_F32, 1, &n);
    const graft_value nll = graft_linear_cross_entropy(b, h, head, labels, weight, 0.0, 1.0);
    const graft_value loss = graft_add(b, nll, graft_scale(b, total(b, graft_mul(b, h, h)), 0.1));
    graft_graph_output(g, "loss", loss);
    graft_graph_output(g, "nll", nll);
    ck_assert_ok(graft_graph_autodiff(g, loss, &err));
    tiny_check(g);
    graft_graph_fuse(g);
    tiny_check(g);
    graft_graph_free(g);
}
END_TEST

/* ---- lowering -------------------------------------------------------------------------------------------------------------------------------------------- */
static int32_t claim_primitives(graft_op_claim *claims, const char *more)
{
    size_t n_all = 0;
    int32_t n = 0;
    const graft_op_record *const *all = graft_op_all(&n_all);
    for (size_t i = 0; i < n_all; i++)
        if ((all[i]->flags & GRAFT_OP_PRIMITIVE) || !strcmp(all[i]->name, more)) claims[n++] = (graft_op_claim){graft_op_id(all[i]->name), 1u << GRAFT_F32, 1};
    return n;
}

START_TEST(a_training_graph_lowers_to_primitives)
{
    graft_op_claim claims[128];
    const char *lowered[16];
    int32_t n_lowered = 0;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = fresh();
    const graft_active_method m = {.name = "all", .table = &tiny_all_table};
    graft_graph_methods(g, &m, 1);
    const graft_value loss = tiny_loss(g);
    ck_assert_ok(graft_graph_autodiff(g, loss, &err));
    ck_assert_ok(graft_graph_lower(g, claims, claim_primitives(claims, "swiglu/1"), lowered, 16, &n_lowered, &err));
    tiny_check(g);
    for (int32_t i = 0; i < g->n_nodes; i++) ck_assert((g->nodes[i].op->flags & GRAFT_OP_PRIMITIVE) || !strcmp(g->nodes[i].op->name, "swiglu/1"));
    ck_assert_int_eq(tiny_count(g, "swiglu/1", "", -1), TINY_LAYERS);
    int found = 0;
    for (int32_t i = 0; i < n_lowered; i++) {
        found += !strcmp(lowered[i], "rms_norm/1");
        for (int32_t k = 0; k < i; k++) ck_assert_str_ne(lowered[i], lowered[k]);
    }
    ck_assert_int_eq(found, 1);
    /* pieces stand where the whole stood */
    ck_assert_int_gt(tiny_count(g, NULL, "model.layers.1.self_attn", 1), 0);
    const int32_t before = g->n_nodes;
    graft_graph_fuse(g);
    tiny_check(g);
    ck_assert_int_lt(g->n_nodes, before);
    graft_graph_free(g);
}
END_TEST

START_TEST(a_backend_without_a_primitive_is_told)
{
    graft_op_claim claims[128];
    int32_t n_lowered = 0;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = fresh();
    graft_push(g->builder, "model");
    graft_graph_output(g, "y", graft_exp(g->builder, input(g, "x", 4, 3)));
    graft_pop(g->builder);
    ck_assert_int_eq(graft_graph_lower(g, claims, 0, NULL, 0, &n_lowered, &err), GRAFT_UNSUPPORTED);
    ck_assert_str_eq(err.message, "the backend lacks the op exp/1 for these types, and it has no decomposition; choose another backend");
    ck_assert_str_eq(err.where, "model");
    graft_graph_free(g);
}
END_TEST

START_TEST(claims_are_for_element_types)
{
    graft_op_claim claims[128];
    int32_t n_lowered = 0;
    const int64_t d[] = {4, 3};
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = fresh();
    const graft_value w = graft_graph_input(g, "w", GRAFT_BF16, 2, d);
    graft_graph_output(g, "y", graft_matmul_nt(g->builder, input(g, "x", 4, 3), w));
    const int32_t n = claim_primitives(claims, "");
    ck_assert_int_eq(graft_graph_lower(g, claims, n, NULL, 0, &n_lowered, &err), GRAFT_UNSUPPORTED);
    graft_graph_free(g);
}
END_TEST

START_TEST(what_nobody_reads_need_not_be_claimed)
{
    graft_op_claim claims[128];
    int32_t n_lowered = 0;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = fresh();
    const graft_value x = input(g, "x", 4, 3);
    graft_exp(g->builder, x);
    graft_graph_output(g, "y", x);
    ck_assert_ok(graft_graph_lower(g, claims, 0, NULL, 0, &n_lowered, &err));
    ck_assert_int_eq(n_lowered, 0);
    graft_graph_free(g);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, scales_go_into_alpha);
    tcase_add_test(tc, a_scale_with_other_readers_stays_for_them);
    tcase_add_test(tc, a_shift_does_not_commute_with_matmul);
    tcase_add_test(tc, affine_chains_become_one);
    tcase_add_test(tc, what_changes_nothing_vanishes);
    tcase_add_test(tc, a_zero_that_broadcasts_still_shapes);
    tcase_add_test(tc, additions_sink_through_sums_and_biases);
    tcase_add_test(tc, what_comes_later_cannot_sink);
    tcase_add_test(tc, a_value_twice_does_not_sink_into_itself);
    tcase_add_test(tc, a_broadcast_addend_does_not_sink);
    tcase_add_test(tc, sums_gather_in_one_buffer);
    tcase_add_test(tc, gradients_of_intermediate_values_and_of_nothing);
    tcase_add_test(tc, whole_numbers_carry_no_gradient);
    tcase_add_test(tc, an_op_without_gradient_is_named_only_when_one_must_pass);
    tcase_add_test(tc, the_loss_is_one_number);
    tcase_add_test(tc, a_parameter_that_the_loss_ignores_has_a_zero_gradient);
    tcase_add_test(tc, a_loss_read_by_others_stays_in_order);
    tcase_add_test(tc, a_training_graph_lowers_to_primitives);
    tcase_add_test(tc, a_backend_without_a_primitive_is_told);
    tcase_add_test(tc, claims_are_for_element_types);
    tcase_add_test(tc, what_nobody_reads_need_not_be_claimed);
}

int main(void) { return graft_test_main("passes", cases); }
