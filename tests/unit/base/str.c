/* Growing strings, their limits, JSON escapes, UTF-8, and doubles spelled as Python spells them (tests/fixtures/base/repr.txt: bits and repr,
 * every power of two among them). */
#include "core/base/str.h"
#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "graft/random.h"
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(growth_and_limit)
{
    graft_str s;
    graft_str_init(&s, 10);
    ck_assert_str_eq(s.data, "");
    graft_str_text(&s, "hello");
    graft_str_printf(&s, "%d", 12345);
    ck_assert_str_eq(s.data, "hello12345");
    ck_assert(!s.failed);
    graft_str_add(&s, "x", 1);
    ck_assert(s.failed);
    graft_str_clear(&s);
    ck_assert(!s.failed);
    ck_assert_str_eq(s.data, "");
    graft_str_printf(&s, "%011d", 1);
    ck_assert(s.failed);
    ck_assert_uint_eq(s.bytes, 0);
    graft_str_text(&s, "later appends do nothing");
    ck_assert_str_eq(s.data, "");
    graft_str_free(&s);
    graft_str_text(&s, "again");
    ck_assert_str_eq(s.data, "again");
    graft_str_free(&s);
    graft_str_init(&s, 0);
    for (int i = 0; i < 100000; i++) graft_str_add(&s, "abc", 3);
    ck_assert_uint_eq(s.bytes, 300000);
    graft_str_free(&s);
}
END_TEST

static const struct {
    const char *text;
    size_t bytes;
    const char *json;
} escapes[] = {
    {"a\"b\\c/\b\f\n\r\t", 11, "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\""},
    {"\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\x7f\""},
    {"\xE4\xBD\xA0\xF0\x9F\x98\x80", 7, "\"\xE4\xBD\xA0\xF0\x9F\x98\x80\""},
    {"a\xFF"
     "b\xE4\xBD",
     5, "\"a\xEF\xBF\xBD"
        "b\xEF\xBF\xBD\xEF\xBF\xBD\""},
    {"", 0, "\"\""},
};

START_TEST(json_text)
{
    graft_str s;
    graft_str_init(&s, 0);
    graft_str_json(&s, escapes[_i].text, escapes[_i].bytes);
    ck_assert_str_eq(s.data, escapes[_i].json);
    graft_str_free(&s);
}
END_TEST

static const struct {
    const char *bytes;
    size_t n;
    int length;
} utf8[] = {
    {"a", 1, 1},
    {"", 0, 0},
    {"\0", 1, 1},
    {"\x80", 1, 0},
    {"\xC0\x80", 2, 0},
    {"\xC1\xBF", 2, 0},
    {"\xC2\x80", 2, 2},
    {"\xDF\xBF", 2, 2},
    {"\xC2", 1, 0},
    {"\xC2\x41", 2, 0},
    {"\xE0\x80\x80", 3, 0},
    {"\xE0\x9F\xBF", 3, 0},
    {"\xE0\xA0\x80", 3, 3},
    {"\xED\x9F\xBF", 3, 3},
    {"\xED\xA0\x80", 3, 0},
    {"\xEF\xBF\xBF", 3, 3},
    {"\xE4\xBD", 2, 0},
    {"\xF0\x80\x80\x80", 4, 0},
    {"\xF0\x8F\xBF\xBF", 4, 0},
    {"\xF0\x90\x80\x80", 4, 4},
    {"\xF4\x8F\xBF\xBF", 4, 4},
    {"\xF4\x90\x80\x80", 4, 0},
    {"\xF5\x80\x80\x80", 4, 0},
    {"\xFF", 1, 0},
};

START_TEST(utf8_lengths) { ck_assert_int_eq(graft_utf8_length(utf8[_i].bytes, utf8[_i].n), utf8[_i].length); }
END_TEST

START_TEST(as_python)
{
    graft_error err = GRAFT_ERROR_INIT;
    char *text;
    size_t bytes;
    int lines = 0;
    graft_str s;
    graft_str_init(&s, 0);
    ck_assert_ok(graft_file_read(graft_test_fixture("base/repr.txt"), 1 << 20, &text, &bytes, &err));
    for (char *line = text; *line; lines++) {
        char *end = strchr(line, '\n');
        *end = '\0';
        const uint64_t bits = strtoull(line, NULL, 16);
        double v;
        memcpy(&v, &bits, sizeof v);
        graft_str_clear(&s);
        graft_str_double(&s, v);
        ck_assert_str_eq(s.data, line + 17);
        line = end + 1;
    }
    ck_assert_int_gt(lines, 5000);
    graft_free(text);
    graft_str_free(&s);
}
END_TEST

START_TEST(round_trip)
{
    graft_str s;
    graft_str_init(&s, 0);
    for (uint64_t i = 0; i < 20000; i++) {
        const uint64_t bits = (uint64_t)graft_random_u32(1, 2, 3, 2 * i) << 32 | graft_random_u32(1, 2, 3, 2 * i + 1);
        double v, back;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v)) continue;
        graft_str_clear(&s);
        graft_str_double(&s, v);
        back = strtod(s.data, NULL);
        ck_assert_msg(!memcmp(&back, &v, sizeof v), "%a: %s", v, s.data);
    }
    const struct {
        double v;
        const char *text;
    } special[] = {{NAN, "NaN"}, {INFINITY, "Infinity"}, {-INFINITY, "-Infinity"}};
    for (int i = 0; i < 3; i++) {
        graft_str_clear(&s);
        graft_str_double(&s, special[i].v);
        ck_assert_str_eq(s.data, special[i].text);
    }
    graft_str_free(&s);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, growth_and_limit);
    tcase_add_loop_test(tc, json_text, 0, sizeof escapes / sizeof *escapes);
    tcase_add_loop_test(tc, utf8_lengths, 0, sizeof utf8 / sizeof *utf8);
    tcase_add_test(tc, as_python);
    tcase_add_test(tc, round_trip);
}

int main(void) { return graft_test_main("str", cases); }
