/* core/model/tokenizer/bpe.c - byte-pair encoding: the lowest-ranked neighbouring pair is merged first, the leftmost of equals, until none is left.
 *
 * Three things make it quick without changing the result.
 *  - Words of up to 24 bytes are remembered with their ids (direct-mapped, per scratch).
 *  - Longer words are cut at borders between characters that no token crosses: a merge over such a border would make a token that holds both
 *    neighbours, so the parts are merged independently. Which neighbours occur inside tokens is kept as a Bloom filter of pairs
 *    (bytes of a character before the border, bytes of one after it; a token may begin or end inside a character).
 *  - A part of n symbols costs O(n^2) cheap steps when short, O(n log n) by a heap when long: a run of a million letters is no attack.
 * Limits: words below 2^31 bytes. */
#include "core/model/tokenizer/parts.h"

#include "core/base/error.h"

#include <string.h>

enum { SHORT = 64,
       BLOOM_BITS = 1 << 20,
       NO_RANK = -1 };
#define NONE UINT32_MAX

static graft_status no_memory(graft_error *err)
{
    return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory while tokenising");
}

/* ---- merges ------------------------------------------------------------------------------------------------------------------- */

static size_t merge_place(uint64_t pair, size_t mask) { return (size_t)((pair * 0x9E3779B97F4A7C15ull) >> 20 ^ pair * 31) & mask; }

static const graft_merge *merge_of(const graft_bpe *b, int32_t left, int32_t right)
{
    if (!b->merges) return NULL;
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t i = merge_place(pair, b->mask);; i = (i + 1) & b->mask) {
        const graft_merge *m = &b->merges[i];
        if (m->pair == pair) return m;
        if (m->pair == UINT64_MAX) return NULL;
    }
}

static int merges_grow(graft_bpe *b)
{
    const size_t room = b->merges ? (b->mask + 1) * 2 : 1024;
    graft_merge *merges = graft_calloc(room, sizeof *merges);
    if (!merges) return -1;
    for (size_t i = 0; i < room; i++) merges[i].pair = UINT64_MAX;
    for (size_t i = 0; b->merges && i <= b->mask; i++) {
        if (b->merges[i].pair == UINT64_MAX) continue;
        size_t at = merge_place(b->merges[i].pair, room - 1);
        while (merges[at].pair != UINT64_MAX) at = (at + 1) & (room - 1);
        merges[at] = b->merges[i];
    }
    graft_free(b->merges);
    b->merges = merges, b->mask = room - 1;
    return 0;
}

graft_status graft_bpe_merge_add(graft_tokenizer *t, int32_t left, int32_t right, uint32_t rank, int32_t id, graft_error *err)
{
    graft_bpe *b = &t->bpe;
    if ((!b->merges || (b->count + 1) * 2 > b->mask) && merges_grow(b)) return no_memory(err);
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = merge_place(pair, b->mask);
    while (b->merges[i].pair != UINT64_MAX && b->merges[i].pair != pair) i = (i + 1) & b->mask;
    b->count += b->merges[i].pair != pair;
    b->merges[i] = (graft_merge){pair, rank, id}; /* a pair given twice: the last one counts, as in `tokenizers` */
    return GRAFT_OK;
}

/* ---- borders that no token crosses ---------------------------------------------------------------------------------------------- */

static uint64_t border_key(const char *left, size_t l, const char *right, size_t r)
{
    uint64_t key = 0;
    for (size_t i = 0; i < l; i++) key = key << 8 | (uint8_t)left[i];
    for (size_t i = 0; i < r; i++) key = key << 8 | (uint8_t)right[i];
    key = (key ^ (l << 2 | r) << 59) * 0x9E3779B97F4A7C15ull;
    return key ^ key >> 29;
}

static int is_inside(char c) { return ((uint8_t)c & 0xC0) == 0x80; } /* not the first byte of a character */

static void borders_of(graft_bpe *b, const char *s, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (is_inside(s[i])) continue;
        size_t l = 1, r = 1;
        while (l < i && l < 4 && is_inside(s[i - l])) l++;
        while (i + r < n && r < 4 && is_inside(s[i + r])) r++;
        const uint64_t key = border_key(s + i - l, l, s + i, r);
        b->bloom[(key & (BLOOM_BITS - 1)) >> 5] |= 1u << (key & 31);
        b->bloom[(key >> 20 & (BLOOM_BITS - 1)) >> 5] |= 1u << (key >> 20 & 31);
        b->bloom_shapes |= (uint16_t)(1u << ((l - 1) * 4 + (r - 1)));
    }
}

/* May a token hold the end of the character [s + at - l, s + at) and the beginning of [s + at, s + at + r)? */
static int crossed(const graft_bpe *b, const char *s, size_t at, size_t l, size_t r)
{
    for (size_t i = 1; i <= l; i++)
        for (size_t j = 1; j <= r; j++) {
            if (!(b->bloom_shapes >> ((i - 1) * 4 + (j - 1)) & 1)) continue;
            const uint64_t key = border_key(s + at - i, i, s + at, j);
            if (b->bloom[(key & (BLOOM_BITS - 1)) >> 5] >> (key & 31) & b->bloom[(key >> 20 & (BLOOM_BITS - 1)) >> 5] >> (key >> 20 & 31) & 1) return 1;
        }
    return 0;
}

/* The bytes that a token of the vocabulary covers in a word, into room[]; 0 when its text is no run of byte characters. */
static size_t raw_of(const graft_bpe *b, graft_span text, char *room)
{
    if (!b->bytes) return memcpy(room, text.s, text.n), text.n;
    size_t n = 0;
    for (size_t i = 0, k; i < text.n; i += k) {
        const int byte = graft_char_byte(graft_utf8_get(text.s + i, &k));
        if (byte < 0) return 0;
        room[n++] = (char)byte;
    }
    return n;
}

static graft_status tables_of_bytes(graft_tokenizer *t)
{
    graft_bpe *b = &t->bpe;
    for (int i = 0; i < 256; i++) {
        char text[8];
        size_t n;
        if (b->bytes) {
            n = graft_utf8_put(text, graft_byte_char((uint8_t)i));
        } else {
            memcpy(text, (char[6]){'<', '0', 'x', "0123456789ABCDEF"[i >> 4], "0123456789ABCDEF"[i & 15], '>'}, 6);
            n = 6;
        }
        b->byte_id[i] = graft_vocab_find(&t->vocab, text, n);
    }
    return GRAFT_OK;
}

graft_status graft_bpe_finish(graft_tokenizer *t, graft_error *err)
{
    graft_bpe *b = &t->bpe;
    tables_of_bytes(t);
    int cut = !b->prefix.n && !b->suffix.n; /* symbols then depend on their place in the word */
    for (int i = 0; i < 256; i++)
        if (b->byte_id[i] < 0 && (b->bytes || b->byte_fallback)) cut = 0; /* unknown characters may be fused over a border */
    if (!b->bytes && !b->byte_fallback) cut = 0;
    if (cut && !(b->bloom = graft_calloc(BLOOM_BITS / 32, sizeof *b->bloom))) return no_memory(err);
    size_t longest = 1;
    for (size_t id = 0; id < t->model_size; id++)
        if (t->vocab.text[id].n > longest) longest = t->vocab.text[id].n;
    char *raw = graft_calloc(longest, 1);
    if (!raw) return no_memory(err);
    graft_status status = GRAFT_OK;
    for (size_t i = 0; b->bloom && b->merges && i <= b->mask; i++) {
        if (b->merges[i].pair == UINT64_MAX) continue;
        borders_of(b, raw, raw_of(b, t->vocab.text[b->merges[i].id], raw));
    }
    for (size_t id = 0; b->ignore_merges && !status && id < t->model_size; id++) {
        if (!t->vocab.text[id].s) continue;
        const size_t n = raw_of(b, t->vocab.text[id], raw);
        const char *copy = n ? graft_arena_copy(t->arena, raw, n) : NULL;
        if (n && !copy) status = no_memory(err);
        else if (n) status = graft_vocab_put(&b->raw, (int64_t)id, copy, n, err);
    }
    graft_free(raw);
    return status;
}

void graft_bpe_free(graft_bpe *b)
{
    graft_free(b->merges);
    graft_free(b->bloom);
    graft_vocab_free(&b->raw);
}

/* ---- one part of a word ------------------------------------------------------------------------------------------------------------ */

/* The first symbols of a part: its bytes, or its characters with the fallbacks of `tokenizers`. x->id has room for n. Returns their number. */
static size_t symbols_of(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n)
{
    const graft_bpe *b = &t->bpe;
    size_t m = 0;
    int unk = 0; /* unknown characters seen and not yet written */
    for (size_t i = 0, k; i < n; i += k) {
        int32_t id;
        if (b->bytes) {
            k = 1;
            id = b->byte_id[(uint8_t)s[i]];
        } else {
            graft_utf8_get(s + i, &k);
            const int prefix = i && b->prefix.n, suffix = i + k == n && b->suffix.n;
            char text[260];
            if ((prefix || suffix) && b->prefix.n + b->suffix.n + k <= sizeof text) {
                size_t at = 0;
                if (prefix) memcpy(text, b->prefix.s, b->prefix.n), at = b->prefix.n;
                memcpy(text + at, s + i, k);
                at += k;
                if (suffix) memcpy(text + at, b->suffix.s, b->suffix.n), at += b->suffix.n;
                id = graft_vocab_find(&t->vocab, text, at);
            } else {
                id = graft_vocab_find(&t->vocab, s + i, k);
            }
            if ((id < 0 || (size_t)id >= t->model_size) && b->byte_fallback) {
                int all = 1;
                for (size_t j = 0; j < k; j++) all &= b->byte_id[(uint8_t)s[i + j]] >= 0;
                for (size_t j = 0; all && j < k; j++) x->id[m++] = b->byte_id[(uint8_t)s[i + j]];
                if (all) continue;
            }
        }
        if (id >= 0 && (size_t)id < t->model_size) { /* added tokens are no symbols */
            if (unk) x->id[m++] = b->unk, unk = 0;
            x->id[m++] = id;
        } else if (b->unk >= 0) {
            if (unk && !b->fuse_unk) x->id[m++] = b->unk;
            unk = 1;
        }
    }
    if (unk) x->id[m++] = b->unk;
    return m;
}

static void rank_at(const graft_bpe *b, graft_scratch *x, size_t i, int32_t left, int32_t right)
{
    const graft_merge *m = merge_of(b, left, right);
    x->rank[i] = m ? m->rank : NONE;
    x->made[i] = m ? m->id : -1;
}

/* Few symbols: look for the least rank, close the gap. Returns how many are left in x->id. */
static size_t merge_short(const graft_bpe *b, graft_scratch *x, size_t n)
{
    int32_t *id = x->id;
    for (size_t i = 0; i + 1 < n; i++) rank_at(b, x, i, id[i], id[i + 1]);
    while (n > 1) {
        size_t at = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (x->rank[i] < x->rank[at]) at = i;
        if (x->rank[at] == NONE) break;
        id[at] = x->made[at];
        const size_t rest = n - at - 2;
        memmove(id + at + 1, id + at + 2, rest * sizeof *id);
        memmove(x->rank + at + 1, x->rank + at + 2, rest * sizeof *x->rank);
        memmove(x->made + at + 1, x->made + at + 2, rest * sizeof *x->made);
        n--;
        if (at + 1 < n) rank_at(b, x, at, id[at], id[at + 1]);
        if (at) rank_at(b, x, at - 1, id[at - 1], id[at]);
    }
    return n;
}

/* A binary heap of rank << 32 | place: the least rank first, the leftmost of equals. */
static void heap_down(uint64_t *h, size_t n, size_t i)
{
    const uint64_t v = h[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && h[child + 1] < h[child]) child++;
        if (h[child] >= v) break;
        h[i] = h[child];
    }
    h[i] = v;
}

static void heap_up(uint64_t *h, size_t i)
{
    const uint64_t v = h[i];
    for (; i && h[(i - 1) / 2] > v; i = (i - 1) / 2) h[i] = h[(i - 1) / 2];
    h[i] = v;
}

/* Many symbols: a linked list and a heap. An entry whose rank is no longer the place's is stale and skipped. */
static size_t merge_long(const graft_bpe *b, graft_scratch *x, size_t n)
{
    int32_t *id = x->id, *prev = x->prev, *after = x->after;
    uint64_t *h = x->heap;
    size_t heap = 0;
    for (size_t i = 0; i < n; i++) {
        prev[i] = (int32_t)i - 1, after[i] = i + 1 < n ? (int32_t)i + 1 : -1;
        x->rank[i] = NONE;
        if (i + 1 < n) rank_at(b, x, i, id[i], id[i + 1]);
        if (x->rank[i] != NONE) h[heap++] = (uint64_t)x->rank[i] << 32 | i;
    }
    for (size_t i = heap / 2; i-- > 0;) heap_down(h, heap, i);
    while (heap) {
        const uint64_t top = h[0];
        h[0] = h[--heap];
        if (heap) heap_down(h, heap, 0);
        const size_t i = (uint32_t)top;
        if (x->rank[i] != top >> 32) continue;
        const int32_t gone = after[i];
        id[i] = x->made[i];
        x->rank[gone] = NONE;
        after[i] = after[gone];
        if (after[gone] >= 0) prev[after[gone]] = (int32_t)i;
        x->rank[i] = NONE;
        if (after[i] >= 0) rank_at(b, x, i, id[i], id[after[i]]);
        if (x->rank[i] != NONE) h[heap++] = (uint64_t)x->rank[i] << 32 | i, heap_up(h, heap - 1);
        if (prev[i] >= 0) {
            const size_t p = (size_t)prev[i];
            rank_at(b, x, p, id[p], id[i]);
            if (x->rank[p] != NONE) h[heap++] = (uint64_t)x->rank[p] << 32 | p, heap_up(h, heap - 1);
        }
    }
    size_t m = 0;
    for (int32_t i = 0; i >= 0; i = after[i]) id[m++] = id[i];
    return m;
}

/* n: at most the bytes of the part. Every merge pushes at most two entries and there are fewer merges than symbols. */
static int make_room(graft_scratch *x, size_t n)
{
    if (graft_grow((void **)&x->id, &x->id_room, n, sizeof *x->id) || graft_grow((void **)&x->rank, &x->rank_room, n, sizeof *x->rank) ||
        graft_grow((void **)&x->made, &x->made_room, n, sizeof *x->made))
        return -1;
    if (n <= SHORT) return 0;
    return graft_grow((void **)&x->prev, &x->prev_room, n, sizeof *x->prev) || graft_grow((void **)&x->after, &x->after_room, n, sizeof *x->after) ||
                   graft_grow((void **)&x->heap, &x->heap_room, 3 * n, sizeof *x->heap)
               ? -1
               : 0;
}

static graft_status merge_part(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, size_t *m, graft_error *err)
{
    if (n >= INT32_MAX) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "a single word of %zu bytes is longer than the tokenizer can take; split the text", n);
    if (make_room(x, n < SHORT ? SHORT : n)) return no_memory(err);
    *m = symbols_of(t, x, s, n);
    *m = *m <= SHORT ? merge_short(&t->bpe, x, *m) : merge_long(&t->bpe, x, *m);
    return GRAFT_OK;
}

/* The k < 8 bytes at s as a number, zero above. */
static inline uint64_t few_bytes(const char *s, size_t k)
{
    uint32_t a, b;
    if (k >= 4) return memcpy(&a, s, 4), memcpy(&b, s + k - 4, 4), (uint64_t)a | (uint64_t)b << (k - 4) * 8;
    if (k >= 2) return (uint64_t)(uint8_t)s[0] | (uint64_t)(uint8_t)s[1] << 8 | (uint64_t)(uint8_t)s[k - 1] << (k - 1) * 8;
    return k ? (uint8_t)s[0] : 0;
}

static inline void word_key(const char *s, size_t n, uint64_t key[3])
{
    key[0] = key[1] = key[2] = 0;
    size_t i = 0;
    for (; n - i * 8 >= 8; i++) memcpy(&key[i], s + i * 8, 8);
    if (n - i * 8) key[i] = few_bytes(s + i * 8, n - i * 8);
}

/* whole: not cut from a longer word; with ignore_merges only whole words may be tokens that no merge makes. */
static graft_status part(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, int whole, graft_ids *out, graft_error *err)
{
    graft_cached *c = NULL;
    const uint8_t tag = (uint8_t)(n | (whole ? 0 : 0x80));
    uint64_t key[3];
    if (n <= GRAFT_CACHE_BYTES) {
        word_key(s, n, key);
        uint64_t h = (key[0] ^ key[1] * 0xD6E8FEB86659FD93ull ^ key[2] * 0xA24BAED4963EE407ull ^ tag) * 0x9E3779B97F4A7C15ull;
        c = &x->cache[h >> 49 & (GRAFT_CACHE_ENTRIES - 1)];
        if (c->tag == tag && c->word[0] == key[0] && c->word[1] == key[1] && c->word[2] == key[2]) {
            if (__builtin_expect(out->n + GRAFT_CACHE_IDS > out->room, 0)) return graft_ids_add(out, c->ids, c->n, err);
            memcpy(out->ids + out->n, c->ids, sizeof c->ids);
            out->n += c->n;
            return GRAFT_OK;
        }
    }
    size_t m = 0;
    const int32_t known = whole && t->bpe.ignore_merges ? graft_vocab_find(&t->bpe.raw, s, n) : -1;
    if (known >= 0) {
        if (make_room(x, SHORT)) return no_memory(err);
        x->id[0] = known, m = 1;
    } else if (merge_part(t, x, s, n, &m, err)) {
        return err->code;
    }
    if (c && m <= GRAFT_CACHE_IDS) {
        memcpy(c->word, key, sizeof key);
        memcpy(c->ids, x->id, m * sizeof *x->id);
        c->tag = tag, c->n = (uint8_t)m;
    }
    return graft_ids_add(out, x->id, m, err);
}

graft_status graft_bpe_word(const graft_tokenizer *t, graft_scratch *x, const char *s, size_t n, graft_ids *out, graft_error *err)
{
    const graft_bpe *b = &t->bpe;
    if (!n) return GRAFT_OK;
    if (n <= GRAFT_CACHE_BYTES || !b->bloom) return part(t, x, s, n, 1, out, err);
    if (b->ignore_merges && graft_vocab_find(&b->raw, s, n) >= 0) return part(t, x, s, n, 1, out, err);
    size_t from = 0, l, r;
    graft_utf8_get(s, &l);
    for (size_t at = l; at < n; at += r, l = r) {
        graft_utf8_get(s + at, &r);
        if (crossed(b, s, at, l, r)) continue;
        if (part(t, x, s + from, at - from, 0, out, err)) return err->code;
        from = at;
    }
    return part(t, x, s + from, n - from, 0, out, err);
}
