/* tests/golden/golden.h - the program that compares this build with stored results of the reference implementations.
 *
 *     build/tests/golden [--backend NAME] [--data FOLDER] [--model NAME=PATH] PATH...
 *
 * A PATH is a folder or file of one of the layouts below, or a folder that holds such. One line a quantity: its largest deviation and tolerance.
 *     arch/NAME      config.json, weights, expect.safetensors     a model: logits, loss, gradients, five steps, greedy continuation
 *     compute        autocast.json                                products in bf16 and fp16 on the models of ../arch: errors against those of torch's autocast
 *     methods/NAME   adapter files, expect.json with "base"       a tuning method on a base model
 *     smollm2        expect.json, training.json                   a real model (--model smollm2.gguf=FILE)
 *     trajectory/RUN train.yaml, steps.jsonl                      a whole training run (--model NAME=FOLDER of the yaml)
 *     gguf           TYPE.gguf, expect.safetensors                values of quantised tensors
 *     optim, sampling, tokenizer ...                              the functions of that name
 *     samples        CASE.jsonl, infer_seqlen.json, rng.json ...  the data pipeline and its functions (--data FOLDER: where tokenizers/ and datasets/ lie)
 *     args           parse.jsonl, arguments.json, rules.json      the command line's arguments
 *     template       _index.json, NAME.json, legacy/NAME.json     chat templates
 */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include "core/graph/run.h"
#include "core/model/generate.h"
#include "core/model/model.h"

/* ---- report.c: what was compared --------------------------------------------------------------------------------------- */
void golden_case(const char *name);                                          /* the next lines are about this */
void golden_check(const char *quantity, double deviation, double tolerance); /* keeps the largest of a quantity; NaN fails */
void golden_equal(const char *quantity, int equal);                          /* exact */
void golden_fail(const char *quantity, const char *fmt, ...) GRAFT_PRINTF(2, 3);
void golden_skip(const char *fmt, ...) GRAFT_PRINTF(1, 2);
void golden_error(const char *quantity, const graft_error *err);       /* a call failed */
void golden_flush(void);                                               /* prints the case */
int golden_summary(void);                                              /* prints totals; exit status */
double golden_max_abs(const float *got, const float *want, int64_t n); /* infinity when a value is NaN on one side only */

/* ---- session.c: what every case needs ------------------------------------------------------------------------------------ */
typedef struct golden_session {
    graft_registry *registry;
    graft_device device;
    const char *model_name[16], *model_path[16];
    int n_models;
    const char *data; /* --data: the datasets of trajectories, the root of the paths in samples; or NULL */
    const char *work; /* a folder for files */
} golden_session;
int golden_spawn(const char *const argv[]);                               /* runs a program, no shell; its wait status */
const char *golden_model_path(const golden_session *s, const char *name); /* NULL when not given and not found */

/* A tensor of an expect.safetensors. */
const graft_weight_info *golden_tensor(const graft_weights *w, const char *fmt, ...) GRAFT_PRINTF(2, 3);
double golden_f64(const graft_weight_info *t, int64_t i); /* F64, F32 or I32 */
int64_t golden_count(const graft_weight_info *t);         /* elements */

/* The stored results of a case: its tensors and the flat batch. 0 after a failure was reported. */
typedef struct golden_expected {
    graft_weights *w;
    const graft_weight_info *ids, *labels, *borders;
} golden_expected;
int golden_open_expected(const char *path, golden_expected *x);

/* A model with a method, ready to run: graphs compiled, weights loaded. */
typedef struct golden_model {
    graft_arena *arena;
    graft_model *model;
    graft_active_method methods[4];
    int n_methods;
    graft_graph *train, *forward, *generate;
    graft_store *store;
    graft_exec *train_exec, *forward_exec;
    int64_t capacity[GRAFT_SYMBOLS];
} golden_model;

/* method NULL: none (weights stay). args: JSON text of the method's arguments or NULL; adapter: folder or NULL; a name that begins with '=' names the
 * method that owns the adapter of this folder, but a new one is made with args. */
graft_status golden_open(golden_session *s, const char *path, const char *method, const char *args, const char *adapter, int64_t tokens, golden_model *m, graft_error *err);
void golden_close(golden_model *m);

/* Sequences end to end, the loss averaged over labelled tokens. */
typedef struct golden_batch {
    int32_t *ids, *positions, *borders, *rows, *labels, *real;
    float *weight;
    int64_t tokens, sequences, labelled, n_real;
} golden_batch;
/* virtual_tokens: rows -1, -2 .. that stand before each sequence (graft_graph_virtual_tokens); `real` are the rows of tokens. */
graft_status golden_batch_new(graft_arena *a, const int32_t *ids, const int32_t *labels, const int32_t *cu_seqlens, int64_t sequences, int64_t virtual_tokens, golden_batch *b, graft_error *err);
graft_status golden_loss(golden_model *m, const golden_batch *b, double *loss, graft_error *err);    /* forward and backward; gradients add up in grad:* */
graft_status golden_logits(golden_model *m, const golden_batch *b, float *logits, graft_error *err); /* of every row */
graft_status golden_clear_gradients(golden_model *m, graft_error *err);
graft_status golden_batch_of(golden_model *m, const golden_expected *x, golden_batch *b, graft_error *err);

/* AdamW on the host, step t counted from 1; every trainable leaf decays. *norm: gradients' L2 norm. */
typedef struct golden_adamw {
    double lr, beta1, beta2, eps, decay;
    float **m, **v;
} golden_adamw;
graft_status golden_step(golden_model *m, golden_adamw *o, int64_t t, double *norm, graft_error *err);

/* ---- compare.c: what models and methods have in common. prefix: of the stored names, before the graph's. ------------------------- */
graft_status golden_compare_logits(golden_model *m, const golden_expected *x, const golden_batch *b, graft_error *err);
graft_status golden_compare_loss(golden_model *m, const golden_expected *x, const golden_batch *b, graft_error *err); /* leaves the gradients */
void golden_compare_gradients(golden_model *m, const golden_expected *x, const char *prefix);
double golden_gradient_error(golden_model *m, const golden_expected *x); /* norm of the difference from the stored ones over theirs, all tensors together */
graft_status golden_compare_steps(golden_model *m, const golden_expected *x, const golden_batch *b, graft_error *err);
/* Tensors stored as "<kind>.<prefix>NAME" against the store's NAME. */
void golden_compare_tensors(golden_model *m, const golden_expected *x, const char *kind, const char *prefix, double tolerance);

/* ---- one file a layout: 1 when PATH is of the layout (and was run) ------------------------------------------------------------ */
int golden_arch(golden_session *s, const char *path);
int golden_compute(golden_session *s, const char *path);
int golden_method(golden_session *s, const char *path);
int golden_smollm2(golden_session *s, const char *path);
int golden_trajectory(golden_session *s, const char *path);
int golden_gguf(golden_session *s, const char *path);
int golden_optim(golden_session *s, const char *path);     /* optimizers, clipping */
int golden_functions(golden_session *s, const char *path); /* schedules, sampling, tokenizer ... */
int golden_data(golden_session *s, const char *path);      /* samples, template; one file of them: */
int golden_args(golden_session *s, const char *path);      /* args: a folder of its files, or one of them */
int golden_samples(golden_session *s, const char *file);
int golden_template_file(const char *file);

#endif
