/* The graph of a training step as a whole: a two-block model, a low-rank method, differentiation, fusion and recomputation. */
#include "tests/unit/graph/tiny.h"

static graft_graph *low_rank(const char *targets, double dropout, graft_value *loss)
{
    static tiny_low_rank run; /* the graph calls it while it is built */
    graft_graph *g = graft_graph_new();
    ck_assert_ptr_nonnull(g);
    run = (tiny_low_rank){tiny_config(g->arena, targets), 4.0, dropout};
    const graft_active_method method = {.name = "low_rank", .table = &tiny_low_rank_table, .run = &run};
    graft_graph_methods(g, &method, 1);
    *loss = tiny_loss(g);
    graft_error err = GRAFT_ERROR_INIT;
    ck_assert_ok(graft_graph_check_selectors(g, &err));
    return g;
}

static graft_graph *full(graft_value *loss)
{
    graft_graph *g = graft_graph_new();
    ck_assert_ptr_nonnull(g);
    const graft_active_method method = {.name = "all", .table = &tiny_all_table};
    graft_graph_methods(g, &method, 1);
    *loss = tiny_loss(g);
    return g;
}

static void train(graft_graph *g, graft_value loss)
{
    graft_error err = GRAFT_ERROR_INIT;
    ck_assert_ok(graft_graph_autodiff(g, loss, &err));
    tiny_check(g);
    graft_graph_fuse(g);
    tiny_check(g);
}

START_TEST(low_rank_parameters_are_named_under_their_site)
{
    graft_value loss;
    graft_graph *g = low_rank("{\"target\": \"all\"}", 0.0, &loss);
    int32_t n = 0;
    const graft_value A = graft_graph_find(g, "model.layers.1.self_attn.q_proj.lora_A.weight");
    const graft_value_info *info = graft_graph_info(g, A);
    ck_assert(A.id);
    ck_assert(info->trainable && info->from_method == 0 && info->layer == 1 && info->start == GRAFT_START_KAIMING_UNIFORM);
    ck_assert_int_eq(info->shape.dims[0], TINY_RANK);
    ck_assert_int_eq(info->shape.dims[1], TINY_D);
    ck_assert(!graft_graph_info(g, graft_graph_find(g, "model.layers.1.self_attn.q_proj.weight"))->trainable);
    graft_graph_sites(g, &n);
    ck_assert_int_eq(n, 1 + 7 * TINY_LAYERS); /* the token table too */
    const char *const *changed = graft_graph_changed_sites(g, 0, &n);
    ck_assert_int_eq(n, 7 * TINY_LAYERS);
    ck_assert_str_eq(changed[0], "model.layers.0.self_attn.q_proj");
    /* r (in + out) for q, k, v, o, gate, up, down */
    ck_assert_int_eq(tiny_trained(g), TINY_LAYERS * TINY_RANK * ((16 + 16) + (16 + 8) + (16 + 8) + (16 + 16) + 3 * (16 + 32)));
    graft_graph_free(g);
}
END_TEST

START_TEST(frozen_weights_get_no_gradient_and_nothing_flows_below_the_lowest_parameter)
{
    graft_value loss;
    graft_graph *g = low_rank("{\"target\": [\"1.mlp.down_proj\"]}", 0.0, &loss);
    train(g, loss);
    int states = 0;
    for (int32_t i = 0; i < g->n_values; i++) states += g->values[i].node == -1 && g->values[i].place == GRAFT_PLACE_STATE;
    ck_assert_int_eq(states, 2);
    ck_assert(graft_graph_info(g, graft_graph_find(g, "grad:model.layers.1.mlp.down_proj.lora_A.weight"))->assigned);
    ck_assert(graft_graph_info(g, graft_graph_find(g, "grad:model.layers.1.mlp.down_proj.lora_B.weight"))->assigned);
    ck_assert_int_eq(tiny_count(g, NULL, "layers.0", 1), 0);
    ck_assert_int_eq(tiny_count(g, NULL, "self_attn", 1), 0);
    /* dz, dA, dB; the input's gradient is not wanted */
    ck_assert_int_eq(tiny_count(g, NULL, "layers.1", 1), 3);
    ck_assert_int_eq(tiny_count(g, "swiglu_grad/1", "", 1), 0);
    graft_graph_free(g);
}
END_TEST

START_TEST(a_low_rank_site_costs_two_matmuls_forward_and_its_sums_live_in_state)
{
    graft_value loss;
    graft_graph *g = low_rank("{\"target\": \"all\"}", 0.0, &loss);
    train(g, loss);
    const char *site = "layers.1.mlp.up_proj";
    /* x W^T, x A^T, y + s z B^T */
    ck_assert_int_eq(tiny_count(g, NULL, site, 0), 3);
    ck_assert_int_eq(tiny_count(g, "matmul/1", site, 0), 3);
    /* dz, dA, dB, dx through A, dx through W */
    ck_assert_int_eq(tiny_count(g, NULL, site, 1), 5);
    ck_assert_int_eq(tiny_count(g, "matmul/1", site, 1), 5);
    ck_assert_int_eq(tiny_count(g, "affine/1", "", -1), 0);
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const graft_node *n = &g->nodes[i];
        const graft_value_info *w = graft_graph_info(g, n->in[1]);
        if (!n->backward && n->in[1].id && strstr(w->name, "up_proj.lora_B")) {
            ck_assert(n->in[2].id);
            ck_assert(graft_node_real(n, "alpha") == 4.0);
        }
    }
    int sums = 0;
    for (int32_t i = 0; i < g->n_values; i++) {
        if (!g->values[i].assigned) continue;
        const graft_node *n = graft_graph_node(g, (graft_value){g->values[i].assigned});
        ck_assert_str_eq(n->op->name, "matmul/1");
        ck_assert_uint_eq(n->in[2].id, (uint32_t)i);
        sums++;
    }
    ck_assert_int_eq(sums, 2 * 7 * TINY_LAYERS);
    graft_graph_free(g);
}
END_TEST

START_TEST(the_residual_rides_on_the_projection)
{
    graft_value loss;
    graft_graph *g = low_rank("{\"target\": \"q_proj\"}", 0.0, &loss);
    train(g, loss);
    /* the only addition left forward is q's bias: h + o_proj(..) and h + down_proj(..) are accumulations */
    ck_assert_int_eq(tiny_count(g, "add/1", "", 0), TINY_LAYERS);
    ck_assert_int_eq(tiny_count(g, "add/1", "q_proj", 0), TINY_LAYERS);
    graft_graph_free(g);
}
END_TEST

START_TEST(full_training_sums_every_gradient_in_its_state)
{
    graft_value loss;
    graft_graph *g = full(&loss);
    train(g, loss);
    int trained = 0, assigned = 0;
    for (int32_t i = 0; i < g->n_values; i++) trained += g->values[i].trainable, assigned += g->values[i].assigned != 0;
    ck_assert_int_eq(trained, 10 * TINY_LAYERS + 2);
    ck_assert_int_eq(assigned, trained);
    /* the tied embedding: the head's gradient begins with the state, the scatter goes on in the same buffer */
    const graft_value grad = graft_graph_find(g, "grad:model.embed_tokens.weight");
    const graft_node *scatter = graft_graph_node(g, (graft_value){graft_graph_info(g, grad)->assigned});
    ck_assert_str_eq(scatter->op->name, "scatter_add/1");
    const graft_node *head = graft_graph_node(g, scatter->in[0]);
    ck_assert_str_eq(head->op->name, "linear_cross_entropy_train/1");
    ck_assert_uint_eq(head->in[4].id, grad.id);
    ck_assert_int_eq(tiny_count(g, "linear_cross_entropy/1", "", -1), 0); /* loss and gradient in one pass over the head */
    ck_assert_str_eq(graft_graph_node(g, g->outputs[0].value)->op->name, "linear_cross_entropy_train/1");
    graft_graph_free(g);
}
END_TEST

START_TEST(dropout_streams_are_the_same_in_every_graph_and_differ_between_sites)
{
    graft_value loss;
    graft_graph *a = low_rank("{\"target\": \"all\"}", 0.1, &loss), *b = low_rank("{\"target\": \"q_proj,v_proj\"}", 0.1, &loss);
    int64_t seen[64] = {0};
    int n = 0, common = 0;
    for (int32_t i = 0; i < a->n_nodes; i++) {
        if (strcmp(a->nodes[i].op->name, "dropout/1") != 0) continue;
        const int64_t stream = graft_node_int(&a->nodes[i], "stream");
        ck_assert_int_ne(stream, 0);
        for (int k = 0; k < n; k++) ck_assert_int_ne(stream, seen[k]);
        seen[n++] = stream;
        for (int32_t j = 0; j < b->n_nodes; j++)
            if (!strcmp(b->nodes[j].op->name, "dropout/1") && !strcmp(b->nodes[j].path, a->nodes[i].path)) {
                ck_assert_int_eq(graft_node_int(&b->nodes[j], "stream"), stream);
                common++;
            }
    }
    ck_assert_int_eq(n, 7 * TINY_LAYERS);
    ck_assert_int_eq(common, 2 * TINY_LAYERS);
    graft_graph_free(a);
    graft_graph_free(b);
}
END_TEST

/* Forward values of blocks that the backward pass reads: what training keeps. */
static int kept(const graft_graph *g, int32_t layer)
{
    int n = 0;
    for (int32_t v = 0; v < g->n_values; v++) {
        const graft_node *m = graft_graph_node((graft_graph *)(uintptr_t)g, (graft_value){(uint32_t)v});
        int read = 0;
        if (!m || m->backward || m->layer != layer) continue;
        for (int32_t i = 0; i < g->n_nodes; i++)
            for (int32_t k = 0; k < g->nodes[i].n_in && g->nodes[i].backward; k++) read |= g->nodes[i].in[k].id == (uint32_t)v;
        n += read;
    }
    return n;
}

START_TEST(cheap_recomputation_keeps_the_inputs_of_norms_and_activations)
{
    graft_value loss;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = low_rank("{\"target\": \"all\"}", 0.1, &loss);
    train(g, loss);
    const int before = kept(g, 0), other = kept(g, 1);
    ck_assert_ok(graft_graph_recompute(g, 1, 1, &err));
    tiny_check(g);
    ck_assert_int_lt(kept(g, 0), before);
    ck_assert_int_eq(kept(g, 1), other);
    /* the second norm of block 0; the input of the first, the embedding, is not read backward: keeping that instead would free nothing */
    ck_assert_int_eq(tiny_count(g, "rms_norm/1", "layers.0", 1), 1);
    ck_assert_int_eq(tiny_count(g, "swiglu/1", "layers.0", 1), 1);
    ck_assert_int_eq(tiny_count(g, "rope/1", "layers.0", 1), 2); /* q and k backward, inverse; not forward again: it frees nothing */
    ck_assert_int_eq(tiny_count(g, "attention/1", "", 1), 0);
    ck_assert_int_eq(tiny_count(g, "dropout/1", "layers.0", 1), 8); /* o, gate, up, down: mask again and gradient; q, k, v pass none on */
    ck_assert_int_eq(tiny_count(g, "dropout/1", "layers.1", 1), 7);
    graft_graph_free(g);
}
END_TEST

START_TEST(whole_recomputation_keeps_only_what_blocks_hand_on)
{
    graft_value loss;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = low_rank("{\"target\": \"all\"}", 0.1, &loss);
    train(g, loss);
    ck_assert_ok(graft_graph_recompute(g, 3, TINY_LAYERS, &err));
    tiny_check(g);
    ck_assert_int_eq(kept(g, 0), 1);
    ck_assert_int_eq(kept(g, 1), 1);
    ck_assert_int_eq(tiny_count(g, "attention/1", "", 1), TINY_LAYERS);
    ck_assert_int_eq(tiny_count(g, "attention/1", "", 0), TINY_LAYERS);
    /* the last projection's result is the block's output: it is kept, not made again */
    int again = 0;
    for (int32_t i = 0; i < g->n_nodes; i++) again += g->nodes[i].backward && g->nodes[i].in[1].id && !strcmp(graft_graph_info(g, g->nodes[i].in[1])->name, "model.layers.0.mlp.down_proj.weight");
    ck_assert_int_eq(again, 1); /* dx = dy W alone */
    /* each mask is drawn from its own stream both times */
    for (int32_t i = 0; i < g->n_nodes; i++) {
        int same = 0;
        if (strcmp(g->nodes[i].op->name, "dropout/1") != 0) continue;
        for (int32_t j = 0; j < g->n_nodes; j++)
            same += !strcmp(g->nodes[j].op->name, "dropout/1") && graft_node_int(&g->nodes[j], "stream") == graft_node_int(&g->nodes[i], "stream");
        const int lowest = g->nodes[i].layer == 0 && strstr(g->nodes[i].path, "self_attn") && !strstr(g->nodes[i].path, "o_proj");
        ck_assert_int_eq(same, lowest ? 2 : 3); /* forward, again, and the gradient unless nothing below wants one */
    }
    graft_graph_free(g);
}
END_TEST

START_TEST(products_are_recomputed_but_attention_is_kept)
{
    graft_value loss;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = low_rank("{\"target\": \"all\"}", 0.1, &loss);
    const int64_t capacity[GRAFT_SYMBOLS] = {40, 2, 40, 0};
    graft_recompute_gain gain[3][TINY_LAYERS];
    train(g, loss);
    for (int level = 1; level <= 3; level++) ck_assert_ok(graft_graph_recompute_gains(g, level, TINY_LAYERS, capacity, gain[level - 1], &err));
    for (int level = 1; level < 3; level++) { /* each level saves more and costs more */
        ck_assert_int_gt(gain[level][0].bytes, gain[level - 1][0].bytes);
        ck_assert(gain[level][0].flops > gain[level - 1][0].flops);
    }
    const int other = kept(g, 0);
    ck_assert_ok(graft_graph_recompute_blocks(g, (const uint8_t[]){0, 2}, 2, &err));
    tiny_check(g);
    ck_assert_int_eq(kept(g, 0), other);
    ck_assert_int_eq(kept(g, 1), 3); /* block output, attention's output and lse */
    ck_assert_int_eq(tiny_count(g, "attention/1", "", 1), 0);
    graft_graph_free(g);
}
END_TEST

/* Rows: what a node computes at a batch of 40 tokens, 5 of them labelled. */
static int64_t rows_of(const graft_graph *g, const graft_node *n)
{
    const int64_t extent[GRAFT_SYMBOLS] = {40, 2, 5, 0}, d = g->values[n->out[0].id].shape.dims[0];
    return d < 0 ? extent[-d - 1] : d;
}

START_TEST(only_labelled_rows_pass_the_last_block)
{
    graft_value loss;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = low_rank("{\"target\": \"all\"}", 0.0, &loss);
    ck_assert_ok(graft_graph_narrow(g, graft_graph_find(g, "label_rows"), &err));
    tiny_check(g);
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const graft_node *n = &g->nodes[i];
        if (strstr(n->path, "layers.1.mlp") || (strstr(n->path, "layers.1.self_attn.o_proj") && strcmp(n->op->name, "gather/1") != 0)) ck_assert_int_eq(rows_of(g, n), 5);
        if (strstr(n->path, "layers.0") || strstr(n->path, "q_proj")) ck_assert_int_ne(rows_of(g, n), 5);
    }
    ck_assert_int_eq(tiny_count(g, "gather/1", "", 0), 3); /* the embedding; what attention gave; the residual beside it */
    train(g, loss);
    tiny_check(g);
    graft_graph_free(g);
    g = low_rank("{\"target\": \"all\"}", 0.1, &loss); /* masks are drawn by element: what passes dropout keeps all its rows */
    ck_assert_ok(graft_graph_narrow(g, graft_graph_find(g, "label_rows"), &err));
    for (int32_t i = 0; i < g->n_nodes; i++)
        if (!strcmp(g->nodes[i].op->name, "dropout/1")) ck_assert_int_eq(rows_of(g, &g->nodes[i]), 40);
    graft_graph_free(g);
}
END_TEST

START_TEST(recomputation_has_three_levels)
{
    graft_value loss;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = full(&loss);
    train(g, loss);
    ck_assert_int_eq(graft_graph_recompute(g, 4, 1, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "recomputation has the levels 1 to 3, found 4");
    graft_graph_free(g);
}
END_TEST

START_TEST(merging_is_one_matmul)
{
    graft_value loss;
    int32_t n = 0;
    graft_graph *g = low_rank("{\"target\": \"q_proj\"}", 0.0, &loss), *m = graft_graph_new();
    const graft_site *sites = graft_graph_sites(g, &n);
    tiny_low_rank run = {tiny_config(m->arena, "{\"target\": \"q_proj\"}"), 4.0, 0.0};
    const graft_active_method method = {.name = "low_rank", .table = &tiny_low_rank_table, .run = &run};
    graft_graph_methods(m, &method, 1);
    for (int32_t i = 1; i < 3; i++) { /* q_proj and k_proj of block 0, after the token table */
        const int64_t dims[] = {sites[i].out, sites[i].in};
        const graft_value w = graft_graph_state(m, sites[i].path, GRAFT_F32, 2, dims);
        const graft_value merged = graft_graph_merge_site(m, &sites[i], w);
        if (i == 2) ck_assert_uint_eq(merged.id, w.id);
        else graft_graph_assign(m, w, merged);
    }
    graft_graph_fuse(m);
    tiny_check(m);
    ck_assert(graft_graph_find(m, "model.layers.0.self_attn.q_proj.lora_B.weight").id);
    ck_assert_int_eq(m->n_nodes, 1);
    ck_assert_str_eq(m->nodes[0].op->name, "matmul/1");
    ck_assert(graft_node_real(&m->nodes[0], "alpha") == 4.0);
    graft_graph_free(m);
    graft_graph_free(g);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, low_rank_parameters_are_named_under_their_site);
    tcase_add_test(tc, frozen_weights_get_no_gradient_and_nothing_flows_below_the_lowest_parameter);
    tcase_add_test(tc, a_low_rank_site_costs_two_matmuls_forward_and_its_sums_live_in_state);
    tcase_add_test(tc, the_residual_rides_on_the_projection);
    tcase_add_test(tc, full_training_sums_every_gradient_in_its_state);
    tcase_add_test(tc, dropout_streams_are_the_same_in_every_graph_and_differ_between_sites);
    tcase_add_test(tc, cheap_recomputation_keeps_the_inputs_of_norms_and_activations);
    tcase_add_test(tc, whole_recomputation_keeps_only_what_blocks_hand_on);
    tcase_add_test(tc, products_are_recomputed_but_attention_is_kept);
    tcase_add_test(tc, only_labelled_rows_pass_the_last_block);
    tcase_add_test(tc, recomputation_has_three_levels);
    tcase_add_test(tc, merging_is_one_matmul);
}

int main(void) { return graft_test_main("train_graph", cases); }
