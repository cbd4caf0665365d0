/* Rows of JSON and JSON Lines files: layouts, places in errors, going back to a place. */
#include "core/data/source.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

static const char *file_of(const char *text)
{
    static char path[4200];
    graft_error err = GRAFT_ERROR_INIT;
    snprintf(path, sizeof path, "%s/rows.json", graft_test_dir("source"));
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
    return path;
}

/* The members "n" of all rows as "1 2 3", or the sentence of the refusal. */
static const char *read_all(const char *text)
{
    static char out[1600];
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL;
    const graft_json *row = NULL;
    size_t n = 0;
    ck_assert_ok(graft_source_open(file_of(text), &s, &err));
    out[0] = '\0';
    for (;;) {
        if (s->api->row(s, &row, &err)) {
            snprintf(out, sizeof out, "%s: %s", graft_path_base(err.where), err.message);
            break;
        }
        if (!row) break;
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%lld", n ? " " : "", (long long)graft_json_get(row, "n")->integer);
    }
    graft_source_close(s);
    return out;
}

static void says(const char *text, const char *part)
{
    const char *have = read_all(text);
    ck_assert_msg(strstr(have, part) != NULL, "\"%s\" does not say \"%s\"", have, part);
}

START_TEST(layouts)
{
    ck_assert_str_eq(read_all("[{\"n\":1},{\"n\":2}]"), "1 2");
    ck_assert_str_eq(read_all("\xEF\xBB\xBF [ {\"n\":1} ,\r\n {\"n\":2}\r\n]\r\n"), "1 2");
    ck_assert_str_eq(read_all("{\"n\":1}\r\n\r\n{\"n\":2}"), "1 2");
    ck_assert_str_eq(read_all("{\"n\":1}{\"n\":\n2}\n"), "1 2");
    ck_assert_str_eq(read_all("[]"), "");
}
END_TEST

START_TEST(refusals)
{
    says("", "rows.json:1: the file is empty");
    says(" \n ", "rows.json:2: the file is empty");
    says("\"x\"", "expected a JSON list of records or one JSON object a line");
    says("[1]", "expected a record as a JSON object");
    says("[{\"n\":1}", "the file ends inside the list of records");
    says("[{\"n\":1} {\"n\":2}]", "expected a comma");
    says("[{\"n\":1}] x", "more text after the end");
    says("{\"n\":1}\n{oops\n", "rows.json:2:");
    says("{\"n\":1}\n{oops\n", "record 2: ");
    says("[{\"n\":1},\n{\"n\":NaN}]", "rows.json:2:");
    says("[{\"n\":1},{\"n\":\"\xE9\"}]", "rows.json:1:16");
}
END_TEST

START_TEST(missing_file)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL;
    ck_assert_int_ne(graft_source_open("/nowhere/at/all.json", &s, &err), GRAFT_OK);
    ck_assert_msg(strstr(err.where, "/nowhere/at/all.json") || strstr(err.message, "/nowhere/at/all.json"), "%s: %s", err.where, err.message);
    ck_assert_ptr_null(s);
}
END_TEST

/* tell after k rows, seek back there: the rest comes again, for every k. */
static void resume(const char *text, int rows)
{
    graft_error err = GRAFT_ERROR_INIT;
    for (int k = 0; k <= rows; k++) {
        graft_source *s = NULL, *again = NULL;
        const graft_json *a, *b;
        ck_assert_ok(graft_source_open(file_of(text), &s, &err));
        ck_assert_ok(graft_source_open(file_of(text), &again, &err));
        for (int i = 0; i < k; i++) ck_assert_ok(s->api->row(s, &a, &err));
        ck_assert_int_eq(again->api->seek(again, s->api->tell(s)), 0);
        do {
            ck_assert_ok(s->api->row(s, &a, &err));
            ck_assert_ok(again->api->row(again, &b, &err));
            ck_assert_int_eq(a == NULL, b == NULL);
            if (a) ck_assert_int_eq(graft_json_get(a, "n")->integer, graft_json_get(b, "n")->integer);
        } while (a);
        graft_source_close(s);
        graft_source_close(again);
    }
}

START_TEST(resuming)
{
    resume("[{\"n\":1},{\"n\":2} , {\"n\":3}\n]", 3);
    resume("{\"n\":1}\n{\"n\":2}\n\n{\"n\":3}", 3);
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL;
    ck_assert_ok(graft_source_open(file_of("[]"), &s, &err));
    ck_assert_int_ne(s->api->seek(s, 3), 0);
    ck_assert_int_ne(s->api->seek(s, -1), 0);
    graft_source_close(s);
}
END_TEST

START_TEST(places)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_source *s = NULL;
    const graft_json *row;
    ck_assert_ok(graft_source_open(file_of("{\"n\":1}\n{\"n\":2}\n"), &s, &err));
    ck_assert_ok(s->api->row(s, &row, &err));
    ck_assert_ok(s->api->row(s, &row, &err));
    ck_assert_str_eq(s->api->place(s), "rows.json: record 2 (byte 8)");
    ck_assert_int_eq(graft_source_record(s), 2);
    char bytes[8];
    ck_assert_int_eq(s->api->seek(s, 0), 0);
    ck_assert_int_eq(s->api->read(s, bytes, 7), 7);
    ck_assert_int_eq(memcmp(bytes, "{\"n\":1}", 7), 0);
    graft_source_close(s);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, layouts);
    tcase_add_test(tc, refusals);
    tcase_add_test(tc, missing_file);
    tcase_add_test(tc, resuming);
    tcase_add_test(tc, places);
}

int main(void) { return graft_test_main("source", cases); }
