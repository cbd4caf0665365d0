/* tests/golden/method.c - a tuning method on its base model: an adapter that another program wrote, an encoder whose output such an adapter holds, or a rule
 * that says which of the base's weights train. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *prefix_of(const golden_model *m)
{
    const graft_adapter_files *files = m->n_methods ? m->methods[0].table->files : NULL;
    return files && files->prefix ? files->prefix : "";
}

static int has_kind(const golden_expected *x, const char *kind)
{
    for (int64_t i = 0; i < graft_weights_count(x->w); i++)
        if (!strncmp(graft_weights_at(x->w, i)->name, kind, strlen(kind))) return 1;
    return 0;
}

/* ---- one method all the way --------------------------------------------------------------------------------------------------------- */

static graft_status compare_all(golden_model *m, const golden_expected *x, const char *prefix, graft_error *err)
{
    golden_batch b;
    graft_status status = golden_batch_of(m, x, &b, err);
    if (!status) status = golden_compare_logits(m, x, &b, err);
    if (!status) status = golden_compare_loss(m, x, &b, err);
    if (!status) golden_compare_gradients(m, x, prefix);
    if (!status) status = golden_compare_steps(m, x, &b, err);
    if (!status) golden_compare_tensors(m, x, "after", prefix, 5e-5);
    return status;
}

static graft_status run_adapter(golden_session *s, const char *base, const char *adapter, const golden_expected *x, graft_error *err)
{
    golden_model m;
    graft_status status = golden_open(s, base, NULL, NULL, adapter, golden_count(x->ids) + 64, &m, err);
    if (!status) status = compare_all(&m, x, prefix_of(&m), err);
    golden_close(&m);
    if (status || !has_kind(x, "merged.")) return status;
    status = golden_open(s, base, NULL, NULL, adapter, golden_count(x->ids) + 64, &m, err);
    if (!status) status = graft_model_merge(m.model, m.methods, m.n_methods, m.train, m.store, err);
    if (!status) golden_compare_tensors(&m, x, "merged", "", 1e-6);
    golden_close(&m);
    return status;
}

/* ---- an encoder: "param.NAME" are its parameters, the adapter file has what it makes of them ------------------------------------------ */

static graft_status fill_parameters(golden_model *m, const golden_expected *x, graft_error *err)
{
    graft_status status = GRAFT_OK;
    for (int64_t i = 0; !status && i < graft_weights_count(x->w); i++) {
        const graft_weight_info *t = graft_weights_at(x->w, i);
        if (strncmp(t->name, "param.", 6)) continue;
        const int at = graft_store_find(m->store, t->name + 6);
        if (at < 0) status = graft_fail(err, GRAFT_BAD_INPUT, t->name, "the method has no such parameter");
        else status = graft_store_write(m->store, at, t->data, t->bytes, err);
    }
    return status;
}

/* What this build would write equals the stored file (kind ""), or the expected "after." tensors. */
static graft_status compare_saved(golden_session *s, golden_model *m, const graft_weights *b, const char *kind, double tolerance, graft_error *err)
{
    char dir[4200], mine[4400];
    const graft_adapter_files *files = m->methods[0].table->files;
    graft_weights *a = NULL;
    snprintf(dir, sizeof dir, "%s/saved", s->work);
    snprintf(mine, sizeof mine, "%s/%s", dir, files->weights);
    graft_status status = graft_path_remove(dir, err);
    if (!status) status = graft_adapter_save(dir, &m->methods[0], 0, m->train, m->store, "base", err);
    if (!status) status = graft_weights_open(mine, &a, err);
    for (int64_t i = 0; !status && i < graft_weights_count(b); i++) {
        const graft_weight_info *want = graft_weights_at(b, i);
        if (strncmp(want->name, kind, strlen(kind))) continue;
        const graft_weight_info *got = graft_weights_find(a, want->name + strlen(kind));
        if (!got && *kind && graft_store_find(m->store, want->name + strlen(kind)) >= 0) continue; /* a parameter: compared as such */
        if (!got || got->bytes != want->bytes) golden_fail("saved", "%s is missing or of another size", want->name);
        else golden_check(*kind ? "after" : "saved", golden_max_abs((const float *)(const void *)got->data, (const float *)(const void *)want->data, golden_count(want)), tolerance);
    }
    graft_weights_close(a);
    return status;
}

static void compare_parameters(golden_model *m, const golden_expected *x)
{
    graft_error err = GRAFT_ERROR_INIT;
    for (int64_t i = 0; i < graft_weights_count(x->w); i++) {
        const graft_weight_info *t = graft_weights_at(x->w, i);
        const int at = strncmp(t->name, "after.", 6) ? -1 : graft_store_find(m->store, t->name + 6);
        float *got = at < 0 ? NULL : graft_arena_alloc(m->arena, (size_t)t->bytes + 4);
        if (!got) continue;
        if (graft_store_read(m->store, at, got, t->bytes, &err)) golden_error("after", &err);
        else golden_check("after", golden_max_abs(got, (const float *)(const void *)t->data, golden_count(t)), 5e-5);
    }
}

static graft_status run_encoder(golden_session *s, const char *base, const char *adapter, const golden_expected *x, graft_error *err)
{
    golden_model m;
    golden_batch b;
    char kind[4200], file[4400];
    graft_weights *stored = NULL;
    snprintf(kind, sizeof kind, "=%s", adapter);
    graft_status status = golden_open(s, base, kind, NULL, NULL, golden_count(x->ids) + 256, &m, err);
    if (!status) status = fill_parameters(&m, x, err);
    snprintf(file, sizeof file, "%s/%s", adapter, m.n_methods ? m.methods[0].table->files->weights : "");
    if (!status) status = graft_weights_open(file, &stored, err);
    if (!status) status = compare_saved(s, &m, stored, "", 1e-5, err);
    if (!status) status = golden_batch_of(&m, x, &b, err);
    if (!status) status = golden_compare_logits(&m, x, &b, err);
    if (!status) status = golden_compare_loss(&m, x, &b, err);
    if (!status) golden_compare_gradients(&m, x, "");
    if (!status) status = golden_compare_steps(&m, x, &b, err);
    if (!status) status = compare_saved(s, &m, x->w, "after.", 5e-5, err);
    if (!status) compare_parameters(&m, x);
    graft_weights_close(stored);
    golden_close(&m);
    if (status) return status;
    status = golden_open(s, base, NULL, NULL, adapter, golden_count(x->ids) + 256, &m, err); /* the file alone */
    if (!status) status = golden_batch_of(&m, x, &b, err);
    if (!status) status = golden_compare_logits(&m, x, &b, err);
    golden_close(&m);
    return status;
}

/* ---- a rule: which of the base's weights train -------------------------------------------------------------------------------------------- */

static graft_status run_freeze(golden_session *s, const char *base, const golden_expected *x, const graft_json *rule, graft_error *err)
{
    golden_model m;
    graft_arena *a = graft_arena_new();
    graft_json *args = graft_json_new(a, GRAFT_JSON_OBJECT);
    static const char *const keys[][2] = {{"layers", "freeze_trainable_layers"}, {"modules", "freeze_trainable_modules"}, {"extra", "freeze_extra_modules"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const graft_json *v = graft_json_get(rule, keys[i][0]);
        if (v && v->type != GRAFT_JSON_NULL) graft_json_put(a, args, keys[i][1], graft_json_copy(a, v));
    }
    graft_str text;
    graft_str_init(&text, 0);
    graft_json_write(&text, args, 0, 0);
    graft_status status = golden_open(s, base, "freeze", text.data, NULL, golden_count(x->ids) + 64, &m, err);
    if (!status) status = compare_all(&m, x, "", err);
    golden_close(&m);
    graft_str_free(&text);
    graft_arena_free(a);
    return status;
}

/* AdamW by name: moments and counts outlive the store of a period. */
typedef struct slot {
    char name[256];
    float *m, *v;
    int64_t steps, seen;
} slot;
typedef struct lisa_state {
    graft_arena *arena;
    slot slots[512];
    int n;
    float *weights[512]; /* by the order of the base's weights */
} lisa_state;

static slot *slot_of(lisa_state *l, const char *name, int64_t n)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->slots[i].name, name)) return &l->slots[i];
    if (l->n == 512) return NULL;
    slot *s = &l->slots[l->n++];
    snprintf(s->name, sizeof s->name, "%s", name);
    s->m = graft_arena_alloc(l->arena, (size_t)n * 4 + 4);
    s->v = graft_arena_alloc(l->arena, (size_t)n * 4 + 4);
    return s->m && s->v ? s : NULL;
}

static graft_status lisa_update(golden_model *m, lisa_state *l, int64_t period, int drop, double *norm, graft_error *err)
{
    double squares = 0.0;
    graft_status status = GRAFT_OK;
    for (int i = 0; !status && i < graft_store_count(m->store); i++) {
        const char *name = graft_store_name(m->store, i);
        if (strncmp(name, "grad:", 5)) continue;
        const int at = graft_store_find(m->store, name + 5);
        const int64_t bytes = graft_store_tensor_bytes(m->store, i), n = bytes / 4;
        float *g = graft_calloc((size_t)n + 1, 4), *p = graft_calloc((size_t)n + 1, 4);
        slot *s = slot_of(l, name + 5, n);
        status = g && p && s && at >= 0 ? graft_store_read(m->store, i, g, bytes, err) : graft_fail(err, GRAFT_NO_MEMORY, name, "no memory");
        if (!status) status = graft_store_read(m->store, at, p, bytes, err);
        if (!status && drop && s->steps && s->seen < period - 1) memset(s->m, 0, (size_t)bytes), memset(s->v, 0, (size_t)bytes), s->steps = 0;
        if (s) s->seen = period, s->steps++;
        for (int64_t k = 0; !status && k < n; k++) {
            squares += (double)g[k] * (double)g[k];
            s->m[k] = (float)(0.9 * (double)s->m[k] + 0.1 * (double)g[k]);
            s->v[k] = (float)(0.999 * (double)s->v[k] + 0.001 * (double)g[k] * (double)g[k]);
            const double c1 = 1.0 - pow(0.9, (double)s->steps), c2 = 1.0 - pow(0.999, (double)s->steps);
            p[k] = (float)((double)p[k] * (1.0 - 1e-3 * 0.01) - 1e-3 * ((double)s->m[k] / c1) / (sqrt((double)s->v[k] / c2) + 1e-8));
        }
        if (!status) status = graft_store_write(m->store, at, p, bytes, err);
        graft_free(g);
        graft_free(p);
    }
    *norm = sqrt(squares);
    return status ? status : golden_clear_gradients(m, err);
}

/* Base weights between the host and the store of this period. */
static graft_status carry(golden_model *m, lisa_state *l, int out, graft_error *err)
{
    graft_status status = GRAFT_OK;
    int k = 0;
    for (int32_t i = 1; !status && i < m->train->n_values && k < 512; i++) {
        const graft_value_info *v = &m->train->values[i];
        if (v->node >= 0 || v->place != GRAFT_PLACE_WEIGHT) continue;
        const int at = graft_store_find(m->store, v->name);
        const int64_t bytes = graft_store_tensor_bytes(m->store, at);
        if (!l->weights[k]) l->weights[k] = out ? graft_arena_alloc(l->arena, (size_t)bytes + 4) : NULL;
        if (l->weights[k]) status = out ? graft_store_read(m->store, at, l->weights[k], bytes, err) : graft_store_write(m->store, at, l->weights[k], bytes, err);
        k++;
    }
    return status;
}

static graft_status lisa_period(golden_session *s, const char *base, const golden_expected *x, const graft_json *active, lisa_state *l, int64_t period, int64_t interval, int last, int drop, graft_error *err)
{
    golden_model m;
    golden_batch b;
    graft_str args;
    double loss = 0, norm = 0;
    const char *kind = drop ? "drop" : "keep";
    const graft_weight_info *losses = golden_tensor(x->w, "%s.step_loss", kind), *norms = golden_tensor(x->w, "%s.grad_norm", kind);
    graft_str_init(&args, 0);
    graft_str_printf(&args, "{\"lisa_activated_layers\": %lld, \"lisa_step_interval\": %lld, \"lisa_schedule\": [", (long long)active->count, (long long)interval);
    graft_json_write(&args, active, 0, 0);
    graft_str_text(&args, "]}");
    graft_status status = golden_open(s, base, "lisa", args.data, NULL, golden_count(x->ids) + 64, &m, err);
    if (!status) status = carry(&m, l, 0, err);
    if (!status) status = golden_batch_of(&m, x, &b, err);
    if (!status && !period) status = golden_compare_logits(&m, x, &b, err);
    if (!status && !period) status = golden_compare_loss(&m, x, &b, err);
    if (!status && !period) golden_compare_gradients(&m, x, "");
    if (!status) status = golden_clear_gradients(&m, err);
    for (int64_t k = 0; !status && k < interval + last; k++) {
        const int64_t t = period * interval + k;
        status = golden_loss(&m, &b, &loss, err);
        if (status) break;
        golden_check("step_loss", fabs(loss - golden_f64(losses, t)), 5e-5);
        if (k == interval) break;
        status = lisa_update(&m, l, period, drop, &norm, err);
        if (!status) golden_check("grad_norm (relative)", fabs(norm / golden_f64(norms, t) - 1.0), 1e-4);
    }
    if (!status && last) golden_compare_tensors(&m, x, drop ? "drop.after" : "keep.after", "", 5e-5);
    if (!status) status = carry(&m, l, 1, err);
    golden_close(&m);
    graft_str_free(&args);
    return status;
}

static graft_status run_lisa(golden_session *s, const char *base, const golden_expected *x, const graft_json *rule, graft_error *err)
{
    const graft_json *active = graft_json_get(rule, "active"), *interval = graft_json_get(rule, "interval");
    graft_status status = GRAFT_OK;
    for (int drop = 1; drop >= 0 && !status; drop--) {
        if (!golden_tensor(x->w, "%s.step_loss", drop ? "drop" : "keep")) continue;
        graft_arena *a = graft_arena_new();
        lisa_state *l = a ? graft_arena_alloc(a, sizeof *l) : NULL;
        if (!l) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory");
        l->arena = a;
        int64_t period = 0;
        for (const graft_json *v = active->child; v && !status; v = v->next, period++) status = lisa_period(s, base, x, v, l, period, interval->integer, !v->next, drop, err);
        graft_arena_free(a);
    }
    return status;
}

/* ---- which ---------------------------------------------------------------------------------------------------------------------------------- */

static graft_status run(golden_session *s, const char *base, const char *path, const golden_expected *x, const graft_json *expect, graft_error *err)
{
    char config[4200];
    const graft_json *rule = graft_json_get(expect, "rule");
    snprintf(config, sizeof config, "%s/adapter_config.json", path);
    if (has_kind(x, "param.")) return run_encoder(s, base, path, x, err);
    if (graft_path_exists(config)) return run_adapter(s, base, path, x, err);
    if (rule && graft_json_get(rule, "active") && graft_json_get(rule, "interval")) return run_lisa(s, base, x, rule, err);
    if (rule && graft_json_get(rule, "layers")) return run_freeze(s, base, x, rule, err);
    return graft_fail(err, GRAFT_UNSUPPORTED, path, "neither an adapter nor a rule that this program knows");
}

int golden_method(golden_session *s, const char *path)
{
    char file[4096], base[8192];
    graft_error err = GRAFT_ERROR_INIT;
    snprintf(file, sizeof file, "%s/expect.json", path);
    if (!graft_path_exists(file)) return 0;
    graft_arena *a = graft_arena_new();
    const graft_json *expect = NULL;
    golden_expected x;
    const graft_status parsed = a ? graft_json_parse_file(a, file, 1 << 26, GRAFT_JSON_ALLOW_NAN, &expect, &err) : GRAFT_NO_MEMORY;
    const graft_json *where = parsed ? NULL : graft_json_get(expect, "base");
    if (!where || where->type != GRAFT_JSON_TEXT) {
        graft_arena_free(a);
        return 0;
    }
    golden_case(path);
    snprintf(base, sizeof base, "%s/%s", path, where->text);
    if (golden_open_expected(path, &x)) {
        const graft_status status = run(s, base, path, &x, expect, &err);
        if (status) golden_error("run", &err);
        graft_weights_close(x.w);
    }
    graft_arena_free(a);
    return 1;
}
