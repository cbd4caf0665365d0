/* core/model/generate.c - feeds tokens in chunks through the graph with a key/value cache, and picks what comes next. */
#include "core/model/generate.h"

#include "core/base/error.h"

#include <inttypes.h>
#include <string.h>

enum { CHUNK = 512 }; /* tokens of a prompt at once: enough that reading the weights costs little beside multiplying them */

struct graft_generator {
    graft_exec *exec;
    int64_t vocab, max_tokens, cached, chunk, virtual_tokens;
    int64_t rows;                       /* of the cache in the store */
    const float *logits;                /* [vocab] of the last run: the program's own answer, or own_logits */
    float *own_logits, *processed;      /* [vocab] */
    int32_t *scratch, *ids, *positions; /* [vocab], [chunk], [chunk] */
};

void graft_generator_free(graft_generator *x)
{
    if (!x) return;
    graft_exec_free(x->exec);
    graft_free(x->own_logits);
    graft_free(x->processed);
    graft_free(x->scratch);
    graft_free(x->ids);
    graft_free(x->positions);
    graft_free(x);
}

/* Rows of the caches as the store was told; max_tokens when the graph has none. */
static int64_t cache_rows(const graft_graph *g, const graft_store *s, int64_t max_tokens)
{
    for (int32_t i = 1; i < g->n_values; i++) {
        const graft_value_info *v = &g->values[i];
        const int at = v->place == GRAFT_PLACE_STATE && v->node < 0 && v->shape.rank == 2 && v->shape.dims[0] == GRAFT_DIM_CACHED ? graft_store_find(s, v->name) : -1;
        if (at >= 0) return graft_store_tensor_bytes(s, at) / (v->shape.dims[1] * (int64_t)sizeof(float));
    }
    return max_tokens;
}

graft_status graft_generator_new(const graft_graph *g, graft_store *s, int64_t vocab, int64_t max_tokens, graft_generator **out, graft_error *err)
{
    *out = NULL;
    graft_generator *x = graft_calloc(1, sizeof *x);
    if (!x) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory to generate");
    x->vocab = vocab;
    x->rows = cache_rows(g, s, max_tokens);
    x->max_tokens = max_tokens < x->rows ? max_tokens : x->rows;
    x->chunk = x->max_tokens < CHUNK ? x->max_tokens : CHUNK;
    x->virtual_tokens = graft_graph_virtual_tokens(g);
    const int64_t capacity[GRAFT_SYMBOLS] = {x->chunk, 1, 1, x->rows};
    x->own_logits = graft_calloc((size_t)vocab, sizeof *x->own_logits);
    x->processed = graft_calloc((size_t)vocab, sizeof *x->processed);
    x->scratch = graft_calloc((size_t)vocab, sizeof *x->scratch);
    x->ids = graft_calloc((size_t)x->chunk + 1, sizeof *x->ids);
    x->positions = graft_calloc((size_t)x->chunk + 1, sizeof *x->positions);
    graft_status status = x->own_logits && x->processed && x->scratch && x->ids && x->positions ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory to generate");
    if (!status && x->virtual_tokens >= x->max_tokens) status = graft_fail(err, GRAFT_BAD_INPUT, NULL, "the context of %" PRId64 " tokens has no room beside the method's %" PRId64 " virtual ones", x->max_tokens, x->virtual_tokens);
    if (!status) status = graft_exec_new(g, s, capacity, 0, &x->exec, err);
    if (status) graft_generator_free(x);
    else *out = x;
    return status;
}

void graft_generator_reset(graft_generator *x) { x->cached = 0; }

/* n <= chunk tokens after what is cached; logits of the last one when wanted. */
static graft_status run_chunk(graft_generator *x, const int32_t *ids, int64_t n, int wanted, graft_error *err)
{
    const int32_t sequence[4] = {0, (int32_t)n, 0, (int32_t)x->cached}, row = (int32_t)(n - 1);
    const int64_t extent[GRAFT_SYMBOLS] = {n, 1, wanted, x->rows};
    for (int64_t i = 0; i < n; i++) x->positions[i] = (int32_t)(x->cached + i);
    graft_status status = graft_exec_set(x->exec, "tokens", ids, n * (int64_t)sizeof *ids, err);
    if (!status) status = graft_exec_set(x->exec, "positions", x->positions, n * (int64_t)sizeof *x->positions, err);
    if (!status) status = graft_exec_set(x->exec, "sequences", sequence, (int64_t)sizeof sequence, err);
    if (!status) status = graft_exec_set(x->exec, "label_rows", &row, wanted * (int64_t)sizeof row, err);
    if (!status) status = graft_exec_run(x->exec, extent, 0, 0, err);
    if (!status && wanted && !(x->logits = graft_exec_answer(x->exec, "logits"))) {
        status = graft_exec_get(x->exec, "logits", x->own_logits, x->vocab * (int64_t)sizeof *x->own_logits, err);
        x->logits = x->own_logits;
    }
    if (!status) x->cached += n;
    return status;
}

/* A method's virtual tokens begin every sequence, as ids -1, -2 .. */
static graft_status feed_virtual(graft_generator *x, graft_error *err)
{
    graft_status status = GRAFT_OK;
    for (int64_t at = 0; at < x->virtual_tokens && !status; at += x->chunk) {
        const int64_t n = x->virtual_tokens - at < x->chunk ? x->virtual_tokens - at : x->chunk;
        for (int64_t i = 0; i < n; i++) x->ids[i] = (int32_t)(-1 - (at + i));
        status = run_chunk(x, x->ids, n, 0, err);
    }
    return status;
}

graft_status graft_generator_feed(graft_generator *x, const int32_t *ids, int64_t n, const float **logits, graft_error *err)
{
    const int64_t before = x->cached ? 0 : x->virtual_tokens;
    if (n < 1) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "there are no tokens to continue; give a prompt");
    if (n > x->max_tokens - x->cached - before)
        return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the context of %" PRId64 " tokens has room for %" PRId64 " more, the text has %" PRId64 "; shorten it or allow a longer context",
                          x->max_tokens, x->max_tokens - x->cached - before, n);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= x->vocab) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "token id %" PRId32 " is outside the model's vocabulary of %" PRId64 "; tokenizer and model do not belong together", ids[i], x->vocab);
    graft_status status = before ? feed_virtual(x, err) : GRAFT_OK;
    for (int64_t at = 0; at < n && !status; at += x->chunk) {
        const int64_t now = n - at < x->chunk ? n - at : x->chunk;
        status = run_chunk(x, ids + at, now, at + now == n, err);
    }
    *logits = x->logits;
    return status;
}

static int is_stop(int32_t id, const int32_t *stops, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (stops[i] == id) return 1;
    return 0;
}

graft_status graft_generator_run(graft_generator *x, const int32_t *prompt, int64_t n, const graft_sampling *how, int64_t max_new, const int32_t *stops, size_t n_stops,
                                 int (*on_token)(void *ctx, int32_t id), void *ctx, graft_error *err)
{
    const float *logits;
    graft_status status = graft_generator_feed(x, prompt, n, &logits, err);
    int32_t *history = status ? NULL : graft_calloc((size_t)(n + x->max_tokens) + 1, sizeof *history);
    if (!status && !history) status = graft_fail(err, GRAFT_NO_MEMORY, NULL, "no memory to generate");
    if (!status) memcpy(history, prompt, (size_t)n * sizeof *history);
    for (int64_t i = 0; i < max_new && !status; i++) {
        if (graft_sample_processes(how)) {
            memcpy(x->processed, logits, (size_t)x->vocab * sizeof *logits);
            graft_sample_process(how, x->processed, x->vocab, history, n + i, x->scratch);
            logits = x->processed;
        }
        const int32_t id = graft_sample_pick(how, logits, x->vocab, (uint64_t)i);
        if (is_stop(id, stops, n_stops)) break;
        history[n + i] = id;
        if (on_token(ctx, id) || i + 1 == max_new || x->cached == x->max_tokens) break;
        status = graft_generator_feed(x, &id, 1, &logits, err);
    }
    graft_free(history);
    return status;
}
