/* YAML as LLaMA-Factory 0.9.5 with OmegaConf reads it (tests/fixtures/base/parse.jsonl: text and key=value words -> values and their Python types), limits, errors. */
#include "core/base/yaml.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *type_name(const graft_json *v)
{
    switch (v->type) {
    case GRAFT_JSON_NULL: return "NoneType";
    case GRAFT_JSON_BOOL: return "bool";
    case GRAFT_JSON_TEXT: return "str";
    case GRAFT_JSON_ARRAY: return "list";
    case GRAFT_JSON_OBJECT: return "dict";
    default: return v->integral || (v->text && strspn(v->text, "+-0123456789") == v->bytes) ? "int" : "float";
    }
}

/* Equal values; a number that JSON cannot spell is the text inf, -inf or nan. */
static int same(const graft_json *want, const graft_json *got)
{
    if (got->type == GRAFT_JSON_NUMBER && want->type == GRAFT_JSON_TEXT) {
        if (graft_json_is(want, "nan")) return isnan(got->number);
        return isinf(got->number) && graft_json_is(want, got->number > 0 ? "inf" : "-inf");
    }
    if (want->type != got->type || want->count != got->count) return 0;
    if (want->type == GRAFT_JSON_NUMBER) return want->number == got->number && want->integral == got->integral && want->integer == got->integer;
    if (want->type == GRAFT_JSON_BOOL) return want->integer == got->integer;
    if (want->type == GRAFT_JSON_TEXT) return want->bytes == got->bytes && !memcmp(want->text, got->text, got->bytes);
    for (const graft_json *w = want->child, *g = got->child; w; w = w->next, g = g->next) {
        const graft_json *pair = want->type == GRAFT_JSON_OBJECT ? graft_json_get(got, w->key) : g;
        if (!pair || !same(w, pair)) return 0;
    }
    return 1;
}

static const char *spell(const graft_json *v)
{
    static graft_str s;
    graft_str_free(&s);
    graft_str_init(&s, 0);
    graft_json_write(&s, v, 0, 0);
    return s.data;
}

static int compare(const char *yaml, const graft_json *result, const graft_json *types, const char *key, const graft_json *got)
{
    const graft_json *want = graft_json_get(result, key), *type = graft_json_get(types, key);
    ck_assert_msg(want && same(want, got), "%s: %s: expected %s, found %s", yaml, key, want ? spell(want) : "nothing", spell(got));
    ck_assert_msg(graft_json_is(type, type_name(got)), "%s: %s: expected the type %s, found %s", yaml, key, type->text, type_name(got));
    return 1;
}

START_TEST(as_llama_factory)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    char *text;
    size_t bytes, used, at = 0;
    int lines = 0, values = 0, errors = 0;
    ck_assert_ok(graft_file_read(graft_test_fixture("base/parse.jsonl"), 1 << 20, &text, &bytes, &err));
    for (;;) {
        const graft_json *row, *v;
        while (at < bytes && text[at] == '\n') at++;
        if (at == bytes) break;
        ck_assert_ok(graft_json_parse_prefix(a, "parse.jsonl", text + at, bytes - at, ++lines, 0, &row, &used, &err));
        at += used;
        const graft_json *yaml = graft_json_get(row, "yaml"), *result = graft_json_get(row, "result"), *types = graft_json_get(row, "types"), *words = graft_json_get(row, "cli");
        const graft_status status = graft_yaml_parse(a, "x.yaml", yaml->text, yaml->bytes, &v, &err);
        if (graft_json_get(row, "error")) {
            ck_assert_msg(status == GRAFT_BAD_INPUT, "%s: expected an error", yaml->text);
            ck_assert_ptr_null(v);
            errors++;
            continue;
        }
        ck_assert_msg(!status, "%s: %s: %s", yaml->text, err.where, err.message);
        ck_assert_int_eq(v->type, GRAFT_JSON_OBJECT);
        if (!words->count) {
            ck_assert_int_eq(v->count, result->count);
            for (const graft_json *m = v->child; m; m = m->next) values += compare(yaml->text, result, types, m->key, m);
        }
        for (const graft_json *w = words->child; w; w = w->next) {
            char key[64] = "";
            const char *equals = strchr(w->text, '=');
            if (!equals || memchr(w->text, '.', (size_t)(equals - w->text))) continue; /* what a word without = and a.b= mean is for the command line to say */
            memcpy(key, w->text, (size_t)(equals - w->text));
            ck_assert_ok(graft_yaml_scalar(a, "word", equals + 1, &v, &err));
            values += compare(w->text, result, types, key, v);
        }
    }
    ck_assert_int_eq(lines, 47);
    ck_assert_int_eq(errors, 7);
    ck_assert_int_eq(values, 88);
    graft_free(text);
    graft_arena_free(a);
}
END_TEST

static const struct {
    const char *yaml, *where, *message;
} wrong[] = {
    {"a: 1\nb: 2\na: 3\n", "x.yaml:3:4", "the key \"a\" is given twice, first in line 1; remove one of them"},
    {"a: b: c\n", "x.yaml:1:5", "expected YAML, but mapping values are not allowed in this context; correct it there"},
    {"a: 1\n---\nb: 2\n", "x.yaml:2:1", "expected one document, found a second one; remove it"},
    {"a: *b\n", "x.yaml:1:4", "expected an alias (*name) of an anchor (&name) that ends before it; define it above"},
    {"a: &b [*b]\n", "x.yaml:1:8", "expected an alias (*name) of an anchor (&name) that ends before it; define it above"},
    {"a: !!python/object x\n", "x.yaml:1:4", "expected a value that its tag (!!...) allows, of the tags str, int, float, bool and null; remove the tag or correct the value"},
    {"a: !!int x\n", "x.yaml:1:4", "expected a value that its tag (!!...) allows, of the tags str, int, float, bool and null; remove the tag or correct the value"},
    {"? [a]\n: 1\n", "x.yaml:1:3", "expected a plain word as key, found a list, mapping or alias; write the key out"},
    {"a:\n  <<: 3\n", "x.yaml:2:3", "expected a mapping or a list of mappings behind <<; name the anchor of one"},
    {"a: 1\nb: \xFF\n", "x.yaml:2:4", "expected YAML, but invalid leading UTF-8 octet; correct it there"},
};

START_TEST(errors)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    ck_assert_int_eq(graft_yaml_parse(a, "x.yaml", wrong[_i].yaml, strlen(wrong[_i].yaml), &v, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.where, wrong[_i].where);
    ck_assert_str_eq(err.message, wrong[_i].message);
    ck_assert_ptr_null(v);
    graft_arena_free(a);
}
END_TEST

static const struct {
    const char *word, *json;
} odd[] = {
    {"", "null"},
    {"# x", "null"},
    {"08", "\"08\""},
    {"0:30", "\"0:30\""},
    {"-010", "-8"},
    {"0x_", "\"0x_\""},
    {"0b_", "\"0b_\""},
    {"0b1_0", "2"},
    {"0x1b", "27"},
    {"-0x10", "-16"},
    {"._", "\"._\""},
    {".5e3", "\".5e3\""},
    {".5e+3", "500.0"},
    {"-1:30", "-90"},
    {"1:30.5", "90.5"},
    {"9223372036854775807", "9223372036854775807"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"9223372036854775808", "9223372036854775808"},
    {"!!float 3", "3.0"},
    {"!!str 3", "\"3\""},
    {"{<<: {a: 1, b: 2}, b: 3}", "{\"a\": 1, \"b\": 3}"},
    {"{<<: [{a: 1}, {a: 2, c: 4}], b: 3}", "{\"a\": 1, \"c\": 4, \"b\": 3}"},
    {"[&x {k: [1]}, *x]", "[{\"k\": [1]}, {\"k\": [1]}]"},
    {"\"a\\0b\"", "\"a\\u0000b\""},
    {"1e5", "100000.0"},
    {"'yes'", "\"yes\""},
};

START_TEST(scalars)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    ck_assert_ok(graft_yaml_scalar(a, "word", odd[_i].word, &v, &err));
    ck_assert_str_eq(spell(v), odd[_i].json);
    graft_arena_free(a);
}
END_TEST

static graft_status parse(graft_str *s, graft_error *err)
{
    graft_arena *a = graft_arena_new();
    const graft_json *v;
    const graft_status status = graft_yaml_parse(a, "x.yaml", s->data, s->bytes, &v, err);
    graft_arena_free(a);
    return status;
}

START_TEST(limits)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_str s;
    graft_str_init(&s, 0);
    for (int i = 0; i < 63; i++) graft_str_text(&s, "[");
    for (int i = 0; i < 63; i++) graft_str_text(&s, "]");
    ck_assert_ok(parse(&s, &err));
    graft_str_clear(&s);
    for (int i = 0; i < 100; i++) graft_str_text(&s, "[");
    ck_assert_int_eq(parse(&s, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "expected at most 64 levels inside each other; flatten it");
    /* Each line doubles the one before ten times over: a billion values in ten lines. */
    graft_str_clear(&s);
    graft_str_text(&s, "a0: &a0 [x]\n");
    for (int i = 1; i < 10; i++) {
        graft_str_printf(&s, "a%d: &a%d [", i, i);
        for (int j = 0; j < 10; j++) graft_str_printf(&s, "%s*a%d", j ? "," : "", i - 1);
        graft_str_text(&s, "]\n");
    }
    ck_assert_int_eq(parse(&s, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "expected at most 1000000 values, aliases followed; split the file");
    /* Levels through aliases count as well. */
    graft_str_clear(&s);
    graft_str_text(&s, "a0: &a0 [x]\n");
    for (int i = 1; i < 80; i++) graft_str_printf(&s, "a%d: &a%d [*a%d]\n", i, i, i - 1);
    ck_assert_int_eq(parse(&s, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "expected at most 64 levels inside each other, aliases followed; flatten it");
    graft_str_clear(&s);
    graft_str_text(&s, "a: &a 1\nb: [");
    for (int i = 0; i < 1001; i++) graft_str_text(&s, "*a, ");
    graft_str_text(&s, "]\n");
    ck_assert_int_eq(parse(&s, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "expected at most 1000 aliases; write the values out");
    graft_str_free(&s);
}
END_TEST

START_TEST(places)
{
    graft_arena *a = graft_arena_new();
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    const char *text = "a: 1\nb:\n  - c\n  - \xE4\xBD\xA0: d\n";
    ck_assert_ok(graft_yaml_parse(a, "x.yaml", text, strlen(text), &v, &err));
    const graft_json *b = graft_json_get(v, "b"), *d = b->child->next->child;
    ck_assert_int_eq(b->child->line, 3);
    ck_assert_int_eq(b->child->column, 5);
    ck_assert_int_eq(d->line, 4);
    ck_assert_int_eq(d->column, 8);
    ck_assert_int_eq(graft_yaml_parse_file(a, "no/such.yaml", &v, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.where, "no/such.yaml");
    ck_assert_str_eq(err.message, "cannot open the file: No such file or directory; check the path");
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, as_llama_factory);
    tcase_add_loop_test(tc, errors, 0, sizeof wrong / sizeof *wrong);
    tcase_add_loop_test(tc, scalars, 0, sizeof odd / sizeof *odd);
    tcase_add_test(tc, limits);
    tcase_add_test(tc, places);
}

int main(void) { return graft_test_main("yaml", cases); }
