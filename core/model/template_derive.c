/* core/model/template_derive.c - no template is named: the slots that the tokenizer's own chat template (Jinja) amounts to, as LLaMA-Factory finds them.
 *
 *   prefix      what the tokenizer puts in front of an empty text
 *   system      [system C] rendered                                  each without the prefix;
 *   user        [user C] rendered up to the answer                   C stands for the content
 *   assistant   what [user C, assistant C] has behind that
 * When a question alone is longer than with an empty system text, the chat template brings a system text of its own: it is the default one, and goes from
 * the user's slot. An assistant slot with <think> makes a template that reasons. Without a chat template: "empty". */
#include "core/model/template_parts.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/model/jinja.h"
#include "core/model/tokenizer/parts.h"

#include <string.h>

typedef struct derive {
    const graft_tokenizer *tok;
    graft_template *t;
    graft_arena *a; /* for as long as the template is made */
    graft_slice chat, prefix;
    graft_error *err;
} derive;

static graft_status no_memory(graft_error *err) { return graft_fail(err, GRAFT_NO_MEMORY, NULL, "out of memory for the chat template"); }

static const graft_json *json_beside(derive *d, const char *name)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    const char *path = d->tok->dir ? graft_arena_printf(d->a, "%s/%s", d->tok->dir, name) : NULL;
    const graft_json *v = NULL;
    if (!path || !graft_path_exists(path) || graft_json_parse_file(d->a, path, 512ll << 20, 0, &v, &ignored)) return NULL;
    return v;
}

/* chat_template.jinja wins over tokenizer_config.json; a GGUF's is in its metadata. .s NULL: none. */
static graft_status chat_template(derive *d)
{
    const char *path = d->tok->dir ? graft_arena_printf(d->a, "%s/chat_template.jinja", d->tok->dir) : NULL;
    d->chat = (graft_slice){d->tok->chat_template.s, d->tok->chat_template.n};
    if (path && graft_path_exists(path)) {
        char *text = NULL;
        size_t bytes = 0;
        if (graft_file_read(path, 1 << 20, &text, &bytes, d->err)) return d->err->code;
        d->chat = (graft_slice){graft_arena_copy(d->a, text, bytes), bytes};
        graft_free(text);
        return d->chat.s ? GRAFT_OK : no_memory(d->err);
    }
    const graft_json *v = graft_json_get(json_beside(d, "tokenizer_config.json"), "chat_template");
    if (v && v->type == GRAFT_JSON_TEXT) d->chat = (graft_slice){v->text, v->bytes};
    return GRAFT_OK;
}

/* ---- what stands in front of an empty text ------------------------------------------------------------------------------------------------- */

static graft_status ids_of(derive *d, const graft_json *processor, graft_ids *ids)
{
    const graft_json *type = graft_json_get(processor, "type"), *list = graft_json_get(processor, "processors");
    graft_status status = GRAFT_OK;
    if (graft_json_is(type, "Sequence") && list)
        for (const graft_json *p = list->child; p && !status; p = p->next) status = ids_of(d, p, ids);
    if (graft_json_is(type, "BertProcessing") || graft_json_is(type, "RobertaProcessing")) {
        static const char *const ends[] = {"cls", "sep"};
        for (size_t i = 0; i < 2 && !status; i++) {
            const graft_json *pair = graft_json_get(processor, ends[i]);
            const int32_t id = pair && pair->child && pair->child->next ? (int32_t)pair->child->next->integer : -1;
            if (id >= 0) status = graft_ids_add(ids, &id, 1, d->err);
        }
    }
    if (!graft_json_is(type, "TemplateProcessing")) return status;
    list = graft_json_get(processor, "single");
    for (const graft_json *p = list ? list->child : NULL; p && !status; p = p->next) {
        const graft_json *name = graft_json_get(graft_json_get(p, "SpecialToken"), "id"), *of = graft_json_get(processor, "special_tokens");
        const graft_json *numbers = name && name->type == GRAFT_JSON_TEXT ? graft_json_get(graft_json_get(of, name->text), "ids") : NULL;
        for (const graft_json *n = numbers ? numbers->child : NULL; n && !status; n = n->next) {
            const int32_t id = (int32_t)n->integer;
            if (n->integer >= 0 && n->integer < graft_tokenizer_size(d->tok)) status = graft_ids_add(ids, &id, 1, d->err);
        }
    }
    return status;
}

static graft_status find_prefix(derive *d)
{
    graft_ids ids = {0};
    graft_str text;
    graft_str_init(&text, 0);
    graft_status status = ids_of(d, graft_json_get(json_beside(d, "tokenizer.json"), "post_processor"), &ids);
    if (!status && ids.n) status = graft_tokenizer_decode(d->tok, ids.ids, ids.n, 0, &text, d->err);
    d->prefix = (graft_slice){graft_arena_copy(d->t->arena, text.data, text.bytes), text.bytes};
    graft_ids_free(&ids);
    graft_str_free(&text);
    return status || d->prefix.s ? status : no_memory(d->err);
}

/* ---- rendering --------------------------------------------------------------------------------------------------------------------------------- */

static void message_put(derive *d, graft_json *list, const char *role, const char *content)
{
    graft_json *m = graft_json_new(d->a, GRAFT_JSON_OBJECT);
    if (!m) return;
    graft_json_put(d->a, m, "role", graft_json_text(d->a, role, strlen(role)));
    graft_json_put(d->a, m, "content", graft_json_text(d->a, content, strlen(content)));
    graft_json_push(d->a, list, m);
}

static void token_put(derive *d, graft_json *variables, const char *key, int32_t id)
{
    size_t n = 0;
    const char *s = id >= 0 ? graft_tokenizer_bytes(d->tok, id, &n) : NULL;
    if (s) graft_json_put(d->a, variables, key, graft_json_text(d->a, s, n));
}

/* roles: "su" is a system and a user message ...; a capital letter: with the content {{content}}, else empty. Without the prefix. */
static graft_status render(derive *d, const char *roles, int open, graft_slice *out)
{
    graft_json *variables = graft_json_new(d->a, GRAFT_JSON_OBJECT), *messages = graft_json_new(d->a, GRAFT_JSON_ARRAY);
    graft_str text;
    if (!variables || !messages) return no_memory(d->err);
    for (const char *c = roles; *c; c++)
        message_put(d, messages, *c == 'S' || *c == 's' ? "system" : *c == 'U' ? "user"
                                                                               : "assistant",
                    *c == 's' ? "" : "{{content}}");
    graft_json_put(d->a, variables, "messages", messages);
    graft_json_put(d->a, variables, "add_generation_prompt", graft_json_flag(d->a, open));
    graft_json_put(d->a, variables, "tools", graft_json_new(d->a, GRAFT_JSON_NULL));
    graft_json_put(d->a, variables, "documents", graft_json_new(d->a, GRAFT_JSON_NULL));
    token_put(d, variables, "bos_token", graft_tokenizer_bos(d->tok));
    token_put(d, variables, "eos_token", graft_tokenizer_eos(d->tok));
    token_put(d, variables, "pad_token", graft_tokenizer_pad(d->tok));
    token_put(d, variables, "unk_token", d->tok->unk);
    graft_str_init(&text, 1 << 20);
    if (graft_jinja_render("chat_template", d->chat.s, d->chat.n, variables, NULL, &text, d->err)) {
        graft_str_free(&text);
        const graft_error why = *d->err;
        return graft_fail(d->err, GRAFT_BAD_INPUT, d->tok->dir, "no template is named, and the tokenizer's own cannot be used (%.300s: %.500s); set template", why.where, why.message);
    }
    const size_t skip = text.bytes < d->prefix.n ? text.bytes : d->prefix.n;
    *out = (graft_slice){graft_arena_copy(d->t->arena, text.data + skip, text.bytes - skip), text.bytes - skip};
    graft_str_free(&text);
    return out->s ? GRAFT_OK : no_memory(d->err);
}

/* What the longer text has beyond the shorter, letter by letter. */
static graft_slice difference(derive *d, graft_slice brief, graft_slice longer)
{
    char *out = graft_arena_alloc(d->t->arena, longer.n + 1);
    size_t i = 0, n = 0;
    for (size_t k = 0; out && i < brief.n && k < longer.n; k++) {
        if (brief.s[i] == longer.s[k]) i++;
        else out[n++] = longer.s[k];
    }
    return (graft_slice){out, n};
}

static int starts(graft_slice s, const char *with) { return s.n >= strlen(with) && !memcmp(s.s, with, strlen(with)); }

/* Thought words go from an assistant slot, then newlines in front. */
static graft_slice without_words(derive *d, graft_slice s)
{
    char *out = graft_arena_alloc(d->t->arena, s.n + 1);
    size_t n = 0, skip = 0;
    for (size_t i = 0; out && i < s.n;) {
        const graft_slice rest = {s.s + i, s.n - i};
        if (starts(rest, "<think>")) i += 7;
        else if (starts(rest, "</think>")) i += 8;
        else out[n++] = s.s[i++];
    }
    while (skip < n && out[skip] == '\n') skip++;
    return (graft_slice){out ? out + skip : NULL, n - skip};
}

static graft_slots one_slot(graft_slice s) { return s.n ? (graft_slots){.unit = {{GRAFT_UNIT_TEXT, s.s, s.n}}, .n = 1} : (graft_slots){.n = 0}; }

static int has_content(graft_slice s) { return s.n >= 11 && memmem(s.s, s.n, "{{content}}", 11) != NULL; }

static graft_status fill(derive *d)
{
    graft_template *t = d->t;
    graft_slice system, user, with_system, both;
    if (find_prefix(d) || render(d, "S", 0, &system) || render(d, "sU", 1, &with_system) || render(d, "U", 1, &user) || render(d, "UA", 0, &both)) return d->err->code;
    const size_t before = both.n < user.n ? both.n : user.n;
    graft_slice assistant = {both.s + before, both.n - before};
    t->reasoning = assistant.n >= 7 && memmem(assistant.s, assistant.n, "<think>", 7) != NULL;
    assistant = without_words(d, assistant);
    if (user.n > with_system.n) {
        t->default_system = difference(d, with_system, user);
        const size_t own = system.n - (has_content(system) ? 11 : 0) + t->default_system.n, skip = own < user.n ? own : user.n;
        user = (graft_slice){user.s + skip, user.n - skip};
    }
    if (!assistant.s) return no_memory(d->err);
    if (!has_content(system) || !has_content(user) || !has_content(assistant))
        return graft_fail(d->err, GRAFT_BAD_INPUT, d->tok->dir, "no template is named, and the tokenizer's own loses the text of %s; set template", !has_content(system) ? "a system message" : !has_content(user) ? "a question"
                                                                                                                                                                                                                   : "an answer");
    t->prefix = one_slot(d->prefix), t->system = one_slot(system), t->user = t->observation = one_slot(user), t->assistant = t->function = one_slot(assistant);
    return GRAFT_OK;
}

graft_status graft_template_of_tokenizer(const char *dir, const graft_tokenizer *tok, graft_template **out, graft_error *err)
{
    derive d = {.tok = tok, .err = err, .a = graft_arena_new()};
    *out = NULL;
    graft_status status = d.a ? chat_template(&d) : no_memory(err);
    if (!status && !d.chat.s) status = graft_template_open(dir, "empty", out, err);
    else if (!status) {
        d.t = graft_template_blank("the tokenizer's own", err);
        status = d.t ? fill(&d) : err->code;
        if (!status) *out = d.t;
        else graft_template_close(d.t);
    }
    graft_arena_free(d.a);
    return status;
}
