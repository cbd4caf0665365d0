/* core/train/plot.c - see plot.h. Drawn with cairo; the file is written by the house's own writer, so that its errors are ours. */
#include "core/train/plot.h"

#include "core/base/arena.h"
#include "core/base/error.h"
#include "core/base/file.h"

#include <cairo.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 640,
       HEIGHT = 480,
       LEFT = 80,
       RIGHT = 64,
       TOP = 58,
       BOTTOM = 53 };

void graft_plot_smooth(const double *y, size_t n, double *out)
{
    const double w = 1.8 * (1.0 / (1.0 + exp(-0.05 * (double)n)) - 0.5);
    double last = n ? y[0] : 0.0;
    for (size_t i = 0; i < n; i++) out[i] = last = last * w + (1.0 - w) * y[i];
}

typedef struct plot {
    cairo_t *c;
    double x0, x1, y0, y1; /* data range */
} plot;

static double across(const plot *p, double x) { return LEFT + (x - p->x0) / (p->x1 - p->x0) * (WIDTH - LEFT - RIGHT); }
static double down(const plot *p, double y) { return HEIGHT - BOTTOM - (y - p->y0) / (p->y1 - p->y0) * (HEIGHT - TOP - BOTTOM); }

/* 1, 2 or 5 times a power of ten: about `parts` ticks over the range. */
static double tick_step(double range, int parts)
{
    const double raw = range / parts, power = pow(10.0, floor(log10(raw))), f = raw / power;
    return power * (f <= 1.0 ? 1.0 : f <= 2.0 ? 2.0
                                 : f <= 5.0   ? 5.0
                                              : 10.0);
}

static void text_at(cairo_t *c, double x, double y, double align_x, double align_y, const char *text)
{
    cairo_text_extents_t e;
    cairo_text_extents(c, text, &e);
    cairo_move_to(c, x - align_x * e.width - e.x_bearing, y - align_y * e.height - e.y_bearing);
    cairo_show_text(c, text);
}

static void axes(plot *p, const char *title, const char *below, const char *key)
{
    cairo_t *c = p->c;
    char label[64];
    cairo_set_source_rgb(c, 0, 0, 0);
    cairo_set_line_width(c, 0.8);
    cairo_rectangle(c, LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    cairo_stroke(c);
    cairo_set_font_size(c, 13);
    const double sx = fmax(1.0, tick_step(p->x1 - p->x0, 7)), sy = tick_step(p->y1 - p->y0, 7);
    for (double x = ceil(p->x0 / sx) * sx; x <= p->x1 + 1e-9 * sx; x += sx) {
        snprintf(label, sizeof label, "%.10g", fabs(x) < 1e-9 * sx ? 0.0 : x);
        cairo_move_to(c, across(p, x), HEIGHT - BOTTOM);
        cairo_rel_line_to(c, 0, 4);
        cairo_stroke(c);
        text_at(c, across(p, x), HEIGHT - BOTTOM + 8, 0.5, 0, label);
    }
    for (double y = ceil(p->y0 / sy) * sy; y <= p->y1 + 1e-9 * sy; y += sy) {
        snprintf(label, sizeof label, "%.6g", fabs(y) < 1e-9 * sy ? 0.0 : y);
        cairo_move_to(c, LEFT, down(p, y));
        cairo_rel_line_to(c, -4, 0);
        cairo_stroke(c);
        text_at(c, LEFT - 8, down(p, y), 1, 0.5, label);
    }
    text_at(c, LEFT + (WIDTH - LEFT - RIGHT) / 2.0, HEIGHT - 18, 0.5, 0.5, below);
    cairo_save(c);
    cairo_translate(c, 20, TOP + (HEIGHT - TOP - BOTTOM) / 2.0);
    cairo_rotate(c, -M_PI / 2);
    text_at(c, 0, 0, 0.5, 0.5, key);
    cairo_restore(c);
    double size = 15;
    cairo_text_extents_t e;
    do {
        cairo_set_font_size(c, size);
        cairo_text_extents(c, title, &e);
    } while (e.width > WIDTH - 20 && (size -= 1) > 6);
    text_at(c, LEFT + (WIDTH - LEFT - RIGHT) / 2.0, TOP - 16, 0.5, 0.5, title);
}

static void curve(plot *p, const double *x, const double *y, size_t n, double alpha)
{
    int pen = 0, alone = 0;
    cairo_set_source_rgba(p->c, 0x1f / 255.0, 0x77 / 255.0, 0xb4 / 255.0, alpha);
    cairo_set_line_width(p->c, 2);
    cairo_set_line_join(p->c, CAIRO_LINE_JOIN_ROUND);
    cairo_set_line_cap(p->c, CAIRO_LINE_CAP_ROUND); /* a single point is a dot */
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(y[i])) {
            pen = 0;
            continue;
        }
        if (pen) cairo_line_to(p->c, across(p, x[i]), down(p, y[i]));
        else cairo_move_to(p->c, across(p, x[i]), down(p, y[i]));
        alone = !pen && (i + 1 == n || !isfinite(y[i + 1]));
        if (alone) cairo_rel_line_to(p->c, 0, 0);
        pen = 1;
    }
    cairo_stroke(p->c);
}

static void legend(cairo_t *c)
{
    const double x = WIDTH - RIGHT - 124, y = TOP + 10;
    cairo_set_source_rgba(c, 1, 1, 1, 0.8);
    cairo_rectangle(c, x, y, 114, 46);
    cairo_fill_preserve(c);
    cairo_set_source_rgb(c, 0.8, 0.8, 0.8);
    cairo_set_line_width(c, 1);
    cairo_stroke(c);
    cairo_set_font_size(c, 13);
    for (int i = 0; i < 2; i++) {
        cairo_set_source_rgba(c, 0x1f / 255.0, 0x77 / 255.0, 0xb4 / 255.0, i ? 1.0 : 0.4);
        cairo_set_line_width(c, 2);
        cairo_move_to(c, x + 8, y + 14 + 19 * i);
        cairo_rel_line_to(c, 24, 0);
        cairo_stroke(c);
        cairo_set_source_rgb(c, 0, 0, 0);
        cairo_move_to(c, x + 40, y + 18.5 + 19 * i);
        cairo_show_text(c, i ? "smoothed" : "original");
    }
}

static void range(const double *v, size_t n, double margin, double *low, double *high)
{
    *low = INFINITY, *high = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (isfinite(v[i])) *low = fmin(*low, v[i]), *high = fmax(*high, v[i]);
    if (*low > *high) *low = 0, *high = 1;
    const double wide = *high - *low > 1e-12 * fabs(*high) ? margin * (*high - *low) : fmax(0.05 * fabs(*high), 0.05);
    *low -= wide, *high += wide;
}

typedef struct sink {
    graft_file *file;
    graft_error *err;
    graft_status status;
} sink;

static cairo_status_t to_file(void *ctx, const unsigned char *data, unsigned int bytes)
{
    sink *s = ctx;
    s->status = graft_file_write(s->file, data, bytes, s->err);
    return s->status ? CAIRO_STATUS_WRITE_ERROR : CAIRO_STATUS_SUCCESS;
}

static graft_status save(cairo_surface_t *surface, const char *path, graft_error *err)
{
    sink s = {.err = err};
    s.status = graft_file_create(&s.file, path, err);
    if (s.status) return s.status;
    if (cairo_surface_write_to_png_stream(surface, to_file, &s) && !s.status) s.status = graft_fail(err, GRAFT_INTERNAL, path, "the picture could not be encoded");
    if (s.status) graft_file_abandon(s.file);
    else s.status = graft_file_finish(s.file, err);
    return s.status;
}

graft_status graft_plot_write(const char *path, const char *title, const char *key, const double *steps, const double *y, size_t n, graft_error *err)
{
    if (!n) return graft_fail(err, GRAFT_BAD_INPUT, path, "there is no %s to plot: nothing was logged, lower logging_steps", key);
    graft_status status = GRAFT_OK;
    double *smooth = graft_calloc(n, sizeof *smooth);
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, WIDTH, HEIGHT);
    plot p = {.c = cairo_create(surface)};
    if (!smooth || cairo_status(p.c)) {
        status = graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to draw the curve");
        goto out;
    }
    graft_plot_smooth(y, n, smooth);
    range(steps, n, 0.05, &p.x0, &p.x1);
    range(y, n, 0.05, &p.y0, &p.y1);
    cairo_set_source_rgb(p.c, 1, 1, 1);
    cairo_paint(p.c);
    cairo_select_font_face(p.c, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    axes(&p, title, "step", key);
    curve(&p, steps, y, n, 0.4);
    curve(&p, steps, smooth, n, 1.0);
    legend(p.c);
    status = save(surface, path, err);
out:
    cairo_destroy(p.c);
    cairo_surface_destroy(surface);
    graft_free(smooth);
    return status;
}

graft_status graft_plot_bars(const char *path, const char *title, const char *below, const char *key, double width, const int64_t *counts, size_t n, graft_error *err)
{
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, WIDTH, HEIGHT);
    plot p = {.c = cairo_create(surface), .x1 = width * (double)(n ? n : 1), .y1 = 1};
    for (size_t i = 0; i < n; i++) p.y1 = fmax(p.y1, 1.05 * (double)counts[i]);
    graft_status status = cairo_status(p.c) ? graft_fail(err, GRAFT_NO_MEMORY, path, "no memory to draw") : GRAFT_OK;
    if (!status) {
        cairo_set_source_rgb(p.c, 1, 1, 1);
        cairo_paint(p.c);
        cairo_select_font_face(p.c, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
        cairo_set_source_rgb(p.c, 0x1f / 255.0, 0x77 / 255.0, 0xb4 / 255.0);
        for (size_t i = 0; i < n; i++) cairo_rectangle(p.c, across(&p, width * (double)i) + 0.5, down(&p, (double)counts[i]), across(&p, width) - across(&p, 0) - 1, down(&p, 0) - down(&p, (double)counts[i]));
        cairo_fill(p.c);
        axes(&p, title, below, key);
        status = save(surface, path, err);
    }
    cairo_destroy(p.c);
    cairo_surface_destroy(surface);
    return status;
}
