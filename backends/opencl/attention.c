/* backends/opencl/attention.c - attention in tiles of B rows, B as large as local memory allows; see kernels/attention.cl.
 * Scratch: spans [T, 4] i32, then for the gradient delta [T, heads] f32. */
#include "opencl.h"

typedef struct shape {
    int64_t T, n, kv, h, m, rows; /* rows: of keys */
    int B;
    double scale, softcap;
} shape;

/* B, at most a group's items, halves until `tiles` tiles of B x (h + 1), two of B x B and six vectors fit into local memory. 0: not even B = 1 fits. */
static int tile_of(const ocl_call *c, int64_t h, int tiles, size_t *bytes)
{
    for (int B = c->d->lanes[OCL_ATTENTION] < 16 ? c->d->lanes[OCL_ATTENTION] : 16; B >= 1; B /= 2) {
        const int64_t floats = tiles * B * (h + 1) + 2 * B * B + 6 * B;
        *bytes = (size_t)floats * sizeof(float);
        if (floats * (int64_t)sizeof(float) <= c->d->local_bytes - 256) return B;
    }
    return 0;
}

static shape shape_of(const ocl_call *c, int64_t rows)
{
    shape a = {.T = c->in[0].dims[0], .n = ocl_int(c, "heads"), .kv = ocl_int(c, "kv_heads"), .rows = rows, .scale = ocl_real(c, "scale"), .softcap = ocl_real(c, "softcap")};
    a.m = c->in[4].there ? c->in[4].dims[0] : 0;
    a.h = c->in[0].dims[1] / a.n;
    return a;
}

static graft_status spans(const ocl_call *c, const shape *a, const ocl_view *span, int64_t cache)
{
    const int64_t S = c->in[3].dims[0], most = S > a->T ? S : a->T;
    return ocl_launch_1d(c, OCL_K_spans, most, "ttllllc", &c->in[3], span, S, a->T, cache, ocl_int(c, "window"));
}

static graft_status attend(const ocl_call *c, const shape *a, const ocl_view *k, const ocl_view *v, const ocl_view *span, const ocl_view *lse)
{
    size_t bytes = 0;
    const int B = tile_of(c, a->h, 3, &bytes);
    const int64_t lanes = c->d->lanes[OCL_ATTENTION], global[3] = {(a->T + B - 1) / B * lanes, a->n, 1}, local[3] = {lanes, 1, 1};
    return ocl_launch(c, OCL_K_attend, global, local, "ttttttttlliiiiffisc", &c->in[0], k, v, &c->in[4], &c->in[5], span, &c->out[0], lse, a->T, a->rows, (int)a->n, (int)a->kv,
                      (int)a->h, (int)a->m, a->scale, a->softcap, B, bytes);
}

static graft_status do_attention(const ocl_call *c)
{
    const shape a = shape_of(c, c->in[0].dims[0]);
    int64_t at = 0;
    const ocl_view span = ocl_room(c, &at, a.T * 16, 4 * a.T);
    const graft_status status = spans(c, &a, &span, -1);
    return status ? status : attend(c, &a, &c->in[1], &c->in[2], &span, &c->out[1]);
}

static graft_status do_cached(const ocl_call *c)
{
    const shape a = shape_of(c, c->in[6].dims[0]);
    const ocl_view none = {0}, *cache[2];
    const int64_t width = a.kv * a.h, lanes = c->d->lanes[OCL_ATTENTION], global[3] = {a.T * lanes, 1, 1}, local[3] = {lanes, 1, 1};
    int64_t at = 0;
    const ocl_view span = ocl_room(c, &at, a.T * 16, 4 * a.T);
    graft_status status = spans(c, &a, &span, a.rows);
    for (int i = 0; i < 2 && !status; i++) {
        cache[i] = c->out[1 + i].there ? &c->out[1 + i] : &c->in[6 + i];
        status = ocl_copy(c, &c->in[6 + i], cache[i], c->in[6 + i].n * (int64_t)sizeof(float));
    }
    if (!status) status = ocl_launch(c, OCL_K_cache_rows, global, local, "tttttlc", &c->in[1], &c->in[2], &span, cache[0], cache[1], width);
    if (status || !c->out[0].there) return status;
    return attend(c, &a, cache[0], cache[1], &span, &none);
}

static graft_status key_gradient(const ocl_call *c, const shape *a, int own, const ocl_view *span, const ocl_view *delta)
{
    const ocl_view *k = &c->in[own ? 1 : 4], *v = &c->in[own ? 2 : 5], *dk = &c->out[own ? 1 : 3], *dv = &c->out[own ? 2 : 4];
    size_t bytes = 0;
    const int B = tile_of(c, a->h, 6, &bytes);
    const int64_t rows = own ? a->T : a->m, lanes = c->d->lanes[OCL_ATTENTION], global[3] = {(rows + B - 1) / B * lanes, a->kv, 1}, local[3] = {lanes, 1, 1};
    if (!dk->there && !dv->there) return GRAFT_OK;
    return ocl_launch(c, OCL_K_attend_dkv, global, local, "tttttttttlliiiiffisc", &c->in[0], k, v, span, &c->in[7], &c->in[8], delta, dk, dv, a->T, rows, own, (int)a->n, (int)a->kv,
                      (int)a->h, a->scale, a->softcap, B, bytes);
}

static graft_status do_grad(const ocl_call *c)
{
    const shape a = shape_of(c, c->in[0].dims[0]);
    int64_t at = 0;
    size_t bytes = 0;
    const int B = tile_of(c, a.h, 5, &bytes);
    const ocl_view span = ocl_room(c, &at, a.T * 16, 4 * a.T), delta = ocl_room(c, &at, a.T * a.n * (int64_t)sizeof(float), a.T * a.n);
    const int64_t lanes = c->d->lanes[OCL_ATTENTION], global[3] = {(a.T + B - 1) / B * lanes, a.n, 1}, local[3] = {lanes, 1, 1};
    graft_status status = spans(c, &a, &span, -1);
    if (!status) status = ocl_launch_1d(c, OCL_K_attend_delta, a.T * a.n, "tttli", &c->in[6], &c->in[8], &delta, a.T * a.n, (int)a.h);
    if (!status && c->out[0].there)
        status = ocl_launch(c, OCL_K_attend_dq, global, local, "ttttttttttliiiiffisc", &c->in[0], &c->in[1], &c->in[2], &c->in[4], &c->in[5], &span, &c->in[7], &c->in[8], &delta,
                            &c->out[0], a.T, (int)a.n, (int)a.kv, (int)a.h, (int)a.m, a.scale, a.softcap, B, bytes);
    if (!status) status = key_gradient(c, &a, 1, &span, &delta);
    if (!status && a.m) status = key_gradient(c, &a, 0, &span, &delta);
    return status;
}

static int64_t scratch(const ocl_call *c) { return c->in[0].dims[0] * 16 + 64 + c->in[0].dims[0] * ocl_int(c, "heads") * (int64_t)sizeof(float) + 64; }

/* ---- shapes ----------------------------------------------------------------------------------------------------------------------------------- */
static int fits(const ocl_call *c)
{
    const ocl_view *q = &c->in[0], *k = &c->in[1], *extra = &c->in[4];
    const int64_t n = ocl_int(c, "heads"), kv = ocl_int(c, "kv_heads");
    size_t bytes;
    if (q->rank != 2 || k->rank != 2 || n < 1 || kv < 1 || n > INT32_MAX || n % kv || q->dims[1] % n || c->in[3].rank != 2 || c->in[3].dims[1] != 4) return 0;
    const int64_t h = q->dims[1] / n, width = h * kv;
    if (h > INT32_MAX / 64 || !tile_of(c, h, 6, &bytes)) return 0;
    if (k->dims[0] != q->dims[0] || k->dims[1] != width || !ocl_same(k, &c->in[2]) || extra->there != c->in[5].there || !ocl_same(extra, &c->in[5])) return 0;
    return (!extra->there || (extra->rank == 2 && extra->dims[1] == width)) && ocl_same(q, &c->out[0]);
}

static int is_lse(const ocl_call *c, const ocl_view *v) { return !v->there || (v->rank == 2 && v->dims[0] == c->in[0].dims[0] && v->dims[1] == ocl_int(c, "heads")); }
static int attention_fits(const ocl_call *c) { return fits(c) && is_lse(c, &c->out[1]); }
static int cached_fits(const ocl_call *c)
{
    const ocl_view *cache = &c->in[6];
    return fits(c) && cache->rank == 2 && cache->dims[1] == c->in[1].dims[1] && ocl_same(cache, &c->in[7]) && ocl_same(cache, &c->out[1]) && ocl_same(cache, &c->out[2]);
}
static int grad_fits(const ocl_call *c)
{
    return fits(c) && ocl_same(&c->in[0], &c->in[6]) && is_lse(c, &c->in[7]) && ocl_same(&c->in[0], &c->in[8]) && ocl_same(&c->in[1], &c->out[1]) &&
           ocl_same(&c->in[1], &c->out[2]) && (c->in[4].there ? ocl_same(&c->in[4], &c->out[3]) && ocl_same(&c->in[4], &c->out[4]) : 1);
}

#define HEADS .families = OCL_BIT(OCL_ATTENTION), .attrs = {"heads", "kv_heads", "window", "scale", "softcap"}, .scratch = scratch
const ocl_op ocl_attentions[] = {
    {.name = "attention/1", .in = "fffiFF", .n_out = 2, HEADS, .run = do_attention, .fits = attention_fits},
    {.name = "attention_grad/1", .in = "fffiFFfff", .n_out = 5, HEADS, .run = do_grad, .fits = grad_fits},
    {.name = "attention_cached/1", .in = "fffiFFff", .n_out = 3, HEADS, .run = do_cached, .fits = cached_fits},
    {.name = NULL},
};
