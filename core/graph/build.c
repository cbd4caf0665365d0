/* core/graph/build.c - the graph as data, and the builder that model and method plugins, op records and core emit through.
 *
 * Sticky: the first failure stays in graph->error with the path where it happened; afterwards every call does nothing and gives the null value.
 * Growth leaves old arrays in the arena, so a pointer to a node or value info taken before an emission still reads what it read. */
#include "core/graph/build.h"

#include "core/base/error.h"
#include "core/base/str.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

graft_graph *graft_graph_of(graft_builder *b) { return ((graft_builder_owner *)b)->graph; }

/* ---- errors and memory ---------------------------------------------------------------------------------------------------------------------- */
static void fail(graft_graph *g, graft_status code, const char *fmt, va_list args)
{
    char message[sizeof g->error.message];
    if (g->error.code) return;
    vsnprintf(message, sizeof message, fmt, args);
    const char *where = g->state->pass_path ? g->state->pass_path : g->state->path;
    graft_fail(&g->error, code, where, "%s", message);
}

void graft_graph_error(graft_graph *g, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail(g, GRAFT_BAD_INPUT, fmt, args);
    va_end(args);
}

void graft_build_fail(graft_graph *g, graft_status code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail(g, code, fmt, args);
    va_end(args);
}

static void build_error(graft_builder *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail(graft_graph_of(b), GRAFT_BAD_INPUT, fmt, args);
    va_end(args);
}

graft_status graft_graph_check(const graft_graph *g, graft_error *err)
{
    if (!g->error.code) return GRAFT_OK;
    return graft_fail(err, g->error.code, g->error.where, "%s", g->error.message);
}

void *graft_build_alloc(graft_graph *g, size_t n, size_t size)
{
    size_t bytes = 0;
    void *p = __builtin_mul_overflow(n, size, &bytes) ? NULL : graft_arena_alloc(g->arena, bytes ? bytes : 1);
    if (!p) graft_build_fail(g, GRAFT_NO_MEMORY, "no memory for %zu items of %zu bytes", n, size);
    return p;
}

char *graft_build_text(graft_graph *g, const char *fmt, ...)
{
    char text[2 * GRAFT_MAX_PATH];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof text) {
        graft_build_fail(g, GRAFT_BAD_INPUT, "a name is longer than %zu bytes; use shorter path parts", sizeof text - 1);
        return NULL;
    }
    char *copy = graft_build_alloc(g, (size_t)n + 1, 1);
    if (copy) memcpy(copy, text, (size_t)n);
    return copy;
}

int graft_build_room(graft_graph *g, void **items, size_t *room, size_t have, size_t size)
{
    if (have < *room) return 0;
    const size_t now = *room ? 2 * *room : 256;
    void *p = graft_build_alloc(g, now, size);
    if (!p) return -1;
    if (have) memcpy(p, *items, have * size);
    *items = p, *room = now;
    return 0;
}

/* ---- paths -------------------------------------------------------------------------------------------------------------------------------------- */
const char *graft_build_path(graft_graph *g)
{
    graft_build_state *s = g->state;
    if (s->pass_path) return s->pass_path;
    if (!s->path_copy) s->path_copy = graft_arena_copy(g->arena, s->path, strlen(s->path));
    return s->path_copy ? s->path_copy : "";
}

int32_t graft_build_layer(const graft_graph *g) { return g->state->pass_path ? g->state->pass_layer : g->state->layer; }

void graft_build_push(graft_builder *b, const char *name, int64_t index)
{
    graft_graph *g = graft_graph_of(b);
    graft_build_state *s = g->state;
    if (g->error.code) return;
    const size_t used = strlen(s->path), room = sizeof s->path - used;
    int n = 0;
    if (!name || !*name) graft_graph_error(g, "push needs a name");
    else if (s->depth == GRAFT_MAX_DEPTH) graft_graph_error(g, "more than %d open path parts; is a pop missing?", (int)GRAFT_MAX_DEPTH);
    else if (index > INT32_MAX) graft_graph_error(g, "the index of \"%s\" is %lld, at most %d is possible", name, (long long)index, INT32_MAX);
    if (g->error.code) return;
    if (index < 0) n = snprintf(s->path + used, room, "%s%s", used ? "." : "", name);
    else n = snprintf(s->path + used, room, "%s%s.%lld", used ? "." : "", name, (long long)index);
    if (n < 0 || (size_t)n >= room) {
        s->path[used] = 0;
        graft_graph_error(g, "the path is longer than %d bytes; use shorter names", (int)GRAFT_MAX_PATH - 1);
        return;
    }
    s->lengths[s->depth] = used;
    s->layers[s->depth++] = s->layer;
    if (index >= 0 && s->layer < 0) s->layer = (int32_t)index; /* the first index on the path is the block's */
    s->path_copy = NULL;
}

void graft_build_pop(graft_builder *b)
{
    graft_graph *g = graft_graph_of(b);
    graft_build_state *s = g->state;
    if (g->error.code) return;
    if (!s->depth) {
        graft_graph_error(g, "pop without a push");
        return;
    }
    s->depth--;
    s->path[s->lengths[s->depth]] = 0;
    s->layer = s->layers[s->depth];
    s->path_copy = NULL;
}

/* ---- values and leaves ------------------------------------------------------------------------------------------------------------------------ */
static graft_value add_value(graft_graph *g, const graft_value_info *info)
{
    if (graft_build_room(g, (void **)&g->values, &g->state->room_values, (size_t)g->n_values, sizeof *g->values)) return graft_null_value();
    g->values[g->n_values] = *info;
    return graft_value_of(g->n_values++);
}

static int shape_fits(graft_graph *g, const char *name, const graft_shape *s, int symbols)
{
    int64_t n = 1;
    if (s->rank < 0 || s->rank > GRAFT_MAX_RANK) {
        graft_graph_error(g, "\"%s\" has rank %d, expected 0 to %d", name, s->rank, (int)GRAFT_MAX_RANK);
        return 0;
    }
    for (int32_t i = 0; i < s->rank; i++) {
        const int64_t d = s->dims[i];
        if (d < (symbols ? -GRAFT_SYMBOLS : 1) || (d > 0 && graft_mul_overflows(n, d, &n))) {
            graft_graph_error(g, "\"%s\" cannot have the shape %s: axis %d is %lld", name, graft_shape_text(g, s), i, (long long)d);
            return 0;
        }
    }
    return n <= INT64_MAX / 64;
}

graft_value graft_build_leaf(graft_graph *g, const graft_value_info *info, const char *name)
{
    if (g->error.code || !shape_fits(g, name, &info->shape, info->place != GRAFT_PLACE_WEIGHT)) return graft_null_value();
    if (graft_names_find(&g->state->leaves, name)) {
        graft_graph_error(g, "\"%s\" is made twice; names of leaves are unique", name);
        return graft_null_value();
    }
    graft_value_info leaf = *info;
    leaf.name = graft_arena_copy(g->arena, name, strlen(name));
    leaf.node = -1;
    const graft_value v = leaf.name ? add_value(g, &leaf) : graft_null_value();
    if (!v.id || graft_names_put(&g->state->leaves, g->arena, leaf.name, (int32_t)v.id)) {
        graft_build_fail(g, GRAFT_NO_MEMORY, "no memory for \"%s\"", name);
        return graft_null_value();
    }
    return v;
}

static graft_value core_leaf(graft_graph *g, graft_place place, const char *name, graft_dtype dtype, int rank, const int64_t *dims, const float *data)
{
    graft_value_info info = {.shape = {.dtype = dtype, .rank = rank}, .place = place, .layer = -1, .from_method = -1, .trained_by = -1, .data = data};
    if (rank > 0 && rank <= GRAFT_MAX_RANK) memcpy(info.shape.dims, dims, (size_t)rank * sizeof *dims);
    return graft_build_leaf(g, &info, name);
}

graft_value graft_graph_input(graft_graph *g, const char *name, graft_dtype dtype, int rank, const int64_t *dims)
{
    return core_leaf(g, GRAFT_PLACE_INPUT, name, dtype, rank, dims, NULL);
}

graft_value graft_graph_state(graft_graph *g, const char *name, graft_dtype dtype, int rank, const int64_t *dims)
{
    return core_leaf(g, GRAFT_PLACE_STATE, name, dtype, rank, dims, NULL);
}

static graft_value build_constant(graft_builder *b, const char *name, int rank, const int64_t *dims, const float *data)
{
    graft_graph *g = graft_graph_of(b);
    if (g->error.code) return graft_null_value();
    const char *path = graft_build_path(g), *full = graft_build_text(g, "%s%s%s", path, *path ? "." : "", name);
    graft_value_info info = {.shape = {.dtype = GRAFT_F32, .rank = rank}, .place = GRAFT_PLACE_CONSTANT, .layer = graft_build_layer(g), .from_method = -1, .trained_by = -1};
    int64_t n = 1;
    for (int i = 0; i < rank && i < GRAFT_MAX_RANK; i++) {
        info.shape.dims[i] = dims[i];
        if (dims[i] < 0) graft_graph_error(g, "the constant \"%s\" needs a constant shape", name);
        else if (graft_mul_overflows(n, dims[i], &n) || n > (1 << 28)) graft_graph_error(g, "the constant \"%s\" has more than 2^28 elements", name);
    }
    float *copy = g->error.code || !full ? NULL : graft_build_alloc(g, (size_t)n, sizeof *copy);
    if (!copy) return graft_null_value();
    if (n) memcpy(copy, data, (size_t)n * sizeof *copy);
    info.data = copy;
    return graft_build_leaf(g, &info, full);
}

/* The same name gives the same value, so that a tied weight or a method's second look at a parameter is one leaf. */
static graft_value known_param(graft_graph *g, int32_t id, const graft_shape *want)
{
    const graft_value_info *info = &g->values[id];
    int same = info->place == GRAFT_PLACE_WEIGHT && info->shape.rank == want->rank;
    for (int32_t i = 0; same && i < want->rank; i++) same = info->shape.dims[i] == want->dims[i];
    if (same) return graft_value_of(id);
    graft_graph_error(g, "parameter \"%s\" is %s here and was %s before", info->name, graft_shape_text(g, want), graft_shape_text(g, &info->shape));
    return graft_null_value();
}

graft_value graft_build_param(graft_builder *b, const char *name, const graft_param *p)
{
    graft_graph *g = graft_graph_of(b);
    if (g->error.code) return graft_null_value();
    if (!name || !*name || !p) {
        graft_graph_error(g, "param needs a name and a description");
        return graft_null_value();
    }
    const int absolute = *name == '/'; /* a parameter of the whole model, not of this path */
    const char *path = absolute ? "" : graft_build_path(g), *full = graft_build_text(g, "%s%s%s", path, *path ? "." : "", name + absolute);
    const int in_hook = g->state->method >= 0;
    if (!full) return graft_null_value();
    if (in_hook && p->start != GRAFT_START_CHECKPOINT && !(full = graft_site_leaf_name(g, full))) return graft_null_value();
    graft_value_info info = {.shape = {.dtype = GRAFT_F32, .rank = p->rank}, .place = GRAFT_PLACE_WEIGHT, .trained_by = -1, .layer = absolute ? -1 : graft_build_layer(g), .start = p->start, .start_arg = p->arg, .from_method = in_hook && p->start != GRAFT_START_CHECKPOINT ? g->state->method : -1, .role = p->role};
    if (p->start < GRAFT_START_CHECKPOINT || p->start > GRAFT_START_KAIMING_UNIFORM) graft_graph_error(g, "parameter \"%s\" has the unknown start %d", full, (int)p->start);
    if (p->rank > 0 && p->rank <= GRAFT_MAX_RANK) memcpy(info.shape.dims, p->dims, (size_t)p->rank * sizeof *p->dims);
    const int32_t *known = graft_names_find(&g->state->leaves, full);
    if (known) return known_param(g, *known, &info.shape);
    if (info.from_method < 0) info.trained_by = graft_site_trains(g, p, full);
    info.trainable = info.from_method >= 0 || info.trained_by >= 0;
    return graft_build_leaf(g, &info, full);
}

graft_value graft_graph_find(const graft_graph *g, const char *name)
{
    const int32_t *id = graft_names_find(&g->state->leaves, name);
    return id ? graft_value_of(*id) : graft_null_value();
}

const graft_value_info *graft_graph_info(const graft_graph *g, graft_value v) { return &g->values[v.id < (uint32_t)g->n_values ? v.id : 0]; }

graft_node *graft_graph_node(graft_graph *g, graft_value v)
{
    const int32_t i = graft_graph_info(g, v)->node;
    return v.id && i >= 0 && i < g->n_nodes ? &g->nodes[i] : NULL;
}

double graft_node_real(const graft_node *n, const char *key)
{
    for (int32_t i = 0; i < n->n_attr; i++)
        if (!strcmp(n->attr[i].key, key)) return n->attr[i].type == GRAFT_ATTR_REAL ? n->attr[i].r : (double)n->attr[i].i;
    return 0.0;
}

int64_t graft_node_int(const graft_node *n, const char *key)
{
    for (int32_t i = 0; i < n->n_attr; i++)
        if (!strcmp(n->attr[i].key, key)) return n->attr[i].i;
    return 0;
}

/* ---- ops ---------------------------------------------------------------------------------------------------------------------------------------- */
static int32_t count_rules(const graft_op_record *op)
{
    int32_t n = 0;
    while (n < GRAFT_MAX_ATTR && op->attrs[n].key) n++;
    return n;
}

static const graft_attr *given_attr(const graft_attr *attr, int n, const char *key)
{
    for (int i = 0; i < n; i++)
        if (attr[i].key && !strcmp(attr[i].key, key)) return &attr[i];
    return NULL;
}

static void refuse_attr(graft_graph *g, const graft_op_record *op, const char *key)
{
    const char *names[GRAFT_MAX_ATTR] = {NULL};
    graft_str list;
    graft_str_init(&list, 512);
    for (int32_t i = 0; i < count_rules(op); i++) {
        names[i] = op->attrs[i].key;
        graft_str_printf(&list, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = graft_nearest(key, names, (size_t)count_rules(op));
    if (!list.bytes) graft_graph_error(g, "%s has no attribute \"%s\"; it has none at all", op->name, key);
    else if (near) graft_graph_error(g, "%s has no attribute \"%s\"; did you mean \"%s\"?", op->name, key, near);
    else graft_graph_error(g, "%s has no attribute \"%s\"; it has: %s", op->name, key, list.data);
    graft_str_free(&list);
}

/* Random numbers differ from call to call and are the same in every graph of a model: the stream is a hash of the path and of how many calls came before it there. */
static int64_t stream_of(graft_graph *g)
{
    const char *path = graft_build_path(g);
    const int32_t *seen = graft_names_find(&g->state->streams, path);
    const int32_t count = seen ? *seen : 0;
    char text[GRAFT_MAX_PATH + 32];
    if (graft_names_put(&g->state->streams, g->arena, path, count + 1)) graft_build_fail(g, GRAFT_NO_MEMORY, "no memory for the stream of \"%s\"", path);
    snprintf(text, sizeof text, "%s#%d", path, count);
    return (int64_t)(graft_op_id(text) >> 1) | 1;
}

static int take_attr(graft_graph *g, const graft_op_record *op, const graft_attr_rule *rule, const graft_attr *given, graft_attr *out)
{
    *out = (graft_attr){rule->key, rule->type, (int64_t)rule->fallback, rule->fallback};
    if (!given) {
        if (rule->required) graft_graph_error(g, "%s needs the attribute \"%s\"", op->name, rule->key);
    } else if (rule->type == GRAFT_ATTR_INT) {
        if (given->type != GRAFT_ATTR_INT) graft_graph_error(g, "attribute \"%s\" of %s is an integer, found a real number", rule->key, op->name);
        out->i = given->i;
    } else {
        out->r = given->type == GRAFT_ATTR_REAL ? given->r : (double)given->i;
        if (isnan(out->r)) graft_graph_error(g, "attribute \"%s\" of %s is not a number", rule->key, op->name);
    }
    if (rule->type == GRAFT_ATTR_INT) out->r = 0.0;
    else out->i = 0;
    if (!g->error.code && !strcmp(rule->key, "stream") && out->i == 0) out->i = stream_of(g);
    return g->error.code ? -1 : 0;
}

static int fill_attrs(graft_graph *g, graft_node *n, int n_attr, const graft_attr *attr)
{
    const graft_op_record *op = n->op;
    n->n_attr = count_rules(op);
    for (int i = 0; i < n_attr; i++) {
        int known = 0;
        for (int32_t k = 0; k < n->n_attr; k++) known |= attr[i].key && !strcmp(op->attrs[k].key, attr[i].key);
        if (!known) refuse_attr(g, op, attr[i].key ? attr[i].key : "(null)");
        else if (given_attr(attr, i, attr[i].key)) graft_graph_error(g, "attribute \"%s\" of %s is given twice", attr[i].key, op->name);
        if (g->error.code) return -1;
    }
    for (int32_t k = 0; k < n->n_attr; k++)
        if (take_attr(g, op, &op->attrs[k], given_attr(attr, n_attr, op->attrs[k].key), &n->attr[k])) return -1;
    return 0;
}

static int fill_inputs(graft_graph *g, graft_node *n, int n_in, const graft_value *in)
{
    const graft_op_record *op = n->op;
    if (n_in < op->min_in || n_in > op->max_in) {
        if (op->min_in == op->max_in) graft_graph_error(g, "%s takes %d inputs, found %d", op->name, op->min_in, n_in);
        else graft_graph_error(g, "%s takes %d to %d inputs, found %d", op->name, op->min_in, op->max_in, n_in);
        return -1;
    }
    n->n_in = op->max_in;
    for (int i = 0; i < n_in; i++) {
        const int optional = i >= op->min_in || (op->optional >> i & 1u);
        if (in[i].id >= (uint32_t)g->n_values) graft_graph_error(g, "input %d of %s is value %u, which is not of this graph", i + 1, op->name, (unsigned)in[i].id);
        else if (!in[i].id && !optional) graft_graph_error(g, "input %d of %s is the null value", i + 1, op->name);
        n->in[i] = in[i];
    }
    return g->error.code ? -1 : 0;
}

static int append_node(graft_graph *g, const graft_node *n)
{
    graft_build_state *s = g->state;
    if (g->n_nodes == GRAFT_MAX_NODES) {
        graft_graph_error(g, "the graph has more than %d nodes; does the configuration ask for too many layers?", (int)GRAFT_MAX_NODES);
        return -1;
    }
    if (graft_build_room(g, (void **)&g->nodes, &s->room_nodes, (size_t)g->n_nodes, sizeof *g->nodes)) return -1;
    g->nodes[g->n_nodes++] = *n;
    return 0;
}

static graft_value build_op(graft_builder *b, const char *name, int n_in, const graft_value *in, int n_attr, const graft_attr *attr)
{
    graft_graph *g = graft_graph_of(b);
    graft_build_state *s = g->state;
    if (g->error.code) return graft_null_value();
    graft_node n = {.op = name ? graft_op_find(name) : NULL};
    if (!n.op) {
        graft_build_fail(g, GRAFT_UNSUPPORTED, "this graft has no op \"%s\"; the plugin may need a newer one", name ? name : "");
        return graft_null_value();
    }
    n.path = graft_build_path(g), n.layer = graft_build_layer(g), n.backward = s->pass_backward;
    if (fill_inputs(g, &n, n_in, in) || fill_attrs(g, &n, n_attr, attr)) return graft_null_value();
    if ((n.op->flags & GRAFT_OP_KV) && !s->passing) graft_site_extend_kv(g, &n);
    graft_shape out[GRAFT_MAX_OUT] = {{0}};
    n.n_out = n.op->n_out;
    if (g->error.code || n.op->shape(g, &n, out) || g->error.code) {
        graft_graph_error(g, "%s does not accept these inputs", n.op->name);
        return graft_null_value();
    }
    for (int32_t i = 0; i < n.n_out; i++) {
        const graft_value_info info = {.shape = out[i], .place = GRAFT_PLACE_ARENA, .name = n.path, .node = g->n_nodes, .index = i, .layer = n.layer, .from_method = -1, .trained_by = -1};
        if (!(n.out[i] = add_value(g, &info)).id) return graft_null_value();
    }
    if (append_node(g, &n)) return graft_null_value();
    if (s->passing) return n.out[0];
    graft_site_follow(g, &n);
    return (n.op->flags & GRAFT_OP_KV) ? graft_site_attention(g, &n) : graft_site_extend_input(g, n.out[0]);
}

static graft_value build_output(graft_builder *b, graft_value v, int index)
{
    graft_graph *g = graft_graph_of(b);
    if (g->error.code) return graft_null_value();
    const graft_node *n = graft_graph_node(g, v);
    if (n && index >= 0 && index < n->n_out) return n->out[index];
    if (n) graft_graph_error(g, "%s has %d outputs, there is no output %d", n->op->name, n->n_out, index);
    else graft_graph_error(g, "output %d was asked of a value that no op made", index);
    return graft_null_value();
}

static int build_shape(graft_builder *b, graft_value v, int64_t dims[GRAFT_MAX_RANK])
{
    const graft_shape *s = &graft_graph_info(graft_graph_of(b), v)->shape;
    for (int i = 0; i < GRAFT_MAX_RANK; i++) dims[i] = i < s->rank ? s->dims[i] : 0;
    return s->rank;
}

static graft_value build_detach(graft_builder *b, graft_value v)
{
    graft_graph *g = graft_graph_of(b);
    int64_t dims[GRAFT_MAX_RANK];
    const int rank = build_shape(b, v, dims);
    const graft_value out = graft_reshape(b, v, rank, dims);
    if (out.id) g->values[out.id].detached = 1;
    return out;
}

static int build_fits(graft_builder *b, const char *pattern, const char *path) { return graft_selector_fits(graft_graph_of(b), pattern, path); }

static int build_matches(graft_builder *b, const graft_config *c, const char *key, const graft_site *s) { return graft_selector_matches(graft_graph_of(b), c, key, s); }

/* ---- the graph ------------------------------------------------------------------------------------------------------------------------------------ */
static const graft_graph_api builder_api = {
    .size = sizeof builder_api,
    .push = graft_build_push,
    .pop = graft_build_pop,
    .param = graft_build_param,
    .constant = build_constant,
    .op = build_op,
    .output = build_output,
    .linear = graft_site_linear,
    .mark = graft_site_mark,
    .shape = build_shape,
    .error = build_error,
    .matches = build_matches,
    .fits = build_fits,
    .penalty = graft_site_penalty,
    .detach = build_detach,
    .experts = graft_site_experts,
};

graft_graph *graft_graph_new(void)
{
    graft_arena *a = graft_arena_new();
    graft_graph *g = a ? graft_arena_alloc(a, sizeof *g) : NULL;
    graft_build_state *s = g ? graft_arena_alloc(a, sizeof *s) : NULL;
    if (!s) {
        graft_arena_free(a);
        return NULL;
    }
    s->owner = (graft_builder_owner){{&builder_api}, g};
    s->layer = s->pass_layer = s->method = -1;
    g->builder = &s->owner.base, g->arena = a, g->state = s;
    g->error.size = (uint32_t)sizeof g->error;
    const graft_value_info none = {.name = "", .node = -1, .layer = -1, .from_method = -1, .trained_by = -1};
    add_value(g, &none);
    if (!g->n_values) {
        graft_arena_free(a);
        return NULL;
    }
    return g;
}

void graft_graph_free(graft_graph *g)
{
    if (!g) return;
    graft_selectors_free(g->state->selectors);
    graft_arena_free(g->arena);
}

void graft_graph_output(graft_graph *g, const char *name, graft_value v)
{
    if (g->error.code) return;
    if (!v.id || v.id >= (uint32_t)g->n_values) {
        graft_graph_error(g, "the output \"%s\" is the null value", name);
        return;
    }
    for (int32_t i = 0; i < g->n_outputs; i++)
        if (!strcmp(g->outputs[i].name, name)) graft_graph_error(g, "there are two outputs \"%s\"", name);
    const char *copy = graft_build_text(g, "%s", name);
    if (!copy || g->error.code || graft_build_room(g, (void **)&g->outputs, &g->state->room_outputs, (size_t)g->n_outputs, sizeof *g->outputs)) return;
    g->outputs[g->n_outputs++] = (graft_output){copy, v};
}

void graft_graph_assign(graft_graph *g, graft_value leaf, graft_value now)
{
    if (g->error.code) return;
    graft_value_info *info = &g->values[leaf.id < (uint32_t)g->n_values ? leaf.id : 0];
    if (!leaf.id || info->node >= 0 || (info->place != GRAFT_PLACE_STATE && info->place != GRAFT_PLACE_WEIGHT)) graft_graph_error(g, "only weights and states can be assigned to");
    else if (!now.id || now.id >= (uint32_t)g->n_values) graft_graph_error(g, "\"%s\" is assigned the null value", info->name);
    else if (info->assigned && info->assigned != now.id) graft_graph_error(g, "\"%s\" is assigned twice", info->name);
    else info->assigned = now.id;
}

void graft_graph_replace(graft_graph *g, graft_value old, graft_value now)
{
    if (g->error.code || !old.id || old.id == now.id) return;
    const graft_node *maker = graft_graph_node(g, now); /* may read `old` itself: y -> f(y) */
    for (int32_t i = 0; i < g->n_nodes; i++)
        for (int32_t k = 0; k < g->nodes[i].n_in && &g->nodes[i] != maker; k++)
            if (g->nodes[i].in[k].id == old.id) g->nodes[i].in[k] = now;
    for (int32_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].value.id == old.id) g->outputs[i].value = now;
    for (int32_t i = 0; i < g->n_values; i++)
        if (g->values[i].assigned == old.id) g->values[i].assigned = now.id;
}
