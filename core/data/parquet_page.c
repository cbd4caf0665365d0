/* core/data/parquet_page.c - the pages of a column chunk: unpacked, their levels and values opened, entry by entry.
 *
 *   header (Thrift)   version 1: [lengths and runs of repetition, of definition levels, values], packed as a whole
 *                     version 2: repetition levels, definition levels, then [values], packed alone
 *
 * An entry says with its definition level how far down the path from the root something is, and with its repetition level at which list of the path it goes on. */
#include "core/data/parquet_parts.h"

#include "core/base/error.h"
#include "core/data/snappy.h"
#include "core/data/thrift.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { NONE = 0,
       SNAPPY = 1,
       GZIP = 2,
       ZSTD = 6 }; /* codecs */
enum { DATA_PAGE = 0,
       DICTIONARY_PAGE = 2,
       DATA_PAGE_2 = 3 };
enum { PAGE_MAX = 1 << 30,
       FORGET = 4 << 20 };

typedef struct page {
    int type, encoding, def_encoding, rep_encoding, packed, has_sum;
    int64_t bytes, unpacked, n, def_bytes, rep_bytes;
    uint32_t sum;
} page;

graft_status parquet_refuse(const graft_parquet *p, const parquet_leaf *l, graft_status code, graft_error *err, const char *sentence)
{
    return graft_fail(err, code, p->path, "column \"%.120s\", row group %lld: %s", l->path, (long long)p->group + 1, sentence);
}

static graft_status damaged(const graft_parquet *p, const parquet_leaf *l, graft_error *err, const char *what)
{
    char sentence[300];
    snprintf(sentence, sizeof sentence, "%s; the file is damaged: copy or download it again", what);
    return parquet_refuse(p, l, GRAFT_BAD_INPUT, err, sentence);
}

static graft_status no_memory(const graft_parquet *p, graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, p->path, "out of memory for a page of the Parquet file"); }

/* ---- headers ---------------------------------------------------------------------------------------------------------------------------------- */

/* The header of a kind of page: its numbers are told apart by the fields' ids. */
static void read_kind(graft_thrift *t, int type, int id, page *h)
{
    int field = 0, kind;
    if (!graft_thrift_struct(t, type)) return;
    while (graft_thrift_field(t, &field, &kind)) {
        if (kind == GRAFT_THRIFT_STRUCT) {
            graft_thrift_skip(t, kind);
            continue;
        }
        const int64_t v = graft_thrift_number(t, kind);
        if (field == 1) h->n = v;
        else if (field == (id == 8 ? 4 : 2)) h->encoding = (int)v;
        else if (id == 5 && field == 3) h->def_encoding = (int)v;
        else if (id == 5 && field == 4) h->rep_encoding = (int)v;
        else if (id == 8 && field == 5) h->def_bytes = v;
        else if (id == 8 && field == 6) h->rep_bytes = v;
        else if (id == 8 && field == 7) h->packed = v != 0;
    }
}

static graft_status read_header(const graft_parquet *p, parquet_leaf *l, page *h, graft_error *err)
{
    graft_thrift t = {.at = l->at, .end = l->end};
    int id = 0, type;
    *h = (page){.type = -1, .packed = 1, .bytes = -1, .unpacked = -1};
    while (graft_thrift_field(&t, &id, &type)) switch (id) {
        case 1: h->type = (int)graft_thrift_number(&t, type); break;
        case 2: h->unpacked = graft_thrift_number(&t, type); break;
        case 3: h->bytes = graft_thrift_number(&t, type); break;
        case 4: h->sum = (uint32_t)graft_thrift_number(&t, type), h->has_sum = 1; break;
        case 5:
        case 7:
        case 8: read_kind(&t, type, id, h); break;
        default: graft_thrift_skip(&t, type);
        }
    if (t.bad || h->unpacked < 0 || h->bytes < 0 || h->bytes > t.end - t.at || h->n < 0 || h->n > INT32_MAX) return damaged(p, l, err, "a page's header cannot be read, or the page is cut short");
    if (h->unpacked > PAGE_MAX) return parquet_refuse(p, l, GRAFT_UNSUPPORTED, err, "a page is larger than 1 GiB; write the file with smaller pages");
    l->at = t.at;
    if (h->has_sum && (uint32_t)crc32(0, l->at, (unsigned)h->bytes) != h->sum) return damaged(p, l, err, "a page differs from its checksum");
    return GRAFT_OK;
}

/* ---- unpacking -------------------------------------------------------------------------------------------------------------------------------- */

static void *gzip_alloc(void *ctx, unsigned n, unsigned size)
{
    (void)ctx;
    return graft_calloc(n, size);
}

static void gzip_free(void *ctx, void *p)
{
    (void)ctx;
    graft_free(p);
}

static int unpack_gzip(const uint8_t *from, size_t bytes, uint8_t *to, size_t room)
{
    z_stream z = {.zalloc = gzip_alloc, .zfree = gzip_free, .next_in = (Bytef *)(uintptr_t)from, .avail_in = (unsigned)bytes, .next_out = to, .avail_out = (unsigned)room};
    if (inflateInit2(&z, 32 + MAX_WBITS) != Z_OK) return -1; /* 32: gzip or zlib */
    const int status = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return status == Z_STREAM_END && !z.avail_out ? 0 : -1;
}

static graft_status refuse_codec(const graft_parquet *p, const parquet_leaf *l, graft_error *err)
{
    static const char *const names[] = {"", "", "", "LZO", "Brotli", "LZ4", "", "LZ4"};
    char sentence[200];
    snprintf(sentence, sizeof sentence, "its pages are packed with %s, which is not read here; write the file with compression \"zstd\" or \"snappy\"", l->codec >= 0 && l->codec <= 7 ? names[l->codec] : "an unknown codec");
    return parquet_refuse(p, l, GRAFT_UNSUPPORTED, err, sentence);
}

/* The page's body as it was before packing, in the file itself or in *into. */
static graft_status unpack(const graft_parquet *p, const parquet_leaf *l, const uint8_t *from, int64_t bytes, int64_t unpacked, uint8_t **into, size_t *room, const uint8_t **out, graft_error *err)
{
    int bad = 0;
    *out = from;
    if (l->codec == NONE) return bytes == unpacked ? GRAFT_OK : damaged(p, l, err, "a page has not the size that its header says");
    if (l->codec != SNAPPY && l->codec != GZIP && l->codec != ZSTD) return refuse_codec(p, l, err);
    if (l->codec != ZSTD && unpacked / 1100 > bytes) return damaged(p, l, err, "a page claims more bytes than can be packed in it");
    if (graft_grow((void **)into, room, (size_t)unpacked + 1, 1)) return no_memory(p, err);
    if (!unpacked) bad = 0; /* nothing is packed as nothing by some writers */
    else if (l->codec == SNAPPY) bad = graft_snappy_unpack(from, (size_t)bytes, *into, (size_t)unpacked);
    else if (l->codec == GZIP) bad = unpack_gzip(from, (size_t)bytes, *into, (size_t)unpacked);
    else bad = ZSTD_decompress(*into, (size_t)unpacked, from, (size_t)bytes) != (size_t)unpacked;
    *out = *into;
    return bad ? damaged(p, l, err, "a page cannot be unpacked") : GRAFT_OK;
}

/* ---- pages ------------------------------------------------------------------------------------------------------------------------------------ */

static graft_status open_values(const graft_parquet *p, parquet_leaf *l, parquet_values *v, int encoding, const uint8_t *at, size_t bytes, int64_t n, graft_error *err)
{
    char sentence[120];
    v->type = l->type, v->width = l->width;
    const int bad = parquet_values_open(v, encoding, at, bytes, n);
    if (bad < 0) return damaged(p, l, err, "a page's values cannot be read");
    snprintf(sentence, sizeof sentence, "its values are written in encoding %d, which is not read for this type; write the file anew with another", encoding);
    return bad ? parquet_refuse(p, l, GRAFT_UNSUPPORTED, err, sentence) : GRAFT_OK;
}

static graft_status read_dictionary(const graft_parquet *p, parquet_leaf *l, const page *h, graft_error *err)
{
    const uint8_t *body;
    parquet_values v = {0};
    if (unpack(p, l, l->at, h->bytes, h->unpacked, &l->dictionary_page, &l->dictionary_page_room, &body, err)) return err->code;
    if (l->type == PARQUET_BOOLEAN || (h->encoding != PARQUET_PLAIN && h->encoding != PARQUET_OLD_DICTIONARY)) return damaged(p, l, err, "its dictionary is of a kind that none can be");
    if (h->n > h->unpacked / (l->width ? (int64_t)l->width : 4)) return damaged(p, l, err, "its dictionary counts more entries than it has bytes for");
    if (open_values(p, l, &v, PARQUET_PLAIN, body, (size_t)h->unpacked, h->n, err)) return err->code;
    if (graft_grow((void **)&l->dictionary, &l->dictionary_room, (size_t)h->n + 1, sizeof *l->dictionary)) return no_memory(p, err);
    for (int64_t i = 0; i < h->n; i++)
        if (parquet_values_next(&v, &l->dictionary[i])) return damaged(p, l, err, "its dictionary cannot be read");
    l->values.dictionary = l->dictionary, l->values.n_dictionary = (size_t)h->n;
    return GRAFT_OK;
}

static int bits_of(int most) { return most ? 32 - __builtin_clz((unsigned)most) : 0; }

/* Levels of a page of version 1: 4 bytes of size, then the runs. The old encoding of bits is written by nobody since 2013. */
static graft_status open_levels(const graft_parquet *p, const parquet_leaf *l, int most, int encoding, parquet_runs *r, const uint8_t **at, const uint8_t *end, graft_error *err)
{
    uint32_t bytes;
    if (!most) return GRAFT_OK;
    if (encoding != PARQUET_RLE) return parquet_refuse(p, l, GRAFT_UNSUPPORTED, err, "its levels are written in an encoding given up in 2013; write the file anew");
    if (end - *at < 4) return damaged(p, l, err, "a page ends inside its levels");
    memcpy(&bytes, *at, 4);
    *at += 4;
    if (bytes > (size_t)(end - *at)) return damaged(p, l, err, "a page ends inside its levels");
    parquet_runs_open(r, *at, bytes, bits_of(most));
    *at += bytes;
    return GRAFT_OK;
}

static graft_status open_page_1(const graft_parquet *p, parquet_leaf *l, const page *h, graft_error *err)
{
    const uint8_t *at;
    if (unpack(p, l, l->at, h->bytes, h->unpacked, &l->page, &l->page_room, &at, err)) return err->code;
    const uint8_t *end = at + h->unpacked;
    if (open_levels(p, l, l->max_rep, h->rep_encoding, &l->reps, &at, end, err) || open_levels(p, l, l->max_def, h->def_encoding, &l->defs, &at, end, err)) return err->code;
    return open_values(p, l, &l->values, h->encoding, at, (size_t)(end - at), h->n, err);
}

static graft_status open_page_2(const graft_parquet *p, parquet_leaf *l, const page *h, graft_error *err)
{
    const uint8_t *at;
    if (h->def_bytes < 0 || h->rep_bytes < 0 || h->def_bytes > INT32_MAX || h->rep_bytes > INT32_MAX) return damaged(p, l, err, "a page's header cannot be read");
    const int64_t levels = h->def_bytes + h->rep_bytes;
    if (levels > h->bytes || levels > h->unpacked) return damaged(p, l, err, "a page ends inside its levels");
    parquet_runs_open(&l->reps, l->at, (size_t)h->rep_bytes, bits_of(l->max_rep));
    parquet_runs_open(&l->defs, l->at + h->rep_bytes, (size_t)h->def_bytes, bits_of(l->max_def));
    at = l->at + levels;
    if (h->packed && unpack(p, l, at, h->bytes - levels, h->unpacked - levels, &l->page, &l->page_room, &at, err)) return err->code;
    return open_values(p, l, &l->values, h->encoding, at, (size_t)((h->packed ? h->unpacked : h->bytes) - levels), h->n, err);
}

/* What was read of the chunk leaves memory. */
static void forget_behind(parquet_leaf *l)
{
    if (l->at - l->forgotten < FORGET) return;
    graft_map_forget(l->forgotten, l->at - l->forgotten);
    l->forgotten = l->at;
}

/* The next page with entries. */
static graft_status next_page(const graft_parquet *p, parquet_leaf *l, graft_error *err)
{
    page h;
    while (!l->entries) {
        if (!l->left) return damaged(p, l, err, "it has fewer rows than its row group");
        forget_behind(l);
        if (read_header(p, l, &h, err)) return err->code;
        graft_status status = GRAFT_OK;
        if (h.type == DICTIONARY_PAGE) status = read_dictionary(p, l, &h, err);
        else if (h.type == DATA_PAGE || h.type == DATA_PAGE_2) {
            if (h.n > l->left) return damaged(p, l, err, "its pages hold more entries than the footer says");
            status = h.type == DATA_PAGE ? open_page_1(p, l, &h, err) : open_page_2(p, l, &h, err);
            l->entries = h.n, l->left -= h.n;
        }
        if (status) return status;
        l->at += h.bytes;
    }
    return GRAFT_OK;
}

/* ---- entries ---------------------------------------------------------------------------------------------------------------------------------- */

void parquet_leaf_begin(graft_parquet *p, parquet_leaf *l, const parquet_chunk *c)
{
    l->at = l->forgotten = p->map->data + c->begin, l->end = l->at + c->bytes;
    l->left = c->values, l->entries = 0, l->codec = c->codec, l->peeked = 0;
    l->values.n_dictionary = 0;
}

graft_status parquet_leaf_peek(graft_parquet *p, parquet_leaf *l, graft_error *err)
{
    uint32_t def = 0, rep = 0;
    if (l->peeked) return GRAFT_OK;
    if (!l->entries && next_page(p, l, err)) return err->code;
    if (l->max_rep && parquet_runs_next(&l->reps, &rep)) return damaged(p, l, err, "a page has fewer levels than entries");
    if (l->max_def && parquet_runs_next(&l->defs, &def)) return damaged(p, l, err, "a page has fewer levels than entries");
    if (rep > (uint32_t)l->max_rep || def > (uint32_t)l->max_def) return damaged(p, l, err, "a level is deeper than the schema");
    l->rep = (int)rep, l->def = (int)def, l->peeked = 1;
    return GRAFT_OK;
}

graft_status parquet_leaf_take(graft_parquet *p, parquet_leaf *l, int has, parquet_value *v, graft_error *err)
{
    const int bad = has ? parquet_values_next(&l->values, v) : 0;
    l->peeked = 0, l->entries--;
    return !bad ? GRAFT_OK : bad < 0 ? damaged(p, l, err, "a page has fewer values than entries, or one outside of its bounds")
                                     : no_memory(p, err);
}
