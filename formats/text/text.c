/* formats/text/text.c - plain texts to go on with, one a row: {"text": "..."}, or the lines of a .txt file, which the host gives as such rows.
 *
 * The entry's "columns" name the member (prompt, as LLaMA-Factory has it for pretraining). A text that is null drops the record. */
#include "graft/rows.h"

enum { PROMPT };
static const graft_rows_word words[] = {{"prompt", "text", "text", 0}, {NULL, NULL, NULL, 0}};

static int sniff(void *self, const char *head, size_t bytes, const char *file_name)
{
    (void)self, (void)file_name;
    return graft_head_has_key(head, bytes, "text") == 1 ? 50 : 0;
}

static graft_status open_stream(void *self, graft_source *source, const graft_config *entry, void **out, graft_error *err)
{
    const graft_host *host = self;
    graft_rows *r = graft_rows_open(host, source, entry, words, err);
    if (!r) return err->code;
    if (!r->word[PROMPT]) {
        graft_rows_close(r);
        return host->fail(err, GRAFT_BAD_INPUT, NULL, "the dataset's entry has columns without \"prompt\"; name the column that holds the texts");
    }
    *out = r;
    return GRAFT_OK;
}

static graft_status next(void *stream, graft_record *record, int *end, graft_error *err)
{
    const graft_rows *r = stream;
    const graft_json *row, *text;
    if (r->source->api->row(r->source, &row, err)) return err->code;
    *end = row == NULL;
    if (*end) return GRAFT_OK;
    if (!graft_json_get(row, r->word[PROMPT])) return graft_rows_refuse(r, err, r->word[PROMPT], "is missing, there is no text; give the record that key, or name its columns in the dataset's entry");
    if (graft_rows_text(r, row, PROMPT, &text, err)) return err->code;
    if (text) record->api->turn(record, GRAFT_PLAIN, text->text, text->bytes);
    else record->api->drop(record, "its text is null");
    return GRAFT_OK;
}

static const graft_format_table table = {(uint32_t)sizeof(graft_format_table), sniff, open_stream, next, graft_rows_tell, graft_rows_seek, graft_rows_close};

GRAFT_ONE_TABLE("format", "graft.format/1", "text", "1.0.0", &table)
