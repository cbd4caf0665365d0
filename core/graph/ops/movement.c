/* core/graph/ops/movement.c - the same elements in other places: reshape, broadcast, permute, slice, pad, concat. f32 or i32. */
#include "core/graph/ops/ops.h"

#define BACKWARD(name) static void name(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)

static int64_t dim_attr(const graft_node *n, int i)
{
    static const char *const keys[GRAFT_MAX_RANK] = {"d0", "d1", "d2", "d3"};
    return graft_node_int(n, keys[i]);
}

/* The number of elements as a constant and how often each symbol is a factor. 0, or -1 on overflow. */
static int count(const graft_shape *s, int64_t *constant, int symbols[GRAFT_SYMBOLS])
{
    *constant = 1;
    for (int i = 0; i < GRAFT_SYMBOLS; i++) symbols[i] = 0;
    for (int i = 0; i < s->rank; i++) {
        if (s->dims[i] < 0) symbols[-1 - s->dims[i]]++;
        else if (graft_mul_overflows(*constant, s->dims[i], constant)) return -1;
    }
    return 0;
}

static int reshape_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char a[128], b[128];
    int64_t from, to;
    int sf[GRAFT_SYMBOLS], st[GRAFT_SYMBOLS];
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_ANY, -1) || graft_ops_dims(g, n, out)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]);
    out[0].dtype = x.dtype;
    int good = count(&x, &from, sf) == 0 && count(out, &to, st) == 0 && from == to;
    for (int i = 0; good && i < GRAFT_SYMBOLS; i++) good = sf[i] == st[i];
    if (good) return 0;
    graft_graph_error(g, "%s expects the same number of elements, found %s for %s", n->op->name, graft_ops_text(&x, a), graft_ops_text(&out[0], b));
    return -1;
}

BACKWARD(reshape_backward)
{
    const graft_shape s = graft_ops_shape(g, n->in[0]);
    if (wants[0]) din[0] = graft_ops_reshape(g, dout[0], &s);
}

static int broadcast_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char a[128], b[128];
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_ANY, -1) || graft_ops_dims(g, n, out)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]);
    out[0].dtype = x.dtype;
    int good = x.rank <= out[0].rank;
    for (int i = 0; good && i < x.rank; i++) good = x.dims[i] == 1 || x.dims[i] == out[0].dims[out[0].rank - x.rank + i];
    if (good) return 0;
    graft_graph_error(g, "%s expects axes that are equal or 1, from the right, found %s for %s", n->op->name, graft_ops_text(&x, a), graft_ops_text(&out[0], b));
    return -1;
}

BACKWARD(broadcast_backward)
{
    const graft_shape s = graft_ops_shape(g, n->in[0]);
    if (wants[0]) din[0] = graft_ops_reduce_to(g, dout[0], &s);
}

static int permute_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char text[128];
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_ANY, -1)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]);
    int seen = 0;
    out[0] = x;
    for (int i = 0; i < x.rank; i++) {
        const int64_t p = dim_attr(n, i);
        if (p < 0 || p >= x.rank) break;
        seen |= 1 << p;
        out[0].dims[i] = x.dims[p];
    }
    if (graft_node_int(n, "rank") == x.rank && seen == (1 << x.rank) - 1) return 0;
    graft_graph_error(g, "%s expects an order of the %d axes of %s", n->op->name, x.rank, graft_ops_text(&x, text));
    return -1;
}

BACKWARD(permute_backward)
{
    int64_t back[GRAFT_MAX_RANK] = {0};
    const graft_shape s = graft_ops_shape(g, n->in[0]);
    for (int i = 0; i < s.rank; i++) back[dim_attr(n, i)] = i;
    if (wants[0]) din[0] = graft_permute(g->builder, dout[0], s.rank, back);
}

static int slice_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char text[128];
    int axis;
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_ANY, -1)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]);
    if (graft_ops_axis(g, n, &x, &axis) || graft_ops_fixed(g, n, &x, axis)) return -1;
    const int64_t begin = graft_node_int(n, "begin"), length = graft_node_int(n, "length");
    if (begin < 0 || length < 0 || begin > x.dims[axis] || length > x.dims[axis] - begin) {
        graft_graph_error(g, "%s of %lld elements from %lld is outside axis %d of %s", n->op->name, (long long)length, (long long)begin, axis, graft_ops_text(&x, text));
        return -1;
    }
    out[0] = x;
    out[0].dims[axis] = length;
    return 0;
}

BACKWARD(slice_backward)
{
    const int axis = (int)graft_node_int(n, "axis");
    const int64_t begin = graft_node_int(n, "begin"), length = graft_node_int(n, "length");
    const graft_shape s = graft_ops_shape(g, n->in[0]);
    if (wants[0]) din[0] = graft_pad(g->builder, dout[0], axis, begin, s.dims[axis] - begin - length);
}

static int pad_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    int axis;
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_ANY, -1)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]);
    if (graft_ops_axis(g, n, &x, &axis) || graft_ops_fixed(g, n, &x, axis)) return -1;
    const int64_t before = graft_node_int(n, "before"), after = graft_node_int(n, "after");
    out[0] = x;
    if (before >= 0 && after >= 0 && !graft_add_overflows(out[0].dims[axis], before, &out[0].dims[axis]) &&
        !graft_add_overflows(out[0].dims[axis], after, &out[0].dims[axis]))
        return 0;
    graft_graph_error(g, "%s expects lengths of 0 or more, found %lld and %lld", n->op->name, (long long)before, (long long)after);
    return -1;
}

BACKWARD(pad_backward)
{
    const int axis = (int)graft_node_int(n, "axis");
    const graft_shape s = graft_ops_shape(g, n->in[0]);
    if (wants[0]) din[0] = graft_slice(g->builder, dout[0], axis, graft_node_int(n, "before"), s.dims[axis]);
}

static int concat_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char a[128], b[128];
    int axis;
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_ANY, -1) || graft_ops_expect(g, n, 1, "y", GRAFT_OPS_ANY, -1)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]), y = graft_ops_shape(g, n->in[1]);
    if (graft_ops_axis(g, n, &x, &axis) || graft_ops_fixed(g, n, &x, axis)) return -1;
    graft_shape rest = y;
    if (axis < y.rank) rest.dims[axis] = x.dims[axis];
    if (x.dtype != y.dtype || !graft_ops_equal(&x, &rest) || y.dims[axis] < 0) {
        graft_graph_error(g, "%s expects shapes that differ on axis %d alone, found %s and %s", n->op->name, axis, graft_ops_text(&x, a), graft_ops_text(&y, b));
        return -1;
    }
    out[0] = x;
    if (!graft_add_overflows(x.dims[axis], y.dims[axis], &out[0].dims[axis])) return 0;
    graft_graph_error(g, "%s is too long", n->op->name);
    return -1;
}

BACKWARD(concat_backward)
{
    const int axis = (int)graft_node_int(n, "axis");
    const graft_shape x = graft_ops_shape(g, n->in[0]), y = graft_ops_shape(g, n->in[1]);
    if (wants[0]) din[0] = graft_slice(g->builder, dout[0], axis, 0, x.dims[axis]);
    if (wants[1]) din[1] = graft_slice(g->builder, dout[0], axis, x.dims[axis], y.dims[axis]);
}

#define MOVE(name_, more_, in_, ...)                                                                                                                   \
    {                                                                                                                                                  \
        .name = #name_ "/1", .flags = GRAFT_OP_PRIMITIVE | GRAFT_OP_CHEAP | (more_), .min_in = in_, .max_in = in_, .n_out = 1, .shape = name_##_shape, \
        .backward = name_##_backward, .attrs = { __VA_ARGS__ }                                                                                         \
    }

const graft_op_record graft_ops_movement[] = {
    MOVE(reshape, GRAFT_OP_ALIAS, 1, GRAFT_ATTR_DIMS),
    MOVE(broadcast, 0, 1, GRAFT_ATTR_DIMS),
    MOVE(permute, 0, 1, GRAFT_ATTR_DIMS),
    MOVE(slice, 0, 1, GRAFT_ATTR_NEED("axis", INT), GRAFT_ATTR_NEED("begin", INT), GRAFT_ATTR_NEED("length", INT)),
    MOVE(pad, 0, 1, GRAFT_ATTR_NEED("axis", INT), GRAFT_ATTR_NEED("before", INT), GRAFT_ATTR_NEED("after", INT)),
    MOVE(concat, 0, 2, GRAFT_ATTR_NEED("axis", INT)),
    {.name = NULL},
};
