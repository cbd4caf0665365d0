/* backends/reference/norm.c - RMSNorm and LayerNorm over the last axis, row by row, and their gradients.
 *   xhat = (x - mean) rstd    y = xhat w' + b    t = dy w'    dx = rstd (t - mean(t) - xhat mean(t xhat))    (RMSNorm: mean = 0 and no mean(t)) */
#include "element.h"

static double weight(const ref_view *w, int64_t j, double plus) { return w->there ? ref_get(w, j) + plus : 1.0; }

static graft_status norm(const ref_call *c, int centred, const ref_view *mean_out, const ref_view *rstd_out)
{
    const ref_view *x = &c->in[0], *w = &c->in[1], *bias = &c->in[2];
    const int64_t rows = ref_rows(x), d = ref_last(x);
    const double eps = ref_real(c, "eps"), plus = centred ? 0.0 : ref_real(c, "plus");
    for (int64_t i = 0; i < rows; i++) {
        const float *xi = ref_f32(x) + i * d;
        double mean = 0.0, square = 0.0;
        for (int64_t j = 0; j < d && centred; j++) mean += (double)xi[j] / (double)d;
        for (int64_t j = 0; j < d; j++) square += ((double)xi[j] - mean) * ((double)xi[j] - mean);
        const double rstd = 1.0 / sqrt(square / (double)d + eps);
        if (mean_out && mean_out->there) ref_out(mean_out)[i] = (float)mean;
        if (rstd_out->there) ref_out(rstd_out)[i] = (float)rstd;
        for (int64_t j = 0; j < d && c->out[0].there; j++) {
            const double b = centred && bias->there ? ref_get(bias, j) : 0.0;
            ref_out(&c->out[0])[i * d + j] = (float)(((double)xi[j] - mean) * rstd * weight(w, j, plus) + b);
        }
    }
    return GRAFT_OK;
}

/* inputs: x, w, [mean,] rstd, dy */
static graft_status norm_grad(const ref_call *c, int centred)
{
    const ref_view *x = &c->in[0], *w = &c->in[1], *rstd_in = &c->in[2 + centred], *dy = &c->in[3 + centred];
    const int64_t rows = ref_rows(x), d = ref_last(x);
    const double plus = centred ? 0.0 : ref_real(c, "plus");
    double *dw = c->scratch, *db = c->scratch + d;
    for (int64_t j = 0; j < d; j++) dw[j] = db[j] = 0.0;
    for (int64_t i = 0; i < rows; i++) {
        const float *xi = ref_f32(x) + i * d, *dyi = ref_f32(dy) + i * d;
        const double mean = centred ? (double)ref_f32(&c->in[2])[i] : 0.0, rstd = (double)ref_f32(rstd_in)[i];
        double mean_t = 0.0, mean_tx = 0.0;
        for (int64_t j = 0; j < d; j++) {
            const double xhat = ((double)xi[j] - mean) * rstd, t = (double)dyi[j] * weight(w, j, plus);
            mean_t += centred ? t / (double)d : 0.0;
            mean_tx += t * xhat / (double)d;
            dw[j] += (double)dyi[j] * xhat;
            db[j] += (double)dyi[j];
        }
        for (int64_t j = 0; j < d && c->out[0].there; j++) {
            const double xhat = ((double)xi[j] - mean) * rstd, t = (double)dyi[j] * weight(w, j, plus);
            ref_out(&c->out[0])[i * d + j] = (float)(rstd * (t - mean_t - xhat * mean_tx));
        }
    }
    for (int64_t j = 0; j < d && c->out[1].there; j++) ref_out(&c->out[1])[j] = (float)dw[j];
    for (int64_t j = 0; j < d && centred && c->out[2].there; j++) ref_out(&c->out[2])[j] = (float)db[j];
    return GRAFT_OK;
}

static graft_status do_rms(const ref_call *c) { return norm(c, 0, NULL, &c->out[1]); }
static graft_status do_rms_grad(const ref_call *c) { return norm_grad(c, 0); }
static graft_status do_layer(const ref_call *c) { return norm(c, 1, &c->out[1], &c->out[2]); }
static graft_status do_layer_grad(const ref_call *c) { return norm_grad(c, 1); }

static int vector(const ref_call *c, const ref_view *w) { return !w->there || (w->rank == 1 && w->n == ref_last(&c->in[0])); }
static int per_row(const ref_call *c, const ref_view *v) { return !v->there || v->n == ref_rows(&c->in[0]); }
static int rms_fits(const ref_call *c)
{
    return c->in[0].rank > 0 && vector(c, &c->in[1]) && ref_same(&c->in[0], &c->out[0]) && per_row(c, &c->out[1]);
}
static int layer_fits(const ref_call *c) { return rms_fits(c) && vector(c, &c->in[2]) && per_row(c, &c->out[2]); }
static int rms_grad_fits(const ref_call *c)
{
    return c->in[0].rank > 0 && vector(c, &c->in[1]) && per_row(c, &c->in[2]) && ref_same(&c->in[0], &c->in[3]) && ref_same(&c->in[0], &c->out[0]) && vector(c, &c->out[1]);
}
static int layer_grad_fits(const ref_call *c)
{
    return c->in[0].rank > 0 && vector(c, &c->in[1]) && per_row(c, &c->in[2]) && per_row(c, &c->in[3]) && ref_same(&c->in[0], &c->in[4]) &&
           ref_same(&c->in[0], &c->out[0]) && vector(c, &c->out[1]) && vector(c, &c->out[2]);
}

const ref_op ref_norm[] = {
    {.name = "rms_norm/1", .in = "fV", .n_out = 2, .attrs = {"eps", "plus"}, .run = do_rms, .fits = rms_fits},
    {.name = "rms_norm_grad/1", .in = "fVff", .n_out = 2, .attrs = {"plus"}, .run = do_rms_grad, .fits = rms_grad_fits, .scratch = 1},
    {.name = "layer_norm/1", .in = "fVV", .n_out = 3, .attrs = {"eps"}, .run = do_layer, .fits = layer_fits},
    {.name = "layer_norm_grad/1", .in = "fVfff", .n_out = 3, .run = do_layer_grad, .fits = layer_grad_fits, .scratch = 1},
    {.name = NULL},
};
