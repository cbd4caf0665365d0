/* core/cli/answers.h - a model made ready to answer: weights, adapters, template, and how tokens are drawn, all as the arguments say. */
#ifndef CORE_CLI_ANSWERS_H
#define CORE_CLI_ANSWERS_H

#include "core/cli/session.h"
#include "core/model/generate.h"

typedef struct graft_answers {
    graft_graph *g;
    graft_store *store;
    graft_generator *generator;
    graft_sampling how;
    int64_t context, max_new; /* tokens that fit, tokens of an answer at most */
    const int32_t *stops;
    size_t n_stops;
} graft_answers;

/* Opens all of s (zeroed but for s->c), then the model for generation. */
graft_status graft_answers_open(graft_answers *x, graft_session *s, graft_error *err);
void graft_answers_close(graft_answers *x);

#endif
