/* box.h - walking tensors of rank <= 4 with strides: equal neighbours are merged first, so that most walks are one or two axes long. */
#ifndef CPU_KERNELS_BOX_H
#define CPU_KERNELS_BOX_H

#include "ops.h"

enum { BOX_PARTS = 4 };

/* Axis 3 is the inner one. step[p][i]: elements of part p between neighbours on axis i; 0 repeats. Part 0 is the result. */
typedef struct box {
    int parts;
    int64_t dims[4], step[BOX_PARTS][4];
} box;

/* Axes of a, aligned at the right, against out's: step 0 where a has size 1 and out has not. */
static inline void box_part(box *b, int part, const cpu_arg *a)
{
    int64_t step = 1;
    for (int i = 3; i >= 0; i--) {
        const int axis = i - (4 - a->rank);
        const int64_t dim = axis >= 0 ? a->dims[axis] : 1;
        b->step[part][i] = dim == 1 ? 0 : step;
        step *= dim;
    }
}

static inline box box_of(const cpu_arg *out)
{
    box b = {.parts = 1};
    for (int i = 0; i < 4; i++) b.dims[i] = i - (4 - out->rank) >= 0 ? out->dims[i - (4 - out->rank)] : 1;
    box_part(&b, 0, out);
    return b;
}

/* Drops axes of size 1 and joins neighbours that every part runs through without a jump; what is left stands at the right. */
static inline void box_merge(box *b)
{
    box m = {.parts = b->parts};
    int n = 0;
    for (int i = 0; i < 4; i++) {
        if (b->dims[i] == 1) continue;
        int joins = n > 0;
        for (int p = 0; p < b->parts && joins; p++) joins = m.step[p][n - 1] == b->step[p][i] * b->dims[i];
        if (!joins) m.dims[n++] = 1;
        m.dims[n - 1] *= b->dims[i];
        for (int p = 0; p < b->parts; p++) m.step[p][n - 1] = b->step[p][i];
    }
    for (int i = 3; i >= 0; i--) {
        const int from = i - (4 - n);
        b->dims[i] = from >= 0 ? m.dims[from] : 1;
        for (int p = 0; p < b->parts; p++) b->step[p][i] = from >= 0 ? m.step[p][from] : 0;
    }
}

typedef struct box_work box_work;
struct box_work {
    box b;
    int64_t rows, per_unit, cuts; /* rows: all but the inner axis; either per_unit rows a unit, or cuts units a row */
    void *data[BOX_PARTS];
    int64_t size;                                                            /* bytes an element, where a span asks */
    void (*span)(const box_work *w, const int64_t at[BOX_PARTS], int64_t n); /* n elements of the inner axis from offsets at */
};

static inline void box_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const box_work *w = ctx;
    const box *b = &w->b;
    const int64_t first = unit / w->cuts * w->per_unit, cut = unit % w->cuts, end = first + w->per_unit < w->rows ? first + w->per_unit : w->rows;
    const int64_t begin = cut * CHUNK, n = w->cuts == 1 ? b->dims[3] : (b->dims[3] - begin < CHUNK ? b->dims[3] - begin : CHUNK);
    for (int64_t row = first; row < end; row++) {
        const int64_t i2 = row % b->dims[2], i1 = row / b->dims[2] % b->dims[1], i0 = row / b->dims[2] / b->dims[1];
        int64_t at[BOX_PARTS];
        for (int p = 0; p < b->parts; p++) at[p] = i0 * b->step[p][0] + i1 * b->step[p][1] + i2 * b->step[p][2] + begin * b->step[p][3];
        w->span(w, at, n);
    }
}

static inline void box_run(cpu_pool *pool, box_work *w)
{
    box_merge(&w->b);
    const box *b = &w->b;
    w->rows = b->dims[0] * b->dims[1] * b->dims[2];
    if (w->rows == 0 || b->dims[3] == 0) return;
    w->cuts = (b->dims[3] + CHUNK - 1) / CHUNK;
    w->per_unit = w->cuts > 1 ? 1 : rows_a_unit(b->dims[3]);
    cpu_pool_run(pool, (w->rows + w->per_unit - 1) / w->per_unit * w->cuts, box_unit, w);
}

#endif
