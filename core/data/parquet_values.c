/* core/data/parquet_values.c - the encodings of values inside a page, each read one value at a time, so that nothing is allocated for what a page claims to hold.
 *
 *   runs      varint h; h even: the number that follows, h / 2 times; odd: h / 2 groups of 8 numbers of `width` bits
 *   deltas    block size, parts of a block, count, first value; a block: least delta, a width a part, the parts' deltas - least
 *   texts     PLAIN: 4 bytes of length and the text; DELTA_LENGTH: deltas of lengths, texts; DELTA_BYTES: deltas of prefixes' lengths, then as DELTA_LENGTH
 *   split     byte 0 of all values, byte 1 of all values ...
 *
 * Numbers in files are little-endian, as are the machines this runs on. */
#include "core/data/parquet_parts.h"

#include <string.h>

enum { DAMAGED = -1,
       NO_SUCH = 1,
       NO_MEMORY = 2,
       BLOCK_MAX = 1 << 20 };

/* `width` (64 at most) bits from the bit on; bits behind the end are 0. */
static uint64_t bits_at(const uint8_t *p, size_t bytes, uint64_t bit, int width)
{
    const size_t from = (size_t)(bit >> 3);
    const int shift = (int)(bit & 7);
    uint64_t low = 0;
    uint8_t ninth = 0;
    if (!width || from >= bytes) return 0;
    memcpy(&low, p + from, bytes - from < 8 ? bytes - from : 8);
    if (bytes - from > 8) ninth = p[from + 8];
    low >>= shift;
    if (shift) low |= (uint64_t)ninth << (64 - shift);
    return width == 64 ? low : low & ((1ull << width) - 1);
}

/* A varint of up to 64 bits; -1: the bytes end. */
static int varint(const uint8_t **at, const uint8_t *end, uint64_t *v)
{
    *v = 0;
    for (int shift = 0; shift < 64 && *at < end; shift += 7) {
        const uint8_t b = *(*at)++;
        *v |= (uint64_t)(b & 0x7F) << shift;
        if (!(b & 0x80)) return 0;
    }
    return DAMAGED;
}

/* ---- runs ---------------------------------------------------------------------------------------------------------------------------------- */

void parquet_runs_open(parquet_runs *r, const uint8_t *at, size_t bytes, int width) { *r = (parquet_runs){.at = at, .end = at + bytes, .width = width}; }

static int runs_begin(parquet_runs *r)
{
    uint64_t head;
    if (r->bytes) r->at += r->bytes, r->bytes = 0; /* behind the packed run */
    if (varint(&r->at, r->end, &head) || head >> 1 > INT32_MAX) return DAMAGED;
    const size_t left = (size_t)(r->end - r->at), n = ((size_t)r->width + 7) / 8;
    if (head & 1) {
        const uint64_t groups = head >> 1;
        r->packed = (int64_t)groups * 8, r->bit = 0;
        r->bytes = groups * (uint64_t)r->width < left ? (size_t)(groups * (uint64_t)r->width) : left; /* some writers cut the last group */
        return 0;
    }
    if (n > left) return DAMAGED;
    r->run = (int64_t)(head >> 1), r->value = 0;
    memcpy(&r->value, r->at, n);
    r->at += n;
    return 0;
}

int parquet_runs_next(parquet_runs *r, uint32_t *v)
{
    while (!r->run && !r->packed)
        if (runs_begin(r)) return DAMAGED;
    if (r->run) return r->run--, *v = r->value, 0;
    if (r->bit + (uint64_t)r->width > (uint64_t)r->bytes * 8) return DAMAGED;
    *v = (uint32_t)bits_at(r->at, r->bytes, r->bit, r->width);
    r->bit += (uint64_t)r->width;
    r->packed--;
    return 0;
}

/* ---- deltas -------------------------------------------------------------------------------------------------------------------------------- */

static int deltas_open(parquet_deltas *d, const uint8_t *at, const uint8_t *end, int64_t most)
{
    uint64_t block, minis, count, first;
    *d = (parquet_deltas){.at = at, .end = end};
    if (at == end) return 0; /* of a page without values */
    if (varint(&d->at, end, &block) || varint(&d->at, end, &minis) || varint(&d->at, end, &count) || varint(&d->at, end, &first)) return DAMAGED;
    if (!block || block > BLOCK_MAX || !minis || minis > block || block % minis || block / minis % 8 || count > (uint64_t)most) return DAMAGED;
    d->per_mini = (int)(block / minis), d->minis = d->mini = (int)minis, d->left = (int64_t)count;
    d->value = first >> 1 ^ (~(first & 1) + 1);
    return 0;
}

/* The next part of a block, and the next block where there is none. */
static int deltas_mini(parquet_deltas *d)
{
    uint64_t least;
    if (d->mini == d->minis) {
        if (varint(&d->at, d->end, &least) || d->end - d->at < d->minis) return DAMAGED;
        d->least = least >> 1 ^ (~(least & 1) + 1);
        d->widths = d->at, d->at += d->minis, d->mini = 0;
    }
    d->width = d->widths[d->mini++];
    const size_t need = (size_t)d->per_mini * (size_t)d->width / 8, left = (size_t)(d->end - d->at);
    if (d->width > 64) return DAMAGED;
    d->data = d->at, d->data_bytes = need < left ? need : left, d->bit = 0;
    d->at += d->data_bytes;
    d->in_mini = d->per_mini;
    return 0;
}

static int deltas_next(parquet_deltas *d, int64_t *v)
{
    if (!d->left) return DAMAGED;
    d->left--;
    if (d->begun) {
        if (!d->in_mini && deltas_mini(d)) return DAMAGED;
        if (d->bit + (uint64_t)d->width > (uint64_t)d->data_bytes * 8) return DAMAGED;
        d->value += d->least + bits_at(d->data, d->data_bytes, d->bit, d->width);
        d->bit += (uint64_t)d->width;
        d->in_mini--;
    }
    d->begun = 1;
    memcpy(v, &d->value, sizeof *v);
    return 0;
}

/* Where they end: what comes behind them begins there. */
static int deltas_end(const parquet_deltas *from, const uint8_t **end)
{
    parquet_deltas d = *from;
    for (int64_t v; d.left;)
        if (deltas_next(&d, &v)) return DAMAGED;
    *end = d.at;
    return 0;
}

/* ---- values -------------------------------------------------------------------------------------------------------------------------------- */

static int open_runs(parquet_values *v)
{
    uint32_t bytes = 0;
    if (v->encoding == PARQUET_RLE) {
        if (v->end - v->at < 4) return v->at == v->end ? 0 : DAMAGED;
        memcpy(&bytes, v->at, 4);
        v->at += 4;
        if (bytes > (size_t)(v->end - v->at)) return DAMAGED;
        parquet_runs_open(&v->runs, v->at, bytes, 1);
        return 0;
    }
    const int width = v->at < v->end ? *v->at++ : 0;
    if (width > 32) return DAMAGED;
    parquet_runs_open(&v->runs, v->at, (size_t)(v->end - v->at), width);
    return 0;
}

int parquet_values_open(parquet_values *v, int encoding, const uint8_t *at, size_t bytes, int64_t n)
{
    const int is_int = v->type == PARQUET_INT32 || v->type == PARQUET_INT64, is_bytes = v->type == PARQUET_BYTES;
    v->encoding = encoding == PARQUET_OLD_DICTIONARY ? PARQUET_DICTIONARY : encoding;
    v->at = at, v->end = at + bytes, v->index = 0, v->text_bytes = 0;
    memset(&v->runs, 0, sizeof v->runs);
    switch (v->encoding) {
    case PARQUET_PLAIN: return 0;
    case PARQUET_DICTIONARY: return open_runs(v);
    case PARQUET_RLE: return v->type == PARQUET_BOOLEAN ? open_runs(v) : NO_SUCH;
    case PARQUET_DELTA: return is_int ? deltas_open(&v->lengths, v->at, v->end, n) : NO_SUCH;
    case PARQUET_DELTA_LENGTH:
        if (!is_bytes) return NO_SUCH;
        return deltas_open(&v->lengths, v->at, v->end, n) || deltas_end(&v->lengths, &v->at) ? DAMAGED : 0;
    case PARQUET_DELTA_BYTES:
        if (!is_bytes && v->type != PARQUET_FIXED) return NO_SUCH;
        if (deltas_open(&v->prefixes, v->at, v->end, n) || deltas_end(&v->prefixes, &v->at)) return DAMAGED;
        return deltas_open(&v->lengths, v->at, v->end, n) || deltas_end(&v->lengths, &v->at) ? DAMAGED : 0;
    case PARQUET_SPLIT:
        if (!v->width || v->width > sizeof v->number || v->type == PARQUET_BOOLEAN) return NO_SUCH;
        v->count = (int64_t)(bytes / v->width);
        return bytes % v->width ? DAMAGED : 0;
    default: return NO_SUCH;
    }
}

static int next_plain(parquet_values *v, parquet_value *out)
{
    uint32_t n = (uint32_t)v->width;
    if (v->type == PARQUET_BOOLEAN) {
        if (v->at + v->index / 8 >= v->end) return DAMAGED;
        v->number[0] = v->at[v->index / 8] >> v->index % 8 & 1;
        v->index++;
        *out = (parquet_value){v->number, 1};
        return 0;
    }
    if (v->type == PARQUET_BYTES) {
        if (v->end - v->at < 4) return DAMAGED;
        memcpy(&n, v->at, 4);
        v->at += 4;
    }
    if (n > (size_t)(v->end - v->at)) return DAMAGED;
    *out = (parquet_value){v->at, n};
    v->at += n;
    return 0;
}

static int next_delta_text(parquet_values *v, parquet_value *out)
{
    int64_t prefix = 0, n;
    const int shared = v->encoding == PARQUET_DELTA_BYTES;
    if ((shared && deltas_next(&v->prefixes, &prefix)) || deltas_next(&v->lengths, &n)) return DAMAGED;
    if (n < 0 || n > v->end - v->at || prefix < 0 || (uint64_t)prefix > v->text_bytes) return DAMAGED;
    *out = (parquet_value){v->at, (size_t)n};
    v->at += n;
    if (!shared) return 0;
    if (graft_grow((void **)&v->text, &v->text_room, (size_t)prefix + (size_t)n + 1, 1)) return NO_MEMORY;
    if (n) memcpy(v->text + prefix, out->p, (size_t)n);
    v->text_bytes = (size_t)(prefix + n);
    *out = (parquet_value){v->text, v->text_bytes};
    return v->type == PARQUET_FIXED && v->text_bytes != v->width ? DAMAGED : 0;
}

int parquet_values_next(parquet_values *v, parquet_value *out)
{
    uint32_t k;
    int64_t number;
    switch (v->encoding) {
    case PARQUET_PLAIN: return next_plain(v, out);
    case PARQUET_DICTIONARY:
        if (parquet_runs_next(&v->runs, &k) || k >= v->n_dictionary) return DAMAGED;
        *out = v->dictionary[k];
        return 0;
    case PARQUET_RLE:
        if (parquet_runs_next(&v->runs, &k)) return DAMAGED;
        v->number[0] = (uint8_t)k;
        *out = (parquet_value){v->number, 1};
        return 0;
    case PARQUET_DELTA:
        if (deltas_next(&v->lengths, &number)) return DAMAGED;
        memcpy(v->number, &number, 8);
        *out = (parquet_value){v->number, v->width};
        return 0;
    case PARQUET_SPLIT:
        if (v->index >= v->count) return DAMAGED;
        for (size_t i = 0; i < v->width; i++) v->number[i] = v->at[i * (size_t)v->count + (size_t)v->index];
        v->index++;
        *out = (parquet_value){v->number, v->width};
        return 0;
    default: return next_delta_text(v, out);
    }
}
