/* core/graph/ops/index.c - rows by number: gather and its transpose scatter_add. A negative number is a row of zeros that takes no gradient. */
#include "core/graph/ops/ops.h"

static int gather_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    if (graft_ops_expect(g, n, 0, "table", GRAFT_OPS_STORED, 2) || graft_ops_expect(g, n, 1, "ids", GRAFT_OPS_I32, 1)) return -1;
    const graft_shape table = graft_ops_shape(g, n->in[0]), ids = graft_ops_shape(g, n->in[1]);
    out[0] = (graft_shape){GRAFT_F32, 2, {ids.dims[0], table.dims[1], 0, 0}};
    return 0;
}

/* ids with the padding row's number made negative, so that scatter_add passes it over. Numbers below 2^24 pass f32 exactly. */
static graft_value without_padding(graft_graph *g, graft_value ids, int64_t padding)
{
    graft_builder *b = g->builder;
    const int64_t one = 1;
    if (padding < 0) return ids;
    const graft_value number = graft_cast(b, ids, GRAFT_F32);
    const graft_value hit = graft_equal(b, number, graft_fill(b, 1, &one, (double)padding));
    return graft_cast(b, graft_select(b, hit, graft_fill(b, 1, &one, -1.0), number), GRAFT_I32);
}

static void gather_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    if (!wants[0]) return;
    const graft_shape s = graft_ops_shape(g, n->in[0]);
    din[0] = graft_scatter_add(g->builder, graft_ops_filled(g, &s, 0.0), dout[0], without_padding(g, n->in[1], graft_node_int(n, "padding")));
}

static int scatter_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char a[128], b[128], c[128];
    if (graft_ops_expect(g, n, 0, "base", GRAFT_OPS_F32, 2) || graft_ops_expect(g, n, 1, "src", GRAFT_OPS_F32, 2) ||
        graft_ops_expect(g, n, 2, "ids", GRAFT_OPS_I32, 1))
        return -1;
    const graft_shape base = graft_ops_shape(g, n->in[0]), src = graft_ops_shape(g, n->in[1]), ids = graft_ops_shape(g, n->in[2]);
    out[0] = base;
    if (src.dims[1] == base.dims[1] && src.dims[0] == ids.dims[0]) return 0;
    graft_graph_error(g, "%s expects base [n, d], src [m, d] and ids [m], found %s, %s and %s", n->op->name, graft_ops_text(&base, a), graft_ops_text(&src, b),
                      graft_ops_text(&ids, c));
    return -1;
}

static void scatter_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    if (wants[0]) din[0] = dout[0];
    if (wants[1]) din[1] = graft_gather(g->builder, dout[0], n->in[2]);
}

const graft_op_record graft_ops_index[] = {
    {
        .name = "gather/1",
        .attrs = {{"padding", GRAFT_ATTR_INT, 0, -1.0}},
        .flags = GRAFT_OP_PRIMITIVE | GRAFT_OP_CHEAP,
        .min_in = 2,
        .max_in = 2,
        .n_out = 1,
        .shape = gather_shape,
        .backward = gather_backward,
    },
    {
        .name = "scatter_add/1",
        .flags = GRAFT_OP_PRIMITIVE,
        .min_in = 3,
        .max_in = 3,
        .n_out = 1,
        .shape = scatter_shape,
        .backward = scatter_backward,
        .inplace = {1},
        .accumulate = {1},
    },
    {.name = NULL},
};
