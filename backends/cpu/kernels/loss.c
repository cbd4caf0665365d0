/* loss.c - the head and the cross-entropy in one op, over blocks of R labelled rows: logits of one block at a time, transposed [V, R], so that
 * the softmax runs down columns with a row of the batch in each lane, and the block is the k-major operand of both gradients.
 *
 *   zT = scale head hidden^T    nll = logsumexp(z) - z[label]    dz = weight (softmax(z) - onehot) (times the softcap's slope)
 *   dhidden = scale dz head     dhead = scale dz^T hidden + base
 *
 * Each column's sum is taken over blocks of SLICE vocabulary rows, which are joined in order. */
#include "gemm.h"
#include "map.h"

enum { SLICE = 512,
       LOGIT_BYTES = 96 << 20,
       R_LEAST = 64,
       R_MOST = 512 };

typedef struct loss {
    cpu_call *call;
    const float *hidden, *weight, *base;
    const void *head;
    graft_dtype thead;
    const int32_t *labels;
    float *nll, *dhidden, *dhead;
    int64_t L, V, d, R; /* R: rows of a block, a multiple of NR */
    int64_t row, n;     /* this block: rows row .. row + n */
    int64_t slices;
    float softcap, scale;
    float *z;         /* [V, R] */
    float *top, *sum; /* [slices, R] */
    float *lse;       /* [R] */
} loss;

static int64_t block_rows(int64_t L, int64_t V)
{
    const int64_t by_bytes = LOGIT_BYTES / 4 / (V > 0 ? V : 1) / NR * NR;
    const int64_t room = most(R_LEAST, least(R_MOST, by_bytes)), blocks = most(1, (L + room - 1) / room);
    return most(NR, round_up((L + blocks - 1) / blocks, NR));
}

INLINE vf cap(vf z, float softcap) { return softcap > 0.0f ? v_tanh(z / softcap) * softcap : z; }

/* Pass 1 of a slice: maximum and sum of exponentials of each column. Capped logits replace the raw ones. */
static void measure(void *ctx, int64_t slice, int thread)
{
    (void)thread;
    const loss *l = ctx;
    const int64_t first = slice * SLICE, end = least(l->V, first + SLICE);
    for (int64_t j = 0; j < l->R; j += VW) {
        vf top = v_set(-__builtin_inff()), sum[2] = {{0}, {0}};
        for (int64_t v = first; v < end; v++) {
            float *at = l->z + v * l->R + j;
            const vf z = cap(v_load(at), l->softcap);
            if (l->softcap > 0.0f) v_store(at, z);
            top = v_max(top, z);
        }
        for (int64_t v = first; v < end; v++) sum[v & 1] = sum[v & 1] + v_exp_small(v_load(l->z + v * l->R + j) - top);
        v_store(l->top + slice * l->R + j, top);
        v_store(l->sum + slice * l->R + j, sum[0] + sum[1]);
    }
}

/* Joins the slices: lse and nll of the block's rows. */
static void join(const loss *l)
{
    for (int64_t j = 0; j < l->R; j += VW) {
        vf top = v_set(-__builtin_inff()), sum = {0};
        for (int64_t s = 0; s < l->slices; s++) top = v_max(top, v_load(l->top + s * l->R + j));
        for (int64_t s = 0; s < l->slices; s++) sum = v_fma(v_exp_small(v_load(l->top + s * l->R + j) - top), v_load(l->sum + s * l->R + j), sum);
        v_store(l->lse + j, top + v_log(sum));
    }
    for (int64_t i = 0; i < l->n; i++) {
        const int32_t label = l->labels[l->row + i];
        l->nll[l->row + i] = label < 0 ? 0.0f : l->lse[i] - l->z[label * l->R + i];
    }
}

/* Pass 2 of a slice: logits become dz. The label's own entry is set right after, by its slice. */
static void differentiate(void *ctx, int64_t slice, int thread)
{
    (void)thread;
    const loss *l = ctx;
    const int64_t first = slice * SLICE, end = least(l->V, first + SLICE);
    float weight[R_MOST];
    for (int64_t i = 0; i < l->R; i++) weight[i] = i < l->n && l->labels[l->row + i] >= 0 ? l->weight[l->row + i] : 0.0f;
    float capped[R_MOST];
    for (int64_t i = 0; i < l->n; i++) {
        const int32_t label = l->labels[l->row + i];
        if (label >= first && label < end) capped[i] = l->z[label * l->R + i];
    }
    const float inverse = l->softcap > 0.0f ? 1.0f / l->softcap : 0.0f;
    for (int64_t v = first; v < end; v++)
        for (int64_t j = 0; j < l->R; j += VW) {
            float *at = l->z + v * l->R + j;
            const vf z = v_load(at), p = v_exp_small(z - v_load(l->lse + j)), w = v_load(weight + j);
            const vf dz = l->softcap > 0.0f ? p * w * (1.0f - z * inverse * (z * inverse)) : p * w;
            v_store(at, v_select(w != 0.0f, dz, v_set(0.0f)));
        }
    for (int64_t i = 0; i < l->n; i++) {
        const int32_t label = l->labels[l->row + i];
        if (label < first || label >= end || weight[i] == 0.0f) continue;
        const float slope = 1.0f - capped[i] * inverse * (capped[i] * inverse);
        l->z[label * l->R + i] -= weight[i] * slope;
    }
}

static void block(loss *l)
{
    const float *hidden = l->hidden + l->row * l->d;
    gemm g = {.m = l->V, .n = l->n, .terms = 1, .c = l->z, .ldc = l->R};
    g.t[0] = (term){.a = l->head, .lda = l->d, .ta = l->thead, .b = hidden, .ldb = l->d, .tb = GRAFT_F32, .trans_b = 1, .k = l->d, .alpha = l->scale};
    K(gemm_run)
    (l->call, &g);
    cpu_pool_run(l->call->pool, l->slices, measure, l);
    join(l);
    if (!l->dhidden && !l->dhead) return;
    cpu_pool_run(l->call->pool, l->slices, differentiate, l);
    if (l->dhidden) {
        g = (gemm){.m = l->n, .n = l->d, .terms = 1, .c = l->dhidden + l->row * l->d, .ldc = l->d};
        g.t[0] = (term){.a = l->z, .lda = l->R, .ta = GRAFT_F32, .trans_a = 1, .b = l->head, .ldb = l->d, .tb = l->thead, .k = l->V, .alpha = l->scale};
        K(gemm_run)
        (l->call, &g);
    }
    if (l->dhead) {
        g = (gemm){.m = l->V, .n = l->d, .terms = 1, .c = l->dhead, .ldc = l->d, .base = l->row ? l->dhead : l->base, .ldbase = l->d};
        g.t[0] = (term){.a = l->z, .lda = l->R, .ta = GRAFT_F32, .b = hidden, .ldb = l->d, .tb = GRAFT_F32, .k = l->n, .alpha = l->scale};
        K(gemm_run)
        (l->call, &g);
    }
}

/* Where things lie in the workspace: first what gemm needs, then z, top, sum, lse, and nll when nobody reads it. Returns the bytes. */
static int64_t lay_out(loss *l, char *work)
{
    cpu_room r = {0, 0, 0};
    K(gemm_room)
    (most(l->V, R_MOST), most(l->d, R_MOST), most(l->V, most(l->d, R_MOST)), &r);
    l->slices = (l->V + SLICE - 1) / SLICE;
    const int64_t widest = most(R_LEAST, most(NR, least(R_MOST, LOGIT_BYTES / 4 / most(1, l->V) / NR * NR)));
    const int64_t rows = round_up(least(widest, most(1, l->L)), NR);
    int64_t at = round_up(r.work, 64);
    l->z = (float *)(void *)(work + at), at += l->V * rows * 4;
    l->top = (float *)(void *)(work + at), at += l->slices * rows * 4;
    l->sum = (float *)(void *)(work + at), at += l->slices * rows * 4;
    l->lse = (float *)(void *)(work + at), at += rows * 4;
    if (!l->nll) l->nll = (float *)(void *)(work + at);
    return at + round_up(l->L * 4, 64);
}

static loss loss_of(cpu_call *c)
{
    loss l = {.call = c, .hidden = c->in[0].data, .head = c->in[1].data, .thead = c->in[1].dtype, .labels = c->in[2].data, .weight = c->in[3].data, .L = c->in[0].dims[0], .V = c->in[1].dims[0], .d = c->in[0].dims[1], .softcap = (float)c->attr[0].r, .scale = (float)c->attr[1].r};
    l.base = c->in[4].on ? c->in[4].data : NULL;
    l.nll = c->out[1].on ? c->out[1].data : NULL;
    l.dhidden = c->out[2].on ? c->out[2].data : NULL;
    l.dhead = c->out[3].on ? c->out[3].data : NULL;
    return l;
}

MAP1(span_copy, x)
MAP1(span_zero, (vf)((vi)x & 0))

static graft_status run(cpu_call *c)
{
    loss l = loss_of(c);
    for (int64_t i = 0; i < l.L; i++)
        if (l.labels[i] >= l.V)
            return c->host->fail(c->err, GRAFT_BAD_INPUT, "linear_cross_entropy", "expected labels below %lld, found %d at row %lld", (long long)l.V, l.labels[i], (long long)i);
    lay_out(&l, c->work);
    l.R = block_rows(l.L, l.V);
    for (l.row = 0; l.row < l.L; l.row += l.R) {
        l.n = least(l.R, l.L - l.row);
        block(&l);
    }
    double sum = 0.0;
    for (int64_t i = 0; i < l.L; i++) sum += (double)(l.weight[i] * l.nll[i]);
    if (c->out[0].on) *(float *)c->out[0].data = (float)sum;
    if (!l.L && l.dhead && l.dhead != l.base) {
        map m = {.in = {l.base ? l.base : l.dhead}, .out = {l.dhead}, .n = l.V * l.d, .span = l.base ? span_copy : span_zero};
        map_run(c->pool, &m);
    }
    return GRAFT_OK;
}

static void room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    loss l = loss_of((cpu_call *)(uintptr_t)c);
    l.nll = NULL;
    K(gemm_room)
    (most(l.V, R_MOST), most(l.d, R_MOST), most(l.V, most(l.d, R_MOST)), r);
    r->work = most(r->work, lay_out(&l, NULL));
}

const cpu_op K(ops_loss)[] = {
    {"linear_cross_entropy/1", STORED, {{"softcap", 0}, {"scale", 1}}, run, room},
    {"linear_cross_entropy_train/1", STORED, {{"softcap", 0}, {"scale", 1}}, run, room},
    END_OF_OPS,
};
