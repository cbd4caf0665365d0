/* Any numbers into NF4, double-quantised NF4 and int8, and any bytes taken for these: nothing is read or written outside, finite numbers stay finite. */
#include "core/model/quantise.h"
#include "graft/packed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const graft_dtype types[] = {GRAFT_NF4, GRAFT_NF4_DOUBLE, GRAFT_INT8};
    const int64_t n = (int64_t)size / 4 / 64 * 64;
    if (!n || n > MOST) return 0;
    float *x = malloc((size_t)n * sizeof *x), *back = malloc((size_t)n * sizeof *back), *scales = malloc((size_t)(n / 64) * sizeof *scales);
    memcpy(x, data, (size_t)n * sizeof *x);
    int finite = 1;
    for (int64_t i = 0; i < n; i++) finite &= fabsf(x[i]) < 1e30f && (x[i] == 0.0f || fabsf(x[i]) > 1e-30f); /* false for what is no number */
    for (int k = 0; k < 3; k++) {
        const size_t bytes = (size_t)graft_packed_bytes(types[k], n);
        uint8_t *packed = malloc(bytes);
        graft_quantise(types[k], x, n / 64, 64, packed, scales);
        graft_widen(types[k], packed, n, back);
        for (int64_t i = 0; finite && i < n; i++)
            if (!isfinite(back[i])) abort();
        for (size_t i = 0; i < bytes; i++) packed[i] = data[i % size];
        graft_widen(types[k], packed, n, back);
        free(packed);
    }
    free(x);
    free(back);
    free(scales);
    return 0;
}
