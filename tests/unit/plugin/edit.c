/* Putting one entry into a registry file and taking it out again, with all else kept. */
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/plugin/registry.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

static graft_arena *arena;
static graft_error err = GRAFT_ERROR_INIT;

static const graft_json *parsed(const char *text)
{
    const graft_json *v;
    ck_assert_ok(graft_json_parse(arena, "entry", text, strlen(text), 0, &v, &err));
    return v;
}

static void check_file(const char *path, const char *expected)
{
    char *text;
    size_t bytes;
    ck_assert_ok(graft_file_read(path, 1 << 20, &text, &bytes, &err));
    ck_assert_str_eq(text, expected);
    graft_free(text);
}

START_TEST(put_and_drop)
{
    char path[4200];
    int found;
    arena = graft_arena_new();
    snprintf(path, sizeof path, "%s/new/folder/registry.json", graft_test_dir("unit/edit/put"));
    ck_assert_ok(graft_registry_drop(path, GRAFT_KIND_MODEL, "m", &found, &err));
    ck_assert_int_eq(found, 0);
    ck_assert_int_eq(graft_path_exists(path), 0);
    ck_assert_ok(graft_registry_put(path, GRAFT_KIND_MODEL, "m", parsed("{\"file_name\": \"/x/m.so\"}"), &err));
    check_file(path, "{\n  \"models\": {\n    \"m\": {\n      \"file_name\": \"/x/m.so\"\n    }\n  }\n}\n");
    ck_assert_ok(graft_registry_put(path, GRAFT_KIND_MODEL, "k", parsed("{\"file_name\": \"/x/k.so\"}"), &err));
    ck_assert_ok(graft_registry_put(path, GRAFT_KIND_MODEL, "m", parsed("{\"file_name\": \"/y/m.so\"}"), &err));
    check_file(path, "{\n  \"models\": {\n    \"m\": {\n      \"file_name\": \"/y/m.so\"\n    },\n    \"k\": {\n      \"file_name\": \"/x/k.so\"\n    }\n  }\n}\n");
    ck_assert_ok(graft_registry_drop(path, GRAFT_KIND_MODEL, "m", &found, &err));
    ck_assert_int_eq(found, 1);
    ck_assert_ok(graft_registry_drop(path, GRAFT_KIND_METHOD, "k", &found, &err));
    ck_assert_int_eq(found, 0);
    check_file(path, "{\n  \"models\": {\n    \"k\": {\n      \"file_name\": \"/x/k.so\"\n    }\n  }\n}\n");
    graft_arena_free(arena);
}
END_TEST

START_TEST(keeps_the_rest)
{
    char path[4200];
    arena = graft_arena_new();
    snprintf(path, sizeof path, "%s/registry.json", graft_test_dir("unit/edit/keep"));
    const char *text = "{\"datasets\": {\"d\": {\"file_name\": \"d.json\", \"num_samples\": 12345678901, \"columns\": {\"prompt\": \"\\u00fc\"}}}}";
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
    ck_assert_ok(graft_registry_put(path, GRAFT_KIND_FORMAT, "f", parsed("{\"file_name\": \"f.so\"}"), &err));
    check_file(path, "{\n  \"datasets\": {\n    \"d\": {\n      \"file_name\": \"d.json\",\n      \"num_samples\": 12345678901,\n      \"columns\": {\n        \"prompt\": \"\303\274\"\n      }\n    }\n  },\n"
                     "  \"formats\": {\n    \"f\": {\n      \"file_name\": \"f.so\"\n    }\n  }\n}\n");
    /* A dataset_info.json becomes a registry. */
    text = "{\"d\": {\"file_name\": \"d.json\"}}";
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
    ck_assert_ok(graft_registry_put(path, GRAFT_KIND_FORMAT, "f", parsed("{\"file_name\": \"f.so\"}"), &err));
    check_file(path, "{\n  \"datasets\": {\n    \"d\": {\n      \"file_name\": \"d.json\"\n    }\n  },\n  \"formats\": {\n    \"f\": {\n      \"file_name\": \"f.so\"\n    }\n  }\n}\n");
    graft_arena_free(arena);
}
END_TEST

/* Nothing wrong is ever written, and a full disk leaves the old file. */
START_TEST(old_file_survives)
{
    char path[4200];
    arena = graft_arena_new();
    snprintf(path, sizeof path, "%s/registry.json", graft_test_dir("unit/edit/survive"));
    const char *text = "{\"formats\": {\"f\": {\"file_name\": \"f.so\"}}}";
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
    ck_assert_int_eq(graft_registry_put(path, GRAFT_KIND_FORMAT, "g", parsed("{\"file_nme\": \"g.so\"}"), &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "format g: unknown key \"file_nme\"; did you mean \"file_name\"?");
    check_file(path, text);
    graft_file_fault("write", 1, 28 /* ENOSPC */);
    ck_assert_int_eq(graft_registry_put(path, GRAFT_KIND_FORMAT, "g", parsed("{\"file_name\": \"g.so\"}"), &err), GRAFT_IO);
    graft_file_fault("write", 0, 0);
    check_file(path, text);
    text = "[1]";
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
    ck_assert_int_eq(graft_registry_put(path, GRAFT_KIND_FORMAT, "g", parsed("{\"file_name\": \"g.so\"}"), &err), GRAFT_BAD_INPUT);
    check_file(path, text);
    graft_arena_free(arena);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, put_and_drop);
    tcase_add_test(tc, keeps_the_rest);
    tcase_add_test(tc, old_file_survives);
}

int main(void) { return graft_test_main("edit", cases); }
