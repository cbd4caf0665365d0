/* Datasets: the zoo of bad files, reports, splits, sniffing, names. (What samples hold: tests/golden/samples.c.) */
#include "core/data/dataset.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

typedef struct set {
    graft_registry *registry;
    graft_tokenizer *tok;
    graft_template *t;
    graft_dataset *train, *eval;
    graft_dataset_report report;
    graft_error err;
    graft_dataset_options o;
} set;

static set set_open(const char *dataset_dir)
{
    set s = {.err = GRAFT_ERROR_INIT, .o = {.cutoff_len = 2048, .seed = 42}};
    graft_error err = GRAFT_ERROR_INIT;
    char path[4200];
    snprintf(path, sizeof path, "%s/lib/graft/registry.json", GRAFT_BINARY_DIR);
    const graft_registry_options ro = {.shipped = path, .dataset_dir = dataset_dir};
    ck_assert_ok(graft_registry_open(&ro, &s.registry, &err));
    ck_assert_ok(graft_tokenizer_open(graft_test_fixture("tokenizers/smollm2"), &s.tok, &err));
    snprintf(path, sizeof path, "%s/formats/templates", GRAFT_SOURCE_DIR);
    ck_assert_ok(graft_template_open(path, "smollm2", &s.t, &err));
    ck_assert_ok(graft_template_fit(s.t, s.tok, &err));
    return s;
}

static graft_status set_load(set *s, const char *names)
{
    graft_dataset_free(s->train);
    graft_dataset_free(s->eval);
    s->o.names = names;
    s->err = (graft_error)GRAFT_ERROR_INIT;
    return graft_dataset_load(s->registry, &s->o, s->t, s->tok, &s->train, &s->eval, &s->report, &s->err);
}

static void set_close(set *s)
{
    graft_dataset_free(s->train);
    graft_dataset_free(s->eval);
    graft_template_close(s->t);
    graft_tokenizer_close(s->tok);
    graft_registry_close(s->registry);
}

static const char *write_file(const char *name, const char *text)
{
    static char path[4200];
    graft_error err = GRAFT_ERROR_INIT;
    snprintf(path, sizeof path, "%s/%s", graft_test_dir("dataset"), name);
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
    return path;
}

/* Files that one could meet: what EXPECT.json says is to be done with them. Entries "sharegpt_*" and "kto_*" need an entry of their own. */
START_TEST(zoo)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    const graft_json *expect;
    set s = set_open(graft_test_fixture("samples/bad"));
    int n = 0;
    ck_assert_ok(graft_json_parse_file(a, graft_test_fixture("samples/bad/EXPECT.json"), 1 << 24, 0, &expect, &err));
    for (const graft_json *e = expect->child; e; e = e->next) {
        char name[200];
        snprintf(name, sizeof name, "%s", graft_path_base(e->key));
        *strrchr(name, '.') = '\0';
        const graft_json *verdict = graft_json_get(e, "verdict");
        const graft_status status = set_load(&s, name);
        if (status == GRAFT_BAD_INPUT && strncmp(s.err.message, "No format is named", 18) == 0) {
            printf("skipped: %s needs a format that this build has not\n", name);
            continue;
        }
        n++;
        if (graft_json_is(verdict, "reject")) {
            ck_assert_msg(status != GRAFT_OK, "%s was taken: %s", e->key, graft_json_get(e, "why")->text);
            ck_assert_msg(s.err.message[0], "%s: no sentence", e->key);
        } else if (graft_json_is(verdict, "accept")) {
            ck_assert_msg(status == GRAFT_OK, "%s was refused: %s: %s", e->key, s.err.where, s.err.message);
        }
        printf("%s: %s%s%s\n", e->key, status ? s.err.where : "taken", status ? ": " : "", status ? s.err.message : "");
    }
    ck_assert_int_gt(n, 15);
    set_close(&s);
    graft_arena_free(a);
}
END_TEST

START_TEST(sentences)
{
    set s = set_open(graft_test_fixture("samples/bad"));
    ck_assert_int_eq(set_load(&s, "missing_output"), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(s.err.where, "missing_output.json: record 2") != NULL, "%s", s.err.where);
    ck_assert_msg(strstr(s.err.message, "\"output\" is missing") != NULL, "%s", s.err.message);
    ck_assert_int_eq(set_load(&s, "wrong_type"), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(s.err.where, "record 2") && strstr(s.err.message, "\"output\" must be a text"), "%s: %s", s.err.where, s.err.message);
    ck_assert_int_eq(set_load(&s, "broken_line"), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(s.err.where, "broken_line.jsonl:2") != NULL, "%s", s.err.where);
    ck_assert_int_eq(set_load(&s, "no_such_set"), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(s.err.message, "no_such_set") != NULL, "%s", s.err.message);
    ck_assert_int_eq(set_load(&s, ""), GRAFT_BAD_INPUT);
    s.o.cutoff_len = 0;
    ck_assert_int_eq(set_load(&s, "bom"), GRAFT_BAD_INPUT);
    ck_assert_str_eq(s.err.where, "cutoff_len");
    set_close(&s);
}
END_TEST

START_TEST(report)
{
    set s = set_open(graft_test_fixture("samples/data"));
    graft_error err = GRAFT_ERROR_INIT;
    ck_assert_int_eq(set_load(&s, "alpaca_history"), GRAFT_OK);
    ck_assert_int_eq(s.report.records, 7);
    ck_assert_int_eq(s.report.kept, 6);
    ck_assert_int_eq(s.report.dropped, 1);
    ck_assert_int_eq(s.report.truncated, 0);
    ck_assert_ptr_nonnull(s.report.first_drop);
    ck_assert_msg(strstr(s.report.first_drop, "alpaca_history.json: record 5") && strstr(s.report.first_drop, "a is null"), "%s", s.report.first_drop);
    int64_t tokens = 0, labelled = 0;
    for (int64_t i = 0; i < graft_dataset_count(s.train); i++) {
        const graft_sample x = graft_dataset_at(s.train, i);
        tokens += x.n;
        for (int64_t k = 0; k < x.n; k++) labelled += x.labels[k] != -100;
    }
    ck_assert_int_eq(s.report.tokens, tokens);
    ck_assert_int_eq(s.report.labelled, labelled);
    s.o.cutoff_len = 20;
    ck_assert_int_eq(set_load(&s, "alpaca_history"), GRAFT_OK);
    ck_assert_int_eq(s.report.truncated, 6);
    ck_assert_int_eq(s.report.tokens + s.report.tokens_cut, tokens);
    s.o.cutoff_len = 2048;
    const char *path = write_file("nulls.json", "[{\"instruction\":\"q\",\"output\":null}]");
    ck_assert_int_eq(set_load(&s, path), GRAFT_BAD_INPUT);
    ck_assert_msg(strstr(s.err.message, "all 1 were dropped, the first because: nulls.json: record 1") != NULL, "%s", s.err.message);
    ck_assert_ptr_null(s.train);
    (void)err;
    set_close(&s);
}
END_TEST

START_TEST(paths_and_sets)
{
    set s = set_open(graft_test_fixture("samples/data"));
    ck_assert_int_eq(set_load(&s, write_file("direct.jsonl", "{\"instruction\":\"q\",\"output\":\"a\"}\n{\"instruction\":\"r\",\"output\":\"b\"}\n")), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(s.train), 2);
    ck_assert_ptr_null(s.eval);
    ck_assert_int_eq(set_load(&s, "numbered_a, numbered_b"), GRAFT_OK); /* blanks around names are fine */
    ck_assert_int_eq(graft_dataset_count(s.train), 140);
    s.o.max_samples = 7;
    ck_assert_int_eq(set_load(&s, "numbered_a,numbered_b"), GRAFT_OK); /* of each */
    ck_assert_int_eq(graft_dataset_count(s.train), 14);
    s.o.max_samples = 0;
    s.o.val_size = 1;
    ck_assert_int_eq(set_load(&s, "numbered_b"), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(s.eval), 1);
    ck_assert_int_eq(graft_dataset_count(s.train), 39);
    s.o.val_size = 40;
    ck_assert_int_eq(set_load(&s, "numbered_b"), GRAFT_BAD_INPUT);
    ck_assert_str_eq(s.err.where, "val_size");
    s.o.val_size = 0;
    s.o.train_on_prompt = s.o.mask_history = 1;
    ck_assert_int_eq(set_load(&s, "numbered_b"), GRAFT_BAD_INPUT);
    set_close(&s);
}
END_TEST

/* NAME#N: the first of numpy.random.RandomState(42).permutation(7), twice; a set smaller than N comes whole first. */
START_TEST(numbers_behind_names)
{
    static const int want[] = {0, 1, 5, 5, 0, 3}; /* as numpy gave them */
    char text[2000] = "", names[9000];
    for (int i = 0; i < 7; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "{\"instruction\": \"q%d\", \"input\": \"\", \"output\": \"%d\"}\n", i, i);
    const char *file = write_file("seven.jsonl", text);
    set s = set_open(NULL);
    snprintf(names, sizeof names, "%s#3,%s#3", file, file);
    ck_assert_int_eq(set_load(&s, names), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(s.train), 6);
    for (int i = 0; i < 6; i++) {
        const graft_sample x = graft_dataset_at(s.train, i);
        char digit[2] = {(char)('0' + want[i]), 0};
        graft_ids ids = {0};
        ck_assert_int_eq(graft_tokenizer_encode(s.tok, digit, 1, 0, &ids, &s.err), GRAFT_OK);
        int64_t first = 0;
        while (x.labels[first] == -100) first++;
        ck_assert_msg(x.ids[first] == ids.ids[0], "sample %d is not %s", i, digit);
        graft_ids_free(&ids);
    }
    snprintf(names, sizeof names, "%s#9", file);
    ck_assert_int_eq(set_load(&s, names), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(s.train), 9);
    set_close(&s);
}
END_TEST

START_TEST(explicit_samples)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_dataset *d = graft_dataset_empty();
    const int32_t ids[] = {1, 2, 3}, labels[] = {-100, 2, 3};
    ck_assert_ok(graft_dataset_add(d, ids, labels, 3, &err));
    ck_assert_int_eq(graft_dataset_count(d), 1);
    const graft_sample s = graft_dataset_at(d, 0);
    ck_assert_int_eq(s.n, 3);
    ck_assert_int_eq(s.ids[2], 3);
    ck_assert_int_eq(s.labels[0], -100);
    graft_dataset_free(d);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, zoo);
    tcase_add_test(tc, sentences);
    tcase_add_test(tc, report);
    tcase_add_test(tc, paths_and_sets);
    tcase_add_test(tc, numbers_behind_names);
    tcase_add_test(tc, explicit_samples);
}

int main(void) { return graft_test_main("dataset", cases); }
