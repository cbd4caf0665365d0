/* tests/golden/compare.c - logits, loss, gradients and steps against stored ones. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/model/export.h"
#include "core/model/layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int golden_open_expected(const char *path, golden_expected *x)
{
    char file[4096];
    graft_error err = GRAFT_ERROR_INIT;
    snprintf(file, sizeof file, "%s/expect.safetensors", path);
    *x = (golden_expected){0};
    if (graft_weights_open(file, &x->w, &err)) return golden_error("expect.safetensors", &err), 0;
    x->ids = golden_tensor(x->w, "flat.input_ids");
    x->labels = golden_tensor(x->w, "flat.labels");
    x->borders = golden_tensor(x->w, "flat.cu_seqlens");
    if (x->ids && x->labels && x->borders) return 1;
    graft_weights_close(x->w);
    golden_fail("expect.safetensors", "the flat batch is missing");
    return 0;
}

graft_status golden_batch_of(golden_model *m, const golden_expected *x, golden_batch *b, graft_error *err)
{
    return golden_batch_new(m->arena, (const int32_t *)(const void *)x->ids->data, (const int32_t *)(const void *)x->labels->data, (const int32_t *)(const void *)x->borders->data,
                            golden_count(x->borders) - 1, graft_graph_virtual_tokens(m->train ? m->train : m->forward), b, err);
}

graft_status golden_compare_logits(golden_model *m, const golden_expected *x, const golden_batch *b, graft_error *err)
{
    const graft_weight_info *want = golden_tensor(x->w, "logits");
    float *logits = want ? graft_arena_alloc(m->arena, (size_t)want->bytes + 4) : NULL;
    if (!logits || want->bytes != b->n_real * m->model->vocab * 4) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "logits are missing or of another size");
    const graft_status status = golden_logits(m, b, logits, err);
    const graft_weight_info *noise = golden_tensor(x->w, "logits_noise"); /* how far the peer's own float32 lies from its float64: no float32 is asked for much less */
    if (!status) golden_check("logits", golden_max_abs(logits, (const float *)(const void *)want->data, golden_count(want)), noise ? fmax(1e-4, 2.0 * golden_f64(noise, 0)) : 1e-4);
    return status;
}

graft_status golden_compare_loss(golden_model *m, const golden_expected *x, const golden_batch *b, graft_error *err)
{
    double loss = 0.0;
    graft_status status = golden_clear_gradients(m, err);
    if (!status) status = golden_loss(m, b, &loss, err);
    const graft_weight_info *want = golden_tensor(x->w, "loss");
    if (!status && want) golden_check("loss", fabs(loss - golden_f64(want, 0)), 1e-5);
    return status;
}

/* The graph's name of a stored "<kind>.<prefix>NAME", or NULL when it is of another kind. */
static const char *name_of(const graft_weight_info *t, const char *kind, const char *prefix)
{
    const size_t k = strlen(kind), p = strlen(prefix);
    return !strncmp(t->name, kind, k) && t->name[k] == '.' && !strncmp(t->name + k + 1, prefix, p) ? t->name + k + 1 + p : NULL;
}

/* The leaf that the method's file calls prefix + name. */
static const char *leaf_of(golden_model *m, const char *prefix, const char *name)
{
    char full[1200];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    for (int32_t i = 1; *prefix && m->n_methods && i < m->train->n_values; i++) {
        const graft_value_info *v = &m->train->values[i];
        const char *file = graft_adapter_owns(v, 0) ? graft_adapter_name(m->arena, &m->methods[0], v->name) : NULL;
        if (file && !strcmp(file, full)) return v->name;
    }
    return name;
}

static void compare_one(golden_model *m, const graft_weight_info *t, const char *quantity, const char *stored, double tolerance)
{
    graft_error err = GRAFT_ERROR_INIT;
    const int at = graft_store_find(m->store, stored);
    if (at < 0 || graft_store_tensor_bytes(m->store, at) != t->bytes) {
        golden_fail(quantity, "%s: the graph has no %s of this size", t->name, stored);
        return;
    }
    float *got = graft_arena_alloc(m->arena, (size_t)t->bytes + 4);
    if (!got || graft_store_read(m->store, at, got, t->bytes, &err)) golden_error(quantity, &err);
    else golden_check(quantity, golden_max_abs(got, (const float *)(const void *)t->data, golden_count(t)), tolerance);
}

void golden_compare_tensors(golden_model *m, const golden_expected *x, const char *kind, const char *prefix, double tolerance)
{
    for (int64_t i = 0; i < graft_weights_count(x->w); i++) {
        const graft_weight_info *t = graft_weights_at(x->w, i);
        const char *name = name_of(t, kind, prefix);
        if (name) compare_one(m, t, kind, leaf_of(m, prefix, name), tolerance);
    }
}

/* How far gradients are from the stored ones: element by element, when there is a tolerance, else summed up. */
typedef struct distance {
    double tolerance;     /* of each element; 0: none */
    double apart, stored; /* sums of squares: of the differences, of the stored */
} distance;

static void measure(distance *d, const float *got, const float *want, int64_t n)
{
    if (d->tolerance > 0) golden_check("gradients", golden_max_abs(got, want, n), d->tolerance);
    for (int64_t i = 0; i < n; i++) d->apart += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]), d->stored += (double)want[i] * (double)want[i];
}

/* One trained weight: its gradient is stored as the model's files store the weight, in one tensor or in several. Number of tensors compared. */
static int64_t compare_gradient(golden_model *m, const golden_expected *x, int state, const char *leaf, distance *d)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_shape shape = graft_store_shape(m->store, state);
    const graft_model_table *layouts = m->model->table;
    const int64_t bytes = graft_store_tensor_bytes(m->store, state), parts = graft_layout_parts(layouts, leaf, &shape);
    float *got = graft_arena_alloc(m->arena, (size_t)bytes + 4), *turned = graft_arena_alloc(m->arena, (size_t)bytes + 4);
    if (!got || !turned || graft_store_read(m->store, state, got, bytes, &err)) {
        golden_error("gradients", &err);
        return 0;
    }
    for (int64_t i = 0; i < parts; i++) {
        graft_stored_part part;
        const int failed = graft_layout_part(m->arena, layouts, leaf, &shape, i, &part);
        const graft_weight_info *want = failed ? NULL : golden_tensor(x->w, "grad.%s", part.name);
        int same = want && want->rank == part.rank;
        for (int32_t k = 0; same && k < part.rank; k++) same = want->dims[k] == part.dims[k];
        if (!same) {
            golden_fail("gradients", "%s: no gradient of this name and size is stored", failed ? leaf : part.name);
            return i;
        }
        const float *mine = got + part.first;
        if (part.transposed) graft_layout_transpose(turned, mine, part.dims[1], part.dims[0]), mine = turned;
        measure(d, mine, (const float *)(const void *)want->data, part.elements);
    }
    return parts;
}

double golden_gradient_error(golden_model *m, const golden_expected *x)
{
    distance d = {.tolerance = 0};
    for (int i = 0; i < graft_store_count(m->store); i++) {
        const char *name = graft_store_name(m->store, i);
        if (!strncmp(name, "grad:", 5)) compare_gradient(m, x, i, name + 5, &d);
    }
    return sqrt(d.apart / d.stored);
}

void golden_compare_gradients(golden_model *m, const golden_expected *x, const char *prefix)
{
    double largest = 1.0;
    int64_t compared = 0, own = 0, in_file = 0;
    for (int64_t i = 0; i < graft_weights_count(x->w); i++) {
        const graft_weight_info *t = graft_weights_at(x->w, i);
        if (!name_of(t, "grad", prefix)) continue;
        in_file++;
        for (int64_t k = 0; k < golden_count(t); k++) largest = fmax(largest, fabs(golden_f64(t, k)));
    }
    if (!in_file) return; /* only logits and loss are known */
    distance d = {.tolerance = 2e-5 * largest};
    for (int i = 0; i < graft_store_count(m->store); i++) {
        const char *name = graft_store_name(m->store, i);
        if (strncmp(name, "grad:", 5)) continue;
        own++;
        if (!*prefix) compared += compare_gradient(m, x, i, name + 5, &d);
    }
    for (int64_t i = 0; *prefix && i < graft_weights_count(x->w); i++) { /* an adapter's file knows no layouts */
        const graft_weight_info *t = graft_weights_at(x->w, i);
        const char *name = name_of(t, "grad", prefix);
        char stored[1100];
        if (!name) continue;
        snprintf(stored, sizeof stored, "grad:%s", leaf_of(m, prefix, name));
        compare_one(m, t, "gradients", stored, 2e-5 * largest);
        compared++;
    }
    if (in_file) golden_equal("set of gradients", compared == in_file && (!*prefix || own == compared));
}

graft_status golden_compare_steps(golden_model *m, const golden_expected *x, const golden_batch *b, graft_error *err)
{
    const graft_weight_info *losses = golden_tensor(x->w, "step_loss"), *norms = golden_tensor(x->w, "grad_norm");
    golden_adamw o = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = 0.01};
    const int64_t steps = norms ? golden_count(norms) : 0;
    graft_status status = golden_clear_gradients(m, err);
    for (int64_t t = 0; !status && losses && t <= steps; t++) {
        double loss, norm;
        status = golden_loss(m, b, &loss, err);
        if (status) break;
        golden_check("step_loss", fabs(loss - golden_f64(losses, t)), 5e-5);
        if (t == steps) break;
        status = golden_step(m, &o, t + 1, &norm, err);
        if (!status) golden_check("grad_norm (relative)", fabs(norm / golden_f64(norms, t) - 1.0), 1e-4);
    }
    return status;
}
