/* core/graph/ops/attention_cached.c - attention of new tokens over a key/value cache: q, k, v, seq, k_extra, v_extra, k_cache, v_cache -> o, k_cache, v_cache.
 * Sequence s = (first, rows, cache_first, cached): its rows of k and v go to cache rows cache_first + cached .., and its query at row first + i sees
 * cache rows cache_first .. cache_first + cached + i, the last `window` of them. For generation only: no gradient. */
#include "core/graph/ops/attention.h"

static int shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char x[128], y[128];
    graft_ops_heads a;
    if (graft_ops_heads_of(g, n, &a) || graft_ops_expect(g, n, 6, "k_cache", GRAFT_OPS_F32, 2) || graft_ops_expect(g, n, 7, "v_cache", GRAFT_OPS_F32, 2) ||
        graft_ops_same(g, n, 6, 7))
        return -1;
    const graft_shape k = graft_ops_shape(g, n->in[1]), cache = graft_ops_shape(g, n->in[6]);
    out[0] = graft_ops_shape(g, n->in[0]);
    out[1] = out[2] = cache;
    if (cache.dims[1] == k.dims[1]) return 0;
    graft_graph_error(g, "%s expects caches as wide as k %s, found %s", n->op->name, graft_ops_text(&k, x), graft_ops_text(&cache, y));
    return -1;
}

/* cache with the rows `ids` of it set to `rows`: cleared first, since a cache may hold anything there. */
static graft_value put(graft_graph *g, graft_value cache, graft_value rows, graft_value ids)
{
    graft_builder *b = g->builder;
    const graft_shape c = graft_ops_shape(g, cache), r = graft_ops_shape(g, rows);
    const int64_t flags[] = {c.dims[0], 1}, ones[] = {r.dims[0], 1};
    const graft_value hit = graft_scatter_add(b, graft_fill(b, 2, flags, 0.0), graft_fill(b, 2, ones, 1.0), ids);
    const graft_value keep = graft_less(b, hit, graft_ops_number(g, 0.5));
    return graft_scatter_add(b, graft_select(b, keep, cache, graft_ops_number(g, 0.0)), rows, ids);
}

/* For each token the value of its sequence in column [S, 1]; [T, 1]. Added up, not multiplied as matrices: those may be rounded. */
static graft_value pick(graft_graph *g, const graft_ops_heads *a, graft_value member, graft_value column)
{
    return graft_ops_shape2(g, graft_sum(g->builder, graft_mul(g->builder, member, column), 0), a->T, 1);
}

static void decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_ops_heads a = graft_ops_heads_read(g, n);
    const int64_t C = graft_ops_shape(g, n->in[6]).dims[0], flat[] = {a.T};
    const graft_value seq = n->in[3], member = graft_ops_member(g, &a, seq), inside = graft_ops_inside(g, &a, member);
    const graft_value first = graft_ops_seq(g, seq, 0), cache_first = graft_ops_seq(g, seq, 2), cached = graft_ops_seq(g, seq, 3);
    const graft_value low = pick(g, &a, member, cache_first);
    const graft_value at = graft_add(b, pick(g, &a, member, graft_sub(b, graft_add(b, cache_first, cached), first)), graft_ops_iota(g, a.T, a.T, 1));
    const graft_value ids = graft_cast(b, graft_reshape(b, graft_select(b, inside, at, graft_ops_number(g, -1.0)), 1, flat), GRAFT_I32);
    out[1] = put(g, n->in[6], n->in[1], ids);
    out[2] = put(g, n->in[7], n->in[2], ids);

    const graft_value c = graft_ops_iota(g, C, 1, C);
    graft_value mask = graft_mul(b, graft_ops_not(g, graft_less(b, c, low)), graft_ops_not(g, graft_less(b, at, c)));
    if (a.window) mask = graft_mul(b, mask, graft_less(b, graft_sub(b, at, c), graft_ops_number(g, (double)a.window)));
    graft_ops_keys part[2] = {{graft_ops_heads_split(g, &a, out[1], C, 1), graft_ops_heads_split(g, &a, out[2], C, 1), graft_mul(b, mask, inside), C}};
    int parts = 1;
    if (graft_ops_has(n, 4)) {
        const int64_t m = graft_ops_shape(g, n->in[4]).dims[0];
        part[parts++] = (graft_ops_keys){graft_ops_heads_split(g, &a, n->in[4], m, 1), graft_ops_heads_split(g, &a, n->in[5], m, 1), inside, m};
    }
    graft_value o, lse;
    graft_ops_attend(g, &a, graft_ops_heads_split(g, &a, n->in[0], a.T, a.group), parts, part, &o, &lse);
    out[0] = graft_ops_heads_join(g, &a, o, a.T, a.group);
}

static double flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS])
{
    const int64_t C = graft_ops_shape(g, n->in[6]).dims[0];
    return graft_ops_attention_flops(g, n, extent, (double)(C < 0 ? extent[-1 - C] : C));
}

const graft_op_record graft_ops_attention_cached[] = {
    {
        .name = "attention_cached/1",
        .flags = GRAFT_OP_KV,
        .optional = 1u << 4 | 1u << 5,
        .min_in = 8,
        .max_in = 8,
        .n_out = 3,
        .attrs = GRAFT_ATTR_HEADS,
        .shape = shape,
        .decompose = decompose,
        .inplace = {0, 7, 8},
        .flops = flops,
    },
    {.name = NULL},
};
