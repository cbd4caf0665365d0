/* formats/alpaca/alpaca.c - records with an instruction, an optional input and an output:
 *
 *   { "instruction": "...", "input": "...", "output": "...", "system": "...", "history": [["question", "answer"], ...] }
 *
 * The entry's "columns" name the members otherwise: prompt, query, response, history, system, tools, chosen, rejected, kto_tag. When it is there, what
 * it does not list is absent; when it is not, only instruction, input and output are read. As in LLaMA-Factory: user text = prompt, newline, query when
 * both have text; a null answer drops the record, an empty one keeps it; a kto_tag makes it an answer with a label; with "ranking" the answers
 * are chosen and rejected. Stricter than there, so that no record vanishes by a slip: an answer's key that is missing is an error. */
#include "graft/format.h"
#include "graft/plugin.h"

#include <stdio.h>
#include <string.h>

enum { PROMPT,
       QUERY,
       RESPONSE,
       HISTORY,
       SYSTEM,
       TOOLS,
       CHOSEN,
       REJECTED,
       KTO_TAG,
       COLUMNS };
static const char *const column_keys[COLUMNS] = {"prompt", "query", "response", "history", "system", "tools", "chosen", "rejected", "kto_tag"};

typedef struct stream {
    const graft_host *host;
    graft_source *source;
    const char *column[COLUMNS]; /* NULL: this data has none */
    int ranking;
    char names[]; /* the entry's words, copied */
} stream;

static int sniff(void *self, const char *head, size_t bytes, const char *file_name)
{
    (void)self;
    const size_t n = strlen(file_name);
    if (n > 4 && !strcmp(file_name + n - 4, ".txt")) return 30; /* rows {"text": line}: a prompt by the entry's columns */
    const int prompt = graft_head_has_key(head, bytes, "instruction"), answer = graft_head_has_key(head, bytes, "output");
    if (prompt == 1 && answer == 1) return 95;
    if (prompt == 1 || answer == 1) return 60;
    for (size_t i = 0; i < bytes; i++) /* at least a list or an object: this format then says what is wrong with it */
        if (head[i] == '[' || head[i] == '{') return 20;
        else if ((unsigned char)head[i] < 0x80 && head[i] != ' ' && head[i] != '\n' && head[i] != '\r' && head[i] != '\t') break;
    return 0;
}

static graft_status open_stream(void *self, graft_source *source, const graft_config *entry, void **out, graft_error *err)
{
    const graft_host *host = self;
    const graft_json *columns = entry->api->value(entry, "columns"), *name[COLUMNS] = {NULL};
    size_t bytes = 0;
    for (int i = 0; i < COLUMNS; i++) {
        name[i] = graft_json_get(columns, column_keys[i]);
        if (name[i] && name[i]->type != GRAFT_JSON_TEXT) name[i] = NULL;
        if (name[i]) bytes += name[i]->bytes + 1;
    }
    stream *s = host->alloc(host->ctx, sizeof *s + bytes, 16);
    if (!s) return host->fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for a dataset");
    *s = (stream){.host = host, .source = source};
    if (!columns) s->column[PROMPT] = "instruction", s->column[QUERY] = "input", s->column[RESPONSE] = "output";
    char *at = s->names;
    for (int i = 0; i < COLUMNS; i++) {
        if (!name[i]) continue;
        s->column[i] = at;
        memcpy(at, name[i]->text, name[i]->bytes + 1);
        at += name[i]->bytes + 1;
    }
    s->ranking = graft_flag(entry, "ranking", 0);
    *out = s;
    return GRAFT_OK;
}

static void close_stream(void *p)
{
    stream *s = p;
    if (s) s->host->release(s->host->ctx, s);
}

static graft_status refuse(stream *s, graft_error *err, const char *what, const char *column)
{
    return s->host->fail(err, GRAFT_BAD_INPUT, s->source->api->place(s->source), "\"%.80s\" %s", column ? column : "?", what);
}

/* The value of a column: NULL when the data has no such column, the record no such key, or it is null. */
static const graft_json *value_of(const stream *s, const graft_json *row, int column)
{
    const graft_json *v = s->column[column] ? graft_json_get(row, s->column[column]) : NULL;
    return v && v->type != GRAFT_JSON_NULL ? v : NULL;
}

static graft_status text_of(stream *s, const graft_json *row, int column, const graft_json **out, graft_error *err)
{
    *out = value_of(s, row, column);
    if (*out && (*out)->type != GRAFT_JSON_TEXT) return refuse(s, err, "must be a text, found something else; make it a JSON string", s->column[column]);
    return GRAFT_OK;
}

static graft_status history(stream *s, const graft_json *row, graft_record *r, graft_error *err)
{
    const graft_json *list = value_of(s, row, HISTORY);
    if (!list) return GRAFT_OK;
    if (list->type != GRAFT_JSON_ARRAY) return refuse(s, err, "must be a list of [question, answer] pairs", s->column[HISTORY]);
    for (const graft_json *pair = list->child; pair; pair = pair->next) {
        const graft_json *question = pair->child, *answer = question ? question->next : NULL;
        if (pair->type != GRAFT_JSON_ARRAY || pair->count != 2 || question->type != GRAFT_JSON_TEXT || answer->type != GRAFT_JSON_TEXT)
            return refuse(s, err, "must be a list of [question, answer] pairs of texts", s->column[HISTORY]);
        r->api->turn(r, GRAFT_USER, question->text, question->bytes);
        r->api->turn(r, GRAFT_ASSISTANT, answer->text, answer->bytes);
    }
    return GRAFT_OK;
}

static graft_status question(stream *s, const graft_json *row, graft_record *r, graft_error *err)
{
    const graft_json *prompt, *query;
    if (text_of(s, row, PROMPT, &prompt, err) || text_of(s, row, QUERY, &query, err)) return err->code;
    const int keys = (s->column[PROMPT] && graft_json_get(row, s->column[PROMPT])) || (s->column[QUERY] && graft_json_get(row, s->column[QUERY]));
    if (!keys) return refuse(s, err, "is missing, there is no question; give the record that key, or name its columns in the dataset's entry", s->column[PROMPT] ? s->column[PROMPT] : s->column[QUERY]);
    const graft_json *const only = prompt && prompt->bytes ? (query && query->bytes ? NULL : prompt) : query;
    if (only || !prompt) return r->api->turn(r, GRAFT_USER, only ? only->text : "", only ? only->bytes : 0), GRAFT_OK;
    if (!query) return r->api->turn(r, GRAFT_USER, prompt->text, prompt->bytes), GRAFT_OK;
    const size_t bytes = prompt->bytes + 1 + query->bytes;
    char *both = s->host->alloc(s->host->ctx, bytes, 16);
    if (!both) return s->host->fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for a record");
    memcpy(both, prompt->text, prompt->bytes);
    both[prompt->bytes] = '\n';
    memcpy(both + prompt->bytes + 1, query->text, query->bytes);
    r->api->turn(r, GRAFT_USER, both, bytes);
    s->host->release(s->host->ctx, both);
    return GRAFT_OK;
}

static graft_status preference(stream *s, const graft_json *row, graft_record *r, graft_error *err)
{
    const graft_json *chosen, *rejected;
    if (text_of(s, row, CHOSEN, &chosen, err) || text_of(s, row, REJECTED, &rejected, err)) return err->code;
    if (!chosen) return refuse(s, err, "is missing: a preference record needs a chosen answer", s->column[CHOSEN] ? s->column[CHOSEN] : "chosen");
    if (!rejected) return refuse(s, err, "is missing: a preference record needs a rejected answer", s->column[REJECTED] ? s->column[REJECTED] : "rejected");
    r->api->turn(r, GRAFT_CHOSEN, chosen->text, chosen->bytes);
    r->api->turn(r, GRAFT_REJECTED, rejected->text, rejected->bytes);
    return GRAFT_OK;
}

static graft_status answer(stream *s, const graft_json *row, graft_record *r, graft_error *err)
{
    const graft_json *response, *tag = value_of(s, row, KTO_TAG);
    if (tag && tag->type != GRAFT_JSON_BOOL) return refuse(s, err, "must be true or false", s->column[KTO_TAG]);
    if (s->ranking) return preference(s, row, r, err);
    if (text_of(s, row, RESPONSE, &response, err)) return err->code;
    if (response) {
        if (tag) r->api->flag(r, "kto_label", (double)tag->integer);
        r->api->turn(r, GRAFT_ASSISTANT, response->text, response->bytes);
        return GRAFT_OK;
    }
    if (!s->column[RESPONSE]) return r->api->drop(r, "the dataset's columns name no response"), GRAFT_OK;
    if (!graft_json_get(row, s->column[RESPONSE])) return refuse(s, err, "is missing, there is no answer; give the record that key, or name its columns in the dataset's entry", s->column[RESPONSE]);
    char reason[160];
    snprintf(reason, sizeof reason, "%.80s is null", s->column[RESPONSE]);
    r->api->drop(r, reason);
    return GRAFT_OK;
}

static graft_status next(void *p, graft_record *r, int *end, graft_error *err)
{
    stream *s = p;
    const graft_json *row, *system, *tools;
    if (s->source->api->row(s->source, &row, err)) return err->code;
    *end = row == NULL;
    if (*end) return GRAFT_OK;
    if (text_of(s, row, SYSTEM, &system, err) || text_of(s, row, TOOLS, &tools, err)) return err->code;
    if (system) r->api->turn(r, GRAFT_SYSTEM, system->text, system->bytes);
    if (tools) r->api->turn(r, GRAFT_TOOLS, tools->text, tools->bytes);
    if (history(s, row, r, err) || question(s, row, r, err)) return err->code;
    return answer(s, row, r, err);
}

static graft_status tell(void *p, graft_cursor *at, graft_error *err)
{
    (void)err;
    const stream *s = p;
    const int64_t offset = s->source->api->tell(s->source);
    memset(at, 0, sizeof *at);
    memcpy(at->bytes, &offset, sizeof offset);
    return GRAFT_OK;
}

static graft_status seek(void *p, const graft_cursor *at, graft_error *err)
{
    stream *s = p;
    int64_t offset;
    memcpy(&offset, at->bytes, sizeof offset);
    if (s->source->api->seek(s->source, offset)) return s->host->fail(err, GRAFT_BAD_INPUT, s->source->api->place(s->source), "the place %lld to continue from is not in the file; was it changed?", (long long)offset);
    return GRAFT_OK;
}

static const graft_format_table table = {(uint32_t)sizeof(graft_format_table), sniff, open_stream, next, tell, seek, close_stream};

GRAFT_ONE_TABLE("format", "graft.format/1", "alpaca", "1.0.0", &table)
