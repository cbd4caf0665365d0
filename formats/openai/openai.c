/* formats/openai/openai.c - records as chat APIs take them:
 *
 *   { "messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name", "arguments"}}]},
 *                  {"role": "tool", "content": "..."}, ...], "tools": [...] }
 *
 * Columns and tags are named as in sharegpt's entries (when "columns" or "tags" is there, what it does not list is absent). LLaMA-Factory's rules: tool calls
 * become a function turn with the JSON list of their "function" objects; tool messages in a row are one observation, joined by </tool_response> and
 * <tool_response> lines; tools may be a text or JSON; and its system text: "detailed thinking off" is added when there are no tools and neither form of the
 * phrase is in it, a newline when there are tools. With "ranking" the messages end with a question and chosen and rejected are messages. A record whose
 * turns do not alternate is dropped and counted, with the reason. */
#include "graft/rows.h"
#include "json_out.h"

static const graft_rows_word words[] = {
    {"messages", "conversations", "messages", 0},
    {"system", NULL, NULL, 0},
    {"tools", NULL, "tools", 0},
    {"chosen", NULL, "chosen", 0},
    {"rejected", NULL, "rejected", 0},
    {"kto_tag", NULL, "kto_tag", 0},
    {"role_tag", "from", "role", 1},
    {"content_tag", "value", "content", 1},
    {"user_tag", "human", "user", 1},
    {"assistant_tag", "gpt", "assistant", 1},
    {"observation_tag", "observation", "tool", 1},
    {"function_tag", "function_call", "function", 1},
    {"system_tag", "system", "system", 1},
    {NULL, NULL, NULL, 0},
};
static const char thinking_off[] = "detailed thinking off", thinking_on[] = "detailed thinking on";
static const char between[] = "\n</tool_response>\n<tool_response>\n";

static int sniff(void *self, const char *head, size_t bytes, const char *file_name)
{
    (void)self, (void)file_name;
    return graft_head_has_key(head, bytes, "messages") == 1 ? 90 : 0;
}

static graft_status open_stream(void *self, graft_source *source, const graft_config *entry, void **out, graft_error *err)
{
    graft_rows *r = graft_rows_open(self, source, entry, words, err);
    if (!r || graft_rows_turns_check(r, err)) return err->code;
    *out = r;
    return GRAFT_OK;
}

/* ---- turns -------------------------------------------------------------------------------------------------------------------------- */

typedef struct talk {
    const graft_rows *r;
    graft_record *record;
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
        t->record->api->drop(t->record, reason);
        t->broken = 1;
    }
    t->record->api->turn(t->record, who, text, bytes);
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
    text_out o = {.host = t->r->host};
    graft_status status = GRAFT_OK;
    text_add(&o, "[", 1);
    for (const graft_json *c = list->child; c && !status; c = c->next) {
        const graft_json *function = graft_json_get(c, "function");
        if (c != list->child) text_add(&o, ", ", 2);
        if (function && function->type != GRAFT_JSON_NULL) text_json(&o, function);
        else status = graft_rows_refuse(t->r, t->err, "tool_calls", "has a call without \"function\"");
    }
    text_add(&o, "]", 1);
    if (!status && o.failed) status = graft_rows_no_memory(t->r, t->err);
    if (!status) say(t, GRAFT_FUNCTION, o.data, o.bytes);
    text_free(&o);
    return status;
}

static graft_status message(talk *t, const graft_json *m)
{
    const graft_rows *r = t->r;
    const graft_json *role = graft_json_get(m, r->word[GRAFT_ROWS_ROLE]), *content = graft_json_get(m, r->word[GRAFT_ROWS_CONTENT]), *list = graft_json_get(m, "tool_calls");
    if (!role || role->type != GRAFT_JSON_TEXT) return graft_rows_refuse(r, t->err, r->word[GRAFT_ROWS_ROLE], "is missing in a message, or is no text");
    const int who = graft_rows_role(r, role), called = (who == GRAFT_ROWS_ASSISTANT || who == GRAFT_ROWS_FUNCTION) && list && list->type == GRAFT_JSON_ARRAY && list->count > 0;
    if (!called && (!content || content->type != GRAFT_JSON_TEXT)) return graft_rows_refuse(r, t->err, r->word[GRAFT_ROWS_CONTENT], "is missing in a message, or is no text");
    if (who == GRAFT_ROWS_OBSERVATION) {
        if (t->observed) text_add(&t->observation, between, sizeof between - 1);
        text_add(&t->observation, content->text, content->bytes);
        t->observed = 1;
        return t->observation.failed ? graft_rows_no_memory(r, t->err) : GRAFT_OK;
    }
    observations_end(t);
    if (called) return calls(t, list);
    if (who == GRAFT_ROWS_TURN_WORDS || who == GRAFT_ROWS_SYSTEM_TURN) {
        char reason[200];
        snprintf(reason, sizeof reason, who == GRAFT_ROWS_TURN_WORDS ? "a message has the unknown role \"%.60s\"" : "a system message (\"%.60s\") stands behind others", role->text);
        t->record->api->drop(t->record, reason);
        t->broken = 1;
        return GRAFT_OK;
    }
    say(t, who == GRAFT_ROWS_USER ? GRAFT_USER : who == GRAFT_ROWS_ASSISTANT ? GRAFT_ASSISTANT
                                                                             : GRAFT_FUNCTION,
        content->text, content->bytes);
    return GRAFT_OK;
}

static graft_status system_and_tools(const graft_rows *r, const graft_json *row, const graft_json *first, graft_record *record, graft_error *err)
{
    const graft_json *system = first ? first : graft_rows_value(r, row, GRAFT_ROWS_SYSTEM), *tools = graft_rows_value(r, row, GRAFT_ROWS_TOOLS);
    if (system && system->type != GRAFT_JSON_TEXT) return graft_rows_refuse(r, err, r->word[first ? GRAFT_ROWS_CONTENT : GRAFT_ROWS_SYSTEM], "must be a text, found something else");
    text_out o = {.host = r->host}, t = {.host = r->host};
    if (tools && tools->type == GRAFT_JSON_TEXT) text_add(&t, tools->text, tools->bytes);
    else if (tools && (tools->type == GRAFT_JSON_OBJECT || tools->type == GRAFT_JSON_ARRAY) && tools->count > 0) text_json(&t, tools);
    if (system) text_add(&o, system->text, system->bytes);
    text_add(&o, "", 1);
    o.bytes -= !o.failed;
    const int told = !o.failed && o.bytes && (strstr(o.data, thinking_on) || strstr(o.data, thinking_off));
    if (t.bytes ? o.bytes != 0 : o.bytes && !told) text_add(&o, "\n", 1);
    if (!t.bytes && !told) text_add(&o, thinking_off, sizeof thinking_off - 1);
    const graft_status status = o.failed || t.failed ? graft_rows_no_memory(r, err) : GRAFT_OK;
    if (!status && o.bytes) record->api->turn(record, GRAFT_SYSTEM, o.data, o.bytes);
    if (!status && t.bytes) record->api->turn(record, GRAFT_TOOLS, t.data, t.bytes);
    text_free(&o);
    text_free(&t);
    return status;
}

static graft_status turns(talk *t, const graft_json *m, int pair)
{
    graft_status status = GRAFT_OK;
    for (; m && !status && !t->broken; m = m->next) status = message(t, m);
    if (status || t->broken) return status;
    if (t->observed && !pair) return t->record->api->drop(t->record, "its last message is a tool's, without an answer"), GRAFT_OK;
    observations_end(t);
    if (pair && t->n % 2 == 0) t->record->api->drop(t->record, "a preference record must end with a question");
    else if (!pair && (!t->n || t->n % 2)) t->record->api->drop(t->record, t->n ? "its last message has no answer" : "it has no messages");
    return GRAFT_OK;
}

static graft_status next(void *stream, graft_record *record, int *end, graft_error *err)
{
    const graft_rows *r = stream;
    const graft_json *row, *list;
    if (r->source->api->row(r->source, &row, err)) return err->code;
    *end = row == NULL;
    if (*end) return GRAFT_OK;
    if (graft_rows_list(r, row, &list, err) || graft_rows_label(r, row, GRAFT_ROWS_LABEL, record, err)) return err->code;
    const graft_json *m = list->child, *role = m ? graft_json_get(m, r->word[GRAFT_ROWS_ROLE]) : NULL, *first = NULL;
    if (role && role->type == GRAFT_JSON_TEXT && graft_rows_role(r, role) == GRAFT_ROWS_SYSTEM_TURN) first = graft_json_get(m, r->word[GRAFT_ROWS_CONTENT]), m = m->next;
    if (system_and_tools(r, row, first, record, err)) return err->code;
    const int pair = r->ranking || (r->bare && graft_rows_value(r, row, GRAFT_ROWS_CHOSEN));
    talk t = {.r = r, .record = record, .err = err, .observation = {.host = r->host}};
    const graft_status status = turns(&t, m, pair);
    text_free(&t.observation);
    return status || !pair ? status : graft_rows_pair(r, row, record, err);
}

static const graft_format_table table = {(uint32_t)sizeof(graft_format_table), sniff, open_stream, next, graft_rows_tell, graft_rows_seek, graft_rows_close};

GRAFT_ONE_TABLE("format", "graft.format/1", "openai", "1.0.0", &table)
