/* peft.c - adapter_config.json as PEFT writes it. A saved adapter is continued with its own r, alpha, dropout and targets.
 * What PEFT can say and this method cannot do is refused by name: an adapter read halfway would be another adapter. */
#include "lora.h"

#include <string.h>

/* Absent, null, false, empty or "none": the variant is off. */
static int off(const graft_json *v)
{
    if (!v || v->type == GRAFT_JSON_NULL) return 1;
    if (v->type == GRAFT_JSON_BOOL || v->type == GRAFT_JSON_NUMBER) return v->number == 0.0 && v->integer == 0;
    if (v->type == GRAFT_JSON_TEXT) return !v->bytes || !strcmp(v->text, "none");
    return v->count == 0;
}

graft_status lora_read_saved(lora *m, const graft_config *saved, graft_error *err)
{
    static const char *const variants[] = {"use_dora", "bias", "lora_bias", "modules_to_save", "rank_pattern", "alpha_pattern", "exclude_modules", "fan_in_fan_out", "layer_replication",
                                           "target_parameters", "trainable_token_indices", "alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "kasa_config"};
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        if (!off(saved->api->value(saved, variants[i])))
            return m->host->fail(err, GRAFT_UNSUPPORTED, "adapter_config.json", "this LoRA adapter uses %s, which this method cannot do; merge it with PEFT and use the merged model", variants[i]);
    m->select = saved, m->key = "target_modules", m->saved = 1;
    m->rank = graft_dim(saved, "r", 8);
    m->alpha = graft_real(saved, "lora_alpha", 8.0, 0.0, 1e6);
    m->dropout = graft_real(saved, "lora_dropout", 0.0, 0.0, 0.99);
    m->rslora = graft_flag(saved, "use_rslora", 0);
    m->layers = saved->api->value(saved, "layers_to_transform");
    if (m->layers && m->layers->type != GRAFT_JSON_ARRAY) saved->api->error(saved, "layers_to_transform", "must be a list of layer numbers");
    return GRAFT_OK;
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

/* Next name of "q_proj, v_proj"; NULL at the end. */
static const char *next_name(const char *at, size_t *bytes)
{
    at += strspn(at, ", ");
    *bytes = strcspn(at, ", ");
    return *bytes ? at : NULL;
}

/* The user's own word for the site, when it is a tail of its path: PEFT understands these as we do. */
static const char *word_for(const graft_json *target, const char *path, size_t *bytes)
{
    for (const graft_json *v = target->type == GRAFT_JSON_ARRAY ? target->child : target; v; v = target->type == GRAFT_JSON_ARRAY ? v->next : NULL) {
        if (v->type != GRAFT_JSON_TEXT) continue;
        for (const char *at = next_name(v->text, bytes); at; at = next_name(at + *bytes, bytes)) {
            const char *dot = strrchr(path, '.');
            if ((*bytes == 3 && !strncmp(at, "all", 3)) || (*bytes == 10 && !strncmp(at, "all-linear", 10))) {
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
        words = words && word_for(target, sites[i], &bytes);
        room += strlen(sites[i]) + 1;
    }
    const char **names = host->alloc(host->ctx, ((size_t)n + 1) * sizeof *names, sizeof(char *));
    char *text = host->alloc(host->ctx, room, 1);
    int32_t count = 0;
    for (int32_t i = 0; names && text && i < n; i++) {
        const char *name = words ? word_for(target, sites[i], &bytes) : sites[i];
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

graft_status lora_save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err)
{
    static const graft_json empty = {.type = GRAFT_JSON_OBJECT};
    const lora *m = run;
    const graft_writer_api *api = w->api;
    api->text(w, "peft_type", "LORA");
    api->text(w, "task_type", "CAUSAL_LM");
    api->null(w, "auto_mapping");
    api->null(w, "revision");
    api->flag(w, "inference_mode", 1);
    api->integer(w, "r", m->rank);
    if (m->alpha == (double)(int64_t)m->alpha) api->integer(w, "lora_alpha", (int64_t)m->alpha);
    else api->number(w, "lora_alpha", m->alpha);
    api->number(w, "lora_dropout", m->dropout);
    api->flag(w, "use_rslora", m->rslora);
    api->flag(w, "use_dora", 0);
    api->flag(w, "lora_bias", 0);
    api->text(w, "bias", "none");
    api->flag(w, "fan_in_fan_out", 0);
    api->flag(w, "init_lora_weights", 1);
    api->null(w, "modules_to_save");
    api->null(w, "exclude_modules");
    if (m->layers) api->value(w, "layers_to_transform", m->layers);
    else api->null(w, "layers_to_transform");
    api->null(w, "layers_pattern");
    api->value(w, "rank_pattern", &empty);
    api->value(w, "alpha_pattern", &empty);
    api->value(w, "loftq_config", &empty);
    if (m->saved && m->select->api->value(m->select, m->key)) api->value(w, "target_modules", m->select->api->value(m->select, m->key));
    else return write_targets(m, w, n_sites, sites, err);
    return GRAFT_OK;
}
