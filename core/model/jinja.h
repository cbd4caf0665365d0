/* core/model/jinja.h - chat templates in Jinja, rendered as transformers does (trim_blocks, lstrip_blocks, loop controls, tojson as Python's json.dumps).
 *
 * What a template can say: {{ expression }}, {% if elif else for in if else set macro call with filter raw break continue generation %}, {# comments #}, whitespace control;
 * Python's expressions over texts, numbers, lists, tuples and mappings, % and format, the usual filters, tests and methods, namespace, range, raise_exception
 * and strftime_now.
 * Limits: 1 MiB of template, 64 levels, 4 million steps, 64 MiB of output. */
#ifndef CORE_MODEL_JINJA_H
#define CORE_MODEL_JINJA_H

#include "core/base/json.h"

/* variables: an object (messages, tools, add_generation_prompt, bos_token ...). name: for errors, "name:line". today: strftime_now's date as "26 Jul 2024". */
graft_status graft_jinja_render(const char *name, const char *text, size_t bytes, const graft_json *variables, const char *today, graft_str *out, graft_error *err);

#endif
