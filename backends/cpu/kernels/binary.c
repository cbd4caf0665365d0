/* binary.c - two and three operands with numpy broadcasting. Along the inner axis each operand either runs or stands still. */
#include "box.h"
#include "map.h"

INLINE vf truth(vi mask) { return (vf)(mask & (vi)v_set(1.0f)); }

INLINE vf part(const box_work *w, const int64_t *at, int p, int64_t i, int64_t left)
{
    const float *x = (const float *)w->data[p] + at[p];
    const int64_t step = w->b.step[p][3];
    if (step == 0) return v_set(x[0]);
    if (step == 1) return map_load(x, i, left);
    vf v = {0};
    for (int64_t j = 0; j < VW && j < left; j++) v[j] = x[(i + j) * step];
    return v;
}

INLINE vi int_part(const box_work *w, const int64_t *at, int p, int64_t i, int64_t left)
{
    const int32_t *x = (const int32_t *)w->data[p] + at[p];
    vi v = {0};
    for (int64_t j = 0; j < VW && j < left; j++) v[j] = x[(i + j) * w->b.step[p][3]];
    return v;
}

/* The result is dense: its inner step is 1 (or the axis has one element). */
#define SPAN(name, LOAD, type, EXPR)                                               \
    static void name(const box_work *w, const int64_t at[BOX_PARTS], int64_t n)    \
    {                                                                              \
        float *out = (float *)w->data[0] + at[0];                                  \
        for (int64_t i = 0; i < n; i += VW) {                                      \
            const type x = LOAD(w, at, 1, i, n - i), y = LOAD(w, at, 2, i, n - i); \
            map_store(out, i, EXPR, n - i);                                        \
        }                                                                          \
    }
SPAN(span_add, part, vf, x + y)
SPAN(span_sub, part, vf, x - y)
SPAN(span_mul, part, vf, x *y)
SPAN(span_div, part, vf, x / y)
SPAN(span_maximum, part, vf, v_select(x < y, y, x))
SPAN(span_less, part, vf, truth(x < y))
SPAN(span_equal, part, vf, truth(x == y))
SPAN(span_int_less, int_part, vi, truth(x < y))
SPAN(span_int_equal, int_part, vi, truth(x == y))

static void span_select(const box_work *w, const int64_t at[BOX_PARTS], int64_t n)
{
    float *out = (float *)w->data[0] + at[0];
    for (int64_t i = 0; i < n; i += VW) {
        const vf c = part(w, at, 1, i, n - i);
        map_store(out, i, v_select(c != 0.0f, part(w, at, 2, i, n - i), part(w, at, 3, i, n - i)), n - i);
    }
}

static graft_status run(cpu_call *c, int operands, void (*span)(const box_work *, const int64_t *, int64_t))
{
    box_work w = {.b = box_of(&c->out[0]), .span = span};
    w.data[0] = c->out[0].data;
    w.b.parts = 1 + operands;
    for (int i = 0; i < operands; i++) {
        box_part(&w.b, 1 + i, &c->in[i]);
        w.data[1 + i] = c->in[i].data;
    }
    box_run(c->pool, &w);
    return GRAFT_OK;
}

static graft_status add(cpu_call *c) { return run(c, 2, span_add); }
static graft_status sub(cpu_call *c) { return run(c, 2, span_sub); }
static graft_status mul(cpu_call *c) { return run(c, 2, span_mul); }
static graft_status divide(cpu_call *c) { return run(c, 2, span_div); }
static graft_status maximum(cpu_call *c) { return run(c, 2, span_maximum); }
static graft_status less(cpu_call *c) { return run(c, 2, c->in[0].dtype == GRAFT_I32 ? span_int_less : span_less); }
static graft_status equal(cpu_call *c) { return run(c, 2, c->in[0].dtype == GRAFT_I32 ? span_int_equal : span_equal); }
static graft_status choose(cpu_call *c) { return run(c, 3, span_select); }

#define ROW(name, run)                    \
    {                                     \
        name, F32, {{NULL, 0}}, run, NULL \
    }
const cpu_op K(ops_binary)[] = {
    ROW("add/1", add),
    ROW("sub/1", sub),
    ROW("mul/1", mul),
    ROW("div/1", divide),
    ROW("maximum/1", maximum),
    ROW("less/1", less),
    ROW("equal/1", equal),
    ROW("select/1", choose),
    END_OF_OPS,
};
