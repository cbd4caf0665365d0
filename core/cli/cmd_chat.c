/* core/cli/cmd_chat.c - graft chat: a conversation in the terminal, or one question with --prompt. Answers appear as they are made, whole characters at a time. */
#include "core/base/error.h"
#include "core/cli/answers.h"
#include "core/cli/compare.h"

#include <string.h>
#include <time.h>

enum { MAX_MESSAGES = 4096,
       MAX_LINE = 1 << 20 };

typedef struct chat {
    graft_session s;
    graft_answers by;
    graft_message messages[MAX_MESSAGES];
    size_t n_messages;
    /* The answer in the making. */
    graft_str answer; /* its bytes */
    size_t shown;     /* of them on the screen: whole characters */
    int64_t n_tokens;
    int stream;
} chat;

/* ---- one answer ---------------------------------------------------------------------------------------------------------------- */

/* Writes what is complete: a character cut at the end waits for its other bytes, unless this is the last chance. */
static void show(chat *x, int last)
{
    static const char replacement[] = "\xef\xbf\xbd";
    while (x->shown < x->answer.bytes) {
        const char *at = x->answer.data + x->shown;
        const size_t left = x->answer.bytes - x->shown;
        const int n = graft_utf8_length(at, left);
        if (!n && left < 4 && !last) break; /* may still become a character */
        if (x->stream) fwrite(n ? at : replacement, 1, n ? (size_t)n : 3, x->s.c->out);
        x->shown += n ? (size_t)n : 1;
    }
    if (x->stream) fflush(x->s.c->out);
}

static int on_token(void *ctx, int32_t id)
{
    chat *x = ctx;
    size_t bytes = 0;
    x->n_tokens++;
    if (graft_tokenizer_is_special(x->s.tokenizer, id) && graft_args_flag(x->s.c->args, "skip_special_tokens")) return 0;
    const char *text = graft_tokenizer_bytes(x->s.tokenizer, id, &bytes);
    if (text) graft_str_add(&x->answer, text, bytes);
    show(x, 0);
    return x->answer.failed;
}

/* The conversation as token ids, without its oldest turns when it no longer fits. */
static graft_status render(chat *x, graft_arena *a, int32_t **ids, int64_t *n, graft_error *err)
{
    const char *system = graft_args_text(x->s.c->args, "default_system");
    graft_template_options how = graft_session_rendering(x->s.c);
    size_t first = 0;
    how.one_turn = 1;
    for (;;) {
        graft_turn *turns = NULL;
        size_t n_turns = 0, total = 0;
        const graft_status s = graft_template_render_with(x->s.chat, &how, x->s.tokenizer, a, x->messages + first, x->n_messages - first, system, system ? strlen(system) : 0, NULL, &turns, &n_turns, err);
        if (s) return s;
        for (size_t i = 0; i < n_turns; i++) total += turns[i].n_prompt + (i + 1 < n_turns ? turns[i].n_answer : 0);
        if ((int64_t)total >= x->by.context && first + 2 < x->n_messages) {
            first += 2;
            continue;
        }
        if ((int64_t)total >= x->by.context) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the question has %zu tokens, the context holds %lld; ask more shortly or raise cutoff_len", total, (long long)x->by.context);
        if (first) fprintf(x->s.c->err, "(the oldest %zu messages no longer fit the context and were left out)\n", first);
        *ids = graft_arena_alloc(a, (total + 1) * sizeof **ids);
        if (!*ids) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
        *n = 0;
        for (size_t i = 0; i < n_turns; i++) {
            if (turns[i].n_prompt) memcpy(*ids + *n, turns[i].prompt, turns[i].n_prompt * sizeof **ids);
            *n += (int64_t)turns[i].n_prompt;
            if (i + 1 == n_turns || !turns[i].n_answer) continue;
            memcpy(*ids + *n, turns[i].answer, turns[i].n_answer * sizeof **ids);
            *n += (int64_t)turns[i].n_answer;
        }
        return GRAFT_OK;
    }
}

static graft_status put_message(chat *x, graft_message_role role, const char *text, size_t bytes, graft_error *err)
{
    if (x->n_messages == MAX_MESSAGES) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "a conversation has at most %d messages; say clear to begin anew", MAX_MESSAGES);
    char *copy = graft_arena_copy(x->s.c->arena, text, bytes);
    if (!copy) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    x->messages[x->n_messages++] = (graft_message){role, copy, bytes};
    return GRAFT_OK;
}

static graft_status answer(chat *x, const char *question, size_t bytes, int64_t *n_prompt, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    int32_t *ids = NULL;
    graft_str_clear(&x->answer);
    x->shown = 0;
    x->n_tokens = 0;
    graft_status s = a ? put_message(x, GRAFT_MESSAGE_USER, question, bytes, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!s) s = render(x, a, &ids, n_prompt, err);
    if (!s) {
        graft_generator_reset(x->by.generator);
        s = graft_generator_run(x->by.generator, ids, *n_prompt, &x->by.how, x->by.max_new, x->by.stops, x->by.n_stops, on_token, x, err);
    }
    if (!s) show(x, 1);
    if (!s) s = put_message(x, GRAFT_MESSAGE_ASSISTANT, x->answer.data, x->answer.bytes, err);
    else if (x->n_messages % 2) x->n_messages--; /* the question that failed is forgotten */
    graft_arena_free(a);
    return s;
}

/* ---- the commands' two forms ---------------------------------------------------------------------------------------------------- */

static graft_status once(chat *x, const char *prompt, graft_error *err)
{
    graft_cli *c = x->s.c;
    struct timespec from, to;
    int64_t n_prompt = 0;
    x->stream = !c->json;
    clock_gettime(CLOCK_MONOTONIC, &from);
    const graft_status s = answer(x, prompt, strlen(prompt), &n_prompt, err);
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (s) return s;
    if (!c->json) {
        fputc('\n', c->out);
        return GRAFT_OK;
    }
    const double seconds = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
    graft_json *o = graft_json_new(c->arena, GRAFT_JSON_OBJECT);
    graft_json_put(c->arena, o, "prompt", graft_json_text(c->arena, prompt, strlen(prompt)));
    graft_json_put(c->arena, o, "answer", graft_json_text(c->arena, x->answer.data, x->answer.bytes));
    graft_json_put(c->arena, o, "prompt_tokens", graft_json_int(c->arena, n_prompt));
    graft_json_put(c->arena, o, "tokens", graft_json_int(c->arena, x->n_tokens));
    graft_json_put(c->arena, o, "seconds", graft_json_real(c->arena, seconds));
    graft_cli_print_json(c, o, 2);
    return GRAFT_OK;
}

/* A line of standard input without its end, at most MAX_LINE bytes; 0 at the end of the input. */
static int read_line(graft_str *line)
{
    int byte = getc(stdin);
    if (byte == EOF) return 0;
    graft_str_clear(line);
    for (; byte != EOF && byte != '\n'; byte = getc(stdin)) {
        const char one = (char)byte;
        graft_str_add(line, &one, 1);
    }
    if (line->bytes && line->data[line->bytes - 1] == '\r') line->data[--line->bytes] = 0;
    return 1;
}

static graft_status say_one(chat *x, graft_str *line, graft_error *err)
{
    int64_t n_prompt = 0;
    fputs("Assistant: ", x->s.c->out);
    graft_status s = line->failed ? graft_fail(err, GRAFT_BAD_INPUT, NULL, "a message has at most %d bytes", MAX_LINE) : answer(x, line->data, line->bytes, &n_prompt, err);
    fputc('\n', x->s.c->out);
    if (s != GRAFT_BAD_INPUT) return s;
    fprintf(x->s.c->err, "%s\n", err->message); /* say it and go on */
    return GRAFT_OK;
}

/* Other adapters from the next question on; a wrong name is said, and those of before stay. */
static graft_status switch_adapters(chat *x, const char *list, graft_error *err)
{
    graft_session *s = &x->s;
    const int64_t capacity[GRAFT_SYMBOLS] = {1, 1, 1, x->by.context};
    double before[GRAFT_SESSION_METHODS];
    list += strspn(list, " ");
    memcpy(before, s->strengths, sizeof before);
    graft_graph *g = NULL;
    graft_generator *generator = NULL;
    graft_store *store = x->by.store;
    graft_status status = *list ? graft_session_strengths(s, list, err) : GRAFT_OK;
    if (!status && *list) status = s->partial ? graft_session_load(s, GRAFT_FOR_GENERATE, capacity, &g, &store, err) : graft_session_graph(s, GRAFT_FOR_GENERATE, capacity, store, &g, err);
    if (!status && *list) status = graft_generator_new(g, store, s->model->vocab, x->by.context, &generator, err);
    if (status) {
        memcpy(s->strengths, before, sizeof before);
        if (store != x->by.store) graft_store_free(store);
        graft_graph_free(g);
        if (status != GRAFT_BAD_INPUT && status != GRAFT_UNSUPPORTED) return status;
        fprintf(s->c->err, "%s\n", err->message);
        return GRAFT_OK;
    }
    if (*list) {
        graft_generator_free(x->by.generator);
        graft_graph_free(x->by.g);
        if (store != x->by.store) graft_store_free(x->by.store);
        x->by.g = g, x->by.store = store, x->by.generator = generator;
    }
    for (int i = 0; i < s->n_methods; i++) fprintf(s->c->err, "%s%s=%g", i ? ", " : "", s->labels[i], s->strengths[i]);
    fputs(s->n_methods ? "\n" : "no adapter is loaded\n", s->c->err);
    return GRAFT_OK;
}

static graft_status converse(chat *x, graft_error *err)
{
    graft_cli *c = x->s.c;
    graft_str line;
    graft_status s = GRAFT_OK;
    graft_str_init(&line, MAX_LINE);
    fputs("Say something; `clear` forgets the conversation, `exit` or Ctrl-D ends it.\n", c->err);
    if (x->s.n_methods > 1) fputs("`/adapter NAME=STRENGTH, NAME` chooses among the adapters, `/adapter` lists them.\n", c->err);
    x->stream = 1;
    while (!s) {
        fputs("\nUser: ", c->out);
        fflush(c->out);
        if (!read_line(&line) || !strcmp(line.data, "exit") || !strcmp(line.data, "quit")) break;
        if (!line.bytes) continue;
        if (!strncmp(line.data, "/adapter", 8) && (!line.data[8] || line.data[8] == ' ')) {
            s = switch_adapters(x, line.data + 8, err);
            continue;
        }
        if (!strcmp(line.data, "clear")) {
            x->n_messages = 0;
            fputs("The conversation was forgotten.\n", c->err);
            continue;
        }
        s = say_one(x, &line, err);
    }
    graft_str_free(&line);
    fputc('\n', c->out);
    return s;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    if (graft_args_given(c->args, "compare")) return graft_compare(c, err);
    chat *x = graft_calloc(1, sizeof *x);
    if (!x) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    const char *prompt = graft_args_text(c->args, "prompt");
    x->s.c = c;
    graft_str_init(&x->answer, 0);
    graft_status s = c->json && !prompt ? graft_fail(err, GRAFT_BAD_INPUT, "json", "--json needs --prompt: a conversation has no single report") : graft_answers_open(&x->by, &x->s, err);
    if (!s) s = prompt ? once(x, prompt, err) : converse(x, err);
    graft_answers_close(&x->by);
    graft_session_close(&x->s);
    graft_str_free(&x->answer);
    graft_free(x);
    return s;
}

const graft_command graft_command_chat = {
    .name = "chat",
    .summary = "talk to a model, with an adapter if one is given",
    .usage = "Usage: graft chat [FILE.yaml] [key=value ...] [--key value ...]\n\n"
             "  graft chat --model_name_or_path models/small --template chatml\n"
             "  graft chat --model_name_or_path models/small --adapter_name_or_path out --template chatml\n"
             "  graft chat chat.yaml --prompt 'Who are you?' --temperature 0\n\n"
             "temperature          0: the most likely token always (0.95)\n"
             "top_p, top_k         candidates of each draw (0.7, 50)\n"
             "repetition_penalty   above 1: fewer repetitions (1)\n"
             "max_new_tokens       longest answer (1024)\n"
             "default_system       another system prompt than the template's\n"
             "adapter              which of several loaded adapters act, and how strongly: math=0.7, chat\n"
             "compare              base, or a model's folder: its answers to prompt, or to each line of the file input, stand beside\n"
             "                     those of the model with its adapters: before and after\n"
             "prompt               one question: the answer alone is printed; with --json and its length and time\n",
    .run = run,
};
