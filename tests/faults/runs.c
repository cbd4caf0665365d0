/* tests/faults/runs.c - whole runs of the program over the OpenCL driver that computes nothing: a device that is lost in the middle, too small, broken, one of
 * several. */
#include "tests/e2e/world.h"

enum { FIRST_TRY = 200 };

/* The next programs find the fake driver, with this switch set unless value is NULL. */
static void driver_with(const char *name, const char *value)
{
    static const char *const all[] = {"FAKE_CL_DEVICES", "FAKE_CL_MEMORY", "FAKE_CL_LOST_AFTER", "FAKE_CL_BROKEN"};
    setenv("LD_LIBRARY_PATH", GRAFT_BINARY_DIR "/tests/faults", 1);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) unsetenv(all[i]);
    if (value) setenv(name, value, 1);
}

static void driver(long long lost_after)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", lost_after);
    driver_with("FAKE_CL_LOST_AFTER", lost_after ? text : NULL);
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

/* Refused before a weight is read, with what the device has. */
START_TEST(what_cannot_fit_is_refused_before_loading)
{
    make_world("faults-small");
    driver_with("FAKE_CL_MEMORY", "6000000");
    expect_status(1, train());
    expect_said(said_err, "this run needs");
    expect_said(said_err, "the device has 5.72 MiB");
    ck_assert(!graft_path_exists(in_world("out")));
    expect_status(1, graft("plan", in_world("run.yaml"), "--backend", "opencl"));
    expect_said(said_err, "the device has 5.72 MiB");
    driver_with("FAKE_CL_MEMORY", "60000000");
    expect_status(0, graft("plan", in_world("run.yaml"), "--backend", "opencl"));
    static const char *const classes[] = {"weights", "gradients", "optimiser", "activations", "workspace", "together"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) expect_said(said_out, classes[i]);
}
END_TEST

/* The best device declines when it is opened: who chose it is told, who did not gets the next one. */
START_TEST(a_broken_device_gives_way_unless_it_was_named)
{
    make_world("faults-broken");
    driver_with("FAKE_CL_BROKEN", "1");
    expect_status(1, train());
    expect_said(said_err, "clCreateContext");
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "--backend", "auto", "max_steps=1"));
    expect_said(said_err, "backend opencl declined: ");
    ck_assert_ptr_null(strstr(strstr(said_err, "declined: ") + 1, "declined: "));
}
END_TEST

static const graft_json *device_of(const graft_json *backends, int number)
{
    for (const graft_json *b = backends->child; b; b = b->next)
        if (!strcmp(graft_json_get(b, "backend")->text, "opencl") && graft_json_get(b, "device")->integer == number) return b;
    return NULL;
}

START_TEST(doctor_shows_every_device)
{
    graft_arena *a = graft_arena_new();
    const graft_json *top = NULL;
    make_world("faults-doctor");
    driver_with("FAKE_CL_DEVICES", "3");
    expect_status(0, graft("doctor"));
    static const char *const lines[] = {"  520  opencl:0  fake device 0, 1.0 of 1.0 GiB free", "chosen", "  520  opencl:2  fake device 2", "same score as opencl", "measured: ", "OpenCL 1.2 fake, driver 7.5, 20 compute units, fp16\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) expect_said(said_out, lines[i]);
    expect_status(0, graft("doctor", "--json"));
    ck_assert_ok(graft_json_parse(a, "doctor", said_out, strlen(said_out), 0, &top, &err));
    for (int i = 0; i < 3; i++) {
        const graft_json *d = device_of(graft_json_get(top, "backends"), i), *rates = d ? graft_json_get(d, "per_second") : NULL;
        ck_assert_msg(rates != NULL, "device %d is not shown", i);
        ck_assert_int_eq(graft_json_get(d, "score")->integer, 520);
        ck_assert(graft_json_get(d, "verdict")->bytes > 0 && graft_json_get(d, "reason")->bytes > 0);
        ck_assert(graft_json_get(rates, "flops")->number > 0.0 && graft_json_get(rates, "memory_bytes")->number > 0.0 && graft_json_get(rates, "driver")->bytes > 0);
    }
    expect_status(0, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "backend={opencl: {device: 2}}", "max_steps=1"));
    expect_status(1, graft("train", in_world("run.yaml"), "--output_dir", in_world("out"), "backend.opencl.device=3", "max_steps=1"));
    expect_said(said_err, "Backend opencl has no device 3, it has 0 (fake device 0), 1 (fake device 1), 2 (fake device 2). Choose one of them.");
    graft_arena_free(a);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, what_cannot_fit_is_refused_before_loading);
    tcase_add_test(tc, a_broken_device_gives_way_unless_it_was_named);
    tcase_add_test(tc, doctor_shows_every_device);
    tcase_add_test(tc, before_the_first_checkpoint);
    tcase_add_test(tc, after_a_checkpoint_the_same_command_goes_on);
}

int main(void) { return graft_test_main("runs", cases); }
