/* bench/data - how fast data becomes samples, and how much memory that takes.
 *
 *   bench/data --generate BYTES OUT.jsonl ALPACA.json    a file of so many bytes from the records of a small one, each with a number of its own
 *   bench/data FILE TOKENIZER TEMPLATES TEMPLATE [key=value ...]
 *
 * keys: cutoff_len, max_samples, cache (folder), cache_from (bytes), overwrite, packing (0, 1, 2: neat), steps (batches of 8 read in shuffled order after
 * loading), streaming (samples). Prints one JSON line: records and MB a second, time to the first batch, peak memory (VmHWM) after each phase. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/data/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double processor(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double status_mib(const char *key)
{
    char *text, *at;
    size_t bytes;
    graft_error err = GRAFT_ERROR_INIT;
    if (graft_file_read("/proc/self/status", 1 << 16, &text, &bytes, &err)) return 0;
    at = strstr(text, key);
    const double mib = at ? strtod(at + strlen(key) + 1, NULL) / 1024 : 0;
    graft_free(text);
    return mib;
}

static int fail(const graft_error *err)
{
    char text[2000];
    fprintf(stderr, "%s\n", graft_error_text(err, text, sizeof text));
    return 1;
}

static int generate(int64_t bytes, const char *out, const char *from, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    const graft_json *list;
    graft_file *f;
    graft_str line;
    if (graft_json_parse_file(a, from, 1 << 28, 0, &list, err) || graft_file_create(&f, out, err)) return fail(err);
    graft_str_init(&line, 0);
    int64_t written = 0, records = 0;
    for (const graft_json *r = list->child; written < bytes; r = r->next ? r->next : list->child) {
        const graft_json *output = graft_json_get(r, "output"), *question = graft_json_get(r, "instruction"), *input = graft_json_get(r, "input");
        graft_str_clear(&line);
        graft_str_printf(&line, "{\"instruction\": \"%lld. ", (long long)records++);
        graft_str text;
        graft_str_init(&text, 0);
        graft_str_json(&text, question->text, question->bytes);
        graft_str_add(&line, text.data + 1, text.bytes - 1);
        graft_str_text(&line, ", \"input\": ");
        graft_str_json(&line, input ? input->text : "", input ? input->bytes : 0);
        graft_str_text(&line, ", \"output\": ");
        graft_str_json(&line, output->text, output->bytes);
        graft_str_text(&line, "}\n");
        graft_str_free(&text);
        if (graft_file_write(f, line.data, line.bytes, err)) return fail(err);
        written += (int64_t)line.bytes;
    }
    graft_str_free(&line);
    graft_arena_free(a);
    if (graft_file_finish(f, err)) return fail(err);
    printf("{\"file\": \"%s\", \"records\": %lld, \"bytes\": %lld}\n", out, (long long)records, (long long)written);
    return 0;
}

static void say(void *ctx, graft_log_level level, const char *sentence)
{
    (void)ctx, (void)level;
    fprintf(stderr, "%s\n", sentence);
}

/* `batches` of 8 in shuffled order (a stream's: in turn), as training would ask for them. */
static graft_status walk(const graft_dataset *d, int64_t batches, int shuffle, graft_error *err)
{
    graft_order order;
    const int64_t *samples;
    graft_status status = graft_order_new(&order, graft_dataset_count(d), 8, 42, shuffle, err);
    for (int64_t b = 0; b < batches && !status; b++)
        for (int64_t i = 0, n = graft_order_batch(&order, b % graft_order_batches(&order), &samples); i < n && !status; i++) {
            graft_sample s;
            status = graft_dataset_get(d, samples[i], &s, err);
        }
    graft_order_free(&order);
    return status;
}

static int64_t number(int n, char **words, const char *key, int64_t fallback)
{
    for (int i = 0; i < n; i++)
        if (!strncmp(words[i], key, strlen(key)) && words[i][strlen(key)] == '=') return strtoll(words[i] + strlen(key) + 1, NULL, 10);
    return fallback;
}

int main(int argc, char **argv)
{
    graft_error err = GRAFT_ERROR_INIT;
    char path[4200];
    const char *cache = NULL;
    graft_registry *registry;
    graft_tokenizer *tok;
    graft_template *t;
    graft_dataset *train = NULL, *eval = NULL;
    graft_dataset_report report;
    int64_t bytes = 0, modified;
    if (argc == 5 && !strcmp(argv[1], "--generate")) return generate(strtoll(argv[2], NULL, 10), argv[3], argv[4], &err);
    if (argc < 5) return fprintf(stderr, "usage: bench/data FILE TOKENIZER TEMPLATES TEMPLATE [key=value ...], or --generate BYTES OUT ALPACA.json\n"), 2;
    char **words = argv + 5;
    const int n = argc - 5;
    for (int i = 0; i < n; i++)
        if (!strncmp(words[i], "cache=", 6)) cache = words[i] + 6;
    graft_log_to(say, NULL, GRAFT_LOG_INFO);
    snprintf(path, sizeof path, "%s/lib/graft/registry.json", GRAFT_BINARY_DIR);
    const graft_registry_options ro = {.shipped = path};
    const double began = now();
    if (graft_registry_open(&ro, &registry, &err) || graft_tokenizer_open(argv[2], &tok, &err) || graft_template_open(argv[3], argv[4], &t, &err) || graft_template_fit(t, tok, &err) || graft_path_stamp(argv[1], &bytes, &modified, &err)) return fail(&err);
    const int64_t streaming = number(n, words, "streaming", 0), batches = number(n, words, "steps", 100);
    const graft_dataset_options o = {.names = argv[1], .cutoff_len = number(n, words, "cutoff_len", 2048), .max_samples = number(n, words, "max_samples", 0), .seed = 42, .packing = (graft_packing)(number(n, words, "packing", 0) + 1), .cache_dir = cache, .cache_from = number(n, words, "cache_from", 0), .overwrite_cache = (int)number(n, words, "overwrite", 0), .streaming = streaming > 0, .stream_samples = streaming, .stream_window = 64};
    const double opened = now(), cpu = processor(), opened_mib = status_mib("VmHWM:");
    if (graft_dataset_load(registry, &o, t, tok, &train, &eval, &report, &err)) return fail(&err);
    const double loaded = now(), cpu_s = processor() - cpu, loaded_mib = status_mib("VmHWM:");
    if (walk(train, 1, !streaming, &err)) return fail(&err);
    const double first = now();
    if (walk(train, batches, !streaming, &err)) return fail(&err);
    const double walked = now(), seconds = loaded - opened, samples = (double)graft_dataset_count(train);
    printf("{\"bytes\": %lld, \"records\": %lld, \"samples\": %lld, \"tokens\": %lld, \"open_s\": %.3f, \"load_s\": %.3f, \"load_cpu_s\": %.3f, \"first_batch_s\": %.4f, \"samples_per_s\": %.0f, \"mb_per_s\": %.2f, \"batches\": %lld, \"batches_per_s\": %.0f, "
           "\"peak_mib\": {\"opened\": %.1f, \"loaded\": %.1f, \"read\": %.1f}, \"rss_mib\": %.1f}\n",
           (long long)bytes, (long long)report.records, (long long)samples, (long long)report.tokens, opened - began, seconds, cpu_s, first - loaded, streaming ? 0 : samples / seconds, streaming ? 0 : (double)bytes / seconds / 1e6, (long long)batches, (double)batches / (walked - first), opened_mib, loaded_mib, status_mib("VmHWM:"), status_mib("VmRSS:"));
    graft_dataset_free(train);
    graft_dataset_free(eval);
    graft_template_close(t);
    graft_tokenizer_close(tok);
    graft_registry_close(registry);
    return 0;
}
