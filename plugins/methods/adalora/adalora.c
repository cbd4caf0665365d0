/* AdaLoRA's parametrisation: y = W x + alpha/r * B diag(E) A x, an SVD-like update whose singular values E are parameters; A and B are kept near
 * orthonormal by a penalty on the loss: orth_reg_weight times the mean over all A and B of the Frobenius norm of A A^T - I (B^T B - I).
 * Zhang et al. 2023, arXiv 2303.10512. Files are PEFT's. E begins at zero, so step zero equals the base model.
 * A saved adapter whose ranks were pruned (rank_pattern) is read with the rank that each module kept; the scale is still init_r's, as in PEFT.
 * With target_r below init_r ranks are taken away while training: allocate.c. */
#include "adalora.h"

#include "graft/ops.h"

#include <string.h>

static void release(adalora *m)
{
    const graft_host *host = m->host;
    for (size_t i = 0; i < m->n_sites; i++) host->release(host->ctx, m->sites[i].path), host->release(host->ctx, m->sites[i].mask);
    host->release(host->ctx, m->sites);
    host->release(host->ctx, m);
}

/* When ranks go from some sites, and how many. */
static void read_schedule(adalora *m, const graft_config *args)
{
    m->target = args->api->integer(args, "target_r", m->rank, 1, INT32_MAX);
    m->tinit = args->api->integer(args, "tinit", 0, 0, INT32_MAX);
    m->tfinal = args->api->integer(args, "tfinal", 0, 0, INT32_MAX);
    m->every = graft_dim(args, "deltaT", 1);
    m->beta1 = graft_real(args, "beta1", 0.85, 0.0, 1.0);
    m->beta2 = graft_real(args, "beta2", 0.85, 0.0, 1.0);
    if (m->target > m->rank) args->api->error(args, "target_r", "must be at most init_r: ranks are taken away, not added");
    const int64_t steps = args->api->value(args, "max_steps") ? args->api->integer(args, "max_steps", -1, -1, INT64_MAX) : -1;
    if (m->target < m->rank && steps > 0 && m->tinit >= steps - m->tfinal) args->api->error(args, "tinit", "with tfinal leaves no update of max_steps in which ranks could be taken away");
}

static graft_status adalora_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    const graft_host *host = self;
    const graft_config *c = saved ? saved : args;
    adalora *m = host->alloc(host->ctx, sizeof *m, _Alignof(adalora));
    if (!m) return host->fail(err, GRAFT_NO_MEMORY, "adalora", "no memory for %zu bytes", sizeof *m);
    *m = (adalora){.host = host, .select = c, .key = saved ? "target_modules" : "lora_target"};
    m->rank = saved ? graft_dim(saved, "init_r", 12) : graft_dim(args, "init_r", graft_dim(args, "lora_rank", 12));
    m->alpha = graft_real(c, "lora_alpha", saved ? 8.0 : 2.0 * (double)m->rank, 0.0, 1e6);
    m->dropout = graft_real(c, "lora_dropout", 0.0, 0.0, 0.99);
    m->penalty = graft_real(c, "orth_reg_weight", 0.5, 0.0, 1e6);
    if (saved) m->saved_targets = saved->api->value(saved, "target_modules");
    m->target = m->rank, m->every = 1, m->beta1 = m->beta2 = 0.85;
    if (!saved) read_schedule(m, args);
    m->ranks = saved ? c->api->value(c, "rank_pattern") : NULL;
    if (m->ranks && m->ranks->type != GRAFT_JSON_OBJECT) m->ranks = NULL;
    graft_status status = GRAFT_OK;
    if (graft_flag(c, "use_dora", 0) || c->api->value(c, "modules_to_save")) status = host->fail(err, GRAFT_UNSUPPORTED, "adapter_config.json", "this AdaLoRA adapter uses use_dora or modules_to_save, which this method cannot do");
    if (status) release(m);
    else *run = m;
    return status;
}

static void adalora_close(void *run) { release(run); }

/* ---- sites: the same in every graph -------------------------------------------------------------------------------------------------- */

const adalora_site *adalora_find(const adalora *m, const char *path, size_t bytes)
{
    for (size_t i = 0; i < m->n_sites; i++)
        if (strlen(m->sites[i].path) == bytes && !strncmp(m->sites[i].path, path, bytes)) return &m->sites[i];
    return NULL;
}

static int make_room(adalora *m)
{
    const graft_host *host = m->host;
    if (m->n_sites < m->room) return 0;
    const size_t room = m->room ? 2 * m->room : 64;
    adalora_site *more = host->alloc(host->ctx, room * sizeof *more, _Alignof(adalora_site));
    if (!more) return -1;
    if (m->n_sites) memcpy(more, m->sites, m->n_sites * sizeof *more);
    host->release(host->ctx, m->sites);
    m->sites = more, m->room = room;
    return 0;
}

void adalora_remember(adalora *m, graft_builder *b, const graft_site *s, int64_t rank)
{
    const graft_host *host = m->host;
    const size_t bytes = strlen(s->path);
    if (adalora_find(m, s->path, bytes)) return;
    char *path = host->alloc(host->ctx, bytes + 1, 1);
    uint8_t *mask = host->alloc(host->ctx, (size_t)rank, 1);
    if (!path || !mask || make_room(m)) {
        host->release(host->ctx, path);
        host->release(host->ctx, mask);
        b->api->error(b, "no memory to remember the sites of AdaLoRA");
        return;
    }
    memcpy(path, s->path, bytes + 1);
    memset(mask, 1, (size_t)rank);
    m->sites[m->n_sites++] = (adalora_site){path, rank, s->in, s->out, mask};
}

typedef struct factors {
    graft_value a, e, b; /* [r, in], [r, 1], [out, r] */
} factors;

/* Ranks that the site kept. */
static int64_t rank_at(const adalora *m, const graft_site *s)
{
    static const char tail[] = ".lora_E";
    const size_t n = strlen(s->path);
    for (const graft_json *v = m->ranks ? m->ranks->child : NULL; v; v = v->next) {
        const size_t k = strlen(v->key);
        const char *at = k >= n + sizeof tail - 1 ? v->key + k - (sizeof tail - 1) - n : NULL;
        if (!at || strncmp(at, s->path, n) != 0 || strcmp(at + n, tail) != 0 || (at != v->key && at[-1] != '.')) continue;
        int64_t rank = 0;
        for (const graft_json *kept = v->child; kept; kept = kept->next) rank += kept->type == GRAFT_JSON_BOOL && kept->integer;
        return rank;
    }
    return m->rank;
}

static factors factors_of(const adalora *m, graft_builder *b, const graft_site *s)
{
    const int64_t r = rank_at(m, s);
    return (factors){graft_new_param(b, "lora_A", GRAFT_START_NORMAL, 0.02, r, s->in), graft_new_param(b, "lora_E", GRAFT_START_ZERO, 0.0, r, 1), graft_new_param(b, "lora_B", GRAFT_START_NORMAL, 0.02, s->out, r)};
}

/* PEFT divides by the number of ranks plus 1e-5. */
static double scale_of(const adalora *m) { return m->alpha / ((double)m->rank + 1e-5); }

/* |g - I|_F of the Gram matrix g [r, r] */
static graft_value distance(graft_builder *b, int64_t r, graft_value gram)
{
    const int64_t one[] = {1}, line[] = {1, r};
    const graft_value row = graft_iota(b, r), column = graft_reshape(b, row, 2, (const int64_t[]){r, 1});
    const graft_value d = graft_sub(b, gram, graft_equal(b, column, graft_reshape(b, row, 2, line)));
    return graft_reshape(b, graft_sqrt(b, graft_sum(b, graft_sum(b, graft_mul(b, d, d), 0), 1)), 1, one);
}

static graft_value adalora_linear(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    adalora *m = run;
    if (!b->api->matches(b, m->select, m->key, s) || !rank_at(m, s)) return y;
    const factors f = factors_of(m, b, s);
    adalora_remember(m, b, s, rank_at(m, s));
    b->api->penalty(b, distance(b, rank_at(m, s), graft_matmul_nt(b, f.a, f.a)), m->penalty);
    b->api->penalty(b, distance(b, rank_at(m, s), graft_gemm(b, f.b, f.b, graft_null_value(), 1, 0, 1.0)), m->penalty);
    const graft_value z = graft_matmul_nt(b, graft_dropout(b, x, m->dropout), graft_mul(b, f.a, f.e));
    return graft_add(b, y, graft_scale(b, graft_matmul_nt(b, z, f.b), scale_of(m)));
}

static graft_value adalora_merge(void *run, graft_builder *b, const graft_site *s, graft_value w)
{
    const adalora *m = run;
    if (!b->api->matches(b, m->select, m->key, s) || !rank_at(m, s)) return w;
    const factors f = factors_of(m, b, s);
    return graft_add(b, w, graft_scale(b, graft_matmul(b, f.b, graft_mul(b, f.a, f.e)), scale_of(m)));
}

/* {"PATH.lora_E": [true, false ...]} */
static graft_status write_ranks(const adalora *m, graft_writer *w, graft_error *err)
{
    const graft_host *host = m->host;
    size_t items = m->n_sites + 1, text = 1, used = 0, at = 0;
    for (size_t i = 0; i < m->n_sites; i++) items += (size_t)m->sites[i].rank, text += strlen(m->sites[i].path) + sizeof ".lora_E";
    graft_json *all = host->alloc(host->ctx, items * sizeof *all, _Alignof(graft_json));
    char *keys = host->alloc(host->ctx, text, 1);
    if (all && keys) {
        graft_json *object = &all[at++], **next = (graft_json **)(uintptr_t)&object->child;
        *object = (graft_json){.type = GRAFT_JSON_OBJECT, .count = (int64_t)m->n_sites};
        for (size_t i = 0; i < m->n_sites; i++) {
            const adalora_site *s = &m->sites[i];
            graft_json *list = &all[at++], *last = NULL;
            const size_t bytes = strlen(s->path) + sizeof ".lora_E" - 1;
            char *key = keys + used;
            memcpy(key, s->path, strlen(s->path));
            memcpy(key + strlen(s->path), ".lora_E", sizeof ".lora_E");
            used += bytes + 1;
            *list = (graft_json){.type = GRAFT_JSON_ARRAY, .key = key, .key_bytes = bytes, .count = s->rank, .child = s->rank ? &all[at] : NULL};
            for (int64_t r = 0; r < s->rank; r++, last = &all[at++]) {
                all[at] = (graft_json){.type = GRAFT_JSON_BOOL, .integer = s->mask[r]};
                if (last) last->next = &all[at];
            }
            *next = list;
            next = (graft_json **)(uintptr_t)&list->next;
        }
        w->api->value(w, "rank_pattern", object);
    }
    const graft_status status = all && keys ? GRAFT_OK : host->fail(err, GRAFT_NO_MEMORY, "adalora", "no memory to write the ranks that are left");
    host->release(host->ctx, all);
    host->release(host->ctx, keys);
    return status;
}

static graft_status adalora_save(void *run, graft_writer *w, int32_t n_sites, const char *const *sites, graft_error *err)
{
    const adalora *m = run;
    const graft_writer_api *api = w->api;
    api->text(w, "peft_type", "ADALORA");
    api->text(w, "task_type", "CAUSAL_LM");
    api->null(w, "auto_mapping");
    api->null(w, "revision");
    api->flag(w, "inference_mode", 1);
    api->integer(w, "init_r", m->rank);
    api->integer(w, "r", m->rank);
    api->integer(w, "target_r", m->target);
    if (m->alpha == (double)(int64_t)m->alpha) api->integer(w, "lora_alpha", (int64_t)m->alpha);
    else api->number(w, "lora_alpha", m->alpha);
    api->number(w, "lora_dropout", m->dropout);
    api->number(w, "orth_reg_weight", m->penalty);
    api->integer(w, "tinit", m->tinit);
    api->integer(w, "tfinal", m->tfinal);
    api->integer(w, "deltaT", m->every);
    api->integer(w, "total_step", m->updates > m->tinit + m->tfinal ? m->updates : m->tinit + m->tfinal + 1); /* PEFT refuses less */
    api->number(w, "beta1", m->beta1);
    api->number(w, "beta2", m->beta2);
    api->text(w, "bias", "none");
    api->flag(w, "fan_in_fan_out", 0);
    api->flag(w, "init_lora_weights", 1);
    api->null(w, "modules_to_save");
    if (m->saved_targets) api->value(w, "target_modules", m->saved_targets);
    else api->texts(w, "target_modules", n_sites, sites);
    if (m->chosen) return write_ranks(m, w, err);
    if (m->ranks) api->value(w, "rank_pattern", m->ranks);
    else api->null(w, "rank_pattern");
    return GRAFT_OK;
}

static int adalora_owns(void *self, const graft_json *saved)
{
    const graft_json *type = graft_json_get(saved, "peft_type");
    (void)self;
    return type && type->type == GRAFT_JSON_TEXT && !strcmp(type->text, "ADALORA");
}

static const graft_adapter_files adalora_files = {.size = sizeof adalora_files, .config = "adapter_config.json", .weights = "adapter_model.safetensors", .prefix = "base_model.model."};

static const graft_method_table adalora_table = {
    .size = sizeof adalora_table,
    .open = adalora_open,
    .close = adalora_close,
    .linear = adalora_linear,
    .merge = adalora_merge,
    .files = &adalora_files,
    .save = adalora_save,
    .owns = adalora_owns,
    .file_rows = adalora_file_rows,
    .watches = adalora_watches,
    .after_update = adalora_after_update,
};

GRAFT_ONE_TABLE("method", "graft.method/1", "adalora", "1.0.0", &adalora_table)
