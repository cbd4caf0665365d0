/* tests/unit/train/optim_noise.c - NEFTune on a small graph: how large the noise is, where it is, that it is counted, and that gradients see it. */
#include "core/base/error.h"
#include "core/graph/run.h"
#include "core/train/neftune.h"
#include "tests/support/op_harness.h"

#include <math.h>

static graft_error err = GRAFT_ERROR_INIT;

enum { VOCAB = 5,
       WIDTH = 16,
       TOKENS = 24,
       SEQUENCES = 2 };

typedef struct small {
    graft_device d;
    graft_graph *g;
    graft_store *store;
    graft_exec *exec;
} small;

/* h = embed(tokens); y = h * h; the gradient of sum y is 2 h at each token, added up in the table's rows. */
static void open_small(small *s, double alpha, uint64_t seed)
{
    const int64_t tokens[] = {GRAFT_DIM_TOKENS}, sequences[] = {GRAFT_DIM_SEQUENCES, 4}, capacity[GRAFT_SYMBOLS] = {TOKENS, SEQUENCES, 0, 0}, one[] = {1};
    s->d = op_reference(1);
    s->g = graft_graph_new();
    graft_builder *b = s->g->builder;
    const graft_value ids = graft_graph_input(s->g, "tokens", GRAFT_I32, 1, tokens);
    graft_graph_input(s->g, "sequences", GRAFT_I32, 2, sequences);
    const graft_value table = graft_weight(b, "embed.weight", GRAFT_ROLE_EMBED, VOCAB, WIDTH);
    s->g->values[table.id].trainable = 1;
    const graft_value h = graft_embed(b, table, ids, -1), sum = graft_reshape(b, graft_sum(b, graft_sum(b, graft_mul(b, h, h), 1), 0), 1, one);
    graft_graph_output(s->g, "h", graft_scale(b, h, 1.0));
    ck_assert_ok(graft_graph_autodiff(s->g, sum, &err));
    if (alpha > 0) ck_assert_ok(graft_neftune(s->g, alpha, &err));
    ck_assert_ok(graft_graph_prepare(s->g, &s->d, 0, 0, &err));
    ck_assert_ok(graft_store_new(&s->d, &s->store, &err));
    ck_assert_ok(graft_store_add_graph(s->store, s->g, capacity, &err));
    ck_assert_ok(graft_store_commit(s->store, &err));
    ck_assert_ok(graft_exec_new(s->g, s->store, capacity, seed, &s->exec, &err));
}

static void close_small(small *s)
{
    graft_exec_free(s->exec);
    graft_store_free(s->store);
    graft_graph_free(s->g);
    graft_device_close(&s->d);
}

static void run_small(small *s, const int32_t ids[TOKENS], uint64_t step, float h[TOKENS * WIDTH], float grad[VOCAB * WIDTH])
{
    const int32_t borders[SEQUENCES * 4] = {0, 9, 0, 0, 9, 15, 9, 0}; /* the longer has 15, padded 16 */
    const int64_t extent[GRAFT_SYMBOLS] = {TOKENS, SEQUENCES, 0, 0};
    const int at = graft_store_find(s->store, "grad:embed.weight");
    ck_assert_ok(graft_store_clear(s->store, at, &err));
    ck_assert_ok(graft_exec_set(s->exec, "tokens", ids, TOKENS * 4, &err));
    ck_assert_ok(graft_exec_set(s->exec, "sequences", borders, sizeof borders, &err));
    ck_assert_ok(graft_exec_run(s->exec, extent, step, 1, &err));
    ck_assert_ok(graft_exec_get(s->exec, "h", h, TOKENS * WIDTH * 4, &err));
    ck_assert_ok(graft_store_read(s->store, at, grad, VOCAB * WIDTH * 4, &err));
}

START_TEST(noise)
{
    static float h[3][TOKENS * WIDTH], grad[VOCAB * WIDTH], sum[VOCAB * WIDTH];
    int32_t ids[TOKENS];
    small s;
    const double alpha = 5.0, most = alpha / sqrt(16.0 * WIDTH);
    double largest = 0, mean = 0, square = 0;
    for (int i = 0; i < TOKENS; i++) ids[i] = i % VOCAB;
    ids[3] = -1;               /* a virtual token */
    open_small(&s, alpha, 42); /* the table is zero: what is read is the noise */
    run_small(&s, ids, 7, h[0], grad);
    run_small(&s, ids, 8, h[1], grad);
    run_small(&s, ids, 7, h[2], grad);
    close_small(&s);
    ck_assert(!memcmp(h[0], h[2], sizeof h[0]) && memcmp(h[0], h[1], sizeof h[0]));
    for (int i = 0; i < TOKENS * WIDTH; i++) {
        const double v = (double)h[0][i];
        largest = fmax(largest, fabs(v)), mean += v, square += v * v;
        if (i / WIDTH == 3) ck_assert_double_eq(v, 0.0);
        if (ids[i / WIDTH] >= 0) sum[ids[i / WIDTH] * WIDTH + i % WIDTH] += 2 * h[0][i];
    }
    const double n = (TOKENS - 1) * WIDTH;
    ck_assert_msg(largest <= most && largest > 0.95 * most, "the largest is %g of %g", largest, most);
    ck_assert_double_le(fabs(mean / n), 4 * most / sqrt(3 * n));
    ck_assert_double_le(fabs(square / n / (most * most / 3) - 1), 0.2);
    for (int i = 0; i < VOCAB * WIDTH; i++) ck_assert_double_le(fabs((double)(grad[i] - sum[i])), 1e-5);
}
END_TEST

START_TEST(none)
{
    static float h[TOKENS * WIDTH], grad[VOCAB * WIDTH];
    const int32_t ids[TOKENS] = {0};
    small s;
    open_small(&s, 0, 42);
    run_small(&s, ids, 7, h, grad);
    close_small(&s);
    for (int i = 0; i < TOKENS * WIDTH; i++) ck_assert_double_eq((double)h[i], 0.0);
    graft_graph *g = graft_graph_new();
    ck_assert_int_eq(graft_neftune(g, 5, &err), GRAFT_UNSUPPORTED);
    graft_graph_free(g);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, noise);
    tcase_add_test(tc, none);
}

int main(void) { return graft_test_main("optim_noise", cases); }
