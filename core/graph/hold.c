/* core/graph/hold.c - see hold.h. What a backend can read is data (graft_op_claim), what an op may read is its record's shape(). */
#include "core/graph/hold.h"

#include "core/base/error.h"
#include "core/graph/build.h"
#include "graft/packed.h"

#include <string.h>

typedef struct holding {
    const graft_op_claim *claims;
    int32_t n_claims;
} holding;

static int claims_type(const holding *h, const char *op, graft_dtype t)
{
    const uint64_t id = graft_op_id(op);
    for (int32_t c = 0; c < h->n_claims; c++)
        if (h->claims[c].op == id && (h->claims[c].dtypes >> t & 1u)) return 1;
    return 0;
}

static int same_outputs(const graft_graph *g, const graft_node *n, const graft_shape *out)
{
    for (int32_t i = 0; i < n->n_out; i++) {
        const graft_shape *was = &g->values[n->out[i].id].shape;
        if (!n->out[i].id) continue;
        if (was->dtype != out[i].dtype || was->rank != out[i].rank || memcmp(was->dims, out[i].dims, (size_t)was->rank * sizeof *was->dims) != 0) return 0;
    }
    return 1;
}

/* Would node n give the same outputs, on this device, with the leaf in type t? */
static int reads(const holding *h, graft_graph *g, const graft_node *n, uint32_t leaf, graft_dtype t)
{
    if (!claims_type(h, n->op->name, t)) return 0;
    graft_shape out[GRAFT_MAX_OUT] = {{0}};
    const graft_dtype was = g->values[leaf].shape.dtype;
    const graft_error error = g->error;
    g->values[leaf].shape.dtype = t;
    const int good = !n->op->shape(g, n, out) && !g->error.code && same_outputs(g, n, out);
    g->values[leaf].shape.dtype = was;
    g->error = error;
    return good;
}

static int uses(const graft_node *n, uint32_t leaf)
{
    for (int32_t i = 0; i < n->n_in; i++)
        if (n->in[i].id == leaf) return 1;
    return 0;
}

/* A weight of the base that this graph leaves alone, and that the host does not read. */
static int is_frozen(const graft_graph *g, uint32_t id)
{
    const graft_value_info *v = &g->values[id];
    if (v->node >= 0 || v->place != GRAFT_PLACE_WEIGHT || v->start != GRAFT_START_CHECKPOINT || v->from_method >= 0) return 0;
    if (v->trainable || v->assigned || v->shape.dtype != GRAFT_F32 || v->shape.rank < 2) return 0;
    for (int32_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].value.id == id) return 0;
    return 1;
}

static int is_blocks(graft_dtype t) { return t != GRAFT_F32 && t != GRAFT_BF16 && t != GRAFT_F16; }

int graft_hold_fits(const graft_shape *s, graft_dtype t)
{
    if (s->rank < 2) return 0;
    const int64_t columns = s->dims[s->rank - 1], matrix = columns * s->dims[s->rank - 2];
    if (t != GRAFT_NF4 && t != GRAFT_NF4_DOUBLE) return graft_dtype_bytes(t, columns) >= 0;
    return columns % GRAFT_PACKED_ROWS == 0 && matrix % GRAFT_PACKED_BLOCK == 0 && (t == GRAFT_NF4 || s->rank == 2 || matrix % GRAFT_NF4_GROUP == 0);
}

static int reads_all(const holding *h, graft_graph *g, uint32_t leaf, graft_dtype t)
{
    for (int32_t i = 0; i < g->n_nodes; i++)
        if (uses(&g->nodes[i], leaf) && !reads(h, g, &g->nodes[i], leaf, t)) return 0;
    return 1;
}

/* Sets the type of the weight called `name` in all graphs, if it can be. settled: it has it already. */
static void hold_one(const holding *h, graft_graph *const *graphs, int n, const char *name, graft_dtype t, int settled)
{
    for (int k = 0; k < n; k++) {
        const graft_value leaf = graft_graph_find(graphs[k], name);
        if (!leaf.id) continue;
        if (!is_frozen(graphs[k], leaf.id)) return;
        if (settled) continue;
        if (!graft_hold_fits(&graphs[k]->values[leaf.id].shape, t)) return;
        if (!reads_all(h, graphs[k], leaf.id, t) && !(is_blocks(t) && claims_type(h, "cast/1", t))) return;
    }
    for (int k = 0; k < n; k++) {
        const graft_value leaf = graft_graph_find(graphs[k], name);
        if (leaf.id) graphs[k]->values[leaf.id].shape.dtype = t;
    }
}

static int in_earlier(graft_graph *const *graphs, int k, const char *name)
{
    for (int i = 0; i < k; i++)
        if (graft_graph_find(graphs[i], name).id) return 1;
    return 0;
}

/* Each input that the op cannot read in its type becomes a cast of its own, just before: alive for this one node only. */
static void cast_inputs(const holding *h, graft_graph *g, graft_node *n)
{
    for (int32_t i = 0; i < n->n_in && !g->error.code; i++) {
        const graft_value v = n->in[i];
        const graft_value_info *leaf = &g->values[v.id];
        if (!v.id || leaf->node >= 0 || leaf->place != GRAFT_PLACE_WEIGHT || leaf->shape.dtype == GRAFT_F32 || reads(h, g, n, v.id, leaf->shape.dtype)) continue;
        graft_pass_begin(g, n, n->backward);
        const graft_value wide = graft_cast(g->builder, v, GRAFT_F32);
        graft_pass_end(g);
        for (int32_t k = i; k < n->n_in; k++)
            if (n->in[k].id == v.id) n->in[k] = wide;
    }
}

static graft_status add_casts(const holding *h, graft_graph *g, graft_error *err)
{
    int32_t n = 0;
    graft_node *old = graft_pass_take(g, &n);
    for (int32_t i = 0; i < n && !g->error.code; i++) {
        cast_inputs(h, g, &old[i]);
        graft_pass_keep(g, &old[i]);
    }
    return graft_graph_check(g, err);
}

graft_status graft_graph_hold(graft_graph *const *graphs, int n, const graft_store *s, const graft_device *d, graft_hold_choice choose, const void *ctx, graft_error *err)
{
    holding h = {0};
    h.claims = d->table->ops(d->dev, &h.n_claims);
    for (int k = 0; k < n; k++)
        for (int32_t i = 1; i < graphs[k]->n_values; i++) {
            const graft_value_info *v = &graphs[k]->values[i];
            if (!is_frozen(graphs[k], (uint32_t)i) || in_earlier(graphs, k, v->name)) continue;
            const int known = s ? graft_store_find(s, v->name) : -1;
            const graft_dtype t = known >= 0 ? graft_store_shape(s, known).dtype : choose(ctx, graphs[k], v);
            if (t != GRAFT_F32) hold_one(&h, graphs, n, v->name, t, known >= 0);
        }
    graft_status status = GRAFT_OK;
    for (int k = 0; k < n && !status; k++) status = add_casts(&h, graphs[k], err);
    return status;
}
