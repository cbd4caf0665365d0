/* core/cli/cmd_bench.c - graft bench: what this machine and its devices do, measured now. peak: arithmetic and memory, with one thread and with all;
 * train and generate: bench_runs.c. */
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/cli/bench.h"
#include "core/graph/rates.h"

#include <string.h>

enum { MAX_CANDIDATES = 64 };

static const struct {
    const char *key, *label, *unit;
    size_t offset;
    double scale;
} members[] = {
    {"f32", "f32 multiply-add", "GF/s", offsetof(graft_backend_rates, flops), 1e-9},
    {"bf16", "bf16 dot products", "GF/s", offsetof(graft_backend_rates, bf16), 1e-9},
    {"fp16", "fp16 multiply-add", "GF/s", offsetof(graft_backend_rates, fp16), 1e-9},
    {"matmul", "matrix products", "GF/s", offsetof(graft_backend_rates, matmul), 1e-9},
    {"memory", "memory, read and written", "GB/s", offsetof(graft_backend_rates, memory), 1e-9},
};

static double member(const graft_backend_rates *r, size_t i)
{
    double v;
    memcpy(&v, (const char *)r + members[i].offset, sizeof v);
    return v;
}

/* The rates of b with that many threads; 0: as many as it takes by itself, and these are kept for who asks later. */
static graft_status measure(graft_cli *c, const graft_candidate *b, int threads, graft_backend_rates *out, graft_error *err)
{
    graft_device d = {.name = b->backend, .table = b->plugin->table, .info = b->info};
    graft_json *options = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    int kept = 0;
    if (!threads) return graft_rates_of(b, 1, out, &kept, err);
    if (!options) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    graft_json_put(c->arena, options, "threads", graft_json_int(c->arena, threads));
    graft_status status = d.table->open(b->plugin->self, b->device, graft_config_new(c->arena, "bench", options), &d.dev, err);
    if (!status) status = graft_rates_measure(b, &d, out, err);
    graft_device_close(&d);
    return status;
}

/* One thread and all of them; a backend that takes no threads measures the same twice, so it is measured once. */
static graft_status one_device(graft_cli *c, const graft_candidate *b, graft_json *all, graft_error *err)
{
    graft_backend_rates r[2];
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    const int threaded = b->info.score < 500; /* backend.h: accelerators have 500 and more */
    for (int k = 0; k <= threaded; k++) {
        const graft_status status = measure(c, b, threaded && !k ? 1 : 0, &r[k], err);
        if (status) return status;
    }
    if (!c->json) fprintf(c->out, "%s:%d  %s\n", b->backend, (int)b->device, b->info.name);
    if (!c->json && threaded) fprintf(c->out, "  %-26s %14s %14s\n", "", "one thread", "all threads");
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        graft_json *values = graft_json_new(c->arena, GRAFT_JSON_ARRAY);
        if (!c->json) fprintf(c->out, "  %-26s", members[i].label);
        for (int k = 0; k <= threaded; k++) {
            const double v = member(&r[k], i);
            graft_json_push(c->arena, values, graft_json_real(c->arena, v));
            if (c->json) continue;
            if (v > 0.0) fprintf(c->out, " %9.1f %s", v * members[i].scale, members[i].unit);
            else fprintf(c->out, " %14s", "not offered");
        }
        if (!c->json) fputc('\n', c->out);
        graft_json_put(c->arena, o, members[i].key, values);
    }
    graft_json_put(c->arena, o, "backend", graft_json_text(c->arena, b->backend, strlen(b->backend)));
    graft_json_put(c->arena, o, "device", graft_json_int(c->arena, b->device));
    graft_json_push(c->arena, all, o);
    return GRAFT_OK;
}

static graft_status peak(graft_cli *c, graft_error *err)
{
    graft_registry *r = NULL;
    int32_t n = 0, some = 0;
    graft_candidate *found = graft_calloc(MAX_CANDIDATES, sizeof *found);
    graft_json *all = graft_json_new(c->arena, GRAFT_JSON_ARRAY);
    graft_status status = found && all ? graft_cli_registry(c, &r, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!status) status = graft_backend_candidates(r, found, MAX_CANDIDATES, &n, err);
    for (int32_t i = 0; i < n && !status; i++) {
        if (found[i].info.score < 200 || !found[i].plugin) continue; /* what is there to be correct, not fast, would take minutes */
        status = one_device(c, &found[i], all, err);
        some++;
    }
    if (!status && !some) status = graft_fail(err, GRAFT_UNSUPPORTED, NULL, "No device with vector instructions or an accelerator is here to measure; 'graft doctor' says why.");
    if (!status && c->json) graft_cli_print_json(c, all, 2);
    graft_free(found);
    return status;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    static const char *const words[] = {"peak", "train", "generate", NULL};
    if (!c->n_words) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "expected what to measure: peak, train or generate; 'graft help bench' explains");
    if (!strcmp(c->words[0], "peak")) return peak(c, err);
    if (!strcmp(c->words[0], "train")) return graft_bench_train(c, err);
    if (!strcmp(c->words[0], "generate")) return graft_bench_generate(c, err);
    return graft_cli_unknown_word(c, c->words[0], words, err);
}

const graft_command graft_command_bench = {
    .name = "bench",
    .summary = "what this machine does: peak, training steps, answers",
    .usage = "Usage: graft bench peak [--json]\n"
             "       graft bench train --model_name_or_path M [--finetuning_type lora ...] [--compute f32] [--batch 4] [--length 512] [--rounds 5] [--json]\n"
             "       graft bench generate --model_name_or_path M [--compute f32] [--prompt_tokens 512] [--new_tokens 64] [--rounds 5] [--json]\n\n"
             "peak measures every device that is not plain: multiply-adds in f32, in bf16 and fp16 where they are offered, matrix products, memory;\n"
             "with one thread and with all. What it finds is kept: with bf16 or fp16 allowed the arithmetic is chosen by it. train runs whole steps on random tokens, all but one of a sequence labelled; share_of_peak counts the\n"
             "model's operations only. generate reads a prompt of random tokens and answers it. Medians of the rounds after a first one.\n\n"
             "  graft bench train --model_name_or_path SmolLM2-135M --finetuning_type lora --lora_rank 8 --lora_target all --compute bf16 --json\n",
    .positional = 1,
    .run = run,
};
