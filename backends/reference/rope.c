/* backends/reference/rope.c - each pair (u, v) of a head turns by a = pos inv_freq: u' = scale (u cos a - v sin a), v' = scale (v cos a + u sin a). */
#include "element.h"

static graft_status do_rope(const ref_call *c)
{
    const ref_view *x = &c->in[0], *y = &c->out[0];
    const int64_t head = ref_int(c, "head"), half = c->in[2].n, heads = x->dims[1] / head;
    const int mixed = ref_int(c, "interleaved") != 0;
    const double scale = ref_real(c, "scale"), way = ref_int(c, "inverse") ? -1.0 : 1.0;
    const int32_t *pos = c->in[1].data;
    for (int64_t t = 0; t < x->dims[0]; t++) {
        for (int64_t h = 0; h < heads; h++) {
            const float *from = ref_f32(x) + (t * heads + h) * head;
            float *to = ref_out(y) + (t * heads + h) * head;
            for (int64_t i = 0; i < half; i++) {
                const double angle = (double)((float)pos[t] * ref_f32(&c->in[2])[i]); /* the product is rounded to f32 */
                const int64_t iu = mixed ? 2 * i : i, iv = mixed ? 2 * i + 1 : i + half;
                const double u = (double)from[iu], v = (double)from[iv], co = scale * cos(angle), si = scale * way * sin(angle);
                to[iu] = (float)(u * co - v * si);
                to[iv] = (float)(v * co + u * si);
            }
            for (int64_t i = 2 * half; i < head; i++) to[i] = from[i];
        }
    }
    return GRAFT_OK;
}

static int fits(const ref_call *c)
{
    const ref_view *x = &c->in[0];
    const int64_t head = ref_int(c, "head");
    return x->rank == 2 && head > 0 && x->dims[1] % head == 0 && c->in[1].rank == 1 && c->in[1].n == x->dims[0] && c->in[2].rank == 1 && c->in[2].n <= head / 2 &&
           ref_same(x, &c->out[0]);
}

const ref_op ref_rope[] = {
    {.name = "rope/1", .in = "fif", .n_out = 1, .attrs = {"head", "scale", "interleaved", "inverse"}, .run = do_rope, .fits = fits},
    {.name = NULL},
};
