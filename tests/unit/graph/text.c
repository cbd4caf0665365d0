/* The graph as text equals the stored text, letter by letter: as emitted, and as trained. A difference leaves the new text beside the build. */
#include "tests/unit/graph/tiny.h"

#include "core/base/file.h"

#include <stdio.h>

static graft_graph *low_rank(graft_value *loss)
{
    static tiny_low_rank run;
    graft_graph *g = graft_graph_new();
    ck_assert_ptr_nonnull(g);
    run = (tiny_low_rank){tiny_config(g->arena, "{\"target\": [\"0.self_attn.v_proj\", \"1.mlp.down_proj\"]}"), 4.0, 0.1};
    const graft_active_method method = {.name = "low_rank", .table = &tiny_low_rank_table, .run = &run};
    graft_graph_methods(g, &method, 1);
    *loss = tiny_loss(g);
    return g;
}

static void same_text(const graft_graph *g, const char *name)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_str text;
    char path[256];
    size_t bytes = 0;
    char *want = NULL;
    graft_str_init(&text, 0);
    graft_graph_text(g, &text);
    snprintf(path, sizeof path, "graph/%s", name);
    const graft_status found = graft_file_read(graft_test_fixture(path), 1 << 20, &want, &bytes, &err);
    if (found || bytes != text.bytes || memcmp(want, text.data, bytes) != 0) {
        const char *dir = graft_test_dir("text");
        char out[4600];
        snprintf(out, sizeof out, "%s/%s", dir, name);
        ck_assert_ok(graft_file_replace(out, text.data, text.bytes, &err));
        ck_abort_msg("the text of the graph is not that of tests/fixtures/%s; see %s", path, out);
    }
    graft_str_free(&text);
    graft_free(want);
}

START_TEST(as_emitted)
{
    graft_value loss;
    graft_graph *g = low_rank(&loss);
    tiny_check(g);
    same_text(g, "emitted.txt");
    graft_graph_free(g);
}
END_TEST

START_TEST(as_trained)
{
    graft_value loss;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = low_rank(&loss);
    ck_assert_ok(graft_graph_autodiff(g, loss, &err));
    graft_graph_fuse(g);
    tiny_check(g);
    same_text(g, "trained.txt");
    graft_graph_free(g);
}
END_TEST

START_TEST(every_kind_of_line)
{
    graft_graph *g = graft_graph_new();
    graft_builder *b = g->builder;
    const int64_t d[] = {2, 3};
    const float one[] = {1, 2, 3, 4, 5, 6};
    const graft_value x = graft_graph_input(g, "x", GRAFT_BF16, 2, d), s = graft_graph_state(g, "s", GRAFT_F32, 2, d), c = b->api->constant(b, "table", 2, d, one);
    graft_new_param(b, "z", GRAFT_START_ZERO, 0.0, 4, 0);
    graft_new_param(b, "n", GRAFT_START_NORMAL, 0.02, 4, 0);
    graft_push_index(b, "block", 0);
    const graft_value y = graft_affine(b, graft_add(b, s, c), 1e-5, 3.0);
    const graft_value t = graft_gemm(b, x, y, graft_null_value(), 0, 1, -0.5);
    graft_pop(b);
    graft_graph_assign(g, s, y);
    graft_graph_output(g, "t", t);
    graft_str text;
    graft_str_init(&text, 0);
    graft_graph_text(g, &text);
    ck_assert_str_eq(text.data, "input    x : bf16[2, 3]\n"
                                "state    s : f32[2, 3] <- %2\n"
                                "constant table : f32[2, 3]\n"
                                "weight   z : f32[4] = zero\n"
                                "weight   n : f32[4] = normal(0.02)\n"
                                "%1 = add/1(s, table) : f32[2, 3]  # block.0\n"
                                "%2 = affine/1(%1) {mul=1e-05, add=3} : f32[2, 3]  # block.0\n"
                                "%3 = matmul/1(x, %2) {trans_a=0, trans_b=1, alpha=-0.5} : f32[2, 2]  # block.0\n"
                                "output   t = %3\n");
    graft_str_free(&text);
    graft_graph_free(g);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, as_emitted);
    tcase_add_test(tc, as_trained);
    tcase_add_test(tc, every_kind_of_line);
}

int main(void) { return graft_test_main("text", cases); }
