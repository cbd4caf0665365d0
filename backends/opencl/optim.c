/* backends/opencl/optim.c - sum of squares in a fixed order, and one AdamW step. */
#include "opencl.h"

enum { GROUPS = 128,
       PARTIAL_BYTES = 8 }; /* a double, or two floats */

static graft_status do_squares(const ocl_call *c)
{
    const int64_t n = c->in[0].n, lanes = c->d->lanes[OCL_OPTIM], want = (n + lanes - 1) / lanes, groups = want < GROUPS ? want : GROUPS;
    const int64_t global[3] = {groups * lanes, 1, 1}, one[3] = {1, 1, 1}, local[3] = {lanes, 1, 1};
    int64_t at = 0;
    const ocl_view partial = ocl_room(c, &at, GROUPS * PARTIAL_BYTES, GROUPS);
    const graft_status status = ocl_launch(c, OCL_K_squares, global, local, "ttl", &c->in[0], &partial, n);
    return status ? status : ocl_launch(c, OCL_K_squares_end, one, local, "ttti", &partial, &c->in[1], &c->out[0], (int)groups);
}

static int64_t squares_scratch(const ocl_call *c)
{
    (void)c;
    return GROUPS * PARTIAL_BYTES + 64;
}

static graft_status do_adamw(const ocl_call *c)
{
    const ocl_view *in = c->in, *out = c->out;
    return ocl_launch_1d(c, OCL_K_adamw, in[0].n, "ttttttttli", &in[0], &in[1], &in[2], &in[3], &in[4], &out[0], &out[1], &out[2], in[0].n, (int)(ocl_int(c, "decay") != 0));
}

static int squares_fits(const ocl_call *c) { return (!c->in[1].there || c->in[1].n == 1) && c->out[0].n == 1; }
static int adamw_fits(const ocl_call *c)
{
    for (int i = 1; i < 4; i++) {
        if (!ocl_same(&c->in[0], &c->in[i]) || !ocl_same(&c->in[0], &c->out[i - 1])) return 0;
    }
    return c->in[4].n == 8;
}

#define OPTIM .families = OCL_BIT(OCL_OPTIM)
const ocl_op ocl_optims[] = {
    {.name = "sum_squares/1", .in = "fF", .n_out = 1, OPTIM, .run = do_squares, .fits = squares_fits, .scratch = squares_scratch},
    {.name = "adamw/1", .in = "fffff", .n_out = 3, OPTIM, .attrs = {"decay"}, .run = do_adamw, .fits = adamw_fits},
    {.name = NULL},
};
