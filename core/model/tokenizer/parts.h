/* core/model/tokenizer/parts.h - what a tokenizer is made of, shared by the files of this folder.
 *
 *   text -> added tokens cut out -> normaliser -> pre-tokenizer -> words -> model -> ids      (encode)
 *   ids -> token texts -> decoder -> text                                                     (decode)
 *
 * Behaviour is that of the `tokenizers` library for the same tokenizer.json. A tokenizer is read-only while it encodes: whatever changes lives in
 * a scratch, taken from the tokenizer's pool for the time of one call. */
#ifndef CORE_MODEL_TOKENIZER_PARTS_H
#define CORE_MODEL_TOKENIZER_PARTS_H

#include "core/model/tokenizer.h"
#include "core/model/tokenizer/unicode.h"

#include <pthread.h>

typedef struct graft_scratch graft_scratch;
typedef struct graft_span {
    const char *s;
    size_t n;
} graft_span;

enum { GRAFT_TOKENS_MAX = 1 << 22 }; /* largest vocabulary: bounds what a hostile file can make us allocate */

/* ---- vocab.c: token texts as the file spells them, ids both ways ------------------------------------------------------------- */
typedef struct graft_vocab {
    graft_span *text; /* [size]; s NULL: no token has this id */
    size_t size, room;
    uint32_t *slots; /* open addressing, id + 1, 0: free */
    size_t mask, used;
} graft_vocab;
graft_status graft_vocab_put(graft_vocab *v, int64_t id, const char *text, size_t n, graft_error *err); /* text is borrowed (the tokenizer's arena) */
/* The same text under another id (some Unigram files have it): the last id is found, every id says the text. */
graft_status graft_vocab_again(graft_vocab *v, int64_t id, const char *text, size_t n, graft_error *err);
int32_t graft_vocab_find(const graft_vocab *v, const char *text, size_t n); /* -1 */
void graft_vocab_free(graft_vocab *v);
uint64_t graft_hash_bytes(const void *s, size_t n);

/* ---- pattern.c: a literal, or a regular expression ------------------------------------------------------------------------------ */
typedef enum graft_known { GRAFT_KNOWN_NONE,
                           GRAFT_KNOWN_GPT2,
                           GRAFT_KNOWN_LLAMA3,
                           GRAFT_KNOWN_QWEN2 } graft_known;
typedef struct graft_pattern {
    graft_span literal; /* s NULL: the code decides */
    void *code;         /* pcre2_code */
    graft_known known;  /* a hand-written splitter does the same */
} graft_pattern;
graft_status graft_pattern_regex(graft_pattern *p, const char *regex, size_t n, const char *where, graft_error *err);
void graft_pattern_free(graft_pattern *p);
/* Next match at or after `from`: 1 found, 0 none, -1 the engine gave up (its limits). Empty matches are not reported. state: the scratch's. */
typedef struct graft_matcher {
    void *data, *context, *stack;
} graft_matcher;
int graft_pattern_next(const graft_pattern *p, graft_matcher *m, const char *s, size_t n, size_t from, size_t *start, size_t *end);
void graft_matcher_free(graft_matcher *m);
/* split.c: bytes of the next piece of s (n > 0) under a known pattern. */
size_t graft_split_next(graft_known known, const char *s, size_t n);

/* ---- normalise.c ------------------------------------------------------------------------------------------------------------------ */
typedef enum graft_norm_kind {
    NORM_NFC,
    NORM_NFD,
    NORM_NFKC,
    NORM_NFKD,
    NORM_LOWERCASE,
    NORM_STRIP,
    NORM_STRIP_ACCENTS,
    NORM_REPLACE,
    NORM_PREPEND,
    NORM_BERT,
    NORM_NMT,
    NORM_BYTE_LEVEL,
    NORM_PRECOMPILED
} graft_norm_kind;
typedef struct graft_norm {
    graft_norm_kind kind;
    graft_pattern pattern;              /* REPLACE */
    graft_span content;                 /* REPLACE, PREPEND; PRECOMPILED: the normalised strings */
    int left, right;                    /* STRIP */
    int clean, chinese, accents, lower; /* BERT; accents -1: as lower */
    const uint32_t *trie;               /* PRECOMPILED: double array */
    size_t trie_units;
    int longest; /* PRECOMPILED: as sentencepiece itself matches */
} graft_norm;

/* ---- pretok.c ------------------------------------------------------------------------------------------------------------------------ */
typedef enum graft_pretok_kind {
    PRE_BYTE_LEVEL,
    PRE_SPLIT,
    PRE_DIGITS,
    PRE_METASPACE,
    PRE_WHITESPACE,
    PRE_WHITESPACE_SPLIT,
    PRE_PUNCTUATION,
    PRE_BERT,
    PRE_DELIMITER,
    PRE_FIXED_LENGTH
} graft_pretok_kind;
typedef enum graft_behaviour { SPLIT_REMOVED,
                               SPLIT_ISOLATED,
                               SPLIT_MERGED_PREVIOUS,
                               SPLIT_MERGED_NEXT,
                               SPLIT_CONTIGUOUS } graft_behaviour;
typedef enum graft_prepend { PREPEND_ALWAYS,
                             PREPEND_FIRST,
                             PREPEND_NEVER } graft_prepend;
typedef struct graft_pretok {
    graft_pretok_kind kind;
    graft_pattern pattern;     /* SPLIT, BYTE_LEVEL with its regex */
    graft_behaviour behaviour; /* SPLIT, PUNCTUATION */
    int invert;                /* SPLIT */
    int prefix_space;          /* BYTE_LEVEL */
    int use_regex;             /* BYTE_LEVEL */
    int individual;            /* DIGITS */
    graft_prepend prepend;     /* METASPACE */
    int split;                 /* METASPACE */
    graft_span mark;           /* METASPACE's replacement, DELIMITER's character */
    size_t length;             /* FIXED_LENGTH, characters */
} graft_pretok;

/* ---- decode.c -------------------------------------------------------------------------------------------------------------------------- */
typedef enum graft_decode_kind { DEC_BYTE_LEVEL,
                                 DEC_BYTE_FALLBACK,
                                 DEC_FUSE,
                                 DEC_STRIP,
                                 DEC_REPLACE,
                                 DEC_METASPACE,
                                 DEC_WORDPIECE,
                                 DEC_BPE,
                                 DEC_CTC } graft_decode_kind;
typedef struct graft_decode {
    graft_decode_kind kind;
    graft_pattern pattern; /* REPLACE */
    graft_span content;    /* REPLACE; STRIP's character; METASPACE's mark; WORDPIECE's prefix; BPE's suffix; CTC's pad */
    graft_span delimiter;  /* CTC */
    size_t start, stop;    /* STRIP */
    int flag;              /* METASPACE: drop the first blank; WORDPIECE, CTC: clean up */
} graft_decode;

/* ---- bpe.c -------------------------------------------------------------------------------------------------------------------------------- */
typedef struct graft_merge {
    uint64_t pair;
    uint32_t rank;
    int32_t id;
} graft_merge; /* pair: left << 32 | right; free: UINT64_MAX */
typedef struct graft_bpe {
    int bytes; /* words are raw bytes (the ByteLevel pre-tokenizer ends the pipeline), else UTF-8 characters */
    int ignore_merges, byte_fallback, fuse_unk;
    int32_t unk;               /* -1: characters without token vanish, as in `tokenizers` */
    graft_span prefix, suffix; /* continuing_subword_prefix, end_of_word_suffix */
    int32_t byte_id[256];      /* of single bytes (bytes), or of <0xXX> (byte_fallback); -1 */
    graft_merge *merges;
    size_t mask, count;
    uint32_t *bloom;       /* 2^20 bits: neighbours inside tokens, see bpe.c; NULL: words are never cut */
    uint16_t bloom_shapes; /* bit (l - 1) * 4 + (r - 1): some token has l bytes of a character before and r of one after a border */
    graft_vocab raw;       /* ignore_merges: tokens by their bytes */
} graft_bpe;
graft_status graft_bpe_merge_add(graft_tokenizer *t, int32_t left, int32_t right, uint32_t rank, int32_t id, graft_error *err);
graft_status graft_bpe_finish(graft_tokenizer *t, graft_error *err); /* after vocab, merges and options are there */
graft_status graft_bpe_word(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err);
void graft_bpe_free(graft_bpe *b);

/* ---- trie.c: longest match from a position --------------------------------------------------------------------------------------------------- */
typedef struct graft_trie {
    uint64_t *edges; /* open addressing: node << 8 | byte, + 1; 0: free */
    uint32_t *targets;
    size_t mask, used;
    int32_t *value; /* [nodes], -1: no word ends here */
    size_t nodes, room;
    uint32_t first[256]; /* child of the root, 0: none */
    int firsts;          /* how many of them there are; one: `only` is the byte to look for */
    uint8_t only;
} graft_trie;
graft_status graft_trie_add(graft_trie *t, const char *s, size_t n, int32_t value, graft_error *err);
uint32_t graft_trie_step(const graft_trie *t, uint32_t node, uint8_t byte); /* 0: none */
void graft_trie_free(graft_trie *t);

/* ---- unigram.c, wordpiece.c ----------------------------------------------------------------------------------------------------------------- */
typedef struct graft_unigram {
    double *score; /* [size] */
    int32_t unk;
    int byte_fallback;
    int32_t byte_id[256];
    double unk_score;
    graft_trie trie;
} graft_unigram;
typedef struct graft_wordpiece {
    graft_span prefix;
    int32_t unk;
    size_t max_chars;
} graft_wordpiece;
void graft_unigram_free(graft_unigram *u);
graft_status graft_unigram_finish(graft_tokenizer *t, graft_error *err);
graft_status graft_unigram_word(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err);
graft_status graft_wordpiece_word(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err);
graft_status graft_wordlevel_word(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err);

/* ---- added.c ------------------------------------------------------------------------------------------------------------------------------------ */
typedef struct graft_added {
    graft_span content; /* as spelled */
    graft_span matched; /* what is looked for: normalised content for `normalized` ones */
    int32_t id;
    int special, single_word, lstrip, rstrip, normalized;
} graft_added;
typedef struct graft_added_set {
    graft_added *item;
    size_t n, room;
    graft_trie raw, normal; /* values: index into item */
} graft_added_set;

/* ---- the whole ------------------------------------------------------------------------------------------------------------------------------------ */
typedef enum graft_model_kind { MODEL_BPE,
                                MODEL_UNIGRAM,
                                MODEL_WORDPIECE,
                                MODEL_WORDLEVEL } graft_model_kind;

struct graft_tokenizer {
    graft_arena *arena;
    char *dir;             /* of the files; NULL: made from GGUF */
    const char *json_path; /* a tokenizer.json; NULL: made from other files, pipeline is set */
    graft_vocab vocab;     /* the model's tokens and the added ones */
    size_t model_size;     /* tokens below come from the model's vocabulary */
    uint8_t *special;      /* [vocab.size] */
    size_t special_room;
    graft_span *bytes; /* [vocab.size] what one token says, see graft_tokenizer_bytes */
    size_t bytes_room;
    graft_norm *norm;
    size_t n_norm;
    graft_pretok *pretok;
    size_t n_pretok;
    graft_decode *decode;
    size_t n_decode;
    int has_decoder;  /* without one, tokens are joined by blanks */
    graft_known fast; /* the pre-tokenizer is (Digits and) one known pattern and ByteLevel */
    int fast_digits;  /* 0 none, 1 contiguous, 2 individual, cut before the pattern */
    graft_model_kind kind;
    graft_bpe bpe;
    graft_unigram unigram;
    graft_wordpiece wordpiece;
    graft_added_set added;
    const char *pipeline;     /* made: normalizer, pre_tokenizer and decoder as JSON text, for saving; else NULL */
    graft_span chat_template; /* from GGUF: the metadata's */
    int changed;              /* tokens were added or made special after opening: tokenizer.json is written anew */
    int32_t bos, eos, pad, unk;
    int32_t file_eos, file_pad; /* as opened, to see on save what changed */
    struct graft_pool *pool;
};

/* A piece of the text on its way to the model. first: it begins the whole text. */
typedef struct graft_piece {
    const char *s;
    size_t n;
    int first;
} graft_piece;
typedef struct graft_pieces {
    graft_piece *item;
    size_t n, room;
} graft_pieces;

/* One remembered word of up to 24 bytes (zero-filled) and its ids: a cache line. */
typedef struct graft_cached {
    uint64_t word[3];
    int32_t ids[9];
    uint8_t tag, n, unused[2];
} graft_cached;
enum { GRAFT_CACHE_ENTRIES = 1 << 15,
       GRAFT_CACHE_BYTES = 24,
       GRAFT_CACHE_IDS = 9 };

/* What one running encode or decode owns. */
struct graft_scratch {
    graft_scratch *next;
    graft_cached *cache; /* [GRAFT_CACHE_ENTRIES] word -> ids, direct mapped */
    graft_matcher matcher;
    graft_str text[2]; /* normalised text, there and back */
    graft_str piece;   /* wordpiece.c: prefix and part of a word */
    graft_str clean;   /* the input when it was no UTF-8 */
    graft_pieces pieces[2];
    size_t *marks; /* pretok.c: matches of one piece: start, end, is a match */
    size_t marks_room, marks_n;
    graft_arena *temp; /* texts that pre-tokenizers make; emptied with every call */
    int32_t *id;       /* bpe.c: symbols of one word */
    uint32_t *rank;
    int32_t *made, *prev, *after;
    uint64_t *heap;
    size_t id_room, rank_room, made_room, prev_room, after_room, heap_room;
    double *best; /* unigram.c */
    int32_t *best_id;
    size_t *best_from;
    size_t best_room, best_id_room, best_from_room;
};

typedef struct graft_pool {
    pthread_mutex_t lock;
    graft_scratch *idle;
} graft_pool;

/* Normalises s into one of the scratch's texts; *out may be s itself when nothing changes. */
graft_status graft_normalise(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_span *out, graft_error *err);
graft_status graft_precompiled_open(graft_tokenizer *t, graft_norm *norm, const graft_json *base64, const char *where, graft_error *err);
/* Cuts s (normalised) into words and gives them to the model. */
graft_status graft_pretokenise(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, int first, graft_ids *out, graft_error *err);
graft_status graft_model_word(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err);
graft_status graft_decode_tokens(const graft_tokenizer *t, graft_scratch *x, graft_span *tokens, size_t n, graft_str *out, graft_error *err);
/* Fills t->bytes of every id from `from` on. */
graft_status graft_decode_prepare(graft_tokenizer *t, size_t from, graft_error *err);

/* Adds a token (added.c): marks an existing one or appends to the vocabulary. id < 0: the next one at the end. */
graft_status graft_added_put(graft_tokenizer *t, graft_added token, graft_error *err);
/* The next added token in s from `from` on, in the chosen trie: 1 found. */
int graft_added_next(const graft_tokenizer *t, const graft_trie *trie, const char *s, size_t n, size_t from, size_t *start, size_t *end, const graft_added **which, int split_special);
void graft_added_free(graft_added_set *a);

graft_status graft_tokenizer_json_text(graft_tokenizer *t, const char *path, const char *text, size_t bytes, graft_error *err); /* json.c; path: for errors */
graft_status graft_tokenizer_pipeline_load(graft_tokenizer *t, const char *json, graft_error *err);                             /* json.c: normalizer, pre_tokenizer, decoder alone */
/* Other files of a tokenizer: sentencepiece.c, ranks.c. data: the file's content; the pipeline is made as text, so that saving writes a tokenizer.json. */
graft_status graft_tokenizer_sentencepiece(graft_tokenizer *t, const char *path, const char *data, size_t bytes, const graft_json *config, graft_error *err);
graft_status graft_tokenizer_tiktoken(graft_tokenizer *t, const char *path, const char *data, size_t bytes, const graft_json *config, graft_error *err);
graft_status graft_tokenizer_vocab_merges(graft_tokenizer *t, const char *vocab_path, const char *merges_path, const graft_json *config, graft_error *err);
/* Every way to put a token together from two others is a merge; tokens of higher score come first, of equal ones the lower id. NaN: no merge makes it. */
graft_status graft_bpe_merges_from_scores(graft_tokenizer *t, const double *score, size_t n, graft_error *err);
/* What the code of a tokenizer_class has and no file of the folder. extras: that many <|extra_0|>, <|extra_1|> ... after the special ones. (pipelines.c) */
enum { GRAFT_CLASS_SPECIALS = 10 };
typedef struct graft_class {
    const char *name, *pipeline; /* pipeline NULL: that of the vocabulary's file */
    const char *special[GRAFT_CLASS_SPECIALS];
    int extras;
} graft_class;
/* The class that config names (fallback when it names none). One that is not known or has no pipeline is refused, since words would be cut in another way;
 * without a fallback *out is NULL then. */
graft_status graft_class_of(const char *path, const graft_json *config, const char *fallback, const graft_class **out, graft_error *err);
graft_status graft_class_specials(graft_tokenizer *t, const graft_class *c, graft_error *err);
extern const char graft_pipeline_gpt2[], graft_pipeline_digits[], graft_pipeline_llama3[], graft_pipeline_qwen2[], graft_pipeline_sentencepiece[], graft_pipeline_sentencepiece_bare[]; /* pipelines.c */
graft_status graft_tokenizer_config_load(graft_tokenizer *t, const char *dir, graft_error *err);                                /* json.c: tokenizer_config.json, special_tokens_map.json */
void graft_tokenizer_plan(graft_tokenizer *t);                                                                                  /* pretok.c: finds the fast path */

graft_tokenizer *graft_tokenizer_new(graft_error *err);
graft_scratch *graft_scratch_take(const graft_tokenizer *t);
void graft_scratch_give(const graft_tokenizer *t, graft_scratch *x);

static inline graft_status graft_ids_one(graft_ids *v, int32_t id, graft_error *err)
{
    if (__builtin_expect(v->n < v->room, 1)) return v->ids[v->n++] = id, GRAFT_OK;
    return graft_ids_add(v, &id, 1, err);
}

#endif
