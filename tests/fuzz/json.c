/* JSON: whatever parses can be written, parses again, and is written the same. The first byte chooses the flags. */
#include "core/base/json.h"
#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) return 0;
    const int flags = data[0] & 7;
    const char *text = (const char *)data + 1;
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v, *again;
    graft_str first, second;
    graft_str_init(&first, 0);
    graft_str_init(&second, 0);
    size_t used;
    const graft_status prefix = graft_json_parse_prefix(a, "fuzz", text, size - 1, 1, flags, &v, &used, &err);
    if (!prefix && used > size - 1) abort();
    const graft_status status = graft_json_parse(a, "fuzz", text, size - 1, flags, &v, &err);
    if (!status && prefix) abort();
    if (status && (v || !err.message[0])) abort();
    if (!status) {
        graft_json_write(&first, v, 0, 0);
        if (first.failed || graft_json_parse(a, "again", first.data, first.bytes, flags, &again, &err)) abort();
        graft_json_write(&second, again, 0, 0);
        if (first.bytes != second.bytes || memcmp(first.data, second.data, first.bytes)) abort();
    }
    graft_str_free(&first);
    graft_str_free(&second);
    graft_arena_free(a);
    return 0;
}
