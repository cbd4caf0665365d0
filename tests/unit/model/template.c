/* Chat templates: every file opens, bad files are refused by name, tokenizers are fitted. (What conversations render to: tests/golden/templates.c.) */
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
    tcase_add_test(tc, every_file_opens);
    tcase_add_test(tc, bad_files);
    tcase_add_test(tc, unknown_name);
    tcase_add_test(tc, fit_and_stops);
    tcase_add_test(tc, missing_token);
}

int main(void) { return graft_test_main("template", cases); }
