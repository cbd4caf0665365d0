/* core/graph/site.c - where tuning methods meet models: the hooks at linear sites, marks, attention, the embedding of tokens and base weights.
 *
 * While a hook of method i runs, the site's path is open (parameters are named under it), new parameters belong to method i, and sites that the hook
 * itself makes (a linear inside an adapter) call no hooks. */
#include "core/graph/build.h"

#include "core/base/error.h"

#include <string.h>

/* The hook of a method's table, or NULL: tables of older plugins may end early, and a method without strength has none. */
#define HOOK(method_, field_) (strength_of(method_) != 0.0 && GRAFT_HAS(graft_method_table, (method_)->table, field_) ? (method_)->table->field_ : NULL)

static double strength_of(const graft_active_method *m) { return m->strength ? *m->strength : 1.0; }

/* was + strength * (now - was) */
static graft_value blend(graft_graph *g, int32_t method, graft_value was, graft_value now)
{
    const double strength = strength_of(&g->state->methods[method]);
    if (g->error.code || strength == 1.0 || now.id == was.id) return now;
    g->state->method = method; /* part of the hook: no other sees it */
    const graft_value mixed = graft_add(g->builder, was, graft_scale(g->builder, graft_sub(g->builder, now, was), strength));
    g->state->method = -1;
    return mixed;
}

static int whole_strength(graft_graph *g, int32_t method, const char *what, const char *path)
{
    const graft_active_method *m = &g->state->methods[method];
    if (strength_of(m) == 1.0) return 1;
    graft_graph_error(g, "%s changes %s of %s, which can be on or off but not at strength %g; give it 1 or 0", m->name, what, path, strength_of(m));
    return 0;
}

void graft_graph_methods(graft_graph *g, const graft_active_method *methods, int n)
{
    graft_build_state *s = g->state;
    if (g->error.code || n <= 0) return;
    graft_active_method *copy = graft_build_alloc(g, (size_t)n, sizeof *copy);
    s->changed = copy ? graft_build_alloc(g, (size_t)n, sizeof *s->changed) : NULL;
    if (!s->changed) return;
    memcpy(copy, methods, (size_t)n * sizeof *copy);
    s->penalties = graft_build_alloc(g, (size_t)n, sizeof *s->penalties);
    if (s->penalties) s->methods = copy, s->n_methods = n;
}

const graft_active_method *graft_graph_active(const graft_graph *g, int *n)
{
    *n = g->state->n_methods;
    return g->state->methods;
}

void graft_graph_blocks(graft_graph *g, int64_t n) { g->state->blocks = n; }

const graft_site *graft_graph_sites(const graft_graph *g, int32_t *n)
{
    *n = g->state->n_sites;
    return g->state->sites;
}

const char *const *graft_graph_changed_sites(const graft_graph *g, int method, int32_t *n)
{
    const graft_build_state *s = g->state;
    const int known = method >= 0 && method < s->n_methods;
    *n = known ? s->changed[method].n : 0;
    return known ? s->changed[method].paths : NULL;
}

int64_t graft_graph_virtual_tokens(const graft_graph *g) { return g->state->virtual_tokens; }

static void note_changed(graft_graph *g, int32_t method, const char *path)
{
    graft_changed_sites *c = &g->state->changed[method];
    if (graft_build_room(g, (void **)&c->paths, &c->room, (size_t)c->n, sizeof *c->paths)) return;
    c->paths[c->n++] = path;
}

/* A hook must leave the path as it found it. */
static void leave(graft_graph *g, int32_t method, int32_t depth)
{
    graft_build_state *s = g->state;
    s->method = -1;
    if (!g->error.code && s->depth != depth) graft_graph_error(g, "method %s left %d path parts open", s->methods[method].name, s->depth - depth);
}

static int same_shape(const graft_shape *a, const graft_shape *b)
{
    int same = a->rank == b->rank && a->dtype == b->dtype;
    for (int32_t i = 0; same && i < a->rank; i++) same = a->dims[i] == b->dims[i];
    return same;
}

/* What a hook gave instead of `was` must be of the same shape. */
static graft_value checked(graft_graph *g, int32_t method, const graft_site *site, graft_value was, graft_value now)
{
    if (g->error.code) return graft_null_value();
    const char *name = g->state->methods[method].name;
    const graft_shape *a = &graft_graph_info(g, was)->shape, *b = &graft_graph_info(g, now)->shape;
    if (!now.id || now.id >= (uint32_t)g->n_values) graft_graph_error(g, "method %s gave no value at site %s", name, site->path);
    else if (!same_shape(a, b)) graft_graph_error(g, "method %s changed the shape at site %s from %s to %s", name, site->path, graft_shape_text(g, a), graft_shape_text(g, b));
    return now;
}

static graft_site site_here(graft_graph *g, graft_role role, int64_t in, int64_t out, graft_value weight)
{
    return (graft_site){.size = sizeof(graft_site), .role = role, .layer = graft_build_layer(g), .path = graft_build_path(g), .in = in, .out = out, .weight = weight, .layers = (int32_t)g->state->blocks};
}

/* ---- base weights: does any method train it? ----------------------------------------------------------------------------------------------------- */
int32_t graft_site_trains(graft_graph *g, const graft_param *p, const char *name)
{
    const graft_build_state *s = g->state;
    const char *dot = strrchr(name, '.');
    char *module = s->n_methods && p->role != GRAFT_ROLE_BUFFER ? graft_arena_copy(g->arena, name, dot ? (size_t)(dot - name) : 0) : NULL;
    if (!module) return -1;
    graft_site site = site_here(g, p->role, p->rank > 1 ? p->dims[p->rank - 1] : 0, p->dims[p->rank > 2 ? p->rank - 2 : 0], graft_null_value());
    site.path = module;
    int32_t owner = -1;
    for (int32_t i = 0; i < s->n_methods; i++) {
        if (!HOOK(&s->methods[i], trains) || !s->methods[i].table->trains(s->methods[i].run, g->builder, &site, name)) continue;
        if (owner >= 0) graft_graph_error(g, "both %s and %s claim the weight %s; only one can train it", s->methods[owner].name, s->methods[i].name, name);
        else whole_strength(g, i, "a whole weight", name);
        owner = i;
    }
    return owner;
}

/* A hook at a site gave `now` for `was`. */
static graft_value changed(graft_graph *g, int32_t method, const graft_site *site, graft_value was, graft_value now)
{
    if (checked(g, method, site, was, now).id && now.id != was.id) note_changed(g, method, site->path);
    return blend(g, method, was, now);
}

/* ---- linear sites ------------------------------------------------------------------------------------------------------------------------------------ */
static graft_value base_linear(graft_builder *b, graft_value x, const graft_site *site, int bias)
{
    graft_param w = {(uint32_t)sizeof w, site->role, GRAFT_START_CHECKPOINT, 0.0, 2, {site->out, site->in, 0, 0}};
    graft_param c = {(uint32_t)sizeof c, site->role, GRAFT_START_CHECKPOINT, 0.0, 1, {site->out, 0, 0, 0}};
    const graft_value y = graft_matmul_nt(b, x, graft_build_param(b, "weight", &w));
    return bias ? graft_add(b, y, graft_build_param(b, "bias", &c)) : y;
}

static graft_value linear_hooks(graft_builder *b, const graft_site *site, graft_value x, graft_value y)
{
    graft_graph *g = graft_graph_of(b);
    graft_build_state *s = g->state;
    const int32_t depth = s->depth;
    for (int32_t i = 0; i < s->n_methods && !g->error.code; i++) {
        if (!HOOK(&s->methods[i], linear)) continue;
        s->method = i;
        const graft_value now = s->methods[i].table->linear(s->methods[i].run, b, site, x, y);
        leave(g, i, depth);
        y = changed(g, i, site, y, now);
    }
    return y;
}

static void list_site(graft_graph *g, const graft_site *site)
{
    graft_build_state *s = g->state;
    if (!graft_build_room(g, (void **)&s->sites, &s->room_sites, (size_t)s->n_sites, sizeof *s->sites)) s->sites[s->n_sites++] = *site;
}

graft_value graft_site_linear(graft_builder *b, graft_value x, const char *name, int64_t out, int bias, graft_role role)
{
    graft_graph *g = graft_graph_of(b);
    graft_build_state *s = g->state;
    if (g->error.code) return graft_null_value();
    const graft_shape *shape = &graft_graph_info(g, x)->shape;
    const int64_t in = shape->rank > 0 ? shape->dims[shape->rank - 1] : 0;
    graft_build_push(b, name, -1);
    if (!x.id || in < 1) graft_graph_error(g, "linear needs an input whose last axis has a constant size, found %s", x.id ? graft_shape_text(g, shape) : "the null value");
    graft_site site = site_here(g, role, in, out, graft_null_value());
    graft_value y = base_linear(b, x, &site, bias);
    if (g->error.code) return graft_null_value();
    if (s->method < 0) {
        const char *path = site.path;
        char *weight = graft_build_text(g, "%s.weight", path);
        site.weight = weight ? graft_graph_find(g, weight) : graft_null_value();
        char *vector = bias ? graft_build_text(g, "%s.bias", path) : NULL;
        if (vector) site.bias = graft_graph_find(g, vector);
        list_site(g, &site);
        y = linear_hooks(b, &site, x, y);
    }
    graft_build_pop(b);
    return g->error.code ? graft_null_value() : y;
}

/* A stack of linears, one an expert: the hooks of linears know one matrix and are not called. */
static graft_value expert_hooks(graft_builder *b, const graft_site *site, graft_value x, graft_value ids, graft_value y)
{
    graft_graph *g = graft_graph_of(b);
    graft_build_state *s = g->state;
    const int32_t depth = s->depth;
    for (int32_t i = 0; i < s->n_methods && !g->error.code; i++) {
        if (!HOOK(&s->methods[i], experts)) continue;
        s->method = i;
        const graft_value now = s->methods[i].table->experts(s->methods[i].run, b, site, x, ids, y);
        leave(g, i, depth);
        y = changed(g, i, site, y, now);
    }
    return y;
}

graft_value graft_site_experts(graft_builder *b, graft_value x, graft_value ids, const char *name, int64_t experts, int64_t out)
{
    graft_graph *g = graft_graph_of(b);
    graft_build_state *s = g->state;
    if (g->error.code) return graft_null_value();
    const graft_shape *shape = &graft_graph_info(g, x)->shape;
    const int64_t in = shape->rank > 0 ? shape->dims[shape->rank - 1] : 0;
    graft_build_push(b, name, -1);
    if (!x.id || in < 1) graft_graph_error(g, "experts need an input whose last axis has a constant size, found %s", x.id ? graft_shape_text(g, shape) : "the null value");
    const graft_param p = {(uint32_t)sizeof p, GRAFT_ROLE_EXPERT, GRAFT_START_CHECKPOINT, 0.0, 3, {experts, out, in, 0}};
    const graft_value w = graft_build_param(b, "weight", &p);
    graft_value y = graft_expert_matmul(b, x, w, ids, 0);
    if (g->error.code) return graft_null_value();
    if (s->method < 0) {
        const graft_site site = site_here(g, GRAFT_ROLE_EXPERT, in, out, w);
        list_site(g, &site);
        y = expert_hooks(b, &site, x, ids, y);
    }
    graft_build_pop(b);
    return g->error.code ? graft_null_value() : y;
}

typedef graft_value (*merge_hook)(void *run, graft_builder *b, const graft_site *s, graft_value w);

static merge_hook hook_of(const graft_active_method *m, graft_role role, int bias)
{
    if (bias) return HOOK(m, merge_bias);
    if ((role == GRAFT_ROLE_EXPERT && !HOOK(m, experts)) || (role == GRAFT_ROLE_EMBED && !HOOK(m, embed))) return NULL; /* it knows linears only */
    return HOOK(m, merge);
}

static graft_value merge(graft_graph *g, const graft_site *site, graft_value w, int bias)
{
    graft_build_state *s = g->state;
    graft_builder *b = g->builder;
    graft_build_push(b, site->path, -1);
    s->layer = site->layer;
    const int32_t depth = s->depth;
    for (int32_t i = 0; i < s->n_methods && !g->error.code; i++) {
        const merge_hook hook = hook_of(&s->methods[i], site->role, bias);
        if (!hook) continue;
        s->method = i;
        const graft_value now = hook(s->methods[i].run, b, site, w);
        leave(g, i, depth);
        if (!now.id) graft_build_fail(g, GRAFT_UNSUPPORTED, "method %s cannot merge into a single matrix at site %s", s->methods[i].name, site->path);
        checked(g, i, site, w, now);
        w = blend(g, i, w, now);
    }
    graft_build_pop(b);
    return g->error.code ? graft_null_value() : w;
}

graft_value graft_graph_merge_site(graft_graph *g, const graft_site *site, graft_value w) { return merge(g, site, w, 0); }
graft_value graft_graph_merge_bias(graft_graph *g, const graft_site *site, graft_value bias) { return merge(g, site, bias, 1); }

/* ---- marks -------------------------------------------------------------------------------------------------------------------------------------------- */
graft_value graft_site_mark(graft_builder *b, graft_value h, graft_role role)
{
    graft_graph *g = graft_graph_of(b);
    graft_build_state *s = g->state;
    if (g->error.code || s->method >= 0) return h;
    if (!h.id || h.id >= (uint32_t)g->n_values) {
        graft_graph_error(g, "mark needs a value");
        return graft_null_value();
    }
    const graft_shape *shape = &graft_graph_info(g, h)->shape;
    const int64_t width = shape->rank > 0 ? shape->dims[shape->rank - 1] : 0;
    graft_site site = site_here(g, role, width, width, graft_null_value());
    if (s->residual.id && same_shape(shape, &graft_graph_info(g, s->residual)->shape)) site.residual = s->residual;
    const int32_t depth = s->depth;
    for (int32_t i = 0; i < s->n_methods && !g->error.code; i++) {
        if (!HOOK(&s->methods[i], after)) continue;
        s->method = i;
        const graft_value now = s->methods[i].table->after(s->methods[i].run, b, &site, h);
        leave(g, i, depth);
        h = blend(g, i, h, checked(g, i, &site, h, now));
    }
    if (role == GRAFT_ROLE_BLOCK && site.residual.id) s->residual = h;
    return g->error.code ? graft_null_value() : h;
}

/* The residual stream: what the embedding gives and, before the first block, ops that keep its shape make of it; then each sum that the model makes with it. */
void graft_site_follow(graft_graph *g, const graft_node *n)
{
    graft_build_state *s = g->state;
    int reads = 0;
    if (s->method >= 0 || !s->residual.id || g->error.code) return;
    for (int32_t i = 0; i < n->n_in; i++) reads |= n->in[i].id == s->residual.id;
    if (!reads || (graft_build_layer(g) >= 0 && strcmp(n->op->name, "add/1") != 0)) return;
    if (same_shape(&graft_graph_info(g, n->out[0])->shape, &graft_graph_info(g, s->residual)->shape)) s->residual = n->out[0];
}

/* ---- attention: keys and values that every query sees ---------------------------------------------------------------------------------------------------- */
enum { KEY = 1,
       KEY_EXTRA = 4,
       VALUE_EXTRA = 5 }; /* inputs of an op flagged GRAFT_OP_KV */

void graft_site_extend_kv(graft_graph *g, graft_node *n)
{
    graft_build_state *s = g->state;
    if (s->method >= 0 || g->error.code) return;
    const graft_shape *key = &graft_graph_info(g, n->in[KEY])->shape;
    const int64_t kv = graft_node_int(n, "kv_heads"), width = key->rank == 2 ? key->dims[1] : 0;
    const graft_site site = site_here(g, GRAFT_ROLE_ATTN, kv, kv > 0 ? width / kv : 0, graft_null_value());
    const char *owner = n->in[KEY_EXTRA].id ? "the model" : NULL;
    const int32_t depth = s->depth;
    for (int32_t i = 0; i < s->n_methods && !g->error.code; i++) {
        graft_value k = graft_null_value(), v = graft_null_value();
        if (!HOOK(&s->methods[i], extend_kv)) continue;
        s->method = i;
        s->methods[i].table->extend_kv(s->methods[i].run, g->builder, &site, &k, &v);
        leave(g, i, depth);
        if (g->error.code || (!k.id && !v.id) || !whole_strength(g, i, "the keys and values", site.path)) continue;
        if (!k.id || !v.id) graft_graph_error(g, "method %s gave only %s at site %s", s->methods[i].name, k.id ? "keys" : "values", site.path);
        else if (owner) graft_graph_error(g, "both %s and %s extend the keys and values of site %s; only one can", owner, s->methods[i].name, site.path);
        owner = s->methods[i].name;
        n->in[KEY_EXTRA] = k, n->in[VALUE_EXTRA] = v;
    }
}

/* Queries and result of an attention op, before the output projection. */
graft_value graft_site_attention(graft_graph *g, const graft_node *n)
{
    graft_build_state *s = g->state;
    graft_value o = n->out[0];
    if (s->method >= 0 || g->error.code) return o;
    const graft_shape *key = &graft_graph_info(g, n->in[KEY])->shape;
    const int64_t kv = graft_node_int(n, "kv_heads"), width = key->rank == 2 ? key->dims[1] : 0;
    const graft_value q = n->in[0];
    const graft_site site = site_here(g, GRAFT_ROLE_ATTN, kv, kv > 0 ? width / kv : 0, graft_null_value());
    const int32_t depth = s->depth;
    for (int32_t i = 0; i < s->n_methods && !g->error.code; i++) {
        if (!HOOK(&s->methods[i], attention)) continue;
        s->method = i;
        const graft_value now = s->methods[i].table->attention(s->methods[i].run, g->builder, &site, q, o);
        leave(g, i, depth);
        o = blend(g, i, o, checked(g, i, &site, o, now));
    }
    return g->error.code ? graft_null_value() : o;
}

/* ---- what concerns the whole model ------------------------------------------------------------------------------------------------------------------------- */
graft_value graft_graph_positions(graft_graph *g, graft_value positions)
{
    const graft_build_state *s = g->state;
    int64_t before = 0;
    for (int32_t i = 0; i < s->n_methods; i++)
        if (HOOK(&s->methods[i], offset)) before += s->methods[i].table->offset(s->methods[i].run);
    if (!before) return positions;
    return graft_cast(g->builder, graft_affine(g->builder, graft_cast(g->builder, positions, GRAFT_F32), 1.0, (double)before), GRAFT_I32);
}

void graft_site_penalty(graft_builder *b, graft_value term, double weight)
{
    graft_graph *g = graft_graph_of(b);
    const int32_t i = g->state->method;
    if (g->error.code) return;
    const graft_shape *shape = &graft_graph_info(g, term)->shape;
    if (i < 0 || !term.id || shape->rank != 1 || shape->dims[0] != 1) {
        graft_graph_error(g, "a penalty is one number of shape [1] that a method gives");
        return;
    }
    const graft_value weighted = graft_scale(b, term, weight);
    graft_penalty *p = &g->state->penalties[i];
    p->sum = p->terms++ ? graft_add(b, p->sum, weighted) : weighted;
}

graft_value graft_graph_penalty(graft_graph *g)
{
    const graft_build_state *s = g->state;
    graft_value all = graft_null_value();
    for (int32_t i = 0; i < s->n_methods && !g->error.code; i++) {
        const graft_penalty *p = &s->penalties[i];
        if (!p->terms) continue;
        const graft_value mean = graft_scale(g->builder, p->sum, 1.0 / (double)p->terms);
        all = all.id ? graft_add(g->builder, all, mean) : mean;
    }
    return all;
}

int graft_graph_has_penalty(const graft_graph *g)
{
    int64_t terms = 0;
    for (int32_t i = 0; i < g->state->n_methods; i++) terms += g->state->penalties[i].terms;
    return terms > 0;
}

double graft_graph_rate(const graft_graph *g, const graft_value_info *leaf)
{
    const graft_build_state *s = g->state;
    const int32_t i = leaf->from_method >= 0 ? leaf->from_method : leaf->trained_by;
    return i >= 0 && i < s->n_methods && HOOK(&s->methods[i], rate) ? s->methods[i].table->rate(s->methods[i].run, graft_graph_plain_name(leaf->name)) : 1.0;
}

/* Two adapters of one method have parameters of the same names; those of the second begin with "#1/". */
const char *graft_site_leaf_name(graft_graph *g, const char *name)
{
    const graft_build_state *s = g->state;
    for (int32_t i = 0; i < s->method; i++)
        if (s->methods[i].table == s->methods[s->method].table) return graft_build_text(g, "#%d/%s", s->method, name);
    return name;
}

const char *graft_graph_plain_name(const char *name)
{
    const char *slash = *name == '#' ? strchr(name, '/') : NULL;
    return slash ? slash + 1 : name;
}

/* ---- the token table and the head ------------------------------------------------------------------------------------------------------------------------
 * Neither is made by a call that opens its module's path, so the path is changed for the hooks. */
typedef struct elsewhere {
    char path[GRAFT_MAX_PATH];
    int32_t layer;
} elsewhere;

static elsewhere enter(graft_graph *g, const char *path)
{
    graft_build_state *s = g->state;
    elsewhere back = {.layer = s->layer};
    memcpy(back.path, s->path, sizeof back.path);
    if (strlen(path) >= sizeof s->path) graft_graph_error(g, "the path is longer than %d bytes; use shorter names", (int)GRAFT_MAX_PATH - 1);
    else memcpy(s->path, path, strlen(path) + 1);
    s->path_copy = NULL, s->layer = -1;
    return back;
}

static void go_back(graft_graph *g, const elsewhere *back)
{
    memcpy(g->state->path, back->path, sizeof back->path);
    g->state->path_copy = NULL, g->state->layer = back->layer;
}

static graft_value embed_hooks(graft_graph *g, const graft_site *site, graft_value ids, int64_t padding, graft_value y)
{
    graft_build_state *s = g->state;
    const elsewhere back = enter(g, site->path);
    const int32_t depth = s->depth;
    list_site(g, site);
    for (int32_t i = 0; i < s->n_methods && !g->error.code; i++) {
        if (!HOOK(&s->methods[i], embed)) continue;
        s->method = i;
        const graft_value now = s->methods[i].table->embed(s->methods[i].run, g->builder, site, ids, padding, y);
        leave(g, i, depth);
        y = changed(g, i, site, y, now);
    }
    go_back(g, &back);
    return y;
}

graft_value graft_graph_head(graft_graph *g, graft_value rows, graft_value head)
{
    graft_build_state *s = g->state;
    if (g->error.code || !s->n_methods) return graft_null_value();
    const graft_value_info *w = graft_graph_info(g, head);
    const char *dot = w->role == GRAFT_ROLE_HEAD ? strrchr(w->name, '.') : NULL; /* a head that is the embedding has the module's usual name */
    const char *path = dot ? graft_arena_copy(g->arena, w->name, (size_t)(dot - w->name)) : "lm_head";
    if (!path) return graft_null_value();
    const graft_site site = {.size = sizeof site, .role = GRAFT_ROLE_HEAD, .layer = -1, .path = path, .in = w->shape.dims[1], .out = w->shape.dims[0], .weight = head, .layers = (int32_t)s->blocks};
    const elsewhere back = enter(g, path);
    list_site(g, &site);
    const graft_value plain = graft_matmul_nt(g->builder, rows, head), now = linear_hooks(g->builder, &site, rows, plain);
    go_back(g, &back);
    return g->error.code || now.id == plain.id ? graft_null_value() : now;
}

/* ---- virtual tokens ---------------------------------------------------------------------------------------------------------------------------------------
 * The batch gives the virtual tokens of a sequence as its first rows, with the token ids -1, -2 .. -m. The embedding of a negative id is a row of zeros,
 * and -1 - id is negative for every real token, so
 *     embedding = gather(table, tokens) + gather(virtual [m, d], -1 - tokens)
 * holds the right row everywhere, and gradients reach only the rows used. Ids below 2^24 pass f32 exactly. */
static graft_value add_virtual(graft_graph *g, graft_value y, graft_value tokens, graft_value virtual_rows)
{
    graft_builder *b = g->builder;
    const graft_value ids = graft_cast(b, graft_affine(b, graft_cast(b, tokens, GRAFT_F32), -1.0, -1.0), GRAFT_I32);
    return graft_add(b, y, graft_gather(b, virtual_rows, ids));
}

static int is_token_embedding(graft_graph *g, const graft_node *n)
{
    if (strcmp(n->op->name, "gather/1") != 0) return 0;
    const graft_value_info *table = graft_graph_info(g, n->in[0]), *ids = graft_graph_info(g, n->in[1]);
    return table->place == GRAFT_PLACE_WEIGHT && table->role == GRAFT_ROLE_EMBED && ids->place == GRAFT_PLACE_INPUT && !strcmp(ids->name, "tokens");
}

/* The site of a table: its module. */
static graft_site embedding_site(graft_graph *g, graft_value table)
{
    const graft_value_info *t = graft_graph_info(g, table);
    const char *dot = strrchr(t->name, '.');
    const char *path = graft_arena_copy(g->arena, t->name, dot ? (size_t)(dot - t->name) : strlen(t->name));
    return (graft_site){.size = sizeof(graft_site), .role = GRAFT_ROLE_EMBED, .layer = t->layer, .path = path ? path : "", .in = t->shape.dims[0], .out = t->shape.dims[1], .weight = table, .layers = (int32_t)g->state->blocks};
}

graft_value graft_site_extend_input(graft_graph *g, graft_value y)
{
    graft_build_state *s = g->state;
    const graft_node *n = graft_graph_node(g, y);
    if (s->method >= 0 || !n || !is_token_embedding(g, n)) return y;
    s->residual = y;
    if (!s->n_methods) return y;
    const graft_value tokens = n->in[1];
    const graft_site site = embedding_site(g, n->in[0]);
    const char *owner = NULL;
    y = s->residual = embed_hooks(g, &site, tokens, graft_node_int(n, "padding"), y);
    const int32_t depth = s->depth;
    for (int32_t i = 0; i < s->n_methods && !g->error.code; i++) {
        if (!HOOK(&s->methods[i], extend_input)) continue;
        s->method = i;
        const graft_value rows = s->methods[i].table->extend_input(s->methods[i].run, g->builder, &site);
        if (rows.id && !g->error.code && whole_strength(g, i, "the input", site.path)) {
            const graft_shape *shape = &graft_graph_info(g, rows)->shape;
            if (owner) graft_graph_error(g, "both %s and %s put virtual tokens at site %s; only one can", owner, s->methods[i].name, site.path);
            else if (shape->rank != 2 || shape->dims[0] < 1 || shape->dims[1] != site.out) graft_graph_error(g, "method %s gave virtual tokens of shape %s at site %s, expected [m, %lld]", s->methods[i].name, graft_shape_text(g, shape), site.path, (long long)site.out);
            owner = s->methods[i].name;
            s->virtual_tokens = shape->dims[0];
            y = s->residual = add_virtual(g, y, tokens, rows);
        }
        leave(g, i, depth);
    }
    return g->error.code ? graft_null_value() : y;
}
