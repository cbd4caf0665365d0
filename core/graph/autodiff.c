/* core/graph/autodiff.c - reverse-mode differentiation: emits, in reverse execution order, the backward of every node that lies between a wanted value and the loss.
 *
 * needs[v]: does v depend on a wanted value? Only such values get gradients: no dW of a frozen weight, and nothing below the lowest trained parameter.
 * Gradients of several readers are added as they come, old + new, so that fuse.c can sink each sum into the op that makes `new`.
 * A trained leaf's sum begins with its STATE leaf "grad:NAME": accumulation over micro-batches is the same chain, and dW never needs memory of its own. */
#include "core/graph/build.h"

#include <string.h>

typedef struct tape {
    graft_graph *g;
    int32_t n_nodes, n_values; /* of the forward graph */
    uint8_t *needs;            /* [n_values] */
    graft_value *grad;         /* [n_values] the sum so far, null: zero */
} tape;

static int tape_open(tape *t, graft_graph *g)
{
    *t = (tape){.g = g, .n_nodes = g->n_nodes, .n_values = g->n_values};
    t->needs = graft_build_alloc(g, (size_t)g->n_values, 1);
    t->grad = graft_build_alloc(g, (size_t)g->n_values, sizeof *t->grad);
    return g->error.code ? -1 : 0;
}

/* Only real numbers carry gradients. */
static int differentiable(const graft_graph *g, graft_value v) { return g->values[v.id].shape.dtype == GRAFT_F32; }

static void spread_needs(tape *t)
{
    const graft_graph *g = t->g;
    for (int32_t i = 0; i < t->n_nodes; i++) {
        const graft_node *n = &g->nodes[i];
        uint8_t any = 0;
        for (int32_t k = 0; k < n->n_in; k++) any |= t->needs[n->in[k].id];
        for (int32_t k = 0; k < n->n_out && any; k++) t->needs[n->out[k].id] |= (uint8_t)(differentiable(g, n->out[k]) && !g->values[n->out[k].id].detached);
    }
}

static int same_dims(const graft_shape *a, const graft_shape *b)
{
    int same = a->rank == b->rank;
    for (int32_t i = 0; same && i < a->rank; i++) same = a->dims[i] == b->dims[i];
    return same;
}

static void contribute(tape *t, const graft_node *n, graft_value v, graft_value d)
{
    graft_graph *g = t->g;
    if (!d.id || g->error.code) return;
    const graft_shape *x = &graft_graph_info(g, v)->shape, *dx = &graft_graph_info(g, d)->shape;
    if (!same_dims(x, dx)) graft_build_fail(g, GRAFT_INTERNAL, "the gradient of %s gave the shape %s for an input of shape %s", n->op->name, graft_shape_text(g, dx), graft_shape_text(g, x));
    t->grad[v.id] = t->grad[v.id].id ? graft_add(g->builder, t->grad[v.id], d) : d;
}

static void differentiate(tape *t, int32_t i)
{
    graft_graph *g = t->g;
    const graft_node n = g->nodes[i]; /* a copy: emission moves the array */
    graft_value dout[GRAFT_MAX_OUT] = {{0}}, din[GRAFT_MAX_IN] = {{0}};
    int wants[GRAFT_MAX_IN] = {0}, reached = 0, wanted = 0;
    for (int32_t k = 0; k < n.n_out; k++) dout[k] = t->needs[n.out[k].id] ? t->grad[n.out[k].id] : graft_null_value(), reached |= dout[k].id != 0;
    for (int32_t k = 0; k < n.n_in; k++) wants[k] = n.in[k].id && t->needs[n.in[k].id], wanted |= wants[k];
    if (!reached || !wanted) return;
    graft_pass_begin(g, &n, 1);
    if (!n.op->backward) {
        graft_build_fail(g, GRAFT_UNSUPPORTED, "%s has no gradient, but a trained parameter lies before it; freeze what comes before or use another op", n.op->name);
    } else {
        n.op->backward(g, &n, dout, wants, din);
        for (int32_t k = 0; k < n.n_in; k++)
            if (wants[k]) contribute(t, &n, n.in[k], din[k]);
    }
    graft_pass_end(g);
}

static void sweep(tape *t)
{
    for (int32_t i = t->n_nodes - 1; i >= 0 && !t->g->error.code; i--) differentiate(t, i);
    graft_pass_end(t->g);
}

void graft_graph_gradients(graft_graph *g, graft_value outputs[], const graft_value seeds[], int n_out, const graft_value *wrt, int n, graft_value *dx)
{
    tape t;
    for (int i = 0; i < n; i++) dx[i] = graft_null_value();
    if (g->error.code || tape_open(&t, g)) return;
    for (int i = 0; i < n; i++) t.needs[wrt[i].id] = 1;
    spread_needs(&t);
    graft_pass_begin(g, NULL, 1);
    for (int i = 0; i < n_out; i++) {
        graft_value *at = &t.grad[outputs[i].id];
        if (seeds[i].id) *at = at->id ? graft_add(g->builder, *at, seeds[i]) : seeds[i];
    }
    graft_pass_end(g);
    sweep(&t);
    for (int i = 0; i < n && !g->error.code; i++) dx[i] = t.grad[wrt[i].id];
}

/* The state leaf in which the gradient of leaf v is summed. */
static graft_value gradient_state(graft_graph *g, int32_t v)
{
    const graft_value_info leaf = g->values[v];
    if (leaf.shape.dtype != GRAFT_F32) {
        graft_build_fail(g, GRAFT_UNSUPPORTED, "\"%s\" is stored as %s and cannot be trained; keep it in f32 or freeze it", leaf.name, graft_dtype_name(leaf.shape.dtype));
        return graft_null_value();
    }
    const char *name = graft_build_text(g, "grad:%s", leaf.name);
    return name ? graft_graph_state(g, name, GRAFT_F32, leaf.shape.rank, leaf.shape.dims) : graft_null_value();
}

static int is_trained(const graft_value_info *v) { return v->node == -1 && v->place == GRAFT_PLACE_WEIGHT && v->trainable; }

graft_status graft_graph_autodiff(graft_graph *g, graft_value loss, graft_error *err)
{
    static const int64_t one[] = {1};
    tape t;
    if (g->error.code || tape_open(&t, g)) return graft_graph_check(g, err);
    const graft_shape *s = &graft_graph_info(g, loss)->shape;
    if (!loss.id || s->rank != 1 || s->dims[0] != 1) graft_graph_error(g, "the loss must be one number of shape [1], found %s", loss.id ? graft_shape_text(g, s) : "nothing");
    graft_value *state = graft_build_alloc(g, (size_t)t.n_values, sizeof *state);
    for (int32_t v = 1; v < t.n_values && !g->error.code; v++) {
        if (!is_trained(&g->values[v])) continue;
        t.needs[v] = 1;
        state[v] = t.grad[v] = gradient_state(g, v);
    }
    spread_needs(&t);
    if (!g->error.code && t.needs[loss.id]) {
        graft_pass_begin(g, graft_graph_node(g, loss), 1);
        t.grad[loss.id] = graft_fill(g->builder, 1, one, 1.0);
        graft_pass_end(g);
        sweep(&t);
    }
    for (int32_t v = 1; v < t.n_values && !g->error.code; v++)
        if (state[v].id && t.grad[v].id != state[v].id) graft_graph_assign(g, state[v], t.grad[v]);
    return graft_graph_check(g, err);
}
