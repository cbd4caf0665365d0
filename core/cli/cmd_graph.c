/* core/cli/cmd_graph.c - graft graph: the graph of a model with its tuning method, one node a line. */
#include "core/cli/session.h"
#include "core/model/hold.h"

#include <string.h>

static graft_purpose purpose_of(const char *word)
{
    return !strcmp(word, "loss") ? GRAFT_FOR_LOSS : !strcmp(word, "generate") ? GRAFT_FOR_GENERATE
                                                : !strcmp(word, "forward")    ? GRAFT_FOR_FORWARD
                                                                              : GRAFT_FOR_TRAIN;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    graft_session s = {.c = c};
    graft_graph *g = NULL;
    graft_str text;
    graft_str_init(&text, 0);
    const graft_purpose purpose = purpose_of(graft_args_text(c->args, "purpose"));
    graft_status status = graft_session_model(&s, err);
    if (!status) status = graft_session_method(&s, purpose == GRAFT_FOR_TRAIN, err);
    if (!status) status = graft_model_graph(s.model, s.methods, s.n_methods, purpose, &g, err);
    if (!status) status = graft_args_finish(c->args, s.n_methods ? s.names : NULL, err);
    if (!status && graft_args_given(c->args, "backend")) { /* as this backend will run it */
        status = graft_session_device(&s, err);
        if (!status) status = graft_graph_prepare(g, &s.device, 0, 0, err);
        if (!status) status = graft_model_hold(s.model, &g, 1, NULL, &s.device, err);
    }
    if (!status) {
        graft_graph_text(g, &text);
        fwrite(text.data, 1, text.bytes, c->out);
    }
    graft_str_free(&text);
    graft_graph_free(g);
    graft_session_close(&s);
    return status;
}

const graft_command graft_command_graph = {
    .name = "graph",
    .summary = "the graph that is computed, as text",
    .usage = "Usage: graft graph [FILE.yaml] [key=value ...] [--key value ...]\n\n"
             "  graft graph --model_name_or_path models/small --finetuning_type full\n"
             "  graft graph lora.yaml --purpose generate\n"
             "  graft graph lora.yaml --backend reference\n\n"
             "purpose: train (with gradients), loss, generate (with a key/value cache) or forward.\n"
             "With backend the graph is shown as that backend runs it: lowered, fused and pruned.\n"
             "The text is the same on every machine.\n",
    .run = run,
};
