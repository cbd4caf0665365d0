/* core/graph/ops/rope.c - rotary positions (Su et al. 2021): each pair (u, v) of a head turns by the angle a = pos * inv_freq:
 *
 *   u' = scale (u cos a - v sin a)        v' = scale (v cos a + u sin a)        inverse: a -> -a
 *
 * The map is linear, so its gradient is the same op turned back. */
#include "core/graph/ops/ops.h"

static int shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char text[128], more[128];
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32, 2) || graft_ops_expect(g, n, 1, "pos", GRAFT_OPS_I32, 1) ||
        graft_ops_expect(g, n, 2, "inv_freq", GRAFT_OPS_F32, 1))
        return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]), pos = graft_ops_shape(g, n->in[1]), freq = graft_ops_shape(g, n->in[2]);
    const int64_t head = graft_node_int(n, "head");
    out[0] = x;
    if (pos.dims[0] != x.dims[0]) {
        graft_graph_error(g, "%s expects a position for each row of x %s, found %s", n->op->name, graft_ops_text(&x, text), graft_ops_text(&pos, more));
        return -1;
    }
    if (head > 0 && x.dims[1] >= 0 && x.dims[1] % head == 0 && freq.dims[0] >= 1 && freq.dims[0] <= head / 2) return 0;
    graft_graph_error(g, "%s expects x [T, n * head] and inv_freq [r / 2] with r <= head, found %s, head %lld and r %lld", n->op->name, graft_ops_text(&x, text),
                      (long long)head, (long long)(2 * freq.dims[0]));
    return -1;
}

static void decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_shape x = graft_ops_shape(g, n->in[0]), freq = graft_ops_shape(g, n->in[2]);
    const int64_t T = x.dims[0], head = graft_node_int(n, "head"), heads = x.dims[1] / head, half = freq.dims[0];
    const int mixed = graft_node_int(n, "interleaved") != 0;
    const double scale = graft_node_real(n, "scale"), turn = graft_node_int(n, "inverse") ? -scale : scale;
    const int64_t split[] = {T, heads, head}, pairs[] = {T, heads, half, 2}, line[] = {T, 1, half}, part[] = {T, heads, half}, turned[] = {T, heads, 2 * half};
    const graft_value pos = graft_ops_shape2(g, graft_cast(b, n->in[1], GRAFT_F32), T, 1);
    const graft_value angle = graft_reshape(b, graft_mul(b, pos, graft_ops_shape2(g, n->in[2], 1, half)), 3, line);
    const graft_value c = graft_scale(b, graft_cos(b, angle), scale), s = graft_scale(b, graft_sin(b, angle), turn);
    const graft_value all = graft_reshape(b, n->in[0], 3, split), rot = graft_slice(b, all, 2, 0, 2 * half);
    graft_value u, v, y;
    if (mixed) {
        const graft_value p = graft_reshape(b, rot, 4, pairs);
        u = graft_reshape(b, graft_slice(b, p, 3, 0, 1), 3, part), v = graft_reshape(b, graft_slice(b, p, 3, 1, 1), 3, part);
    } else {
        u = graft_slice(b, rot, 2, 0, half), v = graft_slice(b, rot, 2, half, half);
    }
    const graft_value u2 = graft_sub(b, graft_mul(b, u, c), graft_mul(b, v, s)), v2 = graft_add(b, graft_mul(b, v, c), graft_mul(b, u, s));
    if (mixed) {
        const int64_t one[] = {T, heads, half, 1};
        y = graft_reshape(b, graft_concat(b, graft_reshape(b, u2, 4, one), graft_reshape(b, v2, 4, one), 3), 3, turned);
    } else {
        y = graft_concat(b, u2, v2, 2);
    }
    if (2 * half < head) y = graft_concat(b, y, graft_slice(b, all, 2, 2 * half, head - 2 * half), 2);
    out[0] = graft_reshape(b, y, 2, x.dims);
}

static void backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    if (wants[2]) {
        graft_graph_error(g, "%s passes no gradient to inv_freq", n->op->name);
        return;
    }
    const graft_value in[] = {dout[0], n->in[1], n->in[2]};
    const graft_attr at[] = {GRAFT_INTA("head", graft_node_int(n, "head")), GRAFT_REALA("scale", graft_node_real(n, "scale")),
                             GRAFT_INTA("interleaved", graft_node_int(n, "interleaved")), GRAFT_INTA("inverse", !graft_node_int(n, "inverse"))};
    if (wants[0]) din[0] = g->builder->api->op(g->builder, "rope/1", 3, in, 4, at);
}

static double flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]) { return 3.0 * graft_ops_elements(g, n->in[0], extent); }

const graft_op_record graft_ops_rope[] = {
    {
        .name = "rope/1",
        .flags = GRAFT_OP_CHEAP,
        .min_in = 3,
        .max_in = 3,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_NEED("head", INT), GRAFT_ATTR_MAY("scale", REAL, 1.0), GRAFT_ATTR_MAY("interleaved", INT, 0), GRAFT_ATTR_MAY("inverse", INT, 0)},
        .shape = shape,
        .decompose = decompose,
        .backward = backward,
        .inplace = {1},
        .flops = flops,
    },
    {.name = NULL},
};
