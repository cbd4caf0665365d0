/* tests/golden/trajectory.c - a whole run of the command line from its YAML, compared update by update. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/yaml.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One JSON value a line. */
typedef struct lines {
    char *text;
    size_t bytes, at;
} lines;

static const graft_json *next_line(graft_arena *a, lines *l)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *j = NULL;
    if (l->at >= l->bytes) return NULL;
    const char *from = l->text + l->at, *end = memchr(from, '\n', l->bytes - l->at);
    const size_t n = end ? (size_t)(end - from) : l->bytes - l->at;
    l->at += n + 1;
    return n && !graft_json_parse(a, "line", from, n, GRAFT_JSON_ALLOW_NAN, &j, &err) ? j : NULL;
}

static double number(const graft_json *object, const char *key)
{
    const graft_json *v = graft_json_get(object, key);
    return v && v->type == GRAFT_JSON_NUMBER ? v->number : NAN;
}

/* The updates of our run: log_history of trainer_state.json holds grad_norm too. */
static graft_status compare_steps(graft_arena *a, const char *stored, const char *dir, graft_error *err)
{
    char file[8192];
    lines want = {0};
    const graft_json *state = NULL;
    snprintf(file, sizeof file, "%s/trainer_state.json", dir);
    graft_status status = graft_json_parse_file(a, file, 1 << 28, GRAFT_JSON_ALLOW_NAN, &state, err);
    if (!status) status = graft_file_read(stored, 1 << 28, &want.text, &want.bytes, err);
    if (status) return status;
    const graft_json *history = graft_json_get(state, "log_history"), *got = history ? history->child : NULL;
    int64_t compared = 0;
    for (const graft_json *w = next_line(a, &want); w; w = next_line(a, &want)) {
        if (graft_json_get(w, "head")) continue;
        while (got && !graft_json_get(got, "loss")) got = got->next;
        if (!got) {
            golden_fail("updates", "our run has only %lld", (long long)compared);
            break;
        }
        golden_check("loss", fabs(number(got, "loss") - number(w, "loss")), 3e-4);
        golden_check("grad_norm (relative)", fabs(number(got, "grad_norm") / number(w, "grad_norm") - 1.0), 1e-3);
        golden_check("learning_rate", fabs(number(got, "learning_rate") - number(w, "learning_rate")), 1e-12);
        golden_check("epoch", fabs(number(got, "epoch") - number(w, "epoch")), 1e-9);
        got = got->next;
        compared++;
    }
    while (got && !graft_json_get(got, "loss")) got = got->next;
    golden_equal("number of updates", compared > 0 && !got);
    graft_free(want.text);
    return GRAFT_OK;
}

/* A tensor of the final weights. base: what the run began with, where stored says that it stays so. */
static graft_status compare_tensor(const graft_json *stored, const graft_weight_info *t, const graft_weight_info *base, graft_error *err)
{
    const graft_json *first = graft_json_get(stored, "first4");
    const int64_t n = golden_count(t);
    const double scale = fmax(number(stored, "delta_max"), 1e-6);
    float *v = graft_calloc((size_t)n + 1, 4), *old = graft_calloc((size_t)n + 1, 4);
    double squares = 0.0;
    graft_status status = v && old ? graft_weights_read_f32(t, v, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory");
    if (!status && graft_json_get(stored, "unchanged")) {
        if (base && golden_count(base) == n) status = graft_weights_read_f32(base, old, err);
        if (!status) golden_equal("frozen weights", base && golden_count(base) == n && !memcmp(v, old, (size_t)n * 4));
        goto out;
    }
    for (int64_t i = 0; !status && i < n; i++) squares += (double)v[i] * (double)v[i];
    if (!status) golden_check("final norms (relative)", fabs(sqrt(squares) / number(stored, "l2") - 1.0), 1e-4);
    int64_t k = 0;
    for (const graft_json *f = first ? first->child : NULL; !status && f && k < n; f = f->next, k++)
        golden_check("first values (of delta_max)", fabs((double)v[k] - f->number) / scale, 0.1);
out:
    graft_free(old);
    graft_free(v);
    return status;
}

/* Norm and first values of each final tensor. The change since the start is the finer measure: both are a few 1e-6 of it apart. */
static graft_status compare_weights(graft_arena *a, const char *stored, const char *dir, const char *model, graft_error *err)
{
    lines want = {0};
    graft_weights *w = NULL, *base = NULL;
    char file[8192];
    graft_status status = graft_file_read(stored, 1 << 28, &want.text, &want.bytes, err);
    if (status) return status;
    const graft_json *head = next_line(a, &want), *name = graft_json_get(graft_json_get(head, "head"), "file");
    snprintf(file, sizeof file, "%s/%s", dir, name ? name->text : "model.safetensors");
    status = graft_weights_open(file, &w, err);
    if (!status) status = graft_weights_open(model, &base, err);
    for (const graft_json *j = status ? NULL : next_line(a, &want); !status && j; j = next_line(a, &want)) {
        const graft_json *tensor = graft_json_get(j, "tensor");
        const graft_weight_info *t = graft_weights_find(w, tensor->text);
        if (t) status = compare_tensor(j, t, graft_weights_find(base, tensor->text), err);
        else golden_fail("final weights", "%s is missing in %s", tensor->text, file);
    }
    graft_weights_close(base);
    graft_weights_close(w);
    graft_free(want.text);
    return status;
}

/* A folder named in the YAML, looked for beside the run and above it. */
static const char *find_beside(const char *path, const char *name, char out[8192])
{
    static const char *const up[] = {"", "/..", "/../..", "/../../..", "/../../../.."};
    for (size_t i = 0; i < sizeof up / sizeof *up; i++) {
        snprintf(out, 8192, "%s%s/%s", path, up[i], name);
        if (graft_path_is_dir(out)) return out;
    }
    return NULL;
}

static graft_status run(golden_session *s, const char *path, const char *model, const graft_json *yaml, graft_error *err)
{
    char program[4096], config[4200], words[5][8300], dir[4200], beside[8192], stored[4200];
    const graft_json *data = graft_json_get(yaml, "dataset_dir"), *adapter = graft_json_get(yaml, "adapter_name_or_path");
    snprintf(program, sizeof program, "%s/bin/graft", GRAFT_BINARY_DIR);
    snprintf(config, sizeof config, "%s/train.yaml", path);
    snprintf(dir, sizeof dir, "%s/trajectory", s->work);
    graft_status status = graft_path_remove(dir, err);
    if (status) return status;
    const char *argv[16] = {program, "train", config};
    int n = 3;
    snprintf(words[0], sizeof words[0], "model_name_or_path=%s", model);
    snprintf(words[1], sizeof words[1], "output_dir=%s", dir);
    argv[n++] = words[0], argv[n++] = words[1];
    const char *where = s->data ? s->data : find_beside(path, data ? data->text : "data", beside);
    if (!where) where = find_beside(path, "datasets", beside);
    if (where) snprintf(words[2], sizeof words[2], "dataset_dir=%s", where), argv[n++] = words[2];
    if (adapter && adapter->type == GRAFT_JSON_TEXT && find_beside(path, adapter->text, beside)) snprintf(words[3], sizeof words[3], "adapter_name_or_path=%s", beside), argv[n++] = words[3];
    snprintf(words[4], sizeof words[4], "backend=%s", s->device.name);
    argv[n++] = words[4];
    if (golden_spawn(argv)) return graft_fail(err, GRAFT_BAD_INPUT, config, "'graft train' failed; its message is above");
    graft_arena *a = graft_arena_new();
    snprintf(stored, sizeof stored, "%s/steps.jsonl", path);
    status = compare_steps(a, stored, dir, err);
    snprintf(stored, sizeof stored, "%s/final_weights.jsonl", path);
    if (!status && graft_path_exists(stored)) status = compare_weights(a, stored, dir, model, err);
    graft_arena_free(a);
    return status;
}

int golden_trajectory(golden_session *s, const char *path)
{
    char file[4096];
    graft_error err = GRAFT_ERROR_INIT;
    snprintf(file, sizeof file, "%s/train.yaml", path);
    if (!graft_path_exists(file)) return 0;
    golden_case(path);
    graft_arena *a = graft_arena_new();
    const graft_json *yaml = NULL;
    graft_status status = graft_yaml_parse_file(a, file, &yaml, &err);
    const graft_json *name = status ? NULL : graft_json_get(yaml, "model_name_or_path");
    const char *model = name ? golden_model_path(s, name->text) : NULL;
    if (!status && !model) golden_skip("%s: no model %s; give --model %s=FOLDER", path, name ? name->text : "?", name ? name->text : "NAME");
    else if (!status) status = run(s, path, model, yaml, &err);
    if (status) golden_error("run", &err);
    graft_arena_free(a);
    return 1;
}
