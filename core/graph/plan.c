/* core/graph/plan.c - from a graph to a program: which values share memory, where each lives, and the straight list of instructions.
 *
 * Values are put into groups that share one piece of memory:
 *   alias     reshape's output is its input;
 *   in place  an output takes over an input that dies at its node (the op record's inplace and accumulate rules);
 *   assigned  a value that becomes the content of a WEIGHT or STATE leaf takes over the leaf, back along its chain of in-place ops,
 *             if nobody reads the old content afterwards; otherwise a copy is appended at the end.
 * Groups without a leaf live from their first value to their last reader and are packed into the arena (place.c). Outputs have their own place. */
#include "core/graph/plan.h"

#include "core/base/error.h"
#include "core/graph/place.h"
#include "core/graph/store.h"

#include <string.h>

enum { ALIGN = 64 };

typedef struct group {
    uint32_t leaf; /* value id, 0: none */
    graft_place place;
    int64_t bytes, offset;
    int32_t first, last;
} group;

typedef struct planner {
    const graft_graph *g;
    const graft_store *store;
    const int64_t *capacity;
    graft_plan *plan;
    graft_arena *scratch;
    graft_error *err;
    int32_t *last;      /* by value: last reading node, -1 none, n_nodes at the end of the run */
    uint32_t *root;     /* by value: the value whose memory it is by aliasing alone */
    int32_t *root_last; /* by root: last reader of any alias */
    int32_t *group_of;  /* by value: -1 none */
    uint32_t *becomes;  /* by root: leaf whose memory it takes over, 0 none */
    uint32_t *copies;   /* by leaf: value to copy into it at the end, 0 none */
    group *groups;
    int32_t n_groups;
    int32_t *tensor_of; /* by value */
} planner;

static graft_status no_memory(const planner *p) { return graft_fail(p->err, GRAFT_NO_MEMORY, NULL, "no memory to plan a graph of %d values", p->g->n_values); }

static const graft_value_info *info(const planner *p, uint32_t v) { return &p->g->values[v]; }
static int is_leaf(const planner *p, uint32_t v) { return p->g->values[v].node < 0; }

/* The same number of elements for all sizes of the symbols, and the same element type. */
static int same_bytes(const graft_shape *a, const graft_shape *b)
{
    int64_t constant[2] = {1, 1};
    int count[2][GRAFT_SYMBOLS] = {{0}};
    const graft_shape *s[2] = {a, b};
    if (a->dtype != b->dtype) return 0;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < s[k]->rank; i++) {
            if (s[k]->dims[i] < 0) count[k][-s[k]->dims[i] - 1]++;
            else if (graft_mul_overflows(constant[k], s[k]->dims[i], &constant[k])) return 0;
        }
    return constant[0] == constant[1] && !memcmp(count[0], count[1], sizeof count[0]);
}

/* ---- who reads what, and when -------------------------------------------------------------------------------------- */

static void find_readers(planner *p)
{
    const graft_graph *g = p->g;
    for (int32_t v = 0; v < g->n_values; v++) p->last[v] = -1, p->root[v] = (uint32_t)v, p->group_of[v] = -1, p->tensor_of[v] = -1;
    for (int32_t k = 0; k < g->n_nodes; k++) {
        const graft_node *n = &g->nodes[k];
        for (int32_t i = 0; i < n->n_in; i++) p->last[n->in[i].id] = k;
        if (n->op->flags & GRAFT_OP_ALIAS) p->root[n->out[0].id] = p->root[n->in[0].id];
    }
    for (int32_t i = 0; i < g->n_outputs; i++) p->last[g->outputs[i].value.id] = g->n_nodes;
    for (int32_t v = 1; v < g->n_values; v++)
        if (g->values[v].assigned) p->last[g->values[v].assigned] = g->n_nodes;
    for (int32_t v = 0; v < g->n_values; v++) p->root_last[v] = -1;
    for (int32_t v = 1; v < g->n_values; v++)
        if (p->last[v] > p->root_last[p->root[v]]) p->root_last[p->root[v]] = p->last[v];
}

/* The inputs that output i of node n may overwrite: fills which[2], returns how many. */
static int overwritable(const graft_node *n, int i, int which[2])
{
    int count = 0;
    const int slots[2] = {n->op->accumulate[i] - 1, n->op->inplace[i] - 1};
    for (int k = 0; k < 2; k++)
        if (slots[k] >= 0 && slots[k] < n->n_in && n->in[slots[k]].id && (!count || slots[k] != which[0])) which[count++] = slots[k];
    return count;
}

/* May output i of node k be written over its input `slot`, as far as the two shapes and the node's other inputs go? */
static int may_overwrite(const planner *p, int32_t k, int i, int slot)
{
    const graft_node *n = &p->g->nodes[k];
    if (!same_bytes(&info(p, n->out[i].id)->shape, &info(p, n->in[slot].id)->shape)) return 0;
    for (int j = 0; j < n->n_in; j++)
        if (j != slot && n->in[j].id && p->root[n->in[j].id] == p->root[n->in[slot].id]) return 0;
    return 1;
}

/* ---- assigned leaves ----------------------------------------------------------------------------------------------- */

/* Walks from the new content back along in-place ops. True when the whole chain can live in the leaf's memory; the chain is then marked. */
static int take_over(planner *p, uint32_t leaf)
{
    uint32_t cur = p->root[info(p, leaf)->assigned], chain[64];
    int n_chain = 0;
    if (cur == leaf) return 1;
    for (;;) {
        if (is_leaf(p, cur) || p->becomes[cur] || n_chain == 64 || !same_bytes(&info(p, cur)->shape, &info(p, leaf)->shape)) return 0;
        chain[n_chain++] = cur;
        const int32_t k = info(p, cur)->node;
        const graft_node *n = &p->g->nodes[k];
        int which[2];
        const int count = overwritable(n, info(p, cur)->index, which);
        uint32_t next = 0;
        for (int c = 0; c < count; c++) {
            const uint32_t u = p->root[n->in[which[c]].id];
            if (!may_overwrite(p, k, info(p, cur)->index, which[c]) || p->root_last[u] > k) continue;
            if (u == leaf) goto marked;
            if (!next && !is_leaf(p, u)) next = u;
        }
        if (!next) {
            if (p->root_last[leaf] >= k) return 0;
            break;
        }
        cur = next;
    }
marked:
    for (int i = 0; i < n_chain; i++) p->becomes[chain[i]] = leaf;
    return 1;
}

static graft_status assign_leaves(planner *p)
{
    for (int32_t v = 1; v < p->g->n_values; v++) {
        const graft_value_info *leaf = info(p, (uint32_t)v);
        if (!leaf->assigned || take_over(p, (uint32_t)v)) continue;
        const uint32_t from = p->root[leaf->assigned];
        if (leaf->shape.dtype != GRAFT_F32 || (is_leaf(p, from) && info(p, from)->assigned))
            return graft_fail(p->err, GRAFT_UNSUPPORTED, leaf->name, "the new content of this tensor can neither be made in place nor copied at the end");
        p->copies[v] = leaf->assigned;
    }
    return GRAFT_OK;
}

/* ---- groups --------------------------------------------------------------------------------------------------------- */

static int32_t new_group(planner *p, uint32_t value, uint32_t leaf, graft_place place, int32_t first)
{
    p->groups[p->n_groups] = (group){leaf, place, graft_shape_bytes(&info(p, value)->shape, p->capacity), 0, first, first};
    return p->n_groups++;
}

static void join(planner *p, uint32_t value, int32_t group_index)
{
    p->group_of[value] = group_index;
    if (p->last[value] > p->groups[group_index].last) p->groups[group_index].last = p->last[value];
}

static int32_t leaf_group(planner *p, uint32_t leaf)
{
    if (p->group_of[leaf] < 0) join(p, leaf, new_group(p, leaf, leaf, info(p, leaf)->place, 0));
    return p->group_of[leaf];
}

/* The group of an input that dies at node k and that no other output of the node has taken: memory for output i. -1: none. */
static int32_t dying_input(planner *p, int32_t k, int i)
{
    const graft_node *n = &p->g->nodes[k];
    int which[2];
    const int count = overwritable(n, i, which);
    for (int c = 0; c < count; c++) {
        const uint32_t u = n->in[which[c]].id;
        const int32_t at = p->group_of[u];
        if (at < 0 || p->groups[at].leaf || p->groups[at].last != k || !may_overwrite(p, k, i, which[c])) continue;
        int free = 1;
        for (int j = 0; j < n->n_out; j++) free &= j == i || !n->out[j].id || p->group_of[n->out[j].id] != at;
        for (int j = 0; j < n->n_in; j++) free &= j == which[c] || !n->in[j].id || p->group_of[n->in[j].id] != at;
        if (free) return at;
    }
    return -1;
}

static int is_read(const planner *p, uint32_t v) { return v && (p->last[v] >= 0 || p->root_last[p->root[v]] >= 0); }

static graft_status make_groups(planner *p)
{
    const graft_graph *g = p->g;
    for (int32_t k = 0; k < g->n_nodes; k++) {
        const graft_node *n = &g->nodes[k];
        for (int32_t i = 0; i < n->n_in; i++)
            if (n->in[i].id && is_leaf(p, n->in[i].id)) leaf_group(p, n->in[i].id);
        if (n->op->flags & GRAFT_OP_ALIAS) {
            join(p, n->out[0].id, p->group_of[n->in[0].id]);
            continue;
        }
        for (int i = 0; i < n->n_out; i++) {
            const uint32_t v = n->out[i].id;
            if (!is_read(p, v)) continue;
            int32_t at = p->becomes[v] ? leaf_group(p, p->becomes[v]) : dying_input(p, k, i);
            if (at < 0) at = new_group(p, v, 0, GRAFT_PLACE_ARENA, k);
            join(p, v, at);
        }
    }
    for (int32_t v = 1; v < g->n_values; v++)
        if (is_leaf(p, (uint32_t)v) && (g->values[v].assigned || p->last[v] >= 0)) leaf_group(p, (uint32_t)v);
    for (int32_t i = 0; i < g->n_outputs; i++) {
        group *at = &p->groups[p->group_of[g->outputs[i].value.id]];
        if (!at->leaf) at->place = GRAFT_PLACE_OUTPUT;
    }
    for (int32_t i = 0; i < p->n_groups; i++)
        if (p->groups[i].bytes < 0) return graft_fail(p->err, GRAFT_BAD_INPUT, NULL, "a tensor of the graph is larger than this machine can address; use a smaller batch or cutoff_len");
    return GRAFT_OK;
}

/* ---- offsets ---------------------------------------------------------------------------------------------------------- */

static graft_status next_offset(planner *p, graft_place place, int64_t bytes, int64_t *offset)
{
    int64_t end;
    *offset = p->plan->bytes[place];
    if (graft_add_overflows(*offset, bytes, &end) || graft_add_overflows(end, ALIGN - 1, &end)) return graft_fail(p->err, GRAFT_BAD_INPUT, NULL, "the graph is larger than this machine can address");
    p->plan->bytes[place] = end / ALIGN * ALIGN;
    return GRAFT_OK;
}

static graft_status place_groups(planner *p)
{
    graft_block *blocks = graft_arena_alloc(p->scratch, ((size_t)p->n_groups + 1) * sizeof *blocks);
    if (!blocks) return no_memory(p);
    int32_t n = 0;
    for (int32_t i = 0; i < p->n_groups; i++) {
        group *at = &p->groups[i];
        if (at->place == GRAFT_PLACE_ARENA) {
            blocks[n++] = (graft_block){at->bytes, at->first, at->last > at->first ? at->last : at->first, 0};
            continue;
        }
        const int stored = p->store && (at->place == GRAFT_PLACE_WEIGHT || at->place == GRAFT_PLACE_STATE);
        if (stored) {
            const int index = graft_store_find(p->store, info(p, at->leaf)->name);
            if (index < 0) return graft_fail(p->err, GRAFT_INTERNAL, info(p, at->leaf)->name, "the store does not have this tensor; the graph must be added to it first");
            at->offset = graft_store_offset(p->store, index);
        } else {
            const graft_status status = next_offset(p, at->place, at->bytes, &at->offset);
            if (status) return status;
        }
    }
    if (graft_place_blocks(blocks, n, ALIGN, &p->plan->bytes[GRAFT_PLACE_ARENA], &p->plan->live_bytes)) return no_memory(p);
    n = 0;
    for (int32_t i = 0; i < p->n_groups; i++)
        if (p->groups[i].place == GRAFT_PLACE_ARENA) p->groups[i].offset = blocks[n++].offset;
    if (p->store) {
        p->plan->bytes[GRAFT_PLACE_WEIGHT] = graft_store_bytes(p->store, GRAFT_PLACE_WEIGHT);
        p->plan->bytes[GRAFT_PLACE_STATE] = graft_store_bytes(p->store, GRAFT_PLACE_STATE);
    }
    return GRAFT_OK;
}

/* ---- the program ------------------------------------------------------------------------------------------------------ */

static void fill_tensor(const planner *p, graft_tensor *t, const graft_value_info *v, graft_place place, int64_t offset)
{
    *t = (graft_tensor){.dtype = v->shape.dtype, .place = place, .rank = v->shape.rank, .offset = offset, .bytes = graft_shape_bytes(&v->shape, p->capacity)};
    memcpy(t->dims, v->shape.dims, sizeof t->dims);
    t->name = v->name ? graft_arena_copy(p->plan->arena, v->name, strlen(v->name)) : "";
}

static graft_status make_tensors(planner *p, graft_tensor *tensors, int32_t *n)
{
    for (int32_t v = 1; v < p->g->n_values; v++) {
        if (p->group_of[v] < 0) continue;
        const group *at = &p->groups[p->group_of[v]];
        graft_tensor *t = &tensors[*n];
        fill_tensor(p, t, info(p, (uint32_t)v), at->place, at->offset);
        if (!t->name) return no_memory(p);
        if (at->place == GRAFT_PLACE_WEIGHT) {
            const graft_value_info *leaf = info(p, at->leaf);
            t->frozen = p->store ? graft_store_frozen(p->store, graft_store_find(p->store, leaf->name)) : !leaf->trainable && !leaf->assigned;
        }
        p->tensor_of[v] = (*n)++;
    }
    return GRAFT_OK;
}

static graft_status copy_attrs(const planner *p, graft_instr *instr, const graft_attr *attr, int32_t n)
{
    graft_attr *a = graft_arena_alloc(p->plan->arena, ((size_t)n + 1) * sizeof *a);
    if (!a) return no_memory(p);
    for (int32_t i = 0; i < n; i++) {
        a[i] = attr[i];
        if (!(a[i].key = graft_arena_copy(p->plan->arena, attr[i].key, strlen(attr[i].key)))) return no_memory(p);
    }
    instr->attr = a;
    instr->n_attr = n;
    return GRAFT_OK;
}

/* An instruction over tensor indices. */
static graft_status make_instr(const planner *p, graft_instr *instr, const char *op, int32_t n_in, const int32_t *in, int32_t n_out, const int32_t *out)
{
    int32_t *index = graft_arena_alloc(p->plan->arena, (size_t)(n_in + n_out + 1) * sizeof *index);
    const char *name = graft_arena_copy(p->plan->arena, op, strlen(op));
    if (!index || !name) return no_memory(p);
    memcpy(index, in, (size_t)n_in * sizeof *in);
    memcpy(index + n_in, out, (size_t)n_out * sizeof *out);
    *instr = (graft_instr){.op = graft_op_id(op), .name = name, .n_in = n_in, .n_out = n_out, .in = index, .out = index + n_in};
    return GRAFT_OK;
}

static graft_status copy_instr(const planner *p, graft_instr *instr, int32_t from, int32_t to)
{
    const graft_attr attr[] = {GRAFT_REALA("mul", 1.0), GRAFT_REALA("add", 0.0)};
    const graft_status status = make_instr(p, instr, "affine/1", 1, &from, 1, &to);
    return status ? status : copy_attrs(p, instr, attr, 2);
}

static graft_status make_instrs(planner *p, graft_instr *instrs, int32_t *n)
{
    for (int32_t k = 0; k < p->g->n_nodes; k++) {
        const graft_node *node = &p->g->nodes[k];
        if (node->op->flags & GRAFT_OP_ALIAS) continue;
        int32_t in[GRAFT_MAX_IN], out[GRAFT_MAX_OUT];
        for (int32_t i = 0; i < node->n_in; i++) in[i] = node->in[i].id ? p->tensor_of[node->in[i].id] : -1;
        for (int32_t i = 0; i < node->n_out; i++) out[i] = node->out[i].id ? p->tensor_of[node->out[i].id] : -1;
        graft_status status = make_instr(p, &instrs[*n], node->op->name, node->n_in, in, node->n_out, out);
        if (!status) status = copy_attrs(p, &instrs[*n], node->attr, node->n_attr);
        if (status) return status;
        (*n)++;
        double flops = 0.0;
        if (node->op->flops) flops = node->op->flops(p->g, node, p->capacity);
        else if (node->n_out && node->out[0].id) flops = (double)graft_shape_elements(&info(p, node->out[0].id)->shape, p->capacity);
        p->plan->flops += flops;
    }
    for (int32_t v = 1; v < p->g->n_values; v++) {
        if (!p->copies[v]) continue;
        const graft_status status = copy_instr(p, &instrs[*n], p->tensor_of[p->copies[v]], p->tensor_of[v]);
        if (status) return status;
        (*n)++;
    }
    return GRAFT_OK;
}

/* Outputs that live in memory of their own are read there; those that share a leaf's memory are copied out at the end. */
static graft_status make_outputs(planner *p, graft_tensor *tensors, int32_t *n_tensors, graft_instr *instrs, int32_t *n_instrs)
{
    for (int32_t i = 0; i < p->g->n_outputs; i++) {
        const graft_output *o = &p->g->outputs[i];
        int32_t at = p->tensor_of[o->value.id];
        if (tensors[at].place != GRAFT_PLACE_OUTPUT) {
            int64_t offset;
            if (tensors[at].dtype != GRAFT_F32) return graft_fail(p->err, GRAFT_UNSUPPORTED, o->name, "an integer leaf cannot be an output of the graph");
            graft_status status = next_offset(p, GRAFT_PLACE_OUTPUT, tensors[at].bytes, &offset);
            tensors[*n_tensors] = tensors[at];
            tensors[*n_tensors].place = GRAFT_PLACE_OUTPUT, tensors[*n_tensors].offset = offset, tensors[*n_tensors].frozen = 0;
            if (!status) status = copy_instr(p, &instrs[(*n_instrs)++], at, *n_tensors);
            if (status) return status;
            at = (*n_tensors)++;
        }
        graft_plan_name *slot = &p->plan->outputs[p->plan->n_outputs++];
        *slot = (graft_plan_name){graft_arena_copy(p->plan->arena, o->name, strlen(o->name)), at, NULL};
        if (!slot->name) return no_memory(p);
    }
    return GRAFT_OK;
}

static graft_status make_inputs(planner *p, const graft_tensor *tensors)
{
    for (int32_t v = 1; v < p->g->n_values; v++) {
        const graft_value_info *leaf = info(p, (uint32_t)v);
        const int32_t at = p->tensor_of[v];
        if (is_leaf(p, (uint32_t)v) && leaf->place == GRAFT_PLACE_INPUT) {
            const char *name = graft_arena_copy(p->plan->arena, leaf->name, strlen(leaf->name));
            if (!name) return no_memory(p);
            p->plan->inputs[p->plan->n_inputs++] = (graft_plan_name){name, at, NULL};
        }
        if (!is_leaf(p, (uint32_t)v) || at < 0 || leaf->place != GRAFT_PLACE_CONSTANT) continue;
        float *data = graft_arena_alloc(p->plan->arena, (size_t)tensors[at].bytes + 1);
        if (!data) return no_memory(p);
        memcpy(data, leaf->data, (size_t)tensors[at].bytes);
        p->plan->constants[p->plan->n_constants++] = (graft_plan_name){tensors[at].name, at, data};
    }
    return GRAFT_OK;
}

static graft_status make_program(planner *p, uint64_t seed)
{
    const graft_graph *g = p->g;
    graft_plan *plan = p->plan;
    const size_t most = (size_t)g->n_values + (size_t)g->n_outputs + 1;
    graft_tensor *tensors = graft_arena_alloc(plan->arena, most * sizeof *tensors);
    graft_instr *instrs = graft_arena_alloc(plan->arena, ((size_t)g->n_nodes + most) * sizeof *instrs);
    plan->inputs = graft_arena_alloc(plan->arena, most * sizeof *plan->inputs);
    plan->constants = graft_arena_alloc(plan->arena, most * sizeof *plan->constants);
    plan->outputs = graft_arena_alloc(plan->arena, most * sizeof *plan->outputs);
    if (!tensors || !instrs || !plan->inputs || !plan->constants || !plan->outputs) return no_memory(p);
    int32_t n_tensors = 0, n_instrs = 0;
    graft_status status = make_tensors(p, tensors, &n_tensors);
    if (!status) status = make_instrs(p, instrs, &n_instrs);
    if (!status) status = make_inputs(p, tensors);
    if (!status) status = make_outputs(p, tensors, &n_tensors, instrs, &n_instrs);
    if (status) return status;
    plan->program = (graft_program){.size = (uint32_t)sizeof plan->program, .n_tensors = n_tensors, .n_instrs = n_instrs, .tensors = tensors, .instrs = instrs, .compute = p->g->compute ? p->g->compute : 1, .seed = seed};
    memcpy(plan->program.place_bytes, plan->bytes, sizeof plan->bytes);
    memcpy(plan->program.capacity, p->capacity, sizeof plan->program.capacity);
    return GRAFT_OK;
}

static graft_status run_passes(planner *p, uint64_t seed)
{
    const size_t n = (size_t)p->g->n_values + 1;
    p->last = graft_arena_alloc(p->scratch, n * sizeof *p->last);
    p->root = graft_arena_alloc(p->scratch, n * sizeof *p->root);
    p->root_last = graft_arena_alloc(p->scratch, n * sizeof *p->root_last);
    p->group_of = graft_arena_alloc(p->scratch, n * sizeof *p->group_of);
    p->becomes = graft_arena_alloc(p->scratch, n * sizeof *p->becomes);
    p->copies = graft_arena_alloc(p->scratch, n * sizeof *p->copies);
    p->groups = graft_arena_alloc(p->scratch, n * sizeof *p->groups);
    p->tensor_of = graft_arena_alloc(p->scratch, n * sizeof *p->tensor_of);
    if (!p->last || !p->root || !p->root_last || !p->group_of || !p->becomes || !p->copies || !p->groups || !p->tensor_of) return no_memory(p);
    find_readers(p);
    graft_status status = assign_leaves(p);
    if (!status) status = make_groups(p);
    if (!status) status = place_groups(p);
    return status ? status : make_program(p, seed);
}

graft_status graft_plan_new(const graft_graph *g, const graft_store *s, const int64_t capacity[GRAFT_SYMBOLS], uint64_t seed, graft_plan **out, graft_error *err)
{
    *out = NULL;
    graft_status status = graft_graph_check(g, err);
    if (status) return status;
    graft_arena *arena = graft_arena_new(), *scratch = graft_arena_new();
    graft_plan *plan = arena ? graft_arena_alloc(arena, sizeof *plan) : NULL;
    planner p = {.g = g, .store = s, .capacity = capacity, .plan = plan, .scratch = scratch, .err = err};
    if (plan) plan->arena = arena;
    status = plan && scratch ? run_passes(&p, seed) : no_memory(&p);
    graft_arena_free(scratch);
    if (status) graft_arena_free(arena);
    else *out = plan;
    return status;
}

void graft_plan_free(graft_plan *p)
{
    if (p) graft_arena_free(p->arena);
}
