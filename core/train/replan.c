/* core/train/replan.c - see replan.h. */
#include "core/train/replan.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/model/balance.h"

#include <string.h>

static int steps(const graft_active_method *m) { return GRAFT_HAS(graft_method_table, m->table, on_step) && m->table->on_step != NULL; }

graft_status graft_train_look(const graft_train_job *job, int64_t *virtual_tokens, int *penalty, graft_error *err)
{
    graft_graph *g = NULL;
    *virtual_tokens = 0;
    const graft_status s = graft_model_graph(job->model, job->methods, job->n_methods, GRAFT_FOR_LOSS, &g, err);
    if (!s) *virtual_tokens = graft_graph_virtual_tokens(g), *penalty = graft_graph_has_penalty(g) || graft_balance_weight(job->model) > 0.0; /* a mean over the run's tokens: runs cannot be split */
    graft_graph_free(g);
    return s;
}

void graft_train_rates(graft_update *u, const graft_graph *train)
{
    for (int32_t i = 0; i < u->n_leaves; i++) {
        const graft_value v = graft_graph_find(train, u->leaves[i].name);
        if (v.id) u->leaves[i].rate = graft_graph_rate(train, graft_graph_info(train, v));
    }
}

static graft_status call(const graft_train_job *job, int64_t step, uint32_t *flags, graft_error *err)
{
    graft_status s = GRAFT_OK;
    for (int i = 0; i < job->n_methods && !s; i++)
        if (steps(&job->methods[i])) s = job->methods[i].table->on_step(job->methods[i].run, step, job->options->seed, flags, err);
    return s;
}

graft_status graft_train_begin_methods(const graft_train_job *job, int64_t step, graft_error *err)
{
    int any = 0, penalty = 0;
    int64_t virtual_tokens = 0;
    uint32_t flags = 0;
    for (int i = 0; i < job->n_methods; i++) any |= steps(&job->methods[i]);
    graft_status s = any ? graft_train_look(job, &virtual_tokens, &penalty, err) : GRAFT_OK;
    for (int64_t k = 0; any && k <= step && !s; k++) s = call(job, k, &flags, err);
    return s;
}

/* ---- what outlives the change --------------------------------------------------------------------------------------------------------- */

typedef struct kept {
    char *name;
    void *data; /* NULL: a weight's count of skipped updates */
    int64_t bytes, skipped;
} kept;

static void forget(kept *k, int n)
{
    for (int i = 0; i < n; i++) graft_free(k[i].name), graft_free(k[i].data);
    graft_free(k);
}

static graft_status keep_name(kept *k, const char *name, graft_error *err)
{
    const size_t bytes = strlen(name) + 1;
    k->name = graft_calloc(bytes, 1);
    if (!k->name) return graft_fail(err, GRAFT_NO_MEMORY, name, "no memory to keep the optimiser's state");
    memcpy(k->name, name, bytes);
    return GRAFT_OK;
}

static graft_status keep(const graft_trainer *t, kept **out, int *n, graft_error *err)
{
    const graft_update *u = &t->graphs.update;
    const int all = graft_store_count(t->store);
    kept *k = graft_calloc((size_t)(all + u->n_leaves) + 1, sizeof *k);
    graft_status s = k ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory to keep the optimiser's state");
    *n = 0;
    for (int i = 0; i < all && !s; i++) {
        if (!graft_optim_is_state(graft_store_name(t->store, i))) continue;
        kept *one = &k[(*n)++];
        one->bytes = graft_store_tensor_bytes(t->store, i);
        one->data = graft_calloc((size_t)one->bytes + 1, 1);
        s = one->data ? keep_name(one, graft_store_name(t->store, i), err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory to keep the optimiser's state");
        if (!s) s = graft_store_read(t->store, i, one->data, one->bytes, err);
    }
    for (int32_t i = 0; i < u->n_leaves && !s; i++) {
        k[*n].skipped = u->leaves[i].skipped;
        s = keep_name(&k[(*n)++], u->leaves[i].name, err);
    }
    *out = k;
    return s;
}

static graft_status restore(graft_trainer *t, const kept *k, int n, graft_error *err)
{
    graft_update *u = &t->graphs.update;
    graft_status s = GRAFT_OK;
    for (int32_t i = 0; i < u->n_leaves; i++) u->leaves[i].skipped = t->step;
    for (int i = 0; i < n && !s; i++) {
        graft_update_leaf *leaf = k[i].data ? NULL : graft_update_find(u, k[i].name);
        const int at = k[i].data ? graft_store_find(t->store, k[i].name) : -1;
        if (leaf) leaf->skipped = k[i].skipped;
        if (at >= 0) s = graft_store_write(t->store, at, k[i].data, k[i].bytes, err);
    }
    return s;
}

/* ---- the change ------------------------------------------------------------------------------------------------------------------------- */

static graft_status replan(graft_trainer *t, graft_error *err)
{
    kept *k = NULL;
    int n = 0;
    graft_status s = keep(t, &k, &n, err);
    if (s) goto out;
    graft_exec_free(t->train);
    graft_exec_free(t->eval);
    t->train = t->eval = NULL;
    graft_train_graphs_free(&t->graphs);
    s = graft_store_reset_state(t->store, err);
    if (!s) s = graft_train_remake(t->job, &t->memory, t->capacity, t->eval_capacity, &t->graphs, err);
    if (!s) s = graft_trainer_add_graphs(t, err);
    if (!s) s = restore(t, k, n, err);
    if (!s) s = graft_trainer_compile(t, err);
    if (!s) graft_log(GRAFT_LOG_DEBUG, "update %lld: other weights train from now on, %lld numbers", (long long)t->step + 1, (long long)t->memory.trainable);
out:
    forget(k, n);
    return s;
}

graft_status graft_trainer_step_methods(graft_trainer *t, graft_error *err)
{
    uint32_t flags = 0;
    if (t->step == t->started_step) return GRAFT_OK; /* begun already */
    int any = 0;
    for (int i = 0; i < t->job->n_methods; i++) any |= steps(&t->job->methods[i]);
    graft_status s = any ? graft_trainer_saved(t, err) : GRAFT_OK; /* a save asks the methods too */
    if (!s) s = call(t->job, t->step, &flags, err);
    return s || !(flags & GRAFT_STEP_REPLAN) ? s : replan(t, err);
}
