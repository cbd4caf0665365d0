/* core/data/unpack.c - see unpack.h. zlib and libzstd do the work; the packed file is mapped and let go behind the reader. */
#include "core/data/unpack.h"

#include "core/base/arena.h"
#include "core/base/error.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { BEHIND = 1 << 20 };

struct graft_unpack {
    const graft_map *map;
    const char *path;
    int64_t at, forgotten; /* of the packed file */
    z_stream gzip;
    ZSTD_DStream *zstd; /* NULL: gzip */
    int inside;         /* a member or frame is begun and not ended */
};

static const uint8_t gzip_mark[] = {0x1F, 0x8B}, zstd_mark[] = {0x28, 0xB5, 0x2F, 0xFD};

static int is_zstd(const graft_map *m) { return m->bytes >= 4 && !memcmp(m->data, zstd_mark, 4); }

int graft_unpack_is(const graft_map *m) { return is_zstd(m) || (m->bytes >= 2 && !memcmp(m->data, gzip_mark, 2)); }

/* zlib's memory comes from where all of core's does. */
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

graft_status graft_unpack_open(const graft_map *m, const char *path, graft_unpack **out, graft_error *err)
{
    graft_unpack *u = graft_calloc(1, sizeof *u);
    *out = NULL;
    if (!u) return graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
    u->map = m, u->path = path;
    u->gzip.zalloc = gzip_alloc, u->gzip.zfree = gzip_free;
    const int ready = is_zstd(m) ? (u->zstd = ZSTD_createDStream()) != NULL : inflateInit2(&u->gzip, 16 + MAX_WBITS) == Z_OK; /* 16: a gzip header */
    if (!ready) return graft_free(u), graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory for unpacking the file");
    *out = u;
    return GRAFT_OK;
}

void graft_unpack_close(graft_unpack *u)
{
    if (!u) return;
    if (u->zstd) ZSTD_freeDStream(u->zstd);
    else inflateEnd(&u->gzip);
    graft_free(u);
}

static graft_status damaged(const graft_unpack *u, graft_error *err, const char *what)
{
    return graft_fail(err, GRAFT_BAD_INPUT, u->path, "the packed file is damaged at byte %lld (%s); copy or download it again", (long long)u->at, what);
}

static graft_status read_gzip(graft_unpack *u, void *to, size_t room, size_t *got, graft_error *err)
{
    z_stream *z = &u->gzip;
    z->next_out = to, z->avail_out = (unsigned)(room < 1u << 30 ? room : 1u << 30);
    const unsigned all = z->avail_out;
    while (z->avail_out && (u->at < u->map->bytes || u->inside)) {
        const int64_t left = u->map->bytes - u->at;
        z->next_in = (Bytef *)(uintptr_t)(u->map->data + u->at), z->avail_in = (unsigned)(left < 1 << 20 ? left : 1 << 20);
        const unsigned in = z->avail_in, before = z->avail_out;
        const int status = inflate(z, Z_NO_FLUSH);
        u->at += in - z->avail_in;
        u->inside = status != Z_STREAM_END;
        if (status == Z_STREAM_END) {
            if (inflateReset(z) != Z_OK) return damaged(u, err, "the stream cannot go on");
            while (u->at < u->map->bytes && !u->map->data[u->at]) u->at++; /* zeros behind the end are padding */
        } else if (status == Z_BUF_ERROR && !left && before == z->avail_out) return damaged(u, err, "it is cut short");
        else if (status != Z_OK && status != Z_BUF_ERROR) return damaged(u, err, z->msg ? z->msg : "no gzip data");
    }
    *got = all - z->avail_out;
    return GRAFT_OK;
}

static graft_status read_zstd(graft_unpack *u, void *to, size_t room, size_t *got, graft_error *err)
{
    ZSTD_outBuffer out = {to, room, 0};
    while (out.pos < out.size) {
        const int64_t left = u->map->bytes - u->at;
        ZSTD_inBuffer in = {u->map->data + u->at, (size_t)(left < 1 << 20 ? left : 1 << 20), 0};
        const size_t before = out.pos, status = ZSTD_decompressStream(u->zstd, &out, &in);
        if (ZSTD_isError(status)) return damaged(u, err, ZSTD_getErrorName(status));
        u->at += (int64_t)in.pos;
        if (in.pos || out.pos > before) u->inside = status != 0;
        if (u->at == u->map->bytes && out.pos < out.size) { /* nothing more comes out */
            if (u->inside) return damaged(u, err, "it is cut short");
            break;
        }
    }
    *got = out.pos;
    return GRAFT_OK;
}

graft_status graft_unpack_read(graft_unpack *u, void *to, size_t room, size_t *got, graft_error *err)
{
    *got = 0;
    const graft_status status = u->zstd ? read_zstd(u, to, room, got, err) : read_gzip(u, to, room, got, err);
    if (u->at - u->forgotten > 2 * BEHIND) {
        const int64_t end = (u->at - BEHIND) / BEHIND * BEHIND;
        graft_map_forget(u->map->data + u->forgotten, end - u->forgotten);
        u->forgotten = end;
    }
    return status;
}
