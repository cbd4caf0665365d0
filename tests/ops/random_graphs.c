/* tests/ops/random_graphs.c - programs of 12 to 30 ops drawn at random, with gradients to all their inputs, after all passes: the reference backend with
 * every op, with primitives alone, and every other backend give the same numbers. What single ops cannot show: places in memory that are
 * shared too early, sums that are sunk wrongly, replaced values. */
#include "tests/support/op_harness.h"

#include <math.h>
#include <stdio.h>

enum { GRAPHS = 150,
       HEAD = 4,
       HEADS = 4,
       KV = 2,
       D = HEAD * HEADS,
       VOCAB = 23,
       POOL = 40,
       MAX_DEVICES = 16 };
enum { X,
       POS,
       SEQ,
       FREQ,
       W1,
       W2,
       W3,
       VECTOR,
       TABLE,
       IDS,
       LABELS,
       KEYS }; /* inputs */

typedef struct state {
    graft_builder *b;
    const graft_value *in;
    graft_value pool[POOL];
    int n;
    op_rng r;
} state;

static graft_value pick(state *s) /* recent values more often, so that chains grow */
{
    const uint32_t back = op_draw(&s->r, 3) ? op_draw(&s->r, 3) : op_draw(&s->r, (uint32_t)s->n);
    return s->pool[back < (uint32_t)s->n ? s->n - 1 - (int)back : 0];
}

static graft_value weight(state *s) { return s->in[W1 + op_draw(&s->r, 3)]; }

static graft_value movement(state *s, graft_value x)
{
    const int64_t split[] = {GRAFT_DIM_TOKENS, HEADS, HEAD}, order[] = {1, 0, 2}, flat[] = {GRAFT_DIM_TOKENS, D}, one[] = {1, D};
    graft_builder *b = s->b;
    switch (op_draw(&s->r, 4)) {
    case 0: return graft_reshape(b, graft_permute(b, graft_permute(b, graft_reshape(b, x, 3, split), 3, order), 3, order), 2, flat);
    case 1: return graft_concat(b, graft_slice(b, x, 1, D / 2, D / 2), graft_slice(b, pick(s), 1, 0, D / 2), 1);
    case 2: return graft_pad(b, graft_slice(b, x, 1, 3, 9), 1, 5, D - 14);
    default: return graft_add(b, x, graft_reshape(b, s->in[VECTOR], 2, one));
    }
}

static graft_value elementwise(state *s, graft_value x)
{
    graft_builder *b = s->b;
    switch (op_draw(&s->r, 9)) {
    case 0: return graft_tanh(b, x);
    case 1: return graft_sigmoid(b, x);
    case 2: return graft_silu(b, x);
    case 3: return graft_gelu(b, x, (int)op_draw(&s->r, 2));
    case 4: return graft_neg(b, x);
    case 5: return graft_scale(b, x, op_uniform(&s->r, -1.5, 1.5));
    case 6: return graft_affine(b, x, 0.5, 0.25);
    case 7: return graft_exp(b, graft_tanh(b, x));
    default: return graft_dropout(b, x, 0.3);
    }
}

static graft_value step(state *s)
{
    graft_builder *b = s->b;
    const graft_value x = pick(s), y = pick(s), none = graft_null_value();
    switch (op_draw(&s->r, 14)) {
    case 0: return graft_add(b, x, y);
    case 1: return graft_sub(b, x, y);
    case 2: return graft_mul(b, graft_tanh(b, x), y);
    case 3: return graft_swiglu(b, x, y);
    case 4: return graft_rms_norm(b, x, s->in[VECTOR], 1e-2, (double)op_draw(&s->r, 2));
    case 5: return graft_layer_norm(b, x, op_draw(&s->r, 2) ? s->in[VECTOR] : none, none, 1e-2);
    case 6: return graft_gemm(b, x, weight(s), op_draw(&s->r, 2) ? y : none, 0, (int)op_draw(&s->r, 2), 0.25);
    case 7: return graft_rope(b, x, s->in[POS], s->in[FREQ], HEAD, 1.0, (int)op_draw(&s->r, 2));
    case 8: {
        const graft_value k = graft_slice(b, x, 1, 0, KV * HEAD), v = graft_slice(b, y, 1, KV * HEAD, KV * HEAD);
        return graft_attention(b, graft_rms_norm(b, pick(s), none, 1e-2, 0.0), graft_rms_norm(b, k, none, 1e-2, 0.0), v, s->in[SEQ], HEADS, KV, op_draw(&s->r, 3), 0.5, 0.0);
    }
    case 9: return graft_mul(b, graft_softmax(b, x), y);
    case 10: return graft_add(b, x, graft_scale(b, graft_sum(b, y, (int)op_draw(&s->r, 2)), 0.1));
    case 11: return graft_scatter_add(b, x, graft_gather(b, s->in[TABLE], s->in[IDS]), s->in[IDS]);
    case 12: return movement(s, x);
    default: return elementwise(s, x);
    }
}

static int build(graft_graph *g, const op_case *c, const graft_value *in, graft_value *out)
{
    state s = {.b = g->builder, .in = in, .pool = {in[X], graft_gather(g->builder, in[TABLE], in[KEYS])}, .n = 2, .r = {c->seed * 77777}};
    const int64_t tokens[] = {GRAFT_DIM_TOKENS};
    const int steps = 12 + (int)op_draw(&s.r, 19);
    for (int i = 0; i < steps; i++) {
        graft_push_index(s.b, "layers", i / 6);
        s.pool[s.n] = step(&s);
        s.n++;
        graft_pop(s.b);
    }
    graft_value sum = s.pool[s.n - 1]; /* all that nobody read is read here */
    for (int i = 1; i < 4; i++) sum = graft_add(s.b, sum, s.pool[s.n - 1 - i]);
    out[0] = graft_rms_norm(s.b, sum, graft_null_value(), 1e-2, 0.0);
    out[1] = graft_linear_cross_entropy(s.b, out[0], in[TABLE], in[LABELS], graft_fill(s.b, 1, tokens, 0.125), 0.0, 0.5);
    return 2;
}

static void draw(op_case *c, uint64_t seed)
{
    const int64_t T = GRAFT_DIM_TOKENS;
    op_case_begin(c, "random graph", seed);
    op_rng r = {seed * 31};
    c->extent[0] = 1 + op_draw(&r, 12), c->extent[1] = 1 + op_draw(&r, 3);
    for (int i = 0; i < GRAFT_SYMBOLS; i++) c->capacity[i] = c->extent[i] + op_draw(&r, 4);
    op_case_in(c, OP_NORMAL, 2, T, D, 0, 0);
    op_case_in(c, OP_POSITIONS, 1, T, 0, 0, 0);
    op_case_in(c, OP_SEQ, 2, GRAFT_DIM_SEQUENCES, 4, 0, 0);
    op_case_in(c, OP_FREQ, 1, HEAD / 2, 0, 0, 0);
    for (int i = W1; i <= W3; i++) op_case_in(c, OP_NORMAL, 2, D, D, 0, 0);
    op_case_in(c, OP_NORMAL, 1, D, 0, 0, 0);
    op_case_in(c, OP_NORMAL, 2, VOCAB, D, 0, 0);
    op_case_in(c, OP_INDEX, 1, T, 0, 0, 0)->limit = 1; /* rows of x too */
    op_case_in(c, OP_INDEX, 1, T, 0, 0, 0)->limit = VOCAB;
    op_case_in(c, OP_INDEX, 1, T, 0, 0, 0)->limit = VOCAB;
    c->build = build;
    c->seeded = seed % 2 ? 3 : 2;
    c->unit_seed = seed % 4 == 0;
}

/* Errors of one op are below 1e-6 and grow through the graph; a wrong place or a lost term is an error of 1e-2 and more. */
static double compare(const graft_device *d, const op_case *c, const op_data *data, const op_result *want, int recompute)
{
    op_result got;
    double worst = 0.0;
    op_harness_recompute = recompute;
    op_case_run(d, c, 1, data, &got);
    op_harness_recompute = 0;
    for (int i = 0; i < OP_RESULTS; i++) {
        const double error = op_result_error(&got, want, i);
        ck_assert_msg(error <= 5e-5, "random graph %llu on %s, recompute %d: %s differs by %.2g of its size", (unsigned long long)c->seed, d->name, recompute,
                      op_result_name(i), error);
        worst = fmax(worst, error);
    }
    op_result_free(&got);
    return worst;
}

START_TEST(random_graphs_agree)
{
    graft_device devices[MAX_DEVICES + 2] = {op_reference(1), op_reference(0)};
    const int n = 2 + op_other_devices(devices + 2, MAX_DEVICES);
    double worst[MAX_DEVICES + 2] = {0};
    for (uint64_t seed = 1; seed <= GRAPHS; seed++) {
        op_case c;
        op_data data;
        op_result want;
        draw(&c, seed);
        op_data_new(&c, &data);
        op_case_run(&devices[0], &c, 1, &data, &want);
        for (int i = 0; i < n; i++) worst[i] = fmax(worst[i], compare(&devices[i], &c, &data, &want, i == 0 ? 1 + (int)(seed & 1) : (int)(seed % 3)));
        op_result_free(&want);
        op_data_free(&data);
    }
    for (int i = 0; i < n; i++) {
        printf("%-24s %d graphs, largest difference / largest value %.1e\n", i == 0 ? "reference, recomputing" : i == 1 ? "reference, primitives"
                                                                                                                        : devices[i].name,
               GRAPHS, worst[i]);
        graft_device_close(&devices[i]);
    }
}
END_TEST

static void cases(TCase *tc) { tcase_add_test(tc, random_graphs_agree); }

int main(void) { return graft_test_main("random_graphs", cases); }
