/* core/model/template_export.c - a chat template in the words of other programs: Jinja (transformers' chat_template) and Go's text/template (an ollama Modelfile).
 *
 * Both know system, user and assistant texts; tools and thoughts are not said there. Slots become quoted texts joined by " + " (Jinja) or bare text (Go).
 * Beside an exported model they lie as chat_template.jinja (and in tokenizer_config.json, where that names one) and as Modelfile. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/model/template_parts.h"
#include "core/model/tokenizer/parts.h"

#include <stdio.h>
#include <string.h>

typedef struct writer {
    graft_str *out;
    const char *bos, *eos;
    int jinja, any;
} writer;

static void text_add(writer *w, const char *s, size_t n)
{
    if (!n) return;
    if (w->jinja) graft_str_text(w->out, w->any ? " + '" : "'");
    for (size_t i = 0; i < n; i++) {
        if (w->jinja && s[i] == '\'') graft_str_add(w->out, "\\", 1);
        graft_str_add(w->out, s + i, 1);
    }
    if (w->jinja) graft_str_text(w->out, "'");
    w->any = 1;
}

static void content_add(writer *w, const char *content)
{
    if (w->jinja && w->any) graft_str_text(w->out, " + ");
    graft_str_text(w->out, content);
    w->any = 1;
}

/* content: what stands for {{content}} there. */
static void slots_add(writer *w, const graft_slots *slots, const char *content)
{
    static const char mark[] = "{{content}}";
    w->any = 0;
    for (size_t i = 0; i < slots->n; i++) {
        const graft_unit *u = &slots->unit[i];
        if (u->kind == GRAFT_UNIT_BOS && w->bos) text_add(w, w->bos, strlen(w->bos));
        if (u->kind == GRAFT_UNIT_EOS && w->eos) text_add(w, w->eos, strlen(w->eos));
        if (u->kind == GRAFT_UNIT_TOKEN) text_add(w, u->text, u->bytes);
        if (u->kind != GRAFT_UNIT_TEXT) continue;
        const char *at = u->bytes >= sizeof mark - 1 ? memmem(u->text, u->bytes, mark, sizeof mark - 1) : NULL;
        const size_t before = at ? (size_t)(at - u->text) : u->bytes;
        text_add(w, u->text, before);
        if (!at) continue;
        content_add(w, content);
        text_add(w, at + sizeof mark - 1, u->bytes - before - (sizeof mark - 1));
    }
}

static int has_units(const writer *w, const graft_slots *slots)
{
    for (size_t i = 0; i < slots->n; i++)
        if (slots->unit[i].kind >= GRAFT_UNIT_TOKEN || slots->unit[i].kind == GRAFT_UNIT_TEXT || (slots->unit[i].kind == GRAFT_UNIT_BOS ? w->bos : w->eos)) return 1;
    return 0;
}

static void expression(writer *w, const graft_slots *slots, const char *content)
{
    graft_str_text(w->out, "{{ ");
    slots_add(w, slots, content);
    graft_str_text(w->out, " }}");
}

void graft_template_jinja(const graft_template *t, const char *bos, const char *eos, graft_str *out)
{
    writer w = {.out = out, .bos = bos, .eos = eos, .jinja = 1};
    if (has_units(&w, &t->prefix)) expression(&w, &t->prefix, "content");
    if (t->default_system.n) {
        graft_str_text(out, "{% set system_message = ");
        w.any = 0;
        text_add(&w, t->default_system.s, t->default_system.n);
        graft_str_text(out, " %}");
    }
    graft_str_text(out, "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
                        "{% else %}{% set loop_messages = messages %}{% endif %}");
    if (t->system_in_user) {
        graft_str_text(out, "{% for message in loop_messages %}{% if loop.index0 == 0 and system_message is defined %}{% set content = ");
        slots_add(&w, &t->system, "system_message");
        graft_str_text(out, " + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}");
    } else {
        graft_str_text(out, "{% if system_message is defined %}");
        expression(&w, &t->system, "system_message");
        graft_str_text(out, "{% endif %}{% for message in loop_messages %}{% set content = message['content'] %}");
    }
    graft_str_text(out, "{% if message['role'] == 'user' %}");
    expression(&w, &t->user, "content");
    graft_str_text(out, "{% elif message['role'] == 'assistant' %}");
    expression(&w, &t->assistant, "content");
    graft_str_text(out, "{% endif %}{% endfor %}");
}

void graft_template_ollama(const graft_template *t, const char *bos, const char *eos, graft_str *out)
{
    writer w = {.out = out, .bos = bos, .eos = eos};
    slots_add(&w, &t->prefix, "");
    graft_str_text(out, "{{ if .System }}");
    slots_add(&w, &t->system, "{{ .System }}");
    graft_str_text(out, "{{ end }}{{ range .Messages }}{{ if eq .Role \"user\" }}");
    slots_add(&w, &t->user, "{{ .Content }}");
    graft_str_text(out, "{{ else if eq .Role \"assistant\" }}");
    slots_add(&w, &t->assistant, "{{ .Content }}");
    graft_str_text(out, "{{ end }}{{ end }}");
}

/* ---- files beside a model ----------------------------------------------------------------------------------------------------------------- */

static const char *spelled(const graft_tokenizer *tok, int32_t id, graft_arena *a)
{
    size_t n = 0;
    const char *s = id >= 0 ? graft_tokenizer_bytes(tok, id, &n) : NULL;
    return s ? graft_arena_copy(a, s, n) : NULL;
}

static graft_status write_text(const char *dir, const char *name, graft_str *text, graft_error *err)
{
    char *path = text->failed ? NULL : graft_path_join(dir, name);
    const graft_status status = path ? graft_file_replace(path, text->data, text->bytes, err) : graft_fail(err, GRAFT_NO_MEMORY, name, "out of memory");
    graft_free(path);
    return status;
}

static graft_status save_modelfile(const graft_template *t, const graft_tokenizer *tok, const char *dir, graft_arena *a, graft_error *err)
{
    graft_str out;
    size_t n = 0;
    graft_str_init(&out, 0);
    graft_str_text(&out, "# ollama modelfile\n\nFROM .\n\nTEMPLATE \"\"\"");
    graft_template_ollama(t, spelled(tok, graft_tokenizer_bos(tok), a), spelled(tok, graft_tokenizer_eos(tok), a), &out);
    graft_str_text(&out, "\"\"\"\n\n");
    if (t->default_system.n) {
        graft_str_text(&out, "SYSTEM \"\"\"");
        graft_str_add(&out, t->default_system.s, t->default_system.n);
        graft_str_text(&out, "\"\"\"\n\n");
    }
    const int32_t *stops = graft_template_stops(t, tok, a, &n);
    for (size_t i = 0; stops && i < n; i++) graft_str_printf(&out, "PARAMETER stop \"%s\"\n", spelled(tok, stops[i], a));
    graft_str_text(&out, "PARAMETER num_ctx 4096\n");
    const graft_status status = write_text(dir, "Modelfile", &out, err);
    graft_str_free(&out);
    return status;
}

/* tokenizer_config.json with this chat template, when it names one already: readers differ in which of the two they believe. */
static graft_status save_in_config(const char *dir, const graft_str *jinja, graft_arena *a, graft_error *err)
{
    const char *path = graft_arena_printf(a, "%s/tokenizer_config.json", dir);
    const graft_json *config = NULL;
    graft_str out;
    if (!path) return graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    if (!graft_path_exists(path)) return GRAFT_OK;
    if (graft_json_parse_file(a, path, 64 << 20, 0, &config, err)) return err->code;
    if (!graft_json_get(config, "chat_template")) return GRAFT_OK;
    graft_json *copy = graft_json_copy(a, config);
    if (!copy) return graft_fail(err, GRAFT_NO_MEMORY, path, "out of memory");
    graft_json_put(a, copy, "chat_template", graft_json_text(a, jinja->data, jinja->bytes));
    graft_str_init(&out, 0);
    graft_json_write(&out, copy, 2, 0);
    graft_str_text(&out, "\n");
    const graft_status status = write_text(dir, "tokenizer_config.json", &out, err);
    graft_str_free(&out);
    return status;
}

/* Has the tokenizer a chat template of its own? */
static int has_own(const graft_tokenizer *tok, const char *dir, graft_arena *a)
{
    graft_error ignored = GRAFT_ERROR_INIT;
    const graft_json *config = NULL;
    const char *file = graft_arena_printf(a, "%s/chat_template.jinja", dir), *json = graft_arena_printf(a, "%s/tokenizer_config.json", dir);
    if (tok->chat_template.s || (file && graft_path_exists(file))) return 1;
    if (!json || !graft_path_exists(json) || graft_json_parse_file(a, json, 64 << 20, 0, &config, &ignored)) return 0;
    const graft_json *own = graft_json_get(config, "chat_template");
    return own && own->type != GRAFT_JSON_NULL;
}

graft_status graft_template_save(const graft_template *t, const graft_tokenizer *tok, const char *dir, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    if (!a) return graft_fail(err, GRAFT_NO_MEMORY, dir, "out of memory");
    graft_status status = save_modelfile(t, tok, dir, a, err);
    if (!status && (t->replace_jinja || !has_own(tok, dir, a))) {
        graft_str jinja;
        graft_str_init(&jinja, 0);
        graft_template_jinja(t, spelled(tok, graft_tokenizer_bos(tok), a), spelled(tok, graft_tokenizer_eos(tok), a), &jinja);
        status = write_text(dir, "chat_template.jinja", &jinja, err);
        if (!status) status = save_in_config(dir, &jinja, a, err);
        graft_str_free(&jinja);
    }
    graft_arena_free(a);
    return status;
}
