/* formats/openai/openai.c - records as chat APIs take them:
 *
 *   { "messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name", "arguments"}}]},
 *                  {"role": "tool", "content": "..."}, ...], "tools": [...] }
 *
 * Columns and tags are named as in sharegpt's entries (when "columns" or "tags" is there, what it does not list is absent). LLaMA-Factory's rules: tool calls
 * become a function turn with the JSON list of their "function" objects; tool messages in a row are one observation, joined by </tool_response> and
 * <tool_response> lines; tools may be a text or JSON; and its system text: "detailed thinking off" is added when there are no tools and neither form of the
 * phrase is in it, a newline when there are tools. A record whose turns do not alternate is dropped and counted, with the reason. */
#include "graft/format.h"
#include "json_out.h"

#include <stdio.h>

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
/* Found by its content, without an entry: the words of the APIs. */
static const char *const bare_columns[COLUMNS] = {"messages", NULL, "tools"};
static const char *const bare_tags[TAGS] = {"role", "content", "user", "assistant", "tool", "function", "system"};
static const char thinking_off[] = "detailed thinking off", thinking_on[] = "detailed thinking on";
static const char between[] = "\n</tool_response>\n<tool_response>\n";

typedef struct stream {
    const graft_host *host;
    graft_source *source;
    const char *column[COLUMNS], *tag[TAGS]; /* NULL: this data has none */
    char names[];                            /* the entry's words, copied */
} stream;

static int sniff(void *self, const char *head, size_t bytes, const char *file_name)
{
    (void)self, (void)file_name;
    return graft_head_has_key(head, bytes, "messages") == 1 ? 90 : 0;
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
    const int bare = !columns && !tags && !entry->api->value(entry, "formatting");
    stream *s = host->alloc(host->ctx, sizeof *s + words_bytes(columns, column_keys, COLUMNS) + words_bytes(tags, tag_keys, TAGS), 16);
    if (!s) return host->fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for a dataset");
    *s = (stream){.host = host, .source = source};
    char *at = words_copy(columns, column_keys, bare ? bare_columns : column_defaults, s->column, COLUMNS, s->names);
    words_copy(tags, tag_keys, bare ? bare_tags : tag_defaults, s->tag, TAGS, at);
    if (!s->column[MESSAGES] || !s->tag[ROLE] || !s->tag[CONTENT] || graft_flag(entry, "ranking", 0)) {
        const int ranking = graft_flag(entry, "ranking", 0);
        host->release(host->ctx, s);
        return host->fail(err, ranking ? GRAFT_UNSUPPORTED : GRAFT_BAD_INPUT, NULL,
                          ranking ? "preferences (\"ranking\") are not read in this format; use sharegpt with tags" : "the dataset's entry has columns without \"messages\", or tags without \"role_tag\" or \"content_tag\"; list them");
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

static const graft_json *present(const graft_json *v) { return v && v->type != GRAFT_JSON_NULL ? v : NULL; }
static const graft_json *value_of(const stream *s, const graft_json *row, int column) { return s->column[column] ? present(graft_json_get(row, s->column[column])) : NULL; }

static int role_of(const stream *s, const graft_json *role)
{
    for (int i = USER; i < TAGS; i++)
        if (s->tag[i] && role->bytes == strlen(s->tag[i]) && !memcmp(role->text, s->tag[i], role->bytes)) return i;
    return TAGS;
}

/* ---- turns -------------------------------------------------------------------------------------------------------------------------- */

typedef struct talk {
    stream *s;
    graft_record *r;
    graft_error *err;
    int64_t n;
    int observed, broken;
    text_out observation;
} talk;

static void say(talk *t, graft_speaker who, const char *text, size_t bytes)
{
    const int answer = who == GRAFT_ASSISTANT || who == GRAFT_FUNCTION;
    if (answer != (int)(t->n % 2) && !t->broken) {
        char reason[160];
        snprintf(reason, sizeof reason, "turn %lld is of the wrong side: user (or tool) and assistant turns must alternate", (long long)t->n + 1);
        t->r->api->drop(t->r, reason);
        t->broken = 1;
    }
    t->r->api->turn(t->r, who, text, bytes);
    t->n++;
}

static void observations_end(talk *t)
{
    if (t->observed) say(t, GRAFT_OBSERVATION, t->observation.bytes ? t->observation.data : "", t->observation.bytes);
    t->observed = 0;
    t->observation.bytes = 0;
}

static graft_status calls(talk *t, const graft_json *list)
{
    text_out o = {.host = t->s->host};
    graft_status status = GRAFT_OK;
    text_add(&o, "[", 1);
    for (const graft_json *c = list->child; c && !status; c = c->next) {
        const graft_json *function = present(graft_json_get(c, "function"));
        if (c != list->child) text_add(&o, ", ", 2);
        if (function) text_json(&o, function);
        else status = refuse(t->s, t->err, "tool_calls", "has a call without \"function\"");
    }
    text_add(&o, "]", 1);
    if (!status && o.failed) status = t->s->host->fail(t->err, GRAFT_NO_MEMORY, NULL, "out of memory for a record");
    if (!status) say(t, GRAFT_FUNCTION, o.data, o.bytes);
    text_free(&o);
    return status;
}

static graft_status message(talk *t, const graft_json *m)
{
    const stream *s = t->s;
    const graft_json *role = graft_json_get(m, s->tag[ROLE]), *content = present(graft_json_get(m, s->tag[CONTENT])), *list = present(graft_json_get(m, "tool_calls"));
    if (!role || role->type != GRAFT_JSON_TEXT) return refuse(t->s, t->err, s->tag[ROLE], "is missing in a message, or is no text");
    const int tag = role_of(s, role), called = (tag == ASSISTANT || tag == FUNCTION) && list && list->type == GRAFT_JSON_ARRAY && list->count > 0;
    if (!called && (!content || content->type != GRAFT_JSON_TEXT)) return refuse(t->s, t->err, s->tag[CONTENT], "is missing in a message, or is no text");
    if (tag == OBSERVATION) {
        if (t->observed) text_add(&t->observation, between, sizeof between - 1);
        text_add(&t->observation, content->text, content->bytes);
        t->observed = 1;
        return t->observation.failed ? s->host->fail(t->err, GRAFT_NO_MEMORY, NULL, "out of memory for a record") : GRAFT_OK;
    }
    observations_end(t);
    if (called) return calls(t, list);
    if (tag == TAGS || tag == SYSTEM_TURN) {
        char reason[200];
        snprintf(reason, sizeof reason, tag == TAGS ? "a message has the unknown role \"%.60s\"" : "a system message (\"%.60s\") stands behind others", role->text);
        t->r->api->drop(t->r, reason);
        t->broken = 1;
        return GRAFT_OK;
    }
    say(t, tag == USER ? GRAFT_USER : tag == ASSISTANT ? GRAFT_ASSISTANT
                                                       : GRAFT_FUNCTION,
        content->text, content->bytes);
    return GRAFT_OK;
}

static graft_status system_and_tools(stream *s, const graft_json *row, const graft_json *first, graft_record *r, graft_error *err)
{
    const graft_json *system = first ? first : value_of(s, row, SYSTEM), *tools = value_of(s, row, TOOLS);
    if (system && system->type != GRAFT_JSON_TEXT) return refuse(s, err, first ? s->tag[CONTENT] : s->column[SYSTEM], "must be a text, found something else");
    text_out o = {.host = s->host}, t = {.host = s->host};
    if (tools && tools->type == GRAFT_JSON_TEXT) text_add(&t, tools->text, tools->bytes);
    else if (tools && (tools->type == GRAFT_JSON_OBJECT || tools->type == GRAFT_JSON_ARRAY) && tools->count > 0) text_json(&t, tools);
    if (system) text_add(&o, system->text, system->bytes);
    text_add(&o, "", 1);
    o.bytes -= !o.failed;
    const int told = !o.failed && o.bytes && (strstr(o.data, thinking_on) || strstr(o.data, thinking_off));
    if (t.bytes ? o.bytes != 0 : o.bytes && !told) text_add(&o, "\n", 1);
    if (!t.bytes && !told) text_add(&o, thinking_off, sizeof thinking_off - 1);
    const graft_status status = o.failed || t.failed ? s->host->fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for a record") : GRAFT_OK;
    if (!status && o.bytes) r->api->turn(r, GRAFT_SYSTEM, o.data, o.bytes);
    if (!status && t.bytes) r->api->turn(r, GRAFT_TOOLS, t.data, t.bytes);
    text_free(&o);
    text_free(&t);
    return status;
}

static graft_status next(void *p, graft_record *r, int *end, graft_error *err)
{
    stream *s = p;
    const graft_json *row;
    if (s->source->api->row(s->source, &row, err)) return err->code;
    *end = row == NULL;
    if (*end) return GRAFT_OK;
    const graft_json *list = value_of(s, row, MESSAGES), *tag = value_of(s, row, KTO_TAG);
    if (!list) return refuse(s, err, s->column[MESSAGES], "is missing, there are no messages; give the record that key, or name its columns in the dataset's entry");
    if (list->type != GRAFT_JSON_ARRAY) return refuse(s, err, s->column[MESSAGES], "must be a list of messages");
    if (tag && tag->type != GRAFT_JSON_BOOL) return refuse(s, err, s->column[KTO_TAG], "must be true or false");
    if (tag) r->api->flag(r, "kto_label", (double)tag->integer);
    const graft_json *m = list->child, *role = m ? graft_json_get(m, s->tag[ROLE]) : NULL, *first = NULL;
    if (role && role->type == GRAFT_JSON_TEXT && role_of(s, role) == SYSTEM_TURN) first = graft_json_get(m, s->tag[CONTENT]), m = m->next;
    if (system_and_tools(s, row, first, r, err)) return err->code;
    talk t = {.s = s, .r = r, .err = err, .observation = {.host = s->host}};
    graft_status status = GRAFT_OK;
    for (; m && !status && !t.broken; m = m->next) status = message(&t, m);
    if (!status && !t.broken && t.observed) r->api->drop(r, "its last message is a tool's, without an answer");
    else if (!status && !t.broken && (!t.n || t.n % 2)) r->api->drop(r, t.n ? "its last message has no answer" : "it has no messages");
    text_free(&t.observation);
    return status;
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

GRAFT_ONE_TABLE("format", "graft.format/1", "openai", "1.0.0", &table)
