/* experts.c - LoRA on routed experts, whose weights are stacks [E, out, in]: y[t, j] += scale B[e] A[e] x[t, j], e the expert of assignment j.
 *
 * One by one, chosen by lora_target (w1, down_proj, expert): A [E, r, in] and B [E, out, r] are E pairs of matrices, each in the file under its expert's name,
 *     ...experts.3.down_proj.lora_A.weight [r, in]
 * which is how PEFT named them when experts were modules, and what it still reads. All three projections of an expert have their own A.
 *
 * Fused, chosen by PEFT's target_parameters (mlp.experts.gate_up_proj, mlp.experts.down_proj): gate and up are one matrix [2 f, in] with one A. In PEFT's file
 *     ...mlp.experts.base_layer.lora_A.weight [E r, in]     lora_B.weight [2 f, r E]      of gate_up_proj
 *     ...mlp.experts.lora_A.weight            [E r, in]     lora_B.weight [out, r E]      of down_proj, or of the one that is chosen alone
 * where row e r + i of A and column i E + e of B belong to expert e. */
#include "lora.h"

#include "graft/ops.h"

#include <stdio.h>

typedef struct pair {
    graft_value a, b; /* [E, r, in], [E, out, r]; null: this site has none */
    double scale;
} pair;

typedef enum projection { GATE,
                          UP,
                          DOWN,
                          NEITHER } projection;

static projection projection_of(const char *path)
{
    static const char *const names[][2] = {{"gate_proj", "w1"}, {"up_proj", "w3"}, {"down_proj", "w2"}};
    const char *dot = strrchr(path, '.'), *last = dot ? dot + 1 : path;
    for (int i = GATE; i < NEITHER; i++)
        if (!strcmp(last, names[i][0]) || !strcmp(last, names[i][1])) return (projection)i;
    return NEITHER;
}

/* ---- fused ------------------------------------------------------------------------------------------------------------------------------ */

/* transformers 5 calls the sparse block of every family mlp. */
static void modern(const char *path, size_t bytes, char *out, size_t room)
{
    static const char old[] = "block_sparse_moe";
    const char *at = strstr(path, old);
    if (at && at < path + bytes) snprintf(out, room, "%.*smlp%.*s", (int)(at - path), path, (int)(path + bytes - at) - (int)(sizeof old - 1), at + sizeof old - 1);
    else snprintf(out, room, "%.*s", (int)bytes, path);
}

/* Does target_parameters name the stack `name` in the module whose path has so many bytes? */
static int is_fused(const lora *m, const char *path, size_t bytes, const char *name)
{
    char full[1100];
    if (!m->fused || bytes > 1000) return 0;
    modern(path, bytes, full, sizeof full - 20);
    const size_t used = strlen(full);
    snprintf(full + used, sizeof full - used, ".%s", name);
    const size_t n = strlen(full);
    for (const graft_json *v = m->fused->type == GRAFT_JSON_ARRAY ? m->fused->child : m->fused; v; v = v->next) {
        if (v->type == GRAFT_JSON_TEXT && v->bytes <= n && !strcmp(full + n - v->bytes, v->text) && (n == v->bytes || full[n - v->bytes - 1] == '.')) return 1;
        if (m->fused->type != GRAFT_JSON_ARRAY) break;
    }
    return 0;
}

int lora_fused_site(const lora *m, const char *path)
{
    const projection p = projection_of(path);
    const char *dot = strrchr(path, '.');
    return p != NEITHER && dot && is_fused(m, path, (size_t)(dot - path), p == DOWN ? "down_proj" : "gate_up_proj");
}

int lora_fused_name(const lora *m, const char *weight, char *out, size_t room)
{
    static const char *const stacks[] = {"gate_up_proj", "down_proj"};
    char module[1100];
    for (int i = 0; m->fused && i < 2; i++) {
        char middle[64];
        snprintf(middle, sizeof middle, ".%s.lora_", stacks[i]);
        const char *at = strstr(weight, middle);
        const size_t bytes = at ? (size_t)(at - weight) : 0;
        if (!at || !is_fused(m, weight, bytes, stacks[i])) continue;
        const int inner = !i && is_fused(m, weight, bytes, stacks[1]); /* wrapped first, so it lies within the other's wrapper */
        modern(weight, bytes, module, sizeof module);
        return snprintf(out, room, "base_model.model.%s%s%s", module, inner ? ".base_layer" : "", at + strlen(middle) - sizeof ".lora_" + 1) < (int)room;
    }
    return 0;
}

/* The site's share of its stack's pair; s->weight [E, out, in]. */
static pair fused_pair(lora *m, graft_builder *b, const graft_site *s, projection p)
{
    char module[1100], name[1200];
    int64_t w[GRAFT_MAX_RANK];
    const char *dot = strrchr(s->path, '.');
    const size_t bytes = dot ? (size_t)(dot - s->path) : 0;
    const char *stack = p == DOWN ? "down_proj" : "gate_up_proj";
    if (!lora_fused_site(m, s->path)) return (pair){{0}, {0}, 0};
    modern(s->path, bytes, module, sizeof module);
    snprintf(name, sizeof name, "%s.%s", module, stack);
    b->api->shape(b, s->weight, w);
    const int64_t experts = w[0], r = lora_rank_at(m, b, name), out = p == DOWN ? s->out : 2 * s->out;
    const int64_t apart[] = {experts, r, s->in}, columns[] = {out, r, experts}, turned[] = {2, 0, 1};
    const double scale = lora_scale_at(m, b, name);
    lora_remember(m, b, s->path);
    snprintf(name, sizeof name, "/%.*s.%s.lora_A.weight", (int)bytes, s->path, stack);
    const graft_value a = graft_reshape(b, graft_new_param(b, name, GRAFT_START_KAIMING_UNIFORM, 2.2360679774997896, experts * r, s->in), 3, apart);
    snprintf(name, sizeof name, "/%.*s.%s.lora_B.weight", (int)bytes, s->path, stack);
    graft_value c = graft_permute(b, graft_reshape(b, graft_new_param(b, name, GRAFT_START_ZERO, 0.0, out, r * experts), 3, columns), 3, turned);
    if (p != DOWN) c = graft_slice(b, c, 1, p == UP ? s->out : 0, s->out);
    return (pair){a, c, scale};
}

/* ---- one by one -------------------------------------------------------------------------------------------------------------------------- */

static graft_value stack(graft_builder *b, const char *name, graft_start start, double arg, int64_t experts, int64_t rows, int64_t columns)
{
    const graft_param p = {(uint32_t)sizeof p, GRAFT_ROLE_OTHER, start, arg, 3, {experts, rows, columns, 0}};
    return b->api->param(b, name, &p);
}

static pair own_pair(lora *m, graft_builder *b, const graft_site *s)
{
    int64_t w[GRAFT_MAX_RANK];
    if (!lora_chosen(m, b, s)) return (pair){{0}, {0}, 0};
    b->api->shape(b, s->weight, w);
    const int64_t r = lora_rank_at(m, b, s->path);
    lora_remember(m, b, s->path);
    const graft_start both = m->init == LORA_INIT_BOTH ? GRAFT_START_KAIMING_UNIFORM : GRAFT_START_ZERO;
    const int normal = m->init == LORA_INIT_GAUSSIAN;
    const graft_value a = stack(b, "lora_A.weight", normal ? GRAFT_START_NORMAL : GRAFT_START_KAIMING_UNIFORM, normal ? 1.0 / (double)r : 2.2360679774997896, w[0], r, s->in);
    return (pair){a, stack(b, "lora_B.weight", both, 2.2360679774997896, w[0], s->out, r), lora_scale_at(m, b, s->path)};
}

int lora_file_part(void *run, const char *weight, int64_t part, char *out, size_t room)
{
    static const char experts[] = ".experts.";
    const char *at = strstr(weight, experts);
    const size_t before = at ? (size_t)(at - weight) + sizeof experts - 1 : 0;
    const char *name = weight + before, *dot = at ? strchr(name, '.') : NULL;
    char module[1100];
    if (!dot || strncmp(dot, ".lora_", 6) != 0 || lora_fused_name(run, weight, module, sizeof module)) return 0;
    snprintf(module, sizeof module, "%.*s", (int)(dot - weight), weight);
    if (projection_of(module) == NEITHER && !lora_site_at(run, module)) return 0;
    return snprintf(out, room, "base_model.model.%.*s%lld.%s", (int)before, weight, (long long)part, name) < (int)room;
}

/* ---- the hooks ----------------------------------------------------------------------------------------------------------------------------- */

static pair pair_of(lora *m, graft_builder *b, const graft_site *s)
{
    const projection p = projection_of(s->path);
    const pair fused = fused_pair(m, b, s, p);
    const pair all = fused.a.id ? fused : own_pair(m, b, s);
    const char *what = !all.a.id ? NULL : m->dora                    ? "use_dora"
                                      : m->output_bias               ? "lora_bias"
                                      : m->init >= LORA_INIT_PISSA   ? "PiSSA or OLoRA"
                                      : fused.a.id && m->dropout > 0 ? "lora_dropout with target_parameters"
                                                                     : NULL;
    if (what) b->api->error(b, "LoRA on routed experts has no %s, in PEFT neither: leave it out, or choose other modules", what);
    return all;
}

graft_value lora_experts(void *run, graft_builder *b, const graft_site *s, graft_value x, graft_value ids, graft_value y)
{
    lora *m = run;
    int64_t rows[GRAFT_MAX_RANK], all[GRAFT_MAX_RANK];
    const pair p = pair_of(m, b, s);
    if (!p.a.id) return m->spared = 1, y;
    b->api->shape(b, x, rows);
    b->api->shape(b, y, all);
    if (m->dropout > 0 && rows[1] != all[1]) { /* each expert drops of its own */
        const int64_t wide[] = {all[0], all[1], rows[2]};
        x = graft_broadcast(b, x, 3, wide);
    }
    const graft_value z = graft_expert_matmul(b, graft_dropout(b, x, m->dropout), p.a, ids, 0);
    return graft_add(b, y, graft_scale(b, graft_expert_matmul(b, z, p.b, ids, 0), p.scale));
}

graft_value lora_merge_experts(const lora *m, graft_builder *b, const graft_site *s, graft_value w)
{
    graft_site here = *s;
    here.weight = w;
    const pair p = pair_of((lora *)(uintptr_t)m, b, &here);
    return p.a.id ? graft_add(b, w, graft_scale(b, graft_matmul(b, p.b, p.a), p.scale)) : w;
}
