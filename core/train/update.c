/* core/train/update.c - see update.h. The maths of each optimiser is in its file, optim_*.c. */
#include "core/train/update.h"

#include "core/base/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static graft_value gradient_of(graft_graph *g, const graft_value_info *v)
{
    char name[1024];
    const int n = snprintf(name, sizeof name, GRAFT_GRADIENT "%s", v->name);
    if (n < 0 || (size_t)n >= sizeof name) {
        graft_graph_error(g, "the name of a weight is longer than %zu bytes", sizeof name - 16);
        return graft_null_value();
    }
    return graft_graph_state(g, name, GRAFT_F32, v->shape.rank, v->shape.dims);
}

int graft_update_trains(const graft_graph *train, const graft_value_info *v)
{
    char name[1024];
    if (v->node >= 0 || v->place != GRAFT_PLACE_WEIGHT || !v->trainable || !v->name) return 0;
    const int n = snprintf(name, sizeof name, GRAFT_GRADIENT "%s", v->name);
    return n > 0 && (size_t)n < sizeof name && graft_graph_find(train, name).id != 0;
}

int graft_update_decays(const graft_value_info *v)
{
    const size_t n = strlen(v->name);
    return v->role != GRAFT_ROLE_NORM && !(n >= 4 && !strcmp(v->name + n - 4, "bias")) && !strstr(v->name, ".bias.");
}

/* sum over all gradients; summed in the order of the training graph's leaves. */
static void emit_norm(graft_graph *g, const graft_graph *train)
{
    graft_value sum = graft_null_value();
    for (int32_t i = 1; i < train->n_values; i++)
        if (graft_update_trains(train, &train->values[i])) sum = graft_sum_squares(g->builder, gradient_of(g, &train->values[i]), sum);
    graft_graph_output(g, "sum_squares", sum);
}

static graft_update_leaf new_leaf(const graft_optim *optim, const graft_value_info *weight, const char *name)
{
    return (graft_update_leaf){.name = name, .rate = 1.0, .decay = optim->decays_all || graft_update_decays(weight), .active = 1};
}

static graft_value hyper_of(const graft_update *u, graft_graph *g)
{
    const int64_t rows[] = {u->n_leaves, GRAFT_OPTIM_NUMBERS};
    return graft_graph_input(g, "hyper", GRAFT_F32, 2, rows);
}

static void emit_step(graft_update *u, const graft_graph *train, const graft_update_options *o)
{
    graft_graph *g = u->step;
    graft_builder *b = g->builder;
    const graft_optim *optim = graft_optim_of(o);
    const graft_value hyper = hyper_of(u, g);
    int32_t at = 0;
    for (int32_t i = 1; i < train->n_values; i++) {
        const graft_value_info *v = &train->values[i];
        if (!graft_update_trains(train, v)) continue;
        graft_param p = {.size = (uint32_t)sizeof p, .role = v->role, .start = GRAFT_START_CHECKPOINT, .rank = v->shape.rank};
        memcpy(p.dims, v->shape.dims, sizeof p.dims);
        graft_optim_leaf x = {.g = g, .b = b, .o = o, .info = v, .w = b->api->param(b, v->name, &p), .grad = gradient_of(g, v)};
        x.row = graft_slice(b, hyper, 0, at, 1);
        optim->emit(&x);
        graft_graph_assign(g, x.grad, graft_fill(b, v->shape.rank, v->shape.dims, 0.0));
        u->leaves[at++] = new_leaf(optim, v, graft_graph_info(g, x.w)->name);
    }
}

static graft_status count_leaves(graft_update *u, const graft_graph *train, graft_error *err)
{
    memset(u, 0, sizeof *u);
    for (int32_t i = 1; i < train->n_values; i++) u->n_leaves += graft_update_trains(train, &train->values[i]);
    if (!u->n_leaves) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "nothing would be trained: the tuning method chose no weight");
    u->leaves = graft_calloc((size_t)u->n_leaves, sizeof *u->leaves);
    u->hyper = graft_calloc((size_t)u->n_leaves * GRAFT_OPTIM_NUMBERS, sizeof *u->hyper);
    return u->leaves && u->hyper ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for the optimiser");
}

/* ---- inside the training graph --------------------------------------------------------------------------------------------- */

/* Products of an optimiser's own are f32, those of a training graph may be less. */
int graft_update_fits_inside(const graft_update_options *o)
{
    const graft_optim *optim = graft_optim_of(o);
    return !(o->max_grad_norm > 0) && !optim->prepare && optim != &graft_optim_muon;
}

/* The gradient of the trained weight v, without the state in which it was summed; that state is no leaf any more. */
static graft_value take_gradient(graft_graph *g, int32_t v)
{
    char name[1024];
    snprintf(name, sizeof name, GRAFT_GRADIENT "%s", g->values[v].name);
    const uint32_t state = graft_graph_find(g, name).id, sum = g->values[state].assigned;
    graft_value first = graft_null_value(); /* what was added to the state */
    for (int32_t i = 0; i < g->n_nodes && !first.id; i++)
        if (!strcmp(g->nodes[i].op->name, "add/1") && g->nodes[i].in[0].id == state) {
            first = g->nodes[i].in[1];
            graft_graph_replace(g, g->nodes[i].out[0], first);
        }
    graft_value gradient = {g->values[state].assigned};
    if (!sum || !first.id) gradient = graft_fill(g->builder, g->values[v].shape.rank, g->values[v].shape.dims, 0.0);
    g->values[state].assigned = 0;
    g->values[state].place = GRAFT_PLACE_ARENA, g->values[state].node = -2;
    return gradient;
}

graft_status graft_update_inside(graft_update *u, graft_graph *g, const graft_update_options *o, graft_error *err)
{
    const graft_optim *optim = graft_optim_of(o);
    const int32_t n = g->n_values;
    graft_status s = count_leaves(u, g, err);
    if (s) return s;
    u->inside = 1;
    graft_graph_early_begin(g);
    const graft_value hyper = hyper_of(u, g);
    graft_value sum = graft_null_value();
    int32_t at = u->n_leaves;
    for (int32_t i = n - 1; i >= 1 && !g->error.code; i--) { /* the last weights have their gradients first */
        const graft_value_info v = g->values[i];             /* a copy: emission moves the array */
        if (!graft_update_trains(g, &v)) continue;
        graft_optim_leaf x = {.g = g, .b = g->builder, .o = o, .info = &v, .w = {(uint32_t)i}, .grad = take_gradient(g, i)};
        x.row = graft_slice(x.b, hyper, 0, --at, 1);
        sum = graft_sum_squares(x.b, x.grad, sum);
        optim->emit(&x);
        u->leaves[at] = new_leaf(optim, &v, v.name);
    }
    graft_graph_output(g, "sum_squares", sum);
    graft_graph_early_end(g);
    return graft_graph_check(g, err);
}

/* ---- graphs of its own --------------------------------------------------------------------------------------------------------- */

graft_status graft_update_graphs(graft_update *u, const graft_graph *train, const graft_update_options *o, const graft_device *d, graft_error *err)
{
    graft_status s = count_leaves(u, train, err);
    if (s) return s;
    u->norm = graft_graph_new();
    u->step = graft_graph_new();
    if (!u->norm || !u->step) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for the optimiser's graph");
    emit_norm(u->norm, train);
    emit_step(u, train, o);
    s = graft_graph_prepare(u->norm, d, 0, 0, err);
    if (!s) s = graft_graph_prepare(u->step, d, 0, 0, err);
    u->norm->compute = u->step->compute = 1; /* an optimiser's own products are f32 whatever the model multiplies in */
    return s;
}

graft_status graft_update_compile(graft_update *u, graft_store *store, const int64_t capacity[GRAFT_SYMBOLS], uint64_t seed, graft_error *err)
{
    u->store = store;
    if (u->inside) return GRAFT_OK;
    graft_status s = graft_exec_new(u->norm, store, capacity, seed, &u->run_norm, err);
    if (!s) s = graft_exec_new(u->step, store, capacity, seed, &u->run_step, err);
    return s;
}

void graft_update_free(graft_update *u)
{
    graft_exec_free(u->run_norm);
    graft_exec_free(u->run_step);
    graft_graph_free(u->norm);
    graft_graph_free(u->step);
    graft_free(u->leaves);
    graft_free(u->hyper);
    memset(u, 0, sizeof *u);
}

graft_update_leaf *graft_update_find(const graft_update *u, const char *weight)
{
    for (int32_t i = 0; i < u->n_leaves; i++)
        if (!strcmp(u->leaves[i].name, weight)) return &u->leaves[i];
    return NULL;
}

/* The row of each weight; one that rests falls a step behind. */
static void fill_hyper(graft_update *u, const graft_update_options *o, int64_t t, double rate, double factor)
{
    const graft_optim *optim = graft_optim_of(o);
    for (int32_t i = 0; i < u->n_leaves; i++) {
        graft_update_leaf *leaf = &u->leaves[i];
        float *row = u->hyper + (size_t)i * GRAFT_OPTIM_NUMBERS;
        double numbers[GRAFT_OPTIM_NUMBERS] = {0};
        if (leaf->active) optim->numbers(o, t - leaf->skipped, rate * leaf->rate, o->weight_decay * leaf->decay, factor, numbers);
        else leaf->skipped++;
        for (int k = 0; k < GRAFT_OPTIM_NUMBERS; k++) row[k] = leaf->active ? (float)numbers[k] : optim->still[k];
    }
}

/* The optimiser's own work on the host, for the weights that step. */
static graft_status prepare(const graft_update *u, const graft_update_options *o, int64_t t, graft_error *err)
{
    const graft_optim *optim = graft_optim_of(o);
    if (!optim->prepare) return GRAFT_OK;
    const char **weights = graft_calloc((size_t)u->n_leaves, sizeof *weights);
    int64_t *steps = graft_calloc((size_t)u->n_leaves, sizeof *steps);
    int32_t n = 0;
    for (int32_t i = 0; weights && steps && i < u->n_leaves; i++) {
        if (!u->leaves[i].active) continue;
        weights[n] = u->leaves[i].name;
        steps[n++] = t - u->leaves[i].skipped;
    }
    const graft_status s = weights && steps ? optim->prepare(o, u->store, weights, steps, n, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for the optimiser");
    graft_free(weights);
    graft_free(steps);
    return s;
}

static graft_status norm_of(graft_exec *e, double *norm, graft_error *err)
{
    float sum = 0;
    const graft_status s = graft_exec_get(e, "sum_squares", &sum, sizeof sum, err);
    if (s) return s;
    *norm = sqrt((double)sum);
    return isfinite(*norm) ? GRAFT_OK : graft_fail(err, GRAFT_BAD_INPUT, NULL, "the norm of the gradients is %s", isnan(*norm) ? "not a number" : "infinite");
}

static graft_status give_hyper(const graft_update *u, graft_exec *e, graft_error *err)
{
    return graft_exec_set(e, "hyper", u->hyper, (int64_t)sizeof *u->hyper * GRAFT_OPTIM_NUMBERS * u->n_leaves, err);
}

graft_status graft_update_before(graft_update *u, const graft_update_options *o, graft_exec *train, int64_t t, double rate, graft_error *err)
{
    fill_hyper(u, o, t, rate, 1.0);
    return give_hyper(u, train, err);
}

graft_status graft_update_after(graft_exec *train, double *norm, graft_error *err) { return norm_of(train, norm, err); }

graft_status graft_update_run(graft_update *u, const graft_update_options *o, int64_t t, double rate, double *norm, graft_error *err)
{
    const int64_t none[GRAFT_SYMBOLS] = {0};
    graft_status s = graft_exec_run(u->run_norm, none, 0, 0, err);
    if (!s) s = norm_of(u->run_norm, norm, err);
    if (s) return s;
    const double factor = o->max_grad_norm > 0 ? fmin(1.0, o->max_grad_norm / (*norm + 1e-6)) : 1.0;
    s = prepare(u, o, t, err);
    if (!s && u->watch) s = u->watch(u->watcher, factor, err);
    if (s) return s;
    fill_hyper(u, o, t, rate, factor);
    s = give_hyper(u, u->run_step, err);
    return s ? s : graft_exec_run(u->run_step, none, 0, 0, err);
}
