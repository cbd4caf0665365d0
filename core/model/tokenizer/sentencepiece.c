/* core/model/tokenizer/sentencepiece.c - a sentencepiece `.model` file: a protocol buffer, ModelProto of sentencepiece_model.proto.
 *
 *   1 pieces, repeated: 1 text, 2 score (float), 3 type: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
 *   2 trainer_spec:     3 model_type: 1 Unigram, 2 BPE; 24 treat_whitespace_as_suffix; 35 byte_fallback; 40 unk_id, 41 bos_id, 42 eos_id, 43 pad_id
 *   3 normalizer_spec:  2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces, 5 escape_whitespaces
 *
 * It becomes the pipeline that a tokenizer.json of the same model has (as transformers converts it): spaces are tidied, a space is put before, spaces
 * are spelled U+2581. Control pieces are special tokens, user-defined ones are cut out of the text first. Limits: 512 MiB, GRAFT_TOKENS_MAX pieces. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"
#include "core/base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_NORMAL = 1,
       PIECE_UNKNOWN,
       PIECE_CONTROL,
       PIECE_USER,
       PIECE_UNUSED,
       PIECE_BYTE };
enum { MODEL_TYPE_UNIGRAM = 1,
       MODEL_TYPE_BPE };

/* One field of a message: a number (varint, 4 or 8 bytes) or a run of bytes. */
typedef struct field {
    uint32_t number, wire;
    uint64_t value;
    graft_span bytes;
} field;

typedef struct cursor {
    const uint8_t *at, *end;
    int bad;
} cursor;

static uint64_t varint(cursor *c)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 70 && c->at < c->end; shift += 7) {
        const uint8_t b = *c->at++;
        if (shift < 64) v |= (uint64_t)(b & 127) << shift;
        if (b < 128) return v;
    }
    return c->bad = 1, 0;
}

/* 1: a field; 0: the end, or c->bad. */
static int next(cursor *c, field *f)
{
    if (c->at >= c->end || c->bad) return 0;
    const uint64_t tag = varint(c);
    *f = (field){.number = (uint32_t)(tag >> 3), .wire = (uint32_t)tag & 7};
    size_t n = f->wire == 1 ? 8 : f->wire == 5 ? 4
                                               : 0;
    if (f->wire == 0) f->value = varint(c);
    else if (f->wire == 2) n = (size_t)varint(c);
    else if (!n) c->bad = 1; /* groups, or no protocol buffer at all */
    if (!f->number || n > (size_t)(c->end - c->at)) c->bad = 1;
    if (c->bad) return 0;
    f->bytes = (graft_span){(const char *)c->at, n};
    if (f->wire == 1 || f->wire == 5) memcpy(&f->value, c->at, n);
    c->at += n;
    return 1;
}

static cursor inside(const field *f) { return (cursor){(const uint8_t *)f->bytes.s, (const uint8_t *)f->bytes.s + f->bytes.n, 0}; }

typedef struct model {
    graft_tokenizer *t;
    const char *path;
    double *score; /* [pieces] NaN: never made by a merge */
    uint8_t *type;
    size_t n, score_room, type_room;
    int kind, byte_fallback, suffix, dummy_prefix, tidy, escape;
    int64_t unk, bos, eos, pad;
    graft_span charsmap;
} model;

static graft_status no_memory(const model *m, graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, m->path, "out of memory for the tokenizer"); }

static graft_status piece_of(model *m, const field *message, graft_error *err)
{
    cursor c = inside(message);
    field f;
    graft_span text = {"", 0};
    float score = 0;
    int type = PIECE_NORMAL;
    while (next(&c, &f)) {
        if (f.number == 1 && f.wire == 2) text = f.bytes;
        if (f.number == 2 && f.wire == 5) memcpy(&score, &f.value, sizeof score);
        if (f.number == 3 && f.wire == 0) type = f.value <= PIECE_BYTE ? (int)f.value : PIECE_UNUSED;
    }
    if (c.bad || !graft_utf8_valid(text.s, text.n)) return graft_fail(err, GRAFT_BAD_INPUT, m->path, "piece %zu is damaged; fetch the file again", m->n + 1);
    if (m->n >= GRAFT_TOKENS_MAX || graft_grow((void **)&m->score, &m->score_room, m->n + 1, sizeof *m->score) || graft_grow((void **)&m->type, &m->type_room, m->n + 1, 1)) return no_memory(m, err);
    const char *copy = graft_arena_copy(m->t->arena, text.s, text.n);
    if (!copy) return no_memory(m, err);
    if (graft_vocab_again(&m->t->vocab, (int64_t)m->n, copy, text.n, err)) return err->code;
    m->score[m->n] = isfinite(score) ? (double)score : 0.0;
    m->type[m->n++] = (uint8_t)type;
    return GRAFT_OK;
}

static int trainer_of(model *m, const field *message)
{
    cursor c = inside(message);
    field f;
    while (next(&c, &f)) {
        if (f.wire) continue;
        const int64_t v = (int64_t)f.value; /* int32: negative ones are ten bytes */
        if (f.number == 3) m->kind = v == MODEL_TYPE_UNIGRAM || v == MODEL_TYPE_BPE ? (int)v : 0;
        if (f.number == 24) m->suffix = v != 0;
        if (f.number == 35) m->byte_fallback = v != 0;
        if (f.number == 40) m->unk = v;
        if (f.number == 41) m->bos = v;
        if (f.number == 42) m->eos = v;
        if (f.number == 43) m->pad = v;
    }
    return c.bad;
}

static int normaliser_of(model *m, const field *message)
{
    cursor c = inside(message);
    field f;
    while (next(&c, &f)) {
        if (f.number == 2 && f.wire == 2) m->charsmap = f.bytes;
        if (f.number == 3 && !f.wire) m->dummy_prefix = f.value != 0;
        if (f.number == 4 && !f.wire) m->tidy = f.value != 0;
        if (f.number == 5 && !f.wire) m->escape = f.value != 0;
    }
    return c.bad;
}

static graft_status parse(model *m, const char *data, size_t bytes, graft_error *err)
{
    cursor c = {(const uint8_t *)data, (const uint8_t *)data + bytes, 0};
    field f;
    while (next(&c, &f)) {
        if (f.wire != 2) continue;
        if (f.number == 1 && piece_of(m, &f, err)) return err->code;
        if ((f.number == 2 && trainer_of(m, &f)) || (f.number == 3 && normaliser_of(m, &f))) return graft_fail(err, GRAFT_BAD_INPUT, m->path, "the %s is damaged; fetch the file again", f.number == 2 ? "trainer_spec" : "normalizer_spec");
    }
    if (c.bad || !m->n) return graft_fail(err, GRAFT_BAD_INPUT, m->path, "expected a sentencepiece model (a ModelProto), found %s at byte %zu; fetch the file again", m->n ? "damage" : "none", (size_t)((const char *)c.at - data));
    if (!m->kind) return graft_fail(err, GRAFT_UNSUPPORTED, m->path, "the sentencepiece model is neither Unigram nor BPE; put the model's tokenizer.json beside it");
    if (m->suffix || !m->escape) return graft_fail(err, GRAFT_UNSUPPORTED, m->path, "the sentencepiece model writes spaces in a way that is not supported (%s); put the model's tokenizer.json beside it", m->suffix ? "treat_whitespace_as_suffix" : "escape_whitespaces false");
    return GRAFT_OK;
}

#define MARK "\xE2\x96\x81" /* U+2581 */

/* The pipeline as the text that a tokenizer.json has. */
static graft_status pipeline_of(model *m, graft_error *err)
{
    graft_str s;
    graft_str_init(&s, 64 << 20);
    graft_str_text(&s, "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
    if (m->charsmap.n) {
        graft_str_text(&s, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"");
        graft_str_base64(&s, m->charsmap.s, m->charsmap.n);
        graft_str_text(&s, "\"},");
    }
    if (m->tidy) graft_str_text(&s, "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\A +| +\\\\z\"},\"content\":\"\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"},");
    if (m->dummy_prefix) graft_str_text(&s, "{\"type\":\"Prepend\",\"prepend\":\"" MARK "\"},");
    graft_str_text(&s, "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}]},\"pre_tokenizer\":null,"
                       "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"" MARK "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}");
    if (m->dummy_prefix) graft_str_text(&s, ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}");
    graft_str_text(&s, "]}}");
    m->t->pipeline = s.failed ? NULL : graft_arena_copy(m->t->arena, s.data, s.bytes);
    graft_str_free(&s);
    if (!m->t->pipeline) return no_memory(m, err);
    const graft_status status = graft_tokenizer_pipeline_load(m->t, m->t->pipeline, err);
    for (size_t i = 0; i < m->t->n_norm; i++) m->t->norm[i].longest = 1;
    return status;
}

static int32_t id_of(const model *m, int64_t id) { return id >= 0 && (size_t)id < m->n ? (int32_t)id : -1; }

static graft_status unigram_of(model *m, graft_error *err)
{
    graft_unigram *u = &m->t->unigram;
    m->t->kind = MODEL_UNIGRAM;
    if (!(u->score = graft_calloc(m->n + 1, sizeof *u->score))) return no_memory(m, err);
    memcpy(u->score, m->score, m->n * sizeof *u->score);
    u->unk = id_of(m, m->unk), u->byte_fallback = m->byte_fallback;
    return graft_unigram_finish(m->t, err);
}

static graft_status bpe_of(model *m, graft_error *err)
{
    graft_bpe *b = &m->t->bpe;
    m->t->kind = MODEL_BPE;
    b->unk = id_of(m, m->unk), b->byte_fallback = m->byte_fallback, b->fuse_unk = 1;
    for (size_t i = 0; i < m->n; i++)
        if (m->type[i] != PIECE_NORMAL) m->score[i] = NAN;
    return graft_bpe_merges_from_scores(m->t, m->score, m->n, err) ? err->code : graft_bpe_finish(m->t, err);
}

graft_status graft_tokenizer_sentencepiece(graft_tokenizer *t, const char *path, const char *data, size_t bytes, const graft_json *config, graft_error *err)
{
    model m = {.t = t, .path = path, .kind = MODEL_TYPE_UNIGRAM, .dummy_prefix = 1, .tidy = 1, .escape = 1, .bos = 1, .eos = 2, .pad = -1};
    graft_status status = parse(&m, data, bytes, err);
    if (!status) status = pipeline_of(&m, err);
    t->model_size = t->vocab.size;
    if (!status) status = m.kind == MODEL_TYPE_BPE ? bpe_of(&m, err) : unigram_of(&m, err);
    for (size_t i = 0; i < m.n && !status; i++) {
        const graft_added a = {.content = t->vocab.text[i], .id = (int32_t)i, .special = m.type[i] != PIECE_USER};
        if (m.type[i] == PIECE_CONTROL || m.type[i] == PIECE_USER || m.type[i] == PIECE_UNKNOWN) status = graft_added_put(t, a, err);
    }
    const graft_class *c = NULL;
    if (!status) status = graft_class_of(path, config, NULL, &c, err);
    if (!status) status = graft_class_specials(t, c, err);
    t->unk = id_of(&m, m.unk), t->bos = id_of(&m, m.bos), t->eos = id_of(&m, m.eos), t->pad = id_of(&m, m.pad);
    graft_free(m.score);
    graft_free(m.type);
    return status;
}

/* ---- merges of a vocabulary whose tokens carry scores ------------------------------------------------------------------------------ */

typedef struct ranked {
    int32_t id;
    double score;
} ranked;

static int by_score(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

graft_status graft_bpe_merges_from_scores(graft_tokenizer *t, const double *score, size_t n, graft_error *err)
{
    ranked *p = graft_calloc(n + 1, sizeof *p);
    if (!p) return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for the tokenizer");
    size_t m = 0;
    for (size_t id = 0; id < n && id < t->vocab.size; id++)
        if (t->vocab.text[id].n > 1 && !isnan(score[id])) p[m++] = (ranked){(int32_t)id, score[id]};
    qsort(p, m, sizeof *p, by_score);
    graft_status status = GRAFT_OK;
    for (size_t i = 0; i < m && !status; i++) {
        const graft_span text = t->vocab.text[p[i].id];
        for (size_t cut = 1; cut < text.n && !status; cut++) {
            if (((uint8_t)text.s[cut] & 0xC0) == 0x80) continue; /* inside a character */
            const int32_t left = graft_vocab_find(&t->vocab, text.s, cut), right = graft_vocab_find(&t->vocab, text.s + cut, text.n - cut);
            if (left >= 0 && right >= 0) status = graft_bpe_merge_add(t, left, right, (uint32_t)i, p[i].id, err);
        }
    }
    graft_free(p);
    return status;
}
