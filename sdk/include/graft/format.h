/* graft/format.h - a dataset format ("graft.format/1"): a resumable pull stream of records.
 *
 * It reads through the host's source (so it never opens files) and knows no tokenizer and no template. The source offers
 * bytes, and rows: the JSON objects of a .json array or .jsonl file (and of whatever other containers the host reads), one at a time. Column and tag
 * names come from the registry entry (LLaMA-Factory's "columns" and "tags"). */
#ifndef GRAFT_FORMAT_H
#define GRAFT_FORMAT_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum graft_speaker { GRAFT_SYSTEM, GRAFT_USER, GRAFT_ASSISTANT, GRAFT_OBSERVATION, GRAFT_FUNCTION, GRAFT_TOOLS, GRAFT_CHOSEN, GRAFT_REJECTED, GRAFT_PLAIN } graft_speaker;

/* The host's side of one record: the plugin says the turns in order, the host copies them. */
typedef struct graft_record graft_record;
typedef struct graft_record_api {
    uint32_t size;
    void (*turn)(graft_record *r, graft_speaker who, const char *text, size_t bytes); /* UTF-8, any bytes, not terminated */
    void (*flag)(graft_record *r, const char *key, double value);                     /* "kto_label", "weight" ...        */
    void (*drop)(graft_record *r, const char *reason);                                /* this record is none; counted and reported by reason */
} graft_record_api;
struct graft_record { const graft_record_api *api; };

/* The host's side of the data: decompressed, bounded, positions counted for error messages. All [step]. */
typedef struct graft_source graft_source;
typedef struct graft_source_api {
    uint32_t size;
    int64_t  (*read)(graft_source *s, void *to, int64_t bytes);                    /* bytes read, 0 at the end, < 0 on error (kept, reported by the host) */
    graft_status (*row)(graft_source *s, const graft_json **row, graft_error *err); /* next JSON value, NULL at the end; valid until the next call */
    int64_t  (*tell)(graft_source *s);                                             /* byte offset after the last read or row */
    int32_t  (*seek)(graft_source *s, int64_t offset);                             /* to an offset that tell gave; 0 = done */
    const char *(*place)(graft_source *s);                                         /* "identity.json: record 8,113 (byte 5,220,418)", for errors */
} graft_source_api;
struct graft_source { const graft_source_api *api; };

typedef struct graft_cursor { uint8_t bytes[64]; } graft_cursor; /* goes into checkpoints */

typedef struct graft_format_table {
    uint32_t size;
    int          (*sniff)(void *self, const char *head, size_t bytes, const char *file_name);                                  /* [any] 0 no .. 100 certain */
    graft_status (*open)(void *self, graft_source *source, const graft_config *entry, void **stream, graft_error *err);        /* [control] */
    graft_status (*next)(void *stream, graft_record *out, int *end, graft_error *err);                                         /* [step] err->where: record and byte */
    graft_status (*tell)(void *stream, graft_cursor *at, graft_error *err);                                                    /* [step] */
    graft_status (*seek)(void *stream, const graft_cursor *at, graft_error *err);                                              /* [step] seek(tell()) continues exactly */
    void         (*close)(void *stream);                                                                                       /* [control] */
} graft_format_table;

/* For sniff: 1 when the first JSON object in head (of a list or of lines) has this key at its top level, 0 when not, -1 when head holds no object. [any] */
static inline int graft_head_has_key(const char *head, size_t bytes, const char *key)
{
    size_t i = 0, depth = 0, n = 0;
    while (key[n]) n++;
    while (i < bytes && head[i] != '{' && head[i] != '"') i++; /* a byte order mark, blanks, the list's bracket */
    if (i == bytes || head[i] != '{') return -1;
    for (; i < bytes; i++) {
        if (head[i] == '{' || head[i] == '[') depth++;
        if (head[i] == '}' || head[i] == ']') depth--;
        if (!depth) return 0;
        if (head[i] != '"') continue;
        const size_t from = ++i;
        while (i < bytes && head[i] != '"') i += head[i] == '\\' ? 2 : 1;
        if (i >= bytes) return 0;
        size_t after = i + 1, same = 0;
        while (after < bytes && (head[after] == ' ' || head[after] == '\n' || head[after] == '\r' || head[after] == '\t')) after++;
        while (same < n && from + same < i && head[from + same] == key[same]) same++;
        if (depth == 1 && after < bytes && head[after] == ':' && same == n && from + n == i) return 1;
    }
    return 0;
}

#ifdef __cplusplus
}
#endif
#endif
