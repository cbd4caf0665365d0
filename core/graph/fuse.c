/* core/graph/fuse.c - fewer passes over memory, exact up to the order of rounding:
 *
 *   scale(matmul(a, w))              -> matmul alpha            LoRA's scale forward
 *   matmul(scale(a), w)              -> matmul alpha            LoRA's scale backward, for dB and dz alike
 *   x + matmul(a, w)                 -> matmul c = x            residuals, LoRA's y + s (x A^T) B^T, gradient sums
 *   x + op(.., empty accumulator)    -> accumulator = x         grad + dW; grad of a tied embedding: head and scatter in one buffer
 *   affine(affine(x)), neg(neg(x)), reshape(reshape(x)), x + 0, 1 x, reshape to the same shape
 *
 * One forward scan. A value that became another is in map and its later readers are resolved as the scan reaches them; readers[] is kept exact throughout,
 * because an op may change what it gives only while nobody else reads it. */
#include "core/graph/build.h"

#include <string.h>

typedef struct fuser {
    graft_graph *g;
    graft_value *map; /* [n_values] */
    int32_t *readers; /* [n_values] nodes, outputs and assignments that read it */
    const graft_op_record *affine, *neg, *matmul, *add, *sub, *mul, *fill, *reshape;
} fuser;

static graft_node *maker(fuser *f, graft_value v) { return v.id ? graft_graph_node(f->g, v) : NULL; }
static const graft_shape *shape_of(const fuser *f, graft_value v) { return &f->g->values[v.id].shape; }

static int same_shape(const fuser *f, graft_value a, graft_value b)
{
    const graft_shape *x = shape_of(f, a), *y = shape_of(f, b);
    int same = x->rank == y->rank && x->dtype == y->dtype;
    for (int32_t i = 0; same && i < x->rank; i++) same = x->dims[i] == y->dims[i];
    return same;
}

/* ---- bookkeeping --------------------------------------------------------------------------------------------------------------------------------------- */
static int unread(const fuser *f, const graft_node *n)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < n->n_out; i++) sum += f->readers[n->out[i].id];
    return sum == 0;
}

/* One reader of v less. A node that nobody reads any more no longer reads; chains are as deep as what was fused, so a loop along first inputs is enough
 * to keep the stack small: only second and later inputs recurse. */
static void drop(fuser *f, graft_value v)
{
    while (v.id) {
        graft_node *n = maker(f, v);
        f->readers[v.id]--;
        if (!n || !unread(f, n)) return;
        for (int32_t i = 1; i < n->n_in; i++) {
            const graft_value in = n->in[i];
            n->in[i] = graft_null_value();
            drop(f, in);
        }
        v = n->in[0];
        n->in[0] = graft_null_value();
    }
}

static void set_input(fuser *f, graft_node *n, int32_t i, graft_value v)
{
    const graft_value old = n->in[i];
    f->readers[v.id]++;
    n->in[i] = v;
    drop(f, old);
}

/* All readers of the output of n read v instead; n is gone. */
static void become(fuser *f, graft_node *n, graft_value v)
{
    const graft_value out = n->out[0];
    f->map[out.id] = v;
    f->readers[v.id] += f->readers[out.id];
    f->readers[out.id] = 1;
    drop(f, out);
}

static void set_real(graft_node *n, const char *key, double v)
{
    for (int32_t i = 0; i < n->n_attr; i++)
        if (!strcmp(n->attr[i].key, key)) n->attr[i].r = v;
}

/* ---- what a node is ------------------------------------------------------------------------------------------------------------------------------------ */
/* v = mul * *x + add? */
static int is_affine(fuser *f, graft_value v, graft_value *x, double *mul, double *add)
{
    const graft_node *n = maker(f, v);
    if (!n || (n->op != f->affine && n->op != f->neg)) return 0;
    *x = n->in[0];
    *mul = n->op == f->neg ? -1.0 : graft_node_real(n, "mul");
    *add = n->op == f->neg ? 0.0 : graft_node_real(n, "add");
    return 1;
}

static int is_filled(fuser *f, graft_value v, double with)
{
    const graft_node *n = maker(f, v);
    return n && n->op == f->fill && graft_node_real(n, "value") == with;
}

/* ---- rules ------------------------------------------------------------------------------------------------------------------------------------------------ */
static void fuse_affine(fuser *f, graft_node *n)
{
    graft_value x;
    double mul, add, inner_mul, inner_add;
    is_affine(f, n->out[0], &x, &mul, &add);
    graft_node *m = maker(f, x);
    if (mul == 1.0 && add == 0.0) {
        become(f, n, x);
    } else if (m && m->op == f->matmul && !m->in[2].id && add == 0.0 && f->readers[x.id] == 1) {
        set_real(m, "alpha", graft_node_real(m, "alpha") * mul);
        become(f, n, x);
    } else if (is_affine(f, x, &x, &inner_mul, &inner_add)) {
        if (mul * inner_mul == 1.0 && mul * inner_add + add == 0.0) {
            become(f, n, x);
        } else if (n->op == f->affine) {
            set_real(n, "mul", mul * inner_mul);
            set_real(n, "add", mul * inner_add + add);
            set_input(f, n, 0, x);
        }
    }
}

static void fuse_matmul(fuser *f, graft_node *n)
{
    graft_value x;
    double mul, add;
    for (int32_t k = 0; k < 2; k++) {
        if (!is_affine(f, n->in[k], &x, &mul, &add) || add != 0.0) continue;
        set_real(n, "alpha", graft_node_real(n, "alpha") * mul);
        set_input(f, n, k, x);
    }
    if (n->in[2].id && is_filled(f, n->in[2], 0.0)) set_input(f, n, 2, graft_null_value());
}

/* Makes the op that gives v add u to it, or an op further up the same sum. u must exist by then, and nobody but that sum may read what changes. */
static int sink(fuser *f, graft_value u, graft_value v)
{
    while (v.id && f->readers[v.id] == 1 && same_shape(f, u, v)) {
        graft_node *n = maker(f, v);
        const graft_value_info *info = &f->g->values[v.id];
        if (!n || f->g->values[u.id].node >= info->node) return 0;
        const int32_t slot = n->op->accumulate[info->index] - 1;
        if (slot >= 0 && (!n->in[slot].id || is_filled(f, n->in[slot], 0.0))) {
            set_input(f, n, slot, u);
            return 1;
        }
        if (slot >= 0) v = n->in[slot];
        else if (n->op == f->add) v = same_shape(f, n->in[0], v) ? n->in[0] : n->in[1]; /* matmul + bias */
        else return 0;
    }
    return 0;
}

static void fuse_add(fuser *f, graft_node *n)
{
    const graft_value x = n->in[0], y = n->in[1];
    if (is_filled(f, x, 0.0) && same_shape(f, y, n->out[0])) become(f, n, y);
    else if (is_filled(f, y, 0.0) && same_shape(f, x, n->out[0])) become(f, n, x);
    else if (sink(f, x, y)) become(f, n, y);
    else if (sink(f, y, x)) become(f, n, x);
}

static void fuse_mul(fuser *f, graft_node *n)
{
    const graft_value x = n->in[0], y = n->in[1];
    if (is_filled(f, x, 1.0) && same_shape(f, y, n->out[0])) become(f, n, y);
    else if (is_filled(f, y, 1.0) && same_shape(f, x, n->out[0])) become(f, n, x);
}

static void fuse_reshape(fuser *f, graft_node *n)
{
    const graft_node *m = maker(f, n->in[0]);
    if (m && m->op == f->reshape) set_input(f, n, 0, m->in[0]);
    if (same_shape(f, n->in[0], n->out[0])) become(f, n, n->in[0]);
}

static void fuse_node(fuser *f, graft_node *n)
{
    if (n->op == f->affine || n->op == f->neg) fuse_affine(f, n);
    else if (n->op == f->matmul) fuse_matmul(f, n);
    else if (n->op == f->add) fuse_add(f, n);
    else if (n->op == f->sub && is_filled(f, n->in[1], 0.0) && same_shape(f, n->in[0], n->out[0])) become(f, n, n->in[0]);
    else if (n->op == f->mul) fuse_mul(f, n);
    else if (n->op == f->reshape) fuse_reshape(f, n);
}

void graft_graph_fuse(graft_graph *g)
{
    graft_graph_prune(g);
    if (g->error.code) return;
    const int32_t n_map = g->n_values;
    fuser f = {.g = g, .affine = graft_op_find("affine/1"), .neg = graft_op_find("neg/1"), .matmul = graft_op_find("matmul/1"), .add = graft_op_find("add/1"), .sub = graft_op_find("sub/1"), .mul = graft_op_find("mul/1"), .fill = graft_op_find("fill/1"), .reshape = graft_op_find("reshape/1")};
    f.map = graft_build_alloc(g, (size_t)n_map, sizeof *f.map);
    f.readers = graft_build_alloc(g, (size_t)n_map, sizeof *f.readers);
    if (g->error.code) return;
    for (int32_t i = 0; i < g->n_nodes; i++)
        for (int32_t k = 0; k < g->nodes[i].n_in; k++) f.readers[g->nodes[i].in[k].id]++;
    for (int32_t i = 0; i < g->n_outputs; i++) f.readers[g->outputs[i].value.id]++;
    for (int32_t i = 0; i < n_map; i++) f.readers[g->values[i].assigned]++;
    for (int32_t i = 0; i < g->n_nodes; i++) {
        graft_node *n = &g->nodes[i];
        if (unread(&f, n)) continue;
        for (int32_t k = 0; k < n->n_in; k++) n->in[k] = graft_pass_resolve(f.map, n_map, n->in[k]);
        fuse_node(&f, n);
    }
    graft_pass_apply(g, f.map, n_map);
    graft_graph_prune(g);
}
