/* core/data/batch.c - see batch.h. Order: torch.randperm of a generator seeded with seed + epoch, as transformers' RandomSampler draws it. */
#include "core/data/batch.h"

#include "core/base/error.h"
#include "core/base/rng.h"

#include <string.h>

graft_status graft_batch_new(graft_batch **out, int64_t max_tokens, int64_t max_sequences, graft_error *err)
{
    *out = NULL;
    if (max_tokens < 1 || max_sequences < 1 || max_tokens > INT32_MAX || max_sequences > INT32_MAX / 4)
        return graft_fail(err, GRAFT_BAD_INPUT, NULL, "a batch of %lld tokens in %lld sequences is out of range", (long long)max_tokens, (long long)max_sequences);
    graft_batch *b = graft_calloc(1, sizeof *b);
    if (b) {
        const size_t n = (size_t)max_tokens;
        b->room_tokens = max_tokens, b->room_sequences = max_sequences;
        b->ids = graft_calloc(n, sizeof *b->ids);
        b->positions = graft_calloc(n, sizeof *b->positions);
        b->borders = graft_calloc((size_t)max_sequences * 4, sizeof *b->borders);
        b->label_rows = graft_calloc(n, sizeof *b->label_rows);
        b->labels = graft_calloc(n, sizeof *b->labels);
        b->label_weight = graft_calloc(n, sizeof *b->label_weight);
    }
    if (!b || !b->ids || !b->positions || !b->borders || !b->label_rows || !b->labels || !b->label_weight) {
        graft_batch_free(b);
        return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for a batch of %lld tokens", (long long)max_tokens);
    }
    *out = b;
    return GRAFT_OK;
}

void graft_batch_free(graft_batch *b)
{
    if (!b) return;
    graft_free(b->ids);
    graft_free(b->positions);
    graft_free(b->borders);
    graft_free(b->label_rows);
    graft_free(b->labels);
    graft_free(b->label_weight);
    graft_free(b);
}

void graft_batch_clear(graft_batch *b) { b->tokens = b->sequences = b->labelled = b->counted = 0; }

/* One sequence of the batch: rows [from, end) of the sample, virtual ones before them. */
static void add_sequence(graft_batch *b, const graft_sample *s, int64_t from, int64_t end)
{
    const int64_t before = b->virtual_tokens;
    int32_t *border = b->borders + 4 * b->sequences++;
    border[0] = (int32_t)b->tokens, border[1] = (int32_t)(end - from + before), border[2] = border[3] = 0;
    for (int64_t i = 0; i < before; i++, b->tokens++) b->ids[b->tokens] = (int32_t)(-1 - i), b->positions[b->tokens] = (int32_t)i;
    for (int64_t i = from; i < end; i++, b->tokens++) {
        b->ids[b->tokens] = s->ids[i];
        b->positions[b->tokens] = (int32_t)(before + (s->positions ? s->positions[i] : i));
    }
}

int graft_batch_add(graft_batch *b, const graft_sample *s)
{
    const int64_t sequences = graft_sample_sequences(s), rows = graft_sample_rows(s);
    if (s->n < 1 || sequences > b->room_sequences - b->sequences || rows > b->room_tokens - b->tokens - sequences * b->virtual_tokens) return 0;
    for (int64_t p = 0, from = 0; p < sequences; p++) {
        const int64_t end = s->parts ? s->part_ends[p] : s->n, last = b->tokens - 1; /* the last row of the part before */
        add_sequence(b, s, from, end);
        for (int64_t i = from; i < end; i++) {
            b->counted += s->labels[i] != -100;
            if (!i || s->labels[i] == -100) continue;
            b->label_rows[b->labelled] = (int32_t)(i == from ? last : b->tokens - end + i - 1); /* the row before predicts token i */
            b->labels[b->labelled++] = s->labels[i];
        }
        from = end;
    }
    return 1;
}

graft_status graft_batch_give(graft_batch *b, graft_exec *e, double weight, int64_t extent[GRAFT_SYMBOLS], graft_error *err)
{
    const int64_t runs[GRAFT_SYMBOLS] = {b->tokens, b->sequences, b->labelled, 0};
    memcpy(extent, runs, sizeof runs);
    for (int64_t i = 0; i < b->labelled; i++) b->label_weight[i] = (float)weight;
    graft_status s = graft_exec_set(e, "tokens", b->ids, b->tokens * 4, err);
    if (!s) s = graft_exec_set(e, "positions", b->positions, b->tokens * 4, err);
    if (!s) s = graft_exec_set(e, "sequences", b->borders, b->sequences * 16, err);
    if (!s) s = graft_exec_set(e, "label_rows", b->label_rows, b->labelled * 4, err);
    if (!s) s = graft_exec_set(e, "labels", b->labels, b->labelled * 4, err);
    return s ? s : graft_exec_set(e, "label_weight", b->label_weight, b->labelled * 4, err);
}

graft_status graft_order_new(graft_order *o, int64_t n, int64_t per_batch, uint64_t seed, int shuffle, graft_error *err)
{
    *o = (graft_order){.n = n, .per_batch = per_batch, .seed = seed, .shuffle = shuffle, .epoch = -1};
    if (n < 0 || n >= INT32_MAX || per_batch < 1) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "%lld samples in batches of %lld are out of range", (long long)n, (long long)per_batch);
    const int64_t most = n < per_batch ? n : per_batch;
    o->index = graft_calloc((size_t)n + 1, sizeof *o->index);
    o->batch = graft_calloc((size_t)most + 1, sizeof *o->batch);
    return o->index && o->batch ? graft_order_epoch(o, 0, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for the order of %lld samples", (long long)n);
}

void graft_order_free(graft_order *o)
{
    graft_free(o->index);
    graft_free(o->batch);
    o->index = NULL, o->batch = NULL;
}

int64_t graft_order_batches(const graft_order *o) { return (o->n + o->per_batch - 1) / o->per_batch; }

graft_status graft_order_epoch(graft_order *o, int64_t epoch, graft_error *err)
{
    (void)err;
    if (epoch == o->epoch) return GRAFT_OK;
    if (o->shuffle) graft_torch_randperm32(o->seed + (uint64_t)epoch, o->n, o->index);
    else
        for (int64_t i = 0; i < o->n; i++) o->index[i] = (int32_t)i;
    o->epoch = epoch;
    return GRAFT_OK;
}

int64_t graft_order_batch(const graft_order *o, int64_t batch, const int64_t **samples)
{
    const int64_t from = batch * o->per_batch, left = o->n - from, n = left < o->per_batch ? left : o->per_batch;
    if (batch < 0 || left <= 0) return *samples = NULL, 0;
    for (int64_t i = 0; i < n; i++) o->batch[i] = o->index[from + i];
    *samples = o->batch;
    return n;
}
