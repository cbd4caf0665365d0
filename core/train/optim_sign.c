/* core/train/optim_sign.c - SGD with momentum (torch's) and Lion (Chen et al. 2023), from primitives.
 *
 *   sgd    g += decay w;  u = momentum u + (1 - dampening) g, at first u = g;  w -= lr (nesterov ? g + momentum u : u)      sgd_u:W
 *   lion   w *= 1 - lr decay;  w -= lr sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g                          lion_m:W */
#include "core/train/optim.h"

#include <string.h>

/* ---- sgd -------------------------------------------------------------------------------------------------------------------- */

enum { SGD_LR,
       SGD_FACTOR,
       SGD_DECAY,
       SGD_MOMENTUM,
       SGD_NEW };

static void sgd_numbers(const graft_optim_options *o, int64_t t, double rate, double decay, double factor, double row[GRAFT_OPTIM_NUMBERS])
{
    row[SGD_LR] = rate, row[SGD_FACTOR] = factor, row[SGD_DECAY] = decay;
    row[SGD_MOMENTUM] = o->momentum, row[SGD_NEW] = t > 1 ? 1.0 - o->dampening : 1.0;
}

static void sgd_emit(const graft_optim_leaf *x)
{
    graft_builder *b = x->b;
    const graft_value momentum = graft_optim_number(x, SGD_MOMENTUM);
    graft_value g = graft_optim_mix(b, x->grad, graft_optim_number(x, SGD_FACTOR), x->w, graft_optim_number(x, SGD_DECAY));
    if (x->o->momentum > 0) {
        const graft_value was = graft_optim_state(x, "sgd_u:", GRAFT_F32, -1, NULL);
        const graft_value u = graft_optim_mix(b, was, momentum, g, graft_optim_number(x, SGD_NEW));
        graft_graph_assign(x->g, was, u);
        g = x->o->nesterov ? graft_add(b, g, graft_mul(b, u, momentum)) : u;
    }
    graft_graph_assign(x->g, x->w, graft_sub(b, x->w, graft_mul(b, g, graft_optim_number(x, SGD_LR))));
}

const graft_optim graft_optim_sgd = {
    .name = "sgd",
    .states = {"sgd_u:"},
    .emit = sgd_emit,
    .numbers = sgd_numbers,
    .still = {0, 0, 0, 1, 0},
};

/* ---- lion ------------------------------------------------------------------------------------------------------------------- */

enum { LION_LR,
       LION_FACTOR,
       LION_SHRINK,
       LION_BETA1,
       LION_REST1,
       LION_BETA2,
       LION_REST2 };

static void lion_numbers(const graft_optim_options *o, int64_t t, double rate, double decay, double factor, double row[GRAFT_OPTIM_NUMBERS])
{
    const double made[] = {rate, factor, 1.0 - rate * decay, o->beta1, 1.0 - o->beta1, o->beta2, 1.0 - o->beta2};
    (void)t;
    memcpy(row, made, sizeof made);
}

/* 1, 0 or -1. */
static graft_value sign(graft_builder *b, graft_value x)
{
    const graft_value zero = graft_fill(b, 0, NULL, 0.0);
    return graft_sub(b, graft_less(b, zero, x), graft_less(b, x, zero));
}

static void lion_emit(const graft_optim_leaf *x)
{
    graft_builder *b = x->b;
    const graft_value was = graft_optim_state(x, "lion_m:", GRAFT_F32, -1, NULL);
    const graft_value g = graft_mul(b, x->grad, graft_optim_number(x, LION_FACTOR));
    const graft_value to = sign(b, graft_optim_mix(b, was, graft_optim_number(x, LION_BETA1), g, graft_optim_number(x, LION_REST1)));
    graft_graph_assign(x->g, was, graft_optim_mix(b, was, graft_optim_number(x, LION_BETA2), g, graft_optim_number(x, LION_REST2)));
    const graft_value w = graft_mul(b, x->w, graft_optim_number(x, LION_SHRINK));
    graft_graph_assign(x->g, x->w, graft_sub(b, w, graft_mul(b, to, graft_optim_number(x, LION_LR))));
}

const graft_optim graft_optim_lion = {
    .name = "lion",
    .states = {"lion_m:"},
    .emit = lion_emit,
    .numbers = lion_numbers,
    .still = {0, 0, 1, 1, 0, 1, 0},
};
