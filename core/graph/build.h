/* core/graph/build.h - what the files of the graph room share: the builder's state, emission for passes, the substitution and rebuild tools. */
#ifndef CORE_GRAPH_BUILD_H
#define CORE_GRAPH_BUILD_H

#include "core/graph/graph.h"

enum {
    GRAFT_MAX_NODES = 1 << 18, /* a hostile configuration ends in a sentence, not in swap */
    GRAFT_MAX_DEPTH = 48,      /* open path parts */
    GRAFT_MAX_PATH  = 1024
};

/* ---- text -> int32, for names of leaves and counts of paths (names.c). Keys are borrowed. ---------------------------------------------------- */
typedef struct graft_names_slot { const char *key; int32_t value; } graft_names_slot;
typedef struct graft_names { graft_names_slot *slots; size_t n, room; } graft_names;
int32_t *graft_names_find(const graft_names *m, const char *key);              /* NULL when absent */
int      graft_names_put(graft_names *m, graft_arena *a, const char *key, int32_t value); /* 0, or -1 without memory */

/* ---- selectors (select.c) ---------------------------------------------------------------------------------------------------------------------- */
typedef struct graft_selector graft_selector;
int  graft_selector_matches(graft_graph *g, const graft_config *c, const char *key, const graft_site *s);
void graft_selectors_free(graft_selector *first);
const char *graft_role_name(graft_role r);

typedef struct graft_builder_owner { graft_builder base; graft_graph *graph; } graft_builder_owner;
typedef struct graft_changed_sites { const char **paths; size_t room; int32_t n; } graft_changed_sites;

typedef struct graft_penalty { graft_value sum; int64_t terms; } graft_penalty;

typedef struct graft_build_state graft_build_state;
struct graft_build_state {
    graft_builder_owner owner;
    graft_names leaves;           /* name -> value id                                             */
    graft_names streams;          /* path -> number of random calls so far                         */
    size_t    room_values, room_nodes, room_outputs, room_sites;

    char      path[GRAFT_MAX_PATH];
    size_t    lengths[GRAFT_MAX_DEPTH];
    int32_t   layers[GRAFT_MAX_DEPTH];
    int32_t   depth, layer;
    const char *path_copy;      /* of path, in the arena; NULL after push and pop                 */

    int32_t   passing;          /* inside a pass: no hooks; nodes get the path, layer and flag below */
    const char *pass_path;
    int32_t   pass_layer, pass_backward;

    const graft_active_method *methods;
    int32_t   n_methods, method; /* method: the one whose hook runs, -1 none                      */
    graft_site *sites;
    int32_t   n_sites;
    graft_changed_sites *changed; /* [n_methods]                                                   */
    graft_selector *selectors;
    int64_t   virtual_tokens, blocks;
    graft_value residual;         /* the stream of hidden states that sublayers add to; null before the embedding */
    graft_penalty *penalties;     /* [n_methods]                                                    */
};

graft_graph *graft_graph_of(graft_builder *b);
const char  *graft_build_path(graft_graph *g);  /* current path in the arena; "" at the root or without memory */
int32_t      graft_build_layer(const graft_graph *g);
void         graft_build_push(graft_builder *b, const char *name, int64_t index);
void         graft_build_pop(graft_builder *b);
void         graft_build_fail(graft_graph *g, graft_status code, const char *fmt, ...) GRAFT_PRINTF(3, 4);
void        *graft_build_alloc(graft_graph *g, size_t n, size_t size); /* zeroed, in the arena; NULL after the sticky error */
char        *graft_build_text(graft_graph *g, const char *fmt, ...) GRAFT_PRINTF(2, 3);
int          graft_build_room(graft_graph *g, void **items, size_t *room, size_t have, size_t size); /* one more fits; 0 or -1 */
/* A leaf; info->name is copied. Null after an error. */
graft_value  graft_build_leaf(graft_graph *g, const graft_value_info *info, const char *name);
graft_value  graft_build_param(graft_builder *b, const char *name, const graft_param *p);
const char  *graft_shape_text(graft_graph *g, const graft_shape *s); /* "[tokens, 576]" in the arena */
const char  *graft_symbol_name(int64_t dim);

/* site.c, called by build.c */
graft_value graft_site_linear(graft_builder *b, graft_value x, const char *name, int64_t out, int bias, graft_role role);
graft_value  graft_site_experts(graft_builder *b, graft_value x, graft_value ids, const char *name, int64_t experts, int64_t out);
graft_value graft_site_mark(graft_builder *b, graft_value h, graft_role role);
void        graft_site_extend_kv(graft_graph *g, graft_node *n);             /* fills the inputs k_extra and v_extra */
graft_value graft_site_extend_input(graft_graph *g, graft_value y);         /* after an op: adds virtual tokens where it was the embedding of tokens */
int32_t     graft_site_trains(graft_graph *g, const graft_param *p, const char *name); /* the method that trains it, -1: none */
graft_value graft_site_attention(graft_graph *g, const graft_node *n);      /* after an op flagged GRAFT_OP_KV: its first output, changed by methods */
void        graft_site_follow(graft_graph *g, const graft_node *n);         /* keeps track of the residual stream */
void        graft_site_penalty(graft_builder *b, graft_value term, double weight);
int         graft_selector_fits(graft_graph *g, const char *pattern, const char *path);
const char *graft_site_leaf_name(graft_graph *g, const char *name);         /* of a new parameter: made distinct when an earlier method is of the same kind */

/* ---- passes ------------------------------------------------------------------------------------------------------------------------------------- */
/* Emission between begin and end: no hooks run; `like` gives path and layer of new nodes. */
void graft_pass_begin(graft_graph *g, const graft_node *like, int backward);
void graft_pass_end(graft_graph *g);
/* Takes the node list away so that the pass can write a new one; the old nodes stay valid. */
graft_node *graft_pass_take(graft_graph *g, int32_t *n);
/* Appends an existing node (its outputs keep their ids). */
void graft_pass_keep(graft_graph *g, const graft_node *n);
/* A copy of n with its own output values; map[old output] = new output, inputs already mapped by the caller. */
int  graft_pass_clone(graft_graph *g, const graft_node *n, graft_value *map);
/* map [n_map] of value ids (0: itself), followed to its end with the path shortened. */
graft_value graft_pass_resolve(graft_value *map, int32_t n_map, graft_value v);
/* Outputs, assignments and all nodes read through map. */
void graft_pass_apply(graft_graph *g, graft_value *map, int32_t n_map);

static inline graft_value graft_value_of(int32_t id)
{
    graft_value v = {(uint32_t)id};
    return v;
}

#endif
