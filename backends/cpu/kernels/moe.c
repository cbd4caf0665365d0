/* moe.c - routed experts. The assignments of a call are sorted by expert (counting sort, stable), their rows gathered, so that each expert is one
 * matrix product over rows that lie together; what it gives is put back to its assignment.
 *
 *   ids [T, k] --> order: assignment of each place    x [T, k or 1, p] --> rows [T k, p] --(w of each expert)--> [T k, q] --> y [T, k, q]
 */
#include "gemm.h"
#include "ops.h"

enum { ROWS = 16 }; /* a unit of gather and scatter */

/* ---- the largest k of a row ------------------------------------------------------------------------------------------------------------------ */
static int topk_row(const float *row, int64_t n, int64_t k, float *values, int32_t *indices)
{
    float last = 0.0f;
    int64_t before = -1; /* the last one taken: what comes next is smaller, or equal and further right */
    for (int64_t j = 0; j < k; j++) {
        int64_t best = -1;
        for (int64_t e = 0; e < n; e++) {
            const int open = before < 0 || row[e] < last || (row[e] == last && e > before);
            if (open && (best < 0 || row[e] > row[best])) best = e;
        }
        if (best < 0) return -1;
        last = row[best], before = best;
        if (values) values[j] = last;
        if (indices) indices[j] = (int32_t)best;
    }
    return 0;
}

static graft_status topk(cpu_call *c)
{
    const int64_t n = width_of(&c->in[0]), k = c->attr[0].i;
    for (int64_t t = 0; t < rows_of(&c->in[0]); t++) {
        float *values = c->out[0].on ? (float *)c->out[0].data + t * k : NULL;
        int32_t *indices = c->out[1].on ? (int32_t *)c->out[1].data + t * k : NULL;
        if (topk_row((const float *)c->in[0].data + t * n, n, k, values, indices))
            return c->host->fail(c->err, GRAFT_BAD_INPUT, "topk/1", "row %lld has numbers that cannot be ordered", (long long)t);
    }
    return GRAFT_OK;
}

/* ---- sorting by expert ------------------------------------------------------------------------------------------------------------------------- */
typedef struct routed {
    const cpu_call *call;
    int64_t n, k, experts;
    int32_t *first; /* [experts + 1] expert e has the places first[e] .. first[e + 1] - 1; negative ids come last */
    int32_t *order; /* [n] the assignment of each place */
    float *rows[2]; /* [n, width] gathered */
    int64_t width[2];
    const cpu_arg *from[2]; /* gathered from [T, k or 1, width], or scattered to */
    int outer;              /* the product of an expert is dy^T x instead of x w^T */
    int transposed;
} routed;

static int64_t aligned(int64_t bytes) { return round_up(bytes, 64); }

/* What the products of one call need; mine lies behind it. */
static cpu_room product_room(int64_t n, int64_t p, int64_t q)
{
    cpu_room r = {0, 0, 0};
    K(gemm_room)
    (n, q, p, &r);
    K(gemm_room)
    (q, p, n, &r);
    return r;
}

static int64_t my_bytes(int64_t n, int64_t experts, int64_t p, int64_t q) { return aligned((experts + 2) * 4) + aligned(n * 4) + aligned(n * p * 4) + aligned(n * q * 4); }

/* Counting sort; places the arrays in the workspace. */
static graft_status sort(routed *m, const cpu_call *c, const cpu_arg *ids, int64_t experts, const char *op)
{
    const int32_t *id = ids->data;
    m->call = c, m->n = ids->n, m->k = ids->dims[1], m->experts = experts;
    char *at = c->work + aligned(product_room(m->n, m->width[0], m->width[1]).work);
    m->first = (int32_t *)(void *)at, at += aligned((experts + 2) * 4);
    m->order = (int32_t *)(void *)at, at += aligned(m->n * 4);
    m->rows[0] = (float *)(void *)at, at += aligned(m->n * m->width[0] * 4);
    m->rows[1] = (float *)(void *)at;
    int32_t *count = m->first + 1; /* the start of expert e stands at first[e] when all is counted */
    memset(m->first, 0, (size_t)(experts + 2) * sizeof *m->first);
    for (int64_t i = 0; i < m->n; i++) {
        if (id[i] >= experts) return c->host->fail(c->err, GRAFT_BAD_INPUT, op, "expected expert numbers below %lld, found %d at place %lld", (long long)experts, id[i], (long long)i);
        count[id[i] < 0 ? experts : id[i]]++;
    }
    for (int64_t e = 1; e <= experts; e++) count[e] += count[e - 1];
    int32_t none = m->first[experts];
    for (int64_t i = 0; i < m->n; i++) m->order[id[i] < 0 ? none++ : m->first[id[i]]++] = (int32_t)i; /* first[e] becomes the end of e */
    for (int64_t e = experts; e > 0; e--) m->first[e] = m->first[e - 1];
    m->first[0] = 0;
    return GRAFT_OK;
}

static float *row_of(const cpu_arg *x, int64_t assignment, int64_t k) { return (float *)x->data + (x->dims[1] == k ? assignment : assignment / k) * x->dims[2]; }

static void gather_unit(void *ctx, int64_t unit, int thread)
{
    const routed *m = ctx;
    (void)thread;
    for (int64_t i = unit * ROWS; i < m->first[m->experts] && i < (unit + 1) * ROWS; i++)
        for (int side = 0; side < 2; side++)
            if (m->from[side]) memcpy(m->rows[side] + i * m->width[side], row_of(m->from[side], m->order[i], m->k), (size_t)m->width[side] * sizeof(float));
}

static void scatter_unit(void *ctx, int64_t unit, int thread)
{
    const routed *m = ctx;
    const cpu_arg *y = &m->call->out[0];
    (void)thread;
    for (int64_t i = unit * ROWS; i < m->n && i < (unit + 1) * ROWS; i++) {
        float *to = row_of(y, m->order[i], m->k);
        if (i < m->first[m->experts]) memcpy(to, m->rows[1] + i * m->width[1], (size_t)m->width[1] * sizeof(float));
        else memset(to, 0, (size_t)m->width[1] * sizeof(float));
    }
}

/* ---- one product an expert --------------------------------------------------------------------------------------------------------------------- */
static gemm product(const routed *m, int64_t e)
{
    const cpu_call *c = m->call;
    const int64_t first = m->first[e], rows = m->first[e + 1] - first, p = m->width[0], q = m->width[1];
    if (m->outer) { /* dw [q, p] = dy^T [q, rows] x [rows, p]; rows[0] is x, rows[1] is dy */
        const int64_t at = e * p * q;
        const term t = {.a = m->rows[1] + first * q, .b = m->rows[0] + first * p, .lda = q, .ldb = p, .k = rows, .ta = GRAFT_F32, .tb = GRAFT_F32, .trans_a = 1, .alpha = 1.0f};
        return (gemm){.m = q, .n = p, .terms = 1, .t = {t}, .c = (float *)c->out[0].data + at, .ldc = p, .ldbase = p, .base = c->in[3].on ? (const float *)c->in[3].data + at : NULL};
    }
    const cpu_arg *w = &c->in[1];
    const char *matrix = (const char *)w->data + stored_bytes(w->dtype, e * p * q);
    const term t = {.a = m->rows[0] + first * p, .b = matrix, .lda = p, .ldb = m->transposed ? q : p, .k = p, .ta = GRAFT_F32, .tb = w->dtype, .trans_b = !m->transposed, .alpha = 1.0f};
    return (gemm){.m = rows, .n = q, .terms = 1, .t = {t}, .c = m->rows[1] + first * q, .ldc = q, .ldbase = q};
}

static void product_unit(void *ctx, int64_t unit, int thread)
{
    const routed *m = ctx;
    const gemm g = product(m, unit);
    K(gemm_alone)
    (&g, m->call->scratch + thread * m->call->scratch_bytes);
}

/* Many small experts are spread over the threads whole, large ones one by one. */
static void products(const routed *m)
{
    const double each = (double)m->n * (double)m->width[0] * (double)m->width[1] / (double)m->experts;
    if (m->experts > 1 && each < 4e7) {
        cpu_pool_run(m->call->pool, m->experts, product_unit, (void *)(uintptr_t)m);
        return;
    }
    for (int64_t e = 0; e < m->experts; e++) {
        const gemm g = product(m, e);
        K(gemm_run)
        (m->call, &g);
    }
}

static graft_status expert_matmul(cpu_call *c)
{
    routed m = {.width = {c->in[0].dims[2], c->out[0].dims[2]}, .from = {&c->in[0], NULL}, .transposed = c->attr[0].i != 0};
    const graft_status status = sort(&m, c, &c->in[2], c->in[1].dims[0], "expert_matmul/1");
    if (status != GRAFT_OK) return status;
    cpu_pool_run(c->pool, (m.n + ROWS - 1) / ROWS, gather_unit, &m);
    products(&m);
    cpu_pool_run(c->pool, (m.n + ROWS - 1) / ROWS, scatter_unit, &m);
    return GRAFT_OK;
}

static graft_status expert_outer(cpu_call *c)
{
    routed m = {.width = {c->in[1].dims[2], c->in[0].dims[2]}, .from = {&c->in[1], &c->in[0]}, .outer = 1};
    const graft_status status = sort(&m, c, &c->in[2], c->out[0].dims[0], "expert_outer/1");
    if (status != GRAFT_OK) return status;
    cpu_pool_run(c->pool, (m.n + ROWS - 1) / ROWS, gather_unit, &m);
    products(&m);
    return GRAFT_OK;
}

static void room(const cpu_call *c, cpu_room *r, int64_t experts, int64_t p, int64_t q)
{
    *r = product_room(c->in[2].n, p, q);
    r->work = aligned(r->work) + my_bytes(c->in[2].n, experts, p, q);
}

static void matmul_room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    room(c, r, c->in[1].dims[0], c->in[0].dims[2], c->out[0].dims[2]);
}

static void outer_room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    room(c, r, c->out[0].dims[0], c->in[1].dims[2], c->in[0].dims[2]);
}

const cpu_op K(ops_moe)[] = {
    {"topk/1", F32, {{"k", 1}}, topk, NULL},
    {"expert_matmul/1", STORED, {{"transposed", 0}}, expert_matmul, matmul_room},
    {"expert_outer/1", F32, {{"experts", 1}}, expert_outer, outer_room},
    END_OF_OPS,
};
