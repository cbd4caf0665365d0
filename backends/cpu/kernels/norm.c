/* norm.c - rms_norm, layer_norm, softmax over the last axis, and their gradients. Row by row; the gradients of w and b are summed over rows in
 * PARTS_MOST fixed blocks at most, whose partial sums lie in the workspace and are added in order. */
#include "map.h"

enum { PARTS_MOST = 64,
       ROWS_LEAST = 16 };

typedef struct norm {
    const float *x, *dy, *mean, *rstd; /* mean, rstd: per row; NULL mean: RMSNorm */
    const void *w, *b;                 /* NULL: 1 and 0 */
    graft_dtype tw, tb;
    float *y, *to_mean, *to_rstd; /* y: or dx */
    float *dw, *db;               /* [d], or NULL */
    float *partial;               /* [parts][2][d] */
    int64_t rows, d, per_unit, parts;
    float eps, plus;
    int centred; /* LayerNorm */
} norm;

INLINE vf weight(const void *w, graft_dtype t, int64_t i, int64_t left, float plus)
{
    if (!w) return v_set(1.0f);
    return (left >= VW ? vector_of(w, i, t) : vector_of_n(w, i, left, t)) + plus;
}

/* Sums over a row with four accumulators, so that the adds do not wait for each other. */
INLINE float row_sum(const float *x, int64_t d)
{
    vf acc[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * VW <= d; i += 4 * VW)
        for (int j = 0; j < 4; j++) acc[j] = acc[j] + v_load(x + i + j * VW);
    for (; i < d; i += VW) acc[0] = acc[0] + map_load(x, i, d - i);
    return v_sum((acc[0] + acc[1]) + (acc[2] + acc[3]));
}

INLINE float row_squares(const float *x, int64_t d, float mean)
{
    vf acc[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * VW <= d; i += 4 * VW)
        for (int j = 0; j < 4; j++) {
            const vf v = v_load(x + i + j * VW) - mean;
            acc[j] = v_fma(v, v, acc[j]);
        }
    for (; i + VW <= d; i += VW) {
        const vf v = v_load(x + i) - mean;
        acc[0] = v_fma(v, v, acc[0]);
    }
    float sum = v_sum((acc[0] + acc[1]) + (acc[2] + acc[3]));
    for (; i < d; i++) sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

static void forward_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const norm *n = ctx;
    const int64_t d = n->d, end = (unit + 1) * n->per_unit < n->rows ? (unit + 1) * n->per_unit : n->rows;
    for (int64_t r = unit * n->per_unit; r < end; r++) {
        const float *x = n->x + r * d;
        const float mu = n->centred ? row_sum(x, d) / (float)d : 0.0f;
        const float rstd = 1.0f / __builtin_sqrtf(row_squares(x, d, mu) / (float)d + n->eps);
        if (n->to_mean) n->to_mean[r] = mu;
        if (n->to_rstd) n->to_rstd[r] = rstd;
        if (!n->y) continue;
        for (int64_t i = 0; i < d; i += VW) {
            const int64_t left = d - i;
            vf v = (map_load(x, i, left) - mu) * rstd;
            if (n->w) v = v * weight(n->w, n->tw, i, left, n->plus);
            if (n->b) v = v + weight(n->b, n->tb, i, left, 0.0f);
            map_store(n->y + r * d, i, v, left);
        }
    }
}

/* t = dy w'; dx = rstd (t - mean(t) - xhat mean(t xhat)); partial sums of dy xhat and dy. */
static void backward_row(const norm *n, int64_t r, float *dw, float *db)
{
    const int64_t d = n->d;
    const float *x = n->x + r * d, *dy = n->dy + r * d;
    const float mu = n->mean ? n->mean[r] : 0.0f, rstd = n->rstd[r];
    vf along = {0}, flat = {0};
    for (int64_t i = 0; i < d; i += VW) {
        const int64_t left = d - i;
        const vf g = map_load(dy, i, left), xhat = (map_load(x, i, left) - mu) * rstd, t = n->w ? g * weight(n->w, n->tw, i, left, n->plus) : g;
        along = v_fma(t, xhat, along); /* behind the row's end t is 0 */
        flat = flat + t;
        if (dw) map_store(dw, i, v_fma(g, xhat, map_load(dw, i, left)), left);
        if (db) map_store(db, i, g + map_load(db, i, left), left);
    }
    if (!n->y) return;
    const float a = v_sum(along) / (float)d, f = n->mean ? v_sum(flat) / (float)d : 0.0f;
    for (int64_t i = 0; i < d; i += VW) {
        const int64_t left = d - i;
        const vf g = map_load(dy, i, left), xhat = (map_load(x, i, left) - mu) * rstd, t = n->w ? g * weight(n->w, n->tw, i, left, n->plus) : g;
        map_store(n->y + r * d, i, (t - f - xhat * a) * rstd, left);
    }
}

static void backward_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const norm *n = ctx;
    float *dw = n->dw ? n->partial + unit * 2 * n->d : NULL, *db = n->db ? n->partial + (unit * 2 + 1) * n->d : NULL;
    if (dw) memset(dw, 0, (size_t)n->d * sizeof *dw);
    if (db) memset(db, 0, (size_t)n->d * sizeof *db);
    for (int64_t r = unit * n->per_unit; r < n->rows && r < (unit + 1) * n->per_unit; r++) backward_row(n, r, dw, db);
}

static void add_parts(const norm *n, float *to, int which)
{
    if (!to) return;
    for (int64_t i = 0; i < n->d; i++) {
        float sum = 0.0f;
        for (int64_t p = 0; p < n->parts; p++) sum += n->partial[(2 * p + which) * n->d + i];
        to[i] = sum;
    }
}

static graft_status forward(cpu_call *c, norm n)
{
    n.x = c->in[0].data;
    n.y = c->out[0].on ? c->out[0].data : NULL;
    n.rows = rows_of(&c->in[0]);
    n.d = width_of(&c->in[0]);
    n.w = c->in[1].on ? c->in[1].data : NULL;
    n.tw = c->in[1].dtype;
    n.eps = (float)c->attr[0].r;
    n.per_unit = rows_a_unit(n.d);
    cpu_pool_run(c->pool, (n.rows + n.per_unit - 1) / n.per_unit, forward_unit, &n);
    return GRAFT_OK;
}

static void *data_of(const cpu_arg *a) { return a->on ? a->data : NULL; }

static graft_status rms_norm(cpu_call *c) { return forward(c, (norm){.to_rstd = data_of(&c->out[1]), .plus = (float)c->attr[1].r}); }

static graft_status layer_norm(cpu_call *c)
{
    return forward(c, (norm){.centred = 1, .to_mean = data_of(&c->out[1]), .to_rstd = data_of(&c->out[2]), .b = data_of(&c->in[2]), .tb = c->in[2].dtype});
}

static graft_status backward(cpu_call *c, norm n)
{
    n.x = c->in[0].data;
    n.w = data_of(&c->in[1]);
    n.tw = c->in[1].dtype;
    n.y = data_of(&c->out[0]);
    n.dw = data_of(&c->out[1]);
    n.partial = (float *)(void *)c->work;
    n.rows = rows_of(&c->in[0]);
    n.d = width_of(&c->in[0]);
    n.per_unit = (n.rows + PARTS_MOST - 1) / PARTS_MOST;
    if (n.per_unit < ROWS_LEAST) n.per_unit = ROWS_LEAST;
    n.parts = (n.rows + n.per_unit - 1) / n.per_unit;
    cpu_pool_run(c->pool, n.parts, backward_unit, &n);
    add_parts(&n, n.dw, 0);
    add_parts(&n, n.db, 1);
    return GRAFT_OK;
}

static graft_status rms_norm_grad(cpu_call *c) { return backward(c, (norm){.rstd = c->in[2].data, .dy = c->in[3].data, .plus = (float)c->attr[1].r}); }

static graft_status layer_norm_grad(cpu_call *c)
{
    return backward(c, (norm){.mean = c->in[2].data, .rstd = c->in[3].data, .dy = c->in[4].data, .db = data_of(&c->out[2])});
}

static void grad_room(const cpu_call *c, int threads, cpu_room *r)
{
    (void)threads;
    r->work = PARTS_MOST * 2 * width_of(&c->in[0]) * (int64_t)sizeof(float);
}

/* ---- softmax ---------------------------------------------------------------------------------------------------------------------------- */
typedef struct rows_job {
    const float *x, *dy;
    float *y;
    int64_t rows, d, per_unit;
} rows_job;

static void softmax_row(const float *x, float *y, int64_t d)
{
    float top = -__builtin_inff();
    for (int64_t i = 0; i < d; i++) top = x[i] > top ? x[i] : top;
    vf total = {0};
    for (int64_t i = 0; i < d; i += VW) {
        const int64_t left = d - i;
        const vf e = v_exp(map_load(x, i, left) - top);
        map_store(y, i, e, left);
        total = total + (left >= VW ? e : map_load(y, i, left));
    }
    const float sum = v_sum(total);
    for (int64_t i = 0; i < d; i += VW) map_store(y, i, map_load(y, i, d - i) / sum, d - i);
}

static void softmax_grad_row(const float *y, const float *dy, float *dx, int64_t d)
{
    vf acc = {0};
    for (int64_t i = 0; i < d; i += VW) acc = v_fma(map_load(y, i, d - i), map_load(dy, i, d - i), acc);
    const float sum = v_sum(acc);
    for (int64_t i = 0; i < d; i += VW) map_store(dx, i, map_load(y, i, d - i) * (map_load(dy, i, d - i) - sum), d - i);
}

static void softmax_unit(void *ctx, int64_t unit, int thread)
{
    (void)thread;
    const rows_job *s = ctx;
    for (int64_t r = unit * s->per_unit; r < s->rows && r < (unit + 1) * s->per_unit; r++) {
        if (s->dy) softmax_grad_row(s->x + r * s->d, s->dy + r * s->d, s->y + r * s->d, s->d);
        else softmax_row(s->x + r * s->d, s->y + r * s->d, s->d);
    }
}

static graft_status softmax_rows(cpu_call *c, const float *dy)
{
    rows_job s = {.x = c->in[0].data, .dy = dy, .y = c->out[0].data, .rows = rows_of(&c->in[0]), .d = width_of(&c->in[0])};
    s.per_unit = rows_a_unit(s.d);
    cpu_pool_run(c->pool, (s.rows + s.per_unit - 1) / s.per_unit, softmax_unit, &s);
    return GRAFT_OK;
}

static graft_status softmax(cpu_call *c) { return softmax_rows(c, NULL); }
static graft_status softmax_grad(cpu_call *c) { return softmax_rows(c, c->in[1].data); }

const cpu_op K(ops_norm)[] = {
    {"rms_norm/1", FLOATS, {{"eps", 1e-6}, {"plus", 0}}, rms_norm, NULL},
    {"rms_norm_grad/1", FLOATS, {{"eps", 1e-6}, {"plus", 0}}, rms_norm_grad, grad_room},
    {"layer_norm/1", FLOATS, {{"eps", 1e-5}}, layer_norm, NULL},
    {"layer_norm_grad/1", FLOATS, {{"eps", 1e-5}}, layer_norm_grad, grad_room},
    {"softmax/1", F32, {{NULL, 0}}, softmax, NULL},
    {"softmax_grad/1", F32, {{NULL, 0}}, softmax_grad, NULL},
    END_OF_OPS,
};
