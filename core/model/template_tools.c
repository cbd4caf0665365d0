/* core/model/template_tools.c - tools in the system text and calls in answers, by the template's tool format. */
#include "core/model/template_parts.h"

#include "core/base/error.h"

#include <string.h>

graft_status graft_tools_prompt(const graft_template *t, const graft_template_options *o, graft_arena *a, const char *tools, graft_slice *out, graft_error *err)
{
    (void)o, (void)a, (void)tools, (void)out;
    return graft_fail(err, GRAFT_UNSUPPORTED, NULL, "the tool format \"%s\" of template \"%s\" is none that this version writes", t->tools, t->name);
}

graft_status graft_tools_call(const graft_template *t, graft_arena *a, const char *content, size_t bytes, graft_slice *out, graft_error *err)
{
    (void)a, (void)content, (void)bytes, (void)out;
    return graft_fail(err, GRAFT_UNSUPPORTED, NULL, "the tool format \"%s\" of template \"%s\" is none that this version writes", t->tools, t->name);
}
