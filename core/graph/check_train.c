/* core/graph/check_train.c - a made-up model trained for some steps: one block of attention and gated units, with dropout, a tied head and AdamW, all in one
 * graph. Tokens follow a rule that it can learn. */
#include "core/graph/check.h"

#include "core/base/error.h"
#include "core/graph/graph.h"
#include "graft/random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { T = 48,
       S = 3,
       D = 32,
       HEADS = 4,
       KV = 2,
       H = D / HEADS,
       F = 80,
       V = 61,
       L = T - S,
       WEIGHTS = 10 };
static const int64_t extent[GRAFT_SYMBOLS] = {T, S, L, 0}, capacity[GRAFT_SYMBOLS] = {T + 7, S + 1, T, 0};
static const struct {
    const char *name;
    int64_t rows, cols;
} shapes[WEIGHTS] = {{"embed", V, D}, {"norm1", D, 0}, {"q", D, D}, {"k", KV *H, D}, {"v", KV *H, D}, {"o", D, D}, {"norm2", D, 0}, {"gate", F, D}, {"up", F, D}, {"down", D, F}};

static graft_value loss_of(graft_graph *g, const graft_value *w)
{
    static const int64_t tokens[] = {GRAFT_DIM_TOKENS}, rows[] = {GRAFT_DIM_LABELLED}, seq_dims[] = {GRAFT_DIM_SEQUENCES, 4};
    graft_builder *b = g->builder;
    float freq[H / 2];
    const int64_t half[] = {H / 2};
    for (int i = 0; i < H / 2; i++) freq[i] = (float)pow(10000.0, -2.0 * i / H);
    const graft_value ids = graft_graph_input(g, "ids", GRAFT_I32, 1, tokens), pos = graft_graph_input(g, "pos", GRAFT_I32, 1, tokens);
    const graft_value seq = graft_graph_input(g, "seq", GRAFT_I32, 2, seq_dims), at = graft_graph_input(g, "rows", GRAFT_I32, 1, rows);
    const graft_value labels = graft_graph_input(g, "labels", GRAFT_I32, 1, rows), weight = graft_graph_input(g, "weight", GRAFT_F32, 1, rows);
    const graft_value turn = b->api->constant(b, "freq", 1, half, freq);
    graft_value x = graft_embed(b, w[0], ids, -1), n = graft_rms_norm(b, x, w[1], 1e-5, 0.0);
    const graft_value q = graft_rope(b, graft_matmul_nt(b, n, w[2]), pos, turn, H, 1.0, 0), k = graft_rope(b, graft_matmul_nt(b, n, w[3]), pos, turn, H, 1.0, 0);
    const graft_value a = graft_attention(b, q, k, graft_matmul_nt(b, n, w[4]), seq, HEADS, KV, 0, 1.0 / sqrt((double)H), 0.0);
    const graft_attr drop[] = {GRAFT_REALA("p", 0.1), GRAFT_INTA("stream", 77)};
    const graft_value o = graft_matmul_nt(b, a, w[5]);
    x = graft_add(b, x, b->api->op(b, "dropout/1", 1, &o, 2, drop));
    n = graft_rms_norm(b, x, w[6], 1e-5, 0.0);
    x = graft_add(b, x, graft_matmul_nt(b, graft_swiglu(b, graft_matmul_nt(b, n, w[7]), graft_matmul_nt(b, n, w[8])), w[9]));
    return graft_linear_cross_entropy(b, graft_gather(b, x, at), w[0], labels, weight, 0.0, 1.0);
}

static graft_graph *training_graph(void)
{
    static const int64_t one[] = {1}, eight[] = {8};
    graft_graph *g = graft_graph_new();
    if (!g) return NULL;
    graft_builder *b = g->builder;
    graft_value w[WEIGHTS], dw[WEIGHTS];
    for (int i = 0; i < WEIGHTS; i++) w[i] = graft_new_param(b, shapes[i].name, GRAFT_START_NORMAL, 0.1, shapes[i].rows, shapes[i].cols);
    graft_value loss = loss_of(g, w);
    const graft_value seed = graft_fill(b, 1, one, 1.0), hyper = graft_graph_input(g, "hyper", GRAFT_F32, 1, eight);
    graft_graph_output(g, "loss", loss);
    graft_graph_gradients(g, &loss, &seed, 1, w, WEIGHTS, dw);
    for (int i = 0; i < WEIGHTS; i++) {
        char name[32];
        const int rank = shapes[i].cols ? 2 : 1;
        const int64_t dims[] = {shapes[i].rows, shapes[i].cols};
        snprintf(name, sizeof name, "m:%s", shapes[i].name);
        const graft_value m = graft_graph_state(g, name, GRAFT_F32, rank, dims);
        snprintf(name, sizeof name, "v:%s", shapes[i].name);
        const graft_value v = graft_graph_state(g, name, GRAFT_F32, rank, dims), p = graft_adamw(b, w[i], dw[i], m, v, hyper, rank == 2);
        graft_graph_assign(g, w[i], p);
        graft_graph_assign(g, m, b->api->output(b, p, 1));
        graft_graph_assign(g, v, b->api->output(b, p, 2));
    }
    return g;
}

static graft_status set_inputs(graft_exec *e, graft_error *err)
{
    int32_t ids[T], pos[T], seq[S * 4], rows[L], labels[L];
    float weight[L];
    int n = 0;
    for (int s = 0; s < S; s++) {
        memcpy(seq + 4 * s, (const int32_t[]){s * (T / S), T / S, 0, 0}, 4 * sizeof *seq);
        for (int i = 0; i < T / S; i++) {
            const int t = s * (T / S) + i;
            ids[t] = (i * i * 3 + s * 5) % V, pos[t] = i;
            if (i + 1 == T / S) continue;
            rows[n] = t, labels[n] = ((i + 1) * (i + 1) * 3 + s * 5) % V, weight[n++] = 1.0f / (float)L;
        }
    }
    graft_status status = graft_exec_set(e, "ids", ids, (int64_t)sizeof ids, err);
    if (!status) status = graft_exec_set(e, "pos", pos, (int64_t)sizeof pos, err);
    if (!status) status = graft_exec_set(e, "seq", seq, (int64_t)sizeof seq, err);
    if (!status) status = graft_exec_set(e, "rows", rows, (int64_t)sizeof rows, err);
    if (!status) status = graft_exec_set(e, "labels", labels, (int64_t)sizeof labels, err);
    return status ? status : graft_exec_set(e, "weight", weight, (int64_t)sizeof weight, err);
}

/* Norms begin at 1, the others between -0.3 and 0.3. to: the weights afterwards, one after another. */
static graft_status move_weights(graft_store *s, float *to, graft_error *err)
{
    graft_status status = GRAFT_OK;
    int64_t at = 0;
    for (int i = 0; i < WEIGHTS && !status; i++) {
        float w[F * D];
        const int which = graft_store_find(s, shapes[i].name);
        const int64_t n = shapes[i].rows * (shapes[i].cols ? shapes[i].cols : 1), bytes = n * (int64_t)sizeof(float);
        for (int64_t k = 0; k < n; k++) w[k] = shapes[i].cols ? 0.6f * graft_random_uniform(5, (uint64_t)i, 0, (uint64_t)k) - 0.3f : 1.0f;
        status = to ? graft_store_read(s, which, to + at, bytes, err) : graft_store_write(s, which, w, bytes, err);
        at += n;
    }
    return status;
}

enum { ALL_WEIGHTS = V * D + 2 * D + 2 * D * D + 2 * KV * H * D + 3 * F * D };

static graft_status steps(graft_exec *e, graft_store *s, double *loss, float *weights, graft_error *err)
{
    graft_status status = move_weights(s, NULL, err);
    if (!status) status = set_inputs(e, err);
    for (int i = 0; i < GRAFT_CHECK_STEPS && !status; i++) {
        const float hyper[8] = {0.01f, 0.9f, 0.99f, 1e-6f, 0.01f, (float)(1.0 - pow(0.9, i + 1)), (float)(1.0 - pow(0.99, i + 1)), 1.0f};
        float value = 0.0f;
        status = graft_exec_set(e, "hyper", hyper, (int64_t)sizeof hyper, err);
        if (!status) status = graft_exec_run(e, extent, (uint64_t)i, 1, err);
        if (!status) status = graft_exec_get(e, "loss", &value, (int64_t)sizeof value, err);
        loss[i] = (double)value;
    }
    return status ? status : move_weights(s, weights, err);
}

static graft_status train(const graft_device *d, double *loss, float *weights, graft_error *err)
{
    graft_graph *g = training_graph();
    graft_store *store = NULL;
    graft_exec *exec = NULL;
    if (!g) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    graft_status status = graft_graph_check(g, err);
    if (!status) status = graft_graph_prepare(g, d, 0, 0, err);
    if (!status) status = graft_store_new(d, &store, err);
    if (!status) status = graft_store_add_graph(store, g, capacity, err);
    if (!status) status = graft_store_commit(store, err);
    if (!status) status = graft_exec_new(g, store, capacity, 42, &exec, err);
    if (!status) status = steps(exec, store, loss, weights, err);
    graft_exec_free(exec);
    graft_store_free(store);
    graft_graph_free(g);
    return status;
}

graft_status graft_check_train(const graft_device *d, const graft_device *against, graft_check_training *out, graft_error *err)
{
    float *weights = graft_calloc(3 * ALL_WEIGHTS, sizeof *weights), *want = weights ? weights + ALL_WEIGHTS : NULL, *again = weights ? want + ALL_WEIGHTS : NULL;
    double second[GRAFT_CHECK_STEPS];
    *out = (graft_check_training){0};
    if (!weights) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    graft_status status = train(against, out->want, want, err);
    if (!status) status = train(d, out->loss, weights, err);
    if (!status) status = train(d, second, again, err);
    if (!status) {
        for (int i = 0; i < ALL_WEIGHTS; i++) out->weights = fmax(out->weights, fabs((double)weights[i] - (double)want[i]));
        out->repeats = !memcmp(weights, again, ALL_WEIGHTS * sizeof *weights) && !memcmp(out->loss, second, sizeof second);
    }
    graft_free(weights);
    return status;
}
