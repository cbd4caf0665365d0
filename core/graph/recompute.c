/* core/graph/recompute.c - less memory for more work: forward values that only the backward pass still reads are made again there, just before they are read.
 * Each block has its own level:
 *
 *   0   everything is kept
 *   1   cheap ops (norms, activations, dropout, rope) whose inputs are at hand in the backward pass anyway: frees one tensor, costs one pass over it
 *   2   products too, all but attention: a block keeps its input and what attention gave
 *   3   everything but what other blocks read: a block keeps its input and computes itself once more (Chen et al. 2016, arXiv 1604.06174)
 *
 * Dropout draws by stream and element, so that the second time equals the first. */
#include "core/graph/build.h"

#include <string.h>

typedef struct redo {
    graft_graph *g;
    const uint8_t *level; /* [layers] */
    int32_t layers;
    int32_t n, start; /* nodes; the first backward one */
    graft_node *old;
    int32_t *maker;     /* [n_values] index into old, -1: a leaf */
    uint8_t *read_back; /* [n_values] read by the backward pass */
    uint8_t *outside;   /* [n_values] read by another block, by the host or by the next run */
    uint8_t *again;     /* [n] node may be computed again */
    uint8_t *done;      /* [n] 1: waiting for its inputs, 2: it has been */
    graft_value *map;   /* [n_values] value -> its second making */
    int32_t *stack;
} redo;

static int level_of(const redo *r, const graft_node *n) { return n->layer >= 0 && n->layer < r->layers ? r->level[n->layer] : 0; }

static int wide(const graft_shape *s)
{
    int64_t n = 1;
    for (int32_t i = 0; i < s->rank; i++) n *= s->dims[i] > 0 ? s->dims[i] : 1;
    return n >= 16; /* elements a row: a norm is not done again for its rstd alone */
}

static void find_readers(redo *r)
{
    const graft_graph *g = r->g;
    for (int32_t i = 0; i < r->n; i++)
        for (int32_t k = 0; k < r->old[i].n_in; k++) {
            const uint32_t v = r->old[i].in[k].id;
            const int32_t m = r->maker[v];
            if (i >= r->start) r->read_back[v] = 1;
            else if (m >= 0 && r->old[m].layer != r->old[i].layer) r->outside[v] = 1;
        }
    for (int32_t i = 0; i < g->n_outputs; i++) r->outside[g->outputs[i].value.id] = 1;
    for (int32_t i = 0; i < g->n_values; i++)
        if (g->values[i].assigned) r->outside[g->values[i].assigned] = 1;
}

/* Levels 1 and 2: are the inputs of the node there in the backward pass without keeping anything for it? */
static int inputs_at_hand(const redo *r, const graft_node *n)
{
    for (int32_t k = 0; k < n->n_in; k++) {
        const uint32_t v = n->in[k].id;
        const int32_t m = r->maker[v];
        if (m >= 0 && !r->again[m] && !r->read_back[v]) return 0;
    }
    return 1;
}

static void choose(redo *r)
{
    for (int32_t i = 0; i < r->start; i++) {
        const graft_node *n = &r->old[i];
        const int level = level_of(r, n);
        int kept = !level;
        for (int32_t k = 0; k < n->n_out; k++) kept |= r->outside[n->out[k].id];
        if (level == 1) kept |= !(n->op->flags & GRAFT_OP_CHEAP) || !inputs_at_hand(r, n);
        if (level == 2) kept |= (n->op->flags & GRAFT_OP_KV) != 0 || !inputs_at_hand(r, n);
        r->again[i] = !kept;
    }
}

/* Is it worth making v again for a backward reader? */
static int wanted_again(const redo *r, graft_value v)
{
    const int32_t m = r->maker[v.id];
    if (m < 0 || m >= r->start || !r->again[m]) return 0;
    int any = level_of(r, &r->old[m]) > 1;
    for (int32_t k = 0; k < r->old[m].n_out; k++) any |= r->read_back[r->old[m].out[k].id] && wide(&r->g->values[r->old[m].out[k].id].shape);
    return any || r->done[m];
}

/* Emits node `root` again, after those of its inputs that have to be made again themselves. */
static void make_again(redo *r, int32_t root)
{
    int32_t top = 0;
    if (r->done[root]) return;
    r->stack[top++] = root;
    while (top && !r->g->error.code) {
        const int32_t i = r->stack[top - 1];
        graft_node copy = r->old[i];
        int32_t waiting = -1;
        for (int32_t k = 0; k < copy.n_in && !r->done[i]; k++) {
            const int32_t m = r->maker[copy.in[k].id];
            if (m >= 0 && r->again[m] && !r->done[m]) waiting = m;
        }
        if (waiting >= 0) {
            r->stack[top++] = waiting;
            continue;
        }
        top--;
        if (r->done[i]) continue;
        for (int32_t k = 0; k < copy.n_in; k++) copy.in[k] = graft_pass_resolve(r->map, r->g->n_values, copy.in[k]);
        copy.backward = 1;
        graft_pass_clone(r->g, &copy, r->map);
        r->done[i] = 1;
    }
}

static void rewrite(redo *r)
{
    graft_graph *g = r->g;
    for (int32_t i = 0; i < r->start; i++) graft_pass_keep(g, &r->old[i]);
    for (int32_t i = r->start; i < r->n && !g->error.code; i++) {
        for (int32_t k = 0; k < r->old[i].n_in; k++) {
            const graft_value v = r->old[i].in[k];
            if (wanted_again(r, v)) make_again(r, r->maker[v.id]);
            if (r->map[v.id].id) r->old[i].in[k] = r->map[v.id];
        }
        graft_pass_keep(g, &r->old[i]);
    }
}

static int open_redo(redo *r)
{
    graft_graph *g = r->g;
    while (!g->error.code && r->start < r->n && !g->nodes[r->start].backward) r->start++;
    if (g->error.code || r->layers <= 0 || r->start == r->n) return 0;
    const size_t values = (size_t)g->n_values, nodes = (size_t)g->n_nodes;
    r->maker = graft_build_alloc(g, values, sizeof *r->maker);
    r->read_back = graft_build_alloc(g, values, 1);
    r->outside = graft_build_alloc(g, values, 1);
    r->map = graft_build_alloc(g, 2 * values, sizeof *r->map); /* each value is made again at most once */
    r->again = graft_build_alloc(g, nodes, 1);
    r->done = graft_build_alloc(g, nodes, 1);
    r->stack = graft_build_alloc(g, nodes + 1, sizeof *r->stack);
    if (g->error.code) return 0;
    for (size_t v = 0; v < values; v++) r->maker[v] = g->values[v].node;
    return 1;
}

graft_status graft_graph_recompute_blocks(graft_graph *g, const uint8_t *level, int32_t layers, graft_error *err)
{
    redo r = {.g = g, .level = level, .layers = layers, .n = g->n_nodes};
    for (int32_t i = 0; i < layers && !g->error.code; i++)
        if (level[i] > GRAFT_RECOMPUTE_LEVELS) graft_graph_error(g, "recomputation has the levels 0 to %d, found %d", (int)GRAFT_RECOMPUTE_LEVELS, level[i]);
    if (!open_redo(&r)) return graft_graph_check(g, err);
    r.old = graft_pass_take(g, &r.n);
    find_readers(&r);
    choose(&r);
    rewrite(&r);
    graft_graph_prune(g);
    return graft_graph_check(g, err);
}

graft_status graft_graph_recompute(graft_graph *g, int level, int32_t layers, graft_error *err)
{
    uint8_t *levels = layers > 0 ? graft_build_alloc(g, (size_t)layers, 1) : NULL;
    if (level < 1 || level > GRAFT_RECOMPUTE_LEVELS) graft_graph_error(g, "recomputation has the levels 1 to %d, found %d", (int)GRAFT_RECOMPUTE_LEVELS, level);
    if (levels && !g->error.code) memset(levels, level, (size_t)layers);
    return graft_graph_recompute_blocks(g, levels, levels ? layers : 0, err);
}

/* ---- what it would bring --------------------------------------------------------------------------------------------------------------------------- */

static void weigh(redo *r, const int64_t capacity[GRAFT_SYMBOLS], graft_recompute_gain *gain)
{
    memset(r->done, 0, (size_t)r->n); /* here: is needed in the backward pass */
    for (int32_t i = r->start - 1; i >= 0; i--) {
        const graft_node *n = &r->old[i];
        int needed = r->done[i];
        if (!r->again[i]) continue;
        for (int32_t k = 0; k < n->n_out; k++) {
            const graft_value_info *v = &r->g->values[n->out[k].id];
            if (!r->read_back[n->out[k].id] || (level_of(r, n) == 1 && !wide(&v->shape))) continue;
            needed = 1;
            gain[n->layer].bytes += graft_dtype_bytes(v->shape.dtype, graft_shape_elements(&v->shape, capacity));
        }
        if (!needed) continue;
        for (int32_t k = 0; k < n->n_in; k++)
            if (r->maker[n->in[k].id] >= 0) r->done[r->maker[n->in[k].id]] = 1;
        gain[n->layer].flops += n->op->flops ? n->op->flops(r->g, n, capacity) : (double)graft_shape_elements(&r->g->values[n->out[0].id].shape, capacity);
    }
}

graft_status graft_graph_recompute_gains(graft_graph *g, int level, int32_t layers, const int64_t capacity[GRAFT_SYMBOLS], graft_recompute_gain *gain, graft_error *err)
{
    redo r = {.g = g, .layers = layers, .n = g->n_nodes, .old = g->nodes};
    uint8_t *levels = graft_build_alloc(g, (size_t)layers + 1, 1);
    memset(gain, 0, (size_t)layers * sizeof *gain);
    if (!levels || !open_redo(&r)) return graft_graph_check(g, err);
    memset(levels, level, (size_t)layers);
    r.level = levels;
    find_readers(&r);
    choose(&r);
    weigh(&r, capacity, gain);
    return graft_graph_check(g, err);
}
