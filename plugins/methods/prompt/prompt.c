/* Prompt tuning: n learned embeddings stand before each sequence, at positions 0 .. n - 1. Lester, Al-Rfou & Constant 2021, arXiv 2104.08691.
 * Files are PEFT's: one tensor "prompt_embeddings" [n, d]. prompt_tuning_init:
 *     RANDOM        N(0, 1)
 *     TEXT          embeddings of the tokens of prompt_tuning_init_text, cut to n or repeated
 *     SAMPLE_VOCAB  embeddings of n tokens drawn from the vocabulary */
#include "graft/method.h"
#include "graft/ops.h"
#include "graft/plugin.h"
#include "graft/random.h"

#include <stdio.h>

typedef struct prompt {
    const graft_host *host;
    int64_t tokens, width, vocab; /* width, vocab: of the model last built */
    const char *init, *text;
    char table[512]; /* the embedding's name */
    int saved;
} prompt;

static graft_status prompt_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    const graft_host *host = self;
    const graft_config *c = saved ? saved : args;
    prompt *m = host->alloc(host->ctx, sizeof *m, _Alignof(prompt));
    if (!m) return host->fail(err, GRAFT_NO_MEMORY, "prompt", "no memory for %zu bytes", sizeof *m);
    *m = (prompt){.host = host, .tokens = graft_dim(c, "num_virtual_tokens", saved ? 0 : 20), .saved = saved != NULL};
    m->text = graft_text(c, "prompt_tuning_init_text", NULL);
    m->init = graft_text(c, "prompt_tuning_init", m->text ? "TEXT" : "RANDOM");
    if (strcmp(m->init, "RANDOM") && strcmp(m->init, "TEXT") && strcmp(m->init, "SAMPLE_VOCAB")) c->api->error(c, "prompt_tuning_init", "must be RANDOM, TEXT or SAMPLE_VOCAB");
    if (!saved && !strcmp(m->init, "TEXT") && !(m->text && *m->text)) c->api->error(c, "prompt_tuning_init_text", "must be given when prompt_tuning_init is TEXT");
    *run = m;
    return GRAFT_OK;
}

static void prompt_close(void *run)
{
    const graft_host *host = ((prompt *)run)->host;
    host->release(host->ctx, run);
}

static graft_value prompt_input(void *run, graft_builder *b, const graft_site *s)
{
    prompt *m = run;
    m->width = s->out, m->vocab = s->in;
    snprintf(m->table, sizeof m->table, "%s.weight", s->path);
    return graft_new_param(b, "/embedding.weight", GRAFT_START_NORMAL, 1.0, m->tokens, s->out);
}

/* The ids whose embeddings are copied. */
static graft_status choose(const prompt *m, graft_tensors *t, int32_t *ids, graft_error *err)
{
    int64_t n = m->tokens;
    if (!strcmp(m->init, "TEXT")) {
        const graft_status status = t->api->tokens(t, m->text, m->tokens, ids, &n, err);
        if (status) return status;
        if (!n) return m->host->fail(err, GRAFT_BAD_INPUT, "prompt_tuning_init_text", "the text has no token");
    } else {
        for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)(graft_random_u32(t->seed, graft_op_id("prompt"), 0, (uint64_t)i) % (uint64_t)m->vocab);
    }
    for (int64_t i = n; i < m->tokens; i++) ids[i] = ids[i % n];
    return GRAFT_OK;
}

static graft_status prompt_start(void *run, graft_tensors *t, graft_error *err)
{
    const prompt *m = run;
    const graft_host *h = m->host;
    if (m->saved || !strcmp(m->init, "RANDOM") || !m->width) return GRAFT_OK;
    float *table = h->alloc(h->ctx, (size_t)(m->vocab * m->width) * sizeof *table, sizeof *table), *out = h->alloc(h->ctx, (size_t)(m->tokens * m->width) * sizeof *out, sizeof *out);
    int32_t *ids = h->alloc(h->ctx, (size_t)m->tokens * sizeof *ids, sizeof *ids);
    graft_status status = table && out && ids ? choose(m, t, ids, err) : h->fail(err, GRAFT_NO_MEMORY, "prompt", "no memory to copy embeddings");
    if (!status) status = t->api->read(t, m->table, m->vocab * m->width, table, err);
    for (int64_t i = 0; !status && i < m->tokens; i++) {
        if (ids[i] < 0 || ids[i] >= m->vocab) status = h->fail(err, GRAFT_BAD_INPUT, "prompt_tuning_init_text", "token %d of the tokenizer is not in the model's vocabulary of %lld", (int)ids[i], (long long)m->vocab);
        else memcpy(out + i * m->width, table + ids[i] * m->width, (size_t)m->width * sizeof *out);
    }
    if (!status) status = t->api->write(t, "embedding.weight", m->tokens * m->width, out, err);
    h->release(h->ctx, table);
    h->release(h->ctx, out);
    h->release(h->ctx, ids);
    return status;
}

static int prompt_name(void *run, const char *weight, char *out, size_t room)
{
    (void)run;
    if (strcmp(weight, "embedding.weight") != 0 || room < sizeof "prompt_embeddings") return 0;
    memcpy(out, "prompt_embeddings", sizeof "prompt_embeddings");
    return 1;
}

static graft_status prompt_save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err)
{
    const prompt *m = run;
    const graft_writer_api *api = w->api;
    (void)n_sites, (void)sites, (void)err;
    api->text(w, "peft_type", "PROMPT_TUNING");
    api->text(w, "task_type", "CAUSAL_LM");
    api->null(w, "auto_mapping");
    api->null(w, "revision");
    api->flag(w, "inference_mode", 1);
    api->integer(w, "num_virtual_tokens", m->tokens);
    api->integer(w, "num_transformer_submodules", 1);
    api->integer(w, "token_dim", m->width);
    api->null(w, "num_layers"); /* PEFT takes them from the model */
    api->null(w, "num_attention_heads");
    api->text(w, "prompt_tuning_init", "RANDOM"); /* how it began does not matter any more, and PEFT would ask for a tokenizer */
    api->null(w, "prompt_tuning_init_text");
    api->null(w, "tokenizer_name_or_path");
    return GRAFT_OK;
}

static int prompt_owns(void *self, const graft_json *saved)
{
    const graft_json *type = graft_json_get(saved, "peft_type");
    (void)self;
    return type && type->type == GRAFT_JSON_TEXT && !strcmp(type->text, "PROMPT_TUNING");
}

static const graft_adapter_files prompt_files = {.size = sizeof prompt_files, .config = "adapter_config.json", .weights = "adapter_model.safetensors", .prefix = ""};

static const graft_method_table prompt_table = {.size = sizeof prompt_table, .open = prompt_open, .close = prompt_close, .extend_input = prompt_input, .files = &prompt_files, .save = prompt_save, .owns = prompt_owns, .start = prompt_start, .file_name = prompt_name};

GRAFT_ONE_TABLE("method", "graft.method/1", "prompt", "1.0.0", &prompt_table)
