/* A whole training step in numbers: the graph as differentiated is the truth; fused, recomputed and lowered it gives the same loss and the same
 * gradients on every device, gradients add up over runs, and finite differences agree. */
#include "tests/support/op_harness.h"
#include "tests/unit/graph/tiny.h"

#include "graft/random.h"

#include <math.h>
#include <stdio.h>

enum { TOKENS = 9,
       SEQUENCES = 2,
       LABELLED = 5,
       MOST = 64,
       PREFIX = 3 };

/* ---- methods --------------------------------------------------------------------------------------------------------------------------------------- */
static void prefix(void *run, graft_builder *b, const graft_site *s, graft_value *k, graft_value *v)
{
    (void)run;
    *k = graft_new_param(b, "prefix_k", GRAFT_START_NORMAL, 0.02, PREFIX, s->in * s->out);
    *v = graft_new_param(b, "prefix_v", GRAFT_START_NORMAL, 0.02, PREFIX, s->in * s->out);
}
static graft_value prompt(void *run, graft_builder *b, const graft_site *s)
{
    (void)run;
    return graft_new_param(b, "/prompt_embeddings", GRAFT_START_NORMAL, 1.0, 2, s->out);
}
static const graft_method_table prefix_table = {.size = sizeof prefix_table, .extend_kv = prefix}, prompt_table = {.size = sizeof prompt_table, .extend_input = prompt};
static tiny_low_rank low_rank_run;
static const graft_active_method methods[] = {
    {.name = "low_rank", .table = &tiny_low_rank_table, .run = &low_rank_run}, {.name = "all", .table = &tiny_all_table}, {.name = "prefix", .table = &prefix_table}, {.name = "prompt", .table = &prompt_table}};
enum { LOW_RANK,
       ALL,
       PREFIX_METHOD,
       PROMPT,
       METHODS };

static graft_graph *step_graph(int method, graft_arena *args, int narrow)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_graph *g = graft_graph_new();
    ck_assert_ptr_nonnull(g);
    low_rank_run = (tiny_low_rank){tiny_config(args, "{\"target\": \"all\"}"), 1.5, 0.2};
    graft_graph_methods(g, &methods[method], 1);
    const graft_value loss = tiny_loss(g);
    if (narrow) ck_assert_ok(graft_graph_narrow(g, graft_graph_find(g, "label_rows"), &err));
    ck_assert_ok(graft_graph_autodiff(g, loss, &err));
    graft_graph_prune(g);
    return g;
}

/* ---- one program ----------------------------------------------------------------------------------------------------------------------------------- */
typedef struct step {
    graft_graph *g;
    graft_store *store;
    graft_exec *exec;
} step;
typedef struct outcome {
    float loss;
    char name[MOST][96];
    float *grad[MOST];
    int64_t size[MOST];
    int n;
} outcome;

static const int64_t capacity[GRAFT_SYMBOLS] = {16, 4, 8, 0}, extents[GRAFT_SYMBOLS] = {TOKENS, SEQUENCES, LABELLED, 0};

/* The same numbers for the same name in every program. */
static float *numbers(const char *name, int64_t n)
{
    float *x = graft_calloc((size_t)n, sizeof *x);
    ck_assert_ptr_nonnull(x);
    const int norm = strstr(name, "norm.weight") != NULL;
    for (int64_t i = 0; i < n; i++) x[i] = (graft_random_uniform(3, graft_op_id(name), 0, (uint64_t)i) - 0.5f) + (norm ? 1.0f : 0.0f);
    return x;
}

static void set_inputs(step *s, int method)
{
    static const int32_t positions[TOKENS] = {0, 1, 2, 3, 4, 0, 1, 2, 3}, sequences[SEQUENCES][4] = {{0, 5, 0, 0}, {5, 4, 0, 0}}, rows[LABELLED] = {2, 3, 4, 7, 8}, labels[LABELLED] = {3, 39, 0, 17, 3};
    int32_t tokens[TOKENS] = {7, 1, 30, 12, 7, 39, 0, 5, 5};
    static const float weight[LABELLED] = {0.2f, 0.2f, 0.3f, 0.2f, 0.1f};
    graft_error err = GRAFT_ERROR_INIT;
    if (method == PROMPT) tokens[0] = tokens[5] = -1, tokens[1] = tokens[6] = -2;
    ck_assert_ok(graft_exec_set(s->exec, "tokens", tokens, sizeof tokens, &err));
    ck_assert_ok(graft_exec_set(s->exec, "positions", positions, sizeof positions, &err));
    ck_assert_ok(graft_exec_set(s->exec, "sequences", sequences, sizeof sequences, &err));
    ck_assert_ok(graft_exec_set(s->exec, "label_rows", rows, sizeof rows, &err));
    ck_assert_ok(graft_exec_set(s->exec, "labels", labels, sizeof labels, &err));
    ck_assert_ok(graft_exec_set(s->exec, "label_weight", weight, sizeof weight, &err));
}

static void load(step *s)
{
    graft_error err = GRAFT_ERROR_INIT;
    for (int i = 0; i < graft_store_count(s->store); i++) {
        const graft_shape shape = graft_store_shape(s->store, i);
        if (!strncmp(graft_store_name(s->store, i), "grad:", 5)) continue;
        float *x = numbers(graft_store_name(s->store, i), graft_shape_elements(&shape, extents));
        ck_assert_ok(graft_store_write(s->store, i, x, graft_store_tensor_bytes(s->store, i), &err));
        graft_free(x);
    }
}

/* Takes the graph over. */
static step open_step(const graft_device *d, graft_graph *g, int method)
{
    graft_error err = GRAFT_ERROR_INIT;
    step s = {.g = g};
    tiny_check(g);
    ck_assert_ok(graft_store_new(d, &s.store, &err));
    ck_assert_ok(graft_store_add_graph(s.store, g, capacity, &err));
    ck_assert_ok(graft_store_commit(s.store, &err));
    ck_assert_ok(graft_exec_new(g, s.store, capacity, 11, &s.exec, &err));
    load(&s);
    set_inputs(&s, method);
    return s;
}

static void close_step(step *s)
{
    graft_exec_free(s->exec);
    graft_store_free(s->store);
    graft_graph_free(s->g);
}

static outcome run_step(step *s)
{
    graft_error err = GRAFT_ERROR_INIT;
    outcome o = {0};
    ck_assert_ok(graft_exec_run(s->exec, extents, 5, 1, &err));
    ck_assert_ok(graft_exec_get(s->exec, "loss", &o.loss, sizeof o.loss, &err));
    for (int i = 0; i < graft_store_count(s->store); i++) {
        const char *name = graft_store_name(s->store, i);
        if (strncmp(name, "grad:", 5) != 0) continue;
        ck_assert_int_lt(o.n, MOST);
        const int64_t bytes = graft_store_tensor_bytes(s->store, i);
        snprintf(o.name[o.n], sizeof o.name[0], "%s", name + 5);
        o.grad[o.n] = graft_calloc(1, (size_t)bytes), o.size[o.n] = bytes / 4;
        ck_assert_ok(graft_store_read(s->store, i, o.grad[o.n++], bytes, &err));
    }
    return o;
}

static void forget(outcome *o)
{
    for (int i = 0; i < o->n; i++) graft_free(o->grad[i]);
}

/* b must be `times` a. */
static void same(const outcome *a, const outcome *b, double times, const char *what)
{
    ck_assert_msg(fabs((double)a->loss - (double)b->loss) <= 2e-5 * fabs((double)a->loss), "%s: the loss is %.8g, expected %.8g", what, (double)b->loss, (double)a->loss);
    ck_assert_int_eq(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        double largest = 0.0, worst = 0.0;
        ck_assert_str_eq(a->name[i], b->name[i]);
        for (int64_t k = 0; k < a->size[i]; k++) {
            largest = fmax(largest, fabs((double)a->grad[i][k] * times));
            worst = fmax(worst, fabs((double)a->grad[i][k] * times - (double)b->grad[i][k]));
        }
        ck_assert_msg(largest > 0.0, "%s: the gradient of %s is zero", what, a->name[i]);
        ck_assert_msg(worst <= 5e-5 * largest, "%s: the gradient of %s differs by %.3g of %.3g", what, a->name[i], worst, largest);
    }
}

/* ---- tests ------------------------------------------------------------------------------------------------------------------------------------------ */
static outcome truth(const graft_device *d, int method, graft_arena *args)
{
    step s = open_step(d, step_graph(method, args, 0), method);
    const outcome o = run_step(&s);
    close_step(&s);
    return o;
}

static void compare_prepared(const graft_device *d, int method, const outcome *want, graft_arena *args)
{
    static const struct {
        int level, layers, narrow;
    } how[] = {{0, 0, 0}, {1, 1, 0}, {1, TINY_LAYERS, 0}, {2, 1, 0}, {2, TINY_LAYERS, 0}, {3, TINY_LAYERS, 0}, {0, 0, 1}, {3, TINY_LAYERS, 1}};
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        graft_error err = GRAFT_ERROR_INIT;
        char what[160];
        graft_graph *g = step_graph(method, args, how[i].narrow);
        ck_assert_ok(graft_graph_prepare(g, d, how[i].level, how[i].layers, &err));
        step s = open_step(d, g, method);
        outcome once = run_step(&s), twice = run_step(&s);
        snprintf(what, sizeof what, "%s on %s, recomputation %d of %d blocks%s", methods[method].name, d->name, how[i].level, how[i].layers, how[i].narrow ? ", labelled rows only" : "");
        same(want, &once, 1.0, what);
        same(want, &twice, 2.0, what); /* gradients add up until somebody clears them */
        forget(&once);
        forget(&twice);
        close_step(&s);
    }
}

START_TEST(every_pass_and_device_gives_the_same_step)
{
    graft_device fused = op_reference(1), primitive = op_reference(0), others[8];
    graft_arena *args = graft_arena_new();
    outcome want = truth(&fused, _i, args);
    compare_prepared(&fused, _i, &want, args);
    compare_prepared(&primitive, _i, &want, args);
    const int n = op_other_devices(others, 8);
    for (int i = 0; i < n; i++) {
        compare_prepared(&others[i], _i, &want, args);
        graft_device_close(&others[i]);
    }
    forget(&want);
    graft_arena_free(args);
    graft_device_close(&fused);
    graft_device_close(&primitive);
}
END_TEST

static double loss_with(step *s, const char *name, int64_t element, float by)
{
    graft_error err = GRAFT_ERROR_INIT;
    const int i = graft_store_find(s->store, name);
    const graft_shape shape = graft_store_shape(s->store, i);
    float loss, *x = numbers(name, graft_shape_elements(&shape, extents));
    x[element] += by;
    ck_assert_ok(graft_store_write(s->store, i, x, graft_store_tensor_bytes(s->store, i), &err));
    ck_assert_ok(graft_exec_run(s->exec, extents, 5, 1, &err));
    ck_assert_ok(graft_exec_get(s->exec, "loss", &loss, sizeof loss, &err));
    x[element] -= by;
    ck_assert_ok(graft_store_write(s->store, i, x, graft_store_tensor_bytes(s->store, i), &err));
    graft_free(x);
    return (double)loss;
}

START_TEST(finite_differences_agree)
{
    const float by = 1e-3f;
    graft_device d = op_reference(1);
    graft_arena *args = graft_arena_new();
    outcome want = truth(&d, _i, args);
    step s = open_step(&d, step_graph(_i, args, 0), _i);
    for (int i = 0; i < want.n; i++) {
        int64_t k = 0; /* the largest element of each: the clearest signal */
        for (int64_t j = 0; j < want.size[i]; j++)
            if (fabsf(want.grad[i][j]) > fabsf(want.grad[i][k])) k = j;
        const double numeric = (loss_with(&s, want.name[i], k, by) - loss_with(&s, want.name[i], k, -by)) / (2.0 * (double)by), exact = (double)want.grad[i][k];
        ck_assert_msg(fabs(numeric - exact) <= 2e-2 * fabs(exact) + 2e-4, "%s: d loss / d %s[%d] is %.6g, differences say %.6g", methods[_i].name, want.name[i], (int)k, exact, numeric);
    }
    forget(&want);
    close_step(&s);
    graft_arena_free(args);
    graft_device_close(&d);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_loop_test(tc, every_pass_and_device_gives_the_same_step, 0, METHODS);
    tcase_add_loop_test(tc, finite_differences_agree, 0, METHODS);
}

int main(void) { return graft_test_main("train_run", cases); }
