/* ops.h - what the files of ops share: the families, and small helpers. */
#ifndef CPU_KERNELS_OPS_H
#define CPU_KERNELS_OPS_H

#include "vec.h"

extern const cpu_op K(ops_matmul)[], K(ops_unary)[], K(ops_binary)[], K(ops_reduce)[], K(ops_movement)[], K(ops_index)[], K(ops_random)[], K(ops_norm)[],
    K(ops_mlp)[], K(ops_rope)[], K(ops_attention)[], K(ops_attention_grad)[], K(ops_moe)[], K(ops_loss)[], K(ops_optim)[];

#define F32    (1u << GRAFT_F32)
#define I32    (1u << GRAFT_I32)
#define FLOATS (F32 | 1u << GRAFT_BF16 | 1u << GRAFT_F16)
#define STORED (FLOATS | 1u << GRAFT_Q4_0 | 1u << GRAFT_Q4_1 | 1u << GRAFT_Q8_0 | 1u << GRAFT_NF4 | 1u << GRAFT_NF4_DOUBLE | 1u << GRAFT_INT8)
#define END_OF_OPS                       \
    {                                    \
        NULL, 0, {{NULL, 0}}, NULL, NULL \
    }

/* Leading axis 0 or 1 of the last-two-axes view: ranks below 4 count as if ones stood in front. */
INLINE int64_t lead(const cpu_arg *a, int axis)
{
    const int i = axis - (4 - a->rank);
    return i >= 0 && i < a->rank - 2 ? a->dims[i] : 1;
}

/* Rows: all axes but the last. */
INLINE int64_t width_of(const cpu_arg *a) { return a->rank ? a->dims[a->rank - 1] : 1; }
INLINE int64_t rows_of(const cpu_arg *a)
{
    int64_t n = 1;
    for (int i = 0; i < a->rank - 1; i++) n *= a->dims[i];
    return n;
}

enum { CHUNK = 16384 }; /* elements of an elementwise unit */
INLINE int64_t chunks(int64_t n) { return (n + CHUNK - 1) / CHUNK; }

/* Rows a unit: about CHUNK elements, by shape alone. */
INLINE int64_t rows_a_unit(int64_t width)
{
    const int64_t n = CHUNK / (width > 0 ? width : 1);
    return n > 0 ? n : 1;
}

#endif
