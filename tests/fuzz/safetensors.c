/* safetensors: what is taken lies inside the file, and is read without stepping outside. */
#include "core/base/error.h"
#include "core/model/containers.h"

#include <stdlib.h>

enum { MOST = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    graft_weight_list list = {0};
    const graft_json *metadata = NULL;
    const graft_status status = graft_safetensors_parse(a, "fuzz", data, (int64_t)size, &list, &metadata, &err);
    if (status && !err.message[0]) abort();
    for (size_t i = 0; i < list.n && !status; i++) {
        const graft_weight_info *t = &list.at[i];
        const int64_t n = graft_weights_elements(t);
        if (t->data < data || t->bytes < 0 || t->bytes > data + size - t->data) abort();
        if (n > MOST) continue;
        float *out = graft_calloc((size_t)n + 1, sizeof *out);
        if (graft_weights_read_f32(t, out, &err) && !err.message[0]) abort();
        graft_free(out);
    }
    graft_free(list.at);
    graft_arena_free(a);
    return 0;
}
