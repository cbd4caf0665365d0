/* YAML: no input crashes; what parses can be written as JSON (aliases followed) within bounds. */
#include "core/base/yaml.h"
#include "core/base/error.h"
#include "core/base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    graft_str s;
    graft_str_init(&s, (size_t)64 << 20);
    const graft_status status = graft_yaml_parse(a, "fuzz", (const char *)data, size, &v, &err);
    if (status && (v || !err.message[0])) abort();
    if (!status) {
        graft_json_write(&s, v, 0, 0);
        const graft_json *again;
        if (!s.failed && graft_json_parse(a, "again", s.data, s.bytes, GRAFT_JSON_ALLOW_NAN, &again, &err)) abort();
    }
    graft_str_free(&s);
    graft_arena_free(a);
    return 0;
}
