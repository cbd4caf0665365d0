/* formats/sharegpt/sharegpt.c - records with a list of turns:
 *
 *   { "conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}, ...], "system": "...", "tools": "[...]" }
 *
 * The entry's "columns" name the members (messages, system, tools, chosen, rejected, kto_tag) and its "tags" the words inside a turn (role_tag,
 * content_tag, user_tag, assistant_tag, observation_tag, function_tag, system_tag). When either is there, what it does not list is absent. As in
 * LLaMA-Factory: a system turn may come first and wins over the column; then user or observation and assistant or function turns alternate, ending
 * with an answer (before chosen and rejected: with a question). A record that does not is dropped and counted, with the reason. */
#include "graft/format.h"
#include "graft/plugin.h"

#include <stdio.h>
#include <string.h>

enum { MESSAGES,
       SYSTEM,
       TOOLS,
       CHOSEN,
       REJECTED,
       KTO_TAG,
       COLUMNS };
enum { ROLE,
       CONTENT,
       USER,
       ASSISTANT,
       OBSERVATION,
       FUNCTION,
       SYSTEM_TURN,
       TAGS };
static const char *const column_keys[COLUMNS] = {"messages", "system", "tools", "chosen", "rejected", "kto_tag"};
static const char *const tag_keys[TAGS] = {"role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag"};
static const char *const column_defaults[COLUMNS] = {"conversations"};
static const char *const tag_defaults[TAGS] = {"from", "value", "human", "gpt", "observation", "function_call", "system"};

typedef struct stream {
    const graft_host *host;
    graft_source *source;
    const char *column[COLUMNS], *tag[TAGS]; /* NULL: this data has none */
    int ranking;
    char names[]; /* the entry's words, copied */
} stream;

static int sniff(void *self, const char *head, size_t bytes, const char *file_name)
{
    (void)self, (void)file_name;
    return graft_head_has_key(head, bytes, "conversations") == 1 ? 90 : 0;
}

static size_t words_bytes(const graft_json *object, const char *const *keys, int n)
{
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        const graft_json *v = graft_json_get(object, keys[i]);
        if (v && v->type == GRAFT_JSON_TEXT) bytes += v->bytes + 1;
    }
    return bytes;
}

static char *words_copy(const graft_json *object, const char *const *keys, const char *const *defaults, const char **out, int n, char *at)
{
    for (int i = 0; i < n; i++) {
        const graft_json *v = graft_json_get(object, keys[i]);
        out[i] = object ? NULL : defaults[i];
        if (!v || v->type != GRAFT_JSON_TEXT) continue;
        out[i] = at;
        memcpy(at, v->text, v->bytes + 1);
        at += v->bytes + 1;
    }
    return at;
}

static graft_status open_stream(void *self, graft_source *source, const graft_config *entry, void **out, graft_error *err)
{
    const graft_host *host = self;
    const graft_json *columns = entry->api->value(entry, "columns"), *tags = entry->api->value(entry, "tags");
    stream *s = host->alloc(host->ctx, sizeof *s + words_bytes(columns, column_keys, COLUMNS) + words_bytes(tags, tag_keys, TAGS), 16);
    if (!s) return host->fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for a dataset");
    *s = (stream){.host = host, .source = source};
    words_copy(tags, tag_keys, tag_defaults, s->tag, TAGS, words_copy(columns, column_keys, column_defaults, s->column, COLUMNS, s->names));
    s->ranking = graft_flag(entry, "ranking", 0);
    if (!s->column[MESSAGES] || !s->tag[ROLE] || !s->tag[CONTENT]) {
        host->release(host->ctx, s);
        return host->fail(err, GRAFT_BAD_INPUT, NULL, "the dataset's entry has columns without \"messages\", or tags without \"role_tag\" or \"content_tag\"; list them");
    }
    *out = s;
    return GRAFT_OK;
}

static void close_stream(void *p)
{
    stream *s = p;
    if (s) s->host->release(s->host->ctx, s);
}

static graft_status refuse(stream *s, graft_error *err, const char *key, const char *what)
{
    return s->host->fail(err, GRAFT_BAD_INPUT, s->source->api->place(s->source), "\"%.80s\" %s", key, what);
}

static const graft_json *value_of(const stream *s, const graft_json *row, int column)
{
    const graft_json *v = s->column[column] ? graft_json_get(row, s->column[column]) : NULL;
    return v && v->type != GRAFT_JSON_NULL ? v : NULL;
}

static graft_status text_of(stream *s, const graft_json *row, int column, const graft_json **out, graft_error *err)
{
    *out = value_of(s, row, column);
    if (*out && (*out)->type != GRAFT_JSON_TEXT) return refuse(s, err, s->column[column], "must be a text, found something else; make it a JSON string");
    return GRAFT_OK;
}

/* Which tag a turn's role is; TAGS: none of them. */
static int role_of(const stream *s, const graft_json *role)
{
    for (int i = USER; i < TAGS; i++)
        if (s->tag[i] && role->bytes == strlen(s->tag[i]) && !memcmp(role->text, s->tag[i], role->bytes)) return i;
    return TAGS;
}

static graft_status turn_of(stream *s, const graft_json *turn, const graft_json **content, const graft_json **role, graft_error *err)
{
    *role = graft_json_get(turn, s->tag[ROLE]), *content = graft_json_get(turn, s->tag[CONTENT]);
    if (!*role || (*role)->type != GRAFT_JSON_TEXT) return refuse(s, err, s->tag[ROLE], "is missing in a turn, or is no text");
    if (!*content || (*content)->type != GRAFT_JSON_TEXT) return refuse(s, err, s->tag[CONTENT], "is missing in a turn, or is no text");
    return GRAFT_OK;
}

static void drop_role(graft_record *r, int64_t number, const graft_json *role, int known, int answer)
{
    char reason[300];
    if (!known) snprintf(reason, sizeof reason, "turn %lld has the unknown role \"%.60s\"", (long long)number, role->text);
    else snprintf(reason, sizeof reason, "turn %lld is of role \"%.60s\" where %s belongs", (long long)number, role->text, answer ? "an assistant or function turn" : "a user or observation turn");
    r->api->drop(r, reason);
}

static graft_status preference(stream *s, const graft_json *row, graft_record *r, graft_error *err)
{
    static const int columns[2] = {CHOSEN, REJECTED};
    for (int i = 0; i < 2; i++) {
        const graft_json *turn = value_of(s, row, columns[i]), *content, *role;
        if (!turn || turn->type != GRAFT_JSON_OBJECT) return refuse(s, err, s->column[columns[i]] ? s->column[columns[i]] : column_keys[columns[i]], "is missing: a preference record needs a turn there");
        if (turn_of(s, turn, &content, &role, err)) return err->code;
        const int tag = role_of(s, role);
        if (tag != ASSISTANT && tag != FUNCTION) return drop_role(r, i + 1, role, tag != TAGS, 1), GRAFT_OK;
        r->api->turn(r, i ? GRAFT_REJECTED : GRAFT_CHOSEN, content->text, content->bytes);
    }
    return GRAFT_OK;
}

static graft_status turns(stream *s, const graft_json *list, graft_record *r, graft_error *err)
{
    static const graft_speaker speakers[TAGS] = {GRAFT_PLAIN, GRAFT_PLAIN, GRAFT_USER, GRAFT_ASSISTANT, GRAFT_OBSERVATION, GRAFT_FUNCTION, GRAFT_SYSTEM};
    int64_t n = 0, number = 0;
    for (const graft_json *turn = list->child; turn; turn = turn->next) {
        const graft_json *content, *role;
        if (turn_of(s, turn, &content, &role, err)) return err->code;
        const int tag = role_of(s, role), answer = n % 2 != 0;
        number++;
        if (tag == SYSTEM_TURN && turn == list->child) {
            r->api->turn(r, GRAFT_SYSTEM, content->text, content->bytes);
            continue;
        }
        if (answer ? tag != ASSISTANT && tag != FUNCTION : tag != USER && tag != OBSERVATION) return drop_role(r, number, role, tag != TAGS, answer), GRAFT_OK;
        r->api->turn(r, speakers[tag], content->text, content->bytes);
        n++;
    }
    if (!n) r->api->drop(r, "it has no turns");
    else if (!s->ranking && n % 2) r->api->drop(r, "its last turn has no answer");
    else if (s->ranking && n % 2 == 0) r->api->drop(r, "a preference record must end with a question");
    return GRAFT_OK;
}

static graft_status next(void *p, graft_record *r, int *end, graft_error *err)
{
    stream *s = p;
    const graft_json *row, *system, *tools;
    if (s->source->api->row(s->source, &row, err)) return err->code;
    *end = row == NULL;
    if (*end) return GRAFT_OK;
    const graft_json *list = value_of(s, row, MESSAGES), *tag = value_of(s, row, KTO_TAG);
    if (!list) return refuse(s, err, s->column[MESSAGES], "is missing, there are no turns; give the record that key, or name its columns in the dataset's entry");
    if (list->type != GRAFT_JSON_ARRAY) return refuse(s, err, s->column[MESSAGES], "must be a list of turns");
    if (tag && tag->type != GRAFT_JSON_BOOL) return refuse(s, err, s->column[KTO_TAG], "must be true or false");
    if (text_of(s, row, SYSTEM, &system, err) || text_of(s, row, TOOLS, &tools, err)) return err->code;
    if (system) r->api->turn(r, GRAFT_SYSTEM, system->text, system->bytes); /* a system turn comes later and wins */
    if (tools) r->api->turn(r, GRAFT_TOOLS, tools->text, tools->bytes);
    if (tag && !s->ranking) r->api->flag(r, "kto_label", (double)tag->integer);
    if (turns(s, list, r, err)) return err->code;
    return s->ranking ? preference(s, row, r, err) : GRAFT_OK;
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

GRAFT_ONE_TABLE("format", "graft.format/1", "sharegpt", "1.0.0", &table)
