/* backends/reference/movement.c - the same elements in other places. Each kernel says for an element of the result where it comes from. */
#include "element.h"

static const char *const dim_keys[GRAFT_MAX_RANK] = {"d0", "d1", "d2", "d3"};

static graft_status do_reshape(const ref_call *c)
{
    if (c->in[0].data == c->out[0].data) return GRAFT_OK;
    for (int64_t i = 0; i < c->out[0].n; i++) ref_put(&c->out[0], i, ref_get(&c->in[0], i));
    return GRAFT_OK;
}

static graft_status do_broadcast(const ref_call *c)
{
    for (int64_t i = 0; i < c->out[0].n; i++) ref_put(&c->out[0], i, ref_get(&c->in[0], ref_offset(&c->in[0], &c->out[0], i)));
    return GRAFT_OK;
}

static graft_status do_permute(const ref_call *c)
{
    const ref_view *x = &c->in[0], *y = &c->out[0];
    int64_t stride[GRAFT_MAX_RANK], from[GRAFT_MAX_RANK] = {0}; /* of x's axes; of the axis of x that each axis of y is */
    int64_t s = 1;
    for (int i = x->rank - 1; i >= 0; i--) stride[i] = s, s *= x->dims[i];
    for (int i = 0; i < y->rank; i++) from[i] = stride[ref_int(c, dim_keys[i])];
    for (int64_t i = 0; i < y->n; i++) {
        int64_t rest = i, at = 0;
        for (int k = y->rank - 1; k >= 0; k--) {
            at += rest % y->dims[k] * from[k];
            rest /= y->dims[k];
        }
        ref_put(y, i, ref_get(x, at));
    }
    return GRAFT_OK;
}

/* Axis `axis` of y is a window into x that begins at `begin` (negative: before it); what is outside x is 0, or left alone. */
static void window(const ref_view *x, const ref_view *y, int axis, int64_t begin, int clear)
{
    int64_t inner = 1;
    for (int i = axis + 1; i < y->rank; i++) inner *= y->dims[i];
    for (int64_t i = 0; i < y->n; i++) {
        const int64_t at = i / inner % y->dims[axis] + begin, outer = i / inner / y->dims[axis];
        if (at >= 0 && at < x->dims[axis]) ref_put(y, i, ref_get(x, (outer * x->dims[axis] + at) * inner + i % inner));
        else if (clear) ref_put(y, i, 0.0);
    }
}

static graft_status do_slice(const ref_call *c)
{
    window(&c->in[0], &c->out[0], (int)ref_int(c, "axis"), ref_int(c, "begin"), 1);
    return GRAFT_OK;
}

static graft_status do_pad(const ref_call *c)
{
    window(&c->in[0], &c->out[0], (int)ref_int(c, "axis"), -ref_int(c, "before"), 1);
    return GRAFT_OK;
}

static graft_status do_concat(const ref_call *c)
{
    const int axis = (int)ref_int(c, "axis");
    window(&c->in[0], &c->out[0], axis, 0, 0);
    window(&c->in[1], &c->out[0], axis, -c->in[0].dims[axis], 0);
    return GRAFT_OK;
}

static int same_count(const ref_call *c) { return !c->out[0].there || (c->in[0].n == c->out[0].n && c->in[0].dtype == c->out[0].dtype); }
static int broadcast_fits(const ref_call *c) { return !c->out[0].there || (ref_broadcasts(&c->in[0], &c->out[0]) && c->in[0].dtype == c->out[0].dtype); }

static int permute_fits(const ref_call *c)
{
    const ref_view *x = &c->in[0], *y = &c->out[0];
    int seen = 0;
    for (int i = 0; i < x->rank; i++) {
        const int64_t p = ref_int(c, dim_keys[i]);
        if (p < 0 || p >= x->rank || (y->there && (y->rank != x->rank || y->dims[i] != x->dims[p]))) return 0;
        seen |= 1 << p;
    }
    return seen == (1 << x->rank) - 1;
}

/* All axes but `axis` are equal, and that one has this length. */
static int fits_but(const ref_view *x, const ref_view *y, int64_t axis, int64_t length)
{
    ref_view want = *x;
    if (axis < 0 || axis >= x->rank || length < 0) return 0;
    want.dims[axis] = length;
    return ref_same(&want, y) && (!y->there || x->dtype == y->dtype);
}

static int slice_fits(const ref_call *c)
{
    const int64_t axis = ref_int(c, "axis"), begin = ref_int(c, "begin"), length = ref_int(c, "length");
    return fits_but(&c->in[0], &c->out[0], axis, length) && begin >= 0 && begin <= c->in[0].dims[axis] - length;
}

static int pad_fits(const ref_call *c)
{
    const int64_t axis = ref_int(c, "axis"), before = ref_int(c, "before"), after = ref_int(c, "after");
    return axis >= 0 && axis < c->in[0].rank && before >= 0 && after >= 0 && fits_but(&c->in[0], &c->out[0], axis, c->in[0].dims[axis] + before + after);
}

static int concat_fits(const ref_call *c)
{
    const int64_t axis = ref_int(c, "axis");
    const ref_view *x = &c->in[0], *y = &c->in[1];
    return axis >= 0 && axis < x->rank && x->rank == y->rank && fits_but(x, y, axis, y->dims[axis]) && fits_but(x, &c->out[0], axis, x->dims[axis] + y->dims[axis]);
}

const ref_op ref_movement[] = {
    {.name = "reshape/1", .in = "a", .n_out = 1, .run = do_reshape, .fits = same_count},
    {.name = "broadcast/1", .in = "a", .n_out = 1, .run = do_broadcast, .fits = broadcast_fits},
    {.name = "permute/1", .in = "a", .n_out = 1, .attrs = {"d0", "d1", "d2", "d3"}, .run = do_permute, .fits = permute_fits},
    {.name = "slice/1", .in = "a", .n_out = 1, .attrs = {"axis", "begin", "length"}, .run = do_slice, .fits = slice_fits},
    {.name = "pad/1", .in = "a", .n_out = 1, .attrs = {"axis", "before", "after"}, .run = do_pad, .fits = pad_fits},
    {.name = "concat/1", .in = "aa", .n_out = 1, .attrs = {"axis"}, .run = do_concat, .fits = concat_fits},
    {.name = NULL},
};
