/* Samples that LLaMA-Factory saved under tokenized_path: read as they are, or refused. */
#include "core/data/saved.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

static char dir[3000];

static void put(const char *name, const char *text)
{
    graft_error err = GRAFT_ERROR_INIT;
    char path[4000];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(graft_file_replace(path, text, strlen(text), &err));
}

/* A folder of one file; a reader of rows does not mind that it is JSON. */
static const char *loaded(const char *row)
{
    static char out[800];
    graft_error err = GRAFT_ERROR_INIT;
    graft_dataset *d = NULL;
    put("train/data-00000-of-00001.arrow", row);
    if (graft_saved_load(dir, "train", 100, &d, &err)) return snprintf(out, sizeof out, "%s", err.message), out;
    out[0] = '\0';
    for (int64_t i = 0; i < graft_dataset_count(d); i++) {
        const graft_sample s = graft_dataset_at(d, i);
        for (int64_t k = 0; k < s.n; k++) snprintf(out + strlen(out), sizeof out - strlen(out), "%d/%d ", s.ids[k], s.labels[k]);
    }
    graft_dataset_free(d);
    return out;
}

START_TEST(rows)
{
    graft_error err = GRAFT_ERROR_INIT;
    graft_dataset *d = NULL;
    char path[4000];
    snprintf(dir, sizeof dir, "%s", graft_test_dir("saved"));
    ck_assert(!graft_saved_is(dir));
    put("dataset_dict.json", "{\"splits\": [\"train\"]}");
    ck_assert(graft_saved_is(dir));
    snprintf(path, sizeof path, "%s/train", dir);
    ck_assert_ok(graft_dir_make(path, &err));
    put("train/state.json", "{}");
    ck_assert_str_eq(loaded("{\"input_ids\": [5, 6, 7], \"attention_mask\": [1, 1, 1], \"labels\": [-100, 6, 7], \"images\": null}\n{\"input_ids\": [8], \"labels\": [8]}"), "5/-100 6/6 7/7 8/8 ");
    ck_assert_msg(strstr(loaded("{\"input_ids\": [5, 100], \"labels\": [5, 5]}"), "a saved token is none of this model's tokenizer"), "%s", loaded("{}"));
    ck_assert_msg(strstr(loaded("{\"input_ids\": [5], \"labels\": [-1]}"), "a saved token is none of this model's tokenizer"), "%s", loaded("{}"));
    ck_assert_msg(strstr(loaded("{\"input_ids\": [5, 5], \"labels\": [5, 5], \"attention_mask\": [1, 2]}"), "has borders inside (neat_packing)"), "%s", loaded("{}"));
    ck_assert_msg(strstr(loaded("{\"input_ids\": [5, 5], \"labels\": [5]}"), "expected input_ids and labels of one length"), "%s", loaded("{}"));
    ck_assert_msg(strstr(loaded("{\"chosen_input_ids\": [5, 5]}"), "expected input_ids and labels of one length"), "%s", loaded("{}"));
    ck_assert_ok(graft_saved_load(dir, "validation", 100, &d, &err));
    ck_assert_ptr_null(d);
}
END_TEST

static void cases(TCase *tc) { tcase_add_test(tc, rows); }

int main(void) { return graft_test_main("saved", cases); }
