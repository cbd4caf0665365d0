/* sentencepiece models and tiktoken ranks: whatever is taken encodes and decodes text, and gives ids that exist. First byte: which file the rest is. */
#include "core/base/error.h"
#include "core/base/str.h"
#include "core/model/tokenizer/parts.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *t = size ? graft_tokenizer_new(&err) : NULL;
    if (!t) return 0;
    const char *rest = (const char *)data + 1;
    const graft_status status = data[0] == '\n' ? graft_tokenizer_sentencepiece(t, "fuzz", (const char *)data, size, NULL, &err) : graft_tokenizer_tiktoken(t, "fuzz", rest, size - 1, NULL, &err);
    if (status && !err.message[0]) abort();
    if (!status) {
        static const char text[] = "Hello  w\xC3\xB6rld's 123\n\n\t<s>\xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\xA6\x99 abc";
        graft_ids ids = {0};
        graft_str out;
        graft_str_init(&out, 1 << 24);
        graft_tokenizer_plan(t);
        if (!graft_decode_prepare(t, 0, &err) && !graft_tokenizer_encode(t, text, sizeof text - 1, 0, &ids, &err)) {
            for (size_t i = 0; i < ids.n; i++)
                if (ids.ids[i] < 0 || ids.ids[i] >= graft_tokenizer_size(t)) abort();
            if (!graft_tokenizer_decode(t, ids.ids, ids.n, 0, &out, &err) && !graft_utf8_valid(out.data, out.bytes)) abort();
        }
        graft_str_free(&out);
        graft_ids_free(&ids);
    }
    graft_tokenizer_close(t);
    return 0;
}
