/* core/cli/cmd_data.c - graft data list: the datasets of the registry; graft data show: samples as they will be learned. */
#include "core/base/error.h"
#include "core/cli/session.h"

#include <string.h>
#include <unistd.h>

/* ---- list ------------------------------------------------------------------------------------------------------------------------ */

static const char *text_of(const graft_json *entry, const char *key, const char *fallback)
{
    const graft_json *v = graft_json_get(entry, key);
    return v && v->type == GRAFT_JSON_TEXT ? v->text : fallback;
}

static const char *source_of(const graft_json *entry)
{
    static const char *const keys[] = {"file_name", "cloud_file_name", "script_url", "hf_hub_url", "ms_hub_url", "om_hub_url"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (text_of(entry, keys[i], NULL)) return text_of(entry, keys[i], NULL);
    return "";
}

static graft_status list(graft_cli *c, graft_error *err)
{
    graft_registry *r = NULL;
    const graft_entry *const *entries = NULL;
    const graft_status s = graft_cli_registry(c, &r, err);
    if (s) return s;
    const size_t n = graft_registry_list(r, GRAFT_KIND_DATASET, &entries);
    graft_json *all = graft_json_new(c->arena, GRAFT_JSON_ARRAY);
    int width = 4;
    for (size_t i = 0; i < n; i++)
        if ((int)strlen(entries[i]->name) > width) width = (int)strlen(entries[i]->name);
    for (size_t i = 0; i < n; i++) {
        const graft_entry *e = entries[i];
        if (!c->json) {
            fprintf(c->out, "%-*s  %-9s %s  (%s)\n", width, e->name, text_of(e->json, "formatting", "-"), source_of(e->json), e->layer);
            continue;
        }
        graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
        graft_json_put(c->arena, o, "name", graft_json_text(c->arena, e->name, strlen(e->name)));
        graft_json_put(c->arena, o, "entry", graft_json_copy(c->arena, e->json));
        graft_json_put(c->arena, o, "registry", graft_json_text(c->arena, e->layer, strlen(e->layer)));
        graft_json_push(c->arena, all, o);
    }
    if (c->json) graft_cli_print_json(c, all, 2);
    else if (!n) fputs("no dataset is registered: add one to dataset_info.json and give --dataset_dir, or to a registry file\n", c->out);
    return GRAFT_OK;
}

/* ---- show ------------------------------------------------------------------------------------------------------------------------ */

static int wants_colour(const graft_cli *c)
{
    const char *word = graft_args_text(c->args, "color");
    return !strcmp(word, "always") || (!strcmp(word, "auto") && isatty(fileno(c->out)) == 1);
}

/* Runs of tokens that are learned stand in green, or between « and ». */
static graft_status show_text(graft_session *s, const graft_sample *sample, int colour, graft_error *err)
{
    graft_status status = GRAFT_OK;
    graft_str text;
    graft_str_init(&text, 0);
    for (int64_t i = 0, end; !status && i < sample->n; i = end) {
        const int learned = sample->labels[i] != -100;
        for (end = i + 1; end < sample->n && (sample->labels[end] != -100) == learned; end++) {}
        if (learned) graft_str_text(&text, colour ? "\033[32m" : "«");
        status = graft_tokenizer_decode(s->tokenizer, sample->ids + i, (size_t)(end - i), 0, &text, err);
        if (learned) graft_str_text(&text, colour ? "\033[0m" : "»");
    }
    if (!status) fwrite(text.data, 1, text.bytes, s->c->out);
    graft_str_free(&text);
    return status;
}

static graft_status show_json(graft_session *s, const graft_sample *sample, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    graft_json *o = a ? graft_json_new(a, GRAFT_JSON_OBJECT) : NULL, *ids = a ? graft_json_new(a, GRAFT_JSON_ARRAY) : NULL, *labels = a ? graft_json_new(a, GRAFT_JSON_ARRAY) : NULL;
    graft_str text;
    graft_str_init(&text, 0);
    graft_status status = o && ids && labels ? graft_tokenizer_decode(s->tokenizer, sample->ids, (size_t)sample->n, 0, &text, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!status) {
        for (int64_t i = 0; i < sample->n; i++) graft_json_push(a, ids, graft_json_int(a, sample->ids[i])), graft_json_push(a, labels, graft_json_int(a, sample->labels[i]));
        graft_json_put(a, o, "input_ids", ids);
        graft_json_put(a, o, "labels", labels);
        graft_json_put(a, o, "text", graft_json_text(a, text.data, text.bytes));
        graft_cli_print_json(s->c, o, 0);
    }
    graft_str_free(&text);
    graft_arena_free(a);
    return status;
}

static graft_status show_samples(graft_session *s, const graft_dataset *d, graft_error *err)
{
    const int64_t n = graft_dataset_count(d);
    graft_status status = GRAFT_OK;
    for (int64_t i = 0; !status && i < n; i++) {
        const graft_sample sample = graft_dataset_at(d, i);
        int64_t learned = 0;
        for (int64_t k = 0; k < sample.n; k++) learned += sample.labels[k] != -100;
        if (s->c->json) {
            status = show_json(s, &sample, err);
            continue;
        }
        fprintf(s->c->out, "%s--- sample %lld: %lld tokens, %lld learned\n", i ? "\n" : "", (long long)i + 1, (long long)sample.n, (long long)learned);
        status = show_text(s, &sample, wants_colour(s->c), err);
        fputc('\n', s->c->out);
    }
    return status;
}

static graft_status show(graft_cli *c, graft_error *err)
{
    graft_session s = {.c = c};
    const graft_args *x = c->args;
    const char *file = graft_args_text(x, "file"), *names = file ? file : graft_args_text(x, "dataset");
    graft_dataset *train = NULL, *eval = NULL;
    graft_dataset_report report = {0};
    if (!names) return graft_fail(err, GRAFT_BAD_INPUT, "dataset", "no data was named: give --dataset NAME or --file FILE");
    const graft_dataset_options o = {.names = names, .dataset_dir = graft_args_text(x, "dataset_dir"), .cutoff_len = graft_args_int(x, "cutoff_len"), .max_samples = graft_args_given(x, "max_samples") ? graft_args_int(x, "max_samples") : 3, .train_on_prompt = graft_args_flag(x, "train_on_prompt"), .mask_history = graft_args_flag(x, "mask_history"), .seed = (uint64_t)graft_args_int(x, "seed"), .default_system = graft_args_text(x, "default_system")};
    graft_status status = graft_session_model(&s, err);
    if (!status) status = graft_session_template(&s, err);
    if (!status) status = graft_dataset_load(s.registry, &o, s.chat, s.tokenizer, &train, &eval, &report, err);
    if (!status) status = show_samples(&s, train, err);
    if (!status && report.dropped) fprintf(c->err, "%lld of %lld records were dropped, first %s\n", (long long)report.dropped, (long long)report.records, report.first_drop ? report.first_drop : "");
    if (!status && report.truncated) fprintf(c->err, "%lld records are longer than cutoff_len and lost %lld tokens\n", (long long)report.truncated, (long long)report.tokens_cut);
    graft_dataset_free(train);
    graft_dataset_free(eval);
    graft_session_close(&s);
    return status;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    static const char *const words[] = {"list", "show", NULL};
    if (!c->n_words) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "expected list or show after data, see `graft help data`");
    if (!strcmp(c->words[0], "list")) return list(c, err);
    if (!strcmp(c->words[0], "show")) return show(c, err);
    return graft_cli_unknown_word(c, c->words[0], words, err);
}

const graft_command graft_command_data = {
    .name = "data",
    .summary = "the registered datasets, and samples as they will be learned",
    .usage = "Usage: graft data list [--dataset_dir DIR] [--json]\n"
             "       graft data show --model_name_or_path DIR --template NAME (--dataset NAME | --file FILE)\n\n"
             "  graft data list\n"
             "  graft data show --model_name_or_path models/small --template chatml --dataset identity\n"
             "  graft data show lora.yaml --max_samples 10\n\n"
             "show renders samples (3, or max_samples) exactly as training sees them, cut to cutoff_len: what is learned is green on a\n"
             "terminal and stands between « and » elsewhere (--color always|never). --json prints ids, labels and text a line.\n",
    .positional = 1,
    .run = run,
};
