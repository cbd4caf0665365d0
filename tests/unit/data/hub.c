/* Names of the hub, its folders on this machine, and which files of a dataset make a split. */
#include "core/data/hub.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(words)
{
    static const char *const good[] = {"org/name", "gpt2", "a.b/c_d-1.5", "HuggingFaceTB/SmolLM2-135M-Instruct"}, *const bad[] = {"", "/a", "a/", "a/b/c", "../a", "a/..", "a//b", "a b", ".a/b", "a-/b", "a/b--c", "~/x", "a/b\n"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) ck_assert_msg(graft_hub_is_name(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) ck_assert_msg(!graft_hub_is_name(bad[i]), "%s", bad[i]);
    static const char *const inside[] = {"a", "a/b", "a/.b", "a b/...", "..a"}, *const outside[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "./a", "a/../b", "a\\b", "a\nb"};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) ck_assert_msg(graft_hub_is_inside(inside[i]), "%s", inside[i]);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) ck_assert_msg(!graft_hub_is_inside(outside[i]), "%s", outside[i]);
}
END_TEST

static void folder_is(const char *wanted)
{
    char *found = graft_hub_folder(GRAFT_HUB_HUGGINGFACE, GRAFT_HUB_MODEL, "org/name");
    ck_assert_str_eq(found, wanted);
    graft_free(found);
}

START_TEST(folders)
{
    setenv("HOME", "/h", 1);
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HF_HOME");
    unsetenv("HF_HUB_CACHE");
    unsetenv("HUGGINGFACE_HUB_CACHE");
    folder_is("/h/.cache/huggingface/hub/models--org--name");
    setenv("XDG_CACHE_HOME", "/c", 1);
    folder_is("/c/huggingface/hub/models--org--name");
    setenv("HF_HOME", "~/x", 1);
    folder_is("/h/x/hub/models--org--name");
    setenv("HF_HUB_CACHE", "/y", 1);
    folder_is("/y/models--org--name");
    char *set = graft_hub_folder(GRAFT_HUB_HUGGINGFACE, GRAFT_HUB_DATASET, "squad");
    ck_assert_str_eq(set, "/y/datasets--squad");
    graft_free(set);
    ck_assert_ptr_null(graft_hub_folder(GRAFT_HUB_HUGGINGFACE, GRAFT_HUB_MODEL, "../x"));
    setenv("MODELSCOPE_CACHE", "/m", 1);
    set = graft_hub_folder(GRAFT_HUB_MODELSCOPE, GRAFT_HUB_MODEL, "a.b/Qwen2.5-0.5B");
    ck_assert_str_eq(set, "/m/models/a.b/Qwen2___5-0___5B");
    graft_free(set);
    setenv("X", "yes", 1);
    ck_assert_int_eq(graft_hub_env_on("X"), 1);
    setenv("X", "0", 1);
    ck_assert_int_eq(graft_hub_env_on("X"), 0);
}
END_TEST

static void put(const char *dir, const char *name, const char *text)
{
    graft_error err = GRAFT_ERROR_INIT;
    char path[4300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
}

START_TEST(whole)
{
    const char *dir = graft_test_dir("hub-model");
    ck_assert(!graft_hub_whole(dir));
    put(dir, "config.json", "{}");
    ck_assert(!graft_hub_whole(dir));
    put(dir, "model.safetensors.index.json", "{\"weight_map\": {\"a\": \"model-1.safetensors\", \"b\": \"model-1.safetensors\", \"c\": \"model-2.safetensors\"}}");
    put(dir, "model-1.safetensors", "x");
    ck_assert(!graft_hub_whole(dir));
    put(dir, "model-2.safetensors", "x");
    ck_assert(graft_hub_whole(dir));
    put(dir, "model.safetensors.index.json", "{\"weight_map\": {\"a\": \"../model-1.safetensors\"}}");
    ck_assert(!graft_hub_whole(dir));
    put(dir, "adapter_config.json", "{}");
    put(dir, "adapter_model.safetensors", "x");
    ck_assert(graft_hub_whole(dir));
}
END_TEST

/* Which of the files (blanks between them) are chosen, or the sentence. */
static const char *chosen(const char *readme, const char *files, const char *subset, const char *split, const char *folder)
{
    static char out[1200], copy[1200];
    graft_error err = GRAFT_ERROR_INIT;
    char *names[32], keep[32], *rest = copy;
    size_t n = 0;
    snprintf(copy, sizeof copy, "%s", files);
    for (char *name; (name = strtok_r(rest, " ", &rest)) && n < 32;) names[n++] = name;
    out[0] = '\0';
    if (graft_hub_choose("set", readme, readme ? strlen(readme) : 0, names, n, subset, split, folder, keep, &err)) return snprintf(out, sizeof out, "%s", err.message), out;
    for (size_t i = 0; i < n; i++)
        if (keep[i]) snprintf(out + strlen(out), sizeof out - strlen(out), "%s%s", *out ? " " : "", names[i]);
    return out;
}

START_TEST(splits)
{
    static const char sharded[] = "README.md data/train-00000-of-00001.parquet data/test-00000-of-00001.parquet data/validation-00000-of-00001.parquet run.py .gitattributes";
    ck_assert_str_eq(chosen(NULL, sharded, NULL, NULL, NULL), "data/train-00000-of-00001.parquet");
    ck_assert_str_eq(chosen(NULL, sharded, NULL, "test", NULL), "data/test-00000-of-00001.parquet");
    ck_assert_str_eq(chosen(NULL, "a.jsonl b.json.gz notes.md dataset_infos.json x.bin", NULL, NULL, NULL), "a.jsonl b.json.gz"); /* no split's word: all of them */
    ck_assert_str_eq(chosen(NULL, "a.jsonl my_dev.jsonl training.csv constrained.jsonl", NULL, NULL, NULL), "training.csv");
    ck_assert_str_eq(chosen(NULL, "train.jsonl dev.jsonl", NULL, "validation", NULL), "dev.jsonl");
    ck_assert_str_eq(chosen(NULL, "en/a.jsonl fr/a.jsonl", "fr", NULL, NULL), "fr/a.jsonl");
    ck_assert_str_eq(chosen(NULL, "en/a.jsonl fr/a.jsonl", NULL, NULL, "en"), "en/a.jsonl");
    ck_assert_str_eq(chosen(NULL, "a.jsonl", "de", NULL, NULL), "the dataset has no subset \"de\"; leave subset out of its entry, or name a folder of it with \"folder\"");
    ck_assert_str_eq(chosen(NULL, "load.py", NULL, NULL, NULL), "no file of the dataset is of its split \"train\"; expected .json, .jsonl, .parquet, .csv or .txt files");
    static const char configs[] = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path:\n    - x/*.json\n    - y.json\n  - split: test\n    path: '**/z.json'\n- config_name: two\n  data_files: w.json\n- config_name: three\n  data_dir: v\n---\ntext";
    static const char files[] = "x/1.json x/2.json y.json z.json w.json v/train.json v/test.json v/load.py";
    ck_assert_str_eq(chosen(configs, files, NULL, NULL, NULL), "x/1.json x/2.json y.json");
    ck_assert_str_eq(chosen(configs, files, NULL, "test", NULL), "z.json");
    ck_assert_str_eq(chosen(configs, files, "two", NULL, NULL), "w.json");
    ck_assert_str_eq(chosen(configs, files, "three", NULL, NULL), "v/train.json");
    ck_assert_str_eq(chosen(configs, files, "four", NULL, NULL), "the dataset has no subset \"four\"; it has default, two, three");
    ck_assert_str_eq(chosen("---\nlicense: mit\n---\n", "a.json", NULL, NULL, NULL), "a.json");
    ck_assert_str_eq(chosen("--- not yaml: [", "a.json", NULL, NULL, NULL), "a.json");
}
END_TEST

START_TEST(parts)
{
    graft_error err = GRAFT_ERROR_INIT;
    const char *dir = graft_test_dir("hub-data");
    char **files, deep[4300];
    size_t n;
    snprintf(deep, sizeof deep, "%s/data", dir);
    ck_assert_ok(graft_dir_make(deep, &err));
    put(deep, "train-00000-of-00002.jsonl", "{}");
    ck_assert_int_ne(graft_hub_files(dir, NULL, NULL, NULL, &files, &n, &err), GRAFT_OK);
    ck_assert_msg(strstr(err.message, "1 of the 2 parts of data/train-00000-of-00002.jsonl are here"), "%s", err.message);
    put(deep, "train-00001-of-00002.jsonl", "{}");
    ck_assert_ok(graft_hub_files(dir, NULL, NULL, NULL, &files, &n, &err));
    ck_assert_uint_eq(n, 2);
    ck_assert_msg(strstr(files[1], "/hub-data/data/train-00001-of-00002.jsonl"), "%s", files[1]);
    graft_dir_list_free(files, n);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, words);
    tcase_add_test(tc, folders);
    tcase_add_test(tc, whole);
    tcase_add_test(tc, splits);
    tcase_add_test(tc, parts);
}

int main(void) { return graft_test_main("hub", cases); }
