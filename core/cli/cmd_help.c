/* core/cli/cmd_help.c - graft help [COMMAND | KEY]: what there is, one screen a command, one paragraph a key. */
#include "core/base/error.h"
#include "core/cli/cli.h"

#include <string.h>

static void overview(graft_cli *c)
{
    size_t n;
    const graft_command *const *all = graft_commands(&n);
    fputs("graft fine-tunes language models.\n\nUsage: graft COMMAND [FILE.yaml] [key=value ...] [--key value ...]\n\n", c->out);
    for (size_t i = 0; i < n; i++) fprintf(c->out, "  %-9s %s\n", all[i]->name, all[i]->summary);
    fputs("\nKeys are LLaMA-Factory's. `graft help COMMAND` shows an example, `graft help KEY` explains a key.\n"
          "Exit status: 0 done, 1 something to correct, 2 a fault in graft, 130 interrupted (work was saved).\n",
          c->out);
}

static void about_key(graft_cli *c, const graft_arg *a)
{
    static const char *const types[] = {"text", "text or a list", "whole number", "number", "true or false", "any value"};
    static const char *const states[] = {"Acted on.", "Read by the tuning method.", "Accepted", "Not acted on", "Refused unless left at its default", "Another spelling of"};
    fprintf(c->out, "%s: %s\n  type %s, default %s", a->name, a->help, types[a->type], a->fallback ? a->fallback : "none");
    if (a->choices) fprintf(c->out, ", one of %s", a->choices);
    fprintf(c->out, "\n  %s%s%s\n", states[a->status], a->note ? (a->status == GRAFT_ARG_ALIAS ? " " : ": ") : "", a->note ? a->note : "");
}

static graft_status run(graft_cli *c, graft_error *err)
{
    if (graft_args_flag(c->args, "compat")) {
        graft_str text;
        graft_str_init(&text, 0);
        graft_args_compat(&text);
        fwrite(text.data, 1, text.bytes, c->out);
        graft_str_free(&text);
        return GRAFT_OK;
    }
    if (!c->n_words) {
        overview(c);
        return GRAFT_OK;
    }
    const char *word = c->words[0];
    const graft_command *about = graft_command_find(word);
    const graft_arg *key = graft_arg_find(word);
    if (about) fprintf(c->out, "graft %s - %s\n\n%s", about->name, about->summary, about->usage);
    if (key) about_key(c, key);
    if (about || key) return GRAFT_OK;
    const char *names[32];
    size_t n;
    const graft_command *const *all = graft_commands(&n);
    for (size_t i = 0; i < n && i < 32; i++) names[i] = all[i]->name;
    const char *near = graft_nearest(word, names, n < 32 ? n : 32);
    if (near) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "no command or key is named '%s', did you mean '%s'?", word, near);
    return graft_args_unknown("no command either", word, err);
}

const graft_command graft_command_help = {
    .name = "help",
    .summary = "this list, or one command or key explained",
    .usage = "Usage: graft help [COMMAND | KEY]\n\n"
             "  graft help train\n"
             "  graft help lora_rank\n"
             "  graft help --compat     every LLaMA-Factory key and what becomes of it, as Markdown\n",
    .positional = 1,
    .run = run,
};
