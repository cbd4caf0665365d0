/* core/train/optim_adam.c - AdamW (Loshchilov & Hutter 2019, torch's order; the maths is at graft_adamw in graft/ops.h), with moments in f32, or in 8 bits
 * between the steps (Dettmers et al. 2021): codes of the dynamic map with one scale for 256 elements, in f32 only while the weight is updated.
 *
 *   adam_m:W, adam_v:W     f32, like W
 *   adam8_m:W, adam8_v:W   i32 [blocks, 86], three codes a word (dynamic8.h)      adam8_ms:W, adam8_vs:W   f32 [blocks, 1], the scales
 *
 * As bitsandbytes and transformers have it, tensors below 4096 elements and embeddings keep f32 moments. */
#include "core/train/optim.h"

#include "graft/dynamic8.h"

#include <math.h>
#include <string.h>

enum { LR,
       BETA1,
       BETA2,
       EPSILON,
       DECAY,
       CORRECTION1,
       CORRECTION2,
       FACTOR };

static void numbers(const graft_optim_options *o, int64_t t, double rate, double decay, double factor, double row[GRAFT_OPTIM_NUMBERS])
{
    const double made[] = {rate, o->beta1, o->beta2, o->epsilon, decay, 1.0 - pow(o->beta1, (double)t), 1.0 - pow(o->beta2, (double)t), factor};
    memcpy(row, made, sizeof made);
}

void graft_optim_emit_adamw(const graft_optim_leaf *x)
{
    const graft_value m = graft_optim_state(x, "adam_m:", GRAFT_F32, -1, NULL), v = graft_optim_state(x, "adam_v:", GRAFT_F32, -1, NULL);
    const graft_value now = graft_adamw(x->b, x->w, x->grad, m, v, graft_optim_row(x), 1);
    graft_graph_assign(x->g, x->w, now);
    graft_graph_assign(x->g, m, x->b->api->output(x->b, now, 1));
    graft_graph_assign(x->g, v, x->b->api->output(x->b, now, 2));
}

const graft_optim graft_optim_adamw = {
    .name = "adamw",
    .states = {"adam_m:", "adam_v:"},
    .emit = graft_optim_emit_adamw,
    .numbers = numbers,
    .still = {0, 1, 1, 1, 0, 1, 1, 0},
};

/* ---- 8 bits ---------------------------------------------------------------------------------------------------------------- */

enum { SMALLEST = 4096 };

typedef struct packed {
    graft_value codes, scales;
} packed;

static packed packed_state(const graft_optim_leaf *x, const char *codes, const char *scales, int64_t n)
{
    const int64_t blocks = (n + GRAFT_DYNAMIC8_BLOCK - 1) / GRAFT_DYNAMIC8_BLOCK, words[] = {blocks, GRAFT_DYNAMIC8_WORDS}, of_block[] = {blocks, 1};
    return (packed){graft_optim_state(x, codes, GRAFT_I32, 2, words), graft_optim_state(x, scales, GRAFT_F32, 2, of_block)};
}

static graft_value unpack(const graft_optim_leaf *x, const packed *p, int is_signed)
{
    const graft_shape *s = &x->info->shape;
    return graft_dynamic8_unpack(x->b, p->codes, p->scales, is_signed, s->rank, s->dims);
}

static void pack(const graft_optim_leaf *x, const packed *p, int is_signed, graft_value now)
{
    const graft_value codes = graft_dynamic8_pack(x->b, now, is_signed);
    graft_graph_assign(x->g, p->codes, codes);
    graft_graph_assign(x->g, p->scales, x->b->api->output(x->b, codes, 1));
}

static void emit_8bit(const graft_optim_leaf *x)
{
    const int64_t none[GRAFT_SYMBOLS] = {0}, n = graft_shape_elements(&x->info->shape, none);
    if (n < SMALLEST || x->info->role == GRAFT_ROLE_EMBED) {
        graft_optim_emit_adamw(x);
        return;
    }
    const packed m = packed_state(x, "adam8_m:", "adam8_ms:", n), v = packed_state(x, "adam8_v:", "adam8_vs:", n);
    const graft_value now = graft_adamw(x->b, x->w, x->grad, unpack(x, &m, 1), unpack(x, &v, 0), graft_optim_row(x), 1);
    graft_graph_assign(x->g, x->w, now);
    pack(x, &m, 1, x->b->api->output(x->b, now, 1));
    pack(x, &v, 0, x->b->api->output(x->b, now, 2));
}

const graft_optim graft_optim_adamw_8bit = {
    .name = "adamw_8bit",
    .states = {"adam_m:", "adam_v:", "adam8_m:", "adam8_ms:", "adam8_v:", "adam8_vs:"},
    .emit = emit_8bit,
    .numbers = numbers,
    .still = {0, 1, 1, 1, 0, 1, 1, 0},
};
