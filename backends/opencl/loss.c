/* backends/opencl/loss.c - head and cross-entropy in chunks of rows, so that only a chunk's logits are ever there.
 * Scratch: nll [L] where nobody reads it, then logits [chunk, V]. */
#include "opencl.h"

enum { CHUNK_BYTES = 64 << 20,
       LEAST_ROWS = 16 };

static int64_t chunk_of(int64_t L, int64_t V)
{
    const int64_t fit = V > 0 ? CHUNK_BYTES / (V * (int64_t)sizeof(float)) : L, rows = fit > LEAST_ROWS ? fit : LEAST_ROWS;
    return rows < L ? rows : L;
}

/* Rows first .. first + rows of a matrix. */
static ocl_view rows_of(const ocl_view *x, int64_t first, int64_t rows)
{
    ocl_view v = *x;
    v.offset += first * x->dims[1] * (int64_t)sizeof(float);
    v.dims[0] = rows, v.n = rows * x->dims[1];
    return v;
}

static graft_status one_chunk(const ocl_call *c, const ocl_view *nll, int64_t at, int64_t first, int64_t rows, int train)
{
    const ocl_view *w = &c->in[1], none = {0}, hidden = rows_of(&c->in[0], first, rows);
    const int64_t V = w->dims[0], lanes = c->d->lanes[OCL_LOSS], global[3] = {rows * lanes, 1, 1}, local[3] = {lanes, 1, 1};
    ocl_view z = ocl_room(c, &at, rows * V * (int64_t)sizeof(float), rows * V);
    z.rank = 2, z.dims[0] = rows, z.dims[1] = V;
    const double scale = ocl_real(c, "scale");
    graft_status status = ocl_gemm(c, &hidden, w, &none, &z, 0, 1, scale);
    if (!status) status = ocl_launch(c, OCL_K_loss_rows, global, local, "ttttllffic", &z, &c->in[2], &c->in[3], nll, first, V, scale, ocl_real(c, "softcap"), train);
    if (!status && train && c->out[2].there) {
        const ocl_view dhidden = rows_of(&c->out[2], first, rows);
        status = ocl_gemm(c, &z, w, &none, &dhidden, 0, 0, 1.0);
    }
    if (!status && train && c->out[3].there) status = ocl_gemm(c, &z, &hidden, &c->out[3], &c->out[3], 1, 0, 1.0);
    return status;
}

static graft_status loss(const ocl_call *c, int train)
{
    const int64_t L = c->in[0].dims[0], V = c->in[1].dims[0], chunk = chunk_of(L, V), one[3] = {1, 1, 1};
    const int64_t local[3] = {c->d->lanes[OCL_LOSS], 1, 1};
    int64_t at = 0;
    const ocl_view spare = ocl_room(c, &at, L * (int64_t)sizeof(float), L), *nll = c->out[1].there ? &c->out[1] : &spare;
    graft_status status = GRAFT_OK;
    if (train && c->out[3].there) status = c->in[4].there ? ocl_copy(c, &c->in[4], &c->out[3], c->out[3].n * (int64_t)sizeof(float)) : ocl_zero(c, &c->out[3]);
    for (int64_t first = 0; first < L && !status; first += chunk) status = one_chunk(c, nll, at, first, L - first < chunk ? L - first : chunk, train);
    if (!status && c->out[0].there) status = ocl_launch(c, OCL_K_loss_sum, one, local, "tttl", nll, &c->in[3], &c->out[0], L);
    return status;
}

static graft_status do_loss(const ocl_call *c) { return loss(c, 0); }
static graft_status do_train(const ocl_call *c) { return loss(c, 1); }

static int64_t scratch(const ocl_call *c)
{
    const int64_t L = c->in[0].dims[0], V = c->in[1].dims[0];
    return (L + chunk_of(L, V) * V) * (int64_t)sizeof(float) + 128;
}

static int fits(const ocl_call *c)
{
    const ocl_view *hidden = &c->in[0], *w = &c->in[1], *labels = &c->in[2];
    return hidden->rank == 2 && w->rank == 2 && hidden->dims[1] == w->dims[1] && labels->rank == 1 && labels->n == hidden->dims[0] && ocl_same(labels, &c->in[3]) &&
           ocl_same(labels, &c->out[1]) && ocl_same(hidden, &c->out[2]) && ocl_same(w, &c->out[3]) && ocl_same(w, &c->in[4]);
}

#define LOSS .families = OCL_BIT(OCL_LOSS) | OCL_BIT(OCL_MATMUL), .attrs = {"softcap", "scale"}, .fits = fits, .scratch = scratch
const ocl_op ocl_losses[] = {
    {.name = "linear_cross_entropy/1", .in = "fwif", .n_out = 2, LOSS, .run = do_loss},
    {.name = "linear_cross_entropy_train/1", .in = "fwifF", .n_out = 4, LOSS, .run = do_train},
    {.name = NULL},
};
