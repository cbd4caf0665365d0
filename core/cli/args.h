/* core/cli/args.h - the arguments: one table of every key, and the parser for a YAML file, key=value words and --flags in any mix.
 *
 * Keys are LLaMA-Factory's (all of them, so that its files run unchanged) and graft's own. Later wins: file, then the words of the command line in order.
 * A key that the table does not know may belong to a plugin (a method's own setting): it is kept, and graft_args_finish refuses it when nobody has read it. */
#ifndef CORE_CLI_ARGS_H
#define CORE_CLI_ARGS_H

#include "core/base/config.h"
#include "core/base/log.h"
#include "core/plugin/registry.h"

typedef enum graft_arg_type { GRAFT_ARG_TEXT,
                              GRAFT_ARG_LIST,
                              GRAFT_ARG_INT,
                              GRAFT_ARG_REAL,
                              GRAFT_ARG_FLAG,
                              GRAFT_ARG_ANY } graft_arg_type;

typedef enum graft_arg_status {
    GRAFT_ARG_ACTS,    /* acted on                                                                                  */
    GRAFT_ARG_METHOD,  /* acted on by the tuning method that reads it                                                 */
    GRAFT_ARG_SAME,    /* accepted: it cannot change the result here; note says why                                  */
    GRAFT_ARG_LATER,   /* not acted on, beside the results (uploads, trackers): another value than the default is named in one warning line */
    GRAFT_ARG_REFUSED, /* a value other than the default would change the result and is an error; note: the alternative */
    GRAFT_ARG_ALIAS    /* another spelling of the key in note                                                        */
} graft_arg_status;

typedef struct graft_arg {
    const char *name;
    graft_arg_type type;
    const char *fallback; /* the default in YAML's spelling; NULL: none            */
    const char *choices;  /* "a|b|c" or NULL                                        */
    graft_arg_status status;
    const char *help; /* a phrase */
    const char *note; /* see status; may be NULL for ACTS and METHOD                        */
} graft_arg;

typedef struct graft_arg_group {
    const char *name;
    const graft_arg *args;
    size_t n;
} graft_arg_group;

const graft_arg_group *graft_arg_groups(size_t *n); /* model, data, training, tuning, generation, graft's own */
const graft_arg *graft_arg_find(const char *name);  /* NULL when unknown; aliases are found as themselves */

typedef struct graft_args graft_args;

/* words: what follows the command. With positional, words that are neither --flags nor key=value are left to the command (graft_args_words); otherwise the
 * first may be a .yaml file and others are errors. Memory is the arena's. */
graft_status graft_args_parse(graft_arena *a, int n, char *const *words, int positional, graft_args **out, graft_error *err);
const char *const *graft_args_words(const graft_args *x, size_t *n);

/* The mapping that a YAML text and key=value words make, before types: for tests and for graft_args_parse itself. */
graft_status graft_args_mapping(graft_arena *a, const char *name, const char *yaml, size_t bytes, int n, const char *const *words, graft_json **out, graft_error *err);

/* Values as given, else the table's default. The key must be in the table. NULL and 0 stand for null. A LIST reads as "a,b". */
const char *graft_args_text(const graft_args *x, const char *key);
int64_t graft_args_int(const graft_args *x, const char *key);
double graft_args_real(const graft_args *x, const char *key);
int graft_args_flag(const graft_args *x, const char *key);
const graft_json *graft_args_value(const graft_args *x, const char *key); /* as given, NULL when not */
int graft_args_given(const graft_args *x, const char *key);               /* given and not null     */

/* Every key given, converted to its type. */
const graft_json *graft_args_object(const graft_args *x);
/* The same for a plugin to read; remembers what was read. */
const graft_config *graft_args_config(const graft_args *x);

/* After the plugins have read their keys: unknown keys that nobody read are an error with the nearest known one; keys that nothing acts on are named in one
 * warning (log). method: the tuning method's name for that sentence, NULL when the command has none (its keys are then left alone). */
graft_status graft_args_finish(const graft_args *x, const char *method, graft_error *err);

/* Keys of a training run that exclude or need each other, and a stage that is none here: one sentence. registry: its methods' entries have a say; NULL: none.
 * without_data: a plan may do without. (args_rules.c) */
graft_status graft_args_check(const graft_args *x, const graft_registry *registry, int without_data, graft_error *err);
/* Environment variables of LLaMA-Factory and ms-swift: those that ask for what a run here does not do are named; how much is said. */
void graft_env_say(void);
graft_log_level graft_env_verbosity(void);

/* err says that a key is missing or wrong: when an unknown key is nearest to it, err says that instead. */
void graft_args_mistyped(const graft_args *x, graft_error *err);
/* Fails: "unknown key 'lerning_rate', did you mean 'learning_rate'?" */
graft_status graft_args_unknown(const char *place, const char *key, graft_error *err);

/* docs/compat.md: every LLaMA-Factory key and what becomes of it. */
void graft_args_compat(graft_str *out);

#endif
