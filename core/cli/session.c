/* core/cli/session.c - see session.h. */
#include "core/cli/session.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/cli/args_table.h"
#include "core/cli/pull.h"
#include "core/graph/rates.h"
#include "core/model/hold.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static graft_status missing(const char *key, const char *what, graft_error *err) { return graft_fail(err, GRAFT_BAD_INPUT, key, "%s: give %s=... or --%s ...", what, key, key); }

/* How frozen weights are held: LLaMA-Factory's quantization keys, or base_dtype. */
static graft_status choose_base(const graft_args *x, graft_model *m, graft_error *err)
{
    static const struct {
        const char *word;
        graft_dtype dtype;
    } words[] = {{"f32", GRAFT_F32}, {"bf16", GRAFT_BF16}, {"f16", GRAFT_F16}, {"nf4", GRAFT_NF4}, {"int8", GRAFT_INT8}};
    const char *word = graft_args_text(x, "base_dtype"), *method = graft_args_text(x, "quantization_method");
    const int64_t bits = graft_args_int(x, "quantization_bit");
    m->base_dtype = (graft_dtype)0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (word && !strcmp(word, words[i].word)) m->base_dtype = words[i].dtype;
    if (graft_args_given(x, "quantization_bit")) {
        if (bits != 4 && bits != 8) return graft_fail(err, GRAFT_BAD_INPUT, "quantization_bit", "expected 4 or 8, found %lld", (long long)bits);
        if (m->base_dtype) return graft_fail(err, GRAFT_BAD_INPUT, "base_dtype", "quantization_bit and base_dtype both say how the base is held: give one of them");
        if (method && strcmp(method, "bnb")) return graft_fail(err, GRAFT_UNSUPPORTED, "quantization_method", "expected bnb, found '%s': the base is quantised as bitsandbytes does, leave the key out", method);
        if (bits == 4 && strcmp(graft_args_text(x, "quantization_type"), "nf4")) return graft_fail(err, GRAFT_UNSUPPORTED, "quantization_type", "4 bits are nf4 here, which is the more exact: leave the key out");
        m->base_dtype = bits == 4 ? GRAFT_NF4 : GRAFT_INT8;
    }
    if (m->base_dtype == GRAFT_NF4 && graft_args_flag(x, "double_quantization")) m->base_dtype = GRAFT_NF4_DOUBLE;
    return GRAFT_OK;
}

graft_status graft_session_model(graft_session *s, graft_error *err)
{
    const char *name = graft_args_text(s->c->args, "model_name_or_path"), *path = NULL;
    if (!name || !*name) return missing("model_name_or_path", "no model was named", err);
    graft_status status = graft_cli_registry(s->c, &s->registry, err);
    if (!status) status = graft_pull_path(s->c, "model_name_or_path", name, graft_args_text(s->c->args, "model_revision"), &path, err);
    if (!status) status = graft_model_open(s->registry, path, &s->model, err);
    if (!status) status = choose_base(s->c->args, s->model, err);
    return status ? status : graft_model_tokenizer(s->model, &s->tokenizer, err);
}

/* ---- template ------------------------------------------------------------------------------------------------------------- */

graft_status graft_session_template_dir(graft_cli *c, const char **dir, graft_error *err)
{
    graft_registry *r = NULL;
    *dir = graft_args_text(c->args, "template_dir");
    if (*dir) return GRAFT_OK;
    const graft_status s = graft_cli_registry(c, &r, err);
    if (s) return s;
    const char *shipped = graft_registry_layers(r, 0); /* templates lie beside the shipped registry */
    const char *slash = shipped ? strrchr(shipped, '/') : NULL;
    *dir = graft_arena_printf(c->arena, "%.*s/templates", slash ? (int)(slash - shipped) : 1, slash ? shipped : ".");
    return *dir ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
}

graft_status graft_session_template(graft_session *s, graft_error *err)
{
    const char *dir = NULL, *name = graft_args_text(s->c->args, "template");
    graft_status status = graft_session_template_dir(s->c, &dir, err);
    if (!status) status = name && *name ? graft_template_open(dir, name, &s->chat, err) : graft_template_of_tokenizer(dir, s->tokenizer, &s->chat, err);
    if (!status && !(name && *name)) graft_log(GRAFT_LOG_INFO, "no template was named: the model's own chat template is taken, as '%s'", graft_template_name(s->chat));
    const char *tools = graft_args_text(s->c->args, "tool_format");
    if (!status && tools && *tools) status = graft_template_use_tools(s->chat, tools, err);
    return status ? status : graft_template_fit(s->chat, s->tokenizer, err);
}

enum { F32 = 1,
       BF16 = 2,
       FP16 = 4 };

/* Of several arithmetics the one that was fastest when this machine was measured (rates.h keeps it; 'graft bench peak' measures anew): two runs choose
 * the same. f32 stays unless another gains a fifth. What cannot be measured is left to the backend. */
static uint32_t fastest(const graft_session *s, uint32_t allowed)
{
    graft_candidate b;
    graft_backend_rates r;
    graft_error unheard = GRAFT_ERROR_INIT;
    int kept = 0;
    if (!(allowed & (allowed - 1)) || graft_backend_choose(s->registry, s->device.name, &b, &unheard) || graft_rates_of(&b, 0, &r, &kept, &unheard) || r.flops <= 0.0) return allowed;
    const double bf16 = allowed & BF16 ? r.bf16 : 0.0, fp16 = allowed & FP16 ? r.fp16 : 0.0, best = bf16 > fp16 ? bf16 : fp16;
    if (allowed & F32 && best <= 1.2 * r.flops) return F32;
    return bf16 >= fp16 ? BF16 : FP16;
}

/* Which arithmetic matrix products may use: `compute` names one; else bf16: true and fp16: true allow the types that are at least as exact, of which the
 * fastest here is taken (products in fp16 are summed in f32, which leaves less error than bf16's shorter numbers). */
static graft_status choose_compute(graft_session *s, graft_error *err)
{
    const char *said = graft_args_text(s->c->args, "compute");
    const uint32_t named = !strcmp(said, "bf16") ? BF16 : !strcmp(said, "fp16") ? FP16
                                                                                : F32;
    uint32_t offered = F32;
    int32_t n = 0;
    const graft_op_claim *claims = s->device.table->ops(s->device.dev, &n);
    for (int32_t i = 0; i < n; i++)
        if (claims[i].op == graft_op_id("matmul/1")) offered |= claims[i].compute;
    if (!(offered & named))
        return graft_fail(err, GRAFT_UNSUPPORTED, "compute", "%s is not offered by the backend %s on this device; leave compute out, or write f32", said, s->device.name);
    s->device.compute = named;
    if (strcmp(said, "auto") != 0) return GRAFT_OK;
    const int bf16 = graft_args_flag(s->c->args, "bf16"), fp16 = graft_args_flag(s->c->args, "fp16");
    if (bf16 || fp16) s->device.compute = fastest(s, (F32 | FP16 | (bf16 ? BF16 : 0)) & offered);
    if ((bf16 || fp16) && s->device.compute == F32) graft_log(GRAFT_LOG_INFO, "%s: true: the backend %s multiplies in f32 on this device, which is more exact and where nothing is faster", bf16 ? "bf16" : "fp16", s->device.name);
    return GRAFT_OK;
}

graft_status graft_session_device(graft_session *s, graft_error *err)
{
    graft_status status = graft_cli_registry(s->c, &s->registry, err);
    const graft_json *said = graft_args_value(s->c->args, "backend");
    if (!said && graft_args_flag(s->c->args, "use_cpu")) said = graft_json_text(s->c->arena, graft_args_host_backend, strlen(graft_args_host_backend));
    if (!status) status = graft_device_open_said(s->registry, s->c->arena, graft_config_name(graft_args_config(s->c->args)), said, graft_args_object(s->c->args), &s->device, err);
    return status ? status : choose_compute(s, err);
}

void graft_session_close(graft_session *s)
{
    for (int i = 0; i < s->n_methods; i++)
        if (s->methods[i].table->close) s->methods[i].table->close(s->methods[i].run);
    for (int i = 0; i < s->n_merged; i++)
        if (s->merged[i].table->close) s->merged[i].table->close(s->merged[i].run);
    graft_device_close(&s->device);
    graft_template_close(s->chat);
    graft_tokenizer_close(s->tokenizer);
    graft_model_close(s->model);
    *s = (graft_session){.c = s->c};
}

/* ---- small things ---------------------------------------------------------------------------------------------------------------- */

graft_status graft_parse_bytes(const char *text, int64_t *bytes, graft_error *err)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    double v = strtod(text, &end);
    end += strspn(end, " ");
    const char *unit = *end ? strchr(units, *end >= 'a' ? *end - 32 : *end) : NULL;
    if (unit) {
        v *= ldexp(1.0, 10 * (int)(unit - units + 1));
        end++;
        if (*end == 'i') end++;
    }
    if (*end == 'B' || *end == 'b') end++;
    if (end == text || *end || !(v >= 0) || v > 1e18) return graft_fail(err, GRAFT_BAD_INPUT, "memory", "expected a size like 6G or 800M, found '%.60s'", text);
    *bytes = (int64_t)v;
    return GRAFT_OK;
}

struct graft_lines {
    const char *name;
    char *data;
    size_t bytes, at;
    int64_t number;
};

/* Whole standard input; at most a GiB, as for files. */
static graft_status read_stream(FILE *from, char **data, size_t *bytes, graft_error *err)
{
    graft_str all;
    char piece[65536];
    size_t n;
    graft_str_init(&all, 0);
    while ((n = fread(piece, 1, sizeof piece, from)) > 0) graft_str_add(&all, piece, n);
    *data = graft_calloc(all.bytes + 1, 1);
    graft_status s = GRAFT_OK;
    if (ferror(from)) s = graft_fail(err, GRAFT_IO, "standard input", "it could not be read");
    else if (all.failed || !*data) s = graft_fail(err, GRAFT_NO_MEMORY, "standard input", "more than could be held");
    else memcpy(*data, all.data, all.bytes), *bytes = all.bytes;
    graft_str_free(&all);
    return s;
}

graft_status graft_lines_open(graft_arena *a, const char *path, graft_lines **out, graft_error *err)
{
    *out = graft_arena_alloc(a, sizeof **out);
    if (!*out) return graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
    const int standard = !strcmp(path, "-");
    (*out)->name = standard ? "standard input" : path;
    return standard ? read_stream(stdin, &(*out)->data, &(*out)->bytes, err) : graft_file_read(path, INT64_C(1) << 30, &(*out)->data, &(*out)->bytes, err);
}

int graft_lines_next(graft_lines *l, const char **line, size_t *bytes)
{
    while (l->at < l->bytes) {
        const char *from = l->data + l->at, *end = memchr(from, '\n', l->bytes - l->at);
        size_t n = end ? (size_t)(end - from) : l->bytes - l->at;
        l->at += n + (end != NULL);
        l->number++;
        while (n && (from[n - 1] == '\r' || from[n - 1] == ' ')) n--;
        if (!n) continue; /* empty lines are nothing */
        *line = from;
        *bytes = n;
        return 1;
    }
    return 0;
}

const char *graft_lines_place(const graft_lines *l, char *room, size_t bytes)
{
    snprintf(room, bytes, "%s:%lld", l->name, (long long)l->number);
    return room;
}

graft_status graft_lines_json(graft_lines *l, graft_arena *a, const graft_json **out, graft_error *err)
{
    const char *line = NULL;
    size_t bytes = 0, used = 0;
    *out = NULL;
    if (!graft_lines_next(l, &line, &bytes)) return GRAFT_OK;
    graft_status s = graft_json_parse_prefix(a, l->name, line, bytes, (int)l->number, GRAFT_JSON_ALLOW_LONE_SURROGATE, out, &used, err);
    char place[512];
    if (!s && used != bytes) s = graft_fail(err, GRAFT_BAD_INPUT, graft_lines_place(l, place, sizeof place), "expected one JSON value on the line, found more after it");
    return s;
}

void graft_lines_close(graft_lines *l)
{
    if (l) graft_free(l->data);
}
