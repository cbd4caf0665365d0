/* graft/graph.h - building a model as a graph ("graft.graph/1").
 *
 * Tokens are flat: activations are [tokens, width] with no batch or time axis and no padding. A dimension is a constant or
 * one of the symbols below; a plan is made once for the capacities and run with any actual sizes up to them.
 * The builder is sticky: after the first error each call returns the null value and does nothing; the host reports it. */
#ifndef GRAFT_GRAPH_H
#define GRAFT_GRAPH_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct graft_builder graft_builder;                /* owned by the host, valid during build          */
typedef struct graft_value { uint32_t id; } graft_value;   /* id 0 is the null value                          */

/* Symbolic sizes. tokens: of the packed batch. sequences: in it. labelled: rows that get a loss (or logits).
 * cached: rows of the key/value cache. */
enum { GRAFT_DIM_TOKENS = -1, GRAFT_DIM_SEQUENCES = -2, GRAFT_DIM_LABELLED = -3, GRAFT_DIM_CACHED = -4 };
enum { GRAFT_SYMBOLS = 4, GRAFT_MAX_RANK = 4 };

typedef enum graft_dtype {
    GRAFT_F32 = 1, GRAFT_BF16, GRAFT_F16, GRAFT_I32, GRAFT_I8, GRAFT_NF4, GRAFT_Q4_0, GRAFT_Q4_1, GRAFT_Q8_0,
    GRAFT_NF4_DOUBLE, GRAFT_INT8 /* packed.h */
} graft_dtype;

/* What a place in a model is for; tuning methods choose by role, path or layer. */
typedef enum graft_role {
    GRAFT_ROLE_OTHER, GRAFT_ROLE_EMBED, GRAFT_ROLE_NORM, GRAFT_ROLE_HEAD,
    GRAFT_ROLE_ATTN_Q, GRAFT_ROLE_ATTN_K, GRAFT_ROLE_ATTN_V, GRAFT_ROLE_ATTN_QKV, GRAFT_ROLE_ATTN_O, GRAFT_ROLE_ATTN,
    GRAFT_ROLE_MLP_GATE, GRAFT_ROLE_MLP_UP, GRAFT_ROLE_MLP_GATE_UP, GRAFT_ROLE_MLP_DOWN, GRAFT_ROLE_MLP,
    GRAFT_ROLE_ROUTER, GRAFT_ROLE_EXPERT, GRAFT_ROLE_BLOCK,
    GRAFT_ROLE_BUFFER /* a table of the checkpoint that nothing trains */
} graft_role;

/* A named place where a method may change the graph. Borrowed for the call. */
typedef struct graft_site {
    uint32_t    size;
    graft_role  role;
    int32_t     layer;         /* -1 outside the blocks                           */
    const char *path;          /* "model.layers.3.self_attn.q_proj"               */
    int64_t     in, out;       /* widths; for role ATTN: kv heads, head_dim       */
    graft_value weight;        /* [out, in] of a linear; [experts, out, in] of role EXPERT; null elsewhere */
    int32_t     layers;        /* how many blocks the model has                   */
    graft_value bias;          /* [out] of a linear, or null                      */
    graft_value residual;      /* ATTN, MLP: the residual stream [tokens, d] that the sublayer's output will be added to; null when not known */
} graft_site;

/* How a parameter starts. CHECKPOINT: the model's file must hold it (a weight of the base model). The others make a new
 * parameter of a tuning method; arg: NORMAL standard deviation; KAIMING_UNIFORM a, i.e. U(-b, b), b = sqrt(6 / ((1 + a^2) fan_in)). */
typedef enum graft_start { GRAFT_START_CHECKPOINT, GRAFT_START_ZERO, GRAFT_START_ONE, GRAFT_START_NORMAL, GRAFT_START_KAIMING_UNIFORM } graft_start;

typedef struct graft_param {
    uint32_t    size;
    graft_role  role;          /* NORM, EMBED, HEAD ... for selection                */
    graft_start start;
    double      arg;
    int32_t     rank;
    int64_t     dims[GRAFT_MAX_RANK]; /* constants only                              */
} graft_param;

typedef enum graft_attr_type { GRAFT_ATTR_INT, GRAFT_ATTR_REAL } graft_attr_type;
typedef struct graft_attr {
    const char *key;
    graft_attr_type type;
    int64_t     i;
    double      r;
} graft_attr;

/* Stable id of an op: FNV-1a 64 of "name/revision". Never an enum position. */
static inline uint64_t graft_op_id(const char *name)
{
    uint64_t h = 14695981039346656037ull;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 1099511628211ull;
    return h;
}

/* "graft.graph/1". All [control]. Names, attributes and data are copied.
 * param: a name that begins with '/' is not under the path: "/prompt_embeddings" is one parameter of the whole model.
 * matches: the value at key is a text or a list of texts: role names ("attn_q"), last parts of paths ("q_proj", "self_attn.q_proj"), globs ("attn_*"),
 * "all" (every site but the head; also when the key is absent); one text may list several with commas, or be a regular expression for the whole path.
 * Each item that chose no site while the model was built is an error afterwards.
 * fits: Python's re.match("(.*\\.)?(PATTERN)$", path): PEFT's rank_pattern.
 * penalty: the training loss gains the mean of weight * term [1] over all terms that this method gives while the model is built. */
typedef struct graft_graph_api {
    uint32_t size;
    void        (*push)(graft_builder *b, const char *name, int64_t index);   /* index < 0: none. Opens a path part     */
    void        (*pop)(graft_builder *b);
    graft_value (*param)(graft_builder *b, const char *name, const graft_param *p); /* <path>.<name>; the same name twice gives the same value */
    graft_value (*constant)(graft_builder *b, const char *name, int rank, const int64_t *dims, const float *data); /* f32 table */
    graft_value (*op)(graft_builder *b, const char *op, int n_in, const graft_value *in, int n_attr, const graft_attr *attr); /* first output */
    graft_value (*output)(graft_builder *b, graft_value v, int index);        /* another output of the op that made v    */
    graft_value (*linear)(graft_builder *b, graft_value x, const char *name, int64_t out, int bias, graft_role role);  /* x W^T (+ bias); a site */
    graft_value (*mark)(graft_builder *b, graft_value h, graft_role role);    /* a site after a block, attention or mlp  */
    int         (*shape)(graft_builder *b, graft_value v, int64_t dims[GRAFT_MAX_RANK]);  /* returns the rank            */
    void        (*error)(graft_builder *b, const char *fmt, ...) GRAFT_PRINTF(2, 3); /* make the builder fail at this path */
    int         (*matches)(graft_builder *b, const graft_config *c, const char *key, const graft_site *s); /* does the selector at key choose this site? */
    graft_value (*experts)(graft_builder *b, graft_value x, graft_value ids, const char *name, int64_t experts, int64_t out); /* weights [experts, out, in]: ops.h, expert_matmul; a site */
    int         (*fits)(graft_builder *b, const char *pattern, const char *path);
    void        (*penalty)(graft_builder *b, graft_value term, double weight);
    graft_value (*detach)(graft_builder *b, graft_value v);                   /* v, passing no gradient                      */
} graft_graph_api;
struct graft_builder { const graft_graph_api *api; };

static inline void graft_push(graft_builder *b, const char *name) { b->api->push(b, name, -1); }
static inline void graft_push_index(graft_builder *b, const char *name, int64_t index) { b->api->push(b, name, index); }
static inline void graft_pop(graft_builder *b) { b->api->pop(b); }
static inline graft_value graft_linear(graft_builder *b, graft_value x, const char *name, int64_t out, int bias, graft_role role) { return b->api->linear(b, x, name, out, bias, role); }
static inline graft_value graft_experts(graft_builder *b, graft_value x, graft_value ids, const char *name, int64_t experts, int64_t out) { return b->api->experts(b, x, ids, name, experts, out); }
static inline graft_value graft_mark(graft_builder *b, graft_value h, graft_role role) { return b->api->mark(b, h, role); }

/* A weight of the base model, [d0] or [d0, d1] (d1 = 0: a vector). */
static inline graft_value graft_weight(graft_builder *b, const char *name, graft_role role, int64_t d0, int64_t d1)
{
    graft_param p = {(uint32_t)sizeof p, role, GRAFT_START_CHECKPOINT, 0.0, d1 ? 2 : 1, {d0, d1, 0, 0}};
    return b->api->param(b, name, &p);
}

/* A new parameter [d0] or [d0, d1] that a tuning method trains. */
static inline graft_value graft_new_param(graft_builder *b, const char *name, graft_start start, double arg, int64_t d0, int64_t d1)
{
    graft_param p = {(uint32_t)sizeof p, GRAFT_ROLE_OTHER, start, arg, d1 ? 2 : 1, {d0, d1, 0, 0}};
    return b->api->param(b, name, &p);
}

#ifdef __cplusplus
}
#endif
#endif
