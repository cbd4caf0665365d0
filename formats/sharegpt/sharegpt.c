/* formats/sharegpt/sharegpt.c - records with a list of turns:
 *
 *   { "conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}, ...], "system": "...", "tools": "[...]" }
 *
 * The entry's "columns" name the members (messages, system, tools, chosen, rejected, kto_tag) and its "tags" the words inside a turn (role_tag,
 * content_tag, user_tag, assistant_tag, observation_tag, function_tag, system_tag). When either is there, what it does not list is absent. As in
 * LLaMA-Factory: a system turn may come first and wins over the column; then user or observation and assistant or function turns alternate, ending
 * with an answer (before chosen and rejected: with a question). A record that does not is dropped and counted, with the reason. */
#include "graft/rows.h"

static const graft_rows_word words[] = {
    {"messages", "conversations", "conversations", 0},
    {"system", NULL, "system", 0},
    {"tools", NULL, "tools", 0},
    {"chosen", NULL, "chosen", 0},
    {"rejected", NULL, "rejected", 0},
    {"kto_tag", NULL, "kto_tag", 0},
    {"role_tag", "from", "from", 1},
    {"content_tag", "value", "value", 1},
    {"user_tag", "human", "human", 1},
    {"assistant_tag", "gpt", "gpt", 1},
    {"observation_tag", "observation", "observation", 1},
    {"function_tag", "function_call", "function_call", 1},
    {"system_tag", "system", "system", 1},
    {NULL, NULL, NULL, 0},
};

static int sniff(void *self, const char *head, size_t bytes, const char *file_name)
{
    (void)self, (void)file_name;
    return graft_head_has_key(head, bytes, "conversations") == 1 ? 90 : 0;
}

static graft_status open_stream(void *self, graft_source *source, const graft_config *entry, void **out, graft_error *err)
{
    graft_rows *r = graft_rows_open(self, source, entry, words, err);
    if (!r || graft_rows_turns_check(r, err)) return err->code;
    *out = r;
    return GRAFT_OK;
}

static void drop_role(graft_record *record, int64_t number, const graft_json *role, int known, int answer)
{
    char reason[300];
    if (!known) snprintf(reason, sizeof reason, "turn %lld has the unknown role \"%.60s\"", (long long)number, role->text);
    else snprintf(reason, sizeof reason, "turn %lld is of role \"%.60s\" where %s belongs", (long long)number, role->text, answer ? "an assistant or function turn" : "a user or observation turn");
    record->api->drop(record, reason);
}

static graft_status turns(const graft_rows *r, const graft_json *list, int pair, graft_record *record, graft_error *err)
{
    static const graft_speaker speakers[] = {GRAFT_USER, GRAFT_ASSISTANT, GRAFT_OBSERVATION, GRAFT_FUNCTION};
    int64_t n = 0, number = 0;
    for (const graft_json *turn = list->child; turn; turn = turn->next) {
        const graft_json *content, *role;
        if (graft_rows_turn(r, turn, &content, &role, err)) return err->code;
        const int who = graft_rows_role(r, role), answer = n % 2 != 0;
        number++;
        if (who == GRAFT_ROWS_SYSTEM_TURN && turn == list->child) {
            record->api->turn(record, GRAFT_SYSTEM, content->text, content->bytes);
            continue;
        }
        if (answer ? who != GRAFT_ROWS_ASSISTANT && who != GRAFT_ROWS_FUNCTION : who != GRAFT_ROWS_USER && who != GRAFT_ROWS_OBSERVATION) return drop_role(record, number, role, who != GRAFT_ROWS_TURN_WORDS, answer), GRAFT_OK;
        record->api->turn(record, speakers[who - GRAFT_ROWS_USER], content->text, content->bytes);
        n++;
    }
    if (!n) record->api->drop(record, "it has no turns");
    else if (!pair && n % 2) record->api->drop(record, "its last turn has no answer");
    else if (pair && n % 2 == 0) record->api->drop(record, "a preference record must end with a question");
    return GRAFT_OK;
}

static graft_status next(void *stream, graft_record *record, int *end, graft_error *err)
{
    const graft_rows *r = stream;
    const graft_json *row, *list, *system, *tools;
    if (r->source->api->row(r->source, &row, err)) return err->code;
    *end = row == NULL;
    if (*end) return GRAFT_OK;
    if (graft_rows_list(r, row, &list, err) || graft_rows_text(r, row, GRAFT_ROWS_SYSTEM, &system, err) || graft_rows_text(r, row, GRAFT_ROWS_TOOLS, &tools, err)) return err->code;
    const int pair = r->ranking || (r->bare && graft_rows_value(r, row, GRAFT_ROWS_CHOSEN));
    if (system) record->api->turn(record, GRAFT_SYSTEM, system->text, system->bytes); /* a system turn comes later and wins */
    if (tools) record->api->turn(record, GRAFT_TOOLS, tools->text, tools->bytes);
    if (graft_rows_label(r, row, GRAFT_ROWS_LABEL, record, err) || turns(r, list, pair, record, err)) return err->code;
    return pair ? graft_rows_pair(r, row, record, err) : GRAFT_OK;
}

static const graft_format_table table = {(uint32_t)sizeof(graft_format_table), sniff, open_stream, next, graft_rows_tell, graft_rows_seek, graft_rows_close};

GRAFT_ONE_TABLE("format", "graft.format/1", "sharegpt", "1.0.0", &table)
