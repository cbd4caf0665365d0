/* backends/opencl/movement.c - the same elements in other places: one kernel that says for an element of the result where it comes from. */
#include "opencl.h"

static const char *const dim_keys[GRAFT_MAX_RANK] = {"d0", "d1", "d2", "d3"};

typedef struct motion {
    int axis, clear; /* outside [low, high) of the axis the result is 0, or left alone */
    int64_t begin, low, high, dims[4], from[4];
} motion;

static graft_status go(const ocl_call *c, const ocl_view *x, const motion *m)
{
    const ocl_view *y = &c->out[0];
    return ocl_launch_1d(c, OCL_K_move, y->n, "ttliiilllvv", x, y, y->n, (int)ocl_size(y->dtype), m->axis, m->clear, m->begin, m->low, m->high, m->dims, m->from);
}

/* All of y, its axes at the right of four. */
static motion whole(const ocl_view *y)
{
    motion m = {.low = 0, .high = 1, .dims = {1, 1, 1, 1}};
    for (int i = 0; i < y->rank; i++) m.dims[4 - y->rank + i] = y->dims[i];
    m.high = m.dims[0];
    return m;
}

static void strides_of(const ocl_view *x, int64_t strides[GRAFT_MAX_RANK])
{
    int64_t s = 1;
    for (int i = x->rank - 1; i >= 0; i--) strides[i] = s, s *= x->dims[i];
}

static graft_status do_reshape(const ocl_call *c) { return ocl_copy(c, &c->in[0], &c->out[0], c->out[0].n * ocl_size(c->out[0].dtype)); }

static graft_status do_broadcast(const ocl_call *c)
{
    const ocl_view *x = &c->in[0];
    motion m = whole(&c->out[0]);
    int64_t strides[GRAFT_MAX_RANK] = {0};
    strides_of(x, strides);
    for (int i = 0; i < x->rank; i++) m.from[4 - x->rank + i] = x->dims[i] == 1 ? 0 : strides[i];
    return go(c, x, &m);
}

static graft_status do_permute(const ocl_call *c)
{
    const ocl_view *y = &c->out[0];
    motion m = whole(y);
    int64_t strides[GRAFT_MAX_RANK] = {0};
    strides_of(&c->in[0], strides);
    for (int i = 0; i < y->rank; i++) m.from[4 - y->rank + i] = strides[ocl_int(c, dim_keys[i])];
    return go(c, &c->in[0], &m);
}

/* Axis `axis` of y is a window into x that begins at `begin` (negative: before it). */
static graft_status window(const ocl_call *c, const ocl_view *x, int axis, int64_t begin, int clear)
{
    const ocl_view *y = &c->out[0];
    motion m = whole(y);
    int64_t strides[GRAFT_MAX_RANK] = {0};
    strides_of(x, strides);
    m.axis = 4 - y->rank + axis, m.clear = clear;
    for (int i = 0; i < y->rank; i++) m.from[4 - y->rank + i] = strides[i];
    m.begin = begin * strides[axis], m.low = -begin, m.high = x->dims[axis] - begin;
    return go(c, x, &m);
}

static graft_status do_slice(const ocl_call *c) { return window(c, &c->in[0], (int)ocl_int(c, "axis"), ocl_int(c, "begin"), 1); }
static graft_status do_pad(const ocl_call *c) { return window(c, &c->in[0], (int)ocl_int(c, "axis"), -ocl_int(c, "before"), 1); }

static graft_status do_concat(const ocl_call *c)
{
    const int axis = (int)ocl_int(c, "axis");
    const graft_status status = window(c, &c->in[0], axis, 0, 0);
    return status ? status : window(c, &c->in[1], axis, -c->in[0].dims[axis], 0);
}

/* ---- shapes ------------------------------------------------------------------------------------------------------------------------------------ */
static int same_type(const ocl_call *c) { return c->in[0].dtype == c->out[0].dtype; }
static int reshape_fits(const ocl_call *c) { return same_type(c) && c->in[0].n == c->out[0].n; }
static int broadcast_fits(const ocl_call *c) { return same_type(c) && ocl_broadcasts(&c->in[0], &c->out[0]); }

static int permute_fits(const ocl_call *c)
{
    const ocl_view *x = &c->in[0], *y = &c->out[0];
    int seen = 0;
    for (int i = 0; i < x->rank; i++) {
        const int64_t p = ocl_int(c, dim_keys[i]);
        if (p < 0 || p >= x->rank || y->rank != x->rank || y->dims[i] != x->dims[p]) return 0;
        seen |= 1 << p;
    }
    return same_type(c) && seen == (1 << x->rank) - 1;
}

/* All axes but `axis` are equal, and that one has this length. */
static int fits_but(const ocl_view *x, const ocl_view *y, int64_t axis, int64_t length)
{
    ocl_view want = *x;
    if (axis < 0 || axis >= x->rank || length < 0) return 0;
    want.dims[axis] = length;
    return ocl_same(&want, y) && x->dtype == y->dtype;
}

static int slice_fits(const ocl_call *c)
{
    const int64_t axis = ocl_int(c, "axis"), begin = ocl_int(c, "begin"), length = ocl_int(c, "length");
    return fits_but(&c->in[0], &c->out[0], axis, length) && begin >= 0 && begin <= c->in[0].dims[axis] - length;
}

static int pad_fits(const ocl_call *c)
{
    const int64_t axis = ocl_int(c, "axis"), before = ocl_int(c, "before"), after = ocl_int(c, "after");
    return axis >= 0 && axis < c->in[0].rank && before >= 0 && after >= 0 && fits_but(&c->in[0], &c->out[0], axis, c->in[0].dims[axis] + before + after);
}

static int concat_fits(const ocl_call *c)
{
    const int64_t axis = ocl_int(c, "axis");
    const ocl_view *x = &c->in[0], *y = &c->in[1];
    return axis >= 0 && axis < x->rank && x->rank == y->rank && fits_but(x, y, axis, y->dims[axis]) && fits_but(x, &c->out[0], axis, x->dims[axis] + y->dims[axis]);
}

#define ELEMENT .families = OCL_BIT(OCL_ELEMENT)
const ocl_op ocl_moves[] = {
    {.name = "reshape/1", .in = "a", .n_out = 1, .run = do_reshape, .fits = reshape_fits},
    {.name = "broadcast/1", .in = "a", .n_out = 1, ELEMENT, .run = do_broadcast, .fits = broadcast_fits},
    {.name = "permute/1", .in = "a", .n_out = 1, ELEMENT, .attrs = {"d0", "d1", "d2", "d3"}, .run = do_permute, .fits = permute_fits},
    {.name = "slice/1", .in = "a", .n_out = 1, ELEMENT, .attrs = {"axis", "begin", "length"}, .run = do_slice, .fits = slice_fits},
    {.name = "pad/1", .in = "a", .n_out = 1, ELEMENT, .attrs = {"axis", "before", "after"}, .run = do_pad, .fits = pad_fits},
    {.name = "concat/1", .in = "aa", .n_out = 1, ELEMENT, .attrs = {"axis"}, .run = do_concat, .fits = concat_fits},
    {.name = NULL},
};
