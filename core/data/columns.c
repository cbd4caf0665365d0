/* core/data/columns.c - see columns.h: which reader a file has, and the values that both make. */
#include "core/data/columns.h"

#include "core/data/arrow.h"
#include "core/data/parquet.h"

#include <math.h>
#include <string.h>

int graft_columns_is(const graft_map *m) { return graft_parquet_is(m) || graft_arrow_is(m); }

graft_status graft_columns_open(const graft_map *m, const char *path, graft_columns **out, graft_error *err)
{
    return graft_parquet_is(m) ? graft_parquet_open(m, path, out, err) : graft_arrow_open(m, path, out, err);
}

int graft_columns_is_text(const void *bytes, size_t n)
{
    const char *p = bytes;
    for (size_t i = 0, k; i < n; i += k) {
        k = (unsigned char)p[i] < 0x80 ? 1 : (size_t)graft_utf8_length(p + i, n - i);
        if (!k) return 0;
    }
    return 1;
}

graft_json *graft_columns_text(graft_arena *a, const void *bytes, size_t n)
{
    return graft_columns_is_text(bytes, n) ? graft_json_text(a, bytes, n) : graft_json_new(a, GRAFT_JSON_NULL);
}

graft_json *graft_columns_real(graft_arena *a, double v) { return isfinite(v) ? graft_json_real(a, v) : graft_json_new(a, GRAFT_JSON_NULL); }

double graft_columns_half(const uint8_t b[2])
{
    const int bits = b[0] | b[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double d = exponent == 31 ? (double)NAN : exponent ? ldexp(1024 + fraction, exponent - 25)
                                                             : ldexp(fraction, -24);
    return bits >> 15 ? -d : d;
}

double graft_columns_decimal(const uint8_t *bytes, size_t n, int highest_first, int scale)
{
    const uint8_t top = n ? bytes[highest_first ? 0 : n - 1] : 0;
    double d = top & 0x80 ? -1 : 0;
    for (size_t i = 0; i < n; i++) d = d * 256 + bytes[highest_first ? i : n - 1 - i];
    return d / pow(10, scale);
}
