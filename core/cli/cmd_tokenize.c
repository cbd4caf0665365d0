/* core/cli/cmd_tokenize.c - graft tokenize: JSONL strings to id arrays, and back with --decode. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/cli/pull.h"
#include "core/cli/session.h"

#include <string.h>

static graft_status open_tokenizer(graft_cli *c, graft_tokenizer **out, graft_error *err)
{
    const char *path = graft_args_text(c->args, "model_name_or_path");
    const size_t n = path ? strlen(path) : 0;
    if (!n) return graft_fail(err, GRAFT_BAD_INPUT, "model_name_or_path", "no tokenizer was named: give --model_name_or_path with a model folder, a tokenizer.json or a .gguf file");
    if (graft_pull_path(c, "model_name_or_path", path, graft_args_text(c->args, "model_revision"), &path, err)) return err->code;
    if (n < 6 || strcmp(path + n - 5, ".gguf")) return graft_tokenizer_open(path, out, err);
    graft_weights *w = NULL;
    graft_status s = graft_weights_open(path, &w, err);
    if (!s) s = graft_tokenizer_from_gguf(graft_weights_metadata(w), out, err);
    graft_weights_close(w);
    return s;
}

static graft_status encode(graft_cli *c, const graft_tokenizer *t, const graft_json *v, const char *place, graft_error *err)
{
    graft_ids ids = {0};
    if (v->type != GRAFT_JSON_TEXT) return graft_fail(err, GRAFT_BAD_INPUT, place, "expected a JSON string on each line (with --decode: a list of ids)");
    const graft_status s = graft_tokenizer_encode(t, v->text, v->bytes, graft_args_flag(c->args, "split_special_tokens"), &ids, err);
    if (!s) {
        fputc('[', c->out);
        for (size_t i = 0; i < ids.n; i++) fprintf(c->out, "%s%d", i ? ", " : "", (int)ids.ids[i]);
        fputs("]\n", c->out);
    }
    graft_ids_free(&ids);
    return s;
}

static graft_status decode(graft_cli *c, const graft_tokenizer *t, const graft_json *v, const char *place, graft_error *err)
{
    graft_ids ids = {0};
    graft_str text, line;
    graft_status s = GRAFT_OK;
    graft_str_init(&text, 0);
    graft_str_init(&line, 0);
    if (v->type != GRAFT_JSON_ARRAY) s = graft_fail(err, GRAFT_BAD_INPUT, place, "expected a list of ids on each line");
    for (const graft_json *e = s ? NULL : v->child; !s && e; e = e->next) {
        if (e->type != GRAFT_JSON_NUMBER || !e->integral || e->integer < 0 || e->integer >= graft_tokenizer_size(t)) {
            s = graft_fail(err, GRAFT_BAD_INPUT, place, "expected ids from 0 to %lld", (long long)graft_tokenizer_size(t) - 1);
        } else {
            const int32_t id = (int32_t)e->integer;
            s = graft_ids_add(&ids, &id, 1, err);
        }
    }
    if (!s) s = graft_tokenizer_decode(t, ids.ids, ids.n, graft_args_given(c->args, "skip_special_tokens") && graft_args_flag(c->args, "skip_special_tokens"), &text, err);
    if (!s) {
        graft_str_json(&line, text.data, text.bytes);
        graft_str_text(&line, "\n");
        fwrite(line.data, 1, line.bytes, c->out);
    }
    graft_str_free(&text);
    graft_str_free(&line);
    graft_ids_free(&ids);
    return s;
}

static graft_status run(graft_cli *c, graft_error *err)
{
    graft_tokenizer *t = NULL;
    graft_lines *lines = NULL;
    char place[512];
    const int back = graft_args_flag(c->args, "decode");
    const char *input = graft_args_text(c->args, "input");
    graft_status s = graft_args_finish(c->args, NULL, err);
    if (!s) s = open_tokenizer(c, &t, err);
    if (!s) s = graft_lines_open(c->arena, input ? input : "-", &lines, err);
    while (!s) {
        graft_arena *a = graft_arena_new(); /* one line */
        const graft_json *v = NULL;
        s = a ? graft_lines_json(lines, a, &v, err) : graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory");
        if (!s && v) s = (back ? decode : encode)(c, t, v, graft_lines_place(lines, place, sizeof place), err);
        graft_arena_free(a);
        if (!v) break;
    }
    graft_lines_close(lines);
    graft_tokenizer_close(t);
    return s;
}

const graft_command graft_command_tokenize = {
    .name = "tokenize",
    .summary = "text to token ids and back",
    .usage = "Usage: graft tokenize --model_name_or_path DIR [--input FILE.jsonl] [--decode]\n\n"
             "  echo '\"Hello, world\"' | graft tokenize --model_name_or_path models/small\n"
             "  echo '[504, 2365, 282]' | graft tokenize --model_name_or_path models/small --decode\n\n"
             "Reads one JSON string a line (a list of ids with --decode) from input or standard input and writes one JSON line each.\n"
             "Special tokens spelled in the text are recognised unless split_special_tokens; none are added.\n"
             "With --decode they are kept unless --skip_special_tokens.\n",
    .run = run,
};
