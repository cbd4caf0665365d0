/* core/train/plan.c - how many steps, how large the batches, and how much memory: known before anything is allocated.
 *
 * Memory is the sum of what the loop will ask of the device:
 *     weights + gradients + moments (the store) + the largest arena of the programs + their inputs, outputs and tables + what the backend holds for itself.
 * and of what the process holds anyway. What is chosen when that is more than allowed: choose.c. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/graph/overlap.h"
#include "core/model/hold.h"
#include "core/train/after.h"
#include "core/train/neftune.h"
#include "core/train/replan.h"
#include "core/train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- steps --------------------------------------------------------------------------------------------------------------- */

/* A number of updates, or below 1 a share of all of them. */
static int64_t interval(double v, int64_t total) { return v <= 0 ? 0 : v < 1 ? (int64_t)ceil((double)total * v)
                                                                             : (int64_t)v; }

static graft_status strategy(const char *key, const char *name, int *steps, int *epochs, graft_error *err)
{
    *steps = name && !strcmp(name, "steps");
    *epochs = name && !strcmp(name, "epoch");
    if (!name || *steps || *epochs || !strcmp(name, "no")) return GRAFT_OK;
    return graft_fail(err, GRAFT_UNSUPPORTED, key, "expected one of steps, epoch, no, found '%s'", name);
}

static graft_status check_options(const graft_train_options *o, graft_error *err)
{
    if (o->per_device_train_batch_size < 1 || o->per_device_train_batch_size > 1 << 20) return graft_fail(err, GRAFT_BAD_INPUT, "per_device_train_batch_size", "expected a number from 1, found %lld", (long long)o->per_device_train_batch_size);
    if (o->per_device_eval_batch_size < 1 || o->per_device_eval_batch_size > 1 << 20) return graft_fail(err, GRAFT_BAD_INPUT, "per_device_eval_batch_size", "expected a number from 1, found %lld", (long long)o->per_device_eval_batch_size);
    if (o->gradient_accumulation_steps < 1 || o->gradient_accumulation_steps > 1 << 20) return graft_fail(err, GRAFT_BAD_INPUT, "gradient_accumulation_steps", "expected a number from 1, found %lld", (long long)o->gradient_accumulation_steps);
    if (!(o->learning_rate >= 0 && o->learning_rate <= 1e6)) return graft_fail(err, GRAFT_BAD_INPUT, "learning_rate", "expected a number from 0, found %g", o->learning_rate);
    if (o->max_steps <= 0 && !(o->num_train_epochs > 0 && o->num_train_epochs < 1e9)) return graft_fail(err, GRAFT_BAD_INPUT, "num_train_epochs", "expected a number above 0, found %g", o->num_train_epochs);
    if (!(o->optim.beta1 >= 0 && o->optim.beta1 < 1)) return graft_fail(err, GRAFT_BAD_INPUT, "adam_beta1", "expected a number from 0 and below 1, found %g", o->optim.beta1);
    if (!(o->optim.beta2 >= 0 && o->optim.beta2 < 1)) return graft_fail(err, GRAFT_BAD_INPUT, "adam_beta2", "expected a number from 0 and below 1, found %g", o->optim.beta2);
    if (!(o->optim.epsilon >= 0)) return graft_fail(err, GRAFT_BAD_INPUT, "adam_epsilon", "expected a number from 0, found %g", o->optim.epsilon);
    if (!(o->optim.weight_decay >= 0)) return graft_fail(err, GRAFT_BAD_INPUT, "weight_decay", "expected a number from 0, found %g", o->optim.weight_decay);
    if (!(o->neftune_noise_alpha >= 0 && o->neftune_noise_alpha < 1e6)) return graft_fail(err, GRAFT_BAD_INPUT, "neftune_noise_alpha", "expected a number from 0, found %g", o->neftune_noise_alpha);
    if (!(o->optim.max_grad_norm >= 0)) return graft_fail(err, GRAFT_BAD_INPUT, "max_grad_norm", "expected a number from 0 (0: no clipping), found %g", o->optim.max_grad_norm);
    if (!(o->warmup_steps >= 0) || !(o->warmup_ratio >= 0 && o->warmup_ratio <= 1)) return graft_fail(err, GRAFT_BAD_INPUT, "warmup_steps", "expected steps from 0 and a ratio from 0 to 1, found %g and %g", o->warmup_steps, o->warmup_ratio);
    return GRAFT_OK;
}

graft_status graft_train_count(const graft_train_job *job, graft_train_steps *out, graft_error *err)
{
    const graft_train_options *o = job->options;
    int save_steps = 0, eval_steps = 0, log_steps = 0;
    memset(out, 0, sizeof *out);
    graft_status s = check_options(o, err);
    out->save_best = o->save_strategy && !strcmp(o->save_strategy, "best");
    if (!s && !out->save_best) s = strategy("save_strategy", o->save_strategy, &save_steps, &out->save_epochs, err);
    if (!s) s = strategy("eval_strategy", o->eval_strategy, &eval_steps, &out->evaluate_epochs, err);
    if (!s) s = strategy("logging_strategy", o->logging_strategy ? o->logging_strategy : "steps", &log_steps, &out->log_epochs, err);
    if (s) return s;
    const int64_t n = job->train ? graft_dataset_count(job->train) : o->per_device_train_batch_size * o->gradient_accumulation_steps;
    if (n < 1) return graft_fail(err, GRAFT_BAD_INPUT, o->dataset_name, "there is no sample to train on");
    out->batches = (n + o->per_device_train_batch_size - 1) / o->per_device_train_batch_size;
    out->updates = (out->batches + o->gradient_accumulation_steps - 1) / o->gradient_accumulation_steps;
    const double total = o->max_steps > 0 ? (double)o->max_steps : ceil(o->num_train_epochs * (double)out->updates);
    if (total > 1e12) return graft_fail(err, GRAFT_BAD_INPUT, "num_train_epochs", "%g updates are more than can be counted; lower it", total);
    out->total = (int64_t)total;
    out->epochs = (out->total + out->updates - 1) / out->updates;
    out->log = log_steps ? interval(o->logging_steps, out->total) : 0;
    out->save = save_steps ? interval(o->save_steps, out->total) : 0;
    out->evaluate = eval_steps && job->eval ? interval(o->eval_steps > 0 ? o->eval_steps : o->logging_steps, out->total) : 0;
    if (!job->eval) out->evaluate_epochs = 0;
    if ((eval_steps || (o->eval_strategy && !strcmp(o->eval_strategy, "epoch"))) && !job->eval && job->train)
        return graft_fail(err, GRAFT_BAD_INPUT, "eval_strategy", "'%s' needs data to evaluate on: give val_size or eval_dataset", o->eval_strategy);
    if (o->eval_on_start && !job->eval && job->train) return graft_fail(err, GRAFT_BAD_INPUT, "eval_on_start", "there is nothing to evaluate on: give val_size or eval_dataset");
    const double warmup = o->warmup_steps > 0 ? o->warmup_steps : o->warmup_ratio;
    out->warmup = warmup >= 1 && o->warmup_steps > 0 ? (int64_t)warmup : (int64_t)ceil((double)out->total * warmup);
    return GRAFT_OK;
}

/* ---- capacities ---------------------------------------------------------------------------------------------------------- */

int64_t graft_train_run_of(const graft_dataset *d, const int64_t *samples, int64_t n, int64_t run_tokens)
{
    int64_t count = 0, rows = 0;
    while (count < n) {
        rows += graft_dataset_measure(d, samples[count]).rows;
        if (count && run_tokens && rows > run_tokens) break;
        count++;
    }
    return count;
}

/* One run's sizes into the largest, axis by axis. */
static void widen(const graft_dataset *d, const int64_t *samples, int64_t n, int64_t capacity[GRAFT_SYMBOLS])
{
    int64_t size[GRAFT_SYMBOLS] = {0};
    for (int64_t i = 0; i < n; i++) {
        const graft_sample_size s = graft_dataset_measure(d, samples[i]);
        size[0] += s.rows, size[1] += s.sequences, size[2] += s.labelled;
    }
    for (int i = 0; i < GRAFT_SYMBOLS; i++)
        if (size[i] > capacity[i]) capacity[i] = size[i];
}

enum { WALK_MAX = 1 << 20, /* samples whose batches are looked at one by one */
       LARGEST = 256 };    /* samples of a batch that are told apart beyond that */

/* v into the k largest so far, largest first. */
static void keep_largest(int64_t *top, int64_t k, int64_t v)
{
    if (v <= top[k - 1]) return;
    int64_t i = k - 1;
    for (; i > 0 && top[i - 1] < v; i--) top[i] = top[i - 1];
    top[i] = v;
}

/* What no run of these samples exceeds, in whatever order they come: a micro-batch is at most its number of the largest, a run at most run_tokens or one sample. */
static void bound_runs(const graft_dataset *d, int64_t per_batch, int64_t run_tokens, int64_t capacity[GRAFT_SYMBOLS])
{
    const int64_t n = graft_dataset_count(d), all = per_batch < n ? per_batch : n, k = all < LARGEST ? all : LARGEST;
    int64_t top[3][LARGEST] = {{0}};
    for (int64_t i = 0; i < n; i++) {
        const graft_sample_size s = graft_dataset_measure(d, i);
        keep_largest(top[0], k, s.rows), keep_largest(top[1], k, s.sequences), keep_largest(top[2], k, s.labelled);
    }
    for (int a = 0; a < 3; a++) {
        for (int64_t i = 0; i < k; i++) capacity[a] += top[a][i];
        capacity[a] += (all - k) * top[a][k - 1];
    }
    if (run_tokens && capacity[0] > run_tokens) capacity[0] = run_tokens > top[0][0] ? run_tokens : top[0][0];
    for (int a = 1; a < 3; a++)
        if (capacity[a] > capacity[0]) capacity[a] = capacity[0]; /* a sequence and a label have a row each */
}

static graft_status largest_run(const graft_dataset *d, graft_order *order, int64_t epochs, int64_t run_tokens, int64_t capacity[GRAFT_SYMBOLS], graft_error *err)
{
    memset(capacity, 0, GRAFT_SYMBOLS * sizeof *capacity);
    graft_status s = GRAFT_OK;
    const int64_t passes = order->shuffle ? epochs : 1;
    if (order->n > 0 && passes > WALK_MAX / order->n) {
        bound_runs(d, order->per_batch, run_tokens, capacity);
        graft_dataset_forget(d);
        return GRAFT_OK;
    }
    for (int64_t e = 0; !s && e < epochs; e++) {
        s = graft_order_epoch(order, e, err);
        for (int64_t b = 0; !s && b < graft_order_batches(order); b++) {
            const int64_t *samples = NULL, count = graft_order_batch(order, b, &samples);
            for (int64_t i = 0, some = 0; i < count; i += some) {
                some = graft_train_run_of(d, samples + i, count - i, run_tokens);
                widen(d, samples + i, some, capacity);
            }
        }
        if (!order->shuffle) break;
    }
    graft_dataset_forget(d);
    return s;
}

graft_status graft_train_measure(const graft_train_job *job, const graft_train_steps *steps, int64_t run_tokens, int64_t capacity[GRAFT_SYMBOLS], int64_t eval_capacity[GRAFT_SYMBOLS], graft_error *err)
{
    const graft_train_options *o = job->options;
    graft_order order = {0};
    graft_status s = GRAFT_OK;
    memset(eval_capacity, 0, GRAFT_SYMBOLS * sizeof *eval_capacity);
    if (!job->train) {
        int64_t samples = o->per_device_train_batch_size;
        if (run_tokens && samples * o->cutoff_len > run_tokens) samples = run_tokens > o->cutoff_len ? run_tokens / o->cutoff_len : 1;
        const int64_t guess[GRAFT_SYMBOLS] = {samples * o->cutoff_len, samples, samples * o->cutoff_len, 0};
        memcpy(capacity, guess, sizeof guess);
        return GRAFT_OK;
    }
    s = graft_order_new(&order, graft_dataset_count(job->train), o->per_device_train_batch_size, o->data_seed == UINT64_MAX ? o->seed : o->data_seed, !o->disable_shuffling, err);
    if (!s) s = largest_run(job->train, &order, steps->epochs, run_tokens, capacity, err);
    graft_order_free(&order);
    const graft_dataset *const *sets = job->n_eval_sets ? job->eval_sets : &job->eval;
    for (int i = 0; !s && job->eval && i < (job->n_eval_sets ? job->n_eval_sets : 1); i++) {
        int64_t one[GRAFT_SYMBOLS];
        s = graft_order_new(&order, graft_dataset_count(sets[i]), o->per_device_eval_batch_size, 0, 0, err);
        if (!s) s = largest_run(sets[i], &order, 1, run_tokens, one, err);
        for (int k = 0; !s && k < GRAFT_SYMBOLS; k++)
            if (one[k] > eval_capacity[k]) eval_capacity[k] = one[k];
        graft_order_free(&order);
    }
    return s;
}

/* ---- graphs and their memory --------------------------------------------------------------------------------------------- */

void graft_train_graphs_free(graft_train_graphs *g)
{
    graft_update_free(&g->update);
    graft_graph_free(g->train);
    graft_graph_free(g->eval);
    memset(g, 0, sizeof *g);
}

static graft_status make_graphs(const graft_train_job *job, const graft_memory *m, graft_train_graphs *g, graft_error *err)
{
    const int32_t layers = m->recompute_level ? m->layers : 0;
    memset(g, 0, sizeof *g);
    graft_status s = graft_model_graph(job->model, job->methods, job->n_methods, GRAFT_FOR_TRAIN, &g->train, err);
    if (!s && job->options->neftune_noise_alpha > 0) s = graft_neftune(g->train, job->options->neftune_noise_alpha, err);
    if (!s) s = m->inside ? graft_update_inside(&g->update, g->train, &job->options->optim, err) : graft_update_graphs(&g->update, g->train, &job->options->optim, job->device, err);
    if (!s) graft_train_rates(&g->update, g->train);
    if (!s) s = graft_graph_prepare(g->train, job->device, 0, 0, err);
    if (!s && layers) s = graft_graph_recompute_blocks(g->train, m->recompute, layers, err);
    if (!s && m->inside) s = graft_graph_early(g->train, err);
    if (!s && job->eval) s = graft_model_graph(job->model, job->methods, job->n_methods, GRAFT_FOR_LOSS, &g->eval, err);
    if (!s && job->eval) s = graft_graph_prepare(g->eval, job->device, 0, 0, err);
    graft_graph *const both[] = {g->train, g->eval};
    if (!s) s = graft_model_hold(job->model, both, job->eval ? 2 : 1, NULL, job->device, err);
    if (s) graft_train_graphs_free(g);
    return s;
}

/* What the backend itself will hold for this program; the program is compiled and thrown away, nothing else is allocated. */
static graft_status workspace_of(const graft_device *d, const graft_plan *p, int64_t *bytes, graft_error *err)
{
    void *compiled = NULL;
    if (!GRAFT_HAS(graft_backend_table, d->table, workspace) || !d->table->workspace) return GRAFT_OK;
    const graft_status s = d->table->compile(d->dev, &p->program, &compiled, err);
    if (s) return s;
    *bytes += d->table->workspace(compiled);
    d->table->discard(compiled);
    return GRAFT_OK;
}

static graft_status add_program(const graft_train_job *job, const graft_graph *g, const int64_t capacity[GRAFT_SYMBOLS], graft_memory *m, int64_t *arena, int64_t *graphs, int64_t *state, double *flops, graft_error *err)
{
    graft_plan *p = NULL;
    if (!g) return GRAFT_OK;
    *graphs += (int64_t)graft_arena_bytes(g->arena);
    graft_status s = graft_plan_new(g, NULL, capacity, job->options->seed, &p, err);
    if (s) return s;
    if (p->bytes[GRAFT_PLACE_ARENA] > *arena) *arena = p->bytes[GRAFT_PLACE_ARENA];
    m->activations += graft_overlap_bytes(job->device, p->bytes[GRAFT_PLACE_INPUT], p->bytes[GRAFT_PLACE_OUTPUT]) + p->bytes[GRAFT_PLACE_INPUT] + p->bytes[GRAFT_PLACE_OUTPUT] + p->bytes[GRAFT_PLACE_CONSTANT];
    if (p->bytes[GRAFT_PLACE_WEIGHT] > m->weights) m->weights = p->bytes[GRAFT_PLACE_WEIGHT];
    if (state) *state = p->bytes[GRAFT_PLACE_STATE];
    if (flops) *flops = p->flops;
    *graphs += (int64_t)graft_arena_bytes(p->arena);
    s = workspace_of(job->device, p, &m->workspace, err);
    graft_plan_free(p);
    return s;
}

int64_t graft_train_resident(void)
{
    const int64_t step = INT64_C(4) << 20;
    graft_error unheard = GRAFT_ERROR_INIT;
    char *text = NULL;
    size_t bytes = 0;
    graft_trim();
    long long whole = 0, in_memory = 0;
    if (!graft_file_read("/proc/self/statm", 4096, &text, &bytes, &unheard) && sscanf(text, "%lld %lld", &whole, &in_memory) != 2) in_memory = 0;
    graft_free(text);
    return ((int64_t)in_memory * sysconf(_SC_PAGESIZE) + step - 1) / step * step;
}

/* Of methods that look at each update: a copy of the gradient and two numbers more for each parameter of theirs. */
static int64_t watched(const graft_train_job *job, const graft_graph *g)
{
    const int64_t none[GRAFT_SYMBOLS] = {0};
    int64_t n = 0;
    for (int i = 0; i < job->n_methods; i++)
        for (int32_t k = 1; graft_after_watches(&job->methods[i]) && k < g->n_values; k++)
            if (g->values[k].node < 0 && g->values[k].place == GRAFT_PLACE_WEIGHT && g->values[k].from_method == i) n += graft_shape_elements(&g->values[k].shape, none);
    return 3 * n * (int64_t)sizeof(float);
}

static graft_status measure(const graft_train_job *job, const graft_train_graphs *g, const int64_t capacity[GRAFT_SYMBOLS], const int64_t eval_capacity[GRAFT_SYMBOLS], graft_memory *m, graft_error *err)
{
    int64_t arena = 0, graphs = 0, all_state = 0;
    const int64_t none[GRAFT_SYMBOLS] = {0};
    m->weights = m->gradients = m->optimiser = m->activations = m->workspace = m->parameters = m->trainable = 0;
    graft_status s = add_program(job, g->train, capacity, m, &arena, &graphs, &m->gradients, &m->flops, err);
    if (!s) s = add_program(job, g->eval, eval_capacity, m, &arena, &graphs, NULL, NULL, err);
    if (!s) s = add_program(job, g->update.norm, none, m, &arena, &graphs, NULL, NULL, err);
    if (!s) s = add_program(job, g->update.step, none, m, &arena, &graphs, &all_state, NULL, err);
    if (m->inside) all_state = m->gradients, m->gradients = 0; /* gradients are among the activations */
    m->optimiser = all_state > m->gradients ? all_state - m->gradients : 0;
    m->optimiser += watched(job, g->train);
    m->activations += arena;
    if (m->process) m->host = m->process + graphs; /* once: what recomputation adds to a graph is little, and less than it saves of any model but a toy */
    m->process = 0;
    m->total = m->host + m->weights + m->gradients + m->optimiser + m->activations + m->workspace;
    m->layers = 0;
    for (int32_t i = 0; i < g->train->n_nodes; i++)
        if (g->train->nodes[i].layer >= m->layers) m->layers = g->train->nodes[i].layer + 1;
    for (int32_t i = 1; i < g->train->n_values; i++) {
        const graft_value_info *v = &g->train->values[i];
        if (v->node >= 0 || v->place != GRAFT_PLACE_WEIGHT) continue;
        const int64_t n = graft_shape_elements(&v->shape, none);
        m->parameters += n;
        if (graft_update_trains(g->train, v)) m->trainable += n;
    }
    return s;
}

graft_status graft_train_remake(const graft_train_job *job, graft_memory *m, const int64_t capacity[GRAFT_SYMBOLS], const int64_t eval_capacity[GRAFT_SYMBOLS], graft_train_graphs *g, graft_error *err)
{
    const graft_status s = make_graphs(job, m, g, err);
    return s ? s : measure(job, g, capacity, eval_capacity, m, err);
}
