/* reduce.c - sum and maximum over one axis, seen as [outer, axis, inner]. Sums run in blocks of BLOCK whose results are added up:
 * long sums lose fewer bits, and the order depends on the shape alone. */
#include "ops.h"

enum { BLOCK = 128,
       COLUMNS = 4 * VW };

typedef struct reduce {
    const float *x;
    float *y;
    int64_t outer, axis, inner, per_unit;
    int top; /* maximum instead of sum */
} reduce;

INLINE vf join(vf a, vf b, int top) { return top ? v_select(b > a, b, a) : a + b; }

/* inner == 1: one row to one number. */
INLINE float row_of(const float *x, int64_t n, int top)
{
    const float none = top ? -__builtin_inff() : 0.0f;
    vf all = v_set(none);
    int64_t i = 0;
    while (i + VW <= n) {
        const int64_t end = i + BLOCK * VW < n ? i + BLOCK * VW : n;
        vf acc = v_set(none);
        for (; i + VW <= end; i += VW) acc = join(acc, v_load(x + i), top);
        all = join(all, acc, top);
    }
    float result = top ? v_top(all) : v_sum(all);
    for (; i < n; i++) result = top ? (x[i] > result ? x[i] : result) : result + x[i];
    return result;
}

/* inner > 1: n neighbouring columns, added down the axis. */
INLINE void columns_of(const reduce *r, int64_t o, int64_t first, int64_t n, int top)
{
    const vf none = v_set(top ? -__builtin_inff() : 0.0f);
    const float *x = r->x + o * r->axis * r->inner + first;
    float *y = r->y + o * r->inner + first;
    for (int64_t j = 0; j < n; j += VW) {
        const int64_t left = n - j;
        vf all = none;
        for (int64_t a = 0; a < r->axis; a += BLOCK) {
            vf acc = none;
            for (int64_t b = a; b < r->axis && b < a + BLOCK; b++) {
                const float *at = x + b * r->inner + j;
                acc = join(acc, left >= VW ? v_load(at) : v_load_n(at, left), top);
            }
            all = join(all, acc, top);
        }
        if (left >= VW) v_store(y + j, all);
        else v_store_n(y + j, all, left);
    }
}

static void row_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const reduce *r = ctx;
    for (int64_t o = unit * r->per_unit; o < r->outer && o < (unit + 1) * r->per_unit; o++)
        r->y[o] = r->top ? row_of(r->x + o * r->axis, r->axis, 1) : row_of(r->x + o * r->axis, r->axis, 0);
}

static void column_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const reduce *r = ctx;
    const int64_t blocks = (r->inner + COLUMNS - 1) / COLUMNS, o = unit / blocks, first = unit % blocks * COLUMNS;
    const int64_t n = r->inner - first < COLUMNS ? r->inner - first : COLUMNS;
    if (r->top) columns_of(r, o, first, n, 1);
    else columns_of(r, o, first, n, 0);
}

static graft_status run(cpu_call *c, int top)
{
    const cpu_arg *x = &c->in[0];
    const int64_t axis = c->attr[0].i;
    reduce r = {.x = x->data, .y = c->out[0].data, .outer = 1, .axis = x->dims[axis], .inner = 1, .top = top};
    for (int i = 0; i < x->rank; i++) {
        if (i < axis) r.outer *= x->dims[i];
        if (i > axis) r.inner *= x->dims[i];
    }
    r.per_unit = rows_a_unit(r.axis);
    if (r.inner == 1) cpu_pool_run(c->pool, (r.outer + r.per_unit - 1) / r.per_unit, row_unit, &r);
    else cpu_pool_run(c->pool, r.outer * ((r.inner + COLUMNS - 1) / COLUMNS), column_unit, &r);
    return GRAFT_OK;
}

static graft_status sum(cpu_call *c) { return run(c, 0); }
static graft_status amax(cpu_call *c) { return run(c, 1); }

const cpu_op K(ops_reduce)[] = {
    {"sum/1", F32, {{"axis", 0}}, sum, NULL},
    {"amax/1", F32, {{"axis", 0}}, amax, NULL},
    END_OF_OPS,
};
