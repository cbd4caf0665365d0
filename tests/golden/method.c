/* tests/golden/method.c - a tuning method's adapter on its base model. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

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

static graft_status run(golden_session *s, const char *base, const char *adapter, const golden_expected *x, graft_error *err)
{
    golden_model m;
    golden_batch b;
    graft_status status = golden_open(s, base, NULL, NULL, adapter, golden_count(x->ids) + 64, &m, err);
    if (!status) status = golden_batch_of(&m, x, &b, err);
    if (!status) status = golden_compare_logits(&m, x, &b, err);
    if (!status) status = golden_compare_loss(&m, x, &b, err);
    if (!status) golden_compare_gradients(&m, x, prefix_of(&m));
    if (!status) status = golden_compare_steps(&m, x, &b, err);
    if (!status) golden_compare_tensors(&m, x, "after", prefix_of(&m), 5e-5);
    golden_close(&m);
    if (status || !has_kind(x, "merged.")) return status;
    status = golden_open(s, base, NULL, NULL, adapter, golden_count(x->ids) + 64, &m, err);
    if (!status) status = graft_model_merge(m.model, m.methods, m.n_methods, m.train, m.store, err);
    if (!status) golden_compare_tensors(&m, x, "merged", "", 1e-6);
    golden_close(&m);
    return status;
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
        const graft_status status = run(s, base, path, &x, &err);
        if (status) golden_error("run", &err);
        graft_weights_close(x.w);
    }
    graft_arena_free(a);
    return 1;
}
