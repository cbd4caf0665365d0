/* core/cli/compare.c - see compare.h. One model is in memory at a time. */
#include "core/cli/compare.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/cli/answers.h"
#include "core/cli/predict.h"

#include <string.h>

enum { QUESTIONS = 1000,
       COLUMN = 58 };

typedef struct compare {
    const char *question[QUESTIONS], *answer[2][QUESTIONS];
    int n;
    /* The answer in the making. */
    graft_session s;
    graft_answers by;
    int32_t *ids;
    int64_t n_ids;
} compare;

static graft_status questions(graft_cli *c, compare *x, graft_error *err)
{
    const char *one = graft_args_text(c->args, "prompt"), *path = graft_args_text(c->args, "input"), *line = NULL;
    graft_lines *lines = NULL;
    size_t bytes = 0;
    if (one) return x->question[x->n++] = one, GRAFT_OK;
    if (!path) return graft_fail(err, GRAFT_BAD_INPUT, "compare", "there is nothing to ask: give --prompt TEXT, or --input FILE with a question a line");
    graft_status s = graft_lines_open(c->arena, path, &lines, err);
    while (!s && x->n < QUESTIONS && graft_lines_next(lines, &line, &bytes))
        if (!(x->question[x->n++] = graft_arena_copy(c->arena, line, bytes))) s = graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!s && graft_lines_next(lines, &line, &bytes)) s = graft_fail(err, GRAFT_BAD_INPUT, path, "more than %d questions", QUESTIONS);
    graft_lines_close(lines);
    return s || x->n ? s : graft_fail(err, GRAFT_BAD_INPUT, path, "there is no question in it");
}

static int on_token(void *ctx, int32_t id)
{
    compare *x = ctx;
    if (x->n_ids == x->by.context) return 1;
    x->ids[x->n_ids++] = id;
    return 0;
}

static graft_status ask(compare *x, const char *question, const char **answer, graft_error *err)
{
    const char *system = graft_args_text(x->s.c->args, "default_system");
    const graft_message talk[] = {{GRAFT_MESSAGE_USER, question, strlen(question)}};
    graft_template_options how = graft_session_rendering(x->s.c);
    graft_turn *turns = NULL;
    size_t n = 0;
    graft_str text;
    graft_str_init(&text, 0);
    how.one_turn = 1;
    graft_arena *a = graft_arena_new();
    graft_status s = a ? graft_template_render_with(x->s.chat, &how, x->s.tokenizer, a, talk, 1, system, system ? strlen(system) : 0, NULL, &turns, &n, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!s && (int64_t)turns[0].n_prompt >= x->by.context) s = graft_fail(err, GRAFT_BAD_INPUT, "prompt", "it has %zu tokens, the context holds %lld", turns[0].n_prompt, (long long)x->by.context);
    x->n_ids = 0;
    graft_generator_reset(x->by.generator);
    if (!s) s = graft_generator_run(x->by.generator, turns[0].prompt, (int64_t)turns[0].n_prompt, &x->by.how, x->by.max_new, x->by.stops, x->by.n_stops, on_token, x, err);
    if (!s) s = graft_tokenizer_decode(x->s.tokenizer, x->ids, (size_t)x->n_ids, graft_args_flag(x->s.c->args, "skip_special_tokens"), &text, err);
    if (!s && !(*answer = graft_arena_copy(x->s.c->arena, text.data ? text.data : "", text.bytes))) s = graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    graft_str_free(&text);
    graft_arena_free(a);
    return s;
}

static graft_status ask_all(graft_cli *c, compare *x, const char **answers, graft_error *err)
{
    x->s = (graft_session){.c = c};
    x->by = (graft_answers){0};
    graft_status s = graft_answers_open(&x->by, &x->s, err);
    if (!s && !(x->ids = graft_calloc((size_t)x->by.context + 1, sizeof *x->ids))) s = graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    for (int i = 0; !s && i < x->n; i++) s = ask(x, x->question[i], &answers[i], err);
    graft_answers_close(&x->by);
    graft_session_close(&x->s);
    graft_free(x->ids);
    x->ids = NULL;
    return s;
}

/* ---- side by side ------------------------------------------------------------------------------------------------------------------ */

/* Columns that the character at p takes: East Asian ones take two. */
static int columns_of(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;
    return n == 4 || (n == 3 && u[0] >= 0xE3 && u[0] <= 0xED) ? 2 : 1;
}

/* Writes what fits into a column and moves *text past it; returns how wide it was. */
static int piece(FILE *out, const char **text)
{
    const char *p = *text, *space = NULL;
    int width = 0, at_space = 0;
    while (*p && *p != '\n' && width < COLUMN) {
        const int k = graft_utf8_length(p, strlen(p));
        const size_t n = k > 0 ? (size_t)k : 1;
        if (*p == ' ') space = p, at_space = width;
        width += columns_of(p, n);
        p += n;
    }
    if (*p && *p != '\n' && *p != ' ' && space > *text) p = space, width = at_space; /* not in the middle of a word */
    fwrite(*text, 1, (size_t)(p - *text), out);
    *text = *p == '\n' || *p == ' ' ? p + 1 : p;
    return width;
}

static void show(graft_cli *c, const char *question, const char *before, const char *after)
{
    fprintf(c->out, "--- %s\n%-*s | %s\n", question, COLUMN, "before", "after");
    while (*before || *after) {
        const int width = piece(c->out, &before);
        fprintf(c->out, "%*s | ", COLUMN > width ? COLUMN - width : 0, "");
        piece(c->out, &after);
        fputc('\n', c->out);
    }
    fputc('\n', c->out);
}

static void show_json(graft_cli *c, const char *question, const char *before, const char *after)
{
    const char *const rows[][2] = {{"prompt", question}, {"before", before}, {"after", after}};
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    for (size_t i = 0; i < 3; i++) graft_json_put(c->arena, o, rows[i][0], graft_json_text(c->arena, rows[i][1], strlen(rows[i][1])));
    graft_cli_print_json(c, o, 0);
}

graft_status graft_compare(graft_cli *c, graft_error *err)
{
    const char *with = graft_args_text(c->args, "compare");
    compare *x = graft_calloc(1, sizeof *x);
    graft_cli before = *c;
    if (!x) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    const int base = !strcmp(with, "base") || !strcmp(with, "true");
    graft_status s = questions(c, x, err);
    if (!s && base && !graft_args_given(c->args, "adapter_name_or_path")) s = graft_fail(err, GRAFT_BAD_INPUT, "compare", "there is no adapter whose base could answer: give the folder of the model before training");
    if (!s) s = graft_cli_with_trained(c, NULL, &before.args, err);
    if (!s && !base) s = graft_cli_with_model(c, with, &before.args, err);
    if (!s) s = ask_all(&before, x, x->answer[0], err);
    if (before.registry && !c->registry) c->registry = before.registry; /* opened there, closed by main */
    if (!s) s = ask_all(c, x, x->answer[1], err);
    for (int i = 0; !s && i < x->n; i++) (c->json ? show_json : show)(c, x->question[i], x->answer[0][i], x->answer[1][i]);
    graft_free(x);
    return s;
}
