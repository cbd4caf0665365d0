/* core/cli/cli.h - the frame of the commands: one graft_command a file cmd_NAME.c, listed in commands.c; main.c finds it, parses its words and runs it.
 *
 * A command returns a status; main prints the error as one sentence on stderr and turns the status into the exit status:
 * 0 done, 1 the user's error (also I/O, memory, device), 2 internal, 130 interrupted but saved (GRAFT_CANCELLED).
 * Only this room prints. Reports go to c->out, everything else to c->err. */
#ifndef CORE_CLI_CLI_H
#define CORE_CLI_CLI_H

#include "core/cli/args.h"
#include "core/plugin/registry.h"

#include <stdio.h>

typedef struct graft_cli {
    const struct graft_command *command;
    graft_arena *arena;       /* lives as long as the command                                                       */
    graft_args *args;         /* keys and flags; --json, --registry, --dataset_dir are among them                       */
    char *const *all; /* [n_all] the words as graft_args_parse got them */
    int n_all;
    const char *const *words; /* of a positional command: `graft plugin show x` has "show", "x"                      */
    size_t n_words;
    int json; /* --json: the report is one JSON document (or one a line) on c->out                  */
    FILE *out, *err;
    const char *run_dir; /* ms-swift's version folder of the run, else NULL */
    int terminal;             /* err is a terminal: progress bars and colours                                        */
    graft_registry *registry; /* NULL until graft_cli_registry                                                      */
} graft_cli;

typedef struct graft_command {
    const char *name;
    const char *summary;                                                                  /* a phrase for `graft help` */
    const char *usage;                                                                    /* the rest of `graft help NAME`: one screen, with an example */
    int positional;                                                                       /* takes words, not a YAML file */
    graft_status (*prepare)(graft_cli *c, int *n, char *const **words, graft_error *err); /* or NULL: the words in another spelling become graft's (arena) */
    graft_status (*run)(graft_cli *c, graft_error *err);
} graft_command;

/* The registry with all its layers, opened at first use and closed by main. */
graft_status graft_cli_registry(graft_cli *c, graft_registry **out, graft_error *err);

/* v on one line (indent 0) or indented, and a newline. */
void graft_cli_print_json(graft_cli *c, const graft_json *v, int indent);

/* "did you mean" for a command's own words: fails with "graft plugin: unknown word 'lst', did you mean 'list'?". options ends with NULL. */
graft_status graft_cli_unknown_word(const graft_cli *c, const char *word, const char *const *options, graft_error *err);

/* Set by SIGINT and SIGTERM once graft_cli_catch_signals was called. */
void graft_cli_catch_signals(void);
int graft_cli_interrupted(void *unused);

const graft_command *const *graft_commands(size_t *n);
const graft_command *graft_command_find(const char *name);

/* All of main but the process: n words after the program's name. Returns the exit status. */
int graft_cli_main(int n, char *const *words, FILE *out, FILE *err);

extern const graft_command graft_command_train, graft_command_chat, graft_command_export, graft_command_score, graft_command_tokenize, graft_command_plan,
    graft_command_graph, graft_command_data, graft_command_plugin, graft_command_doctor, graft_command_selftest, graft_command_bench, graft_command_pull, graft_command_help, graft_command_sft, graft_command_pt, graft_command_infer, graft_command_deploy;

#endif
