/* tests/unit/train/plot.c - the smoothing of LLaMA-Factory's curve, and the picture. */
#include "core/train/plot.h"
#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/support/support.h"

#include <cairo.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__ /* fontconfig, behind cairo, keeps its tables until the end */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libfontconfig"; }
const char *__lsan_default_options(void);
const char *__lsan_default_options(void) { return "print_suppressions=0"; }
#endif

static graft_error err = GRAFT_ERROR_INIT;

START_TEST(smoothing)
{
    /* w = 1.8 (1 / (1 + exp(-0.15)) - 0.5) = 0.0673737...: worked out by hand from the published formula */
    const double y[] = {2.0, 1.0, 4.0};
    double out[3];
    graft_plot_smooth(y, 3, out);
    ck_assert_double_eq_tol(out[0], 2.0, 1e-12);
    ck_assert_double_eq_tol(out[1], 1.067373722, 1e-8);
    ck_assert_double_eq_tol(out[2], 3.802418054, 1e-8);
    graft_plot_smooth(y, 0, out); /* nothing to do */
}
END_TEST

/* How many pixels of the curve's blue, and how many of its light form, are in the picture. */
static void count_blue(const char *path, int *strong, int *light)
{
    cairo_surface_t *s = cairo_image_surface_create_from_png(path);
    ck_assert_int_eq(cairo_surface_status(s), CAIRO_STATUS_SUCCESS);
    ck_assert_int_eq(cairo_image_surface_get_width(s), 640);
    ck_assert_int_eq(cairo_image_surface_get_height(s), 480);
    *strong = *light = 0;
    for (int y = 0; y < 480; y++) {
        const uint8_t *row = cairo_image_surface_get_data(s) + y * cairo_image_surface_get_stride(s);
        for (int x = 0; x < 640; x++) {
            const int blue = row[4 * x], green = row[4 * x + 1], red = row[4 * x + 2];
            *strong += abs(red - 0x1f) < 12 && abs(green - 0x77) < 12 && abs(blue - 0xb4) < 12;
            *light += abs(red - 0xa5) < 12 && abs(green - 0xc8) < 12 && abs(blue - 0xe1) < 12;
        }
    }
    cairo_surface_destroy(s);
}

START_TEST(picture)
{
    const char *dir = graft_test_dir("plot");
    char path[4200];
    double steps[50], loss[50];
    int strong, light;
    snprintf(path, sizeof path, "%s/training_loss.png", dir);
    for (int i = 0; i < 50; i++) steps[i] = i + 1, loss[i] = 3.0 / (1 + 0.1 * i) + (i % 2 ? 0.4 : -0.4);
    loss[20] = NAN;
    ck_assert_ok(graft_plot_write(path, "training loss of out", "loss", steps, loss, 20, &err));
    count_blue(path, &strong, &light);
    ck_assert_int_gt(strong, 300);
    ck_assert_int_gt(light, 300);
    ck_assert_ok(graft_plot_write(path, "training loss of out", "loss", steps, loss, 50, &err)); /* a gap */
    ck_assert_ok(graft_plot_write(path, "one point", "loss", steps, loss, 1, &err));
    count_blue(path, &strong, &light);
    ck_assert_int_gt(strong, 0);
    ck_assert_int_eq(graft_plot_write(path, "none", "loss", steps, loss, 0, &err), GRAFT_BAD_INPUT);
    ck_assert_str_eq(err.message, "there is no loss to plot: nothing was logged, lower logging_steps");
    snprintf(path, sizeof path, "%s/absent/training_loss.png", dir);
    ck_assert_int_ne(graft_plot_write(path, "t", "loss", steps, loss, 5, &err), GRAFT_OK);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, smoothing);
    tcase_add_test(tc, picture);
}

int main(void) { return graft_test_main("plot", cases); }
