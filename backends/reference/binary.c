/* backends/reference/binary.c - two and three operands with broadcasting. */
#include "element.h"

#define BINARY(name, f)                                                         \
    static graft_status name(const ref_call *c)                                 \
    {                                                                           \
        const ref_view *out = &c->out[0];                                       \
        for (int64_t i = 0; i < out->n; i++) {                                  \
            const double x = ref_get(&c->in[0], ref_offset(&c->in[0], out, i)); \
            const double y = ref_get(&c->in[1], ref_offset(&c->in[1], out, i)); \
            ref_put(out, i, (f));                                               \
        }                                                                       \
        return GRAFT_OK;                                                        \
    }

BINARY(do_add, x + y)
BINARY(do_sub, x - y)
BINARY(do_mul, x *y)
BINARY(do_div, x / y)
BINARY(do_maximum, x < y ? y : x)
BINARY(do_less, x < y ? 1.0 : 0.0)
BINARY(do_equal, x == y ? 1.0 : 0.0)

static graft_status do_select(const ref_call *c)
{
    const ref_view *out = &c->out[0];
    for (int64_t i = 0; i < out->n; i++) {
        const int side = ref_get(&c->in[0], ref_offset(&c->in[0], out, i)) != 0.0 ? 1 : 2;
        ref_put(out, i, ref_get(&c->in[side], ref_offset(&c->in[side], out, i)));
    }
    return GRAFT_OK;
}

static int fits(const ref_call *c) { return !c->out[0].there || (ref_broadcasts(&c->in[0], &c->out[0]) && ref_broadcasts(&c->in[1], &c->out[0])); }
static int compare_fits(const ref_call *c) { return fits(c) && c->in[0].dtype == c->in[1].dtype; }
static int select_fits(const ref_call *c) { return fits(c) && (!c->out[0].there || ref_broadcasts(&c->in[2], &c->out[0])); }

const ref_op ref_binary[] = {
    {.name = "add/1", .in = "ff", .n_out = 1, .run = do_add, .fits = fits},
    {.name = "sub/1", .in = "ff", .n_out = 1, .run = do_sub, .fits = fits},
    {.name = "mul/1", .in = "ff", .n_out = 1, .run = do_mul, .fits = fits},
    {.name = "div/1", .in = "ff", .n_out = 1, .run = do_div, .fits = fits},
    {.name = "maximum/1", .in = "ff", .n_out = 1, .run = do_maximum, .fits = fits},
    {.name = "less/1", .in = "nn", .n_out = 1, .run = do_less, .fits = compare_fits},
    {.name = "equal/1", .in = "nn", .n_out = 1, .run = do_equal, .fits = compare_fits},
    {.name = "select/1", .in = "fff", .n_out = 1, .run = do_select, .fits = select_fits},
    {.name = NULL},
};
