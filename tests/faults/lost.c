/* tests/faults/lost.c - whole runs of the program over the OpenCL driver that computes nothing: the device is lost in the middle, and the same command goes on
 * from the last checkpoint. */
#include "tests/e2e/world.h"

enum { FIRST_TRY = 200 };

static void driver(long long lost_after)
{
    char text[32];
    setenv("LD_LIBRARY_PATH", GRAFT_BINARY_DIR "/tests/faults", 1);
    snprintf(text, sizeof text, "%lld", lost_after);
    if (lost_after) setenv("FAKE_CL_LOST_AFTER", text, 1);
    else unsetenv("FAKE_CL_LOST_AFTER");
}

static int train(void) { return graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "--backend", "opencl", "save_steps=2", "max_steps=6", "plot_loss=false"); }

START_TEST(before_the_first_checkpoint)
{
    make_world("lost-early");
    driver(FIRST_TRY);
    expect_status(1, train());
    expect_said(said_err, "the device is lost: this was in update 1, before a first checkpoint");
}
END_TEST

START_TEST(after_a_checkpoint_the_same_command_goes_on)
{
    make_world("lost-late");
    int failed = 0;
    for (long long n = 2 * FIRST_TRY; n < 400 * FIRST_TRY && !failed; n += n / 2) {
        driver(n);
        failed = train() == 1 && strstr(said_err, "the same command goes on from") != NULL;
        ck_assert_msg(failed || strstr(said_err, "before a first checkpoint"), "lost after %lld launches:\n%s", n, said_err);
    }
    ck_assert_msg(failed, "no loss after a checkpoint");
    expect_said(said_err, "checkpoint-");
    ck_assert_msg(!graft_path_exists(in_world("out/checkpoint-6")), "the run had ended");
    driver(0);
    expect_status(0, train());
    ck_assert(graft_path_exists(in_world("out/checkpoint-6")));
    expect_said(said_err, "checkpoint-");
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, before_the_first_checkpoint);
    tcase_add_test(tc, after_a_checkpoint_the_same_command_goes_on);
}

int main(void) { return graft_test_main("lost", cases); }
