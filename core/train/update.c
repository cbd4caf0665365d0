/* core/train/update.c - see update.h. The maths of one AdamW step is at graft_adamw in graft/ops.h. */
#include "core/train/update.h"

#include "core/base/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static graft_value state_of(graft_graph *g, const char *prefix, const graft_value_info *v)
{
    char name[1024];
    const int n = snprintf(name, sizeof name, "%s%s", prefix, v->name);
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
        if (graft_update_trains(train, &train->values[i])) sum = graft_sum_squares(g->builder, state_of(g, GRAFT_GRADIENT, &train->values[i]), sum);
    graft_graph_output(g, "sum_squares", sum);
}

static void emit_step(graft_graph *g, const graft_graph *train)
{
    graft_builder *b = g->builder;
    const int64_t eight[] = {8};
    const graft_value hyper = graft_graph_input(g, "hyper", GRAFT_F32, 1, eight);
    for (int32_t i = 1; i < train->n_values; i++) {
        const graft_value_info *v = &train->values[i];
        if (!graft_update_trains(train, v)) continue;
        graft_param p = {.size = (uint32_t)sizeof p, .role = v->role, .start = GRAFT_START_CHECKPOINT, .rank = v->shape.rank};
        memcpy(p.dims, v->shape.dims, sizeof p.dims);
        const graft_value w = b->api->param(b, v->name, &p), grad = state_of(g, GRAFT_GRADIENT, v);
        const graft_value m = state_of(g, GRAFT_MOMENT_M, v), s = state_of(g, GRAFT_MOMENT_V, v);
        const graft_value now = graft_adamw(b, w, grad, m, s, hyper, graft_update_decays(v));
        graft_graph_assign(g, w, now);
        graft_graph_assign(g, m, b->api->output(b, now, 1));
        graft_graph_assign(g, s, b->api->output(b, now, 2));
        graft_graph_assign(g, grad, graft_fill(b, v->shape.rank, v->shape.dims, 0.0));
    }
}

graft_status graft_update_graphs(graft_update *u, const graft_graph *train, const graft_device *d, graft_error *err)
{
    memset(u, 0, sizeof *u);
    u->norm = graft_graph_new();
    u->step = graft_graph_new();
    if (!u->norm || !u->step) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for the optimiser's graph");
    int any = 0;
    for (int32_t i = 1; i < train->n_values && !any; i++) any = graft_update_trains(train, &train->values[i]);
    if (!any) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "nothing would be trained: the tuning method chose no weight");
    emit_norm(u->norm, train);
    emit_step(u->step, train);
    graft_status s = graft_graph_prepare(u->norm, d, 0, 0, err);
    if (!s) s = graft_graph_prepare(u->step, d, 0, 0, err);
    return s;
}

graft_status graft_update_compile(graft_update *u, graft_store *store, const int64_t capacity[GRAFT_SYMBOLS], uint64_t seed, graft_error *err)
{
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
    memset(u, 0, sizeof *u);
}

graft_status graft_update_run(graft_update *u, const graft_update_options *o, int64_t t, double rate, double *norm, graft_error *err)
{
    const int64_t none[GRAFT_SYMBOLS] = {0};
    float sum = 0;
    graft_status s = graft_exec_run(u->run_norm, none, 0, 0, err);
    if (!s) s = graft_exec_get(u->run_norm, "sum_squares", &sum, sizeof sum, err);
    if (s) return s;
    *norm = sqrt((double)sum);
    if (!isfinite(*norm)) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the norm of the gradients is %s", isnan(*norm) ? "not a number" : "infinite");
    const double factor = o->max_grad_norm > 0 ? fmin(1.0, o->max_grad_norm / (*norm + 1e-6)) : 1.0;
    const float hyper[8] = {(float)rate, (float)o->beta1, (float)o->beta2, (float)o->epsilon, (float)o->weight_decay,
                            (float)(1.0 - pow(o->beta1, (double)t)), (float)(1.0 - pow(o->beta2, (double)t)), (float)factor};
    s = graft_exec_set(u->run_step, "hyper", hyper, sizeof hyper, err);
    return s ? s : graft_exec_run(u->run_step, none, 0, 0, err);
}
