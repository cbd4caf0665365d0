/* core/graph/check.c - see check.h. A case is a line of text: inputs, then attributes.
 *   an input   KIND:DIMS, or - for an absent one. DIMS: numbers and T S L C, the symbols tokens, sequences, labelled, cached.
 *   KIND       f about normal   p in [0.5, 2]   b 0 or 1   y frequencies   h AdamW's eight numbers   iN row numbers below N, some negative   o positions
 *              q borders of sequences   c the same with places in a cache   B H 4 5 8: weights in bf16, f16, q4_0, q4_1, q8_0 */
#include "core/graph/check.h"

#include "core/base/error.h"
#include "core/graph/graph.h"
#include "graft/packed.h"
#include "graft/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const double graft_check_tolerance = 1e-5;

typedef struct check_case {
    const char *op, *inputs, *attrs;
} check_case;

#define ATTENTION "heads=4 kv_heads=2 window=0 scale=0.25 softcap=0"
#define WINDOWED  "heads=4 kv_heads=2 window=9 scale=0.25 softcap=3"
static const check_case cases[] = {
    {"neg/1", "f:T,9", ""},
    {"exp/1", "f:T,9", ""},
    {"log/1", "p:T,9", ""},
    {"sqrt/1", "p:T,9", ""},
    {"rsqrt/1", "p:T,9", ""},
    {"tanh/1", "f:T,9", ""},
    {"sigmoid/1", "f:T,9", ""},
    {"sin/1", "f:T,9", ""},
    {"cos/1", "f:T,9", ""},
    {"abs/1", "f:T,9", ""},
    {"erf/1", "f:T,9", ""},
    {"affine/1", "f:T,9", "mul=1.5 add=-0.3"},
    {"add/1", "f:T,9 f:9", ""},
    {"sub/1", "f:T,9 f:T,1", ""},
    {"mul/1", "f:3,T,9 f:T,9", ""},
    {"div/1", "f:T,9 p:T,9", ""},
    {"maximum/1", "f:T,9 f:9", ""},
    {"less/1", "f:T,9 f:9", ""},
    {"equal/1", "b:T,9 b:9", ""},
    {"select/1", "b:T,9 f:T,9 f:1", ""},
    {"sum/1", "f:T,9", "axis=0"},
    {"sum/1", "f:5,T", "axis=1"},
    {"amax/1", "f:T,130", "axis=1"},
    {"matmul/1", "f:T,70 f:37,70", "trans_b=1 alpha=0.7"},
    {"matmul/1", "f:T,70 f:70,37 f:T,37", ""},
    {"matmul/1", "f:T,33 f:T,70", "trans_a=1"},
    {"matmul/1", "f:2,33,T f:1,70,33", "trans_a=1 trans_b=1"},
    {"matmul/1", "f:T,64 B:37,64", "trans_b=1"},
    {"matmul/1", "f:T,64 H:37,64", "trans_b=1"},
    {"matmul/1", "f:T,64 4:37,64", "trans_b=1"},
    {"matmul/1", "f:T,64 5:37,64", "trans_b=1"},
    {"matmul/1", "f:T,37 8:37,64", ""},
    {"matmul/1", "f:T,64 N:37,64", "trans_b=1"},
    {"matmul/1", "f:T,256 D:70,256", "trans_b=1"},
    {"matmul/1", "f:T,70 D:70,256", ""},
    {"matmul/1", "f:T,37 Z:37,64", ""},
    {"gather/1", "f:40,24 i40:T", ""},
    {"gather/1", "B:40,32 i40:T", ""},
    {"scatter_add/1", "f:12,24 f:T,24 i12:T", ""},
    {"reshape/1", "f:T,4,6", "rank=2 d0=-1 d1=24"},
    {"broadcast/1", "f:T,1,6", "rank=3 d0=-1 d1=4 d2=6"},
    {"permute/1", "f:T,4,6", "rank=3 d0=2 d1=0 d2=1"},
    {"slice/1", "f:T,9", "axis=1 begin=2 length=5"},
    {"pad/1", "f:T,9", "axis=1 before=2 after=1"},
    {"concat/1", "f:T,9 f:T,4", "axis=1"},
    {"cast/1", "f:T,9", "dtype=2"},
    {"cast/1", "H:T,9", "dtype=1"},
    {"fill/1", "", "rank=2 d0=-1 d1=3 value=0.5"},
    {"iota/1", "", "d0=-1"},
    {"random/1", "", "rank=2 d0=-1 d1=3 stream=7"},
    {"training/1", "", ""},
    {"topk/1", "f:T,9", "k=3"},
    {"expert_matmul/1", "f:T,1,24 f:5,17,24 i5:T,2", "transposed=0"},
    {"expert_matmul/1", "f:T,2,24 f:5,24,17 i5:T,2", "transposed=1"},
    {"expert_matmul/1", "f:T,1,32 B:5,17,32 i5:T,2", "transposed=0"},
    {"expert_outer/1", "f:T,2,17 f:T,1,24 i5:T,2 f:5,17,24", "experts=5"},
    {"rms_norm/1", "f:T,70 f:70", "eps=1e-5 plus=0"},
    {"rms_norm_grad/1", "f:T,70 f:70 p:T,1 f:T,70", "eps=1e-5 plus=1"},
    {"layer_norm/1", "f:T,70 f:70 f:70", "eps=1e-3"},
    {"layer_norm_grad/1", "f:T,70 f:70 f:T,1 p:T,1 f:T,70", "eps=1e-3"},
    {"softmax/1", "f:T,70", ""},
    {"softmax_grad/1", "f:T,70 f:T,70", ""},
    {"rope/1", "f:T,48 o:T y:8", "head=16 scale=1 interleaved=0 inverse=0"},
    {"rope/1", "f:T,48 o:T y:6", "head=16 scale=1.2 interleaved=1 inverse=1"},
    {"attention/1", "f:T,64 f:T,32 f:T,32 q:S,4", ATTENTION},
    {"attention/1", "f:T,64 f:T,32 f:T,32 q:S,4 f:5,32 f:5,32", WINDOWED},
    {"attention_grad/1", "f:T,64 f:T,32 f:T,32 q:S,4 - - f:T,64 p:T,4 f:T,64", ATTENTION},
    {"attention_grad/1", "f:T,64 f:T,32 f:T,32 q:S,4 f:5,32 f:5,32 f:T,64 p:T,4 f:T,64", WINDOWED},
    {"attention_cached/1", "f:T,64 f:T,32 f:T,32 c:S,4 - - f:C,32 f:C,32", ATTENTION},
    {"swiglu/1", "f:T,9 f:T,9", ""},
    {"swiglu_grad/1", "f:T,9 f:T,9 f:T,9", ""},
    {"silu/1", "f:T,9", ""},
    {"silu_grad/1", "f:T,9 f:T,9", ""},
    {"gelu/1", "f:T,9", "kind=0"},
    {"gelu/1", "f:T,9", "kind=1"},
    {"gelu_grad/1", "f:T,9 f:T,9", "kind=1"},
    {"dropout/1", "f:T,9", "p=0.3 stream=9"},
    {"linear_cross_entropy/1", "f:L,32 f:301,32 i301:L f:L", "softcap=0 scale=0.4"},
    {"linear_cross_entropy/1", "f:L,32 B:301,32 i301:L f:L", "softcap=3 scale=0.4"},
    {"linear_cross_entropy_train/1", "f:L,32 f:301,32 i301:L f:L f:301,32", "softcap=3 scale=0.4"},
    {"sum_squares/1", "f:T,70 f:1", ""},
    {"adamw/1", "f:T,9 f:T,9 f:T,9 p:T,9 h:8", "decay=1"},
};
enum { N_CASES = sizeof cases / sizeof *cases };

/* ---- data ----------------------------------------------------------------------------------------------------------------------------------- */
typedef struct input {
    char kind;
    int64_t limit;
    graft_shape shape; /* rank -1: absent */
    int64_t n, bytes;
    void *data;
} input;

typedef struct trial {
    const check_case *c;
    const graft_op_record *op;
    int64_t extent[GRAFT_SYMBOLS], capacity[GRAFT_SYMBOLS];
    input in[GRAFT_MAX_IN];
    graft_attr attr[GRAFT_MAX_ATTR];
    int n_in, n_attr;
} trial;

static float uniform(int which, int64_t i) { return graft_random_uniform(2026, (uint64_t)which, 0, (uint64_t)i); }
static float near_normal(int which, int64_t i) { return 1.7f * (uniform(which, 4 * i) + uniform(which, 4 * i + 1) + uniform(which, 4 * i + 2) + uniform(which, 4 * i + 3) - 2.0f); }

static graft_dtype type_of(char kind)
{
    static const char letters[] = "BH458NDZioqc";
    static const graft_dtype types[] = {GRAFT_BF16, GRAFT_F16, GRAFT_Q4_0, GRAFT_Q4_1, GRAFT_Q8_0, GRAFT_NF4, GRAFT_NF4_DOUBLE, GRAFT_INT8, GRAFT_I32, GRAFT_I32, GRAFT_I32, GRAFT_I32};
    const char *at = strchr(letters, kind);
    return at ? types[at - letters] : GRAFT_F32;
}

/* S sequences, a row of nobody behind the first; with a cache each has three rows there already. */
static void fill_borders(int32_t *seq, int64_t S, int64_t T, int cached)
{
    int64_t place = 0;
    for (int64_t s = 0; s < S; s++) {
        const int64_t first = s * T / S, rows = (s + 1) * T / S - first - (s == 0 && T > S);
        seq[4 * s] = (int32_t)first, seq[4 * s + 1] = (int32_t)rows;
        if (cached) seq[4 * s + 2] = (int32_t)place, seq[4 * s + 3] = 3, place += rows + 3;
    }
}

static void fill_words(const trial *t, const input *in, int which)
{
    int32_t *x = in->data;
    if (in->kind == 'q' || in->kind == 'c') fill_borders(x, t->extent[1], t->extent[0], in->kind == 'c');
    for (int64_t i = 0; i < in->n && in->kind == 'i'; i++) x[i] = i % 7 == 3 ? -1 : (int32_t)((float)in->limit * uniform(which, i));
    for (int64_t i = 0; i < in->n && in->kind == 'o'; i++) x[i] = (int32_t)(i % 40);
}

static void fill_floats(const input *in, int which)
{
    static const float hyper[] = {0.01f, 0.9f, 0.999f, 1e-8f, 0.1f, 0.271f, 0.002997f, 0.7f};
    float *x = in->data;
    for (int64_t i = 0; i < in->n; i++) {
        if (in->kind == 'p') x[i] = 0.5f + 1.5f * uniform(which, i);
        else if (in->kind == 'b') x[i] = uniform(which, i) < 0.5f ? 0.0f : 1.0f;
        else if (in->kind == 'y') x[i] = (float)pow(100.0, -(double)i / (double)in->n);
        else if (in->kind == 'h') x[i] = hyper[i % 8];
        else x[i] = near_normal(which, i);
    }
}

/* Bytes at random, but for each number's exponent, or each block's scale: all are about 1. */
/* The f32 scales among random bytes of packed.h's blocks. */
static void fill_scales(const input *in)
{
    const float of[] = {in->kind == 'D' ? 0.3f : 0.7f, 0.6f};
    const int64_t step = in->kind == 'N' ? GRAFT_NF4_BYTES : in->kind == 'Z' ? GRAFT_INT8_BYTES
                                                                             : GRAFT_NF4_GROUP_BYTES;
    uint8_t *x = in->data;
    for (int64_t i = 0; i < in->bytes; i += step) memcpy(x + i, of, in->kind == 'D' ? 8 : 4);
}

static void fill_stored(const input *in, int which)
{
    const int64_t block = in->kind == '4' ? 18 : in->kind == '5' ? 20
                                             : in->kind == '8'   ? 34
                                                                 : 2;
    uint8_t *x = in->data;
    for (int64_t i = 0; i < in->bytes; i++) x[i] = (uint8_t)(256.0f * uniform(which, i));
    if (graft_is_packed(in->shape.dtype)) return fill_scales(in);
    for (int64_t i = 0; i < in->bytes; i += block) {
        uint16_t h = (uint16_t)((in->kind == '8' ? 8 : 12) << 10 | (x[i] | (x[i + 1] & 3) << 8));
        if (in->kind == 'H') h = (uint16_t)((x[i + 1] & 0x80) << 8 | (13 + x[i + 1] % 3) << 10 | x[i] << 2);
        if (in->kind == 'B') h = (uint16_t)((x[i + 1] & 0x80) << 8 | (125 + x[i + 1] % 3) << 7 | (x[i] & 127));
        memcpy(x + i, &h, 2);
        if (in->kind == '5') memcpy(x + i + 2, &(uint16_t){0xbc00}, 2); /* the minimum -1 */
    }
}

/* ---- the text of a case ------------------------------------------------------------------------------------------------------------------------- */
static int64_t dim_of(const char **at)
{
    static const char symbols[] = "TSLC";
    const char *symbol = strchr(symbols, **at);
    char *end;
    if (symbol && **at) return (*at)++, -1 - (int64_t)(symbol - symbols);
    const int64_t v = strtoll(*at, &end, 10);
    *at = end;
    return v;
}

static const char *take_input(trial *t, const char *at)
{
    input *in = &t->in[t->n_in++];
    in->kind = *at++, in->shape.rank = -1;
    if (in->kind == '-') return at;
    in->limit = strtoll(at, (char **)(void *)&at, 10);
    in->shape = (graft_shape){.dtype = type_of(in->kind)};
    while (*at == ':' || *at == ',') {
        at++;
        in->shape.dims[in->shape.rank++] = dim_of(&at);
    }
    return at;
}

static void take_attr(trial *t, const char *key, size_t bytes, const char *value)
{
    for (int i = 0; i < GRAFT_MAX_ATTR && t->op->attrs[i].key; i++) {
        const graft_attr_rule *rule = &t->op->attrs[i];
        if (strlen(rule->key) != bytes || strncmp(rule->key, key, bytes) != 0) continue;
        t->attr[t->n_attr++] = (graft_attr){rule->key, rule->type, rule->type == GRAFT_ATTR_INT ? strtoll(value, NULL, 10) : 0, strtod(value, NULL)};
    }
}

static void trial_free(trial *t)
{
    for (int i = 0; i < t->n_in; i++) graft_free(t->in[i].data);
}

static int trial_new(trial *t, const check_case *c, int large)
{
    static const int64_t extents[2][GRAFT_SYMBOLS] = {{7, 2, 5, 20}, {70, 3, 33, 160}}, spare[GRAFT_SYMBOLS] = {5, 1, 3, 7};
    *t = (trial){.c = c, .op = graft_op_find(c->op)};
    for (int i = 0; i < GRAFT_SYMBOLS; i++) t->extent[i] = extents[large][i], t->capacity[i] = extents[large][i] + spare[i];
    for (const char *at = c->inputs; *at; at += *at == ' ') at = take_input(t, at);
    for (const char *at = c->attrs; *at; at += *at == ' ') {
        const size_t key = strcspn(at, "=");
        take_attr(t, at, key, at + key + 1);
        at += strcspn(at, " ");
    }
    for (int i = 0; i < t->n_in; i++) {
        input *in = &t->in[i];
        if (in->shape.rank < 0) continue;
        in->n = graft_shape_elements(&in->shape, t->extent);
        in->bytes = graft_dtype_bytes(in->shape.dtype, in->n);
        in->data = graft_calloc((size_t)in->bytes + 4, 1);
        if (!in->data) return -1;
        if (in->shape.dtype == GRAFT_I32) fill_words(t, in, i);
        else if (in->shape.dtype == GRAFT_F32) fill_floats(in, i);
        else fill_stored(in, i);
    }
    return 0;
}

/* ---- running ---------------------------------------------------------------------------------------------------------------------------------------- */
typedef struct outputs {
    int n;
    graft_dtype type[GRAFT_MAX_OUT];
    int64_t bytes[GRAFT_MAX_OUT], elements[GRAFT_MAX_OUT];
    char *data[GRAFT_MAX_OUT];
} outputs;

static void outputs_free(outputs *o)
{
    for (int i = 0; i < o->n; i++) graft_free(o->data[i]);
    *o = (outputs){0};
}

static const char *name_of(char what, int i, char name[8])
{
    snprintf(name, 8, "%c%d", what, i);
    return name;
}

/* The op between inputs and outputs. An output that cannot be is left out: the gradient towards extra keys when there are none. */
static graft_graph *graph_of(const trial *t, outputs *o)
{
    char name[8];
    graft_value in[GRAFT_MAX_IN] = {{0}};
    graft_graph *g = graft_graph_new();
    if (!g) return NULL;
    for (int i = 0; i < t->n_in; i++) {
        if (t->in[i].shape.rank >= 0) in[i] = graft_graph_input(g, name_of('x', i, name), t->in[i].shape.dtype, t->in[i].shape.rank, t->in[i].shape.dims);
    }
    const graft_value first = g->builder->api->op(g->builder, t->c->op, t->n_in, in, t->n_attr, t->attr);
    const int no_extra = t->op->n_out == 5 && t->n_in > 4 && t->in[4].shape.rank < 0;
    o->n = no_extra ? 3 : t->op->n_out;
    for (int i = 0; i < o->n; i++) {
        const graft_value v = i ? g->builder->api->output(g->builder, first, i) : first;
        const graft_shape *s = &graft_graph_info(g, v)->shape;
        o->type[i] = s->dtype, o->elements[i] = graft_shape_elements(s, t->extent);
        graft_graph_output(g, name_of('y', i, name), v);
    }
    return g;
}

static graft_status run_graph(const graft_device *d, const trial *t, graft_graph *g, outputs *o, graft_error *err)
{
    char name[8];
    graft_store *store = NULL;
    graft_exec *exec = NULL;
    graft_status status = graft_graph_check(g, err);
    if (!status) status = graft_graph_prepare(g, d, 0, 0, err);
    if (!status) status = graft_store_new(d, &store, err);
    if (!status) status = graft_store_add_graph(store, g, t->capacity, err);
    if (!status) status = graft_store_commit(store, err);
    if (!status) status = graft_exec_new(g, store, t->capacity, 7, &exec, err);
    for (int i = 0; !status && i < t->n_in; i++) {
        if (t->in[i].data && graft_graph_find(g, name_of('x', i, name)).id) status = graft_exec_set(exec, name_of('x', i, name), t->in[i].data, t->in[i].bytes, err);
    }
    if (!status) status = graft_exec_run(exec, t->extent, 3, 1, err);
    for (int i = 0; !status && i < o->n; i++) {
        o->bytes[i] = graft_dtype_bytes(o->type[i], o->elements[i]);
        o->data[i] = graft_calloc((size_t)o->bytes[i] + 4, 1);
        if (!o->data[i]) status = graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
        else status = graft_exec_get(exec, name_of('y', i, name), o->data[i], o->bytes[i], err);
    }
    graft_exec_free(exec);
    graft_store_free(store);
    return status;
}

static graft_status run_trial(const graft_device *d, const trial *t, outputs *o, graft_error *err)
{
    *o = (outputs){0};
    graft_graph *g = graph_of(t, o);
    if (!g) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    const graft_status status = run_graph(d, t, g, o, err);
    graft_graph_free(g);
    return status;
}

static double value_at(const outputs *o, int i, int64_t k)
{
    uint16_t half;
    int32_t whole;
    float v;
    if (o->type[i] == GRAFT_F32) return memcpy(&v, o->data[i] + 4 * k, 4), (double)v;
    if (o->type[i] == GRAFT_I32) return memcpy(&whole, o->data[i] + 4 * k, 4), (double)whole;
    return memcpy(&half, o->data[i] + 2 * k, 2), (double)half; /* bf16, f16: their bits */
}

static double difference(const outputs *a, const outputs *b)
{
    double worst = 0.0;
    for (int i = 0; i < b->n; i++) {
        double most = 0.0, size = 0.01;
        for (int64_t k = 0; k < b->elements[i]; k++) {
            const double x = value_at(a, i, k), y = value_at(b, i, k);
            if (isnan(x) != isnan(y) || (isinf(y) && x != y)) return INFINITY;
            if (isnan(x) || isinf(y)) continue;
            most = fmax(most, fabs(x - y)), size = fmax(size, fabs(y));
        }
        worst = fmax(worst, most / size);
    }
    return worst;
}

static int same_bits(const outputs *a, const outputs *b)
{
    for (int i = 0; i < a->n; i++) {
        if (a->bytes[i] != b->bytes[i] || memcmp(a->data[i], b->data[i], (size_t)a->bytes[i]) != 0) return 0;
    }
    return 1;
}

/* Does the device claim the op for the types of the case? */
static int claims(const graft_device *d, const trial *t)
{
    int32_t n = 0;
    const graft_op_claim *claim = d->table->ops(d->dev, &n);
    for (int32_t i = 0; i < n; i++) {
        int all = claim[i].op == graft_op_id(t->c->op);
        for (int k = 0; all && k < t->n_in; k++) {
            const graft_shape *s = &t->in[k].shape;
            all = s->rank < 0 || s->dtype == GRAFT_I32 || (claim[i].dtypes >> s->dtype & 1u) != 0;
        }
        if (all) return 1;
    }
    return 0;
}

static graft_status run_case(const graft_device *d, const graft_device *against, const check_case *c, int large, graft_check_row *row, graft_error *err)
{
    trial t;
    outputs a = {0}, b = {0}, again = {0};
    graft_error trouble = GRAFT_ERROR_INIT;
    if (trial_new(&t, c, large)) {
        trial_free(&t);
        return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    }
    if (claims(d, &t)) {
        row->claimed = 1;
        graft_status status = run_trial(against, &t, &b, &trouble);
        if (!status) status = run_trial(d, &t, &a, &trouble);
        if (!status) status = run_trial(d, &t, &again, &trouble);
        if (status) snprintf(row->trouble, sizeof row->trouble, "%.290s", trouble.message);
        else row->worst = fmax(row->worst, difference(&a, &b)), row->repeats &= same_bits(&a, &again), row->cases++;
    }
    outputs_free(&a);
    outputs_free(&b);
    outputs_free(&again);
    trial_free(&t);
    return GRAFT_OK;
}

graft_status graft_check_ops(const graft_device *d, const graft_device *against, graft_check_say say, void *ctx, graft_error *err)
{
    size_t n = 0;
    const graft_op_record *const *all = graft_op_all(&n);
    graft_status status = GRAFT_OK;
    for (size_t i = 0; i < n && !status; i++) {
        graft_check_row row = {.op = all[i]->name, .repeats = 1};
        int found = 0;
        for (int k = 0; k < 2 * N_CASES && !status; k++) {
            if (strcmp(cases[k / 2].op, all[i]->name) != 0) continue;
            found = 1;
            status = run_case(d, against, &cases[k / 2], k % 2, &row, err);
        }
        if (!found) snprintf(row.trouble, sizeof row.trouble, "no case is written for it");
        if (!status) say(ctx, &row);
    }
    return status;
}
