/* Chat templates in Jinja: rendering any text ends, and refusals say something. */
#include "core/model/jinja.h"
#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"a\"}], "
                               "\"tools\": [{\"name\": \"f\", \"parameters\": {\"x\": 1.5}}], \"add_generation_prompt\": true, \"bos_token\": \"<s>\"}";
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *variables;
    graft_arena *a = graft_arena_new();
    graft_str out;
    graft_str_init(&out, 1 << 24);
    if (!a || graft_json_parse(a, "variables", text, sizeof text - 1, 0, &variables, &err)) abort();
    if (graft_jinja_render("fuzz", (const char *)data, size, variables, NULL, &out, &err) && !err.message[0]) abort();
    graft_str_free(&out);
    graft_arena_free(a);
    return 0;
}
