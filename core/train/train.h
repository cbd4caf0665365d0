/* core/train/train.h - the training loop: batches in, updates, logs and checkpoints out. It knows a graph's purpose, never a model or method. */
#ifndef CORE_TRAIN_TRAIN_H
#define CORE_TRAIN_TRAIN_H

#include "core/data/batch.h"
#include "core/model/model.h"

typedef struct graft_train_options {
    const char *output_dir;
    double   learning_rate;              /* 5e-5 */
    double   weight_decay, adam_beta1, adam_beta2, adam_epsilon, max_grad_norm; /* 0, 0.9, 0.999, 1e-8, 1.0; norm 0: no clipping */
    double   num_train_epochs;           /* 3 */
    int64_t  max_steps;                  /* <= 0: by epochs */
    int64_t  per_device_train_batch_size, per_device_eval_batch_size, gradient_accumulation_steps; /* 8, 8, 1 */
    const char *lr_scheduler_type;       /* "linear" | "cosine" | "constant" | "constant_with_warmup" */
    double   warmup_ratio;  double warmup_steps; /* steps > 0 win; below 1: a ratio */
    int64_t  logging_steps;              /* 500 */
    int64_t  save_steps;                 /* 500 */
    const char *save_strategy;           /* "steps" | "epoch" | "no" */
    int64_t  save_total_limit;           /* 0: all */
    const char *eval_strategy; int64_t eval_steps; /* "no" | "steps" | "epoch" */
    uint64_t seed, data_seed;            /* data_seed UINT64_MAX: seed */
    int      disable_shuffling, plot_loss, overwrite_output_dir, include_num_input_tokens_seen;
    const char *resume_from_checkpoint;  /* a checkpoint folder, or "auto"/true: newest complete one in output_dir; NULL: no */
    int64_t  memory_bytes;               /* --memory: 0 = no limit */
    int      logging_first_step;
    double   train_on_inputs_share;      /* for the summary only */
} graft_train_options;

/* What the loop reports while it works. Any callback may be NULL. [control] */
typedef struct graft_train_progress {
    int64_t step, total_steps;
    double  epoch, loss, grad_norm, learning_rate, tokens_per_s, seconds;
    int64_t tokens, memory_bytes;
} graft_train_progress;
typedef struct graft_train_events {
    void *ctx;
    void (*progress)(void *ctx, const graft_train_progress *p, int logging_step); /* every update; logging_step: one that is logged */
    int  (*interrupted)(void *ctx);                                               /* non-zero: save and stop (SIGINT, SIGTERM)  */
} graft_train_events;

typedef struct graft_train_result {
    int64_t steps; double train_loss, runtime, samples_per_s, steps_per_s; int64_t tokens; int interrupted;
    char    plot[1024];   /* path of training_loss.png, or "" */
    char    checkpoint[1024]; /* last checkpoint written, or "" */
} graft_train_result;

typedef struct graft_train_job {
    const graft_model         *model;
    graft_active_method       *methods; int n_methods;
    const graft_device        *device;
    const graft_tokenizer     *tokenizer;
    const graft_dataset       *train, *eval;          /* eval may be NULL */
    const char                *adapter;               /* adapter folder that the last method starts from, or NULL */
    const graft_train_options *options;
    const graft_train_events  *events;
    const graft_json          *arguments;             /* as given, kept beside the outputs (training_args.json) */
} graft_train_job;

graft_status graft_train(const graft_train_job *job, graft_train_result *out, graft_error *err);

/* The same memory promise that the loop allocates: for `graft plan`. */
typedef struct graft_memory { int64_t weights, gradients, optimiser, activations, workspace, total; int recompute_level; int32_t recompute_layers; } graft_memory;
graft_status graft_train_plan(const graft_train_job *job, graft_memory *out, graft_error *err);

#endif
