/* The registry: both forms of file, every rule of an entry in its own sentence, layers, lookups with "did you mean", and what a data folder may not do. */
#include "core/plugin/registry.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/plugin/entry.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static graft_status add(graft_registry *r, const char *path, const char *text, int datasets_only, graft_error *err)
{
    return graft_registry_add(r, path, text, strlen(text), datasets_only, err);
}

START_TEST(five_sections)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_registry *r = graft_registry_new();
    ck_assert_ok(add(r, "/etc/x/registry.json",
                     "{\"datasets\": {\"b\": {\"file_name\": \"b.json\"}, \"a\": {\"hf_hub_url\": \"x/y\"}},\n \"formats\": {},\n"
                     " \"models\": {\"m\": {\"file_name\": \"sub/m.so\", \"model_type\": [\"m1\", \"m2\"]}, \"n\": {\"file_name\": \"/abs/n.so\", \"model_type\": \"n1\"}},\n"
                     " \"backends\": {\"fast\": {\"file_name\": \"fast.so\", \"prefer\": 500, \"requires\": {\"processor\": [\"avx2\"], \"library\": [\"libx.so.1\"], \"memory\": \"4 GiB\"}}},\n"
                     " \"comm\": {\"net\": {\"file_name\": \"net.so\", \"provides\": [\"a\"], \"license\": \"MIT\", \"description\": \"d\", \"homepage\": \"h\", \"version\": \"1.0.0\"}}}",
                     0, &err));
    const graft_entry *const *list;
    ck_assert_uint_eq(graft_registry_list(r, GRAFT_KIND_DATASET, &list), 2);
    ck_assert_str_eq(list[0]->name, "a");
    ck_assert_str_eq(list[1]->name, "b");
    ck_assert_str_eq(list[0]->layer, "/etc/x/registry.json");
    ck_assert_str_eq(list[0]->dir, "/etc/x");
    ck_assert_uint_eq(graft_registry_list(r, GRAFT_KIND_FORMAT, &list), 0);
    ck_assert_uint_eq(graft_registry_list(r, GRAFT_KIND_MODEL, &list), 2);
    char *path = graft_entry_path(list[0]);
    ck_assert_str_eq(path, "/etc/x/sub/m.so");
    graft_free(path);
    path = graft_entry_path(list[1]);
    ck_assert_str_eq(path, "/abs/n.so");
    graft_free(path);
    ck_assert_ptr_null(graft_entry_path(graft_registry_find(r, GRAFT_KIND_DATASET, "a")));
    ck_assert_ptr_null(graft_registry_find(r, GRAFT_KIND_MODEL, "a"));
    ck_assert_ptr_null(graft_registry_find(r, GRAFT_KINDS, "a"));
    graft_registry_close(r);
    graft_registry_close(NULL);
}
END_TEST

START_TEST(later_layers_win)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_registry *r = graft_registry_new();
    const graft_entry *e;
    ck_assert_ok(add(r, "/one/registry.json", "{\"models\": {\"m\": {\"file_name\": \"m.so\", \"model_type\": \"t\"}, \"k\": {\"file_name\": \"k.so\"}}}", 0, &err));
    ck_assert_ok(add(r, "/two/registry.json", "{\"models\": {\"m\": {\"file_name\": \"m2.so\", \"model_type\": \"u\"}, \"a\": {\"file_name\": \"a.so\", \"model_type\": [\"t\"]}}}", 0, &err));
    ck_assert_str_eq(graft_registry_find(r, GRAFT_KIND_MODEL, "m")->dir, "/two");
    ck_assert_ok(graft_registry_model_for(r, "t", &e, &err));
    ck_assert_str_eq(e->name, "a");
    ck_assert_ok(graft_registry_model_for(r, "u", &e, &err));
    ck_assert_str_eq(e->name, "m");
    ck_assert_ok(graft_registry_model_for(r, "k", &e, &err));
    ck_assert_str_eq(e->name, "k");
    ck_assert_ok(add(r, "/three/registry.json", "{\"models\": {\"z\": {\"file_name\": \"z.so\", \"model_type\": [\"t\"]}}}", 0, &err));
    ck_assert_ok(graft_registry_model_for(r, "t", &e, &err));
    ck_assert_str_eq(e->name, "z");
    ck_assert_int_eq(graft_registry_model_for(r, "gpt9", &e, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "No model plugin builds model_type \"gpt9\"; the registry has: a, k, m, z. Add one with 'graft plugin add FILE.so'.");
    graft_registry_close(r);
}
END_TEST

START_TEST(did_you_mean)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_registry *r = graft_registry_new();
    const graft_entry *e;
    ck_assert_ok(add(r, "/one/registry.json", "{\"identity\": {\"file_name\": \"i.json\"}, \"zebra\": {\"file_name\": \"z.json\"}}", 0, &err));
    ck_assert_ok(graft_registry_need(r, GRAFT_KIND_DATASET, "zebra", &e, &err));
    ck_assert_int_eq(graft_registry_need(r, GRAFT_KIND_DATASET, "identitty", &e, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "No dataset is named \"identitty\"; did you mean \"identity\"?");
    ck_assert_int_eq(graft_registry_need(r, GRAFT_KIND_DATASET, "qqqqqqqqqq", &e, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "No dataset is named \"qqqqqqqqqq\"; the registry has: identity, zebra.");
    ck_assert_int_eq(graft_registry_need(r, GRAFT_KIND_METHOD, "x", &e, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "No method is named \"x\"; the registry has: none.");
    graft_registry_close(r);
}
END_TEST

/* LLaMA-Factory's own file and the fixtures' one are registries as they are. */
START_TEST(bare_dataset_info)
{
    static const struct {
        const char *file;
        size_t n;
    } files[] = {{"plugin/dataset_info_llamafactory.json", 104}, {"plugin/dataset_info_samples.json", 21}};
    graft_error err = GRAFT_ERROR_INIT;
    for (int i = 0; i < 2; i++) {
        graft_registry *r = graft_registry_new();
        const graft_entry *const *list;
        char *text;
        size_t bytes;
        const char *path = graft_test_fixture(files[i].file);
        ck_assert_ok(graft_file_read(path, 1 << 24, &text, &bytes, &err));
        ck_assert_ok(graft_registry_add(r, path, text, bytes, 1, &err));
        ck_assert_uint_eq(graft_registry_list(r, GRAFT_KIND_DATASET, &list), files[i].n);
        graft_free(text);
        graft_registry_close(r);
    }
}
END_TEST

static const struct bad {
    const char *text, *where, *message;
} bads[] = {
    {"{\"a\": {\"file_name\": \"a.json\",\n \"colums\": {}}}", ":2:12", "dataset a: unknown key \"colums\"; did you mean \"columns\"?"},
    {"{\"a\": {\"file_name\": \"a.json\", \"columns\": {\"promt\": \"x\"}}}", ":1:52", "dataset a: unknown key \"promt\" in \"columns\"; did you mean \"prompt\"?"},
    {"{\"a\": {\"file_name\": \"a.json\", \"tags\": {\"role_tga\": \"x\"}}}", ":1:52", "dataset a: unknown key \"role_tga\" in \"tags\"; did you mean \"role_tag\"?"},
    {"{\"a\": {\"file_name\": \"a.json\", \"wholly_else\": 1}}", ":1:46", "dataset a: unknown key \"wholly_else\"; remove it."},
    {"{\"a\": {\"file_name\": 7}}", ":1:21", "dataset a: \"file_name\" must be a text; correct it."},
    {"{\"a\": {\"file_name\": \"\"}}", ":1:21", "dataset a: \"file_name\" must be a text; correct it."},
    {"{\"a\": {\"file_name\": \"a\\u0000b\"}}", ":1:21", "dataset a: \"file_name\" must be a text; correct it."},
    {"{\"a\": {\"file_name\": \"a.json\", \"ranking\": \"yes\"}}", ":1:42", "dataset a: \"ranking\" must be true or false; correct it."},
    {"{\"a\": {\"file_name\": \"a.json\", \"num_samples\": 0}}", ":1:46", "dataset a: \"num_samples\" must be an integer above 0; correct it."},
    {"{\"a\": {\"file_name\": \"a.json\", \"num_samples\": 1.5}}", ":1:46", "dataset a: \"num_samples\" must be an integer above 0; correct it."},
    {"{\"a\": {\"formatting\": \"sharegpt\"}}", ":1:7", "dataset a: has no source; give it \"file_name\" or \"hf_hub_url\"."},
    {"{\"a\": 5}", ":1:7", "dataset a: expected an object such as {\"file_name\": \"...\"}; correct it."},
    {"{\"models\": {\"m\": {}}}", ":1:18", "model m: has no \"file_name\"; name the plugin's library."},
    {"{\"models\": {\"m\": {\"file_name\": \"m.so\", \"sha256\": \"12\"}}}", ":1:50", "model m: \"sha256\" must be 64 hexadecimal digits; correct it."},
    {"{\"models\": {\"m\": {\"file_name\": \"m.so\", \"prefer\": 1}}}", ":1:50", "model m: unknown key \"prefer\"; remove it."},
    {"{\"models\": {\"m\": {\"file_name\": \"m.so\", \"model_type\": [1]}}}", ":1:54", "model m: \"model_type\" must be a text or a list of texts; correct it."},
    {"{\"methods\": {\"m\": {\"file_name\": \"m.so\", \"model_type\": \"x\"}}}", ":1:55", "method m: unknown key \"model_type\"; remove it."},
    {"{\"backends\": {\"b\": {\"file_name\": \"b.so\", \"prefer\": \"high\"}}}", ":1:52", "backend b: \"prefer\" must be an integer; correct it."},
    {"{\"backends\": {\"b\": {\"file_name\": \"b.so\", \"requires\": {\"libary\": []}}}}", ":1:65", "backend b: unknown key \"libary\" in \"requires\"; did you mean \"library\"?"},
    {"{\"backends\": {\"b\": {\"file_name\": \"b.so\", \"requires\": {\"memory\": \"lots\"}}}}", ":1:65", "backend b: \"memory\" must be a number of bytes or a text such as \"4 GiB\"; correct it."},
    {"{\"models\": {\"Big Name\": {\"file_name\": \"m.so\"}}}", ":1:25", "model \"Big Name\": a plugin's name has 1 to 63 of the characters a-z 0-9 _ . - and begins with a letter, digit or _; rename it."},
    {"{\"models\": {\"../x\": {\"file_name\": \"m.so\"}}}", ":1:21", "model \"../x\": a plugin's name has 1 to 63 of the characters a-z 0-9 _ . - and begins with a letter, digit or _; rename it."},
    {"{\"fromats\": {\"x\": {\"file_name\": \"x.so\"}}}", ":1:13", "Unknown section \"fromats\"; did you mean \"formats\"?"},
    {"{\"models\": {}, \"plugins\": {\"x\": {\"file_name\": \"x.so\"}}}", ":1:27", "Unknown section \"plugins\"; a registry has datasets, formats, models, methods, backends and comm."},
    {"{\"models\": {\"m\": {\"file_name\": \"m.so\"}}, \"methods\": 3}", ":1:53", "Section \"methods\" must be an object of named entries; correct it."},
    {"{\"\": {\"file_name\": \"a.json\"}}", ":1:6", "A name in section \"datasets\" is empty or holds a NUL byte; rename it."},
    {"[]", "", "Expected a JSON object of sections or datasets; an example is the registry.json that graft ships."},
};

START_TEST(wrong_entries)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_registry *r = graft_registry_new();
    char where[256];
    ck_assert_int_eq(add(r, "/x/registry.json", bads[_i].text, 0, &err), GRAFT_BAD_INPUT);
    snprintf(where, sizeof where, "/x/registry.json%s", bads[_i].where);
    ck_assert_str_eq(err.message, bads[_i].message);
    ck_assert_str_eq(err.where, where);
    graft_registry_close(r);
}
END_TEST

START_TEST(wrong_json)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_registry *r = graft_registry_new();
    ck_assert_int_eq(add(r, "/x/registry.json", "{\"a\": {\"file_name\": \"a.json\", \"file_name\": \"b.json\"}}", 0, &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(add(r, "/x/registry.json", "{\"a\": {\"file_name\": \"a.json\"", 0, &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(strncmp(err.where, "/x/registry.json:1:", 19), 0);
    graft_registry_close(r);
}
END_TEST

/* A dataset may be named like a section: what makes a section is that it holds only entries. */
START_TEST(names_like_sections)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_registry *r = graft_registry_new();
    ck_assert_ok(add(r, "/x/dataset_info.json", "{\"models\": {\"file_name\": \"m.json\"}, \"a\": {\"hf_hub_url\": \"x\", \"columns\": {}}}", 1, &err));
    ck_assert_ptr_nonnull(graft_registry_find(r, GRAFT_KIND_DATASET, "models"));
    graft_registry_close(r);
}
END_TEST

START_TEST(data_cannot_name_code)
{
    graft_error err = GRAFT_ERROR_INIT;
    const char *dir = graft_test_dir("unit/registry/data"), *text = "{\"datasets\": {\"d\": {\"file_name\": \"d.json\"}}, \"backends\": {\"evil\": {\"file_name\": \"evil.so\"}}}";
    char path[4200], expected[5000];
    graft_registry *r = NULL;
    setenv("XDG_CONFIG_HOME", "/nonexistent/config", 1);
    snprintf(path, sizeof path, "%s/dataset_info.json", dir);
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
    const graft_registry_options o = {.shipped = graft_test_fixture("plugin/dataset_info_samples.json"), .dataset_dir = dir};
    ck_assert_int_eq(graft_registry_open(&o, &r, &err), GRAFT_BAD_INPUT);
    ck_assert_ptr_null(r);
    snprintf(expected, sizeof expected, "A data folder cannot register code: move section \"backends\" to /nonexistent/config/graft/registry.json.");
    ck_assert_str_eq(err.message, expected);
    text = "{\"datasets\": {\"d\": {\"file_name\": \"d.json\"}}, \"backends\": {}}";
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
    ck_assert_ok(graft_registry_open(&o, &r, &err));
    ck_assert_str_eq(graft_registry_find(r, GRAFT_KIND_DATASET, "d")->dir, dir);
    graft_registry_close(r);
}
END_TEST

START_TEST(layers_in_order)
{
    graft_error err = GRAFT_ERROR_INIT;
    char dir[4096], user[4300], extra[4300], data[4300], shipped[4300];
    graft_registry *r = NULL;
    snprintf(dir, sizeof dir, "%s", graft_test_dir("unit/registry/layers"));
    setenv("XDG_CONFIG_HOME", dir, 1);
    snprintf(user, sizeof user, "%s/graft/registry.json", dir);
    snprintf(extra, sizeof extra, "%s/extra.json", dir);
    snprintf(data, sizeof data, "%s/data", dir);
    snprintf(shipped, sizeof shipped, "%s/shipped.json", dir);
    const struct {
        const char *path, *text;
    } files[] = {
        {shipped, "{\"datasets\": {\"a\": {\"file_name\": \"1\"}, \"b\": {\"file_name\": \"1\"}, \"c\": {\"file_name\": \"1\"}, \"d\": {\"file_name\": \"1\"}}}"},
        {user, "{\"b\": {\"file_name\": \"2\"}, \"c\": {\"file_name\": \"2\"}, \"d\": {\"file_name\": \"2\"}}"},
        {extra, "{\"c\": {\"file_name\": \"3\"}, \"d\": {\"file_name\": \"3\"}}"}};
    char folder[4400];
    snprintf(folder, sizeof folder, "%s/graft", dir);
    ck_assert_ok(graft_dir_make(folder, &err));
    for (int i = 0; i < 3; i++) ck_assert_ok(graft_file_replace(files[i].path, files[i].text, strlen(files[i].text), &err));
    graft_registry_options o = {.shipped = shipped, .extra = extra, .dataset_dir = data};
    ck_assert_ok(graft_registry_open(&o, &r, &err)); /* a data folder without dataset_info.json is fine */
    for (int i = 0; i < 4; i++) {
        const char name[2] = {"abcd"[i], 0}, *number = (const char *[]){"1", "2", "3", "3"}[i];
        ck_assert_str_eq(graft_json_get(graft_registry_find(r, GRAFT_KIND_DATASET, name)->json, "file_name")->text, number);
    }
    ck_assert_str_eq(graft_registry_layers(r, 0), shipped);
    ck_assert_str_eq(graft_registry_layers(r, 1), "/etc/graft/registry.json");
    ck_assert_str_eq(graft_registry_layers(r, 2), user);
    ck_assert_str_eq(graft_registry_user_file(r), user);
    ck_assert_str_eq(graft_registry_layers(r, 3), extra);
    ck_assert_int_eq(graft_registry_layer_found(r, 3), 1);
    ck_assert_int_eq(graft_registry_layer_found(r, 4), 0);
    ck_assert_ptr_nonnull(graft_registry_layers(r, 4));
    ck_assert_ptr_null(graft_registry_layers(r, 5));
    graft_registry_close(r);
    ck_assert_ok(graft_dir_make(data, &err));
    snprintf(folder, sizeof folder, "%s/dataset_info.json", data);
    ck_assert_ok(graft_file_replace(folder, "{\"d\": {\"file_name\": \"4\"}}", 25, &err));
    ck_assert_ok(graft_registry_open(&o, &r, &err));
    ck_assert_str_eq(graft_registry_find(r, GRAFT_KIND_DATASET, "d")->dir, data);
    graft_registry_close(r);
    o.extra = "/nonexistent/registry.json";
    ck_assert_int_eq(graft_registry_open(&o, &r, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "There is no registry here; correct the path.");
    ck_assert_str_eq(err.where, "/nonexistent/registry.json");
    ck_assert_int_eq(chdir(dir), 0); /* relative names are taken from the present folder once */
    o.extra = "extra.json";
    ck_assert_ok(graft_registry_open(&o, &r, &err));
    ck_assert_str_eq(graft_registry_layers(r, 3), extra);
    graft_registry_close(r);
}
END_TEST

/* The build tree's own registry is found from this program's place. */
START_TEST(shipped_is_found)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_registry *r = NULL;
    const graft_registry_options o = {0};
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    ck_assert_ok(graft_registry_open(&o, &r, &err));
    ck_assert_str_eq(graft_registry_layers(r, 0), GRAFT_BINARY_DIR "/lib/graft/registry.json");
    const graft_entry *const *list;
    ck_assert_uint_gt(graft_registry_list(r, GRAFT_KIND_MODEL, &list), 0);
    graft_registry_close(r);
}
END_TEST

START_TEST(sizes_in_words)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } sizes[] = {{"7", 7}, {"\"4 GiB\"", 4294967296}, {"\"1.5 KiB\"", 1536}, {"\"12B\"", 12}, {"\"4 GB\"", -1}, {"\"-1 B\"", -1}, {"-1", -1}, {"true", -1}, {"\"inf B\"", -1}, {"\"99999999999 TiB\"", -1}};
    graft_error err = GRAFT_ERROR_INIT;
    graft_arena *a = graft_arena_new();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const graft_json *v;
        ck_assert_ok(graft_json_parse(a, "size", sizes[i].text, strlen(sizes[i].text), 0, &v, &err));
        ck_assert_int_eq(graft_entry_bytes(v), sizes[i].bytes);
    }
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, five_sections);
    tcase_add_test(tc, later_layers_win);
    tcase_add_test(tc, did_you_mean);
    tcase_add_test(tc, bare_dataset_info);
    tcase_add_loop_test(tc, wrong_entries, 0, (int)(sizeof bads / sizeof *bads));
    tcase_add_test(tc, wrong_json);
    tcase_add_test(tc, names_like_sections);
    tcase_add_test(tc, data_cannot_name_code);
    tcase_add_test(tc, layers_in_order);
    tcase_add_test(tc, shipped_is_found);
    tcase_add_test(tc, sizes_in_words);
}

int main(void) { return graft_test_main("registry", cases); }
