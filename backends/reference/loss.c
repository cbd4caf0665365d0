/* backends/reference/loss.c - head and cross-entropy, one row of logits at a time.
 *   z = softcap(scale hidden head^T)    nll = logsumexp(z) - z[label]    dz = weight (softmax(z) - onehot), through softcap (1 - (z / softcap)^2) dz
 * The gradient of the head needs dz by columns: it is computed again from the kept logsumexp, so that every sum is one double. */
#include "element.h"

typedef struct head {
    const ref_view *hidden, *w;
    int64_t L, V, d;
    double scale, softcap;
} head;

static head head_of(const ref_call *c)
{
    return (head){&c->in[0], &c->in[1], c->in[0].dims[0], c->in[1].dims[0], c->in[0].dims[1], ref_real(c, "scale"), ref_real(c, "softcap")};
}

static double logit(const head *h, int64_t row, int64_t v)
{
    double z = 0.0;
    for (int64_t j = 0; j < h->d; j++) z += ref_get(h->hidden, row * h->d + j) * ref_get(h->w, v * h->d + j);
    z *= h->scale;
    return h->softcap > 0.0 ? h->softcap * tanh(z / h->softcap) : z;
}

/* d loss / d (scale hidden . head[v]) from the logit z */
static double slope(const head *h, double z, double lse, double weight, int is_label)
{
    const double dz = weight * (exp(z - lse) - (is_label ? 1.0 : 0.0));
    return h->softcap > 0.0 ? dz * (1.0 - z / h->softcap * (z / h->softcap)) : dz;
}

static graft_status check_labels(const ref_call *c, const head *h)
{
    const int32_t *labels = c->in[2].data;
    for (int64_t i = 0; i < h->L; i++) {
        if (labels[i] >= h->V) return ref_fail(c, "label %d of row %lld is outside a vocabulary of %lld", (int)labels[i], (long long)i, (long long)h->V);
    }
    return GRAFT_OK;
}

/* Loss and nll; the rows' logsumexp goes to lse [L]; z [V] is scratch. */
static void forward(const ref_call *c, const head *h, double *lse, double *z)
{
    const int32_t *labels = c->in[2].data;
    const float *weight = ref_f32(&c->in[3]);
    double loss = 0.0;
    for (int64_t i = 0; i < h->L; i++) {
        double top = -INFINITY, sum = 0.0;
        for (int64_t v = 0; v < h->V && labels[i] >= 0; v++) {
            z[v] = logit(h, i, v);
            top = fmax(top, z[v]);
        }
        for (int64_t v = 0; v < h->V && labels[i] >= 0; v++) sum += exp(z[v] - top);
        lse[i] = top + log(sum);
        const double nll = labels[i] >= 0 ? lse[i] - z[labels[i]] : 0.0;
        loss += (double)weight[i] * nll;
        if (c->out[1].there) ref_out(&c->out[1])[i] = (float)nll;
    }
    if (c->out[0].there) ref_out(&c->out[0])[0] = (float)loss;
}

static graft_status do_loss(const ref_call *c)
{
    const head h = head_of(c);
    const graft_status status = check_labels(c, &h);
    if (status == GRAFT_OK) forward(c, &h, c->scratch, c->scratch + h.L);
    return status;
}

static void hidden_gradient(const ref_call *c, const head *h, const double *lse, double *acc)
{
    const int32_t *labels = c->in[2].data;
    for (int64_t i = 0; i < h->L; i++) {
        for (int64_t j = 0; j < h->d; j++) acc[j] = 0.0;
        for (int64_t v = 0; v < h->V && labels[i] >= 0; v++) {
            const double dz = h->scale * slope(h, logit(h, i, v), lse[i], (double)ref_f32(&c->in[3])[i], v == labels[i]);
            for (int64_t j = 0; j < h->d; j++) acc[j] += dz * ref_get(h->w, v * h->d + j);
        }
        for (int64_t j = 0; j < h->d; j++) ref_out(&c->out[2])[i * h->d + j] = (float)acc[j];
    }
}

static void head_gradient(const ref_call *c, const head *h, const double *lse, double *acc)
{
    const int32_t *labels = c->in[2].data;
    const ref_view *base = &c->in[4];
    for (int64_t v = 0; v < h->V; v++) {
        for (int64_t j = 0; j < h->d; j++) acc[j] = base->there ? (double)ref_f32(base)[v * h->d + j] : 0.0;
        for (int64_t i = 0; i < h->L; i++) {
            if (labels[i] < 0) continue;
            const double dz = h->scale * slope(h, logit(h, i, v), lse[i], (double)ref_f32(&c->in[3])[i], v == labels[i]);
            for (int64_t j = 0; j < h->d; j++) acc[j] += dz * (double)ref_f32(h->hidden)[i * h->d + j];
        }
        for (int64_t j = 0; j < h->d; j++) ref_out(&c->out[3])[v * h->d + j] = (float)acc[j];
    }
}

static graft_status do_train(const ref_call *c)
{
    const head h = head_of(c);
    double *lse = c->scratch, *z = lse + h.L, *acc = z + h.V; /* L + V + d: within REF_SCRATCH rows */
    const graft_status status = check_labels(c, &h);
    if (status) return status;
    forward(c, &h, lse, z);
    if (c->out[2].there) hidden_gradient(c, &h, lse, acc);
    if (c->out[3].there) head_gradient(c, &h, lse, acc);
    return GRAFT_OK;
}

static int fits(const ref_call *c)
{
    const ref_view *hidden = &c->in[0], *w = &c->in[1], *labels = &c->in[2];
    return hidden->rank == 2 && w->rank == 2 && hidden->dims[1] == w->dims[1] && labels->rank == 1 && labels->n == hidden->dims[0] && ref_same(labels, &c->in[3]) &&
           ref_same(labels, &c->out[1]) && ref_same(hidden, &c->out[2]) && ref_same(w, &c->out[3]) && ref_same(w, &c->in[4]);
}

const ref_op ref_loss[] = {
    {.name = "linear_cross_entropy/1", .in = "fwif", .n_out = 2, .attrs = {"softcap", "scale"}, .run = do_loss, .fits = fits, .scratch = 1},
    {.name = "linear_cross_entropy_train/1", .in = "fwifF", .n_out = 4, .attrs = {"softcap", "scale"}, .run = do_train, .fits = fits, .scratch = 1},
    {.name = NULL},
};
