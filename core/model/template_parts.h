/* core/model/template_parts.h - a chat template as template.c reads it and template_units.c and template_tools.c use it. */
#ifndef CORE_MODEL_TEMPLATE_PARTS_H
#define CORE_MODEL_TEMPLATE_PARTS_H

#include "core/base/json.h"
#include "core/model/template.h"

enum { GRAFT_SLOTS_MAX = 16 };
typedef struct graft_slots {
    graft_unit unit[GRAFT_SLOTS_MAX];
    size_t n;
} graft_slots;
typedef struct graft_slice {
    const char *s;
    size_t n;
} graft_slice;

struct graft_template {
    graft_arena *arena;
    const char *name;
    graft_slots prefix, system, user, assistant, function, observation;
    const char *tools; /* tool format */
    graft_slice tools_text; /* given: tools are told by this text around their JSON as it came, calls by the format */
    graft_slice default_system, text_end;
    const char **stop_words;
    size_t n_stop_words;
    graft_slice thought[2], call[2]; /* words around a thought, around a tool call */
    graft_slice empty_thought;
    int reasoning, system_in_user, efficient_eos, replace_eos, replace_jinja;
};

/* template.c: one without slots. NULL when out of memory. */
graft_template *graft_template_blank(const char *name, graft_error *err);

/* template_tools.c: the text that tells a model its tools, and a call as the model is to write it (content: thought, JSON of one call or several). */
graft_status graft_tools_prompt(const graft_template *t, const graft_template_options *o, graft_arena *a, const char *tools, graft_slice *out, graft_error *err);
graft_status graft_tools_call(const graft_template *t, graft_arena *a, const char *content, size_t bytes, graft_slice *out, graft_error *err);

/* template_formats.c: the ways to write them, by name. */
typedef struct graft_call {
    graft_slice name;
    const graft_json *arguments;
} graft_call;
typedef struct graft_tool_format {
    const char *name;
    graft_status (*prompt)(graft_str *out, const graft_json *tools, const char *today, graft_error *err);
    graft_status (*calls)(graft_str *out, const graft_call *calls, size_t n, graft_error *err);
} graft_tool_format;
const graft_tool_format *graft_tool_format_find(const char *name, graft_error *err);

#endif
