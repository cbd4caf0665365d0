/* core/cli/session.h - what the commands around a model share: the model, its tokenizer and template, the device, the tuning methods. */
#ifndef CORE_CLI_SESSION_H
#define CORE_CLI_SESSION_H

#include "core/cli/cli.h"
#include "core/data/dataset.h"
#include "core/model/model.h"

enum { GRAFT_SESSION_METHODS = 8 };

typedef struct graft_session {
    graft_cli *c;
    graft_registry *registry;
    graft_model *model;
    graft_tokenizer *tokenizer;
    graft_template *chat; /* NULL until graft_session_template */
    graft_device device;
    graft_active_method methods[GRAFT_SESSION_METHODS]; /* several when several are named, or several adapters are loaded */
    int n_methods;
    const char *names;                                 /* of the methods: "lora" or "lora,adapter" */
    const char *adapters[GRAFT_SESSION_METHODS];       /* folder of each, or NULL: a new one */
    const char *labels[GRAFT_SESSION_METHODS];         /* what `adapter` calls it */
    double strengths[GRAFT_SESSION_METHODS];           /* how much of it acts: 0 .. */
    int pins[GRAFT_SESSION_METHODS];                   /* it changed the base when it was loaded */
    int partial;                                       /* only those that act are loaded: all at once do not go together */
    graft_active_method merged[GRAFT_SESSION_METHODS]; /* training: adapters that become part of the base */
    const char *merged_from[GRAFT_SESSION_METHODS];
    int n_merged;
} graft_session;

/* Each opens its part from the arguments, once, in this order; a zeroed session with c set is the start. */
graft_status graft_session_model(graft_session *s, graft_error *err);    /* registry, model_name_or_path, its tokenizer */
graft_status graft_session_template(graft_session *s, graft_error *err); /* template, fitted to the tokenizer; needs model or tokenizer */
graft_status graft_session_device(graft_session *s, graft_error *err);   /* backend, threads */
/* The methods of adapter_name_or_path's folders, if given; else with train those of finetuning_type. With train all folders but the last become part of
 * the base, with create_new_adapter all. (adapters.c) */
graft_status graft_session_method(graft_session *s, int train, graft_error *err);
void graft_session_close(graft_session *s);

/* How many virtual tokens the method puts before each sequence. */
graft_status graft_session_virtual(graft_session *s, int64_t *n, graft_error *err);
/* A graph for the purpose, prepared for the device, and a store that holds its weights, adapter included. */
graft_status graft_session_load(graft_session *s, graft_purpose purpose, const int64_t capacity[GRAFT_SYMBOLS], graft_graph **g, graft_store **store, graft_error *err);
/* "math=0.7, chat": how much of each loaded adapter acts from the next graph on; those not named do not act. NULL: all, whole. */
graft_status graft_session_strengths(graft_session *s, const char *list, graft_error *err);
/* Another graph over the weights that graft_session_load brought in, with the strengths of now. */
graft_status graft_session_graph(graft_session *s, graft_purpose purpose, const int64_t capacity[GRAFT_SYMBOLS], graft_store *store, graft_graph **g, graft_error *err);

/* (data.c) How the arguments have conversations rendered and records turned into samples. */
graft_template_options graft_session_rendering(graft_cli *c);
graft_dataset_options graft_session_data_options(graft_cli *c, const char *names);
void graft_session_data_report(const char *what, const graft_dataset_report *r);
/* (data_look.c) Warnings: the template writes otherwise than the model's own; prompts are most of what is learned, samples come twice or are in both sets. */
graft_status graft_session_template_look(graft_session *s, graft_error *err);
graft_status graft_session_data_look(graft_session *s, const graft_dataset_options *o, const graft_dataset *train, const graft_dataset *eval, graft_error *err);
/* Samples that are in train before, and samples of eval (or NULL) that are in train. */
graft_status graft_session_repeats(const graft_dataset *train, const graft_dataset *eval, int64_t *twice, int64_t *leaks, graft_error *err);
/* How many of 100 tokens of the first records are answers. */
graft_status graft_session_answer_share(graft_session *s, const graft_dataset_options *o, double *percent, graft_error *err);
/* What is evaluated on: nothing, one dataset, or with eval_on_each_dataset (each) several under their names. */
enum { GRAFT_SESSION_EVALS = 64 };
typedef struct graft_session_eval {
    graft_dataset *set[GRAFT_SESSION_EVALS];
    const char *name[GRAFT_SESSION_EVALS];
    int n, each;
} graft_session_eval;
/* names: a list as eval_dataset has it. o: the options of each. */
graft_status graft_session_eval_load(graft_session *s, const graft_dataset_options *o, const char *names, graft_session_eval *eval, graft_error *err);
void graft_session_eval_free(graft_session_eval *eval);
/* The datasets that the arguments name. What was dropped or cut is said. */
graft_status graft_session_data(graft_session *s, graft_dataset **train, graft_session_eval *eval, graft_error *err);

/* Folder of the chat templates. */
graft_status graft_session_template_dir(graft_cli *c, const char **dir, graft_error *err);
/* "6G", "800M", "1.5 GiB" or bytes. */
graft_status graft_parse_bytes(const char *text, int64_t *bytes, graft_error *err);
/* Lines of a file or of standard input (-), empty ones passed over. */
typedef struct graft_lines graft_lines;
graft_status graft_lines_open(graft_arena *a, const char *path, graft_lines **out, graft_error *err);
int graft_lines_next(graft_lines *l, const char **line, size_t *bytes);                                  /* 0 at the end */
graft_status graft_lines_json(graft_lines *l, graft_arena *a, const graft_json **out, graft_error *err); /* the next line as JSON; NULL at the end */
const char *graft_lines_place(const graft_lines *l, char *room, size_t bytes);                           /* "texts.jsonl:12" */
void graft_lines_close(graft_lines *l);

#endif
