/* Random graphs: whatever is emitted keeps the graph's laws through every pass, computes the same numbers afterwards, and has the gradient
 * that finite differences say. Evaluated in f64 by a small interpreter of this file, so that the room is tested without a backend. */
#include "tests/unit/graph/tiny.h"

#include "graft/random.h"

#include <math.h>
#include <stdio.h>

enum { ROWS = 3,
       COLS = 4,
       CELLS = 64,
       STEPS = 24,
       ROUNDS = 300 };

/* ---- the interpreter --------------------------------------------------------------------------------------------------------------------------- */
typedef struct numbers {
    double (*v)[CELLS];
    const graft_graph *g;
} numbers;

static int64_t extent(const graft_graph *g, graft_value v, int axis_from_end)
{
    const graft_shape *s = &graft_graph_info(g, v)->shape;
    return axis_from_end < s->rank ? s->dims[s->rank - 1 - axis_from_end] : 1;
}
static int64_t cells(const graft_graph *g, graft_value v)
{
    static const int64_t none[GRAFT_SYMBOLS] = {0};
    return graft_shape_elements(&graft_graph_info(g, v)->shape, none);
}

/* Element (i, j) of v seen as rank 2 with numpy broadcasting. */
static double at(const numbers *x, graft_value v, int64_t i, int64_t j)
{
    const int64_t d0 = extent(x->g, v, 1), d1 = extent(x->g, v, 0);
    return x->v[v.id][(d0 == 1 ? 0 : i) * d1 + (d1 == 1 ? 0 : j)];
}

static double unary(const char *op, double x, const graft_node *n)
{
    if (!strcmp(op, "neg/1")) return -x;
    if (!strcmp(op, "exp/1")) return exp(x);
    if (!strcmp(op, "tanh/1")) return tanh(x);
    if (!strcmp(op, "sin/1")) return sin(x);
    if (!strcmp(op, "cos/1")) return cos(x);
    if (!strcmp(op, "sigmoid/1")) return 1.0 / (1.0 + exp(-x));
    if (!strcmp(op, "affine/1")) return graft_node_real(n, "mul") * x + graft_node_real(n, "add");
    ck_abort_msg("the interpreter lacks %s", op);
    return 0.0;
}

static void matmul(const numbers *x, const graft_node *n)
{
    const graft_value a = n->in[0], w = n->in[1], y = n->out[0];
    const int ta = (int)graft_node_int(n, "trans_a"), tb = (int)graft_node_int(n, "trans_b");
    const int64_t M = extent(x->g, y, 1), N = extent(x->g, y, 0), K = extent(x->g, a, ta ? 1 : 0);
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            double sum = 0.0;
            for (int64_t k = 0; k < K; k++) sum += (ta ? at(x, a, k, i) : at(x, a, i, k)) * (tb ? at(x, w, j, k) : at(x, w, k, j));
            x->v[y.id][i * N + j] = graft_node_real(n, "alpha") * sum + (n->in[2].id ? at(x, n->in[2], i, j) : 0.0);
        }
}

static void sum(const numbers *x, const graft_node *n)
{
    const graft_value a = n->in[0], y = n->out[0];
    const graft_shape *s = &graft_graph_info(x->g, a)->shape;
    const int from_end = s->rank - 1 - (int)graft_node_int(n, "axis");
    const int64_t d0 = extent(x->g, a, 1), d1 = extent(x->g, a, 0);
    for (int64_t i = 0; i < cells(x->g, y); i++) x->v[y.id][i] = 0.0;
    for (int64_t i = 0; i < d0; i++)
        for (int64_t j = 0; j < d1; j++) x->v[y.id][from_end ? j : i] += at(x, a, i, j);
}

static void evaluate(const numbers *x, const graft_node *n)
{
    const char *op = n->op->name;
    const graft_value y = n->out[0];
    const int64_t d0 = extent(x->g, y, 1), d1 = extent(x->g, y, 0);
    if (!strcmp(op, "matmul/1")) matmul(x, n);
    else if (!strcmp(op, "sum/1")) sum(x, n);
    else if (!strcmp(op, "reshape/1")) memcpy(x->v[y.id], x->v[n->in[0].id], sizeof x->v[0]);
    else
        for (int64_t i = 0; i < d0; i++)
            for (int64_t j = 0; j < d1; j++) {
                double r = 0.0;
                if (!strcmp(op, "fill/1")) r = graft_node_real(n, "value");
                else if (!strcmp(op, "broadcast/1")) r = at(x, n->in[0], i, j);
                else if (!strcmp(op, "add/1")) r = at(x, n->in[0], i, j) + at(x, n->in[1], i, j);
                else if (!strcmp(op, "sub/1")) r = at(x, n->in[0], i, j) - at(x, n->in[1], i, j);
                else if (!strcmp(op, "mul/1")) r = at(x, n->in[0], i, j) * at(x, n->in[1], i, j);
                else r = unary(op, at(x, n->in[0], i, j), n);
                x->v[y.id][i * d1 + j] = r;
            }
}

/* Leaves by their name: the same numbers whatever the pass; states zero. `bumped` gets `by` added to its element 0. */
static numbers run(const graft_graph *g, const char *bumped, double by)
{
    numbers x = {graft_calloc((size_t)g->n_values, sizeof *x.v), g};
    ck_assert_ptr_nonnull(x.v);
    for (int32_t v = 1; v < g->n_values; v++) {
        const graft_value_info *info = &g->values[v];
        if (info->node != -1 || info->place == GRAFT_PLACE_STATE) continue;
        for (uint64_t i = 0; i < CELLS; i++) x.v[v][i] = (double)graft_random_uniform(1, graft_op_id(info->name), 0, i) - 0.5;
        if (!strcmp(info->name, bumped)) x.v[v][0] += by;
    }
    for (int32_t i = 0; i < g->n_nodes; i++) evaluate(&x, &g->nodes[i]);
    return x;
}

static double loss_of(const graft_graph *g, const char *bumped, double by)
{
    numbers x = run(g, bumped, by);
    const double loss = x.v[g->outputs[0].value.id][0];
    graft_free(x.v);
    return loss;
}

/* ---- the author ------------------------------------------------------------------------------------------------------------------------------------------ */
typedef struct author {
    uint64_t state;
} author;

static uint32_t roll(author *a, uint32_t below)
{
    a->state = a->state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(a->state >> 33) % below;
}

static graft_value linear_part(graft_builder *b, author *a, graft_value x, int i)
{
    char name[32];
    snprintf(name, sizeof name, "w%d", i);
    const graft_start start = roll(a, 2) ? GRAFT_START_CHECKPOINT : GRAFT_START_ZERO;
    const graft_param p = {(uint32_t)sizeof p, GRAFT_ROLE_OTHER, start, 0.0, 2, {COLS, COLS, 0, 0}};
    const graft_value w = b->api->param(b, name, &p);
    return roll(a, 2) ? graft_matmul_nt(b, x, w) : graft_matmul(b, x, w);
}

static graft_value next(graft_builder *b, author *a, const graft_value *pool, int n, int i)
{
    const graft_value x = pool[roll(a, (uint32_t)n)], y = pool[roll(a, (uint32_t)n)];
    const int64_t flat[] = {ROWS * COLS}, whole[] = {ROWS, COLS};
    switch (roll(a, 13)) {
    case 0: return graft_add(b, x, y);
    case 1: return graft_add(b, x, linear_part(b, a, y, i));
    case 2: return graft_mul(b, graft_tanh(b, x), graft_sigmoid(b, y));
    case 3: return graft_tanh(b, x);
    case 4: return graft_scale(b, x, 0.5 + 0.25 * roll(a, 4));
    case 5: return graft_neg(b, x);
    case 6: return graft_affine(b, x, -0.5, 0.125);
    case 7: return graft_sub(b, graft_sin(b, x), y);
    case 8: return graft_add(b, x, graft_scale(b, linear_part(b, a, graft_scale(b, y, 0.5), i), 2.0));
    case 9: return graft_reshape(b, graft_reshape(b, x, 1, flat), 2, whole);
    case 10: return graft_mul(b, graft_sin(b, x), graft_sum(b, y, 1)); /* broadcast */
    case 11: return linear_part(b, a, x, i);
    default: return graft_add(b, graft_fill(b, 2, whole, 0.0), graft_matmul(b, graft_tanh(b, graft_matmul_nt(b, x, y)), graft_tanh(b, x)));
    }
}

static int some_train(void *run_, graft_builder *b, const graft_site *s, const char *weight)
{
    (void)run_, (void)b, (void)s;
    return weight[strlen(weight) - 1] % 3 != 0;
}

static graft_graph *author_graph(uint64_t seed, graft_value *loss)
{
    static const graft_method_table table = {.size = sizeof table, .trains = some_train};
    const graft_active_method m = {.name = "some", .table = &table};
    const int64_t whole[] = {ROWS, COLS}, one = 1;
    author a = {seed * 77 + 5};
    graft_graph *g = graft_graph_new();
    ck_assert_ptr_nonnull(g);
    graft_graph_methods(g, &m, 1);
    graft_builder *b = g->builder;
    graft_value pool[STEPS + 2] = {graft_graph_input(g, "x", GRAFT_F32, 2, whole), graft_weight(b, "p1", GRAFT_ROLE_OTHER, ROWS, COLS)};
    for (int i = 0; i < STEPS; i++) {
        graft_push_index(b, "layers", i / 8);
        pool[i + 2] = next(b, &a, pool, i + 2, i);
        if (roll(&a, 3) == 0) pool[i + 2] = graft_tanh(b, pool[i + 2]); /* keeps numbers small, yet leaves chains to fuse */
        graft_pop(b);
    }
    graft_value y = pool[STEPS + 1];
    for (int i = 0; i < 3; i++) y = graft_add(b, y, pool[roll(&a, STEPS + 2)]);
    *loss = graft_reshape(b, graft_sum(b, graft_sum(b, y, 0), 1), 1, &one);
    graft_graph_output(g, "loss", *loss);
    return g;
}

/* ---- the laws --------------------------------------------------------------------------------------------------------------------------------------------- */
typedef struct results {
    double loss;
    double grad[STEPS + 8][CELLS];
    int n;
} results;

static void collect(const graft_graph *g, results *r)
{
    numbers x = run(g, "", 0.0);
    r->loss = x.v[g->outputs[0].value.id][0];
    r->n = 0;
    for (int32_t v = 0; v < g->n_values; v++)
        if (g->values[v].node == -1 && g->values[v].place == GRAFT_PLACE_STATE) memcpy(r->grad[r->n++], x.v[g->values[v].assigned ? g->values[v].assigned : (uint32_t)v], sizeof r->grad[0]);
    graft_free(x.v);
}

static void same(const results *a, const results *b, int round, const char *pass)
{
    ck_assert_msg(fabs(a->loss - b->loss) <= 1e-10 * (1.0 + fabs(a->loss)), "round %d, %s: the loss was %.15g and is %.15g", round, pass, a->loss, b->loss);
    ck_assert_int_eq(a->n, b->n);
    for (int i = 0; i < a->n; i++)
        for (int c = 0; c < COLS * COLS; c++)
            ck_assert_msg(fabs(a->grad[i][c] - b->grad[i][c]) <= 1e-10 * (1.0 + fabs(a->grad[i][c])), "round %d, %s: gradient %d[%d] was %.15g and is %.15g", round, pass, i, c, a->grad[i][c], b->grad[i][c]);
}

static void against_differences(graft_graph *g, int round)
{
    const double step = 1e-5;
    numbers x = run(g, "", 0.0);
    for (int32_t v = 1; v < g->n_values; v++) {
        const graft_value_info *leaf = &g->values[v];
        if (leaf->node != -1 || !leaf->trainable) continue;
        char name[64];
        snprintf(name, sizeof name, "grad:%s", leaf->name);
        const graft_value state = graft_graph_find(g, name);
        ck_assert(state.id);
        const uint32_t now = graft_graph_info(g, state)->assigned;
        const double numeric = (loss_of(g, leaf->name, step) - loss_of(g, leaf->name, -step)) / (2.0 * step), exact = now ? x.v[now][0] : 0.0;
        ck_assert_msg(fabs(numeric - exact) <= 1e-6 * (1.0 + fabs(exact)), "round %d: d loss / d %s[0] is %.9g, differences say %.9g", round, leaf->name, exact, numeric);
    }
    graft_free(x.v);
}

START_TEST(every_pass_keeps_laws_and_numbers)
{
    static results before, after;
    graft_error err = GRAFT_ERROR_INIT;
    int64_t fewer = 0;
    for (int round = 0; round < ROUNDS; round++) {
        graft_value loss;
        graft_graph *g = author_graph((uint64_t)round, &loss);
        tiny_check(g);
        ck_assert_ok(graft_graph_autodiff(g, loss, &err));
        tiny_check(g);
        against_differences(g, round);
        collect(g, &before);
        graft_graph_prune(g);
        tiny_check(g);
        const int32_t nodes = g->n_nodes;
        graft_graph_fuse(g);
        tiny_check(g);
        collect(g, &after);
        same(&before, &after, round, "fused");
        fewer += nodes - g->n_nodes;
        graft_graph_fuse(g); /* a second time finds little and breaks nothing */
        tiny_check(g);
        collect(g, &after);
        same(&before, &after, round, "fused twice");
        ck_assert_ok(graft_graph_recompute(g, 1 + round % 3, 1 + round % 4, &err));
        tiny_check(g);
        collect(g, &after);
        same(&before, &after, round, "recomputed");
        graft_graph_free(g);
    }
    ck_assert_int_gt(fewer, ROUNDS * 5); /* the patterns do occur */
}
END_TEST

START_TEST(the_same_author_writes_the_same_text)
{
    graft_value loss;
    graft_str a, b;
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = author_graph(7, &loss), *h = author_graph(7, &loss);
    ck_assert_ok(graft_graph_autodiff(g, loss, &err));
    ck_assert_ok(graft_graph_autodiff(h, loss, &err));
    graft_graph_fuse(g);
    graft_graph_fuse(h);
    graft_str_init(&a, 0);
    graft_str_init(&b, 0);
    graft_graph_text(g, &a);
    graft_graph_text(h, &b);
    ck_assert_str_eq(a.data, b.data);
    graft_str_free(&a);
    graft_str_free(&b);
    graft_graph_free(g);
    graft_graph_free(h);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, every_pass_keeps_laws_and_numbers);
    tcase_add_test(tc, the_same_author_writes_the_same_text);
}

int main(void) { return graft_test_main("random", cases); }
