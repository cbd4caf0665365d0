/* core/graph/ops/create.c - values from nothing (fill, iota, random, training) and between element types (cast). None passes a gradient, but cast among floats. */
#include "core/graph/ops/ops.h"

static void no_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    (void)g, (void)n, (void)dout, (void)wants, (void)din;
}

static int dims_shape(graft_graph *g, const graft_node *n, graft_shape *out) { return graft_ops_dims(g, n, out); }

static int iota_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    out[0] = graft_ops_vector(GRAFT_I32, graft_node_int(n, "d0"));
    if (out[0].dims[0] >= -GRAFT_SYMBOLS) return 0;
    graft_graph_error(g, "%s expects a size or a symbol, found %lld", n->op->name, (long long)out[0].dims[0]);
    return -1;
}

static int training_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    (void)g, (void)n;
    out[0] = graft_ops_vector(GRAFT_F32, 1);
    return 0;
}

static int cast_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    const int64_t to = graft_node_int(n, "dtype");
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_STORED | GRAFT_OPS_I32, -1)) return -1;
    if (to < 1 || to > GRAFT_INT8 || !(1 << to & GRAFT_OPS_ANY)) {
        graft_graph_error(g, "%s expects f32, bf16, f16 or i32 as the new type, found type %lld", n->op->name, (long long)to);
        return -1;
    }
    out[0] = graft_ops_shape(g, n->in[0]);
    out[0].dtype = (graft_dtype)to;
    return 0;
}

static void cast_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    const graft_shape x = graft_ops_shape(g, n->in[0]), y = graft_ops_shape(g, n->out[0]);
    if (wants[0] && x.dtype != GRAFT_I32 && y.dtype != GRAFT_I32) din[0] = dout[0];
}

const graft_op_record graft_ops_create[] = {
    {
        .name = "cast/1",
        .flags = GRAFT_OP_PRIMITIVE | GRAFT_OP_CHEAP,
        .min_in = 1,
        .max_in = 1,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_NEED("dtype", INT)},
        .shape = cast_shape,
        .backward = cast_backward,
    },
    {
        .name = "fill/1",
        .flags = GRAFT_OP_PRIMITIVE | GRAFT_OP_CHEAP,
        .min_in = 0,
        .max_in = 0,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_DIMS, GRAFT_ATTR_NEED("value", REAL)},
        .shape = dims_shape,
        .backward = no_backward,
    },
    {
        .name = "iota/1",
        .flags = GRAFT_OP_PRIMITIVE | GRAFT_OP_CHEAP,
        .min_in = 0,
        .max_in = 0,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_NEED("d0", INT)},
        .shape = iota_shape,
        .backward = no_backward,
    },
    {
        .name = "random/1",
        .flags = GRAFT_OP_PRIMITIVE | GRAFT_OP_CHEAP,
        .min_in = 0,
        .max_in = 0,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_DIMS, GRAFT_ATTR_MAY("stream", INT, 0)},
        .shape = dims_shape,
        .backward = no_backward,
    },
    {
        .name = "training/1",
        .flags = GRAFT_OP_PRIMITIVE | GRAFT_OP_CHEAP,
        .min_in = 0,
        .max_in = 0,
        .n_out = 1,
        .shape = training_shape,
        .backward = no_backward,
    },
    {.name = NULL},
};
