/* core/train/plot.h - a curve of the log as a PNG, original and smoothed, as LLaMA-Factory draws it. */
#ifndef CORE_TRAIN_PLOT_H
#define CORE_TRAIN_PLOT_H

#include "graft/base.h"

/* Exponential smoothing whose weight grows with the number of points: w = 1.8 (1 / (1 + exp(-0.05 n)) - 0.5). out[n]; out may be y. */
void graft_plot_smooth(const double *y, size_t n, double *out);

/* 640 x 480. key: "loss", the label of the y axis. Points that are not finite leave a gap. n 0 is an error. */
graft_status graft_plot_write(const char *path, const char *title, const char *key, const double *steps, const double *y, size_t n, graft_error *err);

/* counts[n] as bars over 0, width, 2 width ...: a histogram. below, key: labels of the axes. */
graft_status graft_plot_bars(const char *path, const char *title, const char *below, const char *key, double width, const int64_t *counts, size_t n, graft_error *err);

#endif
