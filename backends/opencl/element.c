/* backends/opencl/element.c - ops of one work item an element: functions, broadcasting, gated units, values from nothing, rotary positions. */
#include "opencl.h"

/* ---- one operand ------------------------------------------------------------------------------------------------------------------------- */
static const char *const functions[] = {"neg/1", "exp/1", "log/1", "sqrt/1", "rsqrt/1", "tanh/1", "sigmoid/1", "sin/1", "cos/1", "abs/1", "erf/1", "affine/1"};
static const char *const pairs[] = {"add/1", "sub/1", "mul/1", "div/1", "maximum/1", "less/1", "equal/1", "select/1"};
static const char *const gated[] = {"swiglu/1", "swiglu_grad/1", "silu/1", "silu_grad/1", "gelu/1", "gelu_grad/1"};

static int number_of(const char *op, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(op, names[i])) return (int)i;
    }
    return 0;
}
#define NUMBER_OF(op, names) number_of(op, names, sizeof names / sizeof *names)

static graft_status do_unary(const ocl_call *c)
{
    const ocl_view *x = &c->in[0];
    return ocl_launch_1d(c, OCL_K_unary, x->n, "ttliff", x, &c->out[0], x->n, NUMBER_OF(c->op, functions), ocl_real(c, "mul"), ocl_real(c, "add"));
}

static int unary_fits(const ocl_call *c) { return ocl_same(&c->in[0], &c->out[0]); }

/* ---- operands that broadcast -------------------------------------------------------------------------------------------------------------- */
/* The result's axes at the right of dims; strides of x in elements, 0 where it is repeated. */
static void strides_of(const ocl_view *x, const ocl_view *out, int64_t dims[4], int64_t strides[4])
{
    int64_t s = 1;
    for (int i = 0; i < 4; i++) dims[i] = 1, strides[i] = 0;
    for (int i = 0; i < out->rank; i++) dims[4 - out->rank + i] = out->dims[i];
    for (int i = x->rank - 1; i >= 0; i--) {
        if (x->dims[i] != 1) strides[4 - x->rank + i] = s;
        s *= x->dims[i];
    }
}

static graft_status do_binary(const ocl_call *c)
{
    const ocl_view *out = &c->out[0], *in = c->in;
    int64_t dims[4], strides[3][4] = {{0}};
    int flat = 1;
    for (int i = 0; i < 3; i++) {
        if (!in[i].there) continue;
        strides_of(&in[i], out, dims, strides[i]);
        flat &= in[i].n == out->n;
    }
    return ocl_launch_1d(c, OCL_K_binary, out->n, "ttttliiivvvv", &in[0], &in[1], &in[2], out, out->n, NUMBER_OF(c->op, pairs), (int)(in[0].dtype == GRAFT_I32), flat, dims,
                         strides[0], strides[1], strides[2]);
}

static int binary_fits(const ocl_call *c) { return ocl_broadcasts(&c->in[0], &c->out[0]) && ocl_broadcasts(&c->in[1], &c->out[0]); }
static int compare_fits(const ocl_call *c) { return binary_fits(c) && c->in[0].dtype == c->in[1].dtype; }
static int select_fits(const ocl_call *c) { return binary_fits(c) && ocl_broadcasts(&c->in[2], &c->out[0]); }

/* ---- gated units --------------------------------------------------------------------------------------------------------------------------- */
static graft_status do_mlp(const ocl_call *c)
{
    const int64_t n = c->in[0].n;
    return ocl_launch_1d(c, OCL_K_mlp, n, "tttttlii", &c->in[0], &c->in[1], &c->in[2], &c->out[0], &c->out[1], n, NUMBER_OF(c->op, gated), (int)ocl_int(c, "kind"));
}

static int mlp_fits(const ocl_call *c)
{
    return ocl_same(&c->in[0], &c->in[1]) && ocl_same(&c->in[0], &c->in[2]) && ocl_same(&c->in[0], &c->out[0]) && ocl_same(&c->in[0], &c->out[1]) && ocl_int(c, "kind") >= 0 &&
           ocl_int(c, "kind") <= 1;
}

/* ---- values from nothing, and other types ---------------------------------------------------------------------------------------------------- */
static graft_status put(const ocl_call *c, int kind, double value)
{
    const ocl_view *x = kind == 0 ? &c->in[0] : NULL, *y = &c->out[0];
    return ocl_launch_1d(c, OCL_K_cast, y->n, "ttliiif", x, y, y->n, kind, x ? (int)x->dtype : 0, (int)y->dtype, value);
}

static graft_status do_cast(const ocl_call *c) { return put(c, 0, 0.0); }
static graft_status do_fill(const ocl_call *c) { return put(c, 1, ocl_real(c, "value")); }
static graft_status do_iota(const ocl_call *c) { return put(c, 2, 0.0); }
static graft_status do_training(const ocl_call *c) { return put(c, 1, c->training ? 1.0 : 0.0); }

static graft_status do_random(const ocl_call *c)
{
    const ocl_view *x = &c->in[0], *y = &c->out[0]; /* dropout has x, random has none */
    const double p = ocl_real(c, "p");
    const uint64_t mixed = (uint64_t)ocl_int(c, "stream") * 0x9E3779B97F4A7C15ull + c->number;
    return ocl_launch_1d(c, OCL_K_random_fill, y->n, "ttluuffi", x, y, y->n, c->seed, mixed, p, 1.0 / (1.0 - p), c->training);
}

static int one(const ocl_call *c) { return c->out[0].n == 1; }
static int dropout_fits(const ocl_call *c) { return ocl_real(c, "p") >= 0.0 && ocl_real(c, "p") < 1.0 && ocl_same(&c->in[0], &c->out[0]); }

/* ---- rotary positions --------------------------------------------------------------------------------------------------------------------------- */
static graft_status do_rope(const ocl_call *c)
{
    const ocl_view *x = &c->in[0];
    const int64_t head = ocl_int(c, "head"), half = c->in[2].n, heads = x->dims[1] / head, items = x->n / head * (head - half);
    return ocl_launch_1d(c, OCL_K_rope, items, "ttttliiiiff", x, &c->in[1], &c->in[2], &c->out[0], items, (int)heads, (int)head, (int)half, (int)(ocl_int(c, "interleaved") != 0),
                         ocl_real(c, "scale"), ocl_int(c, "inverse") ? -1.0 : 1.0);
}

static int rope_fits(const ocl_call *c)
{
    const ocl_view *x = &c->in[0];
    const int64_t head = ocl_int(c, "head");
    return x->rank == 2 && head > 0 && head <= INT32_MAX && x->dims[1] % head == 0 && c->in[1].rank == 1 && c->in[1].n == x->dims[0] && c->in[2].rank == 1 &&
           c->in[2].n <= head / 2 && ocl_same(x, &c->out[0]);
}

#define ELEMENT .families = OCL_BIT(OCL_ELEMENT)
const ocl_op ocl_elements[] = {
    {.name = "neg/1", .in = "f", .n_out = 1, ELEMENT, .run = do_unary, .fits = unary_fits},
    {.name = "exp/1", .in = "f", .n_out = 1, ELEMENT, .run = do_unary, .fits = unary_fits},
    {.name = "log/1", .in = "f", .n_out = 1, ELEMENT, .run = do_unary, .fits = unary_fits},
    {.name = "sqrt/1", .in = "f", .n_out = 1, ELEMENT, .run = do_unary, .fits = unary_fits},
    {.name = "rsqrt/1", .in = "f", .n_out = 1, ELEMENT, .run = do_unary, .fits = unary_fits},
    {.name = "tanh/1", .in = "f", .n_out = 1, ELEMENT, .run = do_unary, .fits = unary_fits},
    {.name = "sigmoid/1", .in = "f", .n_out = 1, ELEMENT, .run = do_unary, .fits = unary_fits},
    {.name = "sin/1", .in = "f", .n_out = 1, ELEMENT, .run = do_unary, .fits = unary_fits},
    {.name = "cos/1", .in = "f", .n_out = 1, ELEMENT, .run = do_unary, .fits = unary_fits},
    {.name = "abs/1", .in = "f", .n_out = 1, ELEMENT, .run = do_unary, .fits = unary_fits},
    {.name = "erf/1", .in = "f", .n_out = 1, ELEMENT, .run = do_unary, .fits = unary_fits},
    {.name = "affine/1", .in = "f", .n_out = 1, ELEMENT, .attrs = {"mul", "add"}, .run = do_unary, .fits = unary_fits},
    {.name = "add/1", .in = "ff", .n_out = 1, ELEMENT, .run = do_binary, .fits = binary_fits},
    {.name = "sub/1", .in = "ff", .n_out = 1, ELEMENT, .run = do_binary, .fits = binary_fits},
    {.name = "mul/1", .in = "ff", .n_out = 1, ELEMENT, .run = do_binary, .fits = binary_fits},
    {.name = "div/1", .in = "ff", .n_out = 1, ELEMENT, .run = do_binary, .fits = binary_fits},
    {.name = "maximum/1", .in = "ff", .n_out = 1, ELEMENT, .run = do_binary, .fits = binary_fits},
    {.name = "less/1", .in = "nn", .n_out = 1, ELEMENT, .run = do_binary, .fits = compare_fits},
    {.name = "equal/1", .in = "nn", .n_out = 1, ELEMENT, .run = do_binary, .fits = compare_fits},
    {.name = "select/1", .in = "fff", .n_out = 1, ELEMENT, .run = do_binary, .fits = select_fits},
    {.name = "swiglu/1", .in = "ff", .n_out = 1, ELEMENT, .run = do_mlp, .fits = mlp_fits},
    {.name = "swiglu_grad/1", .in = "fff", .n_out = 2, ELEMENT, .run = do_mlp, .fits = mlp_fits},
    {.name = "silu/1", .in = "f", .n_out = 1, ELEMENT, .run = do_mlp, .fits = mlp_fits},
    {.name = "silu_grad/1", .in = "ff", .n_out = 1, ELEMENT, .run = do_mlp, .fits = mlp_fits},
    {.name = "gelu/1", .in = "f", .n_out = 1, ELEMENT, .attrs = {"kind"}, .run = do_mlp, .fits = mlp_fits},
    {.name = "gelu_grad/1", .in = "ff", .n_out = 1, ELEMENT, .attrs = {"kind"}, .run = do_mlp, .fits = mlp_fits},
    {.name = "cast/1", .in = "a", .n_out = 1, ELEMENT, .run = do_cast, .fits = unary_fits},
    {.name = "fill/1", .in = "", .n_out = 1, ELEMENT, .attrs = {"value"}, .run = do_fill},
    {.name = "iota/1", .in = "", .n_out = 1, ELEMENT, .run = do_iota},
    {.name = "random/1", .in = "", .n_out = 1, ELEMENT, .attrs = {"stream"}, .run = do_random},
    {.name = "training/1", .in = "", .n_out = 1, ELEMENT, .run = do_training, .fits = one},
    {.name = "dropout/1", .in = "f", .n_out = 1, ELEMENT, .attrs = {"p", "stream"}, .run = do_random, .fits = dropout_fits},
    {.name = "rope/1", .in = "fif", .n_out = 1, ELEMENT, .attrs = {"head", "scale", "interleaved", "inverse"}, .run = do_rope, .fits = rope_fits},
    {.name = NULL},
};
