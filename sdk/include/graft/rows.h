/* graft/rows.h - for dataset formats that take the host's rows (JSON objects) one by one: the words of the registry entry, values, refusals, places.
 *
 * An entry renames what a format looks for: "columns" the members of a row, "tags" the words inside a turn. When such an object is there, what it does not
 * list is absent (LLaMA-Factory's rule); when it is not, the format's own words count. A file named without any entry is bare: `bare` words count. */
#ifndef GRAFT_ROWS_H
#define GRAFT_ROWS_H

#include "format.h"
#include "plugin.h"

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { GRAFT_ROWS_WORDS = 24 };

/* What a format looks for. */
typedef struct graft_rows_word {
    const char *key;   /* its name in "columns" or "tags"; NULL ends the list */
    const char *usual; /* without that object; NULL: absent                   */
    const char *bare;  /* without an entry; NULL: absent                      */
    int         tag;   /* in "tags"                                           */
} graft_rows_word;

typedef struct graft_rows {
    const graft_host *host;
    graft_source     *source;
    int               bare, ranking;
    const char       *word[GRAFT_ROWS_WORDS]; /* in the list's order; NULL: this data has none */
} graft_rows;

static inline const graft_json *graft_rows_renamed(const graft_json *columns, const graft_json *tags, const graft_rows_word *w)
{
    const graft_json *v = graft_json_get(w->tag ? tags : columns, w->key);
    return v && v->type == GRAFT_JSON_TEXT ? v : NULL;
}

/* NULL after an error. The entry's words are copied. [control] */
static inline graft_rows *graft_rows_open(const graft_host *host, graft_source *source, const graft_config *entry, const graft_rows_word *words, graft_error *err)
{
    const graft_json *columns = entry->api->value(entry, "columns"), *tags = entry->api->value(entry, "tags");
    const int bare = !columns && !tags && !entry->api->value(entry, "formatting") && !entry->api->value(entry, "file_name");
    size_t bytes = sizeof(graft_rows);
    for (const graft_rows_word *w = words; w->key; w++) {
        const graft_json *v = graft_rows_renamed(columns, tags, w);
        bytes += v ? v->bytes + 1 : 0;
    }
    graft_rows *r = (graft_rows *)host->alloc(host->ctx, bytes, 16);
    if (!r) {
        host->fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for a dataset");
        return NULL;
    }
    memset(r, 0, sizeof *r);
    r->host = host, r->source = source, r->bare = bare;
    r->ranking = graft_flag(entry, "ranking", 0);
    char *at = (char *)(r + 1);
    for (int i = 0; words[i].key && i < GRAFT_ROWS_WORDS; i++) {
        const graft_json *v = graft_rows_renamed(columns, tags, &words[i]);
        r->word[i] = bare ? words[i].bare : (words[i].tag ? tags : columns) ? NULL : words[i].usual;
        if (!v) continue;
        memcpy(at, v->text, v->bytes + 1);
        r->word[i] = at;
        at += v->bytes + 1;
    }
    return r;
}

static inline void graft_rows_close(void *stream)
{
    graft_rows *r = (graft_rows *)stream;
    if (r) r->host->release(r->host->ctx, r);
}

/* "\"output\" must be a text" at the record's place. */
static inline graft_status graft_rows_refuse(const graft_rows *r, graft_error *err, const char *key, const char *what)
{
    return r->host->fail(err, GRAFT_BAD_INPUT, r->source->api->place(r->source), "\"%.80s\" %s", key ? key : "?", what);
}

static inline graft_status graft_rows_no_memory(const graft_rows *r, graft_error *err) { return r->host->fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for a record"); }

/* The value under a word: NULL when the data has no such word, the row no such key, or it is null. */
static inline const graft_json *graft_rows_value(const graft_rows *r, const graft_json *row, int word)
{
    const graft_json *v = r->word[word] ? graft_json_get(row, r->word[word]) : NULL;
    return v && v->type != GRAFT_JSON_NULL ? v : NULL;
}

/* The same, which must be a text. */
static inline graft_status graft_rows_text(const graft_rows *r, const graft_json *row, int word, const graft_json **out, graft_error *err)
{
    *out = graft_rows_value(r, row, word);
    if (*out && (*out)->type != GRAFT_JSON_TEXT) return graft_rows_refuse(r, err, r->word[word], "must be a text, found something else; make it a JSON string");
    return GRAFT_OK;
}

/* A preference's label: flags the record when it is there. */
static inline graft_status graft_rows_label(const graft_rows *r, const graft_json *row, int word, graft_record *record, graft_error *err)
{
    const graft_json *tag = graft_rows_value(r, row, word);
    if (tag && tag->type != GRAFT_JSON_BOOL) return graft_rows_refuse(r, err, r->word[word], "must be true or false");
    if (tag) record->api->flag(record, "kto_label", (double)tag->integer);
    return GRAFT_OK;
}

/* ---- tell and seek of a format whose place is the source's --------------------------------------------------------------- */

static inline graft_status graft_rows_tell(void *stream, graft_cursor *at, graft_error *err)
{
    graft_rows *r = (graft_rows *)stream;
    const int64_t offset = r->source->api->tell(r->source);
    (void)err;
    memset(at, 0, sizeof *at);
    memcpy(at->bytes, &offset, sizeof offset);
    return GRAFT_OK;
}

static inline graft_status graft_rows_seek(void *stream, const graft_cursor *at, graft_error *err)
{
    graft_rows *r = (graft_rows *)stream;
    int64_t offset;
    memcpy(&offset, at->bytes, sizeof offset);
    if (!r->source->api->seek(r->source, offset)) return GRAFT_OK;
    return r->host->fail(err, GRAFT_BAD_INPUT, r->source->api->place(r->source), "the place %lld to continue from is not in the file; was it changed?", (long long)offset);
}

/* ---- lists of turns {role, content}: words in this order, from `first` on ------------------------------------------------------- */

enum { GRAFT_ROWS_MESSAGES, GRAFT_ROWS_SYSTEM, GRAFT_ROWS_TOOLS, GRAFT_ROWS_CHOSEN, GRAFT_ROWS_REJECTED, GRAFT_ROWS_LABEL,
       GRAFT_ROWS_ROLE, GRAFT_ROWS_CONTENT, GRAFT_ROWS_USER, GRAFT_ROWS_ASSISTANT, GRAFT_ROWS_OBSERVATION, GRAFT_ROWS_FUNCTION, GRAFT_ROWS_SYSTEM_TURN,
       GRAFT_ROWS_TURN_WORDS };

/* Who speaks, as one of the words from GRAFT_ROWS_USER on; GRAFT_ROWS_TURN_WORDS: nobody known. */
static inline int graft_rows_role(const graft_rows *r, const graft_json *role)
{
    for (int i = GRAFT_ROWS_USER; i < GRAFT_ROWS_TURN_WORDS; i++)
        if (r->word[i] && role->bytes == strlen(r->word[i]) && !memcmp(role->text, r->word[i], role->bytes)) return i;
    return GRAFT_ROWS_TURN_WORDS;
}

static inline graft_status graft_rows_turn(const graft_rows *r, const graft_json *turn, const graft_json **content, const graft_json **role, graft_error *err)
{
    *role = graft_json_get(turn, r->word[GRAFT_ROWS_ROLE]), *content = graft_json_get(turn, r->word[GRAFT_ROWS_CONTENT]);
    if (!*role || (*role)->type != GRAFT_JSON_TEXT) return graft_rows_refuse(r, err, r->word[GRAFT_ROWS_ROLE], "is missing in a turn, or is no text");
    if (!*content || (*content)->type != GRAFT_JSON_TEXT) return graft_rows_refuse(r, err, r->word[GRAFT_ROWS_CONTENT], "is missing in a turn, or is no text");
    return GRAFT_OK;
}

/* The list of turns of a row; refuses a row without. */
static inline graft_status graft_rows_list(const graft_rows *r, const graft_json *row, const graft_json **list, graft_error *err)
{
    *list = graft_rows_value(r, row, GRAFT_ROWS_MESSAGES);
    if (!*list) return graft_rows_refuse(r, err, r->word[GRAFT_ROWS_MESSAGES], "is missing, there are no turns; give the record that key, or name its columns in the dataset's entry");
    if ((*list)->type != GRAFT_JSON_ARRAY) return graft_rows_refuse(r, err, r->word[GRAFT_ROWS_MESSAGES], "must be a list of turns");
    return GRAFT_OK;
}

/* The chosen and the rejected turn of a preference row, both an assistant's. */
static inline graft_status graft_rows_pair(const graft_rows *r, const graft_json *row, graft_record *record, graft_error *err)
{
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "rejected" : "chosen", *word = r->word[GRAFT_ROWS_CHOSEN + i];
        const graft_json *turn = graft_rows_value(r, row, GRAFT_ROWS_CHOSEN + i), *content, *role;
        if (!turn || turn->type != GRAFT_JSON_OBJECT) return graft_rows_refuse(r, err, word ? word : name, "is missing: a preference record needs a turn there");
        if (graft_rows_turn(r, turn, &content, &role, err)) return err->code;
        const int who = graft_rows_role(r, role);
        if (who != GRAFT_ROWS_ASSISTANT && who != GRAFT_ROWS_FUNCTION) {
            char reason[200];
            snprintf(reason, sizeof reason, "the %s turn is of role \"%.60s\" where an assistant or function turn belongs", name, role->text);
            record->api->drop(record, reason);
            return GRAFT_OK;
        }
        if (who == GRAFT_ROWS_FUNCTION) record->api->flag(record, i ? "rejected_calls" : "chosen_calls", 1.0);
        record->api->turn(record, i ? GRAFT_REJECTED : GRAFT_CHOSEN, content->text, content->bytes);
    }
    return GRAFT_OK;
}

/* What the words of a turns format must name. */
static inline graft_status graft_rows_turns_check(graft_rows *r, graft_error *err)
{
    if (r->word[GRAFT_ROWS_MESSAGES] && r->word[GRAFT_ROWS_ROLE] && r->word[GRAFT_ROWS_CONTENT]) return GRAFT_OK;
    const graft_host *host = r->host;
    graft_rows_close(r);
    return host->fail(err, GRAFT_BAD_INPUT, NULL, "the dataset's entry has columns without \"messages\", or tags without \"role_tag\" or \"content_tag\"; list them");
}

#ifdef __cplusplus
}
#endif
#endif
