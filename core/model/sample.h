/* core/model/sample.h - the next token from logits: penalties, temperature, top-k, top-p and their like (transformers' order and rules), greedy at temperature 0. */
#ifndef CORE_MODEL_SAMPLE_H
#define CORE_MODEL_SAMPLE_H

#include "graft/base.h"

typedef struct graft_sampling {
    double  temperature;         /* 0: greedy */
    double  top_p;               /* 1: off */
    int64_t top_k;               /* 0: off */
    double  repetition_penalty;  /* 1: off */
    uint64_t seed;
    int64_t no_repeat_ngram_size;                    /* 0: off */
    double  presence_penalty, frequency_penalty;     /* OpenAI's rule over the history; 0: off */
    double  min_p;                                   /* 0: off */
    double  typical_p;                               /* 0 or 1: off */
} graft_sampling;

/* logits [vocab] are changed: processed logits, -inf where forbidden. scratch: at least vocab int32. */
void    graft_sample_process(const graft_sampling *s, float *logits, int64_t vocab, const int32_t *history, int64_t n_history, int32_t *scratch);
/* Can it change what is picked? */
int     graft_sample_processes(const graft_sampling *s);
/* Greedy (first of equal), or drawn with the counter-based generator at draw number `draw`. */
int32_t graft_sample_pick(const graft_sampling *s, const float *processed, int64_t vocab, uint64_t draw);

#endif
