/* Templates out of tokenizers: slots from the tokenizer's own chat template, its forms for other programs, and what Jinja here can say. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/model/jinja.h"
#include "core/model/template.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

static const char *rendered(const char *text)
{
    static const char variables[] = "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \" q \"}], \"tools\": null, \"bos_token\": \"<s>\"}";
    static graft_str out;
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    graft_arena *a = graft_arena_new();
    graft_str_free(&out);
    graft_str_init(&out, 0);
    ck_assert_ok(graft_json_parse(a, "variables", variables, sizeof variables - 1, 0, &v, &err));
    if (graft_jinja_render("t", text, strlen(text), v, "26 Jul 2024", &out, &err)) {
        graft_str_clear(&out);
        graft_str_printf(&out, "%s: %s", err.where, err.message);
    }
    graft_arena_free(a);
    return out.data;
}

/* Each of these was compared with Jinja as transformers sets it up. */
START_TEST(jinja)
{
    ck_assert_str_eq(rendered("{{ bos_token }}{% for m in messages %}{{ '[' + m['role'] + ']' + m.content | trim }}{% endfor %}"), "<s>[system]S[user]q");
    ck_assert_str_eq(rendered("a\n  {% if true %}\n  b\n  {%- endif +%}\n c \n"), "a\n  b\n c ");
    ck_assert_str_eq(rendered("{{ -7 // 2 }} {{ -7 % 3 }} {{ 1/2 }} {{ 2 ** 3 }} {{ 'a' ~ 1 ~ none }} {{ [1, 'x', {'k': true}] }}"), "-4 2 0.5 8 a1None [1, 'x', {'k': True}]");
    ck_assert_str_eq(rendered("{% set ns = namespace(n=0) %}{% for i in range(4) if i % 2 %}{% set ns.n = ns.n + i %}{% set x = i %}{% endfor %}{{ ns.n }}{{ x is defined }}"), "4False");
    ck_assert_str_eq(rendered("{% macro m(a, b='B') %}<{{ a }}{{ b }}>{% endmacro %}{{ m('x') }}{{ m(b=1, a=2) }}"), "<xB><21>");
    ck_assert_str_eq(rendered("{{ messages[::-1] | map(attribute='role') | join(',') }} {{ 'h\\u00e9llo'[1:3] }} {{ {'b': 1.0, 'a': [none]} | tojson }}"), "user,system \xC3\xA9l {\"b\": 1.0, \"a\": [null]}");
    ck_assert_str_eq(rendered("{% for i in [1, 2, 3, 4] %}{% if i == 2 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{{ i }}{% else %}e{% endfor %}"), "13");
    ck_assert_str_eq(rendered("{{ strftime_now('%d %b %Y') }}{{ missing }}{{ 'x' if missing else 'y' }}"), "26 Jul 2024y");
    ck_assert_str_eq(rendered("a\n{{ raise_exception('roles must alternate') }}"), "t:2: the chat template stops: roles must alternate");
    ck_assert_str_eq(rendered("{{ missing.role }}"), "t:1: the chat template stops: a member \"role\" is asked of something undefined");
    ck_assert_str_eq(rendered("{% if x %}"), "t:1: the chat template is not understood: a block is not closed");
    ck_assert_str_eq(rendered("{{ 'a"), "t:1: the chat template is not understood: a text has no closing quote");
    ck_assert_str_eq(rendered("{{ x | wrong }}"), "t:1: the chat template stops: there is no filter \"wrong\"");
    ck_assert_str_eq(rendered("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), "t:1: the chat template stops: it is nested too deeply");
    ck_assert_str_eq(rendered("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"), "t:1: the chat template stops: it does not come to an end");
}
END_TEST

/* A tokenizer's folder with this chat template; what its template renders a question and answer to. */
static const char *derived(const char *chat)
{
    static graft_str out;
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *tok = NULL;
    graft_template *t = NULL;
    char path[4300], from[4300], *data;
    size_t bytes;
    const char *dir = graft_test_dir("derive");
    snprintf(from, sizeof from, "%s/tokenizer.json", graft_test_fixture("tokenizers/smollm2"));
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    ck_assert_ok(graft_file_read(from, 1 << 26, &data, &bytes, &err));
    ck_assert_ok(graft_file_replace(path, data, bytes, &err));
    graft_free(data);
    snprintf(path, sizeof path, "%s/chat_template.jinja", dir);
    if (chat) ck_assert_ok(graft_file_replace(path, chat, strlen(chat), &err));
    ck_assert_ok(graft_tokenizer_open(dir, &tok, &err));
    graft_str_free(&out);
    graft_str_init(&out, 0);
    if (graft_template_of_tokenizer(GRAFT_SOURCE_DIR "/formats/templates", tok, &t, &err)) graft_str_text(&out, err.message);
    graft_arena *a = graft_arena_new();
    const graft_message talk[] = {{GRAFT_MESSAGE_USER, "q", 1}, {GRAFT_MESSAGE_ASSISTANT, "a", 1}};
    const graft_template_options o = {.thinking = GRAFT_THINKING_TRUE};
    graft_unit_turn *turns;
    size_t n = 0;
    if (t) ck_assert_ok(graft_template_units(t, &o, a, talk, 2, NULL, 0, NULL, &turns, &n, &err));
    for (size_t i = 0; i < n; i++)
        for (size_t side = 0; side < 2; side++) {
            const graft_units *u = side ? &turns[i].answer : &turns[i].prompt;
            for (size_t k = 0; k < u->n; k++) graft_str_printf(&out, "%.*s|", (int)u->item[k].bytes, u->item[k].text);
        }
    graft_arena_free(a);
    graft_template_close(t);
    graft_tokenizer_close(tok);
    return out.data;
}

START_TEST(slots)
{
    ck_assert_str_eq(derived(NULL), "q|a|"); /* no chat template: empty */
    ck_assert_str_eq(derived("{% for m in messages %}{{ '<' + m.role + '>' + m.content + '.' }}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"), "<user>q.<assistant>|a.|");
    ck_assert_str_eq(derived("{% if messages[0].role != 'system' %}[S:be kind]{% endif %}{% for m in messages %}{{ '[' + m.role[0] | upper + ':' + m.content + ']' }}{% endfor %}{{ '[A:' if add_generation_prompt }}"), "[S:be kind]|[U:q][A:|a]|");
    ck_assert_str_eq(derived("{% for m in messages %}{{ '<' + m.role + '>' + ('<think>\\n\\n</think>\\n' if m.role == 'assistant' else '') + m.content }}{% endfor %}{{ '<assistant>' if add_generation_prompt }}"), "<user>q<assistant>|<think>\n\n</think>\n\n|a|"); /* it reasons */
    ck_assert_str_eq(derived("{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"), "no template is named, and the tokenizer's own loses the text of a system message; set template");
    ck_assert_msg(strstr(derived("{{ raise_exception('no') }}"), "no template is named, and the tokenizer's own cannot be used (chat_template:1: the chat template stops: no); set template") != NULL, "%s", derived("{{ raise_exception('no') }}"));
}
END_TEST

static const char *text_of(const char *dir, const char *name)
{
    static char *data;
    graft_error err = GRAFT_ERROR_INIT;
    size_t bytes;
    char path[4300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    graft_free(data);
    data = NULL;
    ck_assert_ok(graft_file_read(path, 1 << 20, &data, &bytes, &err));
    return data;
}

/* A template that replaces the tokenizer's own, and one that does not. */
START_TEST(saved)
{
    graft_error err = GRAFT_ERROR_INIT;
    static const char *const names[] = {"chatml", "smollm2"};
    for (size_t i = 0; i < 2; i++) {
        graft_tokenizer *tok = NULL;
        graft_template *t = NULL;
        const char *dir = graft_test_dir("saved");
        ck_assert_ok(graft_tokenizer_open(graft_test_fixture("tokenizers/smollm2"), &tok, &err));
        ck_assert_ok(graft_template_open(GRAFT_SOURCE_DIR "/formats/templates", names[i], &t, &err));
        ck_assert_ok(graft_template_fit(t, tok, &err));
        ck_assert_ok(graft_tokenizer_save(tok, dir, &err));
        ck_assert_ok(graft_template_save(t, tok, dir, &err));
        const char *file = text_of(dir, "Modelfile");
        ck_assert_msg(strstr(file, "# ollama modelfile\n\nFROM .\n\nTEMPLATE \"\"\"{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ range .Messages }}") == file, "%s", file);
        ck_assert_msg(strstr(file, "PARAMETER stop \"<|im_end|>\"\n") && strstr(file, "PARAMETER num_ctx 4096\n"), "%s", file);
        ck_assert_int_eq(strstr(file, "SYSTEM \"\"\"You are a helpful AI assistant named SmolLM") != NULL, i == 1);
        file = text_of(dir, "chat_template.jinja");
        ck_assert_int_eq(strstr(file, "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}") == file, i == 0);
        graft_template_close(t);
        graft_tokenizer_close(tok);
    }
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, saved);
    tcase_add_test(tc, jinja);
    tcase_add_test(tc, slots);
}

int main(void) { return graft_test_main("derive", cases); }
