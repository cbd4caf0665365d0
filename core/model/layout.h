/* core/model/layout.h - how the files of a model store the weights of its graph: name for name, unless the plugin's table of layouts says otherwise. */
#ifndef CORE_MODEL_LAYOUT_H
#define CORE_MODEL_LAYOUT_H

#include "core/graph/graph.h"
#include "core/model/weights.h"

/* One tensor of a file: a whole weight, or one matrix of a stack. */
typedef struct graft_stored_part {
    const char *name;                 /* the file's                                          */
    int32_t     rank;
    int64_t     dims[GRAFT_MAX_RANK]; /* the file's                                          */
    int         transposed;           /* dims are [in, out], the weight's part is [out, in]  */
    int64_t     first, elements;      /* of the weight                                       */
} graft_stored_part;

/* Number of tensors that hold the weight called leaf. table NULL: no layouts. */
int64_t graft_layout_parts(const graft_model_table *table, const char *leaf, const graft_shape *shape);
/* Part i; names are made in a. 0, or -1 without memory. */
int graft_layout_part(graft_arena *a, const graft_model_table *table, const char *leaf, const graft_shape *shape, int64_t i, graft_stored_part *out);
/* The tensor called name, or, in files that leave it out, name without the table's prefix. NULL: absent. */
const graft_weight_info *graft_layout_find(const graft_weights *w, const graft_model_table *table, const char *name);
/* Does the table say that this tensor of a file is no weight? */
int graft_layout_ignores(const graft_model_table *table, const char *stored);
/* from [rows, columns] to [columns, rows]. */
void graft_layout_transpose(float *to, const float *from, int64_t rows, int64_t columns);

#endif
