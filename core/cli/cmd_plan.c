/* core/cli/cmd_plan.c - graft plan: what `graft train` with the same arguments would take, before anything is loaded. */
#include "core/base/error.h"
#include "core/cli/job.h"
#include "core/graph/rates.h"
#include "core/train/update.h"

#include <string.h>

enum { MAX_CANDIDATES = 64 };

/* What to expect of the device, by what it was measured to do: products at its matmul's rate, and beside them what each run and each update must at least
 * move: the weights forward and twice backward, activations out and in, gradients and the optimiser's numbers. 0: it could not be measured. */
typedef struct speed {
    double tokens, update, matmul, memory; /* tokens a second, seconds an update, the device's rates */
} speed;

static speed expect(graft_job *j, const graft_memory *m)
{
    speed out = {0};
    int32_t n = 0;
    int kept;
    graft_backend_rates r;
    graft_error unheard = GRAFT_ERROR_INIT;
    graft_candidate *found = graft_calloc(MAX_CANDIDATES, sizeof *found);
    const graft_device *d = &j->s.device;
    graft_status s = found ? graft_backend_candidates(j->s.registry, found, MAX_CANDIDATES, &n, &unheard) : GRAFT_NO_MEMORY;
    int32_t at = 0;
    while (!s && at < n && (strcmp(found[at].backend, d->name) != 0 || strcmp(found[at].info.name, d->info.name) != 0)) at++;
    if (!s && at < n && !graft_rates_of(&found[at], 0, &r, &kept, &unheard) && r.matmul > 0 && r.memory > 0 && m->tokens > 0 && m->sequences > 0) {
        const double samples = (double)(j->o.per_device_train_batch_size * j->o.gradient_accumulation_steps), tokens = (double)m->tokens / (double)m->sequences * samples;
        const double run = m->flops / r.matmul + (3.0 * (double)m->weights + 2.0 * (double)m->activations) / r.memory;
        out = (speed){.update = run * samples / (double)m->sequences + (2.0 * (double)m->optimiser + 5.0 * (double)m->gradients) / r.memory, .matmul = r.matmul, .memory = r.memory};
        out.tokens = tokens / out.update;
    }
    graft_free(found);
    return out;
}

/* What a method that wakes parts of the base in turn spares: gradients and optimiser of the weights that rest, by what a trained one takes. 0: none does. */
static int64_t resting(const graft_job *j, const graft_memory *m)
{
    int wakes = 0;
    for (int i = 0; i < j->s.n_methods; i++) {
        const graft_method_table *t = j->s.methods[i].table;
        wakes |= GRAFT_HAS(graft_method_table, t, trains) && t->on_step && t->trains && !t->files;
    }
    return wakes && m->trainable > 0 ? (int64_t)((double)(m->gradients + m->optimiser) / (double)m->trainable * (double)(m->parameters - m->trainable)) : 0;
}

static void print_json(graft_cli *c, const graft_memory *m, const speed *v, int64_t spared)
{
    const struct {
        const char *key;
        int64_t v;
    } rows[] = {{"host", m->host}, {"weights", m->weights}, {"gradients", m->gradients}, {"optimiser", m->optimiser}, {"activations", m->activations}, {"workspace", m->workspace}, {"total", m->total}, {"parameters", m->parameters}, {"trainable", m->trainable}, {"run_tokens", m->run_tokens}, {"tokens", m->tokens}, {"sequences", m->sequences}, {"labelled", m->labelled}, {"total_steps", m->total_steps}, {"updates_per_epoch", m->updates_per_epoch}, {"recompute_level", m->recompute_level}, {"recompute_layers", m->recompute_layers}, {"layers", m->layers}, {"update_in_backward", m->inside}};
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) graft_json_put(c->arena, o, rows[i].key, graft_json_int(c->arena, rows[i].v));
    if (spared) graft_json_put(c->arena, o, "resting", graft_json_int(c->arena, spared));
    graft_json_put(c->arena, o, "flops_per_run", graft_json_real(c->arena, m->flops));
    graft_json_put(c->arena, o, "expected_tokens_per_second", graft_json_real(c->arena, v->tokens));
    graft_json_put(c->arena, o, "expected_seconds_per_update", graft_json_real(c->arena, v->update));
    graft_cli_print_json(c, o, 2);
}

/* Of a run with several methods: what each trains. */
static graft_status print_shares(graft_cli *c, const graft_job *j, graft_error *err)
{
    int64_t trained[GRAFT_SESSION_METHODS] = {0};
    const int64_t none[GRAFT_SYMBOLS] = {0};
    graft_graph *g = NULL;
    if (j->s.n_methods < 2) return GRAFT_OK;
    const graft_status s = graft_model_graph(j->s.model, j->s.methods, j->s.n_methods, GRAFT_FOR_TRAIN, &g, err);
    for (int32_t i = 1; !s && i < g->n_values; i++) {
        const graft_value_info *v = &g->values[i];
        const int by = v->from_method >= 0 ? v->from_method : v->trained_by;
        if (v->node < 0 && by >= 0 && by < j->s.n_methods && graft_update_trains(g, v)) trained[by] += graft_shape_elements(&v->shape, none);
    }
    for (int i = 0; !s && i < j->s.n_methods; i++) fprintf(c->out, "    %-12s %lld parameters\n", j->s.methods[i].name, (long long)trained[i]);
    graft_graph_free(g);
    return s;
}

static void row(graft_cli *c, const char *what, int64_t bytes, const char *why)
{
    char text[32];
    fprintf(c->out, "  %-12s %10s%s%s\n", what, graft_bytes_text(bytes, text), *why ? "   " : "", why);
}

static graft_status print_text(graft_cli *c, const graft_job *j, const graft_memory *m, const speed *v, graft_error *err)
{
    fprintf(c->out, "%s, %s on %s\n", j->o.base_name, j->s.names, j->s.device.info.name[0] ? j->s.device.info.name : j->s.device.name);
    fprintf(c->out, "  trained      %lld of %lld parameters (%.4f %%)\n", (long long)m->trainable, (long long)m->parameters, m->parameters ? 100.0 * (double)m->trainable / (double)m->parameters : 0.0);
    const graft_status s = print_shares(c, j, err);
    fprintf(c->out, "  run          at most %lld tokens of %lld samples, %.1f GFLOP%s\n", (long long)m->tokens, (long long)m->sequences, m->flops / 1e9, j->train ? "" : " (no dataset was named: all samples as long as cutoff_len)");
    if (j->train) fprintf(c->out, "  updates      %lld, %lld an epoch\n", (long long)m->total_steps, (long long)m->updates_per_epoch);
    if (v->tokens > 0) fprintf(c->out, "  speed        about %.0f tokens/s, %.2g s an update (of the measured %.0f GF/s in products and %.1f GB/s)\n", v->tokens, v->update, v->matmul * 1e-9, v->memory * 1e-9);
    fputc('\n', c->out);
    if (m->host) row(c, "host", m->host, "program, tokenizer, samples and graphs");
    row(c, "weights", m->weights, "");
    row(c, "gradients", m->gradients, m->inside ? "applied as soon as they are there and released" : "");
    row(c, "optimiser", m->optimiser, "first and second moments");
    if (resting(j, m)) row(c, "resting", resting(j, m), "less in gradients and optimiser than if all weights trained at once: not taken");
    char how[96] = "everything is kept";
    if (m->recompute_level == 1) snprintf(how, sizeof how, "cheap values are recomputed");
    if (m->recompute_level > 1) snprintf(how, sizeof how, "%d of %d blocks are recomputed, %s", (int)m->recompute_layers, (int)m->layers, m->recompute_level > 2 ? "some with attention" : "attention is kept");
    row(c, "activations", m->activations, how);
    row(c, "workspace", m->workspace, "of the backend");
    row(c, "together", m->total, "");
    return s;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    graft_job j = {.s = {.c = c}};
    graft_memory m;
    graft_status s = graft_job_open(&j, 1, err);
    if (!s) s = graft_train_plan(&j.job, &m, err);
    const speed v = s ? (speed){0} : expect(&j, &m);
    if (!s && c->json) print_json(c, &m, &v, resting(&j, &m));
    if (!s && !c->json) s = print_text(c, &j, &m, &v, err);
    graft_job_close(&j);
    return s;
}

const graft_command graft_command_plan = {
    .name = "plan",
    .summary = "memory and steps of a training run, before it is started",
    .usage = "Usage: graft plan [FILE.yaml] [key=value ...] [--key value ...]\n\n"
             "  graft plan lora.yaml\n"
             "  graft plan lora.yaml memory=2G\n"
             "  graft plan --model_name_or_path models/small --finetuning_type full --cutoff_len 1024 --json\n\n"
             "Takes what `graft train` takes and prints bytes by class: weights, gradients, optimiser, activations, workspace.\n"
             "With memory it chooses what to recompute, or says what would fit. Without dataset every sample is\n"
             "taken to be cutoff_len tokens long. No weight is read. The speed follows from what the device was measured to\n"
             "do (graft doctor), the first time on a machine within some seconds.\n",
    .run = run,
};
