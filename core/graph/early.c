/* core/graph/early.c - nodes that only change leaves, an optimiser's steps, run inside the backward pass: each as soon as what it reads is there and nobody needs the
 * old content of the leaves that it reads. What it read, a gradient, can then be released; at the end of the graph all gradients would have to live until then.
 *
 *     forward  L0 L1 L2 | backward  L2 dW2 [step W2] L1 dW1 [step W1] L0 dW0 [step W0]
 *
 * A sum of products (a gradient that several weights pass on) counts as one reader, to its end: a backend may make it in one piece.
 * What reads leaves alone (a moment, scaled) would be there from the start: it waits for its first reader.
 * Such nodes are emitted between begin and end, anywhere behind what they read; they keep their order among themselves where they wait for the same node. */
#include "core/graph/build.h"

static const char of_update[] = "update";

void graft_graph_early_begin(graft_graph *g)
{
    const graft_node like = {.path = of_update, .layer = -1};
    graft_pass_begin(g, &like, 1);
}

void graft_graph_early_end(graft_graph *g) { graft_pass_end(g); }

typedef struct early {
    graft_graph *g;
    graft_node *old;
    int32_t n;
    uint32_t *root;        /* by value: the value whose memory it is by aliasing */
    int32_t *last_read;    /* by root: the last node outside updates that reads it, -1 none */
    int32_t *ready;        /* by node: it runs right behind this one, -1: at the start */
    int32_t *wanted;       /* by node: the first such place of its readers among updates */
    uint8_t *fed;          /* by node: it depends on one outside updates */
    int32_t *reader;       /* by value: the only node that reads it, -1 none, -2 several */
    int32_t *first, *next; /* by node, and one more for the start: what runs behind it, a list */
} early;

static int is_update(const graft_node *n) { return n->path == of_update; }

/* The node behind which node i, an update's, has everything that it reads. */
static void find_ready(early *e, int32_t i)
{
    const graft_node *n = &e->old[i];
    e->ready[i] = -1;
    for (int32_t k = 0; k < n->n_in; k++) {
        const uint32_t v = n->in[k].id;
        const int32_t made = v ? e->g->values[v].node : -1, at = !v ? -1 : made >= 0 ? e->ready[made]
                                                                                     : e->last_read[e->root[v]];
        if (at > e->ready[i]) e->ready[i] = at;
        e->fed[i] |= made >= 0 && (!is_update(&e->old[made]) || e->fed[made]);
    }
}

/* What no gradient feeds goes to the first of its readers, which come before it here. */
static void wait_for_reader(early *e, int32_t i)
{
    if (!e->fed[i] && e->wanted[i] < INT32_MAX) e->ready[i] = e->wanted[i];
    for (int32_t k = 0; k < e->old[i].n_in; k++) {
        const int32_t made = e->old[i].in[k].id ? e->g->values[e->old[i].in[k].id].node : -1;
        if (made >= 0 && e->ready[i] < e->wanted[made]) e->wanted[made] = e->ready[i];
    }
}

/* Where the sum ends that node i adds to. */
static int32_t end_of_sum(const early *e, int32_t i)
{
    for (;;) {
        const int32_t next = e->reader[e->old[i].out[0].id];
        if (next <= i) return i;
        const graft_node *n = &e->old[next];
        const int32_t slot = n->op->accumulate[0] - 1;
        if (slot < 0 || slot >= n->n_in || n->in[slot].id != e->old[i].out[0].id) return i;
        i = next;
    }
}

static void find_places(early *e)
{
    for (int32_t v = 0; v < e->g->n_values; v++) e->reader[v] = -1;
    for (int32_t i = 0; i < e->n; i++)
        for (int32_t k = 0; k < e->old[i].n_in; k++) e->reader[e->old[i].in[k].id] = e->reader[e->old[i].in[k].id] == -1 ? i : -2;
    for (int32_t v = 0; v < e->g->n_values; v++) e->root[v] = (uint32_t)v, e->last_read[v] = -1;
    for (int32_t i = 0; i < e->n; i++) {
        const graft_node *n = &e->old[i];
        if (n->op->flags & GRAFT_OP_ALIAS) e->root[n->out[0].id] = e->root[n->in[0].id];
        for (int32_t k = 0; k < n->n_in && !is_update(n); k++) {
            int32_t *last = &e->last_read[e->root[n->in[k].id]];
            const int32_t end = end_of_sum(e, i);
            *last = end > *last ? end : *last;
        }
    }
    for (int32_t i = 0; i <= e->n; i++) e->first[i] = -1;
    for (int32_t i = 0; i < e->n; i++) {
        e->ready[i] = i, e->wanted[i] = INT32_MAX;
        if (is_update(&e->old[i])) find_ready(e, i);
    }
    for (int32_t i = e->n - 1; i >= 0; i--) {
        if (!is_update(&e->old[i])) continue;
        wait_for_reader(e, i);
        int32_t *list = &e->first[e->ready[i] + 1];
        e->next[i] = *list;
        *list = i;
    }
}

graft_status graft_graph_early(graft_graph *g, graft_error *err)
{
    if (g->error.code) return graft_graph_check(g, err);
    early e = {.g = g};
    const size_t values = (size_t)g->n_values, nodes = (size_t)g->n_nodes + 1;
    e.root = graft_build_alloc(g, values, sizeof *e.root);
    e.last_read = graft_build_alloc(g, values, sizeof *e.last_read);
    e.reader = graft_build_alloc(g, values, sizeof *e.reader);
    e.ready = graft_build_alloc(g, nodes, sizeof *e.ready);
    e.wanted = graft_build_alloc(g, nodes, sizeof *e.wanted);
    e.fed = graft_build_alloc(g, nodes, 1);
    e.first = graft_build_alloc(g, nodes, sizeof *e.first);
    e.next = graft_build_alloc(g, nodes, sizeof *e.next);
    if (g->error.code) return graft_graph_check(g, err);
    e.old = graft_pass_take(g, &e.n);
    find_places(&e);
    for (int32_t i = -1; i < e.n; i++) {
        if (i >= 0 && !is_update(&e.old[i])) graft_pass_keep(g, &e.old[i]);
        for (int32_t k = e.first[i + 1]; k >= 0; k = e.next[k]) graft_pass_keep(g, &e.old[k]);
    }
    return graft_graph_check(g, err);
}
