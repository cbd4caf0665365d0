/* JSON read (values, places, limits, errors word for word), built and written as Python's json.dumps writes it. */
#include "core/base/json.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *spell(const graft_json *v, int indent, int sorted)
{
    static graft_str s;
    graft_str_free(&s);
    graft_str_init(&s, 0);
    graft_json_write(&s, v, indent, sorted);
    ck_assert(!s.failed);
    return s.data;
}

static const struct {
    const char *text, *back;
    int flags;
} good[] = {
    {" {\"b\": [1, 2.50, -0, 1e3, true, null], \"a\": {}} ", "{\"b\": [1, 2.5, 0, 1000.0, true, null], \"a\": {}}", 0},
    {"\xEF\xBB\xBF\"x\"", "\"x\"", 0},
    {"9223372036854775807", "9223372036854775807", 0},
    {"-9223372036854775808", "-9223372036854775808", 0},
    {"9223372036854775808", "9223372036854775808", 0},
    {"123456789012345678901234567890", "123456789012345678901234567890", 0},
    {"1.7976931348623157e308", "1.7976931348623157e+308", 0},
    {"5e-324", "5e-324", 0},
    {"[NaN, Infinity, -Infinity, 1e999]", "[NaN, Infinity, -Infinity, Infinity]", GRAFT_JSON_ALLOW_NAN},
    {"\"\\ud83d\\ude00 \\u00e4\\n\\/\\u0000\"", "\"\xF0\x9F\x98\x80 \xC3\xA4\\n/\\u0000\"", 0},
    {"\"\\ud800x\\udc00\"", "\"\xEF\xBF\xBDx\xEF\xBF\xBD\"", GRAFT_JSON_ALLOW_LONE_SURROGATE},
    {"\"\\ud800\\u0041\"", "\"\xEF\xBF\xBD"
                           "A\"",
     GRAFT_JSON_ALLOW_LONE_SURROGATE},
    {"{\"a\": 1, \"a\": 2}", "{\"a\": 1, \"a\": 2}", 0},
    {"{\"a\": 1, \"b\": 2}", "{\"a\": 1, \"b\": 2}", GRAFT_JSON_STRICT_KEYS},
};

START_TEST(round_trip)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    ck_assert_ok(graft_json_parse(a, "x.json", good[_i].text, strlen(good[_i].text), good[_i].flags, &v, &err));
    ck_assert_str_eq(spell(v, 0, 0), good[_i].back);
    ck_assert_str_eq(spell(graft_json_copy(a, v), 0, 0), good[_i].back);
    graft_arena_free(a);
}
END_TEST

static const struct {
    const char *text, *where, *message;
} wrong[] = {
    {"", "x.json:1:1", "expected a JSON value, found the end of the text; correct the JSON there"},
    {"{\"a\": 1,\n \"b\": tru}", "x.json:2:7", "expected a JSON value, found t; correct the JSON there"},
    {"[1, 2", "x.json:1:6", "expected a comma or ] after the item, found the end of the text; correct the JSON there"},
    {"{\"a\" 1}", "x.json:1:6", "expected a colon after the key, found 1; correct the JSON there"},
    {"{\"a\": 1 \"b\"}", "x.json:1:9", "expected a comma or } after the member, found \"; correct the JSON there"},
    {"{\"a\": 1,}", "x.json:1:9", "expected a key in double quotes, found }; correct the JSON there"},
    {"{'a': 1}", "x.json:1:2", "expected a key in double quotes, found '; correct the JSON there"},
    {"[1] 2", "x.json:1:5", "expected nothing after the JSON value, found 2; correct the JSON there"},
    {"[01]", "x.json:1:2", "expected a number without leading zeros, found 0; correct the JSON there"},
    {"[-]", "x.json:1:3", "expected a digit, found ]; correct the JSON there"},
    {"[1.]", "x.json:1:4", "expected a digit after the point, found ]; correct the JSON there"},
    {"[1e+]", "x.json:1:5", "expected a digit in the exponent, found ]; correct the JSON there"},
    {"[1e999]", "x.json:1:2", "expected a number within a double's range, found 1; correct the JSON there"},
    {"[NaN]", "x.json:1:2", "expected a JSON value, found N; correct the JSON there"},
    {"\"abc", "x.json:1:5", "expected a closing quote, found the end of the text; correct the JSON there"},
    {"\"abc\\\"", "x.json:1:7", "expected a closing quote, found the end of the text; correct the JSON there"},
    {"\"a\\x\"", "x.json:1:4", "expected one of \" \\ / b f n r t u after a backslash, found x; correct the JSON there"},
    {"\"a\\u12g4\"", "x.json:1:5", "expected four hexadecimal digits after \\u, found 1; correct the JSON there"},
    {"\"\\ud800\"", "x.json:1:4", "expected both halves of a surrogate pair, found d; correct the JSON there"},
    {"\"a\nb\"", "x.json:1:3", "expected control characters in a text written as \\u00XX, found the byte 0x0a; correct the JSON there"},
    {"\"\xE4\xBD\xA0\xFF\"", "x.json:1:3", "expected UTF-8, found the byte 0xff; correct the JSON there"},
    {"{\"a\": 1,\n\"b\": 2,\n\"a\": 3}", "x.json:3:6", "the key \"a\" is given twice, first in line 1; remove one of them"},
};

START_TEST(errors)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    ck_assert_int_eq(graft_json_parse(a, "x.json", wrong[_i].text, strlen(wrong[_i].text), GRAFT_JSON_STRICT_KEYS, &v, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.where, wrong[_i].where);
    ck_assert_str_eq(err.message, wrong[_i].message);
    ck_assert_ptr_null(v);
    graft_arena_free(a);
}
END_TEST

START_TEST(places_and_texts)
{
    static const char text[] = "{\"k\\u0000y\": \"a\\u0000b\",\n  \"\xE4\xBD\xA0\": [true,\n7]}";
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    ck_assert_ok(graft_json_parse(a, "x.json", text, sizeof text - 1, 0, &v, &err));
    ck_assert_int_eq(v->count, 2);
    ck_assert_uint_eq(v->child->key_bytes, 3);
    ck_assert_uint_eq(v->child->bytes, 3);
    ck_assert_int_eq(memcmp(v->child->text, "a\0b", 4), 0);
    const graft_json *list = v->child->next;
    ck_assert_int_eq(list->line, 2);
    ck_assert_int_eq(list->column, 8);
    ck_assert_int_eq(list->child->integer, 1);
    ck_assert_int_eq(list->child->next->line, 3);
    ck_assert_int_eq(list->child->next->column, 1);
    ck_assert_str_eq(list->child->next->text, "7");
    ck_assert(!graft_json_is(v->child, "a"));
    graft_arena_free(a);
}
END_TEST

START_TEST(depth)
{
    char text[2 * 200 + 1];
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    for (size_t n = GRAFT_JSON_MAX_DEPTH; n <= GRAFT_JSON_MAX_DEPTH + 1; n++) {
        memset(text, '[', n);
        memset(text + n, ']', n);
        const graft_status status = graft_json_parse(a, "x.json", text, 2 * n, 0, &v, &err);
        ck_assert_int_eq(status, n > GRAFT_JSON_MAX_DEPTH ? GRAFT_BAD_INPUT : GRAFT_OK);
        if (!status) spell(v, 2, 0);
    }
    ck_assert_str_eq(err.where, "x.json:1:129");
    ck_assert_str_eq(err.message, "expected at most 128 brackets inside each other, found [; correct the JSON there");
    graft_arena_free(a);
}
END_TEST

START_TEST(prefixes)
{
    static const char text[] = "{\"a\": 1}\n{\"a\": 2}\n [3] x";
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    size_t at = 0, used;
    for (int i = 1; i <= 3; i++) {
        ck_assert_ok(graft_json_parse_prefix(a, "x.jsonl", text + at, sizeof text - 1 - at, 10, 0, &v, &used, &err));
        ck_assert_int_eq(v->child->integer, i);
        ck_assert_int_eq(v->line, i == 1 ? 10 : 11);
        at += used;
    }
    ck_assert_uint_eq(at, 22);
    ck_assert_int_eq(graft_json_parse_prefix(a, "x.jsonl", text + at, sizeof text - 1 - at, 12, 0, &v, &used, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.where, "x.jsonl:12:2");
    graft_arena_free(a);
}
END_TEST

START_TEST(many_keys)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    graft_str s;
    graft_str_init(&s, 0);
    for (int i = 0; i < 100000; i++) graft_str_printf(&s, "%c\"key%d\": %d", i ? ',' : '{', i, i);
    graft_str_text(&s, "}");
    ck_assert_ok(graft_json_parse(a, "x.json", s.data, s.bytes, GRAFT_JSON_STRICT_KEYS, &v, &err));
    ck_assert_int_eq(v->count, 100000);
    ck_assert_int_eq(graft_json_get(v, "key99999")->integer, 99999);
    s.bytes--;
    graft_str_text(&s, ", \"key50000\": 0}");
    ck_assert_int_eq(graft_json_parse(a, "x.json", s.data, s.bytes, GRAFT_JSON_STRICT_KEYS, &v, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "the key \"key50000\" is given twice, first in line 1; remove one of them");
    graft_str_free(&s);
    graft_arena_free(a);
}
END_TEST

START_TEST(building)
{
    graft_arena *a = graft_arena_new();
    graft_json *object = graft_json_new(a, GRAFT_JSON_OBJECT), *array = graft_json_new(a, GRAFT_JSON_ARRAY);
    graft_json_put(a, object, "z", graft_json_int(a, 1));
    graft_json_put(a, object, "list", array);
    graft_json_put(a, object, "a", graft_json_real(a, 0.1));
    graft_json_put(a, object, "empty", graft_json_new(a, GRAFT_JSON_ARRAY));
    graft_json_put(a, object, "z", graft_json_text(a, "new", 3));
    graft_json_put(a, object, "a", graft_json_flag(a, 5));
    for (int i = 0; i < 3; i++) graft_json_push(a, array, graft_json_int(a, i));
    graft_json_push(a, array, graft_json_new(a, GRAFT_JSON_NULL));
    ck_assert_str_eq(spell(object, 0, 0), "{\"z\": \"new\", \"list\": [0, 1, 2, null], \"a\": true, \"empty\": []}");
    ck_assert_str_eq(spell(object, 0, 1), "{\"a\": true, \"empty\": [], \"list\": [0, 1, 2, null], \"z\": \"new\"}");
    ck_assert_str_eq(spell(object, 2, 1), "{\n  \"a\": true,\n  \"empty\": [],\n  \"list\": [\n    0,\n    1,\n    2,\n    null\n  ],\n  \"z\": \"new\"\n}");
    /* What could not be built is never written as if it were whole. */
    graft_str s;
    graft_str_init(&s, 0);
    graft_json_push(a, array, NULL);
    graft_json_write(&s, object, 0, 0);
    ck_assert(s.failed);
    graft_str_free(&s);
    graft_json_put(a, object, "list", NULL);
    graft_json_write(&s, object, 0, 0);
    ck_assert(s.failed);
    graft_str_free(&s);
    graft_arena_free(a);
}
END_TEST

START_TEST(files)
{
    char path[4096];
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    snprintf(path, sizeof path, "%s/x.json", graft_test_dir("base_json"));
    ck_assert_ok(graft_file_replace(path, "[1,\n2,", 6, &err));
    ck_assert_int_eq(graft_json_parse_file(a, path, 100, 0, &v, &err), GRAFT_BAD_INPUT);
    ck_assert(strstr(err.where, "x.json:2:3"));
    ck_assert_int_eq(graft_json_parse_file(a, path, 5, 0, &v, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "expected at most 5 bytes, found more; is this the right file?");
    ck_assert_ok(graft_file_replace(path, "[1,\n2]", 6, &err));
    ck_assert_ok(graft_json_parse_file(a, path, 100, 0, &v, &err));
    ck_assert_int_eq(v->count, 2);
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_loop_test(tc, round_trip, 0, sizeof good / sizeof *good);
    tcase_add_loop_test(tc, errors, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(tc, places_and_texts);
    tcase_add_test(tc, depth);
    tcase_add_test(tc, prefixes);
    tcase_add_test(tc, many_keys);
    tcase_add_test(tc, building);
    tcase_add_test(tc, files);
}

int main(void) { return graft_test_main("json", cases); }
