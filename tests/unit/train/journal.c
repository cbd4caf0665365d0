/* tests/unit/train/journal.c - the files of a run, key for key as LLaMA-Factory and transformers write them, and their way through a checkpoint. */
#include "core/train/journal.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static graft_error err = GRAFT_ERROR_INIT;

static char *text_of(const char *dir, const char *name)
{
    char *path = graft_path_join(dir, name), *data = NULL;
    size_t bytes = 0;
    ck_assert_ok(graft_file_read(path, 1 << 20, &data, &bytes, &err));
    graft_free(path);
    return data;
}

static void expect_text(const char *dir, const char *name, const char *want)
{
    char *data = text_of(dir, name);
    ck_assert_str_eq(data, want);
    graft_free(data);
}

static const graft_train_options options = {.logging_steps = 1, .save_steps = 500, .num_train_epochs = 3, .per_device_train_batch_size = 2};

/* Two updates of twelve and an evaluation. */
static void write_some(graft_journal *j)
{
    graft_journal_moment at = {.step = 1, .tokens = 100, .epoch = 1.0 / 12, .seconds = 4.2, .session_seconds = 4.2, .session_steps = 1};
    ck_assert_ok(graft_journal_train(j, &at, 1.6771893501281738, 0.27334654331207275, 0.0, &err));
    at = (graft_journal_moment){.step = 2, .tokens = 250, .epoch = 2.0 / 12, .seconds = 90065.0, .session_seconds = 8.0, .session_steps = 2};
    ck_assert_ok(graft_journal_train(j, &at, 1.4531277418136597, 0.24984359741210938, 3.3333333333333335e-05, &err));
    ck_assert_ok(graft_journal_eval(j, &at, NULL, 1.5, 2.0, 10, 5, &err));
}

static const char lines[] = "{\"current_steps\": 1, \"total_steps\": 12, \"loss\": 1.6771893501281738, \"lr\": 0.0, \"epoch\": 0.08333333333333333, \"percentage\": 8.33, \"elapsed_time\": \"0:00:04\", \"remaining_time\": \"0:00:46\"}\n"
                            "{\"current_steps\": 2, \"total_steps\": 12, \"loss\": 1.4531277418136597, \"lr\": 3.3333333333333335e-05, \"epoch\": 0.16666666666666666, \"percentage\": 16.67, \"elapsed_time\": \"1 day, 1:01:05\", \"remaining_time\": \"0:00:40\"}\n"
                            "{\"current_steps\": 2, \"total_steps\": 12, \"eval_loss\": 1.5, \"epoch\": 0.16666666666666666, \"percentage\": 16.67, \"elapsed_time\": \"1 day, 1:01:05\", \"remaining_time\": \"0:00:40\"}\n";

START_TEST(log_lines)
{
    const char *out = graft_test_dir("journal");
    graft_journal j;
    ck_assert_ok(graft_journal_new(&j, out, 12, 0, &err));
    write_some(&j);
    expect_text(out, "trainer_log.jsonl", lines);
    expect_text(out, "eval_results.json", "{\n    \"epoch\": 0.16666666666666666,\n    \"eval_loss\": 1.5,\n    \"eval_runtime\": 2.0,\n    \"eval_samples_per_second\": 5.0,\n    \"eval_steps_per_second\": 2.5\n}\n");
    double *steps = NULL, *values = NULL;
    size_t n = 0;
    ck_assert_ok(graft_journal_points(&j, "loss", &steps, &values, &n, &err));
    ck_assert_uint_eq(n, 2);
    ck_assert_double_eq(steps[1], 2);
    ck_assert_double_eq(values[1], 1.4531277418136597);
    graft_free(steps);
    graft_free(values);
    graft_journal_free(&j);
}
END_TEST

START_TEST(counted_tokens_and_end)
{
    const char *out = graft_test_dir("journal-end");
    const graft_train_result r = {.train_loss = 1.25, .runtime = 27.03714, .samples_per_s = 1.77528, .steps_per_s = 0.44382};
    const graft_journal_moment at = {.step = 12, .tokens = 1000, .epoch = 1.0, .seconds = 27.5, .session_seconds = 27.5, .session_steps = 12};
    graft_journal j;
    ck_assert_ok(graft_journal_new(&j, out, 12, 1, &err));
    ck_assert_ok(graft_journal_end(&j, &at, &r, 4761492387840.0, &err));
    expect_text(out, "trainer_log.jsonl", "{\"current_steps\": 12, \"total_steps\": 12, \"epoch\": 1.0, \"percentage\": 100.0, \"elapsed_time\": \"0:00:27\", \"remaining_time\": \"0:00:00\", \"throughput\": 36.36, \"total_tokens\": 1000}\n");
    const char *want = "{\n    \"epoch\": 1.0,\n    \"num_input_tokens_seen\": 1000,\n    \"total_flos\": 4761492387840.0,\n    \"train_loss\": 1.25,\n    \"train_runtime\": 27.0371,\n    \"train_samples_per_second\": 1.775,\n    \"train_steps_per_second\": 0.444\n}\n";
    expect_text(out, "train_results.json", want);
    expect_text(out, "all_results.json", want);
    ck_assert_ok(graft_journal_eval(&j, &at, NULL, 2.0, 1.0, 4, 2, &err)); /* all_results is the union */
    char *all = text_of(out, "all_results.json");
    ck_assert_ptr_nonnull(strstr(all, "\"eval_loss\": 2.0"));
    ck_assert_ptr_nonnull(strstr(all, "\"train_loss\": 1.25"));
    graft_free(all);
    graft_journal_free(&j);
}
END_TEST

START_TEST(state_goes_through_a_checkpoint)
{
    char *keep = strdup(graft_test_dir("journal-checkpoint"));
    const char *out = graft_test_dir("journal-out");
    const graft_journal_moment at = {.step = 2, .epoch = 2.0 / 12};
    graft_journal j, again;
    ck_assert_ok(graft_journal_new(&j, out, 12, 0, &err));
    write_some(&j);
    for (int i = 0; i < 3; i++) ck_assert_ok(graft_journal_save(&j, keep, &options, &at, 5.0, &err)); /* often */
    char *first = text_of(keep, "trainer_state.json");
    ck_assert_ptr_nonnull(strstr(first, "\"logging_steps\": 1,"));
    ck_assert_ptr_nonnull(strstr(first, "\"max_steps\": 12,"));
    ck_assert_ptr_nonnull(strstr(first, "\"trial_params\": null\n}\n"));
    write_some(&j); /* what the killed run wrote after its last checkpoint */
    graft_journal_free(&j);
    ck_assert_ok(graft_journal_new(&again, out, 12, 0, &err));
    ck_assert_ok(graft_journal_resume(&again, keep, &err));
    expect_text(out, "trainer_log.jsonl", lines); /* is cut off */
    ck_assert_ok(graft_journal_save(&again, out, &options, &at, 5.0, &err));
    expect_text(out, "trainer_state.json", first);
    graft_journal_free(&again);
    graft_free(first);
    free(keep);
}
END_TEST

START_TEST(damaged_state)
{
    const char *keep = graft_test_dir("journal-damaged");
    graft_journal j;
    ck_assert_ok(graft_journal_new(&j, keep, 12, 0, &err));
    ck_assert_int_ne(graft_journal_resume(&j, keep, &err), GRAFT_OK); /* nothing there */
    char *path = graft_path_join(keep, "trainer_state.json");
    ck_assert_ok(graft_file_replace(path, "{\"log_history\": 3}", 18, &err));
    ck_assert_int_eq(graft_journal_resume(&j, keep, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "expected a list at log_history");
    graft_free(path);
    graft_journal_free(&j);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, log_lines);
    tcase_add_test(tc, counted_tokens_and_end);
    tcase_add_test(tc, state_goes_through_a_checkpoint);
    tcase_add_test(tc, damaged_state);
}

int main(void) { return graft_test_main("journal", cases); }
