/* LLaMA-Adapter: in the last blocks every token also attends to a learned prompt, through a softmax of its own and a gate that begins at zero:
 *     o' = o + gate * softmax(q K^T / sqrt(h)) V      K = P W_k^T, V = P W_v^T, not rotated; P [len, d]
 * before the output projection, so step zero equals the base model. Zhang et al. 2023, arXiv 2303.16199. Files are PEFT's (ADAPTION_PROMPT).
 * The keys and values come from the frozen projections, which must be linears of their own (no fused q, k, v). */
#include "graft/method.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>

typedef struct prompt {
    const graft_host *host;
    int64_t length, layers;
    graft_site k, v; /* the last key and value projections that were built: those of the attention that comes next */
} prompt;

static graft_status open_(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    const graft_host *host = self;
    const graft_config *c = saved ? saved : args;
    prompt *m = host->alloc(host->ctx, sizeof *m, _Alignof(prompt));
    if (!m) return host->fail(err, GRAFT_NO_MEMORY, "llama_adapter", "no memory for %zu bytes", sizeof *m);
    *m = (prompt){.host = host, .length = graft_dim(c, "adapter_len", 10), .layers = graft_dim(c, "adapter_layers", saved ? 0 : INT32_MAX)};
    *run = m;
    return GRAFT_OK;
}

static void close_(void *run)
{
    const graft_host *host = ((prompt *)run)->host;
    host->release(host->ctx, run);
}

static int here(const prompt *m, const graft_site *s) { return s->layer >= 0 && s->layer >= s->layers - m->layers; }

static graft_value linear(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    prompt *m = run;
    (void)b, (void)x;
    if (s->role == GRAFT_ROLE_ATTN_K) m->k = *s;
    if (s->role == GRAFT_ROLE_ATTN_V) m->v = *s;
    return y;
}

static graft_value project(graft_builder *b, graft_value p, const graft_site *s)
{
    const graft_value y = graft_matmul_nt(b, p, s->weight);
    return s->bias.id ? graft_add(b, y, s->bias) : y;
}

static graft_value attention(void *run, graft_builder *b, const graft_site *s, graft_value q, graft_value o)
{
    const prompt *m = run;
    int64_t dims[GRAFT_MAX_RANK];
    if (!here(m, s)) return o;
    b->api->shape(b, q, dims);
    const int64_t h = s->out, kv = s->in, n = dims[1] / h, group = n / kv, t = dims[0], len = m->length;
    if (m->k.layer != s->layer || m->v.layer != s->layer || m->k.out != kv * h || m->v.out != kv * h) {
        b->api->error(b, "LLaMA-Adapter needs a key and a value projection of their own; this model's attention has none, use prefix tuning");
        return o;
    }
    const graft_param param = {.size = sizeof param, .start = GRAFT_START_NORMAL, .arg = 1.0, .rank = 3, .dims = {1, len, m->k.in}};
    const int64_t flat[] = {len, m->k.in}, heads[] = {len, kv, 1, h}, forward[] = {1, 2, 0, 3}, split[] = {t, kv, group, h}, back[] = {2, 0, 1, 3}, joined[] = {t, n * h};
    const graft_value p = graft_reshape(b, b->api->param(b, "adaption_prompt", &param), 2, flat), gate = graft_new_param(b, "adaption_gate", GRAFT_START_ZERO, 0.0, 1, 0);
    const graft_value k = graft_permute(b, graft_reshape(b, project(b, p, &m->k), 4, heads), 4, forward); /* [kv, 1, len, h] */
    const graft_value v = graft_permute(b, graft_reshape(b, project(b, p, &m->v), 4, heads), 4, forward);
    const graft_value x = graft_permute(b, graft_reshape(b, q, 4, split), 4, forward); /* [kv, group, tokens, h] */
    const graft_value weight = graft_mul(b, graft_softmax(b, graft_gemm(b, x, k, graft_null_value(), 0, 1, 1.0 / sqrt((double)h))), gate);
    return graft_add(b, o, graft_reshape(b, graft_permute(b, graft_matmul(b, weight, v), 4, back), 2, joined));
}

static graft_status save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err)
{
    const prompt *m = run;
    const graft_writer_api *api = w->api;
    (void)n_sites, (void)sites, (void)err;
    api->text(w, "peft_type", "ADAPTION_PROMPT");
    api->text(w, "task_type", "CAUSAL_LM");
    api->null(w, "auto_mapping");
    api->null(w, "revision");
    api->flag(w, "inference_mode", 1);
    api->integer(w, "adapter_len", m->length);
    api->integer(w, "adapter_layers", m->layers < m->k.layers ? m->layers : m->k.layers);
    api->text(w, "target_modules", "self_attn");
    return GRAFT_OK;
}

static int owns(void *self, const graft_json *saved)
{
    const graft_json *type = graft_json_get(saved, "peft_type");
    (void)self;
    return type && type->type == GRAFT_JSON_TEXT && !strcmp(type->text, "ADAPTION_PROMPT");
}

static const graft_adapter_files files = {.size = sizeof files, .config = "adapter_config.json", .weights = "adapter_model.safetensors", .prefix = "base_model.model."};

static const graft_method_table method_table = {.size = sizeof method_table, .open = open_, .close = close_, .linear = linear, .attention = attention, .files = &files, .save = save, .owns = owns};

GRAFT_ONE_TABLE("method", "graft.method/1", "llama_adapter", "1.0.0", &method_table)
