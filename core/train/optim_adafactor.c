/* core/train/optim_adafactor.c - Adafactor (Shazeer & Stern 2018) as transformers has it, from primitives. For a matrix the second moment is kept as the
 * means of its rows and of its columns; rms(x) = sqrt(mean x^2), keep = 1 - t^decay_rate:
 *
 *   s = g^2 + eps1
 *   row = keep row + (1 - keep) mean(s, last axis)           [.., rows, 1]     ada_row:W
 *   col = keep col + (1 - keep) mean(s, axis before it)      [.., 1, columns]  ada_col:W
 *   u = g / sqrt(row / mean(row)) / sqrt(col)                                  of a vector: sq = keep sq + (1 - keep) s, u = g / sqrt(sq)   ada_sq:W
 *   u = u / max(1, rms(u) / clip_threshold) * rate * (scale_parameter ? max(eps2, rms(w)) : 1)
 *   m = beta1 m + (1 - beta1) u, u = m                       where beta1 is given                                                           ada_m:W
 *   w = w - decay rate' w - u                                rate': the rate with all its factors
 *
 * The rate is the schedule's, or with relative_step min(1e-2, or 1e-6 t with warmup_init; 1 / sqrt(t)). */
#include "core/train/optim.h"

#include <math.h>
#include <string.h>

enum { RATE,
       FACTOR,
       DECAY,
       KEEP,
       REST,
       BETA1,
       REST1 };

static void numbers(const graft_optim_options *o, int64_t t, double rate, double decay, double factor, double row[GRAFT_OPTIM_NUMBERS])
{
    const double step = (double)t, keep = 1.0 - pow(step, o->decay_rate);
    if (o->relative_step) rate = fmin(o->warmup_init ? 1e-6 * step : 1e-2, 1.0 / sqrt(step));
    const double made[] = {rate, factor, decay, keep, 1.0 - keep, o->beta1, 1.0 - o->beta1};
    memcpy(row, made, sizeof made);
}

static double elements(const graft_optim_leaf *x)
{
    const int64_t none[GRAFT_SYMBOLS] = {0};
    return (double)graft_shape_elements(&x->info->shape, none);
}

/* Of a tensor with the weight's shape, rank 0. */
static graft_value rms(const graft_optim_leaf *x, graft_value v)
{
    return graft_sqrt(x->b, graft_scale(x->b, graft_reshape(x->b, graft_sum_squares(x->b, v, graft_null_value()), 0, NULL), 1.0 / elements(x)));
}

static graft_value mean(graft_builder *b, graft_value v, int axis, int64_t n) { return graft_scale(b, graft_sum(b, v, axis), 1.0 / (double)n); }

/* keep * state + (1 - keep) * now, assigned. */
static graft_value moving(const graft_optim_leaf *x, const char *prefix, int rank, const int64_t *dims, graft_value now)
{
    const graft_value was = graft_optim_state(x, prefix, GRAFT_F32, rank, dims);
    const graft_value is = graft_optim_mix(x->b, was, graft_optim_number(x, KEEP), now, graft_optim_number(x, REST));
    graft_graph_assign(x->g, was, is);
    return is;
}

/* 1 / sqrt of the second moment, as one tensor or as a product that broadcasts; times g. */
static graft_value scaled(const graft_optim_leaf *x, graft_value g)
{
    graft_builder *b = x->b;
    const graft_shape *shape = &x->info->shape;
    const int last = shape->rank - 1;
    const graft_value squares = graft_affine(b, graft_mul(b, g, g), 1.0, x->o->eps1);
    if (shape->rank < 2) return graft_mul(b, graft_rsqrt(b, moving(x, "ada_sq:", -1, NULL, squares)), g);
    int64_t rows[GRAFT_MAX_RANK], columns[GRAFT_MAX_RANK];
    memcpy(rows, shape->dims, sizeof rows);
    memcpy(columns, shape->dims, sizeof columns);
    rows[last] = columns[last - 1] = 1;
    const graft_value row = moving(x, "ada_row:", shape->rank, rows, mean(b, squares, last, shape->dims[last]));
    const graft_value col = moving(x, "ada_col:", shape->rank, columns, mean(b, squares, last - 1, shape->dims[last - 1]));
    const graft_value of_row = graft_rsqrt(b, graft_div(b, row, mean(b, row, last - 1, shape->dims[last - 1])));
    return graft_mul(b, graft_mul(b, g, of_row), graft_rsqrt(b, col));
}

static void emit(const graft_optim_leaf *x)
{
    graft_builder *b = x->b;
    const graft_optim_options *o = x->o;
    const graft_value one = graft_fill(b, 0, NULL, 1.0), g = graft_mul(b, x->grad, graft_optim_number(x, FACTOR));
    graft_value rate = graft_optim_number(x, RATE);
    if (o->scale_parameter) rate = graft_mul(b, rate, graft_maximum(b, rms(x, x->w), graft_fill(b, 0, NULL, o->eps2)));
    graft_value u = scaled(x, g);
    const graft_value limit = graft_maximum(b, graft_scale(b, rms(x, u), 1.0 / o->clip_threshold), one);
    u = graft_mul(b, graft_div(b, u, limit), rate);
    /* A weight that has been skipped from its first step has moments of zero, and u is no number: keep is 1 then. */
    u = graft_select(b, graft_less(b, graft_optim_number(x, KEEP), one), u, graft_fill(b, 0, NULL, 0.0));
    if (o->first_moment) {
        const graft_value was = graft_optim_state(x, "ada_m:", GRAFT_F32, -1, NULL);
        const graft_value m = graft_optim_mix(b, was, graft_optim_number(x, BETA1), u, graft_optim_number(x, REST1));
        graft_graph_assign(x->g, was, m);
        u = graft_select(b, graft_less(b, graft_optim_number(x, KEEP), one), m, graft_fill(b, 0, NULL, 0.0));
    }
    const graft_value shrink = graft_affine(b, graft_mul(b, rate, graft_optim_number(x, DECAY)), -1.0, 1.0);
    graft_graph_assign(x->g, x->w, graft_sub(b, graft_mul(b, x->w, shrink), u));
}

const graft_optim graft_optim_adafactor = {
    .name = "adafactor",
    .states = {"ada_sq:", "ada_row:", "ada_col:", "ada_m:"},
    .emit = emit,
    .numbers = numbers,
    .still = {0, 0, 0, 1, 0, 1, 0},
};
