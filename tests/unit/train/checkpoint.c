/* tests/unit/train/checkpoint.c - complete or absent: whichever call fails while saving, the newest complete checkpoint is there and whole. */
#include "core/train/checkpoint.h"
#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/support/support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static graft_error err = GRAFT_ERROR_INIT;

static graft_status put(const char *dir, const char *name, const char *text)
{
    char *path = graft_path_join(dir, name);
    graft_file *f = NULL;
    graft_status s = graft_file_create(&f, path, &err);
    if (!s) s = graft_file_write(f, text, strlen(text), &err);
    if (s) graft_file_abandon(f);
    else s = graft_file_finish(f, &err);
    graft_free(path);
    return s;
}

/* What the trainer does, with two small files. */
static graft_status save(const char *out, int64_t step, const char *content)
{
    char tmp[GRAFT_CHECKPOINT_PATH];
    graft_status s = graft_checkpoint_begin(out, step, tmp, &err);
    if (!s) s = put(tmp, "weights", content);
    if (!s) s = put(tmp, "counters", content);
    if (s) {
        graft_checkpoint_abandon(out, step);
        return s;
    }
    return graft_checkpoint_commit(out, step, &err);
}

static void expect(const char *out, int64_t step, const char *content)
{
    char path[GRAFT_CHECKPOINT_PATH], *data = NULL;
    int64_t found = -1;
    size_t bytes = 0;
    ck_assert_ok(graft_checkpoint_newest(out, path, &found, &err));
    ck_assert_int_eq(found, step);
    if (!step) return;
    for (int i = 0; i < 2; i++) {
        char *file = graft_path_join(path, i ? "weights" : "counters");
        ck_assert_ok(graft_file_read(file, 1000, &data, &bytes, &err));
        ck_assert_str_eq(data, content);
        graft_free(data);
        graft_free(file);
    }
}

static int count(const char *out)
{
    char **names = NULL;
    size_t n = 0;
    ck_assert_ok(graft_dir_list(out, &names, &n, &err));
    graft_dir_list_free(names, n);
    return (int)n;
}

START_TEST(newest_and_prune)
{
    const char *out = graft_test_dir("checkpoint");
    expect(out, 0, NULL);
    for (int64_t step = 5; step <= 20; step += 5) ck_assert_ok(save(out, step, "x"));
    expect(out, 20, "x");
    ck_assert_ok(graft_checkpoint_prune(out, 2, 20, 0, &err));
    ck_assert_int_eq(count(out), 2);
    expect(out, 20, "x");
    ck_assert_ok(save(out, 7, "older run goes first"));
    ck_assert_ok(graft_checkpoint_prune(out, 1, 7, 0, &err));
    expect(out, 7, "older run goes first");
    ck_assert_int_eq(count(out), 1);
    ck_assert_ok(save(out, 7, "again"));
    expect(out, 7, "again");
    ck_assert_int_eq(count(out), 1);
    ck_assert_ok(put(out, "checkpoint-x", "a file with a strange name"));
    expect(out, 7, "again");
}
END_TEST

START_TEST(damaged)
{
    const char *out = graft_test_dir("checkpoint-damaged");
    char path[GRAFT_CHECKPOINT_PATH];
    int64_t step = 0;
    ck_assert_ok(save(out, 1, "good"));
    ck_assert_ok(save(out, 2, "bad"));
    ck_assert_ok(graft_checkpoint_path(out, 2, path, &err));
    ck_assert_ok(put(path, "weights", "b"));
    ck_assert_int_eq(graft_checkpoint_check(path, &step, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "the checkpoint is damaged: weights has 1 bytes, its manifest says 3; use an older checkpoint");
    expect(out, 1, "good");
    ck_assert_ok(put(path, "manifest.json", "{\"format\": \"graft.checkpoint/1\", \"step\": 2, \"files\": {\"../../x\": 1}}"));
    ck_assert_int_eq(graft_checkpoint_check(path, &step, &err), GRAFT_BAD_INPUT);
    ck_assert_ok(put(path, "manifest.json", "{\"format\""));
    ck_assert_int_eq(graft_checkpoint_check(path, &step, &err), GRAFT_BAD_INPUT);
    ck_assert_int_eq(graft_checkpoint_check(out, &step, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "this is no checkpoint of graft: it has no manifest.json");
}
END_TEST

/* Lets the n-th call of each kind fail, for all n, both for a new step and for a step that is saved again. */
START_TEST(faults)
{
    static const char *const calls[] = {"write", "fsync", "rename"};
    static const int errors[] = {ENOSPC, EIO, EIO};
    int failed = 0;
    for (int again = 0; again < 2; again++)
        for (int k = 0; k < 3; k++)
            for (long n = 1; n < 20; n++) {
                const char *out = graft_test_dir("checkpoint-faults");
                const int64_t step = again ? 1 : 2;
                ck_assert_ok(save(out, 1, "old"));
                graft_file_fault(calls[k], n, errors[k]);
                const graft_status s = save(out, step, "new");
                graft_file_fault(calls[k], 0, 0);
                char path[GRAFT_CHECKPOINT_PATH];
                int64_t found = 0;
                ck_assert_ok(graft_checkpoint_tidy(out, &err));
                ck_assert_ok(graft_checkpoint_newest(out, path, &found, &err));
                if (!s) expect(out, step, "new");
                else if (found == 1 && !again) expect(out, 1, "old");
                else if (again) { /* the old or the new content, whole */
                    char *file = graft_path_join(path, "weights"), *data = NULL;
                    size_t bytes = 0;
                    ck_assert_int_eq(found, 1);
                    ck_assert_ok(graft_file_read(file, 100, &data, &bytes, &err));
                    ck_assert(!strcmp(data, "old") || !strcmp(data, "new"));
                    graft_free(data);
                    graft_free(file);
                } else expect(out, 2, "new"); /* only the last fsync of the parent failed */
                failed += s != GRAFT_OK;
                ck_assert_ok(save(out, 3, "next")); /* and the next one works */
                expect(out, 3, "next");
            }
    ck_assert_int_gt(failed, 15);
}
END_TEST

/* A crash is any prefix of the calls: what lies there after each of them is put right. */
START_TEST(crashes)
{
    const char *out = graft_test_dir("checkpoint-crash");
    char tmp[GRAFT_CHECKPOINT_PATH], path[GRAFT_CHECKPOINT_PATH], old[GRAFT_CHECKPOINT_PATH + 16];
    ck_assert_ok(save(out, 4, "old"));
    ck_assert_ok(graft_checkpoint_begin(out, 8, tmp, &err)); /* killed while files were written */
    ck_assert_ok(put(tmp, "weights", "half"));
    expect(out, 4, "old");
    ck_assert_ok(graft_checkpoint_tidy(out, &err));
    ck_assert_int_eq(count(out), 1);
    ck_assert_ok(graft_checkpoint_path(out, 4, path, &err)); /* killed between the two renames of a step saved again */
    snprintf(old, sizeof old, "%s/.checkpoint-4.old", out);
    ck_assert_ok(graft_path_rename(path, old, &err));
    ck_assert_ok(graft_checkpoint_tidy(out, &err));
    expect(out, 4, "old");
    ck_assert_ok(graft_path_rename(path, old, &err)); /* killed before the one that stepped aside was removed */
    ck_assert_ok(save(out, 4, "new"));
    expect(out, 4, "new");
    ck_assert_ok(graft_checkpoint_tidy(out, &err));
    expect(out, 4, "new");
    ck_assert_int_eq(count(out), 1);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, newest_and_prune);
    tcase_add_test(tc, damaged);
    tcase_add_test(tc, faults);
    tcase_add_test(tc, crashes);
}

int main(void) { return graft_test_main("checkpoint", cases); }
