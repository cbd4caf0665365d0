/* tests/backends/overlap.h - a program that answers what it was given: t = x + y + kept, kept = t, for tests of runs that overlap. */
#ifndef TESTS_BACKENDS_OVERLAP_H
#define TESTS_BACKENDS_OVERLAP_H

#include "core/base/error.h"
#include "core/graph/run.h"
#include "graft/graph.h"

enum { OVERLAP_N = 600 };
typedef struct overlap_rig {
    graft_graph *g;
    graft_store *store;
    graft_exec *exec;
} overlap_rig;

static inline void overlap_close(overlap_rig *r)
{
    graft_exec_free(r->exec);
    graft_store_free(r->store);
    graft_graph_free(r->g);
}

static inline graft_status overlap_open(overlap_rig *r, const graft_device *d, graft_error *err)
{
    static const int64_t n[] = {OVERLAP_N}, capacity[GRAFT_SYMBOLS] = {1, 1, 1, 1};
    *r = (overlap_rig){.g = graft_graph_new()};
    const graft_value x = graft_graph_input(r->g, "x", GRAFT_F32, 1, n), y = graft_graph_input(r->g, "y", GRAFT_F32, 1, n), kept = graft_graph_state(r->g, "kept", GRAFT_F32, 1, n);
    const graft_value t = graft_add(r->g->builder, graft_add(r->g->builder, x, y), kept);
    graft_graph_assign(r->g, kept, t);
    graft_graph_output(r->g, "t", graft_scale(r->g->builder, t, 2.0));
    graft_status status = graft_graph_prepare(r->g, d, 0, 0, err);
    if (!status) status = graft_store_new(d, &r->store, err);
    if (!status) status = graft_store_add_graph(r->store, r->g, capacity, err);
    if (!status) status = graft_store_commit(r->store, err);
    return status ? status : graft_exec_new(r->g, r->store, capacity, 0, &r->exec, err);
}

/* rounds runs, two under way at a time; y is set in every third round only. answers[k]: every number of t after round k. Stops at the first failure. */
static inline graft_status overlap_use(overlap_rig *r, int rounds, float *answers, graft_error *err)
{
    static const int64_t extent[GRAFT_SYMBOLS] = {0};
    static float numbers[OVERLAP_N];
    graft_status status = GRAFT_OK;
    for (int k = 0; k <= rounds && !status; k++) {
        if (k < rounds) {
            for (int i = 0; i < OVERLAP_N; i++) numbers[i] = (float)(k + i);
            status = graft_exec_set(r->exec, "x", numbers, (int64_t)sizeof numbers, err);
            for (int i = 0; i < OVERLAP_N; i++) numbers[i] = (float)(100 * k);
            if (!status && k % 3 == 0) status = graft_exec_set(r->exec, "y", numbers, (int64_t)sizeof numbers, err);
            if (!status) status = graft_exec_start(r->exec, extent, (uint64_t)k, 0, err);
        }
        if (k == 0) continue;
        if (!status) status = graft_exec_wait(r->exec, err);
        if (!status) status = graft_exec_get(r->exec, "t", answers + (k - 1) * OVERLAP_N, OVERLAP_N * 4, err);
    }
    return status;
}

#endif
