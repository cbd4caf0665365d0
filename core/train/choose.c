/* core/train/choose.c - what is done with the memory there is: how large a run is, and which blocks keep their values.
 *
 * In this order, as far as needed:
 *   1. runs of about RUN_TOKENS tokens (graft_memory). On a processor always: larger runs are not faster there. On an accelerator, which starves on small
 *      ones, only when whole micro-batches do not fit.
 *   2. the update inside the backward pass (update.h), where an update is one run and needs no norm first: gradients are not kept.
 *   3. recomputation, which gives the same bits: steps (block, level) are taken in order of bytes saved per time lost, as few as suffice.
 *   4. a sentence that says what would fit. */
#include "core/base/error.h"
#include "core/train/after.h"
#include "core/train/replan.h"
#include "core/train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUN_TOKENS = 512 };

typedef struct choice {
    const graft_train_job *job;
    const graft_train_steps *steps;
    int64_t *capacity, *eval_capacity, virtual_tokens;
    graft_train_graphs *graphs;
    graft_memory *m;
    graft_error *err;
} choice;

const char *graft_bytes_text(int64_t bytes, char out[32])
{
    const double mib = (double)bytes / (double)(1 << 20);
    if (mib >= 1000) snprintf(out, 32, "%.2f GiB", mib / 1024);
    else snprintf(out, 32, mib < 10 ? "%.2f MiB" : mib < 100 ? "%.1f MiB"
                                                             : "%.0f MiB",
                  mib);
    return out;
}

int64_t graft_train_run_tokens(const graft_device *d) { return d->info.score < GRAFT_TRAIN_ACCELERATOR ? RUN_TOKENS : 0; }

static graft_status try_levels(choice *c)
{
    graft_memory *m = c->m;
    m->recompute_level = 0, m->recompute_layers = 0;
    for (int32_t i = 0; i < m->layers; i++) {
        if (m->recompute[i] > m->recompute_level) m->recompute_level = m->recompute[i];
        m->recompute_layers += m->recompute[i] > 1;
    }
    graft_train_graphs_free(c->graphs);
    return graft_train_remake(c->job, m, c->capacity, c->eval_capacity, c->graphs, c->err);
}

static graft_status try_runs(choice *c, int64_t run_tokens)
{
    graft_memory *m = c->m;
    const graft_status s = graft_train_measure(c->job, c->steps, run_tokens, c->capacity, c->eval_capacity, c->err);
    if (s) return s;
    c->capacity[0] += c->virtual_tokens * c->capacity[1];
    c->eval_capacity[0] += c->virtual_tokens * c->eval_capacity[1];
    m->run_tokens = run_tokens;
    m->tokens = c->capacity[0], m->sequences = c->capacity[1], m->labelled = c->capacity[2];
    memset(m->recompute, 0, sizeof m->recompute);
    return try_levels(c);
}

/* ---- recomputation ---------------------------------------------------------------------------------------------------------- */

/* Block `block` goes up to `level`; gain: bytes a unit of time, never more than that of the block's step before, so that each step follows it. */
typedef struct rung {
    int32_t block;
    uint8_t level;
    double gain;
} rung;

static int best_first(const void *a, const void *b)
{
    const rung *x = a, *y = b;
    if (x->gain > y->gain || x->gain < y->gain) return x->gain > y->gain ? -1 : 1;
    if (x->level != y->level) return x->level < y->level ? -1 : 1;
    return x->block < y->block ? -1 : x->block > y->block;
}

/* All steps that save something, best first. Moving a byte costs about as much time as ten operations (what a core's memory and its arithmetic are to each other). */
static graft_status rank(choice *c, rung *rungs, int32_t *n)
{
    const int32_t layers = c->m->layers;
    graft_recompute_gain *gain = graft_calloc((size_t)layers * (GRAFT_RECOMPUTE_LEVELS + 1) + 1, sizeof *gain);
    graft_status s = gain ? GRAFT_OK : graft_fail(c->err, GRAFT_NO_MEMORY, NULL, "no memory to plan recomputation");
    for (int level = 1; level <= GRAFT_RECOMPUTE_LEVELS && !s; level++) s = graft_graph_recompute_gains(c->graphs->train, level, layers, c->capacity, gain + (size_t)level * (size_t)layers, c->err);
    *n = 0;
    for (int32_t i = 0; i < layers && !s; i++) {
        double last = 1e300;
        int from = 0;
        for (int level = 1; level <= GRAFT_RECOMPUTE_LEVELS; level++) {
            const graft_recompute_gain *to = &gain[(size_t)level * (size_t)layers + (size_t)i], *was = &gain[(size_t)from * (size_t)layers + (size_t)i];
            const double bytes = (double)(to->bytes - was->bytes), time = to->flops - was->flops + 10.0 * bytes;
            if (bytes <= 0 || time <= 0) continue;
            last = bytes / time < last ? bytes / time : last;
            rungs[(*n)++] = (rung){i, (uint8_t)level, last};
            from = level;
        }
    }
    graft_free(gain);
    if (!s) qsort(rungs, (size_t)*n, sizeof *rungs, best_first);
    return s;
}

static graft_status climb(choice *c, const rung *rungs, int32_t n)
{
    memset(c->m->recompute, 0, sizeof c->m->recompute);
    for (int32_t i = 0; i < n; i++) c->m->recompute[rungs[i].block] = rungs[i].level;
    return try_levels(c);
}

/* Fewest steps that fit: memory falls as their number grows. */
static graft_status fewest(choice *c, int64_t limit)
{
    int32_t low = 1, high = 0, made;
    if (c->m->layers < 1 || c->m->layers > GRAFT_TRAIN_BLOCKS) return GRAFT_OK;
    rung *rungs = graft_calloc((size_t)c->m->layers * GRAFT_RECOMPUTE_LEVELS, sizeof *rungs);
    graft_status s = rungs ? rank(c, rungs, &high) : graft_fail(c->err, GRAFT_NO_MEMORY, NULL, "no memory to plan recomputation");
    made = high;
    if (!s && high) s = climb(c, rungs, high);
    while (!s && low < high && (c->m->total <= limit || made != high)) {
        const int32_t middle = low + (high - low) / 2;
        s = climb(c, rungs, middle);
        made = middle;
        if (c->m->total > limit) low = middle + 1;
        else high = middle;
    }
    if (!s && made != high && high) s = climb(c, rungs, high);
    graft_free(rungs);
    return s;
}

/* ---- the choice ------------------------------------------------------------------------------------------------------------ */

/* Nothing fits: a sentence with what would. Smaller batches are bounded by their longest sample. */
static graft_status refuse(choice *c, int64_t limit)
{
    const graft_train_options *o = c->job->options;
    const int64_t needed = c->m->total, samples = c->capacity[1] > 0 ? c->capacity[1] : 1, batch = o->per_device_train_batch_size < samples ? o->per_device_train_batch_size : samples;
    const char *whose = o->memory_bytes > 0 ? "memory allows" : "the device has", *how = o->no_recompute ? "" : " with everything recomputed";
    char need[32], have[32], smallest[32];
    graft_bytes_text(needed, smallest);
    for (int64_t smaller = batch / 2; smaller >= 1; smaller /= 2) {
        int64_t capacity[GRAFT_SYMBOLS] = {(c->capacity[0] * smaller + batch - 1) / batch, smaller, (c->capacity[2] * smaller + batch - 1) / batch, 0};
        choice part = *c;
        part.capacity = capacity;
        const graft_status s = try_levels(&part);
        if (s) return s;
        graft_bytes_text(c->m->total, smallest);
        if (c->m->total > limit) continue;
        return graft_fail(c->err, GRAFT_NO_MEMORY, NULL, "this run needs %s%s, %s %s: per_device_train_batch_size %lld with gradient_accumulation_steps %lld would need about %s%s", graft_bytes_text(needed, need), how, whose, graft_bytes_text(limit, have), (long long)smaller,
                          (long long)(o->gradient_accumulation_steps * o->per_device_train_batch_size / smaller), smallest, o->no_recompute ? "; disable_gradient_checkpointing forbids recomputing" : "");
    }
    return graft_fail(c->err, GRAFT_NO_MEMORY, NULL, "this run needs %s%s, %s %s: even one sample at a time takes %s; lower cutoff_len, train fewer weights or choose a smaller model", graft_bytes_text(needed, need), how, whose, graft_bytes_text(limit, have), smallest);
}

/* Are gradients of parts of a micro-batch sums? Not with a penalty, which each run would add, nor with noise that is scaled by the batch's longest sample. */
static int separable(const graft_train_job *job, int penalty) { return !penalty && !(job->options->neftune_noise_alpha > 0); }

/* Is an update one run whose gradients nobody needs together? Then they need not be kept, which costs no time but what a run of a whole batch is slower than parts of it. */
static int fits_inside(const graft_train_job *job)
{
    int watched = 0;
    for (int i = 0; i < job->n_methods; i++) watched |= graft_after_watches(&job->methods[i]);
    return !watched && job->options->gradient_accumulation_steps == 1 && graft_update_fits_inside(&job->options->optim);
}

static graft_status try_inside(choice *c, int inside, int64_t run_tokens)
{
    c->m->inside = inside;
    return try_runs(c, inside ? 0 : run_tokens);
}

graft_status graft_train_choose(const graft_train_job *job, const graft_train_steps *steps, graft_train_graphs *graphs, int64_t capacity[GRAFT_SYMBOLS], int64_t eval_capacity[GRAFT_SYMBOLS], graft_memory *m, graft_error *err)
{
    const graft_train_options *o = job->options;
    const int64_t limit = o->memory_bytes > 0 ? o->memory_bytes : job->device->info.memory_free > 0 ? job->device->info.memory_free
                                                                                                    : INT64_MAX;
    choice c = {.job = job, .steps = steps, .capacity = capacity, .eval_capacity = eval_capacity, .graphs = graphs, .m = m, .err = err};
    memset(m, 0, sizeof *m);
    memset(graphs, 0, sizeof *graphs);
    int penalty = 0;
    graft_status s = graft_train_look(job, &c.virtual_tokens, &penalty, err);
    if (s) return s;
    m->total_steps = steps->total;
    m->updates_per_epoch = steps->updates;
    const int parts = separable(job, penalty), accelerator = job->device->info.score >= GRAFT_TRAIN_ACCELERATOR;
    if (!accelerator) m->process = graft_train_resident();
    int64_t run_tokens = parts ? graft_train_run_tokens(job->device) : 0;
    s = try_runs(&c, run_tokens);
    if (!s && m->total > limit && parts && accelerator) s = try_runs(&c, run_tokens = RUN_TOKENS);
    const int inside = !s && m->total > limit && fits_inside(job);
    if (inside) s = try_inside(&c, 1, run_tokens);
    if (inside && !s && m->total > limit) s = try_inside(&c, 0, run_tokens);
    if (!s && m->total > limit && !o->no_recompute) s = fewest(&c, limit);
    if (inside && !s && m->total > limit) s = try_inside(&c, 1, run_tokens);
    if (inside && !s && m->total > limit && !o->no_recompute) s = fewest(&c, limit);
    if (!s && m->total > limit) s = refuse(&c, limit);
    if (s) graft_train_graphs_free(graphs);
    graft_trim(); /* of the graphs that were not chosen */
    return s;
}

graft_status graft_train_plan(const graft_train_job *job, graft_memory *out, graft_error *err)
{
    graft_train_steps steps;
    graft_train_graphs graphs = {0};
    int64_t capacity[GRAFT_SYMBOLS], eval_capacity[GRAFT_SYMBOLS];
    graft_status s = graft_train_count(job, &steps, err);
    if (!s) s = graft_train_choose(job, &steps, &graphs, capacity, eval_capacity, out, err);
    graft_train_graphs_free(&graphs);
    return s;
}
