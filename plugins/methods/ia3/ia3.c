/* IA3: three learned vectors a block scale keys, values and the MLP's inner activations. Liu et al. 2022, arXiv 2205.05638. Files are PEFT's.
 *     target_modules       y = (W x + c) * l     l [out, 1]
 *     feedforward_modules  y = W (x * l) + c     l [1, in]; a subset of the targets
 * l begins at one, so step zero equals the base model. */
#include "graft/method.h"
#include "graft/ops.h"
#include "graft/plugin.h"

enum { MOST = 4096 };

typedef struct ia3 {
    const graft_host *host;
    const graft_config *select; /* a saved adapter's or the user's; NULL value at target_modules: by role */
    uint64_t feeding[MOST];     /* hashes of the paths whose input is scaled: for the file */
    int n_feeding;
} ia3;

static graft_status ia3_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    const graft_host *host = self;
    ia3 *m = host->alloc(host->ctx, sizeof *m, _Alignof(ia3));
    if (!m) return host->fail(err, GRAFT_NO_MEMORY, "ia3", "no memory for %zu bytes", sizeof *m);
    *m = (ia3){.host = host, .select = saved ? saved : args};
    if (saved && (graft_flag(saved, "fan_in_fan_out", 0) || saved->api->value(saved, "modules_to_save"))) {
        host->release(host->ctx, m);
        return host->fail(err, GRAFT_UNSUPPORTED, "adapter_config.json", "this IA3 adapter uses fan_in_fan_out or modules_to_save, which this method cannot do");
    }
    *run = m;
    return GRAFT_OK;
}

static void ia3_close(void *run)
{
    const graft_host *host = ((ia3 *)run)->host;
    host->release(host->ctx, run);
}

static int has(const ia3 *m, const char *key)
{
    const graft_json *v = m->select->api->value(m->select, key);
    return v && (v->type != GRAFT_JSON_ARRAY || v->count);
}

static int chosen(const ia3 *m, graft_builder *b, const graft_site *s)
{
    if (has(m, "target_modules")) return b->api->matches(b, m->select, "target_modules", s);
    return s->role == GRAFT_ROLE_ATTN_K || s->role == GRAFT_ROLE_ATTN_V || s->role == GRAFT_ROLE_ATTN_QKV || s->role == GRAFT_ROLE_MLP_DOWN;
}

static int feeds(const ia3 *m, graft_builder *b, const graft_site *s)
{
    if (has(m, "feedforward_modules")) return b->api->matches(b, m->select, "feedforward_modules", s);
    return !m->select->api->value(m->select, "feedforward_modules") && s->role == GRAFT_ROLE_MLP_DOWN;
}

static graft_value scale_of(graft_builder *b, int64_t rows, int64_t columns) { return graft_new_param(b, "ia3_l", GRAFT_START_ONE, 0.0, rows, columns); }

static int fed(const ia3 *m, const char *path)
{
    for (int i = 0; i < m->n_feeding; i++)
        if (m->feeding[i] == graft_op_id(path)) return 1;
    return 0;
}

static graft_value ia3_linear(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    ia3 *m = run;
    if (!chosen(m, b, s)) return y;
    if (!feeds(m, b, s)) return graft_mul(b, y, graft_reshape(b, scale_of(b, s->out, 1), 1, &s->out));
    if (!fed(m, s->path)) {
        if (m->n_feeding == MOST) b->api->error(b, "IA3 can scale the inputs of at most %d linears", (int)MOST);
        else m->feeding[m->n_feeding++] = graft_op_id(s->path);
    }
    const graft_value now = graft_matmul_nt(b, graft_mul(b, x, scale_of(b, 1, s->in)), s->weight);
    return s->bias.id ? graft_add(b, now, s->bias) : now;
}

static graft_value ia3_merge(void *run, graft_builder *b, const graft_site *s, graft_value w)
{
    const ia3 *m = run;
    if (!chosen(m, b, s)) return w;
    return graft_mul(b, w, feeds(m, b, s) ? scale_of(b, 1, s->in) : scale_of(b, s->out, 1));
}

static graft_value ia3_merge_bias(void *run, graft_builder *b, const graft_site *s, graft_value bias)
{
    const ia3 *m = run;
    if (!chosen(m, b, s) || feeds(m, b, s)) return bias;
    return graft_mul(b, bias, graft_reshape(b, scale_of(b, s->out, 1), 1, &s->out));
}

static graft_status ia3_save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err)
{
    const ia3 *m = run;
    const graft_writer_api *api = w->api;
    const graft_json *targets = m->select->api->value(m->select, "target_modules"), *feed = m->select->api->value(m->select, "feedforward_modules");
    api->text(w, "peft_type", "IA3");
    api->text(w, "task_type", "CAUSAL_LM");
    api->null(w, "auto_mapping");
    api->null(w, "revision");
    api->flag(w, "inference_mode", 1);
    api->flag(w, "fan_in_fan_out", 0);
    api->flag(w, "init_ia3_weights", 1);
    api->null(w, "modules_to_save");
    api->null(w, "exclude_modules");
    if (has(m, "target_modules") && targets->type == GRAFT_JSON_ARRAY) api->value(w, "target_modules", targets);
    else api->texts(w, "target_modules", n_sites, sites);
    if (feed) {
        api->value(w, "feedforward_modules", feed);
        return GRAFT_OK;
    }
    const char **feeding = m->host->alloc(m->host->ctx, ((size_t)n_sites + 1) * sizeof *feeding, sizeof *feeding);
    int32_t n = 0;
    for (int32_t i = 0; feeding && i < n_sites; i++)
        if (fed(m, sites[i])) feeding[n++] = sites[i];
    if (feeding) api->texts(w, "feedforward_modules", n, feeding);
    m->host->release(m->host->ctx, feeding);
    return feeding ? GRAFT_OK : m->host->fail(err, GRAFT_NO_MEMORY, "ia3", "no memory for the names of %d sites", (int)n_sites);
}

static int ia3_owns(void *self, const graft_json *saved)
{
    const graft_json *type = graft_json_get(saved, "peft_type");
    (void)self;
    return type && type->type == GRAFT_JSON_TEXT && !strcmp(type->text, "IA3");
}

static const graft_adapter_files ia3_files = {.size = sizeof ia3_files, .config = "adapter_config.json", .weights = "adapter_model.safetensors", .prefix = "base_model.model."};

static const graft_method_table ia3_table = {.size = sizeof ia3_table, .open = ia3_open, .close = ia3_close, .linear = ia3_linear, .merge = ia3_merge, .merge_bias = ia3_merge_bias, .files = &ia3_files, .save = ia3_save, .owns = ia3_owns};

GRAFT_ONE_TABLE("method", "graft.method/1", "ia3", "1.0.0", &ia3_table)
