/* tests/unit/graph/tiny.h - a two-block model and two tuning methods made of the SDK alone, for tests of the graph room. */
#ifndef TESTS_UNIT_GRAPH_TINY_H
#define TESTS_UNIT_GRAPH_TINY_H

#include "core/base/config.h"
#include "core/base/error.h"
#include "core/base/str.h"
#include "core/graph/graph.h"
#include "tests/support/support.h"

#include <string.h>

enum { TINY_D = 16, TINY_F = 32, TINY_HEADS = 4, TINY_KV = 2, TINY_HEAD = 4, TINY_LAYERS = 2, TINY_VOCAB = 40, TINY_RANK = 2 };

/* ---- configuration from a text ------------------------------------------------------------------------------------------------------------------ */
static inline const graft_config *tiny_config(graft_arena *a, const char *json)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *object = NULL;
    ck_assert_ok(graft_json_parse(a, "args", json, strlen(json), 0, &object, &err));
    return graft_config_new(a, "args", object);
}

/* ---- a method in LoRA's manner -------------------------------------------------------------------------------------------------------------------- */
typedef struct tiny_low_rank { const graft_config *args; double scale, dropout; } tiny_low_rank;

static inline graft_value tiny_low_rank_linear(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    const tiny_low_rank *m = run;
    if (!b->api->matches(b, m->args, "target", s)) return y;
    const graft_value A = graft_new_param(b, "lora_A.weight", GRAFT_START_KAIMING_UNIFORM, 2.0, TINY_RANK, s->in);
    const graft_value B = graft_new_param(b, "lora_B.weight", GRAFT_START_ZERO, 0.0, s->out, TINY_RANK);
    const graft_value z = graft_matmul_nt(b, graft_dropout(b, x, m->dropout), A);
    return graft_add(b, y, graft_scale(b, graft_matmul_nt(b, z, B), m->scale));
}

static inline graft_value tiny_low_rank_merge(void *run, graft_builder *b, const graft_site *s, graft_value w)
{
    const tiny_low_rank *m = run;
    if (!b->api->matches(b, m->args, "target", s)) return w;
    const graft_value A = graft_new_param(b, "lora_A.weight", GRAFT_START_KAIMING_UNIFORM, 2.0, TINY_RANK, s->in);
    const graft_value B = graft_new_param(b, "lora_B.weight", GRAFT_START_ZERO, 0.0, s->out, TINY_RANK);
    return graft_add(b, w, graft_scale(b, graft_matmul(b, B, A), m->scale));
}

static const graft_method_table tiny_low_rank_table = {.size = sizeof tiny_low_rank_table, .linear = tiny_low_rank_linear, .merge = tiny_low_rank_merge};

/* ---- a method that trains every base weight --------------------------------------------------------------------------------------------------------- */
static inline int tiny_all_trains(void *run, graft_builder *b, const graft_site *s, const char *weight)
{
    (void)run, (void)b, (void)s, (void)weight;
    return 1;
}
static const graft_method_table tiny_all_table = {.size = sizeof tiny_all_table, .trains = tiny_all_trains};

/* ---- the model ------------------------------------------------------------------------------------------------------------------------------------------ */
typedef struct tiny_inputs { graft_value tokens, positions, sequences, inv_freq, rows, labels, weight; } tiny_inputs;

static inline tiny_inputs tiny_leaves(graft_graph *g)
{
    static const float freq[TINY_HEAD / 2] = {1.0f, 0.01f};
    static const int64_t tokens[] = {GRAFT_DIM_TOKENS}, sequences[] = {GRAFT_DIM_SEQUENCES, 4}, labelled[] = {GRAFT_DIM_LABELLED}, half[] = {TINY_HEAD / 2};
    return (tiny_inputs){.tokens = graft_graph_input(g, "tokens", GRAFT_I32, 1, tokens),
                         .positions = graft_graph_input(g, "positions", GRAFT_I32, 1, tokens),
                         .sequences = graft_graph_input(g, "sequences", GRAFT_I32, 2, sequences),
                         .inv_freq = g->builder->api->constant(g->builder, "inv_freq", 1, half, freq),
                         .rows = graft_graph_input(g, "label_rows", GRAFT_I32, 1, labelled),
                         .labels = graft_graph_input(g, "labels", GRAFT_I32, 1, labelled),
                         .weight = graft_graph_input(g, "label_weight", GRAFT_F32, 1, labelled)};
}

static inline graft_value tiny_norm(graft_builder *b, graft_value x, const char *name) { return graft_rms_norm(b, x, graft_weight(b, name, GRAFT_ROLE_NORM, TINY_D, 0), 1e-5, 0.0); }

static inline graft_value tiny_attention(graft_builder *b, const tiny_inputs *in, graft_value x)
{
    graft_push(b, "self_attn");
    graft_value q = graft_linear(b, x, "q_proj", TINY_HEADS * TINY_HEAD, 1, GRAFT_ROLE_ATTN_Q);
    graft_value k = graft_linear(b, x, "k_proj", TINY_KV * TINY_HEAD, 0, GRAFT_ROLE_ATTN_K);
    const graft_value v = graft_linear(b, x, "v_proj", TINY_KV * TINY_HEAD, 0, GRAFT_ROLE_ATTN_V);
    q = graft_rope(b, q, in->positions, in->inv_freq, TINY_HEAD, 1.0, 0);
    k = graft_rope(b, k, in->positions, in->inv_freq, TINY_HEAD, 1.0, 0);
    graft_value o = graft_attention(b, q, k, v, in->sequences, TINY_HEADS, TINY_KV, 0, 0.5, 0.0);
    o = graft_mark(b, graft_linear(b, o, "o_proj", TINY_D, 0, GRAFT_ROLE_ATTN_O), GRAFT_ROLE_ATTN);
    graft_pop(b);
    return o;
}

static inline graft_value tiny_mlp(graft_builder *b, graft_value x)
{
    graft_push(b, "mlp");
    const graft_value gate = graft_linear(b, x, "gate_proj", TINY_F, 0, GRAFT_ROLE_MLP_GATE), up = graft_linear(b, x, "up_proj", TINY_F, 0, GRAFT_ROLE_MLP_UP);
    const graft_value y = graft_mark(b, graft_linear(b, graft_swiglu(b, gate, up), "down_proj", TINY_D, 0, GRAFT_ROLE_MLP_DOWN), GRAFT_ROLE_MLP);
    graft_pop(b);
    return y;
}

/* The hidden states; *head is the tied embedding. */
static inline graft_value tiny_model(graft_graph *g, const tiny_inputs *in, graft_value *head)
{
    graft_builder *b = g->builder;
    graft_push(b, "model");
    *head = graft_weight(b, "embed_tokens.weight", GRAFT_ROLE_EMBED, TINY_VOCAB, TINY_D);
    graft_value x = graft_embed(b, *head, in->tokens, -1);
    for (int64_t i = 0; i < TINY_LAYERS; i++) {
        graft_push_index(b, "layers", i);
        x = graft_add(b, x, tiny_attention(b, in, tiny_norm(b, x, "input_layernorm.weight")));
        x = graft_add(b, x, tiny_mlp(b, tiny_norm(b, x, "post_attention_layernorm.weight")));
        x = graft_mark(b, x, GRAFT_ROLE_BLOCK);
        graft_pop(b);
    }
    x = tiny_norm(b, x, "norm.weight");
    graft_pop(b);
    return x;
}

/* The loss [1] over the labelled rows, also the output "loss". */
static inline graft_value tiny_loss(graft_graph *g)
{
    const tiny_inputs in = tiny_leaves(g);
    graft_value head;
    const graft_value hidden = graft_gather(g->builder, tiny_model(g, &in, &head), in.rows);
    const graft_value loss = graft_linear_cross_entropy(g->builder, hidden, head, in.labels, in.weight, 0.0, 1.0);
    graft_graph_output(g, "loss", loss);
    return loss;
}

/* ---- looking at graphs ------------------------------------------------------------------------------------------------------------------------------------ */
/* Nodes of an op whose path contains `path` ("" any); backward: 0, 1 or -1 both. */
static inline int tiny_count(const graft_graph *g, const char *op, const char *path, int backward)
{
    int n = 0;
    for (int32_t i = 0; i < g->n_nodes; i++)
        n += (!op || !strcmp(g->nodes[i].op->name, op)) && strstr(g->nodes[i].path, path) && (backward < 0 || g->nodes[i].backward == backward);
    return n;
}

/* The graph's laws: values are made before they are read, once, by the node that they name. */
static inline void tiny_check(const graft_graph *g)
{
    ck_assert_msg(!g->error.code, "%s: %s", g->error.where, g->error.message);
    char *made = graft_calloc((size_t)g->n_values, 1);
    ck_assert_ptr_nonnull(made);
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const graft_node *n = &g->nodes[i];
        ck_assert_int_eq(n->n_in, n->op->max_in);
        for (int32_t k = 0; k < n->n_in; k++) {
            const graft_value_info *v = graft_graph_info(g, n->in[k]);
            ck_assert_msg(!n->in[k].id || v->node == -1 || made[n->in[k].id], "node %d (%s) reads a value that is not made yet", i, n->op->name);
        }
        for (int32_t k = 0; k < n->n_out; k++) {
            ck_assert(!made[n->out[k].id]);
            made[n->out[k].id] = 1;
            ck_assert_int_eq(g->values[n->out[k].id].node, i);
            ck_assert_int_eq(g->values[n->out[k].id].index, k);
        }
    }
    for (int32_t i = 0; i < g->n_outputs; i++) ck_assert(made[g->outputs[i].value.id] || g->values[g->outputs[i].value.id].node == -1);
    for (int32_t i = 0; i < g->n_values; i++)
        if (g->values[i].assigned) ck_assert(made[g->values[i].assigned] || g->values[g->values[i].assigned].node == -1);
    graft_free(made);
}

/* Trainable parameters of all leaves. */
static inline int64_t tiny_trained(const graft_graph *g)
{
    static const int64_t none[GRAFT_SYMBOLS] = {0};
    int64_t n = 0;
    for (int32_t i = 0; i < g->n_values; i++)
        if (g->values[i].trainable) n += graft_shape_elements(&g->values[i].shape, none);
    return n;
}

#endif
