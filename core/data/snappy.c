/* core/data/snappy.c - see snappy.h. A block is its unpacked size as a varint, then pieces, told by the lowest two bits of their first byte:
 *
 *   llllll00 [1-4 bytes]          length - 1 (60..63: it follows in 1..4 bytes); that many bytes as they are
 *   ooolll01 oooooooo             length - 4, offset: the bytes that far back again
 *   llllll10 2 bytes of offset    length - 1
 *   llllll11 4 bytes of offset    length - 1
 *
 * Own code of one page instead of Debian's libsnappy, which brings a C++ runtime into the program. */
#include "core/data/snappy.h"

#include <string.h>

static uint32_t number(const uint8_t *p, size_t bytes)
{
    uint32_t v = 0;
    for (size_t i = 0; i < bytes; i++) v |= (uint32_t)p[i] << 8 * i;
    return v;
}

/* A copy may run into what it writes: it repeats then. */
static void repeat(uint8_t *to, size_t offset, size_t n)
{
    const uint8_t *from = to - offset;
    if (offset >= n) memcpy(to, from, n);
    else
        for (size_t i = 0; i < n; i++) to[i] = from[i];
}

int graft_snappy_unpack(const uint8_t *from, size_t bytes, uint8_t *to, size_t room)
{
    size_t at = 0, done = 0;
    uint64_t size = 0;
    for (int shift = 0;; shift += 7) {
        if (at == bytes || shift > 28) return -1;
        size |= (uint64_t)(from[at] & 0x7F) << shift;
        if (!(from[at++] & 0x80)) break;
    }
    if (size != room) return -1;
    while (at < bytes) {
        const uint8_t tag = from[at++];
        size_t n = (tag >> 2) + 1u, offset = 0;
        const size_t more = tag & 3  ? (tag & 3) == 1 ? 1 : (tag & 3) == 2 ? 2
                                                                           : 4
                            : n > 60 ? n - 60
                                     : 0; /* bytes of number behind the tag */
        if (more > bytes - at) return -1;
        const uint32_t v = number(from + at, more);
        at += more;
        if (!(tag & 3)) {
            if (more) n = (size_t)v + 1;
            if (n > bytes - at || n > room - done) return -1;
            memcpy(to + done, from + at, n);
            at += n;
        } else {
            offset = v;
            if ((tag & 3) == 1) n = (tag >> 2 & 7) + 4u, offset |= (size_t)(tag >> 5) << 8;
            if (!offset || offset > done || n > room - done) return -1;
            repeat(to + done, offset, n);
        }
        done += n;
    }
    return done == room ? 0 : -1;
}
