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

/* Text for troff: backslashes and hyphens as themselves, no line that begins like a request. */
static void troff(FILE *out, const char *text)
{
    for (int begins = 1; *text; begins = *text++ == '\n') {
        if (begins && (*text == '.' || *text == '\'')) fputs("\\&", out);
        if (*text == '\\') fputs("\\e", out);
        else if (*text == '-') fputs("\\-", out);
        else fputc(*text, out);
    }
}

static void man_keys(FILE *out)
{
    size_t n;
    const graft_arg_group *g = graft_arg_groups(&n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(g[i].name, "graft")) continue;
        for (size_t k = 0; k < g[i].n; k++) {
            fputs(".TP\n.B ", out);
            troff(out, g[i].args[k].name);
            fputc('\n', out);
            troff(out, g[i].args[k].help);
            fprintf(out, "%s%s%s\n", g[i].args[k].fallback ? " (" : "", g[i].args[k].fallback ? g[i].args[k].fallback : "", g[i].args[k].fallback ? ")" : "");
        }
    }
}

/* graft.1, made of the same texts as the help. */
static void manual(FILE *out)
{
    size_t n;
    const graft_command *const *all = graft_commands(&n);
    fputs(".TH GRAFT 1 \"\" \"graft " GRAFT_VERSION "\" \"User Commands\"\n.SH NAME\ngraft \\- fine\\-tune language models\n"
          ".SH SYNOPSIS\n.B graft\n.I COMMAND\n[\\fIFILE.yaml\\fR] [\\fIkey\\fR=\\fIvalue\\fR ...] [\\fB\\-\\-\\fIkey value\\fR ...]\n"
          ".SH DESCRIPTION\nKeys are those of LLaMA\\-Factory. They come from a YAML file, from words key=value and from flags, in any mix; what stands\n"
          "on the command line wins over the file. One file may hold the keys of several commands. Unknown keys are errors.\n.SH COMMANDS\n",
          out);
    for (size_t i = 0; i < n; i++) {
        fprintf(out, ".SS %s\n", all[i]->name);
        troff(out, all[i]->summary);
        fputs("\n.PP\n.nf\n", out);
        troff(out, all[i]->usage);
        fputs(".fi\n", out);
    }
    fputs(".SH KEYS OF GRAFT'S OWN\n", out);
    man_keys(out);
    fputs(".SH EXIT STATUS\n.TP\n.B 0\ndone\n.TP\n.B 1\nsomething to correct: arguments, files, data, memory\n.TP\n.B 2\na fault in graft\n.TP\n.B 130\ninterrupted; the work was saved\n"
          ".SH FILES\n.TP\n.I dataset_info.json\nin dataset_dir: datasets, as LLaMA\\-Factory has them\n.TP\n.I ~/.config/graft/registry.json\ndatasets and plugins of the user\n",
          out);
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
    if (graft_args_flag(c->args, "man")) {
        manual(c->out);
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
             "  graft help --compat     every LLaMA-Factory key and what becomes of it, as Markdown\n"
             "  graft help --man        the manual page\n",
    .positional = 1,
    .run = run,
};
