/* core/train/optim_galore.c - GaLore (Zhao et al. 2024, arXiv 2403.03507): AdamW whose moments live in a few directions of each gradient.
 * A matrix of the chosen linears, w [m, n] with gradient g, rank r:
 *
 *   every `interval` steps    P = the r largest right singular vectors of g [r, n], or the left ones [m, r]; the moments stay
 *   right                     low = g P^T [m, r]           back = scale * (d P)
 *   left                      low = P^T g [r, n]           back = scale * (P d)
 *   full                      low = L^T g R^T [r, r]       back = scale * (L d R)
 *   m = b1 m + (1 - b1) low;  v = b2 v + (1 - b2) low^2;  d = m / (sqrt(v) + eps)
 *   w -= lr sqrt(1 - b2^t) / (1 - b1^t) back;  w -= lr decay w
 *
 *   std: right when m >= n, else left; reverse_std: the other way round.
 *   galore_r:W [r, n], galore_l:W [m, r]       the directions, found on the host when they are due (svd.c)
 *   galore_m:W, galore_v:W                     of low's shape: r / min(m, n) of AdamW's moments
 *
 * Every other weight goes the same way without a projection. The order - eps outside the correction, decay after the step - is the published optimiser's. The
 * sign of a direction is free there; here the right vector's largest entry is positive, so that runs repeat. */
#include "core/train/optim.h"

#include "core/base/error.h"
#include "core/base/threads.h"
#include "core/graph/store.h"
#include "core/train/svd.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LR, /* with both corrections */
       BETA1,
       BETA2,
       EPSILON,
       DECAY, /* times the rate */
       REST1,
       REST2, /* 1 - beta: exact in f32 only when rounded once */
       FACTOR };

static void numbers(const graft_optim_options *o, int64_t t, double rate, double decay, double factor, double row[GRAFT_OPTIM_NUMBERS])
{
    const double made[] = {rate * sqrt(1.0 - pow(o->beta2, (double)t)) / (1.0 - pow(o->beta1, (double)t)), o->beta1, o->beta2, o->epsilon, rate * decay, 1.0 - o->beta1, 1.0 - o->beta2, factor};
    memcpy(row, made, sizeof made);
}

/* ---- which weights, and how ------------------------------------------------------------------------------------------------- */

static int is_listed(const char *list, const char *name)
{
    for (const char *at = list + strspn(list, ", "); *at; at += strspn(at, ", ")) {
        char word[256];
        const size_t n = strcspn(at, ", ");
        snprintf(word, sizeof word, "%.*s", (int)n, at);
        if (strstr(name, word)) return 1;
        at += n;
    }
    return 0;
}

/* The published rule: linears whose name contains one of the words; "all": every linear but the head. */
static int is_projected(const graft_optim_leaf *x)
{
    const graft_value_info *v = x->info;
    if (v->shape.rank != 2 || v->role == GRAFT_ROLE_EMBED || v->role == GRAFT_ROLE_HEAD) return 0;
    const char *list = x->o->galore_target;
    return !list || !strcmp(list, "all") || !strcmp(list, "all-linear") || is_listed(list, v->name);
}

static int is_right(graft_galore_side side, int64_t m, int64_t n)
{
    return side == GRAFT_GALORE_RIGHT || side == GRAFT_GALORE_FULL || (side == GRAFT_GALORE_STD && m >= n) || (side == GRAFT_GALORE_REVERSE && m < n);
}

static int is_left(graft_galore_side side, int64_t m, int64_t n) { return side == GRAFT_GALORE_FULL || !is_right(side, m, n); }

/* ---- the step ----------------------------------------------------------------------------------------------------------------- */

static void emit(const graft_optim_leaf *x)
{
    graft_builder *b = x->b;
    const graft_value none = graft_null_value();
    graft_value g = graft_mul(b, x->grad, graft_optim_number(x, FACTOR)), left = none, right = none;
    int64_t dims[GRAFT_MAX_RANK];
    memcpy(dims, x->info->shape.dims, sizeof dims);
    if (is_projected(x)) {
        const int64_t m = dims[0], n = dims[1], least = m < n ? m : n, r = x->o->galore_rank < least ? x->o->galore_rank : least, l[] = {m, r}, k[] = {r, n};
        if (is_left(x->o->galore_side, m, n)) left = graft_optim_state(x, "galore_l:", GRAFT_F32, 2, l), g = graft_gemm(b, left, g, none, 1, 0, 1.0), dims[0] = r;
        if (is_right(x->o->galore_side, m, n)) right = graft_optim_state(x, "galore_r:", GRAFT_F32, 2, k), g = graft_gemm(b, g, right, none, 0, 1, 1.0), dims[1] = r;
    }
    const int rank = x->info->shape.rank;
    const graft_value m0 = graft_optim_state(x, "galore_m:", GRAFT_F32, rank, dims), v0 = graft_optim_state(x, "galore_v:", GRAFT_F32, rank, dims);
    const graft_value m = graft_optim_mix(b, m0, graft_optim_number(x, BETA1), g, graft_optim_number(x, REST1));
    const graft_value v = graft_optim_mix(b, v0, graft_optim_number(x, BETA2), graft_mul(b, g, g), graft_optim_number(x, REST2));
    graft_graph_assign(x->g, m0, m);
    graft_graph_assign(x->g, v0, v);
    graft_value d = graft_div(b, m, graft_add(b, graft_sqrt(b, v), graft_optim_number(x, EPSILON)));
    const double scale = left.id || right.id ? x->o->galore_scale : 1.0;
    if (left.id) d = graft_gemm(b, left, d, none, 0, 0, 1.0);
    if (right.id) d = graft_gemm(b, d, right, none, 0, 0, 1.0);
    const graft_value w = graft_sub(b, x->w, graft_mul(b, d, graft_scale(b, graft_optim_number(x, LR), scale)));
    graft_graph_assign(x->g, x->w, graft_sub(b, w, graft_mul(b, w, graft_optim_number(x, DECAY))));
}

/* ---- the directions --------------------------------------------------------------------------------------------------------------- */

typedef struct due {
    int grad, left, right; /* in the store; left, right -1: not kept */
    int64_t m, n, r;
    uint64_t seed;
    float *memory; /* g, left, right */
    int failed;
} due;

static void find(void *ctx, int64_t i)
{
    due *x = (due *)ctx + i;
    float *left = x->memory + x->m * x->n, *right = left + (x->left >= 0 ? x->m * x->r : 0);
    x->failed = graft_svd_largest(x->memory, x->m, x->n, x->r, x->seed, x->left >= 0 ? left : NULL, x->right >= 0 ? right : NULL);
}

static int state_of(const graft_store *s, const char *prefix, const char *weight)
{
    char name[1024];
    return snprintf(name, sizeof name, "%s%s", prefix, weight) < (int)sizeof name ? graft_store_find(s, name) : -1;
}

/* What is due of one weight; 0: nothing. */
static int look(const graft_store *s, const char *weight, due *x)
{
    *x = (due){.grad = state_of(s, "grad:", weight), .left = state_of(s, "galore_l:", weight), .right = state_of(s, "galore_r:", weight), .seed = graft_op_id(weight)};
    if (x->grad < 0 || (x->left < 0 && x->right < 0)) return 0;
    const graft_shape g = graft_store_shape(s, x->grad), p = graft_store_shape(s, x->left >= 0 ? x->left : x->right);
    x->m = g.dims[0], x->n = g.dims[1], x->r = p.dims[x->left >= 0];
    return 1;
}

static graft_status write_one(graft_store *s, const due *x, graft_error *err)
{
    const float *left = x->memory + x->m * x->n, *right = left + (x->left >= 0 ? x->m * x->r : 0);
    graft_status status = x->failed ? graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory to find the directions of a gradient") : GRAFT_OK;
    if (!status && x->left >= 0) status = graft_store_write(s, x->left, left, x->m * x->r * 4, err);
    if (!status && x->right >= 0) status = graft_store_write(s, x->right, right, x->n * x->r * 4, err);
    return status;
}

/* As many at a time as there are processors. */
static graft_status prepare(const graft_optim_options *o, graft_store *s, const char *const *weights, const int64_t *t, int32_t n, graft_error *err)
{
    enum { MOST = 64 };
    due batch[MOST];
    const int room = graft_cpu_count() < MOST ? graft_cpu_count() : MOST;
    graft_status status = GRAFT_OK;
    int have = 0;
    for (int32_t i = 0; i < n && !status; i++) {
        due *x = &batch[have];
        if ((t[i] - 1) % o->galore_interval == 0 && look(s, weights[i], x)) {
            x->memory = graft_calloc((size_t)(x->m * x->n + (x->m + x->n) * x->r), sizeof(float));
            status = x->memory ? graft_store_read(s, x->grad, x->memory, x->m * x->n * 4, err) : graft_fail(err, GRAFT_NO_MEMORY, weights[i], "no memory to find the directions of its gradient");
            have++;
        }
        if (status || !have || (have < room && i + 1 < n)) continue;
        graft_parallel(have, find, batch);
        for (int k = 0; k < have && !status; k++) status = write_one(s, &batch[k], err);
        while (have) graft_free(batch[--have].memory);
    }
    while (have) graft_free(batch[--have].memory);
    return status;
}

const graft_optim graft_optim_galore = {
    .name = "galore_adamw",
    .states = {"galore_m:", "galore_v:", "galore_l:", "galore_r:"},
    .emit = emit,
    .numbers = numbers,
    .still = {0, 1, 1, 1, 0, 0, 0, 0},
    .prepare = prepare,
};
