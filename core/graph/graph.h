/* core/graph/graph.h - the graph: values, nodes, op records, and the builder that plugins and core alike emit into.
 *
 * A graph is a list of nodes in execution order; each node applies one op record to earlier values and makes new ones (SSA).
 * Everything lives in the graph's arena. Like the SDK's builder it is sticky: the first error stays (graph->error), later calls do nothing.
 *
 *   model plugin --emit--> graph --method hooks at sites--> objective --narrow--> --autodiff--> lower --> fuse --> recompute --> plan --> backend
 *   (build.c)                     (site.c)                  (autodiff.c) (lower.c) (fuse.c)  (recompute.c) (plan.c)  (run.c)
 */
#ifndef CORE_GRAPH_GRAPH_H
#define CORE_GRAPH_GRAPH_H

#include "core/base/arena.h"
#include "graft/backend.h"
#include "graft/graph.h"
#include "graft/method.h"
#include "graft/ops.h"

typedef struct graft_graph graft_graph;
typedef struct graft_node graft_node;
typedef struct graft_op_record graft_op_record;

enum { GRAFT_MAX_IN = 12, GRAFT_MAX_OUT = 5, GRAFT_MAX_ATTR = 8 };

/* dtype, rank, dims of a value. */
typedef struct graft_shape { graft_dtype dtype; int32_t rank; int64_t dims[GRAFT_MAX_RANK]; } graft_shape;

typedef struct graft_value_info {
    graft_shape   shape;
    graft_place   place;       /* ARENA unless it is a leaf                                  */
    const char   *name;        /* leaves: unique name; others: path of their node            */
    int32_t       node;        /* index of the producer, -1 for a leaf                       */
    int32_t       index;       /* which output of it                                         */
    int32_t       trainable;   /* a WEIGHT leaf that gets a gradient                          */
    int32_t       layer;       /* -1 outside the blocks                                       */
    graft_start   start;       /* WEIGHT leaves: how it begins                                */
    double        start_arg;
    int32_t       from_method; /* WEIGHT leaf made by method i (its adapter file's); -1: of the base model */
    int32_t       trained_by;  /* WEIGHT leaf of the base model that method i trains; -1: none */
    int32_t       detached;    /* passes no gradient                                          */
    graft_role    role;
    const float  *data;        /* CONSTANT leaves                                             */
    uint32_t      assigned;    /* WEIGHT or STATE leaf: id of the value that becomes its content, 0: unchanged (graft_graph_assign) */
} graft_value_info;

/* A value that the host reads after a run (graft_graph_output). The same value may have several names. */
typedef struct graft_output { const char *name; graft_value value; } graft_output;

struct graft_node {
    const graft_op_record *op;
    int32_t     n_in, n_out, n_attr; /* n_in is the record's max_in: optional inputs that were left out are null */
    graft_value in[GRAFT_MAX_IN];    /* id 0: absent optional input                           */
    graft_value out[GRAFT_MAX_OUT];
    graft_attr  attr[GRAFT_MAX_ATTR]; /* sorted as in the record's list; all present (defaults filled) */
    const char *path;                /* "model.layers.3.self_attn"                            */
    int32_t     layer;               /* block index, -1 outside                                */
    int32_t     backward;            /* emitted by autodiff                                    */
};

/* ---- op records: data about an op ------------------------------------------------------------------------------------- */
enum {
    GRAFT_OP_PRIMITIVE = 1,  /* tier 0: no decomposition                                        */
    GRAFT_OP_ALIAS     = 2,  /* the output is the input's memory (reshape)                       */
    GRAFT_OP_CHEAP     = 4,  /* about as cheap to recompute as to read (norms, swiglu, rope, elementwise) */
    GRAFT_OP_KV        = 8   /* inputs 1, 2 are keys and values that methods may extend (attention) */
};

typedef struct graft_attr_rule { const char *key; graft_attr_type type; int required; double fallback; } graft_attr_rule;

struct graft_op_record {
    const char *name;                 /* "rms_norm/1" */
    uint32_t    flags;
    int32_t     min_in, max_in, n_out;
    graft_attr_rule attrs[GRAFT_MAX_ATTR]; /* ends with key NULL or at the array's end */
    /* Checks the inputs' shapes and says the outputs'. 0, or -1 after graft_graph_error(g, "matmul expects k = 2048, found 4096"). */
    int  (*shape)(graft_graph *g, const graft_node *n, graft_shape *out);
    /* Emits the same function from smaller ops into g; fills out[n_out] (a null value where an output is not offered). NULL for primitives. */
    void (*decompose)(graft_graph *g, const graft_node *n, graft_value *out);
    /* dout[i]: gradient of output i, or null. Sets din[i] = gradient of input i for the inputs with wants[i]; null means zero.
     * NULL: not differentiable (an error only if a gradient has to pass). May call graft_graph_replace for the forward node's outputs if no node reads them (linear_cross_entropy). */
    void (*backward)(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din);
    int8_t inplace[GRAFT_MAX_OUT];    /* 1 + the input that output i may overwrite, 0: none */
    /* This op sunk into an accumulation: input index that is added to output i and may be overwritten by it (matmul c, scatter_add base), 1-based, 0: none. */
    int8_t accumulate[GRAFT_MAX_OUT];
    double (*flops)(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]); /* NULL: number of output elements */
    uint32_t optional;                /* bit i: input i below min_in may be the null value (attention_grad's k_extra); inputs from min_in on always may */
};

const graft_op_record *graft_op_find(const char *name);            /* NULL when unknown */
const graft_op_record *const *graft_op_all(size_t *n);             /* every record, in ops/'s order: tier 0 first */
double graft_node_real(const graft_node *n, const char *key);      /* attribute values; asserting helpers for records */
int64_t graft_node_int(const graft_node *n, const char *key);

/* ---- graph ---------------------------------------------------------------------------------------------------------------- */
struct graft_graph {
    graft_builder    *builder;     /* what plugins see; records and core emit through it too (ops.h) */
    graft_arena      *arena;
    graft_value_info *values;      /* values[0] is the null value */
    int32_t           n_values;
    graft_node       *nodes;
    int32_t           n_nodes;
    graft_output     *outputs;
    int32_t           n_outputs;
    graft_error       error;       /* the first; code 0 = none */
    uint32_t          compute;     /* which arithmetic matmuls may use, as in graft_op_claim; 0: f32 alone. Set before it is planned */
    /* the rest is build.c's own */
    struct graft_build_state *state;
};

graft_graph *graft_graph_new(void);            /* NULL when out of memory */
void         graft_graph_free(graft_graph *g);
void         graft_graph_error(graft_graph *g, const char *fmt, ...) GRAFT_PRINTF(2, 3); /* keeps the first, with the path */
graft_status graft_graph_check(const graft_graph *g, graft_error *err);

/* Leaves that core makes. Names are unique; the same name twice is an error. */
graft_value graft_graph_input(graft_graph *g, const char *name, graft_dtype dtype, int rank, const int64_t *dims);
graft_value graft_graph_state(graft_graph *g, const char *name, graft_dtype dtype, int rank, const int64_t *dims); /* kept between runs */
/* v's value shall be readable by the host under this name after a run. */
void        graft_graph_output(graft_graph *g, const char *name, graft_value v);
graft_value graft_graph_find(const graft_graph *g, const char *name);    /* leaf by name, null when absent */
const graft_value_info *graft_graph_info(const graft_graph *g, graft_value v);
graft_node *graft_graph_node(graft_graph *g, graft_value v);             /* producer, NULL for a leaf */
/* Every later reader of `old` reads `now` instead (also outputs). */
void        graft_graph_replace(graft_graph *g, graft_value old, graft_value now);
/* Removes nodes whose outputs nobody needs (not read, not an output, not an in-place change of a STATE or WEIGHT leaf). */
void        graft_graph_prune(graft_graph *g);
/* Marks that value `now` is the new content of the STATE or WEIGHT leaf: plan makes now share the leaf's memory and refuses when an op cannot. */
void        graft_graph_assign(graft_graph *g, graft_value leaf, graft_value now);

/* Actual dims of a shape for given sizes of the symbols; number of elements; bytes of a dtype's n elements (-1: n is no whole number of blocks). */
int64_t graft_shape_elements(const graft_shape *s, const int64_t extent[GRAFT_SYMBOLS]);
int64_t graft_dtype_bytes(graft_dtype t, int64_t n);
const char *graft_dtype_name(graft_dtype t);

/* ---- methods at sites (site.c) ------------------------------------------------------------------------------------------------
 * Set before the model emits. run: what method->open gave. The order is the order of hooks.
 * strength: how much of its effect acts, read while the graph is built; NULL: 1, all of it. At 0 none of its hooks is called. What has no half - keys and
 * values, virtual tokens, weights of the base - is refused at other strengths than 0 and 1. pins: set when its start changed weights of the base; may be NULL. */
typedef struct graft_active_method { const char *name; const graft_method_table *table; void *run; const double *strength; int *pins; } graft_active_method;
void graft_graph_methods(graft_graph *g, const graft_active_method *methods, int n);
/* After the model has emitted: an error when a selector key given by the user matched no site ("lora_target ... matched no site; sites: ...; nearest: ..."). */
graft_status graft_graph_check_selectors(graft_graph *g, graft_error *err);
/* Paths of the linear sites that method i changed (for adapter_config.json's target_modules). */
const char *const *graft_graph_changed_sites(const graft_graph *g, int method, int32_t *n);
/* All sites with a weight in order, for merge and listings: linears, stacks of experts, the token table and the head. */
const graft_site *graft_graph_sites(const graft_graph *g, int32_t *n);
/* Each method's merge hook in turn on w, the weight of a site; parameters are found or made under the site's path. Null after an error. */
graft_value graft_graph_merge_site(graft_graph *g, const graft_site *site, graft_value w);
/* The head as a linear site: what methods make of the logits rows head^T, rows [n, d]. Null when none changes them. After the model emitted. */
graft_value graft_graph_head(graft_graph *g, graft_value rows, graft_value head);
/* How many blocks the model has: what sites say. Before the model emits. */
void graft_graph_blocks(graft_graph *g, int64_t n);
/* positions [tokens] i32, moved by what methods put before the first token. */
graft_value graft_graph_positions(graft_graph *g, graft_value positions);
/* What the methods add to the training loss [1]; null: nothing. */
graft_value graft_graph_penalty(graft_graph *g);
int graft_graph_has_penalty(const graft_graph *g);
/* The methods that the graph was built with. */
const graft_active_method *graft_graph_active(const graft_graph *g, int *n);
/* Factor on the learning rate of a trained leaf. */
double graft_graph_rate(const graft_graph *g, const graft_value_info *leaf);
/* Biases of a linear site through each method's merge_bias hook. Null after an error. */
graft_value graft_graph_merge_bias(graft_graph *g, const graft_site *site, graft_value bias);
/* Name of a method's leaf without the mark that keeps two adapters of one method apart. */
const char *graft_graph_plain_name(const char *name);
/* Virtual tokens that a method put before each sequence (extend_input): the batch shall begin each sequence with rows of token ids -1, -2 .. -m at
 * positions 0 .. m - 1, without labels. 0: none. */
int64_t graft_graph_virtual_tokens(const graft_graph *g);

/* ---- passes -------------------------------------------------------------------------------------------------------------------------- */
/* Emits the gradients of loss [1] towards every trainable WEIGHT leaf, and accumulates each into a STATE leaf "grad:NAME" of the same shape
 * (the graph assigns it). (autodiff.c) */
graft_status graft_graph_autodiff(graft_graph *g, graft_value loss, graft_error *err);
/* Gradient of scalar y [1] with respect to wrt[i] into dx[i] (null = zero), without touching leaves: for derived decompositions and tests. */
void graft_graph_gradients(graft_graph *g, graft_value y_or_outputs[], const graft_value seeds[], int n_out, const graft_value *wrt, int n, graft_value *dx);
/* A gather of `rows` [n] i32 from values of many rows moves up as far as ops work row by row: what is not gathered is not computed. Before autodiff. (narrow.c) */
graft_status graft_graph_narrow(graft_graph *g, graft_value rows, graft_error *err);
/* The passes below prune: mark outputs and assignments before. Replaces every op that the claims lack by its decomposition, until only claimed ops remain; names the lowered ops once through lowered[]. (lower.c) */
graft_status graft_graph_lower(graft_graph *g, const graft_op_claim *claims, int32_t n, const char **lowered, int32_t room, int32_t *n_lowered, graft_error *err);
/* Folds scale and add into matmuls, accumulations into their producers, double negations ... exact up to rounding order. (fuse.c) */
void graft_graph_fuse(graft_graph *g);
/* Recomputes forward values of blocks in the backward pass instead of keeping them; blocks from `layers` on are left as they are. (recompute.c)
 * level 0: nothing; 1: cheap ops only; 2: products too, all but attention; 3: everything between block borders. */
enum { GRAFT_RECOMPUTE_LEVELS = 3 };
graft_status graft_graph_recompute(graft_graph *g, int level, int32_t layers, graft_error *err);                    /* one level for the blocks of lowest index */
graft_status graft_graph_recompute_blocks(graft_graph *g, const uint8_t *level, int32_t layers, graft_error *err); /* level [layers] */
/* What a level would bring block by block at a capacity: bytes that need not be kept, operations done twice. The graph stays as it is. gain [layers] */
typedef struct graft_recompute_gain { int64_t bytes; double flops; } graft_recompute_gain;
graft_status graft_graph_recompute_gains(graft_graph *g, int level, int32_t layers, const int64_t capacity[GRAFT_SYMBOLS], graft_recompute_gain *gain, graft_error *err);

/* Nodes emitted between begin and end only change leaves: an optimiser's steps. After all other passes graft_graph_early moves each to where what it reads is there
 * and nobody needs the old content of the leaves that it reads, so that a gradient lives no longer than to its step. (early.c) */
void graft_graph_early_begin(graft_graph *g);
void graft_graph_early_end(graft_graph *g);
graft_status graft_graph_early(graft_graph *g, graft_error *err);

/* ---- text (text.c) ------------------------------------------------------------------------------------------------------------ */
struct graft_str;
void graft_graph_text(const graft_graph *g, struct graft_str *out); /* one node per line, stable between runs and machines */

#endif
