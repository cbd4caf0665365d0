/* table.c - every op of this instruction set. A new family: a file, a line in ops.h, a line here. */
#include "gemm.h"
#include "ops.h"

static const cpu_op *const families[] = {
    K(ops_matmul),
    K(ops_unary),
    K(ops_binary),
    K(ops_reduce),
    K(ops_movement),
    K(ops_index),
    K(ops_random),
    K(ops_norm),
    K(ops_mlp),
    K(ops_rope),
    K(ops_attention),
    K(ops_attention_grad),
    K(ops_moe),
    K(ops_loss),
    K(ops_optim),
    NULL,
};

const cpu_kernels K(cpu_kernels) = {families, K(gemm_spin), GEMM_SPIN_BYTES};
