/* core/cli/cli.c - dispatch: finds the command, parses its words, runs it, says what went wrong, gives the exit status. */
#include "core/cli/cli.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/log.h"
#include "core/plugin/load.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static const graft_command *const commands[] = {
    &graft_command_train, &graft_command_chat, &graft_command_export, &graft_command_score, &graft_command_plan, &graft_command_graph,
    &graft_command_tokenize, &graft_command_data, &graft_command_pull, &graft_command_plugin, &graft_command_doctor, &graft_command_selftest, &graft_command_bench, &graft_command_help, &graft_command_sft, &graft_command_pt, &graft_command_infer, &graft_command_deploy};

const graft_command *const *graft_commands(size_t *n)
{
    *n = sizeof commands / sizeof *commands;
    return commands;
}

const graft_command *graft_command_find(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(commands[i]->name, name)) return commands[i];
    return NULL;
}

static void say(void *ctx, graft_log_level level, const char *sentence)
{
    const graft_cli *c = ctx;
    const char *label = level == GRAFT_LOG_WARNING ? "warning: " : level == GRAFT_LOG_ERROR ? "error: "
                                                                                            : "";
    fprintf(c->err, "%s%s\n", label, sentence);
    fflush(c->err);
}

static int report(FILE *to, const char *command, const graft_error *e)
{
    char text[1200];
    fprintf(to, "graft%s%s: %s\n", command ? " " : "", command ? command : "", graft_error_text(e, text, sizeof text));
    switch (e->code) {
    case GRAFT_CANCELLED: return 130;
    case GRAFT_INTERNAL: return 2;
    default: return 1;
    }
}

static graft_status find_command(const char *word, const graft_command **out, graft_error *err)
{
    *out = graft_command_find(word);
    if (*out) return GRAFT_OK;
    const char *names[sizeof commands / sizeof *commands];
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) names[i] = commands[i]->name;
    const char *near = graft_nearest(word, names, sizeof names / sizeof *names);
    if (near) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "unknown command '%s', did you mean '%s'?", word, near);
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "unknown command '%s', expected one of those that `graft help` lists", word);
}

static graft_status run(graft_cli *c, int n, char *const *words, graft_error *err)
{
    graft_status s = c->command->prepare ? c->command->prepare(c, &n, &words, err) : GRAFT_OK;
    c->all = words, c->n_all = n;
    if (!s) s = graft_args_parse(c->arena, n, words, c->command->positional, &c->args, err);
    if (s) return s;
    c->words = graft_args_words(c->args, &c->n_words);
    c->json = graft_args_flag(c->args, "json");
    s = c->command->run(c, err);
    if (s == GRAFT_BAD_INPUT) graft_args_mistyped(c->args, err);
    return s;
}

int graft_cli_main(int n, char *const *words, FILE *out, FILE *err)
{
    graft_error e = GRAFT_ERROR_INIT;
    graft_cli c = {.out = out, .err = err, .terminal = isatty(fileno(err)) == 1};
    const char *word = n > 0 ? words[0] : "help";
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) word = "help";
    if (!strcmp(word, "--version") || !strcmp(word, "version")) return fputs("graft " GRAFT_VERSION "\n", out) < 0;
    if (find_command(word, &c.command, &e)) return report(err, NULL, &e);
    char *const ask[] = {NULL, (char *)(uintptr_t)c.command->name};
    for (int i = 1; i < n; i++) /* graft NAME --help is graft help NAME */
        if (!strcmp(words[i], "--help") || !strcmp(words[i], "-h")) {
            c.command = &graft_command_help;
            words = ask;
            n = 2;
        }
    c.arena = graft_arena_new();
    if (!c.arena) return graft_fail(&e, GRAFT_NO_MEMORY, NULL, "out of memory"), report(err, NULL, &e);
    graft_log_to(say, &c, graft_env_verbosity());
    int status = run(&c, n > 0 ? n - 1 : 0, words + 1, &e) ? report(err, c.command->name, &e) : 0;
    if (fflush(out) || ferror(out)) {
        graft_fail(&e, GRAFT_IO, NULL, "the output could not be written");
        status = status ? status : report(err, c.command->name, &e);
    }
    graft_registry_close(c.registry);
    graft_plugin_unload_all();
    graft_log_to(NULL, NULL, GRAFT_LOG_ERROR);
    graft_arena_free(c.arena);
    return status;
}

graft_status graft_cli_registry(graft_cli *c, graft_registry **out, graft_error *err)
{
    *out = NULL;
    if (!c->registry) {
        const char *dir = graft_args_text(c->args, "dataset_dir");
        if (!graft_args_given(c->args, "dataset_dir") && !graft_path_exists("data/dataset_info.json")) dir = NULL; /* the default folder is optional */
        const graft_registry_options o = {.extra = graft_args_text(c->args, "registry"), .dataset_dir = dir};
        const graft_status s = graft_registry_open(&o, &c->registry, err);
        if (s) return s;
    }
    *out = c->registry;
    return GRAFT_OK;
}

void graft_cli_print_json(graft_cli *c, const graft_json *v, int indent)
{
    graft_str text;
    graft_str_init(&text, 0);
    graft_json_write(&text, v, indent, 0);
    fwrite(text.data, 1, text.bytes, c->out);
    fputc('\n', c->out);
    graft_str_free(&text);
}

graft_status graft_cli_unknown_word(const graft_cli *c, const char *word, const char *const *options, graft_error *err)
{
    size_t n = 0;
    while (options[n]) n++;
    const char *near = graft_nearest(word, options, n);
    if (near) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "unknown word '%s', did you mean '%s'?", word, near);
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "unknown word '%s', see `graft help %s`", word, c->command->name);
}

static volatile sig_atomic_t interrupted;
static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

void graft_cli_catch_signals(void)
{
    struct sigaction action = {.sa_flags = SA_RESTART | (int)SA_RESETHAND}; /* a second signal ends the program at once */
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int graft_cli_interrupted(void *unused)
{
    (void)unused;
    return interrupted;
}
