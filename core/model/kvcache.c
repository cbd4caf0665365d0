/* core/model/kvcache.c - see kvcache.h. Works on the op's flag, whatever the model: inputs q, k, v, seq, k_extra, v_extra gain k_cache, v_cache. */
#include "core/model/kvcache.h"

#include "core/base/error.h"
#include "core/graph/build.h"

#include <stdio.h>
#include <string.h>

enum { KEY = 1 };

/* "attention/1" -> the record of "attention_cached/1". */
static const graft_op_record *cached_form(const graft_op_record *op)
{
    char name[96];
    const char *slash = strchr(op->name, '/');
    if (!slash || strstr(op->name, "_cached/")) return NULL;
    snprintf(name, sizeof name, "%.*s_cached%s", (int)(slash - op->name), op->name, slash);
    return graft_op_find(name);
}

/* One leaf for the keys or values of a node; several attentions of one path are numbered. */
static graft_value cache_leaf(graft_graph *g, const graft_node *n, const char *which)
{
    const graft_shape *k = &graft_graph_info(g, n->in[KEY])->shape;
    const int64_t dims[] = {GRAFT_DIM_CACHED, k->dims[1]};
    const char *name = graft_build_text(g, "cache:%s.%s", n->path, which);
    for (int i = 1; name && graft_graph_find(g, name).id; i++) name = graft_build_text(g, "cache:%s.%s%d", n->path, which, i);
    return name ? graft_graph_state(g, name, GRAFT_F32, 2, dims) : graft_null_value();
}

/* Emits the cached form of n; its first output. */
static graft_value emit(graft_graph *g, const graft_node *n, const graft_op_record *op)
{
    graft_value in[GRAFT_MAX_IN];
    const graft_value k = cache_leaf(g, n, "k"), v = cache_leaf(g, n, "v");
    if (g->error.code) return graft_null_value();
    memcpy(in, n->in, (size_t)n->n_in * sizeof *in);
    in[n->n_in] = k, in[n->n_in + 1] = v;
    graft_builder *b = g->builder;
    const graft_value o = b->api->op(b, op->name, n->n_in + 2, in, n->n_attr, n->attr);
    graft_graph_assign(g, k, b->api->output(b, o, 1));
    graft_graph_assign(g, v, b->api->output(b, o, 2));
    return o;
}

graft_status graft_graph_cache_attention(graft_graph *g, graft_error *err)
{
    const int32_t n_map = g->n_values;
    graft_value *map = g->error.code ? NULL : graft_build_alloc(g, (size_t)n_map, sizeof *map);
    if (!map) return graft_graph_check(g, err);
    int32_t n;
    const graft_node *old = graft_pass_take(g, &n);
    for (int32_t i = 0; i < n && !g->error.code; i++) {
        graft_node node = old[i];
        for (int32_t k = 0; k < node.n_in; k++) node.in[k] = graft_pass_resolve(map, n_map, node.in[k]);
        const graft_op_record *op = node.op->flags & GRAFT_OP_KV ? cached_form(node.op) : NULL;
        if (!op) {
            graft_pass_keep(g, &node);
            continue;
        }
        graft_pass_begin(g, &node, 0);
        map[node.out[0].id] = emit(g, &node, op);
        graft_pass_end(g);
    }
    if (!g->error.code) graft_pass_apply(g, map, n_map);
    return graft_graph_check(g, err);
}
