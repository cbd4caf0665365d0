/* core/train/optim_adam.c - AdamW (Loshchilov & Hutter 2019, torch's order; the maths is at graft_adamw in graft/ops.h).
 *
 *   adam_m:W, adam_v:W     f32, like W */
#include "core/train/optim.h"

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
