/* LoRA: y = x W^T + (alpha/r) * dropout(x) A^T B^T, with W frozen. A [r,in] Kaiming-uniform, B [out,r] zero,
 * so step zero equals the base model. Hu et al. 2021, arXiv 2106.09685. Weight names are PEFT's.
 *     rsLoRA   scale alpha/sqrt(r). Kalajdzievski 2023, arXiv 2312.03732
 *     DoRA     rows of W + scale B A, brought to the learned length m: g = m / |row|, no gradient through |row|;
 *              y = (g W + g scale B A) x. Liu et al. 2024, arXiv 2402.09353
 *     LoRA+    B learns faster than A. Hayou et al. 2024, arXiv 2402.12354
 *     lora_bias   y has scale c more, c [out] zero at the start: read from PEFT's adapters
 * Of the token table: y = E[i] + scale (A^T)[i] B^T, A [r, vocab] zero, B [d, r] normal. Of routed experts: experts.c.
 * Biases, and whole modules beside (modules_to_save), may train too: they lie in the adapter's file. */
#include "lora.h"

#include "graft/ops.h"

#include <math.h>
#include <stdio.h>

static void release(lora *m)
{
    m->host->release(m->host->ctx, m->sites);
    m->host->release(m->host->ctx, m);
}

static graft_status lora_open(void *self, const graft_config *args, const graft_config *saved, void **run, graft_error *err)
{
    const graft_host *host = self;
    lora *m = host->alloc(host->ctx, sizeof *m, _Alignof(lora));
    if (!m) return host->fail(err, GRAFT_NO_MEMORY, "lora", "no memory for %zu bytes", sizeof *m);
    *m = (lora){.host = host, .select = args, .key = "lora_target", .rank = graft_dim(args, "lora_rank", 8)};
    m->alpha = graft_real(args, "lora_alpha", 0.0, 0.0, 1e6);
    if (m->alpha == 0.0) m->alpha = 2.0 * (double)m->rank;
    m->ratio = graft_real(args, "loraplus_lr_ratio", 1.0, 0.0, 1e6);
    m->embedding_rate = 1.0;
    if (args->api->value(args, "loraplus_lr_ratio")) m->embedding_rate = graft_real(args, "loraplus_lr_embedding", 1e-6, 0.0, 1e6) / graft_real(args, "learning_rate", 5e-5, 1e-300, 1e6);
    const graft_status status = saved ? lora_read_saved(m, saved, err) : lora_read(m, args, err);
    if (status) release(m);
    else *run = m;
    return status;
}

static void lora_close(void *run) { release(run); }

/* ---- which sites, and with which numbers ------------------------------------------------------------------------------------------ */

uint64_t lora_hash(const char *path) { return graft_op_id(path); }

/* "model.layers.0.mlp.up_proj" lies in "mlp"; PEFT compares the ends of module names, so "norm" is also every "..._norm". */
static int lies_in(const char *path, const char *name, size_t bytes)
{
    for (size_t n = strlen(path); n >= bytes && n; n--)
        if ((!path[n] || path[n] == '.') && !strncmp(path + n - bytes, name, bytes)) return 1;
    return 0;
}

static int in_list(const graft_json *list, const char *path)
{
    const int many = list && list->type == GRAFT_JSON_ARRAY;
    size_t bytes = 0;
    for (const graft_json *v = many ? list->child : list; v; v = many ? v->next : NULL)
        for (const char *at = v->type == GRAFT_JSON_TEXT ? lora_next_name(v->text, &bytes) : NULL; at; at = lora_next_name(at + bytes, &bytes))
            if (lies_in(path, at, bytes)) return 1;
    return 0;
}

/* "0-3, 8": from and to, or one. */
static int in_ranges(const char *text, int64_t layer)
{
    static const char digits[] = "0123456789";
    for (const char *at = strpbrk(text, digits); at; at = strpbrk(at, digits)) {
        int64_t ends[2] = {0, 0};
        int n = 0;
        do {
            for (at += n; *at >= '0' && *at <= '9'; at++)
                if (ends[n] < INT32_MAX) ends[n] = 10 * ends[n] + (*at - '0');
            n++;
        } while (n < 2 && *at == '-');
        if (layer >= ends[0] && layer <= ends[n - 1]) return 1;
    }
    return 0;
}

int lora_chosen(const lora *m, graft_builder *b, const graft_site *s)
{
    int here = !m->layers;
    for (const graft_json *l = m->layers ? m->layers->child : NULL; l; l = l->next) here |= l->integral && l->integer == s->layer;
    if (m->layers && m->layers->integral) here = m->layers->integer == s->layer;
    if (m->layers && m->layers->type == GRAFT_JSON_TEXT) here = in_ranges(m->layers->text, s->layer);
    if (!b->api->matches(b, m->select, m->key, s) || !here || in_list(m->whole, s->path)) return 0;
    return !m->excludes || !b->api->matches(b, m->select, "exclude_modules", s);
}

/* The first entry of rank_pattern or alpha_pattern that fits the path. */
static const graft_json *pattern(const graft_json *patterns, graft_builder *b, const char *path)
{
    for (const graft_json *v = patterns ? patterns->child : NULL; v; v = v->next)
        if (v->type == GRAFT_JSON_NUMBER && b->api->fits(b, v->key, path)) return v;
    return NULL;
}

int64_t lora_rank_at(const lora *m, graft_builder *b, const char *path)
{
    const graft_json *v = pattern(m->ranks, b, path);
    if (!v) return m->rank;
    if (!v->integral || v->integer < 1 || v->integer > INT32_MAX) b->api->error(b, "rank_pattern: \"%s\" needs a whole number from 1", v->key);
    return v->integral && v->integer > 0 ? v->integer : 1;
}

double lora_scale_at(const lora *m, graft_builder *b, const char *path)
{
    const graft_json *v = pattern(m->alphas, b, path);
    const double alpha = v ? v->number : m->alpha, rank = (double)lora_rank_at(m, b, path);
    return alpha / (m->rslora ? sqrt(rank) : rank);
}

const lora_site *lora_site_at(const lora *m, const char *path)
{
    const uint64_t id = lora_hash(path);
    for (size_t i = 0; i < m->n_sites; i++)
        if (m->sites[i].id == id) return &m->sites[i];
    return NULL;
}

/* Its numbers are the same in every graph. */
void lora_remember(lora *m, graft_builder *b, const char *path)
{
    if (lora_site_at(m, path)) return;
    if (m->n_sites == m->room) {
        const size_t room = m->room ? 2 * m->room : 256;
        lora_site *more = m->host->alloc(m->host->ctx, room * sizeof *more, _Alignof(lora_site));
        if (!more) {
            b->api->error(b, "no memory to remember the sites of LoRA");
            return;
        }
        if (m->n_sites) memcpy(more, m->sites, m->n_sites * sizeof *more);
        m->host->release(m->host->ctx, m->sites);
        m->sites = more, m->room = room;
    }
    m->sites[m->n_sites++] = (lora_site){lora_hash(path), lora_rank_at(m, b, path), lora_scale_at(m, b, path)};
}

/* ---- the graph ------------------------------------------------------------------------------------------------------------------------ */

/* The second half of a converted PiSSA's rows (axis 0) or columns takes no gradient. */
static graft_value half_frozen(graft_builder *b, graft_value p, int axis, int64_t r)
{
    return graft_concat(b, graft_slice(b, p, axis, 0, r), b->api->detach(b, graft_slice(b, p, axis, r, r)), axis);
}

static graft_value lora_A(const lora *m, graft_builder *b, const graft_site *s)
{
    const int64_t r = lora_rank_at(m, b, s->path);
    if (m->convert) return half_frozen(b, graft_new_param(b, "lora_A.weight", GRAFT_START_ZERO, 0.0, 2 * r, s->in), 0, r);
    if (m->init == LORA_INIT_GAUSSIAN) return graft_new_param(b, "lora_A.weight", GRAFT_START_NORMAL, 1.0 / (double)r, r, s->in);
    return graft_new_param(b, "lora_A.weight", GRAFT_START_KAIMING_UNIFORM, sqrt(5.0), r, s->in);
}

static graft_value lora_B(const lora *m, graft_builder *b, const graft_site *s)
{
    const int64_t r = lora_rank_at(m, b, s->path);
    const graft_start start = m->init == LORA_INIT_BOTH ? GRAFT_START_KAIMING_UNIFORM : GRAFT_START_ZERO;
    if (m->convert) return half_frozen(b, graft_new_param(b, "lora_B.weight", GRAFT_START_ZERO, 0.0, s->out, 2 * r), 1, r);
    return graft_new_param(b, "lora_B.weight", start, sqrt(5.0), s->out, r);
}

/* ---- the token table ------------------------------------------------------------------------------------------------------------------ */

static graft_value embedding_A(const lora *m, graft_builder *b, const graft_site *s)
{
    return graft_new_param(b, "lora_embedding_A", m->init == LORA_INIT_BOTH ? GRAFT_START_NORMAL : GRAFT_START_ZERO, 1.0, lora_rank_at(m, b, s->path), s->in);
}

static graft_value embedding_B(const lora *m, graft_builder *b, const graft_site *s)
{
    return graft_new_param(b, "lora_embedding_B", GRAFT_START_NORMAL, 1.0, s->out, lora_rank_at(m, b, s->path));
}

/* W + scale * B A; the token table is W^T. */
static graft_value whole(const lora *m, graft_builder *b, const graft_site *s, graft_value w)
{
    if (s->role == GRAFT_ROLE_EMBED) return graft_add(b, w, graft_scale(b, graft_gemm(b, embedding_A(m, b, s), embedding_B(m, b, s), graft_null_value(), 1, 1, 1.0), lora_scale_at(m, b, s->path)));
    return graft_add(b, w, graft_scale(b, graft_matmul(b, lora_B(m, b, s), lora_A(m, b, s)), lora_scale_at(m, b, s->path)));
}

/* g [out, 1] = m / the length of each row of w; of the token table [1, out], of each column */
static graft_value dora_gain(graft_builder *b, const graft_site *s, graft_value w)
{
    const int table = s->role == GRAFT_ROLE_EMBED;
    const int64_t shape[] = {table ? 1 : s->out, table ? s->out : 1};
    const graft_value length = b->api->detach(b, graft_sqrt(b, graft_sum(b, graft_mul(b, w, w), table ? 0 : 1)));
    return graft_div(b, graft_reshape(b, graft_new_param(b, "lora_magnitude_vector", GRAFT_START_ONE, 0.0, s->out, 0), 2, shape), length);
}

static graft_value lora_embed(void *run, graft_builder *b, const graft_site *s, graft_value ids, int64_t padding, graft_value y)
{
    lora *m = run;
    static const int64_t turned[] = {1, 0};
    if (!lora_chosen(m, b, s)) return y;
    if (m->convert) b->api->error(b, "pissa_convert doubles the rank of every module, and the token table has no PiSSA: choose other modules");
    lora_remember(m, b, s->path);
    const graft_value rows = graft_embed(b, graft_permute(b, embedding_A(m, b, s), 2, turned), ids, padding); /* [T, r] */
    const graft_value delta = graft_scale(b, graft_matmul_nt(b, rows, embedding_B(m, b, s)), lora_scale_at(m, b, s->path));
    if (!m->dora) return graft_add(b, y, delta);
    return graft_mul(b, dora_gain(b, s, whole(m, b, s, s->weight)), graft_add(b, y, delta));
}

static graft_value lora_linear(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value y)
{
    lora *m = run;
    if (!lora_chosen(m, b, s)) return y;
    lora_remember(m, b, s->path);
    const graft_value dropped = graft_dropout(b, x, m->dropout), z = graft_matmul_nt(b, dropped, lora_A(m, b, s)); /* [T, r] */
    graft_value made = graft_matmul_nt(b, z, lora_B(m, b, s));
    if (m->output_bias) made = graft_add(b, made, graft_new_param(b, "lora_B.bias", GRAFT_START_ZERO, 0.0, s->out, 0));
    graft_value delta = graft_scale(b, made, lora_scale_at(m, b, s->path));
    if (m->dora) {
        const graft_value gain = graft_reshape(b, dora_gain(b, s, whole(m, b, s, s->weight)), 1, &s->out);
        graft_value base = s->bias.id ? graft_sub(b, y, s->bias) : y;
        if (m->dropout > 0.0) base = graft_matmul_nt(b, dropped, s->weight);
        delta = graft_add(b, graft_mul(b, graft_affine(b, gain, 1.0, -1.0), base), graft_mul(b, gain, delta));
    }
    return graft_add(b, y, delta);
}

static graft_value lora_merge(void *run, graft_builder *b, const graft_site *s, graft_value w)
{
    const lora *m = run;
    if (s->role == GRAFT_ROLE_EXPERT) return lora_merge_experts(m, b, s, w);
    if (!lora_chosen(m, b, s)) return w;
    if (m->output_bias && s->role == GRAFT_ROLE_EMBED) return w;
    if (m->output_bias && !s->bias.id) b->api->error(b, "LoRA with lora_bias cannot be merged here: the linear has no bias that could take it");
    const graft_value now = whole(m, b, s, w);
    return m->dora ? graft_mul(b, now, dora_gain(b, s, now)) : now;
}

static graft_value lora_merge_bias(void *run, graft_builder *b, const graft_site *s, graft_value bias)
{
    const lora *m = run;
    if (!m->output_bias || !lora_chosen(m, b, s)) return bias;
    return graft_add(b, bias, graft_scale(b, graft_new_param(b, "lora_B.bias", GRAFT_START_ZERO, 0.0, s->out, 0), lora_scale_at(m, b, s->path)));
}

static int lora_trains(void *run, graft_builder *b, const graft_site *s, const char *weight)
{
    const lora *m = run;
    const size_t n = strlen(weight);
    if (in_list(m->whole, s->path)) return 1;
    if (m->bias == LORA_BIAS_NONE || n < 5 || strcmp(weight + n - 5, ".bias") != 0) return 0;
    return m->bias == LORA_BIAS_ALL || (s->role != GRAFT_ROLE_NORM && lora_chosen(m, b, s));
}

/* A wrapped linear is a module with a base_layer in PEFT. */
static int lora_file_name(void *run, const char *weight, char *out, size_t room)
{
    const lora *m = run;
    const char *dot = strrchr(weight, '.');
    char module[1024];
    if (lora_fused_name(m, weight, out, room)) return 1;
    if (!dot || (size_t)(dot - weight) >= sizeof module || (strcmp(dot, ".bias") != 0 && strcmp(dot, ".weight") != 0)) return 0;
    snprintf(module, sizeof module, "%.*s", (int)(dot - weight), weight);
    return lora_site_at(m, module) && snprintf(out, room, "base_model.model.%s.base_layer%s", module, dot) < (int)room;
}

/* Vectors learn as B does; the token table's B has a rate of its own. */
static double lora_rate(void *run, const char *weight)
{
    const size_t n = strlen(weight);
    if (strstr(weight, "lora_embedding_B")) return ((const lora *)run)->embedding_rate;
    const int vector = (n > 5 && !strcmp(weight + n - 5, ".bias")) || strstr(weight, "lora_magnitude_vector");
    return vector || strstr(weight, ".lora_B.") ? ((const lora *)run)->ratio : 1.0;
}

/* PiSSA and OLoRA take their part out of the base. */
static int lora_changes(void *run) { return ((const lora *)run)->init >= LORA_INIT_PISSA && !((const lora *)run)->convert; }

static const graft_adapter_files lora_files = {.size = sizeof lora_files, .config = "adapter_config.json", .weights = "adapter_model.safetensors", .prefix = "base_model.model."};

static const graft_method_table lora_table = {
    .size = sizeof lora_table,
    .open = lora_open,
    .close = lora_close,
    .trains = lora_trains,
    .linear = lora_linear,
    .merge = lora_merge,
    .merge_bias = lora_merge_bias,
    .files = &lora_files,
    .save = lora_save,
    .owns = lora_owns,
    .rate = lora_rate,
    .start = lora_start,
    .file_name = lora_file_name,
    .changes = lora_changes,
    .embed = lora_embed,
    .experts = lora_experts,
    .file_part = lora_file_part,
};

GRAFT_ONE_TABLE("method", "graft.method/1", "lora", "1.0.0", &lora_table)
