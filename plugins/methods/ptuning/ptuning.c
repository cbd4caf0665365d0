/* P-tuning: prompt tuning whose embeddings an encoder makes. Liu et al. 2021, arXiv 2103.10385. Files are PEFT's: the encoder's output
 * "prompt_embeddings" [n, d]; the encoder itself is needed only while training. encoder_reparameterization_type:
 *     MLP   Embedding [n, d] -> Linear(hidden) -> relu -> Linear(hidden) -> relu -> Linear(d)
 *     LSTM  Embedding [n, d] -> two-directional LSTM(hidden, encoder_num_layers) -> Linear(2 hidden) -> relu -> Linear(d) */
#include "graft/method.h"
#include "graft/ops.h"
#include "graft/plugin.h"

#include <math.h>
#include <stdio.h>

typedef struct ptuning {
    const graft_host *host;
    int64_t tokens, width, hidden, layers; /* width: of the model last built; hidden 0: width */
    double dropout;
    int lstm, saved;
} ptuning;

static graft_status ptuning_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    const graft_host *host = self;
    const graft_config *c = saved ? saved : args;
    ptuning *m = host->alloc(host->ctx, sizeof *m, _Alignof(ptuning));
    if (!m) return host->fail(err, GRAFT_NO_MEMORY, "ptuning", "no memory for %zu bytes", sizeof *m);
    *m = (ptuning){.host = host, .tokens = graft_dim(c, "num_virtual_tokens", saved ? 0 : 20), .saved = saved != NULL};
    m->hidden = c->api->integer(c, "encoder_hidden_size", 0, 0, INT32_MAX);
    m->layers = c->api->integer(c, "encoder_num_layers", 2, 1, 16);
    m->dropout = graft_real(c, "encoder_dropout", 0.0, 0.0, 0.99);
    const char *type = graft_text(c, "encoder_reparameterization_type", "MLP");
    m->lstm = !strcmp(type, "LSTM");
    if (!m->lstm && strcmp(type, "MLP") != 0) c->api->error(c, "encoder_reparameterization_type", "must be MLP or LSTM");
    if (m->lstm && m->tokens > 512) c->api->error(c, "num_virtual_tokens", "must be at most 512 with an LSTM");
    *run = m;
    return GRAFT_OK;
}

static void ptuning_close(void *run)
{
    const graft_host *host = ((ptuning *)run)->host;
    host->release(host->ctx, run);
}

static graft_value linear(graft_builder *b, graft_value x, const char *name, int64_t out, int64_t in)
{
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "/mlp_head.%s.weight", name);
    snprintf(bias, sizeof bias, "/mlp_head.%s.bias", name);
    const graft_value w = graft_new_param(b, weight, GRAFT_START_KAIMING_UNIFORM, sqrt(5.0), out, in);
    return graft_add(b, graft_matmul_nt(b, x, w), graft_new_param(b, bias, GRAFT_START_NORMAL, 1.0 / sqrt(3.0 * (double)in), out, 0));
}

static graft_value lstm_param(graft_builder *b, const char *what, int64_t layer, int reverse, int64_t hidden, int64_t d0, int64_t d1)
{
    char name[64];
    snprintf(name, sizeof name, "/lstm_head.%s_l%d%s", what, (int)layer, reverse ? "_reverse" : "");
    return graft_new_param(b, name, GRAFT_START_NORMAL, 1.0 / sqrt(3.0 * (double)hidden), d0, d1);
}

/* One direction of one layer: x [n, in] -> [n, h]. Gates in torch's order i, f, g, o; cell = f cell + i g; state = o tanh(cell). Hochreiter & Schmidhuber 1997. */
static graft_value run_lstm(graft_builder *b, graft_value x, int64_t n, int64_t in, int64_t h, int64_t layer, int reverse)
{
    const graft_value wi = lstm_param(b, "weight_ih", layer, reverse, h, 4 * h, in), wh = lstm_param(b, "weight_hh", layer, reverse, h, 4 * h, h);
    const graft_value bias = graft_add(b, lstm_param(b, "bias_ih", layer, reverse, h, 4 * h, 0), lstm_param(b, "bias_hh", layer, reverse, h, 4 * h, 0));
    const graft_value inputs = graft_add(b, graft_matmul_nt(b, x, wi), bias); /* [n, 4h] */
    graft_value state = graft_null_value(), cell = graft_null_value(), all = graft_null_value();
    for (int64_t step = 0; step < n; step++) {
        graft_value z = graft_slice(b, inputs, 0, reverse ? n - 1 - step : step, 1);
        if (state.id) z = graft_add(b, z, graft_matmul_nt(b, state, wh));
        const graft_value i = graft_sigmoid(b, graft_slice(b, z, 1, 0, h)), f = graft_sigmoid(b, graft_slice(b, z, 1, h, h));
        const graft_value g = graft_tanh(b, graft_slice(b, z, 1, 2 * h, h)), o = graft_sigmoid(b, graft_slice(b, z, 1, 3 * h, h));
        const graft_value fresh = graft_mul(b, i, g);
        cell = cell.id ? graft_add(b, graft_mul(b, f, cell), fresh) : fresh;
        state = graft_mul(b, o, graft_tanh(b, cell));
        if (!all.id) all = state;
        else all = reverse ? graft_concat(b, state, all, 0) : graft_concat(b, all, state, 0);
    }
    return all;
}

/* [n, width] */
static graft_value embeddings(const ptuning *m, graft_builder *b)
{
    const int64_t d = m->width, h = m->hidden ? m->hidden : d;
    graft_value x = graft_new_param(b, "/embedding.weight", GRAFT_START_NORMAL, 1.0, m->tokens, d);
    if (m->saved) return x;
    if (!m->lstm) {
        x = graft_relu(b, linear(b, x, "0", h, d));
        return linear(b, graft_relu(b, linear(b, x, "2", h, h)), "4", d, h);
    }
    for (int64_t layer = 0; layer < m->layers; layer++) {
        const int64_t in = layer ? 2 * h : d;
        x = graft_concat(b, run_lstm(b, x, m->tokens, in, h, layer, 0), run_lstm(b, x, m->tokens, in, h, layer, 1), 1);
        if (layer + 1 < m->layers) x = graft_dropout(b, x, m->dropout);
    }
    return linear(b, graft_relu(b, linear(b, x, "0", 2 * h, 2 * h)), "2", d, 2 * h);
}

static graft_value ptuning_input(void *run, graft_builder *b, const graft_site *s)
{
    ptuning *m = run;
    m->width = s->out;
    return embeddings(m, b);
}

static graft_value ptuning_stored(void *run, graft_builder *b, const char **name)
{
    const ptuning *m = run;
    if (m->saved) return graft_null_value();
    *name = "prompt_embeddings";
    return embeddings(m, b);
}

static int ptuning_name(void *run, const char *weight, char *out, size_t room)
{
    if (!((const ptuning *)run)->saved || strcmp(weight, "embedding.weight") != 0 || room < sizeof "prompt_embeddings") return 0;
    memcpy(out, "prompt_embeddings", sizeof "prompt_embeddings");
    return 1;
}

static graft_status ptuning_save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err)
{
    const ptuning *m = run;
    const graft_writer_api *api = w->api;
    (void)n_sites, (void)sites, (void)err;
    api->text(w, "peft_type", "P_TUNING");
    api->text(w, "task_type", "CAUSAL_LM");
    api->null(w, "auto_mapping");
    api->null(w, "revision");
    api->flag(w, "inference_mode", 1);
    api->integer(w, "num_virtual_tokens", m->tokens);
    api->integer(w, "num_transformer_submodules", 1);
    api->integer(w, "token_dim", m->width);
    api->null(w, "num_layers"); /* PEFT takes them from the model */
    api->null(w, "num_attention_heads");
    api->text(w, "encoder_reparameterization_type", m->lstm ? "LSTM" : "MLP");
    api->integer(w, "encoder_hidden_size", m->hidden ? m->hidden : m->width);
    api->integer(w, "encoder_num_layers", m->layers);
    api->number(w, "encoder_dropout", m->dropout);
    return GRAFT_OK;
}

static int ptuning_owns(void *self, const graft_json *saved)
{
    const graft_json *type = graft_json_get(saved, "peft_type");
    (void)self;
    return type && type->type == GRAFT_JSON_TEXT && !strcmp(type->text, "P_TUNING");
}

static const graft_adapter_files ptuning_files = {.size = sizeof ptuning_files, .config = "adapter_config.json", .weights = "adapter_model.safetensors", .prefix = ""};

static const graft_method_table ptuning_table = {.size = sizeof ptuning_table, .open = ptuning_open, .close = ptuning_close, .extend_input = ptuning_input, .files = &ptuning_files, .save = ptuning_save, .owns = ptuning_owns, .file_name = ptuning_name, .stored = ptuning_stored};

GRAFT_ONE_TABLE("method", "graft.method/1", "ptuning", "1.0.0", &ptuning_table)
