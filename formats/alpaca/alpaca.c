/* formats/alpaca/alpaca.c - records with an instruction, an optional input and an output:
 *
 *   { "instruction": "...", "input": "...", "output": "...", "system": "...", "history": [["question", "answer"], ...] }
 *
 * The entry's "columns" name the members otherwise: prompt, query, response, history, system, tools, chosen, rejected, kto_tag. When it is there, what
 * it does not list is absent; when it is not, only instruction, input and output are read. A file without any entry may call question and answer by
 * their other usual names too (prompt and response, question and answer ...); its first record decides. As in LLaMA-Factory: user text = prompt, newline,
 * query when both have text; a null answer, or one that is no text but a number, drops the record, an empty one keeps it; a kto_tag makes it an answer
 * with a label; with "ranking" the answers are chosen and rejected. Stricter than there, so that no record vanishes by a slip: an answer's key that is
 * missing is an error. */
#include "graft/rows.h"

enum { PROMPT,
       QUERY,
       RESPONSE,
       HISTORY,
       SYSTEM,
       TOOLS,
       CHOSEN,
       REJECTED,
       LABEL };
static const graft_rows_word words[] = {
    {"prompt", "instruction", "instruction", 0},
    {"query", "input", "input", 0},
    {"response", "output", "output", 0},
    {"history", NULL, "history", 0},
    {"system", NULL, "system", 0},
    {"tools", NULL, "tools", 0},
    {"chosen", NULL, "chosen", 0},
    {"rejected", NULL, "rejected", 0},
    {"kto_tag", NULL, "kto_tag", 0},
    {NULL, NULL, NULL, 0},
};
static const char *const questions[] = {"instruction", "prompt", "question", "query"}, *const answers[] = {"output", "response", "completion", "answer", "chosen"};

static int any_key(const char *head, size_t bytes, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (graft_head_has_key(head, bytes, names[i]) == 1) return 1;
    return 0;
}

static int sniff(void *self, const char *head, size_t bytes, const char *file_name)
{
    (void)self, (void)file_name;
    const int question = any_key(head, bytes, questions, 4), answer = any_key(head, bytes, answers, 5);
    if (question && answer) return graft_head_has_key(head, bytes, "instruction") == 1 ? 95 : 80;
    if (question || answer) return 60;
    for (size_t i = 0; i < bytes; i++) /* at least a list or an object: this format then says what is wrong with it */
        if (head[i] == '[' || head[i] == '{') return 20;
        else if ((unsigned char)head[i] < 0x80 && head[i] != ' ' && head[i] != '\n' && head[i] != '\r' && head[i] != '\t') break;
    return 0;
}

static graft_status open_stream(void *self, graft_source *source, const graft_config *entry, void **out, graft_error *err)
{
    return (*out = graft_rows_open(self, source, entry, words, err)) ? GRAFT_OK : err->code;
}

static void decide(graft_rows *r, const graft_json *row)
{
    for (size_t i = 0; i < 4 && !graft_json_get(row, r->word[PROMPT]); i++) r->word[PROMPT] = questions[i];
    for (size_t i = 0; i < 4 && !graft_json_get(row, r->word[RESPONSE]); i++) r->word[RESPONSE] = answers[i];
    if (!graft_json_get(row, r->word[PROMPT])) r->word[PROMPT] = questions[0];
    if (!graft_json_get(row, r->word[RESPONSE])) r->word[RESPONSE] = answers[0];
    r->ranking = !graft_json_get(row, r->word[RESPONSE]) && graft_json_get(row, r->word[CHOSEN]);
    r->bare = 0;
}

static graft_status history(const graft_rows *r, const graft_json *row, graft_record *record, graft_error *err)
{
    const graft_json *list = graft_rows_value(r, row, HISTORY);
    if (!list) return GRAFT_OK;
    if (list->type != GRAFT_JSON_ARRAY) return graft_rows_refuse(r, err, r->word[HISTORY], "must be a list of [question, answer] pairs");
    for (const graft_json *pair = list->child; pair; pair = pair->next) {
        const graft_json *question = pair->child, *answer = question ? question->next : NULL;
        if (pair->type != GRAFT_JSON_ARRAY || pair->count != 2 || question->type != GRAFT_JSON_TEXT || answer->type != GRAFT_JSON_TEXT)
            return graft_rows_refuse(r, err, r->word[HISTORY], "must be a list of [question, answer] pairs of texts");
        record->api->turn(record, GRAFT_USER, question->text, question->bytes);
        record->api->turn(record, GRAFT_ASSISTANT, answer->text, answer->bytes);
    }
    return GRAFT_OK;
}

static graft_status question(const graft_rows *r, const graft_json *row, graft_record *record, graft_error *err)
{
    const graft_json *prompt, *query;
    if (graft_rows_text(r, row, PROMPT, &prompt, err) || graft_rows_text(r, row, QUERY, &query, err)) return err->code;
    const int keys = (r->word[PROMPT] && graft_json_get(row, r->word[PROMPT])) || (r->word[QUERY] && graft_json_get(row, r->word[QUERY]));
    if (!keys) return graft_rows_refuse(r, err, r->word[PROMPT] ? r->word[PROMPT] : r->word[QUERY], "is missing, there is no question; give the record that key, or name its columns in the dataset's entry");
    const graft_json *const only = prompt && prompt->bytes ? (query && query->bytes ? NULL : prompt) : query;
    if (only || !prompt) return record->api->turn(record, GRAFT_USER, only ? only->text : "", only ? only->bytes : 0), GRAFT_OK;
    if (!query) return record->api->turn(record, GRAFT_USER, prompt->text, prompt->bytes), GRAFT_OK;
    const size_t bytes = prompt->bytes + 1 + query->bytes;
    char *both = r->host->alloc(r->host->ctx, bytes, 16);
    if (!both) return graft_rows_no_memory(r, err);
    memcpy(both, prompt->text, prompt->bytes);
    both[prompt->bytes] = '\n';
    memcpy(both + prompt->bytes + 1, query->text, query->bytes);
    record->api->turn(record, GRAFT_USER, both, bytes);
    r->host->release(r->host->ctx, both);
    return GRAFT_OK;
}

static graft_status preference(const graft_rows *r, const graft_json *row, graft_record *record, graft_error *err)
{
    const graft_json *chosen, *rejected;
    if (graft_rows_text(r, row, CHOSEN, &chosen, err) || graft_rows_text(r, row, REJECTED, &rejected, err)) return err->code;
    if (!chosen) return graft_rows_refuse(r, err, r->word[CHOSEN] ? r->word[CHOSEN] : "chosen", "is missing: a preference record needs a chosen answer");
    if (!rejected) return graft_rows_refuse(r, err, r->word[REJECTED] ? r->word[REJECTED] : "rejected", "is missing: a preference record needs a rejected answer");
    record->api->turn(record, GRAFT_CHOSEN, chosen->text, chosen->bytes);
    record->api->turn(record, GRAFT_REJECTED, rejected->text, rejected->bytes);
    return GRAFT_OK;
}

static graft_status answer(const graft_rows *r, const graft_json *row, graft_record *record, graft_error *err)
{
    const graft_json *response = graft_rows_value(r, row, RESPONSE);
    if (graft_rows_label(r, row, LABEL, record, err)) return err->code;
    if (r->ranking) return preference(r, row, record, err);
    if (response && response->type == GRAFT_JSON_TEXT) return record->api->turn(record, GRAFT_ASSISTANT, response->text, response->bytes), GRAFT_OK;
    if (!r->word[RESPONSE]) return record->api->drop(record, "the dataset's columns name no response"), GRAFT_OK;
    if (!graft_json_get(row, r->word[RESPONSE])) return graft_rows_refuse(r, err, r->word[RESPONSE], "is missing, there is no answer; give the record that key, or name its columns in the dataset's entry");
    if (response && response->type != GRAFT_JSON_NUMBER && response->type != GRAFT_JSON_BOOL) return graft_rows_refuse(r, err, r->word[RESPONSE], "must be a text, found something else; make it a JSON string");
    char reason[160];
    snprintf(reason, sizeof reason, "%.80s is %s", r->word[RESPONSE], !response ? "null" : response->type == GRAFT_JSON_NUMBER ? "a number, not a text"
                                                                                                                               : "true or false, not a text");
    record->api->drop(record, reason);
    return GRAFT_OK;
}

static graft_status next(void *stream, graft_record *record, int *end, graft_error *err)
{
    graft_rows *r = stream;
    const graft_json *row, *system, *tools;
    if (r->source->api->row(r->source, &row, err)) return err->code;
    *end = row == NULL;
    if (*end) return GRAFT_OK;
    if (r->bare) decide(r, row);
    if (graft_rows_text(r, row, SYSTEM, &system, err) || graft_rows_text(r, row, TOOLS, &tools, err)) return err->code;
    if (system) record->api->turn(record, GRAFT_SYSTEM, system->text, system->bytes);
    if (tools) record->api->turn(record, GRAFT_TOOLS, tools->text, tools->bytes);
    if (history(r, row, record, err) || question(r, row, record, err)) return err->code;
    return answer(r, row, record, err);
}

static const graft_format_table table = {(uint32_t)sizeof(graft_format_table), sniff, open_stream, next, graft_rows_tell, graft_rows_seek, graft_rows_close};

GRAFT_ONE_TABLE("format", "graft.format/1", "alpaca", "1.0.0", &table)
