/* core/model/generate.h - continuation of a prompt with a key/value cache. */
#ifndef CORE_MODEL_GENERATE_H
#define CORE_MODEL_GENERATE_H

#include "core/model/model.h"
#include "core/model/sample.h"

typedef struct graft_generator graft_generator;
/* Compiles the graph (purpose GENERATE) for contexts up to max_tokens, one sequence. The store must hold its leaves: add, commit and load before. */
graft_status graft_generator_new(const graft_graph *g, graft_store *s, int64_t vocab, int64_t max_tokens, graft_generator **out, graft_error *err);
void         graft_generator_free(graft_generator *x);
/* Forgets all tokens. */
void         graft_generator_reset(graft_generator *x);
/* Feeds ids after what is cached and gives the logits [vocab] of the last one (valid until the next call). */
graft_status graft_generator_feed(graft_generator *x, const int32_t *ids, int64_t n, const float **logits, graft_error *err);
/* Feeds the prompt and picks up to max_new tokens; on_token returns 0 to go on. Ends at a stop id (not reported) or the context's end. */
graft_status graft_generator_run(graft_generator *x, const int32_t *prompt, int64_t n, const graft_sampling *how, int64_t max_new, const int32_t *stops, size_t n_stops,
                                 int (*on_token)(void *ctx, int32_t id), void *ctx, graft_error *err);

#endif
