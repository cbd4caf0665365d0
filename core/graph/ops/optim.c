/* core/graph/ops/optim.c - what an update step needs: the sum of squares for the gradient's norm, and AdamW (Loshchilov & Hutter 2019, torch's order). */
#include "core/graph/ops/ops.h"

#include "graft/dynamic8.h"

#include <stdio.h>

/* ---- sum_squares: x, acc -> [1] ---------------------------------------------------------------------------------------------------------- */
static int squares_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char text[128];
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32, -1)) return -1;
    out[0] = graft_ops_vector(GRAFT_F32, 1);
    if (!graft_ops_has(n, 1)) return 0;
    if (graft_ops_expect(g, n, 1, "acc", GRAFT_OPS_F32, 1)) return -1;
    const graft_shape acc = graft_ops_shape(g, n->in[1]);
    if (acc.dims[0] == 1) return 0;
    graft_graph_error(g, "%s expects acc [1], found %s", n->op->name, graft_ops_text(&acc, text));
    return -1;
}

static void squares_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    const graft_shape one = graft_ops_vector(GRAFT_F32, 1);
    out[0] = graft_ops_reduce_to(g, graft_ops_square(g, n->in[0]), &one);
    if (graft_ops_has(n, 1)) out[0] = graft_add(g->builder, out[0], n->in[1]);
}

static void squares_backward(graft_graph *g, const graft_node *n, const graft_value *dout, const int *wants, graft_value *din)
{
    const graft_shape x = graft_ops_shape(g, n->in[0]);
    if (wants[0]) din[0] = graft_ops_reshape(g, graft_mul(g->builder, graft_scale(g->builder, n->in[0], 2.0), dout[0]), &x);
    if (n->n_in > 1 && wants[1]) din[1] = dout[0];
}

/* ---- adamw: p, g, m, v, hyper -> p, m, v ----------------------------------------------------------------------------------------------------- */
enum { LR,
       BETA1,
       BETA2,
       EPS,
       DECAY,
       CORRECTION1,
       CORRECTION2,
       FACTOR,
       HYPERS };

static int adamw_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    static const char *const what[] = {"p", "g", "m", "v"};
    char text[128];
    for (int i = 0; i < 4; i++) {
        if (graft_ops_expect(g, n, i, what[i], GRAFT_OPS_F32, -1) || graft_ops_same(g, n, 0, i)) return -1;
    }
    if (graft_ops_expect(g, n, 4, "hyper", GRAFT_OPS_F32, 1)) return -1;
    const graft_shape hyper = graft_ops_shape(g, n->in[4]);
    out[0] = out[1] = out[2] = graft_ops_shape(g, n->in[0]);
    if (hyper.dims[0] == HYPERS) return 0;
    graft_graph_error(g, "%s expects hyper [%d], found %s", n->op->name, HYPERS, graft_ops_text(&hyper, text));
    return -1;
}

static void adamw_decompose(graft_graph *gr, const graft_node *n, graft_value *out)
{
    graft_builder *b = gr->builder;
    graft_value h[HYPERS], p = n->in[0];
    for (int i = 0; i < HYPERS; i++) h[i] = graft_reshape(b, graft_slice(b, n->in[4], 0, i, 1), 0, NULL);
    const graft_value g = graft_mul(b, n->in[1], h[FACTOR]);
    if (graft_node_int(n, "decay")) p = graft_mul(b, p, graft_ops_not(gr, graft_mul(b, h[LR], h[DECAY])));
    out[1] = graft_add(b, graft_mul(b, n->in[2], h[BETA1]), graft_mul(b, g, graft_ops_not(gr, h[BETA1])));
    out[2] = graft_add(b, graft_mul(b, n->in[3], h[BETA2]), graft_mul(b, graft_ops_square(gr, g), graft_ops_not(gr, h[BETA2])));
    const graft_value below = graft_add(b, graft_sqrt(b, graft_div(b, out[2], h[CORRECTION2])), h[EPS]);
    out[0] = graft_sub(b, p, graft_div(b, graft_mul(b, graft_div(b, out[1], h[CORRECTION1]), h[LR]), below));
}

/* ---- dynamic8_pack: x -> codes, scales; dynamic8_unpack: codes, scales -> x ------------------------------------------------------------------- */
enum { BLOCK = GRAFT_DYNAMIC8_BLOCK,
       WORDS = GRAFT_DYNAMIC8_WORDS,
       DECADES = GRAFT_DYNAMIC8_DECADES };

/* Elements of a constant shape; -1: it has a symbol or is too large. */
static int64_t constant_elements(const graft_shape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++)
        if (s->dims[i] < 1 || graft_mul_overflows(n, s->dims[i], &n) || n > INT64_MAX / 1024) return -1;
    return n;
}

static int pack_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char text[128];
    if (graft_ops_expect(g, n, 0, "x", GRAFT_OPS_F32, -1)) return -1;
    const graft_shape x = graft_ops_shape(g, n->in[0]);
    const int64_t blocks = (constant_elements(&x) + BLOCK - 1) / BLOCK;
    out[0] = (graft_shape){GRAFT_I32, 2, {blocks, WORDS, 0, 0}};
    out[1] = (graft_shape){GRAFT_F32, 2, {blocks, 1, 0, 0}};
    if (blocks > 0) return 0;
    graft_graph_error(g, "%s expects a constant shape, found %s", n->op->name, graft_ops_text(&x, text));
    return -1;
}

static int unpack_shape(graft_graph *g, const graft_node *n, graft_shape *out)
{
    char a[128], b[128], c[128];
    if (graft_ops_expect(g, n, 0, "codes", GRAFT_OPS_I32, 2) || graft_ops_expect(g, n, 1, "scales", GRAFT_OPS_F32, 2)) return -1;
    out[0] = (graft_shape){.dtype = GRAFT_F32};
    if (graft_ops_dims(g, n, &out[0])) return -1;
    const graft_shape codes = graft_ops_shape(g, n->in[0]), scales = graft_ops_shape(g, n->in[1]);
    const int64_t blocks = (constant_elements(&out[0]) + BLOCK - 1) / BLOCK;
    if (blocks > 0 && codes.dims[0] == blocks && codes.dims[1] == WORDS && scales.dims[0] == blocks && scales.dims[1] == 1) return 0;
    graft_graph_error(g, "%s expects codes [blocks, %d] and scales [blocks, 1] of a constant shape, found %s and %s for %s", n->op->name, (int)WORDS, graft_ops_text(&codes, a), graft_ops_text(&scales, b), graft_ops_text(&out[0], c));
    return -1;
}

/* One table a graph and path. */
static graft_value table_of(graft_graph *g, const graft_node *n, const char *name, const int64_t dims[2], const float *data)
{
    char full[600];
    snprintf(full, sizeof full, "%s%s%s", n->path, *n->path ? "." : "", name);
    const graft_value known = graft_graph_find(g, full);
    return known.id ? known : g->builder->api->constant(g->builder, name, 2, dims, data);
}

static graft_value truncated(graft_graph *g, graft_value x) { return graft_cast(g->builder, graft_cast(g->builder, x, GRAFT_I32), GRAFT_F32); }

static void unpack_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_shape to = graft_ops_shape(g, n->out[0]);
    const int64_t size = constant_elements(&to), blocks = (size + BLOCK - 1) / BLOCK, ids[] = {blocks * BLOCK}, table_dims[] = {256, 1}, flat = size;
    const int is_signed = graft_node_int(n, "signed") != 0;
    graft_dynamic8 t;
    graft_dynamic8_make(&t, is_signed);
    const graft_value table = table_of(g, n, is_signed ? "dynamic8.signed" : "dynamic8.unsigned", table_dims, t.value);
    const graft_value words = graft_ops_shape2(g, graft_cast(b, n->in[0], GRAFT_F32), blocks * WORDS, 1); /* below 2^24: exact */
    const graft_value high = truncated(g, graft_scale(b, words, 1.0 / 65536.0)), rest = graft_sub(b, words, graft_scale(b, high, 65536.0));
    const graft_value middle = truncated(g, graft_scale(b, rest, 1.0 / 256.0)), low = graft_sub(b, rest, graft_scale(b, middle, 256.0));
    const graft_value rows = graft_ops_shape2(g, graft_concat(b, graft_concat(b, low, middle, 1), high, 1), blocks, 3 * WORDS);
    const graft_value codes = graft_reshape(b, graft_cast(b, graft_slice(b, rows, 1, 0, BLOCK), GRAFT_I32), 1, ids);
    const graft_value x = graft_mul(b, graft_ops_shape2(g, graft_gather(b, table, codes), blocks, BLOCK), n->in[1]);
    out[0] = graft_ops_reshape(g, graft_slice(b, graft_reshape(b, x, 1, ids), 0, 0, flat), &to);
}

/* y [m, 1] magnitudes over their block's largest, x the same with signs -> codes as f32. */
static graft_value codes_of(graft_graph *g, const graft_node *n, graft_value x, graft_value y, int64_t m)
{
    graft_builder *b = g->builder;
    const int is_signed = graft_node_int(n, "signed") != 0;
    const int64_t dims[] = {DECADES, 4}, ids[] = {m};
    float steps[DECADES * 4];
    graft_dynamic8 t;
    graft_dynamic8_make(&t, is_signed);
    for (int e = 0; e < DECADES; e++) steps[4 * e] = t.scale[e], steps[4 * e + 1] = t.offset[e], steps[4 * e + 2] = t.low[e], steps[4 * e + 3] = t.high[e];
    const graft_value table = table_of(g, n, is_signed ? "dynamic8.signed.steps" : "dynamic8.unsigned.steps", dims, steps);
    graft_value decade = graft_less(b, graft_ops_number(g, (double)t.begin[1]), y);
    for (int e = 2; e < DECADES; e++) decade = graft_add(b, decade, graft_less(b, graft_ops_number(g, (double)t.begin[e]), y));
    const graft_value of = graft_gather(b, table, graft_cast(b, graft_reshape(b, decade, 1, ids), GRAFT_I32));
    const graft_value place = graft_add(b, graft_mul(b, y, graft_ops_column(g, of, 0)), graft_ops_column(g, of, 1));
    const graft_value least = graft_maximum(b, place, graft_ops_column(g, of, 2)), most = graft_ops_column(g, of, 3);
    graft_value code = truncated(g, graft_select(b, graft_less(b, most, least), most, least));
    const graft_value one = graft_less(b, graft_ops_number(g, (double)t.begin[DECADES]), y);
    if (is_signed) {
        const graft_value negative = graft_less(b, x, graft_ops_number(g, 0.0));
        code = graft_select(b, negative, graft_affine(b, code, 1.0, 128.0), graft_select(b, one, graft_ops_number(g, 128.0), code));
    } else {
        code = graft_select(b, one, graft_ops_number(g, 1.0), code);
    }
    return graft_select(b, graft_less(b, graft_ops_number(g, (double)t.begin[0]), y), code, graft_ops_number(g, 0.0));
}

static void pack_decompose(graft_graph *g, const graft_node *n, graft_value *out)
{
    graft_builder *b = g->builder;
    const graft_shape from = graft_ops_shape(g, n->in[0]);
    const int64_t size = constant_elements(&from), blocks = (size + BLOCK - 1) / BLOCK, flat[] = {size}, m = blocks * BLOCK;
    graft_value x = graft_reshape(b, n->in[0], 1, flat);
    if (m > size) x = graft_pad(b, x, 0, 0, m - size);
    x = graft_ops_shape2(g, x, blocks, BLOCK);
    const graft_value largest = graft_amax(b, graft_abs(b, x), 1), zero = graft_ops_number(g, 0.0);
    const graft_value ratio = graft_div(b, x, graft_select(b, graft_less(b, zero, largest), largest, graft_ops_number(g, 1.0)));
    const graft_value r = graft_ops_shape2(g, ratio, m, 1);
    const graft_value codes = graft_ops_shape2(g, codes_of(g, n, r, graft_abs(b, r), m), blocks, BLOCK);
    const graft_value threes = graft_ops_shape2(g, graft_pad(b, codes, 1, 0, 3 * WORDS - BLOCK), blocks * WORDS, 3);
    const graft_value upper = graft_add(b, graft_scale(b, graft_ops_column(g, threes, 2), 65536.0), graft_scale(b, graft_ops_column(g, threes, 1), 256.0));
    out[0] = graft_ops_shape2(g, graft_cast(b, graft_add(b, upper, graft_ops_column(g, threes, 0)), GRAFT_I32), blocks, WORDS);
    out[1] = largest;
}

static double squares_flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]) { return 2.0 * graft_ops_elements(g, n->in[0], extent); }
static double adamw_flops(const graft_graph *g, const graft_node *n, const int64_t extent[GRAFT_SYMBOLS]) { return 14.0 * graft_ops_elements(g, n->in[0], extent); }

const graft_op_record graft_ops_optim[] = {
    {
        .name = "sum_squares/1",
        .min_in = 1,
        .max_in = 2,
        .n_out = 1,
        .shape = squares_shape,
        .decompose = squares_decompose,
        .backward = squares_backward,
        .inplace = {2},
        .accumulate = {2},
        .flops = squares_flops,
    },
    {
        .name = "adamw/1",
        .min_in = 5,
        .max_in = 5,
        .n_out = 3,
        .attrs = {GRAFT_ATTR_MAY("decay", INT, 1)},
        .shape = adamw_shape,
        .decompose = adamw_decompose,
        .inplace = {1, 3, 4},
        .flops = adamw_flops,
    },
    {
        .name = "dynamic8_pack/1",
        .min_in = 1,
        .max_in = 1,
        .n_out = 2,
        .attrs = {GRAFT_ATTR_NEED("signed", INT)},
        .shape = pack_shape,
        .decompose = pack_decompose,
    },
    {
        .name = "dynamic8_unpack/1",
        .min_in = 2,
        .max_in = 2,
        .n_out = 1,
        .attrs = {GRAFT_ATTR_DIMS, GRAFT_ATTR_NEED("signed", INT)},
        .shape = unpack_shape,
        .decompose = unpack_decompose,
    },
    {.name = NULL},
};
