/* core/graph/pass.c - tools of the passes: emission in another node's name, rewriting the node list, liveness. */
#include "core/graph/build.h"

#include <string.h>

void graft_pass_begin(graft_graph *g, const graft_node *like, int backward)
{
    graft_build_state *s = g->state;
    s->passing = 1;
    s->pass_path = like ? like->path : "";
    s->pass_layer = like ? like->layer : -1;
    s->pass_backward = backward;
}

void graft_pass_end(graft_graph *g)
{
    graft_build_state *s = g->state;
    s->passing = 0, s->pass_path = NULL, s->pass_layer = -1, s->pass_backward = 0;
}

graft_node *graft_pass_take(graft_graph *g, int32_t *n)
{
    graft_node *old = g->nodes;
    *n = g->n_nodes;
    g->nodes = NULL, g->n_nodes = 0, g->state->room_nodes = 0;
    return old;
}

void graft_pass_keep(graft_graph *g, const graft_node *n)
{
    if (g->error.code || graft_build_room(g, (void **)&g->nodes, &g->state->room_nodes, (size_t)g->n_nodes, sizeof *g->nodes)) return;
    for (int32_t i = 0; i < n->n_out; i++) g->values[n->out[i].id].node = g->n_nodes;
    g->nodes[g->n_nodes++] = *n;
}

int graft_pass_clone(graft_graph *g, const graft_node *n, graft_value *map)
{
    graft_node copy = *n;
    for (int32_t i = 0; i < n->n_out && !g->error.code; i++) {
        if (graft_build_room(g, (void **)&g->values, &g->state->room_values, (size_t)g->n_values, sizeof *g->values)) break;
        g->values[g->n_values] = g->values[n->out[i].id];
        copy.out[i] = graft_value_of(g->n_values++);
        map[n->out[i].id] = copy.out[i];
    }
    graft_pass_keep(g, &copy);
    return g->error.code ? -1 : 0;
}

/* ---- substitution ------------------------------------------------------------------------------------------------------------------------------------------ */
graft_value graft_pass_resolve(graft_value *map, int32_t n_map, graft_value v)
{
    graft_value end = v;
    while (end.id < (uint32_t)n_map && map[end.id].id) end = map[end.id];
    while (v.id < (uint32_t)n_map && map[v.id].id) { /* next time it is one step */
        const graft_value next = map[v.id];
        map[v.id] = end;
        v = next;
    }
    return end;
}

void graft_pass_apply(graft_graph *g, graft_value *map, int32_t n_map)
{
    for (int32_t i = 0; i < g->n_nodes; i++)
        for (int32_t k = 0; k < g->nodes[i].n_in; k++) g->nodes[i].in[k] = graft_pass_resolve(map, n_map, g->nodes[i].in[k]);
    for (int32_t i = 0; i < g->n_outputs; i++) g->outputs[i].value = graft_pass_resolve(map, n_map, g->outputs[i].value);
    for (int32_t i = 0; i < g->n_values; i++)
        if (g->values[i].assigned) g->values[i].assigned = graft_pass_resolve(map, n_map, graft_value_of((int32_t)g->values[i].assigned)).id;
}

/* ---- liveness ------------------------------------------------------------------------------------------------------------------------------------------------ */
void graft_graph_prune(graft_graph *g)
{
    int32_t n = 0;
    if (g->error.code) return;
    uint8_t *live = graft_build_alloc(g, (size_t)g->n_values, 1); /* of values */
    if (!live) return;
    for (int32_t i = 0; i < g->n_outputs; i++) live[g->outputs[i].value.id] = 1;
    for (int32_t i = 0; i < g->n_values; i++)
        if (g->values[i].assigned) live[g->values[i].assigned] = 1;
    graft_node *old = graft_pass_take(g, &n);
    uint8_t *keep = graft_build_alloc(g, (size_t)n, 1);
    for (int32_t i = n - 1; i >= 0 && keep; i--) {
        for (int32_t k = 0; k < old[i].n_out; k++) keep[i] |= live[old[i].out[k].id];
        for (int32_t k = 0; k < old[i].n_in && keep[i]; k++) live[old[i].in[k].id] = 1;
    }
    for (int32_t i = 0; i < n && keep; i++) {
        if (keep[i]) graft_pass_keep(g, &old[i]);
        else
            for (int32_t k = 0; k < old[i].n_out; k++) g->values[old[i].out[k].id].node = -2; /* made by nobody any more */
    }
}
