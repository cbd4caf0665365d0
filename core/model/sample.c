/* core/model/sample.c - see sample.h. In transformers' order: repetition penalty, no-repeat n-grams, presence and frequency penalty, temperature,
 * top-k, top-p, min-p, typical-p. Token ids outside the vocabulary in the history are ignored. */
#include "core/model/sample.h"

#include "graft/random.h"

#include <math.h>
#include <string.h>

static int known(int32_t id, int64_t vocab) { return id >= 0 && id < vocab; }

/* Each token of the history once, whatever its count. */
static void penalise_repetition(float *logits, int64_t vocab, const int32_t *history, int64_t n, float penalty, int32_t *seen)
{
    memset(seen, 0, (size_t)vocab * sizeof *seen);
    for (int64_t i = 0; i < n; i++) {
        if (!known(history[i], vocab) || seen[history[i]]) continue;
        float *z = &logits[history[i]];
        *z = *z < 0 ? *z * penalty : *z / penalty;
        seen[history[i]] = 1;
    }
}

/* A token that would complete an n-gram that the history already has. */
static void forbid_ngrams(float *logits, int64_t vocab, const int32_t *history, int64_t n, int64_t size)
{
    for (int64_t i = 0; i + size <= n; i++)
        if (!memcmp(history + i, history + n - (size - 1), (size_t)(size - 1) * sizeof *history) && known(history[i + size - 1], vocab))
            logits[history[i + size - 1]] = -INFINITY;
}

static void penalise_presence(float *logits, int64_t vocab, const int32_t *history, int64_t n, double presence, double frequency, int32_t *count)
{
    memset(count, 0, (size_t)vocab * sizeof *count);
    for (int64_t i = 0; i < n; i++)
        if (known(history[i], vocab)) count[history[i]]++;
    for (int64_t t = 0; t < vocab; t++)
        if (count[t]) logits[t] -= (float)(presence + frequency * count[t]);
}

/* ---- a heap of token ids, best key on top: only as many are sorted as are looked at ------------------------------------------------------- */

typedef struct heap {
    const float *logits;
    double centre; /* finite: best is closest to it; INFINITY: best is largest */
    int32_t *id;
    int64_t n;
} heap;

static double rank(const heap *h, int32_t id) { return h->centre < INFINITY ? -fabs((double)h->logits[id] - h->centre) : (double)h->logits[id]; }

static int before(const heap *h, int32_t a, int32_t b)
{
    const double x = rank(h, a), y = rank(h, b);
    return x != y ? x > y : a < b;
}

static void sink(heap *h, int64_t i)
{
    for (;;) {
        int64_t best = i;
        for (int64_t child = 2 * i + 1; child <= 2 * i + 2 && child < h->n; child++)
            if (before(h, h->id[child], h->id[best])) best = child;
        if (best == i) return;
        const int32_t swap = h->id[i];
        h->id[i] = h->id[best], h->id[best] = swap;
        i = best;
    }
}

/* Of the tokens that are still allowed. */
static heap make_heap(const float *logits, double centre, int64_t vocab, int32_t *ids)
{
    heap h = {.logits = logits, .centre = centre, .id = ids};
    for (int64_t t = 0; t < vocab; t++)
        if (logits[t] > -INFINITY) ids[h.n++] = (int32_t)t;
    for (int64_t i = h.n / 2; i-- > 0;) sink(&h, i);
    return h;
}

/* The taken ids gather behind the heap's end, last taken first. */
static int32_t take(heap *h)
{
    const int32_t top = h->id[0];
    h->id[0] = h->id[--h->n];
    h->id[h->n] = top;
    sink(h, 0);
    return top;
}

static void forbid_rest(const heap *h, float *logits)
{
    for (int64_t i = 0; i < h->n; i++) logits[h->id[i]] = -INFINITY;
}

/* Of n numbers as a heap with the least on top, number i may be too large for its place. */
static void sink_least(float *x, int64_t i, int64_t n)
{
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && x[child + 1] < x[child]) child++;
        if (!(x[child] < x[i])) return;
        const float swap = x[i];
        x[i] = x[child], x[child] = swap;
    }
}

static float largest(const float *logits, int64_t vocab)
{
    float top = -INFINITY;
    for (int64_t t = 0; t < vocab; t++)
        if (logits[t] > top) top = logits[t];
    return top;
}

static double sum_exp(const float *logits, int64_t vocab, float top)
{
    double sum = 0;
    for (int64_t t = 0; t < vocab; t++)
        if (logits[t] > -INFINITY) sum += exp((double)logits[t] - (double)top);
    return sum;
}

/* All that are not below the k-th: ties stay. The k best so far are a heap with the worst of them on top, which most tokens do not beat. */
static void keep_top_k(float *logits, int64_t vocab, int64_t k, int32_t *scratch)
{
    if (k >= vocab) return;
    float *best = (float *)(void *)scratch; /* [k] */
    memcpy(best, logits, (size_t)k * sizeof *best);
    for (int64_t i = k / 2; i-- > 0;) sink_least(best, i, k);
    for (int64_t t = k; t < vocab; t++) {
        if (!(logits[t] > best[0])) continue;
        best[0] = logits[t];
        sink_least(best, 0, k);
    }
    const float least = best[0];
    for (int64_t t = 0; t < vocab; t++)
        if (logits[t] < least) logits[t] = -INFINITY;
}

/* Tokens in falling order while those before them hold less than p together; the first always. */
static void keep_top_p(float *logits, int64_t vocab, double p, int32_t *scratch)
{
    const float top = largest(logits, vocab);
    const double sum = sum_exp(logits, vocab, top);
    heap h = make_heap(logits, INFINITY, vocab, scratch);
    double mass = 0;
    for (int64_t i = 0; h.n && (!i || mass < p); i++) mass += exp((double)logits[take(&h)] - (double)top) / sum;
    forbid_rest(&h, logits);
}

static void keep_min_p(float *logits, int64_t vocab, double p)
{
    const float top = largest(logits, vocab);
    for (int64_t t = 0; t < vocab; t++)
        if (logits[t] < top && exp((double)logits[t] - (double)top) < p) logits[t] = -INFINITY;
}

/* The tokens whose surprise is closest to the entropy and that hold p together. Meister et al. 2022. */
static void keep_typical(float *logits, int64_t vocab, double p, int32_t *scratch)
{
    const float top = largest(logits, vocab);
    const double log_sum = log(sum_exp(logits, vocab, top)) + (double)top;
    double entropy = 0, mass = 0;
    for (int64_t t = 0; t < vocab; t++) {
        const double log_p = (double)logits[t] - log_sum;
        if (logits[t] > -INFINITY) entropy -= log_p * exp(log_p);
    }
    heap h = make_heap(logits, log_sum - entropy, vocab, scratch);
    int32_t last = h.n ? h.id[0] : 0;
    while (h.n && mass < p) mass += exp((double)logits[last = take(&h)] - log_sum);
    const double farthest = rank(&h, last);
    for (int64_t i = 0; i < h.n; i++)
        if (rank(&h, h.id[i]) < farthest) logits[h.id[i]] = -INFINITY;
}

void graft_sample_process(const graft_sampling *s, float *logits, int64_t vocab, const int32_t *history, int64_t n_history, int32_t *scratch)
{
    if (s->repetition_penalty > 0 && s->repetition_penalty != 1) penalise_repetition(logits, vocab, history, n_history, (float)s->repetition_penalty, scratch);
    if (s->no_repeat_ngram_size > 0) forbid_ngrams(logits, vocab, history, n_history, s->no_repeat_ngram_size);
    if (s->presence_penalty != 0 || s->frequency_penalty != 0)
        penalise_presence(logits, vocab, history, n_history, s->presence_penalty, s->frequency_penalty, scratch);
    if (s->temperature > 0 && s->temperature != 1)
        for (int64_t t = 0; t < vocab; t++) logits[t] /= (float)s->temperature;
    if (s->top_k > 0) keep_top_k(logits, vocab, s->top_k, scratch);
    if (s->top_p > 0 && s->top_p < 1) keep_top_p(logits, vocab, s->top_p, scratch);
    if (s->min_p > 0) keep_min_p(logits, vocab, s->min_p);
    if (s->typical_p > 0 && s->typical_p < 1) keep_typical(logits, vocab, s->typical_p, scratch);
}

int graft_sample_processes(const graft_sampling *s)
{
    const int moves = (s->repetition_penalty > 0 && s->repetition_penalty != 1) || s->no_repeat_ngram_size > 0 || s->presence_penalty != 0 || s->frequency_penalty != 0 ||
                      (s->typical_p > 0 && s->typical_p < 1);
    const int cuts = s->temperature != 1 || s->top_k > 0 || (s->top_p > 0 && s->top_p < 1) || s->min_p > 0; /* the largest is always kept */
    return moves || (s->temperature > 0 && cuts);
}

/* The first of the largest. Blocks are looked at by several running maxima, and one by one only where they beat what was found before. */
static int32_t first_largest(const float *z, int64_t n)
{
    enum { BLOCK = 256,
           LANES = 16 };
    int64_t best = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t end = i + BLOCK < n ? i + BLOCK : n;
        float top[LANES], most = -INFINITY;
        for (int l = 0; l < LANES; l++) top[l] = -INFINITY;
        int64_t j = i;
        for (; j + LANES <= end; j += LANES)
            for (int l = 0; l < LANES; l++) top[l] = z[j + l] > top[l] ? z[j + l] : top[l];
        for (int l = 0; l < LANES; l++) most = top[l] > most ? top[l] : most;
        if (j == end && !(most > z[best])) continue;
        for (j = i; j < end; j++)
            if (z[j] > z[best]) best = j;
    }
    return (int32_t)best;
}

int32_t graft_sample_pick(const graft_sampling *s, const float *processed, int64_t vocab, uint64_t draw)
{
    const int32_t best = first_largest(processed, vocab);
    const double top = (double)processed[best];
    if (s->temperature <= 0 || !isfinite(top)) return best;
    const uint64_t stream = 0x73616d706c65u; /* "sample" */
    const double u = (double)graft_random_u32(s->seed, stream, draw, 0) * 0x1p-32 + (double)graft_random_u32(s->seed, stream, draw, 1) * 0x1p-64;
    double left = u * sum_exp(processed, vocab, (float)top);
    for (int64_t t = 0; t < vocab; t++) {
        if (!(processed[t] > -INFINITY)) continue;
        left -= exp((double)processed[t] - top);
        if (left < 0) return (int32_t)t;
    }
    return best;
}
