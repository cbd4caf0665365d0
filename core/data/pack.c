/* core/data/pack.c - see pack.h. How the bins are filled is what LLaMA-Factory's greedy_knapsack does; interleaving is datasets' interleave_datasets. */
#include "core/data/pack.h"

#include "core/base/error.h"
#include "core/base/rng.h"

#include <stdlib.h>
#include <string.h>

/* ---- bins ---------------------------------------------------------------------------------------------------------------------------- */

typedef struct item {
    int64_t length, index;
} item;

static int by_length(const void *x, const void *y)
{
    const item *a = x, *b = y;
    if (a->length != b->length) return a->length < b->length ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* How many of the sorted items are at most this long. */
static int64_t that_fit(const item *items, int64_t n, int64_t capacity)
{
    int64_t low = 0, high = n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (items[middle].length <= capacity) low = middle + 1;
        else high = middle;
    }
    return low;
}

int64_t graft_pack_bins(const int64_t *lengths, int64_t n, int64_t capacity, int64_t *order, int64_t *ends)
{
    item *items = graft_calloc((size_t)n + 1, sizeof *items);
    if (!items) return -1;
    for (int64_t i = 0; i < n; i++) items[i] = (item){lengths[i], i};
    qsort(items, (size_t)n, sizeof *items, by_length);
    int64_t bins = 0, at = 0;
    for (int64_t left = n; left > 0;) {
        const int64_t before = at;
        int64_t room = capacity;
        for (int64_t fit; (fit = that_fit(items, left, room)) > 0;) {
            room -= items[fit - 1].length;
            order[at++] = items[fit - 1].index;
            memmove(items + fit - 1, items + fit, (size_t)(left - fit) * sizeof *items);
            left--;
        }
        if (at == before) break; /* all that are left are too long */
        ends[bins++] = at;
    }
    graft_free(items);
    return bins;
}

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for packed samples"); }

/* ---- several sets ------------------------------------------------------------------------------------------------------------------------ */

/* A set as it is drawn from. */
typedef struct draw {
    int64_t first, size, at;
    int used_up;
    double until; /* of the cumulated probabilities */
} draw;

static graft_status add(int64_t **out, size_t *room, int64_t *n, draw *d, graft_error *err)
{
    if (graft_grow((void **)out, room, (size_t)*n + 1, sizeof **out)) return no_memory(err);
    (*out)[(*n)++] = d->first + d->at;
    if (++d->at == d->size) d->at = 0, d->used_up = 1;
    return GRAFT_OK;
}

static int finished(const draw *d, int64_t sets, int over)
{
    int64_t used_up = 0;
    for (int64_t i = 0; i < sets; i++) used_up += d[i].used_up;
    return over ? used_up == sets : used_up > 0;
}

/* Turns go on until the round in which the shortest (over: the longest) set ends. */
static graft_status in_turns(draw *d, int64_t sets, int over, int64_t **out, int64_t *n, graft_error *err)
{
    int64_t rounds = d[0].size;
    size_t room = 0;
    for (int64_t i = 1; i < sets; i++)
        if (over ? d[i].size > rounds : d[i].size < rounds) rounds = d[i].size;
    for (int64_t r = 0; r < rounds; r++)
        for (int64_t i = 0; i < sets; i++)
            if (add(out, &room, n, &d[i], err)) return err->code;
    return GRAFT_OK;
}

static graft_status by_chance(draw *d, int64_t sets, int over, uint64_t seed, int64_t **out, int64_t *n, graft_error *err)
{
    graft_pcg64 g;
    size_t room = 0;
    graft_pcg64_seed(&g, seed);
    while (!finished(d, sets, over)) {
        const double u = graft_pcg64_double(&g);
        int64_t i = 0;
        while (i < sets - 1 && d[i].until <= u) i++;
        if (add(out, &room, n, &d[i], err)) return err->code;
    }
    return GRAFT_OK;
}

graft_status graft_mix(const char *strategy, const int64_t *sizes, int64_t sets, const double *probabilities, uint64_t seed, int64_t **out, int64_t *n, graft_error *err)
{
    const int over = !strcmp(strategy, "interleave_over");
    double sum = 0;
    int64_t first = 0;
    *out = NULL, *n = 0;
    if (!over && strcmp(strategy, "interleave_under"))
        return graft_fail(err, GRAFT_BAD_INPUT, "mix_strategy", "\"%.60s\" is not possible; use concat, interleave_under or interleave_over", strategy);
    draw *d = graft_calloc((size_t)sets + 1, sizeof *d);
    graft_status status = d ? GRAFT_OK : no_memory(err);
    for (int64_t i = 0; i < sets && !status; first += sizes[i++]) {
        const int never = probabilities && !(probabilities[i] > 0);
        if (!sizes[i]) status = graft_fail(err, GRAFT_BAD_INPUT, "mix_strategy", "set %lld is empty; leave it out", (long long)i + 1);
        else if (never && over) status = graft_fail(err, GRAFT_BAD_INPUT, "interleave_probs", "set %lld has no probability above 0, so it is never used up, which interleave_over waits for; leave it out", (long long)i + 1);
        else if (probabilities && !(probabilities[i] >= 0)) status = graft_fail(err, GRAFT_BAD_INPUT, "interleave_probs", "expected probabilities from 0, found %g", probabilities[i]);
        d[i] = (draw){.first = first, .size = sizes[i]};
        d[i].until = sum += probabilities ? probabilities[i] : 0;
    }
    if (!status && probabilities && !(sum > 1 - 1e-6 && sum < 1 + 1e-6)) status = graft_fail(err, GRAFT_BAD_INPUT, "interleave_probs", "the probabilities must sum to 1, they sum to %g", sum);
    for (int64_t i = 0; i < sets && !status; i++) d[i].until /= sum > 0 ? sum : 1;
    if (!status) status = probabilities ? by_chance(d, sets, over, seed, out, n, err) : in_turns(d, sets, over, out, n, err);
    graft_free(d);
    return status;
}
