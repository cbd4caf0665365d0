/* core/cli/cmd_plan.c - graft plan: what `graft train` with the same arguments would take, before anything is loaded. */
#include "core/cli/job.h"

#include <string.h>

static void print_json(graft_cli *c, const graft_memory *m)
{
    const struct {
        const char *key;
        int64_t v;
    } rows[] = {{"host", m->host}, {"weights", m->weights}, {"gradients", m->gradients}, {"optimiser", m->optimiser}, {"activations", m->activations}, {"workspace", m->workspace}, {"total", m->total}, {"parameters", m->parameters}, {"trainable", m->trainable}, {"run_tokens", m->run_tokens}, {"tokens", m->tokens}, {"sequences", m->sequences}, {"labelled", m->labelled}, {"total_steps", m->total_steps}, {"updates_per_epoch", m->updates_per_epoch}, {"recompute_level", m->recompute_level}, {"recompute_layers", m->recompute_layers}, {"layers", m->layers}};
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) graft_json_put(c->arena, o, rows[i].key, graft_json_int(c->arena, rows[i].v));
    graft_json_put(c->arena, o, "flops_per_run", graft_json_real(c->arena, m->flops));
    graft_cli_print_json(c, o, 2);
}

static void row(graft_cli *c, const char *what, int64_t bytes, const char *why)
{
    char text[32];
    fprintf(c->out, "  %-12s %10s%s%s\n", what, graft_bytes_text(bytes, text), *why ? "   " : "", why);
}

static void print_text(graft_cli *c, const graft_job *j, const graft_memory *m)
{
    fprintf(c->out, "%s, %s on %s\n", j->o.base_name, j->s.names, j->s.device.info.name[0] ? j->s.device.info.name : j->s.device.name);
    fprintf(c->out, "  trained      %lld of %lld parameters (%.4f %%)\n", (long long)m->trainable, (long long)m->parameters, m->parameters ? 100.0 * (double)m->trainable / (double)m->parameters : 0.0);
    fprintf(c->out, "  run          at most %lld tokens of %lld samples, %.1f GFLOP%s\n", (long long)m->tokens, (long long)m->sequences, m->flops / 1e9, j->train ? "" : " (no dataset was named: all samples as long as cutoff_len)");
    if (j->train) fprintf(c->out, "  updates      %lld, %lld an epoch\n", (long long)m->total_steps, (long long)m->updates_per_epoch);
    fputc('\n', c->out);
    if (m->host) row(c, "host", m->host, "program, tokenizer and samples");
    row(c, "weights", m->weights, "");
    row(c, "gradients", m->gradients, "");
    row(c, "optimiser", m->optimiser, "first and second moments");
    char how[96] = "everything is kept";
    if (m->recompute_level == 1) snprintf(how, sizeof how, "cheap values are recomputed");
    if (m->recompute_level > 1) snprintf(how, sizeof how, "%d of %d blocks are recomputed, %s", (int)m->recompute_layers, (int)m->layers, m->recompute_level > 2 ? "some with attention" : "attention is kept");
    row(c, "activations", m->activations, how);
    row(c, "workspace", m->workspace, "of the backend");
    row(c, "together", m->total, "");
}

static graft_status run(graft_cli *c, graft_error *err)
{
    graft_job j = {.s = {.c = c}};
    graft_memory m;
    graft_status s = graft_job_open(&j, 1, err);
    if (!s) s = graft_train_plan(&j.job, &m, err);
    if (!s && c->json) print_json(c, &m);
    if (!s && !c->json) print_text(c, &j, &m);
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
             "taken to be cutoff_len tokens long. No weight is read.\n",
    .run = run,
};
