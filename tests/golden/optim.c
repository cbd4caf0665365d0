/* tests/golden/optim.c - optimisers and clipping through the update that training uses: graphs, store, backend.
 *
 *     optimizers.json     NAME: optimizer, options, shapes, steps_without_gradient, lr_per_step
 *     NAME.safetensors    start.P, grads.P [steps, ..], params.P [steps, ..] after each step
 *     clipping.json       max_norm, norm_before of case i; clipping.safetensors: grad.P, clipped.i.P */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/train/update.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_WEIGHTS = 16 };

typedef struct bench {
    graft_arena *arena;
    graft_graph *train;
    graft_store *store;
    graft_update update;
    graft_update_options o;
    const char *names[MAX_WEIGHTS];
    int64_t elements[MAX_WEIGHTS];
    int n;
    double rate;
} bench;

/* ---- options, in the words of transformers' optim and optim_args ----------------------------------------------------------- */

static const struct {
    const char *name, *optim, *args;
    double rate, beta2, decay;
} known[] = {
    {"AdamW", "adamw_torch", "", 1e-3, 0.999, 1e-2},
    {"SGD", "sgd", "", 1e-3, 0.999, 0},
    {"Adafactor", "adafactor", "scale_parameter=true, relative_step=true", 0, 0.999, 0},
    {"Lion", "lion_32bit", "", 1e-4, 0.99, 0},
    {"Muon", "muon", "", 1e-3, 0.95, 0.1},
    {"GaLoreAdamW", "galore_adamw", "", 1e-3, 0.999, 0},
};

/* An option of the optimiser's own that optim_args takes. */
static void add_argument(char *args, size_t room, const char *key, const graft_json *v)
{
    const size_t at = strlen(args);
    if (v->type == GRAFT_JSON_NUMBER) snprintf(args + at, room - at, "%s%s=%.17g", at ? ", " : "", key, v->number);
    else if (v->type == GRAFT_JSON_TEXT) snprintf(args + at, room - at, "%s%s=%s", at ? ", " : "", key, v->text);
    else if (v->type == GRAFT_JSON_BOOL) snprintf(args + at, room - at, "%s%s=%s", at ? ", " : "", key, v->integer ? "true" : "false");
}

static graft_status read_options(bench *b, const graft_json *c, graft_error *err)
{
    const graft_json *name = graft_json_get(c, "optimizer"), *options = graft_json_get(c, "options");
    char args[1024];
    size_t i = 0;
    while (name && i < sizeof known / sizeof *known && strcmp(known[i].name, name->text)) i++;
    if (!name || i == sizeof known / sizeof *known) return graft_fail(err, GRAFT_UNSUPPORTED, "optimizer", "unknown optimizer %s", name ? name->text : "");
    snprintf(args, sizeof args, "%s", known[i].args);
    b->o = (graft_update_options){.beta1 = 0.9, .beta2 = known[i].beta2, .epsilon = 1e-8, .weight_decay = known[i].decay};
    b->rate = known[i].rate;
    for (const graft_json *v = options ? options->child : NULL; v; v = v->next) {
        if (!strcmp(v->key, "lr")) b->rate = v->number;
        else if (!strcmp(v->key, "weight_decay")) b->o.weight_decay = v->number;
        else if (!strcmp(v->key, "betas")) b->o.beta1 = v->child->number, b->o.beta2 = v->child->next->number;
        else if (!strcmp(v->key, "eps") && v->child) add_argument(args, sizeof args, "eps1", v->child), add_argument(args, sizeof args, "eps2", v->child->next);
        else if (!strcmp(v->key, "eps")) b->o.epsilon = v->number;
        else add_argument(args, sizeof args, v->key, v);
    }
    return graft_optim_choose(&b->o, known[i].optim, args, err);
}

/* ---- weights with gradients, as a training graph leaves them ----------------------------------------------------------------- */

static void add_weight(bench *b, const char *name, const int64_t *dims, int rank)
{
    graft_param p = {.size = (uint32_t)sizeof p, .start = GRAFT_START_CHECKPOINT, .rank = rank};
    char gradient[256];
    memcpy(p.dims, dims, (size_t)rank * sizeof *dims);
    snprintf(gradient, sizeof gradient, GRAFT_GRADIENT "%s", name);
    const graft_value v = b->train->builder->api->param(b->train->builder, name, &p);
    b->train->values[v.id].trainable = 1;
    graft_graph_state(b->train, gradient, GRAFT_F32, rank, dims);
    b->names[b->n] = name;
    b->elements[b->n] = 1;
    for (int i = 0; i < rank; i++) b->elements[b->n] *= dims[i];
    b->n++;
}

static graft_status start(bench *b, golden_session *s, graft_error *err)
{
    const int64_t none[GRAFT_SYMBOLS] = {0};
    graft_status status = graft_graph_check(b->train, err);
    if (!status) status = graft_update_graphs(&b->update, b->train, &b->o, &s->device, err);
    if (!status) status = graft_store_new(&s->device, &b->store, err);
    if (!status) status = graft_store_add_graph(b->store, b->update.norm, none, err);
    if (!status) status = graft_store_add_graph(b->store, b->update.step, none, err);
    if (!status) status = graft_store_commit(b->store, err);
    return status ? status : graft_update_compile(&b->update, b->store, none, 42, err);
}

static void end(bench *b)
{
    graft_update_free(&b->update);
    graft_store_free(b->store);
    graft_graph_free(b->train);
    graft_arena_free(b->arena);
}

static graft_status put(bench *b, const char *prefix, int i, const void *data, graft_error *err)
{
    char name[256];
    snprintf(name, sizeof name, "%s%s", prefix, b->names[i]);
    return graft_store_write(b->store, graft_store_find(b->store, name), data, b->elements[i] * 4, err);
}

static graft_status get(bench *b, int i, float *to, graft_error *err) { return graft_store_read(b->store, graft_store_find(b->store, b->names[i]), to, b->elements[i] * 4, err); }

/* ---- optimisers ------------------------------------------------------------------------------------------------------------ */

static int has_gradient(const graft_json *c, const char *weight, int64_t step)
{
    const graft_json *without = graft_json_get(c, "steps_without_gradient"), *list = without ? graft_json_get(without, weight) : NULL;
    for (const graft_json *t = list ? list->child : NULL; t; t = t->next)
        if (t->integer == step) return 0;
    return 1;
}

static graft_status one_step(bench *b, const graft_json *c, const graft_weights *w, int64_t step, double rate, graft_error *err)
{
    double norm = 0;
    graft_status status = GRAFT_OK;
    for (int i = 0; !status && i < b->n; i++) {
        const float *all = (const float *)(const void *)golden_tensor(w, "grads.%s", b->names[i])->data;
        graft_update_leaf *leaf = graft_update_find(&b->update, b->names[i]);
        leaf->active = has_gradient(c, b->names[i], step);
        leaf->decay = 1.0; /* torch's optimisers decay what they are given */
        if (leaf->active) status = put(b, GRAFT_GRADIENT, i, all + step * b->elements[i], err);
    }
    if (!status) status = graft_update_run(&b->update, &b->o, step + 1, rate, &norm, err);
    for (int i = 0; !status && i < b->n; i++) {
        const graft_weight_info *want = golden_tensor(w, "params.%s", b->names[i]);
        float *got = graft_arena_alloc(b->arena, (size_t)b->elements[i] * 4);
        status = get(b, i, got, err);
        if (!status) golden_check("params", golden_max_abs(got, (const float *)(const void *)want->data + step * b->elements[i], b->elements[i]), 1e-5);
    }
    return status;
}

static graft_status run_case(golden_session *s, bench *b, const graft_json *c, const graft_weights *w, graft_error *err)
{
    graft_status status = read_options(b, c, err);
    const graft_json *shapes = graft_json_get(c, "shapes"), *rates = graft_json_get(c, "lr_per_step");
    const graft_json *rate = rates ? rates->child : NULL;
    int64_t steps = 0;
    for (const graft_json *p = shapes ? shapes->child : NULL; !status && p && b->n < MAX_WEIGHTS; p = p->next) {
        const graft_weight_info *first = golden_tensor(w, "start.%s", p->key), *grads = golden_tensor(w, "grads.%s", p->key), *params = golden_tensor(w, "params.%s", p->key);
        if (!first || !grads || !params || first->rank > GRAFT_MAX_RANK) return graft_fail(err, GRAFT_BAD_INPUT, p->key, "start, grads or params is missing");
        add_weight(b, p->key, first->dims, first->rank);
        steps = grads->dims[0];
    }
    if (!status) status = start(b, s, err);
    for (int i = 0; !status && i < b->n; i++) status = put(b, "", i, golden_tensor(w, "start.%s", b->names[i])->data, err);
    for (int64_t t = 0; !status && t < steps; t++) {
        status = one_step(b, c, w, t, rate ? rate->number : b->rate, err);
        rate = rate ? rate->next : NULL;
    }
    return status;
}

static void check_optimisers(golden_session *s, const char *dir)
{
    char file[4400];
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *all = NULL;
    snprintf(file, sizeof file, "%s/optimizers.json", dir);
    if (graft_json_parse_file(a, file, 1 << 26, 0, &all, &err)) golden_error("read", &err);
    for (const graft_json *c = all ? all->child : NULL; c; c = c->next) {
        bench b = {.arena = graft_arena_new(), .train = graft_graph_new()};
        graft_weights *w = NULL;
        snprintf(file, sizeof file, "%s/%s.safetensors", dir, c->key);
        golden_case(file);
        graft_status status = graft_weights_open(file, &w, &err);
        if (!status) status = run_case(s, &b, c, w, &err);
        if (status) golden_error("run", &err);
        end(&b);
        graft_weights_close(w);
    }
    graft_arena_free(a);
}

/* ---- clipping: SGD with rate 1 on weights of zero leaves minus the clipped gradients -------------------------------------------- */

static graft_status run_clipping(golden_session *s, bench *b, const graft_json *c, const graft_weights *w, int index, graft_error *err)
{
    double norm = 0;
    graft_status status = graft_optim_choose(&b->o, "sgd", NULL, err);
    b->o.max_grad_norm = graft_json_get(c, "max_norm")->number;
    for (int64_t i = 0; i < graft_weights_count(w) && b->n < MAX_WEIGHTS; i++) {
        const graft_weight_info *t = graft_weights_at(w, i);
        if (!strncmp(t->name, "grad.", 5)) add_weight(b, t->name + 5, t->dims, t->rank);
    }
    if (!status) status = start(b, s, err);
    for (int i = 0; !status && i < b->n; i++) status = put(b, GRAFT_GRADIENT, i, golden_tensor(w, "grad.%s", b->names[i])->data, err);
    if (!status) status = graft_update_run(&b->update, &b->o, 1, 1.0, &norm, err);
    const double before = graft_json_get(c, "norm_before")->number;
    if (!status) golden_check("norm (relative)", fabs(norm - before) / before, 1e-6);
    for (int i = 0; !status && i < b->n; i++) {
        const graft_weight_info *want = golden_tensor(w, "clipped.%d.%s", index, b->names[i]);
        float *got = graft_arena_alloc(b->arena, (size_t)b->elements[i] * 4);
        status = get(b, i, got, err);
        for (int64_t k = 0; !status && k < b->elements[i]; k++) got[k] = -got[k];
        if (!want) golden_fail("clipped", "clipped.%d.%s is missing", index, b->names[i]);
        else if (!status) golden_check("clipped", golden_max_abs(got, (const float *)(const void *)want->data, b->elements[i]), 1e-6);
    }
    return status;
}

static void check_clipping(golden_session *s, const char *dir)
{
    char file[4400];
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *all = NULL;
    graft_weights *w = NULL;
    int index = 0;
    snprintf(file, sizeof file, "%s/clipping.json", dir);
    golden_case(file);
    graft_status status = graft_json_parse_file(a, file, 1 << 26, 0, &all, &err);
    snprintf(file, sizeof file, "%s/clipping.safetensors", dir);
    if (!status) status = graft_weights_open(file, &w, &err);
    for (const graft_json *c = status ? NULL : all->child; c && !status; c = c->next) {
        bench b = {.arena = graft_arena_new(), .train = graft_graph_new()};
        status = run_clipping(s, &b, c, w, index++, &err);
        end(&b);
    }
    if (status) golden_error("run", &err);
    graft_weights_close(w);
    graft_arena_free(a);
}

int golden_optim(golden_session *s, const char *path)
{
    char file[4400];
    int found = 0;
    snprintf(file, sizeof file, "%s/optimizers.json", path);
    if (graft_path_exists(file)) check_optimisers(s, path), found = 1;
    snprintf(file, sizeof file, "%s/clipping.json", path);
    if (graft_path_exists(file)) check_clipping(s, path), found = 1;
    return found;
}
