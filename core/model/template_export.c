/* core/model/template_export.c - a chat template in the words of other programs: Jinja (transformers' chat_template) and Go's text/template (an ollama Modelfile).
 *
 * Both know system, user and assistant texts; tools and thoughts are not said there. Slots become quoted texts joined by " + " (Jinja) or bare text (Go). */
#include "core/model/template_parts.h"

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
