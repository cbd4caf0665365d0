/* peft.c - adapter_config.json as PEFT writes it. A saved adapter is continued with its own r, alpha, dropout and targets.
 * What PEFT can say and this method cannot do is refused by name: an adapter read halfway would be another adapter. */
#include "lora.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Absent, null, false, empty or "none": the variant is off. */
static int off(const graft_json *v)
{
    if (!v || v->type == GRAFT_JSON_NULL) return 1;
    if (v->type == GRAFT_JSON_BOOL || v->type == GRAFT_JSON_NUMBER) return v->number == 0.0 && v->integer == 0;
    if (v->type == GRAFT_JSON_TEXT) return !v->bytes || !strcmp(v->text, "none");
    return v->count == 0;
}

const char *lora_next_name(const char *at, size_t *bytes)
{
    at += strspn(at, ", ");
    *bytes = strcspn(at, ", ");
    return *bytes ? at : NULL;
}

static const graft_json *list_of(const graft_config *c, const char *key)
{
    const graft_json *v = c->api->value(c, key);
    if (off(v)) return NULL;
    if (v->type != GRAFT_JSON_ARRAY && v->type != GRAFT_JSON_TEXT) c->api->error(c, key, "must be a list of module names, as [embed_tokens, lm_head]");
    return v;
}

static const graft_json *patterns_of(const graft_config *c, const char *key)
{
    const graft_json *v = c->api->value(c, key);
    if (off(v)) return NULL;
    if (v->type != GRAFT_JSON_OBJECT) c->api->error(c, key, "must be a mapping from patterns of module names to numbers");
    return v->type == GRAFT_JSON_OBJECT ? v : NULL;
}

static void read_bias(lora *m, const graft_config *c, const char *key)
{
    const char *bias = graft_text(c, key, "none");
    m->bias = !strcmp(bias, "all") ? LORA_BIAS_ALL : !strcmp(bias, "lora_only") ? LORA_BIAS_OWN
                                                                                : LORA_BIAS_NONE;
    if (!m->bias && strcmp(bias, "none") != 0) c->api->error(c, key, "must be none, all or lora_only");
}

/* init_lora_weights: true, false, gaussian, pissa, pissa_niter_16, olora. */
static void read_init(lora *m, const graft_config *c)
{
    const graft_json *v = c->api->value(c, "init_lora_weights");
    if (!v || v->type == GRAFT_JSON_NULL) return;
    const char *text = v->type == GRAFT_JSON_TEXT ? v->text : v->integer ? "true"
                                                                         : "false";
    if (!strcmp(text, "true") || !strcmp(text, "default")) m->init = LORA_INIT_KAIMING;
    else if (!strcmp(text, "false")) m->init = LORA_INIT_BOTH;
    else if (!strcmp(text, "gaussian")) m->init = LORA_INIT_GAUSSIAN;
    else if (!strcmp(text, "olora")) m->init = LORA_INIT_OLORA;
    else if (!strncmp(text, "pissa", 5)) {
        m->init = LORA_INIT_PISSA;
        m->iterations = 0;
        for (const char *at = strrchr(text, '_'); at && *++at >= '0' && *at <= '9' && m->iterations < 1000;) m->iterations = 10 * m->iterations + (*at - '0');
    } else c->api->error(c, "init_lora_weights", "must be true, false, gaussian, pissa, pissa_niter_N or olora");
}

graft_status lora_read(lora *m, const graft_config *c, graft_error *err)
{
    static const char *const unknown[] = {"layer_replication", "trainable_token_indices", "alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "kasa_config", "eva_config", "corda_config", "lora_ga_config", "velora_config", "monteclora_config"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        if (!off(c->api->value(c, unknown[i])))
            return m->host->fail(err, GRAFT_UNSUPPORTED, m->saved ? "adapter_config.json" : unknown[i], "this LoRA uses %s, which this method cannot do; merge it with PEFT and use the merged model", unknown[i]);
    m->dropout = graft_real(c, "lora_dropout", 0.0, 0.0, 0.99);
    m->rslora = graft_flag(c, "use_rslora", 0);
    m->dora = graft_flag(c, "use_dora", 0);
    m->layers = c->api->value(c, "layers_to_transform");
    if (off(m->layers) && !(m->layers && m->layers->integral)) m->layers = NULL;
    if (m->layers && m->layers->type != GRAFT_JSON_ARRAY && m->layers->type != GRAFT_JSON_TEXT && !m->layers->integral) c->api->error(c, "layers_to_transform", "must be a list of layer numbers, or ranges such as 0-3,8");
    if (m->layers && m->layers->type == GRAFT_JSON_TEXT && strspn(m->layers->text, "0123456789-, ") != m->layers->bytes) c->api->error(c, "layers_to_transform", "must be a list of layer numbers, or ranges such as 0-3,8");
    m->ranks = patterns_of(c, "rank_pattern");
    m->alphas = patterns_of(c, "alpha_pattern");
    m->whole = list_of(c, "modules_to_save");
    m->fused = list_of(c, "target_parameters");
    m->excludes = !off(c->api->value(c, "exclude_modules"));
    read_init(m, c);
    if (m->saved) return GRAFT_OK;
    read_bias(m, c, "lora_bias");
    if (!m->whole) m->whole = list_of(c, "additional_target");
    if (graft_flag(c, "pissa_init", 0)) {
        m->init = LORA_INIT_PISSA;
        m->iterations = c->api->integer(c, "pissa_iter", 16, -1, 1000);
        if (m->iterations < 0) m->iterations = 0;
    }
    m->convert = graft_flag(c, "pissa_convert", 0) && m->init == LORA_INIT_PISSA;
    if (m->convert && (m->ranks || m->alphas)) c->api->error(c, "pissa_convert", "cannot be with rank_pattern or alpha_pattern: leave one of them out");
    if (m->convert && graft_real(c, "weight_decay", 0.0, 0.0, 1e6) > 0.0) c->api->error(c, "pissa_convert", "keeps half of the adapter as it began, which weight_decay would shrink: leave one of them out");
    return GRAFT_OK;
}

graft_status lora_read_saved(lora *m, const graft_config *saved, graft_error *err)
{
    m->select = saved, m->key = "target_modules", m->saved = 1;
    m->rank = graft_dim(saved, "r", 8);
    m->alpha = graft_real(saved, "lora_alpha", 8.0, 0.0, 1e6);
    read_bias(m, saved, "bias");
    m->output_bias = graft_flag(saved, "lora_bias", 0);
    if (m->output_bias && graft_flag(saved, "use_dora", 0)) return m->host->fail(err, GRAFT_UNSUPPORTED, "adapter_config.json", "lora_bias and use_dora exclude each other");
    return lora_read(m, saved, err);
}

int lora_owns(void *self, const graft_json *saved)
{
    (void)self;
    const graft_json *type = graft_json_get(saved, "peft_type");
    return type && type->type == GRAFT_JSON_TEXT && !strcmp(type->text, "LORA");
}

static int is_tail(const char *path, const char *name, size_t bytes)
{
    const size_t n = strlen(path);
    return n >= bytes && !strncmp(path + n - bytes, name, bytes) && (n == bytes || path[n - bytes - 1] == '.');
}

/* The user's own word for the site, when it is a tail of its path: PEFT understands these as we do. */
static const char *word_for(const lora *m, const graft_json *target, const char *path, size_t *bytes)
{
    for (const graft_json *v = target->type == GRAFT_JSON_ARRAY ? target->child : target; v; v = target->type == GRAFT_JSON_ARRAY ? v->next : NULL) {
        if (v->type != GRAFT_JSON_TEXT) continue;
        for (const char *at = lora_next_name(v->text, bytes); at; at = lora_next_name(at + *bytes, bytes)) {
            const char *dot = strrchr(path, '.');
            if ((*bytes == 3 && !strncmp(at, "all", 3)) || (*bytes == 10 && !strncmp(at, "all-linear", 10))) {
                if (m->spared) dot = NULL;
                *bytes = strlen(dot ? dot + 1 : path);
                return dot ? dot + 1 : path;
            }
            if (is_tail(path, at, *bytes)) return at;
        }
    }
    return NULL;
}

/* Names that choose the same sites under PEFT's rule (equal, or ends with "." + name): the user's words, or whole paths where roles or patterns chose. */
static graft_status write_targets(const lora *m, graft_writer *w, int32_t n, const char *const *sites, graft_error *err)
{
    static const graft_json all = {.type = GRAFT_JSON_TEXT, .text = "all", .bytes = 3};
    const graft_json *target = m->select->api->value(m->select, m->key);
    if (!target) target = &all;
    const graft_host *host = m->host;
    size_t bytes = 0, room = 1, used = 0;
    int words = 1;
    for (int32_t i = 0; i < n; i++) {
        words = words && (lora_fused_site(m, sites[i]) || word_for(m, target, sites[i], &bytes));
        room += strlen(sites[i]) + 1;
    }
    const char **names = host->alloc(host->ctx, ((size_t)n + 1) * sizeof *names, sizeof(char *));
    char *text = host->alloc(host->ctx, room, 1);
    int32_t count = 0;
    for (int32_t i = 0; names && text && i < n; i++) {
        if (lora_fused_site(m, sites[i])) continue; /* target_parameters says it */
        const char *name = words ? word_for(m, target, sites[i], &bytes) : sites[i];
        if (!words) bytes = strlen(name);
        int known = 0;
        for (int32_t k = 0; k < count; k++) known |= strlen(names[k]) == bytes && !strncmp(names[k], name, bytes);
        if (known) continue;
        names[count++] = memcpy(text + used, name, bytes);
        text[used + bytes] = '\0';
        used += bytes + 1;
    }
    if (names && text) w->api->texts(w, "target_modules", count, names);
    const graft_status status = names && text ? GRAFT_OK : host->fail(err, GRAFT_NO_MEMORY, "lora", "no memory for the names of %d sites", (int)n);
    host->release(host->ctx, names);
    host->release(host->ctx, text);
    return status;
}

static void write_value(graft_writer *w, const char *key, const graft_json *v)
{
    if (v) w->api->value(w, key, v);
    else w->api->null(w, key);
}

/* Names in one text become a list. */
static void write_names(const lora *m, graft_writer *w, const char *key, const graft_json *v)
{
    const char *names[64];
    int32_t n = 0;
    size_t bytes = 0;
    if (!v || v->type != GRAFT_JSON_TEXT) {
        write_value(w, key, v);
        return;
    }
    char *text = m->host->alloc(m->host->ctx, v->bytes + 1, 1);
    if (!text) return;
    memcpy(text, v->text, v->bytes + 1);
    for (const char *at = lora_next_name(text, &bytes); at && n < 64; at = lora_next_name(at + bytes, &bytes)) names[n++] = at;
    for (int32_t i = 0; i < n; i++) text[(size_t)(names[i] - text) + strcspn(names[i], ", ")] = '\0';
    w->api->texts(w, key, n, names);
    m->host->release(m->host->ctx, text);
}

/* Numbers, as PEFT has them, also of ranges. */
static void write_layers(const lora *m, graft_writer *w, int32_t n_sites, const char *const *sites)
{
    enum { MOST = 512 };
    static const char digits[] = "0123456789";
    graft_json numbers[MOST + 1] = {{.type = GRAFT_JSON_ARRAY}};
    int32_t n = 0;
    if (!m->layers || m->layers->type != GRAFT_JSON_TEXT) {
        write_value(w, "layers_to_transform", m->layers);
        return;
    }
    for (int32_t i = 0; i < n_sites; i++) {
        const char *at = strpbrk(sites[i], digits);
        int64_t layer = 0;
        int known = !at;
        for (; at && *at >= '0' && *at <= '9' && layer < INT32_MAX; at++) layer = 10 * layer + (*at - '0');
        for (int32_t k = 1; k <= n; k++) known |= numbers[k].integer == layer;
        if (known || n == MOST) continue;
        n++;
        numbers[n] = (graft_json){.type = GRAFT_JSON_NUMBER, .integral = 1, .integer = layer, .number = (double)layer};
        if (n > 1) numbers[n - 1].next = &numbers[n];
    }
    numbers[0].count = n, numbers[0].child = n ? &numbers[1] : NULL;
    w->api->value(w, "layers_to_transform", &numbers[0]);
}

static void write_init(const lora *m, graft_writer *w)
{
    char text[32] = "pissa";
    if (m->init == LORA_INIT_PISSA && m->iterations) snprintf(text, sizeof text, "pissa_niter_%d", (int)m->iterations);
    if (m->convert) w->api->flag(w, "init_lora_weights", 1); /* an ordinary LoRA of the base as it is */
    else if (m->init == LORA_INIT_PISSA) w->api->text(w, "init_lora_weights", text);
    else if (m->init == LORA_INIT_OLORA) w->api->text(w, "init_lora_weights", "olora");
    else if (m->init == LORA_INIT_GAUSSIAN) w->api->text(w, "init_lora_weights", "gaussian");
    else w->api->flag(w, "init_lora_weights", m->init != LORA_INIT_BOTH);
}

graft_status lora_save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err)
{
    static const graft_json empty = {.type = GRAFT_JSON_OBJECT};
    static const char *const bias[] = {"none", "all", "lora_only"};
    const lora *m = run;
    const graft_writer_api *api = w->api;
    api->text(w, "peft_type", "LORA");
    api->text(w, "task_type", "CAUSAL_LM");
    api->null(w, "auto_mapping");
    api->null(w, "revision");
    api->flag(w, "inference_mode", 1);
    const double alpha = m->convert ? m->alpha * (m->rslora ? sqrt(2.0) : 2.0) : m->alpha; /* the scale stays */
    api->integer(w, "r", m->convert ? 2 * m->rank : m->rank);
    if (alpha == (double)(int64_t)alpha) api->integer(w, "lora_alpha", (int64_t)alpha);
    else api->number(w, "lora_alpha", alpha);
    api->number(w, "lora_dropout", m->dropout);
    api->flag(w, "use_rslora", m->rslora);
    api->flag(w, "use_dora", m->dora);
    api->flag(w, "lora_bias", m->output_bias);
    api->text(w, "bias", bias[m->bias]);
    api->flag(w, "fan_in_fan_out", 0);
    write_init(m, w);
    write_names(m, w, "modules_to_save", m->whole);
    write_names(m, w, "exclude_modules", m->excludes ? m->select->api->value(m->select, "exclude_modules") : NULL);
    write_names(m, w, "target_parameters", m->fused);
    write_layers(m, w, n_sites, sites);
    api->null(w, "layers_pattern");
    api->value(w, "rank_pattern", m->ranks ? m->ranks : &empty);
    api->value(w, "alpha_pattern", m->alphas ? m->alphas : &empty);
    api->value(w, "loftq_config", &empty);
    if (m->saved && m->select->api->value(m->select, m->key)) api->value(w, "target_modules", m->select->api->value(m->select, m->key));
    else return write_targets(m, w, n_sites, sites, err);
    return GRAFT_OK;
}
