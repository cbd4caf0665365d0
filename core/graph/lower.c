/* core/graph/lower.c - replaces each op that the backend does not claim by its decomposition, round after round, until only claimed ops remain. */
#include "core/graph/build.h"

#include "core/base/error.h"

#include <string.h>

enum { MAX_ROUNDS = 16 }; /* decompositions go from large ops to small ones: two or three rounds; more would be a circle */

typedef struct lowering {
    graft_graph *g;
    const graft_op_claim *claims;
    int32_t n_claims;
    const char **names;
    int32_t room, *n_names;
    graft_value *map; /* [n_map] value -> what replaced it */
    int32_t n_map;
} lowering;

static int claimed(const lowering *l, const graft_node *n)
{
    const uint64_t id = graft_op_id(n->op->name);
    if (n->op->flags & GRAFT_OP_ALIAS) return 1; /* only a view: the plan makes no instruction of it */
    for (int32_t c = 0; c < l->n_claims; c++) {
        int fits = l->claims[c].op == id;
        for (int32_t k = 0; k < n->n_in && fits; k++) {
            const graft_dtype t = l->g->values[n->in[k].id].shape.dtype;
            fits = !n->in[k].id || t == GRAFT_I32 || (l->claims[c].dtypes >> t & 1u);
        }
        if (fits) return 1;
    }
    return 0;
}

static void note(lowering *l, const char *name)
{
    for (int32_t i = 0; i < *l->n_names && i < l->room; i++)
        if (!strcmp(l->names[i], name)) return;
    if (*l->n_names < l->room) l->names[(*l->n_names)++] = name;
}

static int is_read(const graft_node *rest, int32_t n_rest, const graft_graph *g, graft_value v)
{
    for (int32_t i = 0; i < n_rest; i++)
        for (int32_t k = 0; k < rest[i].n_in; k++)
            if (rest[i].in[k].id == v.id) return 1;
    for (int32_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].value.id == v.id) return 1;
    for (int32_t i = 0; i < g->n_values; i++)
        if (g->values[i].assigned == v.id) return 1;
    return 0;
}

static void replace_outputs(lowering *l, const graft_node *n, const graft_value *out, const graft_node *rest, int32_t n_rest)
{
    graft_graph *g = l->g;
    for (int32_t i = 0; i < n->n_out && !g->error.code; i++) {
        graft_value_info *old = &g->values[n->out[i].id];
        const graft_shape *a = &old->shape, *b = &graft_graph_info(g, out[i])->shape;
        if (!out[i].id) {
            if (is_read(rest, n_rest, g, n->out[i])) graft_build_fail(g, GRAFT_UNSUPPORTED, "output %d of %s is needed, but its decomposition does not offer it", i, n->op->name);
        } else if (a->rank != b->rank || memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) != 0) {
            graft_build_fail(g, GRAFT_INTERNAL, "output %d of %s is %s, but its decomposition gives %s", i, n->op->name, graft_shape_text(g, a), graft_shape_text(g, b));
        }
        l->map[n->out[i].id] = out[i];
        old->node = -2;
    }
}

/* One round over the list. Returns how many nodes were decomposed. */
static int32_t lower_once(lowering *l)
{
    graft_graph *g = l->g;
    int32_t n = 0, changed = 0;
    l->n_map = g->n_values;
    l->map = graft_build_alloc(g, (size_t)l->n_map, sizeof *l->map);
    if (!l->map) return 0;
    graft_node *old = graft_pass_take(g, &n);
    for (int32_t i = 0; i < n && !g->error.code; i++) {
        graft_value out[GRAFT_MAX_OUT] = {{0}};
        for (int32_t k = 0; k < old[i].n_in; k++) old[i].in[k] = graft_pass_resolve(l->map, l->n_map, old[i].in[k]);
        if (claimed(l, &old[i])) {
            graft_pass_keep(g, &old[i]);
            continue;
        }
        graft_pass_begin(g, &old[i], old[i].backward);
        if (!old[i].op->decompose) graft_build_fail(g, GRAFT_UNSUPPORTED, "the backend lacks the op %s for these types, and it has no decomposition; choose another backend", old[i].op->name);
        else old[i].op->decompose(g, &old[i], out);
        replace_outputs(l, &old[i], out, old + i + 1, n - i - 1);
        graft_pass_end(g);
        note(l, old[i].op->name);
        changed++;
    }
    if (!g->error.code) graft_pass_apply(g, l->map, l->n_map);
    return changed;
}

graft_status graft_graph_lower(graft_graph *g, const graft_op_claim *claims, int32_t n, const char **lowered, int32_t room, int32_t *n_lowered, graft_error *err)
{
    lowering l = {.g = g, .claims = claims, .n_claims = n, .names = lowered, .room = room, .n_names = n_lowered};
    *n_lowered = 0;
    graft_graph_prune(g); /* what nobody reads need not be claimed */
    for (int round = 0; !g->error.code; round++) {
        int32_t open = 0;
        for (int32_t i = 0; i < g->n_nodes; i++) open += !claimed(&l, &g->nodes[i]);
        if (!open) break;
        if (round == MAX_ROUNDS) graft_build_fail(g, GRAFT_INTERNAL, "the decompositions of %s and others never end", lowered && *n_lowered ? lowered[0] : "an op");
        else lower_once(&l);
    }
    return graft_graph_check(g, err);
}
