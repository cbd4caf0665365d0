/* core/graph/narrow.c - rows that nobody reads are not computed: a gather of some rows moves up through ops that work row by row.
 *
 *     gather(norm(x + mlp(norm(x))), rows)   ->   norm(x' + mlp(norm(x')))   with x' = gather(x, rows)
 *
 * So the last block's projections, its feed-forward part and the final norm see labelled tokens only, and only attention, whose keys and values all tokens
 * give, sees all. An op moves when everything that reads it moves or is the gather. Dropout does not: it draws by the number of the element. Forward graphs,
 * before differentiation: the gradient of the gathers is autodiff's. */
#include "core/graph/build.h"
#include "core/graph/ops/ops.h"

#include <string.h>

/* Row i of the output depends on row i of those inputs that have as many rows, and on all of the others. */
static int by_rows(const char *op)
{
    static const char *const ops[] = {"matmul/1", "add/1", "sub/1", "mul/1", "div/1", "maximum/1", "rms_norm/1", "layer_norm/1", "swiglu/1", "silu/1", "gelu/1",
                                      "affine/1", "neg/1", "exp/1", "log/1", "sqrt/1", "rsqrt/1", "tanh/1", "sigmoid/1", "abs/1", "erf/1"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(ops[i], op)) return 1;
    return 0;
}

typedef struct narrowing {
    graft_graph *g;
    graft_value rows;
    int64_t dim;      /* the symbol of all rows */
    int32_t n_values; /* before */
    uint8_t *moves;   /* [nodes] */
    uint8_t *whole;   /* [n_values] read by something that stays */
    graft_value *few; /* [n_values] the value's chosen rows, once they exist */
    graft_value *map; /* [n_values] what replaced a value */
} narrowing;

static int has_symbol(const graft_shape *s, int64_t dim)
{
    int any = 0;
    for (int32_t i = 0; i < s->rank; i++) any |= s->dims[i] == dim;
    return any;
}

static int has_rows(const narrowing *w, graft_value v)
{
    const graft_shape *s = &w->g->values[v.id].shape;
    return s->rank == 2 && s->dims[0] == w->dim && s->dims[1] > 0 && s->dtype == GRAFT_F32;
}

static int is_gather(const narrowing *w, const graft_node *n) { return !strcmp(n->op->name, "gather/1") && n->in[1].id == w->rows.id && n->in[0].id && has_rows(w, n->in[0]); }

/* Each input has the rows, or nothing of them; each output that is read has them. */
static int fits(const narrowing *w, const graft_node *n)
{
    int any = 0;
    if (!by_rows(n->op->name)) return 0;
    for (int32_t k = 0; k < n->n_in; k++) {
        if (!n->in[k].id) continue;
        if (has_rows(w, n->in[k])) any = 1;
        else if (has_symbol(&w->g->values[n->in[k].id].shape, w->dim)) return 0;
    }
    return any && has_rows(w, n->out[0]);
}

static void find_moves(narrowing *w)
{
    const graft_graph *g = w->g;
    uint8_t *read = graft_build_alloc(w->g, (size_t)g->n_values, 1);
    if (!read) return;
    for (int32_t i = 0; i < g->n_outputs; i++) w->whole[g->outputs[i].value.id] = 1;
    for (int32_t v = 0; v < g->n_values; v++)
        if (g->values[v].assigned) w->whole[g->values[v].assigned] = 1;
    for (int32_t i = g->n_nodes - 1; i >= 0; i--) {
        const graft_node *n = &g->nodes[i];
        int stays = !fits(w, n), used = 0;
        for (int32_t k = 0; k < n->n_out; k++) stays |= w->whole[n->out[k].id], used |= read[n->out[k].id];
        w->moves[i] = (uint8_t)(!stays && used);
        for (int32_t k = 0; k < n->n_in; k++) {
            read[n->in[k].id] = 1;
            w->whole[n->in[k].id] |= (uint8_t)(!w->moves[i] && !(k == 0 && is_gather(w, n)));
        }
    }
}

static graft_value few_of(narrowing *w, graft_value v)
{
    if (!v.id || !has_rows(w, v)) return v;
    if (!w->few[v.id].id) {
        const graft_value out = graft_gather(w->g->builder, v, w->rows);
        if (w->g->error.code) return out;
        w->few[v.id] = out;
    }
    return w->few[v.id];
}

static void move(narrowing *w, const graft_node *n)
{
    graft_graph *g = w->g;
    graft_value in[GRAFT_MAX_IN];
    int32_t n_in = n->n_in;
    while (n_in > n->op->min_in && !n->in[n_in - 1].id) n_in--;
    for (int32_t k = 0; k < n_in; k++) in[k] = few_of(w, n->in[k]);
    const graft_value first = graft_ops_emit(g, n, n->op->name, n_in, in);
    for (int32_t k = 0; k < n->n_out && !g->error.code; k++) {
        const graft_value out = k ? graft_ops_second(g, first, k) : first;
        w->few[n->out[k].id] = out;
        g->values[out.id].detached = g->values[n->out[k].id].detached;
        g->values[out.id].role = g->values[n->out[k].id].role;
    }
}

static void rewrite(narrowing *w)
{
    graft_graph *g = w->g;
    int32_t n = 0;
    graft_node *old = graft_pass_take(g, &n);
    for (int32_t i = 0; i < n && !g->error.code; i++) {
        for (int32_t k = 0; k < old[i].n_in; k++) old[i].in[k] = graft_pass_resolve(w->map, w->n_values, old[i].in[k]);
        graft_pass_begin(g, &old[i], old[i].backward);
        if (w->moves[i]) move(w, &old[i]);
        else if (is_gather(w, &old[i]) && w->few[old[i].in[0].id].id) w->map[old[i].out[0].id] = w->few[old[i].in[0].id];
        else graft_pass_keep(g, &old[i]);
        graft_pass_end(g);
    }
    if (!g->error.code) graft_pass_apply(g, w->map, w->n_values);
}

graft_status graft_graph_narrow(graft_graph *g, graft_value rows, graft_error *err)
{
    narrowing w = {.g = g, .rows = rows, .n_values = g->n_values};
    for (int32_t i = 0; i < g->n_nodes && !w.dim; i++) {
        const graft_node *n = &g->nodes[i];
        if (strcmp(n->op->name, "gather/1") || n->in[1].id != rows.id) continue;
        const graft_shape *s = &g->values[n->in[0].id].shape;
        if (s->dims[0] < 0) w.dim = s->dims[0];
    }
    if (g->error.code || !w.dim) return graft_graph_check(g, err);
    w.moves = graft_build_alloc(g, (size_t)g->n_nodes, 1);
    w.whole = graft_build_alloc(g, (size_t)g->n_values, 1);
    w.few = graft_build_alloc(g, (size_t)g->n_values, sizeof *w.few);
    w.map = graft_build_alloc(g, (size_t)g->n_values, sizeof *w.map);
    if (!g->error.code) find_moves(&w);
    if (!g->error.code) rewrite(&w);
    graft_graph_prune(g);
    return graft_graph_check(g, err);
}
