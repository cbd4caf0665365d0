/* core/train/train.h - the training loop: batches in, updates, logs and checkpoints out. It knows a graph's purpose, never a model or method.
 *
 *   graft_train_plan  what it will take, before anything is allocated (plan.c)
 *   graft_train       plan -> weights -> [micro-batches -> update -> log, evaluate, save]* -> final files (train.c, update.c, journal.c, checkpoint.c, finish.c) */
#ifndef CORE_TRAIN_TRAIN_H
#define CORE_TRAIN_TRAIN_H

#include "core/data/batch.h"
#include "core/model/model.h"
#include "core/train/optim.h"

/* Beside the model or tokenizer of a run with several methods: {"adapters": ["lora", "adapter"]}, the folders inside that hold what they trained. */
#define GRAFT_ADAPTERS_INDEX "adapters.json"

typedef struct graft_train_options {
    const char *output_dir;
    double learning_rate;                                                                         /* 5e-5 */
    graft_optim_options optim;                                                                    /* betas 0.9 and 0.999, epsilon 1e-8, decay 0, norm 1.0; norm 0: no clipping */
    double neftune_noise_alpha;                                                                   /* 0: no noise on embeddings (neftune.h) */
    double num_train_epochs;                                                                      /* 3 */
    int64_t max_steps;                                                                            /* <= 0: by epochs */
    int64_t per_device_train_batch_size, per_device_eval_batch_size, gradient_accumulation_steps; /* 8, 8, 1 */
    const char *lr_scheduler_type;                                                                /* schedule.h */
    const graft_json *lr_scheduler_kwargs;                                                        /* NULL: none */
    double warmup_ratio, warmup_steps;                                                            /* steps > 0 win; below 1: a ratio */
    double logging_steps;                                                                         /* 500; this and the next two: below 1 a share of all steps */
    double save_steps;                                                                            /* 500 */
    double eval_steps;                                                                            /* 0: as logging_steps */
    const char *save_strategy;                                                                    /* "steps" | "epoch" | "best" | "no"; NULL: "no" */
    const char *eval_strategy;                                                                    /* "steps" | "epoch" | "no" */
    int64_t save_total_limit;                                                                     /* 0: all */
    uint64_t seed, data_seed;                                                                     /* data_seed UINT64_MAX: seed */
    int disable_shuffling, plot_loss, overwrite_output_dir, include_num_input_tokens_seen, logging_first_step;
    int do_eval;                            /* evaluate at the end; implied by eval_strategy */
    int eval_on_start;                      /* and before the first update */
    double eval_delay;                      /* no evaluation before so many updates, or epochs with eval_strategy epoch */
    const char *logging_strategy;           /* "steps" | "epoch" | "no"; NULL: "steps" */
    int load_best_model_at_end;             /* the weights of the best evaluation are those of the end */
    const char *metric_for_best_model;      /* "loss", or NAME_loss of one of several sets; NULL: loss where a best one is asked for */
    int greater_is_better;
    int64_t early_stopping_steps;           /* so many evaluations in a row that were not better end the run; 0: never */
    int include_effective_tokens;           /* train_results.json holds the samples' tokens per second */
    int save_only_model;                    /* checkpoints that cannot be gone on with; one of an interrupted run always can */
    int no_recompute;                       /* never trade time for memory */
    const char *resume_from_checkpoint;     /* a checkpoint folder, or "auto"/"true": newest complete one in output_dir; NULL: that too if there is one, unless overwrite_output_dir */
    int64_t memory_bytes;                   /* --memory: 0 = what the device has free */
    int64_t cutoff_len;                     /* for a plan without data: tokens of a sample */
    const char *base_name;                  /* model_name_or_path as given, for adapter_config.json and README.md */
    const char *dataset_name, *method_name; /* for README.md; may be NULL */
} graft_train_options;

/* What the loop reports while it works. Any callback may be NULL. [control] */
typedef struct graft_train_progress {
    int64_t step, total_steps;
    double epoch, loss, grad_norm, learning_rate, tokens_per_s, seconds; /* loss: mean since the last logging step when logging_step, else of this update */
    double remaining_seconds;
    int64_t tokens, memory_bytes;
    double eval_loss; /* NaN unless an evaluation has just ended */
} graft_train_progress;
typedef struct graft_train_events {
    void *ctx;
    void (*progress)(void *ctx, const graft_train_progress *p, int logging_step); /* every update; logging_step: one that is logged */
    int (*interrupted)(void *ctx);                                                /* non-zero: save and stop (SIGINT, SIGTERM)  */
} graft_train_events;

typedef struct graft_train_result {
    int64_t steps, total_steps, resumed_from;                          /* resumed_from: 0 when it began anew */
    double train_loss, eval_loss, runtime, samples_per_s, steps_per_s; /* eval_loss NaN: none */
    double save_seconds, save_waited; /* writing checkpoints, and how long of it training stood still before its last update */
    double effective_tokens_per_s; /* include_effective_tokens: tokens of all samples, passes and the runtime; else 0 */
    int64_t tokens;
    int interrupted;
    char plot[4096];       /* path of training_loss.png, or "" */
    char checkpoint[4096]; /* last checkpoint written, or "" */
} graft_train_result;

typedef struct graft_train_job {
    const graft_model *model;
    graft_active_method *methods;
    int n_methods;
    const graft_device *device;
    const graft_tokenizer *tokenizer;
    const graft_dataset *train, *eval; /* eval may be NULL; for a plan train may be NULL too */
    const graft_dataset *const *eval_sets; /* [n_eval_sets] evaluated each by itself, as eval_NAME_loss; eval is then the first */
    const char *const *eval_names;
    int n_eval_sets; /* 0: eval alone */
    const char *const *adapters;       /* [n_methods] folder that each method starts from, NULL: a new one; NULL: all new */
    const graft_train_options *options;
    const graft_train_events *events;
    const graft_json *arguments; /* as given, kept beside the outputs (training_args.json) */
} graft_train_job;

graft_status graft_train(const graft_train_job *job, graft_train_result *out, graft_error *err);

/* The same memory promise that the loop allocates: for `graft plan`. Bytes.
 *
 * A micro-batch may be computed in several runs whose gradients add up, which is exact: a token's loss is weighted by the labels of the whole update.
 * Memory then follows from a run, not from the batch. Runs are as large as run_tokens, where larger ones gain little: 512 tokens cost about 5 % against 2,048. */
enum { GRAFT_TRAIN_BLOCKS = 4096 };
typedef struct graft_memory {
    int64_t host; /* what the process holds beside the device's buffers: program, tokenizer, samples, graphs */
    int64_t process; /* of it, without the graphs: measured before the first graph is made, 0 from then on and where the device has memory of its own */
    int64_t weights, gradients, optimiser, activations, workspace, total;
    int64_t run_tokens;                  /* a run takes whole samples while they are together at most so many tokens, at least one; 0: whole micro-batches */
    int64_t tokens, sequences, labelled; /* capacities of a run */
    int64_t parameters, trainable;       /* numbers of elements */
    int64_t total_steps, updates_per_epoch;
    int inside;                            /* each weight is updated as soon as its gradient is there: graft_update_inside */
    double flops;                          /* of one run at capacity */
    uint8_t recompute[GRAFT_TRAIN_BLOCKS]; /* level of each block: graft_graph_recompute_blocks */
    int recompute_level;                   /* the highest of them */
    int32_t recompute_layers, layers;      /* blocks with level 2 or 3; blocks */
} graft_memory;
/* Host memory is part of the total where the device's memory is the host's. */
graft_status graft_train_plan(const graft_train_job *job, graft_memory *out, graft_error *err);

/* run_tokens of a device: 512 on processors, where larger runs are not faster; 0 on accelerators. */
int64_t graft_train_run_tokens(const graft_device *d);

/* "1.25 GiB", "380 MiB": for people. Returns out. */
const char *graft_bytes_text(int64_t bytes, char out[32]);

#endif
