/* core/train/optim.h - optimisers as small tables: each emits the graph of one weight's step, lists the tensors that it keeps between steps, and fills
 * the row of numbers that the step reads. update.c does the rest once for all of them: norm, clipping, rates, skipped weights; state.c saves what is listed.
 *
 *   hyper [weights, 8]   row i: the numbers of weight i in this step, made by `numbers` in double and rounded to f32
 *   state leaves         "PREFIX:WEIGHT", f32, or packed codes in i32; zero at the start
 *
 * A weight that is skipped gets the row `still`, with which its step changes nothing. */
#ifndef CORE_TRAIN_OPTIM_H
#define CORE_TRAIN_OPTIM_H

#include "core/graph/graph.h"

enum { GRAFT_OPTIM_NUMBERS = 8,
       GRAFT_OPTIM_STATES = 8 };

typedef struct graft_optim graft_optim;
typedef struct graft_store graft_store;

/* Which side of a gradient GaLore projects: proj_type, in this order. */
typedef enum graft_galore_side { GRAFT_GALORE_STD,
                                 GRAFT_GALORE_REVERSE,
                                 GRAFT_GALORE_RIGHT,
                                 GRAFT_GALORE_LEFT,
                                 GRAFT_GALORE_FULL } graft_galore_side;

/* What an update does. kind NULL: AdamW. Only betas, epsilon, weight_decay and max_grad_norm may change once the graphs are made. */
typedef struct graft_optim_options {
    double beta1, beta2, epsilon, weight_decay, max_grad_norm;
    const graft_optim *kind;
    double momentum, dampening; /* sgd, muon */
    int nesterov;
    int ns_steps;                                    /* muon: Newton-Schulz steps */
    double eps1, eps2, clip_threshold, decay_rate;   /* adafactor: of squares, of the weight's size; of the step's RMS; exponent of the step */
    int first_moment;                                /* adafactor: beta1 is given */
    int scale_parameter, relative_step, warmup_init; /* adafactor */
    int galore_rank, galore_interval;                /* galore: directions kept, and for how many steps */
    double galore_scale;
    graft_galore_side galore_side;
    const char *galore_target; /* words of module names, NULL or "all": every linear but the head */
} graft_optim_options;

/* One weight while its step is emitted. */
typedef struct graft_optim_leaf {
    graft_graph *g;
    graft_builder *b;
    const graft_optim_options *o;
    const graft_value_info *info; /* the weight in the training graph */
    graft_value w, grad, row;     /* row [1, 8]: of hyper */
} graft_optim_leaf;

struct graft_optim {
    const char *name;
    const char *states[GRAFT_OPTIM_STATES];  /* prefixes with the colon */
    void (*emit)(const graft_optim_leaf *x); /* assigns the weight and its states */
    /* t: steps of this weight, from 1; rate, decay: of this weight; factor: what clipping multiplies gradients by. */
    void (*numbers)(const graft_optim_options *o, int64_t t, double rate, double decay, double factor, double row[GRAFT_OPTIM_NUMBERS]);
    float still[GRAFT_OPTIM_NUMBERS];
    int decays_all; /* biases and norms too */
    /* Host's work before the step, while the gradients are in the store: of the weights that step, each at its step t (from 1). NULL: none. */
    graft_status (*prepare)(const graft_optim_options *o, graft_store *s, const char *const *weights, const int64_t *t, int32_t n, graft_error *err);
};

/* transformers' names of `optim` and their defaults there, and "muon"; args: "key=value, key=value" or NULL. The betas, epsilon and decay are set before.
 * An unknown name or key is an error that names the nearest. */
graft_status graft_optim_choose(graft_optim_options *o, const char *name, const char *args, graft_error *err);
const graft_optim *graft_optim_of(const graft_optim_options *o);
/* Is it a tensor that some optimiser keeps? */
int graft_optim_is_state(const char *name);

/* ---- for the files of optimisers ------------------------------------------------------------------------------------------- */
extern const graft_optim graft_optim_adamw, graft_optim_adamw_8bit, graft_optim_sgd, graft_optim_lion, graft_optim_adafactor, graft_optim_muon, graft_optim_galore;

/* A state leaf of the weight; like the weight when rank is -1. */
graft_value graft_optim_state(const graft_optim_leaf *x, const char *prefix, graft_dtype dtype, int rank, const int64_t *dims);
graft_value graft_optim_number(const graft_optim_leaf *x, int i); /* of the row, rank 0 */
graft_value graft_optim_row(const graft_optim_leaf *x);           /* [8] */
/* a * x + b * y with numbers a and b; made in x's memory where x dies. */
graft_value graft_optim_mix(graft_builder *b, graft_value x, graft_value a, graft_value y, graft_value c);
/* AdamW's step on this weight: what others do with weights that are not theirs. */
void graft_optim_emit_adamw(const graft_optim_leaf *x);

#endif
