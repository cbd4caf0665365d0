/* tests/golden/templates.c - template/NAME.json: a chat template's definition and the units that conversations of _index.json render to.
 *
 * A rendering is a list of pieces (a text, {"sp": "bos"}, {"tok": "<|user|>"}, {"ref": n} into "strings"); multiturn is one pair (prompt, answer) a turn,
 * oneturn everything before the last answer as one prompt. {"error": ...}: the conversation has to be refused. */
#include "tests/golden/golden.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/model/template.h"

#include <stdio.h>
#include <string.h>

enum { MESSAGES_MAX = 256 };

typedef struct golden_template {
    const graft_json *file, *index;
    const graft_template *t;
} golden_template;

static int same_units(const golden_template *g, const graft_units *have, const graft_json *want)
{
    size_t i = 0;
    for (const graft_json *w = want->child; w; w = w->next) {
        const graft_json *ref = graft_json_get(w, "ref"), *sp = graft_json_get(w, "sp"), *tok = graft_json_get(w, "tok"), *text = tok ? tok : w;
        const graft_unit_kind kind = tok ? GRAFT_UNIT_TOKEN : !sp                    ? GRAFT_UNIT_TEXT
                                                          : graft_json_is(sp, "bos") ? GRAFT_UNIT_BOS
                                                                                     : GRAFT_UNIT_EOS;
        if (sp && !graft_json_is(sp, "bos") && !graft_json_is(sp, "eos")) continue; /* any other name gives no token */
        if (ref) {
            text = graft_json_get(g->file, "strings")->child;
            for (int64_t k = 0; k < ref->integer; k++) text = text->next;
        }
        const graft_unit *u = i < have->n ? &have->item[i++] : NULL;
        if (!u || u->kind != kind || (!sp && (u->bytes != text->bytes || memcmp(u->text, text->text, u->bytes)))) return 0;
    }
    return i == have->n;
}

static int same_turns(const golden_template *g, const graft_unit_turn *turns, size_t n, const graft_json *want)
{
    size_t i = 0;
    for (const graft_json *w = want->child; w; w = w->next, i++)
        if (i >= n || !same_units(g, &turns[i].prompt, w->child) || !same_units(g, &turns[i].answer, w->child->next)) return 0;
    return i == n;
}

static int same_oneturn(const golden_template *g, graft_arena *a, const graft_unit_turn *turns, size_t n, const graft_json *want)
{
    size_t room = 1;
    for (size_t i = 0; i < n; i++) room += turns[i].prompt.n + turns[i].answer.n;
    graft_units all = {graft_arena_alloc(a, room * sizeof(graft_unit)), 0, room};
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < turns[i].prompt.n; k++) all.item[all.n++] = turns[i].prompt.item[k];
        for (size_t k = 0; i + 1 < n && k < turns[i].answer.n; k++) all.item[all.n++] = turns[i].answer.item[k];
    }
    return same_units(g, &all, want->child) && same_units(g, &turns[n - 1].answer, want->child->next);
}

/* {T0} {T1} {C0} {C1} in a message stand for the template's words around thoughts and calls. */
static size_t expand(char *out, const graft_json *file, const graft_json *content)
{
    const graft_json *thought = graft_json_get(file, "thought_words"), *call = graft_json_get(file, "tool_call_words");
    size_t n = 0;
    for (size_t i = 0; i < content->bytes;) {
        const char *at = content->text + i;
        const int mark = content->bytes - i >= 4 && at[0] == '{' && (at[1] == 'T' || at[1] == 'C') && (at[2] == '0' || at[2] == '1') && at[3] == '}';
        const graft_json *words = mark ? (at[1] == 'T' ? thought : call) : NULL, *w = words ? (at[2] == '1' ? words->child->next : words->child) : NULL;
        if (w) memcpy(out + n, w->text, w->bytes), n += w->bytes, i += 4;
        else out[n++] = content->text[i++];
    }
    return n;
}

static size_t messages_of(graft_arena *a, const graft_json *file, const graft_json *conversation, graft_message *out)
{
    size_t n = 0;
    for (const graft_json *m = graft_json_get(conversation, "messages")->child; m && n < MESSAGES_MAX; m = m->next, n++) {
        const graft_json *role = graft_json_get(m, "role"), *content = graft_json_get(m, "content");
        char *text = graft_arena_alloc(a, content->bytes * 16 + 400);
        out[n].bytes = expand(text, file, content);
        out[n].text = text;
        out[n].role = graft_json_is(role, "user") ? GRAFT_MESSAGE_USER : graft_json_is(role, "assistant") ? GRAFT_MESSAGE_ASSISTANT
                                                                     : graft_json_is(role, "function")    ? GRAFT_MESSAGE_FUNCTION
                                                                                                          : GRAFT_MESSAGE_OBSERVATION;
    }
    return n;
}

static void rendering_check(const golden_template *g, const graft_json *conversation, const graft_json *mode, const char *today, const graft_json *want, int one_turn)
{
    const graft_template_options o = {.thinking = !strncmp(mode->key, "false", 5) ? GRAFT_THINKING_FALSE : !strncmp(mode->key, "null", 4) ? GRAFT_THINKING_NULL
                                                                                                                                          : GRAFT_THINKING_TRUE,
                                      .preserve_thinking = strstr(mode->key, "preserve") != NULL,
                                      .mask_history = strstr(mode->key, "mask_history") != NULL,
                                      .one_turn = one_turn,
                                      .today = today};
    const char *what = one_turn ? "as one turn" : "turns";
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    graft_message messages[MESSAGES_MAX];
    graft_unit_turn *turns = NULL;
    size_t n_turns = 0;
    const graft_json *system = graft_json_get(conversation, "system"), *tools = graft_json_get(conversation, "tools");
    const size_t n = messages_of(a, g->file, conversation, messages);
    const graft_status status = graft_template_units(g->t, &o, a, messages, n, system && system->bytes ? system->text : NULL, system ? system->bytes : 0, tools ? tools->text : NULL, &turns, &n_turns, &err);
    if (graft_json_get(want, "error")) golden_equal("refused", status != GRAFT_OK);
    else if (status) golden_fail(what, "%s, %s: %s", conversation->key, mode->key, err.message);
    else if (one_turn ? same_oneturn(g, a, turns, n_turns, want) : same_turns(g, turns, n_turns, want)) golden_equal(what, 1);
    else golden_fail(what, "%s, %s differs", conversation->key, mode->key);
    graft_arena_free(a);
}

static void mode_check(const golden_template *g, const graft_json *conversation, const graft_json *mode, const graft_json *modes, const char *today)
{
    const graft_json *want = mode->type == GRAFT_JSON_TEXT ? graft_json_get(modes, mode->text + 1) : mode; /* "=true": as that mode */
    const graft_json *multi = graft_json_get(want, "multiturn"), *one = graft_json_get(want, "oneturn");
    if (multi) rendering_check(g, conversation, mode, today, multi, 0);
    if (one) rendering_check(g, conversation, mode, today, one->type == GRAFT_JSON_TEXT ? multi : one, one->type != GRAFT_JSON_TEXT);
}

/* "2024-07-26" as it stands in tool prompts: "26 Jul 2024". */
static const char *day(graft_arena *a, const graft_json *index)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const graft_json *today = graft_json_get(index, "today");
    int y = 2024, m = 7, d = 26;
    if (!today || today->type != GRAFT_JSON_TEXT || sscanf(today->text, "%d-%d-%d", &y, &m, &d) != 3 || m < 1 || m > 12) return NULL;
    return graft_arena_printf(a, "%02d %.3s %d", d, months + 3 * (m - 1), y);
}

static void text_check(const golden_template *g, const char *key, const char *have, size_t bytes)
{
    const graft_json *want = graft_json_get(g->file, key);
    if (want && want->type == GRAFT_JSON_TEXT) golden_equal(key, want->bytes == bytes && (!bytes || !memcmp(want->text, have, bytes)));
}

static void definition_check(const golden_template *g)
{
    graft_str jinja, ollama;
    graft_str_init(&jinja, 0);
    graft_str_init(&ollama, 0);
    size_t bytes = 0;
    const char *thought = graft_template_empty_thought(g->t, &bytes);
    text_check(g, "empty_thought", thought, bytes);
    graft_template_jinja(g->t, "<BOS>", "<EOS>", &jinja);
    graft_template_ollama(g->t, "<BOS>", "<EOS>", &ollama);
    text_check(g, "jinja", jinja.data, jinja.bytes);
    text_check(g, "ollama", ollama.data, ollama.bytes);
    graft_str_free(&jinja);
    graft_str_free(&ollama);
    const graft_json *efficient = graft_json_get(g->file, "efficient_eos");
    if (efficient) golden_equal("efficient_eos", efficient->integer == graft_template_efficient_eos(g->t));
}

int golden_template_file(const char *file)
{
    static const char *const places[] = {"", "/..", "/../.."}; /* of _index.json */
    const char *base = graft_path_base(file);
    char path[4300], name[256];
    graft_error err = GRAFT_ERROR_INIT;
    golden_template g = {0};
    graft_template *t = NULL;
    graft_arena *a = graft_arena_new();
    snprintf(name, sizeof name, "%.*s", (int)(strlen(base) - 5), base);
    const int is = !graft_json_parse_file(a, file, 1 << 26, 0, &g.file, &err) && graft_json_get(g.file, "slots") && graft_json_get(g.file, "conversations");
    for (size_t i = 0; is && !g.index && i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%.*s%s/_index.json", (int)(base > file ? base - file - 1 : 1), base > file ? file : ".", places[i]);
        if (graft_path_exists(path) && graft_json_parse_file(a, path, 1 << 26, 0, &g.index, &err)) break;
    }
    if (is && !g.index) golden_skip("%s: no _index.json beside or above it", file);
    if (is && g.index) {
        golden_case(file);
        if (graft_template_open(GRAFT_SOURCE_DIR "/formats/templates", name, &t, &err)) golden_error("open", &err);
        g.t = t;
        if (t) definition_check(&g);
        const graft_json *conversations = graft_json_get(g.index, "conversations");
        for (const graft_json *c = t ? graft_json_get(g.file, "conversations")->child : NULL; c; c = c->next) {
            const graft_json *conversation = graft_json_get(conversations, c->key);
            if (!conversation) golden_fail("turns", "_index.json has no conversation %s", c->key);
            for (const graft_json *m = conversation ? c->child : NULL; m; m = m->next) mode_check(&g, conversation, m, c, day(a, g.index));
        }
        graft_template_close(t);
    }
    graft_arena_free(a);
    return is;
}
