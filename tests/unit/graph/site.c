/* Hooks at sites: order, ownership of parameters, exclusive hooks, and what a badly behaved method is told. */
#include "tests/unit/graph/tiny.h"

#include <stdio.h>

static graft_graph *fresh(void)
{
    graft_graph *g = graft_graph_new();
    ck_assert_ptr_nonnull(g);
    return g;
}

static graft_graph *built(const graft_active_method *methods, int n)
{
    graft_graph *g = fresh();
    graft_graph_methods(g, methods, n);
    tiny_loss(g);
    return g;
}

static void refused(graft_graph *g, const char *where, const char *sentence)
{
    graft_error err = GRAFT_ERROR_INIT;
    ck_assert_int_ne(graft_graph_check(g, &err), GRAFT_OK);
    ck_assert_str_eq(err.message, sentence);
    ck_assert_str_eq(err.where, where);
    graft_graph_free(g);
}

/* ---- methods that say where they were called ----------------------------------------------------------------------------------------------------- */
typedef struct diary {
    char text[8192];
    const char *name;
} diary;

static void note(diary *d, const char *hook, const graft_site *s)
{
    const size_t used = strlen(d->text);
    snprintf(d->text + used, sizeof d->text - used, "%s %s role %d layer %d in %lld out %lld weight %d\n", hook, s->path, (int)s->role, s->layer, (long long)s->in, (long long)s->out, s->weight.id != 0);
}
static graft_value note_linear(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    (void)b, (void)x;
    if (s->layer == 1 && s->role == GRAFT_ROLE_MLP_DOWN) note(run, "linear", s);
    return y;
}
static graft_value note_after(void *run, graft_builder *b, const graft_site *s, graft_value h)
{
    (void)b;
    if (s->layer == 1) note(run, "after", s);
    return h;
}
static void note_kv(void *run, graft_builder *b, const graft_site *s, graft_value *k, graft_value *v)
{
    (void)b, (void)k, (void)v;
    if (s->layer == 1) note(run, "extend_kv", s);
}
static graft_value note_input(void *run, graft_builder *b, const graft_site *s)
{
    (void)b;
    note(run, "extend_input", s);
    return graft_null_value();
}
static int note_trains(void *run, graft_builder *b, const graft_site *s, const char *weight)
{
    (void)b;
    if (s->role == GRAFT_ROLE_EMBED || strstr(weight, "1.self_attn.q_proj.bias")) note(run, weight, s);
    return 0;
}

START_TEST(each_hook_sees_its_site)
{
    static const graft_method_table table = {.size = sizeof table, .linear = note_linear, .after = note_after, .extend_kv = note_kv, .extend_input = note_input, .trains = note_trains};
    diary d = {.text = ""};
    const graft_active_method m = {.name = "diary", .table = &table, .run = &d};
    graft_graph *g = built(&m, 1);
    tiny_check(g);
    ck_assert_str_eq(d.text, "model.embed_tokens.weight model.embed_tokens role 1 layer -1 in 16 out 40 weight 0\n"
                             "extend_input model.embed_tokens role 1 layer -1 in 40 out 16 weight 1\n"
                             "model.layers.1.self_attn.q_proj.bias model.layers.1.self_attn.q_proj role 4 layer 1 in 0 out 16 weight 0\n"
                             "extend_kv model.layers.1.self_attn role 9 layer 1 in 2 out 4 weight 0\n"
                             "after model.layers.1.self_attn role 9 layer 1 in 16 out 16 weight 0\n"
                             "linear model.layers.1.mlp.down_proj role 13 layer 1 in 32 out 16 weight 1\n"
                             "after model.layers.1.mlp role 14 layer 1 in 16 out 16 weight 0\n"
                             "after model.layers.1 role 17 layer 1 in 16 out 16 weight 0\n");
    int32_t n = 0;
    graft_graph_changed_sites(g, 0, &n);
    ck_assert_int_eq(n, 0);
    graft_graph_changed_sites(g, 1, &n);
    ck_assert_int_eq(n, 0);
    graft_graph_free(g);
}
END_TEST

/* A table of an older plugin ends before the hooks that it does not know. */
START_TEST(a_shorter_table_is_fine)
{
    static const graft_method_table table = {.size = offsetof(graft_method_table, merge), .linear = note_linear, .after = note_after};
    diary d = {.text = ""};
    const graft_active_method m = {.name = "old", .table = &table, .run = &d};
    graft_graph *g = built(&m, 1);
    tiny_check(g);
    ck_assert_str_eq(d.text, "linear model.layers.1.mlp.down_proj role 13 layer 1 in 32 out 16 weight 1\n");
    graft_graph_free(g);
}
END_TEST

/* ---- two methods ------------------------------------------------------------------------------------------------------------------------------------ */
static graft_value bottleneck(void *run, graft_builder *b, const graft_site *s, graft_value h)
{
    (void)run;
    if (s->role != GRAFT_ROLE_MLP) return h;
    graft_push(b, "adapter");
    const graft_value down = graft_linear(b, h, "down", 4, 0, GRAFT_ROLE_OTHER); /* a linear inside a hook is no site */
    const graft_value up = graft_new_param(b, "up.weight", GRAFT_START_ZERO, 0.0, s->out, 4);
    const graft_value y = graft_add(b, h, graft_matmul_nt(b, graft_tanh(b, down), up));
    graft_pop(b);
    return y;
}

START_TEST(methods_compose_in_their_order)
{
    static const graft_method_table adapter = {.size = sizeof adapter, .after = bottleneck};
    graft_graph *args = fresh();
    tiny_low_rank run = {tiny_config(args->arena, "{\"target\": \"attn_q\"}"), 2.0, 0.0};
    const graft_active_method m[] = {{.name = "low_rank", .table = &tiny_low_rank_table, .run = &run}, {.name = "adapter", .table = &adapter}, {.name = "all", .table = &tiny_all_table}};
    graft_graph *g = built(m, 3);
    int32_t n = 0;
    tiny_check(g);
    ck_assert_int_eq(graft_graph_info(g, graft_graph_find(g, "model.layers.0.self_attn.q_proj.lora_A.weight"))->from_method, 0);
    const graft_value_info *up = graft_graph_info(g, graft_graph_find(g, "model.layers.0.mlp.adapter.up.weight"));
    ck_assert(up->from_method == 1 && up->trainable && up->start == GRAFT_START_ZERO);
    /* what a hook asks of the checkpoint is the base model's; here the third method trains it */
    const graft_value_info *down = graft_graph_info(g, graft_graph_find(g, "model.layers.0.mlp.adapter.down.weight"));
    ck_assert(down->from_method == -1 && down->trainable && down->start == GRAFT_START_CHECKPOINT);
    const graft_site *all = graft_graph_sites(g, &n);
    ck_assert_int_eq(n, 1 + 7 * TINY_LAYERS);
    ck_assert_int_eq(all[0].role, GRAFT_ROLE_EMBED); /* the token table, then the linears */
    graft_graph_changed_sites(g, 0, &n);
    ck_assert_int_eq(n, TINY_LAYERS);
    ck_assert_str_eq(graft_graph_changed_sites(g, 0, &n)[1], "model.layers.1.self_attn.q_proj");
    graft_graph_free(g);
    graft_graph_free(args);
}
END_TEST

/* ---- keys and values ---------------------------------------------------------------------------------------------------------------------------------- */
static void prefix(void *run, graft_builder *b, const graft_site *s, graft_value *k, graft_value *v)
{
    (void)run;
    if (s->layer != 1) return;
    *k = graft_new_param(b, "prefix_k", GRAFT_START_NORMAL, 0.02, 5, s->in * s->out);
    *v = graft_new_param(b, "prefix_v", GRAFT_START_NORMAL, 0.02, 5, s->in * s->out);
}
static void prefix_keys(void *run, graft_builder *b, const graft_site *s, graft_value *k, graft_value *v)
{
    (void)run, (void)v;
    *k = graft_new_param(b, "prefix_k", GRAFT_START_NORMAL, 0.02, 5, s->in * s->out);
}
static const graft_method_table prefix_table = {.size = sizeof prefix_table, .extend_kv = prefix}, keys_table = {.size = sizeof keys_table, .extend_kv = prefix_keys};

START_TEST(a_prefix_is_seen_by_attention_and_trained)
{
    const graft_active_method m = {.name = "prefix", .table = &prefix_table};
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = fresh();
    graft_graph_methods(g, &m, 1);
    const graft_value loss = tiny_loss(g);
    ck_assert_ok(graft_graph_autodiff(g, loss, &err));
    graft_graph_fuse(g);
    tiny_check(g);
    const graft_value k = graft_graph_find(g, "model.layers.1.self_attn.prefix_k"), v = graft_graph_find(g, "model.layers.1.self_attn.prefix_v");
    ck_assert(k.id && v.id && !graft_graph_find(g, "model.layers.0.self_attn.prefix_k").id);
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const graft_node *n = &g->nodes[i];
        if (strcmp(n->op->name, "attention/1") != 0) continue;
        ck_assert_uint_eq(n->in[4].id, n->layer == 1 ? k.id : 0);
        ck_assert_uint_eq(n->in[5].id, n->layer == 1 ? v.id : 0);
    }
    ck_assert_int_eq(tiny_count(g, "attention_grad/1", "", 1), 1);
    ck_assert_int_eq(tiny_count(g, NULL, "layers.0", 1), 0);
    ck_assert(graft_graph_info(g, graft_graph_find(g, "grad:model.layers.1.self_attn.prefix_v"))->assigned);
    graft_graph_free(g);
}
END_TEST

START_TEST(only_one_method_extends_a_site)
{
    const graft_active_method m[] = {{.name = "prefix", .table = &prefix_table}, {.name = "prefix2", .table = &prefix_table}};
    refused(built(m, 2), "model.layers.1.self_attn", "both prefix and prefix2 extend the keys and values of site model.layers.1.self_attn; only one can");
}
END_TEST

START_TEST(keys_come_with_values)
{
    const graft_active_method m = {.name = "half", .table = &keys_table};
    refused(built(&m, 1), "model.layers.0.self_attn", "method half gave only keys at site model.layers.0.self_attn");
}
END_TEST

/* ---- virtual tokens ---------------------------------------------------------------------------------------------------------------------------------------- */
static graft_value virtual_rows(void *run, graft_builder *b, const graft_site *s)
{
    const int *width = run;
    return graft_new_param(b, "/prompt_embeddings", GRAFT_START_NORMAL, 1.0, 3, *width ? *width : s->out);
}
static const graft_method_table prompt_table = {.size = sizeof prompt_table, .extend_input = virtual_rows};

START_TEST(virtual_tokens_join_the_embedding)
{
    int width = 0;
    const graft_active_method m = {.name = "prompt", .table = &prompt_table, .run = &width};
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = fresh();
    graft_graph_methods(g, &m, 1);
    const graft_value loss = tiny_loss(g);
    ck_assert_ok(graft_graph_autodiff(g, loss, &err));
    graft_graph_fuse(g);
    tiny_check(g);
    ck_assert_int_eq(graft_graph_virtual_tokens(g), 3);
    const graft_value_info *p = graft_graph_info(g, graft_graph_find(g, "prompt_embeddings"));
    ck_assert(p->trainable && p->from_method == 0 && p->layer == -1);
    const graft_node *grad = graft_graph_node(g, (graft_value){graft_graph_info(g, graft_graph_find(g, "grad:prompt_embeddings"))->assigned});
    ck_assert_str_eq(grad->op->name, "scatter_add/1");
    ck_assert_int_eq(tiny_count(g, "scatter_add/1", "", 1), 2); /* and of the labelled rows; the frozen table gets none */
    graft_graph_free(g);
    g = built(NULL, 0);
    ck_assert_int_eq(graft_graph_virtual_tokens(g), 0);
    graft_graph_free(g);
}
END_TEST

START_TEST(virtual_tokens_have_the_models_width_and_one_owner)
{
    int width = 9, none = 0;
    const graft_active_method narrow = {.name = "prompt", .table = &prompt_table, .run = &width}, two[] = {{.name = "prompt", .table = &prompt_table, .run = &none}, {.name = "prompt2", .table = &prompt_table, .run = &none}};
    refused(built(&narrow, 1), "model", "method prompt gave virtual tokens of shape [3, 9] at site model.embed_tokens, expected [m, 16]");
    refused(built(two, 2), "model", "both prompt and prompt2 put virtual tokens at site model.embed_tokens; only one can");
}
END_TEST

/* ---- methods that misbehave ---------------------------------------------------------------------------------------------------------------------------------- */
static graft_value no_value(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    (void)run, (void)b, (void)s, (void)x, (void)y;
    return graft_null_value();
}
static graft_value narrower(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    (void)run, (void)s, (void)x;
    return graft_slice(b, y, 1, 0, 2);
}
static graft_value leaves_open(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    (void)run, (void)s, (void)x;
    graft_push(b, "open");
    return y;
}
static graft_value says_no(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    (void)run, (void)x;
    b->api->error(b, "rank 64 is more than the width %lld", (long long)s->out);
    return y;
}
static const graft_method_table wrong_tables[] = {{.size = sizeof *wrong_tables, .linear = no_value}, {.size = sizeof *wrong_tables, .linear = narrower}, {.size = sizeof *wrong_tables, .linear = leaves_open}, {.size = sizeof *wrong_tables, .linear = says_no}};
static const char *const wrong_sentences[] = {
    "method odd gave no value at site model.layers.0.self_attn.q_proj",
    "method odd changed the shape at site model.layers.0.self_attn.q_proj from [tokens, 16] to [tokens, 2]",
    "method odd left 1 path parts open",
    "rank 64 is more than the width 16",
};

START_TEST(wrong_hooks_are_named)
{
    const graft_active_method m = {.name = "odd", .table = &wrong_tables[_i]};
    refused(built(&m, 1), _i == 2 ? "model.layers.0.self_attn.q_proj.open" : "model.layers.0.self_attn.q_proj", wrong_sentences[_i]);
}
END_TEST

static graft_value no_merge(void *run, graft_builder *b, const graft_site *s, graft_value w)
{
    (void)run, (void)b, (void)s, (void)w;
    return graft_null_value();
}

START_TEST(what_cannot_be_merged_is_said)
{
    static const graft_method_table table = {.size = sizeof table, .merge = no_merge};
    const graft_active_method m = {.name = "prefix", .table = &table};
    graft_graph *g = fresh();
    graft_graph_methods(g, &m, 1);
    const int64_t dims[] = {4, 4};
    const graft_site s = {.size = (uint32_t)sizeof s, .role = GRAFT_ROLE_ATTN_Q, .path = "model.layers.0.q_proj", .in = 4, .out = 4};
    ck_assert_uint_eq(graft_graph_merge_site(g, &s, graft_graph_state(g, "w", GRAFT_F32, 2, dims)).id, 0);
    refused(g, "model.layers.0.q_proj", "method prefix cannot merge into a single matrix at site model.layers.0.q_proj");
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, each_hook_sees_its_site);
    tcase_add_test(tc, a_shorter_table_is_fine);
    tcase_add_test(tc, methods_compose_in_their_order);
    tcase_add_test(tc, a_prefix_is_seen_by_attention_and_trained);
    tcase_add_test(tc, only_one_method_extends_a_site);
    tcase_add_test(tc, keys_come_with_values);
    tcase_add_test(tc, virtual_tokens_join_the_embedding);
    tcase_add_test(tc, virtual_tokens_have_the_models_width_and_one_owner);
    tcase_add_loop_test(tc, wrong_hooks_are_named, 0, 4);
    tcase_add_test(tc, what_cannot_be_merged_is_said);
}

int main(void) { return graft_test_main("site", cases); }
