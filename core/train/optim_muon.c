/* core/train/optim_muon.c - Muon (Jordan et al. 2024) with the step size of Liu et al. 2025 ("Muon is scalable for LLM training"), from primitives.
 * A matrix [m, n] that is neither embedding nor head:
 *
 *   u = momentum u + g;  d = nesterov ? g + momentum u : u                             muon_u:W
 *   X = d / (|d| + 1e-7), transposed when m > n; ns_steps times: A = X X^T, X = 3.4445 X + (-4.7750 A + 2.0315 A A) X       (Newton-Schulz)
 *   w *= 1 - lr decay;  w -= lr 0.2 sqrt(max(m, n)) X
 *
 * The iteration runs in f32 (the published code: bf16). All other weights get AdamW with eps outside the correction: eps / sqrt(1 - beta2^t) of AdamW's own.
 * The decay is on every weight, norms and biases too, as in the published optimiser. */
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
    const double c2 = 1.0 - pow(o->beta2, (double)t);
    const double made[] = {rate, o->beta1, o->beta2, o->epsilon / sqrt(c2), decay, 1.0 - pow(o->beta1, (double)t), c2, factor};
    memcpy(row, made, sizeof made);
}

/* x / |x| made orthogonal: the rows when there are fewer rows than columns, else the columns. */
static graft_value orthogonal(const graft_optim_leaf *x, graft_value d)
{
    static const double a = 3.4445, c1 = -4.7750, c2 = 2.0315;
    graft_builder *b = x->b;
    const int tall = x->info->shape.dims[0] > x->info->shape.dims[1];
    const graft_value size = graft_affine(b, graft_sqrt(b, graft_reshape(b, graft_sum_squares(b, d, graft_null_value()), 0, NULL)), 1.0, 1e-7);
    graft_value y = graft_div(b, d, size);
    for (int i = 0; i < x->o->ns_steps; i++) { /* a tall matrix: the same with X^T X on the right, instead of transposing twice */
        const graft_value s = graft_gemm(b, y, y, graft_null_value(), tall, !tall, 1.0);
        const graft_value q = graft_gemm(b, s, s, graft_scale(b, s, c1), 0, 0, c2);
        y = tall ? graft_gemm(b, y, q, graft_scale(b, y, a), 0, 0, 1.0) : graft_gemm(b, q, y, graft_scale(b, y, a), 0, 0, 1.0);
    }
    return y;
}

static int is_muons(const graft_value_info *v)
{
    return v->shape.rank == 2 && v->role != GRAFT_ROLE_EMBED && v->role != GRAFT_ROLE_HEAD && !strstr(v->name, "embed") && !strstr(v->name, "lm_head");
}

static void emit(const graft_optim_leaf *x)
{
    graft_builder *b = x->b;
    if (!is_muons(x->info)) {
        graft_optim_emit_adamw(x);
        return;
    }
    const int64_t *dims = x->info->shape.dims;
    const double size = 0.2 * sqrt((double)(dims[0] > dims[1] ? dims[0] : dims[1]));
    const graft_value lr = graft_optim_number(x, LR), one = graft_fill(b, 0, NULL, 1.0);
    const graft_value was = graft_optim_state(x, "muon_u:", GRAFT_F32, -1, NULL);
    /* beta1 is 1 for a weight that is skipped. */
    const graft_value momentum = graft_select(b, graft_less(b, graft_optim_number(x, BETA1), one), graft_fill(b, 0, NULL, x->o->momentum), one);
    const graft_value g = graft_mul(b, x->grad, graft_optim_number(x, FACTOR));
    const graft_value u = graft_add(b, graft_mul(b, was, momentum), g);
    graft_graph_assign(x->g, was, u);
    const graft_value d = orthogonal(x, x->o->nesterov ? graft_add(b, g, graft_mul(b, u, momentum)) : u);
    const graft_value shrink = graft_affine(b, graft_mul(b, lr, graft_optim_number(x, DECAY)), -1.0, 1.0);
    graft_graph_assign(x->g, x->w, graft_sub(b, graft_mul(b, x->w, shrink), graft_mul(b, d, graft_scale(b, lr, size))));
}

const graft_optim graft_optim_muon = {
    .name = "muon",
    .states = {"muon_u:", "adam_m:", "adam_v:"},
    .emit = emit,
    .numbers = numbers,
    .still = {0, 1, 1, 1, 0, 1, 1, 0},
    .decays_all = 1,
};
