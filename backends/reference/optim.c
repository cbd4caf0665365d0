/* backends/reference/optim.c - sum of squares, and one AdamW step in torch's order. */
#include "element.h"

#include "graft/dynamic8.h"

static graft_status do_sum_squares(const ref_call *c)
{
    double sum = 0.0;
    for (int64_t i = 0; i < c->in[0].n; i++) sum += (double)ref_f32(&c->in[0])[i] * (double)ref_f32(&c->in[0])[i];
    ref_out(&c->out[0])[0] = (float)(sum + (c->in[1].there ? (double)ref_f32(&c->in[1])[0] : 0.0));
    return GRAFT_OK;
}

enum { LR,
       BETA1,
       BETA2,
       EPS,
       DECAY,
       CORRECTION1,
       CORRECTION2,
       FACTOR,
       HYPERS };

static graft_status do_adamw(const ref_call *c)
{
    const float *h = ref_f32(&c->in[4]);
    const double lr = (double)h[LR], b1 = (double)h[BETA1], b2 = (double)h[BETA2], keep = ref_int(c, "decay") ? 1.0 - lr * (double)h[DECAY] : 1.0;
    for (int64_t i = 0; i < c->in[0].n; i++) {
        const double p = (double)ref_f32(&c->in[0])[i] * keep, g = (double)ref_f32(&c->in[1])[i] * (double)h[FACTOR];
        const double m = b1 * (double)ref_f32(&c->in[2])[i] + (1.0 - b1) * g, v = b2 * (double)ref_f32(&c->in[3])[i] + (1.0 - b2) * g * g;
        if (c->out[0].there) ref_out(&c->out[0])[i] = (float)(p - lr * (m / (double)h[CORRECTION1]) / (sqrt(v / (double)h[CORRECTION2]) + (double)h[EPS]));
        if (c->out[1].there) ref_out(&c->out[1])[i] = (float)m;
        if (c->out[2].there) ref_out(&c->out[2])[i] = (float)v;
    }
    return GRAFT_OK;
}

/* In f32, as dynamic8.h says: codes are the same on every backend. */
static graft_status do_pack(const ref_call *c)
{
    const float *x = ref_f32(&c->in[0]);
    int32_t *words = c->out[0].data;
    graft_dynamic8 t;
    graft_dynamic8_make(&t, ref_int(c, "signed") != 0);
    for (int64_t from = 0, b = 0; from < c->in[0].n; from += GRAFT_DYNAMIC8_BLOCK, b++) {
        const int64_t n = c->in[0].n - from < GRAFT_DYNAMIC8_BLOCK ? c->in[0].n - from : GRAFT_DYNAMIC8_BLOCK;
        float largest = 0.0f;
        for (int64_t i = 0; i < n; i++) largest = fabsf(x[from + i]) > largest ? fabsf(x[from + i]) : largest;
        if (c->out[1].there) ref_out(&c->out[1])[b] = largest;
        if (!c->out[0].there) continue;
        for (int64_t w = 0; w < GRAFT_DYNAMIC8_WORDS; w++) {
            int32_t word = 0;
            for (int64_t k = 0; k < 3 && 3 * w + k < n; k++) word |= graft_dynamic8_code(&t, x[from + 3 * w + k] / (largest > 0.0f ? largest : 1.0f)) << 8 * k;
            words[b * GRAFT_DYNAMIC8_WORDS + w] = word;
        }
    }
    return GRAFT_OK;
}

static graft_status do_unpack(const ref_call *c)
{
    const int32_t *words = c->in[0].data;
    graft_dynamic8 t;
    graft_dynamic8_make(&t, ref_int(c, "signed") != 0);
    for (int64_t i = 0; i < c->out[0].n; i++) {
        const int64_t b = i / GRAFT_DYNAMIC8_BLOCK, at = i % GRAFT_DYNAMIC8_BLOCK;
        ref_out(&c->out[0])[i] = t.value[words[b * GRAFT_DYNAMIC8_WORDS + at / 3] >> 8 * (at % 3) & 255] * ref_f32(&c->in[1])[b];
    }
    return GRAFT_OK;
}

static int blocks_fit(int64_t n, const ref_view *codes, const ref_view *scales)
{
    const int64_t blocks = (n + GRAFT_DYNAMIC8_BLOCK - 1) / GRAFT_DYNAMIC8_BLOCK;
    return (!codes->there || (codes->n == blocks * GRAFT_DYNAMIC8_WORDS && codes->dtype == GRAFT_I32)) && (!scales->there || scales->n == blocks);
}
static int pack_fits(const ref_call *c) { return blocks_fit(c->in[0].n, &c->out[0], &c->out[1]); }
static int unpack_fits(const ref_call *c) { return blocks_fit(c->out[0].n, &c->in[0], &c->in[1]); }

static int squares_fits(const ref_call *c) { return (!c->in[1].there || c->in[1].n == 1) && (!c->out[0].there || c->out[0].n == 1); }

static int adamw_fits(const ref_call *c)
{
    for (int i = 1; i < 4; i++) {
        if (!ref_same(&c->in[0], &c->in[i]) || !ref_same(&c->in[0], &c->out[i - 1])) return 0;
    }
    return c->in[4].n == HYPERS;
}

const ref_op ref_optim[] = {
    {.name = "sum_squares/1", .in = "fF", .n_out = 1, .run = do_sum_squares, .fits = squares_fits},
    {.name = "adamw/1", .in = "fffff", .n_out = 3, .attrs = {"decay"}, .run = do_adamw, .fits = adamw_fits},
    {.name = "dynamic8_pack/1", .in = "f", .n_out = 2, .attrs = {"signed"}, .run = do_pack, .fits = pack_fits},
    {.name = "dynamic8_unpack/1", .in = "if", .n_out = 1, .attrs = {"rank", "d0", "d1", "d2", "d3", "signed"}, .run = do_unpack, .fits = unpack_fits},
    {.name = NULL},
};
