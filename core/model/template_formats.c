/* core/model/template_formats.c - the tool formats: for each the prompt that lists tools and the text of calls. The strings are the interface of the
 * models trained on them, hence kept to the byte. Tools come as a list of JSON objects, some inside {"type": "function", "function": ...}. */
#include "core/model/template_parts.h"

#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

static graft_status bad_tool(graft_error *err, const char *what) { return graft_fail(err, GRAFT_BAD_INPUT, NULL, "a tool needs %s; correct the tools of this record", what); }

static const graft_json *bare(const graft_json *tool)
{
    const graft_json *f = graft_json_get(tool, "function");
    return graft_json_is(graft_json_get(tool, "type"), "function") && f ? f : tool;
}

static void wrapped(graft_str *out, const graft_json *tool, int indent)
{
    if (graft_json_is(graft_json_get(tool, "type"), "function")) {
        graft_json_write(out, tool, indent, 0);
        return;
    }
    graft_json outer = {.type = GRAFT_JSON_OBJECT}, type = {.type = GRAFT_JSON_TEXT, .key = "type", .key_bytes = 4, .text = "function", .bytes = 8}, inner = *tool;
    inner.key = "function", inner.key_bytes = 8, inner.next = NULL;
    type.next = &inner;
    outer.child = &type, outer.count = 2;
    graft_json_write(out, &outer, indent, 0);
}

static void slice(graft_str *out, graft_slice s) { graft_str_add(out, s.s, s.n); }
static void text_of(graft_str *out, const graft_json *v)
{
    if (v && v->type == GRAFT_JSON_TEXT) graft_str_add(out, v->text, v->bytes);
}

/* A text as it is, everything else as JSON. */
static void plain(graft_str *out, const graft_json *v)
{
    if (v->type == GRAFT_JSON_TEXT) text_of(out, v);
    else graft_json_write(out, v, 0, 0);
}

/* {"name": N, KEY: arguments} */
static void call_json(graft_str *out, const graft_call *c, const char *key)
{
    graft_str_text(out, "{\"name\": ");
    graft_str_json(out, c->name.s, c->name.n);
    graft_str_printf(out, ", \"%s\": ", key);
    graft_json_write(out, c->arguments, 0, 0);
    graft_str_text(out, "}");
}

static graft_status need_object(const graft_call *c, graft_error *err)
{
    if (c->arguments->type == GRAFT_JSON_OBJECT) return GRAFT_OK;
    return graft_fail(err, GRAFT_BAD_INPUT, NULL, "the arguments of call \"%.80s\" must be an object in this tool format", c->name.s);
}

/* ---- default ------------------------------------------------------------------------------------------------------------------------ */

static int is_required(const graft_json *list, const graft_json *name)
{
    for (const graft_json *v = list && list->type == GRAFT_JSON_ARRAY ? list->child : NULL; v; v = v->next)
        if (v->type == GRAFT_JSON_TEXT && v->bytes == name->key_bytes && !memcmp(v->text, name->key, v->bytes)) return 1;
    return 0;
}

static graft_status default_argument(graft_str *out, const graft_json *p, const graft_json *required, graft_error *err)
{
    const graft_json *options = graft_json_get(p, "enum"), *items = graft_json_get(p, "items");
    graft_str_text(out, "  - ");
    graft_str_add(out, p->key, p->key_bytes);
    graft_str_text(out, " (");
    text_of(out, graft_json_get(p, "type"));
    graft_str_text(out, is_required(required, p) ? ", required): " : "): ");
    text_of(out, graft_json_get(p, "description"));
    if (options && options->type == GRAFT_JSON_ARRAY && options->count) {
        graft_str_text(out, ", should be one of [");
        for (const graft_json *v = options->child; v; v = v->next) {
            if (v->type != GRAFT_JSON_TEXT) return bad_tool(err, "an \"enum\" of texts in this tool format");
            if (v != options->child) graft_str_text(out, ", ");
            text_of(out, v);
        }
        graft_str_text(out, "]");
    }
    if (items && items->type == GRAFT_JSON_OBJECT && items->count) {
        graft_str_text(out, ", where each item should be ");
        text_of(out, graft_json_get(items, "type"));
    }
    graft_str_text(out, "\n");
    return GRAFT_OK;
}

static graft_status default_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today;
    graft_str_text(out, "You have access to the following tools:\n");
    for (const graft_json *t = tools->child; t; t = t->next) {
        const graft_json *tool = bare(t), *name = graft_json_get(tool, "name"), *parameters = graft_json_get(tool, "parameters"), *properties = graft_json_get(parameters, "properties");
        if (!name || name->type != GRAFT_JSON_TEXT) return bad_tool(err, "a \"name\"");
        if (!properties || properties->type != GRAFT_JSON_OBJECT) return bad_tool(err, "\"parameters\" with \"properties\" in this tool format");
        graft_str_text(out, "> Tool Name: ");
        text_of(out, name);
        graft_str_text(out, "\nTool Description: ");
        text_of(out, graft_json_get(tool, "description"));
        graft_str_text(out, "\nTool Args:\n");
        for (const graft_json *p = properties->child; p; p = p->next)
            if (default_argument(out, p, graft_json_get(parameters, "required"), err)) return err->code;
        graft_str_text(out, "\n");
    }
    graft_str_text(out, "Use the following format if using a tool:\n```\nAction: tool name (one of [");
    for (const graft_json *t = tools->child; t; t = t->next) {
        if (t != tools->child) graft_str_text(out, ", ");
        text_of(out, graft_json_get(bare(t), "name"));
    }
    graft_str_text(out, "])\nAction Input: the input to the tool, in a JSON format representing the kwargs (e.g. ```{\"input\": \"hello world\", \"num_beams\": 5}```)\n```\n");
    return GRAFT_OK;
}

static graft_status default_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    (void)err;
    for (size_t i = 0; i < n; i++) {
        graft_str_text(out, i ? "\nAction: " : "Action: ");
        slice(out, c[i].name);
        graft_str_text(out, "\nAction Input: ");
        graft_json_write(out, c[i].arguments, 0, 0);
    }
    return GRAFT_OK;
}

/* ---- qwen, ling, glm4_moe: one JSON a line between <tools> -------------------------------------------------------------------------- */

static void signatures(graft_str *out, const graft_json *tools)
{
    graft_str_text(out, "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>");
    for (const graft_json *t = tools->child; t; t = t->next) graft_str_text(out, "\n"), wrapped(out, t, 0);
    graft_str_text(out, "\n</tools>\n\n");
}

static void return_json(graft_str *out)
{
    graft_str_text(out, "For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
                        "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>");
}

static graft_status qwen_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today, (void)err;
    graft_str_text(out, "\n\n");
    signatures(out, tools);
    return_json(out);
    return GRAFT_OK;
}

static graft_status ling_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today, (void)err;
    signatures(out, tools);
    return_json(out);
    graft_str_text(out, "\ndetailed thinking off");
    return GRAFT_OK;
}

static graft_status qwen_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    (void)err;
    for (size_t i = 0; i < n; i++) {
        graft_str_text(out, i ? "\n<tool_call>\n" : "<tool_call>\n");
        call_json(out, &c[i], "arguments");
        graft_str_text(out, "\n</tool_call>");
    }
    return GRAFT_OK;
}

static graft_status glm4_moe_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today, (void)err;
    graft_str_text(out, "\n\n");
    signatures(out, tools);
    graft_str_text(out, "For each function call, output the function name and arguments within the following XML format:\n<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n<arg_value>{arg-value-1}</arg_value>\n"
                        "<arg_key>{arg-key-2}</arg_key>\n<arg_value>{arg-value-2}</arg_value>\n...\n</tool_call>\n");
    return GRAFT_OK;
}

static graft_status glm4_moe_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (need_object(&c[i], err)) return err->code;
        graft_str_text(out, i ? "\n\n<tool_call>" : "\n<tool_call>");
        slice(out, c[i].name);
        for (const graft_json *v = c[i].arguments->child; v; v = v->next) {
            graft_str_text(out, "\n<arg_key>");
            graft_str_add(out, v->key, v->key_bytes);
            graft_str_text(out, "</arg_key>\n<arg_value>");
            plain(out, v);
            graft_str_text(out, "</arg_value>");
        }
    }
    return GRAFT_OK;
}

/* ---- llama3, mistral, glm4 ------------------------------------------------------------------------------------------------------------ */

static graft_status llama3_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)err;
    graft_str_printf(out, "Cutting Knowledge Date: December 2023\nToday Date: %s\n\n", today);
    graft_str_text(out, "You have access to the following functions. To call a function, please respond with JSON for a function call. Respond in the format {\"name\": function name, \"parameters\": "
                        "dictionary of argument name and its value}. Do not use variables.\n\n");
    for (const graft_json *t = tools->child; t; t = t->next) wrapped(out, t, 4), graft_str_text(out, "\n\n");
    return GRAFT_OK;
}

static graft_status llama3_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    (void)err;
    if (n != 1) graft_str_text(out, "[");
    for (size_t i = 0; i < n; i++) {
        if (i) graft_str_text(out, ", ");
        call_json(out, &c[i], "parameters");
    }
    if (n != 1) graft_str_text(out, "]");
    return GRAFT_OK;
}

static graft_status mistral_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today, (void)err;
    graft_str_text(out, "[AVAILABLE_TOOLS] [");
    for (const graft_json *t = tools->child; t; t = t->next) {
        if (t != tools->child) graft_str_text(out, ", ");
        wrapped(out, t, 0);
    }
    graft_str_text(out, "][/AVAILABLE_TOOLS]");
    return GRAFT_OK;
}

static graft_status mistral_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    (void)err;
    graft_str_text(out, "[");
    for (size_t i = 0; i < n; i++) {
        if (i) graft_str_text(out, ", ");
        call_json(out, &c[i], "arguments");
    }
    graft_str_text(out, "]");
    return GRAFT_OK;
}

static graft_status glm4_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today;
    graft_str_text(out, "你是一个名为 ChatGLM 的人工智能助手。你是基于智谱 AI 公司训练的语言模型 GLM-4 模型开发的，你的任务是针对用户的问题和要求提供适当的答复和支持。\n\n# 可用工具");
    for (const graft_json *t = tools->child; t; t = t->next) {
        const graft_json *tool = bare(t), *name = graft_json_get(tool, "name");
        if (!name) return bad_tool(err, "a \"name\"");
        graft_str_text(out, "\n\n## ");
        text_of(out, name);
        graft_str_text(out, "\n\n");
        graft_json_write(out, tool, 4, 0);
        graft_str_text(out, "\n在调用上述函数时，请使用 Json 格式表示调用的参数。");
    }
    return GRAFT_OK;
}

static graft_status glm4_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    if (n != 1) return graft_fail(err, GRAFT_BAD_INPUT, NULL, "this tool format writes one call a turn, found %zu; split the turn", n);
    slice(out, c->name);
    graft_str_text(out, "\n");
    graft_json_write(out, c->arguments, 0, 0);
    return GRAFT_OK;
}

/* ---- minimax1, minimax2, qwen3_5, seed_oss, lfm2: bare tools ----------------------------------------------------------------------------- */

static void lines(graft_str *out, const graft_json *tools, const char *before, const char *after, const char *between)
{
    for (const graft_json *t = tools->child; t; t = t->next) {
        if (t != tools->child) graft_str_text(out, between);
        graft_str_text(out, before);
        graft_json_write(out, bare(t), 0, 0);
        graft_str_text(out, after);
    }
}

static graft_status minimax1_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today, (void)err;
    graft_str_text(out, "You are provided with these tools:\n<tools>\n");
    lines(out, tools, "", "", "\n");
    graft_str_text(out, "\n</tools>\n\nIf you need to call tools, please respond with <tool_calls></tool_calls> XML tags, and provide tool-name and json-object of arguments, following the format below:\n<tool_calls>\n"
                        "{\"name\": <tool-name-1>, \"arguments\": <args-json-object-1>}\n...\n</tool_calls>");
    return GRAFT_OK;
}

static graft_status minimax1_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    (void)err;
    graft_str_text(out, "<tool_calls>\n");
    for (size_t i = 0; i < n; i++) {
        if (i) graft_str_text(out, "\n");
        call_json(out, &c[i], "arguments");
    }
    graft_str_text(out, "\n</tool_calls>");
    return GRAFT_OK;
}

static graft_status minimax2_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today, (void)err;
    graft_str_text(out, "\n\n# Tools\n\nYou may call one or more tools to assist with the user query.\nHere are the tools available in JSONSchema format:\n\n<tools>\n");
    lines(out, tools, "<tool>", "</tool>", "\n");
    graft_str_text(out, "\n</tools>\n\nWhen making tool calls, use XML format to invoke tools and pass parameters:\n\n<minimax:tool_call>\n<invoke name=\"tool-name-1\">\n<parameter name=\"param-key-1\">param-value-1</parameter>\n"
                        "<parameter name=\"param-key-2\">param-value-2</parameter>\n...\n</invoke>\n</minimax:tool_call>");
    return GRAFT_OK;
}

/* before KEY middle VALUE after, for every argument; the value a text as it is, else JSON. */
static void arguments(graft_str *out, const graft_json *object, const char *before, const char *middle, const char *after)
{
    for (const graft_json *v = object->child; v; v = v->next) {
        graft_str_text(out, before);
        graft_str_add(out, v->key, v->key_bytes);
        graft_str_text(out, middle);
        plain(out, v);
        graft_str_text(out, after);
    }
}

static graft_status minimax2_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (need_object(&c[i], err)) return err->code;
        graft_str_text(out, i ? "\n<invoke name=\"" : "<invoke name=\"");
        slice(out, c[i].name);
        graft_str_text(out, "\">\n");
        arguments(out, c[i].arguments, "<parameter name=\"", "\">", "</parameter>\n");
        graft_str_text(out, "</invoke>");
    }
    return GRAFT_OK;
}

static graft_status qwen3_5_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today, (void)err;
    graft_str_text(out, "\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>");
    lines(out, tools, "\n", "", "");
    graft_str_text(out, "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
                        "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n"
                        "- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within <tool_call></tool_call> XML tags\n- Required parameters MUST be specified\n"
                        "- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT after\n"
                        "- If there is no function call available, answer the question like normal with your current knowledge and do not tell the user about function calls\n</IMPORTANT>");
    return GRAFT_OK;
}

static graft_status qwen3_5_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (need_object(&c[i], err)) return err->code;
        graft_str_text(out, i ? "\n<tool_call>\n<function=" : "<tool_call>\n<function=");
        slice(out, c[i].name);
        graft_str_text(out, ">");
        arguments(out, c[i].arguments, "\n<parameter=", ">\n", "\n</parameter>");
        graft_str_text(out, "\n</function>\n</tool_call>");
    }
    return GRAFT_OK;
}

static graft_status seed_oss_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today, (void)err;
    graft_str_text(out, "system\nYou are Doubao, a helpful AI assistant. You may call one or more functions to assist with the user query.Tool List:\nYou are authorized to use the following tools (described in JSON Schema format). "
                        "Before performing any task, you must decide how to call them based on the descriptions and parameters of these tools.\n");
    graft_json_write(out, tools, 0, 0);
    graft_str_text(out, "\n工具调用请遵循如下格式:\n<seed:tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>value_1</parameter>\n<parameter=example_parameter_2>This is the value for the second parameter\n"
                        "that can span\nmultiple lines</parameter>\n</function>\n</seed:tool_call>\n");
    return GRAFT_OK;
}

static graft_status seed_oss_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (need_object(&c[i], err)) return err->code;
        graft_str_text(out, i ? "\n\n<seed:tool_call>\n<function=" : "\n<seed:tool_call>\n<function=");
        slice(out, c[i].name);
        arguments(out, c[i].arguments, "\n<parameter=", ">", "</parameter>");
        graft_str_text(out, "\n</function>\n</seed:tool_call>");
    }
    return GRAFT_OK;
}

static graft_status lfm2_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today, (void)err;
    graft_str_text(out, "List of tools: <|tool_list_start|>[");
    lines(out, tools, "", "", ", ");
    graft_str_text(out, "]<|tool_list_end|>");
    return GRAFT_OK;
}

static graft_status lfm2_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    graft_str_text(out, "<|tool_call_start|>[");
    for (size_t i = 0; i < n; i++) {
        if (need_object(&c[i], err)) return err->code;
        if (i) graft_str_text(out, ", ");
        slice(out, c[i].name);
        graft_str_text(out, "(");
        for (const graft_json *v = c[i].arguments->child; v; v = v->next) {
            if (v != c[i].arguments->child) graft_str_text(out, ", ");
            graft_str_add(out, v->key, v->key_bytes);
            graft_str_text(out, "=");
            if (v->type != GRAFT_JSON_TEXT) {
                graft_json_write(out, v, 0, 0);
                continue;
            }
            graft_str_text(out, "\""); /* as it stands: quotes in it are not escaped there */
            graft_str_add(out, v->text, v->bytes);
            graft_str_text(out, "\"");
        }
        graft_str_text(out, ")");
    }
    graft_str_text(out, "]<|tool_call_end|>");
    return GRAFT_OK;
}

/* ---- gemma4: a notation of its own, keys sorted ------------------------------------------------------------------------------------------- */

static void gemma4_text(graft_str *out, const char *s, size_t n)
{
    graft_str_text(out, "<|\"|>");
    graft_str_add(out, s, n);
    graft_str_text(out, "<|\"|>");
}

/* The least key above `after` (NULL: of all). */
static const graft_json *next_key(const graft_json *object, const graft_json *after)
{
    const graft_json *best = NULL;
    for (const graft_json *m = object->child; m; m = m->next) {
        if (after && strcmp(m->key, after->key) <= 0) continue;
        if (!best || strcmp(m->key, best->key) < 0) best = m;
    }
    return best;
}

static void gemma4_value(graft_str *out, const graft_json *v)
{
    if (v->type == GRAFT_JSON_TEXT) {
        gemma4_text(out, v->text, v->bytes);
    } else if (v->type == GRAFT_JSON_ARRAY) {
        graft_str_text(out, "[");
        for (const graft_json *m = v->child; m; m = m->next) {
            if (m != v->child) graft_str_text(out, ",");
            gemma4_value(out, m);
        }
        graft_str_text(out, "]");
    } else if (v->type == GRAFT_JSON_OBJECT) {
        graft_str_text(out, "{");
        for (const graft_json *m = next_key(v, NULL), *first = m; m; m = next_key(v, m)) {
            if (m != first) graft_str_text(out, ",");
            graft_str_add(out, m->key, m->key_bytes);
            graft_str_text(out, ":");
            gemma4_value(out, m);
        }
        graft_str_text(out, "}");
    } else {
        graft_json_write(out, v, 0, 0);
    }
}

static void gemma4_type(graft_str *out, const graft_json *type)
{
    char upper[64];
    size_t n = type && type->type == GRAFT_JSON_TEXT ? type->bytes : 0;
    if (n > sizeof upper) n = sizeof upper;
    for (size_t i = 0; i < n; i++) upper[i] = (char)(type->text[i] >= 'a' && type->text[i] <= 'z' ? type->text[i] - 32 : type->text[i]);
    graft_str_text(out, "type:");
    gemma4_text(out, upper, n);
}

static void gemma4_parameters(graft_str *out, const graft_json *parameters)
{
    const graft_json *properties = graft_json_get(parameters, "properties"), *required = graft_json_get(parameters, "required");
    graft_str_text(out, ",parameters:{");
    if (properties && properties->child) {
        graft_str_text(out, "properties:{");
        for (const graft_json *p = properties->child; p; p = p->next) {
            const graft_json *description = graft_json_get(p, "description");
            if (p != properties->child) graft_str_text(out, ",");
            graft_str_add(out, p->key, p->key_bytes);
            graft_str_text(out, ":{");
            if (description && description->type == GRAFT_JSON_TEXT) graft_str_text(out, "description:"), gemma4_text(out, description->text, description->bytes), graft_str_text(out, ",");
            gemma4_type(out, graft_json_get(p, "type"));
            graft_str_text(out, "}");
        }
        graft_str_text(out, "},");
    }
    if (required && required->child) graft_str_text(out, "required:"), gemma4_value(out, required), graft_str_text(out, ",");
    gemma4_type(out, graft_json_get(parameters, "type"));
    graft_str_text(out, "}");
}

static graft_status gemma4_prompt(graft_str *out, const graft_json *tools, const char *today, graft_error *err)
{
    (void)today;
    for (const graft_json *t = tools->child; t; t = t->next) {
        const graft_json *tool = bare(t), *name = graft_json_get(tool, "name"), *description = graft_json_get(tool, "description"), *parameters = graft_json_get(tool, "parameters");
        if (!name) return bad_tool(err, "a \"name\"");
        graft_str_text(out, t != tools->child ? "\ndeclaration:" : "declaration:");
        text_of(out, name);
        graft_str_text(out, "{description:");
        gemma4_text(out, description ? description->text : "", description && description->type == GRAFT_JSON_TEXT ? description->bytes : 0);
        if (parameters && parameters->child) gemma4_parameters(out, parameters);
        graft_str_text(out, "}");
    }
    return GRAFT_OK;
}

static graft_status gemma4_calls(graft_str *out, const graft_call *c, size_t n, graft_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (need_object(&c[i], err)) return err->code;
        graft_str_text(out, "<|tool_call>call:");
        slice(out, c[i].name);
        gemma4_value(out, c[i].arguments);
        graft_str_text(out, "<tool_call|>");
    }
    return GRAFT_OK;
}

/* ---- by name ----------------------------------------------------------------------------------------------------------------------------------- */

static const graft_tool_format formats[] = {
    {"default", default_prompt, default_calls}, {"qwen", qwen_prompt, qwen_calls}, {"qwen3_5", qwen3_5_prompt, qwen3_5_calls}, {"llama3", llama3_prompt, llama3_calls}, {"mistral", mistral_prompt, mistral_calls}, {"glm4", glm4_prompt, glm4_calls}, {"glm4_moe", glm4_moe_prompt, glm4_moe_calls}, {"gemma4", gemma4_prompt, gemma4_calls}, {"lfm2", lfm2_prompt, lfm2_calls}, {"minimax1", minimax1_prompt, minimax1_calls}, {"minimax2", minimax2_prompt, minimax2_calls}, {"seed_oss", seed_oss_prompt, seed_oss_calls}, {"ling", ling_prompt, qwen_calls}};

const graft_tool_format *graft_tool_format_find(const char *name, graft_error *err)
{
    const char *names[sizeof formats / sizeof *formats];
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        names[i] = formats[i].name;
        if (!strcmp(name, names[i])) return &formats[i];
    }
    const char *near = graft_nearest(name, names, sizeof names / sizeof *names);
    graft_fail(err, GRAFT_BAD_INPUT, NULL, "no tool format is named \"%.60s\"%s%s%s", name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return NULL;
}
