/* tokenizer.json: whatever is taken can encode and decode any bytes, and gives ids that exist. The input is the file; it is also the text. */
#include "core/base/error.h"
#include "core/base/str.h"
#include "core/model/tokenizer/parts.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const graft_tokenizer *t, const char *text, size_t bytes, int split_special)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_ids ids = {0};
    graft_str out;
    graft_str_init(&out, 1 << 24);
    if (!graft_tokenizer_encode(t, text, bytes, split_special, &ids, &err)) {
        for (size_t i = 0; i < ids.n; i++)
            if (ids.ids[i] < 0 || ids.ids[i] >= graft_tokenizer_size(t)) abort();
        if (!graft_tokenizer_decode(t, ids.ids, ids.n, split_special, &out, &err) && !graft_utf8_valid(out.data, out.bytes)) abort();
    } else if (!err.message[0]) {
        abort();
    }
    graft_str_free(&out);
    graft_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *t = graft_tokenizer_new(&err);
    if (!t) return 0;
    if (graft_tokenizer_json_text(t, "fuzz", (const char *)data, size, &err)) {
        if (!err.message[0]) abort();
    } else {
        graft_tokenizer_plan(t);
        if (!graft_decode_prepare(t, 0, &err)) {
            static const char text[] = "Hello  w\xC3\xB6rld's 123\n\n\t<s>\xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\xA6\x99 <|im_end|>abc";
            round_trip(t, text, sizeof text - 1, 0);
            round_trip(t, (const char *)data, size < 512 ? size : 512, 1);
            int32_t id = -1;
            if (!graft_tokenizer_add_special(t, "<|new|>", &id, &err) && (id < 0 || id >= graft_tokenizer_size(t))) abort();
            round_trip(t, "a<|new|>b", 9, 0);
        }
    }
    graft_tokenizer_close(t);
    return 0;
}
