/* core/graph/text.c - the graph as text: stable between runs and machines, one line a leaf, then one line a node in execution order.
 *
 *   input    tokens : i32[tokens]
 *   weight   model.norm.weight : f32[576]
 *   weight   model.layers.0.self_attn.q_proj.lora_A.weight : f32[8, 576] = kaiming_uniform(2.23606797749979), trained
 *   state    grad:model.norm.weight : f32[576] <- %41
 *   %12 = rms_norm/1(%10, model.norm.weight) {eps=1e-05, plus=0} : f32[tokens, 576]  # model
 *   %41, %42 = rms_norm_grad/1(%10, model.norm.weight, %13, %40) {eps=1e-05, plus=0} : f32[tokens, 576], f32[576]  # model, backward
 *   output   loss = %38
 *
 * Values are numbered by the order of nodes, so that a pass which drops some leaves no gaps. An absent input is "-". */
#include "core/graph/build.h"

#include "core/base/str.h"

static void shape_text(graft_str *out, const graft_shape *s)
{
    graft_str_printf(out, "%s[", graft_dtype_name(s->dtype));
    for (int32_t i = 0; i < s->rank; i++) {
        const char *symbol = graft_symbol_name(s->dims[i]);
        if (i) graft_str_text(out, ", ");
        if (symbol) graft_str_text(out, symbol);
        else graft_str_printf(out, "%lld", (long long)s->dims[i]);
    }
    graft_str_text(out, "]");
}

/* 1e-05 rather than 1e-05.0; whole numbers without ".0". */
static void real_text(graft_str *out, double v)
{
    if (v == (double)(int64_t)v && v > -1e15 && v < 1e15) graft_str_printf(out, "%lld", (long long)v);
    else graft_str_double(out, v);
}

static void value_text(graft_str *out, const graft_graph *g, const int32_t *number, graft_value v)
{
    const graft_value_info *info = graft_graph_info(g, v);
    if (!v.id) graft_str_text(out, "-");
    else if (info->node == -1) graft_str_text(out, info->name);
    else graft_str_printf(out, "%%%d", number[v.id]);
}

static void leaf_text(graft_str *out, const graft_graph *g, const int32_t *number, const graft_value_info *v)
{
    static const char *const places[GRAFT_PLACES] = {"weight", "state", "arena", "input", "output", "constant"};
    static const char *const starts[] = {"", "zero", "one", "normal", "kaiming_uniform"};
    graft_str_printf(out, "%-8s %s : ", places[v->place], v->name);
    shape_text(out, &v->shape);
    if (v->place == GRAFT_PLACE_WEIGHT && v->start != GRAFT_START_CHECKPOINT) {
        graft_str_printf(out, " = %s", starts[v->start]);
        if (v->start >= GRAFT_START_NORMAL) {
            graft_str_text(out, "(");
            real_text(out, v->start_arg);
            graft_str_text(out, ")");
        }
    }
    if (v->trainable) graft_str_text(out, ", trained");
    if (v->assigned) {
        graft_str_text(out, " <- ");
        value_text(out, g, number, graft_value_of((int32_t)v->assigned));
    }
    graft_str_text(out, "\n");
}

static void node_text(graft_str *out, const graft_graph *g, const int32_t *number, const graft_node *n)
{
    int32_t n_in = n->n_in;
    while (n_in > n->op->min_in && !n->in[n_in - 1].id) n_in--; /* optional inputs left out at the end */
    for (int32_t i = 0; i < n->n_out; i++) graft_str_printf(out, "%s%%%d", i ? ", " : "", number[n->out[i].id]);
    graft_str_printf(out, " = %s(", n->op->name);
    for (int32_t i = 0; i < n_in; i++) {
        if (i) graft_str_text(out, ", ");
        value_text(out, g, number, n->in[i]);
    }
    graft_str_text(out, ")");
    for (int32_t i = 0; i < n->n_attr; i++) {
        graft_str_printf(out, "%s%s=", i ? ", " : " {", n->attr[i].key);
        if (n->attr[i].type == GRAFT_ATTR_INT) graft_str_printf(out, "%lld", (long long)n->attr[i].i);
        else real_text(out, n->attr[i].r);
    }
    graft_str_text(out, n->n_attr ? "} : " : " : ");
    for (int32_t i = 0; i < n->n_out; i++) {
        if (i) graft_str_text(out, ", ");
        shape_text(out, &g->values[n->out[i].id].shape);
    }
    if (*n->path || n->backward) graft_str_printf(out, "  # %s%s%s", n->path, *n->path && n->backward ? ", " : "", n->backward ? "backward" : "");
    graft_str_text(out, "\n");
}

void graft_graph_text(const graft_graph *g, graft_str *out)
{
    int32_t *number = graft_calloc((size_t)g->n_values, sizeof *number), count = 0;
    if (!number) {
        out->failed = 1;
        return;
    }
    for (int32_t i = 0; i < g->n_nodes; i++)
        for (int32_t k = 0; k < g->nodes[i].n_out; k++) number[g->nodes[i].out[k].id] = ++count;
    for (int32_t i = 1; i < g->n_values; i++)
        if (g->values[i].node == -1) leaf_text(out, g, number, &g->values[i]);
    for (int32_t i = 0; i < g->n_nodes; i++) node_text(out, g, number, &g->nodes[i]);
    for (int32_t i = 0; i < g->n_outputs; i++) {
        graft_str_printf(out, "%-8s %s = ", "output", g->outputs[i].name);
        value_text(out, g, number, g->outputs[i].value);
        graft_str_text(out, "\n");
    }
    graft_free(number);
}
