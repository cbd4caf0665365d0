/* backends/reference/reduce.c - sum and maximum over one axis. x is seen as [outer, n, inner]. */
#include "element.h"

static graft_status reduce(const ref_call *c, int largest)
{
    const ref_view *x = &c->in[0];
    const int axis = (int)ref_int(c, "axis");
    const int64_t n = x->dims[axis];
    int64_t inner = 1;
    for (int i = axis + 1; i < x->rank; i++) inner *= x->dims[i];
    for (int64_t o = 0; o < c->out[0].n; o++) {
        const float *first = ref_f32(x) + (o / inner * n) * inner + o % inner;
        double r = largest ? -INFINITY : 0.0;
        for (int64_t i = 0; i < n; i++) {
            const double v = (double)first[i * inner];
            if (!largest) r += v;
            else if (v > r || v != v) r = v;
        }
        ref_out(&c->out[0])[o] = (float)r;
    }
    return GRAFT_OK;
}

static graft_status do_sum(const ref_call *c) { return reduce(c, 0); }
static graft_status do_amax(const ref_call *c) { return reduce(c, 1); }

static int fits(const ref_call *c)
{
    const int64_t axis = ref_int(c, "axis");
    ref_view x = c->in[0];
    if (axis < 0 || axis >= x.rank) return 0;
    x.dims[axis] = 1;
    return ref_same(&x, &c->out[0]);
}

const ref_op ref_reduce[] = {
    {.name = "sum/1", .in = "f", .n_out = 1, .attrs = {"axis"}, .run = do_sum, .fits = fits},
    {.name = "amax/1", .in = "f", .n_out = 1, .attrs = {"axis"}, .run = do_amax, .fits = fits},
    {.name = NULL},
};
