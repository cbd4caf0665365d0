/* Chat templates: every file opens; conversations render to the units that LLaMA-Factory's templates give (golden/template), bad files are refused by name. */
#include "core/model/template.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

static const char *templates(void)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/formats/templates", GRAFT_SOURCE_DIR);
    return path;
}

/* ---- the golden renderings: one unit a piece, {"ref": n} points into "strings" ------------------------------------------------------- */

typedef struct golden {
    const graft_json *file;
    char why[600];
} golden;

static int same_units(golden *g, const graft_units *have, const graft_json *want)
{
    size_t i = 0;
    for (const graft_json *w = want->child; w; w = w->next, i++) {
        const graft_json *ref = graft_json_get(w, "ref"), *sp = graft_json_get(w, "sp"), *tok = graft_json_get(w, "tok"), *text = w;
        graft_unit_kind kind = GRAFT_UNIT_TEXT;
        if (sp && !graft_json_is(sp, "bos") && !graft_json_is(sp, "eos")) { /* any other name gives no token */
            i--;
            continue;
        }
        if (ref) {
            text = graft_json_get(g->file, "strings")->child;
            for (int64_t k = 0; k < ref->integer; k++) text = text->next;
        }
        if (sp) kind = graft_json_is(sp, "bos") ? GRAFT_UNIT_BOS : GRAFT_UNIT_EOS;
        if (tok) kind = GRAFT_UNIT_TOKEN, text = tok;
        const graft_unit *u = i < have->n ? &have->item[i] : NULL;
        const int same = u && u->kind == kind && (sp || (u->bytes == text->bytes && !memcmp(u->text, text->text, u->bytes)));
        if (!same) {
            snprintf(g->why, sizeof g->why, "unit %zu: wanted %.200s, have %.*s", i, sp ? sp->text : text->text, u ? (int)(u->bytes < 200 ? u->bytes : 200) : 7, u ? u->text : "nothing");
            return 0;
        }
    }
    if (i != have->n) snprintf(g->why, sizeof g->why, "%zu units more than wanted, the first: %.200s", have->n - i, have->item[i].text);
    return i == have->n;
}

static int same_turns(golden *g, graft_unit_turn *turns, size_t n, const graft_json *want)
{
    size_t i = 0;
    for (const graft_json *w = want->child; w; w = w->next, i++)
        if (i >= n || !same_units(g, &turns[i].prompt, w->child) || !same_units(g, &turns[i].answer, w->child->next)) return 0;
    return i == n;
}

/* The prompt of `oneturn` is everything before the last answer. */
static int same_oneturn(golden *g, graft_arena *a, graft_unit_turn *turns, size_t n, const graft_json *want)
{
    graft_units all = {graft_arena_alloc(a, 4096 * sizeof(graft_unit)), 0, 4096};
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < turns[i].prompt.n; k++) all.item[all.n++] = turns[i].prompt.item[k];
        for (size_t k = 0; i + 1 < n && k < turns[i].answer.n; k++) all.item[all.n++] = turns[i].answer.item[k];
    }
    return same_units(g, &all, want->child) && same_units(g, &turns[n - 1].answer, want->child->next);
}

static size_t expand(char *out, const graft_json *words[2], const char *marks[2][2], const graft_json *content)
{
    size_t n = 0;
    for (size_t i = 0; i < content->bytes;) {
        int hit = 0;
        for (int k = 0; k < 2 && !hit; k++)
            for (int j = 0; j < 2 && !hit; j++) {
                if (content->bytes - i < 4 || memcmp(content->text + i, marks[k][j], 4)) continue;
                const graft_json *w = j ? words[k]->child->next : words[k]->child;
                memcpy(out + n, w->text, w->bytes);
                n += w->bytes, i += 4, hit = 1;
            }
        if (!hit) out[n++] = content->text[i++];
    }
    return n;
}

static size_t messages_of(graft_arena *a, const graft_json *file, const graft_json *conversation, graft_message *out)
{
    const graft_json *words[2] = {graft_json_get(file, "thought_words"), graft_json_get(file, "tool_call_words")};
    const char *marks[2][2] = {{"{T0}", "{T1}"}, {"{C0}", "{C1}"}};
    size_t n = 0;
    for (const graft_json *m = graft_json_get(conversation, "messages")->child; m; m = m->next, n++) {
        const graft_json *role = graft_json_get(m, "role"), *content = graft_json_get(m, "content");
        char *text = graft_arena_alloc(a, content->bytes + 400);
        out[n].bytes = expand(text, words, marks, content);
        out[n].text = text;
        out[n].role = graft_json_is(role, "user") ? GRAFT_MESSAGE_USER : graft_json_is(role, "assistant") ? GRAFT_MESSAGE_ASSISTANT
                                                                     : graft_json_is(role, "function")    ? GRAFT_MESSAGE_FUNCTION
                                                                                                          : GRAFT_MESSAGE_OBSERVATION;
    }
    return n;
}

static graft_template_options options_of(const char *mode)
{
    return (graft_template_options){.thinking = !strncmp(mode, "false", 5) ? GRAFT_THINKING_FALSE : !strncmp(mode, "null", 4) ? GRAFT_THINKING_NULL
                                                                                                                              : GRAFT_THINKING_TRUE,
                                    .preserve_thinking = strstr(mode, "preserve") != NULL,
                                    .mask_history = strstr(mode, "mask_history") != NULL,
                                    .today = "26 Jul 2024"};
}

typedef struct tally {
    int same, different, unwritten;
} tally;

static void mode_check(const char *name, const graft_template *t, golden *g, const graft_json *conversation, const graft_json *mode, const graft_json *modes, tally *n)
{
    const graft_json *want = mode;
    if (want->type == GRAFT_JSON_TEXT) want = graft_json_get(modes, want->text + 1); /* "=true": as that mode */
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    const graft_json *system = graft_json_get(conversation, "system"), *tools = graft_json_get(conversation, "tools"), *multi = graft_json_get(want, "multiturn"), *one = graft_json_get(want, "oneturn");
    for (int round = 0; round < 2; round++) {
        graft_message messages[16];
        graft_unit_turn *turns;
        size_t n_turns;
        graft_template_options o = options_of(mode->key);
        o.one_turn = round;
        if (round && (!one || one->type == GRAFT_JSON_OBJECT || (one->type == GRAFT_JSON_TEXT && !graft_json_is(one, "same")))) continue;
        const graft_json *expected = round && one->type == GRAFT_JSON_ARRAY ? one : multi;
        if (!expected || (round && expected == multi)) continue;
        const size_t k = messages_of(a, g->file, conversation, messages);
        const graft_status status = graft_template_units(t, &o, a, messages, k, system && system->bytes ? system->text : NULL, system ? system->bytes : 0, tools ? tools->text : NULL, &turns, &n_turns, &err);
        if (graft_json_get(expected, "error")) {
            if (status) n->same++;
            else n->different++, printf("%s %s %s: LLaMA-Factory refuses it\n", name, conversation->key, mode->key);
        } else if (status == GRAFT_UNSUPPORTED) {
            n->unwritten++;
        } else if (status) {
            n->different++, printf("%s %s %s: %s\n", name, conversation->key, mode->key, err.message);
        } else if (round ? same_oneturn(g, a, turns, n_turns, expected) : same_turns(g, turns, n_turns, expected)) {
            n->same++;
        } else {
            n->different++, printf("%s %s %s %s: %s\n", name, conversation->key, mode->key, round ? "oneturn" : "multiturn", g->why);
        }
    }
    graft_arena_free(a);
}

static void file_check(const char *dir, const char *file_name, const graft_json *index, tally *n)
{
    char path[4096], name[200];
    graft_error err = GRAFT_ERROR_INIT;
    snprintf(path, sizeof path, "%s/%s", dir, file_name);
    snprintf(name, sizeof name, "%.*s", (int)(strlen(file_name) - 5), file_name);
    graft_arena *a = graft_arena_new();
    golden g = {0};
    graft_template *t = NULL;
    ck_assert_ok(graft_json_parse_file(a, path, 1 << 24, 0, &g.file, &err));
    ck_assert_ok(graft_template_open(templates(), name, &t, &err));
    const graft_json *conversations = graft_json_get(index, "conversations");
    for (const graft_json *c = graft_json_get(g.file, "conversations")->child; c; c = c->next)
        for (const graft_json *m = c->child; m; m = m->next) mode_check(name, t, &g, graft_json_get(conversations, c->key), m, c, n);
    graft_template_close(t);
    graft_arena_free(a);
}

static void golden_folder(const char *dir, const char *index_dir)
{
    char path[4096];
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    const graft_json *index;
    char **names;
    size_t n;
    tally sum = {0};
    snprintf(path, sizeof path, "%s/_index.json", index_dir);
    ck_assert_ok(graft_json_parse_file(a, path, 1 << 24, 0, &index, &err));
    ck_assert_ok(graft_dir_list(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++)
        if (strlen(names[i]) > 5 && strcmp(names[i], "_index.json") && !strcmp(names[i] + strlen(names[i]) - 5, ".json")) file_check(dir, names[i], index, &sum);
    printf("%s: %d renderings equal, %d different, %d need a tool format that is not written yet\n", dir, sum.same, sum.different, sum.unwritten);
    ck_assert_int_eq(sum.different, 0);
    ck_assert_int_gt(sum.same, 0);
    graft_dir_list_free(names, n);
    graft_arena_free(a);
}

START_TEST(renderings) { golden_folder(graft_test_fixture("template"), graft_test_fixture("template")); }
END_TEST

START_TEST(renderings_shared)
{
    const char *dir = graft_test_shared("golden/template");
    if (!dir) {
        printf("skipped: golden/template is not here\n");
        return;
    }
    golden_folder(dir, dir);
    golden_folder(graft_test_shared("golden/template/legacy"), dir);
}
END_TEST

/* ---- files --------------------------------------------------------------------------------------------------------------------------------- */

START_TEST(every_file_opens)
{
    graft_error err = GRAFT_ERROR_INIT;
    char **names;
    size_t n;
    ck_assert_ok(graft_dir_list(templates(), &names, &n, &err));
    ck_assert_uint_eq(n, 140); /* 121 of LLaMA-Factory 0.9.5, 19 that only 0.9.4 had */
    for (size_t i = 0; i < n; i++) {
        graft_template *t = NULL;
        names[i][strlen(names[i]) - 5] = '\0';
        ck_assert_ok(graft_template_open(templates(), names[i], &t, &err));
        ck_assert_str_eq(graft_template_name(t), names[i]);
        graft_template_close(t);
    }
    graft_dir_list_free(names, n);
}
END_TEST

static void refuse(const char *json, const char *sentence)
{
    const char *dir = graft_test_dir("template");
    char path[4200];
    graft_error err = GRAFT_ERROR_INIT;
    graft_template *t = NULL;
    snprintf(path, sizeof path, "%s/x.json", dir);
    ck_assert_ok(graft_file_replace(path, json, strlen(json), &err));
    ck_assert_int_ne(graft_template_open(dir, "x", &t, &err), GRAFT_OK);
    ck_assert_ptr_null(t);
    ck_assert_msg(strstr(err.message, sentence) != NULL, "\"%s\" does not say \"%s\"", err.message, sentence);
}

START_TEST(bad_files)
{
    refuse("[]", "a template file holds one object");
    refuse("{\"user\": [\"x\"]}", "needs \"user\" and \"assistant\"");
    refuse("{\"usr\": [\"x\"]}", "a template has no key \"usr\"; did you mean \"user\"?");
    refuse("{\"user\": [3]}", "a slot holds texts");
    refuse("{\"user\": \"x\"}", "\"user\" must be a list");
    refuse("{\"efficient_eos\": 1}", "\"efficient_eos\" must be true or false");
    refuse("{\"user\":[\"x\"],\"assistant\":[\"y\"],\"replace_eos\":true}", "needs a stop word");
}
END_TEST

START_TEST(unknown_name)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_template *t = NULL;
    ck_assert_int_eq(graft_template_open(templates(), "lama3", &t, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "no template is named \"lama3\"; did you mean \"llama3\"?");
    ck_assert_int_eq(graft_template_open(templates(), "../templates/qwen", &t, &err), GRAFT_BAD_INPUT);
}
END_TEST

/* ---- with a tokenizer ------------------------------------------------------------------------------------------------------------------------ */

START_TEST(fit_and_stops)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *tok = NULL;
    graft_template *t = NULL;
    graft_arena *a = graft_arena_new();
    size_t n = 0;
    ck_assert_ok(graft_tokenizer_open(graft_test_fixture("tokenizers/smollm2"), &tok, &err));
    ck_assert_ok(graft_template_open(templates(), "llama3", &t, &err));
    ck_assert_ok(graft_template_fit(t, tok, &err));
    ck_assert_int_eq(graft_tokenizer_id(tok, "<|eot_id|>"), 49152); /* new ids at the end */
    ck_assert_int_eq(graft_tokenizer_id(tok, "<|eom_id|>"), 49153);
    ck_assert_int_eq(graft_tokenizer_eos(tok), 49152);
    const int32_t *stops = graft_template_stops(t, tok, a, &n);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(stops[0], 49152);
    ck_assert_int_eq(stops[1], 49153);
    graft_message m = {GRAFT_MESSAGE_USER, "hi", 2};
    graft_turn *turns;
    ck_assert_ok(graft_template_render(t, tok, a, &m, 1, NULL, 0, NULL, &turns, &n, &err));
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(turns[0].n_answer, 0);
    int eot = 0;
    for (size_t i = 0; i < turns[0].n_prompt; i++) eot += turns[0].prompt[i] == 49152;
    ck_assert_int_eq(eot, 1);
    graft_template_close(t);
    graft_tokenizer_close(tok);
    graft_arena_free(a);
}
END_TEST

START_TEST(missing_token)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_tokenizer *tok = NULL;
    graft_template *t = NULL;
    graft_arena *a = graft_arena_new();
    graft_turn *turns;
    size_t n;
    ck_assert_ok(graft_tokenizer_open(graft_test_fixture("tokenizers/smollm2"), &tok, &err));
    ck_assert_ok(graft_template_open(templates(), "chatglm3", &t, &err));
    graft_message m = {GRAFT_MESSAGE_USER, "hi", 2};
    ck_assert_int_eq(graft_template_render(t, tok, a, &m, 1, NULL, 0, NULL, &turns, &n, &err), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(err.message, "needs the token \"[gMASK]\"") != NULL, "%s", err.message);
    graft_template_close(t);
    graft_tokenizer_close(tok);
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, renderings);
    tcase_add_test(tc, renderings_shared);
    tcase_add_test(tc, every_file_opens);
    tcase_add_test(tc, bad_files);
    tcase_add_test(tc, unknown_name);
    tcase_add_test(tc, fit_and_stops);
    tcase_add_test(tc, missing_token);
}

int main(void) { return graft_test_main("template", cases); }
