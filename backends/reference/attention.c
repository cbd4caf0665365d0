/* backends/reference/attention.c - causal attention inside each sequence, its gradient, and the form with a cache.
 *   s = softcap(scale q.k)    P = exp(s - lse)    o = sum P v    dv += P do    ds = P (do.v - do.o), through softcap (1 - (s / softcap)^2) ds
 *   dq += scale ds k    dk += scale ds q
 * A query at place p of its sequence sees places max(0, p - window + 1) .. p, and the m extra keys. All heads of a group share one key head. */
#include "element.h"

typedef struct heads {
    int64_t T, S, n, kv, group, h, m, window;
    double scale, softcap;
    const int32_t *seq;
} heads;

static heads heads_of(const ref_call *c)
{
    heads a = {.T = c->in[0].dims[0],
               .S = c->in[3].dims[0],
               .n = ref_int(c, "heads"),
               .kv = ref_int(c, "kv_heads"),
               .window = ref_int(c, "window"),
               .scale = ref_real(c, "scale"),
               .softcap = ref_real(c, "softcap"),
               .seq = c->in[3].data,
               .m = c->in[4].there ? c->in[4].dims[0] : 0};
    a.group = a.n / a.kv, a.h = c->in[0].dims[1] / a.n;
    return a;
}

/* A key or value row of query head i: row r of a [R, kv * h] tensor. */
static const float *row_of(const heads *a, const ref_view *x, int64_t r, int64_t i) { return ref_f32(x) + (r * a->kv + i / a->group) * a->h; }

static double dot(const float *x, const float *y, int64_t n)
{
    double sum = 0.0;
    for (int64_t j = 0; j < n; j++) sum += (double)x[j] * (double)y[j];
    return sum;
}

static double score(const heads *a, const float *q, const float *k)
{
    const double s = a->scale * dot(q, k, a->h);
    return a->softcap > 0.0 ? a->softcap * tanh(s / a->softcap) : s;
}

/* The borders are the host's data: inside the batch, and with a cache inside that. */
static graft_status check_borders(const ref_call *c, const heads *a, int64_t cache)
{
    for (int64_t s = 0; s < a->S; s++) {
        const int64_t first = a->seq[4 * s], rows = a->seq[4 * s + 1], at = a->seq[4 * s + 2], cached = a->seq[4 * s + 3];
        if (first < 0 || rows < 0 || first + rows > a->T)
            return ref_fail(c, "sequence %lld has rows %lld to %lld of a batch of %lld", (long long)s, (long long)first, (long long)(first + rows), (long long)a->T);
        if (cache >= 0 && (at < 0 || cached < 0 || at + cached + rows > cache))
            return ref_fail(c, "sequence %lld has cache rows %lld to %lld of %lld", (long long)s, (long long)at, (long long)(at + cached + rows), (long long)cache);
    }
    return GRAFT_OK;
}

static int64_t first_seen(const heads *a, int64_t place) { return a->window && place >= a->window ? place - a->window + 1 : 0; }

/* Query head i of row t, at `place` of its sequence, whose keys begin at row `base` of k and v. Returns lse; p [keys + m] and acc [h] are scratch. */
static double attend(const ref_call *c, const heads *a, int64_t t, int64_t i, int64_t place, int64_t base, const ref_view *k, const ref_view *v, double *p, double *acc)
{
    const float *q = ref_f32(&c->in[0]) + (t * a->n + i) * a->h;
    const int64_t from = first_seen(a, place), own = place - from + 1, keys = own + a->m;
    double top = -INFINITY, sum = 0.0;
    for (int64_t u = 0; u < keys; u++) {
        p[u] = score(a, q, u < own ? row_of(a, k, base + from + u, i) : row_of(a, &c->in[4], u - own, i));
        top = fmax(top, p[u]);
    }
    for (int64_t j = 0; j < a->h; j++) acc[j] = 0.0;
    for (int64_t u = 0; u < keys; u++) {
        const float *value = u < own ? row_of(a, v, base + from + u, i) : row_of(a, &c->in[5], u - own, i);
        const double e = exp(p[u] - top);
        sum += e;
        for (int64_t j = 0; j < a->h; j++) acc[j] += e * (double)value[j];
    }
    for (int64_t j = 0; j < a->h && c->out[0].there; j++) ref_out(&c->out[0])[(t * a->n + i) * a->h + j] = (float)(acc[j] / sum);
    return top + log(sum);
}

static void clear(const ref_view *x)
{
    if (x->there && x->n) memset(x->data, 0, (size_t)x->n * sizeof(float));
}

static graft_status do_attention(const ref_call *c)
{
    const heads a = heads_of(c);
    const graft_status status = check_borders(c, &a, -1);
    if (status) return status;
    clear(&c->out[0]);
    clear(&c->out[1]);
    for (int64_t s = 0; s < a.S; s++) {
        const int64_t first = a.seq[4 * s], rows = a.seq[4 * s + 1];
        for (int64_t place = 0; place < rows; place++) {
            for (int64_t i = 0; i < a.n; i++) {
                const double lse = attend(c, &a, first + place, i, place, first, &c->in[1], &c->in[2], c->scratch + a.h, c->scratch);
                if (c->out[1].there) ref_out(&c->out[1])[(first + place) * a.n + i] = (float)lse;
            }
        }
    }
    return GRAFT_OK;
}

static graft_status do_cached(const ref_call *c)
{
    const heads a = heads_of(c);
    const int64_t width = a.kv * a.h;
    const graft_status status = check_borders(c, &a, c->in[6].dims[0]);
    if (status) return status;
    ref_view cache[2]; /* of k and v; the op works on the results, which usually are the caches themselves */
    for (int i = 0; i < 2; i++) {
        const ref_view *from = &c->in[6 + i];
        cache[i] = c->out[1 + i].there ? c->out[1 + i] : *from;
        if (cache[i].data != from->data && from->n) memcpy(cache[i].data, from->data, (size_t)from->n * sizeof(float));
        for (int64_t s = 0; s < a.S; s++) {
            const int64_t first = a.seq[4 * s], rows = a.seq[4 * s + 1], at = (int64_t)a.seq[4 * s + 2] + a.seq[4 * s + 3];
            if (rows) memcpy(ref_out(&cache[i]) + at * width, ref_f32(&c->in[1 + i]) + first * width, (size_t)(rows * width) * sizeof(float));
        }
    }
    clear(&c->out[0]);
    for (int64_t s = 0; s < a.S; s++) {
        const int64_t first = a.seq[4 * s], rows = a.seq[4 * s + 1], at = a.seq[4 * s + 2], cached = a.seq[4 * s + 3];
        for (int64_t r = 0; r < rows; r++) {
            for (int64_t i = 0; i < a.n; i++) attend(c, &a, first + r, i, cached + r, at, &cache[0], &cache[1], c->scratch + a.h, c->scratch);
        }
    }
    return GRAFT_OK;
}

/* P and ds of query head i of row t against one key. */
static double pair(const ref_call *c, const heads *a, int64_t t, int64_t i, const float *k, const float *v, double *ds)
{
    const int64_t at = (t * a->n + i) * a->h;
    const float *q = ref_f32(&c->in[0]) + at, *o = ref_f32(&c->in[6]) + at, *dy = ref_f32(&c->in[8]) + at;
    const double s = score(a, q, k), p = exp(s - (double)ref_f32(&c->in[7])[t * a->n + i]);
    *ds = p * (dot(dy, v, a->h) - dot(dy, o, a->h));
    if (a->softcap > 0.0) *ds *= 1.0 - s / a->softcap * (s / a->softcap);
    return p;
}

static void query_gradient(const ref_call *c, const heads *a, int64_t first, int64_t place, int64_t i)
{
    const int64_t from = first_seen(a, place), own = place - from + 1, t = first + place;
    double *acc = c->scratch, ds;
    for (int64_t j = 0; j < a->h; j++) acc[j] = 0.0;
    for (int64_t u = 0; u < own + a->m; u++) {
        const float *k = u < own ? row_of(a, &c->in[1], first + from + u, i) : row_of(a, &c->in[4], u - own, i);
        const float *v = u < own ? row_of(a, &c->in[2], first + from + u, i) : row_of(a, &c->in[5], u - own, i);
        pair(c, a, t, i, k, v, &ds);
        for (int64_t j = 0; j < a->h; j++) acc[j] += a->scale * ds * (double)k[j];
    }
    for (int64_t j = 0; j < a->h; j++) ref_out(&c->out[0])[(t * a->n + i) * a->h + j] = (float)acc[j];
}

/* Adds what query row t gives to dk [h] and dv [h] of one key row r of key head g. */
static void key_gradient(const ref_call *c, const heads *a, int64_t t, int64_t g, const float *k, const float *v, double *dk, double *dv)
{
    double ds;
    for (int64_t i = g * a->group; i < (g + 1) * a->group; i++) {
        const int64_t at = (t * a->n + i) * a->h;
        const double p = pair(c, a, t, i, k, v, &ds);
        for (int64_t j = 0; j < a->h; j++) {
            dk[j] += a->scale * ds * (double)ref_f32(&c->in[0])[at + j];
            dv[j] += p * (double)ref_f32(&c->in[8])[at + j];
        }
    }
}

/* dk and dv of row r of keys k (inputs `in`, outputs `out`): s < 0: seen by all queries of all sequences; else by those of sequence s at places [place, end). */
static void row_gradient(const ref_call *c, const heads *a, int in, int out, int64_t r, int64_t s, int64_t place, int64_t end)
{
    double *dk = c->scratch, *dv = c->scratch + a->h;
    for (int64_t g = 0; g < a->kv; g++) {
        const int64_t at = (r * a->kv + g) * a->h;
        for (int64_t j = 0; j < a->h; j++) dk[j] = dv[j] = 0.0;
        for (int64_t one = s < 0 ? 0 : s; one < (s < 0 ? a->S : s + 1); one++) {
            const int64_t first = a->seq[4 * one], from = s < 0 ? 0 : place, to = s < 0 ? a->seq[4 * one + 1] : end;
            for (int64_t p = from; p < to; p++) key_gradient(c, a, first + p, g, ref_f32(&c->in[in]) + at, ref_f32(&c->in[in + 1]) + at, dk, dv);
        }
        for (int64_t j = 0; j < a->h; j++) {
            if (c->out[out].there) ref_out(&c->out[out])[at + j] = (float)dk[j];
            if (c->out[out + 1].there) ref_out(&c->out[out + 1])[at + j] = (float)dv[j];
        }
    }
}

static graft_status do_grad(const ref_call *c)
{
    const heads a = heads_of(c);
    const graft_status status = check_borders(c, &a, -1);
    if (status) return status;
    for (int i = 0; i < 3; i++) clear(&c->out[i]);
    for (int64_t s = 0; s < a.S; s++) {
        const int64_t first = a.seq[4 * s], rows = a.seq[4 * s + 1];
        for (int64_t place = 0; place < rows; place++) {
            const int64_t last = a.window && a.window < rows - place ? place + a.window : rows; /* queries beyond no longer see this key */
            for (int64_t i = 0; i < a.n && c->out[0].there; i++) query_gradient(c, &a, first, place, i);
            if (c->out[1].there || c->out[2].there) row_gradient(c, &a, 1, 1, first + place, s, place, last);
        }
    }
    for (int64_t r = 0; r < a.m && (c->out[3].there || c->out[4].there); r++) row_gradient(c, &a, 4, 3, r, -1, 0, 0);
    return GRAFT_OK;
}

/* ---- shapes --------------------------------------------------------------------------------------------------------------------------------- */
static int fits(const ref_call *c)
{
    const ref_view *q = &c->in[0], *k = &c->in[1], *extra = &c->in[4];
    const int64_t n = ref_int(c, "heads"), kv = ref_int(c, "kv_heads");
    if (q->rank != 2 || k->rank != 2 || n < 1 || kv < 1 || n % kv || q->dims[1] % n || c->in[3].rank != 2 || c->in[3].dims[1] != 4) return 0;
    const int64_t width = q->dims[1] / n * kv;
    if (k->dims[0] != q->dims[0] || k->dims[1] != width || !ref_same(k, &c->in[2]) || extra->there != c->in[5].there || !ref_same(extra, &c->in[5])) return 0;
    return (!extra->there || (extra->rank == 2 && extra->dims[1] == width)) && ref_same(q, &c->out[0]);
}

static int is_lse(const ref_call *c, const ref_view *v) { return !v->there || (v->rank == 2 && v->dims[0] == c->in[0].dims[0] && v->dims[1] == ref_int(c, "heads")); }
static int attention_fits(const ref_call *c) { return fits(c) && is_lse(c, &c->out[1]); }
static int cached_fits(const ref_call *c)
{
    const ref_view *cache = &c->in[6];
    return fits(c) && cache->rank == 2 && cache->dims[1] == c->in[1].dims[1] && ref_same(cache, &c->in[7]) && ref_same(cache, &c->out[1]) && ref_same(cache, &c->out[2]);
}
static int grad_fits(const ref_call *c)
{
    return fits(c) && ref_same(&c->in[0], &c->in[6]) && is_lse(c, &c->in[7]) && ref_same(&c->in[0], &c->in[8]) && ref_same(&c->in[1], &c->out[1]) &&
           ref_same(&c->in[1], &c->out[2]) && (c->in[4].there ? ref_same(&c->in[4], &c->out[3]) && ref_same(&c->in[4], &c->out[4]) : 1);
}

#define HEADS                                             \
    {                                                     \
        "heads", "kv_heads", "window", "scale", "softcap" \
    }
const ref_op ref_attention[] = {
    {.name = "attention/1", .in = "fffiFF", .n_out = 2, .attrs = HEADS, .run = do_attention, .fits = attention_fits, .scratch = 1},
    {.name = "attention_grad/1", .in = "fffiFFfff", .n_out = 5, .attrs = HEADS, .run = do_grad, .fits = grad_fits, .scratch = 1},
    {.name = "attention_cached/1", .in = "fffiFFff", .n_out = 3, .attrs = HEADS, .run = do_cached, .fits = cached_fits, .scratch = 1},
    {.name = NULL},
};
