/* core/graph/ops/ops.c - the table of all op records and what the families share. */
#include "core/graph/ops/ops.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* ---- the table ---------------------------------------------------------------------------------------------------------------------- */
static const graft_op_record *const families[] = {
    graft_ops_elementwise, graft_ops_binary, graft_ops_reduce, graft_ops_matmul, graft_ops_index, graft_ops_movement, graft_ops_create, /* tier 0 */
    graft_ops_norm, graft_ops_softmax, graft_ops_rope, graft_ops_attention, graft_ops_attention_cached, graft_ops_mlp, graft_ops_dropout,
    graft_ops_moe, graft_ops_loss, graft_ops_optim};

enum { MOST = 128,
       SLOTS = 512 }; /* records; slots of the hash, a power of two */
static const graft_op_record *all[MOST], *slot[SLOTS];
static size_t n_all;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_table(void)
{
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        for (const graft_op_record *r = families[f]; r->name && n_all < MOST; r++) {
            size_t at = graft_op_id(r->name) & (SLOTS - 1);
            while (slot[at]) at = (at + 1) & (SLOTS - 1);
            slot[at] = all[n_all++] = r;
        }
    }
}

const graft_op_record *graft_op_find(const char *name)
{
    pthread_once(&once, fill_table);
    for (size_t at = graft_op_id(name) & (SLOTS - 1); slot[at]; at = (at + 1) & (SLOTS - 1)) {
        if (!strcmp(slot[at]->name, name)) return slot[at];
    }
    return NULL;
}

const graft_op_record *const *graft_op_all(size_t *n)
{
    pthread_once(&once, fill_table);
    *n = n_all;
    return all;
}

/* ---- shapes -------------------------------------------------------------------------------------------------------------------------- */
int graft_ops_has(const graft_node *n, int i) { return i < n->n_in && n->in[i].id != 0; }
graft_shape graft_ops_shape(const graft_graph *g, graft_value v) { return graft_graph_info(g, v)->shape; }
graft_shape graft_ops_vector(graft_dtype t, int64_t d) { return (graft_shape){t, 1, {d, 0, 0, 0}}; }

const char *graft_ops_text(const graft_shape *s, char out[128])
{
    static const char *const symbols[] = {"tokens", "sequences", "labelled", "cached"};
    size_t at = (size_t)snprintf(out, 128, "%s [", graft_dtype_name(s->dtype));
    for (int i = 0; i < s->rank && at < 100; i++) {
        const char *gap = i ? ", " : "";
        if (s->dims[i] < 0 && s->dims[i] >= -GRAFT_SYMBOLS) at += (size_t)snprintf(out + at, 128 - at, "%s%s", gap, symbols[-1 - s->dims[i]]);
        else at += (size_t)snprintf(out + at, 128 - at, "%s%lld", gap, (long long)s->dims[i]);
    }
    snprintf(out + at, 128 - at, "]");
    return out;
}

int graft_ops_equal(const graft_shape *x, const graft_shape *y)
{
    if (x->rank != y->rank) return 0;
    for (int i = 0; i < x->rank; i++) {
        if (x->dims[i] != y->dims[i]) return 0;
    }
    return 1;
}

int graft_ops_expect(graft_graph *g, const graft_node *n, int i, const char *what, int dtypes, int rank)
{
    char text[128];
    if (!graft_ops_has(n, i)) {
        graft_graph_error(g, "%s needs its input %s (number %d); it is absent", n->op->name, what, i);
        return -1;
    }
    const graft_shape s = graft_ops_shape(g, n->in[i]);
    if (!(1 << s.dtype & dtypes)) {
        const char *want = dtypes == GRAFT_OPS_I32 ? "i32" : dtypes == GRAFT_OPS_F32 ? "f32"
                                                         : dtypes == GRAFT_OPS_FLOAT ? "f32, bf16 or f16"
                                                                                     : "another type";
        graft_graph_error(g, "%s expects %s for %s, found %s", n->op->name, want, what, graft_ops_text(&s, text));
        return -1;
    }
    if (rank >= 0 && s.rank != rank) {
        graft_graph_error(g, "%s expects rank %d for %s, found %s", n->op->name, rank, what, graft_ops_text(&s, text));
        return -1;
    }
    return 0;
}

int graft_ops_same(graft_graph *g, const graft_node *n, int i, int j)
{
    char x[128], y[128];
    const graft_shape a = graft_ops_shape(g, n->in[i]), b = graft_ops_shape(g, n->in[j]);
    if (graft_ops_equal(&a, &b)) return 0;
    graft_graph_error(g, "%s expects the same shape for inputs %d and %d, found %s and %s", n->op->name, i, j, graft_ops_text(&a, x), graft_ops_text(&b, y));
    return -1;
}

int graft_ops_axis(graft_graph *g, const graft_node *n, const graft_shape *s, int *axis)
{
    char text[128];
    const int64_t at = graft_node_int(n, "axis");
    *axis = (int)at;
    if (at >= 0 && at < s->rank) return 0;
    graft_graph_error(g, "%s expects an axis below %d, found %lld for %s", n->op->name, s->rank, (long long)at, graft_ops_text(s, text));
    return -1;
}

int graft_ops_fixed(graft_graph *g, const graft_node *n, const graft_shape *s, int axis)
{
    char text[128];
    if (s->dims[axis] >= 0) return 0;
    graft_graph_error(g, "%s expects a constant size on axis %d, found %s", n->op->name, axis, graft_ops_text(s, text));
    return -1;
}

int graft_ops_dims(graft_graph *g, const graft_node *n, graft_shape *out)
{
    static const char *const keys[GRAFT_MAX_RANK] = {"d0", "d1", "d2", "d3"};
    const int64_t rank = graft_node_int(n, "rank");
    if (rank < 0 || rank > GRAFT_MAX_RANK) {
        graft_graph_error(g, "%s expects a rank between 0 and %d, found %lld", n->op->name, GRAFT_MAX_RANK, (long long)rank);
        return -1;
    }
    *out = (graft_shape){GRAFT_F32, (int32_t)rank, {0, 0, 0, 0}};
    for (int i = 0; i < rank; i++) {
        out->dims[i] = graft_node_int(n, keys[i]);
        if (out->dims[i] < -GRAFT_SYMBOLS) {
            graft_graph_error(g, "%s expects a size or a symbol for axis %d, found %lld", n->op->name, i, (long long)out->dims[i]);
            return -1;
        }
    }
    return 0;
}

int graft_ops_broadcast(graft_graph *g, const graft_node *n, const graft_shape *x, const graft_shape *y, graft_shape *out)
{
    char a[128], b[128];
    *out = (graft_shape){GRAFT_F32, x->rank > y->rank ? x->rank : y->rank, {0, 0, 0, 0}};
    for (int i = 0; i < out->rank; i++) {
        const int ix = x->rank - 1 - i, iy = y->rank - 1 - i;
        const int64_t dx = ix >= 0 ? x->dims[ix] : 1, dy = iy >= 0 ? y->dims[iy] : 1;
        if (dx != dy && dx != 1 && dy != 1) {
            graft_graph_error(g, "%s expects shapes that broadcast (equal or 1, from the right), found %s and %s", n->op->name, graft_ops_text(x, a),
                              graft_ops_text(y, b));
            return -1;
        }
        out->dims[out->rank - 1 - i] = dx == 1 ? dy : dx;
    }
    return 0;
}

/* ---- builders -------------------------------------------------------------------------------------------------------------------------- */
graft_value graft_ops_number(graft_graph *g, double v)
{
    return graft_fill(g->builder, 0, NULL, v);
}

graft_value graft_ops_filled(graft_graph *g, const graft_shape *s, double v) { return graft_fill(g->builder, s->rank, s->dims, v); }

graft_value graft_ops_reshape(graft_graph *g, graft_value x, const graft_shape *s)
{
    const graft_shape now = graft_ops_shape(g, x);
    return graft_ops_equal(&now, s) ? x : graft_reshape(g->builder, x, s->rank, s->dims);
}

graft_value graft_ops_shape2(graft_graph *g, graft_value x, int64_t d0, int64_t d1)
{
    const graft_shape s = {GRAFT_F32, 2, {d0, d1, 0, 0}};
    return graft_ops_reshape(g, x, &s);
}

graft_value graft_ops_reduce_to(graft_graph *g, graft_value dy, const graft_shape *s)
{
    const graft_shape from = graft_ops_shape(g, dy);
    const int lead = from.rank - s->rank;
    for (int i = 0; i < from.rank; i++) {
        const int64_t want = i < lead ? 1 : s->dims[i - lead];
        if (want == 1 && from.dims[i] != 1) dy = graft_sum(g->builder, dy, i);
    }
    return graft_ops_reshape(g, dy, s);
}

graft_value graft_ops_column(graft_graph *g, graft_value x, int64_t i) { return graft_slice(g->builder, x, 1, i, 1); }

graft_value graft_ops_iota(graft_graph *g, int64_t dim, int64_t d0, int64_t d1)
{
    return graft_ops_shape2(g, graft_cast(g->builder, graft_iota(g->builder, dim), GRAFT_F32), d0, d1);
}

graft_value graft_ops_square(graft_graph *g, graft_value x) { return graft_mul(g->builder, x, x); }
graft_value graft_ops_not(graft_graph *g, graft_value x) { return graft_affine(g->builder, x, -1.0, 1.0); }

graft_value graft_ops_emit(graft_graph *g, const graft_node *n, const char *name, int n_in, const graft_value *in)
{
    return g->builder->api->op(g->builder, name, n_in, in, n->n_attr, n->attr);
}

graft_value graft_ops_second(graft_graph *g, graft_value v, int index) { return g->builder->api->output(g->builder, v, index); }

double graft_ops_elements(const graft_graph *g, graft_value v, const int64_t extent[GRAFT_SYMBOLS])
{
    const graft_shape s = graft_ops_shape(g, v);
    return (double)graft_shape_elements(&s, extent);
}
