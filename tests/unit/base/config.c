/* Typed reads: ranges, absent keys, the first error and its place, the memory of what was read; the writer. */
#include "core/base/config.h"
#include "core/base/error.h"
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

static const char text[] = "{\"n\": 5, \"zero\": 0, \"big\": 9223372036854775808, \"half\": 0.5, \"yes\": true, \"null\": null,\n"
                           " \"name\": \"abc\", \"nul\": \"a\\u0000b\", \"list\": [1, 2]}";

static const graft_config *make(graft_arena *a)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *object;
    ck_assert_ok(graft_json_parse(a, "config.json", text, sizeof text - 1, 0, &object, &err));
    return graft_config_new(a, "config.json", object);
}

START_TEST(reads)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_config *c = make(a);
    ck_assert_int_eq(graft_dim(c, "n", 0), 5);
    ck_assert_int_eq(graft_dim(c, "absent", 7), 7);
    ck_assert_int_eq(graft_dim(c, "null", 8), 8);
    ck_assert_int_eq(graft_flag(c, "yes", 0), 1);
    ck_assert_int_eq(graft_flag(c, "zero", 1), 0);
    ck_assert_double_eq(graft_real(c, "half", 0.0, 0.0, 1.0), 0.5);
    ck_assert_double_eq(graft_real(c, "n", 0.0, 0.0, 10.0), 5.0);
    ck_assert_double_eq(graft_real(c, "none", 0.25, 0.0, 10.0), 0.25);
    ck_assert_str_eq(graft_text(c, "name", "x"), "abc");
    ck_assert_str_eq(graft_text(c, "no_name", "x"), "x");
    ck_assert_ptr_null(graft_text(c, "no_name", NULL));
    ck_assert_int_eq(c->api->value(c, "list")->count, 2);
    ck_assert_ptr_null(c->api->value(c, "null"));
    ck_assert_ok(graft_config_check(c, &err));
    ck_assert(graft_config_was_read(c, "n"));
    ck_assert(graft_config_was_read(c, "absent"));
    ck_assert(!graft_config_was_read(c, "big"));
    ck_assert_str_eq(graft_config_name(c), "config.json");
    ck_assert_int_eq(graft_config_object(c)->count, 9);
    const graft_config *empty = graft_config_new(a, "nothing", NULL);
    ck_assert_int_eq(graft_dim(empty, "n", 3), 3);
    ck_assert_ok(graft_config_check(empty, &err));
    graft_arena_free(a);
}
END_TEST

enum { INTEGER,
       FLAG,
       NUMBER,
       TEXT,
       SAY };

static const struct {
    int how;
    const char *key;
    int64_t gives;
    const char *where, *message;
} wrong[] = {
    {INTEGER, "zero", 1, "config.json:1:18", "zero must be an integer between 1 and 2147483647, found 0"},
    {INTEGER, "big", 1, "config.json:1:28", "big must be an integer between 1 and 2147483647, found 9223372036854775808"},
    {INTEGER, "half", 1, "config.json:1:57", "half must be an integer between 1 and 2147483647, found 0.5"},
    {INTEGER, "yes", 1, "config.json:1:69", "yes must be an integer between 1 and 2147483647, found true"},
    {INTEGER, "name", 1, "config.json:2:10", "name must be an integer between 1 and 2147483647, found \"abc\""},
    {INTEGER, "gone", 1, "config.json:1:1", "gone is missing; it must be an integer between 1 and 2147483647"},
    {FLAG, "n", 0, "config.json:1:7", "n must be true or false, found 5"},
    {NUMBER, "n", 0, "config.json:1:7", "n must be a number between 0 and 1, found 5"},
    {NUMBER, "list", 0, "config.json:2:44", "list must be a number between 0 and 1, found [1, 2]"},
    {NUMBER, "gone", 0, "config.json:1:1", "gone is missing; it must be a number between 0 and 1"},
    {TEXT, "n", 0, "config.json:1:7", "n must be a text, found 5"},
    {TEXT, "nul", 0, "config.json:2:24", "nul must be a text, found \"a\\u0000b\""},
    {SAY, "name", 0, "config.json:2:10", "name: expected abd; use that"},
};

START_TEST(errors)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_config *c = make(a);
    switch (wrong[_i].how) {
    case INTEGER: ck_assert_int_eq(graft_dim(c, wrong[_i].key, 0), wrong[_i].gives); break;
    case FLAG: ck_assert_int_eq(graft_flag(c, wrong[_i].key, 1), wrong[_i].gives); break;
    case NUMBER: ck_assert_double_eq(graft_real(c, wrong[_i].key, -1.0, 0.0, 1.0), (double)wrong[_i].gives); break;
    case TEXT: ck_assert_str_eq(graft_text(c, wrong[_i].key, "fallback"), "fallback"); break;
    default: c->api->error(c, wrong[_i].key, "expected abd; use that");
    }
    graft_dim(c, "another_that_is_missing", 0); /* the first error stays */
    ck_assert_int_eq(graft_config_check(c, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.where, wrong[_i].where);
    ck_assert_str_eq(err.message, wrong[_i].message);
    graft_arena_free(a);
}
END_TEST

START_TEST(long_values_are_cut)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    graft_json *object = graft_json_new(a, GRAFT_JSON_OBJECT);
    char value[400];
    for (size_t i = 0; i + 3 <= sizeof value; i += 3) memcpy(value + i, "\xE4\xBD\xA0", 3);
    graft_json_put(a, object, "k", graft_json_text(a, value, 399));
    const graft_config *c = graft_config_new(a, "x", object);
    graft_dim(c, "k", 1);
    ck_assert_int_eq(graft_config_check(c, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.where, "x");
    ck_assert_uint_lt(strlen(err.message), 160);
    ck_assert_str_eq(err.message + strlen(err.message) - 3, "...");
    graft_arena_free(a);
}
END_TEST

START_TEST(reals_refuse_nan)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    graft_json *object = graft_json_new(a, GRAFT_JSON_OBJECT);
    graft_json_put(a, object, "x", graft_json_real(a, NAN));
    const graft_config *c = graft_config_new(a, "x", object);
    ck_assert_double_eq(graft_real(c, "x", 0.0, -1.0, 1e308), -1.0);
    ck_assert_int_eq(graft_config_check(c, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "x must be a number of at least -1, found NaN");
    graft_arena_free(a);
}
END_TEST

START_TEST(writer)
{
    static const char *const names[] = {"q", "k"};
    graft_arena *a = graft_arena_new();
    graft_writer *w = graft_writer_new(a);
    graft_str s;
    w->api->text(w, "t", "x");
    w->api->null(w, "n");
    w->api->flag(w, "f", 1);
    w->api->integer(w, "i", -3);
    w->api->number(w, "d", 8.0);
    w->api->texts(w, "l", 2, names);
    w->api->value(w, "v", graft_json_get(graft_config_object(make(a)), "list"));
    graft_str_init(&s, 0);
    graft_json_write(&s, graft_writer_object(w), 0, 1);
    ck_assert_str_eq(s.data, "{\"d\": 8.0, \"f\": true, \"i\": -3, \"l\": [\"q\", \"k\"], \"n\": null, \"t\": \"x\", \"v\": [1, 2]}");
    graft_str_free(&s);
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, reads);
    tcase_add_loop_test(tc, errors, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(tc, long_values_are_cut);
    tcase_add_test(tc, reals_refuse_nan);
    tcase_add_test(tc, writer);
}

int main(void) { return graft_test_main("config", cases); }
