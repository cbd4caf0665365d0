/* core/cli/cmd_data.c - graft data list: the datasets of the registry; show: samples as they will be learned; report: what a whole set amounts to;
 * template: a conversation as a chat template writes it. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/cli/pull.h"
#include "core/cli/session.h"
#include "core/data/cache.h"
#include "core/data/cache_keep.h"
#include "core/train/plot.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
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

static graft_json *integers(graft_arena *a, const int32_t *v, int64_t n)
{
    graft_json *list = graft_json_new(a, GRAFT_JSON_ARRAY);
    for (int64_t i = 0; i < n; i++) graft_json_push(a, list, graft_json_int(a, v[i]));
    return list;
}

/* One of the sequences under LLaMA-Factory's names, "chosen_input_ids" ... */
static graft_status put_json(graft_session *s, const graft_sample *sample, const char *prefix, graft_arena *a, graft_json *o, graft_error *err)
{
    graft_str text;
    graft_str_init(&text, 0);
    const graft_status status = graft_tokenizer_decode(s->tokenizer, sample->ids, (size_t)sample->n, 0, &text, err);
    if (!status) {
        graft_json_put(a, o, graft_arena_printf(a, "%sinput_ids", prefix), integers(a, sample->ids, sample->n));
        graft_json_put(a, o, graft_arena_printf(a, "%slabels", prefix), integers(a, sample->labels, sample->n));
        graft_json_put(a, o, graft_arena_printf(a, "%stext", prefix), graft_json_text(a, text.data, text.bytes));
    }
    graft_str_free(&text);
    return status;
}

/* A sample's sequences: a preference sample is two. */
typedef struct sequences {
    graft_sample part[2];
    const char *prefix[2], *title[2];
    int n;
} sequences;

static sequences sequences_of(const graft_sample *sample, graft_preference kind)
{
    sequences q = {.part = {*sample}, .prefix = {""}, .title = {""}, .n = 1};
    if (kind == GRAFT_PREFERENCE_NONE || sample->parts != 2) return q;
    const int32_t cut = sample->part_ends[0];
    const int pairs = kind == GRAFT_PREFERENCE_PAIRS;
    q.n = 2;
    q.part[0].n = cut;
    q.part[1] = (graft_sample){.n = sample->n - cut, .ids = sample->ids + cut, .labels = sample->labels + cut};
    q.prefix[0] = pairs ? "chosen_" : "", q.prefix[1] = pairs ? "rejected_" : "kl_";
    q.title[0] = pairs ? ", chosen" : sample->desirable ? ", desirable"
                                                        : ", undesirable";
    q.title[1] = pairs ? ", rejected" : ", with the answer before, for the KL term";
    return q;
}

static graft_status show_json(graft_session *s, const sequences *q, graft_preference kind, int desirable, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    graft_json *o = a ? graft_json_new(a, GRAFT_JSON_OBJECT) : NULL;
    graft_status status = o ? GRAFT_OK : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    for (int k = 0; !status && k < q->n; k++) status = put_json(s, &q->part[k], q->prefix[k], a, o, err);
    if (!status && kind == GRAFT_PREFERENCE_LABELS) graft_json_put(a, o, "kto_tag", graft_json_flag(a, desirable));
    if (!status) graft_cli_print_json(s->c, o, 0);
    graft_arena_free(a);
    return status;
}

static graft_status show_samples(graft_session *s, const graft_dataset *d, graft_preference kind, graft_error *err)
{
    const int64_t n = graft_dataset_count(d);
    graft_status status = GRAFT_OK;
    for (int64_t i = 0; !status && i < n; i++) {
        const graft_sample sample = graft_dataset_at(d, i);
        const sequences q = sequences_of(&sample, kind);
        if (s->c->json) status = show_json(s, &q, kind, sample.desirable, err);
        for (int p = 0; !status && !s->c->json && p < q.n; p++) {
            int64_t learned = 0;
            for (int64_t k = 0; k < q.part[p].n; k++) learned += q.part[p].labels[k] != -100;
            fprintf(s->c->out, "%s--- sample %lld%s: %lld tokens, %lld learned\n", i || p ? "\n" : "", (long long)i + 1, q.title[p], (long long)q.part[p].n, (long long)learned);
            status = show_text(s, &q.part[p], wants_colour(s->c), err);
            fputc('\n', s->c->out);
        }
    }
    return status;
}

/* Model, template and the samples that --file or dataset name. */
static graft_status open_samples(graft_session *s, int64_t most, graft_dataset_options *o, graft_dataset **train, graft_dataset **eval, graft_dataset_report *report, graft_error *err)
{
    const graft_args *x = s->c->args;
    const char *file = graft_args_text(x, "file"), *names = file ? file : graft_args_text(x, "dataset");
    if (!names) return graft_fail(err, GRAFT_BAD_INPUT, "dataset", "no data was named: give --dataset NAME or --file FILE");
    *o = graft_session_data_options(s->c, names);
    if (most && !graft_args_given(x, "max_samples")) o->max_samples = most;
    if (!most) o->val_size = graft_args_real(x, "val_size");
    graft_status status = graft_session_model(s, err);
    if (!status) status = graft_session_template(s, err);
    if (!status) status = graft_session_template_look(s, err);
    if (!status) status = graft_pull_datasets(s->c, o->names, err);
    return status ? status : graft_dataset_load(s->registry, o, s->chat, s->tokenizer, train, eval, report, err);
}

static graft_status show(graft_cli *c, graft_error *err)
{
    graft_session s = {.c = c};
    graft_dataset *train = NULL, *eval = NULL;
    graft_dataset_report report = {0};
    graft_dataset_options o;
    graft_status status = open_samples(&s, 3, &o, &train, &eval, &report, err);
    if (!status) status = show_samples(&s, train, o.preference, err);
    if (!status && report.bad) fprintf(c->err, "%lld bad records were skipped, first %s\n", (long long)report.bad, report.first_bad ? report.first_bad : "");
    if (!status && report.dropped) fprintf(c->err, "%lld of %lld records were dropped, first %s\n", (long long)report.dropped, (long long)report.records, report.first_drop ? report.first_drop : "");
    if (!status && report.truncated) fprintf(c->err, "%lld records are longer than cutoff_len and lost %lld tokens\n", (long long)report.truncated, (long long)report.tokens_cut);
    graft_dataset_free(train);
    graft_dataset_free(eval);
    graft_session_close(&s);
    return status;
}

/* ---- report ---------------------------------------------------------------------------------------------------------------------- */

enum { BARS = 40 };

typedef struct summary {
    graft_dataset_report r;
    int64_t samples, eval, shortest, longest, median, twice, leaks;
    double answers; /* of 100 tokens */
    int64_t bars[BARS];
    double width; /* of a bar, in tokens */
} summary;

static int by_size(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static graft_status measure(const graft_dataset *d, summary *m, graft_error *err)
{
    const int64_t n = m->samples = graft_dataset_count(d);
    int64_t *sizes = graft_calloc((size_t)n + 1, sizeof *sizes);
    if (!sizes) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for %lld samples", (long long)n);
    for (int64_t i = 0; i < n; i++) sizes[i] = graft_dataset_measure(d, i).n;
    qsort(sizes, (size_t)n, sizeof *sizes, by_size);
    m->shortest = n ? sizes[0] : 0, m->longest = n ? sizes[n - 1] : 0, m->median = n ? sizes[n / 2] : 0;
    m->width = m->longest < BARS ? 1 : (double)(m->longest + BARS) / BARS;
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = (int64_t)((double)sizes[i] / m->width);
        m->bars[at < BARS ? at : BARS - 1]++;
    }
    graft_free(sizes);
    return GRAFT_OK;
}

static void report_json(graft_cli *c, const summary *m, const char *plot)
{
    const struct {
        const char *key;
        int64_t v;
    } rows[] = {{"records", m->r.records}, {"bad", m->r.bad}, {"kept", m->r.kept}, {"dropped", m->r.dropped}, {"overlong", m->r.overlong}, {"truncated", m->r.truncated}, {"tokens_cut", m->r.tokens_cut}, {"tokens", m->r.tokens}, {"labelled", m->r.labelled}, {"samples", m->samples}, {"eval_samples", m->eval}, {"shortest", m->shortest}, {"median", m->median}, {"longest", m->longest}, {"twice", m->twice}, {"leaks", m->leaks}};
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) graft_json_put(c->arena, o, rows[i].key, graft_json_int(c->arena, rows[i].v));
    if (m->r.first_drop) graft_json_put(c->arena, o, "first_drop", graft_json_text(c->arena, m->r.first_drop, strlen(m->r.first_drop)));
    if (m->r.first_bad) graft_json_put(c->arena, o, "first_bad", graft_json_text(c->arena, m->r.first_bad, strlen(m->r.first_bad)));
    if (plot) graft_json_put(c->arena, o, "plot", graft_json_text(c->arena, plot, strlen(plot)));
    graft_cli_print_json(c, o, 2);
}

static void report_text(graft_cli *c, const summary *m, const char *plot)
{
    const graft_dataset_report *r = &m->r;
    fprintf(c->out, "records      %lld read, %lld kept, %lld dropped%s%s\n", (long long)r->records, (long long)r->kept, (long long)r->dropped, r->first_drop ? ", first " : "", r->first_drop ? r->first_drop : "");
    if (r->bad) fprintf(c->out, "bad          %lld skipped, first %s\n", (long long)r->bad, r->first_bad ? r->first_bad : "");
    fprintf(c->out, "cut          %lld records lost %lld tokens; %lld too long ones were dropped\n", (long long)r->truncated, (long long)r->tokens_cut, (long long)r->overlong);
    fprintf(c->out, "tokens       %lld, %lld of them learned (%.1f %%)\n", (long long)r->tokens, (long long)r->labelled, r->tokens ? 100.0 * (double)r->labelled / (double)r->tokens : 0.0);
    fprintf(c->out, "samples      %lld to train on, %lld to evaluate on; %lld to %lld tokens, half of them up to %lld\n", (long long)m->samples, (long long)m->eval, (long long)m->shortest, (long long)m->longest, (long long)m->median);
    fprintf(c->out, "repeated     %lld samples come more than once, %lld to evaluate on are trained on too\n", (long long)m->twice, (long long)m->leaks);
    if (plot) fprintf(c->out, "lengths      %s\n", plot);
}

static graft_status report(graft_cli *c, graft_error *err)
{
    graft_session s = {.c = c};
    graft_dataset *train = NULL, *eval = NULL;
    graft_dataset_options o;
    summary m = {0};
    const char *plot = graft_args_text(c->args, "plot"), *names = graft_args_text(c->args, "dataset");
    if (graft_args_flag(c->args, "streaming")) return graft_fail(err, GRAFT_BAD_INPUT, "streaming", "a report reads the whole set: leave streaming out");
    graft_status status = open_samples(&s, 0, &o, &train, &eval, &m.r, err);
    if (!status) status = measure(train, &m, err);
    if (!status) m.eval = eval ? graft_dataset_count(eval) : 0;
    if (!status) status = graft_session_repeats(train, eval, &m.twice, &m.leaks, err);
    if (!status && plot) status = graft_plot_bars(plot, names ? names : "samples", "tokens", "samples", m.width, m.bars, m.longest < BARS ? (size_t)m.longest + 1 : BARS, err);
    if (!status && c->json) report_json(c, &m, plot);
    if (!status && !c->json) report_text(c, &m, plot);
    if (!status && !c->json) status = graft_session_data_look(&s, &o, train, eval, err);
    graft_dataset_free(train);
    graft_dataset_free(eval);
    graft_session_close(&s);
    return status;
}

/* ---- template -------------------------------------------------------------------------------------------------------------------- */

/* Texts as they are, bos and eos by name. */
static void put_units(graft_str *out, const graft_units *u)
{
    for (size_t i = 0; i < u->n; i++) {
        if (u->item[i].kind == GRAFT_UNIT_BOS) graft_str_text(out, "{bos}");
        else if (u->item[i].kind == GRAFT_UNIT_EOS) graft_str_text(out, "{eos}");
        else graft_str_add(out, u->item[i].text, u->item[i].bytes);
    }
}

static graft_status render(graft_cli *c, const graft_template *t, const char *title, const graft_message *talk, size_t n, const char *tools, graft_error *err)
{
    static const char system[] = "You are of help.";
    const graft_template_options o = graft_session_rendering(c);
    const char *own = graft_args_text(c->args, "default_system");
    const int colour = wants_colour(c);
    graft_arena *a = graft_arena_new();
    graft_unit_turn *turns = NULL;
    size_t n_turns = 0;
    graft_str text;
    graft_str_init(&text, 0);
    graft_status status = a ? graft_template_units(t, &o, a, talk, n, own ? own : system, strlen(own ? own : system), tools, &turns, &n_turns, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    for (size_t i = 0; i < n_turns && !status; i++) {
        put_units(&text, &turns[i].prompt);
        graft_str_text(&text, colour ? "\033[32m" : "«");
        put_units(&text, &turns[i].answer);
        graft_str_text(&text, colour ? "\033[0m" : "»");
    }
    if (!status) {
        fprintf(c->out, "--- %s\n", title);
        fwrite(text.data, 1, text.bytes, c->out);
        fputc('\n', c->out);
    }
    graft_str_free(&text);
    graft_arena_free(a);
    return status;
}

static graft_status template_names(graft_cli *c, const char *dir, graft_error *err)
{
    char **names = NULL;
    size_t n = 0;
    const graft_status status = graft_dir_list(dir, &names, &n, err);
    for (size_t i = 0; i < n && !status; i++) {
        const char *end = strstr(names[i], ".json");
        if (end && !end[5]) fprintf(c->out, "%.*s\n", (int)(end - names[i]), names[i]);
    }
    graft_dir_list_free(names, n);
    return status;
}

static graft_status template(graft_cli *c, graft_error *err)
{
#define TEXT(role, s)                         \
    {                                         \
        GRAFT_MESSAGE_##role, s, sizeof s - 1 \
    }
    static const graft_message talk[] = {TEXT(USER, "Hello!"), TEXT(ASSISTANT, "Hi, what is it?"), TEXT(USER, "Name a colour."), TEXT(ASSISTANT, "Green.")};
    static const graft_message call[] = {TEXT(USER, "How warm is it in Bern?"), TEXT(FUNCTION, "[{\"name\": \"weather\", \"arguments\": {\"town\": \"Bern\"}}]"), TEXT(OBSERVATION, "{\"degrees\": 21}"), TEXT(ASSISTANT, "21 degrees.")};
    static const char tools[] = "[{\"name\": \"weather\", \"description\": \"The weather of a town.\", \"parameters\": {\"type\": \"object\", \"properties\": {\"town\": {\"type\": \"string\", \"description\": \"its name\"}}, \"required\": [\"town\"]}}]";
#undef TEXT
    const char *dir = NULL, *name = c->n_words > 1 ? c->words[1] : graft_args_text(c->args, "template"), *format = graft_args_text(c->args, "tool_format");
    graft_template *t = NULL;
    graft_status status = graft_session_template_dir(c, &dir, err);
    if (!status && !name) return template_names(c, dir, err);
    if (!status) status = graft_template_open(dir, name, &t, err);
    if (!status && format) status = graft_template_use_tools(t, format, err);
    if (!status) status = render(c, t, "a conversation", talk, 4, NULL, err);
    if (!status) status = render(c, t, "with a tool", call, 4, tools, err);
    graft_template_close(t);
    return status;
}

/* ---- cache ------------------------------------------------------------------------------------------------------------------------ */

/* The tokenised sets that are kept; clear removes one by the beginning of its key, or all. */
static graft_status cache(graft_cli *c, graft_error *err)
{
    const char *named = graft_args_text(c->args, "tokenized_path"), *which = c->n_words > 2 ? c->words[2] : NULL;
    const int clear = c->n_words > 1 && !strcmp(c->words[1], "clear");
    char *own = named ? NULL : graft_cache_folder();
    const char *folder = named ? named : own;
    graft_cache_set *sets = NULL;
    size_t n = 0, gone = 0;
    int64_t total = 0;
    graft_status s = c->n_words > 1 && !clear ? graft_fail(err, GRAFT_BAD_INPUT, NULL, "expected nothing or clear after cache, found '%s'", c->words[1]) : GRAFT_OK;
    if (!s && !folder) s = graft_fail(err, GRAFT_BAD_INPUT, NULL, "there is no cache folder: neither XDG_CACHE_HOME nor HOME is set");
    if (!s && clear && !which) s = graft_fail(err, GRAFT_BAD_INPUT, NULL, "which set: give the beginning of its key, or all");
    if (!s) s = graft_cache_sets(folder, &sets, &n, err);
    for (size_t i = 0; !s && i < n; i++) {
        const int taken = clear && (!strcmp(which, "all") || !strncmp(sets[i].key, which, strlen(which)));
        const time_t used = (time_t)(sets[i].used / 1000000000);
        struct tm day = {0};
        char when[32] = "";
        if (localtime_r(&used, &day)) strftime(when, sizeof when, "%Y-%m-%d", &day);
        if (taken) s = graft_cache_remove(folder, sets[i].key, err), gone += !s;
        if (!clear) fprintf(c->out, "%.12s  %8.1f MB  used %s  %s\n", sets[i].key, (double)sets[i].bytes / 1e6, when, sets[i].about);
        total += taken || !clear ? sets[i].bytes : 0;
    }
    if (!s && clear && !gone && strcmp(which, "all")) s = graft_fail(err, GRAFT_BAD_INPUT, NULL, "no set's key begins with '%s'; `graft data cache` lists them", which);
    if (!s) fprintf(c->out, clear ? "%zu sets are gone, %.1f MB\n" : "%zu sets, %.1f MB\n", clear ? gone : n, (double)total / 1e6);
    if (!s && !clear) fprintf(c->out, "in %s\n", folder);
    graft_free(sets);
    graft_free(own);
    return s;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    static const char *const words[] = {"list", "show", "report", "template", "cache", NULL};
    if (!c->n_words) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "expected list, show, report, template or cache after data, see `graft help data`");
    if (!strcmp(c->words[0], "list")) return list(c, err);
    if (!strcmp(c->words[0], "show")) return show(c, err);
    if (!strcmp(c->words[0], "report")) return report(c, err);
    if (!strcmp(c->words[0], "template")) return template(c, err);
    if (!strcmp(c->words[0], "cache")) return cache(c, err);
    return graft_cli_unknown_word(c, c->words[0], words, err);
}

const graft_command graft_command_data = {
    .name = "data",
    .summary = "the registered datasets, and samples as they will be learned",
    .usage = "Usage: graft data list [--dataset_dir DIR] [--json]\n"
             "       graft data show --model_name_or_path DIR --template NAME (--dataset NAME | --file FILE)\n"
             "       graft data report --model_name_or_path DIR --template NAME --dataset NAME [--plot FILE.png]\n"
             "       graft data template [NAME]\n"
             "       graft data cache [clear (KEY | all)]\n\n"
             "  graft data list\n"
             "  graft data show --model_name_or_path models/small --template chatml --dataset identity\n"
             "  graft data show lora.yaml --max_samples 10\n\n"
             "show renders samples (3, or max_samples) exactly as training sees them, cut to cutoff_len: what is learned is green on a\n"
             "terminal and stands between « and » elsewhere (--color always|never). --json prints ids, labels and text a line.\n"
             "report counts records, tokens, what was cut or dropped, repeated samples, and draws the lengths. template writes a\n"
             "conversation, and one with a tool, as the template does; without NAME it lists the templates.\n"
             "cache lists the tokenised sets that are kept for the next run (tokenized_path: in that folder) or removes them.\n",
    .positional = 1,
    .run = run,
};
