/* core/model/tokenizer.h - text to ids and back, as the `tokenizers` library does with the same tokenizer.json. */
#ifndef CORE_MODEL_TOKENIZER_H
#define CORE_MODEL_TOKENIZER_H

#include "core/base/arena.h"

typedef struct graft_tokenizer graft_tokenizer;

/* path: a model folder (tokenizer.json with tokenizer_config.json, special_tokens_map.json beside it) or the tokenizer.json itself. */
graft_status graft_tokenizer_open(const char *path, graft_tokenizer **out, graft_error *err);
/* From GGUF metadata (tokenizer.ggml.*: model gpt2 = byte-level BPE, pre-tokenizer by tokenizer.ggml.pre). */
graft_status graft_tokenizer_from_gguf(const graft_json *metadata, graft_tokenizer **out, graft_error *err);
void         graft_tokenizer_close(graft_tokenizer *t);

typedef struct graft_ids { int32_t *ids; size_t n, room; } graft_ids;
void graft_ids_free(graft_ids *v);
graft_status graft_ids_add(graft_ids *v, const int32_t *ids, size_t n, graft_error *err);

/* Appends the ids of text, without the post-processor's own special tokens; special tokens spelled in the text are recognised unless split_special. [any] */
graft_status graft_tokenizer_encode(const graft_tokenizer *t, const char *text, size_t bytes, int split_special, graft_ids *out, graft_error *err);
/* Appends the text of ids; skip_special leaves special tokens out. Bytes that are no UTF-8 become U+FFFD as in `tokenizers`. */
struct graft_str;
graft_status graft_tokenizer_decode(const graft_tokenizer *t, const int32_t *ids, size_t n, int skip_special, struct graft_str *out, graft_error *err);
/* Raw bytes of one id, for streaming (a character may be cut); bytes of special tokens too. */
const char  *graft_tokenizer_bytes(const graft_tokenizer *t, int32_t id, size_t *bytes);

int64_t     graft_tokenizer_size(const graft_tokenizer *t);         /* ids are 0 .. size - 1 */
int32_t     graft_tokenizer_id(const graft_tokenizer *t, const char *token); /* -1 when absent */
int         graft_tokenizer_is_special(const graft_tokenizer *t, int32_t id);
int32_t     graft_tokenizer_bos(const graft_tokenizer *t);          /* -1: none */
int32_t     graft_tokenizer_eos(const graft_tokenizer *t);
int32_t     graft_tokenizer_pad(const graft_tokenizer *t);
void        graft_tokenizer_set_eos(graft_tokenizer *t, int32_t id);
void        graft_tokenizer_set_pad(graft_tokenizer *t, int32_t id);
/* Makes `token` special; an unknown one gets the next id at the end (SURPRISES 3). Returns its id. */
graft_status graft_tokenizer_add_special(graft_tokenizer *t, const char *token, int32_t *id, graft_error *err);
/* Writes tokenizer.json, tokenizer_config.json, special_tokens_map.json into dir: copies of the sources, or made new when from GGUF. */
graft_status graft_tokenizer_save(const graft_tokenizer *t, const char *dir, graft_error *err);

#endif
