/* core/cli/cmd_score.c - graft score: the mean loss of each line of a JSONL file under the model.
 *
 *   {"text": "..."}                                every token but the first counts
 *   {"input_ids": [...], "labels": [...]}          labels as in training: -100 does not count; without labels as for text */
#include "core/base/error.h"
#include "core/cli/session.h"
#include "core/data/batch.h"

#include <math.h>
#include <string.h>

enum { MAX_TOKENS = 1 << 20 };

static graft_status read_ids(const graft_json *v, int64_t low, int64_t high, int32_t *out, const char *place, const char *key, graft_error *err)
{
    int64_t i = 0;
    for (const graft_json *e = v->child; e; e = e->next, i++) {
        if (e->type != GRAFT_JSON_NUMBER || !e->integral || ((e->integer < low || e->integer >= high) && e->integer != -100))
            return graft_fail(err, GRAFT_BAD_INPUT, place, "%s must be token ids below %lld, found another value at position %lld", key, (long long)high, (long long)i);
        out[i] = (int32_t)e->integer;
    }
    return GRAFT_OK;
}

static graft_status add_ids(graft_session *s, graft_dataset *d, const graft_json *ids, const graft_json *labels, const char *place, graft_error *err)
{
    const int64_t n = ids->count;
    if (labels && (labels->type != GRAFT_JSON_ARRAY || labels->count != n)) return graft_fail(err, GRAFT_BAD_INPUT, place, "labels must be a list as long as input_ids (%lld)", (long long)n);
    if (n > MAX_TOKENS) return graft_fail(err, GRAFT_BAD_INPUT, place, "%lld tokens are more than the %d that are possible", (long long)n, MAX_TOKENS);
    int32_t *room = graft_calloc((size_t)(2 * n) + 1, sizeof *room);
    if (!room) return graft_fail(err, GRAFT_NO_MEMORY, place, "out of memory");
    graft_status status = read_ids(ids, 0, s->model->vocab, room, place, "input_ids", err);
    for (int64_t i = 0; !status && i < n; i++)
        if (room[i] < 0) status = graft_fail(err, GRAFT_BAD_INPUT, place, "input_ids must be token ids, found -100 at position %lld", (long long)i);
    if (!status && labels) status = read_ids(labels, 0, s->model->vocab, room + n, place, "labels", err);
    if (!labels) memcpy(room + n, room, (size_t)n * sizeof *room);
    if (!status) status = graft_dataset_add(d, room, room + n, n, err);
    graft_free(room);
    return status;
}

static graft_status add_text(graft_session *s, graft_dataset *d, const graft_json *text, const char *place, graft_error *err)
{
    graft_ids ids = {0};
    graft_status status = graft_tokenizer_encode(s->tokenizer, text->text, text->bytes, graft_args_flag(s->c->args, "split_special_tokens"), &ids, err);
    if (!status && ids.n > MAX_TOKENS) status = graft_fail(err, GRAFT_BAD_INPUT, place, "%zu tokens are more than the %d that are possible", ids.n, MAX_TOKENS);
    if (!status) status = graft_dataset_add(d, ids.ids, ids.ids, (int64_t)ids.n, err);
    graft_ids_free(&ids);
    return status;
}

static graft_status read_input(graft_session *s, const char *path, graft_dataset *d, graft_error *err)
{
    graft_lines *lines = NULL;
    char place[512];
    graft_status status = graft_lines_open(s->c->arena, path, &lines, err);
    while (!status) {
        graft_arena *a = graft_arena_new(); /* one line */
        const graft_json *v = NULL;
        status = a ? graft_lines_json(lines, a, &v, err) : graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
        if (status || !v) {
            graft_arena_free(a);
            break;
        }
        const graft_json *text = graft_json_get(v, "text"), *ids = graft_json_get(v, "input_ids");
        graft_lines_place(lines, place, sizeof place);
        if (ids && ids->type == GRAFT_JSON_ARRAY) status = add_ids(s, d, ids, graft_json_get(v, "labels"), place, err);
        else if (text && text->type == GRAFT_JSON_TEXT) status = add_text(s, d, text, place, err);
        else status = graft_fail(err, GRAFT_BAD_INPUT, place, "expected {\"text\": \"...\"} or {\"input_ids\": [...], \"labels\": [...]}");
        graft_arena_free(a);
    }
    graft_lines_close(lines);
    if (!status && !graft_dataset_count(d)) status = graft_fail(err, GRAFT_BAD_INPUT, path, "there is no line to score");
    return status;
}

static graft_status score_one(graft_exec *e, graft_batch *b, double *loss, graft_error *err)
{
    int64_t extent[GRAFT_SYMBOLS];
    float value = 0;
    graft_status s = graft_batch_give(b, e, 1.0 / (double)b->labelled, extent, err);
    if (!s) s = graft_exec_run(e, extent, 0, 0, err);
    if (!s) s = graft_exec_get(e, "loss", &value, sizeof value, err);
    *loss = (double)value;
    return s;
}

static void print_one(graft_cli *c, int64_t i, double loss, int64_t counted, int64_t tokens)
{
    if (!c->json) {
        if (counted) fprintf(c->out, "%lld: loss %.6f over %lld tokens\n", (long long)i + 1, loss, (long long)counted);
        else fprintf(c->out, "%lld: nothing to predict\n", (long long)i + 1);
        return;
    }
    graft_arena *a = graft_arena_new();
    graft_json *o = a ? graft_json_new(a, GRAFT_JSON_OBJECT) : NULL;
    graft_json_put(a, o, "loss", counted ? graft_json_real(a, loss) : graft_json_new(a, GRAFT_JSON_NULL));
    graft_json_put(a, o, "tokens", graft_json_int(a, counted));
    graft_json_put(a, o, "input_tokens", graft_json_int(a, tokens));
    if (o) graft_cli_print_json(c, o, 0);
    graft_arena_free(a);
}

static graft_status score_all(graft_session *s, const graft_dataset *d, graft_error *err)
{
    int64_t longest = 1, counted = 0;
    double sum = 0;
    graft_graph *g = NULL;
    graft_store *store = NULL;
    graft_exec *e = NULL;
    graft_batch *b = NULL;
    for (int64_t i = 0; i < graft_dataset_count(d); i++)
        if (graft_dataset_at(d, i).n > longest) longest = graft_dataset_at(d, i).n;
    int64_t virtual_tokens = 0;
    graft_status status = graft_session_virtual(s, &virtual_tokens, err);
    longest += virtual_tokens;
    const int64_t capacity[GRAFT_SYMBOLS] = {longest, 1, longest, 0};
    if (!status) status = graft_session_load(s, GRAFT_FOR_LOSS, capacity, &g, &store, err);
    if (!status) status = graft_exec_new(g, store, capacity, 0, &e, err);
    if (!status) status = graft_batch_new(&b, longest, 1, err);
    if (!status) b->virtual_tokens = virtual_tokens;
    for (int64_t i = 0; !status && i < graft_dataset_count(d); i++) {
        const graft_sample sample = graft_dataset_at(d, i);
        double loss = 0;
        graft_batch_clear(b);
        graft_batch_add(b, &sample);
        if (b->labelled) status = score_one(e, b, &loss, err);
        if (!status) print_one(s->c, i, loss, b->labelled, sample.n);
        sum += loss * (double)b->labelled;
        counted += b->labelled;
    }
    if (!status && !s->c->json && counted) fprintf(s->c->out, "all: loss %.6f over %lld tokens, perplexity %.4f\n", sum / (double)counted, (long long)counted, exp(sum / (double)counted));
    graft_batch_free(b);
    graft_exec_free(e);
    graft_store_free(store);
    graft_graph_free(g);
    return status;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    graft_session s = {.c = c};
    const char *input = graft_args_text(c->args, "input");
    graft_dataset *d = NULL;
    if (!input) return graft_fail(err, GRAFT_BAD_INPUT, "input", "no file was named: give --input FILE.jsonl, or - for standard input");
    graft_status status = graft_session_model(&s, err);
    if (!status) status = graft_session_method(&s, 0, err);
    if (!status) status = graft_args_finish(c->args, NULL, err);
    if (!status && graft_args_given(c->args, "template")) status = graft_session_template(&s, err);
    if (!status) status = graft_session_device(&s, err);
    if (!status && !(d = graft_dataset_empty())) status = graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
    if (!status) status = read_input(&s, input, d, err);
    if (!status) status = score_all(&s, d, err);
    graft_dataset_free(d);
    graft_session_close(&s);
    return status;
}

const graft_command graft_command_score = {
    .name = "score",
    .summary = "the loss of given texts or token ids under a model",
    .usage = "Usage: graft score --model_name_or_path DIR --input FILE.jsonl [--adapter_name_or_path DIR] [--json]\n\n"
             "  graft score --model_name_or_path models/small --input texts.jsonl --json\n"
             "  echo '{\"text\": \"The sky is blue.\"}' | graft score --model_name_or_path models/small --input -\n\n"
             "Each line is {\"text\": ...} or {\"input_ids\": [...], \"labels\": [...]}; labels of -100 do not count.\n"
             "--json prints {\"loss\": ..., \"tokens\": ...} a line: the mean loss, and over how many tokens.\n",
    .run = run,
};
