/* core/train/after.c - see after.h. What is kept lies in host memory: it is of an adapter's size, and the hooks run there. */
#include "core/train/after.h"

#include "core/base/error.h"

#include <stdio.h>
#include <string.h>

typedef struct row {
    char *name; /* of a parameter, or "kept:METHOD:NAME" */
    float *data;
    int64_t n;
} row;

typedef struct rows {
    row *rows;
    int n, room;
} rows;

struct graft_after {
    rows gradients, kept;
};

static row *find(const rows *all, const char *name)
{
    for (int i = 0; i < all->n; i++)
        if (!strcmp(all->rows[i].name, name)) return &all->rows[i];
    return NULL;
}

/* The row of this name with room for n numbers, zero at first; NULL without memory, or when it has another size. */
static row *need(rows *all, const char *name, int64_t n)
{
    row *known = find(all, name);
    if (known) return known->n == n ? known : NULL;
    if (all->n == all->room) {
        const int room = all->room ? 2 * all->room : 64;
        row *more = graft_calloc((size_t)room, sizeof *more);
        if (!more) return NULL;
        if (all->n) memcpy(more, all->rows, (size_t)all->n * sizeof *more);
        graft_free(all->rows);
        all->rows = more, all->room = room;
    }
    const size_t bytes = strlen(name) + 1;
    row made = {graft_calloc(bytes, 1), graft_calloc((size_t)n + 1, sizeof(float)), n};
    if (!made.name || !made.data) {
        graft_free(made.name);
        graft_free(made.data);
        return NULL;
    }
    memcpy(made.name, name, bytes);
    all->rows[all->n] = made;
    return &all->rows[all->n++];
}

static void forget(rows *all)
{
    for (int i = 0; i < all->n; i++) graft_free(all->rows[i].name), graft_free(all->rows[i].data);
    graft_free(all->rows);
}

void graft_after_free(graft_trainer *t)
{
    if (!t->after) return;
    forget(&t->after->gradients);
    forget(&t->after->kept);
    graft_free(t->after);
    t->after = NULL;
}

int graft_after_watches(const graft_active_method *m)
{
    const graft_method_table *t = m->table;
    return GRAFT_HAS(graft_method_table, t, watches) && t->watches && t->after_update && t->watches(m->run);
}

static graft_status ready(graft_trainer *t, graft_error *err)
{
    if (!t->after) t->after = graft_calloc(1, sizeof *t->after);
    return t->after ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory for what the method keeps");
}

/* ---- gradients ----------------------------------------------------------------------------------------------------------------------- */

static graft_status take_one(graft_trainer *t, const char *leaf, double factor, graft_error *err)
{
    char name[1024];
    if (snprintf(name, sizeof name, GRAFT_GRADIENT "%s", leaf) >= (int)sizeof name) return graft_fail(err, GRAFT_INTERNAL, leaf, "the name is too long");
    const int at = graft_store_find(t->store, name);
    if (at < 0) return GRAFT_OK;
    const int64_t n = graft_store_tensor_bytes(t->store, at) / (int64_t)sizeof(float);
    row *r = need(&t->after->gradients, leaf, n);
    if (!r) return graft_fail(err, GRAFT_NO_MEMORY, leaf, "no memory for a copy of its gradient");
    const graft_status s = graft_store_read(t->store, at, r->data, n * (int64_t)sizeof(float), err);
    for (int64_t i = 0; !s && factor < 1.0 && i < n; i++) r->data[i] = (float)factor * r->data[i];
    return s;
}

graft_status graft_after_take(void *ctx, double factor, graft_error *err)
{
    graft_trainer *t = ctx;
    graft_status s = ready(t, err);
    for (int i = 0; i < t->job->n_methods && !s; i++) {
        if (!graft_after_watches(&t->job->methods[i])) continue;
        for (int32_t k = 1; k < t->graphs.train->n_values && !s; k++) {
            const graft_value_info *v = &t->graphs.train->values[k];
            if (v->node < 0 && v->place == GRAFT_PLACE_WEIGHT && v->from_method == i && graft_update_find(&t->graphs.update, v->name)) s = take_one(t, v->name, factor, err);
        }
    }
    return s;
}

/* ---- the hook's view ------------------------------------------------------------------------------------------------------------------ */

typedef struct view {
    graft_tensors base;
    graft_trainer *trainer;
    const char *method;
} view;

static graft_status locate(const view *v, const char *name, int64_t n, int *at, graft_error *err)
{
    *at = graft_store_find(v->trainer->store, name);
    if (*at < 0) return graft_fail(err, GRAFT_INTERNAL, name, "a method asked for a tensor that the model does not have");
    if (graft_store_tensor_bytes(v->trainer->store, *at) != n * (int64_t)sizeof(float)) return graft_fail(err, GRAFT_INTERNAL, name, "a method expected %lld numbers in this tensor", (long long)n);
    return GRAFT_OK;
}

static graft_status read_tensor(graft_tensors *base, const char *name, int64_t n, float *to, graft_error *err)
{
    const view *v = (view *)base;
    int at;
    const graft_status s = locate(v, name, n, &at, err);
    return s ? s : graft_store_read(v->trainer->store, at, to, n * (int64_t)sizeof *to, err);
}

static graft_status write_tensor(graft_tensors *base, const char *name, int64_t n, const float *from, graft_error *err)
{
    const view *v = (view *)base;
    const graft_value leaf = graft_graph_find(v->trainer->graphs.train, name);
    int at;
    if (leaf.id && graft_graph_info(v->trainer->graphs.train, leaf)->from_method < 0) return graft_fail(err, GRAFT_INTERNAL, name, "after an update a method may write its own parameters only");
    const graft_status s = locate(v, name, n, &at, err);
    return s ? s : graft_store_write(v->trainer->store, at, from, n * (int64_t)sizeof *from, err);
}

static graft_status no_tokens(graft_tensors *base, const char *text, int64_t room, int32_t *ids, int64_t *n, graft_error *err)
{
    return (void)base, (void)text, (void)room, (void)ids, (void)n, graft_fail(err, GRAFT_UNSUPPORTED, NULL, "the tokenizer is asked before training, in start");
}

static graft_status gradient(graft_tensors *base, const char *name, int64_t n, float *to, graft_error *err)
{
    const view *v = (view *)base;
    const row *r = find(&v->trainer->after->gradients, name);
    if (!r || r->n != n) return graft_fail(err, GRAFT_INTERNAL, name, "a method asked for a gradient of %lld numbers that the update did not use", (long long)n);
    memcpy(to, r->data, (size_t)n * sizeof *to);
    return GRAFT_OK;
}

static float *kept(graft_tensors *base, const char *name, int64_t n)
{
    const view *v = (view *)base;
    char full[1200];
    if (n < 1 || snprintf(full, sizeof full, GRAFT_KEPT "%s:%s", v->method, name) >= (int)sizeof full) return NULL;
    row *r = need(&v->trainer->after->kept, full, n);
    return r ? r->data : NULL;
}

graft_status graft_after_run(graft_trainer *t, int64_t step, graft_error *err)
{
    static const graft_tensors_api api = {.size = sizeof api, .read = read_tensor, .write = write_tensor, .tokens = no_tokens, .gradient = gradient, .kept = kept};
    graft_status s = GRAFT_OK;
    for (int i = 0; i < t->job->n_methods && !s; i++) {
        const graft_active_method *m = &t->job->methods[i];
        if (!graft_after_watches(m)) continue;
        view v = {.base = {.api = &api, .seed = t->o->seed, .updates = t->steps.total}, .trainer = t, .method = m->name};
        s = ready(t, err);
        if (!s) s = m->table->after_update(m->run, &v.base, step, err);
    }
    return s;
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------------------------------ */

int graft_after_kept(const graft_trainer *t, int i, const char **name, const float **data, int64_t *n)
{
    if (!t->after || i >= t->after->kept.n) return 0;
    const row *r = &t->after->kept.rows[i];
    *name = r->name, *data = r->data, *n = r->n;
    return 1;
}

graft_status graft_after_restore(graft_trainer *t, const char *name, int64_t n, const graft_weight_info *from, graft_error *err)
{
    const graft_status s = ready(t, err);
    row *r = s ? NULL : need(&t->after->kept, name, n);
    if (s) return s;
    return r ? graft_weights_read_f32(from, r->data, err) : graft_fail(err, GRAFT_NO_MEMORY, name, "no memory for what the method keeps");
}
