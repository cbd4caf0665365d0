/* Bottleneck adapters: a small network with a residual beside the frozen sublayers. x: the residual stream before a sublayer, y: what the sublayer gives.
 *     houlsby   x + y + s Up(f(Down(y)))        after attention and after the MLP   Houlsby et al. 2019, arXiv 1902.00751
 *     pfeiffer  x + y + s Up(f(Down(x + y)))    after the MLP                       Pfeiffer et al. 2020, arXiv 2005.00247
 *     parallel  x + y + s Up(f(Down(x)))        beside the MLP                      He et al. 2021, arXiv 2110.04366
 * Down [b, d], b = d / reduction_factor, Up [d, b], both with biases. Weights begin N(0, 0.02), biases at zero ("bert"), or with Up at zero
 * ("mam_adapter"), so that step zero equals the base model. Files and names are those of the `adapters` library. */
#include "graft/method.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>
#include <stdio.h>

typedef struct adapter {
    const graft_host *host;
    const graft_config *config; /* holds the settings: the user's arguments, or `config` of a saved file */
    const graft_json *saved;    /* that object, or NULL                                                   */
    const char *name, *act, *init;
    double reduction, scaling, dropout;
    int attention, mlp, parallel, sees_sum; /* places; what Down reads */
} adapter;

/* A member of the saved config, or else of the arguments. */
static const graft_json *setting(const adapter *m, const char *key) { return m->saved ? graft_json_get(m->saved, key) : m->config->api->value(m->config, key); }

static int truth(const adapter *m, const char *key, int fallback)
{
    const graft_json *v = setting(m, key);
    return v && (v->type == GRAFT_JSON_BOOL || v->integral) ? v->integer != 0 : fallback;
}

static double real(const adapter *m, const char *key, double fallback)
{
    const graft_json *v = setting(m, key);
    return v && v->type == GRAFT_JSON_NUMBER ? v->number : fallback;
}

static const char *text(const adapter *m, const char *key, const char *fallback)
{
    const graft_json *v = setting(m, key);
    return v && v->type == GRAFT_JSON_TEXT ? v->text : fallback;
}

/* The three known configurations; a saved file says all itself. */
static graft_status choose_kind(adapter *m, const graft_config *args, graft_error *err)
{
    const char *kind = m->saved ? "" : graft_text(args, "adapter_type", "pfeiffer");
    const int houlsby = !strcmp(kind, "houlsby") || !strcmp(kind, "double_seq_bn"), parallel = !strcmp(kind, "parallel") || !strcmp(kind, "par_bn");
    if (!m->saved && !houlsby && !parallel && strcmp(kind, "pfeiffer") != 0 && strcmp(kind, "seq_bn") != 0)
        return m->host->fail(err, GRAFT_BAD_INPUT, "adapter_type", "expected houlsby, pfeiffer or parallel, found '%s'", kind);
    m->attention = truth(m, "mh_adapter", houlsby);
    m->mlp = truth(m, "output_adapter", 1);
    m->parallel = truth(m, "is_parallel", parallel);
    m->sees_sum = truth(m, "original_ln_before", !houlsby && !parallel);
    m->act = text(m, "non_linearity", houlsby ? "swish" : "relu");
    m->init = text(m, "init_weights", "mam_adapter");
    m->reduction = real(m, "reduction_factor", parallel ? 2.0 : 16.0);
    m->scaling = real(m, "scaling", parallel ? 4.0 : 1.0);
    m->dropout = real(m, "dropout", 0.0);
    return GRAFT_OK;
}

/* What the library can say and this method cannot do. */
static graft_status check(const adapter *m, graft_error *err)
{
    static const char *const off[] = {"ln_before", "ln_after", "use_gating", "phm_layer", "cross_adapter", "adapter_residual_before_ln"};
    const char *wrong = NULL;
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (truth(m, off[i], 0)) wrong = off[i];
    if (text(m, "inv_adapter", NULL)) wrong = "inv_adapter";
    if (text(m, "scaling", NULL)) wrong = "a learned scaling";
    if (!truth(m, "residual_before_ln", 1)) wrong = "residual_before_ln = false";
    const graft_json *leave = setting(m, "leave_out"), *factor = setting(m, "reduction_factor");
    if (leave && leave->count) wrong = "leave_out";
    if (factor && factor->type == GRAFT_JSON_OBJECT) wrong = "a reduction_factor for each layer";
    if (wrong) return m->host->fail(err, GRAFT_UNSUPPORTED, "adapter_config.json", "this adapter uses %s, which this method cannot do", wrong);
    if (!(m->reduction > 0) || !(m->dropout >= 0 && m->dropout < 1)) return m->host->fail(err, GRAFT_BAD_INPUT, "reduction_factor", "expected a number above 0, and a dropout from 0 and below 1");
    if (strcmp(m->act, "relu") && strcmp(m->act, "swish") && strcmp(m->act, "silu") && strcmp(m->act, "gelu") && strcmp(m->act, "tanh") && strcmp(m->act, "gelu_new"))
        return m->host->fail(err, GRAFT_UNSUPPORTED, "non_linearity", "expected relu, swish, gelu, gelu_new or tanh, found '%s'", m->act);
    return GRAFT_OK;
}

static graft_status adapter_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    const graft_host *host = self;
    adapter *m = host->alloc(host->ctx, sizeof *m, _Alignof(adapter));
    if (!m) return host->fail(err, GRAFT_NO_MEMORY, "adapter", "no memory for %zu bytes", sizeof *m);
    *m = (adapter){.host = host, .config = args};
    if (saved) m->saved = saved->api->value(saved, "config");
    m->name = saved ? graft_text(saved, "name", "default") : graft_text(args, "adapter_label", "default");
    graft_status status = choose_kind(m, args, err);
    if (!status) status = check(m, err);
    if (status) host->release(host->ctx, m);
    else *run = m;
    return status;
}

static void adapter_close(void *run)
{
    const graft_host *host = ((adapter *)run)->host;
    host->release(host->ctx, run);
}

static graft_value activate(const adapter *m, graft_builder *b, graft_value x)
{
    if (!strcmp(m->act, "relu")) return graft_relu(b, x);
    if (!strcmp(m->act, "tanh")) return graft_tanh(b, x);
    if (!strncmp(m->act, "gelu", 4)) return graft_gelu(b, x, m->act[4] != 0);
    return graft_silu(b, x);
}

/* A parameter of the adapter at a block: "model.layers.0.output_adapters.adapters.NAME.adapter_up.weight", whatever the sublayer is called. */
static graft_value parameter(const adapter *m, graft_builder *b, const graft_site *s, const char *place, const char *name, graft_start start, double arg, int64_t d0, int64_t d1)
{
    char full[1200];
    const char *dot = strrchr(s->path, '.');
    snprintf(full, sizeof full, "/%.*s%s%s_adapters.adapters.%s.%s", dot ? (int)(dot - s->path) : 0, s->path, dot ? "." : "", place, m->name, name);
    return graft_new_param(b, full, start, arg, d0, d1);
}

static graft_value adapter_after(void *run, graft_builder *b, const graft_site *s, graft_value h)
{
    const adapter *m = run;
    const int attention = s->role == GRAFT_ROLE_ATTN, mam = !strcmp(m->init, "mam_adapter");
    if (!((attention && m->attention) || (s->role == GRAFT_ROLE_MLP && m->mlp))) return h;
    const char *place = attention ? "attention" : "output";
    const int64_t d = s->out, k = (double)d / m->reduction < 1 ? 1 : (int64_t)((double)d / m->reduction);
    if ((m->parallel || m->sees_sum) && !s->residual.id) {
        b->api->error(b, "an adapter of this kind reads the residual stream, which this model does not show here; use adapter_type: houlsby");
        return h;
    }
    const graft_value x = m->parallel ? s->residual : m->sees_sum ? graft_add(b, h, s->residual)
                                                                  : h;
    const graft_value down = parameter(m, b, s, place, "adapter_down.0.weight", mam ? GRAFT_START_KAIMING_UNIFORM : GRAFT_START_NORMAL, mam ? sqrt(5.0) : 0.02, k, d);
    const graft_value up = parameter(m, b, s, place, "adapter_up.weight", mam ? GRAFT_START_ZERO : GRAFT_START_NORMAL, 0.02, d, k);
    graft_value z = graft_add(b, graft_matmul_nt(b, x, down), parameter(m, b, s, place, "adapter_down.0.bias", GRAFT_START_ZERO, 0.0, k, 0));
    z = graft_add(b, graft_matmul_nt(b, activate(m, b, z), up), parameter(m, b, s, place, "adapter_up.bias", GRAFT_START_ZERO, 0.0, d, 0));
    return graft_add(b, h, graft_dropout(b, graft_scale(b, z, m->scaling), m->dropout));
}

/* `config` is an object inside the file; the writer knows flat ones, so it is made as a value. */
static graft_status adapter_save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err)
{
    const adapter *m = run;
    (void)n_sites, (void)sites, (void)err;
    graft_json fields[] = {
        {.type = GRAFT_JSON_BOOL, .key = "mh_adapter", .integer = m->attention},
        {.type = GRAFT_JSON_BOOL, .key = "output_adapter", .integer = m->mlp},
        {.type = GRAFT_JSON_BOOL, .key = "is_parallel", .integer = m->parallel},
        {.type = GRAFT_JSON_BOOL, .key = "original_ln_before", .integer = m->sees_sum},
        {.type = GRAFT_JSON_BOOL, .key = "original_ln_after", .integer = 1},
        {.type = GRAFT_JSON_BOOL, .key = "residual_before_ln", .integer = 1},
        {.type = GRAFT_JSON_BOOL, .key = "adapter_residual_before_ln"},
        {.type = GRAFT_JSON_BOOL, .key = "ln_before"},
        {.type = GRAFT_JSON_BOOL, .key = "ln_after"},
        {.type = GRAFT_JSON_BOOL, .key = "use_gating"},
        {.type = GRAFT_JSON_BOOL, .key = "phm_layer"},
        {.type = GRAFT_JSON_BOOL, .key = "cross_adapter"},
        {.type = GRAFT_JSON_NULL, .key = "inv_adapter"},
        {.type = GRAFT_JSON_NULL, .key = "inv_adapter_reduction_factor"},
        {.type = GRAFT_JSON_ARRAY, .key = "leave_out"},
        {.type = GRAFT_JSON_TEXT, .key = "non_linearity", .text = m->act, .bytes = strlen(m->act)},
        {.type = GRAFT_JSON_TEXT, .key = "init_weights", .text = m->init, .bytes = strlen(m->init)},
        {.type = GRAFT_JSON_NUMBER, .key = "reduction_factor", .number = m->reduction},
        {.type = GRAFT_JSON_NUMBER, .key = "scaling", .number = m->scaling},
        {.type = GRAFT_JSON_NUMBER, .key = "dropout", .number = m->dropout},
    };
    const size_t n = sizeof fields / sizeof *fields;
    for (size_t i = 0; i < n; i++) {
        fields[i].key_bytes = strlen(fields[i].key);
        fields[i].next = i + 1 < n ? &fields[i + 1] : NULL;
    }
    const graft_json object = {.type = GRAFT_JSON_OBJECT, .count = (int64_t)n, .child = fields};
    w->api->value(w, "config", &object);
    w->api->text(w, "name", m->name);
    w->api->text(w, "version", "adapters.1.2.0");
    return GRAFT_OK;
}

static int adapter_owns(void *self, const graft_json *saved)
{
    const graft_json *c = graft_json_get(saved, "config");
    (void)self;
    return !graft_json_get(saved, "peft_type") && c && graft_json_get(c, "reduction_factor") && graft_json_get(c, "mh_adapter");
}

static const graft_adapter_files adapter_files = {.size = sizeof adapter_files, .config = "adapter_config.json", .weights = "adapter.safetensors", .prefix = ""};

static const graft_method_table adapter_table = {.size = sizeof adapter_table, .open = adapter_open, .close = adapter_close, .after = adapter_after, .files = &adapter_files, .save = adapter_save, .owns = adapter_owns};

GRAFT_ONE_TABLE("method", "graft.method/1", "adapter", "1.0.0", &adapter_table)
