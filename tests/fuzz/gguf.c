/* GGUF: what is taken lies inside the file, its metadata can be written as JSON, and its blocks are read without stepping outside. */
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/model/containers.h"

#include <stdlib.h>

enum { MOST = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    graft_weight_list list = {0};
    graft_str text;
    const graft_json *metadata = NULL;
    graft_str_init(&text, 0);
    const graft_status status = graft_gguf_parse(a, "fuzz", data, (int64_t)size, &list, &metadata, &err);
    if (status && !err.message[0]) abort();
    if (!status) graft_json_write(&text, metadata, 0, 0);
    for (size_t i = 0; i < list.n && !status; i++) {
        graft_weight_info *t = &list.at[i];
        const int64_t n = graft_weights_elements(t);
        if (t->data < data || t->bytes < 0 || t->bytes > data + size - t->data) abort();
        if (n > MOST) continue;
        float *out = graft_calloc((size_t)n + 1, sizeof *out);
        if (t->rank > 1 && t->dims[0] % 4 == 0) t->unpermute = 2;
        if (graft_weights_read_f32(t, out, &err) && !err.message[0]) abort();
        graft_free(out);
    }
    graft_str_free(&text);
    graft_free(list.at);
    graft_arena_free(a);
    return 0;
}
