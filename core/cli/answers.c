/* core/cli/answers.c - see answers.h. */
#include "core/cli/answers.h"

#include "core/base/error.h"

static graft_status read_sampling(graft_answers *x, const graft_args *args, graft_error *err)
{
    x->how = (graft_sampling){.temperature = graft_args_real(args, "temperature"), .top_p = graft_args_real(args, "top_p"), .top_k = graft_args_int(args, "top_k"), .repetition_penalty = graft_args_real(args, "repetition_penalty"), .no_repeat_ngram_size = graft_args_int(args, "no_repeat_ngram_size"), .seed = (uint64_t)graft_args_int(args, "seed")};
    if (!graft_args_flag(args, "do_sample")) x->how.temperature = 0;
    x->max_new = graft_args_int(args, "max_new_tokens");
    if (!(x->how.temperature >= 0 && x->how.temperature <= 100)) return graft_fail(err, GRAFT_BAD_INPUT, "temperature", "expected a number from 0 (greedy) to 100, found %g", x->how.temperature);
    if (!(x->how.top_p > 0 && x->how.top_p <= 1)) return graft_fail(err, GRAFT_BAD_INPUT, "top_p", "expected a number above 0 up to 1, found %g", x->how.top_p);
    if (x->how.top_k < 0) return graft_fail(err, GRAFT_BAD_INPUT, "top_k", "expected a number from 0 (all), found %lld", (long long)x->how.top_k);
    if (!(x->how.repetition_penalty > 0 && x->how.repetition_penalty <= 100)) return graft_fail(err, GRAFT_BAD_INPUT, "repetition_penalty", "expected a number above 0, found %g", x->how.repetition_penalty);
    if (x->how.no_repeat_ngram_size < 0) return graft_fail(err, GRAFT_BAD_INPUT, "no_repeat_ngram_size", "expected a number from 0 (off), found %lld", (long long)x->how.no_repeat_ngram_size);
    if (x->max_new < 1) return graft_fail(err, GRAFT_BAD_INPUT, "max_new_tokens", "expected a number from 1, found %lld", (long long)x->max_new);
    return GRAFT_OK;
}

/* The context holds a sample as long as in training and an answer, within what the model was made for. */
static int64_t context_of(const graft_answers *x, const graft_session *s)
{
    const graft_json *made_for = graft_json_get(graft_config_object(s->model->config), "max_position_embeddings");
    const int64_t wanted = graft_args_int(s->c->args, "cutoff_len") + x->max_new;
    return made_for && made_for->integral && made_for->integer > 1 && made_for->integer < wanted ? made_for->integer : wanted;
}

graft_status graft_answers_open(graft_answers *x, graft_session *s, graft_error *err)
{
    graft_status status = graft_session_model(s, err);
    if (!status) status = graft_session_method(s, 0, err);
    if (!status) status = graft_args_finish(s->c->args, NULL, err);
    if (!status) status = graft_session_template(s, err);
    if (!status) status = read_sampling(x, s->c->args, err);
    if (!status) status = graft_session_device(s, err);
    if (status) return status;
    x->context = context_of(x, s);
    x->stops = graft_template_stops(s->chat, s->tokenizer, s->c->arena, &x->n_stops);
    const int64_t capacity[GRAFT_SYMBOLS] = {1, 1, 1, x->context};
    status = graft_session_load(s, GRAFT_FOR_GENERATE, capacity, &x->g, &x->store, err);
    return status ? status : graft_generator_new(x->g, x->store, s->model->vocab, x->context, &x->generator, err);
}

void graft_answers_close(graft_answers *x)
{
    graft_generator_free(x->generator);
    graft_store_free(x->store);
    graft_graph_free(x->g);
}
