/* backends/opencl/norm.c - RMSNorm and LayerNorm over the last axis and their gradients. dw and db are summed over blocks of rows, then over blocks. */
#include "opencl.h"

enum { MOST_BLOCKS = 64 };

static graft_status norm(const ocl_call *c, int centred)
{
    const ocl_view *x = &c->in[0], *w = &c->in[1], *b = &c->in[2], none = {0};
    const ocl_view *mean = centred ? &c->out[1] : &none, *rstd = &c->out[1 + centred];
    const int64_t lanes = c->d->lanes[OCL_NORM], global[3] = {ocl_rows(x) * lanes, 1, 1}, local[3] = {lanes, 1, 1};
    return ocl_launch(c, OCL_K_norm, global, local, "ttttttlffiii", x, w, centred ? b : &none, &c->out[0], mean, rstd, ocl_last(x), ocl_real(c, "eps"),
                      centred ? 0.0 : ocl_real(c, "plus"), centred, (int)w->dtype, (int)b->dtype);
}

static int64_t blocks_of(int64_t rows) { return rows < MOST_BLOCKS ? rows : MOST_BLOCKS; }

static graft_status columns(const ocl_call *c, const ocl_view *mean, const ocl_view *rstd, const ocl_view *dy, const ocl_view *dw, const ocl_view *db)
{
    const ocl_view *x = &c->in[0];
    const int64_t rows = ocl_rows(x), d = ocl_last(x), blocks = blocks_of(rows), bytes = blocks * d * (int64_t)sizeof(float);
    const int64_t per = blocks ? (rows + blocks - 1) / blocks : 0, global[3] = {d, blocks, 1}, local[3] = {c->d->lanes[OCL_NORM], 1, 1};
    int64_t at = 0;
    ocl_view part[2] = {ocl_room(c, &at, bytes, blocks * d), ocl_room(c, &at, bytes, blocks * d)};
    part[0].there = dw->there, part[1].there = db->there;
    graft_status status = ocl_launch(c, OCL_K_norm_columns, global, local, "ttttttlll", x, mean, rstd, dy, &part[0], &part[1], rows, d, per);
    if (!status && dw->there) status = ocl_sum_rows(c, &part[0], dw, 1, blocks, d);
    if (!status && db->there) status = ocl_sum_rows(c, &part[1], db, 1, blocks, d);
    return status;
}

/* inputs: x, w, [mean,] rstd, dy */
static graft_status norm_grad(const ocl_call *c, int centred)
{
    const ocl_view *x = &c->in[0], *w = &c->in[1], none = {0}, *mean = centred ? &c->in[2] : &none, *rstd = &c->in[2 + centred], *dy = &c->in[3 + centred];
    const int64_t lanes = c->d->lanes[OCL_NORM], global[3] = {ocl_rows(x) * lanes, 1, 1}, local[3] = {lanes, 1, 1};
    graft_status status = GRAFT_OK;
    if (c->out[0].there)
        status = ocl_launch(c, OCL_K_norm_grad, global, local, "ttttttlfi", x, w, mean, rstd, dy, &c->out[0], ocl_last(x), centred ? 0.0 : ocl_real(c, "plus"), (int)w->dtype);
    const ocl_view *db = centred ? &c->out[2] : &none;
    return status || (!c->out[1].there && !db->there) ? status : columns(c, mean, rstd, dy, &c->out[1], db);
}

static graft_status do_rms(const ocl_call *c) { return norm(c, 0); }
static graft_status do_layer(const ocl_call *c) { return norm(c, 1); }
static graft_status do_rms_grad(const ocl_call *c) { return norm_grad(c, 0); }
static graft_status do_layer_grad(const ocl_call *c) { return norm_grad(c, 1); }

static int64_t grad_scratch(const ocl_call *c) { return 2 * (blocks_of(ocl_rows(&c->in[0])) * ocl_last(&c->in[0]) * (int64_t)sizeof(float) + 64); }

static int vector(const ocl_call *c, const ocl_view *w) { return !w->there || (w->rank == 1 && w->n == ocl_last(&c->in[0])); }
static int per_row(const ocl_call *c, const ocl_view *v) { return !v->there || v->n == ocl_rows(&c->in[0]); }
static int rms_fits(const ocl_call *c) { return c->in[0].rank > 0 && vector(c, &c->in[1]) && ocl_same(&c->in[0], &c->out[0]) && per_row(c, &c->out[1]); }
static int layer_fits(const ocl_call *c) { return rms_fits(c) && vector(c, &c->in[2]) && per_row(c, &c->out[2]); }
static int rms_grad_fits(const ocl_call *c)
{
    return c->in[0].rank > 0 && vector(c, &c->in[1]) && per_row(c, &c->in[2]) && ocl_same(&c->in[0], &c->in[3]) && ocl_same(&c->in[0], &c->out[0]) && vector(c, &c->out[1]);
}
static int layer_grad_fits(const ocl_call *c)
{
    return c->in[0].rank > 0 && vector(c, &c->in[1]) && per_row(c, &c->in[2]) && per_row(c, &c->in[3]) && ocl_same(&c->in[0], &c->in[4]) && ocl_same(&c->in[0], &c->out[0]) &&
           vector(c, &c->out[1]) && vector(c, &c->out[2]);
}

#define NORM .families = OCL_BIT(OCL_NORM)
#define GRAD .families = OCL_BIT(OCL_NORM) | OCL_BIT(OCL_REDUCE)
const ocl_op ocl_norms[] = {
    {.name = "rms_norm/1", .in = "fV", .n_out = 2, NORM, .attrs = {"eps", "plus"}, .run = do_rms, .fits = rms_fits},
    {.name = "rms_norm_grad/1", .in = "fVff", .n_out = 2, GRAD, .attrs = {"plus"}, .run = do_rms_grad, .fits = rms_grad_fits, .scratch = grad_scratch},
    {.name = "layer_norm/1", .in = "fVV", .n_out = 3, NORM, .attrs = {"eps"}, .run = do_layer, .fits = layer_fits},
    {.name = "layer_norm_grad/1", .in = "fVfff", .n_out = 3, GRAD, .run = do_layer_grad, .fits = layer_grad_fits, .scratch = grad_scratch},
    {.name = NULL},
};
