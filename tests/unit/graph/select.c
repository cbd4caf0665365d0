/* Selectors: names, roles, globs, regular expressions, and what matched nothing. */
#include "tests/unit/graph/tiny.h"

typedef struct picker {
    const graft_config *args;
    char chosen[4096];
} picker;

static graft_value pick(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    picker *p = run;
    (void)x;
    if (!b->api->matches(b, p->args, "target", s)) return y;
    strcat(p->chosen, strlen(p->chosen) ? " " : "");
    strcat(p->chosen, s->path + strlen(s->layer < 0 ? "" : "model.layers."));
    return y;
}
static const graft_method_table pick_table = {.size = sizeof pick_table, .linear = pick};

/* The tiny model and a head that is a linear site. */
static graft_graph *choose(picker *p, const char *json)
{
    graft_graph *g = graft_graph_new();
    ck_assert_ptr_nonnull(g);
    *p = (picker){tiny_config(g->arena, json), ""};
    const graft_active_method m = {.name = "picker", .table = &pick_table, .run = p};
    graft_graph_methods(g, &m, 1);
    const tiny_inputs in = tiny_leaves(g);
    graft_value head;
    const graft_value hidden = tiny_model(g, &in, &head);
    graft_linear(g->builder, hidden, "lm_head", TINY_VOCAB, 0, GRAFT_ROLE_HEAD);
    return g;
}

#define ATTN(l) l ".self_attn.q_proj " l ".self_attn.k_proj " l ".self_attn.v_proj " l ".self_attn.o_proj"
#define MLP(l)  l ".mlp.gate_proj " l ".mlp.up_proj " l ".mlp.down_proj"

static const struct {
    const char *json, *chosen;
} choices[] = {
    {"{\"target\": \"all\"}", ATTN("0") " " MLP("0") " " ATTN("1") " " MLP("1")},
    {"{\"target\": [\"all-linear\"]}", ATTN("0") " " MLP("0") " " ATTN("1") " " MLP("1")},
    {"{}", ATTN("0") " " MLP("0") " " ATTN("1") " " MLP("1")},
    {"{\"target\": null}", ATTN("0") " " MLP("0") " " ATTN("1") " " MLP("1")},
    {"{\"target\": \"lm_head\"}", "lm_head"},
    {"{\"target\": \"all,lm_head\"}", ATTN("0") " " MLP("0") " " ATTN("1") " " MLP("1") " lm_head"},
    {"{\"target\": \"q_proj, v_proj\"}", "0.self_attn.q_proj 0.self_attn.v_proj 1.self_attn.q_proj 1.self_attn.v_proj"},
    {"{\"target\": [\"self_attn.q_proj\", \"attn_o\"]}", "0.self_attn.q_proj 0.self_attn.o_proj 1.self_attn.q_proj 1.self_attn.o_proj"},
    {"{\"target\": \"model.layers.1.self_attn.q_proj\"}", "1.self_attn.q_proj"},
    {"{\"target\": \"attn_*\"}", ATTN("0") " " ATTN("1")},
    {"{\"target\": \"?_proj\"}", ATTN("0") " " ATTN("1")},
    {"{\"target\": [\"1.mlp.*\"]}", MLP("1")},
    {"{\"target\": \"mlp_gate\"}", "0.mlp.gate_proj 1.mlp.gate_proj"},
    {"{\"target\": \".*\\\\.[1-9]\\\\d*\\\\.self_attn\\\\.(?:q|v)_proj\"}", "1.self_attn.q_proj 1.self_attn.v_proj"},
    {"{\"target\": \"^model.layers.0.*(up|down)_proj$\"}", "0.mlp.up_proj 0.mlp.down_proj"},
};

START_TEST(selectors_choose)
{
    picker p;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = choose(&p, choices[_i].json);
    tiny_check(g);
    ck_assert_str_eq(p.chosen, choices[_i].chosen);
    ck_assert_ok(graft_graph_check_selectors(g, &err));
    graft_graph_free(g);
}
END_TEST

#define SITES " Sites: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head; roles: attn_q, attn_k, attn_v, attn_o, mlp_gate, mlp_up, mlp_down, head."

static const struct {
    const char *json, *sentence;
} misses[] = {
    {"{\"target\": \"q_proj,attn_qq\"}", "target: \"attn_qq\" matched no site." SITES " Nearest: attn_q."},
    {"{\"target\": [\"zzzzzzzzzzzz\"]}", "target: \"zzzzzzzzzzzz\" matched no site." SITES},
    {"{\"target\": \"proj\"}", NULL}, /* no whole part of a path */
    {"{\"target\": \"self_attn\"}", NULL},
    {"{\"target\": \"(q|v)_proj\"}", NULL}, /* fullmatch on the whole path, as PEFT does */
};

START_TEST(what_matches_nothing_is_an_error)
{
    picker p;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = choose(&p, misses[_i].json);
    tiny_check(g);
    ck_assert_int_eq(graft_graph_check_selectors(g, &err), GRAFT_BAD_INPUT);
    if (misses[_i].sentence) ck_assert_str_eq(err.message, misses[_i].sentence);
    graft_graph_free(g);
}
END_TEST

static const struct {
    const char *json, *sentence;
} wrong[] = {
    {"{\"target\": 3}", "target: expected a text or a list of texts that name sites"},
    {"{\"target\": [\"q_proj\", 3]}", "target: expected a list of names, found something else at item 2"},
    {"{\"target\": []}", "target: the list is empty; name some sites or say \"all\""},
    {"{\"target\": \"\"}", "target: there is an empty name in the list; remove it or say \"all\""},
    {"{\"target\": \"q_proj,,v_proj\"}", "target: there is an empty name in the list; remove it or say \"all\""},
    {"{\"target\": \"(q_proj\"}", "target: \"(q_proj\" is no regular expression: missing closing parenthesis at character 8"},
};

START_TEST(wrong_selectors_are_refused)
{
    picker p;
    graft_graph *g = choose(&p, wrong[_i].json);
    ck_assert_int_eq(g->error.code, GRAFT_BAD_INPUT);
    ck_assert_str_eq(g->error.message, wrong[_i].sentence);
    graft_graph_free(g);
}
END_TEST

START_TEST(a_pattern_that_explodes_is_refused_not_waited_for)
{
    picker p;
    graft_graph *g = choose(&p, "{\"target\": \"(([a-z._0-9]+)*)*x{3}\"}");
    if (g->error.code) ck_assert_str_eq(g->error.message, "the regular expression \"(([a-z._0-9]+)*)*x{3}\" is too hard for the path \"model.layers.0.self_attn.q_proj\"; use a simpler one");
    else ck_assert_str_eq(p.chosen, "");
    graft_graph_free(g);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_loop_test(tc, selectors_choose, 0, (int)(sizeof choices / sizeof *choices));
    tcase_add_loop_test(tc, what_matches_nothing_is_an_error, 0, (int)(sizeof misses / sizeof *misses));
    tcase_add_loop_test(tc, wrong_selectors_are_refused, 0, (int)(sizeof wrong / sizeof *wrong));
    tcase_add_test(tc, a_pattern_that_explodes_is_refused_not_waited_for);
}

int main(void) { return graft_test_main("select", cases); }
