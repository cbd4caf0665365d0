/* Prefix tuning: learned keys and values stand before those of the tokens in every attention. Li & Liang 2021, arXiv 2101.00190; with all layers and no
 * head it is P-tuning v2, Liu et al. 2021, arXiv 2110.07602. Files are PEFT's: one tensor "prompt_embeddings" [n, 2 L kv h], for each virtual token the
 * keys and values of layer 0, 1 ..; keys are not rotated, and the first real token has position n. With prefix_projection an encoder
 *     Embedding [n, d] -> Linear -> tanh -> Linear
 * makes that tensor while training and only its output is stored. */
#include "graft/method.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>

typedef struct prefix {
    const graft_host *host;
    int64_t tokens, hidden;       /* virtual tokens; the encoder's inner width, 0: as wide as a key */
    int64_t width, heads, layers; /* kv * h, kv, blocks: of the model last built */
    int projection, saved, zero;
} prefix;

static graft_status prefix_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    const graft_host *host = self;
    const graft_config *c = saved ? saved : args;
    prefix *m = host->alloc(host->ctx, sizeof *m, _Alignof(prefix));
    if (!m) return host->fail(err, GRAFT_NO_MEMORY, "prefix", "no memory for %zu bytes", sizeof *m);
    *m = (prefix){.host = host, .tokens = graft_dim(c, "num_virtual_tokens", saved ? 0 : 20), .saved = saved != NULL};
    m->hidden = c->api->integer(c, "encoder_hidden_size", 0, 0, INT32_MAX);
    m->projection = graft_flag(c, "prefix_projection", 0);
    m->zero = !strcmp(graft_text(c, "init_weights", ""), "zero");
    if (saved) m->layers = graft_dim(saved, "num_layers", 0), m->width = graft_dim(saved, "token_dim", 0), m->heads = graft_dim(saved, "num_attention_heads", 1);
    *run = m;
    return GRAFT_OK;
}

static void prefix_close(void *run)
{
    const graft_host *host = ((prefix *)run)->host;
    host->release(host->ctx, run);
}

static graft_value linear(graft_builder *b, graft_value x, const char *weight, const char *bias, int64_t out, int64_t in, int zero)
{
    const double fan = 1.0 / sqrt(3.0); /* torch's bias: U(-1/sqrt(in), 1/sqrt(in)) becomes a normal of the same deviation */
    const graft_value w = graft_new_param(b, weight, zero ? GRAFT_START_ZERO : GRAFT_START_KAIMING_UNIFORM, sqrt(5.0), out, in);
    return graft_add(b, graft_matmul_nt(b, x, w), graft_new_param(b, bias, zero ? GRAFT_START_ZERO : GRAFT_START_NORMAL, fan / sqrt((double)in), out, 0));
}

/* [tokens, 2 L width]; the parameters belong to the whole model. */
static graft_value prefix_values(const prefix *m, graft_builder *b)
{
    const int64_t all = 2 * m->layers * m->width, hidden = m->hidden ? m->hidden : m->width;
    if (!m->projection || m->saved) return graft_new_param(b, "/embedding.weight", m->zero ? GRAFT_START_ZERO : GRAFT_START_NORMAL, 1.0, m->tokens, all);
    const graft_value e = graft_new_param(b, "/embedding.weight", GRAFT_START_NORMAL, 1.0, m->tokens, m->width);
    const graft_value z = graft_tanh(b, linear(b, e, "/transform.0.weight", "/transform.0.bias", hidden, m->width, 0));
    return linear(b, z, "/transform.2.weight", "/transform.2.bias", all, hidden, m->zero);
}

static void prefix_kv(void *run, graft_builder *b, const graft_site *s, graft_value *k, graft_value *v)
{
    prefix *m = run;
    const int64_t width = s->in * s->out;
    if (!m->width) m->width = width, m->heads = s->in, m->layers = s->layers;
    if (m->width != width || m->layers != s->layers || s->layer < 0) {
        b->api->error(b, "prefix tuning needs %lld layers with keys of width %lld, found layer %d of %d with width %lld; the prefix was made for another model, or its layers differ", (long long)m->layers, (long long)m->width, (int)s->layer, (int)s->layers, (long long)width);
        return;
    }
    const graft_value all = prefix_values(m, b);
    *k = graft_slice(b, all, 1, 2 * s->layer * width, width);
    *v = graft_slice(b, all, 1, (2 * s->layer + 1) * width, width);
}

static int64_t prefix_offset(void *run) { return ((const prefix *)run)->tokens; }

/* Without an encoder the parameter itself is PEFT's tensor. */
static int prefix_name(void *run, const char *weight, char *out, size_t room)
{
    const prefix *m = run;
    if ((m->projection && !m->saved) || strcmp(weight, "embedding.weight") != 0 || room < sizeof "prompt_embeddings") return 0;
    memcpy(out, "prompt_embeddings", sizeof "prompt_embeddings");
    return 1;
}

static graft_value prefix_stored(void *run, graft_builder *b, const char **name)
{
    const prefix *m = run;
    if (!m->projection || m->saved) return graft_null_value();
    *name = "prompt_embeddings";
    return prefix_values(m, b);
}

static graft_status prefix_save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err)
{
    const prefix *m = run;
    const graft_writer_api *api = w->api;
    (void)n_sites, (void)sites, (void)err;
    api->text(w, "peft_type", "PREFIX_TUNING");
    api->text(w, "task_type", "CAUSAL_LM");
    api->null(w, "auto_mapping");
    api->null(w, "revision");
    api->flag(w, "inference_mode", 1);
    api->integer(w, "num_virtual_tokens", m->tokens);
    api->integer(w, "num_transformer_submodules", 1);
    api->integer(w, "num_layers", m->layers);
    api->integer(w, "token_dim", m->width);
    api->integer(w, "num_attention_heads", m->heads);
    api->integer(w, "encoder_hidden_size", m->hidden ? m->hidden : m->width);
    api->flag(w, "prefix_projection", m->projection);
    return GRAFT_OK;
}

static int prefix_owns(void *self, const graft_json *saved)
{
    const graft_json *type = graft_json_get(saved, "peft_type");
    (void)self;
    return type && type->type == GRAFT_JSON_TEXT && !strcmp(type->text, "PREFIX_TUNING");
}

static const graft_adapter_files prefix_files = {.size = sizeof prefix_files, .config = "adapter_config.json", .weights = "adapter_model.safetensors", .prefix = ""};

static const graft_method_table prefix_table = {.size = sizeof prefix_table, .open = prefix_open, .close = prefix_close, .extend_kv = prefix_kv, .offset = prefix_offset, .files = &prefix_files, .save = prefix_save, .owns = prefix_owns, .file_name = prefix_name, .stored = prefix_stored};

GRAFT_ONE_TABLE("method", "graft.method/1", "prefix", "1.0.0", &prefix_table)
