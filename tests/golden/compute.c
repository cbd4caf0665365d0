/* tests/golden/compute.c - models multiplied in bf16 and fp16: logits and gradients are no farther from the stored f32 ones than those of torch under bf16 autocast
 * (autocast.json, by tests/peers/autocast.py), which people train with. Types that the backend does not offer here are skipped. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bit;
} types[] = {{"bf16", 2}, {"fp16", 4}};
enum { TYPES = sizeof types / sizeof *types };

static uint32_t offered(const graft_device *d)
{
    int32_t n = 0;
    const graft_op_claim *claims = d->table->ops(d->dev, &n);
    for (int32_t i = 0; i < n; i++)
        if (claims[i].op == graft_op_id("matmul/1")) return claims[i].compute;
    return 0;
}

static double largest_error(const golden_expected *x, const float *logits)
{
    const graft_weight_info *want = golden_tensor(x->w, "logits");
    return golden_max_abs(logits, (const float *)(const void *)want->data, golden_count(want));
}

static graft_status one(golden_session *s, const char *folder, const golden_expected *x, double logits_bound, double gradients_bound, graft_error *err)
{
    golden_model m;
    golden_batch b;
    double loss = 0.0;
    graft_status status = golden_open(s, folder, "full", NULL, NULL, 64, &m, err);
    if (!status) status = golden_batch_of(&m, x, &b, err);
    float *logits = status ? NULL : graft_arena_alloc(m.arena, (size_t)(b.n_real * m.model->vocab) * 4 + 4);
    if (!status && !logits) status = graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory");
    if (!status) status = golden_logits(&m, &b, logits, err);
    if (!status) golden_check("logits", largest_error(x, logits), logits_bound);
    if (!status) status = golden_clear_gradients(&m, err);
    if (!status) status = golden_loss(&m, &b, &loss, err);
    if (!status) golden_check("gradients (relative)", golden_gradient_error(&m, x), gradients_bound);
    golden_close(&m);
    return status;
}

static double number(const graft_json *row, const char *key)
{
    const graft_json *v = graft_json_get(row, key);
    return v ? v->number : 0.0;
}

static void model(golden_session *s, const char *path, const graft_json *row)
{
    char folder[4200], title[4300];
    graft_error err = GRAFT_ERROR_INIT;
    golden_expected x;
    snprintf(folder, sizeof folder, "%s/../arch/%s", path, row->key);
    if (!golden_open_expected(folder, &x)) return;
    const uint32_t before = s->device.compute;
    for (int i = 0; i < TYPES; i++) {
        if (!(offered(&s->device) & types[i].bit)) continue;
        snprintf(title, sizeof title, "%s in %s", folder, types[i].name);
        golden_case(title);
        s->device.compute = types[i].bit;
        if (one(s, folder, &x, number(row, "logits"), number(row, "gradients"), &err)) golden_error("run", &err);
    }
    s->device.compute = before;
    graft_weights_close(x.w);
}

int golden_compute(golden_session *s, const char *path)
{
    char file[4200];
    graft_error err = GRAFT_ERROR_INIT;
    snprintf(file, sizeof file, "%s/autocast.json", path);
    if (!graft_path_exists(file)) return 0;
    golden_case(path);
    graft_arena *a = graft_arena_new();
    const graft_json *rows = NULL;
    if (!a || graft_json_parse_file(a, file, 1 << 20, 0, &rows, &err)) golden_error("autocast.json", &err);
    for (int i = 0; i < TYPES && rows; i++)
        if (!(offered(&s->device) & types[i].bit)) golden_skip("%s does not multiply in %s on this machine", s->device.name, types[i].name);
    for (const graft_json *row = rows ? rows->child : NULL; row; row = row->next) model(s, path, row);
    graft_arena_free(a);
    return 1;
}
